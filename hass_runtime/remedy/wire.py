"""What a controller and the worker of its run say to each other: events as JSON lines, and beats.

And when a run has to be dead, which both of them compute alike. All of it is by `time.monotonic()`, which is
one clock for all processes of a machine: a beat that was held up on its way prolongs nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hass_runtime.domain import Move, MoveState, StepStatus

GRACE = 3.0
"""Seconds that ansible-playbook gets to end its workers before everything is killed."""

RunStatus = Literal["successful", "failed", "cancelled", "timeout", "crashed"]

EXITS: Mapping[int, RunStatus] = {75: "cancelled", 76: "timeout"}
"""Exit statuses of a worker that had to go without a last word."""


@dataclass(frozen=True)
class TaskStarted:
    """A task of the playbook began. ``key`` is unique in the run, ``action`` is the module's name."""

    run_id: str
    key: str
    name: str
    at: float
    action: str = ""


@dataclass(frozen=True)
class TaskEnded:
    """A task of the playbook ended. ``detail`` is the module's message, one line."""

    run_id: str
    key: str
    name: str
    status: StepStatus
    started_at: float
    at: float
    detail: str = ""
    action: str = ""


@dataclass(frozen=True)
class MoveChanged:
    """An instance's way changed."""

    run_id: str
    move: Move


@dataclass(frozen=True)
class RunEnded:
    """The last event of every run, exactly once. ``facts`` are the playbook's set_stats."""

    run_id: str
    status: RunStatus
    rc: int | None
    reason: str
    at: float
    facts: Mapping[str, Any] = field(default_factory=dict)


RunEvent = TaskStarted | TaskEnded | MoveChanged | RunEnded
_KINDS = {"task_started": TaskStarted, "task_ended": TaskEnded, "run_ended": RunEnded}


def move_to_dict(move: Move) -> dict[str, Any]:
    """A move as plain data."""
    return {**asdict(move), "state": move.state.value}


def move_from_dict(raw: Mapping[str, Any]) -> Move:
    """Raises KeyError, TypeError or ValueError when it is no move."""
    return Move(**{**raw, "state": MoveState(raw["state"])})


def encode(event: RunEvent) -> str:
    """One line of JSON, without the line's end."""
    if isinstance(event, MoveChanged):
        return json.dumps({"event": "move", "run_id": event.run_id, "move": move_to_dict(event.move)})
    kind = next(name for name, cls in _KINDS.items() if isinstance(event, cls))
    return json.dumps({"event": kind, **asdict(event)}, default=str)


def decode(line: str) -> RunEvent:
    """The event of a line. Raises ValueError when it is none."""
    try:
        raw = json.loads(line)
        kind = raw.pop("event")
        if kind == "move":
            return MoveChanged(raw["run_id"], move_from_dict(raw["move"]))
        if "status" in raw and kind == "task_ended":
            raw["status"] = StepStatus(raw["status"])
        event: RunEvent = _KINDS[kind](**raw)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not an event of a run: {line[:200]!r} ({error})") from error
    return event


def beat(valid_until: float) -> str:
    """The line that lets a run go on: the controller's lease surely lasts until then (time.monotonic())."""
    return f"beat {valid_until!r}"


def valid_until(words: str) -> float:
    """The moment in a beat. What cannot be read prolongs nothing."""
    try:
        moment = float(words)
    except ValueError:
        return -math.inf
    return moment if math.isfinite(moment) else -math.inf


@dataclass(frozen=True)
class Lapse:
    """The last moments of a run without a beat: it is dead before somebody else can hold the lease.

    In this order: ``end`` ansible-playbook is told to end, ``kill`` everything left is killed, ``leave`` the
    worker itself goes, ``over`` its controller kills what is still there. A short lease gets a short end, or
    every renewal of it would come too late.
    """

    end: float
    kill: float
    leave: float
    over: float

    @classmethod
    def of(cls, valid_until: float, breath: float) -> Lapse:
        """``breath`` is how long a lease lasts in all, in seconds."""
        reserve = min(GRACE + 1.0, breath / 4)
        margin = min(1.0, reserve * 2 / 3)
        return cls(
            valid_until - reserve, valid_until - margin, valid_until - margin / 3, valid_until - margin / 6
        )

    def grace(self, now: float) -> float:
        """How long an end may take that begins now."""
        return min(max(self.kill - now, 0.0), GRACE)
