"""The daemon's loop: hold the lease, see, decide, act, record; one thread, one page."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hass_runtime import systemd
from hass_runtime.decide.plan import decide
from hass_runtime.decide.view import Policy
from hass_runtime.detect.watch import Detector, Watch
from hass_runtime.domain import Host, HostState, Layer, Reading
from hass_runtime.leader import Leadership, holder_name
from hass_runtime.memory import GATEWAY, Memory
from hass_runtime.remedy.execute import Executor
from hass_runtime.remedy.resume import end_runs
from hass_runtime.remedy.runs import Launcher, RunEvent
from hass_runtime.settings import ControllerSettings
from hass_runtime.store import Lease, LeaseLost, Store, StoreError, Writer

log = logging.getLogger(__name__)

ROUNDS = 20  # a host goes through fewer states than this in one cycle; more means that decisions disagree
REFRESH = 30.0  # seconds after which an unchanged reading is written again, so that its age can be judged
SETTLE = 0.05  # seconds: readings that come in together are decided upon together
STOP_SECONDS = 30.0  # how long a controller that is stopped waits for its runs to be gone
LOOKED_AT_FASTER = frozenset({HostState.SUSPECT, HostState.FAULTY, HostState.HELD, HostState.RESTORING})


class SteadyClock:
    """Seconds since the epoch, UTC, as it was at the start plus what has passed since: it never jumps."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._offset + time.monotonic()


