"""What the decision is made from: everything known about every host at one moment, frozen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from hass_runtime.decide.diagnosis import HostTrack, Thresholds
from hass_runtime.decide.lifecycle import TAKEN_OUT
from hass_runtime.decide.symptoms import Symptom
from hass_runtime.domain import Fault, Host, HostState, Incident, Layer, Reading, Verdict


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

    ``fault`` is today's diagnosis; ``running`` the playbook at work on it now, or ""; ``proven_off`` says
    that a fence of this incident succeeded: then its remedy is finished, whatever the host looks like.
    """

    host: Host
    state: HostState
    track: HostTrack
    fault: Fault | None = None
    incident: Incident | None = None
    running: str = ""
    last_run: LastRun | None = None
    proven_off: bool = False

    @property
    def name(self) -> str:
        return self.host.name

    def latest(self, layer: Layer) -> Reading | None:
        """The newest reading of a layer, however old."""
        track = self.track.layers.get(layer)
        return track.reading if track is not None else None


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

    def answers(self, host: HostView) -> bool:
        """True when the host itself was lately heard on its network or from its agent."""
        return any(
            reading is not None
            and reading.answered
            and self.now - reading.at <= self.policy.thresholds.stale_after
            for reading in (host.latest(Layer.NETWORK), host.latest(Layer.SERVICE))
        )

    def is_down(self, host: HostView) -> bool:
        """True when the host was taken out by a remedy, was not read yet, or is silent on all that was read.

        Deliberately quicker than the diagnosis: hosts that fall within seconds of one another must be
        counted together before the first of them is acted upon. A host that is only reported on, or in
        maintenance, and answers, is not down.
        """
        if host.state in TAKEN_OUT:
            return True
        if self.answers(host):
            return False
        read = [reading for layer in (Layer.NETWORK, Layer.SERVICE) if (reading := host.latest(layer))]
        return not read or any(reading.verdict is Verdict.FAILED for reading in read)

    @cached_property
    def down(self) -> Mapping[str, frozenset[str]]:
        """Names of the hosts that are down, by cluster."""
        found: dict[str, set[str]] = {cluster: set() for cluster in self.sizes}
        for host in self.hosts.values():
            if self.is_down(host):
                found[host.host.cluster].add(host.name)
        return {cluster: frozenset(names) for cluster, names in found.items()}

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """How many hosts each cluster has."""
        return Counter(host.host.cluster for host in self.hosts.values())
