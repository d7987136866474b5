"""A machine: its disk (an overlay upper directory), its namespace, its cgroup, and its power button."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from . import network
from .host import MachinesError, cache, environment, resolvers, run

# A machine may do what a server may, except to what it shares with the host: clock, modules, I/O ports.
DROPPED = ("sys_time", "sys_module", "sys_rawio")

# With --keep-unit a reboot ends systemd-nspawn with 133, and somebody has to start it again.
SUPERVISOR = """
while :; do
  sh -c 'for group in $MACHINE_CGROUPS; do echo $$ >"$group/cgroup.procs"; done; exec "$@"' machine "$@"
  [ $? -eq 133 ] || exit
done
"""


@dataclass
class Machine:
    """What is kept of a machine in machine.json, beside its disk."""

    name: str
    layer: str
    release: str
    addresses: list[str]
    lower: list[str]
    plugs: list[str] = field(default_factory=list)
    binds: list[str] = field(default_factory=list)
    state: str = ""
    cpu_shares: int = 0

    # -- places ------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Everything of this machine."""
        return running() / self.name

    @property
    def upper(self) -> Path:
        """What differs from the layers."""
        return self.folder / "upper"

    @property
    def root(self) -> Path:
        """The mounted file system; empty while the machine is off."""
        return self.folder / "root"

    @property
    def networks(self) -> set:
        """The networks that it has a place on."""
        return {network.network_of(address) for address in (*self.addresses, *self.plugs)}

    def save(self) -> None:
        """Write machine.json."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / ".machine.json"
        draft.write_text(json.dumps(asdict(self), indent=2) + "\n")
        draft.replace(self.folder / "machine.json")

    # -- power -------------------------------------------------------------------------------------------

    def supervisor(self) -> int:
        """The process id of what keeps its systemd-nspawn running, 0 when it is off."""
        try:
            pid, started = (self.folder / "pid").read_text().split()
        except (FileNotFoundError, ValueError):
            return 0
        return int(pid) if _started(int(pid)) == started else 0

    def leader(self) -> int:
        """The process id of its init, 0 when there is none (yet)."""
        pid = self.supervisor()
        if not pid:
            return 0
        for _generation in ("systemd-nspawn", "init"):
            pid = next(iter(_children(pid)), 0)
        return pid

    def power_on(self) -> None:
        """Boot it; nothing happens when it is on."""
        if self.supervisor():
            return
        self._cleanup()
        network.plug(self.name, self.addresses, self.plugs)
        for place in (self.upper, self.folder / "work", self.root):
            place.mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={':'.join(self.lower)},upperdir={self.upper},workdir={self.folder / 'work'}"
        run("mount", "-t", "overlay", f"machine-{self.name}", "-o", options, self.root)
        groups, outside = _cgroups(f"hass-{self.name}"), _cgroups("hass-power")
        for group in (*groups, *outside):
            group.mkdir(exist_ok=True)
        if self.cpu_shares:
            for group in groups:
                _share_cpu(group, self.cpu_shares)

        def enter() -> None:
            for group in outside:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        with (self.folder / "console.log").open("a") as console:
            process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=enter,
                env={
                    **environment(),
                    "MACHINE_CGROUPS": " ".join(map(str, groups)),
                    "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1",
                },
            )
        (self.folder / "pid").write_text(f"{process.pid} {_started(process.pid)}")

    def _command(self) -> list[str]:
        return [
            "nsenter",  # not --network-namespace-path, which leaves the host's /sys inside
            f"--net=/run/netns/{network.namespace(self.name)}",
            "sh",
            "-c",
            SUPERVISOR,
            "machine",
            "systemd-nspawn",
            "--quiet",
            f"--directory={self.root}",
            "--boot",
            "--register=no",
            "--keep-unit",
            f"--machine={self.name}",
            f"--hostname={self.name}",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--console=read-only",
            "--capability=all",
            f"--drop-capability={','.join(f'CAP_{name.upper()}' for name in DROPPED)}",
            *([f"--bind={device}" for device in ("/dev/net/tun", "/dev/fuse") if Path(device).exists()]),
            *(f"--bind={bind}" for bind in self.binds),
        ]

    def power_off(self, orderly: bool = False, timeout: float = 60) -> None:
        """Cut its power, or let it shut down; its disk stays."""
        pid = self.supervisor()
        if pid and orderly:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.leader() or pid, signal.SIGRTMIN + 4)
            _wait_for_end(pid, timeout)
        while pid and self.supervisor():
            leader = self.leader()
            with contextlib.suppress(ProcessLookupError):
                if leader:  # everything inside dies with it, and systemd-nspawn ends
                    os.kill(leader, signal.SIGKILL)
                    self.freeze(False)  # what is frozen does not die
                    _wait_for_end(pid, 2)
                os.killpg(pid, signal.SIGKILL)
            _wait_for_end(pid, 2)
        self._cleanup()

    def freeze(self, frozen: bool = True) -> None:
        """Stop every process inside where it is, or let them go on: an operating system that hangs.

        What the kernel does by itself goes on: it answers pings. `wires` cuts those.
        """
        for group in _cgroups(f"hass-{self.name}"):
            _freeze(group, frozen)

    def wires(self, up: bool, interfaces: list[int]) -> None:
        """Pull the cables of eth0, eth1, … out, or put them in again."""
        if not self.supervisor():
            raise MachinesError(f"{self.name} is off")
        network.wire(self.name, len(self.addresses) + len(self.plugs), interfaces, up)

    def _cleanup(self) -> None:
        """Whatever power_on has made, also of a machine that died by itself."""
        (self.folder / "pid").unlink(missing_ok=True)
        deadline = time.monotonic() + 60
        for group in _cgroups(f"hass-{self.name}"):
            _remove_cgroup(group, deadline)
        for group in _cgroups("hass-power"):
            with contextlib.suppress(OSError):
                group.rmdir()  # stays while another machine is on
        while _mounted(self.root):
            run("umount", self.root, check=False)
            if _mounted(self.root):
                if time.monotonic() > deadline:
                    raise MachinesError(f"{self.root} cannot be unmounted")
                time.sleep(0.02)
        network.unplug(self.name)

    def remove(self) -> None:
        """Power off and forget it, disk and all."""
        self.power_off()
        shutil.rmtree(self.folder)
        network.forget(self.networks - {place for other in known() for place in other.networks})

    # -- inside ------------------------------------------------------------------------------------------

    def personalise(self, public_key: str) -> None:
        """Before the first boot: name, ids, host key, the key that root is reached with."""
        with self.mounted() as root:
            (root / "etc/hostname").write_text(f"{self.name}\n")
            ident = uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.name}.machines.hass")
            (root / "etc/machine-id").write_text(f"{ident.hex}\n")
            hosts = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
            hosts += [f"{address} {self.name}" for address in self.addresses[:1]]
            if not self.state:
                (root / "etc/hosts").write_text("\n".join(hosts) + "\n")
            link = root / "etc/resolv.conf"
            link.unlink(missing_ok=True)
            link.write_text(resolvers())
            host_key = root / "etc/ssh/ssh_host_ed25519_key"
            if not host_key.exists():
                run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"root@{self.name}", "-f", host_key)
            ssh = root / "root/.ssh"
            ssh.mkdir(mode=0o700, exist_ok=True)
            (ssh / "authorized_keys").write_text(public_key.strip() + "\n")
            (ssh / "authorized_keys").chmod(0o600)

    @contextlib.contextmanager
    def mounted(self):
        """Its file system while it is off."""
        for place in (self.upper, self.folder / "work", self.root):
            place.mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={':'.join(self.lower)},upperdir={self.upper},workdir={self.folder / 'work'}"
        run("mount", "-t", "overlay", f"machine-{self.name}", "-o", options, self.root)
        try:
            yield self.root
        finally:
            run("umount", self.root)

    def wait(self, timeout: float) -> float:
        """Until its sshd greets; the seconds that it took."""
        started = time.monotonic()
        while time.monotonic() - started < timeout:
            if not self.supervisor():
                break
            with contextlib.suppress(OSError), socket.create_connection((self.addresses[0], 22), 1) as sock:
                sock.settimeout(1)
                if sock.recv(4) == b"SSH-":
                    return time.monotonic() - started
            time.sleep(0.05)
        end = (self.folder / "console.log").read_text(errors="replace").splitlines()[-8:]
        raise MachinesError(
            f"{self.name} does not answer on ssh; the end of its console:\n  " + "\n  ".join(end)
        )

    def host_key(self) -> str:
        """Its public host key, as known_hosts has it."""
        places = [self.upper, *map(Path, self.lower)]
        for place in places:
            file = place / "etc/ssh/ssh_host_ed25519_key.pub"
            if file.exists():
                kind, key = file.read_text().split()[:2]
                return f"{','.join([self.name, *self.addresses])} {kind} {key}"
        raise MachinesError(f"{self.name} has no host key")

    def enter(self, command: list[str]) -> int:
        """Run a command inside, without ssh."""
        pid = self.leader()
        if not pid:
            raise MachinesError(f"{self.name} is off")
        # nsenter keeps the host's capabilities.
        bounds = ["setpriv", f"--bounding-set={','.join(f'-{name}' for name in DROPPED)}"]
        entry = ["nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"]
        words = [*bounds, *entry, *command]
        return subprocess.run(words, env=environment(), check=False).returncode


def running() -> Path:
    """Where machines are."""
    return cache() / "running"


def known() -> list[Machine]:
    """Every machine, on or off, by name."""
    return [_described(path) for path in sorted(running().glob("*/machine.json"))]


def _described(path: Path) -> Machine:
    """As its machine.json says, which may be of another version of this program that says more."""
    said = json.loads(path.read_text())
    names = {one.name for one in fields(Machine)} & said.keys()
    return Machine(**{name: said[name] for name in names})


def find(name: str) -> Machine:
    """The machine of that name."""
    check_name(name)
    description = running() / name / "machine.json"
    if not description.exists():
        raise MachinesError(f"there is no machine {name}")
    return _described(description)


def check_name(name: str) -> None:
    """A host name, which is the name of folders and namespaces here."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name):
        raise MachinesError(
            f"{name!r} is no name for a machine: lower-case letters, digits and inner hyphens"
        )


