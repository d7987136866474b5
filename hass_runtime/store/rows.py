"""From rows of the database to the project's own data."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from hass_runtime.domain import (
    Choice,
    HostState,
    Incident,
    Layer,
    Move,
    MoveState,
    Order,
    OrderKind,
    Outcome,
    Pause,
    Reserve,
    Scope,
    Step,
    StepStatus,
    Verdict,
)
from hass_runtime.store import words
from hass_runtime.store.records import HostRow, LayerRow, Run


def host(row: Row[Any], layers: dict[Layer, LayerRow]) -> HostRow:
    return HostRow(
        name=row.name,
        cluster=row.cluster,
        address=row.address,
        bmc=row.bmc,
        state=HostState(row.state),
        since=row.since,
        reason=row.reason,
        layers=layers,
        doubt=row.doubt,
        boot=row.boot,
        reserve=Reserve(row.reserve),
    )


def layer(row: Row[Any]) -> LayerRow:
    return LayerRow(
        subject=row.host,
        layer=Layer(row.layer),
        verdict=Verdict(row.verdict),
        evidence=row.evidence,
        at=row.at,
        since=row.since,
        answered=row.answered,
    )


def incident(row: Row[Any]) -> Incident:
    return Incident(
        id=row.id,
        host=row.host,
        fault=row.fault,
        layer=row.layer,
        why=row.why,
        outcome=Outcome(row.outcome),
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        decision=row.decision,
        gate=row.gate,
        reason=row.reason,
        phase=row.phase,
        attempts=row.attempts,
        seen=words.load_seen(row.seen),
        fenced_at=row.fenced_at,
        rung=row.rung,
        tries=row.tries,
    )


def step(row: Row[Any]) -> Step:
    return Step(
        id=row.id,
        incident=row.incident,
        run=row.run,
        name=row.name,
        status=StepStatus(row.status),
        started_at=row.started_at,
        finished_at=row.finished_at,
        detail=row.detail,
        action=row.action,
    )


def move(row: Row[Any]) -> Move:
    return Move(
        incident=row.incident,
        instance=row.instance,
        name=row.name,
        source=row.source,
        target=row.target,
        state=MoveState(row.state),
        was=row.was,
        attempts=row.attempts,
        priority=row.priority,
        started_at=row.started_at,
        finished_at=row.finished_at,
        reason=row.reason,
    )


def run(row: Row[Any]) -> Run:
    return Run(
        id=row.id,
        incident=row.incident,
        playbook=row.playbook,
        attempt=row.attempt,
        pid=row.pid,
        run_dir=row.run_dir,
        status=row.status,
        rc=row.rc,
        reason=row.reason,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def pause(row: Row[Any]) -> Pause:
    return Pause(
        reason=row.reason,
        by=row.operator,
        since=row.since,
        until=row.until,
        scope=Scope(row.scope),
        name=row.name,
    )


def choice(row: Row[Any]) -> Choice:
    return Choice(row.instance, row.protected, row.reason, row.operator, row.at, row.name)


def order(row: Row[Any]) -> Order:
    return Order(
        id=row.id,
        host=row.host,
        kind=OrderKind(row.kind),
        reason=row.reason,
        by=row.operator,
        at=row.at,
        until=row.until,
        drain=row.drain,
        incident=row.incident,
    )
