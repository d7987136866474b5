"""The timeline as shapes with coordinates; the template only writes them down as SVG. Pure.

Time runs to the right. A long stretch in which nothing happened (an incident held over night) is folded to a
narrow gap, so that the seconds that matter keep their room.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from hass_runtime.report.timeline import Item, Timeline
from hass_runtime.report.words import offset, span

WIDTH = 1120.0
LEFT = 330.0
RIGHT = 24.0
ROW = 26.0
THIN = 7.0
FLAG = 20.0
FOLD = 44.0
# More moves than this are drawn as thin lines without names: the table names them all.
NAMED_MOVES = 40
LABEL_CHARACTERS = 46
CHARACTER = 6.6


@dataclass(frozen=True)
class Bar:
    """A thing that took time. ``y`` is its top; ``label`` is "" on a thin row; ``tip`` says it in full."""

    x: float
    y: float
    width: float
    height: float
    state: str
    label: str
    tip: str
    note: str
    note_x: float
    note_anchor: str
    note_inside: bool


@dataclass(frozen=True)
class Flag:
    """A moment that matters: a line through the picture with its name on top."""

    x: float
    y: float
    key: str
    label: str
    text_x: float
    anchor: str


@dataclass(frozen=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True)
class Fold:
    """A stretch of time that was left out."""

    x: float
    width: float
    label: str


@dataclass(frozen=True)
class Heading:
    y: float
    label: str


@dataclass(frozen=True)
class Picture:
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    bars: tuple[Bar, ...]
    flags: tuple[Flag, ...]
    ticks: tuple[Tick, ...]
    folds: tuple[Fold, ...]
    headings: tuple[Heading, ...]
    unproven: float | None
    """Where the host was proven off; None when it was not."""


class Scale:
    """From seconds to x, piecewise linear: the folded stretches have a fixed width."""

    def __init__(self, busy: Sequence[tuple[float, float]], left: float, right: float) -> None:
        self.parts = _unite(busy)
        self.folds = [(a[1], b[0]) for a, b in zip(self.parts, self.parts[1:], strict=False)]
        room = right - left - FOLD * len(self.folds)
        lengths = [end - start for start, end in self.parts]
        total = sum(lengths) or 1.0
        self._times: list[float] = []
        self._xs: list[float] = []
        x = left
        for (start, end), length in zip(self.parts, lengths, strict=True):
            self._times += [start, end]
            self._xs += [x, x + room * length / total]
            x = self._xs[-1] + FOLD
        self.per_second = room / total

    def x(self, at: float) -> float:
        place = bisect_right(self._times, at)
        if place == 0:
            return self._xs[0]
        if place == len(self._times):
            return self._xs[-1]
        t0, t1, x0, x1 = *self._times[place - 1 : place + 1], *self._xs[place - 1 : place + 1]
        return x0 if t1 <= t0 else x0 + (x1 - x0) * (at - t0) / (t1 - t0)


def draw(story: Timeline) -> Picture:
    """Lay the picture out: flags on top, the steps of every run, then one row for every instance."""
    groups: list[tuple[str, Sequence[Item]]] = [("decisions", story.notes)] if story.notes else []
    groups += [(_run_name(run.name, run.attempt), list(run.steps) or [run]) for run in story.runs]
    if story.moves:
        groups.append(("instances", list(story.moves)))
    scale = Scale(_busy(story, groups), LEFT, WIDTH - RIGHT)
    flags, lanes = _flags(story, scale)
    top = 12.0 + lanes * FLAG + 6.0
    y = top + 6.0
    bars: list[Bar] = []
    headings: list[Heading] = []
    for name, items in groups:
        headings.append(Heading(y + ROW * 0.68, name))
        y += ROW
        thin = name == "instances" and len(items) > NAMED_MOVES
        for item in items:
            bars.append(_bar(item, y, scale, story, thin))
            y += THIN if thin else ROW
        y += 8.0
    bottom = y + 4.0
    folds = [
        Fold(scale.x(start), scale.x(end) - scale.x(start), span(end - start)) for start, end in scale.folds
    ]
    return Picture(
        width=WIDTH,
        height=bottom + 30.0,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=top,
        bottom=bottom,
        bars=tuple(bars),
        flags=flags,
        ticks=_ticks(story, scale),
        folds=tuple(folds),
        headings=tuple(headings),
        unproven=next((scale.x(mark.at) for mark in story.marks if mark.key == "fenced"), None),
    )


def _busy(story: Timeline, groups: Sequence[tuple[str, Sequence[Item]]]) -> list[tuple[float, float]]:
    """The stretches in which something went on, with a little air on both sides."""
    spans = [(mark.at, mark.at) for mark in story.marks]
    spans += [
        (item.start, _end(item, story)) for _, items in groups for item in items if item.start is not None
    ]
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    worked = sum(end - start for start, end in _merge(spans, 0.0))
    air = max(0.25, min(0.02 * (last - first), 0.1 * worked + 1.0))
    return [(start - (0 if start == first else air), end + air) for start, end in spans]


def _unite(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Stretches that are nearer than a third of all that went on (and a minute) become one."""
    parts = _merge(spans, 0.0)
    worked = sum(end - start for start, end in parts)
    return _merge(parts, max(60.0, worked / 3))


