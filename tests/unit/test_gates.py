"""Every gate of the safety rules: open, closed, and what it does when it cannot know."""

from __future__ import annotations

from dataclasses import replace

import pytest
from views import (
    LIMITS,
    MUTE,
    NOW,
    SICK,
    WARNS,
    WELL,
    answering,
    complaining,
    host,
    incident,
    order,
    policy,
    silent,
    unread,
    view_of,
)

from hass_runtime.decide import gates
from hass_runtime.decide.diagnosis import HostTrack, observe
from hass_runtime.decide.view import DRAIN, FAILURE
from hass_runtime.domain import Gate, HostState, Layer, OrderKind, Pause, Reading, Scope, Verdict

RESTART = "service_restart"
PLAYBOOKS = (FAILURE, DRAIN, RESTART)


def shut(view, name="host1", playbook=FAILURE):
    found = gates.closed(view, view.hosts[name], playbook)
    return found[0] if found else None


def why(view, name="host1", playbook=FAILURE):
    return gates.closed(view, view.hosts[name], playbook)[1]


def keeper(gate):
    return next(each for each in gates.GATES if each.gate is gate)


def four_with_one_dead(**more):
    return view_of(silent("host1"), answering("host2"), answering("host3"), answering("host4"), **more)


def eight(*first, **more):
    """These, and as many that are well as make eight."""
    return view_of(*first, *(answering(f"host{n}") for n in range(len(first) + 1, 9)), **more)


def pause(scope=Scope.ALL, name=""):
    return Pause("switch firmware", "ann", NOW - 60, None, scope, name)


# All of them


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_nothing_holds_a_clear_case(playbook):
    assert shut(four_with_one_dead(), playbook=playbook) is None


def test_there_is_a_keeper_for_every_gate_in_the_order_of_the_design():
    """Safety rule 4. The order matters: the first closed gate is the reason that a person reads."""
    assert [each.gate for each in gates.GATES] == list(Gate)


@pytest.mark.parametrize("each", gates.GATES, ids=lambda each: each.gate.value)
def test_every_gate_says_whether_it_is_open_or_closed_when_it_cannot_know(each):
    assert each.unknown.startswith(("open: ", "closed: "))
    assert each.closes.endswith(".")


def test_the_first_gate_that_is_closed_is_the_reason_told_whatever_is_closed_behind_it():
    """Every gate shut at once; then each is opened in turn, and the next one is told."""
    dead = [silent(f"host{n}", MUTE, zone="rack1") for n in (1, 2, 3)]
    crowd = [
        replace(silent(f"host{n}", zone="rack2"), state=HostState.FENCING, running=FAILURE) for n in (4, 5)
    ]
    view = view_of(
        *dead, *crowd, pauses=(pause(),), gateway_answers=False, blind={Layer.SERVICE: "none of 2 answers"}
    )
    told = [shut(view)]
    for opened in (
        {"pauses": ()},
        {"gateway_answers": True},
        {"blind": {}},
        {"policy": policy(storm_threshold=1.0)},
        {"policy": policy(storm_threshold=1.0, domain_threshold=1.0)},
        {"policy": policy(storm_threshold=1.0, domain_threshold=1.0, max_remedies=9)},
    ):
        view = replace(view_of(*view.hosts.values()), **{**_open(view), **opened})
        told.append(shut(view))
    targeted = view_of(*view.hosts.values(), answering("host6"), **_open(view))
    assert [*told, shut(targeted)] == list(Gate)


def _open(view):
    known = ("pauses", "gateway_answers", "blind", "policy")
    return {name: getattr(view, name) for name in known}


@pytest.mark.parametrize(
    ("playbook", "spared"),
    [
        (FAILURE, set()),
        (DRAIN, {Gate.UNPROVEN}),
        (RESTART, {Gate.DOMAIN, Gate.NO_TARGET, Gate.UNPROVEN}),
        ("of_an_operator", {Gate.DOMAIN, Gate.NO_TARGET, Gate.UNPROVEN}),
    ],
)
def test_a_remedy_is_asked_of_the_gates_that_have_to_do_with_what_it_does(playbook, spared):
    assert [each.gate for each in gates.asked_of(playbook)] == [gate for gate in Gate if gate not in spared]


