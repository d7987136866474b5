"""Runs many made-up schedules and looks for a broken safety rule; what breaks one becomes a small file."""

from __future__ import annotations

import dataclasses
import gc
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hass_runtime.simulator.dice import fair, roll
from hass_runtime.simulator.monitor import Violation
from hass_runtime.simulator.run import simulate
from hass_runtime.simulator.scenario import Scenario, ScenarioError, dump, load
from hass_runtime.simulator.shrink import shrink

PROGRESS = 2.0  # seconds between two lines of progress
CRASH = "the simulator itself fails"
_CHUNK = 8
_COLLECT = (50_000, 20, 20)


@dataclass(frozen=True)
class Outcome:
    """What one schedule came to."""

    index: int
    seconds: float
    fences: int
    evacuations: int
    violations: tuple[Violation, ...]


@dataclass
class Totals:
    """Sums over all schedules so far."""

    schedules: int = 0
    seconds: float = 0.0
    fences: int = 0
    evacuations: int = 0
    violations: int = 0

    def add(self, outcome: Outcome) -> None:
        self.schedules += 1
        self.seconds += outcome.seconds
        self.fences += outcome.fences
        self.evacuations += outcome.evacuations
        self.violations += len(outcome.violations)

    def text(self, took: float) -> str:
        hours = self.seconds / 3600
        return (
            f"{self.schedules} schedules, {hours:.1f} simulated hours, {self.fences} fences, "
            f"{self.evacuations} evacuations, {self.violations} violations, "
            f"{hours / took if took else 0.0:.1f} simulated hours a second"
        )

    def json(self, took: float) -> str:
        raw = dataclasses.asdict(self) | {"event": "random.ended", "took": round(took, 3)}
        return json.dumps(raw)


def broken_rules(scenario: Scenario) -> tuple[Outcome, tuple[Violation, ...]]:
    """Run it once. An error of the simulator's own is as good a find as a broken rule."""
    try:
        result = simulate(scenario)
    except ScenarioError:
        raise
    except Exception as error:  # noqa: BLE001 - it is reported with the schedule that it came from
        violations: tuple[Violation, ...] = (Violation(0.0, CRASH, "", repr(error)),)
        return Outcome(0, scenario.run_for, 0, 0, violations), violations
    violations = result.violations
    outcome = Outcome(0, scenario.run_for, result.fences, result.evacuations, violations)
    return outcome, violations


def _one(seed: int, index: int) -> Outcome:
    outcome, _ = broken_rules(roll(seed, index))
    return dataclasses.replace(outcome, index=index)


def _outcomes(seed: int, count: int, jobs: int) -> Iterator[Outcome]:
    """In order of their number, however many processes work."""
    work = partial(_one, seed)
    if jobs == 1:
        yield from map(work, range(count))
        return
    with multiprocessing.get_context("fork").Pool(jobs, initializer=collect_rarely) as pool:
        yield from pool.imap(work, range(count), chunksize=_CHUNK)


def collect_rarely() -> None:
    """A run makes much that lives as long as it does, and little garbage: looking for it seldom is enough."""
    gc.freeze()
    gc.set_threshold(*_COLLECT)


def explore(count: int, seed: int, jobs: int, save: Path, as_json: bool) -> int:
    """Run so many schedules, to the first that breaks a rule. Returns the exit status."""
    totals, began, told_at = Totals(), time.monotonic(), time.monotonic()
    found: Outcome | None = None
    for outcome in _outcomes(seed, count, jobs):
        totals.add(outcome)
        if outcome.violations:
            found = outcome
            break
        if time.monotonic() - told_at >= PROGRESS:
            told_at = time.monotonic()
            print(totals.text(told_at - began), file=sys.stderr)
    took = time.monotonic() - began
    if found is not None:
        _report(found, seed, save)
    print(totals.json(took) if as_json else totals.text(took))
    return 1 if found is not None else 0


def _report(found: Outcome, seed: int, save: Path) -> None:
    first = found.violations[0]
    print(f"schedule {found.index} of seed {seed} breaks a rule: {first.text()}", file=sys.stderr)
    print("looking for the smallest scenario that does", file=sys.stderr)
    small, violation = smallest(roll(seed, found.index), first)
    save.mkdir(parents=True, exist_ok=True)
    path = save / f"broken-{seed}-{found.index}.yml"
    path.write_text(dump(small), encoding="utf-8")
    load(path)  # what is written has to be readable
    print(f"BROKEN  {violation.text()}")
    print(f"replay it: hass simulate {path}")


def smallest(scenario: Scenario, violation: Violation) -> tuple[Scenario, Violation]:
    """The smallest scenario that breaks the same rule, and how."""
    last = violation

    def breaks(candidate: Scenario) -> bool:
        nonlocal last
        if not fair(candidate):
            return False
        try:
            _, violations = broken_rules(candidate)
        except ScenarioError:
            return False
        same = [each for each in violations if each.kind == violation.kind]
        if same:
            last = same[0]
        return bool(same)

    small = shrink(dataclasses.replace(scenario, name=f"broken: {violation.rule}"), breaks)
    breaks(small)
    return small, last
