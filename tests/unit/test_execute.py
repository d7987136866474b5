"""Journal first: at whichever write a controller dies, the next one ends in the same state."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from views import DEAD, POLICY, WELL

from hass_runtime.decide.plan import FAILURE, RESTORE, decide
from hass_runtime.domain import Bmc, Host, HostState, Layer, Move, MoveState, Outcome, Reading, StepStatus
from hass_runtime.memory import Memory
from hass_runtime.remedy.execute import Executor, unmoved
from hass_runtime.remedy.resume import LOST
from hass_runtime.remedy.runs import MoveChanged, RunEnded, TaskEnded, TaskStarted
from hass_runtime.store import LeaseLost, Store

HOSTS = {
    name: Host(name, "192.0.2.1", "default", Bmc("192.0.2.2", "u", "p"))
    for name in ("host1", "host2", "host3")
}
CUT = {Layer.POWER: DEAD, Layer.NETWORK: DEAD, Layer.SERVICE: DEAD}


class Killed(BaseException):
    """The controller dies here."""


class Mortal:
    """A writer whose controller is killed before its n-th write, or right after it."""

    def __init__(self, writer, life):
        self._writer, self._life = writer, life

    def __getattr__(self, name):
        method = getattr(self._writer, name)

        def write(*args, **kwargs):
            self._life.writes += 1
            if self._life.writes == self._life.dies_before:
                raise Killed
            result = method(*args, **kwargs)
            if self._life.writes == self._life.dies_after:
                raise Killed
            return result

        return write


class FakeLauncher:
    """Notes what is launched, and whether the journal already knew."""

    def __init__(self, store):
        self.store, self.started = store, []

    def start(self, spec, sink):
        assert [run.id for run in self.store.unfinished_runs()] == [spec.run_id], (
            "launched before it was journalled"
        )
        assert self.store.incident(spec.incident).phase == spec.playbook
        self.started.append((spec, sink))
        return SimpleNamespace(
            beat=lambda valid_until: None, cancel=lambda reason: None, wait=lambda s: True, pid=1
        )


class Daemon:
    """A controller without its loop: one at a time on one database; `restart` is a new process."""

    def __init__(self, path: Path):
        self.store = Store(f"sqlite:///{path}")
        self.store.migrate()
        self.launcher = FakeLauncher(self.store)
        self.path = path
        self.dies_before = self.dies_after = -1
        self.writes = 0
        self.now = time.time()
        self.restart()

    def restart(self):
        # Leases differ in their holder, so a restart is a new epoch; the old one has run out.
        current = self.store.lease_current()
        if current:
            self.store.lease_release(current)
        self.lease = self.store.lease_acquire(f"controller-{time.monotonic_ns()}", 600.0)
        self.writer = Mortal(self.store.writer(self.lease), self)
        self.memory = Memory(HOSTS, POLICY)
        settings = SimpleNamespace(
            path=Path("/etc/hass.conf"),
            paths=SimpleNamespace(state_dir=self.path.parent),
            recovery=SimpleNamespace(run_timeout=100.0, restore_timeout=100.0),
            controller=SimpleNamespace(lease_ttl=15.0),
        )
        self.events = []
        self.executor = Executor(
            settings,
            self.store,
            self.launcher,
            self.memory,
            self.events.append,
            lambda: self.now,
            lambda: time.monotonic() + 600.0,
        )
        self.executor.take_over(self.writer)

    def see(self, seconds=1, **looks):
        for _ in range(seconds):
            self.now += 1.0
            for name in HOSTS:
                for layer in (Layer.POWER, Layer.NETWORK, Layer.SERVICE):
                    verdict, answered = looks.get(name, {}).get(layer, WELL)
                    self.memory.observe(Reading(name, layer, verdict, "evidence", self.now, answered))
            for _ in range(20):
                decisions = decide(self.memory.view(self.now, ""))
                if not decisions:
                    break
                for decision in decisions:
                    self.executor.carry_out(decision, self.writer)

    def report(self, run_id, *events):
        for event in events:
            self.executor.follow(event(run_id), self.writer)

    def finish(self, playbook):
        """The newest run plays its part, if it is this controller's and of that playbook."""
        spec, _ = self.launcher.started[-1]
        if spec.playbook != playbook or self.memory.running.get("host1") != playbook:
            return
        move = Move(spec.incident, "uuid1", "vm1", "host1", MoveState.SUCCEEDED, "host2", "active", 1)
        at = self.now
        said = {
            FAILURE: [
                lambda run: TaskStarted(run, "1", "Power off host1", at, "hass_fence"),
                lambda run: TaskEnded(
                    run, "1", "Power off host1", StepStatus.CHANGED, at, at, "off", "hass_fence"
                ),
                lambda run: TaskStarted(run, "2", "Evacuate", at, "hass_evacuate"),
                lambda run: MoveChanged(run, move),
                lambda run: TaskEnded(run, "2", "Evacuate", StepStatus.CHANGED, at, at, "", "hass_evacuate"),
            ],
            RESTORE: [lambda run: TaskStarted(run, "1", "Power on host1", at, "hass_power")],
        }[playbook]
        self.report(spec.run_id, *said, lambda run: RunEnded(run, "successful", 0, "", at, {}))


