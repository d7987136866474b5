"""The events of a scenario, each a mapping with ``at`` and the name of one event."""

from __future__ import annotations

import dataclasses
from typing import Any

import yaml

from hass_runtime.settings.keys import did_you_mean
from hass_runtime.simulator.scenario_cluster import Names, known_name, known_names
from hass_runtime.simulator.scenario_model import Event
from hass_runtime.simulator.scenario_nodes import LARGEST, Pair, Source, is_empty, join, line_of
from hass_runtime.simulator.scenario_words import (
    EVENTS,
    PLAYBOOK_OUTCOMES,
    PLAYBOOKS,
    SERVICES,
    VERBS,
    Target,
    can_end,
)

SECONDS = "seconds, a number of 0 or more"
_DURATION = "for how many seconds, a number above 0"
_SHORTEST = 0.001
_LISTED = ", ".join(EVENTS)
_SENSOR_NAME = "the name of a sensor"
_MORE_KEYS = {"service_stop": ("service",), "service_start": ("service",), "sensor": ("name", "value")}
_ORDERS = frozenset({"maintenance"})


def read_events(source: Source, node: yaml.Node | None, names: Names) -> tuple[Event, ...]:
    """In order of time; events of one moment stay in the order of the file."""
    if node is None:
        return ()
    expected = "a list of events such as {at: 10, power_cut: host1}"
    found = (_event(source, item, names) for item in source.items(node, "events", expected))
    return tuple(sorted((event for event in found if event is not None), key=lambda event: event.at))


def _event(source: Source, node: yaml.Node, names: Names) -> Event | None:
    if not isinstance(node, yaml.MappingNode):
        source.problem(
            node, "events", f"{source.shown(node)} is no event, expected such as {{at: 10, power_cut: host1}}"
        )
        return None
    given = source.mapping(node, "events", None, ("at",))
    at = source.number(given["at"][1], "events.at", SECONDS) if "at" in given else None
    happenings = {key: pair for key, pair in given.items() if key != "at"}
    unknown = [key for key in happenings if key not in EVENTS]
    for key in unknown:
        near = did_you_mean(key, EVENTS)
        source.problem(
            happenings[key][0], join("events", key), f"no such event, expected one of {_LISTED}{near}"
        )
    if len(happenings) != 1 and not unknown:
        count = len(happenings) or "no"
        source.problem(
            node, "events", f"{count} events in {source.shown(node)}, expected exactly one beside `at`"
        )
    if len(happenings) != 1 or unknown:
        return None
    name, (_, value) = next(iter(happenings.items()))
    # Without a good `at` the rest is read all the same, to say what is wrong with it.
    event = Event(at or 0.0, name, line=line_of(node))
    where = join("events", name)
    target = EVENTS[name].target
    if target in (Target.HOST, Target.INSTANCE):
        return _to_somebody(source, value, where, names, event)
    if target is Target.ALL:
        return _to_all(source, value, where, event)
    if target is Target.PLAYBOOK:
        return _playbook(source, value, where, names, event)
    return _operator(source, value, where, names, event)


def _to_somebody(source: Source, node: yaml.Node, where: str, names: Names, event: Event) -> Event:
    """A name, a list of names, or a mapping with one of these under ``host`` or ``instance``."""
    target = EVENTS[event.name].target
    known = names.hosts if target is Target.HOST else names.instances
    if not isinstance(node, yaml.MappingNode):
        event = dataclasses.replace(event, subjects=known_names(source, node, where, known, target.value))
        return dataclasses.replace(event, arguments=_more(source, node, where, event.name, {}))
    # `host` is where the names stand in every mapping; for a guest `instance` reads better.
    keys = ("host",) if target is Target.HOST else ("instance", "host")
    given = source.mapping(node, where, (*keys, *_MORE_KEYS.get(event.name, ()), "for"))
    holding = [key for key in keys if key in given]
    if len(holding) == 1:
        subject = given[holding[0]][1]
        subjects = known_names(source, subject, join(where, holding[0]), known, target.value)
        event = dataclasses.replace(event, subjects=subjects)
    else:
        what = "names are given twice" if holding else "missing"
        source.problem(
            node, join(where, keys[0]), f"{what}, expected the name of the {target.value} or a list"
        )
    event = dataclasses.replace(event, arguments=_more(source, node, where, event.name, given))
    return _with_duration(source, given, where, event)


def _more(source: Source, node: yaml.Node, where: str, name: str, given: dict[str, Pair]) -> dict[str, Any]:
    """The arguments of host events beside the host."""
    if name in ("service_stop", "service_start"):
        service: str | None = SERVICES[0]
        if "service" in given:
            service = source.word(given["service"][1], join(where, "service"), SERVICES, "a service")
        return {"service": service}
    if name == "sensor":
        for key in ("name", "value"):
            if key not in given:
                source.problem(
                    node, join(where, key), "missing, expected {host: NAME, name: SENSOR, value: NUMBER}"
                )
        arguments: dict[str, Any] = {}
        if "name" in given:
            arguments["name"] = source.text(given["name"][1], join(where, "name"), _SENSOR_NAME)
        if "value" in given:
            arguments["value"] = _sensor_value(source, given["value"][1], join(where, "value"))
        return arguments
    return {}


