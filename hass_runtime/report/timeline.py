"""What happened in an incident, in order and in numbers: pure, from the JSON of ``/v1/incidents/N``.

It takes what it is given: a missing field is an empty one, and no text can make it fail.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hass_runtime.report.words import count, join, plain, seconds, span

Json = Mapping[str, Any]

FENCE = "hass_fence"
# Without the module's name (a playbook of the operator's own) the step's name has to say it.
_FENCE_NAME = re.compile(r"\b(fence|power(ed)? off|powering off)\b", re.IGNORECASE)
_DONE = ("ok", "changed")
GATES = {
    "disarmed": "a person has switched acting off",
    "isolated": "the controller itself may be cut off",
    "blind": "a detector sees nothing anywhere",
    "storm": "too many hosts of the cluster fail at once",
    "domain": "too many hosts of one failure domain are out",
    "rate": "enough remedies are running already",
    "no_target": "there is no healthy host to go to",
    "unproven": "nothing proves that the host is off",
}


@dataclass(frozen=True)
class Seen:
    """One reading that led to the incident."""

    layer: str
    verdict: str
    evidence: str
    at: float | None


@dataclass(frozen=True)
class Item:
    """A step, a note of the controller's or a move: it has a beginning, perhaps an end, and a state."""

    name: str
    state: str
    start: float | None
    end: float | None
    detail: str = ""
    action: str = ""

    @property
    def took(self) -> float | None:
        return None if self.start is None or self.end is None else self.end - self.start


@dataclass(frozen=True)
class Journey(Item):
    """One instance's way. ``name`` is its name, or its UUID when it has none."""

    instance: str = ""
    source: str = ""
    target: str = ""
    was: str = ""
    attempts: int = 0


@dataclass(frozen=True)
class RunStory(Item):
    """One playbook run with its steps. ``name`` is the playbook, ``state`` how the run ended."""

    attempt: int = 0
    steps: tuple[Item, ...] = ()


@dataclass(frozen=True)
class Mark:
    """A moment that matters: ``key`` is seen, decided, held, fenced, active or closed."""

    key: str
    label: str
    at: float


@dataclass(frozen=True)
class Timeline:
    """One incident. ``begin`` is the first sign of it; ``end`` its end, or the last thing that is known."""

    id: int
    host: str
    fault: str
    layer: str
    why: str
    outcome: str
    decision: str
    gate: str
    reason: str
    begin: float
    end: float
    opened_at: float | None
    closed_at: float | None
    seen: tuple[Seen, ...] = ()
    notes: tuple[Item, ...] = ()
    runs: tuple[RunStory, ...] = ()
    moves: tuple[Journey, ...] = ()
    marks: tuple[Mark, ...] = field(default=())

    @property
    def is_open(self) -> bool:
        return self.closed_at is None

    @property
    def verdict(self) -> str:
        """The outcome, or "settled" while the instances are safe and the host is not back yet."""
        return "settled" if self.is_open and self.outcome == "recovered" else self.outcome

    @property
    def moved(self) -> int:
        return sum(move.state == "succeeded" for move in self.moves)

    def since_begin(self, key: str) -> float | None:
        """Seconds from the first sign to a mark; None when there is no such mark."""
        return next((mark.at - self.begin for mark in self.marks if mark.key == key), None)


