"""Taking over: where an earlier controller, or this one before it was killed, left off."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from hass_runtime.domain import Incident, Layer, Outcome, StepStatus
from hass_runtime.memory import Memory
from hass_runtime.remedy.runs import RunsError
from hass_runtime.store import Run, Store, Writer

log = logging.getLogger(__name__)

LOST = "lost"  # the status of a run whose controller is gone; it is started again from the top
WELL_DONE = (StepStatus.OK, StepStatus.CHANGED)


def recall(store: Store, writer: Writer, memory: Memory, now: float) -> None:
    """Fill the memory from the journal: states, incidents without an end, and how their runs ended."""
    writer.put_hosts(memory.hosts.values())
    open_incidents = store.incidents(limit=10_000, open_only=True)
    writer.keep_hosts({*memory.hosts, *(incident.host for incident in open_incidents)})
    for row in store.hosts():
        if row.name in memory.hosts:
            memory.states[row.name] = row.state
            memory.recall_doubt(row.name, row.doubt)
            memory.reserves[row.name] = row.reserve
            said = row.layers.get(Layer.SERVICE)
            # Silent by the last line: since then it may have gone down, returned, and noted what it lost.
            heard_at = now if said is None else said.at if said.answered else said.since
            memory.know_boot(row.name, row.boot, heard_at)
    window = max(memory.policy.fence_window, memory.policy.flap_window)
    memory.fences = [
        (incident.host, incident.fenced_at)
        for incident in store.fences_since(now - window)
        if incident.fenced_at is not None
    ]
    memory.incidents.clear()
    memory.running.clear()
    for incident in open_incidents:
        if incident.host not in memory.hosts:
            reason = "the configuration does not name this host any more: nobody looks after its instances"
            writer.update_incident(incident.id, outcome=Outcome.HELD, gate="", reason=reason)
            log.error("incident %d of host %s held: %s", incident.id, incident.host, reason)
            continue
        memory.incidents[incident.host] = incident
        memory.recall_runs(incident.host, store.runs(incident.id), now)
        if incident.fenced_at is None:
            memory.incidents[incident.host] = _fenced(store, writer, incident)
        log.warning("incident %d of host %s goes on (%s)", incident.id, incident.host, incident.fault)


def _fenced(store: Store, writer: Writer, incident: Incident) -> Incident:
    """The incident, and when its fence succeeded: a controller may die between noting the step and that."""
    for step in store.steps(incident.id):
        if step.action == "hass_fence" and step.status in WELL_DONE:
            return writer.update_incident(incident.id, fenced_at=step.finished_at or step.started_at)
    return incident


EndLeftovers = Callable[[str, Path], None]


def end_runs(runs: list[Run], end_leftovers: EndLeftovers) -> bool:
    """End what is left of these runs on this machine; False when something survives."""
    try:
        for run in runs:
            end_leftovers(run.id, Path(run.run_dir))
    except RunsError as error:
        log.error("a run of an earlier controller cannot be ended: %s", error)
        return False
    return True


def clear(
    store: Store,
    writer: Writer,
    memory: Memory,
    runs: list[Run],
    now: float,
    end_leftovers: EndLeftovers,
) -> list[Run]:
    """End what is left of these runs of earlier controllers.

    Returns:
        Those that survived, each told in its incident; their hosts count as being worked on.
    """
    left = []
    for run in runs:
        incident = store.incident(run.incident)
        host = incident.host if incident is not None else ""
        try:
            end_leftovers(run.id, Path(run.run_dir))
        except RunsError as error:
            left.append(run)
            log.error("run %s of an earlier controller cannot be ended: %s", run.id, error)
            if incident is not None and host in memory.hosts and memory.running.get(host) is None:
                memory.running[host] = run.playbook
                reason = f"run {run.id} of an earlier controller cannot be ended: {error}"
                outcome = incident.outcome if incident.phase == "host_restore" else Outcome.HELD
                writer.update_incident(run.incident, outcome=outcome, gate="", reason=reason)
            continue
        writer.finish_run(run.id, LOST, None, "its controller is gone", now)
        log.warning("run %s of incident %d was lost with its controller", run.id, run.incident)
        if host in memory.incidents:
            memory.recall_runs(host, store.runs(run.incident), now)
    return left
