"""What a judge has to know of a cluster in which a scenario is played, made up or real."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from hass_runtime.domain import Incident
from hass_runtime.simulator.journal import Journal
from hass_runtime.simulator.monitor import TWO_WRITERS, Monitor
from hass_runtime.simulator.nova import Nova
from hass_runtime.simulator.record import Record
from hass_runtime.simulator.world import World
from hass_runtime.store import HostRow


class Facts(Protocol):
    """What is the case now. Instances go by their names; an instance that is deleted is still asked for."""

    @property
    def now(self) -> float:
        """Seconds since the scenario began."""

    @property
    def version(self) -> object:
        """Another value after every moment at which something may have changed."""

    # What HASS says

    def host(self, name: str) -> HostRow | None: ...

    def incidents(self) -> Iterable[Incident]: ...

    def open_incident(self, host: str) -> Incident | None:
        """The incident of the host that has no end."""

    # What is true whatever HASS says

    def running_on(self, instance: str) -> Sequence[str]:
        """The hosts on which it really runs."""

    def running_there(self, host: str) -> Collection[str]:
        """The instances that really run there."""

    def wanted(self, instance: str) -> bool:
        """Whether its owner wants it to run."""

    def nova_says(self, instance: str) -> tuple[str, str] | None:
        """Its state (``active``, ``stopped``, …) and its host by Nova; None when it is deleted."""

    # What has been the case since the beginning

    def two_writers(self) -> bool:
        """Whether any instance ran on two hosts at once."""

    def fenced(self) -> Collection[str]:
        """Hosts that HASS fenced."""

    def evacuated(self) -> Collection[str]:
        """Hosts of which HASS had instances evacuated."""

    def restarted(self) -> Collection[str]:
        """Instances that HASS had started again."""


class MadeUpFacts:
    """The facts of the made-up world."""

    def __init__(self, world: World, nova: Nova, journal: Journal, record: Record, monitor: Monitor) -> None:
        self._world = world
        self._nova = nova
        self._journal = journal
        self._record = record
        self._monitor = monitor

    @property
    def now(self) -> float:
        return self._world.hub.now

    @property
    def version(self) -> object:
        return self._world.version, len(self._record.entries)

    def host(self, name: str) -> HostRow | None:
        row: HostRow | None = self._journal.host_rows.get(name)
        return row

    def incidents(self) -> Iterable[Incident]:
        return self._journal.all_incidents.values()

    def open_incident(self, host: str) -> Incident | None:
        number = self._journal.open_by_host.get(host)
        return None if number is None else self._journal.all_incidents[number]

    def running_on(self, instance: str) -> Sequence[str]:
        return self._world.running_on(self._world.by_name[instance])

    def running_there(self, host: str) -> Collection[str]:
        return {guest.name for guest in self._world.guests_of(host)}

    def wanted(self, instance: str) -> bool:
        guest = self._world.by_name[instance]
        return not guest.deleted and guest.wish == "active"

    def nova_says(self, instance: str) -> tuple[str, str] | None:
        record = self._nova.records.get(self._world.by_name[instance].uuid)
        return None if record is None else (record.server.vm_state, record.server.host)

    def two_writers(self) -> bool:
        return any(violation.rule == TWO_WRITERS for violation in self._monitor.violations)

    def fenced(self) -> Collection[str]:
        return self._monitor.fenced

    def evacuated(self) -> Collection[str]:
        return self._monitor.evacuated

    def restarted(self) -> Collection[str]:
        return self._monitor.started
