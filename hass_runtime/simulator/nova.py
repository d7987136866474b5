"""A made-up Nova: what it knows of services and instances, and what it does when it is asked.

It has the traps of the real one that the remedies know of: a nova-compute counts as up for a while after it
died, an evacuation shows first in its own record, a nova-compute that starts again notes guests that are gone
as stopped, and force-down is not lifted before it has cleaned up.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from hass_runtime.decide.protection import KEY
from hass_runtime.remedy.moves import in_flight
from hass_runtime.remedy.nova import ComputeService, InstanceAction, Migration, Server
from hass_runtime.simulator.world import Guest, World

HEARTBEAT = 10.0
DOWN_TIME = 60.0  # service_down_time
STARTS_IN = (2.0, 4.0)  # seconds from a running operating system to a nova-compute that works
SCHEDULES_IN = 0.4
REBUILDS_IN = (2.0, 5.0)
MIGRATES_IN = (3.0, 8.0)
POWERS_IN = 1.0
EVACUABLE = ("active", "stopped", "error")


class Refused(Exception):
    """Nova says no, with an HTTP status."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass
class Service:
    """nova-compute of one host. ``alive_since`` None: it does not work; ``beat_until`` is when it last did.

    ``process`` tells one start of it from another: only a new one looks at what an earlier one left.
    """

    host: str
    alive_since: float | None
    beat_until: float = 0.0
    starting: bool = False
    process: tuple[int, int] = (0, 0)
    enabled: bool = True
    reason: str = ""
    forced_down: bool = False


@dataclass
class Record:
    """An instance as Nova knows it. ``asked`` counts what was begun with it, so that what is
    late is known.
    """

    server: Server
    actions: list[InstanceAction] = field(default_factory=list)
    asked: int = 0


