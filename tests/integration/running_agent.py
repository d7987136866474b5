"""The agent as a real process, as several tests want it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ipmi_sim import free_udp_port

from hass_runtime.detect import agent_poll
from hass_runtime.detect.services import ServiceDetector
from hass_runtime.domain import Host, Reading

KEY = "a-key-of-the-tests-0123456789"
SIZE = 1024
COMMAND = [sys.executable, "-c", "from hass_runtime.cli.agent import agent; agent()", "--config"]
HOST = Host("compute1", "127.0.0.1")


class RunningAgent:
    """``hass agent`` as a process of its own, with its configuration file and systemd's end of the socket."""

    def __init__(self, directory: Path, checks: dict[str, str], **options: str) -> None:
        self.port = free_udp_port()
        self.log = directory / "agent.log"
        self.config = directory / "hass_compute.conf"
        off = dict.fromkeys(("libvirtd", "nova-compute", "qemu", "storage"), "off")
        self.config.write_text(
            f"[agent]\nhost = {options.get('host', 'compute1')}\ncheck_timeout = 1\n"
            f"[polling]\nlisten_port = {self.port}\nlisten_address = {options.get('listen', '127.0.0.1')}\n"
            f"polling_key = {KEY}\n"
            f"[libvirt]\nlibvirt_uri = {options.get('uri', 'qemu:///system')}\n"
            f"[log]\nlevel = INFO\nlocation = {self.log}\n"
            "[checks]\n" + "".join(f"{name} = {spec}\n" for name, spec in {**off, **checks}.items())
        )
        self.config.chmod(0o600)
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(directory / "notify"))
        self._notified.settimeout(30)
        self.messages: list[str] = []
        self.process = subprocess.Popen(
            [*COMMAND, str(self.config)],
            env={
                **os.environ,
                "NOTIFY_SOCKET": str(directory / "notify"),
                "WATCHDOG_USEC": "400000",
            },
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.until(lambda message: "READY=1" in message)

    def until(self, wanted: Callable[[str], bool]) -> str:
        """The next message to systemd that is wanted."""
        while True:
            message = self._notified.recv(4096).decode()
            self.messages.append(message)
            if wanted(message):
                return message

    def poll(self, host: Host = HOST, key: bytes = KEY.encode(), timeout: float = 5.0) -> Reading:
        return ServiceDetector(self.port, key, timeout, SIZE).read(host)

    def poll_until(self, wanted: Callable[[Reading], bool]) -> Reading:
        deadline = time.monotonic() + 40
        while not wanted(reading := self.poll()):
            assert time.monotonic() < deadline, reading
            time.sleep(0.2)
        return reading

    def ask(self, timeout: float = 5.0) -> agent_poll.Answer:
        """The answer as it came."""
        return agent_poll.poll(HOST, self.port, (KEY.encode(),), timeout, SIZE)

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(30)
        self._notified.close()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code