def build(incident: Json, now: float | None = None) -> Timeline:
    """The story of one incident as ``/v1/incidents/N`` tells it; without an end it goes on until ``now``."""
    seen = tuple(
        Seen(plain(s.get("layer")), plain(s.get("verdict")), plain(s.get("evidence")), seconds(s.get("at")))
        for s in _list(incident, "seen")
    )
    steps = _list(incident, "steps")
    moves = tuple(sorted((_journey(move) for move in _list(incident, "moves")), key=_order))
    runs = tuple(_run(run, steps) for run in _list(incident, "runs"))
    known = {run.get("id") for run in _list(incident, "runs")}
    notes = tuple(_note(step) for step in steps if step.get("run") not in known)
    opened_at, closed_at = seconds(incident.get("opened_at")), seconds(incident.get("closed_at"))
    items: list[Item] = [*notes, *runs, *moves, *(step for run in runs for step in run.steps)]
    times = [t for item in items for t in (item.start, item.end) if t is not None]
    times += [t for t in (opened_at, closed_at) if t is not None]
    if now is not None and closed_at is None:
        times.append(now)
    # The oldest reading is often the last good one, from long before; the incident began with a bad one.
    signs = [s.at for s in seen if s.at is not None and s.verdict != "ok"]
    begin = min(signs, default=opened_at if opened_at is not None else min(times, default=0.0))
    if opened_at is not None:
        begin = min(begin, opened_at)
    return Timeline(
        id=_number(incident.get("id")),
        host=plain(incident.get("host")),
        fault=plain(incident.get("fault")),
        layer=plain(incident.get("layer")),
        why=plain(incident.get("why")),
        outcome=plain(incident.get("outcome")),
        decision=plain(incident.get("decision")),
        gate=plain(incident.get("gate")),
        reason=plain(incident.get("reason")),
        begin=begin,
        end=max([*times, begin]),
        opened_at=opened_at,
        closed_at=closed_at,
        seen=seen,
        notes=notes,
        runs=runs,
        moves=moves,
        marks=_marks(begin, opened_at, closed_at, notes, runs, moves, plain(incident.get("outcome"))),
    )


def headline(story: Timeline) -> str:
    """One sentence for the top of a page."""
    host, total, moved = story.host or "A host", len(story.moves), story.moved
    if story.outcome == "cleared":
        return f"{host} was in doubt and got well by itself"
    if story.outcome == "held":
        meaning = GATES.get(story.gate, "")
        return f"{host} is in trouble; HASS holds back" + (f": {meaning}" if meaning else "")
    if story.outcome == "failed":
        if total > moved:
            return f"{host} failed; {total - moved} of {count(total, 'instance')} could not be recovered"
        return f"{host} failed and could not be recovered"
    if story.outcome == "recovered":
        if not total:
            safe = "it had no instances to move"
        elif total == 1:
            safe = "its instance is safe on another host"
        else:
            safe = (
                f"all {total} instances are safe"
                if moved == total
                else f"{moved} of {total} instances are safe"
            )
        return f"{host} failed; {safe}, " + (
            "and the host is back" if story.closed_at else "the host is not back yet"
        )
    return (
        f"{host} failed; recovery is under way" if story.runs else f"{host} failed; nothing has been done yet"
    )


def narrative(story: Timeline) -> tuple[str, ...]:
    """The story in a few sentences, for a reader who was asleep."""
    host = story.host or "The host"
    told = [f"HASS saw that {host} failed" + (f": {story.why}." if story.why else ".")]
    decided = story.since_begin("decided")
    if decided is not None and decided > 0:
        told[0] = told[0][:-1] + f". It took {span(decided)} from the first sign to be sure."
    fenced = story.since_begin("fenced")
    if fenced is not None:
        early = sum(move.start is not None and move.start < story.begin + fenced for move in story.moves)
        proven = f"{host} was proven off {span(fenced)} after the first sign"
        if early:
            told.append(f"{proven}, but {count(early, 'instance')} had begun to move before that.")
        elif story.moves:
            told.append(
                f"{proven}; only then was any instance started elsewhere: none could run in two places."
            )
        else:
            told.append(f"{proven}.")
    if story.moves:
        told.append(_moves_told(story))
    if story.gate or story.outcome == "held":
        meaning = GATES.get(story.gate, "")
        held = f"It is held{' by the gate ' + story.gate if story.gate else ''}"
        told.append(
            f"{held}{': ' + meaning if meaning else ''}{' – ' + story.reason if story.reason else ''}."
        )
    if story.closed_at is not None:
        end = {"recovered": f"{host} was back in service", "cleared": f"{host} was well again"}
        told.append(
            f"{end.get(story.outcome, 'The incident ended')} after {span(story.closed_at - story.begin)}."
        )
    return tuple(told)


