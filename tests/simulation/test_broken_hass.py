"""A HASS that is broken on purpose: the simulator has to see it, or it would see nothing.

Each test breaks one thing of the real code, runs a small scenario, and looks for the rule that is broken. The
same scenario without the damage breaks none.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hass_runtime.decide import diagnosis, gates, maintenance
from hass_runtime.decide.view import View
from hass_runtime.remedy import evacuation, fencing, inventory, restoration, silence
from hass_runtime.remedy.proof import FenceProof, PowerReading
from hass_runtime.simulator.run import simulate
from hass_runtime.simulator.scenario import Scenario, parse

PLAYBOOKS = Path(__file__).parents[2] / "playbooks" / "remediation"
CUT_OFF = """
settings: {polling_interval: 1, network_transient_time: 5}
cluster: {hosts: 4, instances_per_host: 2}
events: [{at: 10, network_cut: host2}]
run_for: 120
"""
WRONG_WORD = """
settings: {polling_interval: 1, network_transient_time: 5}
cluster: {hosts: [host1, {name: host2, ipmi: false}, host3, host4], instances_per_host: 2}
events:
  - {at: 10, network_cut: {host: host2, for: 41.5}}
  - {at: 50, operator: {do: confirm_fenced, subject: host2}}
run_for: 200
"""
DEAD = """
settings: {polling_interval: 1}
cluster:
  hosts: 4
  instances: [{name: web, host: host2}, {name: batch, host: host2, state: stopped}]
events: [{at: 10, power_cut: {host: host2, for: 60}}]
run_for: 300
"""
MANY = """
settings: {polling_interval: 1, max_remedies: 1}
cluster: {hosts: 6, instances_per_host: 1}
events: [{at: 10, power_cut: [host1, host2, host3]}]
run_for: 120
"""
MOST = """
settings: {polling_interval: 1}
cluster: {hosts: 3, instances_per_host: 1}
events: [{at: 10, power_cut: [host1, host2]}]
run_for: 120
"""
PAUSED = """
settings: {polling_interval: 1}
cluster: {hosts: 3, instances_per_host: 1}
events:
  - {at: 5, operator: {do: disarm}}
  - {at: 10, power_cut: host1}
run_for: 120
"""
SHUT_DOWN = """
settings: {polling_interval: 1}
cluster: {hosts: 4, instances_per_host: 1}
events: [{at: 10, operator: {do: shutdown_host, subject: host1}}]
run_for: 200
"""
MAINTENANCE = """
settings: {polling_interval: 1}
cluster: {hosts: 4, instances_per_host: 1}
events:
  - {at: 10, operator: {do: maintenance, subject: host1, drain: true}}
  - {at: 60, power_cut: host1}
run_for: 200
"""


def rules(text: str, **settings: str) -> set[str]:
    scenario: Scenario = parse(text, "scenario.yml")
    scenario = replace(scenario, settings={**scenario.settings, **settings})
    return {violation.rule.partition(":")[0] for violation in simulate(scenario).violations}


@pytest.mark.parametrize("text", [CUT_OFF, WRONG_WORD, DEAD, MANY, MOST, PAUSED])
def test_unbroken_it_breaks_no_rule(text: str) -> None:
    assert rules(text) == set()


def test_a_fence_that_switches_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def forged(host: str, bmc: object, still_answers: object, **options: object) -> FenceProof:
        at = options["wall"]() - 0.1  # type: ignore[operator]
        return FenceProof(host, "", True, at, (PowerReading(at, "off"), PowerReading(at, "off")), at)

    monkeypatch.setattr(fencing, "fence", forged)
    monkeypatch.setattr(fencing.OffWatch, "__call__", lambda self: fencing.Look(True))
    assert {"rule 1", "two_writers"} <= rules(CUT_OFF)


def test_a_fence_that_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person is wrong about a host without a BMC, and it is heard again while it is being fenced."""
    monkeypatch.setattr(silence, "sign_of_life", lambda readings: None)
    assert {"rule 1", "two_writers"} <= rules(WRONG_WORD)