def whole_story(daemon, restarts):
    """From well to dead to evacuated to back; a killed controller is started again wherever it dies."""

    def surviving(action):
        for _ in range(3):
            try:
                return action()
            except Killed:
                daemon.dies_before = daemon.dies_after = -1
                restarts.append(daemon.writes)
                daemon.restart()
        raise AssertionError("killed more often than asked for")

    surviving(lambda: daemon.see(2))
    surviving(lambda: daemon.see(3, host1=CUT))
    for playbook in (FAILURE, RESTORE):
        for _ in range(6):
            if succeeded(daemon, playbook):
                break
            surviving(lambda: daemon.see(1, host1=CUT))
            surviving(lambda p=playbook: daemon.finish(p))
    surviving(lambda: daemon.see(3))


def succeeded(daemon, playbook):
    runs = [run for incident in daemon.store.incidents(limit=10) for run in daemon.store.runs(incident.id)]
    return any(run.playbook == playbook and run.status == "successful" for run in runs)


def ending(daemon):
    incidents = daemon.store.incidents(limit=10)
    return {
        "incidents": [
            (each.host, each.fault, each.outcome, each.closed_at is not None) for each in incidents
        ],
        "states": {row.name: row.state for row in daemon.store.hosts()},
        "moves": [(move.name, move.target, move.state) for move in daemon.store.moves(incidents[0].id)],
        "unfinished": daemon.store.unfinished_runs(),
        "attempts": {
            run.playbook for run in daemon.store.runs(incidents[0].id) if run.status == "successful"
        },
    }


EXPECTED = {
    "incidents": [("host1", "power", Outcome.RECOVERED, True)],
    "states": dict.fromkeys(HOSTS, HostState.HEALTHY),
    "moves": [("vm1", "host2", MoveState.SUCCEEDED)],
    "unfinished": [],
    "attempts": {FAILURE, RESTORE},
}