def _moves_told(story: Timeline) -> str:
    total, moved = len(story.moves), story.moved
    there = Counter(move.target for move in story.moves if move.state == "succeeded" and move.target)
    named = [f"{host} ({number})" for host, number in sorted(there.items())]
    places = join(named if len(named) <= 6 else [*named[:5], f"{len(named) - 5} more"])
    who = f"{moved} of its {count(total, 'instance')}"
    if moved == total:
        who = "Its only instance" if total == 1 else f"All {total} instances"
    text = f"{who} {'is' if moved == 1 else 'are'} as before on other hosts"
    text += f": {places}" if places else ""
    active = story.since_begin("active")
    text += f"; the last one was there {span(active)} after the first sign." if active is not None else "."
    lost = [move.name for move in story.moves if move.state in ("failed", "refused")]
    if lost:
        names = join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        text += f" Look after {names}."
    return text + _left(story)


def _left(story: Timeline) -> str:
    """The sentence about what is not protected."""
    left = [move.name for move in story.moves if move.state == "left"]
    if not left:
        return ""
    names = join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
    return f" Not protected, and left where {'it was' if len(left) == 1 else 'they were'}: {names}."


def _marks(
    begin: float,
    opened_at: float | None,
    closed_at: float | None,
    notes: Iterable[Item],
    runs: Iterable[RunStory],
    moves: Iterable[Journey],
    outcome: str,
) -> tuple[Mark, ...]:
    marks = [Mark("seen", "first sign", begin)]
    if opened_at is not None:
        marks.append(Mark("decided", "decided", opened_at))
    held = [note.start for note in notes if note.state == "held" and note.start is not None]
    if held:
        marks.append(Mark("held", "held", min(held)))
    fenced = [step.end for run in runs for step in run.steps if _is_fence(step) and step.end is not None]
    if fenced:
        marks.append(Mark("fenced", "proven off", min(fenced)))
    ends = [move.end for move in moves if move.state == "succeeded" and move.end is not None]
    if ends:
        marks.append(Mark("active", "last instance up", max(ends)))
    if closed_at is not None:
        marks.append(Mark("closed", {"recovered": "host back"}.get(outcome, "closed"), closed_at))
    return tuple(marks)


def _is_fence(step: Item) -> bool:
    named = step.action == FENCE if step.action else _FENCE_NAME.search(step.name) is not None
    return named and step.state in _DONE


def _run(run: Json, steps: Iterable[Json]) -> RunStory:
    return RunStory(
        name=plain(run.get("playbook")),
        state=plain(run.get("status")),
        start=seconds(run.get("started_at")),
        end=seconds(run.get("finished_at")),
        detail=plain(run.get("reason")),
        attempt=_number(run.get("attempt")),
        steps=tuple(_item(step) for step in steps if step.get("run") == run.get("id")),
    )


def _note(step: Json) -> Item:
    """A step of the controller's own: its state is "held" or "note" unless it went wrong."""
    item = _item(step)
    if item.state in ("failed", "cancelled", "running"):
        return item
    return replace(item, state="held" if item.name.lower().startswith("held") else "note")


def _item(step: Json) -> Item:
    return Item(
        name=plain(step.get("name")),
        state=plain(step.get("status")),
        start=seconds(step.get("started_at")),
        end=seconds(step.get("finished_at")),
        detail=plain(step.get("detail")),
        action=plain(step.get("action")),
    )


def _journey(move: Json) -> Journey:
    return Journey(
        name=plain(move.get("name")) or plain(move.get("instance")),
        state=plain(move.get("state")),
        start=seconds(move.get("started_at")),
        end=seconds(move.get("finished_at")),
        detail=plain(move.get("reason")),
        instance=plain(move.get("instance")),
        source=plain(move.get("source")),
        target=plain(move.get("target")),
        was=plain(move.get("was")),
        attempts=_number(move.get("attempts")),
    )


def _order(move: Journey) -> tuple[bool, float, str]:
    return (move.start is None, move.start or 0.0, move.name)


def _list(value: Json, key: str) -> list[Json]:
    found = value.get(key)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, (list, tuple)) else []


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