# disarmed


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_pause_of_everything_names_who_and_why(playbook):
    view = four_with_one_dead(pauses=(pause(),))
    assert gates.closed(view, view.hosts["host1"], playbook) == (
        Gate.DISARMED,
        "switched off by ann: switch firmware",
    )


def test_a_pause_of_a_cluster_holds_its_hosts_only_and_names_it():
    other = [silent("host5", cluster="b"), answering("host6", cluster="b")]
    view = view_of(*four_with_one_dead().hosts.values(), *other, pauses=(pause(Scope.CLUSTER, "b"),))
    assert shut(view, "host1") is None
    assert shut(view, "host5") is Gate.DISARMED
    assert why(view, "host5") == "switched off for cluster b by ann: switch firmware"


def test_a_pause_of_a_host_holds_only_the_host_of_exactly_this_name():
    view = four_with_one_dead(pauses=(pause(Scope.HOST, "host1"),))
    assert why(view) == "switched off for host host1 by ann: switch firmware"
    assert shut(four_with_one_dead(pauses=(pause(Scope.HOST, "host10"),))) is None


def test_a_pause_of_a_cluster_does_not_hold_a_host_that_has_the_name_of_the_cluster():
    assert shut(four_with_one_dead(pauses=(pause(Scope.CLUSTER, "host1"),))) is None
    assert shut(four_with_one_dead(pauses=(pause(Scope.HOST, "default"),))) is None


def test_the_configuration_can_disarm_everything():
    view = four_with_one_dead(policy=policy(armed=False))
    assert shut(view) is Gate.DISARMED
    assert "armed = false" in why(view)


# isolated


def test_a_gateway_of_the_controller_that_is_silent_isolates_it():
    assert shut(four_with_one_dead(gateway_answers=False)) is Gate.ISOLATED


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_without_a_gateway_no_answer_from_any_host_is_taken_for_isolation(playbook):
    """It cannot know, and is closed."""
    view = view_of(silent("host1"), silent("host2"), silent("host3"))
    assert shut(view, playbook=playbook) is Gate.ISOLATED


def test_hosts_that_were_not_read_yet_do_not_speak_against_isolation():
    assert shut(view_of(silent("host1"), unread("host2"))) is Gate.ISOLATED


def test_an_answer_that_is_too_old_does_not_speak_against_isolation():
    view = view_of(silent("host1"), answering("host2"))
    assert shut(view) is None
    assert shut(replace(view, now=NOW + LIMITS.stale_after + 1)) is Gate.ISOLATED


def test_a_host_that_only_complains_speaks_against_isolation():
    assert gates.cut_off(view_of(silent("host1"), complaining("host2"))) == ""


def test_no_host_answers_but_the_gateway_does_is_a_storm():
    view = view_of(silent("host1"), silent("host2"), silent("host3"))
    assert shut(replace(view, gateway_answers=True)) is Gate.STORM


def test_the_only_host_of_a_cloud_is_not_a_sign_of_isolation():
    assert shut(view_of(silent("host1"))) is Gate.STORM


# blind


def test_a_fence_needs_the_power_detector():
    view = four_with_one_dead(blind={Layer.POWER: "no BMC of 3 hosts can be read"})
    assert gates.closed(view, view.hosts["host1"]) == (
        Gate.BLIND,
        "the power detector is blind: no BMC of 3 hosts can be read",
    )


@pytest.mark.parametrize("playbook", [DRAIN, RESTART])
def test_what_does_not_fence_does_not_need_the_power_detector(playbook):
    assert shut(four_with_one_dead(blind={Layer.POWER: "why"}), playbook=playbook) is None


def test_a_host_without_a_bmc_is_not_held_for_blind_power_but_for_its_missing_proof():
    view = view_of(silent("host1", bmc=False), answering("host2"), blind={Layer.POWER: "why"})
    assert shut(view) is Gate.UNPROVEN


