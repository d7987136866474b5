"""What a controller's memory says about the next cycle: whether, and from when on, it can matter at all.

All of it must err on one side only: a cycle that changes nothing may be called for, but none that changes
something may be left out. Whoever adds a moment or a count to the judgement has to add it here; the test that
compares runs with and without the cycles left out tells when it was forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hass_runtime.decide.diagnosis import DOUBT_AFTER, VOICES, HostTrack, LayerTrack, observe
from hass_runtime.decide.ladder import pause_before_retry
from hass_runtime.domain import HostState, Layer, OrderKind, Reading, Verdict
from hass_runtime.memory import Memory
from hass_runtime.simulator.journal import Journal

_WELL = (Verdict.OK, Verdict.UNKNOWN)


def changed(it: HostTrack, **values: Any) -> HostTrack:
    """As `dataclasses.replace`, in a fraction of the time."""
    made: HostTrack = object.__new__(HostTrack)
    made.__dict__.update(it.__dict__, **values)
    return made


def silent(reading: Reading) -> bool:
    return reading.verdict is Verdict.FAILED and not reading.answered


def is_well(readings: tuple[Reading, ...]) -> bool:
    """Whether they show nothing wrong."""
    return all(reading.verdict in _WELL for reading in readings)


def is_left_alone(name: str, memory: Memory) -> bool:
    """Whether nothing is the matter with a host, and nobody wants anything of it."""
    return (
        memory.states.get(name) is HostState.HEALTHY
        and name not in memory.incidents
        and not memory.tracks[name].matched
        and not any(host == name for host, _ in memory.orders)
    )


def is_told(memory: Memory, journal: Journal, now: float) -> bool:
    """Whether the controller knows what people want, and its database still answers."""
    if journal.away:
        return False
    orders = {(order.host, order.kind): order for order in journal.orders(now) if order.host in memory.hosts}
    return journal.pauses(now) == memory.pauses and orders == memory.orders


def seen_more(track: HostTrack, readings: tuple[Reading, ...], times: int, at: float) -> HostTrack:
    """The track of a steady host after so many more looks that showed the same, the last one ``at``."""
    layers = dict(track.layers)
    told = []
    for reading in readings:
        known, more = layers[reading.layer], times
        if reading.boot:  # it says more than that its layer is as it was: the last one is told
            told.append(reading.dated(at))
            more -= 1
        layers[reading.layer] = LayerTrack(
            reading.dated(at),
            known.count + more,
            known.since,
            known.misses + more if silent(reading) else known.misses,
            at if reading.answered else known.heard_at,
        )
    track = changed(track, layers=layers)
    for reading in told:
        track = observe(track, reading)
    return track


class Quiet:
    """Asks about one controller's memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._policy = policy = memory.policy
        self._enough = max(policy.thresholds.misses, DOUBT_AFTER)
        self._patient = frozenset(row.fault for row in policy.table if row.patient)

    def is_steady(self, name: str) -> bool:
        """Whether one more look at the host that shows the same would change no sign."""
        track = self._memory.tracks[name]
        layers = track.layers
        power = layers.get(Layer.POWER)
        says_off = power is not None and power.reading.verdict is Verdict.FAILED and not track.doubt
        if says_off and any(layers[voice].reading.answered for voice in VOICES if voice in layers):
            return False  # its BMC is about to be doubted
        for known in layers.values():
            if known.reading.verdict not in _WELL:
                so_often = known.misses if silent(known.reading) else known.count
                if so_often < self._enough:
                    return False
        return bool(layers)

    def dated_anew(self) -> list[str]:
        """Hosts with a fault that is not waited for: in each cycle its row holds from then on."""
        tracks = self._memory.tracks.items()
        return [name for name, track in tracks if track.matched and self._is_dated_anew(track)]

    def next_moment(self, now: float) -> float:
        """When the passing of time alone may change a decision for the first time; ``now``: any moment."""
        if self._any_look_matters():
            return now
        return min((moment for moment in self._moments() if moment > now), default=float("inf"))

    def _is_dated_anew(self, track: HostTrack) -> bool:
        return not track.leaving and track.matched not in self._patient

    def _any_look_matters(self) -> bool:
        memory = self._memory
        if not self._policy.thresholds.planned:
            for track in memory.tracks.values():
                if track.leaving and track.matched:
                    return True
        for (name, kind), order in memory.orders.items():
            if kind is OrderKind.CONFIRM_FENCED and _would_be_heard(memory.tracks[name], order.at):
                return True  # any sign of life of the host ends it
        for name, run in memory.last_runs.items():
            for known in memory.tracks[name].layers.values():
                if known.reading.at < run.ended_at:
                    return True
        return False

    def _moments(self) -> Iterator[float]:
        memory, policy = self._memory, self._policy
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
            if track.matched and not self._is_dated_anew(track):
                yield track.matched_since + limits.transient
                yield track.matched_since + limits.planned
            if name in memory.incidents:
                good_since = [
                    known.since for known in track.layers.values() if known.reading.verdict is Verdict.OK
                ]
                if good_since:
                    yield max(good_since) + policy.healthy_delay


def _would_be_heard(track: HostTrack, after: float) -> bool:
    """Whether the next look hears of the host for the first time after a moment."""
    voices = [known for layer in VOICES if (known := track.layers.get(layer)) is not None]
    heard = any(known.heard_at is not None and known.heard_at > after for known in voices)
    return not heard and any(known.reading.answered for known in voices)
