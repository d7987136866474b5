"""Debounce, the symptom table and the diagnosis."""

from __future__ import annotations

from importlib import resources

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.decide import symptoms
from hass_runtime.decide.diagnosis import HostTrack, Thresholds, describe, diagnose, observe, sign
from hass_runtime.decide.symptoms import Sign, SymptomError
from hass_runtime.domain import Layer, Reading, Verdict

LIMITS = Thresholds(misses=2, complaints=2, transient=30.0, stale_after=20.0)
TABLE = symptoms.parse(
    yaml.safe_load(resources.files("hass_runtime.decide").joinpath("symptoms.yml").read_text()),
    "symptoms.yml",
    frozenset({"host_failure", "host_restore"}),
)
OK, FAILED, UNKNOWN = Verdict.OK, Verdict.FAILED, Verdict.UNKNOWN


def track_of(at: float, times: int = 3, **layers: tuple[Verdict, bool]) -> HostTrack:
    """A host whose layers have read the same ``times`` times, the last time at ``at``."""
    track = HostTrack("compute1")
    for number in range(times):
        for layer, (verdict, answered) in layers.items():
            when = at - times + 1 + number
            track = observe(track, Reading("compute1", Layer(layer), verdict, "evidence", when, answered))
    return track


SILENT = (FAILED, False)
WELL = (OK, True)


@pytest.mark.parametrize(
    ("layers", "fault"),
    [
        ({"power": SILENT, "network": SILENT, "service": SILENT}, "power"),
        ({"power": SILENT, "network": (UNKNOWN, False), "service": SILENT}, "power"),
        ({"power": SILENT, "network": WELL, "service": SILENT}, "bmc_contradiction"),
        ({"power": SILENT, "network": SILENT, "service": WELL}, "bmc_contradiction"),
        ({"power": SILENT, "network": SILENT, "service": (FAILED, True)}, "bmc_contradiction"),
        ({"power": WELL, "network": WELL, "service": SILENT}, "agent"),
        ({"power": WELL, "network": WELL, "service": (FAILED, True)}, "service"),
        ({"power": WELL, "network": WELL, "service": WELL}, None),
        ({"power": (UNKNOWN, False), "network": WELL, "service": WELL}, None),
        ({"power": WELL, "network": SILENT, "service": WELL}, None),
        ({"power": (UNKNOWN, False), "network": (UNKNOWN, False), "service": (UNKNOWN, False)}, None),
    ],
)
def test_the_table_names_the_root_cause(layers, fault):
    _, found = diagnose(track_of(100.0, **layers), TABLE, 100.0, LIMITS)
    assert (found.name if found else None) == fault


@pytest.mark.parametrize(("power", "fault"), [(WELL, "network"), ((UNKNOWN, False), "unreachable")])
def test_a_silent_host_is_given_the_transient_time(power, fault):
    track = HostTrack("compute1")
    began = None
    for second in range(60):
        now = 1000.0 + second
        for layer, (verdict, answered) in {
            "power": power,
            "network": SILENT,
            "service": SILENT,
        }.items():
            track = observe(track, Reading("compute1", Layer(layer), verdict, "", now, answered))
        track, found = diagnose(track, TABLE, now, LIMITS)
        if found:
            assert found.name == fault
            began = second
            break
    assert began == 31  # two misses (seconds 0 and 1), then the transient time


def test_the_transient_time_survives_the_bmc_going_silent_too():
    track = track_of(100.0, power=WELL, network=SILENT, service=SILENT)
    track, _ = diagnose(track, TABLE, 100.0, LIMITS)
    for now in (110.0, 129.0, 131.0):
        for layer, verdict in ((Layer.POWER, UNKNOWN), (Layer.NETWORK, FAILED), (Layer.SERVICE, FAILED)):
            track = observe(track, Reading("compute1", layer, verdict, "", now))
        track, found = diagnose(track, TABLE, now, LIMITS)
    assert found is not None
    assert found.name == "unreachable"


def test_one_good_reading_starts_the_transient_time_again():
    track = track_of(100.0, power=WELL, network=SILENT, service=SILENT)
    track, _ = diagnose(track, TABLE, 100.0, LIMITS)
    track = observe(track, Reading("compute1", Layer.NETWORK, OK, "", 129.0, True))
    track, _ = diagnose(track, TABLE, 129.0, LIMITS)
    for now in (130.0, 131.0):
        track = observe(track, Reading("compute1", Layer.NETWORK, FAILED, "", now))
        track = observe(track, Reading("compute1", Layer.SERVICE, FAILED, "", now))
    track, found = diagnose(track, TABLE, 132.0, LIMITS)
    assert found is None


def test_one_miss_is_not_a_failure():
    track = track_of(100.0, 1, power=SILENT, network=SILENT, service=SILENT)
    assert diagnose(track, TABLE, 100.0, LIMITS)[1] is None
    assert describe(track, 100.0, LIMITS) == "power failed 1/2, network failed 1/2, service failed 1/2"


def test_complaints_are_tolerated_while_services_restart():
    def looks(times: int) -> Sign:
        return sign(track_of(100.0, times, service=(FAILED, True)).layers[Layer.SERVICE], 100.0, LIMITS)

    assert looks(LIMITS.complaints) is Sign.MISSING
    assert looks(LIMITS.complaints + 1) is Sign.COMPLAINING


def test_a_good_answer_between_two_complaints_starts_the_count_again():
    track = track_of(100.0, 2, service=(FAILED, True))
    track = observe(track, Reading("compute1", Layer.SERVICE, OK, "", 101.0, True))
    track = observe(track, Reading("compute1", Layer.SERVICE, FAILED, "", 102.0, True))
    assert track.layers[Layer.SERVICE].count == 1


def test_an_old_reading_says_nothing():
    track = track_of(100.0, power=SILENT, network=SILENT, service=SILENT)
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
    if found is None or not next(row for row in TABLE if row.fault == found.name).remedy:
        return
    for layer in (Layer.NETWORK, Layer.SERVICE):
        known = track.layers.get(layer)
        recent = known is not None and 100.0 - known.reading.at <= LIMITS.stale_after
        assert not (recent and known.reading.verdict is OK)
        assert not (recent and layer is Layer.SERVICE and known.reading.answered)


def test_a_bad_table_is_refused_with_every_reason():
    bad = [
        {"fault": "x", "layer": "cable", "when": {"power": "gone"}, "why": "y", "remedy": "reboot"},
        "text",
        {"fault": "", "layer": "power", "when": {}, "why": "y", "colour": "red", "patient": "yes"},
    ]
    with pytest.raises(SymptomError) as refused:
        symptoms.parse(bad, "mine.yml", frozenset({"host_failure"}))
    text = "\n".join(refused.value.problems)
    for expected in ("'cable'", "'gone'", "'reboot'", "row 2", "'colour'", "'patient'", "'when'", "'fault'"):
        assert expected in text
    assert all(line.startswith("mine.yml: row ") for line in refused.value.problems)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda x: (
            st.lists(x)
            | st.dictionaries(st.sampled_from(["fault", "layer", "when", "why", "power", "patient"]), x)
        ),
    )
)
def test_any_table_parses_or_is_refused(data):
    try:
        assert symptoms.parse(data, "t.yml", frozenset())
    except SymptomError as error:
        assert error.problems  # noqa: PT017 - either way out is right
