"""What the detectors read in the made-up world: the same verdicts and words of `hass_runtime.detect`."""

from __future__ import annotations

from hass_runtime.detect.services import judge
from hass_runtime.domain import Host, Layer, Reading, Verdict
from hass_runtime.memory import GATEWAY
from hass_runtime.settings import ControllerSettings
from hass_runtime.simulator import gauges
from hass_runtime.simulator.bmc import checks_of
from hass_runtime.simulator.nova import Nova
from hass_runtime.simulator.world import HostTruth, World

_Look = tuple[Verdict, str, bool, bool]  # verdict, evidence, answered, leaving


class Eyes:
    """All detectors. What is read of a host that nothing happened to is what it was, but for its time."""

    def __init__(self, world: World, nova: Nova, settings: ControllerSettings) -> None:
        self._world = world
        self._nova = nova
        self._settings = settings
        self._known: dict[str, tuple[int, tuple[Reading, ...]]] = {}
        self._shown: dict[str, tuple[dict[Layer, _Look], str]] = {}
        self.goodbyes: dict[str, float] = {}
        """When a host was last heard to say that it is being shut down."""
        world.hung = lambda: world.hub.after(settings.detection.watchdog_threshold, world.touched)

    @property
    def version(self) -> int:
        """What is read of a host stays the same for as long as this does."""
        return self._world.version

    def look(self, name: str) -> tuple[Reading, ...]:
        """One reading a layer of the host, or those of the controller's gateway."""
        version, readings = self._known.get(name, (-1, ()))
        if version != self._world.version:
            readings = self._gateway() if name == GATEWAY else self._host(self._world.hosts[name])
            if any(reading.leaving for reading in readings):
                self.goodbyes[name] = self._world.hub.now
            known = self._known.get(name)
            if known is not None and _alike(known[1], readings):
                readings = known[1]
            self._known[name] = (self._world.version, readings)
        return readings

    def _gateway(self) -> tuple[Reading, ...]:
        answers = self._world.controller_network
        verdict, words = (Verdict.OK, "answers") if answers else (Verdict.FAILED, "answers no echo request")
        return (Reading(GATEWAY, Layer.NETWORK, verdict, f"the gateway {words}", 0.0, answers),)

    def _host(self, host: HostTruth) -> tuple[Reading, ...]:
        looks = {
            Layer.POWER: self._power(host),
            Layer.HARDWARE: self._hardware(host),
            Layer.OS: self._os(host),
            Layer.NETWORK: self._network(host),
            Layer.STORAGE: self._storage(host),
            Layer.SERVICE: self._service(host),
        }
        shown = (looks, f"boot-{host.boots}" if self._world.speaks(host) else "")
        if self._shown.get(host.name) == shown:
            return self._known[host.name][1]
        self._shown[host.name] = shown
        return tuple(
            Reading(
                host.name,
                layer,
                look[0],
                look[1],
                0.0,
                look[2],
                look[3],
                shown[1] if layer is Layer.SERVICE else "",
            )
            for layer, look in looks.items()
        )

    def _bmc(self, host: HostTruth) -> str:
        """Why its BMC cannot be asked, or ""."""
        if not host.spec.ipmi:
            return "host has no BMC"
        if not (host.bmc_answers and self._world.controller_network):
            return "the BMC does not answer"
        return ""

    def _power(self, host: HostTruth) -> _Look:
        if why := self._bmc(host):
            return Verdict.UNKNOWN, why, False, False
        on = host.power and not host.bmc_lies
        return (Verdict.OK if on else Verdict.FAILED), f"BMC says {'on' if on else 'off'}", False, False

    def _hardware(self, host: HostTruth) -> _Look:
        if why := self._bmc(host):
            return Verdict.UNKNOWN, why, False, False
        if not host.mains:
            return Verdict.UNKNOWN, "its sensors say nothing without power", False, False
        verdict, words = gauges.judge(host.sensors, self._settings.sensors)
        return verdict, words, False, False

    def _os(self, host: HostTruth) -> _Look:
        if why := self._bmc(host):
            return Verdict.UNKNOWN, why, False, False
        booting = self._world.hub.now < host.booted_at
        if not host.power or booting or not host.spec.watchdog:
            return Verdict.UNKNOWN, "its watchdog timer does not run", False, False
        since = self._world.hub.now - host.hung_at if host.hung else 0.0
        if host.hung and since >= self._settings.detection.watchdog_threshold:
            return Verdict.FAILED, "its watchdog timer is not re-armed any more", False, False
        return Verdict.OK, "its watchdog timer is re-armed", True, False

    def _network(self, host: HostTruth) -> _Look:
        if self._world.reached(host):
            return Verdict.OK, "it answers", True, False
        return Verdict.FAILED, "it answers no echo request", False, False

    def _storage(self, host: HostTruth) -> _Look:
        if not self._world.speaks(host):
            return Verdict.UNKNOWN, "its agent does not answer", False, False
        if host.storage:
            return Verdict.OK, "its agent reads and writes the storage", True, False
        return Verdict.FAILED, "its agent cannot write the storage", True, False

    def _service(self, host: HostTruth) -> _Look:
        if not self._world.speaks(host):
            if self._world.reached(host):
                return Verdict.FAILED, "no agent: the host says that the port is closed", True, False
            return Verdict.FAILED, "no answer from its agent", False, False
        verdict, words = judge(checks_of(self._world, host))
        return verdict, words, True, host.leaving


class Ear:
    """One layer of one host, listened to on its own, as a fence does it."""

    def __init__(self, eyes: Eyes, layer: Layer) -> None:
        self._eyes = eyes
        self._layer = layer

    def read(self, host: Host) -> Reading:
        return next(each for each in self._eyes.look(host.name) if each.layer is self._layer)


def _alike(a: tuple[Reading, ...], b: tuple[Reading, ...]) -> bool:
    return a == b
