"""The one decision point: a host's whole life, and what must never happen in any."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from life import Life
from views import DEAD, POLICY, WELL

from hass_runtime.decide.plan import FAILURE, RESTORE, decide, pause_before_retry
from hass_runtime.decide.view import LastRun
from hass_runtime.domain import HostState, Layer, Outcome, Reading, Verdict

CUT = {Layer.POWER: DEAD, Layer.NETWORK: DEAD, Layer.SERVICE: DEAD}
MUTE_BMC = (Verdict.UNKNOWN, False)
NO_BMC = {**CUT, Layer.POWER: MUTE_BMC}
COMPLAINING = {Layer.SERVICE: (Verdict.FAILED, True)}


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
        "settle host1 recovered",
        "host1 fencing -> evacuated",
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
    life.see(25, host1={**CUT, Layer.POWER: WELL})
    life.see(2)
    assert life.state("host1") is HostState.HEALTHY
    assert not life.launches
    assert not life.closed


def test_a_held_fault_that_goes_away_is_cleared():
    life = Life(disarmed="by ann: firmware")
    life.see(2)
    life.see(3, host1=CUT)
    assert life.incident("host1").gate == "disarmed"
    life.see(3)
    assert life.state("host1") is HostState.HEALTHY
    assert [incident.outcome for incident in life.closed] == [Outcome.CLEARED]


def test_arming_again_lets_the_held_go_on():
    life = Life(disarmed="by ann: firmware")
    life.see(2)
    life.see(3, host1=CUT)
    life.disarmed = ""
    life.see(1, host1=CUT)
    assert len(life.launches) == 1


def test_a_failed_service_is_reported_and_nothing_is_launched():
    life = Life()
    life.see(2)
    life.see(60, host1=COMPLAINING)
    assert life.incident("host1").fault == "service"
    assert life.incident("host1").outcome is Outcome.HELD
    assert not life.launches
    life.see(2)
    assert life.closed[0].outcome is Outcome.CLEARED


def test_escalation_beats_deduplication():
    """Safety rule 5: a reported fault does not swallow the power cut that comes after it."""
    life = Life()
    life.see(2)
    life.see(5, host1=COMPLAINING)
    life.see(3, host1=CUT)
    assert life.incident("host1").fault == "power"
    assert [launch.playbook for launch in life.launches] == [FAILURE]


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


def test_a_begun_remedy_is_finished_even_if_the_host_looks_well_again():
    """The host may be off in the next moment: once switched off, evacuation is the only safe way on."""
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.end("host1", "failed", "vm1: no valid host", fenced=True)
    life.see(15)
    assert [launch.attempt for launch in life.launches] == [1, 2]


def test_a_host_that_was_never_proven_off_and_is_well_again_is_left_alone():
    """The playbook failed before or in its fence: nothing was taken from the host."""
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.end("host1", "failed", "Nova did not answer")
    life.see(600)
    assert [launch.attempt for launch in life.launches] == [1]
    assert [incident.outcome for incident in life.closed] == [Outcome.CLEARED]
    assert life.state("host1") is HostState.HEALTHY


def test_a_bmc_that_answers_every_other_time_does_not_hide_a_dead_host():
    life = Life()
    life.see(2)
    for _ in range(3):
        life.see(1, host1=CUT)
        life.see(1, host1=NO_BMC)
    assert len(life.launches) == 1


def test_a_lost_run_does_not_wash_earlier_failures_away():
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.end("host1")
    for _ in range(3):
        life.end("host1", "failed", "no answer from its agent")
        if life.state("host1") is not HostState.QUARANTINED:
            life.see(50, host1=CUT)
            life.restart()
            life.see(50, host1=CUT)
    assert life.state("host1") is HostState.QUARANTINED


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


def test_pauses_double_up_to_a_cap_and_lost_runs_do_not_wait():
    def pause(failures, status="failed"):
        return pause_before_retry(LastRun(FAILURE, status, "", 0.0, failures), 10.0)

    assert [pause(n) for n in (1, 2, 3, 6, 50)] == [10.0, 20.0, 40.0, 300.0, 300.0]
    assert pause(3, "lost") == 0.0


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


def test_restorations_that_fail_end_in_quarantine_until_the_host_shows_life():
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.end("host1")
    for _ in range(3):
        life.end("host1", "failed", "no answer from its agent in 300 s")
        life.see(50, host1=CUT)
    assert life.state("host1") is HostState.QUARANTINED
    assert [launch.playbook for launch in life.launches] == [FAILURE, RESTORE, RESTORE, RESTORE]
    life.see(600, host1=CUT)
    assert len(life.launches) == 4
    life.see(50)
    assert life.state("host1") is HostState.RESTORING
    life.end("host1")
    life.see(2)
    assert life.state("host1") is HostState.HEALTHY


def test_without_auto_restore_a_person_switches_the_host_on():
    life = Life(policy=replace(POLICY, auto_restore=False))
    life.see(2)
    life.see(3, host1=CUT)
    life.end("host1")
    life.see(100, host1=CUT)
    assert life.state("host1") is HostState.EVACUATED
    life.see(2)
    assert life.launches[-1].playbook == RESTORE


def test_disarmed_switches_nothing_on():
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.disarmed = "by ann: I am inside the rack"
    life.end("host1")
    life.see(100, host1=CUT)
    assert life.state("host1") is HostState.EVACUATED
    assert [launch.playbook for launch in life.launches] == [FAILURE]


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


def test_a_restart_in_the_middle_runs_the_same_incident_again():
    life = Life()
    life.see(2)
    life.see(3, host1=CUT)
    life.restart()
    life.see(3, host1=CUT)
    assert [(launch.incident, launch.attempt) for launch in life.launches] == [(1, 1), (1, 2)]


def test_deciding_twice_about_the_same_view_says_the_same():
    life = Life()
    life.see(2)
    life.see(1, host1=CUT, host2=CUT)
    assert decide(life.view()) == decide(life.view())


LOOKS = st.sampled_from(
    [{}, CUT, NO_BMC, COMPLAINING, {Layer.POWER: DEAD}, {**CUT, Layer.POWER: WELL}, {Layer.SERVICE: DEAD}]
)
HOST = st.sampled_from(["host1", "host2", "host3"])
ENDS = st.sampled_from(["successful", "failed", "crashed", "timeout", "cancelled"])
SOMETHING = st.one_of(
    st.tuples(st.just("see"), st.integers(1, 40), st.dictionaries(HOST, LOOKS), st.none()),
    st.tuples(st.just("end"), HOST, ENDS, st.booleans()),
    st.tuples(st.just("restart"), st.none(), st.none(), st.none()),
    st.tuples(st.just("disarm"), st.booleans(), st.none(), st.none()),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(SOMETHING, max_size=25))
def test_no_history_breaks_the_rules(history):
    """Any history: permitted transitions, one incident and one playbook a host, gates obeyed at launch."""
    life = Life()
    for what, one, two, three in history:
        before = len(life.launches)
        if what == "see":
            life.see(one, **two)
        elif what == "end" and life.memory.running.get(one):
            life.end(one, two, "" if two == "successful" else "why", fenced=three)
        elif what == "restart":
            life.restart()
        elif what == "disarm":
            life.disarmed = "by ann: test" if one else ""
        for launch in life.launches[before:]:
            assert not life.disarmed
            if launch.playbook == FAILURE:
                down = life.view().down["default"]
                assert len(down) <= POLICY.storm_threshold * len(life.names)
    for name in life.names:
        state = life.state(name)
        if state not in (HostState.HEALTHY, HostState.SUSPECT):
            assert name in life.memory.incidents, f"{name} is {state.value} without an incident that says why"
        elif name in life.memory.incidents:
            raise AssertionError(f"{name} is {state.value} with an open incident")
        incident = life.memory.incidents.get(name)
        if incident is not None and incident.outcome is Outcome.HELD:
            assert incident.reason, "held without a reason"
