"""The loop: what it does when the lease, the database, an event or a run is not as it should be."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from views import DEAD, POLICY, WELL

from hass_runtime.controller import Controller, SteadyClock
from hass_runtime.domain import Bmc, Host, HostState, Layer, Move, MoveState, Outcome, Reading
from hass_runtime.remedy import resume
from hass_runtime.remedy.runs import MoveChanged, RunEnded, RunsError
from hass_runtime.store import LeaseLost, Store, StoreError

NAMES = ("host1", "host2", "host3", "host4")
HOSTS = tuple(Host(name, "192.0.2.1", "default", Bmc("192.0.2.2", "u", "p")) for name in NAMES)


class FakeRun:
    """A run at work until it is cancelled or ended by the test."""

    def __init__(self, log, spec):
        self.log, self.spec, self.beats, self.cancelled = log, spec, [], ""
        self.pid = 1

    def beat(self, *, valid_until):
        self.beats.append(valid_until - time.monotonic())

    def cancel(self, reason):
        self.cancelled = reason
        self.log.append(f"cancel {self.spec.host}")

    def wait(self, seconds):
        self.log.append(f"wait {self.spec.host}")
        return True


class FakeLauncher:
    def __init__(self):
        self.runs, self.log = [], []

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
        paths=SimpleNamespace(playbooks=directory, state_dir=directory),
        recovery=SimpleNamespace(run_timeout=100.0, restore_timeout=100.0),
    )


class Box:
    """A controller with a made-up launcher and readings; `cycle` is one turn of its loop."""

    def __init__(self, directory, **more):
        self.store = Store(f"sqlite:///{directory}/hass.db")
        self.store.migrate()
        self.launcher = FakeLauncher()
        self.controller = Controller(
            settings_of(directory, **more), self.store, [], replace(POLICY, retry_interval=0.1)
        )
        self.controller._executor._launcher = self.launcher

    def tell(self, item):
        self.controller._inbox.put(item)

    def cycle(self, *dead):
        for name in NAMES:
            for layer in (Layer.POWER, Layer.NETWORK, Layer.SERVICE):
                verdict, answered = DEAD if name in dead else WELL
                self.tell(Reading(name, layer, verdict, "evidence", 0.0, answered))
        return self.controller._guarded_cycle()

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
    real = box.store.disarmed

    def disarmed(now=None):
        if away["is"]:
            raise StoreError("the database is away")
        return real(now)

    monkeypatch.setattr(box.store, "disarmed", disarmed)
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
    monkeypatch.setattr(box.controller._stopping, "wait", lambda seconds: None)
    assert box.cycle() is False
    assert "BUG" in caplog.text


def test_a_run_that_cannot_be_ended_holds_its_own_host_only(box, tmp_path, monkeypatch):
    launched(box, "host1")

    def survives(run_dir, grace=10.0):
        raise RunsError("process 4711 survives SIGKILL")

    monkeypatch.setattr(resume, "terminate_leftovers", survives)
    box.store.lease_release(box.store.lease_current())
    again = Box(tmp_path, ttl=60.0)
    again.cycle("host1")
    again.cycle("host1")
    assert not again.launcher.runs
    assert "4711" in again.store.incident(1).reason
    again.cycle("host2")
    again.cycle("host2")
    assert [run.spec.host for run in again.launcher.runs] == ["host2"]
    monkeypatch.setattr(resume, "terminate_leftovers", lambda run_dir, grace=10.0: ())
    again.controller._executor._cleared_at = -1000.0
    for _ in range(3):
        again.cycle("host1", "host2")
    assert {run.spec.host for run in again.launcher.runs} == {"host1", "host2"}


def test_a_host_that_the_configuration_names_no_more_is_told_in_its_incident(box, tmp_path):
    launched(box, "host1")
    box.store.lease_release(box.store.lease_current())
    again = Box(tmp_path, ttl=60.0, hosts=HOSTS[1:])
    again.controller._guarded_cycle()
    incident = again.store.incident(1)
    assert incident.outcome is Outcome.HELD
    assert "does not name this host" in incident.reason
    assert "host1" in {row.name for row in again.store.hosts()}


def test_stopped_it_ends_its_runs_before_it_gives_the_lease_back(box, monkeypatch):
    launched(box, "host1")
    log = box.launcher.log
    release = box.store.lease_release
    monkeypatch.setattr(box.store, "lease_release", lambda lease: (log.append("release"), release(lease)))
    box.controller.stop()
    box.controller.run()
    assert log == ["cancel host1", "wait host1", "release"]


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
