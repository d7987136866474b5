"""Writes a scenario as a small file that a person can read and that reads back as the same scenario."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from decimal import Decimal
from typing import Any

import yaml

from hass_runtime.simulator.scenario_cluster import numbered_hosts, numbered_instances
from hass_runtime.simulator.scenario_model import Event, Expectation, HostSpec, InstanceSpec, Scenario
from hass_runtime.simulator.scenario_settings import short_name
from hass_runtime.simulator.scenario_words import ANY, EVENTS, OTHERS, SERVICES, Target

_PLAIN_SETTING = re.compile(r"0|[1-9][0-9]*|[0-9]+\.[0-9]+|true|false")


def dump(scenario: Scenario) -> str:
    """The text of a file that :func:`~hass_runtime.simulator.scenario.parse` reads as an equal scenario."""
    return "\n".join([*_lines(scenario), ""])


def _lines(scenario: Scenario) -> Iterator[str]:
    yield f"name: {_flow(scenario.name)}"
    if scenario.settings:
        yield "settings:"
        for name, value in scenario.settings.items():
            yield f"  {_flow(short_name(name))}: {_setting(value)}"
    yield "cluster:"
    if scenario.hosts == numbered_hosts(len(scenario.hosts)):
        yield f"  hosts: {len(scenario.hosts)}"
    else:
        yield "  hosts:"
        yield from (f"    - {_flow(_without_defaults(host))}" for host in scenario.hosts)
    per_host = _per_host(scenario)
    if per_host is not None:
        yield f"  instances_per_host: {per_host}"
    else:
        yield "  instances:"
        yield from (f"    - {_flow(_without_defaults(instance))}" for instance in scenario.instances)
    if scenario.events:
        yield "events:"
        yield from (f"  - {_flow(_event(event))}" for event in scenario.events)
    yield f"run_for: {_flow(scenario.run_for)}"
    if scenario.expect:
        yield "expect:"
        yield from (f"  - {_flow(_expectation(each))}" for each in scenario.expect)


def _setting(value: str) -> str:
    """Numbers and flags read better without quotes, and are text to the reader either way."""
    return value if _PLAIN_SETTING.fullmatch(value) else _flow(value)


def _per_host(scenario: Scenario) -> int | None:
    """The number that stands for exactly these instances, None when none does."""
    hosts = sum(not host.reserved for host in scenario.hosts)
    per_host = len(scenario.instances) // hosts if hosts else 0
    return per_host if scenario.instances == numbered_instances(scenario.hosts, per_host) else None


def _without_defaults(spec: HostSpec | InstanceSpec) -> dict[str, Any]:
    return {
        each.name: getattr(spec, each.name)
        for each in fields(spec)
        if each.default is MISSING or getattr(spec, each.name) != each.default
    }


def _event(event: Event) -> dict[str, Any]:
    return {"at": event.at, event.name: _happening(event)}


def _happening(event: Event) -> Any:
    target = EVENTS[event.name].target
    arguments = dict(event.arguments)
    lasting = {} if event.duration is None else {"for": event.duration}
    if target is Target.OPERATOR:
        subject = {"subject": event.subjects[0]} if event.subjects else {}
        given = {key: arguments[key] for key in ("reason", "drain") if arguments.get(key)}
        return {"do": arguments["do"], **subject, **lasting, **given}
    if target is Target.PLAYBOOK:
        host = {"host": event.subjects[0]} if event.subjects else {}
        given = {key: arguments[key] for key in ("name", "outcome")}
        times = {"times": arguments["times"]} if arguments["times"] != 1 else {}
        seconds = {"seconds": arguments["seconds"]} if arguments["outcome"] == "slow" else {}
        return {**given, **host, **times, **seconds}
    if target is Target.ALL:
        return lasting
    subjects = event.subjects[0] if len(event.subjects) == 1 else list(event.subjects)
    if arguments.get("service") == SERVICES[0]:
        del arguments["service"]
    more = {**arguments, **lasting}
    return {target.value: subjects, **more} if more else subjects


def _expectation(expectation: Expectation) -> dict[str, Any]:
    what, arguments = expectation.what, expectation.arguments
    if expectation.kind == "never":
        return {"never": {what: next(iter(arguments.values()))} if arguments else what}
    head = {expectation.kind: expectation.time}
    if what == "host_state":
        return {**head, "host": arguments["host"], "state": arguments["state"]}
    if what == "instances_of":
        where = arguments["running_on"]
        return {**head, what: arguments["host"], "running_on": where if where == OTHERS else list(where)}
    if what == "instance":
        given = {key: arguments[key] for key in ("state", "on") if arguments[key] is not None}
        return {**head, what: arguments["instance"], **given}
    if what in ("incident", "held"):
        given = {key: value for key, value in arguments.items() if value != ANY and key != "host"}
        return {**head, what: {"host": arguments["host"], **given}}
    return {**head, what: arguments["host"]}


def _flow(value: Any) -> str:
    """YAML on one line; text that YAML would take for something else gets quotes.

    Keys are words of the format and stand as they are: the reader takes ``on`` for what it says.
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # Never with an exponent, and without a point where it is whole.
        return f"{value:.0f}" if value == int(value) else format(Decimal(repr(value)), "f")
    if isinstance(value, int):
        return str(value)
    # The dumper knows best when quotes are needed inside of {}; on a line of its own it adds a "...".
    flow = yaml.safe_dump([value], default_flow_style=True, width=10**9, allow_unicode=True)
    return flow.strip()[1:-1]
