"""Makes up schedules of failures: small clusters, everything that can go wrong, people in between.

A schedule is an ordinary scenario without expectations. What no judgement could get right is left out, see
`fair`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hass_runtime.simulator.scenario import Event, HostSpec, InstanceSpec, Scenario, timeline
from hass_runtime.simulator.scenario_words import PLAYBOOK_OUTCOMES, PLAYBOOKS, SERVICES

RUN_FOR = 330.0
_BUSY = 150.0  # everything begins before that
_SETTINGS: tuple[tuple[str, tuple[str, ...], float], ...] = (  # key, values, how often it is set
    ("detection.polling_interval", ("1", "2", "5"), 1.0),
    ("detection.polling_threshold", ("2", "3"), 0.5),
    ("detection.wait_restart_threshold", ("1", "2"), 0.3),
    ("default.network_transient_time", ("5", "20", "30"), 0.7),
    ("safety.storm_threshold", ("0.34", "0.5", "0.7"), 0.4),
    ("safety.max_remedies", ("1", "2", "3"), 0.4),
    ("safety.max_fences", ("1", "2", "3"), 0.3),
    ("safety.flap_limit", ("2",), 0.2),
    ("safety.cooldown", ("0", "15", "40"), 0.3),
    ("safety.fence_timeout", ("10", "30"), 0.3),
    ("safety.retry_interval", ("3", "10"), 0.4),
    ("safety.planned_shutdown_time", ("60", "600"), 0.3),
    ("recovery.auto_restore", ("false",), 0.15),
    ("recovery.restore_timeout", ("60", "120"), 0.7),
    ("recovery.evacuate_timeout", ("30", "90"), 0.5),
    ("recovery.evacuate_workers", ("1", "2"), 0.2),
    ("recovery.evacuate_microversion", ("2.96",), 0.2),
    ("recovery.drain_timeout", ("60",), 0.3),
    ("recovery.healthy_delay", ("10", "60"), 0.4),
    ("recovery.poll_interval", ("1",), 0.5),
    ("recovery.recovery_method", ("reserved_host", "auto_priority", "rh_priority"), 0.3),
    ("recovery.refill_reserve", ("false",), 0.1),
    ("recovery.priority_groups", ("together", "in_turn"), 0.3),
    ("recovery.priority_stagger", ("0", "5"), 0.3),
    ("recovery.take_back", ("by_hand",), 0.1),
    ("recovery.return_delay", ("5", "20"), 0.2),
    ("recovery.failback", ("true",), 0.15),
    ("protection.policy", ("opt-in",), 0.1),
)
SEEN_THROUGH = 30.0  # seconds in which a BMC that says off of a host that answers is surely caught
_SILENT = ("network_cut", "os_hang")  # what a host that runs on is not heard by
_HEARD = {"network_restore": "network_cut", "os_restore": "os_hang"}
_BLINDED = ("controller_kill", "controller_network_cut", "database_cut")
_SEEING = {
    "controller_start": "controller_kill",
    "controller_network_restore": "controller_network_cut",
    "database_restore": "database_cut",
}


class Dice:
    """One schedule, made up from one random number generator."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.hosts: tuple[HostSpec, ...] = ()
        self.instances: tuple[InstanceSpec, ...] = ()

    def scenario(self, name: str) -> Scenario:
        rng = self.rng
        settings = {key: rng.choice(values) for key, values, often in _SETTINGS if rng.random() < often}
        self.hosts = self._hosts()
        self.instances = self._instances()
        events: list[Event] = []
        for _ in range(rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 6, 8))):
            made = events + self._something()
            candidate = _scenario(name, settings, self.hosts, self.instances, made)
            if fair(candidate):
                events = made
        return _scenario(name, settings, self.hosts, self.instances, events)

    def _hosts(self) -> tuple[HostSpec, ...]:
        rng = self.rng
        count = rng.choice((2, 3, 3, 4, 4, 4, 5, 6))
        zones = rng.random() < 0.4
        clusters = count >= 4 and rng.random() < 0.15
        return tuple(
            HostSpec(
                f"host{number}",
                ipmi=rng.random() < 0.9,
                zone=rng.choice(("a", "b", "")) if zones else "",
                reserved=number > max(1, count - 2) and rng.random() < 0.25,
                cluster="edge" if clusters and number <= 2 else "default",
                watchdog=rng.random() < 0.8,
                room=rng.choice((3, 5)) if rng.random() < 0.1 else None,
            )
            for number in range(1, count + 1)
        )

    def _instances(self) -> tuple[InstanceSpec, ...]:
        rng = self.rng
        per_host = rng.choice((0, 1, 2, 2, 3))
        places = [host for host in self.hosts if not host.reserved for _ in range(per_host)]
        return tuple(
            InstanceSpec(
                f"vm{number}",
                host.name,
                "stopped" if rng.random() < 0.2 else "active",
                rng.choice((0, 0, 0, 5)),
                rng.choice((None, None, None, None, True, False)),
            )
            for number, host in enumerate(places, 1)
        )

    # -- events ----------------------------------------------------------------------------------------

    def _something(self) -> list[Event]:
        kinds: list[tuple[int, Callable[[], list[Event]]]] = [
            (24, self._host_fails),
            (6, self._hosts_fail),
            (8, self._everything),
            (7, self._playbook),
            (12, self._person),
            (3, self._guest),
            (4, self._blind_word),
            (4, self._caught_lie),
        ]
        weights = [weight for weight, _ in kinds]
        make = self.rng.choices([make for _, make in kinds], weights)[0]
        return make()

    def _when(self) -> float:
        return round(self.rng.uniform(5.0, _BUSY), 1)

    def _for(self, often: float = 0.7) -> float | None:
        if self.rng.random() >= often:
            return None
        return round(self.rng.choice((self.rng.uniform(1, 15), self.rng.uniform(10, 200))), 1)

    def _host(self) -> str:
        return self.rng.choice(self.hosts).name

    def _host_fails(self, names: tuple[str, ...] = ()) -> list[Event]:
        rng = self.rng
        weighted = {
            "power_cut": 8,
            "os_hang": 5,
            "network_cut": 6,
            "bmc_cut": 4,
            "bmc_lies": 3,
            "agent_stop": 3,
            "storage_cut": 3,
            "service_stop": 4,
            "sensor": 3,
        }
        name = rng.choices(list(weighted), list(weighted.values()))[0]
        arguments: dict[str, Any] = {}
        if name == "service_stop":
            arguments = {"service": rng.choice(SERVICES)}
        elif name == "sensor":
            sensor = rng.choice(("Inlet Temp", "Temp", "Fan1", "Disk"))
            value = rng.choice((2.0, 60.0, 85.0, 120.0, "warning", "critical", "failed", "nonsense"))
            arguments = {"name": sensor, "value": value}
        subjects = names or (self._host(),)
        return [Event(self._when(), name, subjects, self._for(), arguments)]

    def _hosts_fail(self) -> list[Event]:
        """The same happens to several at once: a switch, a rack."""
        count = self.rng.randint(2, len(self.hosts))
        names = tuple(host.name for host in self.rng.sample(self.hosts, count))
        return self._host_fails(tuple(sorted(names)))

    def _everything(self) -> list[Event]:
        name = self.rng.choice(("controller_kill", "controller_network_cut", "nova_api_cut", "database_cut"))
        seconds = round(self.rng.choice((self.rng.uniform(1, 10), self.rng.uniform(10, 120))), 1)
        return [Event(self._when(), name, (), seconds)]

    def _playbook(self) -> list[Event]:
        outcome = self.rng.choice(PLAYBOOK_OUTCOMES)
        arguments = {
            "name": self.rng.choice(PLAYBOOKS),
            "outcome": outcome,
            "times": self.rng.choice((1, 1, 2, 3)),
            "seconds": self.rng.choice((2.0, 10.0)) if outcome == "slow" else 0.0,
        }
        return [Event(self._when(), "playbook", (), None, arguments)]

    def _person(self) -> list[Event]:
        rng = self.rng
        verbs = ["maintenance", "restore", "failback", "shutdown_host", "disarm"]
        if self.instances:
            verbs += ["stop_instance", "start_instance", "delete_instance", "migrate_instance"]
            verbs += ["protect", "unprotect"]
        verb = rng.choice(verbs)
        arguments: dict[str, Any] = {"do": verb, "reason": ""}
        subjects: tuple[str, ...] = (self._host(),)
        duration = None
        if verb.endswith(("_instance", "protect")):
            subjects = (rng.choice(self.instances).name,)
        elif verb == "disarm":
            scope = rng.choice(("all", "host", "cluster"))
            host = rng.choice(self.hosts)
            subjects = {"all": (), "host": (host.name,), "cluster": (host.cluster,)}[scope]
            arguments["scope"] = scope
            duration = self._for(1.0)
        elif verb == "maintenance":
            arguments["drain"] = rng.random() < 0.5
            duration = self._for()
        elif verb == "shutdown_host":
            duration = self._for(0.8)
        return [Event(self._when(), "operator", subjects, duration, arguments)]

    def _guest(self) -> list[Event]:
        if not self.instances:
            return []
        name = self.rng.choice(("guest_crash", "guest_hang", "guest_network_cut"))
        return [Event(self._when(), name, (self.rng.choice(self.instances).name,), self._for())]

    def _blind_word(self) -> list[Event]:
        """A host loses its power and nothing can prove it; a person goes there, looks, and says so."""
        host, at = self._host(), self._when()
        said = round(at + self.rng.uniform(1.0, 120.0), 1)
        word = {"do": "confirm_fenced", "reason": "cords pulled"}
        return [
            Event(at, "bmc_cut", (host,), self._for()),
            Event(at, "power_cut", (host,), round(said - at + self.rng.uniform(20.0, 200.0), 1)),
            Event(said, "operator", (host,), None, word),
        ]

    def _caught_lie(self) -> list[Event]:
        """A BMC says off of a host that runs, and a while later nothing is heard of the host, either."""
        host, at = self._host(), self._when()
        silence = self.rng.choice(_SILENT)
        then = round(at + self.rng.choice((0.0, 3.0, SEEN_THROUGH + 5.0, 60.0)), 1)
        return [Event(at, "bmc_lies", (host,), self._for(0.5)), Event(then, silence, (host,), self._for())]


