"""Which scenarios the embedded cluster takes, and what it makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.sandbox import layout as layouts
from hass_runtime.sandbox import playable
from hass_runtime.settings import load_controller
from hass_runtime.simulator.scenario import ScenarioError, load, parse
from hass_runtime.simulator.scenario_words import EVENTS, VERBS

SCENARIOS = sorted((Path(__file__).parents[1] / "scenarios").glob("*/scenario.yml"))


def problems(text: str, kind: str = "ipmi_sim") -> tuple[str, ...]:
    try:
        playable.check(parse(text, "x.yml"), kind)
    except ScenarioError as error:
        return error.problems
    return ()


def test_everything_that_cannot_be_played_is_said_at_once_with_its_line() -> None:
    text = """\
cluster: {hosts: [host1, {name: bare, ipmi: false}, {name: small, room: 5}], instances_per_host: 1}
settings: {state_dir: /elsewhere}
events:
  - {at: 30, guest_network_cut: vm1}
  - {at: 10, storage_cut: host1}
  - {at: 10, bmc_cut: [host1, bare]}
  - {at: 10, power_cut: host1}
  - {at: 10, operator: {do: shutdown_host, subject: host1}}
"""
    found = problems(text)
    assert found == (
        "x.yml: cluster.hosts: small: room is only for hass simulate: all hosts are alike",
        "x.yml: settings: paths.state_dir is the sandbox's own to set, expected without it",
        "x.yml:4: events.guest_network_cut: guest_network_cut is only for hass simulate: sandbox guests have "
        "no network",
        "x.yml:5: events.storage_cut: storage_cut is only for hass simulate: sandbox hosts have no "
        "storage of their own",
        "x.yml:6: events.bmc_cut: bmc_cut is only for hass simulate: bare has no BMC",
        "x.yml:8: events.operator: operator shutdown_host is only for hass simulate: sandbox hosts have no "
        "init system that could shut them down",
    )


@pytest.mark.parametrize(
    ("name", "value", "kind", "words"),
    [
        ("Inlet Temp", "91", "ipmi_sim", ""),
        ("Inlet Temp", "normal", "ipmi_sim", ""),
        ("Inlet Temp", "91.5", "ipmi_sim", "whole numbers from 0 to 255"),
        ("Inlet Temp", "256", "ipmi_sim", "whole numbers from 0 to 255"),
        ("Inlet Temp", "critical", "ipmi_sim", "whole numbers from 0 to 255"),
        ("Fan1", "0", "ipmi_sim", "one sensor, Inlet Temp"),
        ("Inlet Temp", "91", "pyghmi", "have no sensors"),
    ],
)
def test_a_sensor_shows_what_its_bmc_can_show(name: str, value: str, kind: str, words: str) -> None:
    text = f"events: [{{at: 1, sensor: {{host: host1, name: {name}, value: {value}}}}}]"
    found = problems(text, kind)
    assert len(found) == bool(words)
    assert all(words in each for each in found)


@given(st.sampled_from(sorted(playable._ONLY_SIMULATED)))
def test_what_is_refused_are_words_of_scenario_files(name: str) -> None:
    event, _, verb = name.partition(".")
    assert event in EVENTS
    assert not verb or verb in VERBS


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.parent.name)
def test_the_controller_understands_what_a_scenario_makes_of_its_file(path: Path, tmp_path: Path) -> None:
    scenario = load(path)
    bare = [host.name for host in scenario.hosts if not host.ipmi]
    made = layouts.make_layout([host.name for host in scenario.hosts], tmp_path / "box", without_bmc=bare)
    ends = layouts.Endpoints("http://127.0.0.1:1/v3", "http://127.0.0.1:2/v2.1", "admin", "s3cret")
    layouts.write_controller(made, ends, playable.overrides(scenario), quick=False)
    settings = load_controller(made.config, environ={})
    assert [host.name for host in settings.hosts] == [host.name for host in scenario.hosts]
    assert settings.detection.polling_interval == float(
        scenario.settings.get("detection.polling_interval", 5)
    )


def test_zones_clusters_settings_and_priorities_arrive() -> None:
    scenario = parse(
        """\
settings: {polling_interval: 1, cluster.name: main}
cluster:
  hosts: [{name: a, zone: rack1, cluster: main}, {name: b, cluster: edge}]
  instances: [{name: web, host: a, priority: 5}, {name: batch, host: b, state: stopped}]
events: [{at: 1, sensor: {host: a, name: Inlet Temp, value: 99}}]
""",
        "x.yml",
    )
    found = playable.overrides(scenario)
    assert found["zone"] == {"a": "rack1"}
    assert found["host_cluster"] == {"b": "edge"}
    assert found["detection"] == {"polling_interval": "1"}
    assert found["ipmi_sensor"]["upper_critical"] == "80"
    assert playable.instances(scenario) == [
        {"name": "web", "host": "a", "state": "active", "metadata": {"hass:priority": "5"}},
        {"name": "batch", "host": "b", "state": "stopped", "metadata": {}},
    ]