def _sensor_value(source: Source, node: yaml.Node, where: str) -> float | str | None:
    """A number, or what the BMC answers instead of one."""
    expected = "a number, or a word such as normal, warning, critical or failed"
    # What starts like a number has to be one: `80C` is a slip, not an answer of a BMC.
    if isinstance(node, yaml.ScalarNode) and node.value.strip()[:1].isalpha():
        return source.text(node, where, expected)
    return source.number(node, where, expected, -LARGEST, LARGEST)


def _to_all(source: Source, node: yaml.Node, where: str, event: Event) -> Event:
    if is_empty(node) or (isinstance(node, yaml.ScalarNode) and node.value.lower() == "true"):
        return event
    if not isinstance(node, yaml.MappingNode):
        source.problem(
            node,
            where,
            f"{source.shown(node)}: it happens to no single host, expected {{for: SECONDS}} or {{}}",
        )
        return event
    return _with_duration(source, source.mapping(node, where, ("for",)), where, event)


def _playbook(source: Source, node: yaml.Node, where: str, names: Names, event: Event) -> Event:
    keys = ("name", "outcome", "host", "times", "seconds")
    given = source.mapping(node, where, keys, ("name", "outcome"))
    arguments: dict[str, Any] = {"times": 1, "seconds": 0.0}
    if "name" in given:
        arguments["name"] = source.word(given["name"][1], join(where, "name"), PLAYBOOKS, "a playbook")
    if "outcome" in given:
        arguments["outcome"] = source.word(
            given["outcome"][1], join(where, "outcome"), PLAYBOOK_OUTCOMES, "an outcome"
        )
    if "times" in given:
        expected = "how many runs, from 1 to 1000"
        arguments["times"] = source.integer(given["times"][1], join(where, "times"), expected, 1, 1000)
    if "seconds" in given:
        arguments["seconds"] = source.number(given["seconds"][1], join(where, "seconds"), SECONDS)
    if ("seconds" in given) != (arguments.get("outcome") == "slow") and arguments.get("outcome"):
        what = "without an effect here" if "seconds" in given else "missing"
        source.problem(
            given["seconds"][0] if "seconds" in given else node,
            join(where, "seconds"),
            f"{what}, expected with outcome slow and only there",
        )
    if "host" in given:
        name = known_name(source, given["host"][1], join(where, "host"), names.hosts, "host")
        event = dataclasses.replace(event, subjects=(name,) if name else ())
    return dataclasses.replace(event, arguments=arguments)


def _operator(source: Source, node: yaml.Node, where: str, names: Names, event: Event) -> Event | None:
    given = source.mapping(node, where, ("do", "subject", "for", "reason", "drain"), ("do",))
    verb = source.word(given["do"][1], join(where, "do"), VERBS, "a verb") if "do" in given else None
    if verb is None:
        return None
    arguments: dict[str, Any] = {"do": verb, "reason": ""}
    if "reason" in given and not is_empty(given["reason"][1]):
        arguments["reason"] = (
            source.text(given["reason"][1], join(where, "reason"), "a reason in words") or ""
        )
    if verb in _ORDERS:
        arguments["drain"] = False
        if "drain" in given:
            arguments["drain"] = source.flag(given["drain"][1], join(where, "drain"))
    elif "drain" in given:
        source.problem(
            given["drain"][0], join(where, "drain"), f"{verb} drains nothing, expected with maintenance only"
        )
    subject, scope = _subject(source, node, given, where, names, verb)
    if scope:
        arguments["scope"] = scope
    event = dataclasses.replace(event, subjects=(subject,) if subject else (), arguments=arguments)
    return _with_duration(source, given, where, event)


def _subject(
    source: Source, node: yaml.Node, given: dict[str, Pair], where: str, names: Names, verb: str
) -> tuple[str | None, str]:
    """Whom the verb is about, and for arm and disarm how much of the cloud that is."""
    where = join(where, "subject")
    target = VERBS[verb].target
    value = given["subject"][1] if "subject" in given else None
    if value is None or is_empty(value):
        if target is not Target.ALL:
            source.problem(node, where, f"missing, expected the {target.value} that {verb} is about")
        return None, "all"
    if target is Target.INSTANCE:
        return known_name(source, value, where, names.instances, "instance"), ""
    if target is Target.HOST:
        return known_name(source, value, where, names.hosts, "host"), ""
    everything = (*names.hosts, *names.clusters)
    subject = known_name(source, value, where, everything, "host or cluster")
    return subject, "host" if subject in names.hosts else "cluster"


def _with_duration(source: Source, given: dict[str, Pair], where: str, event: Event) -> Event:
    if "for" not in given:
        return event
    key, value = given["for"]
    if not can_end(event):
        what = event.arguments.get("do", event.name)
        source.problem(key, join(where, "for"), f"nothing undoes {what}, expected no such key")
        return event
    return dataclasses.replace(event, duration=source.number(value, join(where, "for"), _DURATION, _SHORTEST))
