"""The operator's switch: a person may stop HASS from acting, everywhere, on a cluster or on a host, with a
reason; that needs no lease.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import ColumnElement, Connection, insert, or_, select, update

from hass_runtime.domain import Pause, Scope
from hass_runtime.store import rows, words
from hass_runtime.store.models import DisarmTable, HostTable
from hass_runtime.store.records import StoreError

_WIDEST_FIRST = list(Scope)


def disarm(connection: Connection, wanted: Pause) -> Pause:
    """Stop acting from ``since`` on. One of the same scope and name that was in force is ended and kept."""
    scope = Scope(wanted.scope)
    if not words.clean(wanted.reason).strip():
        raise StoreError("disarm: a reason is needed, whoever is called at night will want to read it")
    if wanted.until is not None and wanted.until <= wanted.since:
        raise StoreError("disarm: its end must lie after its beginning")
    made = replace(
        wanted,
        reason=words.long(wanted.reason.strip()),
        by=words.short(wanted.by),
        scope=scope,
        name=_known(connection, scope, wanted.name),
    )
    _end(connection, made.since, _mine(scope, made.name))
    connection.execute(
        insert(DisarmTable).values(
            reason=made.reason,
            operator=made.by,
            since=made.since,
            until=made.until,
            scope=scope.value,
            name=made.name,
        )
    )
    return made


def arm(connection: Connection, at: float, scope: Scope, name: str) -> bool:
    """End the pause of this scope and name; True when one was in force. One that ran out by itself ended
    when it said.
    """
    scope, text = Scope(scope), words.clean(name)
    was = any((pause.scope, pause.name) == (scope, text) for pause in pauses(connection, at))
    if not was:  # a host that is not watched any more can be armed, a misspelt one cannot
        _known(connection, scope, name)
    _end(connection, at, _mine(scope, text))
    return was


def pauses(connection: Connection, now: float) -> tuple[Pause, ...]:
    """All in force, the widest scope first. Of two made in the same moment the later row counts."""
    found = {
        (row.scope, row.name): rows.pause(row)
        for row in connection.execute(
            select(DisarmTable)
            .where(DisarmTable.ended_at.is_(None), or_(DisarmTable.until.is_(None), DisarmTable.until > now))
            .order_by(DisarmTable.id)
        )
    }
    return tuple(sorted(found.values(), key=lambda pause: (_WIDEST_FIRST.index(pause.scope), pause.name)))


def _mine(scope: Scope, name: str) -> ColumnElement[bool]:
    return (DisarmTable.scope == scope.value) & (DisarmTable.name == name)


def _end(connection: Connection, at: float, mine: ColumnElement[bool]) -> None:
    open_ended = (DisarmTable.ended_at.is_(None), or_(DisarmTable.until.is_(None), DisarmTable.until > at))
    connection.execute(update(DisarmTable).where(mine, *open_ended).values(ended_at=at))
    connection.execute(
        update(DisarmTable).where(mine, DisarmTable.ended_at.is_(None)).values(ended_at=DisarmTable.until)
    )


def _known(connection: Connection, scope: Scope, name: str) -> str:
    """The name of a cluster or host that is watched; "" for everything. Raises StoreError."""
    if scope is Scope.ALL:
        if name:
            raise StoreError(f"a pause of everything has no name, got {words.short(name)!r}")
        return ""
    column = HostTable.cluster if scope is Scope.CLUSTER else HostTable.name
    names = set(connection.scalars(select(column).where(HostTable.watched)))
    return words.known(name, names, scope.value)