def test_an_evacuation_without_force_down(tmp_path: Path) -> None:
    own = tmp_path / "remediation"
    shutil.copytree(PLAYBOOKS, own)
    book = own / "host_failure.yml"
    lines = book.read_text().splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if "Force down nova-compute" in line)
    del lines[start : start + 5]
    book.write_text("".join(lines))
    # The order of the playbook is checked by the module, too: as long as it is, nothing is evacuated.
    assert rules(DEAD, **{"paths.playbooks": str(own)}) == set()
    module = own / "library" / "hass_evacuate.py"
    check = "if not restoration.required(nova, host.name).forced_down:"
    text = module.read_text()
    assert check in text
    module.write_text(text.replace(check, "if False:"))
    assert "rule 3" in rules(DEAD, **{"paths.playbooks": str(own)})


def test_a_force_down_that_is_lifted_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(
        name: str, nova: restoration.Services, agent: object, patience: object, steady: float = 0.0
    ) -> object:
        return "no matter", restoration.required(nova, name)

    monkeypatch.setattr(restoration, "wait_host", at_once)
    monkeypatch.setattr("hass_runtime.simulator.nova.Nova._cleaned_up", lambda self, host: True)
    assert "rule 3" in rules(DEAD)


@pytest.mark.parametrize("text", [MANY, MOST, PAUSED])
def test_gates_that_are_always_open(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "closed", lambda view, host, playbook="": None)
    assert "rule 4" in rules(text)


def test_a_stopped_instance_that_is_taken_for_a_running_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real = inventory.seen_of

    def all_active(*arguments: object) -> dict[str, inventory.Seen]:
        seen = real(*arguments)  # type: ignore[arg-type]
        return {instance: replace(each, was="active") for instance, each in seen.items()}

    monkeypatch.setattr(inventory, "seen_of", all_active)
    assert "rule 8" in rules(DEAD)


def test_a_running_instance_that_is_taken_for_a_stopped_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real = inventory.seen_of

    def all_stopped(*arguments: object) -> dict[str, inventory.Seen]:
        seen = real(*arguments)  # type: ignore[arg-type]
        return {instance: replace(each, was="stopped") for instance, each in seen.items()}

    monkeypatch.setattr(inventory, "seen_of", all_stopped)
    assert "rule 12" in rules(DEAD)


def test_an_instance_that_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    real = evacuation.Evacuator.pending
    monkeypatch.setattr(evacuation.Evacuator, "pending", lambda self: real(self)[1:])
    assert rules(CUT_OFF) == set()  # hass_verify_instances sees it, and the incident says so
    monkeypatch.setattr(inventory, "verify", lambda *arguments, **options: ())
    assert rules(CUT_OFF) == {"every instance runs again or is reported"}


def test_an_incident_that_nobody_goes_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    real = gates.closed
    shut = gates.Gate.RATE
    monkeypatch.setattr(
        gates, "closed", lambda view, host, playbook="": real(view, host, playbook) or (shut, "")
    )
    text = DEAD.replace(", for: 60}", "}")
    assert "no incident is stuck without a reason" in rules(text)


def test_a_proper_shutdown_that_is_taken_for_a_death(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rules(SHUT_DOWN) == set()
    monkeypatch.setattr(diagnosis, "_is_the_agents", lambda reading: False)
    assert rules(SHUT_DOWN) == {"rule 8"}


def test_a_maintenance_that_is_taken_for_a_death(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rules(MAINTENANCE) == set()
    monkeypatch.setattr(maintenance, "emptied", lambda host: False)
    assert rules(MAINTENANCE) == {"rule 8"}


def test_a_bug_is_told_with_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(view: View, host: object, playbook: str = "") -> None:
        raise RuntimeError("no such gate")

    monkeypatch.setattr(gates, "closed", broken)
    violations = simulate(parse(DEAD, "scenario.yml")).violations
    assert any("no such gate" in violation.words for violation in violations)
