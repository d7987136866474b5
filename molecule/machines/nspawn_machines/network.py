"""Networks: a bridge for each /24 that machines have addresses in, masqueraded to the outside."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from pathlib import Path

from .host import MachinesError, cache, lock, run

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


def network_of(address: str) -> ipaddress.IPv4Network:
    """The /24 of an address."""
    try:
        host = ipaddress.IPv4Address(address)
    except ValueError as error:
        raise MachinesError(f"{address} is not an IPv4 address") from error
    network = ipaddress.IPv4Network(f"{host}/24", strict=False)
    if not host.is_private:
        raise MachinesError(f"{address} is not a private address")
    return network


def _tag(network: ipaddress.IPv4Network) -> str:
    return "-".join(str(network.network_address).split(".")[:3])


def bridge_name(network: ipaddress.IPv4Network) -> str:
    """At most 15 characters, as the kernel demands."""
    return f"hm{_tag(network)}"


def gateway(network: ipaddress.IPv4Network) -> str:
    """The host's own address on the bridge: machines reach the outside through it."""
    return str(network.network_address + 1)


def _table(network: ipaddress.IPv4Network) -> str:
    return f"hass_machines_{_tag(network).replace('-', '_')}"


def _links() -> list[dict]:
    return json.loads(run("ip", "-json", "address", "show") or "[]")


def _bridge_up(network: ipaddress.IPv4Network) -> None:
    name = bridge_name(network)
    for link in _links():
        if link["ifname"] == name:
            return
        for address in link.get("addr_info", []):
            if address["family"] == "inet" and ipaddress.IPv4Address(address["local"]) in network:
                raise MachinesError(f"{network} is in use on this host already, by {link['ifname']}")
    run("ip", "link", "add", name, "type", "bridge")
    run("ip", "address", "add", f"{gateway(network)}/24", "dev", name)
    run("ip", "link", "set", name, "up")
    table = _table(network)
    rules = (
        f"table ip {table} {{\n"
        "  chain out { type nat hook postrouting priority 100; policy accept;\n"
        f"    ip saddr {network} ip daddr != {network} masquerade\n  }}\n}}\n"
    )
    run("nft", "-f", "-", stdin=rules)
    before = cache() / "ip_forward"
    if FORWARD.read_text().strip() == "0":
        before.write_text("0")
        FORWARD.write_text("1")


def _bridge_down(network: ipaddress.IPv4Network) -> None:
    run("ip", "link", "delete", bridge_name(network), check=False)
    run("nft", "delete", "table", "ip", _table(network), check=False)
    before = cache() / "ip_forward"
    if before.exists() and not any(link["ifname"].startswith("hm") for link in _links()):
        FORWARD.write_text(before.read_text())
        before.unlink()


def _veth(machine: str, index: int) -> str:
    return f"hv{hashlib.sha256(machine.encode()).hexdigest()[:8]}-{index}"


def _mac(machine: str, index: int) -> str:
    """Always the same, as a network card's: neighbours remember it over a power cut."""
    digits = hashlib.sha256(f"{machine} {index}".encode()).hexdigest()
    return ":".join(["02", *(digits[place : place + 2] for place in range(0, 10, 2))])


def namespace(machine: str) -> str:
    """The machine's network namespace."""
    return f"hass-{machine}"


def plug(machine: str, addresses: list[str], plugs: list[str]) -> None:
    """A new network namespace with eth0, eth1, … on the bridges; the first address has the default route."""
    unplug(machine)
    name = namespace(machine)
    with lock("network"):
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        wires = [(address, network_of(address)) for address in addresses]
        wires += [("", network_of(plain)) for plain in plugs]
        for index, (address, network) in enumerate(wires):
            _bridge_up(network)
            outside, inside = _veth(machine, index), f"eth{index}"
            peer = ("peer", "name", inside, "address", _mac(machine, index), "netns", name)
            run("ip", "link", "add", outside, "type", "veth", *peer)
            run("ip", "link", "set", outside, "master", bridge_name(network), "up")
            if address:
                run("ip", "-n", name, "address", "add", f"{address}/24", "brd", "+", "dev", inside)
            run("ip", "-n", name, "link", "set", inside, "up")
        if addresses:
            run("ip", "-n", name, "route", "add", "default", "via", gateway(network_of(addresses[0])))


def wire(machine: str, count: int, interfaces: list[int], up: bool) -> None:
    """Take the outer ends of interfaces up or down: inside, the carrier is there or not."""
    for index in interfaces:
        if index >= count:
            raise MachinesError(f"{machine} has no eth{index}")
        run("ip", "link", "set", _veth(machine, index), "up" if up else "down")


def unplug(machine: str) -> None:
    """Take the namespace away, and its ends on the host with it."""
    with lock("network"):
        for link in _links():
            if link["ifname"].startswith(_veth(machine, 0)[:-1]):
                run("ip", "link", "delete", link["ifname"], check=False)
        if Path("/run/netns", namespace(machine)).exists():
            run("ip", "netns", "delete", namespace(machine))


def forget(networks: set[ipaddress.IPv4Network]) -> None:
    """Take away the bridges that no machine has a place on any more."""
    with lock("network"):
        for network in networks:
            _bridge_down(network)
