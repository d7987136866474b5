"""The loop: what it does when the lease, the database, an event or a run is not as it should be."""

from __future__ import annotations

import logging
import time
import uuid
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from views import DEAD, POLICY, WELL

from hass_runtime import controller as controllers
from hass_runtime.controller import Controller
from hass_runtime.decide.decisions import SetState
from hass_runtime.domain import (
    Bmc,
    Host,
    HostState,
    Layer,
    Move,
    MoveState,
    OrderKind,
    Outcome,
    Reading,
    Scope,
    Verdict,
)
from hass_runtime.leader import Leadership
from hass_runtime.loop import Loop, SteadyClock
from hass_runtime.remedy.runs import MoveChanged, RunEnded, RunsError
from hass_runtime.store import LeaseLost, Store, StoreError

DEAD_AGENT = (Verdict.FAILED, "no answer")
WELL_NETWORK = (Verdict.OK, "answers")
NAMES = ("host1", "host2", "host3", "host4")
HOSTS = tuple(Host(name, "192.0.2.1", "default", Bmc("192.0.2.2", "u", "p")) for name in NAMES)


class FakeRun:
    """A run at work until it is cancelled or ended by the test."""

    def __init__(self, log, spec):
        self.log, self.spec, self.beats, self.cancelled = log, spec, [], ""
        self.run_id = spec.run_id

    def beat(self, *, valid_until):
        self.beats.append(valid_until - time.monotonic())

    def cancel(self, reason):
        self.cancelled = reason
        self.log.append(f"cancel {self.spec.host}")

    def wait(self, timeout=None):
        self.log.append(f"wait {self.spec.host}")
        return True


class FakeLauncher:
    def __init__(self):
        self.runs, self.log, self.survive = [], [], ""

    def end_leftovers(self, run_id, run_dir):
        if self.survive:
            raise RunsError(self.survive)

    def prune(self, runs, keep):
        self.log.append("prune")

    def new_name(self):
        return uuid.uuid4().hex[:8]

    def start(self, spec, sink):
        self.runs.append(FakeRun(self.log, spec))
        return self.runs[-1]

    @property
    def at_work(self):
        return [run.spec.run_id for run in self.runs if not run.cancelled]


def settings_of(directory, ttl=0.6, hosts=HOSTS, name="ctl1"):
    return SimpleNamespace(
        path=Path("/etc/hass.conf"),
        openstack=SimpleNamespace(gateway_ip=None),
        hosts=hosts,
        detection=SimpleNamespace(polling_interval=1.0),
        controller=SimpleNamespace(name=name, lease_ttl=ttl),
        paths=SimpleNamespace(playbooks=directory, own_playbooks=None, state_dir=directory),
        recovery=SimpleNamespace(
            run_timeout=100.0,
            restore_timeout=100.0,
            drain_timeout=100.0,
            restart_timeout=100.0,
            evacuate_timeout=100.0,
            return_delay=0.0,
        ),
    )


class Box:
    """A controller with a made-up launcher and readings; `cycle` is one turn of its loop."""

    def __init__(self, directory, **more):
        self.store = Store(f"sqlite:///{directory}/hass.db")
        self.store.migrate()
        self.launcher = FakeLauncher()
        settings = settings_of(directory, **more)
        self.skipped = 0.0  # seconds by which the clock of deadlines is ahead
        self.controller = Controller(
            settings,
            self.store,
            replace(POLICY, retry_interval=0.1),
            leadership=Leadership(self.store, f"{settings.controller.name}", settings.controller.lease_ttl),
            launcher=self.launcher,
            clock=SteadyClock(),
            monotonic=lambda: time.monotonic() + self.skipped,
        )

    def tell(self, item):
        self.controller.inbox.put(item)

    def cycle(self, *dead):
        for name in NAMES:
            for layer in (Layer.POWER, Layer.NETWORK, Layer.SERVICE):
                verdict, answered = DEAD if name in dead else WELL
                self.tell(Reading(name, layer, verdict, "evidence", 0.0, answered))
        return self.controller.guarded_cycle()

    def state(self, name):
        return next(row.state for row in self.store.hosts() if row.name == name)


