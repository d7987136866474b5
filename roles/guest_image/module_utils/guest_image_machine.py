# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""A machine in QEMU that lives as long as a `with` block. Standard library only, and no root."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


class MachineError(Exception):
    """What went wrong, in a line, and the end of what the machine said."""

    def __init__(self, message: str, serial: str = "") -> None:
        super().__init__(message)
        self.serial = serial


def end_in_order() -> None:
    """A module that is told to end takes its machine with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Machine:
    """Starts a disk, with an i6300esb whose events can be waited for, and cloud-init's data on a second disk.

    `seed` is what is on that disk: names and contents. `disk` is written to only when `keep` is true.
    """

    def __init__(
        self,
        disk: str,
        disk_format: str,
        seed: dict[str, bytes],
        *,
        keep: bool,
        accel: str,
        memory: int,
        directory: str | None = None,
    ) -> None:
        self.disk, self.disk_format, self.keep = disk, disk_format, keep
        self.accel, self.memory = accel, memory
        self.seed = seed
        self.place = Path(tempfile.mkdtemp(prefix="guest_image.", dir=directory))
        self.serial_file = self.place / "serial.log"
        self.ssh_port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._qmp: socket.socket | None = None
        self._buffer = b""
        self.events: list[dict] = []

    def __enter__(self) -> Machine:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._qmp:
            self._qmp.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.place, ignore_errors=True)

    def _start(self) -> None:
        seed = self.place / "seed"
        seed.mkdir()
        for name, content in self.seed.items():
            (seed / name).write_bytes(content)
        cpu = "host" if self.accel == "kvm" else "qemu64,+rdrand"
        accel = "kvm" if self.accel == "kvm" else "tcg,thread=multi"
        drive = (
            f"file={self.disk},format={self.disk_format},if=none,id=root,discard=unmap,detect-zeroes=unmap"
        )
        command = [
            "qemu-system-x86_64",
            *("-nodefaults", "-no-user-config", "-display", "none", "-vga", "std", "-no-reboot"),
            *("-accel", accel, "-cpu", cpu, "-smp", "2", "-m", str(self.memory)),
            *("-drive", drive + (",cache=unsafe" if self.keep else ",snapshot=on")),
            *("-device", "virtio-blk-pci,drive=root,bootindex=1"),
            # A directory as a disk with a FAT file system: no tool that makes an ISO is needed.
            *("-blockdev", f"driver=vvfat,node-name=seed,read-only=on,label=CIDATA,dir={seed}"),
            *("-device", "virtio-blk-pci,drive=seed"),
            *("-nic", f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22"),
            *("-device", "i6300esb", "-action", "watchdog=none"),
            *("-device", "virtio-rng-pci"),
            *("-serial", f"file:{self.serial_file}"),
            *("-qmp", f"unix:{self.place}/qmp,server=on,wait=off"),
        ]
        environment = {**os.environ, "TMPDIR": str(self.place)}
        with (self.place / "errors").open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=environment
            )
        deadline = time.monotonic() + 30
        while not (self.place / "qmp").exists():
            self._alive()
            if time.monotonic() > deadline:
                raise MachineError("QEMU does not open its monitor")
            time.sleep(0.05)
        self._qmp = socket.socket(socket.AF_UNIX)
        self._qmp.connect(str(self.place / "qmp"))
        self._read(10)  # the greeting
        self.ask("qmp_capabilities")

    def _alive(self) -> None:
        if self.process is None or self.process.poll() is not None:
            said = (self.place / "errors").read_text(errors="replace").strip()
            raise MachineError(f"QEMU has ended: {said or 'it said nothing'}", self.serial())

    def serial(self, lines: int = 30) -> str:
        if not self.serial_file.exists():
            return ""
        return "\n".join(self.serial_file.read_text(errors="replace").splitlines()[-lines:])

    def _read(self, timeout: float) -> dict | None:
        """The next message of the monitor, or None when there was none in time."""
        assert self._qmp is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            self._qmp.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._qmp.recv(65536)
            except TimeoutError:
                return None
            if not data:
                self._alive()
                raise MachineError("QEMU has closed its monitor", self.serial())
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        message = json.loads(line)
        if "event" in message:
            self.events.append(message)
        return message

    def ask(self, command: str) -> object:
        assert self._qmp is not None
        self._qmp.sendall(json.dumps({"execute": command}).encode() + b"\n")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            message = self._read(deadline - time.monotonic())
            if message and "return" in message:
                return message["return"]
            if message and "error" in message:
                raise MachineError(f"QEMU refuses {command}: {message['error'].get('desc')}")
        raise MachineError(f"QEMU does not answer {command}", self.serial())

    def watchdog_within(self, seconds: float) -> float | None:
        """Seconds until the watchdog fires, from now on; None when it does not in this time."""
        start = time.monotonic()
        while True:
            left = start + seconds - time.monotonic()
            if left <= 0:
                return None
            message = self._read(left)
            if message and message.get("event") == "WATCHDOG":
                return time.monotonic() - start

    def run_to_end(self, seconds: float) -> None:
        """Wait until the machine has powered itself off."""
        assert self.process is not None
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise MachineError(f"the machine still runs after {seconds:.0f} s", self.serial()) from error


class Shell:
    """ssh into a machine with a key of its own."""

    def __init__(self, machine: Machine, user: str) -> None:
        self.machine, self.user = machine, user
        self.key = machine.place / "key"

    @staticmethod
    def make_key(directory: str) -> tuple[bytes, bytes]:
        path = os.path.join(directory, "key")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "trial", "-f", path], check=True)
        return Path(path).read_bytes(), Path(path + ".pub").read_bytes()

    def _argv(self, command: str) -> list[str]:
        return [
            *("ssh", "-F", "none", "-i", str(self.key), "-p", str(self.machine.ssh_port)),
            # The machine was made a minute ago on this host's loopback, and ends with the trial.
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
            *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=20"),
            *(f"{self.user}@127.0.0.1", command),
        ]

    def run(self, command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        argv = self._argv(command)
        try:
            return subprocess.run(
                argv, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(argv, 255, "", "no answer in time")

    def wait(self, seconds: float) -> float:
        """Until somebody answers; how long that took."""
        start = time.monotonic()
        while True:
            self.machine._alive()
            last = self.run("true", timeout=40)
            took = time.monotonic() - start
            if last.returncode == 0:
                return took
            if took > seconds:
                raise MachineError(
                    f"no login within {seconds:.0f} s: {last.stderr.strip()}", self.machine.serial()
                )
            time.sleep(1)
