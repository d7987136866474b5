"""What each decision was made from: snapshots, shared by the decisions of one moment. SQL only."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, delete, exists, func, insert, select

from hass_runtime.store import words
from hass_runtime.store.models import DecidedTable, IncidentTable, SnapshotTable
from hass_runtime.store.records import Decided

MOST = 60
"""So many decisions are kept of an incident: a quarter of them the first, the others the newest."""

LAUNCHED = 100
"""Of the remedies launched in the same moment; with so many the gates have long had their say."""


def put(connection: Connection, made: Sequence[Decided], body: bytes, snapshot: int) -> int:
    """Returns the number of the snapshot, new when it was 0."""
    if not snapshot:
        values = {"at": max(each.at for each in made), "body": body}
        connection.execute(insert(SnapshotTable).values(values))
        snapshot = int(connection.scalar(select(func.max(SnapshotTable.id))) or 0)
    connection.execute(
        insert(DecidedTable),
        [
            {
                "incident": each.incident,
                "at": each.at,
                "kind": words.name(each.kind, "kind of a decision", words.WORD_LIMIT),
                "what": words.short(each.what),
                "words": words.long(each.words),
                "launched": json.dumps(each.launched[:LAUNCHED]),
                "snapshot": snapshot,
            }
            for each in made
        ],
    )
    thinned = [_thinned(connection, incident) for incident in sorted({each.incident for each in made})]
    if any(thinned):
        _drop_unused(connection)
    return snapshot


def of(connection: Connection, incident: int) -> list[Decided]:
    query = select(DecidedTable).where(DecidedTable.incident == incident).order_by(DecidedTable.id)
    return [
        Decided(
            row.incident,
            row.at,
            row.kind,
            row.what,
            row.words,
            tuple(
                (str(host), str(state), str(playbook)) for host, state, playbook in json.loads(row.launched)
            ),
            row.snapshot,
        )
        for row in connection.execute(query)
    ]


def body(connection: Connection, id: int) -> bytes | None:
    found: bytes | None = connection.scalar(select(SnapshotTable.body).where(SnapshotTable.id == id))
    return found


def forget(connection: Connection, keep: int) -> None:
    newest = select(IncidentTable.id).order_by(IncidentTable.id.desc()).limit(1).offset(max(keep - 1, 0))
    since = connection.scalar(newest)
    if since is None:
        return
    ended = select(IncidentTable.id).where(IncidentTable.id < since, IncidentTable.closed_at.is_not(None))
    gone = connection.execute(delete(DecidedTable).where(DecidedTable.incident.in_(ended)))
    if gone.rowcount:
        _drop_unused(connection)


def _thinned(connection: Connection, incident: int) -> bool:
    mine = select(DecidedTable.id).where(DecidedTable.incident == incident).order_by(DecidedTable.id)
    ids = list(connection.scalars(mine))
    first = MOST // 4
    surplus = ids[first : len(ids) - (MOST - first)] if len(ids) > MOST else []
    if surplus:
        connection.execute(delete(DecidedTable).where(DecidedTable.id.in_(surplus)))
    return bool(surplus)


def _drop_unused(connection: Connection) -> None:
    used = exists().where(DecidedTable.snapshot == SnapshotTable.id)
    connection.execute(delete(SnapshotTable).where(~used))
