"""What the monitor looks at in runs: bounded, one at a time, in the journal before they begin, no secrets."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from hass_runtime.decide.view import DRAIN, FAILURE, RESTORE
from hass_runtime.domain import OrderKind, Step, StepStatus
from hass_runtime.remedy.runs import RunSpec
from hass_runtime.remedy.targets import MISSED_WITHIN
from hass_runtime.settings import ControllerSettings
from hass_runtime.simulator.hub import Hub
from hass_runtime.simulator.journal import Journal
from hass_runtime.simulator.watch_proof import Violated
from hass_runtime.store import Run

RULE_4 = "rule 4: the gates"
RULE_6 = "rule 6: every wait has a deadline"
RULE_7 = "rule 7: a run from the top is always safe"
RULE_11 = "rule 11: no secret is told"
SLACK = 30.0  # seconds that a step may take beyond the wait that is its work
REPORTING = 60.0  # what the deadline of a whole run may exceed that wait by


@dataclass
class RunWatch:
    """Rules 6, 7 and 11, and the pauses between attempts. ``ill``: runs that the scenario makes ill."""

    hub: Hub
    settings: ControllerSettings
    journal: Journal
    violated: Violated
    ill: set[str] = field(default_factory=set)
    controller_lives: Callable[[], bool] = lambda: True
    _steps: dict[str, Step] = field(default_factory=dict)
    _secrets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        told = {self.settings.openstack.password, self.settings.detection.polling_key.decode()}
        told |= {host.bmc.password for host in self.settings.hosts if host.bmc is not None}
        self._secrets = tuple(sorted(each for each in told if each))

    def begins(self, spec: RunSpec, ill: bool, at_work: Collection[str]) -> None:
        """A run is started. ``at_work``: the hosts that another one works on."""
        if ill:
            self.ill.add(spec.run_id)
        self.leak(spec.host, f"the run {spec.run_id}", f"{spec!r} {spec.extravars}")
        run = self.journal.run_rows.get(spec.run_id)
        if run is None or run.finished_at is not None:
            self.violated(RULE_7, spec.host, f"{spec.playbook} is begun, and the journal does not know of it")
        if spec.host in at_work:
            self.violated(RULE_7, spec.host, f"{spec.playbook} is begun beside another run of the host")
        longest = self._longest(spec.playbook)
        if spec.deadline > longest:
            words = f"{spec.playbook} may take {spec.deadline:g} s, at most {longest:g} s"
            self.violated(RULE_6, spec.host, words)
        self._pause(spec)

    def _longest(self, playbook: str) -> float:
        recovery = self.settings.recovery
        waits = {
            RESTORE: 2 * recovery.restore_timeout + recovery.return_delay,
            DRAIN: recovery.drain_timeout + REPORTING,
            "service_restart": recovery.restart_timeout + REPORTING,
        }
        return min(waits.get(playbook, recovery.run_timeout), recovery.run_timeout)

    def _pause(self, spec: RunSpec) -> None:
        """What failed is not tried again at once, unless a person wants it."""
        now = self.hub.wall()
        mine = [
            run
            for run in self.journal.run_rows.values()
            if run.incident == spec.incident and run.id != spec.run_id and run.finished_at is not None
        ]
        last = max(mine, key=lambda run: run.finished_at or 0.0, default=None)
        wanted = any(
            order.host == spec.host and order.kind in (OrderKind.RESTORE, OrderKind.MAINTENANCE)
            for order in self.journal.orders(now)
        )
        if last is None or wanted or last.playbook != spec.playbook:
            return
        if spec.playbook not in (FAILURE, RESTORE):
            return
        ago, pause = now - (last.finished_at or 0.0), self.settings.safety.retry_interval
        if last.status in ("failed", "timeout", "crashed") and ago < pause:
            words = f"{spec.playbook} is begun {ago:.1f} s after it {last.status}, {pause:g} s are waited"
            self.violated(RULE_4, spec.host, words)

    def step(self, step: Step) -> None:
        """A step began or ended."""
        self.leak("", f"step {step.name}", repr(step))
        if step.run is None:
            return
        if step.status is StepStatus.RUNNING:
            self._steps[step.run] = step
        else:
            self._steps.pop(step.run, None)
            self._took(step.run, step, step.finished_at or step.started_at)

    def run_changed(self, run: Run) -> None:
        """A run began or ended; with it ends the step that it was in."""
        self.leak("", f"run {run.id}", repr(run))
        if run.finished_at is None or run.id not in self._steps:
            return
        step = self._steps.pop(run.id)
        if run.status != "lost":  # that is noted when somebody takes over, long after it ended
            self._took(run.id, step, run.finished_at)

    def finish(self) -> None:
        """What is at work now, is it within its deadline? By the journal, if somebody writes it."""
        if self.journal.away or not self.controller_lives():
            return
        for run in self.journal.running.values():
            incident = self.journal.all_incidents[run.incident]
            took, longest = self.hub.wall() - run.started_at, self._longest(run.playbook)
            if took > longest + SLACK:
                words = f"{run.playbook} is at work for {took:.0f} s, at most {longest:g} s"
                self.violated(RULE_6, incident.host, words)

    def _took(self, run: str, step: Step, ended_at: float) -> None:
        longest = self._bound(step)
        took = ended_at - step.started_at
        if longest is not None and run not in self.ill and took > longest + SLACK:
            host = self.journal.all_incidents[step.incident].host
            self.violated(RULE_6, host, f"{step.action} took {took:.0f} s, at most {longest:g} s")

    def _bound(self, step: Step) -> float | None:
        """How long a step may wait, None: not known."""
        recovery = self.settings.recovery
        count = len(self.journal.move_rows.get(step.incident, {}))
        rounds = max(1, math.ceil(count / recovery.evacuate_workers))
        moves = self.journal.move_rows.get(step.incident, {}).values()
        groups = max(1, len({move.priority for move in moves}))  # each may wait for the one before
        ways = 1 + sum(host.reserved for host in self.settings.hosts)
        bounds = {
            "hass_fence": self.settings.safety.fence_timeout,
            "hass_evacuate": (rounds + groups - 1) * ways * recovery.evacuate_timeout + MISSED_WITHIN,
            "hass_wait_moves": recovery.restore_timeout,
            "hass_power": recovery.restore_timeout,
            "hass_wait_host": recovery.restore_timeout + recovery.return_delay,
            "hass_compute_service": 2 * recovery.restore_timeout,
            "hass_drain": recovery.drain_timeout + 2 * recovery.poll_interval,
            "hass_restart_service": recovery.restart_timeout,
        }
        return bounds.get(step.action)

    def leak(self, host: str, where: str, text: Any) -> None:
        """Look for a secret in what is written, launched or logged."""
        if any(secret in str(text) for secret in self._secrets):
            self.violated(RULE_11, host, f"a password stands in {where}")
