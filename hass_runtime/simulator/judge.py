"""The expectations of a scenario, judged while it runs.

``by: T`` asks whether something came to be true: at some moment up to T, after it had once been false since
the first event that concerns it; or at T itself. So ``{by: 400, host: host2, state: healthy}`` means healthy
again after what happened to host2, and for a host that nothing happens to it means at T.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hass_runtime.domain import Outcome
from hass_runtime.simulator.hub import Hub
from hass_runtime.simulator.journal import Journal
from hass_runtime.simulator.monitor import TWO_WRITERS, Monitor
from hass_runtime.simulator.nova import Nova
from hass_runtime.simulator.record import Record
from hass_runtime.simulator.scenario_model import Event, Expectation, Scenario
from hass_runtime.simulator.scenario_words import ANY, OTHERS
from hass_runtime.simulator.world import Guest, World


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


class Judge:
    """Looks after each thing that happens."""

    def __init__(
        self,
        scenario: Scenario,
        world: World,
        nova: Nova,
        journal: Journal,
        record: Record,
        monitor: Monitor,
    ) -> None:
        self._scenario = scenario
        self._world = world
        self._nova = nova
        self._journal = journal
        self._record = record
        self._monitor = monitor
        self._looked_at = (-1, -1)
        self._cases = [_Case(each, self._concerned(each)) for each in scenario.expect]
        self._before: dict[str, set[str]] = {}
        for guest in world.guests.values():
            if guest.wish == "active":
                self._before.setdefault(guest.spec.host, set()).add(guest.uuid)

    def begin(self, hub: Hub) -> None:
        """Be there at the moments that expectations name."""
        for case in self._cases:
            if case.expectation.time is not None:
                hub.at(case.expectation.time, lambda case=case: self._at_its_time(case))  # type: ignore[misc]

    def before(self, event: Event) -> None:
        """An event is about to happen: what ran on its hosts until then is to be remembered."""
        for subject in event.subjects:
            if subject in self._world.hosts:
                running = {guest.uuid for guest in self._world.guests_of(subject)}
                self._before.setdefault(subject, set()).update(running)

    def look(self) -> None:
        """Something may have changed."""
        now = (self._world.version, len(self._record.entries))
        if now == self._looked_at:
            return
        self._looked_at = now
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
        wanted, now = case.expectation, self._world.hub.now
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
            case.verdict = Judgement(case.expectation, true, self._world.hub.now, words)

    def _concerned(self, wanted: Expectation) -> float:
        """When the first event happens that has to do with the expectation; 0 when none does."""
        names = {str(value) for value in wanted.arguments.values()}
        instance = self._world.by_name.get(str(wanted.arguments.get("instance", "")))
        if instance is not None:
            names.add(instance.spec.host)
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
        return any(violation.rule == TWO_WRITERS for violation in self._monitor.violations)

    def _is_fenced(self, about: Any) -> bool:
        open_ = self._journal.open_by_host.get(about["host"])
        return open_ is not None and self._journal.all_incidents[open_].fenced_at is not None

    def _is_not_fenced(self, about: Any) -> bool:
        return not self._is_fenced(about)

    def _is_host_state(self, about: Any) -> bool:
        row = self._journal.host_rows.get(about["host"])
        return row is not None and row.state.value == about["state"]

    def _is_instances_of(self, about: Any) -> bool:
        host, wanted = about["host"], about["running_on"]
        return not self._elsewhere(host, wanted)

    def _elsewhere(self, host: str, wanted: str | tuple[str, ...]) -> list[str]:
        """The instances of the host that do not run where they are expected."""
        left = []
        for uuid in sorted(self._before.get(host, ())):
            guest = self._world.guests[uuid]
            if guest.deleted or guest.wish != "active":
                continue
            running = self._world.running_on(guest)
            good = len(running) == 1 and (running[0] != host if wanted == OTHERS else running[0] in wanted)
            if not good:
                left.append(guest.name)
        return left

    def _is_instance(self, about: Any) -> bool:
        guest = self._world.by_name[about["instance"]]
        record = self._nova.records.get(guest.uuid)
        if record is None:
            return False
        running = self._world.running_on(guest)
        state = "active" if running and record.server.vm_state == "active" else record.server.vm_state
        if state == "active" and len(running) != 1:
            return False
        place = running[0] if len(running) == 1 else record.server.host
        return about["state"] in (None, state) and _is_there(guest, place, about["on"])

    def _is_incident(self, about: Any) -> bool:
        return any(
            incident.host == about["host"]
            and about["fault"] in (ANY, incident.fault, incident.layer)
            and about["outcome"] in (ANY, incident.outcome.value)
            for incident in self._journal.all_incidents.values()
        )

    def _is_held(self, about: Any) -> bool:
        open_ = self._journal.open_by_host.get(about["host"])
        if open_ is None:
            return False
        incident = self._journal.all_incidents[open_]
        return incident.outcome is Outcome.HELD and about["gate"] in (ANY, incident.gate)

    def _is_evacuated(self, about: Any) -> bool:
        return about["host"] in self._monitor.evacuated

    def _is_more_fenced_than(self, about: Any) -> bool:
        return len(self._monitor.fenced) > int(about["count"])

    def _is_restarted(self, about: Any) -> bool:
        return about["instance"] in self._monitor.started

    def _instead(self, case: _Case) -> str:
        """What is the case now, where something else was expected."""
        about = case.expectation.arguments
        if case.expectation.what == "instances_of":
            return f"not so: {', '.join(self._elsewhere(about['host'], about['running_on']))}"
        if case.expectation.what == "instance":
            guest = self._world.by_name[about["instance"]]
            record = self._nova.records.get(guest.uuid)
            if record is None:
                return "it is deleted"
            running = ", ".join(self._world.running_on(guest)) or "no host"
            return f"Nova says {record.server.vm_state} on {record.server.host}; it runs on {running}"
        row = self._journal.host_rows.get(about.get("host", ""))
        if row is None:
            return ""
        open_ = self._journal.open_by_host.get(row.name)
        words = f"{row.name} is {row.state.value} ({row.reason})"
        if open_ is not None:
            incident = self._journal.all_incidents[open_]
            gate = f" by {incident.gate}" if incident.gate else ""
            words += (
                f"; incident {open_}: {incident.fault}, {incident.outcome.value}{gate}: {incident.reason}"
            )
        return words


def _is_there(guest: Guest, place: str, wanted: str | None) -> bool:
    if wanted is None:
        return True
    return place != guest.spec.host if wanted == OTHERS else place == wanted
