"""The store in memory: what `hass_runtime.store` promises, without a database, for made-up worlds.

`tests/unit/test_simulator_journal.py` holds it to the same suite as the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from hass_runtime.domain import (
    Choice,
    Incident,
    Layer,
    Move,
    Order,
    OrderKind,
    Pause,
    Reading,
    Scope,
    Step,
    Verdict,
)
from hass_runtime.simulator.journal_decided import Decisions
from hass_runtime.simulator.journal_writer import JournalWriter
from hass_runtime.store import words
from hass_runtime.store.records import Decided, HostRow, LayerRow, Lease, LeaseLost, Run, StoreError

_WIDEST_FIRST = list(Scope)
_LAYERS = list(Layer)
_WANT_A_REASON = (OrderKind.MAINTENANCE, OrderKind.CONFIRM_FENCED)

Tell = Callable[[str, Any, Any], None]
"""Called with what was written: its kind, how it was before (None: it is new) and how it is now."""


class Journal:
    """As `store.Store`, for one process.

    Args:
        clock: the database's own, seconds since the epoch.
        tell: hears of every change of a host's state, an incident, a run, a step or a move.
    """

    label = "the simulator's memory"

    def __init__(self, clock: Callable[[], float], tell: Tell = lambda kind, before, after: None) -> None:
        self.clock = clock
        self.tell = tell
        self.away = False
        """Whether the database does not answer."""
        self.host_rows: dict[str, HostRow] = {}
        self.watched: set[str] = set()
        self.layers: dict[str, dict[Layer, tuple[Reading, float]]] = {}
        """The latest reading of each, as it was given, and since when its verdict is the same."""
        self.all_incidents: dict[int, Incident] = {}
        self.open_by_host: dict[str, int] = {}
        self.run_rows: dict[str, Run] = {}
        self.running: dict[str, Run] = {}
        self.step_rows: dict[int, dict[tuple[str, str | int], Step]] = {}
        self.move_rows: dict[int, dict[str, Move]] = {}
        self.decisions = Decisions()
        self.step_count = 0
        self._lease: Lease | None = None
        self._epoch = 0
        self._pauses: list[tuple[Pause, float | None]] = []
        self._orders: list[tuple[Order, float | None]] = []
        self.choice_rows: dict[str, Choice] = {}

    def __repr__(self) -> str:
        return f"Journal({self.label})"

    def migrate(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise StoreError unless the database answers."""
        if self.away:
            raise StoreError(f"{self.label}: the database does not answer")

    def close(self) -> None:
        """There is nothing to close."""

    # The lease

    def lease_acquire(self, holder: str, ttl: float) -> Lease | None:
        self.check()
        holder = words.name(holder, "lease holder")
        current, now = self._lease, self.clock()
        if current is not None and current.expires_at > now and current.holder != holder:
            return None
        self._epoch += 1
        self._lease = Lease(holder, self._epoch, now + ttl, ttl)
        return self._lease

    def lease_renew(self, lease: Lease) -> Lease:
        self.guard(lease)
        self._lease = Lease(lease.holder, lease.epoch, self.clock() + lease.ttl, lease.ttl)
        return self._lease

    def lease_release(self, lease: Lease) -> None:
        self.check()
        if self._mine(lease):
            self._lease = None

    def lease_current(self) -> Lease | None:
        self.check()
        lease = self._lease
        return lease if lease is not None and lease.expires_at > self.clock() else None

    def guard(self, lease: Lease) -> None:
        """Raise LeaseLost unless this one is in force."""
        self.check()
        current = self._lease
        if current is None or not self._mine(lease) or current.expires_at <= self.clock():
            raise LeaseLost(
                f"controller {lease.holder} does not hold the lease (epoch {lease.epoch}) any more"
            )

    def _mine(self, lease: Lease) -> bool:
        current = self._lease
        return current is not None and (current.holder, current.epoch) == (lease.holder, lease.epoch)

    def writer(self, lease: Lease) -> JournalWriter:
        return JournalWriter(self, lease)

    # What is known

    def hosts(self) -> list[HostRow]:
        self.check()
        found = []
        for name in sorted(self.watched):
            layers = self.layers.get(name, {})
            ordered = {layer: _row(*layers[layer]) for layer in _LAYERS if layer in layers}
            found.append(replace(self.host_rows[name], layers=ordered))
        return found

    def incidents(self, limit: int = 100, host: str | None = None, open_only: bool = False) -> list[Incident]:
        self.check()
        found = list(self.all_incidents.values())
        if open_only:
            found = [self.all_incidents[id] for id in sorted(self.open_by_host.values())]
        if host is not None:
            found = [each for each in found if each.host == words.clean(host)]
        return found[::-1][:limit]

    def incident(self, id: int) -> Incident | None:
        self.check()
        return self.all_incidents.get(id)

    def fences_since(self, t: float) -> list[Incident]:
        self.check()
        found = [
            (each.fenced_at, each.id, each)
            for each in self.all_incidents.values()
            if each.fenced_at is not None and each.fenced_at >= t
        ]
        return [each for _, _, each in sorted(found, key=lambda item: item[:2])]

    def steps(self, id: int) -> list[Step]:
        self.check()
        found = self.step_rows.get(id, {}).values()
        return sorted(found, key=lambda step: (step.started_at, step.id))

    def moves(self, id: int) -> list[Move]:
        self.check()
        return list(self.move_rows.get(id, {}).values())

    def runs(self, id: int) -> list[Run]:
        self.check()
        return _in_order(run for run in self.run_rows.values() if run.incident == id)

    def unfinished_runs(self) -> list[Run]:
        self.check()
        return _in_order(self.running.values())

    def decided(self, id: int) -> list[Decided]:
        self.check()
        return list(self.decisions.made.get(id, ()))

    def snapshot(self, id: int) -> bytes | None:
        self.check()
        body = self.decisions.bodies.get(id)
        return None if body is None else body()

    # What people want

    def disarm(
        self,
        reason: str,
        by: str,
        until: float | None = None,
        at: float | None = None,
        scope: Scope = Scope.ALL,
        name: str = "",
    ) -> Pause:
        self.check()
        scope, moment = Scope(scope), self.clock() if at is None else at
        if not words.clean(reason).strip():
            raise StoreError("disarm: a reason is needed, whoever is called at night will want to read it")
        if until is not None and until <= moment:
            raise StoreError("disarm: its end must lie after its beginning")
        made = Pause(
            words.long(reason.strip()), words.short(by), moment, until, scope, self._known(scope, name)
        )
        self._end_pause(moment, scope, made.name)
        self._pauses.append((made, None))
        self.tell("pause", None, made)
        return made

    def arm(self, at: float | None = None, scope: Scope = Scope.ALL, name: str = "") -> bool:
        self.check()
        scope, text, moment = Scope(scope), words.clean(name), self.clock() if at is None else at
        was = any((pause.scope, pause.name) == (scope, text) for pause in self.pauses(moment))
        if not was:
            self._known(scope, name)
        self._end_pause(moment, scope, text)
        self.tell("pause", None, None)
        return was

    def pauses(self, now: float | None = None) -> tuple[Pause, ...]:
        self.check()
        if not self._pauses:
            return ()
        moment = self.clock() if now is None else now
        found = {
            (pause.scope, pause.name): pause
            for pause, ended_at in self._pauses
            if ended_at is None and (pause.until is None or pause.until > moment)
        }
        return tuple(sorted(found.values(), key=lambda each: (_WIDEST_FIRST.index(each.scope), each.name)))

    def disarmed(self, now: float | None = None) -> Pause | None:
        return next((pause for pause in self.pauses(now) if pause.scope is Scope.ALL), None)

    def _end_pause(self, at: float, scope: Scope, name: str) -> None:
        self._pauses = [
            (pause, _ended(pause.until, at)) if mine and ended_at is None else (pause, ended_at)
            for pause, ended_at in self._pauses
            for mine in ((pause.scope, pause.name) == (scope, name),)
        ]

    def _known(self, scope: Scope, name: str) -> str:
        if scope is Scope.ALL:
            if name:
                raise StoreError(f"a pause of everything has no name, got {words.short(name)!r}")
            return ""
        clusters = {self.host_rows[each].cluster for each in self.watched}
        return words.known(name, clusters if scope is Scope.CLUSTER else self.watched, scope.value)

    def give_order(
        self,
        host: str,
        kind: OrderKind,
        reason: str,
        by: str,
        until: float | None = None,
        drain: bool = False,
        at: float | None = None,
        incident: int = 0,
    ) -> Order:
        self.check()
        kind, text = OrderKind(kind), words.clean(reason).strip()
        moment = self.clock() if at is None else at
        if kind in _WANT_A_REASON and not text:
            raise StoreError(f"order {kind.value}: a reason is needed, others will want to read it")
        if until is not None and until <= moment:
            raise StoreError(f"order {kind.value}: its end must lie after its beginning")
        known = words.known(host, self.watched, "host")
        self._end_orders(moment, lambda order: (order.host, order.kind) == (known, kind))
        made = Order(
            len(self._orders) + 1,
            known,
            kind,
            words.long(text),
            words.short(by),
            moment,
            until,
            drain,
            incident,
        )
        self._orders.append((made, None))
        self.tell("order", None, made)
        return made

    def end_orders(self, host: str, kind: OrderKind, at: float | None = None) -> bool:
        self.check()
        name, kind, moment = words.clean(host), OrderKind(kind), self.clock() if at is None else at
        was = any((order.host, order.kind) == (name, kind) for order in self.orders(moment))
        if not was:
            words.known(host, self.watched, "host")
        self._end_orders(moment, lambda order: (order.host, order.kind) == (name, kind))
        self.tell("order", None, None)
        return was

    def orders(self, now: float | None = None) -> tuple[Order, ...]:
        self.check()
        if not self._orders:
            return ()
        moment = self.clock() if now is None else now
        return tuple(
            order
            for order, ended_at in self._orders
            if ended_at is None and (order.until is None or order.until > moment)
        )

    def choose(
        self,
        instance: str,
        protected: bool,
        reason: str,
        by: str,
        name: str = "",
        at: float | None = None,
    ) -> Choice:
        self.check()
        moment = self.clock() if at is None else at
        known = words.name(instance, "instance")
        made = Choice(
            known, protected, words.long(reason.strip()), words.short(by), moment, words.short(name)
        )
        self.choice_rows.pop(known, None)  # the order is that in which they were given
        self.choice_rows[known] = made
        self.tell("choice", None, known)
        return made

    def forget_choice(self, instance: str, at: float | None = None) -> bool:
        self.check()
        return self.choice_rows.pop(words.clean(instance), None) is not None

    def choices(self) -> tuple[Choice, ...]:
        self.check()
        return tuple(self.choice_rows.values())

    def end_order(self, id: int, at: float) -> None:
        if not 0 < id <= len(self._orders):
            raise StoreError(f"order {id} is not in the database")
        self._end_orders(at, lambda order: order.id == id)

    def _end_orders(self, at: float, mine: Callable[[Order], bool]) -> None:
        self._orders = [
            (order, _ended(order.until, at)) if ended_at is None and mine(order) else (order, ended_at)
            for order, ended_at in self._orders
        ]


def _row(reading: Reading, since: float) -> LayerRow:
    """As it comes back from a database."""
    return LayerRow(
        words.clean(reading.subject),
        Layer(reading.layer),
        Verdict(reading.verdict),
        words.long(reading.evidence),
        reading.at,
        since,
        reading.answered,
    )


def _ended(until: float | None, at: float) -> float:
    """One that ran out by itself ended when it said, any other ends now."""
    return at if until is None or until > at else until


def _in_order(runs: Iterable[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: (run.started_at, run.id))
