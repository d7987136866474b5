"""What the controller writes, under its lease."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, func, insert, select, update

from hass_runtime.domain import (
    Fault,
    Host,
    HostState,
    Incident,
    Layer,
    Move,
    MoveState,
    Outcome,
    Reading,
    Reserve,
    StepStatus,
    Verdict,
)
from hass_runtime.store import decided, orders, rows, words
from hass_runtime.store import engine as engines
from hass_runtime.store import lease as leases
from hass_runtime.store.models import HostTable, IncidentTable, MoveTable, ReadingTable, RunTable, StepTable
from hass_runtime.store.records import Decided, Lease, StoreError

T = TypeVar("T")
WITHOUT_END = (Outcome.OPEN, Outcome.HELD)


class Writer:
    """The controller's pen. Each method is one transaction which first locks the lease's row.

    Every method raises LeaseLost when the lease is somebody else's or has expired, and StoreError when the
    database is down or the data does not fit; nothing is written then. Times are seconds since the epoch.
    Only one holder writes at a time, so an update followed by an insert needs no dialect's own "upsert".
    """

    def __init__(self, engine: Engine, label: str, lease: Lease) -> None:
        self._engine = engine
        self._label = label
        self.lease = lease

    # Hosts and readings

    def put_host(self, host: Host) -> None:
        """Watch this host. One that is known keeps its state; a new one is suspect until it has been seen."""
        self.put_hosts((host,))

    def put_hosts(self, hosts: Iterable[Host]) -> None:
        """`put_host` for many in one transaction."""
        every = [
            {
                "name": words.name(host.name, "host name"),
                "cluster": words.name(host.cluster, f"host {host.name}: cluster"),
                "address": words.name(host.address, f"host {host.name}: address"),
                "bmc": host.bmc is not None,
                "watched": True,
            }
            for host in hosts
        ]

        def work(connection: Connection) -> None:
            for values in every:
                known = update(HostTable).where(HostTable.name == values["name"]).values(values)
                if not connection.execute(known).rowcount:
                    fresh = {"state": HostState.SUSPECT.value, "since": None, "reason": "not seen yet"}
                    connection.execute(insert(HostTable).values(values | fresh))

        self._write(work)

    def keep_hosts(self, names: Collection[str]) -> None:
        """Stop watching every host that is not named here: not listed any more, its history stays."""
        keep = [words.clean(name) for name in names]
        self._write(
            lambda connection: connection.execute(
                update(HostTable).where(HostTable.name.not_in(keep), HostTable.watched).values(watched=False)
            )
        )

    def set_host_state(self, name: str, state: HostState, reason: str, at: float) -> None:
        """Enter a state; ``since`` moves only when the state changes, the reason always."""

        def work(connection: Connection) -> None:
            mine = HostTable.name == words.clean(name)
            was = connection.execute(select(HostTable.state, HostTable.since).where(mine)).one_or_none()
            if was is None:
                raise StoreError(f"host {name!r} is not in the database")
            since = was.since if was.since is not None and was.state == state.value else at
            connection.execute(
                update(HostTable)
                .where(mine)
                .values(state=state.value, since=since, reason=words.long(reason))
            )

        self._write(work)

    def set_host_doubt(self, name: str, doubt: str) -> None:
        """Why the host's BMC is not believed, or "" when it is."""

        def work(connection: Connection) -> None:
            mine = HostTable.name == words.clean(name)
            if not connection.execute(update(HostTable).where(mine).values(doubt=words.long(doubt))).rowcount:
                raise StoreError(f"host {name!r} is not in the database")

        self._write(work)

    def set_host_boot(self, name: str, boot: str) -> None:
        """The boot of the host in which its instances run."""

        def work(connection: Connection) -> None:
            mine = HostTable.name == words.clean(name)
            if not connection.execute(update(HostTable).where(mine).values(boot=words.short(boot))).rowcount:
                raise StoreError(f"host {name!r} is not in the database")

        self._write(work)

    def set_host_reserve(self, name: str, reserve: Reserve) -> None:
        """Whether the host is kept free."""

        def work(connection: Connection) -> None:
            mine = HostTable.name == words.clean(name)
            values = {"reserve": Reserve(reserve).value}
            if not connection.execute(update(HostTable).where(mine).values(values)).rowcount:
                raise StoreError(f"host {name!r} is not in the database")

        self._write(work)

    def put_reading(self, reading: Reading) -> None:
        """Keep this as the latest of its host and layer; ``since`` moves when the verdict changes."""
        self.put_readings((reading,))

    def put_readings(self, readings: Iterable[Reading]) -> None:
        """`put_reading` for many in one transaction: what a whole cycle saw."""
        every = list(readings)

        def work(connection: Connection) -> None:
            subjects = {words.clean(reading.subject) for reading in every}
            known = set(connection.scalars(select(HostTable.name).where(HostTable.name.in_(subjects))))
            for stranger in sorted(subjects - known):
                raise StoreError(f"host {stranger!r} is not in the database")
            for reading in every:
                _put_reading(connection, reading)

        if every:
            self._write(work)

    # Incidents

    def open_incident(self, host: str, fault: Fault, decision: str, at: float) -> Incident:
        """A new incident, or the host's own without an end, unchanged. The database refuses a second one."""
        subject = words.name(host, "host name")
        values = {
            "host": subject,
            "open_key": subject,
            "fault": words.name(fault.name, "fault"),
            "layer": Layer(fault.layer).value,
            "why": words.long(fault.why),
            "outcome": Outcome.OPEN.value,
            "opened_at": at,
            "decision": words.long(decision),
            "gate": "",
            "reason": "",
            "phase": "",
            "attempts": 0,
            "seen": words.dump_seen(fault.seen),
        }

        def work(connection: Connection) -> Incident:
            if connection.scalar(select(HostTable.name).where(HostTable.name == subject)) is None:
                raise StoreError(f"host {host!r} is not in the database")
            mine = select(IncidentTable).where(IncidentTable.open_key == subject)
            found = connection.execute(mine).one_or_none()
            if found is not None:
                return rows.incident(found)
            connection.execute(insert(IncidentTable).values(values))
            return rows.incident(connection.execute(mine).one())

        return self._write(work)

    def update_incident(self, id: int, **fields: Any) -> Incident:
        """Change an incident without an end: fault, layer, why, outcome, decision, gate, reason, phase,
        attempts, seen, rung, tries or fenced_at (of which the first stays); another field raises TypeError.
        An outcome that sounds like an end says how its instances fared: the incident itself ends with
        `close_incident`, when the host is back, too.
        """
        values = {field: _incident_value(field, value) for field, value in fields.items()}

        def work(connection: Connection) -> Incident:
            if values:
                changed = connection.execute(
                    update(IncidentTable)
                    .where(IncidentTable.id == id, IncidentTable.closed_at.is_(None))
                    .values(values)
                )
                if not changed.rowcount:
                    state = _incident(connection, id).outcome.value
                    raise StoreError(f"incident {id} has ended ({state}) and is not changed any more")
            return _incident(connection, id)

        return self._write(work)

    def close_incident(self, id: int, outcome: Outcome, reason: str, at: float) -> Incident:
        """End it. An incident that has ended already stays as it is: the first end is the true one."""
        if outcome in WITHOUT_END:
            raise ValueError(f"{outcome.value} is not an end")

        def work(connection: Connection) -> Incident:
            connection.execute(
                update(IncidentTable)
                .where(IncidentTable.id == id, IncidentTable.closed_at.is_(None))
                .values(outcome=outcome.value, reason=words.long(reason), closed_at=at, open_key=None)
            )
            return _incident(connection, id)

        return self._write(work)

    def end_order(self, id: int, at: float) -> None:
        """A person's order was carried out. One that has ended already keeps its end."""
        self._write(lambda connection: orders.end(connection, id, at))

    def put_decided(self, made: Sequence[Decided], body: Callable[[], bytes], snapshot: int = 0) -> int:
        """Keep what was decided and, once, the snapshot that it was made from; see `decided.put`.

        ``snapshot`` is what an earlier call gave for the same view: then ``body`` is not asked. Returns its
        number.
        """
        packed = (
            b"" if snapshot else body()
        )  # before the lease's row is locked: it takes a while in a large cloud
        return self._write(lambda connection: decided.put(connection, made, packed, snapshot))

    def forget_decided(self, keep: int) -> None:
        """Forget what the decisions of ended incidents were made from, but for the ``keep`` newest."""
        self._write(lambda connection: decided.forget(connection, keep))

    # Runs, steps and moves

    def start_run(
        self,
        run_id: str,
        incident: int,
        playbook: str,
        attempt: int,
        pid: int | None,
        run_dir: str | Path,
        at: float,
    ) -> None:
        """A playbook has been started. A run that is known (its start is told twice) gets the new pid."""
        mine = RunTable.id == words.name(run_id, "run")
        values = {"incident": incident, "playbook": words.short(playbook), "attempt": attempt, "pid": pid}
        values |= {"run_dir": words.long(run_dir), "started_at": at}

        def work(connection: Connection) -> None:
            _incident(connection, incident)
            if not connection.execute(update(RunTable).where(mine).values(pid=pid)).rowcount:
                fresh = {"id": run_id, "status": "running", "rc": None, "reason": "", "finished_at": None}
                connection.execute(insert(RunTable).values(values | fresh))

        self._write(work)

    def finish_run(self, run_id: str, status: str, rc: int | None, reason: str, at: float) -> None:
        """A run has ended; the first end stays. Its steps that still run are cancelled with it."""
        status = words.name(status, f"run {run_id}: status", words.WORD_LIMIT)

        def work(connection: Connection) -> None:
            mine = RunTable.id == words.clean(run_id)
            if connection.scalar(select(RunTable.id).where(mine)) is None:
                raise StoreError(f"run {run_id!r} is not in the database")
            connection.execute(
                update(RunTable)
                .where(mine, RunTable.finished_at.is_(None))
                .values(status=status, rc=rc, reason=words.long(reason), finished_at=at)
            )
            connection.execute(
                update(StepTable)
                .where(StepTable.run == words.clean(run_id), StepTable.status == StepStatus.RUNNING.value)
                .values(status=StepStatus.CANCELLED.value, finished_at=at)
            )

        self._write(work)

    def put_step(
        self,
        incident: int,
        run: str,
        key: str,
        name: str,
        status: StepStatus,
        started_at: float,
        finished_at: float | None = None,
        detail: str = "",
        action: str = "",
    ) -> None:
        """A step's start or its end: the same run and key is the same step. ``action``: the task's module."""
        values = {
            "incident": incident,
            "run": words.key(run),
            "task": words.key(key),
            "action": words.short(action),
            "name": words.short(name),
            "status": StepStatus(status).value,
            "started_at": started_at,
            "finished_at": finished_at,
            "detail": words.long(detail),
        }

        def work(connection: Connection) -> None:
            _incident(connection, incident)
            mine = (
                StepTable.incident == incident,
                StepTable.run == values["run"],
                StepTable.task == values["task"],
            )
            if not connection.execute(update(StepTable).where(*mine).values(values)).rowcount:
                connection.execute(insert(StepTable).values(values))

        self._write(work)

    def note(self, incident: int, name: str, status: StepStatus, at: float, detail: str = "") -> None:
        """A step of the controller's own, over as soon as it is written; every call is a new one."""
        values = {
            "incident": incident,
            "run": "",
            "task": None,
            "action": "",
            "name": words.short(name),
            "status": StepStatus(status).value,
            "started_at": at,
            "finished_at": at,
            "detail": words.long(detail),
        }

        def work(connection: Connection) -> None:
            _incident(connection, incident)
            connection.execute(insert(StepTable).values(values))

        return self._write(work)

    def put_move(self, move: Move) -> None:
        """How one instance's move stands now: the same incident and instance is the same move."""
        values = {
            "incident": move.incident,
            "instance": words.name(move.instance, "instance"),
            "name": words.short(move.name),
            "source": words.short(move.source),
            "target": words.short(move.target),
            "state": MoveState(move.state).value,
            "was": words.clean(move.was)[: words.WORD_LIMIT],
            "attempts": move.attempts,
            "priority": move.priority,
            "started_at": move.started_at,
            "finished_at": move.finished_at,
            "reason": words.long(move.reason),
        }

        def work(connection: Connection) -> None:
            _incident(connection, move.incident)
            mine = (MoveTable.incident == move.incident, MoveTable.instance == values["instance"])
            if not connection.execute(update(MoveTable).where(*mine).values(values)).rowcount:
                connection.execute(insert(MoveTable).values(values))

        self._write(work)

    def _write(self, work: Callable[[Connection], T]) -> T:
        def guarded(connection: Connection) -> T:
            leases.guard(connection, self.lease)
            return work(connection)

        return engines.run(self._engine, self._label, guarded, write=True)