def _children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks: a number that was used again has another."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _wait_for_end(pid: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    started = _started(pid)
    while started and _started(pid) == started and time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)


def _cgroups(name: str) -> list[Path]:
    """Its cgroup in every hierarchy: systemds that share one fight over /system.slice."""
    rows = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    found = [
        Path(row[1])
        for row in rows
        if row[2] in ("cgroup", "cgroup2") and row[1].startswith("/sys/fs/cgroup")
    ]
    return [place / name for place in found if place.name != "cpuset"]


def _share_cpu(group: Path, shares: int) -> None:
    """How much of the processors it has when there is not enough; 1024 is what everything else has."""
    for name, value in (("cpu.shares", shares), ("cpu.weight", max(1, shares * 100 // 1024))):
        if (group / name).exists():
            (group / name).write_text(str(value))


def _freeze(group: Path, frozen: bool) -> None:
    for name, value in (
        ("freezer.state", "FROZEN" if frozen else "THAWED"),
        ("cgroup.freeze", "1" if frozen else "0"),
    ):
        deadline = time.monotonic() + 10
        while (group / name).exists():
            (group / name).write_text(value)
            if (group / name).read_text().strip() == value:
                break
            if time.monotonic() > deadline:
                raise MachinesError(f"{group} cannot be {'frozen' if frozen else 'thawed'}")
            time.sleep(0.02)


def _remove_cgroup(group: Path, deadline: float) -> None:
    while group.exists():
        for parent, _folders, _files in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(parent)
        if group.exists():
            if time.monotonic() > deadline:
                raise MachinesError(f"{group} still has processes")
            time.sleep(0.02)


def _mounted(place: Path) -> bool:
    return any(line.split()[1] == str(place) for line in Path("/proc/mounts").read_text().splitlines())
