"""The store on a real MariaDB: the suite that every database passes, and what only a server can do to us."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from mariadb import PASSWORD, MariaDb
from sqlalchemy import Connection, text, update
from store_suite import *  # noqa: F403
from store_suite import HOST
from store_suite_shared import *  # noqa: F403

from hass_runtime.domain import Host
from hass_runtime.store import Lease, LeaseLost, Store, StoreError, Writer
from hass_runtime.store.migrate import lock_name
from hass_runtime.store.models import HostTable

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not MariaDb.available(), reason="mariadbd is not installed"),
]

# Longer than every bound of the store together: a test that reaches it has found a hang.
HANG = 90.0


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDb]:
    server = MariaDb()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def url(server: MariaDb) -> str:
    return server.fresh_database()


def test_the_servers_clock_judges_the_lease(
    store: Store, writer: Writer, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = time.time()
    monkeypatch.setattr("time.time", lambda: there + 86_400.0)
    writer.put_host(Host("compute2", "192.0.2.12"))
    assert store.lease_current() is not None
    assert store.lease_acquire("ctl2", 60) is None
    assert store.lease_renew(lease).expires_at < there + 600


def test_names_and_words_are_utf8_whatever_the_database_was_made_with(server: MariaDb, store: Store) -> None:
    schema = store.label.split()[1]
    collations = server.sql(
        f"SELECT DISTINCT table_collation FROM information_schema.tables WHERE table_schema = '{schema}'"
        " AND table_name <> 'schema_version'"
    )
    engines = server.sql(
        f"SELECT DISTINCT engine FROM information_schema.tables WHERE table_schema = '{schema}'"
    )
    assert collations == (("utf8mb4_bin",),)
    assert engines == (("InnoDB",),)


def test_a_migration_waits_for_the_one_that_is_under_way(server: MariaDb, url: str) -> None:
    other = Store(url)
    migration = threading.Thread(target=other.migrate)
    with Store(url)._engine.connect() as connection:
        lock = {"lock": lock_name(connection.engine.url)}
        assert connection.scalar(text("SELECT GET_LOCK(:lock, 0)"), lock) == 1
        connection.commit()
        migration.start()
        migration.join(2.0)
        assert migration.is_alive()
        with pytest.raises(StoreError, match="no tables yet"):
            other.check()
        connection.execute(text("SELECT RELEASE_LOCK(:lock)"), lock)
    migration.join(HANG)
    assert not migration.is_alive()
    other.check()


def test_a_stopped_server_is_an_error_and_a_started_one_works_again(
    server: MariaDb, store: Store, writer: Writer, lease: Lease
) -> None:
    server.stop()
    try:
        for use in (
            store.hosts,
            store.migrate,
            lambda: store.lease_renew(lease),
            lambda: writer.put_host(HOST),
        ):
            with pytest.raises(StoreError) as caught:
                _bounded(use)
            assert PASSWORD not in str(caught.value)
            assert "\n" not in str(caught.value)
    finally:
        server.start()
    assert [host.name for host in store.hosts()] == ["compute1"]
    writer.put_host(Host("compute2", "192.0.2.12"))
    assert store.lease_renew(lease).epoch == lease.epoch


def test_a_server_that_hangs_is_an_error_after_a_bounded_time_and_works_again(
    server: MariaDb, url: str, store: Store, writer: Writer, lease: Lease
) -> None:
    quick = Store(url, connect_timeout=1, timeout=1)
    assert len(quick.hosts()) == 1  # a pooled connection from before the hang
    fresh = Store(url, connect_timeout=1, timeout=1)
    server.freeze()
    try:
        for use in (quick.hosts, fresh.hosts, lambda: quick.writer(lease).put_host(HOST)):
            with pytest.raises(StoreError):
                _bounded(use)
    finally:
        server.thaw()
    assert len(quick.hosts()) == len(fresh.hosts()) == 1
    quick.writer(lease).put_host(Host("compute2", "192.0.2.12"))
    assert len(store.hosts()) == 2


def test_a_frozen_controller_does_not_hold_the_lease_for_ever(url: str, store: Store) -> None:
    """It stops in the middle of a write, with the lease's row locked; the server ends its transaction."""
    frozen = subprocess.Popen(
        [sys.executable, "-c", FROZEN, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert frozen.stdin is not None
    assert frozen.stdout is not None
    try:
        assert frozen.stdout.readline() == "locked\n"
        frozen.send_signal(signal.SIGSTOP)
        taken: Lease | None = None
        waits: list[str] = []
        deadline = time.monotonic() + HANG
        while taken is None and time.monotonic() < deadline:
            try:
                taken = store.lease_acquire("ctl2", 60)
            except StoreError as exc:
                waits.append(str(exc))
            time.sleep(0.1)
        assert taken is not None
        assert all("Lock wait timeout" in wait for wait in waits)
        store.writer(taken).put_host(HOST)
        frozen.send_signal(signal.SIGCONT)
        assert frozen.communicate("go on\n", timeout=60)[0] == "refused\n"
    finally:
        frozen.kill()
        frozen.wait(30)
    assert [host.name for host in store.hosts()] == ["compute1"]


FROZEN = """
import sys
from sqlalchemy import insert
from hass_runtime.store import LeaseLost, Store, StoreError
from hass_runtime.store import lease as leases
from hass_runtime.store.models import HostTable
store = Store(sys.argv[1], timeout=2)
lease = store.lease_acquire("ctl1", 1)

def work(connection):
    leases.guard(connection, lease)
    print("locked", flush=True)
    sys.stdin.readline()
    row = dict(name="late", cluster="c", address="a", bmc=False, watched=True, state="healthy", reason="")
    connection.execute(insert(HostTable).values(row))

try:
    store._write(work)
    print("written", flush=True)
except (StoreError, LeaseLost):
    print("refused", flush=True)
"""


def test_a_transaction_that_lost_a_deadlock_is_done_again(url: str, store: Store, lease: Lease) -> None:
    """Two transactions lock two rows in opposite order: the server rolls one back, the store repeats it."""
    writer = store.writer(lease)
    writer.put_hosts([Host("a", "192.0.2.1"), Host("b", "192.0.2.2")])
    meet = threading.Barrier(2)
    attempts: list[str] = []

    def swap(first: str, second: str) -> None:
        tries = 0

        def work(connection: Connection) -> None:
            nonlocal tries
            tries += 1
            attempts.append(first)
            connection.execute(update(HostTable).where(HostTable.name == first).values(reason=first))
            if tries == 1:
                meet.wait(30)
            connection.execute(update(HostTable).where(HostTable.name == second).values(reason=first))

        store._write(work)

    threads = [threading.Thread(target=swap, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
        assert not thread.is_alive()
    assert len(attempts) == 3
    # One of them ended as the last and wrote both rows: no half of either is left.
    assert len({host.reason for host in store.hosts()}) == 1


def test_a_user_who_may_not_make_tables_gets_one_clear_line(server: MariaDb, url: str) -> None:
    server.sql("CREATE OR REPLACE USER 'guest'@'127.0.0.1' IDENTIFIED BY 'gu3st'")
    name = url.rsplit("/", 1)[1]
    server.sql(f"GRANT SELECT ON {name}.* TO 'guest'@'127.0.0.1'")
    guest = f"mysql+pymysql://guest:gu3st@127.0.0.1:{server.port}/{name}"
    with pytest.raises(StoreError, match="command denied") as caught:
        Store(guest).migrate()
    wrong = guest.replace("gu3st", "wr0ng")
    with pytest.raises(StoreError, match="Access denied") as refused:
        Store(wrong).hosts()
    assert "\n" not in str(caught.value) + str(refused.value)
    assert "wr0ng" not in str(refused.value)


def test_an_expired_lease_is_refused_while_its_row_is_waited_for(url: str, store: Store) -> None:
    """A write that waits for the row's lock past the lease's end is judged by when it gets the lock."""
    lease = store.lease_acquire("ctl1", 1.0)
    assert lease is not None
    store.writer(lease).put_host(HOST)
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        def work(connection: Connection) -> None:
            connection.execute(text("SELECT * FROM lease FOR UPDATE"))
            locked.set()
            done.wait(30)

        other = Store(url)
        other._write(work)
        other.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(30)
    threading.Timer(2.0, done.set).start()
    with pytest.raises(LeaseLost):
        store.writer(lease).put_host(Host("late", "192.0.2.2"))
    thread.join(HANG)
    assert [host.name for host in store.hosts()] == ["compute1"]


def _bounded(use: object) -> None:
    """Call it in a thread and raise what it raises; a call that does not come back fails the test."""
    errors: list[BaseException] = []

    def go() -> None:
        try:
            use()  # type: ignore[operator]
        except Exception as exc:  # noqa: BLE001 - raised again below
            errors.append(exc)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    thread.join(HANG)
    assert not thread.is_alive(), "the store hangs"
    if errors:
        raise errors[0]
