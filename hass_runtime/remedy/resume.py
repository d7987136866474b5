"""Taking over: where an earlier controller, or this one before it was killed, left off."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from hass_runtime.memory import Memory
from hass_runtime.remedy.runs import terminate_leftovers
from hass_runtime.settings import ControllerSettings
from hass_runtime.store import Store, Writer

log = logging.getLogger(__name__)

LOST = "lost"  # the status of a run whose controller is gone; it is started again from the top


def take_over(settings: ControllerSettings, store: Store, writer: Writer, memory: Memory) -> None:
    """Fill the memory from the journal, and make sure that no earlier run is still at work here.

    Playbooks are idempotent and read the real state first, so a run that was lost is simply started again;
    but never beside one that still runs.
    """
    writer.put_hosts(memory.hosts.values())
    writer.keep_hosts(memory.hosts)
    for run in store.unfinished_runs():
        terminate_leftovers(Path(run.run_dir))
        writer.finish_run(run.id, LOST, None, "its controller is gone", time.time())
        log.warning("run %s of incident %d was lost with its controller", run.id, run.incident)
    for row in store.hosts():
        if row.name in memory.hosts:
            memory.states[row.name] = row.state
    memory.incidents.clear()
    memory.running.clear()
    for incident in store.incidents(limit=10_000, open_only=True):
        if incident.host not in memory.hosts:
            log.error(
                "incident %d is of host %s, which the configuration does not name: it stays as it is",
                incident.id,
                incident.host,
            )
            continue
        memory.incidents[incident.host] = incident
        memory.recall_runs(incident.host, store.runs(incident.id))
        log.warning("incident %d of host %s goes on (%s)", incident.id, incident.host, incident.fault)
