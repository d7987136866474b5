"""The log of a run: what happened in the world, and what HASS saw, decided and did, in order of time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from hass_runtime.domain import Incident, Move, Outcome, Step, StepStatus
from hass_runtime.store import HostRow, Run


@dataclass(frozen=True)
class Entry:
    """One line: ``t`` in seconds of the run, a dotted name, what it is about, and words."""

    t: float
    event: str
    subject: str
    words: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """As a person reads it."""
        return f"{self.t:8.1f}  {self.subject or '-':<10} {self.event:<22} {self.words}".rstrip()

    def json(self) -> str:
        raw = {"t": self.t, "event": self.event, "subject": self.subject, "words": self.words, **self.more}
        return json.dumps(raw)


class Record:
    """Takes what happens, and hears from the journal what HASS writes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.entries: list[Entry] = []
        self._hosts: dict[int, str] = {}

    def add(self, event: str, subject: str, words: str = "", **more: Any) -> None:
        self.entries.append(Entry(round(self._clock(), 3), event, subject, words, more))

    def world(self, event: str, subject: str, words: str) -> None:
        self.add(event, subject, words)

    def written(self, kind: str, before: Any, after: Any) -> None:
        """What the journal tells."""
        if kind == "host":
            self._host(before, after)
        elif kind == "doubt":
            self.add("bmc.doubted" if after.doubt else "bmc.believed", after.name, after.doubt)
        elif kind == "reserve":
            words = f"{before.reserve.value or 'no'} -> {after.reserve.value or 'no'}"
            self.add("host.reserve", after.name, words, reserve=after.reserve.value)
        elif kind == "incident":
            self._incident(before, after)
        elif kind == "run":
            self._run(before, after)
        elif kind == "step":
            self._step(after)
        elif kind == "move":
            self._move(before, after)

    def _host(self, before: HostRow, after: HostRow) -> None:
        if before.state is not after.state or before.since is None:
            words = f"{before.state.value} -> {after.state.value} ({after.reason})"
            self.add("host.state", after.name, words, state=after.state.value)

    def _incident(self, before: Incident | None, after: Incident) -> None:
        more = {"incident": after.id, "fault": after.fault, "outcome": after.outcome.value}
        if before is None:
            self._hosts[after.id] = after.host
            self.add("incident.opened", after.host, f"{after.id}: {after.fault}: {after.why}", **more)
            return
        if after.closed_at is not None and before.closed_at is None:
            words = f"{after.id}: {after.outcome.value}: {after.reason}"
            self.add("incident.closed", after.host, words, **more)
            return
        if after.fault != before.fault:
            words = f"{after.id}: {before.fault} -> {after.fault}: {after.why}"
            self.add("incident.escalated", after.host, words, **more)
        if after.outcome is Outcome.HELD and (before.outcome, before.gate, before.reason) != (
            after.outcome,
            after.gate,
            after.reason,
        ):
            gate = f"gate {after.gate}: " if after.gate else ""
            words = f"{after.id}: {gate}{after.reason}"
            self.add("incident.held", after.host, words, gate=after.gate, **more)
        elif after.outcome is not before.outcome and after.outcome is not Outcome.OPEN:
            words = f"{after.id}: {after.outcome.value}: {after.reason}"
            self.add("incident.settled", after.host, words, **more)
        if before.fenced_at is None and after.fenced_at is not None:
            self.add("host.fenced", after.host, f"{after.id}: proven off", **more)

    def _run(self, before: Run | None, after: Run) -> None:
        more = {"run": after.id, "playbook": after.playbook, "incident": after.incident}
        subject = self._hosts[after.incident]
        if before is None:
            self.add("run.started", subject, f"{after.playbook}, attempt {after.attempt}", **more)
        else:
            reason = f": {after.reason}" if after.reason else ""
            words = f"{after.playbook} {after.status}{reason}"
            self.add("run.ended", subject, words, status=after.status, **more)

    def _step(self, step: Step) -> None:
        if step.status is StepStatus.RUNNING:
            return
        words = f"{step.name}: {step.status.value}" + (f" ({step.detail})" if step.detail else "")
        more = {"run": step.run, "action": step.action, "status": step.status.value}
        self.add("run.step", self._hosts[step.incident], words, **more)

    def _move(self, before: Move | None, after: Move) -> None:
        if before is not None and (before.state, before.target, before.reason) == (
            after.state,
            after.target,
            after.reason,
        ):
            return
        where = f"{after.source} -> {after.target}" if after.target else after.source
        words = f"{after.state.value} {where}" + (f" ({after.reason})" if after.reason else "")
        self.add("move", after.name or after.instance, words, state=after.state.value, target=after.target)


def text_of(entries: Iterable[Entry]) -> str:
    return "".join(f"{entry.text()}\n" for entry in entries)
