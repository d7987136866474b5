"""Carries decisions out: every one is written to the journal first, then acted upon, then remembered.

And the way back: what a running playbook reports becomes steps, moves and states of the incident. A crash
between any two lines leaves a journal from which `resume` finds the way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from hass_runtime.decide import decisions, lifecycle
from hass_runtime.decide.chores import BY_SETTING
from hass_runtime.decide.diagnosis import Boots
from hass_runtime.decide.view import DRAIN, FAILBACK, FAILURE, KEEP, RESTORE, REVIVE, LastRun
from hass_runtime.domain import (
    HostState,
    Incident,
    Move,
    MoveState,
    OrderKind,
    Outcome,
    Reserve,
    StepStatus,
    Verdict,
)
from hass_runtime.memory import Memory
from hass_runtime.remedy import resume
from hass_runtime.remedy.homecoming import moved_away
from hass_runtime.remedy.resume import LOST, WELL_DONE
from hass_runtime.remedy.runs import (
    MoveChanged,
    RunEnded,
    RunEvent,
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
REPORTING = 60.0  # seconds that a playbook may take beyond the wait that is its work


class Handle(Protocol):
    """A started run, as far as a controller has to do with it."""

    run_id: str

    def beat(self, *, valid_until: float) -> None: ...
    def cancel(self, reason: str) -> None: ...
    def wait(self, timeout: float | None = None) -> bool: ...


class Launches(Protocol):
    """Starts runs of playbooks, and ends what is left of earlier ones."""

    def start(self, spec: RunSpec, sink: Callable[[RunEvent], None]) -> Handle: ...
    def end_leftovers(self, run_id: str, run_dir: Path) -> None: ...
    def prune(self, runs: Path, keep: Collection[str]) -> None: ...
    def new_name(self) -> str: ...


def unmoved(facts: Mapping[str, Any]) -> str:
    """The instances that a successful run could not move, each with its reason; "" when there are none."""
    moves = facts.get("moves")
    rows = [move for move in moves if isinstance(move, Mapping)] if isinstance(moves, list) else []
    left = [f"{m.get('name')}: {m.get('reason')}" for m in rows if m.get("state") == MoveState.REFUSED.value]
    return "; ".join(left)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, tz=timezone.utc).isoformat(timespec="milliseconds")


def _failed_at(incident: Incident, boots: Boots, runs: Collection[Run] = ()) -> float:
    """When its host had failed, as far as it was seen: the first sign of the fault that it has now, or the
    begin of the incident's first fence; or when it was last heard in the boot in which its instances ran,
    when it has come back since and they are still off.
    """
    signs = [
        float(str(reading.get("at")))
        for reading in incident.seen
        if reading.get("verdict") == Verdict.FAILED.value and reading.get("at") is not None
    ]
    fences = [run.started_at for run in runs if run.playbook == FAILURE]
    first = min([*signs, *fences], default=incident.opened_at)
    return min(first, boots.heard_at) if boots.rebooted and boots.heard_at else first


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
        launcher: Launches,
        memory: Memory,
        sink: Callable[[RunEvent], None],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        valid_until: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._store = store
        self._launcher = launcher
        self._memory = memory
        self._sink = sink
        self._clock = clock
        self._monotonic = monotonic
        self._valid_until = valid_until
        self._handles: dict[str, Handle] = {}
        self._runs: dict[str, tuple[Incident, str]] = {}
        self._leftovers: list[Run] = []
        self._cleared_at = -LEFTOVERS_EVERY

    # -- decisions -------------------------------------------------------------------------------------

    def carry_out(self, decision: decisions.Decision, writer: Writer) -> None:
        """Journal the decision, then act on it."""
        match decision:
            case decisions.SetState(host, to, reason):
                self._set_state(writer, host, to, reason)
            case decisions.SetDoubt(host, doubt):
                writer.set_host_doubt(host, doubt)
                self._memory.doubts[host] = doubt
                if doubt:
                    log.error("BMC of host %s: believed -> doubted (%s)", host, doubt)
                else:
                    log.warning("BMC of host %s: doubted -> believed (it says on again)", host)
            case decisions.SetBoot(host, boot):
                writer.set_host_boot(host, boot)
                self._memory.know_boot(host, boot)
            case decisions.SetReserve(host, reserve, reason):
                self._set_reserve(writer, host, reserve, reason)
            case decisions.OpenIncident(host, fault, why):
                incident = writer.open_incident(host, fault, why, self._clock())
                self._memory.forget_runs(host)
                self._note(writer, incident.id, "Fault established", why)
                self._remember(host, incident.id)
                log.warning("incident %d of host %s opened: %s", incident.id, host, why)
            case decisions.Escalate(incident_id, host, fault, why):
                writer.update_incident(
                    incident_id,
                    fault=fault.name,
                    layer=fault.layer.value,
                    why=fault.why,
                    decision=why,
                    seen=fault.seen,
                    rung=0,
                    tries=0,
                )
                self._note(writer, incident_id, "Fault is another one", why)
                self._remember(host, incident_id)
                log.warning("incident %d of host %s: %s", incident_id, host, why)
            case decisions.HoldIncident(incident_id, host, gate, reason):
                writer.update_incident(incident_id, outcome=Outcome.HELD, gate=gate, reason=reason)
                self._note(writer, incident_id, f"Held by gate {gate}" if gate else "Held", reason)
                self._remember(host, incident_id)
                log.warning("incident %d of host %s held (%s): %s", incident_id, host, gate or "-", reason)
            case decisions.Launch():
                self._launch(decision, writer)
            case decisions.Cancel(incident_id, host, reason):
                self._cancel(incident_id, host, reason, writer)
            case decisions.EndOrder(order, host, reason):
                writer.end_order(order, self._clock())
                for key in [key for key, held in self._memory.orders.items() if held.id == order]:
                    del self._memory.orders[key]
                log.info("order %d for host %s ended: %s", order, host, reason)
            case decisions.Settle(incident_id, host, outcome, reason):
                writer.update_incident(incident_id, outcome=outcome, gate="", reason=reason)
                self._note(writer, incident_id, f"Instances {outcome.value}", reason)
                self._remember(host, incident_id)
                log.warning(
                    "incident %d of host %s: instances %s: %s", incident_id, host, outcome.value, reason
                )
            case decisions.WantHome(incident_id, host, reason):
                made = self._store.give_order(
                    host,
                    OrderKind.FAILBACK,
                    reason,
                    BY_SETTING,
                    at=self._clock(),
                    incident=incident_id,
                )
                self._memory.orders[host, made.kind] = made
                log.info("host %s: what incident %d moved away is to come home", host, incident_id)
            case decisions.CloseIncident(incident_id, host, outcome, reason):
                writer.close_incident(incident_id, outcome, reason, self._clock())
                del self._memory.incidents[host]
                self._memory.forget_runs(host)
                self._launcher.prune(self._settings.paths.state_dir / "runs", self._runs)
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

    def _set_reserve(self, writer: Writer, host: str, reserve: Reserve, reason: str) -> None:
        before = self._memory.reserves.get(host, Reserve.NONE)
        writer.set_host_reserve(host, reserve)
        self._memory.reserves[host] = reserve
        log.warning(
            "reserve: host %s: %s -> %s (%s)", host, before.value or "no", reserve.value or "no", reason
        )

    def _cancel(self, incident: int, host: str, reason: str, writer: Writer) -> None:
        """Tell the playbook at work to end; its end comes back as an event, and only then the next begins."""
        self._note(writer, incident, f"Cancel {self._memory.running[host]}", reason)
        self._memory.cancelling.add(host)
        log.warning(
            "incident %d of host %s: cancel %s: %s", incident, host, self._memory.running[host], reason
        )
        for run_id, (known, _) in self._runs.items():
            if known.host == host and run_id in self._handles:
                self._handles[run_id].cancel(reason)

    def _launch(self, launch: decisions.Launch, writer: Writer) -> None:
        now = self._clock()
        run_id = f"{launch.incident}-{launch.playbook}-{self._launcher.new_name()}"
        run_dir = self._settings.paths.state_dir / "runs" / run_id
        incident = self._memory.incidents[launch.host]
        fields: dict[str, Any] = {"phase": launch.playbook}
        if launch.playbook != RESTORE:
            fields |= {"rung": launch.rung, "tries": launch.tries}
            fields |= {"outcome": Outcome.OPEN, "gate": "", "reason": ""}
        if launch.playbook == FAILURE:
            fields["attempts"] = incident.attempts + 1
        writer.update_incident(launch.incident, **fields)
        earlier = self._store.runs(launch.incident)
        for run in earlier:
            if run.finished_at is None:  # a write failed between its first line in the journal and its start
                writer.finish_run(run.id, LOST, None, "it was never started", now)
        self._note(writer, launch.incident, f"Launch {launch.playbook}", launch.why)
        writer.start_run(run_id, launch.incident, launch.playbook, launch.attempt, 0, str(run_dir), now)
        self._set_state(writer, launch.host, launch.state, launch.why)
        self._remember(launch.host, launch.incident)
        order = launch.confirmed
        confirmed = {"by": order.by, "reason": order.reason, "at": order.at} if order is not None else {}
        spec = RunSpec(
            run_id=run_id,
            incident=launch.incident,
            host=launch.host,
            playbook=launch.playbook,
            run_dir=run_dir,
            config=self._settings.path,
            deadline=launch.deadline or self._deadline(launch.playbook),
            breath=self._settings.controller.lease_ttl,
            valid_until=self._valid_until(),
            extravars={
                "host": launch.host,
                "config": str(self._settings.path),
                "confirm": launch.host,
                "incident": launch.incident,
                "since": _iso(incident.opened_at),
                "failed_at": _iso(_failed_at(incident, self._memory.tracks[launch.host].boots, earlier)),
                "was": self._recorded_states(launch.incident),
                "choices": self._choices(),
                "confirmed": confirmed,
                "beware": list(launch.beware),
                "method": self._memory.policy.method(self._memory.hosts[launch.host].cluster).value,
                "reserved": list(launch.reserved),
                "into_reserve": launch.into_reserve,
                **self._moved_away(launch),
                "reason": incident.why,
            },
        )
        self._memory.run_began(launch.host, launch.playbook)
        self._runs[run_id] = (self._memory.incidents[launch.host], launch.playbook)
        log.warning(
            "incident %d of host %s: launch %s (%s)", launch.incident, launch.host, launch.playbook, run_id
        )
        self._handles[run_id] = self._launcher.start(spec, self._sink)

    def _moved_away(self, launch: decisions.Launch) -> dict[str, Any]:
        """For a failback: by UUID what is to come home, and where HASS had put it."""
        order = self._memory.orders.get((launch.host, OrderKind.FAILBACK))
        if launch.playbook != FAILBACK or order is None:
            return {}
        return {"moved": moved_away(launch.host, self._store.moves(order.incident))}

    def _choices(self) -> dict[str, dict[str, Any]]:
        """People's word on single instances, by UUID."""
        return {
            each.instance: {"protected": each.protected, "reason": each.reason, "by": each.by}
            for each in self._store.choices()
        }

    def _deadline(self, playbook: str) -> float:
        """Seconds that one run of the playbook may take."""
        recovery = self._settings.recovery
        waits = {
            RESTORE: recovery.restore_timeout * 2 + recovery.return_delay,
            DRAIN: recovery.drain_timeout + REPORTING,
            REVIVE: recovery.evacuate_timeout + REPORTING,
            FAILBACK: recovery.drain_timeout + REPORTING,
            KEEP: recovery.restore_timeout + REPORTING,
            "service_restart": recovery.restart_timeout + REPORTING,
        }
        return min(waits.get(playbook, recovery.run_timeout), recovery.run_timeout)

    def _recorded_states(self, incident: int) -> dict[str, str]:
        """What each instance was when this incident first looked: it is to be that again afterwards. One that
        is just arriving from another host is not yet what it was there.
        """
        others = (other.id for other in self._memory.incidents.values() if other.id != incident)
        arriving = [
            move for other in others for move in self._store.moves(other) if move.state is MoveState.ONGOING
        ]
        moves = [*arriving, *self._store.moves(incident)]
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
                    self._proven_off(writer, incident.host, event.at)
                    self._set_state(writer, incident.host, state, event.detail)
            case MoveChanged():
                writer.put_move(event.move)
                self._used_up(writer, event.move)
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

    def _used_up(self, writer: Writer, move: Move) -> None:
        """A reserved host that has taken an instance is a host like any other."""
        target = move.target
        if move.state is MoveState.SUCCEEDED and self._memory.reserves.get(target) is Reserve.READY:
            self._set_reserve(writer, target, Reserve.USED, f"it took {move.name} of {move.source}")
            self._note(writer, move.incident, f"Reserved host {target} is in use", f"it took {move.name}")

    def _proven_off(self, writer: Writer, host: str, at: float) -> None:
        """A fence succeeded: from here on the remedy is finished, whatever the host looks like."""
        incident = self._memory.incidents[host]
        if incident.fenced_at is None:
            writer.update_incident(incident.id, fenced_at=at)
            self._remember(host, incident.id)
            self._memory.fences.append((host, at))

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
        until = self._monotonic() + seconds
        for handle in handles:
            if not handle.wait(max(0.0, until - self._monotonic())):
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
        self._cleared_at = -LEFTOVERS_EVERY
        self.clear_leftovers(writer)

    def clear_leftovers(self, writer: Writer) -> None:
        """End what earlier controllers left at work; a host whose run survives that is left alone."""
        if not self._leftovers or self._monotonic() - self._cleared_at < LEFTOVERS_EVERY:
            return
        self._cleared_at = self._monotonic()
        self._leftovers = resume.clear(
            self._store, writer, self._memory, self._leftovers, self._clock(), self._launcher.end_leftovers
        )
