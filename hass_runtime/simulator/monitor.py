"""The safety rules, judged by what is really the case in the made-up world.

It sees every call to a BMC and to Nova, every line of the journal, and every change of who runs where. What
it calls a violation is one, whatever HASS believed at the time.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from hass_runtime.controller import Controller
from hass_runtime.decide.lifecycle import TAKEN_OUT
from hass_runtime.decide.view import DRAIN, FAILBACK, FAILURE, KEEP, RESTORE
from hass_runtime.domain import HostState, Incident, MoveState, OrderKind, Outcome, Reserve, Scope
from hass_runtime.remedy.moves import in_flight
from hass_runtime.remedy.restoration import OUR_REASON
from hass_runtime.remedy.resume import WELL_DONE
from hass_runtime.remedy.runs import RunEvent, RunSpec
from hass_runtime.settings import ControllerSettings
from hass_runtime.simulator.journal import Journal
from hass_runtime.simulator.nova import Nova
from hass_runtime.simulator.record import Record, text_of
from hass_runtime.simulator.watch_proof import LOOK_TO_CALL, RULE_1, ProofWatch
from hass_runtime.simulator.watch_runs import RULE_7, RunWatch
from hass_runtime.simulator.world import Guest, World
from hass_runtime.store import HostRow, Run

_TOUCHES = ("evacuate", "live_migrate", "start", "stop")
_TOLD = (MoveState.FAILED, MoveState.REFUSED, MoveState.LEFT)
AGAIN = 5.0  # seconds after which the same command to a BMC is worth a line again
STUCK_AFTER = 150.0  # seconds in which something has to go on with an incident, or say why not

TWO_WRITERS = "two_writers"
NO_BUGS = "no bugs"
GATES = "rule 4: the gates"
RESERVE = "a reserved host is kept free"
JOURNAL_FIRST = "rule 7: the journal comes first"
_MILD = frozenset(
    {"maintenance", "service", "agent", "watchdog", "hardware_warning", "network_only", "bmc_contradiction"}
)
_NAMES = re.compile(r"\b(host|vm)?\d[\w.-]*\b")


@dataclass(frozen=True)
class Violation:
    """A safety rule that was broken, when, by whom, and how."""

    t: float
    rule: str
    subject: str
    words: str

    @property
    def kind(self) -> str:
        """What makes it the same violation in a similar run."""
        return f"{self.rule}: {_NAMES.sub('_', self.words)}" if self.rule == NO_BUGS else self.rule

    def text(self) -> str:
        return f"{self.rule}: {self.subject or '-'} at {self.t:.1f}: {self.words}"


class Monitor:
    """Watches one run. ``fences`` and ``evacuations`` are counted for whoever wants statistics."""

    def __init__(
        self, world: World, nova: Nova, journal: Journal, settings: ControllerSettings, record: Record
    ) -> None:
        self._world = world
        self._nova = nova
        self._journal = journal
        self._settings = settings
        self._record = record
        self._cluster_of = {host.name: host.cluster for host in settings.hosts}
        self._zone_of = {host.name: host.zone for host in settings.hosts}
        self._network_since: float | None = None
        self._network_cut: tuple[float, float] | None = None
        detection = settings.detection
        self._seen_after = (detection.polling_threshold + 2) * detection.polling_interval
        self.proof = ProofWatch(world, settings, self.violated, self._seen_after)
        self.runs = RunWatch(world.hub, settings, journal, self.violated)
        self._changed_at: dict[int, float] = {}
        self._owed: dict[int, tuple[float, dict[str, str]]] = {}
        self._told: set[tuple[str, str]] = set()
        self._last_told: dict[str, tuple[str, float]] = {}
        self.false_words = self.proof.false_words
        self.goodbyes: dict[str, float] = {}
        """When the controller last heard from a host that it was being shut down."""
        self.controller: Controller | None = None
        """The one that is at work, if one is."""
        self.controller_since = 0.0
        self.violations: list[Violation] = []
        self._changed_mind: set[str] = set()
        """Instances on which a person gave his word during the run: what was begun before goes on."""
        self.fences = 0
        self.evacuations = 0
        self.fenced: set[str] = set()
        self.evacuated: set[str] = set()
        self.started: set[str] = set()
        world.changes.append(self._look)

    def violated(self, rule: str, subject: str, words: str) -> None:
        """Once for each rule and subject: what is broken stays broken."""
        if (rule, subject) not in self._told:
            self._told.add((rule, subject))
            self.violations.append(Violation(self._world.hub.now, rule, subject, words))
            self._record.add("safety.violated", subject, f"{rule}: {words}", rule=rule)

    # -- the world -------------------------------------------------------------------------------------

    def _look(self) -> None:
        world = self._world
        for guest in world.guests.values():
            if len(guest.on) > 1:
                hosts = world.running_on(guest)
                if len(hosts) > 1:
                    self.violated(TWO_WRITERS, guest.name, f"runs on {' and on '.join(hosts)}")
        self.proof.look()
        if world.controller_network:
            if self._network_since is not None and not self._journal.away:
                # Without its journal a controller decides nothing, and does not notice either.
                self._network_cut = (self._network_since, world.hub.now)
            self._network_since = None
        elif self._network_since is None:
            self._network_since = world.hub.now

    # -- calls -----------------------------------------------------------------------------------------

    def told_bmc(self, host: str, what: str) -> None:
        now, (last, at) = self._world.hub.now, self._last_told.get(host, ("", 0.0))
        if last != what or now - at > AGAIN:  # who asks every half second is told of once
            self._record.add(f"bmc.{what}", host, f"told to switch {what}")
        self._last_told[host] = (what, now)
        if what == "off":
            self.proof.told_off(host)
        at_work = (self._journal.all_incidents[run.incident].host for run in self._fences_at_work())
        if what == "on" and host in at_work:
            self.violated(RULE_1, host, "it is switched on while it is fenced: a power cycle is no fence")

    def _fences_at_work(self) -> list[Run]:
        return [run for run in self._journal.running.values() if run.playbook == FAILURE]

    def read_bmc(self, host: str, value: str) -> None:
        """A remedy asked for the power: on, off, or "" for no answer."""
        self.proof.read(host, value)

    def said(self, words: str) -> None:
        """A line of the controller's log."""
        self.runs.leak("", "its log", words)

    def reports(self, event: RunEvent) -> None:
        """What a run tells of its work, and leaves in its output."""
        self.runs.leak("", "what a run tells", repr(event))

    def begins(self, spec: RunSpec, ill: bool, at_work: Collection[str]) -> None:
        """A run of a playbook is started."""
        self.runs.begins(spec, ill, at_work)

    def told_nova(self, what: str, subject: str, words: str) -> None:
        """Before an evacuation, and after anything else, is asked of Nova."""
        guest = self._world.guests.get(subject)
        name = guest.name if guest is not None else subject
        self._record.add(f"nova.{what}", name, words)
        if guest is not None and what in _TOUCHES and not self._is_protected(guest):
            self.violated("what is not protected is left alone", name, f"HASS asked Nova to {what} it")
        if what == "evacuate":
            self._evacuate(name, words)
        elif what == "enable":
            self._enabled(subject)
        elif what == "unforce":
            self._unforce(subject)
        elif guest is not None and what == "start":
            self.started.add(name)
            if guest.wish == "stopped":
                self.violated("rule 8: a person's stop is left alone", name, "HASS started it")
        elif guest is not None and what == "stop" and guest.wish == "active" and self._ran(subject):
            self.violated("rule 12: afterwards as before", name, "HASS stopped it, and it was active")

    def _is_protected(self, guest: Guest) -> bool:
        """By a person's word on it, or its own metadata: they count most."""
        choice = self._journal.choice_rows.get(guest.uuid)
        said = choice.protected if choice is not None else guest.spec.protect
        return said is not False or guest.uuid in self._changed_mind

    def _ran(self, uuid: str) -> bool:
        """Whether it ran, as far as Nova knew, when the remedy of an incident that is not over began."""
        open_ = self._journal.open_by_host.values()
        return any(uuid in active for id, (_, active) in self._owed.items() if id in open_)

    def _evacuate(self, instance: str, source: str) -> None:
        self.evacuations += 1
        self.evacuated.add(source)
        self.proof.evacuated(source, instance)
        uuid = self._world.by_name[instance].uuid if instance in self._world.by_name else ""
        if any(each.instance == uuid and in_flight(each) for each in self._nova.migrations.values()):
            self.violated(RULE_7, instance, "its evacuation is asked for once more while it is under way")
        if not self._nova.services[source].forced_down:
            self.violated(
                "rule 3: force-down before the first evacuation", source, f"{instance} is evacuated"
            )

    def _unforce(self, name: str) -> None:
        host = self._world.hosts[name]
        rule = "rule 3: force-down is lifted when host and moves are done"
        works = self._world.up(host) and self._nova.alive(name)
        if not works and self._world.hub.now - self._nova.services[name].beat_until > LOOK_TO_CALL:
            self.violated(rule, name, "lifted, and its nova-compute does not work")
        if any(
            each.source == name and in_flight(each) and self._nova.kinds[number] == "evacuation"
            for number, each in self._nova.migrations.items()
        ):
            self.violated(rule, name, "lifted, and an evacuation from it is unfinished")

    # -- the journal -----------------------------------------------------------------------------------

    def written(self, kind: str, before: Any, after: Any) -> None:
        if kind == "run":
            self.runs.run_changed(after)
        elif kind == "step":
            self.runs.step(after)
            if after.action == "hass_fence" and after.status in WELL_DONE:
                told_at_once = self._world.hub.wall() - (after.finished_at or 0.0) < LOOK_TO_CALL
                self.proof.fenced(self._journal.all_incidents[after.incident].host, told_at_once)
        elif kind == "order" and after is not None:
            self.proof.ordered(after)
        elif kind == "reserve":
            self._reserved(after)
        elif kind == "choice":
            self._changed_mind.add(after)
        elif kind == "host":
            self._entered(before, after)
        if kind == "run" and before is None:
            self._launched(after)
        elif kind == "incident":
            self._changed_at[after.id] = self._world.hub.now
            if after.fenced_at is not None and (before is None or before.fenced_at is None):
                self.fences += 1
                self.fenced.add(after.host)
        elif kind in ("run", "step", "move", "note"):
            self._changed_at[after.incident] = self._world.hub.now

    def _entered(self, before: HostRow, row: HostRow) -> None:
        """In the journal first. And a host that is said to be well has been given back to Nova."""
        known = self.controller.memory.states.get(row.name) if self.controller is not None else None
        if row.state is not before.state and known is row.state:
            self.violated(JOURNAL_FIRST, row.name, f"{row.state.value} is acted upon before it is written")
        service = self._nova.services[row.name]
        rule = "rule 3: force-down is lifted when host and moves are done"
        if row.state is HostState.HEALTHY and service.forced_down:
            self.violated(rule, row.name, "it is called healthy, and is still forced down")
        if row.state is HostState.HEALTHY and self._is_kept_from(row):
            self.violated(rule, row.name, "it is called healthy, and is still disabled by HASS")

    def _reserved(self, row: HostRow) -> None:
        """What the journal takes for a reserve is one: Nova sends nothing there."""
        service = self._nova.services[row.name]
        if row.reserve is Reserve.READY and service.enabled and not service.forced_down:
            self.violated(RESERVE, row.name, "it is called a reserve, and Nova may send instances there")

    def _enabled(self, name: str) -> None:
        row = self._journal.host_rows[name]
        at_work = {run.playbook for run in self._journal.running.values()}
        if row.reserve is Reserve.READY and not at_work & {FAILURE, KEEP}:
            self.violated(RESERVE, name, "it is given to Nova, and no host is evacuated")

    def _is_kept_from(self, row: HostRow) -> bool:
        """Disabled by HASS, and no reserve."""
        service = self._nova.services[row.name]
        ours = not service.enabled and service.reason.startswith(OUR_REASON)
        return ours and row.reserve is not Reserve.READY

    def _launched(self, run: Run) -> None:
        incident = self._journal.all_incidents[run.incident]
        host, now = incident.host, self._world.hub.wall()
        self._changed_at[run.incident] = self._world.hub.now
        if run.playbook not in (RESTORE, FAILBACK) and not (
            run.playbook == DRAIN and incident.fault == "maintenance"
        ):
            self._armed(host, run, now)
        if run.playbook != FAILURE:
            return
        self._owed.setdefault(incident.id, (self._world.hub.now, self._was_active(host)))
        self._planned(host, incident, now)
        self.proof.begun(host, incident, self._journal.orders(now))
        rule = GATES
        since = self._network_since
        if since is not None and self._world.hub.now - since > self._seen_after:
            self.violated(rule, host, "a fence was begun while the controller itself is cut off")
        self._cooled_down(host, incident)
        running = self._fences_at_work()
        safety = self._settings.safety
        if len(running) > safety.max_remedies:
            self.violated(rule, host, f"{len(running)} fences at once, at most {safety.max_remedies}")
        lately = {
            each.host
            for each in self._journal.all_incidents.values()
            if each.fenced_at is not None and each.fenced_at > now - safety.fence_window
        }
        if incident.fenced_at is None and len(lately - {host}) >= safety.max_fences:
            self.violated(rule, host, f"{len(lately)} hosts fenced already, at most {safety.max_fences}")
        self._shares(host, rule)

    def _cooled_down(self, host: str, incident: Incident) -> None:
        """After the controller itself was cut off it looks on for a while."""
        if self._network_cut is None or incident.fenced_at is not None:
            return
        (since, until), now = self._network_cut, self._world.hub.now
        pause = self._settings.safety.cooldown - 2 * self._settings.detection.polling_interval
        seen = until - max(since, self.controller_since) > self._seen_after and until > self.controller_since
        if seen and now - until < pause:
            words = f"a fence was begun {now - until:.1f} s after the controller itself was cut off"
            self.violated(GATES, host, words)

    def _planned(self, host: str, incident: Incident, now: float) -> None:
        """A fence is begun: what a person does to a host on purpose is no failure of it."""
        rule = "rule 8: a person's shutdown or maintenance is no failure"
        orders = self._journal.orders(now)
        ordered = any(order.host == host and order.kind is OrderKind.MAINTENANCE for order in orders)
        if ordered and incident.fenced_at is None:  # else it is only finished
            drained = [run for run in self._journal.run_rows.values() if run.incident == incident.id]
            if any(run.playbook == DRAIN and run.status == "successful" for run in drained):
                self.violated(rule, host, "it was emptied for maintenance, and is fenced")
        said, truth = self.goodbyes.get(host), self._world.hosts[host]
        if said is None or truth.power or not truth.shut_down or incident.fenced_at is not None:
            return
        away = self._world.hub.now - max(said, truth.since)  # it is missed from then on, or earlier
        if truth.hung_at > said - self._seen_after:
            away = self._world.hub.now - said
        if said > self.controller_since and away < self._settings.safety.planned_shutdown_time:
            self.violated(
                rule, host, f"it said that it was being shut down, and is fenced after {away:.0f} s"
            )

    def _armed(self, host: str, run: Run, now: float) -> None:
        for pause in self._journal.pauses(now):
            mine = {Scope.ALL: "", Scope.CLUSTER: self._cluster_of[host], Scope.HOST: host}[pause.scope]
            if pause.name == mine:
                self.violated("rule 4: the gates", host, f"{run.playbook} was begun while disarmed")
        if not self._settings.safety.armed:
            self.violated("rule 4: the gates", host, f"{run.playbook} was begun, and HASS is not armed")

    def _shares(self, host: str, rule: str) -> None:
        """Too many hosts of the cluster, or of the failure domain, taken out at once."""
        safety, cluster, zone = self._settings.safety, self._cluster_of[host], self._zone_of[host]
        everyone = [name for name, its in self._cluster_of.items() if its == cluster]
        out = {name for name in everyone if self._state(name) in TAKEN_OUT} | {host}
        if len(out) > safety.storm_threshold * len(everyone):
            self.violated(rule, host, f"{len(out)} of {len(everyone)} hosts of {cluster} are taken out")
        members = [name for name in everyone if zone and self._zone_of[name] == zone]
        there = out & set(members)
        few = len(there) < 2 or len(members) == len(everyone)
        if not few and len(there) > safety.domain_threshold * len(members):
            self.violated(rule, host, f"{len(there)} of {len(members)} hosts of {zone} are taken out")

    def _state(self, host: str) -> HostState | None:
        row: HostRow | None = self._journal.host_rows.get(host)
        return row.state if row is not None else None

    def _was_active(self, host: str) -> dict[str, str]:
        """By UUID the names of what runs on the host, as far as Nova and its owner know."""
        return {
            uuid: record.server.name
            for uuid, record in self._nova.records.items()
            if record.server.host == host
            and record.server.vm_state == "active"
            and self._world.guests[uuid].wish == "active"
        }

    # -- the end ---------------------------------------------------------------------------------------

    def finish(self, quiet_since: float, controller: Controller | None = None) -> None:
        """Judge what is left; ``quiet_since`` is when the last event of the scenario happened."""
        self.runs.finish()
        self.runs.leak("", "the record", text_of(self._record.entries))
        if controller is not None and controller.leadership.lease is not None and not self._journal.away:
            self._remembers(controller)
        for id, (since, active) in self._owed.items():
            incident = self._journal.all_incidents[id]
            if incident.fenced_at is not None:
                for uuid, name in active.items():
                    self._accounted_for(incident, since, uuid, name)
        now = self._world.hub.now
        if now - quiet_since < STUCK_AFTER:
            return
        self._swallowed()
        busy = {run.incident for run in self._journal.running.values()}
        for id in self._journal.open_by_host.values():
            incident = self._journal.all_incidents[id]
            silent = incident.outcome in (Outcome.OPEN, Outcome.HELD) and not incident.reason
            if silent and id not in busy and now - self._changed_at.get(id, 0.0) > STUCK_AFTER:
                self.violated("no incident is stuck without a reason", incident.host, incident.why)

    def _remembers(self, controller: Controller) -> None:
        """What the controller acts upon is what its journal says, or the next one would not know of it."""
        rule, memory = JOURNAL_FIRST, controller.memory
        for name, state in memory.states.items():
            if self._state(name) is not state:
                self.violated(rule, name, f"it takes it for {state.value}, and its journal says other")
        known = {name: incident.id for name, incident in memory.incidents.items()}
        for name in known.keys() ^ {each for each in self._journal.open_by_host if each in memory.hosts}:
            self.violated(rule, name, "its incident is not in both the journal and the memory")

    def _swallowed(self) -> None:
        """A host has been dead for long with what runs on it: that is its incident, whatever was before."""
        rule, now = "rule 5: escalation beats de-duplication", self._world.hub.now
        if (
            self._journal.away
            or not self._world.controller_network
            or now - self.controller_since < STUCK_AFTER
        ):
            return
        for name, host in self._world.hosts.items():
            lost = [each for uuid, each in self._was_active(name).items() if not self._world.guests[uuid].on]
            if host.power or host.shut_down or now - host.since < STUCK_AFTER or not lost:
                continue
            patience = self._settings.safety.planned_shutdown_time
            if name in self.goodbyes and now - self.goodbyes[name] < patience + STUCK_AFTER:
                continue  # nobody can tell that what followed its goodbye was no part of it
            open_ = self._journal.open_by_host.get(name)
            incident = self._journal.all_incidents[open_] if open_ is not None else None
            if incident is None or (incident.fenced_at is None and incident.fault in _MILD):
                fault = incident.fault if incident is not None else "no incident"
                words = f"without power for {now - host.since:.0f} s with {len(lost)} instances: {fault}"
                self.violated(rule, name, words)

    def _accounted_for(self, incident: Incident, since: float, uuid: str, name: str) -> None:
        """Every instance of a fenced host runs again, or somebody was told why not."""
        guest = self._world.guests[uuid]
        if guest.deleted or guest.crashed or guest.wish != "active" or guest.ran_at > since:
            return
        if incident.outcome in (Outcome.OPEN, Outcome.HELD, Outcome.FAILED):
            return
        move = self._journal.move_rows.get(incident.id, {}).get(uuid)
        if move is not None and move.state in _TOLD and move.reason:
            return
        self.violated(
            "every instance runs again or is reported",
            name,
            f"it ran on {incident.host}, which was fenced; it does not run, and incident {incident.id} is "
            f"{incident.outcome.value}",
        )
