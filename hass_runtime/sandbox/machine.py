"""One compute host of the sandbox: power, operating system, network, agent, nova-compute and BMC.

What is wanted of the machine is kept as plain facts (powered, hung, reachable, …); `_settle` turns them into
what really runs. So any events in any order end in the state that they describe together.
"""

from __future__ import annotations

import signal
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from hass_runtime.sandbox.bmc import BmcProcess, ChassisPipe
from hass_runtime.sandbox.layout import HostLayout, Layout, write_private
from hass_runtime.sandbox.nic import Nic
from hass_runtime.sandbox.procs import Child, ProcessError, Spawner, hass

AGENT_READY_SECONDS = 20.0
READY_INTERVAL = 0.05
WATCHDOG_EVERY = 1.0  # seconds between two times that an operating system re-arms its watchdog timer
# Off to on in a power cycle or reset: long enough for a watcher to see it, short for a demo.
CYCLE_SECONDS = 1.0
NOVA_COMPUTE = "nova-compute"
# Service -> the fact of `Wanted` that says whether it runs.
SERVICES = {NOVA_COMPUTE: "compute", "libvirtd": "libvirtd", "qemu": "qemu"}


class Cloud(Protocol):
    """What a machine needs of the OpenStack process."""

    def command(self, do: str, **arguments: Any) -> dict[str, Any]: ...


class MachineError(Exception):
    """An event that makes no sense for this host; one clear line."""


@dataclass
class Wanted:
    """What a machine is meant to be.

    ``mains``: it is fed, so that it can be switched on. ``unseen``: it and its BMC are cut off from the
    controller alone. ``libvirtd`` and ``qemu`` are what its agent finds of them.
    """

    mains: bool = True
    powered: bool = False
    hung: bool = False
    reachable: bool = True
    agent: bool = True
    compute: bool = True
    libvirtd: bool = True
    qemu: bool = True
    bmc: bool = True
    bmc_lies: bool = False
    unseen: bool = False


