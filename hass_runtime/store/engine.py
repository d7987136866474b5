"""Engines that cannot hang, and transactions whose failures come out as one clear line."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from hass_runtime.store.records import StoreError

T = TypeVar("T")
WRITE = "hass_write"
# MariaDB: a deadlock (Galera reports a lost certification so, too) and "record has changed since last read".
TRY_AGAIN = (1213, 1020)
TRIES = 4


def parse_url(url: str) -> URL:
    """The URL, checked. Raises StoreError; the password is never repeated."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(
            "database URL: cannot be read, expected sqlite:///PATH or mysql+pymysql://…"
        ) from None
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if not parsed.database or parsed.database == ":memory:":
            raise StoreError(
                "database URL: expected sqlite:///PATH, a database in memory is not shared by threads"
            )
        return parsed
    if parsed.drivername in ("mysql+pymysql", "mariadb+pymysql"):
        if not parsed.database:
            raise StoreError(
                "database URL: the name of the database is missing, expected …//USER@HOST/DATABASE"
            )
        return parsed if "charset" in parsed.query else parsed.update_query_dict({"charset": "utf8mb4"})
    raise StoreError(f"database URL: {parsed.drivername} is not supported, expected sqlite or mysql+pymysql")


def label_of(url: URL) -> str:
    """How messages name the database, without its password."""
    if url.get_backend_name() == "sqlite":
        return f"database {url.database}"
    where = url.query.get("unix_socket") or f"{url.host or 'localhost'}:{url.port or 3306}"
    return f"database {url.database} at {where}"


def open_engine(url: URL, *, connect_timeout: float, timeout: float, pooled: bool = True) -> Engine:
    """An engine; nothing is connected yet. ``timeout`` bounds each read and write in seconds."""
    pool: dict[str, Any] = {"pool_size": 5, "max_overflow": 10, "pool_timeout": connect_timeout}
    if not pooled:
        pool = {"poolclass": NullPool}
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, timeout=connect_timeout, pool=pool)
    return _mariadb(url, connect_timeout=connect_timeout, timeout=timeout, pool=pool)


def _sqlite(url: URL, *, timeout: float, pool: dict[str, Any]) -> Engine:
    path = os.path.abspath(url.database or "")

    def connect() -> sqlite3.Connection:
        # mode=rw: only `prepare_file` creates a database, with its mode, and never a reader by accident.
        # isolation_level=None: BEGIN is ours (below), so that a schema change is part of its transaction.
        connection = sqlite3.connect(
            f"file:{quote(path)}?mode=rw",
            uri=True,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    engine = create_engine(url, creator=connect, **pool)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes its lock first: a read that turns into a write later could only fail, not wait.
        write = connection.get_execution_options().get(WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _mariadb(url: URL, *, connect_timeout: float, timeout: float, pool: dict[str, Any]) -> Engine:
    from pymysql.constants import CLIENT

    seconds = max(1, int(timeout))
    # UTC, because a local clock runs through one hour a year twice. A waiting or a frozen controller (or one
    # whose machine is gone) must not hold the lease's row for ever: the server ends its wait and its
    # transaction. The comment is executed by MariaDB only; MySQL has no such variable.
    session = (
        f"SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = {max(1, seconds // 2)}"
        f" /*M!100300 , idle_transaction_timeout = {seconds} */"
    )
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_recycle=1800,
        isolation_level="READ COMMITTED",
        connect_args={
            "connect_timeout": connect_timeout,
            "read_timeout": timeout,
            "write_timeout": timeout,
            "init_command": session,
            # Without it an UPDATE reports changed rows, and a lease renewed to what it was would look lost.
            "client_flag": CLIENT.FOUND_ROWS,
        },
        **pool,
    )


def prepare_file(url: URL) -> None:
    """Make the SQLite file and its directory, closed to others; a file that was too open is tightened."""
    path = Path(os.path.abspath(url.database or ""))
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid == os.geteuid() and (status.st_size == 0 or mode & ~0o640):
            os.fchmod(descriptor, 0o640)
    finally:
        os.close(descriptor)


def run(engine: Engine, label: str, work: Callable[[Connection], T], *, write: bool = False) -> T:
    """Do ``work`` in one transaction and commit it. Raises StoreError, or what ``work`` raises itself.

    A transaction that lost a deadlock is done again from its start: nothing of it was kept.
    """
    with translated(label):
        for left in reversed(range(TRIES)):
            try:
                with engine.connect().execution_options(**{WRITE: write}) as connection, connection.begin():
                    return work(connection)
            except DBAPIError as exc:
                if left == 0 or error_code(exc) not in TRY_AGAIN:
                    raise
    raise AssertionError("unreachable")


@contextmanager
def translated(label: str) -> Iterator[None]:
    """Turn what a database can throw into a StoreError of one line."""
    try:
        yield
    except IntegrityError as exc:
        raise StoreError(f"{label}: refused: {_line(exc)}") from exc
    except (SQLAlchemyError, OSError, sqlite3.Error) as exc:
        raise StoreError(f"{label}: {_line(exc)}") from exc


def error_code(exc: DBAPIError) -> int | None:
    args = getattr(exc.orig, "args", ())
    return args[0] if args and isinstance(args[0], int) else None


def _line(exc: BaseException) -> str:
    """The driver's own words: SQLAlchemy's text would add the statement and its values."""
    origin = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
    args = getattr(origin, "args", ())
    # OSError.strerror has no path and PyMySQL's args are (code, words).
    words = (
        origin.strerror
        if isinstance(origin, OSError) and origin.strerror
        else (str(args[-1]) if args else "")
    )
    return " ".join((words or type(origin).__name__).split())
