"""Every gate: open, closed, and what it does when it cannot know."""

from __future__ import annotations

from dataclasses import replace

import pytest
from views import LIMITS, NOW, answering, host, silent, view_of

from hass_runtime.decide import gates
from hass_runtime.domain import Gate, HostState, Layer, Reading, Verdict


def shut(view, name="host1"):
    found = gates.closed(view, view.hosts[name])
    return found[0] if found else None


def four_with_one_dead():
    return view_of(silent("host1"), answering("host2"), answering("host3"), answering("host4"))


def test_nothing_holds_a_clear_case():
    assert shut(four_with_one_dead()) is None


def test_disarmed_by_a_person_names_the_reason():
    view = replace(four_with_one_dead(), disarmed="by ann: switch firmware")
    assert gates.closed(view, view.hosts["host1"]) == (Gate.DISARMED, "by ann: switch firmware")


def test_disarmed_by_configuration():
    view = four_with_one_dead()
    assert shut(replace(view, policy=replace(view.policy, armed=False))) is Gate.DISARMED


def test_the_controllers_own_gateway_is_silent():
    assert shut(replace(four_with_one_dead(), gateway_answers=False)) is Gate.ISOLATED


def test_no_host_answers_at_all():
    view = view_of(silent("host1"), silent("host2"), silent("host3"))
    assert shut(view) is Gate.ISOLATED


def test_no_host_answers_but_the_gateway_does_is_a_storm():
    view = view_of(silent("host1"), silent("host2"), silent("host3"))
    assert shut(replace(view, gateway_answers=True)) is Gate.STORM


def test_storm_is_more_than_the_share_not_just_the_share():
    half = view_of(silent("host1"), silent("host2"), answering("host3"), answering("host4"))
    assert shut(half) is None
    more = view_of(silent("host1"), silent("host2"), silent("host3"), answering("host4"))
    assert shut(more) is Gate.STORM


@pytest.mark.parametrize(
    "state",
    [
        HostState.FENCING,
        HostState.FENCED,
        HostState.EVACUATING,
        HostState.EVACUATED,
        HostState.RESTORING,
        HostState.QUARANTINED,
    ],
)
def test_storm_counts_hosts_that_failed_before(state):
    """A slow cascade is a storm too, even where the earlier ones answer again."""
    view = view_of(
        silent("host1"),
        replace(answering("host2"), state=state),
        replace(answering("host3"), state=state),
        answering("host4"),
    )
    assert shut(view) is Gate.STORM


def test_storm_counts_the_first_miss_of_others():
    """Hosts that fall together are counted together, before their failures are established."""
    one_miss = [silent(name, times=1) for name in ("host2", "host3")]
    view = view_of(silent("host1"), *one_miss, answering("host4"))
    assert shut(view) is Gate.STORM


def test_storm_does_not_count_hosts_that_are_only_reported_on():
    held = [replace(answering(name), state=HostState.HELD) for name in ("host2", "host3")]
    assert shut(view_of(silent("host1"), *held, answering("host4"))) is None


def test_storm_is_counted_cluster_by_cluster():
    dead = [silent(name, cluster="b") for name in ("host5", "host6")]
    view = view_of(silent("host1"), answering("host2"), answering("host3"), *dead)
    assert shut(view) is None
    assert shut(view, "host5") is Gate.STORM


def test_rate_counts_fences_and_evacuations_under_way():
    busy = [
        replace(silent(name), state=HostState.EVACUATING, running="host_failure")
        for name in ("host2", "host3")
    ]
    view = view_of(silent("host1"), *busy, *(answering(f"host{n}") for n in range(4, 9)))
    assert shut(view) is Gate.RATE
    assert shut(replace(view, policy=replace(view.policy, max_remedies=3))) is None


def test_a_restoration_does_not_count_for_the_rate():
    busy = [
        replace(silent(name), state=HostState.RESTORING, running="host_restore")
        for name in ("host2", "host3")
    ]
    assert shut(view_of(silent("host1"), *busy, *(answering(f"host{n}") for n in range(4, 9)))) is None


def test_no_target_among_hosts_that_are_out():
    others = [replace(answering("host2"), state=HostState.MAINTENANCE)]
    assert shut(view_of(silent("host1"), *others)) is Gate.NO_TARGET


def test_a_host_whose_service_complains_is_no_target():
    sick = host("host2", {Layer.NETWORK: (Verdict.OK, True), Layer.SERVICE: (Verdict.FAILED, True)})
    assert shut(view_of(silent("host1"), sick)) is Gate.NO_TARGET


def test_no_bmc_is_no_proof():
    view = view_of(silent("host1", bmc=False), answering("host2"))
    gate, reason = gates.closed(view, view.hosts["host1"])
    assert gate is Gate.UNPROVEN
    assert "no BMC" in reason


def test_a_bmc_that_does_not_answer_is_no_proof_and_its_words_are_passed_on():
    mute = silent("host1", power=(Verdict.UNKNOWN, False), evidence="BMC 10.0.0.1: no answer in 5 s")
    view = view_of(mute, answering("host2"))
    gate, reason = gates.closed(view, view.hosts["host1"])
    assert gate is Gate.UNPROVEN
    assert reason == "nothing can prove that host1 is off: BMC 10.0.0.1: no answer in 5 s"


def test_an_old_power_reading_is_no_proof():
    dead = silent("host1")
    old = NOW - LIMITS.stale_after - 1
    power = replace(
        dead.track.layers[Layer.POWER], reading=Reading("host1", Layer.POWER, Verdict.FAILED, "", old)
    )
    track = replace(dead.track, layers={**dead.track.layers, Layer.POWER: power})
    assert shut(view_of(replace(dead, track=track), answering("host2"))) is Gate.UNPROVEN


def test_compute1_is_not_compute10():
    view = view_of(silent("compute1"), answering("compute10"), answering("compute11"))
    assert shut(view, "compute1") is None
    assert (
        shut(view_of(silent("compute1"), silent("compute10"), answering("compute11")), "compute1")
        is Gate.STORM
    )


def test_the_gates_are_asked_in_the_order_of_the_design():
    """Safety rule 4. The order matters: the first closed gate is the reason that a person reads."""
    asked = [gate for gate, _ in gates.GATES]
    assert asked == [gate for gate in Gate if gate in asked]
    everything = view_of(silent("host1", bmc=False), silent("host2"), silent("host3"))
    assert shut(everything) is Gate.ISOLATED
    assert shut(replace(everything, disarmed="by ann")) is Gate.DISARMED
    assert shut(replace(everything, gateway_answers=True)) is Gate.STORM


def test_the_only_host_of_a_cloud_is_not_a_sign_of_isolation():
    assert shut(view_of(silent("host1"))) is Gate.STORM
