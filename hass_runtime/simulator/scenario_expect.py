"""The expectations of a scenario: what has to be true by or at a time, or at no moment of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import yaml

from hass_runtime.domain import Gate, HostState, Outcome
from hass_runtime.settings.keys import did_you_mean
from hass_runtime.simulator.scenario_cluster import Names, known_name, known_names
from hass_runtime.simulator.scenario_events import SECONDS
from hass_runtime.simulator.scenario_model import Expectation
from hass_runtime.simulator.scenario_nodes import Pair, Source, join, line_of
from hass_runtime.simulator.scenario_words import ANY, INSTANCE_STATES, OTHERS

KINDS = ("by", "at", "never")
_STATES = tuple(state.value for state in HostState)
_GATES = (*(gate.value for gate in Gate), ANY)
_OUTCOMES = (*(outcome.value for outcome in Outcome), ANY)
_MOST_HOSTS = 1_000_000
_EXAMPLE = "{by: 30, fenced: host1}, {at: 60, …} or {never: two_writers}"
# What may be expected at a time: its key, and the keys that go with it (those with ! have to be there).
_TIMED: Mapping[str, tuple[str, ...]] = {
    "fenced": (),
    "not_fenced": (),
    "host": ("state!",),
    "instances_of": ("running_on!",),
    "instance": ("state", "on"),
    "incident": (),
    "held": (),
}
_NEVER = ("two_writers", "fenced", "evacuated", "more_fenced_than", "restarted")


def read_expectations(source: Source, node: yaml.Node | None, names: Names) -> tuple[Expectation, ...]:
    """In the order of the file."""
    if node is None:
        return ()
    items = source.items(node, "expect", f"a list such as [{_EXAMPLE}]")
    found = (_expectation(source, item, names) for item in items)
    return tuple(each for each in found if each is not None)


def _expectation(source: Source, node: yaml.Node, names: Names) -> Expectation | None:
    if not isinstance(node, yaml.MappingNode):
        source.problem(node, "expect", f"{source.shown(node)} is no expectation, expected {_EXAMPLE}")
        return None
    before = source.count
    given = source.mapping(node, "expect", None)
    kinds = [kind for kind in KINDS if kind in given]
    if len(kinds) != 1:
        which = " and ".join(kinds) or "neither by, at nor never"
        source.problem(node, "expect", f"{which} in {source.shown(node)}, expected exactly one of them")
        return None
    kind = kinds[0]
    rest = {key: pair for key, pair in given.items() if key != kind}
    time = None
    if kind == "never":
        what, arguments = _never(source, given[kind][1], rest, names)
    else:
        time = source.number(given[kind][1], join("expect", kind), SECONDS)
        what, arguments = _timed(source, node, rest, names)
    if source.count > before:
        return None
    return Expectation(kind, time, what, arguments, line_of(node), source.written(node))


def _timed(
    source: Source, node: yaml.Node, given: Mapping[str, Pair], names: Names
) -> tuple[str, dict[str, Any]]:
    subjects = [key for key in _TIMED if key in given]
    companions = sorted({word.rstrip("!") for words in _TIMED.values() for word in words})
    for key, (key_node, _) in given.items():
        if key not in _TIMED and key not in companions:
            near = did_you_mean(key, (*_TIMED, *companions))
            source.problem(
                key_node,
                join("expect", key),
                f"no such expectation, expected one of {', '.join(_TIMED)}{near}",
            )
            return "", {}
    if len(subjects) != 1:
        which = " and ".join(subjects) or "nothing"
        source.problem(
            node, "expect", f"{which} to look at in {source.shown(node)}, expected one of {', '.join(_TIMED)}"
        )
        return "", {}
    what = subjects[0]
    allowed = {word.rstrip("!") for word in _TIMED[what]}
    for key in sorted(set(given) - allowed - {what}):
        source.problem(given[key][0], join("expect", key), f"does not go with {what}, expected without it")
    for word in _TIMED[what]:
        if word.endswith("!") and word[:-1] not in given:
            source.problem(node, join("expect", word[:-1]), f"missing, expected with {what}")
    return ("host_state" if what == "host" else what), _READERS[what](source, given, names)


def _host_only(key: str) -> Callable[[Source, Mapping[str, Pair], Names], dict[str, Any]]:
    def read(source: Source, given: Mapping[str, Pair], names: Names) -> dict[str, Any]:
        return {"host": known_name(source, given[key][1], join("expect", key), names.hosts, "host")}

    return read


def _host_state(source: Source, given: Mapping[str, Pair], names: Names) -> dict[str, Any]:
    state = None
    if "state" in given:
        state = source.word(given["state"][1], "expect.state", _STATES, "a state of a host")
    return {**_host_only("host")(source, given, names), "state": state}


def _instances_of(source: Source, given: Mapping[str, Pair], names: Names) -> dict[str, Any]:
    arguments = _host_only("instances_of")(source, given, names)
    if "running_on" in given:
        node = given["running_on"][1]
        if isinstance(node, yaml.ScalarNode) and node.value.strip() == OTHERS:
            arguments["running_on"] = OTHERS
        else:
            arguments["running_on"] = known_names(source, node, "expect.running_on", names.hosts, "host")
    return arguments


def _instance(source: Source, given: Mapping[str, Pair], names: Names) -> dict[str, Any]:
    key, node = given["instance"]
    state = on = None
    if "state" in given:
        state = source.word(given["state"][1], "expect.state", INSTANCE_STATES, "a state of an instance")
    if "on" in given:
        on = known_name(source, given["on"][1], "expect.on", (*names.hosts, OTHERS), "host")
    if "state" not in given and "on" not in given:
        source.problem(key, "expect.instance", "neither state nor on, expected one of them or both")
    return {
        "instance": known_name(source, node, "expect.instance", names.instances, "instance"),
        "state": state,
        "on": on,
    }


def _incident(source: Source, given: Mapping[str, Pair], names: Names) -> dict[str, Any]:
    where = "expect.incident"
    inner = source.mapping(given["incident"][1], where, ("host", "fault", "outcome"), ("host",))
    arguments: dict[str, Any] = {"fault": ANY, "outcome": ANY}
    if "host" in inner:
        arguments["host"] = known_name(source, inner["host"][1], f"{where}.host", names.hosts, "host")
    if "fault" in inner:
        # Any name: the symptom table is the operator's to extend.
        arguments["fault"] = source.text(inner["fault"][1], f"{where}.fault", "the name of a fault")
    if "outcome" in inner:
        arguments["outcome"] = source.word(inner["outcome"][1], f"{where}.outcome", _OUTCOMES, "an outcome")
    return arguments


def _held(source: Source, given: Mapping[str, Pair], names: Names) -> dict[str, Any]:
    where = "expect.held"
    inner = source.mapping(given["held"][1], where, ("host", "gate"), ("host",))
    arguments: dict[str, Any] = {"gate": ANY}
    if "host" in inner:
        arguments["host"] = known_name(source, inner["host"][1], f"{where}.host", names.hosts, "host")
    if "gate" in inner:
        arguments["gate"] = source.word(inner["gate"][1], f"{where}.gate", _GATES, "a gate")
    return arguments


_READERS: Mapping[str, Callable[[Source, Mapping[str, Pair], Names], dict[str, Any]]] = {
    "fenced": _host_only("fenced"),
    "not_fenced": _host_only("not_fenced"),
    "host": _host_state,
    "instances_of": _instances_of,
    "instance": _instance,
    "incident": _incident,
    "held": _held,
}


def _never(
    source: Source, node: yaml.Node, rest: Mapping[str, Pair], names: Names
) -> tuple[str, dict[str, Any]]:
    for other, (other_node, _) in rest.items():
        source.problem(other_node, join("expect", other), "does not go with never, expected never alone")
    where = "expect.never"
    if isinstance(node, yaml.ScalarNode):
        word = source.word(node, where, _NEVER, "a thing that may never be")
        if word not in (None, "two_writers"):
            source.problem(node, where, f"{word} of what? expected {{{word}: …}}")
        return word or "", {}
    given = source.mapping(node, where, _NEVER)
    if len(given) != 1:
        if isinstance(node, yaml.MappingNode):
            source.problem(node, where, f"{source.shown(node)}, expected exactly one of {', '.join(_NEVER)}")
        return "", {}
    what, (key, value) = next(iter(given.items()))
    where = join(where, what)
    if what == "two_writers":
        source.problem(key, where, "takes nothing, expected never: two_writers")
        return what, {}
    if what == "more_fenced_than":
        expected = "how many hosts, a whole number of 0 or more"
        return what, {"count": source.integer(value, where, expected, 0, _MOST_HOSTS)}
    if what == "restarted":
        return what, {"instance": known_name(source, value, where, names.instances, "instance")}
    return what, {"host": known_name(source, value, where, names.hosts, "host")}
