"""What a run of a playbook reports, as data and as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hass_runtime.domain import Move, MoveState, StepStatus

RunStatus = Literal["successful", "failed", "cancelled", "timeout", "crashed"]


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
