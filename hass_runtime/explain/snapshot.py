"""A view as bytes, and back: what a decision was made from, kept so that it can be made again.

Hosts with which nothing is wrong are kept by name only, grouped by how they look; all others with all that
was known of them, their evidence cut to `EVIDENCE` characters. A view that is still larger than `LIMIT`
bytes loses the words of its evidence; the signs stay. Credentials of a BMC are never kept, only that there
is one.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from cattrs.preconf.json import make_converter

from hass_runtime.decide.diagnosis import HostTrack, LayerTrack, stale
from hass_runtime.decide.view import HostView, Policy, View
from hass_runtime.domain import Bmc, Host, HostState, Layer, Pause, Reading, Reserve, Verdict

FORMAT = 1
EVIDENCE = 300
LIMIT = 4 * 1024 * 1024
_LEVEL = 3  # of zlib: more takes longer, while hosts fail, than it saves
_THERE = Bmc("", "", "")

_converter = make_converter(omit_if_default=True)
_converter.register_unstructure_hook(Bmc, lambda bmc: True)
_converter.register_structure_hook(Bmc, lambda given, kind: _THERE)
_converter.register_structure_hook_func(lambda kind: kind is object, lambda given, kind: given)


class SnapshotError(Exception):
    """These bytes are no snapshot that this version can read. One line."""


def pack(view: View) -> bytes:
    """The view as bytes that `unpack` reads."""
    packed = _packed(view, EVIDENCE)
    return packed if len(packed) <= LIMIT else _packed(view, 0)


def unpack(body: bytes) -> View:
    """The view again; hosts with which nothing was wrong have readings of its moment, without words.

    Raises SnapshotError.
    """
    try:
        raw = json.loads(zlib.decompress(body))
        if raw["format"] != FORMAT:
            raise SnapshotError(f"its format is {raw['format']!r}, this HASS reads {FORMAT}")
        now = float(raw["now"])
        hosts = {each.name: each for each in _converter.structure(raw["hosts"], list[HostView])}
        hosts |= {each.name: each for group in raw["well"] for each in _well_again(group, now)}
        return View(
            now,
            _converter.structure(raw["policy"], Policy),
            dict(sorted(hosts.items())),
            raw["gateway_answers"],
            _converter.structure(raw["pauses"], tuple[Pause, ...]),
            _converter.structure(raw["blind"], dict[Layer, str]),
            {str(where): float(at) for where, at in raw["troubled_at"].items()},
            tuple((str(host), float(at)) for host, at in raw["fences"]),
        )
    except SnapshotError:
        raise
    except Exception as error:  # cattrs raises groups of anything; whatever it is, nobody can read it
        raise SnapshotError(f"it cannot be read: {type(error).__name__}: {str(error)[:200]}") from error


def _packed(view: View, evidence: int) -> bytes:
    groups: dict[tuple[Any, ...], list[str]] = {}
    others = []
    for host in view.hosts.values():
        if is_well(host, view):
            groups.setdefault(_look(host), []).append(host.name)
        else:
            others.append(_converter.unstructure(_shortened(host, evidence), HostView))
    raw = {
        "format": FORMAT,
        "now": view.now,
        "policy": _converter.unstructure(view.policy),
        "hosts": others,
        "well": [[*look, names] for look, names in groups.items()],
        "gateway_answers": view.gateway_answers,
        "pauses": _converter.unstructure(view.pauses),
        "blind": _converter.unstructure(view.blind),
        "troubled_at": view.troubled_at,
        "fences": view.fences,
    }
    return zlib.compress(json.dumps(raw, separators=(",", ":")).encode(), _LEVEL)


def is_well(host: HostView, view: View) -> bool:
    """Whether all that there is to know of the host is that every layer that is read is fresh and fine."""
    limits = view.policy.thresholds
    plain = (
        host.state is HostState.HEALTHY
        and host.fault is None
        and host.incident is None
        and not (host.running or host.fences or host.doubt or host.last_run)
        and host.maintenance is None
        and host.confirmed is None
        and host.wanted_back is None
        and host.failback is None
        and host.reserve is Reserve.NONE
        and not host.host.reserved
    )
    track = host.track
    if not plain or track.doubt or track.matched or track.leaving or track.boots.rebooted:
        return False
    return bool(track.layers) and all(
        known.reading.verdict in (Verdict.OK, Verdict.UNKNOWN)
        and not known.misses
        and not stale(known, view.now, limits)
        for known in track.layers.values()
    )


def _look(host: HostView) -> tuple[Any, ...]:
    layers = tuple(
        (layer.value, known.reading.verdict.value, known.reading.answered)
        for layer, known in sorted(host.track.layers.items(), key=lambda item: item[0].value)
    )
    return host.host.cluster, host.host.zone, host.host.bmc is not None, layers


def _well_again(group: Iterable[Any], now: float) -> Iterable[HostView]:
    cluster, zone, bmc, layers, names = group
    for name in names:
        tracks = {}
        for layer, verdict, answered in layers:
            reading = Reading(name, Layer(layer), Verdict(verdict), "", now, answered)
            tracks[reading.layer] = LayerTrack(reading, 1, now, 0, now if answered else None)
        known = Host(name, "", cluster, _THERE if bmc else None, zone)
        yield HostView(known, HostState.HEALTHY, HostTrack(name, tracks))


def _shortened(host: HostView, evidence: int) -> HostView:
    """Evidence comes from hosts and BMCs, of any length and with anything in it."""

    def cut(reading: Reading) -> Reading:
        words = reading.evidence[:evidence].encode("utf-8", "replace").decode()
        return replace(reading, evidence=words)

    layers: Mapping[Layer, LayerTrack] = {
        layer: replace(known, reading=cut(known.reading)) for layer, known in host.track.layers.items()
    }
    fault = host.fault
    if fault is not None:
        fault = replace(fault, seen=tuple(cut(reading) for reading in fault.seen))
    incident = host.incident
    if incident is not None:
        incident = replace(incident, seen=())  # the incident itself has it
    return replace(host, track=replace(host.track, layers=layers), fault=fault, incident=incident)
