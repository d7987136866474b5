"""A controller without its loop, on a real database: killed and started again where a test wants it."""

from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

from sqlalchemy import event as sql_event
from views import COMPLAINING, CUT, POLICY, WELL

from hass_runtime.decide.plan import decide
from hass_runtime.decide.view import DRAIN, FAILURE, RESTORE
from hass_runtime.domain import (
    Bmc,
    Host,
    Layer,
    Move,
    MoveState,
    OrderKind,
    Reading,
    StepStatus,
)
from hass_runtime.memory import Memory
from hass_runtime.remedy.execute import Executor
from hass_runtime.remedy.runs import MoveChanged, RunEnded, RunsError, TaskEnded, TaskStarted
from hass_runtime.store import Store

HOSTS = {
    name: Host(name, "192.0.2.1", "default", Bmc("192.0.2.2", "u", "p"))
    for name in ("host1", "host2", "host3")
}
LAYERS = (Layer.POWER, Layer.HARDWARE, Layer.NETWORK, Layer.SERVICE)
RESTART = "service_restart"


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


class Slate:
    """A database with tables that is wiped clean again and again, by one `Store`: to make the tables, and to
    think about every statement anew, takes longer than many a story.
    """

    def __init__(self, directory: Path):
        self.path, self._clean = directory / "hass.db", directory / "clean.db"
        self.store = Store(f"sqlite:///{self.path}")
        # A controller dies here, not the machine: nothing has to reach the disk.
        sql_event.listen(self.store._engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
        self.store.migrate()
        self.store.close()
        shutil.copy(self.path, self._clean)

    def wiped(self) -> Store:
        self.store.close()
        for left in self.path.parent.glob("hass.db*"):
            left.unlink()
        shutil.copy(self._clean, self.path)
        return self.store


class FakeLauncher:
    """Notes what is launched, and whether the journal already knew."""

    def __init__(self, store):
        self.store, self.started, self.cancelled, self.pruned = store, [], [], []
        self.ended, self.survive = [], ""
        self._names = itertools.count(1)

    def start(self, spec, sink):
        assert [run.id for run in self.store.unfinished_runs()] == [spec.run_id], (
            "launched before it was journalled"
        )
        assert self.store.incident(spec.incident).phase == spec.playbook
        self.started.append((spec, sink))
        return SimpleNamespace(
            run_id=spec.run_id,
            beat=lambda valid_until: None,
            cancel=lambda reason: self.cancelled.append((spec.run_id, reason)),
            wait=lambda s: True,
        )

    def end_leftovers(self, run_id, run_dir):
        if self.survive:
            raise RunsError(self.survive)
        self.ended.append(run_id)

    def prune(self, runs, keep):
        self.pruned.append(set(keep))

    def new_name(self):
        return f"{next(self._names)}"


class Daemon:
    """A controller without its loop: one at a time on one database; `restart` is a new process."""

    def __init__(
        self,
        path: Path,
        dies_before: int = -1,
        dies_after: int = -1,
        policy=POLICY,
        store: Store | None = None,
    ):
        self.store = store or Store(f"sqlite:///{path}")
        if store is None:
            self.store.migrate()
        self.launcher = FakeLauncher(self.store)
        self.path, self.policy = path, policy
        self.dies_before, self.dies_after = dies_before, dies_after
        self.writes = 0
        self.deaths = []
        self.now = time.time()
        self.surviving(self.restart)

    def surviving(self, action):
        """Do it; where the controller is killed, start another one and do it again."""
        for _ in range(3):
            try:
                return action()
            except Killed:
                self.dies_before = self.dies_after = -1
                self.deaths.append(self.writes)
                self.restart()
                if action == self.restart:
                    return None
        raise AssertionError("killed more often than asked for")

    def restart(self):
        # Leases differ in their holder, so a restart is a new epoch; the old one has run out.
        current = self.store.lease_current()
        if current:
            self.store.lease_release(current)
        self.lease = self.store.lease_acquire(f"controller-{time.monotonic_ns()}", 600.0)
        self.writer = Mortal(self.store.writer(self.lease), self)
        self.memory = Memory(HOSTS, self.policy)
        settings = SimpleNamespace(
            path=Path("/etc/hass.conf"),
            paths=SimpleNamespace(state_dir=self.path.parent),
            recovery=SimpleNamespace(
                run_timeout=1000.0,
                restore_timeout=100.0,
                return_delay=0.0,
                drain_timeout=300.0,
                restart_timeout=30.0,
                evacuate_timeout=200.0,
            ),
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
            lambda: self.now,
            lambda: time.monotonic() + 600.0,
        )
        self.executor.take_over(self.writer)

    def see(self, seconds=1, **looks):
        self.memory.told(self.store.pauses(self.now), self.store.orders(self.now))
        for _ in range(seconds):
            self.now += 1.0
            for name in HOSTS:
                for layer in LAYERS:
                    verdict, answered = looks.get(name, {}).get(layer, WELL)
                    self.memory.observe(Reading(name, layer, verdict, "evidence", self.now, answered))
            self.settle()

    def settle(self):
        for _ in range(20):
            decisions = decide(self.memory.view(self.now))
            if not decisions:
                return
            for decision in decisions:
                self.executor.carry_out(decision, self.writer)
        raise AssertionError(f"no end of decisions: {decisions}")

    def state(self, name="host1"):
        return next(row.state for row in self.store.hosts() if row.name == name)

    def playbooks(self):
        """The playbooks launched, in order."""
        return [spec.playbook for spec, _ in self.launcher.started]

    def report(self, run_id, *events):
        for event in events:
            self.executor.follow(event(run_id), self.writer)

    def finish(self, playbook, status="successful", reason="", facts=None):
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
            DRAIN: [
                lambda run: TaskStarted(run, "1", "Move away", at, "hass_drain"),
                lambda run: MoveChanged(run, move),
            ],
            RESTORE: [lambda run: TaskStarted(run, "1", "Power on host1", at, "hass_power")],
        }.get(playbook, [])
        self.report(spec.run_id, *said, lambda run: RunEnded(run, status, 0, reason, at, facts or {}))


