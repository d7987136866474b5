"""Something else happens to a host that is being remedied: it gets worse, it gets well, a person speaks."""

from __future__ import annotations

import pytest
from life import BASIC, Life
from views import COMPLAINING, CUT, UNPLUGGED, WARNING, order, policy

from hass_runtime.decide.view import DRAIN, FAILURE, RESTORE
from hass_runtime.domain import HostState, Layer, OrderKind, Outcome

RESTART = "service_restart"
EVERY = (*BASIC, Layer.HARDWARE)


# A host that is well again is not switched off


def test_a_host_that_is_well_again_before_it_was_proven_off_is_spared():
    life = Life()
    life.see(2)
    life.see(40, host1=UNPLUGGED)
    assert life.running("host1") == FAILURE
    life.see(2)
    assert [cancel.host for cancel in life.cancels] == ["host1"]
    life.end("host1", "cancelled", "told to")
    # How far the fence got nobody knows for sure: it is given back to Nova, whatever was done.
    assert life.running("host1") == RESTORE
    life.end("host1")
    life.see(2)
    assert life.ends("host1") == [("network", "cleared")]
    assert life.state("host1") is HostState.HEALTHY
    life.see(100)
    assert life.launched("host1") == [FAILURE, RESTORE]


def test_a_host_that_dies_while_it_is_only_given_back_is_fenced_all_the_same():
    life = Life()
    life.see(2)
    life.see(40, host1=UNPLUGGED)
    life.see(2)
    life.end("host1", "cancelled", "told to")
    assert life.running("host1") == RESTORE
    life.see(40, host1=UNPLUGGED)
    assert [cancel.host for cancel in life.cancels] == ["host1", "host1"]
    life.end("host1", "cancelled", "told to")
    assert life.running("host1") == FAILURE


def test_a_host_that_fails_to_be_given_back_and_dies_is_fenced_all_the_same():
    life = Life()
    life.see(2)
    life.see(40, host1=UNPLUGGED)
    life.see(2)
    life.end("host1", "cancelled", "told to")
    life.end("host1", "failed", "no agent")
    life.see(40, host1=UNPLUGGED)
    assert life.running("host1") == FAILURE


def test_a_host_that_is_well_again_but_was_proven_off_is_not_spared():
    life = Life()
    life.see(2)
    life.see(40, host1=UNPLUGGED)
    life.fence("host1")
    life.see(5)
    assert not life.cancels
    life.end("host1", "failed", "vm1: no valid host")
    life.see(15)
    assert life.launched("host1") == [FAILURE, FAILURE]


def test_a_host_that_a_person_said_was_off_is_not_spared_when_something_answers_in_its_place():
    life = Life(without_bmc=("host1",))
    life.see(2)
    life.see(40, host1=CUT)
    life.order("host1", OrderKind.CONFIRM_FENCED)
    life.see(1, host1=CUT)
    assert life.running("host1") == FAILURE
    life.see(3)
    assert not life.cancels


def test_a_remedy_that_is_being_cancelled_is_not_cancelled_again():
    life = Life()
    life.see(2)
    life.see(40, host1=UNPLUGGED)
    life.see(5)
    assert len(life.cancels) == 1


# Escalation beats de-duplication (safety rule 5)


def test_a_fault_that_is_held_does_not_swallow_a_worse_one():
    life = Life(policy=policy(protected={"default": frozenset({Layer.POWER})}))
    life.see(2)
    life.see(60, host1=COMPLAINING)
    assert life.incident("host1").fault == "service"
    assert life.incident("host1").outcome is Outcome.HELD
    assert not life.launches
    life.see(3, host1=CUT)
    assert life.incident("host1").fault == "power"
    assert life.launched("host1") == [FAILURE]
    assert life.incident("host1").id == 1


