"""The gates that count: how many are down, in a cluster and in a failure domain, and how often was acted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from views import (
    DEAD,
    NOW,
    SICK,
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
from hass_runtime.decide.lifecycle import TAKEN_OUT
from hass_runtime.decide.view import DRAIN, FAILURE, RESTORE, LastRun
from hass_runtime.domain import Gate, HostState, Layer, OrderKind

RESTART = "service_restart"


def shut(view, name="host1", playbook=FAILURE):
    found = gates.closed(view, view.hosts[name], playbook)
    return found[0] if found else None


def why(view, name="host1", playbook=FAILURE):
    return gates.closed(view, view.hosts[name], playbook)[1]


def of(size, *first, **more):
    """These, and as many that are well as make ``size``."""
    return view_of(*first, *(answering(f"host{n}") for n in range(len(first) + 1, size + 1)), **more)


# storm


def test_storm_is_more_than_the_share_not_just_the_share():
    assert shut(of(4, silent("host1"), silent("host2"))) is None
    assert shut(of(4, silent("host1"), silent("host2"), silent("host3"))) is Gate.STORM


def test_the_storm_names_how_many_of_whom():
    view = of(4, silent("host1"), silent("host2"), silent("host3"))
    assert why(view) == "3 of 4 hosts of cluster default are down (host1, host2, host3), more than 50%"


def test_a_long_list_of_names_is_cut_short():
    view = of(10, *(silent(f"host{n}") for n in range(1, 9)))
    assert "(host1, host2, host3, host4, host5 and 3 more)" in why(view)


@pytest.mark.parametrize("state", sorted(TAKEN_OUT))
def test_storm_counts_hosts_already_down_even_where_they_answer_again(state):
    """A slow cascade is a storm too."""
    view = of(4, silent("host1"), answering("host2", state=state), answering("host3", state=state))
    assert shut(view) is Gate.STORM


def test_storm_counts_the_first_miss_of_others():
    """Hosts that fall together are counted together, before their failures are established."""
    one_miss = [silent(name, times=1) for name in ("host2", "host3")]
    assert shut(of(4, silent("host1"), *one_miss)) is Gate.STORM


def test_storm_counts_hosts_that_were_not_read_yet():
    """It cannot know, and is closed."""
    assert shut(of(4, silent("host1"), unread("host2"), unread("host3"))) is Gate.STORM


def test_storm_does_not_count_hosts_that_are_only_reported_on():
    held = [answering(name, state=HostState.HELD) for name in ("host2", "host3")]
    assert shut(of(4, silent("host1"), *held)) is None


def test_storm_does_not_count_hosts_that_were_emptied_for_maintenance():
    """They are switched off and rebooted by a person who had their instances moved away."""
    done = LastRun(DRAIN, "successful", "", NOW - 100, 0)
    empty = [silent(f"host{n}", state=HostState.MAINTENANCE, last_run=done) for n in (2, 3)]
    assert shut(of(4, silent("host1"), *empty)) is None
    full = [replace(each, last_run=None) for each in empty]
    assert shut(of(4, silent("host1"), *full)) is Gate.STORM


def test_storm_does_not_count_hosts_in_maintenance_that_answer():
    away = [answering(f"host{n}", state=HostState.MAINTENANCE) for n in (2, 3)]
    assert shut(of(4, silent("host1"), *away)) is None


def test_storm_counts_hosts_that_answer_and_have_lost_their_storage():
    """A storage network that is down takes all of the cloud, while every host answers."""
    looks = {Layer.NETWORK: WELL, Layer.SERVICE: WELL, Layer.STORAGE: SICK}
    assert shut(of(4, *(host(f"host{n}", looks) for n in (1, 2, 3)))) is Gate.STORM


def test_storm_counts_hosts_that_answer_and_have_to_be_fenced():
    looks = {Layer.NETWORK: WELL, Layer.SERVICE: WELL, Layer.HARDWARE: SICK}
    assert shut(of(4, *(host(f"host{n}", looks) for n in (1, 2, 3)))) is Gate.STORM


def test_storm_is_counted_cluster_by_cluster():
    dead = [silent(name, cluster="b") for name in ("host5", "host6")]
    view = view_of(silent("host1"), answering("host2"), answering("host3"), *dead)
    assert shut(view) is None
    assert shut(view, "host5") is Gate.STORM


@pytest.mark.parametrize("playbook", [DRAIN, RESTART])
def test_a_mild_remedy_counts_every_host_with_a_fault_that_has_a_remedy(playbook):
    """A message queue that is down must not have the services of all of the cloud restarted."""
    view = of(4, *(complaining(f"host{n}") for n in (1, 2, 3)))
    assert shut(view, playbook=playbook) is Gate.STORM
    assert "have a fault" in why(view, playbook=playbook)


def test_a_dead_host_is_fenced_though_many_others_complain():
    view = of(4, silent("host1"), complaining("host2"), complaining("host3"))
    assert shut(view) is None
    assert shut(view, playbook=DRAIN) is Gate.STORM


def test_a_fault_that_is_only_reported_in_this_cluster_is_not_counted_for_mild_remedies():
    view = of(4, *(complaining(f"host{n}") for n in (1, 2, 3)))
    view = replace(view, policy=policy(protected={"default": frozenset({Layer.POWER})}))
    assert shut(view, playbook=DRAIN) is None


# failure domain


def rack(*hosts, size=8, **more):
    """These in rack1, and others that are well in rack2."""
    others = (answering(f"host{n}", zone="rack2") for n in range(len(hosts) + 1, size + 1))
    return view_of(*hosts, *others, **more)


def test_most_of_a_failure_domain_down_is_a_switch_or_a_fuse_and_is_held():
    dead = [silent(f"host{n}", zone="rack1") for n in (1, 2)]
    view = rack(*dead, answering("host3", zone="rack1"))
    assert shut(view) is Gate.DOMAIN
    assert why(view) == "2 of 3 hosts of failure domain rack1 are down (host1, host2), more than 50%"
    assert shut(view, playbook=DRAIN) is Gate.DOMAIN
    assert shut(view, playbook=RESTART) is None


def test_just_the_share_of_a_failure_domain_is_not_more_than_it():
    dead = [silent(f"host{n}", zone="rack1") for n in (1, 2)]
    assert shut(rack(*dead, answering("host3", zone="rack1"), answering("host4", zone="rack1"))) is None


def test_a_single_host_is_no_failure_domain_that_fails():
    assert shut(rack(silent("host1", zone="rack1"))) is None
    assert shut(rack(silent("host1", zone="rack1"), policy=policy(domain_threshold=0.0))) is None


def test_what_falls_in_another_failure_domain_does_not_count():
    dead = [silent("host1", zone="rack1"), answering("host2", zone="rack1")]
    view = view_of(*dead, silent("host3", zone="rack2"), *(answering(f"host{n}") for n in range(4, 9)))
    assert shut(view) is None


def test_a_host_without_a_zone_belongs_to_no_failure_domain():
    """It cannot know, and is open; the storm gate counts the host."""
    view = of(8, silent("host1"), silent("host2"))
    assert shut(view) is None
    assert shut(replace(view, policy=policy(domain_threshold=0.0))) is None
    assert shut(replace(view, policy=policy(storm_threshold=0.2))) is Gate.STORM


def test_a_cluster_that_is_one_failure_domain_is_left_to_the_storm_gate():
    view = view_of(*(silent(f"host{n}", zone="rack1") for n in (1, 2)), answering("host3", zone="rack1"))
    assert shut(replace(view, policy=policy(storm_threshold=0.9))) is None


def test_the_same_zone_of_another_cluster_is_another_failure_domain():
    dead = [silent("host1", zone="rack1"), answering("host2", zone="rack1"), answering("host3")]
    other = [silent(f"host{n}", zone="rack1", cluster="b") for n in (4, 5)]
    assert shut(view_of(*dead, *other)) is None


# rate


def busy(*names, state=HostState.EVACUATING, playbook=FAILURE):
    return [silent(name, state=state, running=playbook) for name in names]


@pytest.mark.parametrize("state", [HostState.FENCING, HostState.FENCED, HostState.EVACUATING])
def test_rate_counts_fences_and_evacuations_under_way(state):
    view = of(8, silent("host1"), *busy("host2", "host3", state=state))
    assert shut(view) is Gate.RATE
    assert why(view) == "2 remedies run already (host2, host3)"
    assert shut(replace(view, policy=policy(max_remedies=3))) is None


def test_rate_counts_drains_under_way_and_holds_drains():
    drained = [answering(f"host{n}", state=HostState.EVACUATING, running=DRAIN) for n in (2, 3)]
    view = of(8, silent("host1"), *drained)
    assert shut(view) is Gate.RATE
    assert shut(view, playbook=DRAIN) is Gate.RATE


def test_a_restoration_does_not_count_for_the_rate():
    back = busy("host2", "host3", state=HostState.RESTORING, playbook=RESTORE)
    assert shut(of(8, silent("host1"), *back)) is None


def test_a_restart_of_services_does_not_count_for_the_rate():
    mild = [complaining(f"host{n}", state=HostState.FAULTY, running=RESTART) for n in (2, 3)]
    assert shut(of(8, silent("host1"), *mild)) is None


def test_a_host_is_not_held_by_its_own_remedy():
    view = of(8, *busy("host1"))
    assert shut(replace(view, policy=policy(max_remedies=1))) is None


def fenced(*names, ago=100.0):
    return tuple((name, NOW - ago) for name in names)


def test_only_so_many_hosts_are_fenced_within_the_window():
    view = of(8, silent("host1"), fences=fenced("host2", "host3"))
    assert shut(replace(view, policy=policy(max_fences=3))) is None
    view = replace(view, policy=policy(max_fences=2, fence_window=600.0))
    assert shut(view) is Gate.RATE
    assert why(view) == "2 hosts were fenced in the last 600 s"


def test_fences_before_the_window_do_not_count():
    view = of(8, silent("host1"), fences=fenced("host2", "host3", ago=601.0))
    assert shut(replace(view, policy=policy(max_fences=2, fence_window=600.0))) is None


def test_the_same_host_fenced_twice_is_one_host():
    view = of(8, silent("host1"), fences=fenced("host2", "host2"))
    assert shut(replace(view, policy=policy(max_fences=2))) is None


def test_a_host_that_was_fenced_itself_does_not_count_against_itself():
    view = of(8, silent("host1"), fences=fenced("host1"))
    assert shut(replace(view, policy=policy(max_fences=1))) is None


@pytest.mark.parametrize("playbook", [DRAIN, RESTART])
def test_what_does_not_fence_is_not_held_for_fences(playbook):
    view = of(8, silent("host1"), fences=fenced("host2", "host3"))
    assert shut(replace(view, policy=policy(max_fences=2)), playbook=playbook) is None


@pytest.mark.parametrize("playbook", [FAILURE, DRAIN, RESTART])
def test_nothing_begins_until_some_time_after_a_storm(playbook):
    view = of(8, silent("host1"), troubled_at={"default": NOW - 14})
    assert shut(view, playbook=playbook) is Gate.RATE
    assert why(view, playbook=playbook) == "14 s after a storm or an isolation, 15 s are waited"
    assert shut(replace(view, troubled_at={gates.EVERYWHERE: NOW - 15}), playbook=playbook) is None


def test_a_storm_in_another_cluster_is_none_here():
    assert shut(of(8, silent("host1"), troubled_at={"edge": NOW})) is None


def test_without_a_storm_since_the_start_nothing_is_waited_for():
    assert shut(of(8, silent("host1"), troubled_at={})) is None


def test_a_host_that_is_off_already_waits_for_no_cooldown_and_no_window_only_for_its_turn():
    """Its instances are missing, and nothing more is taken from anybody."""
    off = silent("host1", incident=incident("host1", fenced_at=NOW - 60))
    one = policy(max_fences=1)
    view = of(8, off, troubled_at={gates.EVERYWHERE: NOW}, fences=fenced("host2"), policy=one)
    assert shut(view) is None
    assert shut(of(8, off, *busy("host2", "host3"))) is Gate.RATE


def test_a_launch_counts_at_once_for_all_that_are_asked_after_it():
    view = of(8, silent("host1"), silent("host2"), policy=policy(max_remedies=1))
    assert shut(view, "host2") is None
    after = view.launched("host1", HostState.FENCING, FAILURE)
    assert shut(after, "host2") is Gate.RATE
    one_a_window = replace(after, policy=policy(max_fences=1))
    assert shut(one_a_window, "host2") is Gate.RATE
    assert shut(after.launched("host1", HostState.FENCING, FAILURE), "host1") is None
    assert len(after.launched("host1", HostState.FENCING, FAILURE).fences) == 1


def test_counts_of_a_view_are_the_same_after_a_launch_as_counted_anew():
    view = of(4, silent("host1", zone="a"), silent("host2", zone="a"))
    _ = view.sizes, view.zones, view.down
    after = view.launched("host1", HostState.FENCING, FAILURE)
    fresh = replace(after)
    assert (after.sizes, after.zones, after.down) == (fresh.sizes, fresh.zones, fresh.down)


# trouble


def test_a_storm_and_an_isolation_are_trouble():
    assert gates.troubled(of(4, silent("host1"), silent("host2"), silent("host3"))) == {"default"}
    assert gates.troubled(of(4, gateway_answers=False)) == {gates.EVERYWHERE}
    assert gates.troubled(view_of(silent("host1"), silent("host2")))
    assert not gates.troubled(of(4, silent("host1"), silent("host2")))
    assert not gates.troubled(of(4))


def test_a_start_is_no_trouble():
    """Hosts that were not read yet count as down, and not as a storm that is to be sat out."""
    assert not gates.troubled(of(4, unread("host1"), unread("host2"), unread("host3")))
    assert not gates.troubled(view_of(unread("host1"), unread("host2"), gateway_answers=False))
    assert gates.troubled(of(4, silent("host1"), silent("host2"), silent("host3"), unread("host4")))


def test_a_confirmed_host_counts_as_down_like_any_other():
    word = order("host2", OrderKind.CONFIRM_FENCED)
    dead = host("host2", {Layer.NETWORK: DEAD, Layer.SERVICE: DEAD}, bmc=False, confirmed=word)
    assert shut(of(4, silent("host1"), dead, silent("host3"))) is Gate.STORM
