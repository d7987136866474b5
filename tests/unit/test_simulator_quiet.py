"""Cycles that may be left out: what was put off comes to the same, and nothing that matters is put off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.decide.diagnosis import HostTrack, observe, signs
from hass_runtime.decide.view import LastRun
from hass_runtime.domain import HostState, Layer, Order, OrderKind, Pause, Reading, Verdict
from hass_runtime.memory import Memory
from hass_runtime.simulator.dice import roll
from hass_runtime.simulator.quick import QuickController, memory_of_runs
from hass_runtime.simulator.quiet import Quiet, is_left_alone, is_well, seen_more
from hass_runtime.simulator.run import Simulation
from tests.unit.views import answering, policy

HOST = answering("host1").host
START = 1000.0


@st.composite
def looks(draw: st.DrawFn) -> tuple[Reading, ...]:
    """One reading of some layers of a host."""
    every = []
    for layer in draw(st.lists(st.sampled_from(Layer), min_size=1, unique=True)):
        agents = layer is Layer.SERVICE and draw(st.booleans())
        verdict, answered = draw(st.sampled_from(Verdict)), draw(st.booleans())
        boot = draw(st.sampled_from(("first", "second"))) if agents else ""
        every.append(
            Reading(
                "host1", layer, verdict, "it says", 0.0, answered or agents, agents and boot == "first", boot
            )
        )
    return tuple(every)


def memory(**limits: int) -> Memory:
    made = Memory({"host1": HOST}, policy(**limits))
    made.states["host1"] = HostState.HEALTHY
    return made


def told(track: HostTrack, look: tuple[Reading, ...], at: float) -> HostTrack:
    for reading in look:
        track = observe(track, reading.dated(at))
    return track


@given(looks(), looks(), st.integers(1, 5), st.integers(1, 9))
def test_a_steady_host_that_was_put_off_is_as_if_every_look_had_been_told(
    earlier: tuple[Reading, ...], look: tuple[Reading, ...], told_times: int, times: int
) -> None:
    mine = memory()
    track = told(HostTrack("host1"), earlier, START)
    for number in range(told_times):
        track = told(track, look, START + 1 + number)
    mine.tracks["host1"] = track
    if not Quiet(mine).is_steady("host1"):
        return
    one_by_one, limits = track, mine.policy.thresholds
    for number in range(times):
        at = START + 1 + told_times + number
        one_by_one = told(one_by_one, look, at)
        assert signs(one_by_one, at, limits) == signs(told(track, look, at), at, limits), (
            "a steady host must not change its signs"
        )
    assert seen_more(track, look, times, at) == one_by_one


def test_a_failure_is_steady_when_it_counts_and_a_host_that_is_well_at_once() -> None:
    mine = memory()
    quiet = Quiet(mine)
    assert not quiet.is_steady("host1")
    well = (Reading("host1", Layer.NETWORK, Verdict.OK, "", 0.0, True),)
    mine.tracks["host1"] = told(mine.tracks["host1"], well, START)
    assert quiet.is_steady("host1")
    assert is_well(well)
    assert is_left_alone("host1", mine)
    dead = (Reading("host1", Layer.NETWORK, Verdict.FAILED, "", 0.0),)
    steady = []
    for number in range(mine.policy.thresholds.misses + 1):
        mine.tracks["host1"] = told(mine.tracks["host1"], dead, START + 1 + number)
        steady.append(quiet.is_steady("host1"))
    assert not is_well(dead)
    assert steady[0] is False
    assert steady[-1] is True


def test_the_next_moment_is_the_first_that_can_change_a_decision() -> None:
    mine = memory()
    quiet = Quiet(mine)
    assert quiet.next_moment(START) == float("inf")
    mine.pauses = (Pause("work", "me", START, START + 50.0),)
    assert quiet.next_moment(START) == START + 50.0
    mine.troubled_at["default"] = START
    assert quiet.next_moment(START) == START + mine.policy.cooldown
    mine.last_runs["host1"] = LastRun("host_failure", "failed", "", START, 1)
    assert quiet.next_moment(START) == START + min(
        mine.policy.cooldown, mine.policy.retry_interval, mine.policy.settle
    )


def test_any_look_matters_until_a_confirmed_host_was_heard() -> None:
    mine = memory()
    quiet = Quiet(mine)
    silent = Reading("host1", Layer.NETWORK, Verdict.FAILED, "", START)
    mine.tracks["host1"] = observe(mine.tracks["host1"], silent)
    order = Order(1, "host1", OrderKind.CONFIRM_FENCED, "it is off", "me", START + 1)
    mine.orders = {("host1", OrderKind.CONFIRM_FENCED): order}
    assert quiet.next_moment(START + 2) == float("inf")
    assert not is_left_alone("host1", mine)
    heard_before = Reading("host1", Layer.NETWORK, Verdict.OK, "", START + 0.5, True)
    mine.tracks["host1"] = observe(mine.tracks["host1"], heard_before)
    assert quiet.next_moment(START + 2) == START + 2
    mine.tracks["host1"] = observe(mine.tracks["host1"], heard_before.dated(START + 2))
    assert quiet.next_moment(START + 2) == float("inf")


def test_what_runs_report_is_followed_without_a_decision(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    changed = []
    real = QuickController.cycle_undecided

    def counted(controller: QuickController) -> bool:
        before = memory_of_runs(controller.memory)
        well = real(controller)
        changed.append(memory_of_runs(controller.memory) != before)
        return well

    monkeypatch.setattr(QuickController, "cycle_undecided", counted)
    for index in range(10):
        assert Simulation(roll(1, index)).run().violations == ()
    assert set(changed) == {True, False}  # as when a task began, and when a run ended