def test_a_person_who_has_seen_to_it_is_not_held_by_blind_power():
    dead = silent("host1", confirmed=order("host1", OrderKind.CONFIRM_FENCED))
    assert shut(view_of(dead, answering("host2"), blind={Layer.POWER: "why"})) is None


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_nothing_is_remedied_while_no_agent_can_be_heard(playbook):
    view = four_with_one_dead(blind={Layer.SERVICE: "why"})
    assert shut(view, playbook=playbook) is Gate.BLIND
    assert "service detector" in why(view, playbook=playbook)


def test_a_blind_network_detector_holds_only_faults_of_the_network():
    cut_off = silent("host1", WELL, times=3)
    fault = replace(silent("host1").fault, name="network", layer=Layer.NETWORK)
    others = [answering("host2"), answering("host3")]
    blind = {Layer.NETWORK: "why"}
    assert shut(view_of(replace(cut_off, fault=fault), *others, blind=blind)) is Gate.BLIND
    assert shut(view_of(silent("host1"), *others, blind=blind)) is None


def test_with_no_living_host_to_compare_nobody_can_tell_that_a_detector_is_blind_and_the_gate_is_open():
    """The promise of its keeper: open, and `unproven` asks this host's own BMC all the same."""
    view = four_with_one_dead(blind={})
    assert keeper(Gate.BLIND).unknown.startswith("open: ")
    assert keeper(Gate.BLIND).ask(view, view.hosts["host1"], FAILURE) == ""
    mute = view_of(silent("host1", MUTE), answering("host2"))
    assert shut(mute) is Gate.UNPROVEN


# no target


@pytest.mark.parametrize(
    "state",
    sorted(
        {
            HostState.FENCING,
            HostState.FENCED,
            HostState.EVACUATING,
            HostState.EVACUATED,
            HostState.RESTORING,
            HostState.QUARANTINED,
            HostState.MAINTENANCE,
        }
    ),
)
def test_a_host_that_is_out_is_no_target(state):
    view = view_of(silent("host1"), answering("host2", state=state), policy=policy(storm_threshold=1.0))
    assert shut(view) is Gate.NO_TARGET
    assert shut(view, playbook=DRAIN) is Gate.NO_TARGET
    assert shut(view, playbook=RESTART) is None


def test_a_host_that_is_ordered_into_maintenance_is_no_target_from_that_moment():
    leaves = answering("host2", maintenance=order("host2", OrderKind.MAINTENANCE))
    assert shut(view_of(silent("host1"), leaves)) is Gate.NO_TARGET


@pytest.mark.parametrize("state", [HostState.HEALTHY, HostState.SUSPECT])
def test_a_host_that_is_well_is_a_target_even_while_it_is_looked_at_closely(state):
    assert shut(view_of(silent("host1"), answering("host2", state=state))) is None


def test_a_host_whose_fault_has_a_remedy_is_no_target():
    warm = {Layer.POWER: WELL, Layer.NETWORK: WELL, Layer.SERVICE: WELL, Layer.HARDWARE: WARNS}
    assert shut(view_of(silent("host1"), host("host2", warm, state=HostState.HELD))) is Gate.NO_TARGET


def test_a_host_whose_fault_is_only_reported_still_takes_instances():
    unguarded = {
        Layer.POWER: WELL,
        Layer.NETWORK: WELL,
        Layer.SERVICE: WELL,
        Layer.OS: (Verdict.FAILED, False),
    }
    other = host("host2", unguarded, state=HostState.HELD)
    assert other.fault.name == "watchdog"
    assert shut(view_of(silent("host1"), other)) is None


def test_a_host_whose_service_complains_is_no_target():
    sick = host("host2", {Layer.NETWORK: WELL, Layer.SERVICE: SICK})
    assert shut(view_of(silent("host1"), sick)) is Gate.NO_TARGET


@pytest.mark.parametrize(
    "looks", [{Layer.NETWORK: WELL}, {Layer.NETWORK: WELL, Layer.SERVICE: MUTE}, {Layer.POWER: WELL}]
)
def test_a_host_whose_agent_was_never_heard_is_no_target(looks):
    """It cannot know, and is closed."""
    view = view_of(silent("host1"), host("host2", looks), gateway_answers=True)
    assert shut(replace(view, policy=policy(storm_threshold=1.0))) is Gate.NO_TARGET


