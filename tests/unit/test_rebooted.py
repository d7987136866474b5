"""A host that went down and came back by itself: what ran on it is off, and somebody has to see to that."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

import pytest
import yaml

from hass_runtime.decide import symptoms
from hass_runtime.decide.decisions import Cancel, Decision, Launch, OpenIncident, SetBoot
from hass_runtime.decide.diagnosis import Boots, Thresholds
from hass_runtime.decide.plan import decide
from hass_runtime.decide.view import FAILURE, REBOOTED, REVIVE, LastRun, Policy, View
from hass_runtime.domain import (
    Bmc,
    Host,
    HostState,
    Incident,
    Layer,
    Order,
    OrderKind,
    Outcome,
    Pause,
    Reading,
    Verdict,
)
from hass_runtime.memory import Memory
from hass_runtime.remedy.execute import _failed_at

NAMES = ("compute1", "compute2", "compute3")
TABLE = symptoms.parse(
    yaml.safe_load(resources.files("hass_runtime.decide").joinpath("symptoms.yml").read_text()),
    "symptoms.yml",
    frozenset({"host_failure", "host_drain", "instances_start", "service_restart"}),
    {"wait_restart_threshold": 3},
)
POLICY = Policy(thresholds=Thresholds(misses=2, transient=5.0, stale_after=20.0), table=TABLE)


class World:
    """Three hosts that are read once a second, and the memory of their controller."""

    def __init__(self, policy: Policy = POLICY) -> None:
        hosts = {
            name: Host(name, f"192.0.2.{place}", bmc=Bmc(f"192.0.2.10{place}", "admin", "secret"))
            for place, name in enumerate(NAMES, 1)
        }
        self.memory = Memory(hosts, policy)
        self.now = 1000.0
        self.boot = dict.fromkeys(NAMES, "a")
        self.silent: set[str] = set()
        self.leaving: set[str] = set()
        for name in NAMES:
            self.memory.states[name] = HostState.HEALTHY
        self.look(3)
        for name in NAMES:
            self.memory.know_boot(name, "a")

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += 1.0
            for name in NAMES:
                alive = name not in self.silent
                verdict = Verdict.OK if alive else Verdict.FAILED
                boot = self.boot[name] if alive else ""
                away = name in self.leaving
                for reading in (
                    Reading(name, Layer.POWER, Verdict.OK, "on", self.now),
                    Reading(name, Layer.NETWORK, verdict, "ping", self.now, alive),
                    Reading(name, Layer.SERVICE, verdict, "agent", self.now, alive, away, boot),
                ):
                    self.memory.observe(reading)

    def reboot(self, name: str, seconds: int = 4) -> None:
        self.silent.add(name)
        self.look(seconds)
        self.silent.discard(name)
        self.boot[name] += "+"
        self.look()

    def view(self) -> View:
        return self.memory.view(self.now)

    def decide(self, name: str) -> list[Decision]:
        return [each for each in decide(self.view()) if getattr(each, "host", "") == name]

    def incident(self, name: str, fault: str, **more: object) -> Incident:
        made = Incident(7, name, fault, "os", Outcome.OPEN, self.now - 3.0, **more)  # type: ignore[arg-type]
        self.memory.incidents[name] = made
        return made


def test_another_boot_is_a_fault_whose_remedy_starts_what_it_lost() -> None:
    world = World()
    world.reboot("compute2")
    opened = next(each for each in world.decide("compute2") if isinstance(each, OpenIncident))
    assert (opened.fault.name, opened.fault.layer) == (REBOOTED, Layer.OS)
    world.memory.states["compute2"] = HostState.FAULTY
    world.incident("compute2", REBOOTED)
    launch = next(each for each in world.decide("compute2") if isinstance(each, Launch))
    assert (launch.playbook, launch.state) == (REVIVE, HostState.FAULTY)


def test_what_it_lost_was_running_until_it_was_last_heard_before() -> None:
    world = World()
    last_heard = world.now
    world.reboot("compute2")
    fault = world.view().hosts["compute2"].fault
    assert fault is not None
    seen = tuple(
        {"layer": r.layer.value, "verdict": r.verdict.value, "at": r.at, "evidence": r.evidence}
        for r in fault.seen
    )
    assert _failed_at(world.incident("compute2", REBOOTED, seen=seen), Boots()) == last_heard


def test_what_it_lost_was_running_until_then_also_when_it_has_died_once_more() -> None:
    world = World()
    last_heard = world.now
    world.reboot("compute2")
    once_more = ({"layer": "power", "verdict": "failed", "at": world.now + 60.0, "evidence": "off"},)
    boots = world.memory.tracks["compute2"].boots
    assert _failed_at(world.incident("compute2", "power", seen=once_more), boots) == last_heard


def test_the_first_boot_that_is_heard_is_no_news() -> None:
    world = World()
    world.memory.boots.clear()
    assert world.decide("compute2") == [SetBoot("compute2", "a")]


def test_who_said_goodbye_was_rebooted_by_somebody() -> None:
    world = World()
    world.leaving.add("compute2")
    world.look()
    world.leaving.clear()
    world.reboot("compute2")
    assert world.decide("compute2")[0] == SetBoot("compute2", "a+")
    assert world.view().hosts["compute2"].fault is None


def test_a_host_in_maintenance_is_rebooted_by_whoever_works_on_it() -> None:
    world = World()
    order = Order(1, "compute2", OrderKind.MAINTENANCE, "new disk", "anna", world.now)
    world.memory.told((), [order])
    world.reboot("compute2")
    assert SetBoot("compute2", "a+") in world.decide("compute2")


@pytest.mark.parametrize("state", [HostState.EVACUATED, HostState.RESTORING, HostState.QUARANTINED])
def test_an_emptied_host_has_nothing_to_lose(state: HostState) -> None:
    world = World()
    world.reboot("compute2")
    world.memory.states["compute2"] = state
    world.incident("compute2", "power", fenced_at=world.now - 2.0, phase="host_restore")
    assert SetBoot("compute2", "a+") in world.decide("compute2")


def test_it_is_over_once_the_instances_were_started() -> None:
    world = World()
    world.reboot("compute2")
    world.memory.states["compute2"] = HostState.FAULTY
    world.incident("compute2", REBOOTED, phase=REVIVE, tries=1)
    world.look(2)
    world.memory.last_runs["compute2"] = LastRun(REVIVE, "successful", "", world.now, 0)
    assert world.decide("compute2")[0] == SetBoot("compute2", "a+")
    world.memory.know_boot("compute2", "a+")
    assert world.view().hosts["compute2"].fault is None


def test_a_host_that_goes_down_once_more_after_that_lost_them_again() -> None:
    world = World()
    world.reboot("compute2")
    world.incident("compute2", REBOOTED, phase=REVIVE, tries=1)
    world.memory.last_runs["compute2"] = LastRun(REVIVE, "successful", "", world.now, 0)
    world.reboot("compute2")
    assert not any(isinstance(each, SetBoot) for each in world.decide("compute2"))


def test_a_failed_start_is_no_end_of_it() -> None:
    world = World()
    world.reboot("compute2")
    world.memory.states["compute2"] = HostState.FAULTY
    world.incident("compute2", REBOOTED, phase=REVIVE, tries=1)
    world.memory.last_runs["compute2"] = LastRun(REVIVE, "failed", "vm1 is in error", world.now, 1)
    assert not any(isinstance(each, SetBoot) for each in world.decide("compute2"))


def test_a_fence_that_has_proven_nothing_is_cancelled_when_the_host_is_back() -> None:
    world = World()
    world.reboot("compute2")
    world.memory.states["compute2"] = HostState.FENCING
    world.incident("compute2", "power")
    world.memory.running["compute2"] = FAILURE
    assert any(isinstance(each, Cancel) for each in world.decide("compute2"))
    world.memory.incidents["compute2"] = replace(world.memory.incidents["compute2"], fenced_at=world.now)
    assert not any(isinstance(each, Cancel) for each in world.decide("compute2"))


def test_a_blackout_that_is_over_is_no_storm() -> None:
    world = World()
    world.silent |= set(NAMES)
    world.look(4)
    world.silent.clear()
    world.boot = dict.fromkeys(NAMES, "b")
    world.look(2)
    world.now += 60.0  # the cooldown after it
    world.look()
    for name in NAMES:
        world.memory.states[name] = HostState.FAULTY
        world.incident(name, REBOOTED)
    assert [each.host for each in decide(world.view()) if isinstance(each, Launch)] == list(NAMES)


def test_nothing_is_started_while_hass_is_switched_off() -> None:
    world = World()
    world.reboot("compute2")
    world.memory.states["compute2"] = HostState.FAULTY
    world.incident("compute2", REBOOTED)
    world.memory.told([Pause("change", "anna", world.now)], [])
    assert not any(isinstance(each, Launch) for each in world.decide("compute2"))


def test_where_the_layer_is_not_protected_it_is_told_and_over() -> None:
    world = World(replace(POLICY, protected={"default": frozenset({Layer.POWER})}))
    world.reboot("compute2")
    assert any(isinstance(each, OpenIncident) for each in world.decide("compute2"))
    world.memory.states["compute2"] = HostState.FAULTY
    world.incident("compute2", REBOOTED)
    assert world.decide("compute2")[0] == SetBoot("compute2", "a+")


def test_a_controller_that_was_away_meanwhile_finds_out_by_the_journal() -> None:
    world = World()
    fresh = Memory(world.memory.hosts, POLICY)
    fresh.know_boot("compute2", "a", heard_at=950.0)
    fresh.observe(Reading("compute2", Layer.SERVICE, Verdict.OK, "agent", 1000.0, True, False, "b"))
    fresh.observe(Reading("compute2", Layer.NETWORK, Verdict.OK, "ping", 1000.0, True))
    fault = fresh.view(1000.5).hosts["compute2"].fault
    assert fault is not None
    assert (fault.name, min(r.at for r in fault.seen if r.verdict is Verdict.FAILED)) == (REBOOTED, 950.0)
