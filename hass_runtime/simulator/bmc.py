"""The BMCs and agents of made-up hosts, as the remedies and detectors talk to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hass_runtime.agent.protocol import Check
from hass_runtime.remedy.restart import AgentSilent
from hass_runtime.simulator.world import OFF_TIME, SERVICES, HostTruth, World

RESTART_TIME = 2.0  # seconds until a service that is restarted runs


class BmcSilent(Exception):
    """The BMC did not answer. One line."""


class MadeUpBmc:
    """One host's BMC. ``told`` hears of each command that it accepted: "off" or "on"; ``read`` of each answer
    to the question for the power, "" for none.
    """

    def __init__(
        self,
        world: World,
        host: HostTruth,
        told: Callable[[str, str], None],
        read: Callable[[str, str], None] = lambda host, value: None,
    ) -> None:
        self._world = world
        self._host = host
        self._told = told
        self._read = read

    def power(self) -> str:
        """ "on" or "off"; raises BmcSilent."""
        try:
            self._answer()
        except BmcSilent:
            self._read(self._host.name, "")
            raise
        value = "on" if self._host.power and not self._host.bmc_lies else "off"
        self._read(self._host.name, value)
        return value

    def power_off(self) -> None:
        """Accepted; the power is gone a moment later."""
        self._answer()
        host, world = self._host, self._world
        self._told(host.name, "off")
        if host.bmc_lies or not host.power:
            return
        boot = host.boots

        def off() -> None:
            if host.boots == boot and host.power:
                world.lose_power(host)

        world.hub.after(host.rng.uniform(*OFF_TIME), off)

    def power_on(self) -> None:
        """Accepted; without mains nothing comes of it."""
        self._answer()
        self._told(self._host.name, "on")
        if not self._host.bmc_lies:
            self._world.get_power(self._host)

    def _answer(self) -> None:
        if not (self._host.bmc_answers and self._world.controller_network):
            raise BmcSilent(f"BMC of {self._host.name}: no answer")


class MadeUpAgent:
    """One host's agent."""

    def __init__(self, world: World, host: HostTruth) -> None:
        self._world = world
        self._host = host

    def checks(self) -> Mapping[str, Check]:
        """What it says of each of its checks. Raises AgentSilent."""
        if not self._world.speaks(self._host):
            raise AgentSilent(f"no answer from the agent of {self._host.name}")
        return checks_of(self._world, self._host)

    def restart(self, check: str) -> str | None:
        """None when it restarts what is behind the check, else why not."""
        world, host = self._world, self._host
        if not world.speaks(host):
            return f"no answer from the agent of {host.name}"
        if check not in UNITS:
            return f"{check} is no unit"
        boot = host.boots
        world.say("world.service_restarted", host.name, check)

        def up() -> None:
            if host.boots == boot and world.up(host):
                world.start_service(host, check)

        world.hub.after(RESTART_TIME, up)
        return None


UNITS = frozenset({"nova-compute", "libvirtd"})
"""The checks behind which there is a unit that can be restarted."""
_GOOD = {service: Check("ok") for service in SERVICES}


def checks_of(world: World, host: HostTruth) -> Mapping[str, Check]:
    """What the agent finds when it looks."""
    if not host.stopped:
        return _GOOD
    return {
        service: Check("failed", f"{service} does not run") if service in host.stopped else Check("ok")
        for service in SERVICES
    }
