"""Maintenance: a person takes a host out of service, and what happens to it meanwhile."""

from __future__ import annotations

import pytest
from life import BASIC, Life
from views import COMPLAINING, CUT, DEAD, UNPLUGGED, WARNING, policy

from hass_runtime.decide.view import DRAIN, FAILURE, RESTORE
from hass_runtime.domain import HostState, Layer, OrderKind, Outcome

EVERY = (*BASIC, Layer.HARDWARE)
NAMES = tuple(f"host{n}" for n in range(1, 5))
RESTART = "service_restart"


def ordered(drain=False, **more):
    """Four hosts, and one of them ordered into maintenance."""
    life = Life(NAMES, layers=EVERY, **more)
    life.see(2)
    life.order("host1", OrderKind.MAINTENANCE, drain=drain)
    life.see(1)
    return life


def emptied(**more):
    life = ordered(drain=True, **more)
    life.end("host1")
    return life


def back(life, **looks):
    """The order is taken back, and the host is brought back."""
    life.take_back("host1", OrderKind.MAINTENANCE)
    life.see(2, **looks)


def test_without_drain_it_is_only_left_alone():
    life = ordered()
    assert life.state("host1") is HostState.MAINTENANCE
    assert life.incident("host1").fault == "maintenance"
    assert life.incident("host1").outcome is Outcome.HELD
    assert life.incident("host1").reason == "in maintenance by ann: new disks"
    life.see(200)
    assert not life.launches


def test_it_is_told_once():
    life = ordered()
    life.see(200)
    assert life.log.count("hold host1 ") == 1


def test_ended_without_drain_it_is_looked_at_anew_and_its_incident_is_cleared():
    life = ordered()
    back(life)
    assert life.state("host1") is HostState.HEALTHY
    assert life.ends("host1") == [("maintenance", "cleared")]
    assert not life.launches


def test_with_drain_its_instances_are_moved_away_first():
    life = ordered(drain=True)
    assert life.state("host1") is HostState.EVACUATING
    assert life.launched("host1") == [DRAIN]
    life.end("host1")
    assert life.state("host1") is HostState.MAINTENANCE
    assert life.incident("host1").outcome is Outcome.RECOVERED


def test_ended_after_a_drain_it_is_brought_back_into_service():
    life = emptied()
    life.see(50)
    back(life)
    assert life.launched("host1") == [DRAIN, RESTORE]
    life.end("host1")
    life.see(2)
    assert life.state("host1") is HostState.HEALTHY
    assert life.ends("host1") == [("maintenance", "recovered")]


def test_a_drain_that_fails_is_tried_again_after_a_pause_and_says_why():
    life = ordered(drain=True)
    life.end("host1", "failed", "vm1: no room")
    assert life.state("host1") is HostState.HELD
    assert "vm1: no room" in life.incident("host1").reason
    life.see(9)
    assert life.launched("host1") == [DRAIN]
    life.see(1)
    assert life.launched("host1") == [DRAIN, DRAIN]


def test_a_drain_for_maintenance_waits_for_somewhere_to_go():
    life = Life(NAMES, layers=EVERY, gateway=True)
    life.see(2)
    for name in NAMES[1:]:
        life.order(name, OrderKind.MAINTENANCE)
    life.see(1)
    life.order("host1", OrderKind.MAINTENANCE, drain=True)
    life.see(5)
    assert life.incident("host1").gate == "no_target"
    life.take_back("host2", OrderKind.MAINTENANCE)
    life.see(2)
    assert life.launched("host1") == [DRAIN]


def test_a_pause_does_not_keep_a_person_from_emptying_a_host():
    """The person wants it: only a gate that says that it cannot work is asked."""
    life = Life(NAMES, layers=EVERY)
    life.see(2)
    life.pause()
    life.order("host1", OrderKind.MAINTENANCE, drain=True)
    life.see(1)
    assert life.launched("host1") == [DRAIN]


def test_the_order_can_be_given_again_with_drain():
    life = ordered()
    life.order("host1", OrderKind.MAINTENANCE, drain=True)
    life.see(1)
    assert life.launched("host1") == [DRAIN]


@pytest.mark.parametrize("looks", [CUT, UNPLUGGED, COMPLAINING, WARNING])
def test_whatever_happens_to_a_host_that_was_emptied_is_the_persons_business(looks):
    life = emptied()
    life.see(600, host1=looks)
    assert life.launched("host1") == [DRAIN]
    assert life.state("host1") is HostState.MAINTENANCE


@pytest.mark.parametrize("looks", [COMPLAINING, WARNING])
def test_a_milder_fault_of_a_host_that_keeps_its_instances_is_the_persons_business(looks):
    life = ordered()
    life.see(600, host1=looks)
    assert not life.launches
    assert life.state("host1") is HostState.MAINTENANCE


@pytest.mark.parametrize(("looks", "fault"), [(CUT, "power"), (UNPLUGGED, "network")])
def test_maintenance_does_not_swallow_the_death_of_a_host_that_keeps_its_instances(looks, fault):
    life = ordered()
    life.see(40, host1=looks)
    assert life.launched("host1") == [FAILURE]
    assert life.incident("host1").fault == fault
    assert life.incident("host1").id == 1


