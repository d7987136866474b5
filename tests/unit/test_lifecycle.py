"""The life of a host: whatever happens, only permitted steps are taken, and every state can be reached."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from life import BASIC, Life
from views import (
    COMPLAINING,
    CUT,
    DEAD,
    NO_BMC,
    POLICY,
    SICK,
    UNPLUGGED,
    WARNING,
    policy,
)

from hass_runtime.decide import chores, lifecycle
from hass_runtime.decide.view import FAILURE
from hass_runtime.domain import HostState, Layer, OrderKind, Scope

EVERY = (*BASIC, Layer.HARDWARE, Layer.OS, Layer.STORAGE)
NAMES = ("host1", "host2", "host3", "host4")
LOOKS = (
    {},
    CUT,
    NO_BMC,
    UNPLUGGED,
    COMPLAINING,
    WARNING,
    {Layer.POWER: DEAD},
    {Layer.HARDWARE: SICK},
    {Layer.STORAGE: SICK},
    {Layer.SERVICE: DEAD},
    {**UNPLUGGED, Layer.OS: DEAD},
)
HOST = st.sampled_from(NAMES)
SECONDS = st.sampled_from([1, 2, 5, 20, 35])
# What a host with an open incident can be in, and what it is without one.
WITHOUT_INCIDENT = (HostState.HEALTHY, HostState.SUSPECT)


def test_every_state_has_a_meaning_and_says_what_may_follow():
    assert set(lifecycle.MEANING) == set(lifecycle.NEXT) == set(HostState)


def test_to_stay_is_no_change():
    for state in HostState:
        assert state not in lifecycle.NEXT[state] or state is HostState.RESTORING


def test_every_state_leads_back_to_healthy():
    leads = {HostState.HEALTHY}
    for _ in HostState:
        leads |= {state for state, after in lifecycle.NEXT.items() if after & leads}
    assert leads == set(HostState)


def test_a_host_that_was_never_fenced_is_never_taken_for_fenced():
    assert [state for state, after in lifecycle.NEXT.items() if HostState.FENCED in after] == [
        HostState.FENCING
    ]


def test_a_host_that_counts_as_taken_out_is_no_place_to_go_to():
    assert lifecycle.TAKEN_OUT < lifecycle.OUT
    assert HostState.HEALTHY not in lifecycle.OUT
    assert HostState.SUSPECT not in lifecycle.OUT


class Days(RuleBasedStateMachine):
    """Anything may happen to four hosts; `Life` itself refuses every step that is not in `lifecycle.NEXT`,
    a second playbook on a host, a second incident, a hold without a reason and an end that is none.
    """

    taken: ClassVar[set[tuple[HostState, HostState]]] = set()

    def __init__(self):
        super().__init__()
        self.life = Life(NAMES, layers=EVERY, policy=policy(flap_limit=2, healthy_delay=5.0))
        self.looks = {}
        self.seen_launches = 0
        self.life.see(2)

    @rule(host=HOST, looks=st.sampled_from(LOOKS), seconds=SECONDS)
    def happens(self, host, looks, seconds):
        self.looks[host] = looks
        self.life.see(seconds, **self.looks)

    @rule(seconds=SECONDS)
    def time_passes(self, seconds):
        self.life.see(seconds, **self.looks)

    @rule()
    def everything_recovers(self):
        self.looks.clear()
        self.life.see(5)

    @precondition(lambda self: self.at_work)
    @rule(
        data=st.data(),
        status=st.sampled_from(["successful", "successful", "failed", "timeout", "cancelled"]),
        fenced=st.booleans(),
        left=st.booleans(),
    )
    def playbook_ends(self, data, status, fenced, left):
        host = data.draw(st.sampled_from(self.at_work))
        well = status == "successful"
        reason = "vm3: paused" if left or not well else ""
        self.life.end(host, status, reason, fenced=fenced or well)

    @precondition(lambda self: FAILURE in self.life.memory.running.values())
    @rule()
    def fence_succeeds(self):
        for host in NAMES:
            if self.life.running(host) == FAILURE and self.life.state(host) is HostState.FENCING:
                self.life.fence(host)
                self.life._enter(host, HostState.EVACUATING, "hass_evacuate began")

    @rule(host=HOST, kind=st.sampled_from(OrderKind), drain=st.booleans())
    def person_orders(self, host, kind, drain):
        self.life.order(host, kind, drain=drain and kind is OrderKind.MAINTENANCE)
        self.life.see(1, **self.looks)

    @rule(host=HOST)
    def maintenance_ends(self, host):
        self.life.take_back(host, OrderKind.MAINTENANCE)
        self.life.see(1, **self.looks)

    @rule(scope=st.sampled_from([(Scope.ALL, ""), (Scope.HOST, "host1"), (Scope.CLUSTER, "default")]))
    def person_disarms(self, scope):
        self.life.pause(*scope)

    @rule()
    def person_arms(self):
        self.life.pauses.clear()
        self.life.see(1, **self.looks)

    @rule()
    def controller_restarts(self):
        self.life.restart()
        self.life.settle()  # before anything was read
        self.life.see(1, **self.looks)

    @property
    def at_work(self):
        return sorted(name for name, playbook in self.life.memory.running.items() if playbook)

    @invariant()
    def a_host_without_an_incident_is_in_service(self):
        for name in NAMES:
            in_service = self.life.state(name) in WITHOUT_INCIDENT
            incident = self.life.memory.incidents.get(name)
            if incident is not None and incident.fault in chores.PLAYBOOK:
                continue  # nothing is wrong with it: it joins the reserve, or its instances move home
            assert (incident is not None) is not in_service, f"{name} is {self.life.state(name).value}"

    @invariant()
    def no_fence_is_launched_into_a_storm_or_a_pause(self):
        """Judged at the moment of the last decision, and only for what was launched in it."""
        launches = self.life.launches[self.seen_launches :]
        self.seen_launches = len(self.life.launches)
        fences = [launch for launch in launches if launch.playbook == FAILURE]
        if fences:
            assert not self.life.pauses or {each.scope for each in self.life.pauses} == {Scope.HOST}

    @invariant()
    def not_more_than_the_share_is_taken_out(self):
        fenced = [name for name in NAMES if self.life.running(name) == FAILURE]
        assert len(fenced) <= POLICY.storm_threshold * len(NAMES)

    def teardown(self):
        type(self).taken.update(self.life.steps)


def test_whatever_happens_only_permitted_steps_are_taken():
    """Each example is a life of up to 30 happenings; what breaks one is told as the steps that lead there."""
    Days.taken.clear()
    run_state_machine_as_test(Days, settings=settings(max_examples=25, stateful_step_count=30, deadline=None))
    assert all(to in lifecycle.NEXT[before] for before, to in Days.taken)


# How the host looks, and what happens until it is in the state.
STORIES = {
    HostState.SUSPECT: (CUT, lambda life, looks: life.see(1, host1=looks)),
    HostState.FAULTY: (COMPLAINING, lambda life, looks: life.see(2, host1=looks)),
    HostState.HELD: (NO_BMC, lambda life, looks: life.see(40, host1=looks)),
    HostState.FENCING: (CUT, lambda life, looks: life.see(2, host1=looks)),
    HostState.FENCED: (CUT, lambda life, looks: (life.see(2, host1=looks), life.fence("host1"))),
    HostState.EVACUATING: (WARNING, lambda life, looks: life.see(2, host1=looks)),
    HostState.EVACUATED: (WARNING, lambda life, looks: (life.see(2, host1=looks), life.end("host1"))),
    HostState.RESTORING: (CUT, lambda life, looks: (life.see(2, host1=looks), life.end("host1"))),
    HostState.QUARANTINED: (
        {Layer.HARDWARE: SICK},
        lambda life, looks: (life.see(2, host1=looks), life.end("host1")),
    ),
    HostState.MAINTENANCE: (
        {},
        lambda life, looks: (life.order("host1", OrderKind.MAINTENANCE), life.see(1)),
    ),
    HostState.HEALTHY: ({}, lambda life, looks: life.see(2)),
}


def brought_to(state):
    """A life in which the host is in this state, and how it looks then."""
    life = Life(NAMES, layers=EVERY)
    life.see(2)
    looks, happens = STORIES[state]
    happens(life, looks)
    return life, looks


def ended_as_it_must(life):
    life.end("host1", "cancelled" if "host1" in life.memory.cancelling else "successful")


@pytest.mark.parametrize("state", list(HostState), ids=lambda state: state.value)
def test_every_state_can_be_reached(state):
    life, _ = brought_to(state)
    assert life.state("host1") is state


@pytest.mark.parametrize("state", list(HostState), ids=lambda state: state.value)
def test_from_every_state_a_host_comes_back_into_service(state):
    """The host is well, a person wants it back, and what runs ends well."""
    life, _ = brought_to(state)
    life.take_back("host1", OrderKind.MAINTENANCE)
    for _ in range(6):
        life.see(20)
        if life.running("host1"):
            ended_as_it_must(life)
        life.order("host1", OrderKind.RESTORE)
    life.see(20)
    assert life.state("host1") is HostState.HEALTHY
    assert "host1" not in life.memory.incidents


@pytest.mark.parametrize("state", list(HostState), ids=lambda state: state.value)
def test_in_every_state_a_controller_that_starts_anew_does_what_the_old_one_would_have_done(state):
    """The same story with and without a restart in its middle; what was lost is launched once more."""

    def story(restarted):
        life, looks = brought_to(state)
        if restarted:
            life.restart()
        life.see(45, host1=looks)
        at_work = life.running("host1")
        for _ in range(10):
            if life.running("host1"):
                ended_as_it_must(life)
            life.see(60)
        return life, at_work

    (old, at_work), (new, at_work_anew) = story(False), story(True)
    assert at_work_anew == at_work
    assert new.state("host1") is old.state("host1")
    assert new.ends("host1") == old.ends("host1")
    assert {name: each.outcome for name, each in new.memory.incidents.items()} == {
        name: each.outcome for name, each in old.memory.incidents.items()
    }
    assert _without_repeats(new) == _without_repeats(old)


def _without_repeats(life):
    """(incident, playbook, rung) of what was launched, in order; what was lost was launched again."""
    rungs = [(launch.incident, launch.playbook, launch.rung) for launch in life.launches]
    return [rung for place, rung in enumerate(rungs) if place == 0 or rungs[place - 1] != rung]
