"""Bring the database's schema up to this code's, once, however many controllers start together."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, text

from hass_runtime.store import engine as engines
from hass_runtime.store.records import StoreError

log = logging.getLogger(__name__)
# Its two lines about every migration say less than ours.
logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)

VERSION_TABLE = "schema_version"
# How long to wait for another controller's migration, in seconds.
PATIENCE = 120.0
# Alembic's context is one for the whole process.
_one_at_a_time = threading.Lock()


def migrate(url: URL, label: str, *, connect_timeout: float) -> None:
    """Upgrade to the newest schema. Raises StoreError, also when the database is newer than this code."""
    engine = engines.open_engine(url, connect_timeout=connect_timeout, timeout=PATIENCE, pooled=False)
    try:
        with _one_at_a_time, engines.translated(label):
            if url.get_backend_name() == "sqlite":
                _sqlite(engine, url, label)
            else:
                _mariadb(engine, url, label)
    finally:
        engine.dispose()


def check(connection: Connection, label: str) -> None:
    """Refuse a database that has no tables yet, or whose schema is not this code's. Raises StoreError."""
    found, head = _heads(connection), _script().get_current_head()
    if not found:
        raise StoreError(f"{label}: has no tables yet; `hass controller` makes them when it starts")
    if found != (head,):
        _refuse_newer(found, label)
        raise StoreError(
            f"{label}: its schema {found[0]} is older than this HASS needs ({head});"
            " `hass controller` upgrades it when it starts"
        )


def _sqlite(engine: Engine, url: URL, label: str) -> None:
    engines.prepare_file(url)
    _switch_to_wal(url.database or "")
    # One transaction for all of it: SQLite's schema changes are part of it, and a second controller waits.
    with engine.connect().execution_options(**{engines.WRITE: True}) as connection, connection.begin():
        _upgrade(connection, label)


def _switch_to_wal(path: str) -> None:
    """Write-ahead logging, so that readers and the writer need not wait for each other; the file keeps it."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with closing(sqlite3.connect(path, timeout=5)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                return
        except sqlite3.OperationalError as exc:
            # The switch does not wait for another's lock as other statements do.
            if "locked" not in str(exc) or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def lock_name(url: URL) -> str:
    """The server's lock under which this database is migrated; locks are the server's, not the database's."""
    return "hass." + hashlib.sha256((url.database or "").encode()).hexdigest()[:32]


def _mariadb(engine: Engine, url: URL, label: str) -> None:
    # The server ends the lock with the connection, so a controller killed here leaves none behind.
    lock = lock_name(url)
    with engine.connect() as connection:
        # Waiting for it is no idle transaction, but a long migration could be.
        got = connection.execute(text("SELECT GET_LOCK(:lock, :wait)"), {"lock": lock, "wait": PATIENCE / 2})
        if got.scalar_one() != 1:
            raise StoreError(f"{label}: another controller has been migrating it for {PATIENCE / 2:g} s")
        connection.commit()
        try:
            _upgrade(connection, label)
            connection.commit()
        finally:
            connection.rollback()
            connection.execute(text("SELECT RELEASE_LOCK(:lock)"), {"lock": lock})


def _upgrade(connection: Connection, label: str) -> None:
    found, head = _heads(connection), _script().get_current_head()
    _refuse_newer(found, label)
    if found == (head,):
        return
    if connection.dialect.name != "sqlite":
        connection.commit()  # alembic begins its own transactions where it finds none
    config = _config()
    config.attributes["connection"] = connection
    log.info("%s: upgrading the schema from %s to %s", label, ", ".join(found) or "nothing", head)
    command.upgrade(config, "head")


def _refuse_newer(found: tuple[str, ...], label: str) -> None:
    script = _script()
    for revision in found:
        try:
            script.get_revision(revision)
        except CommandError:
            raise StoreError(
                f"{label}: its schema {revision} is newer than this HASS, which knows up to"
                f" {script.get_current_head()}: upgrade HASS on this machine"
            ) from None


def _heads(connection: Connection) -> tuple[str, ...]:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads()


def _config() -> Config:
    config = Config()
    # Alembic reads the path with interpolation of percent signs.
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    return config


def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
