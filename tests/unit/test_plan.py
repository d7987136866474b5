"""The one decision point: a host's life from its first sign to its end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from life import BASIC, Life
from views import (
    CUT,
    DEAD,
    NO_BMC,
    POLICY,
    UNPLUGGED,
    WARNING,
    WELL,
    policy,
    silent,
    view_of,
)

from hass_runtime.decide.decisions import SetState
from hass_runtime.decide.plan import decide
from hass_runtime.decide.view import DRAIN, FAILURE, RESTORE
from hass_runtime.domain import HostState, Layer, Outcome, Reading, Scope

RESTART = "service_restart"
EVERY = (*BASIC, Layer.HARDWARE)


def test_the_whole_life_of_a_power_cut():
    life = Life()
    life.see(2)
    life.see(2, host1=CUT)
    life.end("host1")
    life.see(1)  # it is powered on again by the restoration, which ends:
    life.end("host1")
    life.see(1)
    assert life.log == [
        "host1 suspect -> healthy",
        "host2 suspect -> healthy",
        "host3 suspect -> healthy",
        "host1 healthy -> suspect",
        "host1 suspect -> faulty",
        "open host1 power",
        "launch host1 host_failure 1",
        "host1 faulty -> fencing",
        "host1 fencing -> fenced",
        "settle host1 recovered",
        "host1 fenced -> evacuated",
        "launch host1 host_restore 1",
        "host1 evacuated -> restoring",
        "host1 restoring -> healthy",
        "close host1 recovered",
    ]


def test_one_missed_poll_is_forgotten():
    life = Life()
    life.see(2)
    life.see(1, host1=CUT)
    assert life.state("host1") is HostState.SUSPECT
    life.see(1)
    assert life.state("host1") is HostState.HEALTHY
    assert not life.launches


def test_no_answer_from_the_bmc_holds_and_its_return_goes_on():
    life = Life()
    life.see(2)
    life.see(60, host1=NO_BMC)
    assert life.state("host1") is HostState.HELD
    assert life.incident("host1").gate == "unproven"
    assert not life.launches
    life.see(3, host1=CUT)
    assert [launch.playbook for launch in life.launches] == [FAILURE]
    assert life.incident("host1").id == 1


def test_a_network_that_comes_back_in_time_is_no_fault():
    life = Life()
    life.see(2)
    life.see(25, host1=UNPLUGGED)
    life.see(2)
    assert life.state("host1") is HostState.HEALTHY
    assert not life.launches
    assert not life.closed


def test_a_held_fault_that_goes_away_is_cleared():
    life = Life()
    life.pause()
    life.see(2)
    life.see(3, host1=CUT)
    assert life.incident("host1").gate == "disarmed"
    life.see(3)
    assert life.state("host1") is HostState.HEALTHY
    assert [incident.outcome for incident in life.closed] == [Outcome.CLEARED]


def test_arming_again_lets_the_held_go_on():
    life = Life()
    life.pause()
    life.see(2)
    life.see(3, host1=CUT)
    life.pauses.clear()
    life.see(1, host1=CUT)
    assert len(life.launches) == 1


def test_a_begun_remedy_is_finished_even_if_the_host_looks_well_again():
    """The host may be off in the next moment: once switched off, evacuation is the only safe way on."""
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.end("host1", "failed", "vm1: no valid host", fenced=True)
    life.see(15)
    assert [launch.attempt for launch in life.launches] == [1, 2]


def test_a_host_that_was_never_proven_off_and_is_well_again_is_only_given_back():
    """The playbook failed before or in its fence: nothing was taken from the host, as far as is known."""
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.end("host1", "failed", "Nova did not answer")
    life.see(15)
    assert [launch.playbook for launch in life.launches] == [FAILURE, RESTORE]
    life.end("host1")
    life.see(600)
    assert len(life.launches) == 2
    assert [incident.outcome for incident in life.closed] == [Outcome.CLEARED]
    assert life.state("host1") is HostState.HEALTHY


def test_a_bmc_that_answers_every_other_time_does_not_hide_a_dead_host():
    life = Life()
    life.see(2)
    for _ in range(3):
        life.see(1, host1=CUT)
        life.see(1, host1=NO_BMC)
    assert len(life.launches) == 1


def test_a_held_incident_is_told_once_whatever_its_evidence_says():
    life = Life()
    life.see(2)
    life.see(100, host1=NO_BMC, host2={Layer.POWER: DEAD})
    assert life.log.count("hold host1 unproven") == 1


def test_after_a_start_hosts_not_read_yet_count_as_down():
    life = Life(tuple(f"host{n}" for n in range(1, 5)))
    for second in range(3):
        life.now += 1
        for name, looks in (("host1", CUT), ("host2", {})):
            for layer in (Layer.POWER, Layer.NETWORK, Layer.SERVICE):
                verdict, answered = looks.get(layer, WELL)
                life.memory.observe(Reading(name, layer, verdict, f"{second}", life.now, answered))
        life.settle()
    assert not life.launches
    assert life.incident("host1").gate == "storm"


def test_instances_that_could_not_be_moved_make_the_incident_failed():
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.end("host1", "successful", "vm3 is paused, which Nova does not evacuate")
    assert life.incident("host1").outcome is Outcome.FAILED
    life.end("host1")
    life.see(2)
    assert life.closed[0].outcome is Outcome.FAILED
    assert "vm3" in life.closed[0].reason


def test_two_hosts_that_die_together_cannot_both_pass_a_gate_for_one():
    life = Life(tuple(f"host{n}" for n in range(1, 9)), policy=replace(POLICY, max_remedies=1))
    life.see(2)
    life.see(3, host1=CUT, host2=CUT)
    assert [launch.host for launch in life.launches] == ["host1"]
    assert life.incident("host2").gate == "rate"
    life.end("host1")
    life.see(1, host1=CUT, host2=CUT)
    assert [launch.host for launch in life.launches if launch.playbook == FAILURE] == ["host1", "host2"]


def test_everything_dark_is_never_acted_upon():
    life = Life()
    life.see(2)
    life.see(300, host1=CUT, host2=CUT, host3=CUT)
    assert not life.launches
    assert {life.incident(name).gate for name in life.names} == {"isolated"}


def test_deciding_changes_nothing_by_itself():
    view = view_of(silent("host1"), *(silent(f"host{n}", WELL) for n in (2, 3)))
    before = repr(view)
    assert decide(view) == decide(view)
    assert repr(view) == before


def test_hosts_are_decided_upon_in_order_of_their_names_however_they_are_listed():
    life = Life(("host3", "host1", "host2"))
    life.now += 1
    life.look()
    assert [decision.host for decision in decide(life.view())] == ["host1", "host2", "host3"]


def test_a_host_that_was_never_read_is_suspect_and_no_more():
    life = Life()
    life.settle()
    assert {life.state(name) for name in life.names} == {HostState.SUSPECT}
    assert not life.log


# Which faults are remedied at all


def test_a_cluster_protects_the_layers_that_its_operator_named():
    guarded = frozenset({Layer.POWER, Layer.NETWORK})
    life = Life(
        tuple(f"host{n}" for n in range(1, 7)),
        policy=policy(protected={"b": guarded}),
        clusters={f"host{n}": "b" for n in (4, 5, 6)},
        layers=EVERY,
    )
    life.see(2)
    life.see(3, host1=WARNING, host4=WARNING)
    assert life.launched("host1") == [DRAIN]
    assert life.launched("host4") == []
    assert "reported only" in life.incident("host4").reason
    life.see(3, host1=WARNING, host4=CUT)
    assert life.launched("host4") == [FAILURE]


def test_a_cluster_that_protects_nothing_is_only_watched():
    life = Life(policy=policy(protected={"default": frozenset()}))
    life.see(2)
    life.see(100, host1=CUT)
    assert not life.launches
    assert life.incident("host1").outcome is Outcome.HELD
    life.see(3)
    assert life.ends("host1") == [("power", "cleared")]


@pytest.mark.parametrize("scope", [(Scope.ALL, ""), (Scope.CLUSTER, "default"), (Scope.HOST, "host1")])
def test_what_a_pause_held_goes_on_when_it_ends(scope):
    life = Life()
    life.pause(*scope)
    life.see(2)
    life.see(30, host1=CUT)
    assert life.incident("host1").gate == "disarmed"
    life.pauses.clear()
    life.see(1, host1=CUT)
    assert life.launched("host1") == [FAILURE]


# Totals


def test_after_a_storm_the_first_remedy_waits_for_the_cooldown():
    names = tuple(f"host{n}" for n in range(1, 5))
    life = Life(names)
    life.see(2)
    life.see(5, host1=CUT, host2=CUT, host3=CUT)
    assert {life.incident(name).gate for name in names[:3]} == {"storm"}
    life.see(int(POLICY.cooldown) - 1, host1=CUT)
    assert not life.launches
    assert life.incident("host1").gate == "rate"
    life.see(1, host1=CUT)
    assert life.launched("host1") == [FAILURE]


def test_only_so_many_hosts_are_fenced_within_the_window_and_the_next_when_it_has_passed():
    names = tuple(f"host{n}" for n in range(1, 10))
    life = Life(names, policy=policy(max_fences=1, fence_window=100.0))
    life.see(2)
    life.see(3, host1=CUT)
    life.end("host1")
    life.see(2)
    life.end("host1")
    life.see(2)
    life.see(5, host2=CUT)
    assert life.incident("host2").gate == "rate"
    life.see(95, host2=CUT)
    assert life.launched("host2") == [FAILURE]


def test_the_reason_of_a_hold_follows_the_gate_that_is_closed_now():
    life = Life()
    life.see(2)
    life.see(40, host1=NO_BMC)
    life.pause()
    life.see(2, host1=NO_BMC)
    assert life.incident("host1").gate == "disarmed"
    life.pauses.clear()
    life.see(2, host1=NO_BMC)
    assert life.incident("host1").gate == "unproven"
    assert not life.launches


def test_a_state_is_entered_once():
    life = Life()
    life.see(2)
    life.see(5, host1={Layer.POWER: WELL})
    assert not any(isinstance(each, SetState) for each in decide(life.view()))
