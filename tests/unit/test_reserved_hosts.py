"""Reserved hosts in a host's life: kept free, used, filled again, taken out; and what gives way to what."""

from __future__ import annotations

from dataclasses import replace

import pytest
from life import Life
from views import CUT, POLICY

from hass_runtime.decide import reserve
from hass_runtime.decide.view import FAILBACK, FAILURE, KEEP, RESTORE
from hass_runtime.domain import HostState, Method, OrderKind, Reserve

RESERVED = ("spare1", "spare2")


def life(method=Method.RESERVED_HOST, reserved=("spare1",), **more):
    """A cluster whose reserve is filled already."""
    policy = replace(POLICY, methods={"default": method}, storm_threshold=0.9, **more)
    found = Life(("host1", "host2", "host3", *RESERVED), policy)
    for name in reserved:
        found.memory.hosts[name] = replace(found.memory.hosts[name], reserved=True)
    return found


def filled(*arguments, **more):
    found = life(*arguments, **more)
    found.see(3)
    for name in list(found.memory.running):
        assert found.running(name) == KEEP
        found.end(name)
    return found


def test_a_reserved_host_is_put_in_the_reserve_once():
    found = life()
    found.see(3)
    assert found.launched("spare1") == [KEEP]
    assert found.launches[-1].into_reserve
    assert found.memory.reserves.get("spare1", Reserve.NONE) is Reserve.NONE  # not before it is done
    found.end("spare1")
    assert found.memory.reserves["spare1"] is Reserve.READY
    assert found.ends("spare1") == [("reserve", "recovered")]
    found.see(20)
    assert found.launched("spare1") == [KEEP]
    assert found.launched("spare2") == []


def test_a_failed_try_is_made_again_and_a_disarmed_host_is_left_alone():
    found = life()
    found.pause()
    found.see(5)
    assert found.launched("spare1") == []
    found.pauses.clear()
    found.see(1)
    found.end("spare1", "failed", "Nova is away")
    assert found.memory.reserves.get("spare1", Reserve.NONE) is Reserve.NONE
    found.see(30)
    assert found.launched("spare1") == [KEEP, KEEP]


@pytest.mark.parametrize("method", [Method.RESERVED_HOST, Method.AUTO_PRIORITY, Method.RH_PRIORITY])
def test_a_fence_may_use_the_reserve(method):
    found = filled(method)
    found.see(4, host1=CUT)
    assert (found.launches[-1].playbook, found.launches[-1].reserved) == (FAILURE, ("spare1",))


def test_with_auto_the_reserve_is_neither_used_nor_counted():
    found = filled(Method.AUTO, reserved=RESERVED)
    found.see(4, host1=CUT)
    assert (found.launches[-1].playbook, found.launches[-1].reserved) == (FAILURE, ())
    found = filled(Method.AUTO, reserved=("spare1", "spare2", "host2", "host3"))
    found.see(4, host1=CUT)
    assert found.incident("host1").gate == "no_target"


def test_without_a_reserve_that_is_fit_nothing_is_fenced():
    found = filled()
    found.see(6, spare1=CUT, host1=CUT)
    assert found.incident("host1").gate == "no_target"
    assert "no reserved host of cluster default is ready" in found.incident("host1").reason
    assert FAILURE not in found.launched("host1")


def test_a_reserved_host_that_is_suspect_or_in_maintenance_is_not_used():
    found = filled(reserved=RESERVED)
    found.look(spare1=CUT)
    found.settle()
    assert found.state("spare1") is HostState.SUSPECT
    view = found.view()
    assert reserve.reserve_for(view, view.hosts["host1"]) == ("spare2",)
    found.order("spare2", OrderKind.MAINTENANCE)
    found.settle()
    view = found.view()
    assert reserve.reserve_for(view, view.hosts["host1"]) == ()


def test_two_hosts_that_fail_together_begin_with_different_reserves():
    found = filled(reserved=RESERVED)
    found.see(4, host1=CUT, host2=CUT)
    launches = {each.host: each.reserved for each in found.launches if each.playbook == FAILURE}
    assert launches == {"host1": ("spare1", "spare2"), "host2": ("spare2", "spare1")}


def gone_and_back(found, name="host1"):
    """A host fails, its instances go to spare1, and it is restored."""
    found.see(4, **{name: CUT})
    found.memory.reserves["spare1"] = Reserve.USED
    found.end(name)
    launch = found.launches[-1]
    assert (launch.host, launch.playbook) == (name, RESTORE)
    found.see(2)
    found.end(name)
    found.see(3)
    return launch


def test_a_host_that_comes_back_fills_the_reserve():
    found = filled()
    assert gone_and_back(found).into_reserve
    assert found.memory.reserves["host1"] is Reserve.READY
    assert found.state("host1") is HostState.HEALTHY
    found.see(4, host2=CUT)
    assert found.launches[-1].reserved == ("host1", "spare1")  # what was used already comes last


