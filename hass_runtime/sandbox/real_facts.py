"""What is the case in the embedded cluster, seen from outside: the store, Nova's API and the hypervisors.

One look after the other fills it in; what cannot be asked at the moment (the database or Nova is cut) keeps
what the last look saw. What is new in the store since the last look goes into the record, in the words of
the simulator.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from hass_runtime.domain import Incident, Move, Outcome, Step
from hass_runtime.sandbox.cluster import Sandbox
from hass_runtime.sandbox.nova_user import NovaRefused, NovaUser
from hass_runtime.simulator.record import Record
from hass_runtime.simulator.scenario_model import Scenario
from hass_runtime.store import HostRow, Run, Store, StoreError

STORE_SECONDS = 1.0  # how long a look waits for the database
NOVA_EVERY = 1.0  # seconds: each look costs Nova a tenth of a second of one core
# What HASS asks of Nova to have an instance run again.
_STARTS = frozenset({"start", "evacuate", "reboot", "rebuild"})
_VM_STATES = {"ACTIVE": "active", "SHUTOFF": "stopped"}


class RealFacts:
    """`hass_runtime.simulator.facts.Facts` of a sandbox.

    ``clock``: seconds since the scenario began. ``store`` should not wait for long: see STORE_SECONDS.
    """

    def __init__(
        self, box: Sandbox, scenario: Scenario, nova: NovaUser, store: Store, record: Record
    ) -> None:
        self._box = box
        self._nova = nova
        self._store = store
        self._record = record
        self._uuids = {each.name: box.instances[each.name] for each in scenario.instances}
        self._names = {uuid: name for name, uuid in self._uuids.items()}
        self._began = time.monotonic()
        self._looks = 0
        self.wishes = {each.name: each.state == "active" for each in scenario.instances}
        """Whether its owner wants an instance to run; one that is deleted is not in it."""
        self._hosts: dict[str, HostRow] = {}
        self._incidents: dict[int, Incident] = {}
        self._runs: dict[str, Run] = {}
        self._steps: dict[int, Step] = {}
        self._moves: dict[tuple[int, str], Move] = {}
        self._running: dict[str, list[str]] = {}
        self.doubled: dict[str, list[str]] = {}
        """Instance -> hosts on which it ran at the same time, since the beginning."""
        self._servers: dict[str, tuple[str, str]] = {}
        self._servers_at = float("-inf")
        watched = {each.what for each in scenario.expect}
        self._wants_servers = "instance" in watched
        self._wants_restarts = "restarted" in watched
        self._wants_evacuations = "evacuated" in watched
        self._restarted: set[str] = set()
        self._evacuated: set[str] = set()

    def begin(self) -> None:
        """From here on it is the scenario's time."""
        self._began = time.monotonic()

    # -- looking ---------------------------------------------------------------------------------------

    def look(self) -> None:
        """Look at everything once."""
        self._look_at_guests()
        # Either may be cut: what was seen last holds until it answers again.
        with contextlib.suppress(StoreError):
            self._look_at_store()
        if self.now - self._servers_at >= NOVA_EVERY:
            with contextlib.suppress(NovaRefused, OSError, ValueError):
                self._look_at_nova()
        self._looks += 1

    def _look_at_guests(self) -> None:
        guests = self._box.guests()
        self._running = {
            self._names[uuid]: sorted(hosts)
            for uuid, hosts in guests["running"].items()
            if uuid in self._names
        }
        for uuid, hosts in guests["doubled"].items():
            self.doubled.setdefault(self._names.get(uuid, uuid), hosts)

    def _look_at_store(self) -> None:
        for row in self._store.hosts():
            before = self._hosts.get(row.name)
            self._hosts[row.name] = row
            if before is not None and before.state is not row.state:
                self._record.written("host", before, row)
            if before is not None and before.doubt != row.doubt:
                self._record.written("doubt", before, row)
        for incident in reversed(self._store.incidents(limit=1000)):
            was = self._incidents.get(incident.id)
            if was == incident and incident.closed_at is not None:
                continue
            self._incidents[incident.id] = incident
            if was is None:
                self._record.written("incident", None, _as_opened(incident))
                was = _as_opened(incident)
            self._look_into(incident)
            if was != incident:
                self._record.written("incident", was, incident)

    def _look_into(self, incident: Incident) -> None:
        ended = []
        for run in self._store.runs(incident.id):
            known = self._runs.get(run.id)
            self._runs[run.id] = run
            if known is None:
                self._record.written("run", None, run)
            if run.finished_at is not None and (known is None or known.finished_at is None):
                ended.append(run)
        for step in self._store.steps(incident.id):
            if self._steps.get(step.id) != step:
                self._steps[step.id] = step
                self._record.written("step", None, step)
        for move in self._store.moves(incident.id):
            before = self._moves.get((move.incident, move.instance))
            if before != move:
                self._moves[move.incident, move.instance] = move
                self._record.written("move", before, move)
        for run in ended:
            self._record.written("run", run, run)

    def _look_at_nova(self) -> None:
        if self._wants_servers:
            rows: list[dict[str, Any]] = self._nova.get("/servers/detail?all_tenants=1")["servers"]
            self._servers = {
                row["id"]: (
                    _VM_STATES.get(row["status"], row["status"].lower()),
                    row.get("OS-EXT-SRV-ATTR:host") or "",
                )
                for row in rows
            }
        if self._wants_restarts:
            for name, uuid in self._uuids.items():
                done = self._nova.get(f"/servers/{uuid}/os-instance-actions")["instanceActions"]
                theirs = [each for each in done if each["request_id"] not in self._nova.requests]
                if any(each["action"] in _STARTS for each in theirs):
                    self._restarted.add(name)
        if self._wants_evacuations:
            found = self._nova.get("/os-migrations?migration_type=evacuation")["migrations"]
            self._evacuated.update(each["source_compute"] for each in found)
        self._servers_at = self.now

    # -- facts -----------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return time.monotonic() - self._began

    @property
    def version(self) -> object:
        return self._looks

    def host(self, name: str) -> HostRow | None:
        return self._hosts.get(name)

    def incidents(self) -> Iterable[Incident]:
        return self._incidents.values()

    def open_incident(self, host: str) -> Incident | None:
        found = (each for each in self._incidents.values() if each.host == host and each.closed_at is None)
        return next(found, None)

    def running_on(self, instance: str) -> Sequence[str]:
        return self._running.get(instance, [])

    def running_there(self, host: str) -> Collection[str]:
        return {name for name, hosts in self._running.items() if host in hosts}

    def wanted(self, instance: str) -> bool:
        return self.wishes.get(instance, False)

    def nova_says(self, instance: str) -> tuple[str, str] | None:
        return self._servers.get(self._uuids[instance])

    def two_writers(self) -> bool:
        return bool(self.doubled)

    def fenced(self) -> Collection[str]:
        return {each.host for each in self._incidents.values() if each.fenced_at is not None}

    def evacuated(self) -> Collection[str]:
        return self._evacuated

    def restarted(self) -> Collection[str]:
        return self._restarted

    def uuid(self, instance: str) -> str:
        return self._uuids[instance]


def _as_opened(incident: Incident) -> Incident:
    """How it was when it was opened, as far as the record tells of it."""
    return replace(
        incident, outcome=Outcome.OPEN, closed_at=None, gate="", reason="", fenced_at=None, phase=""
    )
