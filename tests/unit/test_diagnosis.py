"""Debounce, and the diagnosis by the symptom table that comes with HASS."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from views import DEAD, LIMITS, MUTE, SICK, TABLE, WARNS, WELL

from hass_runtime.decide.diagnosis import HostTrack, describe, diagnose, observe, sign, signs
from hass_runtime.decide.symptoms import Sign
from hass_runtime.decide.view import FAILURE
from hass_runtime.domain import Layer, Reading, Verdict

OK, FAILED, UNKNOWN, WARNING = Verdict.OK, Verdict.FAILED, Verdict.UNKNOWN, Verdict.WARNING


def track_of(at: float, times: int = 3, **layers: tuple[Verdict, bool]) -> HostTrack:
    """A host whose layers have read the same ``times`` times, the last time at ``at``."""
    track = HostTrack("compute1")
    for number in range(times):
        for layer, (verdict, answered) in layers.items():
            when = at - times + 1 + number
            track = observe(track, Reading("compute1", Layer(layer), verdict, "evidence", when, answered))
    return track


def fault_at(track: HostTrack, now: float, **more) -> str | None:
    """The name of the fault at ``now``, or None."""
    _, found = diagnose(track, TABLE, now, LIMITS, **more)
    return found.name if found else None


@pytest.mark.parametrize(
    ("layers", "fault"),
    [
        ({"power": DEAD, "network": DEAD, "service": DEAD}, "power"),
        ({"power": DEAD, "network": MUTE, "service": DEAD}, "power"),
        ({"power": DEAD, "network": WELL, "service": DEAD}, "bmc_contradiction"),
        ({"power": DEAD, "network": DEAD, "service": WELL}, "bmc_contradiction"),
        ({"power": DEAD, "network": DEAD, "service": SICK}, "service"),
        ({"power": WELL, "network": WELL, "service": DEAD}, "agent"),
        ({"power": WELL, "network": WELL, "service": SICK}, "service"),
        ({"power": WELL, "network": WELL, "service": WELL}, None),
        ({"power": MUTE, "network": WELL, "service": WELL}, None),
        ({"power": WELL, "network": WELL, "service": WELL, "hardware": SICK}, "hardware"),
        ({"power": WELL, "network": WELL, "service": WELL, "hardware": WARNS}, "hardware_warning"),
        ({"power": WELL, "network": DEAD, "service": DEAD, "os": DEAD}, "os"),
        ({"power": WELL, "network": WELL, "service": WELL, "os": DEAD}, "watchdog"),
        ({"power": DEAD, "network": DEAD, "service": DEAD, "hardware": SICK, "os": DEAD}, "power"),
        ({"power": WELL, "network": DEAD, "service": DEAD, "hardware": SICK, "os": DEAD}, "hardware"),
        ({"power": WELL, "network": WELL, "service": SICK, "hardware": WARNS}, "service"),
        ({"network": DEAD, "service": MUTE}, None),
        ({"power": MUTE, "network": MUTE, "service": MUTE}, None),
    ],
)
def test_the_table_names_the_root_cause(layers, fault):
    _, found = diagnose(track_of(100.0, **layers), TABLE, 100.0, LIMITS)
    assert (found.name if found else None) == fault


@pytest.mark.parametrize(("power", "fault"), [(WELL, "network"), (MUTE, "unreachable")])
def test_a_silent_host_is_given_the_transient_time(power, fault):
    track = HostTrack("compute1")
    began = None
    for second in range(60):
        now = 1000.0 + second
        for layer, (verdict, answered) in {
            "power": power,
            "network": DEAD,
            "service": DEAD,
        }.items():
            track = observe(track, Reading("compute1", Layer(layer), verdict, "", now, answered))
        track, found = diagnose(track, TABLE, now, LIMITS)
        if found:
            assert found.name == fault
            began = second
            break
    assert began == 31  # two misses (seconds 0 and 1), then the transient time


def test_the_transient_time_survives_the_bmc_going_silent_too():
    track = track_of(100.0, power=WELL, network=DEAD, service=DEAD)
    track, _ = diagnose(track, TABLE, 100.0, LIMITS)
    for now in (110.0, 129.0, 131.0):
        for layer, verdict in ((Layer.POWER, UNKNOWN), (Layer.NETWORK, FAILED), (Layer.SERVICE, FAILED)):
            track = observe(track, Reading("compute1", layer, verdict, "", now))
        track, found = diagnose(track, TABLE, now, LIMITS)
    assert found is not None
    assert found.name == "unreachable"


def test_one_good_reading_starts_the_transient_time_again():
    track = track_of(100.0, power=WELL, network=DEAD, service=DEAD)
    track, _ = diagnose(track, TABLE, 100.0, LIMITS)
    track = observe(track, Reading("compute1", Layer.NETWORK, OK, "", 129.0, True))
    track, _ = diagnose(track, TABLE, 129.0, LIMITS)
    for now in (130.0, 131.0):
        track = observe(track, Reading("compute1", Layer.NETWORK, FAILED, "", now))
        track = observe(track, Reading("compute1", Layer.SERVICE, FAILED, "", now))
    track, found = diagnose(track, TABLE, 132.0, LIMITS)
    assert found is None


def test_one_miss_is_not_a_failure():
    track = track_of(100.0, 1, power=DEAD, network=DEAD, service=DEAD)
    assert diagnose(track, TABLE, 100.0, LIMITS)[1] is None
    assert describe(track, 100.0, LIMITS) == "power failed 1/2, network failed 1/2, service failed 1/2"


@pytest.mark.parametrize(
    ("layer", "look", "once_more"),
    [
        (Layer.SERVICE, SICK, Sign.COMPLAINING),
        (Layer.SERVICE, DEAD, Sign.SILENT),
        (Layer.HARDWARE, WARNS, Sign.WARNING),
        (Layer.HARDWARE, (WARNING, False), Sign.WARNING),
    ],
)
def test_whatever_is_wrong_is_missing_until_it_was_read_often_enough(layer, look, once_more):
    def looks(times: int) -> Sign:
        return sign(track_of(100.0, times, **{layer.value: look}).layers[layer], 100.0, LIMITS)

    assert looks(LIMITS.misses - 1) is Sign.MISSING
    assert looks(LIMITS.misses) is once_more


def test_a_warning_that_comes_and_goes_is_no_fault():
    track = HostTrack("compute1")
    for second in range(20):
        verdict = WARNING if second % 2 else OK
        track = observe(track, Reading("compute1", Layer.HARDWARE, verdict, "82 degrees", 100.0 + second))
        assert fault_at(track, 100.0 + second) is None


def test_a_warning_and_then_a_failure_are_not_counted_together():
    track = track_of(100.0, 1, hardware=WARNS)
    track = observe(track, Reading("compute1", Layer.HARDWARE, FAILED, "95 degrees", 101.0, True))
    assert sign(track.layers[Layer.HARDWARE], 101.0, LIMITS) is Sign.MISSING


def test_readings_that_can_say_nothing_do_not_interrupt_the_count_of_misses():
    track = HostTrack("compute1")
    for second, verdict in enumerate((FAILED, UNKNOWN, FAILED)):
        track = observe(track, Reading("compute1", Layer.POWER, verdict, "", 100.0 + second))
    assert sign(track.layers[Layer.POWER], 102.0, LIMITS) is Sign.SILENT


def test_a_good_answer_between_two_complaints_starts_the_count_again():
    track = track_of(100.0, 2, service=SICK)
    track = observe(track, Reading("compute1", Layer.SERVICE, OK, "", 101.0, True))
    track = observe(track, Reading("compute1", Layer.SERVICE, FAILED, "", 102.0, True))
    assert track.layers[Layer.SERVICE].count == 1


def test_an_old_reading_says_nothing():
    track = track_of(100.0, power=DEAD, network=DEAD, service=DEAD)
    assert diagnose(track, TABLE, 100.0 + LIMITS.stale_after + 1, LIMITS)[1] is None


def test_a_reading_that_comes_in_late_changes_nothing():
    track = track_of(100.0, network=WELL)
    late = Reading("compute1", Layer.NETWORK, FAILED, "", 50.0)
    assert observe(track, late) is track


def test_names_are_compared_whole():
    with pytest.raises(ValueError, match="compute10"):
        observe(HostTrack("compute1"), Reading("compute10", Layer.POWER, OK, "", 1.0))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Layer)),
            st.sampled_from(list(Verdict)),
            st.booleans(),
            st.floats(0, 100),
        ),
        max_size=40,
    )
)
def test_a_host_that_answers_is_never_diagnosed_for_fencing(history):
    """Safety rule 1: whatever the BMC says, a host lately heard is not taken for dead."""
    track = HostTrack("compute1")
    for layer, verdict, answered, at in history:
        track = observe(track, Reading("compute1", layer, verdict, "", at, answered))
    track, found = diagnose(track, TABLE, 100.0, LIMITS)
    rows = [row for row in TABLE if found is not None and row.fault == found.name]
    ladder = rows[0].ladder if rows else ()
    says_so_itself = (Layer.HARDWARE, Layer.STORAGE)
    if found is None or found.layer in says_so_itself or not ladder or ladder[0].playbook != FAILURE:
        return
    for layer in (Layer.NETWORK, Layer.SERVICE):
        known = track.layers.get(layer)
        recent = known is not None and 100.0 - known.reading.at <= LIMITS.stale_after
        assert not (recent and known.reading.verdict is OK)
        assert not (recent and layer is Layer.SERVICE and known.reading.answered)


def test_a_storage_that_fails_is_given_the_transient_time_though_the_host_answers():
    track = track_of(100.0, power=WELL, network=WELL, service=WELL, storage=SICK)
    track, found = diagnose(track, TABLE, 100.0, LIMITS)
    assert found is None
    assert fault_at(track, 100.0 + LIMITS.transient) is None  # its readings are too old by then
    for now in (110.0, 120.0, 130.0):
        track = observe(track, Reading("compute1", Layer.STORAGE, FAILED, "read-only", now, True))
    assert fault_at(track, 130.0) == "storage"


def test_the_layer_of_a_blind_detector_is_unknown():
    track = track_of(100.0, power=DEAD, network=DEAD, service=DEAD)
    assert fault_at(track, 100.0) == "power"
    assert signs(track, 100.0, LIMITS, {Layer.POWER})[Layer.POWER] is Sign.UNKNOWN
    assert fault_at(track, 100.0, blind={Layer.POWER}) is None  # patient: unreachable
    assert fault_at(track, 100.0, blind={Layer.POWER, Layer.SERVICE}) is None
    complaining = track_of(100.0, power=WELL, network=WELL, service=SICK)
    assert fault_at(complaining, 100.0, blind={Layer.SERVICE}) is None


# A host that said that it is being shut down


def goodbye() -> HostTrack:
    track = track_of(100.0, power=WELL, network=WELL, service=WELL)
    return observe(track, Reading("compute1", Layer.SERVICE, OK, "shutting down", 100.0, True, leaving=True))


def went(track: HostTrack, seconds: int, **layers: tuple[Verdict, bool]) -> tuple[HostTrack, int | None]:
    """Silent for so long, read every second; and after how many seconds that is a fault."""
    first = max(known.reading.at for known in track.layers.values())
    for second in range(1, seconds + 1):
        for layer, (verdict, answered) in layers.items():
            reading = Reading("compute1", Layer(layer), verdict, "", first + second, answered)
            track = observe(track, reading)
        track, found = diagnose(track, TABLE, first + second, LIMITS)
        if found is not None:
            return track, second
    return track, None


@pytest.mark.parametrize("power", [WELL, DEAD, MUTE])
def test_a_host_that_said_goodbye_is_waited_for_as_long_as_a_planned_shutdown_may_take(power):
    _, after = went(goodbye(), 200, power=power, network=DEAD, service=DEAD)
    assert after == LIMITS.planned + LIMITS.misses


def test_the_wait_for_a_planned_shutdown_goes_on_from_silence_to_power_off():
    track, after = went(goodbye(), 20, power=WELL, network=DEAD, service=DEAD)
    assert after is None
    _, after = went(track, 200, power=DEAD, network=DEAD, service=DEAD)
    assert after == LIMITS.planned + LIMITS.misses - 20


def test_a_host_that_said_goodbye_and_came_back_and_then_dies_is_not_waited_for():
    track, _ = went(goodbye(), 20, power=DEAD, network=DEAD, service=DEAD)
    track, _ = went(track, 5, power=WELL, network=WELL, service=WELL)
    _, after = went(track, 200, power=DEAD, network=DEAD, service=DEAD)
    assert after == LIMITS.misses


def test_a_host_that_took_its_leave_back_is_not_excused_any_more():
    _, after = went(goodbye(), 5, power=WELL, network=WELL, service=WELL, hardware=SICK)
    assert after == LIMITS.misses


def test_services_that_end_while_a_host_goes_down_are_no_fault():
    track = goodbye()
    for second in range(1, 30):
        told = Reading(
            "compute1", Layer.SERVICE, FAILED, "nova-compute ends", 100.0 + second, True, leaving=True
        )
        track = observe(track, told)
        track, found = diagnose(track, TABLE, 100.0 + second, LIMITS)
        assert found is None


def test_the_closed_port_of_an_agent_that_has_ended_does_not_take_its_leave_back():
    refused = Reading("compute1", Layer.SERVICE, FAILED, "port closed", 101.0, True)
    assert observe(goodbye(), refused).leaving


def test_only_the_host_itself_takes_leave_and_only_it_takes_it_back():
    silence = Reading("compute1", Layer.SERVICE, FAILED, "", 101.0, leaving=True)
    assert not observe(track_of(100.0, service=WELL), silence).leaving
    pinged = Reading("compute1", Layer.NETWORK, OK, "", 101.0, True)
    assert observe(goodbye(), pinged).leaving


def test_the_evidence_of_a_fault_is_the_latest_dated_from_the_first_sign():
    track = HostTrack("compute1")
    for second in range(3):
        for layer in (Layer.POWER, Layer.NETWORK, Layer.SERVICE):
            track = observe(track, Reading("compute1", layer, FAILED, f"look {second}", 100.0 + second))
    _, found = diagnose(track, TABLE, 102.0, LIMITS)
    assert {(reading.evidence, reading.at) for reading in found.seen} == {("look 2", 100.0)}
    assert [reading.layer for reading in found.seen] == [Layer.POWER, Layer.NETWORK, Layer.SERVICE]


def test_the_words_for_the_log_put_what_fails_first():
    track = track_of(100.0, 1, network=WELL, service=SICK, power=DEAD, hardware=WARNS)
    said = "power failed 1/2, hardware warns 1/2, service complains 1/2, network ok"
    assert describe(track, 100.0, LIMITS) == said
    assert describe(HostTrack("compute1"), 100.0, LIMITS) == "nothing seen yet"


def test_a_network_check_that_fails_alone_is_told_after_a_while_and_not_remedied():
    """ICMP is filtered, or the operator's own ping command is wrong: the agent answers all the same."""
    row = next(row for row in TABLE if row.fault == "network_only")
    assert row.patient
    assert row.ladder == ()
