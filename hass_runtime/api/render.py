"""From the project's data to the JSON of the REST interface. Pure: no clock, no database."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from hass_runtime.domain import Choice, Incident, Move, Order, Pause, Scope, Step
from hass_runtime.store.records import HostRow, Run

Json = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def moment(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601, UTC, with milliseconds; None for None and for no time at all."""
    if seconds is None or not math.isfinite(seconds):
        return None
    try:
        at = EPOCH + timedelta(milliseconds=round(seconds * 1000))
    except OverflowError:
        return None
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def host(row: HostRow) -> Json:
    return {
        "name": row.name,
        "cluster": row.cluster,
        "address": row.address,
        "bmc": row.bmc,
        "state": row.state.value,
        "since": moment(row.since),
        "reason": row.reason,
        "reserve": row.reserve.value,
        "layers": {
            layer.value: {
                "verdict": reading.verdict.value,
                "evidence": reading.evidence,
                "at": moment(reading.at),
                "since": moment(reading.since),
                "answered": reading.answered,
            }
            for layer, reading in row.layers.items()
        },
    }


def incident(found: Incident) -> Json:
    """``duration`` is in seconds, null while the incident has no end; ``rung`` counts from 0."""
    return {
        "id": found.id,
        "host": found.host,
        "fault": found.fault,
        "layer": found.layer,
        "why": found.why,
        "outcome": found.outcome.value,
        "opened_at": moment(found.opened_at),
        "closed_at": moment(found.closed_at),
        "duration": _duration(found.opened_at, found.closed_at),
        "decision": found.decision,
        "gate": found.gate,
        "reason": found.reason,
        "phase": found.phase,
        "attempts": found.attempts,
        "rung": found.rung,
        "tries": found.tries,
        "fenced_at": moment(found.fenced_at),
        "seen": [_seen(item) for item in found.seen],
    }


def history(found: Incident, steps: Iterable[Step], moves: Iterable[Move], runs: Iterable[Run]) -> Json:
    """An incident with everything that happened in it."""
    return incident(found) | {
        "steps": [step(item) for item in steps],
        "moves": [move(item) for item in moves],
        "runs": [run(item) for item in runs],
    }


def step(item: Step) -> Json:
    return {
        "id": item.id,
        "run": item.run,
        "name": item.name,
        "action": item.action,
        "status": item.status.value,
        "started_at": moment(item.started_at),
        "finished_at": moment(item.finished_at),
        "duration": _duration(item.started_at, item.finished_at),
        "detail": item.detail,
    }


def move(item: Move) -> Json:
    return {
        "instance": item.instance,
        "name": item.name,
        "source": item.source,
        "target": item.target,
        "state": item.state.value,
        "was": item.was,
        "attempts": item.attempts,
        "priority": item.priority,
        "started_at": moment(item.started_at),
        "finished_at": moment(item.finished_at),
        "duration": _duration(item.started_at, item.finished_at),
        "reason": item.reason,
    }


def run(item: Run) -> Json:
    return {
        "id": item.id,
        "playbook": item.playbook,
        "attempt": item.attempt,
        "pid": item.pid,
        "run_dir": item.run_dir,
        "status": item.status,
        "rc": item.rc,
        "reason": item.reason,
        "started_at": moment(item.started_at),
        "finished_at": moment(item.finished_at),
        "duration": _duration(item.started_at, item.finished_at),
    }


def switch(pauses: Iterable[Pause]) -> Json:
    """``armed`` is about everything: a cluster or a host may be paused all the same."""
    found = list(pauses)
    everywhere = next((item for item in found if item.scope is Scope.ALL), None)
    told = None if everywhere is None else pause(everywhere)
    return {
        "armed": told is None,
        "disarmed": told and {key: told[key] for key in ("reason", "by", "since", "until")},
        "pauses": [pause(item) for item in found],
    }


def pause(item: Pause) -> Json:
    return {
        "scope": item.scope.value,
        "name": item.name,
        "reason": item.reason,
        "by": item.by,
        "since": moment(item.since),
        "until": moment(item.until),
    }


def order(item: Order) -> Json:
    return {
        "id": item.id,
        "host": item.host,
        "kind": item.kind.value,
        "reason": item.reason,
        "by": item.by,
        "at": moment(item.at),
        "until": moment(item.until),
        "drain": item.drain,
        "incident": item.incident or None,
    }


def choice(item: Choice) -> Json:
    return {
        "instance": item.instance,
        "name": item.name,
        "protected": item.protected,
        "reason": item.reason,
        "by": item.by,
        "at": moment(item.at),
    }


def _seen(item: Mapping[str, Any]) -> Json:
    at = item.get("at")
    return {
        "layer": str(item.get("layer", "")),
        "verdict": str(item.get("verdict", "unknown")),
        "evidence": str(item.get("evidence", "")),
        "at": moment(float(at)) if isinstance(at, (int, float)) else None,
        "answered": bool(item.get("answered", False)),
    }


def _duration(start: float | None, end: float | None) -> float | None:
    if start is None or end is None or not math.isfinite(end - start):
        return None
    return round(end - start, 3)
