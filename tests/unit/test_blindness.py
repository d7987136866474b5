"""A detector that sees nothing of any living host is disabled and reported, not believed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from life import BASIC, Life
from views import CUT, DEAD, LIMITS, MUTE, NOW, SICK, WELL, host, silent, unread

from hass_runtime.decide.blindness import blind_layers
from hass_runtime.decide.diagnosis import HostTrack, observe
from hass_runtime.decide.view import FAILURE
from hass_runtime.domain import HostState, Layer, Reading, Verdict

LIVES = {Layer.POWER: WELL, Layer.NETWORK: WELL, Layer.SERVICE: WELL}


def blind(*hosts, now=NOW):
    return blind_layers((each.track for each in hosts), now, LIMITS.stale_after)


def those(number, **looks):
    changed = {Layer(layer): look for layer, look in looks.items()}
    return [host(f"host{n}", {**LIVES, **changed}) for n in range(1, number + 1)]


def test_nothing_is_blind_where_something_is_seen():
    assert blind(*those(3)) == {}


@pytest.mark.parametrize(
    ("layer", "look"),
    [
        ("power", MUTE),
        ("network", DEAD),
        ("network", MUTE),
        ("service", DEAD),
        ("service", MUTE),
    ],
)
def test_a_layer_on_which_no_living_host_is_seen_is_blind_and_says_of_how_many(layer, look):
    found = blind(*those(3, **{layer: look}))
    assert set(found) == {Layer(layer)}
    assert "3 hosts" in found[Layer(layer)]


@pytest.mark.parametrize("layer", ["power", "network", "service"])
def test_one_host_that_is_seen_shows_that_the_detector_works(layer):
    hosts = those(3, **{layer: MUTE})
    assert blind(*hosts[:2], host("host3", LIVES)) == {}


@pytest.mark.parametrize("layer", ["power", "network", "service"])
def test_a_single_host_may_have_a_reason_of_its_own(layer):
    assert blind(*those(1, **{layer: MUTE})) == {}
    assert set(blind(*those(2, **{layer: MUTE}))) == {Layer(layer)}


def test_dead_hosts_say_nothing_about_the_detectors():
    """All of them off, and nothing seen of any: that is for other gates to judge."""
    assert blind(*(silent(f"host{n}", MUTE) for n in (1, 2, 3))) == {}


def test_dead_hosts_do_not_hide_that_the_detector_is_blind_for_the_living():
    dead = [silent(name, MUTE) for name in ("host8", "host9")]
    assert set(blind(*those(2, power=MUTE), *dead)) == {Layer.POWER}


def test_a_bmc_that_says_off_of_a_living_host_is_not_blind():
    assert blind(*those(3, power=DEAD)) == {}


def test_an_agent_that_complains_is_seen():
    assert blind(*those(3, service=SICK)) == {}


def test_hosts_without_a_bmc_and_hosts_not_read_yet_say_nothing():
    bare = [host(f"host{n}", {Layer.NETWORK: WELL, Layer.SERVICE: WELL}) for n in (1, 2, 3)]
    assert blind(*bare) == {}
    assert blind(unread("host1"), unread("host2")) == {}


def test_a_detector_that_stopped_reading_is_blind():
    """Its threads hang: nothing is said any more, while the agents answer."""
    hosts = those(2)
    later = NOW + LIMITS.stale_after + 5

    def heard_again(each):
        reading = Reading(each.name, Layer.SERVICE, Verdict.OK, "", later, True)
        return replace(each, track=observe(each.track, reading))

    assert set(blind(*map(heard_again, hosts), now=later)) == {Layer.POWER, Layer.NETWORK}


LOOK = st.sampled_from([WELL, DEAD, MUTE, SICK])


@given(st.lists(st.dictionaries(st.sampled_from(list(BASIC)), LOOK), max_size=5), st.integers(0, 40))
def test_a_layer_is_blind_only_when_two_living_hosts_show_nothing_on_it_and_none_shows_anything(
    all_looks, age
):
    tracks = [host(f"host{n}", looks).track for n, looks in enumerate(all_looks)]
    found = blind_layers(tracks, NOW + age, LIMITS.stale_after)
    voices = (Layer.NETWORK, Layer.SERVICE)
    for layer in found:
        known = [looks for looks in all_looks if layer in looks]
        living = [looks for looks in known if any(looks.get(v, DEAD)[1] for v in voices if v is not layer)]
        assert age <= LIMITS.stale_after
        assert len(living) >= 2
        assert not any(looks[layer][1] for looks in living)


@given(st.integers(1, 40))
def test_without_hosts_or_readings_nothing_is_blind(hosts):
    assert blind_layers([HostTrack(f"host{n}") for n in range(hosts)], NOW, LIMITS.stale_after) == {}


# What becomes of it


def test_a_rotated_agent_key_does_not_look_like_many_broken_hosts():
    life = Life()
    life.see(2)
    life.see(60, **{name: {Layer.SERVICE: DEAD} for name in life.names})
    assert "service" in {layer.value for layer in life.view().blind}
    assert not life.launches
    assert not life.memory.incidents


def test_a_power_cut_is_held_while_the_power_detector_is_blind_and_remedied_when_it_sees_again():
    life = Life(("host1", "host2", "host3", "host4"))
    life.see(2)
    mute = {name: {Layer.POWER: MUTE} for name in life.names}
    life.see(50, **{**mute, "host1": {**CUT, Layer.POWER: MUTE}})
    assert life.incident("host1").gate == "blind"
    assert life.incident("host1").fault == "unreachable"
    life.see(3, host1=CUT)
    assert life.launched("host1") == [FAILURE]


def test_hosts_stay_healthy_while_a_detector_is_blind():
    life = Life()
    life.see(2)
    life.see(30, **{name: {Layer.NETWORK: DEAD} for name in life.names})
    assert {life.state(name) for name in life.names} == {HostState.HEALTHY}
