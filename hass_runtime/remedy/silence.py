"""Listening for a host that should be off: silence counts only when every layer was asked and none
answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from hass_runtime.domain import Host, Reading, Verdict
from hass_runtime.remedy.fencing import DEAF

if TYPE_CHECKING:
    from hass_runtime.settings import ControllerSettings


class Ear(Protocol):
    """A detector of a layer on which a living host answers."""

    def read(self, host: Host) -> Reading: ...


def sign_of_life(readings: Sequence[Reading]) -> str | None:
    """The first thing that speaks against silence, or None.

    A layer that could not be asked (unknown) was not silent: then nobody knows.
    """
    for reading in readings:
        if reading.answered:
            return f"{reading.layer.value}: {reading.evidence}"
    for reading in readings:
        if reading.verdict is not Verdict.FAILED:
            return f"{DEAF}tell on layer {reading.layer.value}: {reading.evidence}"
    return None


def listener(
    host: Host, ears: Sequence[Ear], pool: Callable[..., Executor] = ThreadPoolExecutor
) -> Callable[[], str | None]:
    """A function that asks all layers at once and returns the sign of life, or None for silence."""

    def listen() -> str | None:
        with pool(max_workers=max(1, len(ears))) as asking:
            return sign_of_life(list(asking.map(lambda ear: ear.read(host), ears)))

    return listen


REARM_GAP = 2.0
"""Seconds between two looks at a watchdog timer; a watchdog daemon re-arms it every second, or nearly so."""


def rearmed(settings: ControllerSettings, host: Host) -> Callable[[], str | None] | None:
    """Tells in words whether somebody re-arms the watchdog timer of the host's BMC; None without a BMC."""
    from hass_runtime.detect.os_watchdog import rearmed_since

    bmc = host.bmc
    if bmc is None:
        return None
    return lambda: rearmed_since(bmc, REARM_GAP, settings.detection.probe_timeout)


def ears_of(settings: ControllerSettings) -> list[Ear]:
    """The network layer, and the agent where one is configured (it cannot be asked without a key)."""
    from hass_runtime.detect.network import NetworkDetector
    from hass_runtime.detect.services import ServiceDetector

    detection, network = settings.detection, settings.network
    ears: list[Ear] = [
        NetworkDetector(
            network.heartbeat_time, network.ping_command, detection.probe_timeout, network.tcp_ports
        )
    ]
    if detection.polling_key:
        ears.append(
            ServiceDetector(
                detection.polling_port,
                detection.polling_key,
                detection.probe_timeout,
                network.max_message_size,
            )
        )
    return ears
