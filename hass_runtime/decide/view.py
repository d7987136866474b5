"""What the decision is made from: everything known about every host at one moment, frozen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from hass_runtime.decide.diagnosis import VOICES, HostTrack, Thresholds
from hass_runtime.decide.lifecycle import TAKEN_OUT
from hass_runtime.decide.symptoms import Rung, Symptom
from hass_runtime.domain import (
    Fault,
    Host,
    HostState,
    Incident,
    Layer,
    Method,
    Order,
    Pause,
    Reading,
    Reserve,
    Scope,
    Verdict,
)

FAILURE = "host_failure"
DRAIN = "host_drain"
RESTORE = "host_restore"
REVIVE = "instances_start"
KEEP = "host_reserve"
FAILBACK = "host_failback"
REBOOTED = "rebooted"


@dataclass(frozen=True)
class Policy:
    """The operator's choices, from the configuration.

    Attributes:
        protected: by cluster, the layers whose faults are remedied; a cluster not named protects all.
        storm_threshold: more than this share (0..1) of a cluster failing holds every remedy in it.
        domain_threshold: the same for one failure domain.
        max_remedies: how many hosts may be under fencing or evacuation at a time.
        max_fences: how many hosts may be fenced within ``fence_window`` seconds.
        cooldown: seconds that HASS looks on after a storm, or after being cut off itself.
        flap_limit: a host fenced so often within ``flap_window`` seconds is not taken back by itself.
        retry_interval: seconds before a failed attempt is made again; doubles up to `RETRY_CAP`.
        max_attempts: failed restorations in a row after which a host is quarantined.
        auto_restore: switch an evacuated host on again; without it, wait until somebody did.
        healthy_delay: seconds that a drained host has to look well before it is taken back.
        settle: seconds after a mild remedy until its effect can be judged.
        methods: by cluster, where instances go; a cluster not named leaves it to Nova's scheduler.
        refill_reserve: a host that comes back takes the place of a reserved one that was used.
        reserved_to_aggregates: a reserved host that is used joins the aggregates of the failed one.
        by_hand: a host comes back when a person wants it back, and not by itself.
        failback: what was moved away comes home by itself once its host is back.
    """

    thresholds: Thresholds
    table: tuple[Symptom, ...]
    protected: Mapping[str, frozenset[Layer]] = field(default_factory=dict)
    armed: bool = True
    storm_threshold: float = 0.5
    domain_threshold: float = 0.5
    max_remedies: int = 2
    max_fences: int = 10
    fence_window: float = 3600.0
    cooldown: float = 15.0
    flap_limit: int = 3
    flap_window: float = 7200.0
    retry_interval: float = 10.0
    max_attempts: int = 3
    auto_restore: bool = True
    healthy_delay: float = 60.0
    settle: float = 15.0
    methods: Mapping[str, Method] = field(default_factory=dict)
    refill_reserve: bool = True
    reserved_to_aggregates: bool = True
    by_hand: bool = False
    failback: bool = False

    def method(self, cluster: str) -> Method:
        """Where the instances of a failed host of this cluster go."""
        return self.methods.get(cluster, Method.AUTO)

    @cached_property
    def _ladders(self) -> Mapping[str, tuple[Rung, ...]]:
        return {row.fault: row.ladder for row in reversed(self.table)}

    def ladder(self, fault: str, layer: str, cluster: str) -> tuple[Rung, ...]:
        """The remedies of a fault, the mildest first; empty when it is only reported in this cluster."""
        protected = self.protected.get(cluster)
        if protected is not None and layer not in {each.value for each in protected}:
            return ()
        return self._ladders.get(fault, ())


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

    ``fault`` is today's diagnosis; ``running`` the playbook at work on it now, or "", and ``cancelling`` that
    it was told to end. ``fences`` are the moments of its fences that are still counted, the oldest first.
    ``maintenance``, ``confirmed`` and ``wanted_back`` are a person's orders in force. ``doubt`` is what the
    journal says of its BMC, see `diagnosis.HostTrack`, and ``boot`` the boot that it knows. ``begun``
    are the playbooks that were begun in its incident. ``reserve``: whether it is kept free for others.
    """

    host: Host
    state: HostState
    track: HostTrack
    fault: Fault | None = None
    incident: Incident | None = None
    running: str = ""
    cancelling: bool = False
    last_run: LastRun | None = None
    fences: tuple[float, ...] = ()
    maintenance: Order | None = None
    confirmed: Order | None = None
    wanted_back: Order | None = None
    doubt: str = ""
    boot: str = ""
    begun: frozenset[str] = frozenset()
    reserve: Reserve = Reserve.NONE
    failback: Order | None = None

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def proven_off(self) -> bool:
        """True when a fence of this incident succeeded: then its remedy is finished, however it looks."""
        return self.incident is not None and self.incident.fenced_at is not None

    def latest(self, layer: Layer) -> Reading | None:
        """The newest reading of a layer, however old."""
        track = self.track.layers.get(layer)
        return track.reading if track is not None else None

    def heard_at(self) -> float | None:
        """When the host itself last spoke on any layer; None when it was not heard yet."""
        tracks = (self.track.layers.get(layer) for layer in VOICES)
        heard = [known.heard_at for known in tracks if known is not None and known.heard_at is not None]
        return max(heard, default=None)


