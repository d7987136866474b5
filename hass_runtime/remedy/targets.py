"""Where evacuated instances must not go: to a host that has just died, too, and that Nova still takes for up.

Nova believes in a nova-compute for `service_down_time` (60 s) after its last heartbeat. Two hosts of one rack
die together: what is evacuated from the first would be sent to the second, and wait there for as long as a
move may take. So the first evacuation waits until Nova misses each such host, too, or it answers after all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from hass_runtime.remedy.fencing import DEAF
from hass_runtime.remedy.nova import CloudError, ComputeService
from hass_runtime.remedy.restoration import Patience, RestoreError

MISSED_WITHIN = 75.0
"""Seconds in which Nova misses a host that is dead; when it does not by then, it is set up to take longer."""


class Services(Protocol):
    """Nova's view of a host."""

    def compute_service(self, host: str) -> ComputeService | None: ...


def wait_until_missed(
    cloud: Services, silent: Mapping[str, Callable[[], str | None]], patience: Patience
) -> str:
    """Wait until Nova would send no instance to any of these hosts, or they answer.

    Args:
        silent: by name of the host, what listens for it: a sign of life, or None.

    Returns:
        Which of them Nova still may choose when ``patience`` is over, and why; "" when none.
    """

    def choosable(name: str, listen: Callable[[], str | None]) -> str | None:
        try:
            service = cloud.compute_service(name)
        except CloudError as error:
            return str(error)
        if service is None or not service.up or not service.enabled:
            return None
        sign = listen()
        if sign is not None and not sign.startswith(DEAF):
            return None
        return f"{name} is silent, and Nova may still send instances to it"

    def look() -> str | None:
        problems = [problem for name, listen in silent.items() if (problem := choosable(name, listen))]
        return "; ".join(problems) or None

    try:
        patience.until(look)
    except RestoreError as error:
        return str(error)
    return ""
