"""Where everything of one sandbox lives: its directory, addresses, ports, secrets and configuration files.

Every host has a loopback address of its own in a random 127.a.b.0/24 block (Linux routes all of 127/8 to
the machine itself, so no root is needed); ports are the same on all of them.
"""

from __future__ import annotations

import os
import random
import re
import secrets
import socket
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BLOCK_ATTEMPTS = 50
PORT_ATTEMPTS = 200
# Below the range from which the kernel hands out ports to clients, so that none of them gets in the way.
PORT_RANGE = (20000, 32000)
MAX_HOSTS = 200
PLAIN_PATH = re.compile(r"[\w/.+-]+", re.ASCII)
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")

# What an agent here checks: each has a marker file that stands for it.
SERVICES = ("nova-compute", "libvirtd", "qemu")

# Times that a real cluster takes from the guide, sized so that a demo is quick.
QUICK_VALUES: Mapping[str, Mapping[str, str]] = {
    "detection": {
        "polling_interval": "1",
        "polling_threshold": "2",
        "wait_restart_threshold": "2",
        "probe_timeout": "1",
    },
    "default": {"network_transient_time": "5", "heartbeat_time": "2"},
}


class LayoutError(Exception):
    """The sandbox cannot be laid out; one clear line."""


@dataclass(frozen=True)
class Endpoints:
    """Where OpenStack answers and who may ask. Any object with these attributes will do as well."""

    auth_url: str
    nova_url: str
    username: str
    password: str = field(repr=False)
    project_name: str = "admin"
    user_domain: str = "Default"
    project_domain: str = "Default"
    region: str = "RegionOne"


@dataclass(frozen=True)
class HostLayout:
    """Files, address and ports of one host. ``inner_port`` is where its agent listens behind the NIC."""

    name: str
    address: str
    bmc_port: int
    inner_port: int
    dir: Path
    bmc_user: str = "hass"
    bmc_password: str = field(default="", repr=False)
    has_bmc: bool = True
    keeps_watchdog: bool = False
    """Whether its operating system keeps the watchdog timer of its BMC armed."""

    @property
    def agent_config(self) -> Path:
        return self.dir.parent.parent / f"hass_compute-{self.name}.conf"

    @property
    def boot_file(self) -> Path:
        """The name of its present boot."""
        return self.dir / "boot"

    @property
    def power_file(self) -> Path:
        """What the BMC answers: ``1`` on, ``0`` off. Written by the supervisor only."""
        return self.dir / "power"

    @property
    def watchdog_file(self) -> Path:
        """When its system last re-armed the BMC's watchdog timer, seconds of the monotonic clock."""
        return self.dir / "watchdog"

    @property
    def lies_file(self) -> Path:
        """Exists while the BMC obeys nothing."""
        return self.dir / "bmc-lies"

    @property
    def chassis_pipe(self) -> Path:
        """Through which the BMC hands chassis commands on."""
        return self.dir / "chassis.pipe"

    @property
    def compute_marker(self) -> Path:
        """Exists exactly while the nova-compute of this host runs."""
        return self.marker("nova-compute")

    def marker(self, service: str) -> Path:
        """Exists exactly while that service runs, as this host itself sees it."""
        return self.dir / f"{service}.up"

    @property
    def inlet_file(self) -> Path:
        """Degrees Celsius of the Inlet Temp sensor, a whole number, read by the BMC."""
        return self.dir / "inlet"


