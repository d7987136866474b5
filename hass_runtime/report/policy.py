"""What a symptom table says, in plain data and in sentences: which row matches, why not the others. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from hass_runtime.decide.gates import asked_of
from hass_runtime.decide.symptoms import WORDS, Rung, Sign, Symptom
from hass_runtime.decide.view import DRAIN, FAILURE, RESTORE, REVIVE
from hass_runtime.domain import Layer
from hass_runtime.report.words import count, join

# Which setting bounds one try of a rung that has no deadline of its own.
_DEADLINES = {
    "service_restart": "restart_timeout",
    DRAIN: "drain_timeout",
    REVIVE: "evacuate_timeout",
    RESTORE: "restore_timeout",
}
_OR = " or "


def words_of(signs: frozenset[Sign]) -> tuple[str, ...]:
    """The shortest words that an operator would write for these signs: any, failed, or one each."""
    if signs == WORDS["any"]:
        return ("any",)
    found, left = [], set(signs)
    for word, covered in sorted(WORDS.items(), key=lambda item: -len(item[1])):
        if covered <= left:
            found.append(word)
            left -= covered
    place = list(Sign).index
    return tuple(sorted(found, key=lambda word: min(map(place, WORDS[word]))))


def deadline_of(rung: Rung) -> str:
    """How long one try may take, in words."""
    if rung.deadline is not None:
        return f"{rung.deadline:g} s"
    return f"[recovery] {_DEADLINES.get(rung.playbook, 'run_timeout')}"


def row_data(number: int, row: Symptom) -> dict[str, Any]:
    """One row as plain data."""
    return {
        "row": number,
        "fault": row.fault,
        "layer": row.layer.value,
        "when": {layer.value: list(words_of(signs)) for layer, signs in row.when.items()},
        "patient": row.patient,
        "why": row.why,
        "ladder": ladder_data(row.ladder),
    }


def ladder_data(ladder: Sequence[Rung]) -> list[dict[str, Any]]:
    """The rungs as plain data, each with the gates that are asked before it is launched."""
    return [
        {
            "playbook": rung.playbook,
            "tries": rung.tries,
            "deadline": rung.deadline,
            "gates": [keeper.gate.value for keeper in asked_of(rung.playbook)],
        }
        for rung in ladder
    ]


@dataclass(frozen=True)
class Miss:
    """Why a row does not match: the first of its layers that shows something else than it asks for."""

    row: int
    fault: str
    layer: Layer
    wanted: frozenset[Sign]
    shown: Sign

    def text(self) -> str:
        wanted = _OR.join(words_of(self.wanted))
        return (
            f"Row {self.row} ({self.fault}) does not: it asks for {self.layer.value} {wanted}, "
            f"and it shows {self.shown.value}."
        )


@dataclass(frozen=True)
class Case:
    """What the table makes of one set of signs. ``row`` is the number of the row that matches, or None."""

    signs: Mapping[Layer, Sign]
    row: int | None
    symptom: Symptom | None
    ladder: tuple[Rung, ...]
    misses: tuple[Miss, ...]


def explain(rows: Sequence[Symptom], given: Mapping[Layer, frozenset[Sign]]) -> list[Case]:
    """What the table makes of these signs; layers not given were never read, which is unknown.

    A word such as ``failed`` stands for several signs. When they do not all lead to the same row, there is a
    case for each row that they lead to, with the first signs that do.
    """
    cases: dict[int | None, Case] = {}
    layers = list(given)
    every = [sorted(given[layer], key=list(Sign).index) for layer in layers]
    for combination in product(*every):
        signs = dict(zip(layers, combination, strict=True))
        case = _case(rows, signs)
        cases.setdefault(case.row, case)
    return sorted(cases.values(), key=lambda case: len(rows) + 1 if case.row is None else case.row)


def _case(rows: Sequence[Symptom], signs: Mapping[Layer, Sign]) -> Case:
    misses: list[Miss] = []
    for number, row in enumerate(rows, start=1):
        if row.matches(signs):
            # As the decision does it: of rows with the same fault, the first has the ladder.
            ladder = next(other.ladder for other in rows if other.fault == row.fault)
            return Case(signs, number, row, ladder, tuple(misses))
        layer, wanted = next(
            (layer, wanted)
            for layer, wanted in row.when.items()
            if signs.get(layer, Sign.UNKNOWN) not in wanted
        )
        misses.append(Miss(number, row.fault, layer, wanted, signs.get(layer, Sign.UNKNOWN)))
    return Case(signs, None, None, (), tuple(misses))


def case_data(case: Case) -> dict[str, Any]:
    """A case as plain data."""
    found = row_data(case.row, case.symptom) if case.row is not None and case.symptom is not None else {}
    return {
        "signs": {layer.value: sign.value for layer, sign in case.signs.items()},
        "match": {**found, "ladder": ladder_data(case.ladder)} if found else None,
        "above": [
            {
                "row": miss.row,
                "fault": miss.fault,
                "layer": miss.layer.value,
                "asked": list(words_of(miss.wanted)),
                "shown": miss.shown.value,
            }
            for miss in case.misses
        ],
    }


def signs_text(signs: Mapping[Layer, Sign]) -> str:
    """power silent, network ok; every other layer unknown."""
    named = ", ".join(f"{layer.value} {signs[layer].value}" for layer in Layer if layer in signs)
    rest = [layer.value for layer in Layer if layer not in signs]
    return named + (f"; not read, so unknown: {', '.join(rest)}" if rest and named else "")


def case_lines(case: Case, unprotected: Mapping[Layer, Sequence[str]]) -> list[str]:
    """A case in sentences. ``unprotected`` are, by layer, the clusters whose `protected_layers` lack it."""
    lines = [f"With {signs_text(case.signs)}:"]
    row = case.symptom
    if row is None:
        return [*lines, "  No row matches: there is no fault.", *(f"  {miss.text()}" for miss in case.misses)]
    lines.append(
        f"  Row {case.row} matches. The fault is '{row.fault}' (layer {row.layer.value}): {row.why}."
    )
    if row.patient:
        lines.append("  It has to hold for network_transient_time seconds before it counts.")
    lines += [f"  {miss.text()}" for miss in case.misses]
    if not case.ladder:
        lines.append("  It has no remedy: it is reported, and nothing is done.")
    for place, rung in enumerate(case.ladder):
        lines += _rung_lines(place, rung)
    if case.ladder and (clusters := unprotected.get(row.layer)):
        where = join([f"{name}" for name in clusters])
        lines.append(f"  Only reported in {where}, whose protected_layers do not have {row.layer.value}.")
    return lines


def _rung_lines(place: int, rung: Rung) -> list[str]:
    begins = "First" if place == 0 else "When that has failed, or has not helped"
    limit = deadline_of(rung)
    tries = "once" if rung.tries == 1 else f"up to {count(rung.tries, 'time')}"
    asked = [keeper.gate.value for keeper in asked_of(rung.playbook)]
    spared = [each.gate.value for each in asked_of(FAILURE) if each.gate.value not in asked]
    but = f"; not asked: {', '.join(spared)}" if spared else ""
    return [
        f"  {begins}: {rung.playbook}, {tries}, each try at most {limit}.",
        f"    Gates asked before it, in this order: {', '.join(asked)}{but}.",
    ]
