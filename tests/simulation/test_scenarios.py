"""Every scenario in tests/scenarios: its expectations hold, no rule breaks, and its log is as written.

Together they say everything that a scenario file can say, and cover each fault with and without a BMC.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from hass_runtime.domain import Gate, HostState
from hass_runtime.simulator import scenario_expect
from hass_runtime.simulator.record import text_of
from hass_runtime.simulator.run import simulate
from hass_runtime.simulator.scenario import Event, Expectation, Scenario, load
from hass_runtime.simulator.scenario_words import (
    EVENTS,
    INSTANCE_STATES,
    OTHERS,
    PLAYBOOK_OUTCOMES,
    PLAYBOOKS,
    SERVICES,
    TERMS,
    VERBS,
)

FOLDER = Path(__file__).parents[1] / "scenarios"
SCENARIOS = sorted(FOLDER.glob("*/scenario.yml"))

FAULTS = (
    *("power_cut", "os_hang", "network_cut", "storage_cut"),
    *("service_stop", "agent_stop", "sensor_warning", "sensor_critical"),
)
_WITH_BMC = {"sensor_warning": "sensor_warning_drains", "sensor_critical": "sensor_critical_fences"}
_WITH_BMC |= {"service_stop": "service_stop_restarted"}
MATRIX = [
    *(_WITH_BMC.get(fault, fault) for fault in FAULTS),
    *(f"{fault}_{bmc}" for fault in FAULTS for bmc in ("no_ipmi", "bmc_lies", "bmc_cut")),
]


@cache
def loaded() -> tuple[Scenario, ...]:
    return tuple(load(path) for path in SCENARIOS)


def events(name: str = "") -> list[Event]:
    """All events that stand in the files, or those of one name."""
    return [each for scenario in loaded() for each in scenario.events if name in ("", each.name)]


def expectations(what: str = "") -> list[Expectation]:
    found = [each for scenario in loaded() for each in scenario.expect]
    return [each for each in found if each.kind != "never" and what in ("", each.what)]


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 60


def test_each_folder_is_complete() -> None:
    for path in sorted(each for each in FOLDER.iterdir() if each.is_dir()):
        files = {each.name for each in path.iterdir()}
        assert files == {"scenario.yml", "README.md", "log.expect"}, path


def test_each_readme_is_a_title_and_a_sentence() -> None:
    for path in SCENARIOS:
        lines = path.with_name("README.md").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 2, path
        assert all(lines), path


@pytest.mark.parametrize("name", MATRIX)
def test_each_fault_is_there_with_each_kind_of_bmc(name: str) -> None:
    assert FOLDER / name / "scenario.yml" in SCENARIOS


def test_every_event_happens() -> None:
    assert {event.name for event in events()} == set(EVENTS)


def test_a_person_does_everything_that_a_person_can_do() -> None:
    done = events("operator")
    assert {event.arguments["do"] for event in done} == set(VERBS)
    assert {event.arguments["do"] for event in done if event.duration} & TERMS
    assert {event.arguments.get("drain") for event in done} >= {True, False}
    assert {event.arguments.get("scope") for event in done} >= {"all", "cluster", "host"}


def test_every_playbook_and_every_service_goes_wrong() -> None:
    ill = events("playbook")
    assert {event.arguments["name"] for event in ill} == set(PLAYBOOKS)
    assert {event.arguments["outcome"] for event in ill} == set(PLAYBOOK_OUTCOMES)
    assert {event.arguments["service"] for event in events("service_stop")} == set(SERVICES)


def test_every_expectation_is_made() -> None:
    kinds = {each.kind for scenario in loaded() for each in scenario.expect}
    assert kinds == set(scenario_expect.KINDS)
    named = {"host" if each.what == "host_state" else each.what for each in expectations()}
    assert named == set(scenario_expect._TIMED)
    never = {each.what for scenario in loaded() for each in scenario.expect if each.kind == "never"}
    assert never == set(scenario_expect._NEVER)


def test_every_gate_state_and_place_is_expected() -> None:
    assert {each.arguments["gate"] for each in expectations("held")} >= {gate.value for gate in Gate}
    assert {each.arguments["state"] for each in expectations("host_state")} == {s.value for s in HostState}
    assert {each.arguments["state"] for each in expectations("instance")} >= set(INSTANCE_STATES)
    places = {each.arguments["running_on"] for each in expectations("instances_of")}
    assert OTHERS in places
    assert {type(place) for place in places} == {str, tuple}


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.parent.name)
def test_scenario(path: Path) -> None:
    result = simulate(load(path))
    failed = [judgement.text() for judgement in result.judgements if not judgement.held]
    broken = [violation.text() for violation in result.violations]
    assert failed + broken == []
    expected = path.with_name("log.expect")
    assert expected.exists(), f"hass simulate --update {path.parent}"
    # When only words have changed: hass simulate --update tests/scenarios, and read the difference.
    assert text_of(result.entries).splitlines() == expected.read_text(encoding="utf-8").splitlines()