def test_the_death_of_a_host_while_it_is_being_emptied_cancels_the_drain():
    life = ordered(drain=True)
    life.see(2, host1=CUT)
    assert [cancel.host for cancel in life.cancels] == ["host1"]
    life.end("host1", "cancelled", "told to")
    assert life.launched("host1") == [DRAIN, FAILURE]


def test_a_host_that_died_in_maintenance_stays_there_until_the_person_is_done():
    life = ordered()
    life.see(3, host1=CUT)
    life.end("host1")
    assert life.state("host1") is HostState.MAINTENANCE
    life.see(200)
    assert life.launched("host1") == [FAILURE]
    back(life)
    assert life.launched("host1") == [FAILURE, RESTORE]


def test_an_order_for_a_host_with_a_mild_fault_takes_its_incident_over():
    life = Life(NAMES, layers=EVERY)
    life.see(2)
    life.see(2, host1=WARNING)
    life.end("host1", "failed", "no room")
    life.order("host1", OrderKind.MAINTENANCE)
    life.see(30, host1=WARNING)
    assert life.incident("host1").fault == "maintenance"
    assert life.incident("host1").id == 1
    assert life.state("host1") is HostState.MAINTENANCE
    assert life.launched("host1") == [DRAIN]


def test_an_order_for_a_host_that_is_dying_does_not_hide_its_death():
    life = Life(NAMES, layers=EVERY)
    life.see(2)
    life.see(1, host1=CUT)
    life.order("host1", OrderKind.MAINTENANCE)
    life.see(2, host1=CUT)
    assert life.launched("host1") == [FAILURE]


def test_an_order_for_a_host_that_is_being_fenced_does_not_stop_the_fence():
    life = Life(NAMES, layers=EVERY)
    life.see(2)
    life.see(2, host1=CUT)
    life.order("host1", OrderKind.MAINTENANCE)
    life.see(5, host1=CUT)
    assert not life.cancels
    life.end("host1")
    assert life.state("host1") is HostState.MAINTENANCE


def test_an_order_for_an_evacuated_host_keeps_it_from_being_brought_back():
    life = Life(NAMES, layers=EVERY, policy=policy(auto_restore=False))
    life.see(2)
    life.see(2, host1=CUT)
    life.end("host1")
    life.order("host1", OrderKind.MAINTENANCE)
    life.see(100)
    assert life.state("host1") is HostState.MAINTENANCE
    back(life)
    assert life.launched("host1") == [FAILURE, RESTORE]


def test_an_order_for_a_host_whose_services_are_restarted_waits_for_the_end_of_that():
    life = Life(NAMES, layers=EVERY)
    life.see(2)
    life.see(2, host1=COMPLAINING)
    assert life.running("host1") == RESTART
    life.order("host1", OrderKind.MAINTENANCE)
    life.see(3, host1=COMPLAINING)
    life.end("host1", "failed", "masked")
    life.see(1, host1=COMPLAINING)
    assert life.state("host1") is HostState.MAINTENANCE
    assert life.launched("host1") == [RESTART]


def test_its_death_is_not_hidden_by_the_end_of_the_maintenance():
    life = ordered()
    life.see(1, host1=CUT)
    life.take_back("host1", OrderKind.MAINTENANCE)
    life.see(3, host1=CUT)
    assert life.launched("host1") == [FAILURE]


def test_an_emptied_host_that_is_dark_when_its_maintenance_ends_is_brought_back_all_the_same():
    """It was switched off by the person; the restoration switches it on."""
    life = emptied()
    life.see(100, host1=CUT)
    back(life, host1=CUT)
    assert life.launched("host1") == [DRAIN, RESTORE]


def test_a_maintenance_cut_short_while_the_host_is_emptied_brings_it_back():
    life = ordered(drain=True)
    life.take_back("host1", OrderKind.MAINTENANCE)
    life.see(5)
    life.end("host1")
    life.see(2)
    assert life.launched("host1") == [DRAIN, RESTORE]
    life.end("host1")
    life.see(2)
    assert life.state("host1") is HostState.HEALTHY


def test_a_restoration_after_a_maintenance_that_was_held_ends_with_an_end():
    """A drain that could not move all: the incident is held when the person gives up."""
    life = ordered(drain=True)
    life.end("host1", "failed", "vm1: no room")
    back(life)
    assert life.launched("host1") == [DRAIN, RESTORE]
    life.end("host1")
    life.see(2)
    assert life.state("host1") is HostState.HEALTHY
    assert life.ends("host1") == [("maintenance", "cleared")]


@pytest.mark.parametrize("drain", [False, True])
def test_a_restart_of_the_controller_does_not_end_it(drain):
    life = emptied() if drain else ordered()
    life.restart()
    life.see(30, host1={} if not drain else CUT)
    assert life.state("host1") is HostState.MAINTENANCE
    assert life.launched("host1") == [DRAIN] * drain


def test_the_network_detector_alone_is_no_death():
    life = ordered()
    life.see(100, host1={Layer.NETWORK: DEAD})
    assert not life.launches
    assert life.state("host1") is HostState.MAINTENANCE
