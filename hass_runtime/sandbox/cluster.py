"""The embedded cluster: OpenStack in one process, BMCs and agents on loopback, the real controller.

`Sandbox` starts it, plays events on it (the names of the scenario files) and ends it. Nothing of it is left
afterwards, however the process that holds it ends: see procs and keeper.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hass_runtime.sandbox import bmc, cloud, control, pointer
from hass_runtime.sandbox.layout import (
    Layout,
    LayoutError,
    make_layout,
    write_agents,
    write_controller,
    write_private,
)
from hass_runtime.sandbox.machine import NOVA_COMPUTE, Machine, MachineError
from hass_runtime.sandbox.nic import Nic
from hass_runtime.sandbox.pointer import SandboxError
from hass_runtime.sandbox.procs import Child, ProcessError, Spawner, hass

CONTROLLER_READY_SECONDS = 60.0
READY_INTERVAL = 0.1
LOCK_SECONDS = 10.0  # how long it is tried to lock the database while others use it
MAX_STARTS = 4  # machines started side by side; more only slow each other down

Log = Callable[[str], None]
# What goes wrong in the parts of a sandbox: each a clear line already.
ERRORS = (LayoutError, MachineError, ProcessError, *cloud.ERRORS, OSError)


class Sandbox:
    """One embedded cluster. Use as a context manager, or call `start` and `stop`."""

    # Event -> facts of a machine that it sets. power, chassis and services have code of their own.
    FACTS: Mapping[str, Mapping[str, bool]] = {
        "os_hang": {"hung": True},
        "os_restore": {"hung": False},
        "network_cut": {"reachable": False},
        "network_restore": {"reachable": True},
        "bmc_cut": {"bmc": False},
        "bmc_restore": {"bmc": True},
        "bmc_lies": {"bmc_lies": True},
        "bmc_honest": {"bmc_lies": False},
        "agent_stop": {"agent": False},
        "agent_start": {"agent": True},
    }
    HOST_EVENTS = ("power_cut", "power_restore", *FACTS, "service_stop", "service_start")
    GLOBAL_EVENTS = (
        *("nova_api_cut", "nova_api_restore", "controller_kill", "controller_start"),
        *("database_cut", "database_restore", "controller_network_cut", "controller_network_restore"),
    )

    def __init__(
        self,
        hosts: int | list[str] = 3,
        instances: int | Sequence[Mapping[str, Any]] = 6,
        directory: Path | None = None,
        controller: bool = True,
        spawn_seconds: float | None = None,
        bmc_kind: str | None = None,
        overrides: Mapping[str, Mapping[str, object]] | None = None,
        openstack: Callable[[Sandbox], cloud.OpenStack] | None = None,
        log: Log = lambda line: None,
        without_bmc: Collection[str] = (),
        gateway: bool = False,
        with_watchdog: Collection[str] = (),
        quick: bool = True,
        controller_argv: Callable[[Path], list[str]] = lambda config: hass(
            "controller", "--config", str(config)
        ),
    ) -> None:
        """``instances``: so many (vm1, vm2, …), spread over the hosts in turn, or mappings with name, host,
        state (active or stopped) and metadata.

        ``overrides``: section -> key -> value in hass.conf.
        ``spawn_seconds``: how long a guest takes to start. ``bmc_kind``: ipmi_sim or pyghmi, default what is
        there. ``openstack``: what makes the OpenStack process, default the real one. ``without_bmc``: hosts
        that have none. ``gateway``: the controller has one, by which it notices that it is cut off itself.
        ``with_watchdog``: hosts that keep the watchdog timer of their BMC armed; only that of pyghmi counts.
        ``quick``: times that suit a demo. ``controller_argv``: from the configuration to the command that
        starts the controller.
        """
        if isinstance(instances, int) and instances < 0:
            raise SandboxError(f"instances: {instances}, expected 0 or more")
        self.wanted_instances = instances
        self.instance_count = instances if isinstance(instances, int) else len(instances)
        self._quick = quick
        self._controller_argv = controller_argv
        self._with_controller = controller
        self.spawn_seconds = spawn_seconds
        self._bmc_kind = bmc_kind or bmc.default_kind()
        self._overrides = overrides
        self._openstack_factory = openstack or _real_openstack
        self.log = log
        self.layout: Layout = make_layout(
            hosts, directory, without_bmc=without_bmc, gateway=gateway, with_watchdog=with_watchdog
        )
        self._gateway: Nic | None = None
        self.endpoints: Any = None
        self.machines: dict[str, Machine] = {}
        self.instances: dict[str, str] = {}
        self.stopped = threading.Event()
        self.down_requested = threading.Event()
        self._lock = threading.Lock()
        self._spawner: Spawner | None = None
        self._openstack: cloud.OpenStack | None = None
        self._control: control.ControlServer | None = None
        self._controller: Child | None = None
        self._database_lock: sqlite3.Connection | None = None

    # Life

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def environ(self) -> dict[str, str]:
        """The marker that every process of this sandbox carries in its environment."""
        return self.spawner.environ

    @property
    def spawner(self) -> Spawner:
        if self._spawner is None:
            raise SandboxError("the sandbox is not started")
        return self._spawner

    def start(self) -> None:
        """Start everything; on any failure nothing stays and the reason is raised as SandboxError."""
        try:
            self._start()
        except BaseException as error:
            self.stop(hard=True)
            if isinstance(error, ERRORS):
                raise SandboxError(str(error)) from error
            raise

    def _start(self) -> None:
        layout = self.layout
        self._spawner = Spawner(layout.id, layout.logs, layout.root if layout.temporary else None)
        self._control = control.ControlServer(layout.root, self.handle, (SandboxError, *ERRORS))
        write_agents(layout)
        with cloud.marked_environment(self.environ):
            openstack = self._openstack_factory(self)
        self._openstack = openstack
        self.machines = {
            host.name: Machine(host, layout, self._spawner, openstack, self._bmc_kind, self.log)
            for host in layout.hosts
        }
        for host in layout.hosts:
            write_private(host.power_file, "0\n")
        pool = ThreadPoolExecutor(MAX_STARTS, thread_name_prefix="sandbox-start")
        try:
            started = pool.submit(self._start_openstack, openstack)
            # Machines need nothing of OpenStack to start: their nova-computes start with it.
            powered = [pool.submit(machine.power, True) for machine in self.machines.values()]
            self.endpoints = started.result()
            self.log(
                f"OpenStack answers at {self.endpoints.auth_url}, {len(self.instances)} instances are active"
            )
            for future in powered:
                future.result()
        finally:
            # After a failure or Ctrl-C nobody waits for the rest: `stop` ends what they wait for.
            pool.shutdown(wait=False, cancel_futures=True)
        self.log(f"{len(self.machines)} hosts are up, BMCs by {self._bmc_kind}")
        if layout.gateway:
            port = layout.polling_port
            self._gateway = Nic(layout.gateway, layout.presence_port, port, port)
            self._gateway.up()
        write_controller(layout, self.endpoints, self._overrides, self._quick)
        pointer.write(layout.root, self.log)
        if self._with_controller:
            self.controller_start()

    def _start_openstack(self, openstack: cloud.OpenStack) -> Any:
        with cloud.marked_environment(self.environ):
            endpoints = openstack.start()
        self.instances = dict(openstack.instances)
        return endpoints

    def stop(self, hard: bool = False) -> None:
        """End everything, wait until it is gone. Safe to call again and from any thread.

        ``hard``: kill first, for threads may still wait for processes that are only just starting.
        """
        with self._lock:
            if self.stopped.is_set():
                return
            pointer.remove(self.layout.root)
            if hard and self._spawner is not None:
                self._spawner.close()
            if self._controller is not None:
                self._controller.terminate()
            for machine in self.machines.values():
                machine.stop()
            if self._gateway is not None:
                self._gateway.down()
            self.database_restore()
            if self._openstack is not None:
                # Whatever goes wrong here, the keeper ends what is left.
                with contextlib.suppress(Exception):
                    self._openstack.stop()
            if self._control is not None:
                self._control.close()
            if self._spawner is not None:
                if not self._spawner.close():
                    self.log("some processes of the sandbox could not be ended")
            elif self.layout.temporary:
                shutil.rmtree(self.layout.root, ignore_errors=True)
            self.stopped.set()

    # Events

    def machine(self, host: str) -> Machine:
        """The machine of that whole name."""
        try:
            return self.machines[host]
        except KeyError:
            known = ", ".join(self.machines)
            raise SandboxError(f"{host}: no such host in this sandbox, expected one of {known}") from None

    def event(self, name: str, host: str | None = None, service: str = NOVA_COMPUTE) -> None:
        """Play one event by its name in the scenario files; returns when it has happened."""
        if name in self.GLOBAL_EVENTS:
            getattr(self, name)()
            return
        if name not in self.HOST_EVENTS:
            known = ", ".join((*self.HOST_EVENTS, *self.GLOBAL_EVENTS))
            raise SandboxError(f"{name}: no such event, expected one of {known}")
        if host is None:
            raise SandboxError(f"{name}: which host?")
        machine = self.machine(host)
        if name in self.FACTS:
            machine.change(**self.FACTS[name])
        elif name in ("service_stop", "service_start"):
            machine.service(service, name == "service_start")
        else:
            machine.power(name == "power_restore")

    def power_cut(self, host: str) -> None:
        """The machine is off at once, with all that runs in it; its BMC lives and can switch it on."""
        self.event("power_cut", host)

    def power_restore(self, host: str) -> None:
        self.event("power_restore", host)

    def os_hang(self, host: str) -> None:
        """The operating system stands still: nothing of the host answers, its guests are not gone."""
        self.event("os_hang", host)

    def os_restore(self, host: str) -> None:
        self.event("os_restore", host)

    def network_cut(self, host: str) -> None:
        """Nobody reaches the host and it reaches nobody; its guests run on."""
        self.event("network_cut", host)

    def network_restore(self, host: str) -> None:
        self.event("network_restore", host)

    def bmc_cut(self, host: str) -> None:
        self.event("bmc_cut", host)

    def bmc_restore(self, host: str) -> None:
        self.event("bmc_restore", host)

    def bmc_lies(self, host: str) -> None:
        """The BMC says off whatever the machine does, and obeys nothing."""
        self.event("bmc_lies", host)

    def bmc_honest(self, host: str) -> None:
        self.event("bmc_honest", host)

    def agent_stop(self, host: str) -> None:
        self.event("agent_stop", host)

    def agent_start(self, host: str) -> None:
        self.event("agent_start", host)

    def service_stop(self, host: str, service: str = NOVA_COMPUTE) -> None:
        self.event("service_stop", host, service)

    def service_start(self, host: str, service: str = NOVA_COMPUTE) -> None:
        self.event("service_start", host, service)

    def nova_api_cut(self) -> None:
        self.command("api_cut")

    def nova_api_restore(self) -> None:
        self.command("api_restore")

    @property
    def controller_runs(self) -> bool:
        return self._controller is not None and self._controller.alive()

    def controller_network_cut(self) -> None:
        """The controller reaches no host, no BMC and not its own gateway; all of them run on."""
        if self._gateway is not None:
            self._gateway.down()
        for machine in self.machines.values():
            machine.change(unseen=True)

    def controller_network_restore(self) -> None:
        for machine in self.machines.values():
            machine.change(unseen=False)
        if self._gateway is not None:
            self._gateway.up()

    def database_cut(self) -> None:
        """Somebody else holds the controller's database locked: nothing can be written, its lease neither.

        What is in it can still be read, as always with a write-ahead log.
        """
        if self._database_lock is not None:
            return
        lock = sqlite3.connect(
            self.layout.database, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            lock.close()
            raise SandboxError(f"the database cannot be locked: {error}") from error
        self._database_lock = lock

    def database_restore(self) -> None:
        lock, self._database_lock = self._database_lock, None
        if lock is not None:
            lock.rollback()
            lock.close()

    def controller_kill(self) -> None:
        """SIGKILL to the controller alone: what it had started has to notice by itself."""
        if self._controller is None or not self._controller.alive():
            raise SandboxError("the controller does not run")
        self._controller.signal(signal.SIGKILL, group=False)
        self._controller.process.wait()

    def controller_start(self) -> None:
        """Start the controller; returns when its REST API answers."""
        if self._controller is not None and self._controller.alive():
            raise SandboxError("the controller runs already")
        self._controller = self.spawner.spawn("controller", self._controller_argv(self.layout.config))
        deadline = time.monotonic() + CONTROLLER_READY_SECONDS
        while not _answers(f"{self.layout.rest_url}/healthz"):
            if not self._controller.alive():
                raise ProcessError(f"the controller ended at once: {self._controller.tail()}")
            if time.monotonic() > deadline:
                raise ProcessError(f"the controller does not answer: see {self._controller.log}")
            time.sleep(READY_INTERVAL)
        self.log(f"the controller answers at {self.layout.rest_url}")

    # Looking

    def command(self, do: str, **arguments: Any) -> dict[str, Any]:
        """A command of the OpenStack process, see there."""
        if self._openstack is None:
            raise SandboxError("the sandbox is not started")
        return self._openstack.command(do, **arguments)

    def guests(self) -> dict[str, Any]:
        """The world's truth, whatever Nova believes.

        ``hosts``: host -> what is defined there; ``running``: uuid -> hosts on which it runs; ``names``: uuid
        -> name of the instances that the sandbox was started with. See `running_on`.
        """
        return {**self.command("guests"), "names": {uuid: name for name, uuid in self.instances.items()}}

    def status(self) -> dict[str, Any]:
        """Everything about the sandbox that is no secret: plain JSON."""
        controller = self._controller is not None and self._controller.alive()
        return {
            "id": self.layout.id,
            "dir": str(self.layout.root),
            "pid": os.getpid(),
            "api": self.layout.rest_url,
            "controller_pid": self._controller.pid if controller and self._controller else None,
            "auth_url": getattr(self.endpoints, "auth_url", None),
            "hosts": [machine.status() for machine in self.machines.values()],
        }

    def exports(self) -> dict[str, str]:
        """Environment for a shell beside the sandbox: the `hass` command and the openstack client."""
        ends = self.endpoints
        return {
            "HASS_SANDBOX": str(self.layout.root),
            "HASS_API": self.layout.rest_url,
            "HASS_CONFIG": str(self.layout.config),
            "OS_AUTH_URL": ends.auth_url,
            "OS_USERNAME": ends.username,
            "OS_PASSWORD": ends.password,
            "OS_PROJECT_NAME": ends.project_name,
            "OS_USER_DOMAIN_NAME": ends.user_domain,
            "OS_PROJECT_DOMAIN_NAME": ends.project_domain,
            "OS_REGION_NAME": ends.region,
            "OS_IDENTITY_API_VERSION": "3",
        }

    def handle(self, do: str, arguments: dict[str, Any]) -> Any:
        """One request of the control socket."""
        if do in ("status", "guests", "exports"):
            return getattr(self, do)()
        if do == "openstack":
            command = str(arguments.pop("command", ""))
            return self.command(command, **arguments)
        if do == "down":
            # Whoever holds the sandbox ends it; the caller waits for that.
            self.down_requested.set()
            return {"pid": os.getpid()}
        self.event(do, arguments.get("host"), arguments.get("service") or NOVA_COMPUTE)
        return None


def running_on(guests: Mapping[str, Any]) -> dict[str, list[str]]:
    """From `Sandbox.guests`: instance -> the hosts on which it runs. One is right; none or two is not.

    An instance that was made later goes by its uuid, for the world knows no other name.
    """
    running: Mapping[str, list[str]] = guests["running"]
    names: Mapping[str, str] = guests.get("names") or {}
    known = {name: sorted(running.get(uuid, [])) for uuid, name in names.items()}
    return {**known, **{uuid: sorted(hosts) for uuid, hosts in running.items() if uuid not in names}}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status < 500)
    except urllib.error.HTTPError as error:
        # It speaks; that it calls itself unwell is for the caller of healthz to judge.
        return error.code == 503
    except OSError:
        return False


def _real_openstack(sandbox: Sandbox) -> cloud.OpenStack:
    return cloud.make(
        sandbox.layout.root / "openstack",
        [host.name for host in sandbox.layout.hosts],
        sandbox.wanted_instances,
        sandbox.spawn_seconds,
        sandbox.log,
    )
