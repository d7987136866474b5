"""The lease in SQL: who may act, judged by one clock. Each function works in the caller's transaction."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import ColumnElement, Connection, Double, literal, literal_column, select, update

from hass_runtime.store.models import CONTROLLER, LeaseTable
from hass_runtime.store.records import Lease, LeaseLost, StoreError


def clock(connection: Connection) -> ColumnElement[Any]:
    """Now, in seconds since the epoch, as an SQL expression.

    MariaDB: the server's clock, so that controllers whose clocks differ agree. SYSDATE, not NOW: NOW is when
    the statement began, which may have waited for the row's lock since.
    """
    if connection.dialect.name == "sqlite":
        return literal(time.time(), Double)
    return literal_column("UNIX_TIMESTAMP(SYSDATE(6))", Double)


def guard(connection: Connection, lease: Lease) -> None:
    """Lock the lease's row until the transaction ends, or raise LeaseLost.

    As long as it is locked nobody else can take the lease: what the transaction writes, its holder writes.
    """
    held = connection.execute(
        update(LeaseTable)
        .where(*_mine(lease), LeaseTable.expires_at > clock(connection))
        .values(epoch=LeaseTable.epoch)
    )
    if held.rowcount != 1:
        raise LeaseLost(f"controller {lease.holder} does not hold the lease (epoch {lease.epoch}) any more")


def acquire(connection: Connection, holder: str, ttl: float) -> Lease | None:
    """Take the lease when it is free, expired or already ours; None when somebody else holds it.

    The epoch grows every time, also for the same name: a process started twice, or started again before its
    lease expired, fences its other self out.
    """
    row = connection.execute(
        select(LeaseTable.holder, LeaseTable.epoch, LeaseTable.expires_at)
        .where(LeaseTable.name == CONTROLLER)
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise StoreError("the lease's row is missing from the database")
    now = _now(connection)
    if row.expires_at > now and row.holder not in ("", holder):
        return None
    lease = Lease(holder, row.epoch + 1, now + ttl, ttl)
    connection.execute(
        update(LeaseTable)
        .where(LeaseTable.name == CONTROLLER)
        .values(holder=holder, epoch=lease.epoch, expires_at=lease.expires_at, ttl=ttl)
    )
    return lease


def renew(connection: Connection, lease: Lease) -> Lease:
    """The lease for another ``ttl`` seconds. Raises LeaseLost, also when it expired and nobody took it."""
    guard(connection, lease)
    renewed = Lease(lease.holder, lease.epoch, _now(connection) + lease.ttl, lease.ttl)
    connection.execute(
        update(LeaseTable).where(*_mine(lease)).values(expires_at=renewed.expires_at, ttl=renewed.ttl)
    )
    return renewed


def release(connection: Connection, lease: Lease) -> None:
    """Give the lease back; nothing happens when it is somebody else's already. The epoch stays."""
    connection.execute(update(LeaseTable).where(*_mine(lease)).values(holder="", expires_at=0.0))


def current(connection: Connection) -> Lease | None:
    """The lease as it stands, or None when nobody holds it or it has expired."""
    row = connection.execute(
        select(LeaseTable.holder, LeaseTable.epoch, LeaseTable.expires_at, LeaseTable.ttl).where(
            LeaseTable.name == CONTROLLER, LeaseTable.holder != "", LeaseTable.expires_at > clock(connection)
        )
    ).one_or_none()
    return None if row is None else Lease(row.holder, row.epoch, row.expires_at, row.ttl)


def _mine(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (
        LeaseTable.name == CONTROLLER,
        LeaseTable.holder == lease.holder,
        LeaseTable.epoch == lease.epoch,
    )


def _now(connection: Connection) -> float:
    return float(connection.execute(select(clock(connection))).scalar_one())
