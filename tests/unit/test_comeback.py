"""The way back: an emptied host is restored, kept out for a reason, or waited for."""

from __future__ import annotations

import pytest
from life import BASIC, Life
from views import (
    CUT,
    DEAD,
    NO_BMC,
    NOW,
    SICK,
    UNPLUGGED,
    WARNING,
    WELL,
    answering,
    host,
    incident,
    policy,
    silent,
    unread,
    view_of,
)

from hass_runtime.decide.comeback import coming_back, well
from hass_runtime.decide.decisions import CloseIncident, SetState
from hass_runtime.decide.view import DRAIN, FAILURE, RESTORE, LastRun
from hass_runtime.domain import HostState, Layer, OrderKind, Outcome, Scope

EVERY = (*BASIC, Layer.HARDWARE)
HOT = {Layer.HARDWARE: SICK}


def evacuated(looks=CUT, **more):
    """A host that died, was fenced and evacuated; its restoration has begun unless something keeps it."""
    life = Life(layers=EVERY, **more)
    life.see(2)
    life.see(40, host1=looks)
    life.end("host1")
    return life


def drained(**more):
    """A host that was drained for a warning."""
    life = Life(layers=EVERY, **more)
    life.see(2)
    life.see(2, host1=WARNING)
    life.end("host1")
    return life


def test_an_evacuated_host_is_brought_back_at_once():
    life = evacuated()
    assert life.running("host1") == RESTORE
    assert life.state("host1") is HostState.RESTORING


def test_it_is_back_when_every_layer_was_read_again_since():
    """Readings from before it was back must not open the next incident."""
    life = evacuated()
    life.now += 0.5
    life.end("host1")
    assert life.state("host1") is HostState.RESTORING
    life.see(1)
    assert life.state("host1") is HostState.HEALTHY
    assert life.ends("host1") == [("power", "recovered")]


def test_old_readings_of_a_dead_host_do_not_open_a_new_incident():
    life = evacuated()
    life.see(9, host1=CUT)
    life.now += 0.5
    life.end("host1")
    life.settle()
    assert not life.closed
    life.see(3)
    assert life.ends("host1") == [("power", "recovered")]
    assert life.log.count("open host1 power") == 1


def test_instances_that_could_not_be_moved_make_the_end_of_the_incident_failed():
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.end("host1", reason="vm3: paused")
    life.end("host1")
    life.see(2)
    assert life.ends("host1") == [("power", "failed")]
    assert life.closed[0].reason == "vm3: paused"


@pytest.mark.parametrize("outcome", [Outcome.OPEN, Outcome.HELD])
def test_an_incident_that_had_not_settled_is_cleared_when_the_host_is_back(outcome):
    """The store refuses to close one with an outcome that is no end."""
    run = LastRun(RESTORE, "successful", "", NOW - 10, 0)
    known = incident("host1", phase=RESTORE, outcome=outcome, reason="held for this")
    back = answering("host1", state=HostState.RESTORING, last_run=run, incident=known)
    decisions = coming_back(view_of(back), back, known)
    (close,) = (each for each in decisions if isinstance(each, CloseIncident))
    assert close.outcome is Outcome.CLEARED


# Restorations that fail


def test_restorations_that_fail_end_in_quarantine_until_the_host_shows_life():
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.end("host1")
    for _ in range(3):
        life.end("host1", "failed", "no answer from its agent in 300 s")
        life.see(50, host1=CUT)
    assert life.state("host1") is HostState.QUARANTINED
    assert life.launched("host1") == [FAILURE, RESTORE, RESTORE, RESTORE]
    life.see(600, host1=CUT)
    assert len(life.launches) == 4
    life.see(50)
    assert life.state("host1") is HostState.RESTORING
    life.end("host1")
    life.see(2)
    assert life.state("host1") is HostState.HEALTHY