@pytest.fixture
def box(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    return Box(tmp_path, ttl=60.0)


def launched(box, *dead):
    for _ in range(3):
        box.cycle(*dead)
    return box.launcher.runs


def test_a_dead_host_is_launched_once(box):
    assert [run.spec.host for run in launched(box, "host1")] == ["host1"]
    box.cycle("host1")
    assert len(box.launcher.runs) == 1
    assert box.launcher.runs[0].spec.breath == 60.0
    assert box.launcher.runs[0].spec.deadline == 100.0


def test_every_cycle_beats_for_as_long_as_the_lease_lasts(box):
    (run,) = launched(box, "host1")
    before = len(run.beats)
    box.cycle("host1")
    assert len(run.beats) > before
    assert all(50.0 < seconds <= 60.0 for seconds in run.beats)


def test_a_loop_that_stalled_longer_than_its_lease_follows_nothing_of_before(tmp_path):
    """The lease is retaken in the same call; the run of the old epoch must not go on beside a new one."""
    box = Box(tmp_path, ttl=0.6)
    (old,) = launched(box, "host1")
    time.sleep(0.7)
    box.cycle("host1")
    assert old.cancelled
    assert len(box.launcher.at_work) == 1
    assert box.launcher.at_work != [old.spec.run_id]
    box.tell(RunEnded(old.spec.run_id, "cancelled", None, "told to", time.time()))
    for _ in range(3):
        box.cycle("host1")
        assert len(box.launcher.at_work) == 1
    assert [run.status for run in box.store.runs(1)] == ["lost", "running"]


def test_another_holder_of_the_lease_ends_what_runs_here(tmp_path):
    box = Box(tmp_path, ttl=0.6)
    (run,) = launched(box, "host1")
    time.sleep(0.7)
    assert box.store.lease_acquire("somebody else", 60.0)
    box.cycle("host1")
    assert run.cancelled
    assert box.controller.health()["role"] == "standby"
    box.cycle("host1", "host2")
    assert len(box.launcher.runs) == 1


@pytest.mark.parametrize("priority", [10**20, "high", None])
def test_an_event_that_cannot_be_recorded_stops_nothing(box, priority, caplog):
    (run,) = launched(box, "host1")
    move = Move(1, "uuid1", "vm1", "host1", MoveState.PENDING, priority=priority)
    box.tell(MoveChanged(run.spec.run_id, move))
    box.tell(RunEnded(run.spec.run_id, "successful", 0, "", time.time()))
    box.cycle("host1")
    assert "cannot be recorded" in caplog.text or box.store.moves(1)
    assert box.store.incident(1).outcome is Outcome.RECOVERED


def test_an_end_that_cannot_be_recorded_is_an_end_all_the_same(box):
    (run,) = launched(box, "host1")
    box.tell(RunEnded(run.spec.run_id, "x" * 1000, 0, "", time.time()))
    for _ in range(3):
        box.cycle("host1")
        time.sleep(0.1)
    assert len(box.launcher.runs) == 2
    assert [each.status for each in box.store.runs(1)] == ["lost", "running"]


def test_without_the_database_nothing_is_decided_and_nothing_is_lost(box, monkeypatch, caplog):
    box.cycle()
    box.cycle()
    away = {"is": True}
    real = box.store.pauses

    def pauses(now=None):
        if away["is"]:
            raise StoreError("the database is away")
        return real(now)

    monkeypatch.setattr(box.store, "pauses", pauses)
    for _ in range(3):
        assert box.cycle("host1") is True
    assert not box.launcher.runs
    assert caplog.text.count("the database is away") == 1
    assert box.controller.health()["status"] == "stale"
    away["is"] = False
    box.cycle("host1")
    assert len(box.launcher.runs) == 1


def test_a_bug_in_a_cycle_is_told_and_is_not_alive(box, monkeypatch, caplog):
    box.cycle()
    monkeypatch.setattr(box.controller, "_decide", lambda writer: 1 / 0)
    assert box.cycle() is False
    assert "BUG" in caplog.text


def test_a_run_that_cannot_be_ended_holds_its_own_host_only(box, tmp_path):
    launched(box, "host1")
    box.store.lease_release(box.store.lease_current())
    again = Box(tmp_path, ttl=60.0)
    again.launcher.survive = "process 4711 survives SIGKILL"
    again.cycle("host1")
    again.cycle("host1")
    assert not again.launcher.runs
    assert "4711" in again.store.incident(1).reason
    again.cycle("host2")
    again.cycle("host2")
    assert [run.spec.host for run in again.launcher.runs] == ["host2"]
    again.launcher.survive = ""
    again.skipped = 1000.0
    for _ in range(3):
        again.cycle("host1", "host2")
    assert {run.spec.host for run in again.launcher.runs} == {"host1", "host2"}


def test_a_host_that_the_configuration_names_no_more_is_told_in_its_incident(box, tmp_path):
    launched(box, "host1")
    box.store.lease_release(box.store.lease_current())
    again = Box(tmp_path, ttl=60.0, hosts=HOSTS[1:])
    again.controller.guarded_cycle()
    incident = again.store.incident(1)
    assert incident.outcome is Outcome.HELD
    assert "does not name this host" in incident.reason
    assert "host1" in {row.name for row in again.store.hosts()}


def test_stopped_it_ends_its_runs_before_it_gives_the_lease_back(box, monkeypatch):
    launched(box, "host1")
    log = box.launcher.log
    release = box.store.lease_release
    monkeypatch.setattr(box.store, "lease_release", lambda lease: (log.append("release"), release(lease)))
    box.controller.stop_all("the controller is stopped", 5.0)
    assert log == ["cancel host1", "wait host1", "release"]


def test_a_loop_that_is_stopped_gives_the_lease_back_without_a_cycle_more(box, tmp_path):
    loop = Loop(settings_of(tmp_path, ttl=60.0), box.store, [], POLICY)
    loop.stop()
    loop.run()
    assert loop.controller.leadership.lease is None
    assert box.store.lease_acquire("somebody else", 60.0)


def test_a_jump_of_the_wall_clock_moves_nothing(box, monkeypatch):
    box.cycle()
    box.cycle()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600.0)
    assert [run.spec.host for run in launched(box, "host1")] == ["host1"]


