"""Takes a host back after its failure: power on, healthy again, moves finished, force-down lifted, enabled.

Every wait is for something observed, with a deadline; nothing is done that is done already.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from hass_runtime.domain import Reading, Verdict
from hass_runtime.remedy.moves import in_flight
from hass_runtime.remedy.nova import CloudError, ComputeService, Migration

OUR_REASON = "hass:"
"""How the disabled_reason of a service begins that HASS disabled. A person's own disable is left alone."""


COMPARED_EVERY = 5.0
"""Seconds between two looks at the heartbeat of a host that is not fine yet."""


class RestoreError(Exception):
    """The host cannot be taken back (yet). One line."""


class Services(Protocol):
    """What a restoration needs of the cloud."""

    def compute_service(self, host: str) -> ComputeService | None: ...
    def set_forced_down(self, service: ComputeService, forced_down: bool) -> None: ...
    def set_enabled(self, service: ComputeService, enabled: bool, reason: str = "") -> None: ...
    def evacuations(self, source: str, since: float) -> list[Migration]: ...


class PowerSwitch(Protocol):
    def power(self) -> str: ...
    def power_on(self) -> None: ...


@dataclass(frozen=True)
class Patience:
    """How long to wait in all and between looks, in seconds, by an injected clock."""

    deadline: float
    interval: float = 0.5
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def until(self, look: Callable[[], str | None]) -> None:
        """Until ``look`` returns None; what it returns instead says what is missing. Raises RestoreError."""
        began = self.clock()
        while (missing := look()) is not None:
            if self.clock() - began + self.interval > self.deadline:
                raise RestoreError(f"{missing} (waited {self.deadline:g} s)")
            self.sleep(self.interval)


def power_on(host: str, bmc: PowerSwitch, patience: Patience) -> bool:
    """Switch on and read it back as on. True when it was not on before."""
    if _power(bmc) == "on":
        return False
    complaint = ""

    def look() -> str | None:
        nonlocal complaint
        try:
            bmc.power_on()
            complaint = ""
        except Exception as error:  # noqa: BLE001 - the reading decides; the complaint is told if it stays off
            complaint = f", to the on command it said: {error}"
        value = _power(bmc)
        return None if value == "on" else f"the BMC of {host} does not say on but: {value}{complaint}"

    patience.until(look)
    return True


def _power(bmc: PowerSwitch) -> str:
    try:
        return bmc.power()
    except Exception as error:  # noqa: BLE001 - no reading is a reading that is not "on"
        return str(error)


def wait_moves(cloud: Services, host: str, since: float, patience: Patience) -> int:
    """Until no evacuation from the host is unfinished. Returns how many there were; raises RestoreError."""
    found = 0

    def look() -> str | None:
        nonlocal found
        try:
            records = cloud.evacuations(host, since)
        except CloudError as error:
            return str(error)
        found = len(records)
        open_ = [record for record in records if in_flight(record)]
        if not open_:
            return None
        return f"{len(open_)} evacuations from {host} are unfinished: " + ", ".join(
            f"{record.instance} {record.status}" for record in open_[:5]
        )

    patience.until(look)
    return found


def wait_host(
    host: str,
    cloud: Services,
    agent: Callable[[], Reading] | None,
    patience: Patience,
    steady: float = 0.0,
) -> tuple[str, ComputeService]:
    """Until the agent says that all its services are fine and nova-compute is up. Returns the evidence.

    And until that has been so for ``steady`` seconds, which are not counted as patience.

    Nova calls a forced-down service "down" however well it is; then a heartbeat newer than the last look at a
    host that was not fine is what shows that it lives: one from before the host died once more shows nothing.
    ``agent`` None: no agent is configured, nova-compute alone decides.
    """
    first: ComputeService | None = None
    first_at = 0.0
    alive: ComputeService | None = None
    evidence = "no agent is configured"

    def compare_with(now: float) -> None:
        nonlocal first, first_at
        first_at = now
        try:
            first = cloud.compute_service(host)
        except CloudError:
            first = None

    def look() -> str | None:
        nonlocal first, alive, evidence
        if agent is not None:
            reading = agent()
            if reading.verdict is not Verdict.OK:
                if patience.clock() - first_at >= COMPARED_EVERY:
                    compare_with(patience.clock())
                return f"the agent of {host} is not fine: {reading.evidence}"
            evidence = f"agent: {reading.evidence}"
        try:
            service = cloud.compute_service(host)
        except CloudError as error:
            return str(error)
        if service is None:
            return f"Nova knows no nova-compute on {host}"
        first = first or service
        beating = service.updated_at != first.updated_at
        if service.up or (service.forced_down and beating):
            alive = service
            return None
        return f"nova-compute on {host} gives no sign of life"

    if agent is not None:
        # The first heartbeat to compare with must not be read later than necessary.
        compare_with(patience.clock())
    fine_since: float | None = None

    def steadily() -> str | None:
        nonlocal fine_since
        missing = look()
        if missing is not None:
            fine_since = None
            return missing
        fine_since = patience.clock() if fine_since is None else fine_since
        passed = patience.clock() - fine_since
        return None if passed >= steady else f"{host} has been fine for {passed:.0f} of {steady:g} s"

    replace(patience, deadline=patience.deadline + steady).until(steadily)
    if alive is None:
        raise RestoreError(f"nova-compute on {host} gives no sign of life")
    return evidence, alive


def unforce(cloud: Services, host: str, patience: Patience) -> bool:
    """Lift force-down. Nova refuses (400) until the returned nova-compute has cleaned up after its evacuated
    instances, so it is asked until the deadline. True when it was set."""
    changed = False

    def look() -> str | None:
        nonlocal changed
        try:
            service = required(cloud, host)
            if not service.forced_down:
                return None
            cloud.set_forced_down(service, False)
            changed = True
        except CloudError as error:
            if error.status in (401, 403, 404):
                raise RestoreError(str(error)) from error
            return str(error)
        return None

    patience.until(look)
    return changed


def force_down(cloud: Services, host: str, patience: Patience) -> bool:
    """Set force-down and read it back. True when it was not set before."""
    changed = False

    def look() -> str | None:
        nonlocal changed
        try:
            service = required(cloud, host)
            if service.forced_down:
                return None
            changed = True
            cloud.set_forced_down(service, True)
        except CloudError as error:
            if error.status in (400, 401, 403, 404):
                raise RestoreError(str(error)) from error
            return str(error)
        return look_once(cloud, host)

    patience.until(look)
    return changed


def look_once(cloud: Services, host: str) -> str | None:
    """None when the host's nova-compute is forced down, else what is the case."""
    try:
        return None if required(cloud, host).forced_down else f"nova-compute of {host} is not forced down"
    except CloudError as error:
        return str(error)


def enable(cloud: Services, host: str) -> tuple[bool, str]:
    """Enable the service if HASS disabled it. Returns whether it was changed and a sentence."""
    service = required(cloud, host)
    if service.enabled:
        return False, f"nova-compute of {host} is enabled"
    if not service.disabled_reason.startswith(OUR_REASON):
        return (
            False,
            f"nova-compute of {host} stays disabled, by a person: {service.disabled_reason or 'no reason'}",
        )
    cloud.set_enabled(service, True)
    return True, f"nova-compute of {host} enabled again (was: {service.disabled_reason})"


def required(cloud: Services, host: str) -> ComputeService:
    """The host's nova-compute, or RestoreError."""
    service = cloud.compute_service(host)
    if service is None:
        raise RestoreError(f"Nova knows no nova-compute on {host}: is that its name there?")
    return service
