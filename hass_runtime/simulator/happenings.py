"""Makes the events of a scenario happen: to the world, to Nova's API and the database, and by people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hass_runtime.domain import OrderKind, Scope
from hass_runtime.remedy.homecoming import newest_that_moved
from hass_runtime.simulator.hub import Hub
from hass_runtime.simulator.journal import Journal
from hass_runtime.simulator.nova import Nova, Refused
from hass_runtime.simulator.runs import Fate, MadeUpLauncher
from hass_runtime.simulator.scenario_model import Event
from hass_runtime.simulator.scenario_words import NORMAL
from hass_runtime.simulator.world import SENSORS, HostTruth, World
from hass_runtime.store import StoreError

PERSON = "operator"
_ON_HOSTS: dict[str, Callable[[World, HostTruth], None]] = {
    "power_cut": lambda world, host: world.cut_mains(host),
    "power_restore": lambda world, host: world.restore_mains(host),
    "os_hang": lambda world, host: world.hang(host, True),
    "os_restore": lambda world, host: world.hang(host, False),
    "network_cut": lambda world, host: _set(world, host, "network", False),
    "network_restore": lambda world, host: _set(world, host, "network", True),
    "bmc_cut": lambda world, host: _set(world, host, "bmc_answers", False),
    "bmc_restore": lambda world, host: _set(world, host, "bmc_answers", True),
    "bmc_lies": lambda world, host: _set(world, host, "bmc_lies", True),
    "bmc_honest": lambda world, host: _set(world, host, "bmc_lies", False),
    "agent_stop": lambda world, host: _set(world, host, "agent", False),
    "agent_start": lambda world, host: _set(world, host, "agent", True),
    "storage_cut": lambda world, host: _set(world, host, "storage", False),
    "storage_restore": lambda world, host: _set(world, host, "storage", True),
}


def _set(world: World, host: HostTruth, name: str, value: bool) -> None:
    setattr(host, name, value)
    world.touched()


@dataclass
class Controls:
    """What else there is to switch: the controller's process."""

    kill: Callable[[], None]
    start: Callable[[], None]


class Happenings:
    """Applies one event after the other."""

    def __init__(
        self,
        hub: Hub,
        world: World,
        nova: Nova,
        journal: Journal,
        launcher: MadeUpLauncher,
        controls: Controls,
        say: Callable[[str, str, str], None],
    ) -> None:
        self._hub = hub
        self._world = world
        self._nova = nova
        self._journal = journal
        self._launcher = launcher
        self._controls = controls
        self._say = say
        self.false_words: set[str] = set()
        """Hosts that a person confirmed as off while they were on."""

    def happen(self, event: Event) -> None:
        name = event.name
        if name == "operator":
            self._operator(event)
        elif name == "playbook":
            self._playbook(event)
        elif event.subjects:
            for subject in event.subjects:
                words = ", ".join(str(value) for value in event.arguments.values())
                self._say(f"world.{name}", subject, words)
                self._to_one(event, subject)
        else:
            self._say(f"world.{name}", "", "")
            self._to_all(name)

    def _to_one(self, event: Event, subject: str) -> None:
        name, world = event.name, self._world
        if name.startswith("guest_"):
            self._to_guest(name, subject)
            return
        host = world.hosts[subject]
        if name in _ON_HOSTS:
            _ON_HOSTS[name](world, host)
        elif name == "service_stop":
            world.stop_service(host, event.arguments["service"])
        elif name == "service_start":
            world.start_service(host, event.arguments["service"])
        elif name == "sensor":
            sensor, value = event.arguments["name"], event.arguments["value"]
            if value != NORMAL:
                host.sensors[sensor] = value
            elif sensor in SENSORS:
                host.sensors[sensor] = SENSORS[sensor]
            else:
                host.sensors.pop(sensor, None)
            world.touched()

    def _to_guest(self, name: str, subject: str) -> None:
        world, guest = self._world, self._world.by_name[subject]
        if guest.deleted:
            return
        if name == "guest_crash":
            guest.crashed = True
            for host in list(guest.on):
                world.end_guest(guest, host)
            self._nova.guest_stopped(guest)
        elif name == "guest_restore":
            guest.hung = False
            if not guest.on and guest.wish == "active":
                self._nova.guest_runs(guest)
        else:
            guest.hung = guest.hung or name == "guest_hang"
            guest.network = {"guest_network_cut": False, "guest_network_restore": True}.get(
                name, guest.network
            )

    def _to_all(self, name: str) -> None:
        world = self._world
        if name == "controller_kill":
            self._controls.kill()
        elif name == "controller_start":
            self._controls.start()
        elif name in ("controller_network_cut", "controller_network_restore"):
            world.controller_network = name.endswith("restore")
        elif name in ("nova_api_cut", "nova_api_restore"):
            world.nova_api = name.endswith("restore")
        elif name in ("database_cut", "database_restore"):
            self._journal.away = name.endswith("cut")
        world.touched()

    def _playbook(self, event: Event) -> None:
        arguments = event.arguments
        host = event.subjects[0] if event.subjects else ""
        fate = Fate(arguments["name"], arguments["outcome"], arguments["times"], arguments["seconds"], host)
        self._say("world.playbook", host, f"{fate.playbook}: {fate.outcome}, {fate.times} times")
        self._launcher.fates.append(fate)

    # -- a person --------------------------------------------------------------------------------------

    def _operator(self, event: Event) -> None:
        verb = event.arguments["do"]
        subject = event.subjects[0] if event.subjects else ""
        words = event.arguments["reason"]
        self._say(f"operator.{verb}", subject, words)
        try:
            self._do(verb, subject, event)
        except (StoreError, Refused) as error:
            self._say("operator.refused", subject, str(error))

    def _do(self, verb: str, subject: str, event: Event) -> None:
        reason = event.arguments["reason"] or f"{verb} of the scenario"
        now = self._hub.wall()
        until = now + event.duration if event.duration else None
        if verb in ("stop_instance", "start_instance", "delete_instance", "migrate_instance"):
            self._to_instance(verb, subject)
        elif verb in ("protect", "unprotect"):
            uuid = self._world.by_name[subject].uuid
            self._journal.choose(uuid, verb == "protect", reason, PERSON, subject, now)
        elif verb in ("disarm", "arm"):
            scope = Scope(event.arguments["scope"])
            if verb == "disarm":
                self._journal.disarm(reason, PERSON, until, now, scope, subject)
            else:
                self._journal.arm(now, scope, subject)
        elif verb == "end_maintenance":
            self._journal.end_orders(subject, OrderKind.MAINTENANCE, now)
        elif verb == "failback":
            number = newest_that_moved(self._journal, subject)
            self._journal.give_order(subject, OrderKind.FAILBACK, reason, PERSON, at=now, incident=number)
        elif verb == "shutdown_host":
            self._world.shut_down(self._world.hosts[subject])
        elif verb == "start_host":
            self._world.get_power(self._world.hosts[subject])
        else:
            drain = event.arguments.get("drain", False)
            if verb == "confirm_fenced" and self._world.hosts[subject].power:
                self.false_words.add(subject)
            self._journal.give_order(subject, OrderKind(verb), reason, PERSON, until, drain, now)

    def _to_instance(self, verb: str, subject: str) -> None:
        guest, nova = self._world.by_name[subject], self._nova
        if verb == "stop_instance":
            nova.stop(guest.uuid)
            guest.wish = "stopped"
        elif verb == "start_instance":
            nova.start(guest.uuid)
            guest.wish = "active"
        elif verb == "delete_instance":
            nova.delete(guest.uuid)
        else:
            nova.live_migrate(guest.uuid)
