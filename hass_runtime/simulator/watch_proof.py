"""What the monitor counts of the proof that a host is off: its BMC's answers, and a person's word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hass_runtime.domain import Incident, Order, OrderKind
from hass_runtime.remedy.proof import MIN_READS
from hass_runtime.settings import ControllerSettings
from hass_runtime.simulator.world import World

LOOK_TO_CALL = 2.0  # seconds that may lie between the last look at a host and the call that trusts it
RULE_1 = "rule 1: never evacuate before the host is proven off"
RULE_2 = "rule 2: no proof, no evacuation"

Violated = Callable[[str, str, str], None]


@dataclass
class _Power:
    """What the host's BMC said since it last accepted the off command, and since when it says nothing."""

    told_off: bool = False
    reads: int = 0
    silent_since: float | None = None


@dataclass
class ProofWatch:
    """Rules 1 and 2. ``seen_after``: seconds in which the controller has surely seen what is the case."""

    world: World
    settings: ControllerSettings
    violated: Violated
    seen_after: float
    false_words: set[str] = field(default_factory=set)
    _power: dict[str, _Power] = field(default_factory=dict)
    _words: set[str] = field(default_factory=set)
    _proven: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._power = {name: _Power() for name in self.world.hosts}

    def look(self) -> None:
        """After each change in the world: which BMCs cannot be asked."""
        for name, host in self.world.hosts.items():
            power = self._power[name]
            if host.spec.ipmi and host.bmc_answers and self.world.controller_network:
                power.silent_since = None
            elif power.silent_since is None:
                power.silent_since = self.world.hub.now

    def told_off(self, name: str) -> None:
        self._power[name] = _Power(True, 0, self._power[name].silent_since)

    def read(self, name: str, value: str) -> None:
        """The BMC answered a remedy, or did not: value is on, off, or other words."""
        power = self._power[name]
        power.reads = power.reads + 1 if value == "off" else 0
        if value == "on":
            self._proven.discard(name)

    def ordered(self, order: Order) -> None:
        if order.kind is OrderKind.CONFIRM_FENCED:
            self._words.add(order.host)

    def begun(self, host: str, incident: Incident, orders: tuple[Order, ...]) -> None:
        """A fence is begun: somebody has to be able to prove it."""
        since = self._power[host].silent_since
        mute = since is not None and self.world.hub.now - since > self.seen_after
        said = any(order.host == host and order.kind is OrderKind.CONFIRM_FENCED for order in orders)
        if mute and not said and incident.fenced_at is None:
            words = "a fence is begun, its BMC cannot be asked, and no person's word is in force"
            self.violated(RULE_2, host, words)

    def fenced(self, host: str, told_at_once: bool = True) -> None:
        """It is called proven off. What could only be written later may have changed since."""
        power, needed = self._power[host], max(MIN_READS, self.settings.safety.fence_reads)
        if not (power.told_off and power.reads >= needed) and host not in self._words:
            words = f"it is called off after {power.reads} readings of off, {needed} are needed"
            self.violated(RULE_1, host, words)
        self._proven.add(host)
        if told_at_once and self.surely_on(host) > LOOK_TO_CALL:
            self.violated(RULE_1, host, "it is called off, and has power")

    def evacuated(self, host: str, instance: str) -> None:
        """Before an instance of it is evacuated."""
        on_for = self.surely_on(host)
        if on_for > LOOK_TO_CALL:
            words = f"{instance} is evacuated, and its host has had power for {on_for:.1f} s"
            self.violated(RULE_1, host, words)
        power = self._power[host]
        # Once proven off, and not seen on since, one more look before each call is enough.
        needed = 1 if host in self._proven else MIN_READS
        if not (power.told_off and power.reads >= needed) and host not in self._words:
            self.violated(RULE_2, host, f"{instance} is evacuated, and nothing has proven its host off")

    def surely_on(self, name: str) -> float:
        """Seconds since the host has had power, where that can be known; else 0.

        Of whom only a person, or a BMC that lies, says that it is off only its voice tells something else.
        """
        host, world = self.world.hosts[name], self.world
        by_voice = not host.spec.ipmi or not host.bmc_answers or host.bmc_lies or name in self.false_words
        known = world.reached(host) if by_voice else True
        since = host.booted_at if by_voice else host.since
        return world.hub.now - since if host.power and known else 0.0
