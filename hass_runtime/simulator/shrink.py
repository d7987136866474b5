"""Makes a scenario that breaks a rule as small as it can be while it still breaks the same rule."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from hass_runtime.simulator.scenario import Event, Scenario

T = TypeVar("T")
MOST_RUNS = 600
"""More runs than this are not worth waiting for."""

Breaks = Callable[[Scenario], bool]


class _Enough(Exception):
    """So many runs were made."""


class _Counted:
    """Asks at most so often; what was asked before is not asked again."""

    def __init__(self, breaks: Breaks, most: int) -> None:
        self._breaks = breaks
        self._left = most
        self._known: dict[str, bool] = {}

    def __call__(self, scenario: Scenario) -> bool:
        key = repr(scenario)
        if key not in self._known:
            if not self._left:
                raise _Enough
            self._left -= 1
            self._known[key] = self._breaks(scenario)
        return self._known[key]


def shrink(scenario: Scenario, breaks: Breaks, most: int = MOST_RUNS) -> Scenario:
    """The smallest scenario found for which ``breaks`` is still true; it is true for the one given."""
    asked = _Counted(breaks, most)
    best = [scenario]
    try:
        while True:
            before = best[0]
            for step in (_events, _instances, _hosts, _settings, _plain_hosts, _durations, _times, _end):
                for candidate in step(best, asked):
                    best[0] = candidate
            if best[0] == before:
                return best[0]
    except _Enough:
        return best[0]


def _subsets(items: Sequence[T], still: Callable[[tuple[T, ...]], bool]) -> tuple[T, ...]:
    """Delta debugging: as few of the items as will do, in their order."""
    kept = tuple(items)
    parts = 2
    while kept:
        size = math.ceil(len(kept) / parts)
        for start in range(0, len(kept), size):
            fewer = kept[:start] + kept[start + size :]
            if still(fewer):
                kept, parts = fewer, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(kept))
    return kept


def _events(best: list[Scenario], breaks: Breaks) -> Iterator[Scenario]:
    base = best[0]
    kept = _subsets(base.events, lambda events: breaks(dataclasses.replace(base, events=events)))
    yield dataclasses.replace(base, events=kept)


def _instances(best: list[Scenario], breaks: Breaks) -> Iterator[Scenario]:
    base = best[0]
    named = {name for event in base.events for name in event.subjects}
    needed = tuple(each for each in base.instances if each.name in named)

    def made(extra: tuple[object, ...]) -> Scenario:
        keep = {id(each) for each in (*needed, *extra)}
        return dataclasses.replace(base, instances=tuple(i for i in base.instances if id(i) in keep))

    free = tuple(each for each in base.instances if each.name not in named)
    yield made(_subsets(free, lambda extra: breaks(made(extra))))


def _hosts(best: list[Scenario], breaks: Breaks) -> Iterator[Scenario]:
    for host in best[0].hosts:
        base = best[0]
        used = {name for event in base.events for name in event.subjects}
        if len(base.hosts) > 1 and host.name not in used and host.cluster not in used:
            fewer = dataclasses.replace(
                base,
                hosts=tuple(each for each in base.hosts if each is not host),
                instances=tuple(each for each in base.instances if each.host != host.name),
            )
            if breaks(fewer):
                yield fewer


def _settings(best: list[Scenario], breaks: Breaks) -> Iterator[Scenario]:
    for key in best[0].settings:
        base = best[0]
        fewer = {name: value for name, value in base.settings.items() if name != key}
        candidate = dataclasses.replace(base, settings=fewer)
        if breaks(candidate):
            yield candidate


def _plain_hosts(best: list[Scenario], breaks: Breaks) -> Iterator[Scenario]:
    """Without what makes a host different from others."""
    usual = {"ipmi": True, "zone": "", "reserved": False, "watchdog": True, "room": None, "aggregates": ()}
    for place in range(len(best[0].hosts)):
        for name, value in usual.items():
            base = best[0]
            if getattr(base.hosts[place], name) == value:
                continue
            hosts = list(base.hosts)
            hosts[place] = dataclasses.replace(hosts[place], **{name: value})  # type: ignore[arg-type]
            candidate = dataclasses.replace(base, hosts=tuple(hosts))
            if breaks(candidate):
                yield candidate


def _changed(base: Scenario, place: int, event: Event) -> Scenario:
    events = list(base.events)
    events[place] = event
    return dataclasses.replace(base, events=tuple(sorted(events, key=lambda each: each.at)))


def _durations(best: list[Scenario], breaks: Breaks) -> Iterator[Scenario]:
    for place in range(len(best[0].events)):
        event = best[0].events[place]
        if event.duration is None:
            continue
        for duration in (None, float(round(event.duration))):
            if duration != event.duration and (duration is None or duration > 0):
                candidate = _changed(best[0], place, dataclasses.replace(event, duration=duration))
                if breaks(candidate):
                    yield candidate
                    break


def _times(best: list[Scenario], breaks: Breaks) -> Iterator[Scenario]:
    """Earlier, and at round times."""
    for place in range(len(best[0].events)):
        event = best[0].events[place]
        earliest = best[0].events[place - 1].at if place else 5.0
        for at in (earliest, earliest + (event.at - earliest) // 2, float(round(event.at))):
            if at < event.at or (at != event.at and at == round(event.at) and event.at != round(event.at)):
                candidate = _changed(best[0], place, dataclasses.replace(event, at=float(at)))
                if breaks(candidate):
                    yield candidate
                    break


def _end(best: list[Scenario], breaks: Breaks) -> Iterator[Scenario]:
    base = best[0]
    last = max((event.at for event in base.events), default=0.0)
    for run_for in (60.0, 120.0, 180.0, 240.0, 300.0, 400.0, 500.0):
        if last < run_for < base.run_for:
            candidate = dataclasses.replace(base, run_for=run_for)
            if breaks(candidate):
                yield candidate
                return
