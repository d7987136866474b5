"""A BMC that was caught lying: it said off while its host answered. It proves nothing until it says on."""

from __future__ import annotations

from importlib import resources

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.decide import gates, symptoms
from hass_runtime.decide.decisions import SetDoubt
from hass_runtime.decide.diagnosis import DOUBT_AFTER, HostTrack, Thresholds, diagnose, observe, signs
from hass_runtime.decide.plan import decide
from hass_runtime.decide.symptoms import Sign
from hass_runtime.decide.view import HostView, Policy, View
from hass_runtime.domain import Bmc, Host, HostState, Layer, Order, OrderKind, Reading, Verdict
from hass_runtime.memory import Memory

LIMITS = Thresholds(misses=2, transient=5.0, stale_after=20.0)
TABLE = symptoms.parse(
    yaml.safe_load(resources.files("hass_runtime.decide").joinpath("symptoms.yml").read_text()),
    "symptoms.yml",
    frozenset({"host_failure", "host_drain", "instances_start", "service_restart"}),
    {"wait_restart_threshold": 3},
)
HOST = Host("compute2", "192.0.2.2", bmc=Bmc("192.0.2.102", "admin", "secret"))
OFF, ON = (Layer.POWER, Verdict.FAILED, False), (Layer.POWER, Verdict.OK, False)
MUTE = (Layer.POWER, Verdict.UNKNOWN, False)
ANSWERS, SILENT = (Layer.NETWORK, Verdict.OK, True), (Layer.NETWORK, Verdict.FAILED, False)
AGENT, NO_AGENT = (Layer.SERVICE, Verdict.OK, True), (Layer.SERVICE, Verdict.FAILED, False)
DISK = (Layer.STORAGE, Verdict.OK, True)
REARMED = (Layer.OS, Verdict.OK, True)
EVERY = (OFF, ON, MUTE, ANSWERS, SILENT, AGENT, NO_AGENT, DISK, REARMED)


def seen(*looks: tuple[Layer, Verdict, bool], track: HostTrack | None = None) -> HostTrack:
    """The track after one reading a second."""
    track = track or HostTrack(HOST.name)
    first = max((known.reading.at for known in track.layers.values()), default=999.0) + 1.0
    for number, (layer, verdict, answered) in enumerate(looks):
        track = observe(track, Reading(HOST.name, layer, verdict, "evidence", first + number, answered))
    return track


@pytest.mark.parametrize("voice", [ANSWERS, AGENT, DISK])
def test_a_host_that_answers_while_its_bmc_says_off_makes_it_a_liar(
    voice: tuple[Layer, Verdict, bool],
) -> None:
    track = seen(OFF, OFF, voice)
    assert voice[0].value in track.doubt
    assert signs(track, 1003.0, LIMITS)[Layer.POWER] is Sign.DOUBTED


def test_one_reading_of_off_may_be_older_than_the_answer() -> None:
    assert seen(OFF, ANSWERS).doubt == ""
    assert DOUBT_AFTER == 2


def test_an_answer_from_before_it_said_off_is_none() -> None:
    """The order of a real power cut: what the host said last, and then off and silence."""
    assert seen(ANSWERS, AGENT, OFF, OFF, SILENT, NO_AGENT, OFF).doubt == ""


def test_a_watchdog_timer_that_was_re_armed_a_while_ago_is_no_voice() -> None:
    assert seen(OFF, OFF, REARMED).doubt == ""


@pytest.mark.parametrize("since", [(), (MUTE, MUTE), (SILENT, NO_AGENT, OFF), (ANSWERS, OFF)])
def test_the_doubt_stays_until_the_bmc_says_on(since: tuple[tuple[Layer, Verdict, bool], ...]) -> None:
    doubted = seen(OFF, OFF, ANSWERS, *since)
    assert doubted.doubt != ""
    assert seen(ON, track=doubted).doubt == ""


