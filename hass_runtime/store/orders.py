"""What a person orders for one host: maintenance, its word that the host is off, or to bring it back.

A person needs no lease for that. Each function works in the caller's transaction; nothing is ever deleted.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import ColumnElement, Connection, and_, insert, or_, select, update

from hass_runtime.domain import Order, OrderKind
from hass_runtime.store import rows, words
from hass_runtime.store.models import HostTable, OrderTable
from hass_runtime.store.records import StoreError

# What others will ask about afterwards.
_WANT_A_REASON = (OrderKind.MAINTENANCE, OrderKind.CONFIRM_FENCED)


def give(connection: Connection, wanted: Order) -> Order:
    """The order with its number. One of the same host and kind that was in force is ended and kept."""
    kind, reason = OrderKind(wanted.kind), words.clean(wanted.reason).strip()
    if kind in _WANT_A_REASON and not reason:
        raise StoreError(f"order {kind.value}: a reason is needed, others will want to read it")
    if wanted.until is not None and wanted.until <= wanted.at:
        raise StoreError(f"order {kind.value}: its end must lie after its beginning")
    made = replace(
        wanted,
        host=_watched(connection, wanted.host),
        kind=kind,
        reason=words.long(reason),
        by=words.short(wanted.by),
    )
    # Its lock lets one person at a time order something for this host: so one order of a kind is in force.
    connection.execute(select(HostTable.name).where(HostTable.name == made.host).with_for_update())
    _end(connection, made.at, _mine(made.host, kind))
    connection.execute(
        insert(OrderTable).values(
            host=made.host,
            kind=kind.value,
            reason=made.reason,
            operator=made.by,
            at=made.at,
            until=made.until,
            drain=made.drain,
            incident=made.incident,
        )
    )
    newest = select(OrderTable.id).where(_mine(made.host, kind)).order_by(OrderTable.id.desc()).limit(1)
    return replace(made, id=connection.execute(newest).scalar_one())


def take_back(connection: Connection, host: str, kind: OrderKind, at: float) -> bool:
    """End what is in force of a host and kind; True when something was."""
    name, kind = words.clean(host), OrderKind(kind)
    was = any((order.host, order.kind) == (name, kind) for order in in_force(connection, at))
    if not was:  # an order for a host that is not watched any more can be taken back
        _watched(connection, host)
    _end(connection, at, _mine(name, kind))
    return was


def in_force(connection: Connection, now: float) -> tuple[Order, ...]:
    """All that have neither ended nor run out, the oldest first."""
    return tuple(
        rows.order(row)
        for row in connection.execute(
            select(OrderTable)
            .where(OrderTable.ended_at.is_(None), or_(OrderTable.until.is_(None), OrderTable.until > now))
            .order_by(OrderTable.id)
        )
    )


def end(connection: Connection, id: int, at: float) -> None:
    """End one order by its number. Raises StoreError when there is none of it."""
    mine = OrderTable.id == id
    if connection.scalar(select(OrderTable.id).where(mine)) is None:
        raise StoreError(f"order {id} is not in the database")
    _end(connection, at, mine)


def _mine(host: str, kind: OrderKind) -> ColumnElement[bool]:
    return and_(OrderTable.host == host, OrderTable.kind == kind.value)


def _end(connection: Connection, at: float, mine: ColumnElement[bool]) -> None:
    """One that ran out by itself ended when it said, any other ends now."""
    open_ended = (OrderTable.ended_at.is_(None), or_(OrderTable.until.is_(None), OrderTable.until > at))
    connection.execute(update(OrderTable).where(mine, *open_ended).values(ended_at=at))
    connection.execute(
        update(OrderTable).where(mine, OrderTable.ended_at.is_(None)).values(ended_at=OrderTable.until)
    )


def _watched(connection: Connection, host: str) -> str:
    names = set(connection.scalars(select(HostTable.name).where(HostTable.watched)))
    return words.known(host, names, "host")
