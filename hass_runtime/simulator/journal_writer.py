"""The pen of the store in memory: what `store.Writer` promises."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    Step,
    StepStatus,
)
from hass_runtime.store import words
from hass_runtime.store.records import Decided, HostRow, Lease, Run, StoreError

if TYPE_CHECKING:
    from hass_runtime.simulator.journal import Journal

WITHOUT_END = (Outcome.OPEN, Outcome.HELD)


class JournalWriter:
    """As `store.Writer`: every call is refused without the lease, and then changes nothing."""

    def __init__(self, journal: Journal, lease: Lease) -> None:
        self._journal = journal
        self.lease = lease

    def put_host(self, host: Host) -> None:
        self.put_hosts((host,))

    def put_hosts(self, hosts: Iterable[Host]) -> None:
        rows = [
            (
                words.name(host.name, "host name"),
                words.name(host.cluster, f"host {host.name}: cluster"),
                words.name(host.address, f"host {host.name}: address"),
                host.bmc is not None,
            )
            for host in hosts
        ]
        self._journal.guard(self.lease)
        for name, cluster, address, bmc in rows:
            known = self._journal.host_rows.get(name)
            fresh = HostRow(name, cluster, address, bmc, HostState.SUSPECT, None, "not seen yet")
            if known is not None:
                fresh = replace(known, cluster=cluster, address=address, bmc=bmc)
            self._journal.host_rows[name] = fresh
            self._journal.watched.add(name)

    def keep_hosts(self, names: Collection[str]) -> None:
        self._journal.guard(self.lease)
        self._journal.watched &= {words.clean(name) for name in names}

    def set_host_state(self, name: str, state: HostState, reason: str, at: float) -> None:
        self._journal.guard(self.lease)
        was = self._journal.host_rows.get(words.clean(name))
        if was is None:
            raise StoreError(f"host {name!r} is not in the database")
        since = was.since if was.since is not None and was.state is state else at
        now = replace(was, state=state, since=since, reason=words.long(reason))
        self._journal.host_rows[was.name] = now
        self._journal.tell("host", was, now)

    def set_host_boot(self, name: str, boot: str) -> None:
        self._journal.guard(self.lease)
        was = self._journal.host_rows.get(words.clean(name))
        if was is None:
            raise StoreError(f"host {name!r} is not in the database")
        self._journal.host_rows[was.name] = replace(was, boot=words.short(boot))

    def set_host_reserve(self, name: str, reserve: Reserve) -> None:
        self._journal.guard(self.lease)
        was = self._journal.host_rows.get(words.clean(name))
        if was is None:
            raise StoreError(f"host {name!r} is not in the database")
        now = replace(was, reserve=Reserve(reserve))
        self._journal.host_rows[was.name] = now
        self._journal.tell("reserve", was, now)

    def set_host_doubt(self, name: str, doubt: str) -> None:
        self._journal.guard(self.lease)
        was = self._journal.host_rows.get(words.clean(name))
        if was is None:
            raise StoreError(f"host {name!r} is not in the database")
        now = replace(was, doubt=words.long(doubt))
        self._journal.host_rows[was.name] = now
        self._journal.tell("doubt", was, now)

    def put_reading(self, reading: Reading) -> None:
        self.put_readings((reading,))

    def put_readings(self, readings: Iterable[Reading]) -> None:
        every = list(readings)
        if not every:
            return
        self._journal.guard(self.lease)
        subjects = {each.subject: words.clean(each.subject) for each in every}
        for stranger in sorted(set(subjects.values()) - self._journal.host_rows.keys()):
            raise StoreError(f"host {stranger!r} is not in the database")
        for reading in every:
            layers = self._journal.layers.setdefault(subjects[reading.subject], {})
            was, since = layers.get(reading.layer, (None, 0.0))
            the_same = was is not None and was.verdict == reading.verdict
            layers[reading.layer] = (reading, since if the_same else reading.at)

    # Incidents

    def open_incident(self, host: str, fault: Fault, decision: str, at: float) -> Incident:
        subject = words.name(host, "host name")
        made = Incident(
            id=len(self._journal.all_incidents) + 1,
            host=subject,
            fault=words.name(fault.name, "fault"),
            layer=Layer(fault.layer).value,
            outcome=Outcome.OPEN,
            opened_at=at,
            decision=words.long(decision),
            seen=_seen(fault.seen),
            why=words.long(fault.why),
        )
        self._journal.guard(self.lease)
        if subject not in self._journal.host_rows:
            raise StoreError(f"host {host!r} is not in the database")
        known = self._journal.open_by_host.get(subject)
        if known is not None:
            return self._journal.all_incidents[known]
        self._journal.all_incidents[made.id] = made
        self._journal.open_by_host[subject] = made.id
        self._journal.tell("incident", None, made)
        return made

    def update_incident(self, id: int, **fields: Any) -> Incident:
        values = {field: _incident_value(field, value) for field, value in fields.items()}
        self._journal.guard(self.lease)
        was = self._incident(id)
        if not values:
            return was
        if was.closed_at is not None:
            raise StoreError(f"incident {id} has ended ({was.outcome.value}) and is not changed any more")
        if "fenced_at" in values and was.fenced_at is not None:
            del values["fenced_at"]
        now = replace(was, **values)
        self._journal.all_incidents[id] = now
        self._journal.tell("incident", was, now)
        return now

    def close_incident(self, id: int, outcome: Outcome, reason: str, at: float) -> Incident:
        if outcome in WITHOUT_END:
            raise ValueError(f"{outcome.value} is not an end")
        self._journal.guard(self.lease)
        was = self._incident(id)
        if was.closed_at is not None:
            return was
        now = replace(was, outcome=outcome, reason=words.long(reason), closed_at=at)
        self._journal.all_incidents[id] = now
        del self._journal.open_by_host[was.host]
        self._journal.tell("incident", was, now)
        return now

    def end_order(self, id: int, at: float) -> None:
        self._journal.guard(self.lease)
        self._journal.end_order(id, at)

    def _incident(self, id: int) -> Incident:
        found = self._journal.all_incidents.get(id)
        if found is None:
            raise StoreError(f"incident {id} is not in the database")
        return found

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
        name = words.name(run_id, "run")
        self._journal.guard(self.lease)
        self._incident(incident)
        was = self._journal.run_rows.get(name)
        if was is not None:
            now = replace(was, pid=pid)
        else:
            now = Run(
                *(name, incident, words.short(playbook), attempt, pid, words.long(run_dir)),
                *("running", None, "", at, None),
            )
        self._journal.run_rows[name] = now
        if now.finished_at is None:
            self._journal.running[name] = now
        if was is None:
            self._journal.tell("run", None, now)

    def finish_run(self, run_id: str, status: str, rc: int | None, reason: str, at: float) -> None:
        status = words.name(status, f"run {run_id}: status", words.WORD_LIMIT)
        self._journal.guard(self.lease)
        was = self._journal.run_rows.get(words.clean(run_id))
        if was is None:
            raise StoreError(f"run {run_id!r} is not in the database")
        if was.finished_at is None:
            now = replace(was, status=status, rc=rc, reason=words.long(reason), finished_at=at)
            self._journal.run_rows[was.id] = now
            self._journal.running.pop(was.id, None)
            self._journal.tell("run", was, now)
        steps = self._journal.step_rows.get(was.incident, {})
        for key, step in steps.items():
            if step.run == was.id and step.status is StepStatus.RUNNING:
                steps[key] = replace(step, status=StepStatus.CANCELLED, finished_at=at)

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
        self._journal.guard(self.lease)
        self._incident(incident)
        steps = self._journal.step_rows.setdefault(incident, {})
        mine = (words.key(run), words.key(key))
        was = steps.get(mine)
        steps[mine] = Step(
            was.id if was is not None else self._next_step(),
            incident,
            mine[0],
            words.short(name),
            StepStatus(status),
            started_at,
            finished_at,
            words.long(detail),
            words.short(action),
        )
        self._journal.tell("step", was, steps[mine])

    def note(self, incident: int, name: str, status: StepStatus, at: float, detail: str = "") -> None:
        self._journal.guard(self.lease)
        self._incident(incident)
        number = self._next_step()
        made = Step(number, incident, "", words.short(name), StepStatus(status), at, at, words.long(detail))
        self._journal.step_rows.setdefault(incident, {})[("", number)] = made
        self._journal.tell("note", None, made)

    def _next_step(self) -> int:
        self._journal.step_count += 1
        return self._journal.step_count

    def put_decided(self, made: Sequence[Decided], body: Callable[[], bytes], snapshot: int = 0) -> int:
        self._journal.guard(self.lease)
        return self._journal.decisions.put(made, body, snapshot)

    def forget_decided(self, keep: int) -> None:
        self._journal.guard(self.lease)
        incidents = self._journal.all_incidents
        kept = set(sorted(incidents)[-keep:])
        ended = [id for id, each in incidents.items() if each.closed_at is not None and id not in kept]
        self._journal.decisions.forget(ended)

    def put_move(self, move: Move) -> None:
        now = replace(
            move,
            instance=words.name(move.instance, "instance"),
            name=words.short(move.name),
            source=words.short(move.source),
            target=words.short(move.target),
            state=MoveState(move.state),
            was=words.clean(move.was)[: words.WORD_LIMIT],
            reason=words.long(move.reason),
        )
        self._journal.guard(self.lease)
        self._incident(move.incident)
        moves = self._journal.move_rows.setdefault(move.incident, {})
        was = moves.get(now.instance)
        moves[now.instance] = now
        self._journal.tell("move", was, now)


def _seen(seen: Iterable[Any]) -> tuple[Any, ...]:
    """What comes back from a database is not what was given to it: plain mappings."""
    every = list(seen)
    if sum(len(getattr(each, "evidence", "")) for each in every) > words.SEEN_LIMIT // 8:
        return words.load_seen(words.dump_seen(every))
    plain = [words.reading_mapping(each) if isinstance(each, Reading) else dict(each) for each in every]
    if all(isinstance(each, Reading) for each in every):
        return tuple(plain)
    return tuple(json.loads(json.dumps(plain, default=str)))


def _incident_value(field: str, value: Any) -> Any:
    if field == "outcome":
        return Outcome(value)
    if field == "seen":
        return _seen(value)
    if field == "layer":
        return Layer(value).value
    if field in ("attempts", "rung", "tries"):
        return int(value)
    if field == "fenced_at":
        return None if value is None else float(value)
    if field == "gate":
        return words.clean(getattr(value, "value", value))[: words.WORD_LIMIT]
    if field in ("fault", "phase"):
        return words.short(value)
    if field in ("decision", "reason", "why"):
        return words.long(value)
    raise TypeError(f"update_incident: {field} cannot be changed")
