"""The store: one database for hosts, readings, incidents with steps and moves, the lease,
and what people want: pauses and orders.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, select

from hass_runtime.domain import Choice, Incident, Layer, Move, Order, OrderKind, Pause, Scope, Step
from hass_runtime.store import choices, decided, orders, rows, switch, words
from hass_runtime.store import engine as engines
from hass_runtime.store import lease as leases
from hass_runtime.store import migrate as migrations
from hass_runtime.store.models import HostTable, IncidentTable, MoveTable, ReadingTable, RunTable, StepTable
from hass_runtime.store.records import Decided, HostRow, LayerRow, Lease, Run
from hass_runtime.store.writer import Writer

T = TypeVar("T")


class Store:
    """A database by its URL: ``sqlite:///PATH`` or ``mysql+pymysql://USER:PASSWORD@HOST/DATABASE``.

    Nothing is connected before the first call. Any number of threads may share one Store. Every method raises
    StoreError (one line, no password) when the database is down or refuses; ``connect_timeout`` and
    ``timeout`` (seconds; the latter for each read and write) bound how long a dead or a hung one can take.
    """

    def __init__(self, url: str, *, connect_timeout: float = 5.0, timeout: float = 10.0) -> None:
        self._url = engines.parse_url(url)
        self._connect_timeout = connect_timeout
        self.label = engines.label_of(self._url)
        self._engine = engines.open_engine(self._url, connect_timeout=connect_timeout, timeout=timeout)

    def __repr__(self) -> str:
        return f"Store({self.label})"

    def migrate(self) -> None:
        """Make or upgrade the tables; safe to call from several controllers at once."""
        migrations.migrate(self._url, self.label, connect_timeout=self._connect_timeout)

    def check(self) -> None:
        """Raise StoreError unless the database answers and has this code's tables."""
        self._read(lambda connection: migrations.check(connection, self.label))

    def close(self) -> None:
        """Close the idle connections. The store may be used again afterwards."""
        self._engine.dispose()

    # The lease

    def lease_acquire(self, holder: str, ttl: float) -> Lease | None:
        """The lease with a new epoch, or None while another holder's is valid. ``ttl`` is in seconds."""
        holder = words.name(holder, "lease holder")
        return self._write(lambda connection: leases.acquire(connection, holder, ttl))

    def lease_renew(self, lease: Lease) -> Lease:
        """The lease for another ``lease.ttl``. Raises LeaseLost: then acquire it again, or stand by."""
        return self._write(lambda connection: leases.renew(connection, lease))

    def lease_release(self, lease: Lease) -> None:
        """Give it back, so that another need not wait for its end."""
        self._write(lambda connection: leases.release(connection, lease))

    def lease_current(self) -> Lease | None:
        """Whose lease it is now, or None."""
        return self._read(leases.current)

    def writer(self, lease: Lease) -> Writer:
        """A writer for this epoch of the lease; a renewal does not change the epoch."""
        return Writer(self._engine, self.label, lease)

    # What is known

    def hosts(self) -> list[HostRow]:
        """The watched hosts by name, each with the latest reading of every layer."""

        def work(connection: Connection) -> list[HostRow]:
            layers: dict[str, dict[Layer, LayerRow]] = defaultdict(dict)
            for row in connection.execute(select(ReadingTable)):
                layers[row.host][Layer(row.layer)] = rows.layer(row)
            order = list(Layer)
            return [
                rows.host(row, dict(sorted(layers[row.name].items(), key=lambda item: order.index(item[0]))))
                for row in connection.execute(
                    select(HostTable).where(HostTable.watched).order_by(HostTable.name)
                )
            ]

        return self._read(work)

    def incidents(self, limit: int = 100, host: str | None = None, open_only: bool = False) -> list[Incident]:
        """The newest first. ``open_only``: without an end, so also the held ones."""
        query = select(IncidentTable).order_by(IncidentTable.id.desc()).limit(limit)
        if host is not None:
            query = query.where(IncidentTable.host == words.clean(host))
        if open_only:
            query = query.where(IncidentTable.closed_at.is_(None))
        return self._read(lambda connection: [rows.incident(row) for row in connection.execute(query)])

    def incident(self, id: int) -> Incident | None:
        query = select(IncidentTable).where(IncidentTable.id == id)

        def work(connection: Connection) -> Incident | None:
            row = connection.execute(query).one_or_none()
            return None if row is None else rows.incident(row)

        return self._read(work)

    def fences_since(self, t: float) -> list[Incident]:
        """Every incident whose host was proven off at ``t`` or later, the oldest fence first."""
        query = (
            select(IncidentTable)
            .where(IncidentTable.fenced_at >= t)
            .order_by(IncidentTable.fenced_at, IncidentTable.id)
        )
        return self._read(lambda connection: [rows.incident(row) for row in connection.execute(query)])

    def steps(self, id: int) -> list[Step]:
        """The steps of an incident in the order in which they began."""
        query = select(StepTable).where(StepTable.incident == id).order_by(StepTable.started_at, StepTable.id)
        return self._read(lambda connection: [rows.step(row) for row in connection.execute(query)])

    def moves(self, id: int) -> list[Move]:
        """The moves of an incident in the order in which they were first told."""
        query = select(MoveTable).where(MoveTable.incident == id).order_by(MoveTable.id)
        return self._read(lambda connection: [rows.move(row) for row in connection.execute(query)])

    def runs(self, id: int) -> list[Run]:
        query = select(RunTable).where(RunTable.incident == id).order_by(RunTable.started_at, RunTable.id)
        return self._read(lambda connection: [rows.run(row) for row in connection.execute(query)])

    def unfinished_runs(self) -> list[Run]:
        """Every run without an end, the oldest first: what a controller finds after a crash."""
        query = (
            select(RunTable).where(RunTable.finished_at.is_(None)).order_by(RunTable.started_at, RunTable.id)
        )
        return self._read(lambda connection: [rows.run(row) for row in connection.execute(query)])

    def decided(self, id: int) -> list[Decided]:
        """What was decided in an incident, the oldest first, as far as it is still kept."""
        return self._read(lambda connection: decided.of(connection, id))

    def snapshot(self, id: int) -> bytes | None:
        """A snapshot that `Decided` names, for `explain.snapshot.unpack`."""
        return self._read(lambda connection: decided.body(connection, id))

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
        """Stop HASS from acting, from ``at`` (default: now) to ``until`` (default: until `arm`).

        ``name`` is the cluster or the host that it is for. An earlier pause of the same scope and name ends.
        """
        moment = time.time() if at is None else at
        return self._write(
            lambda connection: switch.disarm(connection, Pause(reason, by, moment, until, scope, name))
        )

    def arm(self, at: float | None = None, scope: Scope = Scope.ALL, name: str = "") -> bool:
        """End the pause of exactly this scope and name; True when there was one. Wider ones stay in force."""
        moment = time.time() if at is None else at
        return self._write(lambda connection: switch.arm(connection, moment, scope, name))

    def pauses(self, now: float | None = None) -> tuple[Pause, ...]:
        """Every pause in force: the one for everything first, then clusters, then hosts, each by name."""
        moment = time.time() if now is None else now
        return self._read(lambda connection: switch.pauses(connection, moment))

    def disarmed(self, now: float | None = None) -> Pause | None:
        """Who switched acting off everywhere and why, or None; single clusters and hosts: see `pauses`."""
        return next((pause for pause in self.pauses(now) if pause.scope is Scope.ALL), None)

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
        """Order something for a host, from ``at`` (default: now) on. An earlier order of its kind ends."""
        moment = time.time() if at is None else at
        wanted = Order(0, host, kind, reason, by, moment, until, drain, incident)
        return self._write(lambda connection: orders.give(connection, wanted))

    def end_orders(self, host: str, kind: OrderKind, at: float | None = None) -> bool:
        """Take an order back; True when one was in force."""
        moment = time.time() if at is None else at
        return self._write(lambda connection: orders.take_back(connection, host, kind, moment))

    def orders(self, now: float | None = None) -> tuple[Order, ...]:
        """Every order in force, the oldest first."""
        moment = time.time() if now is None else now
        return self._read(lambda connection: orders.in_force(connection, moment))

    def choose(
        self,
        instance: str,
        protected: bool,
        reason: str,
        by: str,
        name: str = "",
        at: float | None = None,
    ) -> Choice:
        """A person's word on one instance, by its UUID: protected, or left alone. An earlier one ends."""
        wanted = Choice(instance, protected, reason, by, time.time() if at is None else at, name)
        return self._write(lambda connection: choices.choose(connection, wanted))

    def forget_choice(self, instance: str, at: float | None = None) -> bool:
        """Let the rules decide about the instance again; True when somebody had chosen otherwise."""
        moment = time.time() if at is None else at
        return self._write(lambda connection: choices.forget(connection, instance, moment))

    def choices(self) -> tuple[Choice, ...]:
        """Every word on a single instance that is in force, at most one for each."""
        return self._read(choices.in_force)

    def _read(self, work: Callable[[Connection], T]) -> T:
        return engines.run(self._engine, self.label, work)

    def _write(self, work: Callable[[Connection], T]) -> T:
        return engines.run(self._engine, self.label, work, write=True)
