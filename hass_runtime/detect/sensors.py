"""The hardware layer: what the sensors of the host's BMC show."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hass_runtime.bmc import BmcClient, BmcError
from hass_runtime.bmc_sensors import BmcSensors
from hass_runtime.detect.gauging import Look, Point, judge, watched_in
from hass_runtime.domain import Bmc, Host, Layer, Reading, Verdict
from hass_runtime.settings.model import SensorSettings

_KEPT = 128  # earlier readings of a sensor, however far its trend looks back


@dataclass
class _Known:
    """What the detector keeps of one host between two looks."""

    bmc: Bmc
    sensors: BmcSensors
    past: dict[str, list[Point]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class SensorDetector:
    """Reads all sensors of a host's BMC. Thread-safe; a read takes at most about five times ``timeout`` s.

    ``timeout`` is for each command. The list of a BMC's sensors is read at the first look, or the first few,
    and again when the BMC says that it has changed. The recent readings of the watched sensors are kept, for
    their trend.
    """

    layer = Layer.HARDWARE

    def __init__(
        self, limits: SensorSettings, timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._timeout = timeout
        self._clock = clock
        self._hosts: dict[str, _Known] = {}

    def read(self, host: Host) -> Reading:
        """FAILED: its BMC calls a sensor critical. WARNING: it warns, or a watched sensor is beyond a limit
        of the operator's or heading there. UNKNOWN: nothing can be said, and why. Never raises.

        ``answered`` is always False: the BMC spoke, not the host.
        """
        verdict, evidence = self._look(host)
        return Reading(host.name, self.layer, verdict, evidence, time.time())

    def _look(self, host: Host) -> tuple[Verdict, str]:
        if host.bmc is None:
            return Verdict.UNKNOWN, "host has no BMC"
        try:
            known = self._known(host.name, host.bmc)
            with known.lock:
                look = known.sensors.look()
                self._remember(known, look)
                return judge(look, known.past, self._limits)
        except BmcError as error:
            return Verdict.UNKNOWN, str(error)
        except Exception as error:  # noqa: BLE001 - a detector never raises
            return Verdict.UNKNOWN, f"BMC {host.bmc.address}: {type(error).__name__}: {error}"

    def _known(self, name: str, bmc: Bmc) -> _Known:
        known = self._hosts.get(name)
        if known is None or known.bmc != bmc:
            new = _Known(bmc, BmcSensors(BmcClient(bmc, self._timeout), self._timeout))
            # Of two threads that come here at once the first one's is kept.
            known = self._hosts.setdefault(name, new)
            if known.bmc != bmc:
                known = self._hosts[name] = new
        return known

    def _remember(self, known: _Known, look: Look) -> None:
        """Adds the watched sensors' values to their past; that of a sensor that fell silent is forgotten."""
        if self._limits.horizon <= 0:
            return
        now = self._clock()
        watched, _ = watched_in(look, self._limits)
        values = {
            gauge.key: gauge.value
            for gauge in look.gauges
            if gauge.key in watched and gauge.value is not None and gauge.opinion is not None
        }
        known.past = {
            key: _with(known.past.get(key, []), Point(now, value), self._limits.horizon)
            for key, value in values.items()
        }


def _with(past: list[Point], point: Point, horizon: float) -> list[Point]:
    """The past of a sensor with one more reading at its end, and none older than ``horizon`` s.

    Where readings come in faster than is worth keeping, the newest takes the place of the one before.
    """
    if len(past) >= 2 and point.at - past[-2].at < horizon / _KEPT:
        past = past[:-1]
    return [each for each in [*past, point] if each.at >= point.at - horizon]