def whole_story(daemon):
    """From well to dead to evacuated to back; a killed controller is started again wherever it dies."""
    daemon.surviving(lambda: daemon.see(2))
    daemon.surviving(lambda: daemon.see(3, host1=CUT))
    for playbook in (FAILURE, RESTORE):
        for _ in range(6):
            if succeeded(daemon, playbook):
                break
            daemon.surviving(lambda: daemon.see(1, host1=CUT))
            daemon.surviving(lambda p=playbook: daemon.finish(p))
    daemon.surviving(lambda: daemon.see(3))


def ladder_story(daemon):
    """A service that cannot be restarted: its host is emptied, and taken back when it is well."""
    daemon.surviving(lambda: daemon.see(2))
    daemon.surviving(lambda: daemon.see(2, host1=COMPLAINING))
    for _ in range(12):
        if succeeded(daemon, DRAIN):
            break
        if daemon.memory.running.get("host1") == RESTART:
            daemon.surviving(lambda: daemon.finish(RESTART, "failed", "masked"))
        daemon.surviving(lambda: daemon.see(25, host1=COMPLAINING))
        daemon.surviving(lambda: daemon.finish(DRAIN))
    daemon.surviving(lambda: daemon.see(3))
    for _ in range(6):
        if succeeded(daemon, RESTORE):
            break
        daemon.surviving(lambda: daemon.see(5))
        daemon.surviving(lambda: daemon.finish(RESTORE))
    daemon.surviving(lambda: daemon.see(3))


def maintenance_story(daemon):
    """A person has a host emptied and takes it back; meanwhile it is switched off and on."""

    def once(kind, **more):
        if not daemon.store.orders(daemon.now) and not daemon.store.incidents():
            daemon.store.give_order("host1", kind, "disks", "ann", at=daemon.now, **more)

    daemon.surviving(lambda: daemon.see(2))
    once(OrderKind.MAINTENANCE, drain=True)
    for _ in range(4):
        daemon.surviving(lambda: daemon.see(1))
        daemon.surviving(lambda: daemon.finish(DRAIN))
    daemon.surviving(lambda: daemon.see(3, host1=CUT))
    daemon.store.end_orders("host1", OrderKind.MAINTENANCE, daemon.now)
    for _ in range(4):
        daemon.surviving(lambda: daemon.see(1))
        daemon.surviving(lambda: daemon.finish(RESTORE))
    daemon.surviving(lambda: daemon.see(3))


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
