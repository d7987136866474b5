"""Runs the modules of the remediation playbooks, the real files, against the made-up world.

A module's code is taken as it is; only what it reaches the real world by is another: settings, Nova, BMCs,
agents, clocks and thread pools. So whatever a module forgets shows here.
"""

from __future__ import annotations

import importlib.util
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hass_runtime.domain import Host, Layer, Move, Reading, Verdict
from hass_runtime.remedy import (
    ansible_support,
    attempt,
    cloud,
    draining,
    evacuation,
    fencing,
    inventory,
    restoration,
    revival,
    silence,
)
from hass_runtime.settings import ControllerSettings
from hass_runtime.simulator.bmc import MadeUpAgent, MadeUpBmc
from hass_runtime.simulator.cloud import MadeUpCloud
from hass_runtime.simulator.eyes import Ear, Eyes
from hass_runtime.simulator.hub import AtOnce, Hub, Pool
from hass_runtime.simulator.world import World

LISTENS = 0.6  # seconds that it takes to hear that nobody answers

_LOADED: dict[tuple[Path, int], types.ModuleType] = {}
_REAL = {
    "support": ansible_support,
    "attempt": attempt,
    "cloud": cloud,
    "draining": draining,
    "evacuation": evacuation,
    "fencing": fencing,
    "inventory": inventory,
    "restoration": restoration,
    "revival": revival,
    "silence": silence,
}


class Done(BaseException):
    """The module ended with this result. Like the real one's exit, no `except Exception` stops it."""

    def __init__(self, result: Mapping[str, Any], failed: bool) -> None:
        super().__init__()
        self.result = {"changed": False, **result, "failed": failed}


class Argument(Exception):
    """An argument of a module that the real one would not take. One line."""


class StandIn:
    """As much of AnsibleModule as the modules use: checked arguments in, one result out."""

    check_mode = False

    def __init__(
        self,
        given: Mapping[str, Any],
        argument_spec: Mapping[str, Mapping[str, Any]],
        supports_check_mode: bool = False,
        required_one_of: list[tuple[str, ...]] | None = None,
    ) -> None:
        for name in given.keys() - argument_spec.keys():
            raise Argument(f"Unsupported parameters: {name}")
        self.params: dict[str, Any] = {}
        for name, spec in argument_spec.items():
            value = given.get(name)
            if value is None and spec.get("required"):
                raise Argument(f"missing required arguments: {name}")
            value = spec.get("default") if value is None else _typed(name, value, spec)
            self.params[name] = value
        for names in required_one_of or ():
            if all(self.params[name] is None for name in names):
                raise Argument(f"one of the following is required: {', '.join(names)}")

    def exit_json(self, **result: Any) -> None:
        raise Done(result, failed=False)

    def fail_json(self, **result: Any) -> None:
        raise Done(result, failed=True)


_KINDS: dict[str, Any] = {"bool": bool, "dict": Mapping, "list": (list, tuple)}


def _typed(name: str, value: Any, spec: Mapping[str, Any]) -> Any:
    kind = spec.get("type", "str")
    try:
        if kind in ("str", "path"):
            value = str(value)
        elif kind in ("int", "float"):
            value = {"int": int, "float": float}[kind](value)
        elif not isinstance(value, _KINDS[kind]):
            raise ValueError
    except (TypeError, ValueError):
        raise Argument(f"argument {name} is {value!r} and cannot be converted to {kind}") from None
    if "choices" in spec and value not in spec["choices"]:
        raise Argument(f"value of {name} must be one of {', '.join(spec['choices'])}, got: {value}")
    return value


@dataclass(frozen=True)
class Surroundings:
    """What the modules reach the made-up world by."""

    hub: Hub
    world: World
    eyes: Eyes
    settings: ControllerSettings
    cloud: MadeUpCloud
    bmcs: Mapping[str, MadeUpBmc]


