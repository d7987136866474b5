"""What would be done about a fault of a host now: the decision itself, on a view in which it has the fault.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hass_runtime.decide import gates, readiness
from hass_runtime.decide.cloud_facts import CloudFacts, Instance
from hass_runtime.decide.diagnosis import Boots, HostTrack, LayerTrack, diagnose
from hass_runtime.decide.placing import Floor, Place
from hass_runtime.decide.readiness import ADVICE, Back, HostReady, InstanceReady, Problem
from hass_runtime.decide.symptoms import Rung, Sign, Symptom
from hass_runtime.decide.view import DRAIN, FAILURE, REVIVE, HostView, View
from hass_runtime.domain import Host, HostState, Layer, Reading, Verdict

# Of the signs that a row takes, the one that is made up: the plainest.
_PLAINEST = (
    *(Sign.SILENT, Sign.COMPLAINING, Sign.WARNING, Sign.DOUBTED, Sign.REBOOTED),
    *(Sign.OK, Sign.UNKNOWN, Sign.MISSING),
)
_MIGRATES = frozenset({"active", "paused"})
_GONE = frozenset({Layer.OS, Layer.STORAGE, Layer.HARDWARE})


@dataclass(frozen=True)
class Plan:
    """What would be done about ``fault`` of ``host``.

    ``becomes`` is the fault that today's symptom table makes of it, "" when none does. ``waits`` seconds pass
    before it counts. ``ladder`` are the remedies; ``gates`` are those asked before the first, each with why
    it is closed, "" when it is open. ``ready`` says for every instance where it would go, when the remedy
    moves them.
    """

    host: Host
    fault: str
    why: str
    becomes: str
    waits: float
    ladder: tuple[Rung, ...]
    gates: tuple[tuple[str, str], ...]
    ready: HostReady | None

    @property
    def held(self) -> tuple[str, str] | None:
        """The first gate that is closed, and why; None when nothing holds it back."""
        return next(((gate, said) for gate, said in self.gates if said), None)


def faults_of(view: View) -> list[str]:
    """The faults of the symptom table in force, in its order."""
    return list(dict.fromkeys(row.fault for row in view.policy.table))


def plan(view: View, facts: CloudFacts, name: str, fault: str) -> Plan:
    """Raises LookupError, in words, for a host or a fault that is not known."""
    if name not in view.hosts:
        raise LookupError(f"host {name!r} is not watched; known: {_some(view.hosts)}")
    row = next((row for row in view.policy.table if row.fault == fault), None)
    if row is None:
        raise LookupError(
            f"fault {fault!r} is in no row of the symptom table; known: {', '.join(faults_of(view))}"
        )
    view = with_fault(view, name, row)
    host = view.hosts[name]
    becomes = host.fault.name if host.fault is not None else ""
    ladder = view.ladder(host)
    first = ladder[0].playbook if ladder else ""
    asked = tuple(
        (keeper.gate.value, keeper.ask(view, host, first))
        for keeper in (gates.asked_of(first) if first else ())
    )
    ready = _instances(view, facts, host, first)
    limits = view.policy.thresholds
    return Plan(
        host.host, fault, row.why, becomes, limits.transient if row.patient else 0.0, ladder, asked, ready
    )


def _instances(view: View, facts: CloudFacts, host: HostView, playbook: str) -> HostReady | None:
    """What becomes of each instance of the host; None when the playbook touches none."""
    own = sorted((each for each in facts.instances if each.host == host.name), key=readiness.order)
    usable = readiness.usable_hosts(view, facts) - {host.name}
    floor = Floor(facts, usable, view.policy.reserved_to_aggregates)
    if playbook == FAILURE:
        return readiness.of_host(view, host, facts, floor, own)
    if playbook == REVIVE:
        told = [
            InstanceReady(each, Back.YES, host.name) if each.vm_state == "active" else _left(each)
            for each in own
        ]
        return HostReady(host.name, False, (), tuple(told))
    if playbook == DRAIN:
        places = floor.place([each for each in own if each.vm_state in _MIGRATES], {host.name})
        told = [_drained(each, places.get(each.id)) for each in own]
        return HostReady(host.name, False, (), tuple(told))
    return None


def _drained(instance: Instance, place: Place | None) -> InstanceReady:
    if place is None:
        return _left(instance)
    if place.target:
        return InstanceReady(instance, Back.YES, place.target)
    return InstanceReady(instance, Back.NO, "", Problem(place.kind, place.words, ADVICE[place.kind]))


def _left(instance: Instance) -> InstanceReady:
    return InstanceReady(
        instance, Back.LEFT, "", Problem("state", f"it is {instance.vm_state}, and stays that", "")
    )


def with_fault(view: View, name: str, row: Symptom) -> View:
    """The view as it would be when the host had shown the signs of this row for long enough."""
    host = view.hosts[name]
    limits = view.policy.thresholds
    track = HostTrack(name, dict(_layers(host, row, view.now, limits.misses)), boots=host.track.boots)
    since = view.now - limits.transient - limits.planned
    if Sign.DOUBTED in _signs(row).values():
        track = replace(track, doubt="its BMC said off while the host answered")
    if Sign.REBOOTED in _signs(row).values():
        known = track.boots.known or "the one before"
        track = replace(track, boots=Boots(known, f"{known}, and a new one", view.now, view.now))
    # Twice: a patient row is known as matching first, and then for as long as it takes.
    track, _ = diagnose(track, view.policy.table, view.now, limits)
    track, fault = diagnose(replace(track, matched_since=since), view.policy.table, view.now, limits)
    state = host.state if host.state is not HostState.HEALTHY else HostState.FAULTY
    struck = replace(host, track=track, fault=fault, state=state)
    fresh = replace(view, hosts={**view.hosts, name: struck})
    return fresh


def _signs(row: Symptom) -> dict[Layer, Sign]:
    return {layer: next(sign for sign in _PLAINEST if sign in signs) for layer, signs in row.when.items()}


def _layers(host: HostView, row: Symptom, now: float, misses: int) -> Iterable[tuple[Layer, LayerTrack]]:
    """Every layer as it would be read: those of the row, and of the others what a host like that still
    says.
    """
    wanted = _signs(row)
    answers = not any(wanted.get(layer) is Sign.SILENT for layer in (Layer.NETWORK, Layer.SERVICE))
    for layer in Layer:
        known = host.track.layers.get(layer)
        sign = wanted.get(layer)
        if sign is None and known is None:
            continue
        if layer is Layer.POWER and host.host.bmc is None and sign is not None:
            sign = Sign.UNKNOWN
        if sign is None and not answers and layer in _GONE:
            sign = Sign.UNKNOWN
        if sign is None and known is not None:
            yield layer, replace(known, reading=known.reading.dated(now))
        elif sign is not None:
            yield layer, _read(host.name, layer, sign, now, misses)


def _read(name: str, layer: Layer, sign: Sign, now: float, misses: int) -> LayerTrack:
    verdict, answered = {
        Sign.OK: (Verdict.OK, layer is not Layer.POWER),
        Sign.WARNING: (Verdict.WARNING, True),
        Sign.COMPLAINING: (Verdict.FAILED, True),
        Sign.REBOOTED: (Verdict.OK, True),
        Sign.UNKNOWN: (Verdict.UNKNOWN, False),
    }.get(sign, (Verdict.FAILED, False))
    reading = Reading(name, layer, verdict, "as the fault would show it", now, answered)
    silent = verdict is Verdict.FAILED and not answered
    return LayerTrack(reading, misses, now, misses if silent else 0, None)


def _some(names: Iterable[str]) -> str:
    every = sorted(names)
    return ", ".join(every[:10]) + (f" and {len(every) - 10} more" if len(every) > 10 else "")
