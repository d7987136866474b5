"""The verdict on a host's sensors: the BMC's opinion, the operator's limits, the trend."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.detect.gauging import OWN, Gauge, Look, Opinion, Point, heading, judge
from hass_runtime.domain import Verdict
from hass_runtime.settings.model import SensorSettings

LIMITS = SensorSettings(("Inlet Temp", "Temp"), (), 80.0, 10.0, 300.0)
INLET = Gauge("1", "Inlet Temp", 24.0, "degrees C", 1.0, Opinion.FINE)
FAN = Gauge("3", "Fan1", 4200.0, "RPM", 60.0, Opinion.FINE)


def inlet(value: float | None, opinion: Opinion | None = Opinion.FINE, *states: str) -> Gauge:
    return Gauge("1", "Inlet Temp", value, "degrees C", 1.0, opinion, states)


def verdict(*gauges: Gauge, total: int | None = None, limits: SensorSettings = LIMITS) -> tuple[Verdict, str]:
    return judge(Look(gauges, len(gauges) if total is None else total), {}, limits)


def points(values: list[float], every: float = 10.0) -> list[Point]:
    return [Point(1000.0 + every * number, value) for number, value in enumerate(values)]


def test_fine() -> None:
    assert verdict(INLET, FAN) == (
        Verdict.OK,
        "Inlet Temp 24 degrees C; 2 sensors are fine; no sensor is called Temp",
    )


def test_the_bmcs_own_critical_is_failed_on_any_sensor() -> None:
    broken = Gauge("3", "Fan1", 0.0, "RPM", 60.0, Opinion.CRITICAL, (f"{OWN} lower critical threshold",))
    assert verdict(INLET, broken) == (
        Verdict.FAILED,
        "Fan1 critical: 0 RPM (the BMC's own lower critical threshold); no sensor is called Temp",
    )


def test_the_bmcs_own_warning() -> None:
    assert verdict(INLET, Gauge("5", "PSU1", None, "", 0.0, Opinion.WARNING, ("Power input lost",)))[0] is (
        Verdict.WARNING
    )


@pytest.mark.parametrize(
    ("value", "expected", "text"),
    [
        (83.0, Verdict.WARNING, "Inlet Temp 83 degrees C: above upper_critical 80"),
        (80.0, Verdict.OK, "Inlet Temp 80 degrees C"),
        (10.0, Verdict.OK, "Inlet Temp 10 degrees C"),
        (9.5, Verdict.WARNING, "Inlet Temp 9.5 degrees C: below lower_critical 10"),
    ],
)
def test_limits_of_the_operator_only_warn(value: float, expected: Verdict, text: str) -> None:
    found, evidence = verdict(inlet(value))
    assert found is expected
    assert evidence.startswith(text)


def test_limits_are_for_watched_sensors_only() -> None:
    assert verdict(INLET, FAN)[0] is Verdict.OK, "4200 RPM is above 80"
    only_fans = SensorSettings(("Fan1",), (), 80.0, None, 300.0)
    assert verdict(INLET, FAN, limits=only_fans)[0] is Verdict.WARNING
    assert (
        verdict(inlet(99.0), limits=SensorSettings(("Inlet Temp",), (), None, None, 300.0))[0] is Verdict.OK
    )


def test_a_sensor_that_says_nothing_is_not_judged() -> None:
    assert verdict(inlet(None, None), FAN)[0] is Verdict.OK
    assert verdict(inlet(None, None)) == (
        Verdict.UNKNOWN,
        "its sensors say nothing; no sensor is called Temp",
    )


def test_no_sensors_at_all() -> None:
    assert verdict() == (
        Verdict.UNKNOWN,
        "its BMC has no sensors; no sensor is called Inlet Temp; no sensor is called Temp",
    )


def test_a_look_that_could_not_finish() -> None:
    assert verdict(INLET, total=9) == (Verdict.UNKNOWN, "only 1 of its 9 sensors could be read in time")
    assert verdict(inlet(95.0, Opinion.CRITICAL), total=9) == (
        Verdict.FAILED,
        "Inlet Temp critical: 95 degrees C",
    )


def test_sensors_of_one_name_are_told_apart() -> None:
    cpus = [
        Gauge(key, "Temp", value, "degrees C", 1.0, Opinion.FINE)
        for key, value in (("14", 40.0), ("15", 91.0))
    ]
    assert verdict(INLET, *cpus) == (Verdict.WARNING, "Temp #15 91 degrees C: above upper_critical 80")


def test_many_complaints_stay_one_readable_line() -> None:
    broken = [
        Gauge(str(n), f"DIMM {n}", None, "", 0.0, Opinion.CRITICAL, ("Uncorrectable error",))
        for n in range(40)
    ]
    _, evidence = verdict(*broken, limits=SensorSettings((), (), None, None, 0.0))
    assert evidence.endswith("and 35 more")
    assert "\n" not in evidence


def test_a_steady_rise_is_said_before_it_arrives() -> None:
    rising = points([64 + 0.15 * number for number in range(31)])  # 0.9 a minute for 300 s, to 68.5
    assert heading(rising, LIMITS, 1.0) == []
    rising = points([71.5 + 0.15 * number for number in range(31)])  # to 76
    assert heading(rising, LIMITS, 1.0) == [" rises 0.9 a minute: 80 in 267 s"]
    found, evidence = judge(Look((inlet(76.0),), 1), {"1": rising}, LIMITS)
    assert found is Verdict.WARNING
    assert evidence == "Inlet Temp 76 degrees C rises 0.9 a minute: 80 in 267 s; no sensor is called Temp"


def test_a_fall_towards_the_lower_limit() -> None:
    assert heading(points([16.0 - 0.1 * number for number in range(31)]), LIMITS, 1.0) == [
        " falls 0.6 a minute: 10 in 300 s"
    ]


@pytest.mark.parametrize(
    ("values", "every"),
    [
        ([70.0, 72.0, 74.0], 60.0),  # too few
        ([70.0, 72.0, 74.0, 76.0, 78.0], 10.0),  # 40 s say nothing about 300 s
        ([74.0, 75.0] * 15, 10.0),  # wavers between two steps
        ([74.0] * 20 + [75.0] * 10, 10.0),  # one step up
        ([60.0, 64.0, 68.0, 72.0, 74.0] + [74.0] * 15, 10.0),  # has come to rest
        ([78.0 - 0.15 * number for number in range(31)], 10.0),  # falls, far above the lower limit
        ([70.0] * 29 + [79.0], 10.0),  # one outlier
        ([79.0], 10.0),
        ([], 10.0),
    ],
)
def test_no_trend(values: list[float], every: float) -> None:
    assert heading(points(values, every), LIMITS, 1.0) == []


def test_no_horizon_no_trend() -> None:
    rising = points([60.0 + number for number in range(20)])
    assert heading(rising, LIMITS)
    assert heading(rising, SensorSettings(("Temp",), (), 80.0, 10.0, 0.0)) == []
    assert heading(rising, SensorSettings(("Temp",), (), None, None, 300.0)) == []


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_trend_and_hides_none(seed: int) -> None:
    dice = random.Random(seed)
    still = [float(round(75 + dice.gauss(0, 1.0))) for _ in range(60)]
    assert heading(points(still, 5.0), LIMITS, 1.0) == []
    rising = [float(round(66 + 0.2 * number + dice.gauss(0, 0.5))) for number in range(60)]
    assert heading(points(rising, 5.0), LIMITS, 1.0)


finite = st.floats(-1e9, 1e9)


@given(
    st.lists(st.tuples(st.floats(0, 1e6), finite), max_size=40),
    st.floats(0, 1e4),
    st.one_of(st.none(), finite),
    st.one_of(st.none(), finite),
    st.floats(0, 100),
)
def test_no_past_breaks_the_trend(
    past: list[tuple[float, float]], horizon: float, high: float | None, low: float | None, step: float
) -> None:
    readings = [Point(at, value) for at, value in sorted(past)]
    said = heading(readings, SensorSettings((), (), high, low, horizon), step)
    assert len(said) <= 1


gauges = st.builds(
    Gauge,
    key=st.integers(0, 255).map(str),
    name=st.sampled_from(["Inlet Temp", "Temp", "Fan1", "", "P0"]),
    value=st.one_of(st.none(), finite),
    unit=st.sampled_from(["degrees C", "RPM", ""]),
    step=st.floats(0, 10),
    opinion=st.one_of(st.none(), st.sampled_from(list(Opinion))),
    states=st.lists(st.sampled_from(["Failure", "Present"]), max_size=2).map(tuple),
)


@given(st.lists(gauges, max_size=12, unique_by=lambda each: each.key), st.integers(0, 3))
def test_failed_needs_the_bmcs_word_and_silence_is_never_bad(seen: list[Gauge], unread: int) -> None:
    look = Look(tuple(seen), len(seen) + unread)
    found, evidence = judge(look, {}, LIMITS)
    assert evidence
    assert "\n" not in evidence
    critical = any(gauge.opinion is Opinion.CRITICAL for gauge in seen)
    assert (found is Verdict.FAILED) == critical
    heard = [gauge for gauge in seen if gauge.opinion is not None]
    if unread and not critical:
        assert found is not Verdict.OK
    if not heard:
        assert found is Verdict.UNKNOWN


@given(st.lists(st.floats(10.5, 79.5), min_size=4, max_size=60))
def test_a_trend_points_from_inside_to_a_limit_within_the_horizon(values: list[float]) -> None:
    for said in heading(points(values), LIMITS, 1.0):
        seconds = float(said.rsplit(" in ", 1)[1].removesuffix(" s"))
        assert 0 <= seconds <= math.ceil(LIMITS.horizon)