class Modules:
    """The modules of one run.

    Args:
        begun: takes every greenlet that is started, so that the run can be ended with all it began.
        progress: takes each change of a move.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        library: Path,
        begun: Callable[[Any], None],
        progress: Callable[[Move], None],
    ) -> None:
        self._in = surroundings
        self._library = library
        self._pool: Any = partial(Pool, surroundings.hub, begun)
        self._progress = progress

    def knows(self, name: str) -> bool:
        return name.startswith("hass_") and (self._library / f"{name}.py").exists()

    def run(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The result, with ``failed``. What the module did not expect is told as Ansible tells it."""
        main = self._rebuilt(_load(self._library / f"{name}.py"), name, arguments)
        try:
            main()
        except Done as done:
            return done.result
        except Argument as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        except Exception as error:  # noqa: BLE001 - a module that breaks is a task that fails
            msg = f"MODULE FAILURE: {type(error).__name__}: {error}"
            return {"failed": True, "changed": False, "msg": msg}
        return {"failed": True, "changed": False, "msg": "MODULE FAILURE: it ended without a result"}

    def _rebuilt(
        self, module: types.ModuleType, name: str, arguments: Mapping[str, Any]
    ) -> Callable[[], None]:
        """The module's main with another view of the world. The module itself stays as it is."""
        scope = dict(vars(module))
        views = self._views(name)
        scope |= {key: view for key, view in views.items() if key in scope}
        scope["AnsibleModule"] = partial(StandIn, arguments)
        for key, value in vars(module).items():
            if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
                rebuilt = types.FunctionType(
                    value.__code__, scope, key, value.__defaults__, value.__closure__
                )
                rebuilt.__kwdefaults__ = value.__kwdefaults__
                scope[key] = rebuilt
        main: Callable[[], None] = scope["main"]
        return main

    def _views(self, module: str) -> dict[str, Any]:
        """The names by which modules know the rest of HASS, each with what must be made up in it."""
        hub, pool = self._in.hub, self._pool
        clock = attempt.Clock(hub.wall, hub.monotonic, hub.sleep)
        changes: dict[str, dict[str, Any]] = {
            "support": {
                "load": self._load_settings,
                "bmc_of": lambda settings, host: self._in.bmcs.get(host.name),
                "agent_of": self._agent_of,
                "asked_agent": self._asked_agent,
            },
            "attempt": {"ProgressFile": lambda path: self._progress if path else _nowhere},
            "cloud": {"connect": lambda settings, workers=None: self._in.cloud},
            "draining": {"Drainer": partial(draining.Drainer, clock=clock, pool=pool)},
            "evacuation": {
                "Evacuator": partial(evacuation.Evacuator, clock=clock, pool=pool),
            },
            "fencing": {
                "fence": partial(
                    fencing.fence, clock=hub.monotonic, wall=hub.wall, sleep=hub.sleep, pool=pool
                ),
                "OffWatch": partial(fencing.OffWatch, clock=hub.monotonic),
            },
            "inventory": {"verify": partial(inventory.verify, pool=pool)},
            "restoration": {
                "Patience": partial(restoration.Patience, clock=hub.monotonic, sleep=hub.sleep),
            },
            "revival": {"Reviver": partial(revival.Reviver, clock=clock, pool=pool)},
            "silence": {
                "rearmed": lambda settings, host: partial(self._rearmed, host) if host.bmc else None,
                "listener": partial(self._listener, takes_time=module == "hass_fence"),
                "ears_of": lambda settings: [
                    Ear(self._in.eyes, Layer.NETWORK),
                    Ear(self._in.eyes, Layer.SERVICE),
                ],
            },
        }
        views: dict[str, Any] = {
            name: types.SimpleNamespace(**{**vars(_REAL[name]), **made_up})
            for name, made_up in changes.items()
        }
        views["time"] = types.SimpleNamespace(time=hub.wall, monotonic=hub.monotonic, sleep=hub.sleep)
        return views

    def _rearmed(self, host: Host) -> str | None:
        """Two looks at the watchdog timer of the host's BMC."""
        truth = self._in.world.hosts[host.name]
        answered = truth.bmc_answers and self._in.world.controller_network
        self._in.hub.sleep(silence.REARM_GAP)
        if not (answered and truth.bmc_answers and self._in.world.controller_network):
            return f"{fencing.DEAF}read its watchdog timer: the BMC does not answer"
        reading = Ear(self._in.eyes, Layer.OS).read(host)
        return reading.evidence if reading.verdict is Verdict.OK else None

    def _load_settings(self, config: str, name: str) -> tuple[ControllerSettings, Host]:
        for host in self._in.settings.hosts:
            if host.name == name:
                return self._in.settings, host
        raise ansible_support.BadArgument(f"{config} names no host {name}")

    def _agent_of(self, settings: ControllerSettings, host: Host) -> Callable[[], Reading] | None:
        services, storage = Ear(self._in.eyes, Layer.SERVICE), Ear(self._in.eyes, Layer.STORAGE)
        return lambda: ansible_support.worst(services.read(host), lambda: storage.read(host))

    def _asked_agent(self, settings: ControllerSettings, host: Host) -> MadeUpAgent:
        return MadeUpAgent(self._in.world, self._in.world.hosts[host.name])

    def _listener(self, host: Host, ears: list[Ear], takes_time: bool) -> Callable[[], str | None]:
        """The fence listens for a while, beside its readings. Who looks between two calls may not."""
        listen = silence.listener(host, ears, AtOnce)  # type: ignore[arg-type]

        def slowly() -> str | None:
            self._in.hub.sleep(LISTENS)
            return listen()

        return slowly if takes_time else listen


def _nowhere(move: Move) -> None:
    """Progress that nobody wants to see."""


def _load(path: Path) -> types.ModuleType:
    """The module's file, loaded once a process, or again when it has changed."""
    key = (path, path.stat().st_mtime_ns)
    known = _LOADED.get(key)
    if known is None:
        spec = importlib.util.spec_from_file_location(f"hass_simulated_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path}: cannot be loaded")
        known = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(known)
        _LOADED[key] = known
    return known
