"""From readings over time to a fault: debounce by counts, look the signs up in the symptom table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from hass_runtime.decide.symptoms import Sign, Symptom
from hass_runtime.domain import Fault, Layer, Reading, Verdict


@dataclass(frozen=True)
class Thresholds:
    """How much it takes to believe a failure.

    Attributes:
        misses: consecutive failed readings of a layer (`polling_threshold`).
        transient: seconds that a patient row of the table must hold (`network_transient_time`).
        stale_after: seconds after which a reading says nothing any more.
        planned: seconds that a host may be away after it said that it was being shut down
            (`planned_shutdown_time`).
    """

    misses: int
    transient: float
    stale_after: float
    planned: float = 600.0


@dataclass(frozen=True)
class LayerTrack:
    """The recent past of one layer of one host.

    ``count`` is how many readings in a row were like the last one, ``since`` when the first of them was.
    ``misses`` counts silent failures since the layer was last heard of; readings that could say nothing do
    not interrupt it, or a BMC that answers every other time would hide a dead host for ever. ``heard_at`` is
    when the host itself last spoke on this layer.
    """

    reading: Reading
    count: int
    since: float
    misses: int = 0
    heard_at: float | None = None


@dataclass(frozen=True)
class Boots:
    """The boot of a host in which its instances run, and the one that it lives in: ``present``, first heard
    ``since``. ``heard_at`` is when it was last heard in the former. Names are "" until one is known.
    """

    known: str = ""
    present: str = ""
    since: float = 0.0
    heard_at: float = 0.0

    @property
    def rebooted(self) -> bool:
        """True while what ran in the known boot is lost, and nobody has seen to it."""
        return self.present != self.known and bool(self.known)


NEVER_BOOTED = Boots()


@dataclass(frozen=True)
class HostTrack:
    """The recent past of a host, layer by layer, and since when which rows of the table hold.

    ``leaving``: the last that the host itself said was that it is being shut down. ``doubt``: why its BMC is
    not believed, "" while it is; see `_doubted`. ``boots``: see `Boots`.
    """

    host: str
    layers: Mapping[Layer, LayerTrack] = field(default_factory=dict)
    matched: str = ""
    matched_since: float = 0.0
    leaving: bool = False
    doubt: str = ""
    boots: Boots = NEVER_BOOTED

    def matching(self, fault: str, since: float) -> HostTrack:
        """The same, with the row of the table that holds now. Written out: this is done in every cycle."""
        return HostTrack(self.host, self.layers, fault, since, self.leaving, self.doubt, self.boots)


DOUBT_AFTER = 2
"""So many readings of off in a row, and a host that answers after them: its BMC lies."""

RARER: Mapping[Layer, float] = {Layer.HARDWARE: 6.0}
"""Layers that are read so many times less often, and stay true so much longer: a BMC is asked for dozens of
sensors, one after the other, and temperatures take their time."""

VOICES = (Layer.NETWORK, Layer.SERVICE, Layer.STORAGE)  # where the host itself answers, at that moment


def _alike(a: Reading, b: Reading) -> bool:
    return a.verdict is b.verdict and (a.verdict is not Verdict.FAILED or a.answered == b.answered)


def observe(track: HostTrack, reading: Reading) -> HostTrack:
    """Add a reading. Readings that come in late, older than the one known, change nothing."""
    if reading.subject != track.host:
        raise ValueError(f"a reading of {reading.subject} is not one of {track.host}")
    known = track.layers.get(reading.layer)
    if known is not None and reading.at < known.reading.at:
        return track
    misses = known.misses if known is not None else 0
    heard_at = reading.at if reading.answered else known.heard_at if known is not None else None
    if reading.verdict is Verdict.FAILED and not reading.answered:
        misses += 1
    elif reading.verdict is not Verdict.UNKNOWN:
        misses = 0
    if known is not None and _alike(known.reading, reading):
        new = LayerTrack(reading, known.count + 1, known.since, misses, heard_at)
    else:
        new = LayerTrack(reading, 1, reading.at, misses, heard_at)
    leaving = reading.leaving if _is_the_agents(reading) else track.leaving
    # Written out: `replace` takes three times as long, and this runs for every reading of every host.
    layers = {**track.layers, reading.layer: new}
    doubt = _doubted(track, reading)
    boots = _booted(track, reading) if reading.boot else track.boots
    return HostTrack(track.host, layers, track.matched, track.matched_since, leaving, doubt, boots)


def _is_the_agents(reading: Reading) -> bool:
    """Whether the agent itself spoke, not only a kernel that says that the agent's port is closed."""
    told = reading.leaving or bool(reading.boot) or reading.verdict is Verdict.OK
    return reading.layer is Layer.SERVICE and reading.answered and told


def _booted(track: HostTrack, reading: Reading) -> Boots:
    """A host that said goodbye before was rebooted by somebody, who knows what ran on it."""
    boots = track.boots
    wanted = track.leaving and reading.boot != boots.present and not boots.rebooted
    known = reading.boot if not boots.known or wanted else boots.known
    since = boots.since if reading.boot == boots.present else reading.at
    heard_at = reading.at if reading.boot == known else boots.heard_at
    return Boots(known, reading.boot, since, heard_at)


