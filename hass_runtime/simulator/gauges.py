"""The sensors of made-up BMCs: what each shows, and what its BMC makes of it."""

from __future__ import annotations

from collections.abc import Mapping

from hass_runtime.domain import Verdict
from hass_runtime.settings.model import SensorSettings

WARNING, CRITICAL = "warning", "critical"
_WORDS = {"normal": "", "ok": "", "warning": WARNING, "critical": CRITICAL, "failed": CRITICAL}
_OF_TEMPERATURES = (0.0, 5.0, 80.0, 95.0)  # critical and non-critical below, non-critical and critical above
_OWN = {"Fan1": (500.0, 1000.0, float("inf"), float("inf"))}


def state_of(name: str, value: float | str) -> str | None:
    """What the BMC says: "", warning or critical; None when it says nonsense."""
    if isinstance(value, str):
        return _WORDS.get(value.lower())
    lowest, low, high, highest = _OWN.get(name, _OF_TEMPERATURES)
    if not lowest <= value <= highest:
        return CRITICAL
    return "" if low <= value <= high else WARNING


def judge(sensors: Mapping[str, float | str], limits: SensorSettings) -> tuple[Verdict, str]:
    """Failed when the BMC calls one critical; warning when it warns or a watched one is beyond its limits."""
    warned, critical = [], []
    for name, value in sorted(sensors.items()):
        state = state_of(name, value)
        beyond = isinstance(value, (int, float)) and name in limits.watched and _beyond(value, limits)
        if state == CRITICAL:
            critical.append(f"{name} is critical: {value}")
        elif state == WARNING or beyond:
            warned.append(f"{name} is beyond a limit: {value}")
    if critical:
        return Verdict.FAILED, "; ".join(critical + warned)
    if warned:
        return Verdict.WARNING, "; ".join(warned)
    return Verdict.OK, f"{len(sensors)} sensors are fine"


def _beyond(value: float, limits: SensorSettings) -> bool:
    high, low = limits.upper_critical, limits.lower_critical
    return (high is not None and value > high) or (low is not None and value < low)