@given(st.lists(st.sampled_from(EVERY), max_size=30))
def test_a_silent_host_with_a_lying_bmc_is_never_diagnosed_as_without_power(
    looks: list[tuple[Layer, Verdict, bool]],
) -> None:
    track = seen(OFF, OFF, ANSWERS, *(look for look in looks if look is not ON), SILENT, NO_AGENT)
    track = seen(SILENT, NO_AGENT, OFF, SILENT, NO_AGENT, OFF, track=track)
    now = max(known.reading.at for known in track.layers.values())
    track, _ = diagnose(track, TABLE, now, LIMITS)
    _, fault = diagnose(track, TABLE, now + 6.0, LIMITS)
    assert fault is not None
    assert fault.name == "unreachable"


def view_of(track: HostTrack, confirmed: Order | None = None, noted: str = "") -> View:
    policy = Policy(thresholds=LIMITS, table=TABLE)
    now = max(known.reading.at for known in track.layers.values())
    host = HostView(HOST, HostState.HEALTHY, track, confirmed=confirmed, doubt=noted)
    return View(now, policy, {HOST.name: host})


def _unproven(view: View) -> str:
    keeper = next(each for each in gates.GATES if each.gate is gates.Gate.UNPROVEN)
    return keeper.ask(view, view.hosts[HOST.name], "host_failure")


def test_a_lying_bmc_proves_nothing_and_the_gate_says_why() -> None:
    view = view_of(seen(OFF, OFF, ANSWERS, SILENT, NO_AGENT, OFF))
    assert "said off while the host answered" in _unproven(view)
    honest = view_of(seen(OFF, OFF, ANSWERS, ON, SILENT, NO_AGENT, OFF, OFF))
    assert _unproven(honest) == ""


def test_a_person_may_prove_what_a_lying_bmc_cannot() -> None:
    track = seen(OFF, OFF, ANSWERS, SILENT, NO_AGENT)
    word = Order(1, HOST.name, OrderKind.CONFIRM_FENCED, "cords pulled", "anna", 1004.5)
    assert _unproven(view_of(track, word)) == ""
    earlier = Order(1, HOST.name, OrderKind.CONFIRM_FENCED, "cords pulled", "anna", 1001.0)
    assert _unproven(view_of(track, earlier)) != ""  # it has answered since


def test_a_doubt_and_its_end_are_written_to_the_journal_once() -> None:
    doubted = seen(OFF, OFF, ANSWERS)
    assert SetDoubt(HOST.name, doubted.doubt) in decide(view_of(doubted))
    assert not any(isinstance(each, SetDoubt) for each in decide(view_of(doubted, noted=doubted.doubt)))
    believed = seen(ON, track=doubted)
    assert SetDoubt(HOST.name, "") in decide(view_of(believed, noted=doubted.doubt))


def test_a_controller_that_starts_anew_goes_on_doubting() -> None:
    memory = Memory({HOST.name: HOST}, Policy(thresholds=LIMITS, table=TABLE))
    memory.recall_doubt(HOST.name, "its BMC said off while the host answered")
    for look in (OFF, SILENT, NO_AGENT) * 4:
        at = 1000.0 + len(memory.tracks[HOST.name].layers)
        memory.observe(Reading(HOST.name, look[0], look[1], "evidence", at, look[2]))
    view = memory.view(1002.0)
    assert signs(view.hosts[HOST.name].track, 1002.0, LIMITS)[Layer.POWER] is Sign.DOUBTED
    assert not any(isinstance(each, SetDoubt) for each in decide(view))


def test_a_lease_taken_anew_does_not_bring_back_a_doubt_that_ended() -> None:
    memory = Memory({HOST.name: HOST}, Policy(thresholds=LIMITS, table=TABLE))
    memory.observe(Reading(HOST.name, Layer.POWER, Verdict.OK, "BMC says on", 1000.0))
    memory.recall_doubt(HOST.name, "its BMC said off while the host answered")
    assert memory.tracks[HOST.name].doubt == ""
    assert SetDoubt(HOST.name, "") in decide(memory.view(1001.0))