def _incident(connection: Connection, id: int) -> Incident:
    row = connection.execute(select(IncidentTable).where(IncidentTable.id == id)).one_or_none()
    if row is None:
        raise StoreError(f"incident {id} is not in the database")
    return rows.incident(row)


def _incident_value(field: str, value: Any) -> Any:
    if field == "outcome":
        return Outcome(value).value
    if field == "seen":
        return words.dump_seen(value)
    if field == "layer":
        return Layer(value).value
    if field in ("attempts", "rung", "tries"):
        return int(value)
    if field == "fenced_at":
        return func.coalesce(IncidentTable.fenced_at, value)
    if field == "gate":
        return words.clean(getattr(value, "value", value))[: words.WORD_LIMIT]
    if field in ("fault", "phase"):
        return words.short(value)
    if field in ("decision", "reason", "why"):
        return words.long(value)
    raise TypeError(f"update_incident: {field} cannot be changed")


def _put_reading(connection: Connection, reading: Reading) -> None:
    host, layer = words.clean(reading.subject), Layer(reading.layer).value
    mine = (ReadingTable.host == host, ReadingTable.layer == layer)
    was = connection.execute(select(ReadingTable.verdict, ReadingTable.since).where(*mine)).one_or_none()
    verdict = Verdict(reading.verdict).value
    values = {
        "verdict": verdict,
        "evidence": words.long(reading.evidence),
        "at": reading.at,
        "since": was.since if was is not None and was.verdict == verdict else reading.at,
        "answered": reading.answered,
    }
    if was is None:
        connection.execute(insert(ReadingTable).values(host=host, layer=layer, **values))
    else:
        connection.execute(update(ReadingTable).where(*mine).values(values))