def _doubted(track: HostTrack, reading: Reading) -> str:
    """Why the host's BMC is not believed after this reading, or "".

    A BMC that says off of a host that answers would say so of the same host when it is cut off, and its
    instances would run twice. So it is not believed from then on, until it has said on again.
    """
    if reading.layer is Layer.POWER:
        return "" if reading.verdict is Verdict.OK else track.doubt
    power = track.layers.get(Layer.POWER)
    if track.doubt or not reading.answered or reading.layer not in VOICES or power is None:
        return track.doubt
    if power.reading.verdict is Verdict.FAILED and power.misses >= DOUBT_AFTER:
        return f"its BMC said off while the host answered ({reading.layer.value}: {reading.evidence})"
    return ""


def stale(layer: LayerTrack, now: float, limits: Thresholds) -> bool:
    """True when the last reading is so old that it says nothing any more."""
    return now - layer.reading.at > limits.stale_after * RARER.get(layer.reading.layer, 1.0)


def sign(layer: LayerTrack | None, now: float, limits: Thresholds) -> Sign:
    """How a layer looks at ``now``: see `Sign`. A layer never read, or not lately, is unknown."""
    if layer is None or stale(layer, now, limits):
        return Sign.UNKNOWN
    reading = layer.reading
    if reading.verdict is Verdict.OK:
        return Sign.OK
    if reading.verdict is Verdict.UNKNOWN:
        return Sign.UNKNOWN
    if reading.verdict is Verdict.WARNING:
        return Sign.WARNING if layer.count >= limits.misses else Sign.MISSING
    if reading.answered:
        return Sign.COMPLAINING if layer.count >= limits.misses else Sign.MISSING
    return Sign.SILENT if layer.misses >= limits.misses else Sign.MISSING


def signs(
    track: HostTrack, now: float, limits: Thresholds, blind: Collection[Layer] = ()
) -> dict[Layer, Sign]:
    """The signs of every layer that was ever read; a blind detector's layer is unknown."""
    looks = {
        layer: Sign.UNKNOWN if layer in blind else sign(known, now, limits)
        for layer, known in track.layers.items()
    }
    if track.doubt:
        looks[Layer.POWER] = Sign.DOUBTED
    if track.boots.rebooted:
        looks[Layer.OS] = Sign.REBOOTED
    return looks


def diagnose(
    track: HostTrack,
    table: tuple[Symptom, ...],
    now: float,
    limits: Thresholds,
    blind: Collection[Layer] = (),
) -> tuple[HostTrack, Fault | None]:
    """Find the fault of a host, or none. What the detector of a ``blind`` layer says is not believed.

    Returns:
        The track with the memory of which row holds since when, and the fault. A patient row that has
        not held long enough gives no fault yet; the memory survives a change between patient rows
        (a host that is unreachable does not become less so when its BMC goes silent too).
    """
    looks = signs(track, now, limits, blind)
    row = next((row for row in table if row.matches(looks)), None)
    if row is None:
        return (track.matching("", 0.0) if track.matched else track), None
    wait = limits.transient if row.patient else 0.0
    if track.leaving:  # whatever ends on its way down was asked to
        wait = max(wait, limits.planned)
    if not wait:
        return track.matching(row.fault, now), fault_of(track, row)
    waiting = {other.fault for other in table if other.patient}
    if (
        track.leaving
    ):  # while it goes down it passes through rows that are not patient, but a warm sensor is none
        waiting |= {other.fault for other in table if set(other.when) != {Layer.HARDWARE}}
    since = track.matched_since if track.matched in waiting else now
    track = track.matching(row.fault, since)
    return track, fault_of(track, row) if now - since >= wait else None


def fault_of(track: HostTrack, row: Symptom) -> Fault:
    """The fault that a matching row stands for, with what was read of the layers that the row names.

    ``seen`` has the latest evidence, dated from the first reading that was like it: the first sign.
    """
    known = [track.layers[layer] for layer in row.when if layer in track.layers]
    seen = tuple(layer.reading.dated(layer.since) for layer in known)
    boots = track.boots
    if boots.rebooted and Sign.REBOOTED in row.when.get(Layer.OS, ()):
        # Dated from when it was last heard before: whatever has ended since then ended with that boot.
        words = f"boot {boots.known} ended, it lives in {boots.present}"
        anew = Reading(track.host, Layer.OS, Verdict.FAILED, words, boots.heard_at, True, boot=boots.present)
        seen = (anew, *(reading for reading in seen if reading.layer is not Layer.OS))
    return Fault(host=track.host, name=row.fault, layer=row.layer, why=row.why, seen=seen)


_PLAIN = frozenset({Sign.OK, Sign.UNKNOWN, Sign.DOUBTED, Sign.REBOOTED})


def describe(track: HostTrack, now: float, limits: Thresholds) -> str:
    """One clause a layer for the log: ``network failed 2/2, power ok``; failed layers come first."""
    looks = signs(track, now, limits)
    failing, rest = [], []
    for layer in Layer:
        known = track.layers.get(layer)
        if known is None:
            continue
        if looks[layer] in _PLAIN:
            rest.append(f"{layer.value} {looks[layer].value}")
        elif known.reading.verdict is Verdict.WARNING:
            failing.append(f"{layer.value} warns {known.count}/{limits.misses}")
        elif known.reading.answered:
            failing.append(f"{layer.value} complains {known.count}/{limits.misses}")
        else:
            failing.append(f"{layer.value} failed {known.misses}/{limits.misses}")
    return ", ".join(failing + rest) or "nothing seen yet"
