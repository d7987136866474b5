"""An incident explained: which row of the table matched, what was read, what each gate said. Pure.

`data` makes plain data of what was recorded, for JSON; `lines` makes sentences of that data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hass_runtime.decide.diagnosis import signs
from hass_runtime.decide.symptoms import Sign
from hass_runtime.decide.view import HostView, View
from hass_runtime.domain import Incident, Layer
from hass_runtime.explain import again
from hass_runtime.report import policy as table
from hass_runtime.report.words import clock, count, plain, seconds, span
from hass_runtime.store.records import Decided

Json = dict[str, Any]

_KINDS = {
    "opened": "A fault was established",
    "escalated": "The fault turned out to be another one",
    "held": "It was held back",
    "launched": "A remedy was launched",
    "cancelled": "The remedy at work was cancelled",
    "settled": "Its instances were settled",
    "closed": "The incident was closed",
}
_DONE = ("held", "launched", "cancelled", "settled", "closed")
_JUDGED = ("opened", "escalated", "held", "launched")
LOST = "what it was made from is not kept any more"


def data(
    incident: Incident, made: Sequence[Decided], views: Mapping[int, View], moment: Any = lambda at: at
) -> Json:
    """The explanation as plain data. ``views`` are by the number of the snapshot, those that can be read.

    ``moment`` makes of seconds since the epoch what the data shall have in its place.
    """
    return {
        "incident": incident.id,
        "host": incident.host,
        "fault": incident.fault,
        "outcome": incident.outcome.value,
        "opened_at": moment(incident.opened_at),
        "decisions": [_decision(each, views.get(each.snapshot), incident.host, moment) for each in made],
    }


def _decision(made: Decided, view: View | None, name: str, moment: Any) -> Json:
    # "alike": whether this HASS decides the same from the same readings; it may be newer than the one that
    # did.
    told: Json = {
        "alike": True,
        "at": moment(made.at),
        "kind": made.kind,
        "what": made.what,
        "words": made.words,
    }
    if view is None or name not in view.hosts:
        return told | {"kept": False, "readings": [], "row": None, "above": [], "playbook": "", "gates": []}
    view = again.of(view, made)
    host = view.hosts[name]
    shown = signs(host.track, view.now, view.policy.thresholds, view.blind)
    case = table.case_data(table.explain(view.policy.table, {k: frozenset({v}) for k, v in shown.items()})[0])
    playbook = ""
    if made.kind == "launched":
        playbook = made.what
    elif made.kind == "held" and made.what:
        playbook = again.wanted(view, name)
    now = [(each.kind, each.what) for each in again.verdicts(view, name)]
    alike = made.kind not in _DONE or (made.kind, made.what) in now
    return told | {
        "kept": True,
        "alike": alike,
        "readings": [
            _reading(host, layer, shown, view, moment) for layer in Layer if layer in host.track.layers
        ],
        "row": case["match"],
        "above": case["above"],
        "playbook": playbook,
        "gates": [
            {"gate": gate, "open": not reason, "said": reason}
            for gate, reason in (again.gates_of(view, name, playbook) if playbook else ())
        ],
    }


def _reading(host: HostView, layer: Layer, shown: Mapping[Layer, Sign], view: View, moment: Any) -> Json:
    known = host.track.layers[layer]
    reading = known.reading
    return {
        "layer": layer.value,
        "sign": shown[layer].value,
        "verdict": reading.verdict.value,
        "evidence": reading.evidence,
        "answered": reading.answered,
        "at": moment(reading.at),
        "age": round(view.now - reading.at, 3),
        "since": moment(known.since),
        "count": known.count,
        "misses": known.misses,
    }


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The explanation in sentences; ``told`` as `data` makes it, with moments in ISO 8601."""
    made = told["decisions"]
    yield (
        f"Incident {told['incident']} of host {plain(told['host'])}: {plain(told['fault'])}, "
        f"{plain(told['outcome'])}. {count(len(made), 'decision')} kept."
    )
    if not made:
        yield "Nothing is kept of how it was decided: the incident is too old, or was made by an older HASS."
    before: Mapping[str, Any] | None = None
    for each in made:
        yield ""
        at = clock(seconds(each["at"]), "%Y-%m-%d %H:%M:%S", local=True)
        what = f" ({plain(each['what'])})" if each["what"] else ""
        yield f"{at}  {_KINDS.get(each['kind'], plain(each['kind']))}{what}: {plain(each['words'])}."
        if not each["kept"]:
            yield f"  Its readings: {LOST}."
            continue
        if each["kind"] in _JUDGED:
            if before is None or before["readings"] != each["readings"]:
                yield from _read(each)
                yield from _row(each)
            else:
                yield "  From the same readings."
            yield from _gates(each)
            before = each


def _read(each: Mapping[str, Any]) -> Iterator[str]:
    if not each["readings"]:
        yield "  Nothing was read of it yet."
        return
    yield "  What was read of it:"
    for reading in each["readings"]:
        times = _times(reading)
        words = f": {plain(reading['evidence'])}" if reading["evidence"] else ""
        yield f"    {reading['layer']} {reading['sign']}, read {span(reading['age'])} before{times}{words}"


def _times(reading: Mapping[str, Any]) -> str:
    if reading["verdict"] == "failed" and not reading["answered"]:
        return f", missed {count(reading['misses'], 'time')} in a row"
    return (
        f", {count(reading['count'], 'time')} like this"
        if reading["verdict"] in ("failed", "warning")
        else ""
    )


def _row(each: Mapping[str, Any]) -> Iterator[str]:
    row = each["row"]
    if row is None:
        yield "  No row of the symptom table matched."
        return
    asked = ", ".join(f"{layer} {' or '.join(signs)}" for layer, signs in row["when"].items())
    yield f"  Row {row['row']} of the symptom table matched, {row['fault']}: {plain(row['why'])} ({asked})."
    if row["patient"]:
        yield "  It has to hold for network_transient_time before it counts, and had."
    for miss in each["above"]:
        yield (
            f"    Row {miss['row']}, {miss['fault']}, did not: it asks for {miss['layer']} "
            f"{' or '.join(miss['asked'])}, and it showed {miss['shown']}."
        )


def _gates(each: Mapping[str, Any]) -> Iterator[str]:
    if not each["playbook"]:
        return
    gates: Sequence[Mapping[str, Any]] = each["gates"]
    yield f"  Gates asked before {plain(each['playbook'])}:"
    for gate in gates:
        yield f"    {gate['gate']}: " + ("open" if gate["open"] else f"closed: {plain(gate['said'])}")
    if not each["alike"]:
        yield "    This HASS would decide otherwise: it is another version than the one that decided."
    elif each["kind"] == "held" and all(gate["open"] for gate in gates):
        yield "    None is closed now: the last attempt had failed, and the next one waits for its time."
