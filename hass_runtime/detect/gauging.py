"""Judges what the sensors of a host's BMC show: the BMC's own opinion, the operator's limits, the trend.

Pure: no I/O and no clock. A sensor that says nothing, or nonsense, is not judged; it never counts as bad.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from hass_runtime.detect import sensor_names
from hass_runtime.domain import Verdict
from hass_runtime.settings.model import SensorSettings

_LEAST_READINGS = 4
_LEAST_SPAN = 0.25  # of the horizon; a shorter look back says nothing about so far ahead
_CERTAINTY = 4.0  # a slope has to be so many times its own standard error
_LEAST_STEPS = 3.0  # and to amount to so many of the sensor's own steps
_SHOWN = 5  # complaints and watched sensors in one line

# The words of a line on a critical sensor, by which its BMC's judgement is told from the operator's limits.
OWN = "the BMC's own"


class Opinion(IntEnum):
    """What a BMC thinks of a sensor, the worst last."""

    FINE = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True)
class Gauge:
    """One sensor as its BMC showed it.

    ``key`` is unique in the BMC (names are not). ``value`` is None for a sensor that shows no number, in
    ``unit``; temperatures are in degrees C. ``step`` is the least difference that the sensor can show.
    ``opinion`` is None when the sensor said nothing; ``states`` are the BMC's words for what it shows.
    """

    key: str
    name: str
    value: float | None = None
    unit: str = ""
    step: float = 0.0
    opinion: Opinion | None = None
    states: tuple[str, ...] = ()


@dataclass(frozen=True)
class Look:
    """All sensors of a BMC at one moment. ``total`` is how many there were to read.

    ``maker`` is the IANA number of the BMC's maker, None when it is not known.
    """

    gauges: tuple[Gauge, ...]
    total: int
    maker: int | None = None


@dataclass(frozen=True)
class Point:
    """One earlier value of a sensor. ``at`` is in seconds of any steady clock."""

    at: float
    value: float


def judge(look: Look, past: Mapping[str, Sequence[Point]], limits: SensorSettings) -> tuple[Verdict, str]:
    """The verdict on a host's hardware and one line of evidence.

    ``past`` has, by key, the readings of the watched sensors, oldest first, the present one included.
    FAILED: the BMC calls a sensor critical. WARNING: it warns of one, or a watched one is beyond a limit or
    on its way there. UNKNOWN: no sensor said anything, or none of all that could be read was bad but not
    all could be.
    """
    shown = _labels(look.gauges)
    watched, strangers = watched_in(look, limits)
    critical = [
        _complaint(gauge, shown[gauge.key]) for gauge in look.gauges if gauge.opinion is Opinion.CRITICAL
    ]
    warned = []
    for gauge in look.gauges:
        if gauge.opinion is None or gauge.opinion is Opinion.CRITICAL:
            continue
        said = []
        if gauge.key in watched and gauge.value is not None:
            said = _beyond(gauge.value, limits) or heading(past.get(gauge.key, ()), limits, gauge.step)
        if said and gauge.value is not None:
            warned.append(f"{shown[gauge.key]} {_amount(gauge.value, gauge.unit)}{said[0]}")
        elif gauge.opinion is Opinion.WARNING:
            warned.append(_complaint(gauge, shown[gauge.key]))
    missing = [f"no sensor is called {name}" for name in strangers if len(look.gauges) == look.total]
    if critical or warned:
        verdict = Verdict.FAILED if critical else Verdict.WARNING
        return verdict, _line([*critical, *warned], missing)
    heard = [gauge for gauge in look.gauges if gauge.opinion is not None]
    if len(look.gauges) < look.total:
        return Verdict.UNKNOWN, f"only {len(look.gauges)} of its {look.total} sensors could be read in time"
    if not heard:
        why = "its sensors say nothing" if look.gauges else "its BMC has no sensors"
        return Verdict.UNKNOWN, _line([why], missing)
    return Verdict.OK, _line([_well(heard, watched, shown)], missing)


def watched_in(look: Look, limits: SensorSettings) -> tuple[frozenset[str], tuple[str, ...]]:
    """The keys of the sensors that the operator watches, and the names that no sensor of this BMC has."""
    names = [gauge.name for gauge in look.gauges]
    keys: set[str] = set()
    strangers = []
    for wanted in limits.watched:
        hits = sensor_names.find(wanted, names, look.maker)
        keys.update(look.gauges[at].key for at in hits)
        if not hits:
            strangers.append(wanted)
    return frozenset(keys), tuple(strangers)


def heading(past: Sequence[Point], limits: SensorSettings, step: float = 0.0) -> list[str]:
    """Says when a sensor will be beyond a limit, going on as it did: one text, or none.

    Both all readings of the last ``horizon`` seconds and their newer half have to say so, and the rise has
    to be beyond doubt: a value that wavers, or has come to rest after a rise, is not on its way anywhere.
    """
    points = [point for point in past if point.at >= past[-1].at - limits.horizon]
    if limits.horizon <= 0 or len(points) < _LEAST_READINGS:
        return []
    span = points[-1].at - points[0].at
    if span < _LEAST_SPAN * limits.horizon:
        return []
    whole = _fit(points)
    newer = _fit([point for point in points if point.at >= points[-1].at - span / 2])
    if whole is None or newer is None or whole.slope * newer.slope <= 0:
        return []
    if abs(whole.slope) < _CERTAINTY * whole.error or abs(whole.slope) * span < _LEAST_STEPS * step:
        return []
    slope = min(whole.slope, newer.slope, key=abs)
    limit = limits.upper_critical if slope > 0 else limits.lower_critical
    if limit is None:
        return []
    left = (limit - whole.now) / slope
    if not math.isfinite(left) or left > limits.horizon:
        return []
    way = "rises" if slope > 0 else "falls"
    return [f" {way} {_number(abs(slope) * 60)} a minute: {_number(limit)} in {max(0.0, left):.0f} s"]


@dataclass(frozen=True)
class _Line:
    """Least squares: units a second, the standard error of that, and the fitted value at the end."""

    slope: float
    error: float
    now: float


def _fit(points: Sequence[Point]) -> _Line | None:
    count = len(points)
    if count < 2:
        return None
    mean_at = math.fsum(point.at for point in points) / count
    mean = math.fsum(point.value for point in points) / count
    spread = math.fsum((point.at - mean_at) ** 2 for point in points)
    if spread <= 0:
        return None
    slope = math.fsum((point.at - mean_at) * (point.value - mean) for point in points) / spread
    rest = math.fsum((point.value - mean - slope * (point.at - mean_at)) ** 2 for point in points)
    error = math.sqrt(rest / (count - 2) / spread) if count > 2 else 0.0
    return _Line(slope, error, mean + slope * (points[-1].at - mean_at))


def _beyond(value: float, limits: SensorSettings) -> list[str]:
    high, low = limits.upper_critical, limits.lower_critical
    if high is not None and value > high:
        return [f": above upper_critical {_number(high)}"]
    if low is not None and value < low:
        return [f": below lower_critical {_number(low)}"]
    return []


def _complaint(gauge: Gauge, label: str) -> str:
    """What the BMC says against a sensor."""
    word = "critical" if gauge.opinion is Opinion.CRITICAL else "not normal"
    amount = f": {_amount(gauge.value, gauge.unit)}" if gauge.value is not None else ""
    states = f" ({', '.join(gauge.states)})" if gauge.states else ""
    return f"{label} {word}{amount}{states}"


def _well(heard: Sequence[Gauge], watched: frozenset[str], shown: Mapping[str, str]) -> str:
    values = [
        f"{shown[gauge.key]} {_amount(gauge.value, gauge.unit)}"
        for gauge in heard
        if gauge.key in watched and gauge.value is not None
    ]
    count = f"{len(heard)} sensor{'s are' if len(heard) != 1 else ' is'} fine"
    return "; ".join([*_short(values), count])


def _labels(gauges: Sequence[Gauge]) -> dict[str, str]:
    """By key: the names, with the key behind those that several sensors share."""
    seen: dict[str, int] = {}
    for gauge in gauges:
        seen[gauge.name] = seen.get(gauge.name, 0) + 1
    return {
        gauge.key: f"{gauge.name} #{gauge.key}" if seen[gauge.name] > 1 else gauge.name for gauge in gauges
    }


def _line(parts: Sequence[str], remarks: Sequence[str]) -> str:
    return "; ".join([*_short(parts), *_short(remarks)])


def _short(parts: Sequence[str]) -> list[str]:
    more = len(parts) - _SHOWN
    return list(parts) if more <= 0 else [*parts[:_SHOWN], f"and {more} more"]


def _amount(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}".rstrip()


def _number(value: float) -> str:
    """Three digits or so, and never an exponent for what a sensor shows."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}".rstrip("0").rstrip(".")