class Controller:
    """Watches all hosts of the configuration and remedies what fails, while it holds the lease.

    Args:
        detectors: one a layer; the one of the network layer also looks at the controller's own gateway.
        policy: the operator's choices and the symptom table.
    """

    def __init__(
        self, settings: ControllerSettings, store: Store, detectors: Sequence[Detector], policy: Policy
    ) -> None:
        self.settings = settings
        self.store = store
        gateway = settings.openstack.gateway_ip
        hosts = {host.name: host for host in settings.hosts}
        self.memory = Memory(hosts, policy, has_gateway=bool(gateway))
        self._inbox: queue.SimpleQueue[Reading | RunEvent] = queue.SimpleQueue()
        self._events: deque[RunEvent] = deque()
        self._written: dict[tuple[str, Layer], float] = {}
        pairs = [(detector, host) for host in hosts.values() for detector in detectors]
        if gateway:
            pairs += [(d, Host(GATEWAY, gateway)) for d in detectors if d.layer is Layer.NETWORK]
        self._watch = Watch(pairs, settings.detection.polling_interval, self._inbox.put)
        self._leadership = Leadership(
            store,
            holder_name(settings.controller.name),
            settings.controller.lease_ttl,
            bury=lambda: end_runs(store.unfinished_runs()),
        )
        self._now = SteadyClock()
        self._executor = Executor(
            settings,
            store,
            Launcher(settings.paths.playbooks),
            self.memory,
            self._inbox.put,
            self._now,
            lambda: self._leadership.valid_until,
        )
        self._epoch = 0
        self._stopping = threading.Event()
        self._cycled_at = time.monotonic()
        self._failing = ""

    # -- the loop --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until `stop` is called; then end all runs and give the lease back."""
        self._watch.start()
        systemd.notify(READY="1")
        pet_every = systemd.watchdog_interval()
        petted_at = 0.0
        while not self._stopping.is_set():
            if self._guarded_cycle() and pet_every and time.monotonic() - petted_at >= pet_every:
                petted_at = time.monotonic()
                systemd.notify(WATCHDOG="1", STATUS=self._status())
            self._wait()
        systemd.notify(STOPPING="1")
        self._watch.stop()
        self._executor.stop_all("the controller is stopped", STOP_SECONDS)
        self._leadership.release()

    def stop(self) -> None:
        self._stopping.set()

    def _wait(self) -> None:
        """Until something was seen or reported, or it is time for the next look at the clock."""
        pause = min(self.settings.detection.polling_interval / 2, self.settings.controller.lease_ttl / 6, 1.0)
        try:
            self._take(self._inbox.get(timeout=pause))
        except queue.Empty:
            return
        self._stopping.wait(SETTLE)

    def _guarded_cycle(self) -> bool:
        """One cycle; what goes wrong in it is said once, and nothing is decided until it is right again."""
        try:
            self.cycle()
        except LeaseLost as lost:
            self._stand_by(f"lease lost: {lost}")
        except StoreError as error:
            if str(error) != self._failing:
                log.error("nothing is decided until this is right again: %s", error)
            self._failing = str(error)
        except Exception:  # the daemon outlives its bugs; systemd's watchdog does not outlive its silence
            log.exception("BUG: a cycle failed; nothing is decided in it")
            self._stopping.wait(1.0)
            return False
        else:
            self._failing = ""
            self._cycled_at = time.monotonic()
            return True
        # A database that is away is not cured by starting again, a bug may be: only the latter is not alive.
        return True

    def cycle(self) -> None:
        """See, decide, act, record, once."""
        while not self._inbox.empty():
            self._take(self._inbox.get_nowait())
        lease = self._leadership.tick()
        if lease is None:
            self._stand_by("another controller holds the lease, or the database cannot be asked")
            return
        writer = self.store.writer(lease)
        if lease.epoch != self._epoch:
            self._take_over(lease, writer)
        self._executor.beat()
        self._executor.clear_leftovers(writer)
        self._record_readings(writer)
        while self._events:
            self._follow(self._events[0], writer)
            self._events.popleft()
        self._decide(writer)
        self._watch.hurry(
            frozenset(name for name, state in self.memory.states.items() if state in LOOKED_AT_FASTER)
        )

    def _decide(self, writer: Writer) -> None:
        switch = self.store.disarmed(time.time())
        reason = f"switched off by {switch.by}: {switch.reason}" if switch else ""
        for _ in range(ROUNDS):
            decisions = decide(self.memory.view(self._now(), reason))
            if not decisions:
                return
            for decision in decisions:
                if self._leadership.tick() is None:  # many hosts and a slow database take their time
                    raise LeaseLost("it ran out while decisions were carried out")
                self._executor.beat()
                self._executor.carry_out(decision, writer)
        log.error("BUG: no end of decisions after %d rounds, the last were %r", ROUNDS, decisions)

    # -- what comes in ---------------------------------------------------------------------------------

    def _follow(self, event: RunEvent, writer: Writer) -> None:
        """Journal an event. One that the database refuses for what it says must not stop all that follow."""
        try:
            self._executor.follow(event, writer)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - a driver's OverflowError, a constraint, anything
            self.store.check()  # raises when the database itself is the trouble: then it is tried again
            log.error("an event of run %s cannot be recorded (%s): %r", event.run_id, error, event)
            self._executor.drop(event)

    def _take(self, item: Reading | RunEvent) -> None:
        if not isinstance(item, Reading):
            self._events.append(item)
        elif self.memory.observe(replace(item, at=self._now())):  # dated by the one clock that never jumps
            self._written.pop((item.subject, item.layer), None)

    def _record_readings(self, writer: Writer) -> None:
        now = time.monotonic()
        due = [
            layer.reading
            for name in self.memory.hosts
            for layer in self.memory.tracks[name].layers.values()
            if now - self._written.get((name, layer.reading.layer), -REFRESH) >= REFRESH
        ]
        writer.put_readings(due)
        self._written.update({(reading.subject, reading.layer): now for reading in due})

    # -- the lease -------------------------------------------------------------------------------------

    def _take_over(self, lease: Lease, writer: Writer) -> None:
        """A new epoch, even of the same holder: what was begun under the old one is not followed any more."""
        self._events.clear()
        self._executor.take_over(writer)
        self._written.clear()
        self._epoch = lease.epoch

    def _stand_by(self, why: str) -> None:
        """Without the lease nothing is done: runs of this controller end, another one starts them again."""
        self._leadership.drop()
        if self._epoch:
            log.error("standing by: %s", why)
            self._executor.cancel_all(why)
        self._epoch = 0
        self._events.clear()

    # -- what others ask -------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """For `/healthz`: whether the loop turns, and whether this is the controller that acts."""
        age = time.monotonic() - self._cycled_at
        lease = self._leadership.lease
        stale = age > max(10.0, 3 * self.settings.detection.polling_interval)
        return {
            "status": "stale" if stale or self._failing else "ok" if lease else "standby",
            "role": "leader" if lease else "standby",
            "holder": lease.holder if lease else "",
            "epoch": lease.epoch if lease else 0,
            "cycle_age": round(age, 3),
            "reason": self._failing,
        }

    def _status(self) -> str:
        states = list(self.memory.states.values())
        healthy = sum(state is HostState.HEALTHY for state in states)
        return f"{self.health()['role']}, {healthy} of {len(states)} hosts healthy"
