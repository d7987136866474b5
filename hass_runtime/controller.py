"""What the daemon does once a cycle: hold the lease, see, decide, act, record.

`Controller` has no thread, no socket and no clock of its own: `loop.py` gives it the real ones, the simulator
made-up ones, and both drive the same code.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hass_runtime.decide.decisions import CloseIncident
from hass_runtime.decide.plan import decide
from hass_runtime.decide.view import Policy, View
from hass_runtime.domain import HostState, Layer, Reading
from hass_runtime.explain.chronicle import Chronicle
from hass_runtime.leader import Leadership
from hass_runtime.memory import Memory
from hass_runtime.remedy.execute import Executor, Launches
from hass_runtime.remedy.runs import RunEvent
from hass_runtime.settings import ControllerSettings
from hass_runtime.store import Decided, Lease, LeaseLost, Store, StoreError, Writer

log = logging.getLogger(__name__)

ROUNDS = 20  # a host goes through fewer states than this in one cycle; more means that decisions disagree
REFRESH = 30.0  # seconds after which an unchanged reading is written again, so that its age can be judged
EXPLAINED = 200  # incidents of which it is kept what they were decided from
LOOKED_AT_FASTER = frozenset({HostState.SUSPECT, HostState.FAULTY, HostState.HELD, HostState.RESTORING})


class Controller:
    """Remedies what fails among the hosts of the configuration, while it holds the lease.

    Args:
        policy: the operator's choices and the symptom table.
        leadership: which of several controllers acts.
        launcher: starts the runs of playbooks.
        clock: seconds since the epoch, UTC, that never jump.
        wall: the time by which people set the end of a pause or an order.
        monotonic: the clock of leases and deadlines.
    """

    def __init__(
        self,
        settings: ControllerSettings,
        store: Store,
        policy: Policy,
        *,
        leadership: Leadership,
        launcher: Launches,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.store = store
        hosts = {host.name: host for host in settings.hosts}
        self.memory = Memory(hosts, policy, has_gateway=bool(settings.openstack.gateway_ip))
        self.leadership = leadership
        self.inbox: queue.SimpleQueue[Reading | RunEvent] = queue.SimpleQueue()
        """What detectors and runs have to say, from any thread."""
        self._events: deque[RunEvent] = deque()
        self._written: dict[tuple[str, Layer], float] = {}
        self._now = clock
        self._wall = wall
        self._monotonic = monotonic
        self._executor = Executor(
            settings,
            store,
            launcher,
            self.memory,
            self.inbox.put,
            clock,
            monotonic,
            lambda: leadership.valid_until,
        )
        self._epoch = 0
        self._cycled_at = monotonic()
        self._failing = ""
        self._blind: Mapping[Layer, str] = {}
        self.seen: View | None = None
        """What the last cycle that decided left as it is; frozen, for other threads to look at."""

    # -- the cycle -------------------------------------------------------------------------------------

    def guarded_cycle(self) -> bool:
        """One cycle; what goes wrong in it is said once, and nothing is decided until it is right again.

        Returns:
            False when a bug ended it: whoever watches over this process should not count it as alive.
        """
        try:
            self.cycle()
        except LeaseLost as lost:
            self._stand_by(f"lease lost: {lost}")
        except StoreError as error:
            # A database that is away is not cured by starting this process again, a bug may be.
            if str(error) != self._failing:
                log.error("nothing is decided until this is right again: %s", error)
            self._failing = str(error)
        except Exception:  # the daemon outlives its bugs; systemd's watchdog does not outlive its silence
            log.exception("BUG: a cycle failed; nothing is decided in it")
            return False
        else:
            self._failing = ""
            self._cycled_at = self._monotonic()
        return True

    def cycle(self) -> None:
        """See, decide, act, record, once."""
        while not self.inbox.empty():
            self.notice(self.inbox.get_nowait())
        lease = self.leadership.tick()
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

    def notice(self, item: Reading | RunEvent) -> None:
        """Take what was seen or reported; only from the thread that cycles, others use `inbox`."""
        if not isinstance(item, Reading):
            self._events.append(item)
        elif self.memory.observe(item.dated(self._now())):  # dated by the one clock that never jumps
            self._written.pop((item.subject, item.layer), None)

    @property
    def hurried(self) -> frozenset[str]:
        """The hosts that are to be looked at more often now."""
        return frozenset(name for name, state in self.memory.states.items() if state in LOOKED_AT_FASTER)

    def _decide(self, writer: Writer) -> None:
        wall = self._wall()
        self.memory.told(self.store.pauses(wall), self.store.orders(wall))
        for _ in range(ROUNDS):
            view = self.memory.view(self._now())
            self._tell_blind(view)
            decisions = decide(view)
            if not decisions:
                self.seen = view
                return
            chronicle = Chronicle(view, decisions)
            self._keep(chronicle.known, chronicle, writer)
            for decision in decisions:
                if self.leadership.tick() is None:  # many hosts and a slow database take their time
                    raise LeaseLost("it ran out while decisions were carried out")
                self._executor.beat()
                self._executor.carry_out(decision, writer)
            self._keep(chronicle.opened(self.memory.incidents), chronicle, writer)
            if any(isinstance(decision, CloseIncident) for decision in decisions):
                self._keep_less(writer)
        log.error("BUG: no end of decisions after %d rounds, the last were %r", ROUNDS, decisions)

    def _keep(self, made: Sequence[Decided], chronicle: Chronicle, writer: Writer) -> None:
        """Keep what was decided with what it was made from. Who cannot explain himself acts all the same."""
        if not made:
            return
        try:
            chronicle.snapshot = writer.put_decided(made, chronicle.body, chronicle.snapshot)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - see `_follow`
            self.store.check()
            log.error("what %d decisions were made from cannot be kept: %s", len(made), error)

    def _keep_less(self, writer: Writer) -> None:
        try:
            writer.forget_decided(EXPLAINED)
        except StoreError as error:
            self.store.check()
            log.error("what old decisions were made from cannot be forgotten: %s", error)

    def _tell_blind(self, view: View) -> None:
        for layer in view.blind.keys() - self._blind.keys():
            log.error("detector %s: seeing -> blind (%s)", layer.value, view.blind[layer])
        for layer in self._blind.keys() - view.blind.keys():
            log.warning("detector %s: blind -> seeing", layer.value)
        self._blind = view.blind

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

    def _record_readings(self, writer: Writer) -> None:
        now = self._monotonic()
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
        self.leadership.drop()
        if self._epoch:
            log.error("standing by: %s", why)
            self._executor.cancel_all(why)
        self._epoch = 0
        self.seen = None
        self._events.clear()

    def stop_all(self, reason: str, seconds: float) -> None:
        """End all runs, wait until they are gone (``seconds`` at most), and give the lease back."""
        self._executor.stop_all(reason, seconds)
        self.leadership.release()

    # -- what others ask -------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """For `/healthz`: whether the loop turns, and whether this is the controller that acts."""
        age = self._monotonic() - self._cycled_at
        lease = self.leadership.lease
        stale = age > max(10.0, 3 * self.settings.detection.polling_interval)
        return {
            "status": "stale" if stale or self._failing else "ok" if lease else "standby",
            "role": "leader" if lease else "standby",
            "holder": lease.holder if lease else "",
            "epoch": lease.epoch if lease else 0,
            "cycle_age": round(age, 3),
            "reason": self._failing,
            "blind": {layer.value: why for layer, why in self._blind.items()},
        }

    def status(self) -> str:
        """One line for the service manager."""
        states = list(self.memory.states.values())
        healthy = sum(state is HostState.HEALTHY for state in states)
        return f"{self.health()['role']}, {healthy} of {len(states)} hosts healthy"