class Nova:
    """All services, instances and migrations; times are the world's."""

    def __init__(self, world: World, arrives_stopped: bool = False) -> None:
        self.world = world
        self.hub = world.hub
        self.arrives_stopped = arrives_stopped
        self.rng = random.Random(f"{world.seed} nova")
        self.services = {name: Service(name, 0.0) for name in world.hosts}
        self.records: dict[str, Record] = {}
        self.migrations: dict[int, Migration] = {}
        self.kinds: dict[int, str] = {}
        self.joined: dict[str, tuple[str, ...]] = {}
        """By host the aggregates that it has joined since the start."""
        began = self.hub.wall() - 86400.0
        for guest in world.guests.values():
            spec = guest.spec
            server = Server(
                guest.uuid,
                guest.name,
                spec.host,
                spec.state,
                "",
                spec.priority,
                metadata={} if spec.protect is None else {KEY: str(spec.protect).lower()},
                project=spec.project,
                flavor=spec.flavor,
                image=spec.image_tag,  # as if each image had one tag, and that for its id
            )
            made = [InstanceAction("create", began, False)]
            if guest.spec.state == "stopped":
                made.append(InstanceAction("stop", began + 60.0, False))
            self.records[guest.uuid] = Record(server, made)
        world.changes.append(self._settle)

    # -- nova-compute ----------------------------------------------------------------------------------

    def _settle(self) -> None:
        """After a change in the world: nova-compute stops with what it needs, or begins to start."""
        for name, service in self.services.items():
            works = self._can_work(name)
            if service.alive_since is not None and not works:
                service.alive_since, service.beat_until = None, self.hub.now
                self.hub.after(DOWN_TIME, self.world.touched)
            elif service.alive_since is None and works and not service.starting:
                service.starting = True
                seconds = self.world.hosts[name].rng.uniform(*STARTS_IN)
                self.hub.after(seconds, lambda service=service: self._start(service))  # type: ignore[misc]

    def _can_work(self, name: str) -> bool:
        host = self.world.hosts[name]
        return self.world.runs(host, "nova-compute") and host.network

    def _start(self, service: Service) -> None:
        service.starting = False
        if service.alive_since is not None or not self._can_work(service.host):
            return
        service.alive_since = self.hub.now
        host = self.world.hosts[service.host]
        process = (host.boots, host.restarts)
        if service.process != process:
            service.process = process
            self._init_host(service.host)
        self.world.touched()

    def _init_host(self, name: str) -> None:
        """What nova-compute does first: clean up after evacuations, then note what does not run any more."""
        host = self.world.hosts[name]
        for number, each in list(self.migrations.items()):
            if each.source == name and self.kinds[number] == "evacuation" and each.status == "done":
                self.world.end_guest(self.world.guests[each.instance], name)
                self._migration(number, "completed")
            if each.target == name and each.status in ("pre-migrating", "running"):
                self._migration(number, "failed")
                if each.instance not in self.records:
                    continue  # deleted meanwhile
                self._set(each.instance, vm_state="error", task_state="", fault="its target restarted")
        for uuid, record in self.records.items():
            server, guest = record.server, self.world.guests[uuid]
            runs_here = name in guest.on and host.power
            if (
                server.host == name
                and server.vm_state == "active"
                and not server.task_state
                and not runs_here
            ):
                self._set(uuid, vm_state="stopped")
                self._acted(uuid, "stop", internal=True)

    def alive(self, host: str) -> bool:
        """Whether its nova-compute really works."""
        return self.services[host].alive_since is not None

    def is_up(self, host: str) -> bool:
        """Whether Nova takes it for up."""
        service = self.services[host]
        if service.forced_down:
            return False
        return service.alive_since is not None or self.hub.now - service.beat_until < DOWN_TIME

    def service(self, host: str) -> ComputeService | None:
        found = self.services.get(host)
        if found is None:
            return None
        last = self.hub.now if found.alive_since is not None else found.beat_until
        since = found.alive_since or 0.0
        beat = last if found.alive_since is None else since + (last - since) // HEARTBEAT * HEARTBEAT
        return ComputeService(
            id=f"service-{host}",
            host=host,
            up=self.is_up(host),
            enabled=found.enabled,
            forced_down=found.forced_down,
            disabled_reason=found.reason,
            updated_at=f"{self.hub.wall() - self.hub.now + beat:.3f}",
        )

    def set_forced_down(self, host: str, forced: bool) -> None:
        if not forced and not self._cleaned_up(host):
            raise Refused(400, f"{host} has evacuated instances that it has not cleaned up after")
        self.services[host].forced_down = forced
        self.world.touched()

    def _cleaned_up(self, host: str) -> bool:
        """Whether nova-compute of the host has started since everything was evacuated from it."""
        return not any(
            each.source == host and self.kinds[number] == "evacuation" and each.status == "done"
            for number, each in self.migrations.items()
        )

    def set_enabled(self, host: str, enabled: bool, reason: str = "") -> None:
        service = self.services[host]
        service.enabled, service.reason = enabled, "" if enabled else reason
        self.world.touched()

    # -- instances -------------------------------------------------------------------------------------

    def find(self, uuid: str) -> Record:
        record = self.records.get(uuid)
        if record is None:
            raise Refused(404, f"instance {uuid} could not be found")
        return record

    def join(self, aggregate: str, host: str) -> None:
        self.joined[host] = (*self.joined.get(host, ()), aggregate)

    def evacuate(self, uuid: str, host: str = "") -> None:
        record = self.find(uuid)
        server = record.server
        self._free(server, "evacuate")
        if server.vm_state not in EVACUABLE:
            raise Refused(409, f"cannot evacuate an instance in vm_state {server.vm_state}")
        if self.is_up(server.host):
            raise Refused(400, f"compute service of {server.host} is still in use")
        self._acted(uuid, "evacuate")
        was = "stopped" if server.vm_state == "stopped" else "active"
        number = self._begin(uuid, "evacuation", "accepted")
        turn = self._set(uuid, task_state="rebuilding")
        self.hub.after(SCHEDULES_IN, lambda: self._rebuild(uuid, number, turn, was, host))

    def _rebuild(self, uuid: str, number: int, turn: int, was: str, wanted: str) -> None:
        if not self._still(uuid, turn):
            return
        target = self._schedule(self.records[uuid].server, wanted)
        if target is None:
            self._migration(number, "error")
            self._set(uuid, vm_state="error", task_state="", fault="No valid host was found.")
            return
        self._migration(number, "pre-migrating", target)
        turn = self._set(uuid, task_state="rebuild_spawning")
        self.hub.after(self.rng.uniform(*REBUILDS_IN), lambda: self._rebuilt(uuid, number, turn, was, target))

    def _rebuilt(self, uuid: str, number: int, turn: int, was: str, target: str) -> None:
        # Who waits for a target that died waits until it comes back.
        if not self._still(uuid, turn) or not self.alive(target):
            return
        runs = was == "active" and not self.arrives_stopped
        self._migration(number, "done")
        self._set(uuid, host=target, vm_state="active" if runs else "stopped", task_state="", fault="")
        if runs:
            self.world.run_guest(self.world.guests[uuid], target)
        self.world.touched()

    def start(self, uuid: str) -> None:
        record = self.find(uuid)
        self._free(record.server, "start")
        if record.server.vm_state != "stopped":
            raise Refused(409, f"cannot start an instance in vm_state {record.server.vm_state}")
        self._acted(uuid, "start")
        turn = self._set(uuid, task_state="powering-on")

        def on() -> None:
            host = self.records[uuid].server.host if self._still(uuid, turn) else ""
            if host and self.alive(host):
                self._set(uuid, vm_state="active", task_state="")
                self.world.run_guest(self.world.guests[uuid], host)

        self.hub.after(POWERS_IN, on)

    def stop(self, uuid: str, internal: bool = False) -> None:
        record = self.find(uuid)
        self._free(record.server, "stop")
        if record.server.vm_state not in ("active", "error"):
            raise Refused(409, f"cannot stop an instance in vm_state {record.server.vm_state}")
        self._acted(uuid, "stop", internal)
        turn = self._set(uuid, task_state="powering-off")

        def off() -> None:
            host = self.records[uuid].server.host if self._still(uuid, turn) else ""
            if host and self.alive(host):
                self._set(uuid, vm_state="stopped", task_state="")
                self.world.end_guest(self.world.guests[uuid], host)

        self.hub.after(POWERS_IN, off)

    def delete(self, uuid: str) -> None:
        record = self.find(uuid)
        guest = self.world.guests[uuid]
        guest.deleted = True
        if self.alive(record.server.host):
            guest.on.clear()
        # A process on a host that Nova does not reach writes on; it ends with its host.
        del self.records[uuid]
        self.world.touched()

    def live_migrate(self, uuid: str, host: str = "") -> None:
        record = self.find(uuid)
        server = record.server
        self._free(server, "os-migrateLive")
        if server.vm_state not in ("active", "paused"):
            raise Refused(409, f"cannot live-migrate an instance in vm_state {server.vm_state}")
        if not self.is_up(server.host):
            raise Refused(400, f"compute service of {server.host} is unavailable at this time")
        self._acted(uuid, "live-migration")
        number = self._begin(uuid, "live-migration", "accepted")
        turn = self._set(uuid, task_state="migrating")
        self.hub.after(SCHEDULES_IN, lambda: self._migrate(uuid, number, turn, host))

    def _migrate(self, uuid: str, number: int, turn: int, wanted: str) -> None:
        if not self._still(uuid, turn):
            return
        target = self._schedule(self.records[uuid].server, wanted)
        if target is None or not self.alive(self.records[uuid].server.host):
            self._migration(number, "error")
            self._set(uuid, task_state="")
            return
        self._migration(number, "running", target)
        self.hub.after(self.rng.uniform(*MIGRATES_IN), lambda: self._migrated(uuid, number, turn, target))

    def _migrated(self, uuid: str, number: int, turn: int, target: str) -> None:
        if not self._still(uuid, turn):
            return
        source, guest = self.records[uuid].server.host, self.world.guests[uuid]
        if source not in guest.on or not (self.alive(source) and self.alive(target)):
            self._migration(number, "error")
            self._set(uuid, task_state="")
            return
        guest.on.discard(source)
        guest.on.add(target)
        guest.ran_at = self.hub.now
        self._migration(number, "completed")
        self._set(uuid, host=target, task_state="")
        self.world.touched()

    def abort(self, uuid: str, number: int) -> None:
        found = self.migrations.get(number)
        if found is None or found.instance != uuid:
            raise Refused(404, f"migration {number} could not be found")
        if not in_flight(found):
            raise Refused(400, f"migration {number} is {found.status}")
        self._migration(number, "cancelled")
        self._set(uuid, task_state="")

    def guest_stopped(self, guest: Guest) -> None:
        """A guest's process ended by itself: its nova-compute hears of it."""
        record = self.records.get(guest.uuid)
        if record is not None and self.alive(record.server.host) and record.server.vm_state == "active":
            self._set(guest.uuid, vm_state="stopped")
            self._acted(guest.uuid, "stop", internal=True)

    def guest_runs(self, guest: Guest) -> None:
        """It runs again as if nothing had been."""
        record = self.records.get(guest.uuid)
        if record is not None and self.alive(record.server.host) and not record.server.task_state:
            self._set(guest.uuid, vm_state="active")
            self.world.run_guest(guest, record.server.host)

    # -- bookkeeping -----------------------------------------------------------------------------------

    def _free(self, server: Server, what: str) -> None:
        if server.task_state:
            raise Refused(409, f"cannot {what} while the instance is in task_state {server.task_state}")

    def _set(self, uuid: str, **values: str) -> int:
        """Change an instance; returns the number of the change, by which what is late is told."""
        record = self.records[uuid]
        record.server = replace(record.server, **values)  # type: ignore[arg-type]
        record.asked += 1
        return record.asked

    def _still(self, uuid: str, turn: int) -> bool:
        record = self.records.get(uuid)
        return record is not None and record.asked == turn

    def _acted(self, uuid: str, name: str, internal: bool = False) -> None:
        self.records[uuid].actions.append(InstanceAction(name, self.hub.wall(), False, internal))

    def _begin(self, uuid: str, kind: str, status: str) -> int:
        number = len(self.migrations) + 1
        source, at = self.records[uuid].server.host, self.hub.wall()
        self.migrations[number] = Migration(number, uuid, status, source, "", at, at)
        self.kinds[number] = kind
        return number

    def _migration(self, number: int, status: str, target: str | None = None) -> None:
        was = self.migrations[number]
        self.migrations[number] = replace(
            was,
            status=status,
            target=was.target if target is None else target,
            updated_at=self.hub.wall(),
        )

    def _schedule(self, server: Server, wanted: str = "") -> str | None:
        """The emptiest host of the same cluster that is up for Nova and has room; only ``wanted``."""
        load = dict.fromkeys(self.services, 0)
        for record in self.records.values():
            load[record.server.host] += 1
        for each in self.migrations.values():
            if each.target and each.instance in self.records and in_flight(each):
                load[each.target] += 1
        cluster = self.world.hosts[server.host].spec.cluster
        fit = [
            (load[name], place, name)
            for place, (name, spec) in enumerate((h.name, h.spec) for h in self.world.hosts.values())
            if name != server.host
            and wanted in ("", name)
            and spec.cluster == cluster
            and self.services[name].enabled
            and self.is_up(name)
            and (spec.room is None or load[name] < spec.room)
        ]
        return min(fit)[-1] if fit else None
