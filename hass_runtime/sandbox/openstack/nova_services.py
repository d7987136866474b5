"""Nova's services: conductor, scheduler and a nova-compute for every host, on one in-memory bus."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from nova import context, service
from nova.compute import rpcapi as compute_rpcapi
from nova.objects import host_mapping

from .nova_hypervisor import WORLD, SandboxDriver


def give_identity(state_path: Path) -> None:
    """A nova-compute that was here before refuses to start without this file.

    There is one for all of them, for they share a state path; the fake driver names its nodes itself.
    """
    state_path.mkdir(parents=True, exist_ok=True)
    (state_path / "compute_id").write_text(str(uuid.uuid4()), encoding="utf-8")


def start_controllers() -> None:
    """nova-conductor and nova-scheduler."""
    for name in ("nova-conductor", "nova-scheduler"):
        service.Service.create(host="controller", binary=name).start()


def map_hosts() -> None:
    """Put new compute hosts into their cell, as `nova-manage cell_v2 discover_hosts` does."""
    host_mapping.discover_hosts(context.get_admin_context())


class Computes:
    """The compute hosts, by name: their nova-compute may be dead, their hypervisor stays."""

    def __init__(self) -> None:
        self._running: dict[str, Any] = {}

    def start(self, host: str) -> None:
        """Start nova-compute there; the host has power from now on.

        What was evacuated meanwhile is cleaned away by Nova itself. Raises whatever Nova refuses to start
        with.
        """
        if host in self._running:
            return
        WORLD.hypervisor(host).powered = True
        compute = service.Service.create(
            host=host, binary="nova-compute", topic_alt=compute_rpcapi.RPC_TOPIC_ALT
        )
        compute.start()
        self._running[host] = compute

    def kill(self, host: str, power: bool) -> None:
        """End nova-compute as `kill -9` does: nothing is marked, finished or answered.

        With `power` the host's guests stop as well, as when its cable is pulled.
        """
        hypervisor = WORLD.hypervisor(host)
        compute = self._running.pop(host, None)
        if compute is not None:
            hypervisor.life += 1  # from here on its driver ends every green thread that calls it
        if power:
            hypervisor.power_cut()
        if compute is None:
            return
        compute.tg.stop()  # the heartbeat
        for server in (compute.rpcserver, compute.rpcserver_alt):
            server.stop()

    def settle(self) -> None:
        """Let every nova-compute report its load, as it would within a minute anyway.

        Without it Nova's scheduler goes on counting what was just booted as being built, and sends
        evacuated instances to whichever host was restarted last.
        """
        for compute in self._running.values():
            compute.manager.update_available_resource(context.get_admin_context())

    def driver(self, host: str) -> SandboxDriver | None:
        """The virt driver of a nova-compute that runs, or None."""
        compute = self._running.get(host)
        return None if compute is None else compute.manager.driver

    def status(self) -> dict[str, dict[str, bool]]:
        """Host -> whether nova-compute runs and whether the host has power."""
        return {
            host: {"running": host in self._running, "powered": hypervisor.powered}
            for host, hypervisor in WORLD.hypervisors.items()
        }
