"""What `hass_runtime.loop` does, on the made-up clock: looks at the hosts, and lets the controller cycle.

A cycle that can change nothing is left out, which most of them are: nothing was seen that was not seen
before, and no moment has come from which on time alone would change a decision. The result is the same as
with all of them, only sooner; a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hass_runtime.controller import LOOKED_AT_FASTER, Controller
from hass_runtime.decide import gates
from hass_runtime.decide.diagnosis import HostTrack, LayerTrack
from hass_runtime.decide.ladder import pause_before_retry
from hass_runtime.decide.view import Policy
from hass_runtime.domain import HostState, OrderKind, Reading, Verdict
from hass_runtime.leader import Leadership
from hass_runtime.loop import SETTLE
from hass_runtime.memory import GATEWAY
from hass_runtime.remedy.resume import end_runs
from hass_runtime.settings import ControllerSettings
from hass_runtime.simulator.eyes import Eyes
from hass_runtime.simulator.hub import Hub
from hass_runtime.simulator.journal import Journal
from hass_runtime.simulator.runs import MadeUpLauncher


@dataclass
class _Seen:
    """What was last seen of a host, what the controller was told, and how often it was the same since."""

    readings: tuple[Reading, ...] = ()
    fresh: bool = False
    told: tuple[Reading, ...] = ()
    told_at: float = 0.0
    owed: int = 0
    owed_at: float = 0.0
    steady: bool = False

    def put_off(self, now: float) -> None:
        """It was seen, and is what it was: to be told when it matters."""
        self.fresh = False
        self.owed += 1
        self.owed_at = now


class Daemon:
    """One life of the controller's process, from its start to its death.

    Args:
        number: tells this process from others that came before.
        skips: whether cycles that change nothing are left out.
    """

    def __init__(
        self,
        hub: Hub,
        settings: ControllerSettings,
        policy: Policy,
        journal: Journal,
        launcher: MadeUpLauncher,
        eyes: Eyes,
        number: int,
        skips: bool,
    ) -> None:
        self._hub = hub
        self._settings = settings
        self._policy = policy
        self._journal = journal
        self._launcher = launcher
        self._eyes = eyes
        self._skips = skips
        self._leadership = Leadership(
            journal,  # type: ignore[arg-type]
            f"{settings.controller.name} made-up 0 {number}",
            settings.controller.lease_ttl,
            clock=hub.monotonic,
            bury=lambda: end_runs(journal.unfinished_runs(), launcher.end_leftovers),
        )
        self.controller = Controller(
            settings,
            journal,  # type: ignore[arg-type]
            policy,
            leadership=self._leadership,
            launcher=launcher,
            clock=hub.wall,
            wall=hub.wall,
            monotonic=hub.monotonic,
        )
        launcher.heard = self.heard
        self.bugs = 0
        self.cycles = 0
        self._alive = True
        self._wake_at: float | None = None
        self._news = True
        self._idle_until = 0.0
        self._troubled: frozenset[str] = frozenset()
        interval, ttl = settings.detection.polling_interval, settings.controller.lease_ttl
        self._interval = interval
        self._pause = min(interval / 2, ttl / 6, 1.0)
        names = [*(host.name for host in settings.hosts)]
        if settings.openstack.gateway_ip:
            names.append(GATEWAY)
        self._seen = {name: _Seen() for name in names}

    def start(self) -> None:
        for name in self._seen:
            self._look(name)
        self._wake(self._hub.now)

    def die(self) -> None:
        self._alive = False

    def news(self) -> None:
        """Something has changed that the controller reads for itself: a person's order, its database."""
        self._news = True

    def heard(self) -> None:
        """A run has said something."""
        if self._alive:
            self._news = True
            self._wake(self._hub.now + SETTLE)

    # -- seeing ----------------------------------------------------------------------------------------

    def _look(self, name: str) -> None:
        if not self._alive:
            return
        seen = self._seen[name]
        readings = self._eyes.look(name)
        if readings is not seen.readings or not seen.steady:
            self._news = True
        seen.readings, seen.fresh = readings, True
        pace = self._interval / 2 if self._hurried(name) else self._interval
        self._hub.after(pace, lambda: self._look(name))
        self._wake(self._hub.now + SETTLE)

    def _hurried(self, name: str) -> bool:
        """As `Controller.hurried`, of one."""
        state = self.controller.memory.states.get(name)
        return state in LOOKED_AT_FASTER

    def _wake(self, moment: float) -> None:
        if self._wake_at is None or moment < self._wake_at:
            self._wake_at = moment
            self._hub.at(moment, lambda: self._turn(moment))

    # -- a turn of the loop ----------------------------------------------------------------------------

    def _turn(self, moment: float) -> None:
        if not self._alive or self._wake_at != moment:
            return
        self._wake_at = None
        if not (self._skips and self._nothing_new()):
            self._cycle()
        self._wake(self._hub.now + self._pause)

    def _nothing_new(self) -> bool:
        """Keep the lease and the runs alive, and put off what was seen; False when a cycle is needed."""
        if self._news or self._hub.wall() >= self._idle_until or self._leadership.tick() is None:
            return False
        for run in self._launcher.living():
            run.beat(valid_until=self._leadership.valid_until)
        for seen in self._seen.values():
            if seen.fresh:
                seen.put_off(self._hub.wall())
        for where in self._troubled:  # it goes on, and its end counts from the last cycle that saw it
            self.controller.memory.troubled_at[where] = self._hub.wall()
        return True

    def _cycle(self) -> None:
        for name, seen in self._seen.items():
            if self._matters_little(name, seen):
                if seen.fresh:
                    seen.put_off(self._hub.wall())
                continue
            self._catch_up(name, seen)
            if seen.fresh:
                seen.fresh, seen.told, seen.told_at = False, seen.readings, self._hub.wall()
                for reading in seen.readings:
                    self.controller.inbox.put(reading)
        self.cycles += 1
        if not self.controller.guarded_cycle():
            self.bugs += 1
        # What could not be written, or was not decided for want of a lease, is tried again in every cycle.
        self._news = self._journal.away or self._leadership.lease is None or bool(self.bugs)
        self._idle_until = self._hub.wall()
        self._troubled = frozenset()
        if self._skips and not self._news:
            memory, now = self.controller.memory, self._hub.wall()
            # It may have begun the cycle in trouble and ended it without.
            lately = {where for where, at in memory.troubled_at.items() if at == now}
            self._troubled = gates.troubled(memory.view(now)) & lately if lately else frozenset()
            self._idle_until = min(self._moments(), default=float("inf"))
            for name, seen in self._seen.items():
                seen.steady = self._is_steady(self.controller.memory.tracks[name])

    def _matters_little(self, name: str, seen: _Seen) -> bool:
        """Whether a cycle is the same without what was last seen of a host: that it is well, as ever."""
        memory = self.controller.memory
        return (
            self._skips
            and seen.steady
            and seen.readings is seen.told
            and all(reading.verdict in (Verdict.OK, Verdict.UNKNOWN) for reading in seen.told)
            and memory.states.get(name) is HostState.HEALTHY
            and name not in memory.incidents
            and not memory.tracks[name].matched
            and self._hub.wall() - seen.told_at < 2 * self._interval
            and not memory.orders
        )

    def _catch_up(self, name: str, seen: _Seen) -> None:
        """Let the memory be as if it had been told of every look that was put off."""
        memory = self.controller.memory
        if not seen.owed:
            return
        more = seen.owed - 1
        if more:
            track = memory.tracks[name]
            layers = {layer: _seen_more(known, more) for layer, known in track.layers.items()}
            memory.tracks[name] = replace(track, layers=layers)
        for reading in seen.told:
            memory.observe(replace(reading, at=seen.owed_at))
        seen.owed, seen.told_at = 0, seen.owed_at

    def _is_steady(self, track: HostTrack) -> bool:
        """Whether one more look that shows the same would change no sign."""
        enough = self._policy.thresholds.misses
        return bool(track.layers) and all(
            known.count >= enough and (known.misses >= enough or not _silent(known.reading))
            for known in track.layers.values()
        )

    def _moments(self) -> Iterator[float]:
        """When the passing of time alone may change a decision; the past does not count."""
        now, memory = self._hub.wall(), self.controller.memory
        for moment in self._all_moments():
            if moment > now:
                yield moment
        for track in memory.tracks.values():
            if track.leaving and track.matched:
                yield now
        if any(kind is OrderKind.CONFIRM_FENCED for _, kind in memory.orders):
            yield now  # any sign of life of the host ends it
        for name, run in memory.last_runs.items():
            if any(layer.reading.at < run.ended_at for layer in memory.tracks[name].layers.values()):
                yield now

    def _all_moments(self) -> Iterator[float]:
        memory, policy = self.controller.memory, self._policy
        limits = policy.thresholds
        for at in memory.troubled_at.values():
            yield at + policy.cooldown
        for _, at in memory.fences:
            yield at + policy.fence_window
            yield at + policy.flap_window
        ends = [pause.until for pause in memory.pauses] + [order.until for order in memory.orders.values()]
        yield from (until for until in ends if until is not None)
        for run in memory.last_runs.values():
            yield run.ended_at + pause_before_retry(run, policy.retry_interval)
            yield run.ended_at + policy.settle
        for name, track in memory.tracks.items():
            if track.matched:
                yield track.matched_since + limits.transient
                yield track.matched_since + limits.planned
            if name in memory.incidents:
                for known in track.layers.values():
                    yield known.since + policy.healthy_delay


def _silent(reading: Reading) -> bool:
    return reading.verdict is Verdict.FAILED and not reading.answered


def _seen_more(known: LayerTrack, times: int) -> LayerTrack:
    misses = known.misses + times if _silent(known.reading) else known.misses
    return replace(known, count=known.count + times, misses=misses)
