"""The simulator's store in memory, held to the suite that every database passes."""

from __future__ import annotations

import time

import pytest
from store_suite import *  # noqa: F403
from store_suite import FAULT, HOST

from hass_runtime.simulator.journal import Journal
from hass_runtime.simulator.journal_writer import JournalWriter
from hass_runtime.store import LeaseLost, StoreError


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Journal:
    return Journal(clock)


def test_the_lease_is_one_holders_until_it_runs_out_and_each_epoch_is_another(
    store: Journal, clock: Clock
) -> None:
    first = store.lease_acquire("one", 15.0)
    assert first is not None
    assert store.lease_acquire("two", 15.0) is None
    clock.now += 10.0
    assert store.lease_renew(first).epoch == first.epoch
    clock.now += 14.0
    assert store.lease_current() is not None
    assert store.lease_acquire("two", 15.0) is None
    clock.now += 1.0
    assert store.lease_current() is None
    second = store.lease_acquire("two", 15.0)
    assert second is not None
    assert second.epoch == first.epoch + 1
    with pytest.raises(LeaseLost):
        store.lease_renew(first)
    store.lease_release(first)  # somebody else's by now
    assert store.lease_current() == second
    store.lease_release(second)
    assert store.lease_current() is None


def test_without_the_lease_nothing_is_written(store: Journal, clock: Clock) -> None:
    lease = store.lease_acquire("one", 15.0)
    assert lease is not None
    writer = store.writer(lease)
    writer.put_host(HOST)
    clock.now += 16.0
    for write in (
        lambda: writer.put_host(HOST),
        lambda: writer.set_host_state("compute1", "fenced", "x", 1.0),  # type: ignore[arg-type]
        lambda: writer.open_incident("compute1", FAULT, "x", 1.0),
        lambda: writer.keep_hosts(()),
        lambda: writer.start_run("r", 1, "p", 1, None, "/x", 1.0),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert [host.state.value for host in store.hosts()] == ["suspect"]
    assert store.incidents() == []


def test_a_database_that_is_away_refuses_everything(store: Journal, clock: Clock) -> None:
    lease = store.lease_acquire("one", 15.0)
    assert lease is not None
    writer = store.writer(lease)
    writer.put_host(HOST)
    store.away = True
    for call in (
        store.check,
        store.hosts,
        store.incidents,
        store.pauses,
        store.orders,
        store.unfinished_runs,
        store.lease_current,
        lambda: store.lease_renew(lease),
        lambda: store.disarm("x", "me"),
        lambda: writer.put_host(HOST),
        lambda: writer.note(1, "x", "ok", 1.0),  # type: ignore[arg-type]
    ):
        with pytest.raises(StoreError, match="does not answer"):
            call()
    store.away = False
    assert [host.name for host in store.hosts()] == ["compute1"]


def test_what_is_written_is_told_with_how_it_was_before(clock: Clock) -> None:
    told = []
    store = Journal(clock, lambda kind, before, after: told.append((kind, before, after)))
    lease = store.lease_acquire("one", 15.0)
    assert lease is not None
    writer: JournalWriter = store.writer(lease)
    writer.put_host(HOST)
    opened = writer.open_incident("compute1", FAULT, "x", 1.0)
    held = writer.update_incident(opened.id, outcome="held", gate="storm", reason="y")
    assert told == [("incident", None, opened), ("incident", opened, held)]