@dataclass(frozen=True)
class Layout:
    """One sandbox on disk and on loopback. Secrets never show in a repr."""

    id: str
    root: Path
    temporary: bool
    hosts: tuple[HostLayout, ...]
    polling_port: int
    presence_port: int
    rest_port: int
    key: str = field(repr=False)
    gateway: str = ""
    """The address of the controller's own gateway, "" when there is none."""

    @property
    def config(self) -> Path:
        return self.root / "hass.conf"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    @property
    def database(self) -> Path:
        return self.state_dir / "hass.db"

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.rest_port}"

    def host(self, name: str) -> HostLayout:
        """The host of that whole name; LayoutError when there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(h.name for h in self.hosts)
        raise LayoutError(f"{name}: no such host in this sandbox, expected one of {known}")


def make_layout(
    hosts: int | Sequence[str] = 3,
    directory: Path | None = None,
    rng: random.Random | None = None,
    without_bmc: Collection[str] = (),
    gateway: bool = False,
    with_watchdog: Collection[str] = (),
) -> Layout:
    """Choose directory, addresses, ports and secrets; makes the directories, writes no configuration.

    ``hosts`` is a number (compute1..computeN) or names. An existing directory must be empty.
    """
    names = [f"compute{i}" for i in range(1, hosts + 1)] if isinstance(hosts, int) else list(hosts)
    if not 1 <= len(names) <= MAX_HOSTS:
        raise LayoutError(f"hosts: {len(names)} is out of range, expected 1 to {MAX_HOSTS}")
    if len(set(names)) != len(names):
        raise LayoutError(f"hosts: names are not unique: {', '.join(names)}")
    for name in names:
        # The name ends up in file names, INI keys and a BMC's configuration.
        if not HOST_NAME.fullmatch(name):
            raise LayoutError(f"hosts: {name!r}: expected letters, digits, - and . as in a host name")
    rng = rng or random.SystemRandom()
    root, temporary = _make_root(directory)
    addresses = _free_block(len(names), rng)
    presence, polling, bmc, inner = _free_ports(addresses, 4, rng)
    (rest,) = _free_ports(["127.0.0.1"], 1, rng)
    layout = Layout(
        id=secrets.token_hex(8),
        root=root,
        temporary=temporary,
        hosts=tuple(
            HostLayout(
                name=name,
                address=address,
                bmc_port=bmc,
                inner_port=inner,
                dir=root / "hosts" / name,
                bmc_password=secrets.token_hex(8),
                has_bmc=name not in without_bmc,
                keeps_watchdog=name in with_watchdog,
            )
            for name, address in zip(names, addresses, strict=True)
        ),
        polling_port=polling,
        presence_port=presence,
        rest_port=rest,
        key=secrets.token_hex(24),
        gateway=addresses[0].rpartition(".")[0] + ".1" if gateway else "",
    )
    for path in (layout.logs, layout.state_dir, *(h.dir for h in layout.hosts)):
        path.mkdir(parents=True, mode=0o700)
    return layout


def _make_root(directory: Path | None) -> tuple[Path, bool]:
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="hass-sandbox-")).resolve(), True
    root = directory.expanduser().resolve()
    # The directory's name ends up in shell scripts, a BMC's configuration and INI files.
    if not PLAIN_PATH.fullmatch(str(root)):
        raise LayoutError(
            f"{root}: in the directory's name anything but letters, digits and _ . + - is not supported"
        )
    try:
        root.mkdir(parents=True, mode=0o700, exist_ok=True)
        if any(root.iterdir()):
            raise LayoutError(f"{root}: not empty, expected a new or an empty directory")
        root.chmod(0o700)
    except OSError as error:
        raise LayoutError(f"{root}: {error.strerror}") from error
    return root, False


def _can_bind(address: str, port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as sock:
            try:
                sock.bind((address, port))
            except OSError:
                return False
    return True


def _free_block(count: int, rng: random.Random) -> list[str]:
    """``count`` loopback addresses of one /24 in which nobody listens on the first one's lock port."""
    for _ in range(BLOCK_ATTEMPTS):
        a, b = rng.randint(1, 254), rng.randint(0, 255)
        addresses = [f"127.{a}.{b}.{11 + i}" for i in range(count)]
        if all(_can_bind(address, 0) for address in addresses):
            return addresses
    raise LayoutError(
        "no usable 127.a.b.0/24 block: loopback addresses other than 127.0.0.1 cannot be bound here"
    )


