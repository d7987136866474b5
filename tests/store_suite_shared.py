"""What every database must do when several controllers, threads and people use it; see `store_suite`."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError
from store_suite import HOST

from hass_runtime.domain import (
    Host,
    HostState,
    Incident,
    Layer,
    OrderKind,
    Outcome,
    Pause,
    Reading,
    Scope,
    Verdict,
)
from hass_runtime.store import Lease, LeaseLost, Store, StoreError, Writer, orders
from hass_runtime.store import engine as engines
from hass_runtime.store import migrate as migrations
from hass_runtime.store.migrate import VERSION_TABLE
from hass_runtime.store.models import Base, IncidentTable


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


def test_every_throw_of_the_switch_is_kept(store: Store, writer: Writer) -> None:
    store.disarm("network works", "alice", at=10.0)
    store.disarm("power works", "bob", until=30.0, at=20.0)
    store.disarm("disk", "alice", at=25.0, scope=Scope.HOST, name="compute1")
    store.arm(40.0)
    store.disarm("third", "carol", at=50.0)
    store.arm(60.0)
    assert _table(store, "SELECT reason, scope, name, since, ended_at FROM disarm ORDER BY id") == [
        ("network works", "all", "", 10.0, 20.0),
        ("power works", "all", "", 20.0, 30.0),
        ("disk", "host", "compute1", 25.0, None),
        ("third", "all", "", 50.0, 60.0),
    ]


def test_every_order_is_kept_with_its_true_end(store: Store, writer: Writer) -> None:
    kind = OrderKind.MAINTENANCE
    store.give_order("compute1", kind, "first", "alice", at=10.0)
    store.give_order("compute1", kind, "second", "alice", until=30.0, at=20.0)
    third = store.give_order("compute1", kind, "third", "alice", until=90.0, at=40.0)
    writer.end_order(third.id, 50.0)
    writer.end_order(third.id, 60.0)
    fourth = store.give_order("compute1", kind, "fourth", "alice", until=70.0, at=65.0)
    writer.end_order(fourth.id, 80.0)
    assert store.end_orders("compute1", kind, 90.0) is False
    assert _table(store, "SELECT reason, ended_at FROM host_order ORDER BY id") == [
        ("first", 20.0),
        ("second", 30.0),
        ("third", 50.0),
        ("fourth", 70.0),
    ]


def test_of_people_who_order_at_once_one_order_is_in_force(
    store: Store, writer: Writer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first stops between its two statements: the other may not begin before it has ended."""
    other_began = threading.Event()
    ended: list[str] = []
    end = orders._end

    def end_and_stop(*arguments: Any) -> None:
        end(*arguments)
        ended.append(threading.current_thread().name)
        if len(ended) == 1:
            other_began.wait(0.5)
        else:
            other_began.set()

    def order(who: str) -> None:
        other = Store(url)
        try:
            other.give_order("compute1", OrderKind.MAINTENANCE, f"by {who}", who)
        finally:
            other.close()

    monkeypatch.setattr(orders, "_end", end_and_stop)
    _together([lambda: order("alice"), lambda: order("bob")])
    assert len(set(ended)) == 2
    assert len(store.orders()) == 1
    assert len(_table(store, "SELECT id FROM host_order")) == 2


def test_of_people_who_disarm_at_once_the_later_one_is_told_and_both_are_armed(store: Store) -> None:
    for who, since in (("alice", 10.0), ("bob", 10.5)):  # as two controllers in the same moment would
        _execute(store, f"INSERT INTO disarm (reason, operator, since) VALUES ('r', '{who}', {since})")
    assert [pause.by for pause in store.pauses(11.0)] == ["bob"]
    assert store.arm(12.0) is True
    assert store.pauses(13.0) == ()


def test_the_controllers_end_of_an_order_needs_the_lease(store: Store, writer: Writer) -> None:
    given = store.give_order("compute1", OrderKind.RESTORE, "", "alice")
    expire(store)
    with pytest.raises(LeaseLost):
        writer.end_order(given.id, 1.0)
    assert store.orders() == (given,)


# Incidents


def test_the_database_itself_refuses_a_second_open_incident(store: Store, incident: Incident) -> None:
    row = {
        "host": "compute1",
        "open_key": "compute1",
        "fault": "x",
        "layer": "os",
        "why": "",
        "outcome": "open",
    }
    row |= {
        "opened_at": 1.0,
        "decision": "",
        "gate": "",
        "reason": "",
        "phase": "",
        "attempts": 0,
        "seen": "[]",
    }
    with pytest.raises(IntegrityError), store._engine.connect() as connection, connection.begin():
        connection.execute(insert(IncidentTable).values(row))
    assert len(store.incidents()) == 1


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


