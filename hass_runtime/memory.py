"""What a controller knows of its hosts between two cycles, and the frozen view that decisions are made from.

Everything here can be lost: a controller that starts reads states, incidents and runs from the store and
sees the rest for itself again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from hass_runtime.decide import diagnosis, gates
from hass_runtime.decide.blindness import blind_layers
from hass_runtime.decide.diagnosis import Boots, HostTrack
from hass_runtime.decide.symptoms import Sign
from hass_runtime.decide.view import HostView, LastRun, Policy, View
from hass_runtime.domain import (
    Host,
    HostState,
    Incident,
    Layer,
    Order,
    OrderKind,
    Pause,
    Reading,
    Reserve,
    Verdict,
)
from hass_runtime.store import Run

GATEWAY = "(gateway)"  # the subject of readings of the controller's own way out; no host can have that name


@dataclass
class Memory:
    """Per host: state, recent readings, open incident, the playbook at work and how the last one ended."""

    hosts: dict[str, Host]
    policy: Policy
    has_gateway: bool = False
    states: dict[str, HostState] = field(default_factory=dict)
    tracks: dict[str, HostTrack] = field(default_factory=dict)
    incidents: dict[str, Incident] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)
    cancelling: set[str] = field(default_factory=set)
    last_runs: dict[str, LastRun] = field(default_factory=dict)
    begun: dict[str, frozenset[str]] = field(default_factory=dict)
    fences: list[tuple[str, float]] = field(default_factory=list)
    pauses: tuple[Pause, ...] = ()
    orders: dict[tuple[str, OrderKind], Order] = field(default_factory=dict)
    troubled_at: dict[str, float] = field(default_factory=dict)
    doubts: dict[str, str] = field(default_factory=dict)
    boots: dict[str, str] = field(default_factory=dict)
    reserves: dict[str, Reserve] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tracks = {name: HostTrack(name) for name in (*self.hosts, GATEWAY)}
        self.states = {name: self.states.get(name, HostState.SUSPECT) for name in self.hosts}

    def observe(self, reading: Reading) -> bool:
        """Add a reading; True when its layer looks different from before, so that it is worth recording."""
        track = self.tracks[reading.subject]
        before = track.layers.get(reading.layer)
        self.tracks[reading.subject] = after = diagnosis.observe(track, reading)
        return before is None or after.layers[reading.layer].since != before.since

    def recall_doubt(self, host: str, doubt: str) -> None:
        """What the journal says of a host's BMC; what was seen of it since then counts more."""
        self.doubts[host] = doubt
        track = self.tracks[host]
        power = track.layers.get(Layer.POWER)
        if doubt and (power is None or power.reading.verdict is not Verdict.OK):
            self.tracks[host] = replace(track, doubt=doubt)

    def know_boot(self, host: str, boot: str, heard_at: float = 0.0) -> None:
        """The boot of a host in which its instances run, by the journal, and when it was last heard."""
        self.boots[host] = boot
        track = self.tracks[host]
        if boot:
            known = track.boots
            if known.known == boot:  # else it was last heard in another one
                heard_at = max(known.heard_at, heard_at)
            present = known.present or boot
            self.tracks[host] = replace(track, boots=Boots(boot, present, known.since, heard_at))

    def told(self, pauses: Iterable[Pause], orders: Iterable[Order]) -> None:
        """What people want at this moment."""
        self.pauses = tuple(pauses)
        self.orders = {(order.host, order.kind): order for order in orders if order.host in self.hosts}

    def view(self, now: float) -> View:
        """Everything as it is at ``now``, with today's diagnosis of every host."""
        limits = self.policy.thresholds
        blind = blind_layers((self.tracks[name] for name in self.hosts), now, limits.stale_after)
        fences = self._counted_fences(now)
        hosts = {}
        for name, host in self.hosts.items():
            self.tracks[name], fault = diagnosis.diagnose(
                self.tracks[name], self.policy.table, now, limits, blind
            )
            hosts[name] = HostView(
                host=host,
                state=self.states[name],
                track=self.tracks[name],
                fault=fault,
                incident=self.incidents.get(name),
                running=self.running.get(name, ""),
                cancelling=name in self.cancelling,
                last_run=self.last_runs.get(name),
                fences=tuple(at for fenced, at in fences if fenced == name) if fences else (),
                maintenance=self.orders.get((name, OrderKind.MAINTENANCE)),
                confirmed=self.orders.get((name, OrderKind.CONFIRM_FENCED)),
                wanted_back=self.orders.get((name, OrderKind.RESTORE)),
                doubt=self.doubts.get(name, ""),
                boot=self.boots.get(name, ""),
                begun=self.begun.get(name, frozenset()),
                reserve=self.reserves.get(name, Reserve.NONE),
                failback=self.orders.get((name, OrderKind.FAILBACK)),
            )
        view = View(
            now,
            self.policy,
            hosts,
            self._gateway_answers(now),
            self.pauses,
            blind,
            dict(self.troubled_at),
            fences,
        )
        for where in gates.troubled(view):
            self.troubled_at[where] = now
        return view

    def _counted_fences(self, now: float) -> tuple[tuple[str, float], ...]:
        if not self.fences:
            return ()
        since = now - max(self.policy.fence_window, self.policy.flap_window)
        self.fences = [(host, at) for host, at in self.fences if at > since]
        return tuple(self.fences)

    def _gateway_answers(self, now: float) -> bool | None:
        known = self.tracks[GATEWAY].layers.get(Layer.NETWORK)
        looks = diagnosis.sign(known, now, self.policy.thresholds)
        if not self.has_gateway or looks is Sign.UNKNOWN:
            return None
        return looks in (Sign.OK, Sign.MISSING)

    def looks(self, host: str, now: float) -> str:
        """The layers of a host in a few words, for the log."""
        return diagnosis.describe(self.tracks[host], now, self.policy.thresholds)

    def run_began(self, host: str, playbook: str) -> None:
        """A playbook of the host is at work."""
        self.running[host] = playbook
        self.begun[host] = self.begun.get(host, frozenset()) | {playbook}
        self.cancelling.discard(host)

    def run_ended(self, host: str, run: LastRun) -> None:
        """A playbook of the host ended; ``failures`` is counted on from the run before."""
        before = self.last_runs.get(host)
        earlier = before.failures if before is not None and before.playbook == run.playbook else 0
        failures = {"successful": 0, "lost": earlier}.get(run.status, earlier + 1)
        self.last_runs[host] = replace(run, failures=failures)
        self.running.pop(host, None)
        self.cancelling.discard(host)

    def forget_runs(self, host: str) -> None:
        """A new incident starts with a clean sheet."""
        self.last_runs.pop(host, None)
        self.begun.pop(host, None)
        self.running.pop(host, None)
        self.cancelling.discard(host)

    def recall_runs(self, host: str, runs: Iterable[Run], now: float) -> None:
        """Rebuild `last_runs` from the store, oldest run first. None of them ended in the future."""
        self.forget_runs(host)
        for run in sorted(runs, key=lambda run: run.started_at):
            self.begun[host] = self.begun.get(host, frozenset()) | {run.playbook}
            if run.finished_at is not None:
                ended_at = min(run.finished_at, now)
                self.run_ended(host, LastRun(run.playbook, run.status, run.reason, ended_at, 0))