def test_the_steady_clock_starts_at_the_wall_clock():
    assert abs(SteadyClock()() - time.time()) < 1.0


def test_a_stale_writer_is_refused_by_the_database(box):
    box.cycle()
    writer = box.store.writer(box.store.lease_current())
    box.store.lease_acquire(box.store.lease_current().holder, 60.0)
    with pytest.raises(LeaseLost):
        writer.set_host_state("host1", HostState.FAULTY, "stale", 1.0)


# What people want, and what is told


def test_a_pause_counts_from_the_next_cycle_on_and_ends_by_itself(box):
    box.cycle()
    box.store.disarm("firmware", "ann", scope=Scope.HOST, name="host1")
    launched(box, "host1", "host2")
    assert {run.spec.host for run in box.launcher.runs} == {"host2"}
    assert box.store.incidents(host="host1")[0].gate == "disarmed"
    box.store.arm(scope=Scope.HOST, name="host1")
    box.cycle("host1", "host2")
    assert {run.spec.host for run in box.launcher.runs} == {"host1", "host2"}


def test_an_order_is_carried_out_in_the_next_cycle_and_the_host_is_no_target_any_more(box):
    box.cycle()
    box.store.give_order("host1", OrderKind.MAINTENANCE, "disks", "ann", drain=True)
    box.cycle()
    assert [run.spec.playbook for run in box.launcher.runs] == ["host_drain"]
    assert box.state("host1") is HostState.EVACUATING