def test_the_pauses_between_restorations_double():
    life = evacuated(policy=policy(max_attempts=9))
    waited = []
    for _ in range(3):
        ended = life.now
        life.end("host1", "failed", "no answer")
        assert life.state("host1") is HostState.EVACUATED
        while not life.running("host1"):
            life.see(1, host1=CUT)
        waited.append(life.now - ended)
    assert waited == [10.0, 20.0, 40.0]


def test_a_lost_restoration_is_repeated_and_does_not_wash_earlier_failures_away():
    life = evacuated()
    for _ in range(3):
        life.end("host1", "failed", "no answer from its agent")
        if life.state("host1") is not HostState.QUARANTINED:
            life.see(50, host1=CUT)
            life.restart()
            life.see(50, host1=CUT)
    assert life.state("host1") is HostState.QUARANTINED


# Who wants it back, and who does not


def test_without_auto_restore_a_person_switches_the_host_on():
    life = evacuated(policy=policy(auto_restore=False))
    life.see(100, host1=CUT)
    assert life.state("host1") is HostState.EVACUATED
    life.see(2)
    assert life.launches[-1].playbook == RESTORE


def test_without_auto_restore_a_persons_order_switches_it_on():
    life = evacuated(policy=policy(auto_restore=False))
    life.see(100, host1=CUT)
    life.order("host1", OrderKind.RESTORE)
    life.see(1, host1=CUT)
    assert life.launches[-1].playbook == RESTORE
    assert life.orders == []


@pytest.mark.parametrize("scope", [(Scope.ALL, ""), (Scope.CLUSTER, "default"), (Scope.HOST, "host1")])
def test_a_pause_switches_nothing_on(scope):
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.pause(*scope)
    life.end("host1")
    life.see(100, host1=CUT)
    assert life.state("host1") is HostState.EVACUATED
    assert life.launched("host1") == [FAILURE]
    life.pauses.clear()
    life.see(1, host1=CUT)
    assert life.launched("host1") == [FAILURE, RESTORE]


def test_a_pause_of_another_host_does_not_keep_it_out():
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.pause(Scope.HOST, "host10")
    life.end("host1")
    assert life.running("host1") == RESTORE


def test_a_persons_order_counts_more_than_a_pause():
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.pause()
    life.end("host1")
    life.order("host1", OrderKind.RESTORE)
    life.see(1, host1=CUT)
    assert life.launched("host1") == [FAILURE, RESTORE]


# Hosts that fail again and again


def flap(life, times):
    for _ in range(times):
        life.see(3, host1=CUT)
        life.end("host1")
        if life.running("host1") == RESTORE:
            life.see(1)
            life.end("host1")
            life.see(2)


def test_a_host_that_was_fenced_too_often_is_not_taken_back_by_itself():
    life = Life()
    life.see(2)
    flap(life, 3)
    assert life.state("host1") is HostState.QUARANTINED
    assert life.launched("host1") == [FAILURE, RESTORE, FAILURE, RESTORE, FAILURE]
    life.see(300)
    assert life.state("host1") is HostState.QUARANTINED


def test_a_person_ends_the_quarantine_of_a_host_that_flaps():
    life = Life()
    life.see(2)
    flap(life, 3)
    life.order("host1", OrderKind.RESTORE)
    life.see(1)
    assert life.running("host1") == RESTORE
    assert life.orders == []
    life.end("host1")
    life.see(2)
    assert life.state("host1") is HostState.HEALTHY


def test_fences_that_are_old_enough_do_not_count_as_flapping():
    life = Life(policy=policy(flap_window=100.0))
    life.see(2)
    for _ in range(4):
        flap(life, 1)
        life.see(60)
    assert HostState.QUARANTINED not in {to for _, to in life.steps}


def test_the_flapping_of_one_host_is_not_that_of_another():
    life = Life()
    life.see(2)
    flap(life, 2)
    life.see(3, host2=CUT)
    life.end("host2")
    assert life.running("host2") == RESTORE


def test_a_restart_of_the_controller_does_not_forget_the_flapping():
    life = Life()
    life.see(2)
    for _ in range(3):
        flap(life, 1)
        life.restart()
        life.see(2)
    assert life.state("host1") is HostState.QUARANTINED


