"""The expectations of a scenario, judged while it runs.

``by: T`` asks whether something came to be true: at some moment up to T, after it had once been false since
the first event that concerns it; or at T itself. So ``{by: 400, host: host2, state: healthy}`` means healthy
again after what happened to host2, and for a host that nothing happens to it means at T.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from hass_runtime.domain import Outcome
from hass_runtime.simulator.facts import Facts
from hass_runtime.simulator.scenario_model import Event, Expectation, Scenario
from hass_runtime.simulator.scenario_words import ANY, OTHERS


@dataclass(frozen=True)
class Judgement:
    """An expectation, whether it held, and when that was decided; ``words`` say what was the case instead."""

    expectation: Expectation
    held: bool
    at: float | None
    words: str = ""

    def text(self) -> str:
        said = self.expectation.text or f"{self.expectation.kind} {self.expectation.what}"
        when = f" at {self.at:.1f}" if self.at is not None else ""
        words = f": {self.words}" if self.words else ""
        return f"{'ok    ' if self.held else 'FAILED'}  {said}{when}{words}"


@dataclass
class _Case:
    """One expectation while it is open. ``was_false``: since the first event that concerns it."""

    expectation: Expectation
    concerns: float
    was_false: bool = False
    verdict: Judgement | None = None


class Clock(Protocol):
    """What can be told to do something at a time."""

    def at(self, moment: float, work: Callable[[], None]) -> None: ...


class Judge:
    """Looks after each thing that happens. Knows no more of the cluster than its facts."""

    def __init__(self, scenario: Scenario, facts: Facts) -> None:
        self._scenario = scenario
        self._facts = facts
        self._looked_at: object = None
        self._home = {each.name: each.host for each in scenario.instances}
        self._cases = [_Case(each, self._concerned(each)) for each in scenario.expect]
        self._before: dict[str, set[str]] = {}
        for instance in scenario.instances:
            if instance.state == "active":
                self._before.setdefault(instance.host, set()).add(instance.name)

    def begin(self, clock: Clock) -> None:
        """Be there at the moments that expectations name."""
        for case in self._cases:
            if case.expectation.time is not None:
                clock.at(case.expectation.time, lambda case=case: self._at_its_time(case))  # type: ignore[misc]

    def before(self, event: Event) -> None:
        """An event is about to happen: what ran on its hosts until then is to be remembered."""
        hosts = {host.name for host in self._scenario.hosts}
        for subject in event.subjects:
            if subject in hosts:
                self._before.setdefault(subject, set()).update(self._facts.running_there(subject))

    def look(self) -> None:
        """Something may have changed."""
        version = self._facts.version
        if version == self._looked_at:
            return
        self._looked_at = version
        for case in self._cases:
            if case.verdict is None:
                self._look(case)

    def finish(self) -> None:
        """The run is over: what never came true did not hold, what never happened held."""
        for case in self._cases:
            if case.verdict is None:
                never = case.expectation.kind == "never"
                case.verdict = Judgement(case.expectation, never, None, "" if never else self._instead(case))

    def judgements(self) -> tuple[Judgement, ...]:
        return tuple(case.verdict for case in self._cases if case.verdict is not None)

    def _look(self, case: _Case) -> None:
        wanted, now = case.expectation, self._facts.now
        if wanted.kind == "at" or wanted.what == "not_fenced" or now < case.concerns:
            return
        true = self._true(wanted)
        if wanted.kind == "never":
            if true:
                case.verdict = Judgement(wanted, False, now, "it happened")
        elif true and case.was_false:
            case.verdict = Judgement(wanted, True, now)
        elif not true:
            case.was_false = True

    def _at_its_time(self, case: _Case) -> None:
        if case.verdict is None:
            true = self._true(case.expectation)
            words = "" if true else self._instead(case)
            case.verdict = Judgement(case.expectation, true, self._facts.now, words)

    def _concerned(self, wanted: Expectation) -> float:
        """When the first event happens that has to do with the expectation; 0 when none does."""
        names = {str(value) for value in wanted.arguments.values()}
        instance = str(wanted.arguments.get("instance", ""))
        if instance in self._home:
            names.add(self._home[instance])
        moments = [
            event.at
            for event in self._scenario.events
            if event.name != "playbook" and (not event.subjects or names.intersection(event.subjects))
        ]
        return min(moments, default=0.0) if wanted.kind != "never" else 0.0

    # -- what is the case ------------------------------------------------------------------------------

    def _true(self, wanted: Expectation) -> bool:
        about = wanted.arguments
        check = getattr(self, f"_is_{wanted.what}")
        return bool(check(about))

    def _is_two_writers(self, about: Any) -> bool:
        return self._facts.two_writers()

    def _is_fenced(self, about: Any) -> bool:
        incident = self._facts.open_incident(about["host"])
        return incident is not None and incident.fenced_at is not None

    def _is_not_fenced(self, about: Any) -> bool:
        return not self._is_fenced(about)

    def _is_host_state(self, about: Any) -> bool:
        row = self._facts.host(about["host"])
        return row is not None and row.state.value == about["state"]

    def _is_instances_of(self, about: Any) -> bool:
        return not self._elsewhere(about["host"], about["running_on"])

    def _elsewhere(self, host: str, wanted: str | tuple[str, ...]) -> list[str]:
        """The instances of the host that do not run where they are expected."""
        left = []
        mine = self._before.get(host, set())
        for name in (each for each in self._home if each in mine):
            if not self._facts.wanted(name):
                continue
            running = self._facts.running_on(name)
            good = len(running) == 1 and (running[0] != host if wanted == OTHERS else running[0] in wanted)
            if not good:
                left.append(name)
        return left

    def _is_instance(self, about: Any) -> bool:
        said = self._facts.nova_says(about["instance"])
        if said is None:
            return False
        (state, host), running = said, self._facts.running_on(about["instance"])
        if state == "active" and len(running) != 1:
            return False
        place = running[0] if len(running) == 1 else host
        there = self._is_there(about["instance"], place, about["on"])
        return about["state"] in (None, state) and there

    def _is_there(self, instance: str, place: str, wanted: str | None) -> bool:
        if wanted is None:
            return True
        return place != self._home[instance] if wanted == OTHERS else place == wanted

    def _is_incident(self, about: Any) -> bool:
        return any(
            incident.host == about["host"]
            and about["fault"] in (ANY, incident.fault, incident.layer)
            and about["outcome"] in (ANY, incident.outcome.value)
            for incident in self._facts.incidents()
        )

    def _is_held(self, about: Any) -> bool:
        incident = self._facts.open_incident(about["host"])
        if incident is None:
            return False
        return incident.outcome is Outcome.HELD and about["gate"] in (ANY, incident.gate)

    def _is_evacuated(self, about: Any) -> bool:
        return about["host"] in self._facts.evacuated()

    def _is_more_fenced_than(self, about: Any) -> bool:
        return len(self._facts.fenced()) > int(about["count"])

    def _is_restarted(self, about: Any) -> bool:
        return about["instance"] in self._facts.restarted()

    def _instead(self, case: _Case) -> str:
        """What is the case now, where something else was expected."""
        about = case.expectation.arguments
        if case.expectation.what == "instances_of":
            return f"not so: {', '.join(self._elsewhere(about['host'], about['running_on']))}"
        if case.expectation.what == "instance":
            said = self._facts.nova_says(about["instance"])
            if said is None:
                return "it is deleted"
            running = ", ".join(self._facts.running_on(about["instance"])) or "no host"
            return f"Nova says {said[0]} on {said[1]}; it runs on {running}"
        row = self._facts.host(about.get("host", ""))
        if row is None:
            return ""
        incident = self._facts.open_incident(row.name)
        words = f"{row.name} is {row.state.value} ({row.reason})"
        if incident is not None:
            gate = f" by {incident.gate}" if incident.gate else ""
            told = f"{incident.fault}, {incident.outcome.value}{gate}: {incident.reason}"
            words += f"; incident {incident.id}: {told}"
        return words
