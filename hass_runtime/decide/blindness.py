"""Whether a detector went blind for everybody: then it is disabled and reported, not believed.

When the switch of all BMCs dies, no host has lost its power reading for a reason of its own; when every agent
is silent while every host answers pings, somebody rotated a key. One broken eye must not look like many
broken hosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hass_runtime.decide.diagnosis import HostTrack, LayerTrack
from hass_runtime.domain import Layer, Verdict

WITNESSES = 2  # of hosts that surely live; a single host may have a reason of its own
_SPOKEN = (Layer.NETWORK, Layer.SERVICE)
_WATCHED = {
    Layer.POWER: "no BMC of {} can be read, all of which answer otherwise",
    Layer.NETWORK: "none of {} answers on its network, whose agents do",
    Layer.SERVICE: "the agent of none of {} answers, whose networks do",
}


def blind_layers(tracks: Iterable[HostTrack], now: float, stale_after: float) -> Mapping[Layer, str]:
    """The layers whose detector sees nothing of any host that is known to live, each with the reason.

    A host lives when it answered on *another* layer lately. A layer that was never read of a host (no BMC)
    says nothing about its detector.
    """
    living: dict[Layer, int] = dict.fromkeys(_WATCHED, 0)
    seeing: set[Layer] = set()
    for track in tracks:
        for layer in _WATCHED:
            if layer in seeing:
                continue
            known = track.layers.get(layer)
            if known is None or not _speaks(track, layer, now, stale_after):
                continue
            living[layer] += 1
            if not _sees_nothing(known, now, stale_after):
                seeing.add(layer)
        if len(seeing) == len(_WATCHED):
            break
    return {
        layer: words.format(f"{living[layer]} hosts")
        for layer, words in _WATCHED.items()
        if layer not in seeing and living[layer] >= WITNESSES
    }


def _speaks(track: HostTrack, besides: Layer, now: float, stale_after: float) -> bool:
    """True when the host itself was lately heard on a layer other than ``besides``."""
    for layer in _SPOKEN:
        known = track.layers.get(layer)
        if layer is besides or known is None or not known.reading.answered:
            continue
        if now - known.reading.at <= stale_after:
            return True
    return False


def _sees_nothing(known: LayerTrack, now: float, stale_after: float) -> bool:
    if now - known.reading.at > stale_after:
        return True
    if known.reading.verdict is Verdict.UNKNOWN:
        return not known.reading.answered
    # A BMC that says off is an answer, even when the host lives; silence of a host is none.
    return (
        known.reading.layer is not Layer.POWER
        and known.reading.verdict is Verdict.FAILED
        and not known.reading.answered
    )