def test_a_reserve_that_is_full_takes_nobody():
    found = filled()
    found.see(4, host1=CUT)
    found.end("host1")
    assert found.launches[-1].into_reserve is False


def test_unless_it_is_to_be_filled():
    found = filled(refill_reserve=False)
    assert not gone_and_back(found).into_reserve
    assert found.memory.reserves.get("host1", Reserve.NONE) is Reserve.NONE


def test_a_reserved_host_that_failed_itself_comes_back_into_the_reserve():
    found = filled(Method.AUTO)
    found.see(4, spare1=CUT)
    found.end("spare1")
    assert (found.launches[-1].playbook, found.launches[-1].into_reserve) == (RESTORE, True)


def test_of_two_that_come_back_together_one_is_kept():
    found = filled()
    found.see(4, host1=CUT, host2=CUT)
    found.memory.reserves["spare1"] = Reserve.USED
    for name in ("host1", "host2"):
        found.memory.cancelling.clear()
        found.end(name)
    kept = [each.into_reserve for each in found.launches if each.playbook == RESTORE]
    assert sorted(kept) == [False, True]


def test_a_person_takes_a_host_out_of_the_reserve():
    found = filled()
    found.order("spare1", OrderKind.RESTORE)
    found.settle()
    assert (found.launches[-1].playbook, found.launches[-1].into_reserve) == (KEEP, False)
    found.end("spare1")
    assert found.memory.reserves["spare1"] is Reserve.USED
    assert found.ends("spare1")[-1] == ("release", "recovered")
    assert found.orders == []


def test_a_reserve_that_became_too_large_gives_one_back():
    found = filled(reserved=RESERVED)
    found.memory.hosts["spare1"] = replace(found.memory.hosts["spare1"], reserved=False)
    found.see(1)
    assert (found.launches[-1].host, found.launches[-1].playbook) == ("spare1", KEEP)
    assert not found.launches[-1].into_reserve


# Home again


def test_a_failback_is_done_when_its_host_is_healthy_and_only_once():
    found = Life()
    found.see(1)
    found.order("host1", OrderKind.FAILBACK, incident=7)
    found.settle()
    assert found.launched("host1") == [FAILBACK]
    assert "what incident 7 moved away is to come home, by ann" in found.incident("host1").decision
    found.end("host1")
    assert found.orders == []
    assert found.ends("host1") == [("failback", "recovered")]
    found.see(10)
    assert found.launched("host1") == [FAILBACK]


def test_a_failback_that_failed_is_for_a_person_to_ask_again():
    found = Life()
    found.see(1)
    found.order("host1", OrderKind.FAILBACK)
    found.settle()
    found.end("host1", "failed", "no room")
    assert found.ends("host1") == [("failback", "failed")]
    assert found.orders == []


def test_a_failback_lost_with_its_controller_goes_on():
    found = Life()
    found.see(1)
    found.order("host1", OrderKind.FAILBACK)
    found.settle()
    found.restart()
    found.see(3)
    assert found.launched("host1") == [FAILBACK, FAILBACK]


def test_a_failback_gives_way_to_the_death_of_its_host():
    found = Life()
    found.see(1)
    found.order("host1", OrderKind.FAILBACK)
    found.settle()
    found.see(4, host1=CUT)
    assert [each.host for each in found.cancels] == ["host1"]
    found.end("host1", "cancelled")
    assert found.running("host1") == FAILURE


def test_a_person_orders_a_failback_while_hass_is_switched_off():
    found = Life()
    found.see(1)
    found.pause()
    found.order("host1", OrderKind.FAILBACK)
    found.settle()
    assert found.launched("host1") == [FAILBACK]


@pytest.mark.parametrize("asked", [True, False])
def test_instances_come_home_by_themselves_only_if_the_settings_say_so(asked):
    found = Life(policy=replace(POLICY, failback=asked))
    found.see(4, host1=CUT)
    number = found.incident("host1").id
    found.end("host1")
    found.see(2)
    found.end("host1")
    found.see(3)
    assert (FAILBACK in found.launched("host1")) is asked
    if asked:
        assert found.orders[0].incident == number


# Only by hand


def test_a_host_comes_back_only_by_hand():
    found = Life(policy=replace(POLICY, by_hand=True))
    found.see(4, host1=CUT)
    found.end("host1")
    found.see(200)
    assert (found.state("host1"), found.running("host1")) == (HostState.EVACUATED, "")
    found.order("host1", OrderKind.RESTORE)
    found.settle()
    assert found.running("host1") == RESTORE
    found.end("host1", "failed", "slow")  # it was begun by hand, and goes on
    found.see(100)
    assert found.launched("host1").count(RESTORE) == 2


def test_the_end_of_a_maintenance_is_by_hand():
    found = Life(policy=replace(POLICY, by_hand=True))
    found.see(1)
    found.order("host1", OrderKind.MAINTENANCE, drain=True)
    found.settle()
    found.end("host1")
    found.take_back("host1", OrderKind.MAINTENANCE)
    found.settle()
    assert found.running("host1") == RESTORE