def test_a_healthy_host_of_another_cluster_is_no_target():
    view = view_of(silent("host1"), answering("host2", cluster="b"), policy=policy(storm_threshold=1.0))
    assert shut(view) is Gate.NO_TARGET


# unproven


def test_a_host_without_a_bmc_cannot_be_proven_off_by_anybody_but_a_person():
    view = view_of(silent("host1", bmc=False), answering("host2"))
    assert shut(view) is Gate.UNPROVEN
    assert "no BMC" in why(view)
    assert "confirm-fenced" in why(view)


def test_a_bmc_that_does_not_answer_is_no_proof_and_its_words_are_passed_on():
    mute = silent("host1", power=MUTE, evidence="BMC 10.0.0.1: no answer in 5 s")
    assert why(view_of(mute, answering("host2"))) == (
        "nothing can prove that host1 is off: BMC 10.0.0.1: no answer in 5 s"
    )


def test_a_bmc_that_was_not_read_yet_is_no_proof():
    dead = host("host1", {Layer.NETWORK: (Verdict.FAILED, False)})
    assert why(view_of(dead, answering("host2"))).endswith("not read yet")


def test_an_old_power_reading_is_no_proof():
    dead = silent("host1")
    old = NOW - LIMITS.stale_after - 1
    power = replace(
        dead.track.layers[Layer.POWER], reading=Reading("host1", Layer.POWER, Verdict.FAILED, "", old)
    )
    track = replace(dead.track, layers={**dead.track.layers, Layer.POWER: power})
    assert shut(view_of(replace(dead, track=track), answering("host2"))) is Gate.UNPROVEN


@pytest.mark.parametrize("bmc", [True, False])
def test_a_persons_word_opens_it(bmc):
    dead = silent("host1", MUTE, bmc=bmc, confirmed=order("host1", OrderKind.CONFIRM_FENCED))
    assert shut(view_of(dead, answering("host2"))) is None


@pytest.mark.parametrize("layer", [Layer.NETWORK, Layer.SERVICE, Layer.STORAGE])
def test_a_persons_word_counts_only_until_the_host_gives_a_sign_of_life(layer):
    dead = silent("host1", bmc=False)
    for heard_after, counts in ((-1.0, True), (1.0, False)):
        given = order("host1", OrderKind.CONFIRM_FENCED, at=NOW - 50.0)
        spoke = Reading("host1", layer, Verdict.OK, "", given.at + heard_after, True)
        track = spoke_once(spoke, dead)
        known = replace(dead, track=track, confirmed=given)
        assert (gates.confirmation(view_of(known), known) is given) is counts


def spoke_once(spoke, dead):
    """The track of a dead host that spoke once before."""
    track = observe(HostTrack(dead.name), spoke)
    for known in dead.track.layers.values():
        track = observe(track, known.reading)
    return track


def test_the_word_about_a_host_is_not_lost_to_what_its_bmc_says():
    """Its BMC answers after the word was given; that is no sign of life of the host."""
    given = order("host1", OrderKind.CONFIRM_FENCED, at=NOW - 10)
    dead = silent("host1", WELL, confirmed=given, times=5)
    assert gates.confirmation(view_of(dead), dead) is given


@pytest.mark.parametrize("playbook", [DRAIN, RESTART])
def test_no_proof_is_needed_for_what_does_not_evacuate(playbook):
    warm = answering("host1", bmc=False)
    assert shut(view_of(warm, answering("host2")), playbook=playbook) is None


def test_a_host_that_was_proven_off_still_needs_every_gate_to_be_evacuated_again():
    dead = replace(silent("host1", MUTE), incident=incident("host1", fenced_at=NOW - 100))
    assert shut(view_of(dead, answering("host2"))) is Gate.UNPROVEN


def test_compute1_is_not_compute10():
    view = view_of(silent("compute1"), answering("compute10"), answering("compute11"))
    assert shut(view, "compute1") is None
    more = view_of(silent("compute1"), silent("compute10"), answering("compute11"))
    assert shut(more, "compute1") is Gate.STORM