def _scenario(
    name: str,
    settings: dict[str, str],
    hosts: tuple[HostSpec, ...],
    instances: tuple[InstanceSpec, ...],
    events: list[Event],
) -> Scenario:
    ordered = tuple(sorted(events, key=lambda event: event.at))
    return Scenario(name, settings, hosts, instances, ordered, RUN_FOR, ())


def roll(seed: int, index: int) -> Scenario:
    """The schedule of this seed and number; always the same."""
    return Dice(random.Random(f"{seed} {index}")).scenario(f"schedule {index} of seed {seed}")


def fair(scenario: Scenario) -> bool:
    """Whether safety can be asked for at all.

    Two lies at once are not: a person who confirms as off what has power; and a BMC that says off of a host
    that runs, while nothing of the host is heard. Unless the lie was to be seen through: the BMC had said off
    for a while as the host still answered, or the watchdog timer of that BMC is being re-armed all the time.
    """
    watched = {host.name for host in scenario.hosts if host.watchdog}
    hosts = {host.name: _Fairness(host.name in watched) for host in scenario.hosts}
    blind: set[str] = set()
    for event in timeline(scenario):
        for fairness in hosts.values():
            fairness.pass_time(event.at, seeing=not blind)
        if event.name in _BLINDED:
            blind.add(event.name)
        elif event.name in _SEEING:
            blind.discard(_SEEING[event.name])
        for host in event.subjects:
            if host not in hosts:
                continue
            if event.arguments.get("do") == "confirm_fenced" and hosts[host].fed:
                return False
            hosts[host].happens(event)
            if not hosts[host].fair:
                return False
    return True


@dataclass
class _Fairness:
    """One host as far as lies about it go. ``unlike``: what happened to it besides that its BMC lies."""

    watchdog: bool
    fed: bool = True
    lying: bool = False
    silent: set[str] = field(default_factory=set)
    unlike: bool = False
    at: float = 0.0
    watched_for: float = 0.0

    def pass_time(self, at: float, seeing: bool) -> None:
        if self.lying and not self.silent:
            self.watched_for = self.watched_for + at - self.at if seeing and not self.unlike else 0.0
        self.at = at

    def happens(self, event: Event) -> None:
        if event.name in ("bmc_lies", "bmc_honest"):
            self.lying = event.name == "bmc_lies"
            self.watched_for = 0.0
            return
        if event.name in _SILENT:
            self.silent.add(event.name)
        elif event.name in _HEARD:
            self.silent.discard(_HEARD[event.name])
        elif event.name in ("power_cut", "power_restore"):
            self.fed = event.name == "power_restore"
        if not self.lying or event.name not in _SILENT:
            self.unlike = True

    @property
    def fair(self) -> bool:
        if not (self.lying and self.silent):
            return True
        return self.watched_for >= SEEN_THROUGH or (self.watchdog and self.silent == {"network_cut"})
