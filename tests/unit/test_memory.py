"""What is known between two cycles."""

from __future__ import annotations

import pytest
from views import LIMITS, POLICY, policy

from hass_runtime.decide.view import LastRun
from hass_runtime.domain import Host, HostState, Layer, Order, OrderKind, Pause, Reading, Verdict
from hass_runtime.memory import GATEWAY, Memory
from hass_runtime.store import Run

VOICES = (Layer.NETWORK, Layer.SERVICE)


def memory(*names, **more):
    hosts = {name: Host(name, "192.0.2.1") for name in names or ("host1",)}
    return Memory(hosts, more.pop("policy", POLICY), **more)


def read(known, at, verdict=Verdict.OK, *names):
    for name in names or known.hosts:
        for layer in VOICES:
            known.observe(Reading(name, layer, verdict, "", at, verdict is Verdict.OK))


@pytest.mark.parametrize(
    ("verdict", "times", "age", "answers"),
    [
        (Verdict.OK, 1, 0, True),
        (Verdict.FAILED, 1, 0, True),
        (Verdict.FAILED, LIMITS.misses, 0, False),
        (Verdict.UNKNOWN, 5, 0, None),
        (Verdict.OK, 1, LIMITS.stale_after + 1, None),
        (Verdict.FAILED, 5, LIMITS.stale_after + 1, None),
    ],
)
def test_the_gateway_answers_is_silent_or_nobody_knows(verdict, times, age, answers):
    known = memory(has_gateway=True)
    for _ in range(times):
        known.observe(Reading(GATEWAY, Layer.NETWORK, verdict, "", 100.0))
    assert known.view(100.0 + age).gateway_answers is answers


def test_without_a_gateway_nobody_knows():
    assert memory().view(100.0).gateway_answers is None


def test_only_what_changes_is_worth_recording_at_once():
    known = memory()
    read = [
        known.observe(Reading("host1", Layer.POWER, verdict, str(at), float(at)))
        for at, verdict in enumerate([Verdict.OK, Verdict.OK, Verdict.FAILED, Verdict.FAILED, Verdict.OK])
    ]
    assert read == [True, False, True, False, True]


def test_failures_are_counted_by_playbook_and_in_a_row():
    known = memory()

    def ended(playbook, status):
        known.run_ended("host1", LastRun(playbook, status, "", 1.0, 0))
        return known.last_runs["host1"].failures

    assert [ended("a", "failed"), ended("a", "timeout"), ended("a", "lost"), ended("a", "failed")] == [
        1,
        2,
        2,
        3,
    ]
    assert [ended("a", "successful"), ended("a", "failed"), ended("b", "failed")] == [0, 1, 1]


def test_what_is_told_of_people_is_in_the_view_and_replaces_what_was():
    known = memory()
    pause = Pause("firmware", "ann", 1.0)
    wanted = Order(1, "host1", OrderKind.MAINTENANCE, "disks", "ann", 1.0)
    word = Order(2, "host1", OrderKind.CONFIRM_FENCED, "cords", "ann", 1.0)
    back = Order(3, "host1", OrderKind.RESTORE, "", "ann", 1.0)
    known.told([pause], [wanted, word, back])
    host = known.view(100.0).hosts["host1"]
    assert known.view(100.0).pauses == (pause,)
    assert (host.maintenance, host.confirmed, host.wanted_back) == (wanted, word, back)
    known.told([], [])
    host = known.view(100.0).hosts["host1"]
    assert known.view(100.0).pauses == ()
    assert (host.maintenance, host.confirmed, host.wanted_back) == (None, None, None)


def test_an_order_for_a_host_that_is_not_watched_is_nobodys():
    known = memory("host1")
    known.told([], [Order(1, "host10", OrderKind.MAINTENANCE, "disks", "ann", 1.0)])
    assert known.orders == {}
    assert known.view(100.0).hosts["host1"].maintenance is None


def test_a_storm_is_remembered_with_the_moment_at_which_it_was_last_seen():
    known = memory("host1", "host2", "host3", "host4")
    read(known, 100.0)
    assert known.view(100.0).troubled_at == {}
    for at in (101.0, 102.0):
        read(known, at, Verdict.FAILED, "host1", "host2", "host3")
        read(known, at, Verdict.OK, "host4")
        known.view(at)
    read(known, 103.0)
    assert known.view(103.0).troubled_at == {"default": 102.0}


def test_a_start_is_not_remembered_as_a_storm():
    known = memory("host1", "host2", "host3")
    known.view(100.0)
    read(known, 101.0, Verdict.OK, "host1")
    assert known.view(101.0).troubled_at == {}


def test_fences_count_for_as_long_as_the_longer_of_both_windows():
    known = memory(policy=policy(fence_window=50.0, flap_window=100.0))
    known.fences = [("host1", 100.0), ("host1", 180.0)]
    assert known.view(190.0).hosts["host1"].fences == (100.0, 180.0)
    view = known.view(201.0)
    assert view.hosts["host1"].fences == (180.0,)
    assert view.fences == (("host1", 180.0),)


def test_the_fences_of_a_host_are_its_own():
    known = memory("host1", "host10")
    known.fences = [("host10", 100.0)]
    assert known.view(110.0).hosts["host1"].fences == ()


def run(number, playbook, status, finished_at):
    reason = "" if status == "successful" else "why"
    return Run(f"run{number}", 1, playbook, number, 1, "/x", status, 0, reason, 100.0 + number, finished_at)


def test_runs_are_recalled_in_the_order_in_which_they_began():
    known = memory()
    runs = [run(3, "a", "failed", 140.0), run(1, "a", "failed", 120.0), run(2, "a", "lost", 130.0)]
    known.recall_runs("host1", runs, 200.0)
    assert known.last_runs["host1"] == LastRun("a", "failed", "why", 140.0, 2)


def test_a_run_that_has_not_ended_is_not_recalled_as_one_that_has():
    known = memory()
    known.recall_runs("host1", [run(1, "a", "failed", 120.0), run(2, "b", "running", None)], 200.0)
    assert known.last_runs["host1"].playbook == "a"


def test_no_run_ended_in_the_future_though_the_clock_was_set_back():
    known = memory()
    known.recall_runs("host1", [run(1, "a", "failed", 9000.0)], 200.0)
    assert known.last_runs["host1"].ended_at == 200.0


def test_what_is_recalled_replaces_what_was_known():
    known = memory()
    known.run_ended("host1", LastRun("a", "failed", "", 1.0, 0))
    known.recall_runs("host1", [], 200.0)
    assert known.last_runs == {}


def test_a_run_that_begins_or_ends_is_not_being_cancelled():
    known = memory()
    known.cancelling.add("host1")
    known.run_began("host1", "a")
    assert not known.view(100.0).hosts["host1"].cancelling
    assert known.view(100.0).hosts["host1"].running == "a"
    known.cancelling.add("host1")
    known.run_ended("host1", LastRun("a", "cancelled", "", 1.0, 0))
    assert not known.view(100.0).hosts["host1"].cancelling
    assert known.view(100.0).hosts["host1"].running == ""


def test_every_host_begins_as_suspect_unless_the_journal_knows_better():
    known = memory("host1", "host2", states={"host1": HostState.HELD})
    assert known.states == {"host1": HostState.HELD, "host2": HostState.SUSPECT}