# Hosts with a hardware that was critical


def test_a_host_whose_hardware_was_critical_waits_for_a_person():
    life = evacuated(HOT)
    assert life.state("host1") is HostState.QUARANTINED
    life.see(300, host1=HOT)
    assert life.launched("host1") == [FAILURE]
    life.order("host1", OrderKind.RESTORE)
    life.see(1, host1=HOT)
    assert life.launched("host1") == [FAILURE, RESTORE]


def test_a_host_whose_hardware_is_well_again_is_taken_back():
    life = evacuated(HOT)
    life.see(int(life.policy.healthy_delay) + 2)
    assert life.launched("host1") == [FAILURE, RESTORE]


# Hosts that were only drained


def test_a_drained_host_stays_out_while_it_still_has_its_fault():
    life = drained()
    life.see(300, host1=WARNING)
    assert life.state("host1") is HostState.EVACUATED
    assert life.launched("host1") == [DRAIN]


def test_a_drained_host_is_taken_back_when_it_has_been_well_for_long_enough():
    life = drained()
    delay = int(life.policy.healthy_delay)
    life.see(delay, host1={})
    assert life.launched("host1") == [DRAIN]
    life.see(1)
    assert life.launched("host1") == [DRAIN, RESTORE]


def test_the_wait_for_a_drained_host_begins_anew_with_every_relapse():
    life = drained()
    life.see(50)
    life.see(2, host1=WARNING)
    life.see(50)
    assert life.launched("host1") == [DRAIN]
    life.see(20)
    assert life.launched("host1") == [DRAIN, RESTORE]


def test_a_fence_that_proves_nothing_is_not_followed_by_a_restoration():
    life = Life()
    life.see(2)
    life.see(40, host1=UNPLUGGED)
    life.end("host1", "failed", "still on")
    life.see(5, host1=NO_BMC)
    assert life.launched("host1") == [FAILURE]


# What looks well


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ({Layer.POWER: WELL, Layer.NETWORK: WELL, Layer.SERVICE: WELL}, True),
        ({Layer.SERVICE: WELL}, True),
        ({Layer.POWER: WELL, Layer.NETWORK: WELL, Layer.SERVICE: SICK}, False),
        ({Layer.POWER: WELL, Layer.NETWORK: DEAD, Layer.SERVICE: WELL}, False),
        ({Layer.POWER: WELL, Layer.NETWORK: WELL, Layer.HARDWARE: WARNING[Layer.HARDWARE]}, False),
    ],
)
def test_a_host_is_well_when_every_layer_that_can_be_seen_is(looks, expected):
    known = host("host1", looks, times=5)
    assert well(view_of(known, policy=policy(healthy_delay=4.0)), known) is expected
    assert well(view_of(known, policy=policy(healthy_delay=5.0)), known) is False


def test_a_host_that_was_not_read_or_is_silent_is_not_well():
    for known in (unread("host1"), silent("host1")):
        assert well(view_of(known, policy=policy(healthy_delay=0.0)), known) is False


def test_a_host_of_which_only_blind_layers_are_well_is_not_known_to_be_well():
    known = host("host1", {Layer.SERVICE: WELL})
    view = view_of(known, policy=policy(healthy_delay=0.0), blind={Layer.SERVICE: "why"})
    assert well(view, known) is False


def test_a_quarantine_is_entered_with_its_reason():
    known = incident("host1", outcome=Outcome.RECOVERED, fenced_at=NOW - 60)
    fences = (NOW - 300, NOW - 200, NOW - 60)
    kept = silent("host1", state=HostState.EVACUATED, incident=known, fences=fences)
    (decision,) = coming_back(view_of(kept), kept, known)
    assert isinstance(decision, SetState)
    assert decision.to is HostState.QUARANTINED
    assert decision.reason == "fenced 3 times in 7200 s: `hass restore host1` ends this"