def _free_ports(addresses: Sequence[str], count: int, rng: random.Random) -> list[int]:
    """Different ports on which nobody listens, for TCP and UDP, on any of the addresses."""
    ports: list[int] = []
    for _ in range(PORT_ATTEMPTS):
        port = rng.randint(*PORT_RANGE)
        if port not in ports and all(_can_bind(address, port) for address in addresses):
            ports.append(port)
            if len(ports) == count:
                return ports
    raise LayoutError(f"no {count} free ports in {PORT_RANGE[0]}-{PORT_RANGE[1]} on {addresses[0]}")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    partial = path.with_name(path.name + ".part")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(partial, path)


def _ini(sections: Mapping[str, Mapping[str, object]]) -> str:
    blocks = []
    for section, values in sections.items():
        lines = [f"[{section}]", *(f"{key} = {value}" for key, value in values.items())]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def agent_config(layout: Layout, host: HostLayout) -> str:
    """Text of hass_compute.conf for one host."""
    return _ini(
        {
            "agent": {"host": host.name, "boot_id_file": str(host.boot_file)},
            "polling": {
                "listen_address": host.address,
                "listen_port": host.inner_port,
                "polling_key": layout.key,
            },
            "log": {"level": "INFO", "location": layout.logs / f"agent-{host.name}.log"},
            # There is no libvirtd here, and nova-compute is no systemd unit: marker files stand for them.
            "checks": {
                **{name: f"command test -e {host.marker(name)}" for name in SERVICES},
                "storage": f"storage {host.dir}",
            },
        }
    )


def controller_config(
    layout: Layout,
    endpoints: Endpoints,
    overrides: Mapping[str, Mapping[str, object]] | None = None,
    quick: bool = True,
) -> str:
    """Text of hass.conf. ``overrides``: section -> key -> value, on top of the sandbox's own values.

    ``quick``: times that suit a demo; else those that HASS has without any being given.
    """
    # ICMP to 127/8 is answered by the kernel whatever happens to a host, so reachability is a TCP handshake
    # with the listener that stands for the host's network stack.
    ping = ["timeout", "1", "bash", "-c", f"exec 3<>/dev/tcp/{{address}}/{layout.presence_port}"]
    sections: dict[str, dict[str, object]] = {
        "openstack": {
            "openstack_auth_url": endpoints.auth_url,
            "openstack_admin_account": endpoints.username,
            "openstack_admin_password": endpoints.password,
            # Ids: the domain that every new Keystone has is called Default and has the id default.
            "openstack_user_domain_id": "default",
            "openstack_project_domain_id": "default",
            "openstack_project_name": endpoints.project_name,
            "openstack_region_name": endpoints.region,
        },
        "cluster": {"hosts": ", ".join(h.name for h in layout.hosts)},
        "address": {h.name: h.address for h in layout.hosts},
        "ipmi": {h.name: f"{h.address}:{h.bmc_port}" for h in layout.hosts if h.has_bmc},
        "ipmi_user": {h.name: f"{h.bmc_user},{h.bmc_password}" for h in layout.hosts if h.has_bmc},
        "detection": {"polling_port": layout.polling_port, "polling_key": layout.key},
        "default": {"shared_storage": "true", "max_message_size": "1024"},
        "detector": {"ping_command": repr(ping)},
        "database": {"path": layout.database},
        "log": {"level": "INFO", "location": layout.logs / "hass.log"},
        "RESTful": {"port": layout.rest_port},
        "paths": {"state_dir": layout.state_dir},
    }
    if layout.gateway:
        sections["openstack"]["openstack_external_network_gateway_ip"] = layout.gateway
    for given in (QUICK_VALUES if quick else {}, overrides or {}):
        for section, keys in given.items():
            sections.setdefault(section, {}).update(keys)
    return _ini(sections)


def write_agents(layout: Layout) -> None:
    """Write hass_compute-<host>.conf for every host, readable by the owner only."""
    for host in layout.hosts:
        write_private(host.agent_config, agent_config(layout, host))
        write_private(host.inlet_file, "24\n")


def write_controller(
    layout: Layout,
    endpoints: Endpoints,
    overrides: Mapping[str, Mapping[str, object]] | None = None,
    quick: bool = True,
) -> None:
    """Write hass.conf, readable by the owner only; OpenStack has to be up, its address is in there."""
    write_private(layout.config, controller_config(layout, endpoints, overrides, quick))
