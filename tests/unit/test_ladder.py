"""The ladder of remedies: how often a rung is tried, when the next one is, and what an ended run says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from life import BASIC, Life
from views import COMPLAINING, CUT, POLICY, TABLE, WARNING, incident, policy

from hass_runtime.decide.ladder import RETRY_CAP, Try, next_try, pause_before_retry
from hass_runtime.decide.symptoms import Rung
from hass_runtime.decide.view import DRAIN, FAILURE, RESTORE, LastRun
from hass_runtime.domain import HostState, Layer, Outcome

RESTART = "service_restart"
LADDER = (Rung(RESTART, 2, 90.0), Rung(DRAIN), Rung(FAILURE))
EVERY = (*BASIC, Layer.HARDWARE)


def after(status, *, rung=0, tries=1, playbook=None, failures=1, ladder=LADDER):
    run = LastRun(playbook or ladder[rung].playbook, status, "masked", 500.0, failures)
    known = incident("host1", rung=rung, tries=tries)
    return next_try(known, ladder, run, POLICY)


def test_the_first_try_is_the_mildest_at_once():
    known = incident("host1", rung=0, tries=0)
    assert next_try(known, LADDER, None, POLICY) == Try(0, 1)


@pytest.mark.parametrize("status", ["failed", "timeout", "crashed"])
def test_a_failed_try_is_made_again_after_a_pause_as_often_as_the_rung_says(status):
    assert after(status) == Try(0, 2, 510.0, f"{RESTART} {status}: masked")


def test_the_next_rung_follows_at_once_when_the_tries_are_used_up():
    assert after("failed", tries=2) == Try(1, 1, 500.0, f"{RESTART} failed: masked")


def test_a_rung_that_ended_well_is_given_time_to_take_effect_before_anything_follows():
    once, twice = after("successful"), after("successful", tries=2)
    assert (once.rung, once.number, once.not_before) == (0, 2, 500.0 + POLICY.settle)
    assert (twice.rung, twice.number, twice.not_before) == (1, 1, 500.0 + POLICY.settle)
    assert "the fault is still there" in once.why


@pytest.mark.parametrize("status", ["lost", "cancelled"])
@pytest.mark.parametrize("tries", [1, 2])
def test_a_run_that_was_lost_or_cancelled_is_the_same_try_at_once(status, tries):
    assert after(status, tries=tries) == Try(0, tries)


def test_the_last_rung_is_tried_for_as_long_as_it_takes():
    assert after("failed", rung=2, tries=40, failures=40) == Try(
        2, 41, 500.0 + RETRY_CAP, f"{FAILURE} failed: masked"
    )


def test_the_run_of_another_playbook_says_nothing_about_this_rung():
    assert after("failed", rung=1, tries=1, playbook=RESTART) == Try(1, 1)


def test_a_ladder_that_became_shorter_is_climbed_from_its_last_rung():
    known = incident("host1", rung=2, tries=1)
    assert next_try(known, LADDER[:1], None, POLICY).rung == 0


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 10), (1, 10), (2, 20), (3, 40), (5, 160), (6, 300), (50, 300)]
)
def test_pauses_double_up_to_a_cap(failures, seconds):
    assert pause_before_retry(LastRun(FAILURE, "failed", "", 0.0, failures), 10.0) == seconds


@pytest.mark.parametrize("status", ["lost", "cancelled"])
def test_a_run_that_says_nothing_about_its_remedy_is_repeated_without_a_pause(status):
    assert pause_before_retry(LastRun(FAILURE, status, "", 0.0, 3), 10.0) == 0.0


@given(
    st.lists(st.builds(Rung, st.sampled_from([RESTART, DRAIN, FAILURE]), st.integers(1, 4)), min_size=1),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from(["successful", "failed", "timeout", "lost", "cancelled"]),
    st.integers(0, 9),
)
def test_no_rung_is_ever_left_out_or_climbed_down(rungs, rung, tries, status, failures):
    ladder = tuple(rungs)
    known = incident("host1", rung=rung, tries=tries)
    before = min(rung, len(ladder) - 1)
    turn = next_try(known, ladder, LastRun(ladder[before].playbook, status, "", 500.0, failures), POLICY)
    assert turn.rung in (before, before + 1)
    assert turn.number >= 1
    assert turn.not_before <= 500.0 + max(RETRY_CAP, POLICY.settle)
    if turn.rung > before:
        assert tries >= ladder[before].tries
        assert turn.number == 1


# In a life


def test_a_failed_service_is_restarted_then_drained_then_fenced():
    life = Life()
    life.see(2)
    life.see(2, host1=COMPLAINING)
    for playbook in (RESTART, RESTART, DRAIN):
        assert life.running("host1") == playbook
        life.end("host1", "failed", "masked")
        life.see(60, host1=COMPLAINING)
    assert life.launched("host1") == [RESTART, RESTART, DRAIN, FAILURE]
    assert [(launch.rung, launch.tries) for launch in life.launches] == [(0, 1), (0, 2), (1, 1), (2, 1)]
    assert len({launch.incident for launch in life.launches}) == 1


@pytest.mark.parametrize(
    ("playbook", "state"),
    [(RESTART, HostState.FAULTY), (DRAIN, HostState.EVACUATING), (FAILURE, HostState.FENCING)],
)
def test_the_state_says_what_the_rung_does(playbook, state):
    rows = tuple(replace(row, ladder=(Rung(playbook),)) for row in TABLE if row.fault == "service")
    life = Life(policy=policy(table=rows))
    life.see(2)
    life.see(2, host1=COMPLAINING)
    assert life.running("host1") == playbook
    assert life.state("host1") is state


def test_a_deadline_of_the_rung_goes_with_its_launch():
    rows = tuple(replace(row, ladder=LADDER) for row in TABLE if row.fault == "service")
    life = Life(policy=policy(table=rows))
    life.see(2)
    life.see(2, host1=COMPLAINING)
    assert life.launches[0].deadline == 90.0
    for _ in range(2):
        life.end("host1", "timeout", "not ready in 90 s")
        life.see(30, host1=COMPLAINING)
    assert life.launches[-1].playbook == DRAIN
    assert life.launches[-1].deadline is None


def test_a_restart_that_helps_ends_the_incident_as_recovered():
    life = Life()
    life.see(2)
    life.see(2, host1=COMPLAINING)
    life.end("host1")
    life.see(2)
    assert life.launched("host1") == [RESTART]
    assert life.ends("host1") == [("service", "recovered")]
    assert "service_restart helped" in life.closed[0].reason
    assert life.state("host1") is HostState.HEALTHY


def test_a_fault_that_goes_away_after_a_failed_try_is_cleared_and_not_claimed_as_recovered():
    life = Life()
    life.see(2)
    life.see(2, host1=COMPLAINING)
    life.end("host1", "failed", "masked")
    life.see(2)
    assert life.ends("host1") == [("service", "cleared")]


def test_a_fault_that_comes_back_is_a_new_incident_that_begins_at_the_bottom():
    life = Life()
    life.see(2)
    for _ in range(2):
        life.see(2, host1=COMPLAINING)
        life.end("host1")
        life.see(2)
    assert [(launch.playbook, launch.incident, launch.tries) for launch in life.launches] == [
        (RESTART, 1, 1),
        (RESTART, 2, 1),
    ]


def test_the_wait_after_a_failed_try_is_held_with_what_went_wrong():
    life = Life()
    life.see(2)
    life.see(2, host1=COMPLAINING)
    life.end("host1", "failed", "nova-compute is masked")
    known = life.incident("host1")
    assert (known.outcome, known.gate) == (Outcome.HELD, "")
    assert "service_restart failed: nova-compute is masked" in known.reason
    life.see(9, host1=COMPLAINING)
    assert len(life.launches) == 1
    life.see(1, host1=COMPLAINING)
    assert len(life.launches) == 2


def test_a_gate_holds_a_rung_and_the_ladder_goes_on_where_it_was():
    life = Life()
    life.see(2)
    life.see(2, host1=COMPLAINING)
    life.end("host1", "failed", "masked")
    life.pause()
    life.see(60, host1=COMPLAINING)
    assert life.incident("host1").gate == "disarmed"
    life.pauses.clear()
    life.see(1, host1=COMPLAINING)
    assert [(launch.playbook, launch.tries) for launch in life.launches] == [(RESTART, 1), (RESTART, 2)]


def test_a_drain_for_a_warning_that_goes_away_meanwhile_is_followed_by_the_way_back():
    life = Life(layers=EVERY)
    life.see(2)
    life.see(2, host1=WARNING)
    life.end("host1", "failed", "vm1: no room")
    life.see(100)
    assert life.launched("host1") == [DRAIN, RESTORE]


def test_a_failed_fence_is_held_in_doubt_and_tried_again_after_a_pause():
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.end("host1", "failed", "still answers")
    assert life.state("host1") is HostState.HELD
    assert life.incident("host1").gate == "unproven"
    life.see(9, host1=CUT)
    assert len(life.launches) == 1
    life.see(2, host1=CUT)
    assert [launch.attempt for launch in life.launches] == [1, 2]


def test_pauses_between_failed_fences_double():
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    waited = []
    for _ in range(4):
        ended = life.now
        life.end("host1", "failed", "still answers")
        while not life.running("host1"):
            life.see(1, host1=CUT)
        waited.append(life.now - ended)
    assert waited == [10.0, 20.0, 40.0, 80.0]


@pytest.mark.parametrize("rung", [0, 1, 2])
def test_a_restart_of_the_controller_repeats_the_try_that_was_lost_and_not_the_rung_before(rung):
    life = Life()
    life.see(2)
    life.see(2, host1=COMPLAINING)
    for _ in range(rung):
        life.end("host1", "failed", "masked")
        life.see(60, host1=COMPLAINING)
    before = life.launches[-1]
    life.restart()
    life.see(20, host1=COMPLAINING)
    again = life.launches[-1]
    assert (again.playbook, again.rung, again.tries) == (before.playbook, before.rung, before.tries)
    assert len(life.launches) == rung + 2


def test_a_restart_of_the_controller_does_not_wash_failures_away():
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    for _ in range(3):
        life.end("host1", "failed", "still answers")
        life.restart()
        life.see(int(RETRY_CAP), host1=CUT)
    assert life.memory.last_runs["host1"].failures == 3
