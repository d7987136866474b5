"""Scenario files (docs/scenarios.md), which simulator and sandbox speak alike: reading, checking, writing."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from hass_runtime.settings import ini
from hass_runtime.simulator.scenario_cluster import names_of, read_cluster
from hass_runtime.simulator.scenario_dump import dump
from hass_runtime.simulator.scenario_events import read_events
from hass_runtime.simulator.scenario_expect import read_expectations
from hass_runtime.simulator.scenario_model import (
    Event,
    Expectation,
    HostSpec,
    InstanceSpec,
    Scenario,
    ScenarioError,
)
from hass_runtime.simulator.scenario_nodes import Source, is_empty
from hass_runtime.simulator.scenario_settings import read_settings
from hass_runtime.simulator.scenario_words import timeline, undone

__all__ = [
    "Event",
    "Expectation",
    "HostSpec",
    "InstanceSpec",
    "Scenario",
    "ScenarioError",
    "dump",
    "load",
    "parse",
    "timeline",
    "undone",
]

# How long a run goes on after the last event when the file does not say.
AFTERWARDS = 600.0
_KEYS = ("name", "settings", "cluster", "events", "run_for", "expect")
_MAX_BYTES = 1024 * 1024


def load(path: str | os.PathLike[str]) -> Scenario:
    """The scenario in a file; ScenarioError with everything that is wrong."""
    try:
        text, _ = ini.read_text(Path(path), _MAX_BYTES)
    except ValueError as error:
        raise ScenarioError((f"{path}:1: {error}, expected a scenario file",)) from None
    return parse(text, os.fspath(path))


def parse(text: str, path: str) -> Scenario:
    """The scenario in the text of a file called ``path``; ScenarioError with everything that is wrong."""
    source = Source(text, path)
    given = source.mapping(source.root(), "", _KEYS)
    values = {key: value for key, (_, value) in given.items()}
    name: str | None = Path(path).stem
    if "name" in values:
        name = source.text(values["name"], "name", "what the scenario is about, in a line")
    settings = read_settings(source, values.get("settings"))
    hosts, instances = read_cluster(source, values.get("cluster"))
    names = names_of(hosts, instances)
    events = read_events(source, values.get("events"), names)
    expect = read_expectations(source, values.get("expect"), names)
    run_for = _run_for(source, values.get("run_for"), events, expect)
    source.finish()
    return Scenario(name or "", settings, hosts, instances, events, run_for, expect, path)


def _run_for(
    source: Source, node: yaml.Node | None, events: tuple[Event, ...], expect: tuple[Expectation, ...]
) -> float:
    """How long to run: as the file says, else until well after the last event and the last expectation."""
    if node is None or is_empty(node):
        last = max((event.at + (event.duration or 0) for event in events), default=0.0)
        return max(last + AFTERWARDS, *(each.time or 0 for each in expect), 0)
    before = source.count
    run_for = source.number(node, "run_for", "seconds, a number above 0", 0.001) or 0.0
    if source.count > before:
        return run_for
    expected = f"a time up to run_for, which is {run_for:g}"
    for event in events:
        if event.at > run_for:
            source.problem_at(event.line, "events.at", f"{event.at:g} is after the end, expected {expected}")
    for each in expect:
        if each.time is not None and each.time > run_for:
            source.problem_at(
                each.line, f"expect.{each.kind}", f"{each.time:g} is after the end, expected {expected}"
            )
    return run_for