def test_a_drain_is_cancelled_when_its_host_dies_and_its_end_lets_the_fence_begin(box):
    box.cycle()
    box.store.give_order("host1", OrderKind.MAINTENANCE, "disks", "ann", drain=True)
    box.cycle()
    (drain,) = box.launcher.runs
    box.cycle("host1")
    box.cycle("host1")
    assert "power" in drain.cancelled
    assert len(box.launcher.runs) == 1
    box.tell(RunEnded(drain.spec.run_id, "cancelled", None, drain.cancelled, time.time()))
    box.cycle("host1")
    assert [run.spec.playbook for run in box.launcher.runs] == ["host_drain", "host_failure"]


def test_a_blind_detector_is_told_in_the_log_and_in_the_health_and_when_it_sees_again(box, caplog):
    box.cycle()
    for _ in range(3):
        for name in NAMES:
            box.tell(Reading(name, Layer.SERVICE, *DEAD_AGENT, 0.0, False))
            box.tell(Reading(name, Layer.NETWORK, *WELL_NETWORK, 0.0, True))
        assert box.controller.guarded_cycle()
    assert set(box.controller.health()["blind"]) == {"service"}
    assert caplog.text.count("detector service: seeing -> blind") == 1
    assert not box.launcher.runs
    box.cycle()
    assert box.controller.health()["blind"] == {}
    assert "detector service: blind -> seeing" in caplog.text


def test_hosts_that_are_not_well_are_looked_at_more_often(box):
    box.cycle()
    assert box.controller.hurried == frozenset()
    box.cycle("host1")
    assert box.controller.hurried == {"host1"}


def test_decisions_without_an_end_are_a_bug_that_ends_the_cycle_and_not_the_daemon(box, monkeypatch, caplog):
    box.cycle()
    again = (SetState("host1", HostState.HEALTHY, "once more"),)
    monkeypatch.setattr(controllers, "decide", lambda view: again)
    assert box.cycle() is True
    assert "BUG: no end of decisions" in caplog.text


def test_readings_are_dated_by_the_clock_that_never_jumps(box):
    box.tell(Reading("host1", Layer.POWER, *WELL_NETWORK, 1e12, False))
    box.cycle()
    known = box.controller.memory.tracks["host1"].layers[Layer.POWER].reading
    assert abs(known.at - time.time()) < 60.0


def test_a_reading_that_is_unchanged_is_written_again_only_after_a_while(box, monkeypatch):
    box.cycle()
    written = []
    real = box.store.writer

    def writer(lease):
        made = real(lease)
        put = made.put_readings
        made.put_readings = lambda readings: (written.append(len(readings)), put(readings))
        return made

    monkeypatch.setattr(box.store, "writer", writer)
    box.cycle()
    box.skipped = 31.0
    box.cycle()
    box.cycle("host1")
    assert written == [0, 12, 3]


def test_in_standby_it_only_watches(tmp_path, box):
    box.cycle()
    other = Box(tmp_path, ttl=60.0, name="ctl2")
    for _ in range(3):
        other.cycle("host1")
    assert not other.launcher.runs
    assert other.controller.health()["role"] == "standby"
    assert other.controller.status() == "standby, 0 of 4 hosts healthy"
    assert box.controller.status() == "leader, 4 of 4 hosts healthy"


def test_a_controller_that_takes_over_goes_on_with_the_incident_and_its_count(box, tmp_path):
    launched(box, "host1")
    box.store.lease_release(box.store.lease_current())
    again = Box(tmp_path, ttl=60.0, name="ctl2")
    launched(again, "host1")
    assert [(run.playbook, run.attempt, run.status) for run in again.store.runs(1)] == [
        ("host_failure", 1, "lost"),
        ("host_failure", 2, "running"),
    ]
    assert len(again.store.incidents()) == 1