class Machine:
    """A host. Events may come from any thread; they are carried out one after the other."""

    def __init__(
        self,
        host: HostLayout,
        layout: Layout,
        spawner: Spawner,
        cloud: Cloud,
        bmc_kind: str,
        log: Callable[[str], None],
    ) -> None:
        self.host = host
        self.wanted = Wanted(bmc=host.has_bmc)
        self.bmc = BmcProcess(host, spawner, bmc_kind)
        self._chassis = ChassisPipe(host.chassis_pipe, self.chassis, lambda line: log(f"{host.name}: {line}"))
        self.nic = Nic(host.address, layout.presence_port, layout.polling_port, host.inner_port)
        self._spawner = spawner
        self._cloud = cloud
        self._lock = threading.RLock()
        self._agent: Child | None = None
        # OpenStack starts with nova-compute running on every host.
        self._compute_runs = True
        self._stopped = threading.Event()
        if host.keeps_watchdog:
            name = f"watchdog-{host.name}"
            threading.Thread(target=self._keep_watchdog, name=name, daemon=True).start()

    # Events

    def power(self, on: bool) -> None:
        """Power on boots everything; power off kills agent, network and guests before it returns.

        A machine that gets no mains stays off, whoever switches it on.
        """
        with self._lock:
            on = on and self.wanted.mains
            if on and not self.wanted.powered:
                # A fresh boot: what hung or was stopped by hand does not survive it.
                write_private(self.host.boot_file, f"{uuid.uuid4()}\n")
                self.wanted.hung = False
                for what in ("agent", *SERVICES.values()):
                    setattr(self.wanted, what, True)
            self.wanted.powered = on
            self._settle()

    def mains(self, on: bool) -> None:
        """The cord is pulled, or put back in: then it boots."""
        with self._lock:
            if on != self.wanted.mains:
                self.wanted.mains = on
                self.power(on)

    def cycle(self) -> None:
        """Off, a moment, on again."""
        with self._lock:
            self.power(False)
            time.sleep(CYCLE_SECONDS)
            self.power(True)

    def chassis(self, key: str, value: str) -> None:
        """What the BMC was told: power 0 or 1, reset, shutdown. (One that lies hands nothing on.)"""
        with self._lock:
            if key == "power":
                self.power(value == "1")
            elif key == "shutdown" and value == "1":
                self.power(False)
            elif key == "reset" and value == "1" and self.wanted.powered:
                self.cycle()

    def change(self, **facts: bool) -> None:
        """Set facts of `Wanted` and make them true."""
        with self._lock:
            for name, value in facts.items():
                if not hasattr(self.wanted, name):
                    raise MachineError(f"{name}: no such fact of a machine")
                setattr(self.wanted, name, value)
            self._settle()

    def service(self, name: str, run: bool) -> None:
        """Start or stop a service. Of libvirtd and qemu there is only what the agent's check finds."""
        if name not in SERVICES:
            known = ", ".join(SERVICES)
            raise MachineError(f"{self.host.name}: {name}: no such service here, expected one of {known}")
        self.change(**{SERVICES[name]: run})

    def status(self) -> dict[str, Any]:
        """Facts and what runs: plain JSON."""
        with self._lock:
            agent = self._agent is not None and self._agent.alive()
            return {
                "host": self.host.name,
                "address": self.host.address,
                "bmc_address": f"{self.host.address}:{self.host.bmc_port}",
                "bmc_kind": self.bmc.kind,
                "bmc_runs": self.bmc.alive,
                "network": self.nic.is_up,
                "agent_pid": self._agent.pid if agent and self._agent else None,
                "nova_compute": self._compute_runs,
                **asdict(self.wanted),
            }

    def stop(self) -> None:
        """End everything that is ours at once; the cloud ends by itself."""
        self._stopped.set()
        with self._lock:
            self.nic.down()
            if self._agent is not None:
                self._agent.kill()
            self.bmc.stop()
            self._chassis.close()

    # Carrying out

    def _settle(self) -> None:
        wanted = self.wanted
        running = wanted.powered and not wanted.hung
        # A BMC never says "off" of a machine in which something runs: "on" is written first, "off" last.
        said = "1\n" if wanted.powered and not wanted.bmc_lies else "0\n"
        self._mark(self.host.lies_file, wanted.bmc_lies)
        if wanted.powered:
            write_private(self.host.power_file, said)
        if not (running and wanted.reachable) or wanted.unseen:
            self.nic.down()
        self._settle_agent(wanted.powered and wanted.agent, wanted.hung)
        self._settle_compute(running and wanted.reachable and wanted.compute)
        # The services as their own host sees them: cut off from the network they still run.
        for service, fact in SERVICES.items():
            self._mark(self.host.marker(service), wanted.powered and getattr(wanted, fact))
        if running and wanted.reachable and not wanted.unseen:
            self.nic.up()
        write_private(self.host.power_file, said)
        if wanted.bmc and not wanted.unseen:
            self.bmc.start()
        else:
            self.bmc.stop()

    def _keep_watchdog(self) -> None:
        """Re-arm the BMC's watchdog timer as long as the operating system runs."""
        while not self._stopped.wait(WATCHDOG_EVERY):
            with self._lock:
                if self.wanted.powered and not self.wanted.hung and not self._stopped.is_set():
                    write_private(self.host.watchdog_file, f"{time.monotonic()}\n")

    def _settle_agent(self, run: bool, hung: bool) -> None:
        alive = self._agent is not None and self._agent.alive()
        if not run and self._agent is not None:
            self._agent.kill()
            self._agent = None
        elif run and not alive and not hung:
            self._start_agent()
        elif alive and self._agent is not None:
            self._agent.signal(signal.SIGSTOP if hung else signal.SIGCONT)

    def _start_agent(self) -> None:
        argv = hass("agent", "--config", str(self.host.agent_config))
        self._agent = self._spawner.spawn(f"agent-{self.host.name}", argv)
        deadline = time.monotonic() + AGENT_READY_SECONDS
        while not udp_bound(self.host.address, self.host.inner_port):
            if not self._agent.alive():
                raise ProcessError(f"agent of {self.host.name} ended at once: {self._agent.tail()}")
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"agent of {self.host.name} does not listen after {AGENT_READY_SECONDS:.0f} s: "
                    f"see {self._agent.log}"
                )
            time.sleep(READY_INTERVAL)

    def _settle_compute(self, run: bool) -> None:
        if run and not self._compute_runs:
            self._cloud.command("compute_start", host=self.host.name)
            self._compute_runs = True
        elif not run and (self._compute_runs or not self.wanted.powered):
            # Without power its guests are gone too; also when nova-compute had been stopped before.
            self._cloud.command("compute_stop", host=self.host.name, power=not self.wanted.powered)
            self._compute_runs = False

    @staticmethod
    def _mark(path: Path, present: bool) -> None:
        if present:
            path.touch()
        else:
            path.unlink(missing_ok=True)


def udp_bound(address: str, port: int, table: Path = Path("/proc/net/udp")) -> bool:
    """Whether a process has bound that UDP port on exactly that address, by the kernel's own table."""
    (number,) = struct.unpack("=I", socket.inet_aton(address))
    wanted = f"{number:08X}:{port:04X}"
    return any(line.split()[1] == wanted for line in table.read_text(encoding="ascii").splitlines()[1:])