@pytest.mark.parametrize(
    "undone",
    [
        ["DROP TABLE disarm", "DROP TABLE host_order", "DELETE FROM schema_version"],
        ["DROP TABLE host_order", "UPDATE schema_version SET version_num = '0001'"],
        ["DROP INDEX ix_incident_fenced_at", "UPDATE schema_version SET version_num = '0001'"],
    ],
)
def test_a_migration_that_was_cut_short_is_done_again(
    store: Store, incident: Incident, undone: list[str]
) -> None:
    for statement in undone:
        on_table = statement.startswith("DROP INDEX") and store._engine.dialect.name != "sqlite"
        _execute(store, statement + (" ON incident" if on_table else ""))
    store.migrate()
    store.check()
    assert store.incidents() == [incident]
    assert store.disarmed() is None
    assert store.orders() == ()
    test_the_migrations_make_what_the_models_say(store)


def test_an_older_database_is_upgraded_with_what_is_in_it(url: str) -> None:
    """The rows are written as the first schema had them, by SQL: today's models know more columns."""
    store = Store(url)
    _migrate_to(url, "0001")
    with pytest.raises(StoreError, match=r"schema 0001 is older than this HASS needs \(0004\)"):
        store.check()
    host = "INSERT INTO host (name, cluster, address, bmc, watched, state, since, reason) VALUES"
    disarm = "INSERT INTO disarm (reason, operator, since, until, ended_at) VALUES"
    incident = (
        "INSERT INTO incident (host, open_key, fault, layer, why, outcome, opened_at, closed_at, decision,"
        " gate, reason, phase, attempts, seen) VALUES"
    )
    step = (
        "INSERT INTO step (incident, run, task, action, name, status, started_at, finished_at, detail) VALUES"
    )
    for statement in (
        f"{host} ('compute1', 'rack-a', '192.0.2.11', 1, 1, 'fenced', 12.5, 'off by BMC')",
        f"{host} ('compute2', 'rack-a', '192.0.2.12', 0, 1, 'healthy', 1.0, '')",
        f"{disarm} ('old works', 'alice', 1.0, NULL, 2.0)",
        f"{disarm} ('network works', 'bob', 5.0, NULL, NULL)",
        f"{incident} ('compute2', NULL, 'power', 'power', 'off', 'recovered', 10.0, 90.0, 'd', '', 'r',"
        " 'host_restore', 1, '[]')",
        f"{incident} ('compute1', 'compute1', 'power', 'power', 'off', 'held', 100.0, NULL, 'd', 'storm',"
        " 'r', 'host_failure', 2, '[]')",
        f"{step} (1, 'r1', 't1', 'hass_fence', 'Fence', 'failed', 11.0, 12.0, '')",
        f"{step} (1, 'r2', 't1', 'hass_fence', 'Fence', 'changed', 20.0, 22.5, '')",
        f"{step} (1, 'r3', 't1', 'hass_fence', 'Fence', 'ok', 30.0, 31.0, '')",
        f"{step} (1, 'r3', 't2', 'hass_evacuate', 'Evacuate', 'ok', 5.0, 6.0, '')",
        f"{step} (2, 'r4', 't1', 'hass_fence', 'Fence', 'failed', 101.0, 102.0, '')",
    ):
        _execute(store, statement)
    store.migrate()
    store.check()
    assert store.pauses(6.0) == (Pause("network works", "bob", 5.0),)
    open_one, closed = store.incidents()
    assert (open_one.host, open_one.outcome, open_one.gate) == ("compute1", Outcome.HELD, "storm")
    assert (open_one.attempts, open_one.rung, open_one.tries, open_one.fenced_at) == (2, 0, 0, None)
    assert (closed.closed_at, closed.fenced_at) == (90.0, 22.5)
    assert store.fences_since(0.0) == [closed]
    assert [(row.name, row.state) for row in store.hosts()] == [
        ("compute1", HostState.FENCED),
        ("compute2", HostState.HEALTHY),
    ]
    test_the_migrations_make_what_the_models_say(store)
    lease = store.lease_acquire("ctl1", 60)
    assert lease is not None
    writer = store.writer(lease)
    assert writer.update_incident(open_one.id, rung=1, tries=1, fenced_at=120.0).fenced_at == 120.0
    given = store.give_order("compute2", OrderKind.MAINTENANCE, "r", "alice", at=200.0)
    assert store.orders(201.0) == (given,)
    store.close()


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


def _migrate_to(url: str, revision: str) -> None:
    """Make the tables as an earlier release of HASS would have."""
    parsed = engines.parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        engines.prepare_file(parsed)
    engine = engines.open_engine(parsed, connect_timeout=5, timeout=60, pooled=False)
    with engine.connect().execution_options(hass_write=True) as connection:
        config = migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()
    engine.dispose()


def _execute(store: Store, statement: str) -> None:
    with store._engine.connect().execution_options(hass_write=True) as connection, connection.begin():
        connection.execute(text(statement))


def _table(store: Store, query: str) -> list[tuple[Any, ...]]:
    with store._engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


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
