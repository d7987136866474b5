"""The world's own truth: hosts with their power, networks and BMCs, and what runs on them.

Nobody but the monitor and the log sees it as it is: detectors and remedies see what `eyes` and the made-up
BMCs and Nova show of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from hass_runtime.simulator.hub import Hub
from hass_runtime.simulator.scenario_model import HostSpec, InstanceSpec

BOOT_TIME = (18.0, 24.0)  # seconds from power to a running operating system
OFF_TIME = (0.3, 1.5)  # from the off command until the power is gone
SHUTDOWN_TIME = 5.0  # a proper shutdown, in which the agent says goodbye
SERVICES = ("nova-compute", "libvirtd", "qemu")
SENSORS: dict[str, float] = {"Inlet Temp": 24.0, "Temp": 45.0, "Fan1": 5000.0}


@dataclass
class HostTruth:
    """A compute host as it really is.

    ``mains``: it is fed; ``power``: it is switched on, and has mains. ``booted_at`` is when its operating
    system is up, and ``since`` when the power last changed. ``stopped`` are services that do not run.
    """

    spec: HostSpec
    rng: random.Random
    mains: bool = True
    power: bool = True
    since: float = 0.0
    booted_at: float = 0.0
    boots: int = 0
    restarts: int = 0
    hung: bool = False
    hung_at: float = 0.0
    network: bool = True
    bmc_answers: bool = True
    bmc_lies: bool = False
    agent: bool = True
    storage: bool = True
    leaving: bool = False
    stopped: set[str] = field(default_factory=set)
    sensors: dict[str, float | str] = field(default_factory=dict)
    shut_down: bool = False

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass
class Guest:
    """An instance as it really is. ``on`` are the hosts on which a process of it runs.

    ``wish`` is what its owner wants it to be: what it was at the start, or what a person did last. ``ran_at``
    is when it began to run where it is, and ``crashed`` that it once ended by itself.
    """

    spec: InstanceSpec
    uuid: str
    wish: str
    on: set[str] = field(default_factory=set)
    hung: bool = False
    network: bool = True
    deleted: bool = False
    ran_at: float = 0.0
    crashed: bool = False

    @property
    def name(self) -> str:
        return self.spec.name


Watcher = Callable[[str, str, str], None]
"""Hears of what happens: a dotted name, the subject, and words."""


class World:
    """All hosts and guests, the controller's own network, and what the laws of nature do to them.

    ``version`` grows with every change that somebody could see.
    """

    def __init__(
        self, hub: Hub, hosts: tuple[HostSpec, ...], instances: tuple[InstanceSpec, ...], seed: int
    ) -> None:
        self.hub = hub
        self.seed = seed
        self.version = 0
        self.controller_network = True
        self.nova_api = True
        self.hosts = {
            spec.name: HostTruth(spec, random.Random(f"{seed} {spec.name}"), sensors=dict(SENSORS))
            for spec in hosts
        }
        self.guests: dict[str, Guest] = {}
        for number, each in enumerate(instances, 1):
            uuid = f"00000000-0000-4000-8000-{number:012d}"
            guest = Guest(each, uuid, each.state)
            if each.state == "active":
                guest.on.add(each.host)
            self.guests[uuid] = guest
        self.by_name = {guest.name: guest for guest in self.guests.values()}
        self.say: Watcher = lambda event, subject, words: None
        self.hung: Callable[[], None] = lambda: None
        """Called when an operating system stops."""
        self.changes: list[Callable[[], None]] = []
        """Called after every change that somebody could see."""

    # -- what is the case ------------------------------------------------------------------------------

    def up(self, host: HostTruth) -> bool:
        """Whether its operating system runs."""
        return host.power and not host.hung and self.hub.now >= host.booted_at

    def reached(self, host: HostTruth) -> bool:
        """Whether the controller's packets reach its operating system."""
        return self.controller_network and host.network and self.up(host)

    def runs(self, host: HostTruth, service: str) -> bool:
        return self.up(host) and service not in host.stopped and not host.leaving

    def speaks(self, host: HostTruth) -> bool:
        """Whether its agent answers the controller."""
        return self.reached(host) and host.agent

    def running_on(self, guest: Guest) -> list[str]:
        """The hosts on which the guest really runs."""
        return sorted(name for name in guest.on if self.hosts[name].power)

    def guests_of(self, host: str) -> list[Guest]:
        """Whose processes run there, in order of name."""
        return [guest for guest in self.guests.values() if host in guest.on]

    def touched(self) -> None:
        """Something that could be seen has changed."""
        self.version += 1
        for each in self.changes:
            each()

    # -- power -----------------------------------------------------------------------------------------

    def lose_power(self, host: HostTruth) -> None:
        """Everything on it ends at this moment."""
        if not host.power:
            return
        host.power, host.since, host.hung, host.leaving = False, self.hub.now, False, False
        for guest in self.guests_of(host.name):
            guest.on.discard(host.name)
        self.touched()

    def get_power(self, host: HostTruth) -> None:
        """It boots; what runs on it afterwards is for Nova and people to say."""
        if host.power or not host.mains:
            return
        host.power, host.since, host.shut_down = True, self.hub.now, False
        host.boots += 1
        host.booted_at = self.hub.now + host.rng.uniform(*BOOT_TIME)
        host.agent = True
        host.stopped.clear()
        boot = host.boots
        self.touched()

        def up() -> None:
            if host.power and host.boots == boot:
                self.say("world.booted", host.name, "")
                self.touched()

        self.hub.at(host.booted_at, up)

    def cut_mains(self, host: HostTruth) -> None:
        host.mains = False
        self.lose_power(host)
        self.touched()

    def restore_mains(self, host: HostTruth) -> None:
        if host.mains:
            return
        host.mains = True
        self.get_power(host)
        self.touched()

    def shut_down(self, host: HostTruth) -> None:
        """Properly: services end, the agent says so, and then the power goes."""
        if not self.up(host) or host.leaving:
            return
        host.leaving, host.shut_down = True, True
        self.touched()
        boot = host.boots

        def gone() -> None:
            if host.leaving and host.boots == boot:
                self.lose_power(host)

        self.hub.after(SHUTDOWN_TIME, gone)

    # -- the rest --------------------------------------------------------------------------------------

    def hang(self, host: HostTruth, hung: bool) -> None:
        if not host.power or host.hung == hung:
            return
        host.hung = hung
        if hung:
            host.hung_at = self.hub.now
            self.hung()
        self.touched()

    def stop_service(self, host: HostTruth, service: str) -> None:
        host.stopped.add(service)
        self.touched()

    def start_service(self, host: HostTruth, service: str) -> None:
        if service in host.stopped:
            host.stopped.discard(service)
            host.restarts += service == "nova-compute"
            self.touched()

    def run_guest(self, guest: Guest, host: str) -> None:
        """A process of the guest begins there."""
        if self.hosts[host].power and not guest.deleted:
            guest.on.add(host)
            guest.ran_at = self.hub.now
            self.touched()

    def end_guest(self, guest: Guest, host: str) -> None:
        guest.on.discard(host)
        self.touched()
