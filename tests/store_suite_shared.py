"""What every database must do when several controllers, threads and people use it; see `store_suite`."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from store_suite import HOST

from hass_runtime.domain import (
    Host,
    HostState,
    Incident,
    Layer,
    Reading,
    Verdict,
)
from hass_runtime.store import Lease, LeaseLost, Store, StoreError, Writer
from hass_runtime.store.migrate import VERSION_TABLE
from hass_runtime.store.models import Base


def expire(store: Store) -> None:
    """Let the lease run out now, without waiting for it."""
    with store._engine.connect().execution_options(hass_write=True) as connection, connection.begin():
        connection.execute(text("UPDATE lease SET expires_at = 1"))


# The lease


def test_the_first_comer_gets_the_lease_and_another_does_not(store: Store) -> None:
    assert store.lease_current() is None
    lease = store.lease_acquire("ctl1", 60)
    assert lease is not None
    assert (lease.holder, lease.epoch, lease.ttl) == ("ctl1", 1, 60)
    assert store.lease_acquire("ctl2", 60) is None
    current = store.lease_current()
    assert current is not None
    assert (current.holder, current.epoch, current.ttl) == ("ctl1", 1, 60)
    assert current.expires_at == pytest.approx(lease.expires_at, abs=1e-3)


def test_a_renewal_keeps_the_epoch_and_never_looks_lost(store: Store, lease: Lease) -> None:
    renewed = lease
    for _ in range(5):
        renewed = store.lease_renew(renewed)
    assert renewed.epoch == lease.epoch
    assert renewed.expires_at >= lease.expires_at


def test_a_guard_that_changes_nothing_still_counts_its_row(store: Store, lease: Lease) -> None:
    writer = store.writer(lease)
    writer.put_host(HOST)
    writer.put_host(
        HOST
    )  # the same values: an UPDATE of a row that is equal already must not become an INSERT
    assert [host.name for host in store.hosts()] == ["compute1"]


def test_an_expired_lease_is_retaken_with_a_new_epoch_and_the_old_holder_is_refused(
    store: Store, lease: Lease, writer: Writer
) -> None:
    expire(store)
    taken = store.lease_acquire("ctl2", 60)
    assert taken is not None
    assert taken.epoch == lease.epoch + 1
    with pytest.raises(LeaseLost, match="ctl1"):
        writer.set_host_state("compute1", HostState.FAULTY, "stale", 1.0)
    with pytest.raises(LeaseLost):
        store.lease_renew(lease)
    assert store.hosts()[0].state is HostState.SUSPECT
    store.lease_release(lease)  # of somebody who has lost it: changes nothing
    current = store.lease_current()
    assert current is not None
    assert current.holder == "ctl2"


def test_an_expired_lease_that_nobody_took_is_refused_until_it_is_acquired_again(
    store: Store, lease: Lease, writer: Writer
) -> None:
    expire(store)
    assert store.lease_current() is None
    with pytest.raises(LeaseLost):
        writer.put_host(Host("compute2", "192.0.2.12"))
    with pytest.raises(LeaseLost):
        store.lease_renew(lease)
    again = store.lease_acquire("ctl1", 60)
    assert again is not None
    assert again.epoch == lease.epoch + 1
    store.writer(again).put_host(Host("compute2", "192.0.2.12"))
    with pytest.raises(LeaseLost):
        writer.put_host(Host("compute3", "192.0.2.13"))
    assert [host.name for host in store.hosts()] == ["compute1", "compute2"]


def test_the_same_name_started_twice_fences_its_first_self_out(
    store: Store, lease: Lease, writer: Writer
) -> None:
    second = store.lease_acquire("ctl1", 60)
    assert second is not None
    assert second.epoch == lease.epoch + 1
    with pytest.raises(LeaseLost):
        writer.put_host(HOST)


def test_a_released_lease_is_free_at_once(store: Store, lease: Lease, writer: Writer) -> None:
    store.lease_release(lease)
    assert store.lease_current() is None
    with pytest.raises(LeaseLost):
        writer.put_host(HOST)
    taken = store.lease_acquire("ctl2", 60)
    assert taken is not None
    assert taken.epoch == lease.epoch + 1


def test_of_racing_controllers_exactly_one_gets_the_lease(store: Store, url: str) -> None:
    names = [f"ctl{number}" for number in range(8)]
    for _ in range(5):
        expire(store)
        got = _together([lambda name=name: _with_own_store(url, name) for name in names])  # type: ignore[misc]
        winners = [lease for lease in got if lease is not None]
        assert len(winners) == 1
        current = store.lease_current()
        assert current is not None
        assert (current.holder, current.epoch) == (winners[0].holder, winners[0].epoch)


def test_a_write_and_a_takeover_never_both_succeed(store: Store, url: str) -> None:
    """Whoever comes first wins: after a takeover nothing of the old holder is written."""
    for turn in range(10):
        expire(store)
        lease = store.lease_acquire("ctl1", 60)
        assert lease is not None
        writer = store.writer(lease)
        writer.put_host(HOST)
        epochs: list[int] = []

        def write(writer: Writer = writer, turn: int = turn) -> None:
            for count in range(20):
                writer.set_host_state("compute1", HostState.SUSPECT, f"{turn}.{count}", 1.0)

        def take(epochs: list[int] = epochs) -> str:
            other = Store(url)
            try:
                expire(other)
                taken = other.lease_acquire("ctl2", 60)
                assert taken is not None
                epochs.append(taken.epoch)
                return other.hosts()[0].reason
            finally:
                other.close()

        results = _together([write, take], keep_errors=True)
        assert results[0] is None or isinstance(results[0], LeaseLost)
        assert epochs == [lease.epoch + 1]
        if isinstance(results[0], LeaseLost):
            assert store.hosts()[0].reason == results[1]


# The operator's switch


def test_the_switch_needs_no_lease_and_keeps_its_history(store: Store) -> None:
    assert store.disarmed(10.0) is None
    store.disarm("network works", "alice", at=10.0)
    store.disarm("power works", "bob", until=30.0, at=20.0)
    disarm = store.disarmed(29.9)
    assert disarm is not None
    assert (disarm.reason, disarm.by, disarm.since, disarm.until) == ("power works", "bob", 20.0, 30.0)
    assert store.disarmed(30.0) is None
    assert store.arm(40.0) is False
    store.disarm("third", "carol", at=50.0)
    assert store.arm(60.0) is True
    assert store.disarmed(61.0) is None
    with store._engine.connect() as connection:
        rows = connection.execute(text("SELECT reason, since, ended_at FROM disarm ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [
        ("network works", 10.0, 20.0),
        ("power works", 20.0, 30.0),
        ("third", 50.0, 60.0),
    ]


def test_the_switch_wants_a_reason_and_a_future(store: Store) -> None:
    with pytest.raises(StoreError, match="reason"):
        store.disarm("  ", "alice")
    with pytest.raises(StoreError, match="after its beginning"):
        store.disarm("x", "alice", until=5.0, at=10.0)
    assert store.disarmed() is None


# Schema and threads


def test_the_migrations_make_what_the_models_say(store: Store) -> None:
    with store._engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_a_second_migration_keeps_everything(store: Store, incident: Incident, lease: Lease) -> None:
    store.migrate()
    store.check()
    assert store.incidents() == [incident]
    current = store.lease_current()
    assert current is not None
    assert current.epoch == lease.epoch


def test_controllers_that_start_together_migrate_once(url: str) -> None:
    code = "import sys; from hass_runtime.store import Store; Store(sys.argv[1]).migrate()"
    workers = [
        subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [(worker.communicate(timeout=120)[1], worker.returncode) for worker in workers] == [("", 0)] * 3
    store = Store(url)
    store.check()
    assert store.lease_acquire("ctl1", 60) is not None


def test_a_migration_that_was_cut_short_is_done_again(store: Store, incident: Incident, url: str) -> None:
    with store._engine.connect().execution_options(hass_write=True) as connection, connection.begin():
        connection.execute(text("DROP TABLE disarm"))
        connection.execute(text("DELETE FROM schema_version"))
    store.migrate()
    store.check()
    assert store.incidents() == [incident]
    assert store.disarmed() is None


def test_a_newer_database_is_refused_in_one_line(store: Store) -> None:
    with store._engine.connect().execution_options(hass_write=True) as connection, connection.begin():
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    for use in (store.migrate, store.check):
        with pytest.raises(StoreError, match="9999 is newer than this HASS") as caught:
            use()
        assert "\n" not in str(caught.value)


def test_many_threads_read_while_one_writes(store: Store, writer: Writer) -> None:
    writer.put_hosts(Host(f"compute{number}", "192.0.2.1") for number in range(20))

    def write() -> None:
        for at in range(15):
            writer.put_readings(
                Reading(f"compute{number}", Layer.POWER, Verdict.OK, str(at), float(at))
                for number in range(20)
            )

    def read() -> None:
        for _ in range(15):
            seen = {row.layers[Layer.POWER].evidence for row in store.hosts() if row.layers}
            assert len(seen) <= 1  # a cycle is one transaction: never half of it

    _together([write, read, read, read])


def _with_own_store(url: str, name: str) -> Lease | None:
    store = Store(url)
    try:
        return store.lease_acquire(name, 60)
    finally:
        store.close()


def _together(works: list[Callable[[], Any]], keep_errors: bool = False) -> list[Any]:
    """Run all at the same moment, one thread each. An error is raised here, or kept as the result."""
    start = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)

    def go(index: int) -> None:
        start.wait(30)
        try:
            results[index] = works[index]()
        except Exception as exc:  # noqa: BLE001 - it is looked at below
            results[index] = exc

    threads = [threading.Thread(target=go, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    for result in results:
        if isinstance(result, Exception) and not keep_errors:
            raise result
    return results
