"""The power layer: what the host's BMC says about the chassis power."""

from __future__ import annotations

import time

from hass_runtime.bmc import BmcClient, BmcError
from hass_runtime.domain import Host, Layer, Reading, Verdict


class PowerDetector:
    """Reads the chassis power of a host by IPMI. Thread-safe; a read takes at most about ``timeout`` s."""

    layer = Layer.POWER

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    def read(self, host: Host) -> Reading:
        """OK: on. FAILED: off. UNKNOWN: no BMC, or it cannot be read. Never raises.

        ``answered`` is always False: the BMC spoke, not the host.
        """
        verdict, evidence = self._look(host)
        return Reading(host.name, self.layer, verdict, evidence, time.time())

    def _look(self, host: Host) -> tuple[Verdict, str]:
        if host.bmc is None:
            return Verdict.UNKNOWN, "host has no BMC"
        try:
            state = BmcClient(host.bmc, self._timeout).power()
        except BmcError as error:
            return Verdict.UNKNOWN, str(error)
        except Exception as error:  # noqa: BLE001 - a detector never raises
            return Verdict.UNKNOWN, f"BMC {host.bmc.address}: {type(error).__name__}: {error}"
        return (Verdict.OK if state == "on" else Verdict.FAILED), f"BMC says {state}"