@pytest.mark.parametrize(
    ("mild", "playbook"), [(COMPLAINING, RESTART), (WARNING, DRAIN)], ids=["restart", "drain"]
)
def test_a_mild_remedy_under_way_is_cancelled_when_the_host_dies(mild, playbook):
    life = Life(layers=EVERY)
    life.see(2)
    life.see(2, host1=mild)
    assert life.running("host1") == playbook
    life.see(2, host1=CUT)
    assert [cancel.host for cancel in life.cancels] == ["host1"]
    assert life.launched("host1") == [playbook]  # the next begins only when that one has ended
    life.end("host1", "cancelled", "told to")
    assert life.launched("host1") == [playbook, FAILURE]
    assert life.incident("host1").fault == "power"
    assert life.incident("host1").rung == 0


def test_a_mild_remedy_goes_on_while_a_gate_keeps_the_worse_one_back():
    """To cancel it would leave the host with nothing at all."""
    life = Life(layers=EVERY)
    life.see(2)
    life.see(2, host1=WARNING)
    life.pause()
    life.see(10, host1=CUT)
    assert not life.cancels
    life.pauses.clear()
    life.see(1, host1=CUT)
    assert len(life.cancels) == 1


def test_a_mild_remedy_is_not_cancelled_for_another_mild_fault():
    life = Life(layers=EVERY)
    life.see(2)
    life.see(2, host1=WARNING)
    life.see(10, host1={**WARNING, **COMPLAINING})
    assert not life.cancels
    life.end("host1", "failed", "no room")
    assert life.incident("host1").fault == "service"
    assert life.launched("host1") == [DRAIN, RESTART]


def test_a_worse_fault_begins_with_the_first_try_of_its_own_ladder():
    life = Life(layers=EVERY)
    life.see(2)
    life.see(2, host1=COMPLAINING)
    life.end("host1", "failed", "masked")
    life.see(30, host1=COMPLAINING)
    life.end("host1", "failed", "masked")
    assert (life.launches[-1].playbook, life.launches[-1].rung) == (DRAIN, 1)
    life.see(2, host1=CUT)
    life.end("host1", "cancelled", "told to")
    launch = life.launches[-1]
    assert (launch.playbook, launch.rung, launch.tries) == (FAILURE, 0, 1)


def test_a_host_that_was_only_drained_and_now_dies_is_fenced():
    """What could not be moved away may still be on it."""
    life = Life(layers=EVERY)
    life.see(2)
    life.see(2, host1=WARNING)
    life.end("host1")
    assert life.state("host1") is HostState.EVACUATED
    life.see(3, host1=CUT)
    assert life.launched("host1") == [DRAIN, FAILURE]


# A person's word


def test_a_persons_word_lets_a_host_without_a_bmc_be_evacuated_and_goes_with_the_launch():
    life = Life(without_bmc=("host1",))
    life.see(2)
    life.see(60, host1=CUT)
    assert life.incident("host1").gate == "unproven"
    given = life.order("host1", OrderKind.CONFIRM_FENCED)
    life.see(1, host1=CUT)
    assert life.launches[-1].confirmed == given


def test_a_persons_word_ends_with_a_sign_of_life_and_does_not_wait_for_the_next_failure():
    life = Life(without_bmc=("host1",))
    life.see(2)
    life.order("host1", OrderKind.CONFIRM_FENCED)
    life.see(2)
    assert "end order host1 confirm_fenced" in life.log
    life.see(100, host1=CUT)
    assert not life.launches
    assert life.incident("host1").gate == "unproven"


def test_a_persons_word_given_before_the_host_last_spoke_proves_nothing_even_in_the_same_failure():
    life = Life(without_bmc=("host1",))
    life.see(2)
    given = life.order("host1", OrderKind.CONFIRM_FENCED)
    life.see(1)
    life.orders = [given]  # and it is not taken back in time
    life.see(100, host1=CUT)
    assert not life.launches


def test_a_restore_ordered_for_a_host_in_service_is_carried_out_already():
    life = Life()
    life.see(2)
    life.order("host1", OrderKind.RESTORE)
    life.see(1)
    assert life.orders == []
    assert not life.launches


def test_a_confirmed_order_of_another_host_is_not_mine():
    given = order("host2", OrderKind.CONFIRM_FENCED)
    life = Life(without_bmc=("host1",))
    life.see(2)
    life.orders = [given]
    life.see(60, host1=CUT)
    assert life.incident("host1").gate == "unproven"
