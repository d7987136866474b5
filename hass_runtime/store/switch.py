"""The operator's switch: a person may stop HASS from acting, with a reason; that needs no lease."""

from __future__ import annotations

from sqlalchemy import Connection, insert, or_, select, update

from hass_runtime.store import rows, words
from hass_runtime.store.models import DisarmTable
from hass_runtime.store.records import Disarm, StoreError


def disarm(connection: Connection, reason: str, by: str, until: float | None, at: float) -> Disarm:
    """Stop acting from ``at`` on. A switch that was thrown before is ended and kept."""
    if not reason.strip():
        raise StoreError("disarm: a reason is needed, whoever is called at night will want to read it")
    if until is not None and until <= at:
        raise StoreError("disarm: its end must lie after its beginning")
    arm(connection, at)
    made = Disarm(words.long(reason.strip()), words.short(by), at, until)
    connection.execute(
        insert(DisarmTable).values(reason=made.reason, operator=made.by, since=made.since, until=made.until)
    )
    return made


def arm(connection: Connection, at: float) -> bool:
    """Act again; True when something was switched off. One that ran out by itself ended when it said."""
    current = disarmed(connection, at)
    open_ended = (DisarmTable.ended_at.is_(None), or_(DisarmTable.until.is_(None), DisarmTable.until > at))
    connection.execute(update(DisarmTable).where(*open_ended).values(ended_at=at))
    connection.execute(
        update(DisarmTable).where(DisarmTable.ended_at.is_(None)).values(ended_at=DisarmTable.until)
    )
    return current is not None


def disarmed(connection: Connection, now: float) -> Disarm | None:
    row = connection.execute(
        select(DisarmTable)
        .where(DisarmTable.ended_at.is_(None), or_(DisarmTable.until.is_(None), DisarmTable.until > now))
        .order_by(DisarmTable.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else rows.disarm(row)
