"""What the decision is made from: everything known about every host at one moment, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hass_runtime.decide.diagnosis import HostTrack, Thresholds
from hass_runtime.decide.symptoms import Symptom
from hass_runtime.domain import Fault, Host, HostState, Incident


@dataclass(frozen=True)
class Policy:
    """The operator's choices, from the configuration.

    Attributes:
        storm_threshold: more than this share (0..1) of a cluster failing holds every remedy in it.
        max_remedies: how many hosts may be under fencing or evacuation at a time.
        retry_interval: seconds before a failed attempt is made again; doubles up to `RETRY_CAP`.
        max_attempts: failed restorations in a row after which a host is quarantined.
        auto_restore: switch an evacuated host on again; without it, wait until somebody did.
    """

    thresholds: Thresholds
    table: tuple[Symptom, ...]
    armed: bool = True
    storm_threshold: float = 0.5
    max_remedies: int = 2
    retry_interval: float = 10.0
    max_attempts: int = 3
    auto_restore: bool = True


@dataclass(frozen=True)
class LastRun:
    """How the newest ended run of an incident went; ``failures`` counts its kind's failures in a row."""

    playbook: str
    status: str
    reason: str
    ended_at: float
    failures: int


@dataclass(frozen=True)
class HostView:
    """One host: where it stands, what was read of it, and the incident it is in, if any.

    ``fault`` is today's diagnosis; ``running`` the playbook at work on it now, or "".
    """

    host: Host
    state: HostState
    track: HostTrack
    fault: Fault | None = None
    incident: Incident | None = None
    running: str = ""
    last_run: LastRun | None = None

    @property
    def name(self) -> str:
        return self.host.name


@dataclass(frozen=True)
class View:
    """Everything the decision depends on.

    ``gateway_answers`` is the controller's own connectivity: None when no gateway is configured.
    ``disarmed`` is the operator's reason, or "".
    """

    now: float
    policy: Policy
    hosts: Mapping[str, HostView] = field(default_factory=dict)
    gateway_answers: bool | None = None
    disarmed: str = ""

    def cluster_of(self, host: HostView) -> tuple[HostView, ...]:
        """All hosts of the same cluster, itself included."""
        return tuple(other for other in self.hosts.values() if other.host.cluster == host.host.cluster)