def test_the_story_without_a_death(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    whole_story(daemon, [])
    assert ending(daemon) == EXPECTED
    names = [step.name for step in daemon.store.steps(1)]
    assert names[:2] == ["Fault established", "Launch host_failure"]
    assert len(daemon.store.runs(1)) == 2


@pytest.mark.parametrize("side", ["dies_before", "dies_after"])
def test_killed_at_every_write_it_ends_the_same(tmp_path, side, caplog):
    caplog.set_level(logging.CRITICAL)
    probe = Daemon(tmp_path / "probe.db")
    whole_story(probe, [])
    assert probe.writes > 20
    for number in range(1, probe.writes + 1):
        path = tmp_path / f"{side}{number}.db"
        daemon = Daemon.__new__(Daemon)
        daemon.writes, daemon.dies_before, daemon.dies_after = 0, -1, -1
        daemon.store, daemon.path, daemon.now = Store(f"sqlite:///{path}"), path, time.time()
        daemon.store.migrate()
        daemon.launcher = FakeLauncher(daemon.store)
        restarts: list[int] = []
        setattr(daemon, side, number)
        try:
            daemon.restart()
        except Killed:
            setattr(daemon, side, -1)
            daemon.restart()
            restarts.append(number)
        whole_story(daemon, restarts)
        assert len(restarts) == 1, f"write {number} was not reached"
        assert ending(daemon) == EXPECTED, f"killed at write {number}"
        daemon.store.close()


def test_a_lost_run_is_told_as_lost(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(3, host1=CUT)
    daemon.restart()
    daemon.see(2, host1=CUT)
    runs = daemon.store.runs(1)
    assert [run.status for run in runs] == [LOST, "running"]
    assert [run.attempt for run in runs] == [1, 2]
    assert daemon.store.incident(1).attempts == 2


def test_a_stale_controller_launches_nothing(tmp_path):
    """It decides as before, but its first write is refused, and the launch comes after the writes."""
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    stale_executor, stale_memory, stale_writer = daemon.executor, daemon.memory, daemon.writer
    daemon.restart()
    for seconds in (1, 2, 3):
        for layer, (verdict, answered) in CUT.items():
            stale_memory.observe(Reading("host1", layer, verdict, "", daemon.now + seconds, answered))
    decisions = decide(stale_memory.view(daemon.now + 3, ""))
    assert decisions
    for decision in decisions:
        with pytest.raises(LeaseLost):
            stale_executor.carry_out(decision, stale_writer)
    assert not daemon.launcher.started


def test_events_of_runs_that_were_cancelled_are_not_listened_to(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(3, host1=CUT)
    spec, _ = daemon.launcher.started[-1]
    daemon.executor.cancel_all("lease lost")
    daemon.report(spec.run_id, lambda run: RunEnded(run, "cancelled", None, "lease lost", daemon.now, {}))
    assert [run.status for run in daemon.store.runs(1)] == ["running"]


def test_what_a_successful_run_could_not_move_is_the_incidents_reason(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(3, host1=CUT)
    spec, _ = daemon.launcher.started[-1]
    moves = [
        {"name": "vm1", "state": "succeeded", "reason": ""},
        {"name": "vm2", "state": "refused", "reason": "vm_state paused"},
    ]
    daemon.report(spec.run_id, lambda run: RunEnded(run, "successful", 0, "", daemon.now, {"moves": moves}))
    daemon.see(1, host1=CUT)
    incident = daemon.store.incident(1)
    assert (incident.outcome, incident.reason) == (Outcome.FAILED, "vm2: vm_state paused")


@pytest.mark.parametrize("facts", [{}, {"moves": None}, {"moves": "x"}, {"moves": ["x", 1, {}]}])
def test_strange_facts_are_no_reason(facts):
    assert unmoved(facts) == ""


def test_outcome_of_settled_instances_stays_while_the_host_is_brought_back(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(3, host1=CUT)
    daemon.finish(FAILURE)
    daemon.see(1, host1=CUT)
    incident = daemon.store.incident(1)
    assert (incident.outcome, incident.closed_at, incident.phase) == (Outcome.RECOVERED, None, RESTORE)
    assert replace(incident, outcome=Outcome.OPEN) != incident


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("proven", [False, True])
def test_a_host_once_proven_off_is_finished_even_if_it_looks_well(tmp_path, proven, restarted):
    """Some of its instances may run elsewhere: that is in the journal, so a restart knows it too."""
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(3, host1=CUT)
    spec, _ = daemon.launcher.started[-1]
    at = daemon.now
    status = StepStatus.CHANGED if proven else StepStatus.FAILED
    daemon.report(
        spec.run_id,
        lambda run: TaskStarted(run, "1", "Power off host1", at, "hass_fence"),
        lambda run: TaskEnded(run, "1", "Power off host1", status, at, at, "off", "hass_fence"),
        lambda run: RunEnded(run, "failed", 2, "no valid host", at, {}),
    )
    if restarted:
        daemon.restart()
    daemon.see(15)
    assert len(daemon.launcher.started) == (2 if proven else 1)
    assert (daemon.store.incident(1).outcome is Outcome.CLEARED) is not proven
