"""The remediation playbooks by hand, against a real Nova and a real BMC: what their tests share."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ipmi_sim import SimulatedBmc

from hass_runtime.remedy import cloud as clouds
from hass_runtime.sandbox.openstack.process import OpenStackProcess
from hass_runtime.settings import load_controller

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("HASS_CACHE_DIR", "~/.cache/hass")).expanduser()
HOSTS = ("compute1", "compute2", "compute10")  # names that begin alike
LOST = "compute2"
DEADLINE = 120.0

INSTANCES = [
    {"name": "web1", "host": LOST, "state": "active"},
    {"name": "web2", "host": LOST, "state": "active"},
    {"name": "idle", "host": LOST, "state": "stopped"},
    {"name": "near", "host": "compute1", "state": "active"},
]


class World:
    """A cloud, and a BMC whose power switch is that of the host's nova-compute."""

    def __init__(self, process: OpenStackProcess, bmc: SimulatedBmc, config: Path) -> None:
        self.process = process
        self.bmc = bmc
        self.config = config
        self.nova = clouds.connect(load_controller(config))
        self._stop = threading.Event()
        self._wiring = threading.Thread(target=self._wire, daemon=True)
        self._wiring.start()

    def _wire(self) -> None:
        powered = "on"
        while not self._stop.wait(0.02):
            now = self.bmc.power
            if now != powered:
                self.process.command("compute_stop" if now == "off" else "compute_start", host=LOST)
                powered = now

    def close(self) -> None:
        self._stop.set()
        self._wiring.join()

    def servers(self) -> dict[str, clouds.Server]:
        return {server.name: server for host in HOSTS for server in self.nova.servers_on(host)}

    def running(self) -> dict[str, list[str]]:
        names = {server.id: name for name, server in self.servers().items()}
        return {names[uuid]: hosts for uuid, hosts in self.process.command("guests")["running"].items()}

    def service(self) -> clouds.ComputeService:
        service = self.nova.compute_service(LOST)
        assert service is not None
        return service

    def set(self, **values: dict[str, Any]) -> None:
        text = self.config.read_text()
        for section, keys in values.items():
            lines = "".join(f"{key} = {value}\n" for key, value in keys.items())
            text = text.replace(f"[{section}]\n", f"[{section}]\n{lines}")
        self.config.write_text(text)
        self.nova = clouds.connect(load_controller(self.config))

    def play(self, playbook: str, *arguments: str, confirm: str = LOST) -> Played:
        argv = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            f"playbooks/remediation/{playbook}.yml",
            "-e", f"host={LOST}", "-e", f"config={self.config}", "-e", f"confirm={confirm}",
            *arguments,
        ]  # fmt: skip
        env = {**os.environ, "ANSIBLE_SHOW_CUSTOM_STATS": "1", "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=DEADLINE)
        return Played(done.returncode, done.stdout + done.stderr)


class Played:
    """What a run by hand said."""

    def __init__(self, rc: int, text: str) -> None:
        self.rc = rc
        self.text = text

    @property
    def changed(self) -> int:
        recap = next(line for line in self.text.splitlines() if line.startswith("localhost "))
        return int(recap.split("changed=")[1].split()[0])


def until(what: Callable[[], Any], deadline: float = DEADLINE) -> None:
    end = time.monotonic() + deadline
    while not what():
        assert time.monotonic() < end, f"not within {deadline} s"
        time.sleep(0.1)


@contextlib.contextmanager
def a_world(tmp_path: Path, **options: Any) -> Iterator[World]:
    """``options`` are those of the embedded OpenStack."""
    process = OpenStackProcess(tmp_path / "openstack", CACHE, HOSTS, INSTANCES, spawn_seconds=0.3, **options)
    bmc = SimulatedBmc(tmp_path, LOST)
    config = tmp_path / "hass.conf"
    with process:
        endpoints = process.start()
        bmc.start()
        config.touch(mode=0o600)
        config.write_text(f"""\
[openstack]
openstack_auth_url = {endpoints.auth_url}
openstack_admin_account = {endpoints.username}
openstack_admin_password = {endpoints.password}
openstack_project_name = {endpoints.project_name}
openstack_region_name = {endpoints.region}
[cluster]
hosts = {", ".join(HOSTS)}
[ipmi]
{LOST} = 127.0.0.1:{bmc.port}
[ipmi_user]
{LOST} = {bmc.bmc.username},{bmc.bmc.password}
[address]
compute1 = 127.0.0.21
{LOST} = 127.0.0.22
compute10 = 127.0.0.23
[detector]
ping_command = ["grep", "-q", "1", "{tmp_path}/{{host}}/power"]
[paths]
state_dir = {tmp_path}/state
[safety]
fence_timeout = 20
[recovery]
poll_interval = 0.2
restore_timeout = 60
""")
        made = World(process, bmc, config)
        try:
            yield made
        finally:
            made.close()
            bmc.stop()