def _merge(spans: Sequence[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    parts: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if parts and start - parts[-1][1] <= gap:
            parts[-1] = (parts[-1][0], max(parts[-1][1], end))
        else:
            parts.append((start, max(start, end)))
    return parts


def _bar(item: Item, y: float, scale: Scale, story: Timeline, thin: bool) -> Bar:
    start = item.start if item.start is not None else story.begin
    left, right = scale.x(start), scale.x(_end(item, story))
    if item.start is None:
        left = right = LEFT
    moment = item.state in ("note", "held")
    took = "" if moment else span(item.took) if item.took is not None else "goes on" if item.start else ""
    tip = f"{item.name}: {took or item.state}" + (f" – {item.detail}" if item.detail else "")
    note, width = "" if moment or thin else took or item.state, max(3.0, right - left)
    needed = len(note) * CHARACTER + 12
    beside = left + width + needed <= WIDTH - 4
    inside = not beside and width > needed
    if beside:
        note_x, anchor = left + width + 6, "start"
    else:
        note_x, anchor = left + width - 7 if inside else left - 6, "end"
    return Bar(
        x=left,
        y=y + (1.0 if thin else 6.0),
        width=width,
        height=THIN - 2.0 if thin else ROW - 12.0,
        state=item.state,
        label="" if thin else _shorten(item.name),
        tip=tip,
        note=note,
        note_x=note_x,
        note_anchor=anchor,
        note_inside=inside,
    )


def _end(item: Item, story: Timeline) -> float:
    """Where a bar ends: what has not ended goes on until the last thing that is known."""
    return max(item.end if item.end is not None else story.end, item.start if item.start is not None else 0.0)


def _flags(story: Timeline, scale: Scale) -> tuple[tuple[Flag, ...], int]:
    """One flag a mark, the names in as many lanes as they need not to cover one another."""
    ends: list[float] = []
    flags: list[Flag] = []
    for mark in sorted(story.marks, key=lambda mark: mark.at):
        label = f"{mark.label} {offset(mark.at - story.begin)}" if mark.key != "seen" else mark.label
        x, width = scale.x(mark.at), len(label) * CHARACTER + 18
        start = x if x + width <= WIDTH - 4 else x - width
        lane = next((number for number, end in enumerate(ends) if end + 8 <= start), len(ends))
        ends[lane : lane + 1] = [start + width]
        anchor = "start" if start == x else "end"
        flags.append(
            Flag(x, 12.0 + lane * FLAG, mark.key, label, x + (7 if anchor == "start" else -7), anchor)
        )
    return tuple(flags), len(ends)


def _ticks(story: Timeline, scale: Scale) -> tuple[Tick, ...]:
    step = _nice(90.0 / scale.per_second)
    ticks: list[Tick] = []
    for start, end in scale.parts:
        number = math.ceil((start - story.begin) / step)
        while (at := story.begin + number * step) <= end and len(ticks) < 100:
            x = scale.x(at)
            if number >= 0 and (not ticks or x - ticks[-1].x > 60):
                ticks.append(Tick(x, _tick(number * step, step)))
            number += 1
    return tuple(ticks)


def _nice(least: float) -> float:
    """The next step up that a clock knows."""
    steps = (
        0.1,
        0.2,
        0.5,
        1,
        2,
        5,
        10,
        15,
        30,
        60,
        120,
        300,
        600,
        900,
        1800,
        3600,
        7200,
        21_600,
        43_200,
        86_400,
    )
    return next((float(step) for step in steps if step >= least), math.ceil(least / 86_400) * 86_400.0)


def _tick(at: float, step: float) -> str:
    if at < 60:
        return f"{at:g} s" if at == 0 or at >= 1 else f"{at:.1f} s"
    if at < 3600:
        return f"{int(at // 60)} min" if at % 60 == 0 else f"{int(at // 60)}:{round(at % 60):02d}"
    if step < 60:
        return f"{int(at // 3600)}:{int(at % 3600 // 60):02d}:{round(at % 60):02d}"
    return f"{int(at // 3600)} h" if at % 3600 == 0 else f"{int(at // 3600)} h {int(at % 3600 // 60):02d}"


def _run_name(playbook: str, attempt: int) -> str:
    name = playbook or "run"
    return f"{name}, attempt {attempt}" if attempt > 1 else name


def _shorten(text: str) -> str:
    return text if len(text) <= LABEL_CHARACTERS else text[: LABEL_CHARACTERS - 1].rstrip() + "…"
