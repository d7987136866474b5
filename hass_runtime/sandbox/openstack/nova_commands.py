"""The commands of the parent: one JSON object a line on stdin, one JSON object a line back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from nova.compute import power_state

from .nova_boot import Booter
from .nova_hypervisor import WORLD
from .nova_services import Computes
from .nova_spec import boots
from .nova_web import Server

_SETTINGS = ("spawn_seconds", "migrate_seconds", "shared_storage")


class Commands:
    """Each public method is a command of that name; its keyword arguments are the object's other keys."""

    def __init__(
        self,
        hosts: tuple[str, ...],
        computes: Computes,
        api: Server,
        booter: Booter,
        keystone: Callable[[bool], None],
    ) -> None:
        self._hosts = hosts
        self._computes = computes
        self._api = api
        self._booter = booter
        self._keystone = keystone
        self.stopped = False

    def answer(self, line: str) -> str:
        """The reply to one line: `{"ok": true, …}`, or `{"ok": false, "error": …}`; never raises."""
        number = None
        try:
            order = json.loads(line)
            number = order.pop("id", None)
            name = order.pop("do")
            if name.startswith("_") or name == "answer" or not callable(getattr(self, name, None)):
                raise ValueError(f"do: unknown command {name!r}")
            reply = {"ok": True, **(getattr(self, name)(**order) or {})}
        except Exception as error:  # noqa: BLE001 - a bad order or a refusal of Nova's is an answer
            reply = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        return json.dumps({"id": number, **reply})

    def compute_stop(self, host: str, power: bool = True) -> dict[str, Any]:
        self._computes.kill(self._known(host), power)
        return self.compute_status()

    def compute_start(self, host: str) -> dict[str, Any]:
        self._computes.start(self._known(host))
        return self.compute_status()

    def compute_status(self) -> dict[str, Any]:
        return {"hosts": self._computes.status()}

    def guests(self) -> dict[str, Any]:
        """What runs where, by the hypervisors themselves; Nova is not asked."""
        return {
            "hosts": {name: found.listing() for name, found in WORLD.hypervisors.items()},
            "running": WORLD.running(),
            "doubled": WORLD.doubled,
        }

    def guest_power(self, uuid: str, on: bool) -> None:
        """A guest dies (or comes back) by itself; nova-compute, if it runs, is told by an event."""
        for host, hypervisor in WORLD.hypervisors.items():
            if uuid in hypervisor.guests and hypervisor.powered:
                hypervisor.guests[uuid].state = power_state.RUNNING if on else power_state.SHUTDOWN
                WORLD.notice(uuid)
                driver = self._computes.driver(host)
                if driver is not None:
                    driver.guest_event(uuid, on)
                return
        raise ValueError(f"uuid: {uuid} is on no host that has power")

    def api_cut(self, mode: str = "refuse") -> None:
        self._api.cut(mode)

    def api_restore(self) -> None:
        self._api.restore()

    def keystone_cut(self) -> None:
        """Keystone accepts connections and answers nobody."""
        self._keystone(False)

    def keystone_restore(self) -> None:
        self._keystone(True)

    def set(self, **values: float) -> dict[str, Any]:
        for name, value in values.items():
            if name not in _SETTINGS:
                raise ValueError(f"set: one of {', '.join(_SETTINGS)}, not {name!r}")
            setattr(WORLD, name, value)
        return {name: getattr(WORLD, name) for name in _SETTINGS}

    def fail_next_spawn(self, host: str, count: int = 1) -> None:
        WORLD.hypervisor(self._known(host)).fail_spawns = count

    def fail_next_migration(self, host: str, count: int = 1) -> None:
        """The next live migrations from that host fail at their last moment; the guests stay."""
        WORLD.hypervisor(self._known(host)).fail_migrations = count

    def boot(self, name: str, host: str | None = None, state: str = "active") -> dict[str, Any]:
        row = {"name": name, "state": state, **({"host": host} if host else {})}
        return {"uuid": self._booter.boot(boots([row], self._hosts))[name]}

    def stop(self) -> None:
        self.stopped = True

    def _known(self, host: str) -> str:
        if host not in self._hosts:
            raise ValueError(f"host: unknown {host!r}")
        return host