@dataclass(frozen=True)
class View:
    """Everything the decision depends on.

    ``gateway_answers`` is the controller's own connectivity: None when no gateway is configured.
    ``blind`` are the layers whose detector sees nothing of any host, with the reason. ``troubled_at`` is when
    there was last a storm, by cluster, and, under `gates.EVERYWHERE`, when the controller was cut off.
    ``fences`` are (host, moment) of the fences that are still counted.
    """

    now: float
    policy: Policy
    hosts: Mapping[str, HostView] = field(default_factory=dict)
    gateway_answers: bool | None = None
    pauses: tuple[Pause, ...] = ()
    blind: Mapping[Layer, str] = field(default_factory=dict)
    troubled_at: Mapping[str, float] = field(default_factory=dict)
    fences: tuple[tuple[str, float], ...] = ()

    def answers(self, host: HostView) -> bool:
        """True when the host itself was lately heard on its network or from its agent."""
        layers = host.track.layers
        for layer in (Layer.NETWORK, Layer.SERVICE):
            known = layers.get(layer)
            if known is None or not known.reading.answered:
                continue
            if self.now - known.reading.at <= self.policy.thresholds.stale_after:
                return True
        return False

    def ladder(self, host: HostView) -> tuple[Rung, ...]:
        """The remedies of what is wrong with the host now; empty when nothing is, or it is only reported."""
        if host.fault is None:
            return ()
        return self.policy.ladder(host.fault.name, host.fault.layer.value, host.host.cluster)

    def needs_failure(self, host: HostView) -> bool:
        """True when today's diagnosis leaves nothing milder than to fence and evacuate."""
        ladder = self.ladder(host)
        return bool(ladder) and ladder[0].playbook == FAILURE

    def is_empty(self, host: HostView) -> bool:
        """True when nothing on the host can fail any more, or nothing does."""
        if host.proven_off or host.fault is None:
            return True
        if host.maintenance is not None and emptied(host):
            return True
        return DRAIN in host.begun and not self.needs_failure(host)

    def paused(self, host: HostView) -> Pause | None:
        """The pause that covers the host, the widest first; None when HASS may act on it."""
        for pause in self.pauses:
            if pause.scope is Scope.ALL:
                return pause
            if pause.name == (host.host.cluster if pause.scope is Scope.CLUSTER else host.name):
                return pause
        return None

    def is_down(self, host: HostView) -> bool:
        """True when the host was taken out by a remedy, was not read yet, or fails as a whole.

        Deliberately quicker than the diagnosis: hosts that fall within seconds of one another must be
        counted together before the first of them is acted upon. A host that is only reported on, or in
        maintenance, and answers, is not down; nor is one that was emptied for maintenance.
        """
        if host.state in TAKEN_OUT:
            return True
        if host.state is HostState.MAINTENANCE and emptied(host):
            return False
        if not host.track.layers:
            return True
        if self.answers(host):
            return self.needs_failure(host) or self._lost_storage(host)
        read = [reading for layer in (Layer.NETWORK, Layer.SERVICE) if (reading := host.latest(layer))]
        return not read or any(reading.verdict is Verdict.FAILED for reading in read)

    def _lost_storage(self, host: HostView) -> bool:
        reading = host.latest(Layer.STORAGE)
        return reading is not None and reading.verdict is Verdict.FAILED

    @cached_property
    def down(self) -> Mapping[str, frozenset[str]]:
        """Names of the hosts that are down, by cluster."""
        found: dict[str, set[str]] = {cluster: set() for cluster in self.sizes}
        for host in self.hosts.values():
            if self.is_down(host):
                found[host.host.cluster].add(host.name)
        return {cluster: frozenset(names) for cluster, names in found.items()}

    def silent_beside(self, host: HostView) -> tuple[str, ...]:
        """Names of the other hosts of its cluster that are down and do not answer."""
        others = sorted(self.down[host.host.cluster] - {host.name})
        return tuple(name for name in others if not self.answers(self.hosts[name]))

    @cached_property
    def ailing(self) -> Mapping[str, frozenset[str]]:
        """Names of the hosts that are down or have any fault with a remedy, by cluster."""
        return {
            cluster: names
            | {h.name for h in self.hosts.values() if h.host.cluster == cluster and self.ladder(h)}
            for cluster, names in self.down.items()
        }

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """How many hosts each cluster has."""
        return Counter(host.host.cluster for host in self.hosts.values())

    @cached_property
    def zones(self) -> Mapping[tuple[str, str], frozenset[str]]:
        """Names of the hosts of each failure domain, by (cluster, zone)."""
        found: dict[tuple[str, str], set[str]] = {}
        for host in self.hosts.values():
            if host.host.zone:
                found.setdefault((host.host.cluster, host.host.zone), set()).add(host.name)
        return {key: frozenset(names) for key, names in found.items()}

    def launched(self, name: str, state: HostState, playbook: str) -> View:
        """The view as it is once this playbook was launched on the host: a host that is acted upon counts."""
        host = replace(self.hosts[name], state=state, running=playbook)
        fences = self.fences
        if playbook == FAILURE and not any(fenced == name for fenced, _ in fences):
            fences = (*fences, (name, self.now))
        changed = replace(self, hosts={**self.hosts, name: host}, fences=fences)
        for counted in ("sizes", "zones"):  # not changed by a launch, and dear to count in a large cloud
            if counted in self.__dict__:
                changed.__dict__[counted] = self.__dict__[counted]
        return changed

    def reserved(self, name: str, reserve: Reserve) -> View:
        """The view as it is once this host is kept in reserve, or no longer."""
        return replace(self, hosts={**self.hosts, name: replace(self.hosts[name], reserve=reserve)})


def emptied(host: HostView) -> bool:
    """True when a drain of the host's present incident has succeeded."""
    run = host.last_run
    return run is not None and run.playbook == DRAIN and run.status == "successful"
