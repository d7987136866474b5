"""Gives reserved hosts to Nova while a failed host is evacuated, and puts them back when nothing came.

A reserved host is disabled in Nova with a reason of ours. To be used it joins the aggregates of the failed
host, so that the scheduler finds in it what the instances need, and is enabled; which instance fits there is
for the scheduler to say, as ever: nothing is forced.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from hass_runtime.decide.protection import Aggregate
from hass_runtime.remedy.nova import CloudError, ComputeService, Server
from hass_runtime.remedy.restoration import OUR_REASON

if TYPE_CHECKING:
    from hass_runtime.settings import ControllerSettings

KEPT = f"{OUR_REASON} kept in reserve"
"""The disabled_reason of a host in the reserve."""


class Nova(Protocol):
    """What is asked of the cloud."""

    def compute_service(self, host: str) -> ComputeService | None: ...
    def set_enabled(self, service: ComputeService, enabled: bool, reason: str = "") -> None: ...
    def servers_on(self, host: str) -> list[Server]: ...
    def aggregates_of(self, host: str) -> tuple[Aggregate, ...]: ...
    def add_to_aggregate(self, aggregate: Aggregate, host: str) -> None: ...


class Reserve:
    """The reserved hosts that one evacuation may use.

    ``to_aggregates``: let one that is used join the aggregates of the failed host.
    """

    def __init__(self, cloud: Nova, failed: str, to_aggregates: bool = True) -> None:
        self._cloud = cloud
        self._failed = failed
        self._to_aggregates = to_aggregates
        self._home: tuple[Aggregate, ...] | None = None
        self._opened: list[str] = []
        self.said: list[str] = []
        """What was done, one sentence each."""

    def in_order(self, reserved: Iterable[str]) -> tuple[str, ...]:
        """Those that are in the failed host's aggregates already come first; else as given."""
        names = tuple(reserved)
        try:
            home = {each.name for each in self._aggregates()}
            lacks = {
                name: len(home - {each.name for each in self._cloud.aggregates_of(name)}) for name in names
            }
        except CloudError as error:
            self.said.append(f"the aggregates of the reserved hosts cannot be read: {error}")
            return names
        return tuple(sorted(names, key=lambda name: lacks[name]))

    def open(self, name: str) -> str:
        """Give the host to Nova. Returns "" or why it cannot be used."""
        try:
            service = self._cloud.compute_service(name)
            if service is None or service.forced_down or not service.up:
                return f"reserved host {name}: its nova-compute is down"
            if not service.enabled and not service.disabled_reason.startswith(OUR_REASON):
                by = service.disabled_reason or "no reason"
                return f"reserved host {name} stays disabled, by a person: {by}"
            self._join(name)
            if not service.enabled:
                self._opened.append(name)
                self._cloud.set_enabled(service, True)
                self.said.append(f"reserved host {name} given to Nova")
        except CloudError as error:
            return f"reserved host {name}: {error}"
        return ""

    def close_unused(self) -> None:
        """Put back what was opened and has no instance."""
        for name in self._opened:
            try:
                service = self._cloud.compute_service(name)
                if service is None or not service.enabled or self._cloud.servers_on(name):
                    continue
                self._cloud.set_enabled(service, False, KEPT)
                self.said.append(f"reserved host {name} put back: nothing came")
            except CloudError as error:
                self.said.append(f"reserved host {name} stays enabled, and nothing came: {error}")

    def _aggregates(self) -> tuple[Aggregate, ...]:
        if self._home is None:
            self._home = self._cloud.aggregates_of(self._failed)
        return self._home

    def _join(self, name: str) -> None:
        if not self._to_aggregates:
            return
        try:
            there = {each.name for each in self._cloud.aggregates_of(name)}
            for aggregate in self._aggregates():
                if aggregate.name not in there:
                    self._cloud.add_to_aggregate(aggregate, name)
                    self.said.append(f"{name} joined aggregate {aggregate.name}")
        except CloudError as error:
            # The scheduler says what fits there without it.
            self.said.append(f"{name} did not join an aggregate of {self._failed}: {error}")


def reserve_of(settings: ControllerSettings, cloud: Nova, failed: str) -> Reserve:
    """As configured in `[recovery]`."""
    return Reserve(cloud, failed, settings.recovery.reserved_to_aggregates)
