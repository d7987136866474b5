"""Who acts: the holder of the lease, and by its own clock only for as long as the lease surely lasts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hass_runtime.leader import Leadership, holder_name, is_dead_predecessor
from hass_runtime.store import Lease, LeaseLost, StoreError


class Row:
    """The lease's row, and a database that can be away. Time is the test's."""

    def __init__(self):
        self.now, self.away = 0.0, False
        self.lease, self.renewals = None, 0

    def _answer(self):
        if self.away:
            raise StoreError("the database is away")

    def lease_current(self):
        self._answer()
        return self.lease

    def lease_acquire(self, holder, ttl):
        self._answer()
        if self.lease and self.lease.holder != holder and self.lease.expires_at > self.now:
            return None
        self.lease = Lease(holder, (self.lease.epoch if self.lease else 0) + 1, self.now + ttl, ttl)
        return self.lease

    def lease_renew(self, lease):
        self._answer()
        if self.lease is None or self.lease.epoch != lease.epoch or self.lease.expires_at <= self.now:
            raise LeaseLost("it is somebody else's")
        self.renewals += 1
        self.lease = Lease(lease.holder, lease.epoch, self.now + lease.ttl, lease.ttl)
        return self.lease

    def lease_release(self, lease):
        self._answer()
        self.lease = None


@pytest.fixture
def row():
    return Row()


def leadership(row, holder="ctl1"):
    return Leadership(row, holder, 15.0, clock=lambda: row.now)


def test_it_is_taken_and_renewed_after_a_third(row):
    one = leadership(row)
    assert one.tick().epoch == 1
    for row.now in (1.0, 4.0):
        one.tick()
    assert row.renewals == 0
    row.now = 5.0
    one.tick()
    assert row.renewals == 1


def test_another_stands_by_until_the_lease_has_run_out(row):
    leadership(row).tick()
    two = leadership(row, "ctl2")
    row.now = 14.9
    assert two.tick() is None
    row.now = 15.1
    assert two.tick().epoch == 2


def test_a_holder_that_slept_too_long_does_not_act(row):
    one, two = leadership(row), leadership(row, "ctl2")
    one.tick()
    row.now = 20.0
    assert one.lease is None
    two.tick()
    assert one.tick() is None
    assert two.lease.epoch == 2


def test_without_the_database_it_acts_no_longer_than_the_lease_lasts(row):
    one = leadership(row)
    one.tick()
    row.away = True
    row.now = 14.9
    assert one.tick() is not None
    row.now = 15.0
    assert one.tick() is None
    row.away = False
    assert one.tick().epoch == 2


def test_a_renewal_counts_from_before_it_was_asked(row):
    """The database may have been slow to answer: its own count began when it was asked at the earliest."""
    one = leadership(row)
    one.tick()
    row.now = 6.0
    renew = row.lease_renew

    def slow(lease):
        renewed = renew(lease)
        row.now = 12.0
        return renewed

    row.lease_renew = slow
    one.tick()
    row.now = 20.9
    assert one.lease is not None
    row.now = 21.0
    assert one.lease is None


def test_given_back_it_can_be_taken_at_once(row):
    one = leadership(row)
    one.tick()
    one.release()
    assert one.lease is None
    assert leadership(row, "ctl2").tick() is not None


def test_what_the_database_takes_away_is_dropped(row):
    one = leadership(row)
    one.tick()
    row.lease = Lease("ctl2", 2, row.now + 15, 15.0)
    row.now = 6.0
    assert one.tick() is None


def ended_process():
    """The holder name of a process that was on this machine and is gone."""
    code = "from hass_runtime.leader import holder_name; print(holder_name('ctl1'))"
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_lease_of_its_own_dead_predecessor_is_not_waited_for(row):
    leadership(row, ended_process()).tick()
    assert leadership(row, holder_name("ctl1")).tick().epoch == 1  # given back for it, then taken


def test_a_predecessor_whose_run_survives_is_waited_for(row):
    leadership(row, ended_process()).tick()
    one = Leadership(row, holder_name("ctl1"), 15.0, clock=lambda: row.now, bury=lambda: False)
    assert one.tick() is None
    row.now = 15.1
    assert one.tick().epoch == 2


def test_names_in_two_configurations_do_not_make_one_holder(row):
    """A living process of the same name, here or elsewhere, keeps its lease."""
    mine = holder_name("ctl1")
    name, boot, pid, started = mine.rsplit(" ", 3)
    elsewhere = f"{name} 00000000-0000-0000-0000-000000000000 {pid} {started}"
    assert not is_dead_predecessor(elsewhere, mine)
    assert not is_dead_predecessor(mine, mine)
    assert not is_dead_predecessor(f"ctl10 {boot} {pid} 1", mine)
    assert is_dead_predecessor(f"{name} {boot} {pid} 1", mine), (
        "the number was given to another process since"
    )


@pytest.mark.parametrize("holder", ["", "ctl1", "ctl1 x", "a b c d", "ctl1 boot pid start"])
def test_a_strange_holder_is_left_alone(holder):
    assert not is_dead_predecessor(holder, holder_name("ctl1"))
