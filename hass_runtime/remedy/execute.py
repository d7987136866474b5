"""Carries decisions out: every one is written to the journal first, then acted upon, then remembered.

And the way back: what a running playbook reports becomes steps, moves and states of the incident. A crash
between any two lines leaves a journal from which `resume` finds the way.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from hass_runtime.decide import lifecycle, plan
from hass_runtime.decide.view import LastRun
from hass_runtime.domain import HostState, Incident, MoveState, Outcome, StepStatus
from hass_runtime.memory import Memory
from hass_runtime.remedy import resume
from hass_runtime.remedy.housekeeping import prune_runs
from hass_runtime.remedy.resume import LOST, WELL_DONE
from hass_runtime.remedy.runs import (
    Launcher,
    MoveChanged,
    RunEnded,
    RunEvent,
    RunHandle,
    RunSpec,
    TaskEnded,
    TaskStarted,
)
from hass_runtime.settings import ControllerSettings
from hass_runtime.store import Run, Store, Writer

log = logging.getLogger(__name__)

# What the modules of `playbooks/remediation/` prove or begin, by the state of the host that it means.
_STATE_WHEN_STARTED = {"hass_evacuate": HostState.EVACUATING}
_STATE_WHEN_DONE = {"hass_fence": HostState.FENCED}
LEFTOVERS_EVERY = 10.0  # seconds between attempts to end a run that survived the last one


def unmoved(facts: Mapping[str, Any]) -> str:
    """The instances that a successful run could not move, each with its reason; "" when there are none."""
    moves = facts.get("moves")
    rows = [move for move in moves if isinstance(move, Mapping)] if isinstance(moves, list) else []
    left = [f"{m.get('name')}: {m.get('reason')}" for m in rows if m.get("state") == MoveState.REFUSED.value]
    return "; ".join(left)


class Executor:
    """Decisions in, journal entries and playbook runs out; run events in, journal entries out.

    Args:
        sink: takes run events from the launcher's threads; the loop hands them back to `follow`.
        clock: seconds since the epoch, UTC.
        valid_until: until when, by time.monotonic(), the lease lasts under which runs may work.
    """

    def __init__(
        self,
        settings: ControllerSettings,
        store: Store,
        launcher: Launcher,
        memory: Memory,
        sink: Callable[[RunEvent], None],
        clock: Callable[[], float],
        valid_until: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._store = store
        self._launcher = launcher
        self._memory = memory
        self._sink = sink
        self._clock = clock
        self._valid_until = valid_until
        self._handles: dict[str, RunHandle] = {}
        self._runs: dict[str, tuple[Incident, str]] = {}
        self._leftovers: list[Run] = []
        self._cleared_at = 0.0

    # -- decisions -------------------------------------------------------------------------------------

    def carry_out(self, decision: plan.Decision, writer: Writer) -> None:
        """Journal the decision, then act on it."""
        match decision:
            case plan.SetState(host, to, reason):
                self._set_state(writer, host, to, reason)
            case plan.OpenIncident(host, fault, why):
                incident = writer.open_incident(host, fault, why, self._clock())
                self._memory.forget_runs(host)
                self._note(writer, incident.id, "Fault established", why)
                self._remember(host, incident.id)
                log.warning("incident %d of host %s opened: %s", incident.id, host, why)
            case plan.Escalate(incident_id, host, fault, why):
                writer.update_incident(
                    incident_id,
                    fault=fault.name,
                    layer=fault.layer.value,
                    why=fault.why,
                    decision=why,
                    seen=fault.seen,
                )
                self._note(writer, incident_id, "Fault is another one", why)
                self._remember(host, incident_id)
                log.warning("incident %d of host %s: %s", incident_id, host, why)
            case plan.HoldIncident(incident_id, host, gate, reason):
                writer.update_incident(incident_id, outcome=Outcome.HELD, gate=gate, reason=reason)
                self._note(writer, incident_id, f"Held by gate {gate}" if gate else "Held", reason)
                self._remember(host, incident_id)
                log.warning("incident %d of host %s held (%s): %s", incident_id, host, gate or "-", reason)
            case plan.Launch():
                self._launch(decision, writer)
            case plan.Settle(incident_id, host, outcome, reason):
                writer.update_incident(incident_id, outcome=outcome, gate="", reason=reason)
                self._note(writer, incident_id, f"Instances {outcome.value}", reason)
                self._remember(host, incident_id)
                log.warning(
                    "incident %d of host %s: instances %s: %s", incident_id, host, outcome.value, reason
                )
            case plan.CloseIncident(incident_id, host, outcome, reason):
                writer.close_incident(incident_id, outcome, reason, self._clock())
                del self._memory.incidents[host]
                self._memory.forget_runs(host)
                prune_runs(self._settings.paths.state_dir / "runs", self._runs)
                log.warning("incident %d of host %s closed: %s: %s", incident_id, host, outcome.value, reason)

    def _note(self, writer: Writer, incident: int, name: str, detail: str) -> None:
        writer.note(incident, name, StepStatus.OK, self._clock(), detail)

    def _remember(self, host: str, incident_id: int) -> None:
        incident = self._store.incident(incident_id)
        if incident is None:
            raise LookupError(f"incident {incident_id} of host {host} is not in the store")
        self._memory.incidents[host] = incident

    def _set_state(self, writer: Writer, host: str, to: HostState, reason: str) -> None:
        before = self._memory.states[host]
        if before is to:
            return
        if not lifecycle.permitted(before, to):
            log.error("BUG: host %s: %s -> %s is not in the lifecycle", host, before.value, to.value)
        writer.set_host_state(host, to, reason, self._clock())
        self._memory.states[host] = to
        log.info("host %s: %s -> %s (%s)", host, before.value, to.value, reason)

    def _launch(self, launch: plan.Launch, writer: Writer) -> None:
        now = self._clock()
        run_id = f"{launch.incident}-{launch.playbook}-{uuid.uuid4().hex[:8]}"
        run_dir = self._settings.paths.state_dir / "runs" / run_id
        incident = self._memory.incidents[launch.host]
        if launch.playbook == plan.FAILURE:
            fields = {"attempts": incident.attempts + 1, "outcome": Outcome.OPEN, "gate": "", "reason": ""}
            writer.update_incident(launch.incident, phase=launch.playbook, **fields)
        else:
            writer.update_incident(launch.incident, phase=launch.playbook)
        for run in self._store.runs(launch.incident):
            if run.finished_at is None:  # a write failed between its first line in the journal and its start
                writer.finish_run(run.id, LOST, None, "it was never started", now)
        self._note(writer, launch.incident, f"Launch {launch.playbook}", launch.why)
        writer.start_run(run_id, launch.incident, launch.playbook, launch.attempt, 0, str(run_dir), now)
        self._set_state(writer, launch.host, launch.state, launch.why)
        self._remember(launch.host, launch.incident)
        recovery = self._settings.recovery
        deadline = recovery.run_timeout
        if launch.playbook == plan.RESTORE:
            deadline = min(deadline, recovery.restore_timeout * 2)
        opened = datetime.fromtimestamp(incident.opened_at, tz=timezone.utc)
        spec = RunSpec(
            run_id=run_id,
            incident=launch.incident,
            host=launch.host,
            playbook=launch.playbook,
            run_dir=run_dir,
            config=self._settings.path,
            deadline=deadline,
            breath=self._settings.controller.lease_ttl,
            valid_until=self._valid_until(),
            extravars={
                "host": launch.host,
                "config": str(self._settings.path),
                "confirm": launch.host,
                "incident": launch.incident,
                "since": opened.isoformat(timespec="milliseconds"),
                "was": self._recorded_states(launch.incident),
            },
        )
        self._memory.running[launch.host] = launch.playbook
        self._runs[run_id] = (self._memory.incidents[launch.host], launch.playbook)
        log.warning(
            "incident %d of host %s: launch %s (%s)", launch.incident, launch.host, launch.playbook, run_id
        )
        self._handles[run_id] = self._launcher.start(spec, self._sink)

    def _recorded_states(self, incident: int) -> dict[str, str]:
        """What each instance was when this incident first looked: it is to be that again afterwards."""
        moves = self._store.moves(incident)
        return {move.instance: move.was for move in moves if move.was in ("active", "stopped")}

    # -- what the runs report --------------------------------------------------------------------------

    def follow(self, event: RunEvent, writer: Writer) -> None:
        """Journal one event of a run; what a cancelled run still says is not listened to."""
        known = self._runs.get(event.run_id)
        if known is None:
            log.debug("run %s is not followed any more: %r", event.run_id, event)
            return
        incident, playbook = known
        match event:
            case TaskStarted():
                writer.put_step(
                    incident.id,
                    event.run_id,
                    event.key,
                    event.name,
                    StepStatus.RUNNING,
                    event.at,
                    action=event.action,
                )
                state = _STATE_WHEN_STARTED.get(event.action)
                if state is not None:
                    self._set_state(writer, incident.host, state, event.name)
            case TaskEnded():
                writer.put_step(
                    incident.id,
                    event.run_id,
                    event.key,
                    event.name,
                    event.status,
                    event.started_at,
                    event.at,
                    event.detail,
                    event.action,
                )
                state = _STATE_WHEN_DONE.get(event.action)
                if state is not None and event.status in WELL_DONE:
                    self._set_state(writer, incident.host, state, event.detail)
                    self._memory.proven_off.add(incident.host)
            case MoveChanged():
                writer.put_move(event.move)
            case RunEnded():
                reason = event.reason or unmoved(event.facts)
                writer.finish_run(event.run_id, event.status, event.rc, reason, event.at)
                self._memory.run_ended(
                    incident.host, LastRun(playbook, event.status, reason, self._clock(), 0)
                )
                del self._runs[event.run_id]
                self._handles.pop(event.run_id, None)
                log.warning(
                    "incident %d of host %s: %s %s%s",
                    incident.id,
                    incident.host,
                    playbook,
                    event.status,
                    f": {reason}" if reason else "",
                )

    # -- all runs at once ------------------------------------------------------------------------------

    def drop(self, event: RunEvent) -> None:
        """An event that cannot be journalled: all else goes on without it; an end is an end all the same."""
        known = self._runs.get(event.run_id)
        if isinstance(event, RunEnded) and known is not None:
            incident, playbook = known
            self._memory.run_ended(
                incident.host, LastRun(playbook, event.status, event.reason, self._clock(), 0)
            )
            del self._runs[event.run_id]
            self._handles.pop(event.run_id, None)

    def beat(self) -> None:
        """Tell every worker that its controller lives, and until when its lease lasts."""
        for handle in list(self._handles.values()):
            handle.beat(valid_until=self._valid_until())

    def cancel_all(self, reason: str) -> None:
        """End every run for real; their playbooks can be run again from the top by whoever acts next."""
        for handle in list(self._handles.values()):
            handle.cancel(reason)
        self._handles.clear()
        self._runs.clear()
        self._memory.running.clear()

    def stop_all(self, reason: str, seconds: float) -> None:
        """End every run and wait until they are gone, at most ``seconds`` in all."""
        handles = list(self._handles.values())
        self.cancel_all(reason)
        until = time.monotonic() + seconds
        for handle in handles:
            if not handle.wait(max(0.0, until - time.monotonic())):
                log.error("run %s has not ended within %.0f s", handle.run_id, seconds)

    # -- taking over -----------------------------------------------------------------------------------

    def take_over(self, writer: Writer) -> None:
        """Fill the memory from the journal, and make sure that no earlier run is still at work here.

        Playbooks are idempotent and read the real state first, so a run that was lost is simply started
        again; but never beside one that still runs.
        """
        self.cancel_all("the lease was taken anew")
        resume.recall(self._store, writer, self._memory, self._clock())
        self._leftovers = self._store.unfinished_runs()
        self._cleared_at = 0.0
        self.clear_leftovers(writer)

    def clear_leftovers(self, writer: Writer) -> None:
        """End what earlier controllers left at work; a host whose run survives that is left alone."""
        if not self._leftovers or time.monotonic() - self._cleared_at < LEFTOVERS_EVERY:
            return
        self._cleared_at = time.monotonic()
        self._leftovers = resume.clear(self._store, writer, self._memory, self._leftovers, self._clock())
