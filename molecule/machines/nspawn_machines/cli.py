"""The command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from . import changes, layers, states
from .host import MachinesError, cache, demand, lock, run
from .machine import Machine, check_name, find, known
from .network import network_of
from .recipes import DEFAULT_RELEASE, RECIPES, RELEASES

ABOUT = """Machines with real systemd and sshd on this host, for Molecule and the lab.

  machines up web1 --layer compute --address 10.77.0.50     boot a new machine, wait for its sshd
  machines ssh web1 systemctl status                        the tool's own key is allowed in
  machines down web1                                        power off and forget, nothing is left
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="machines", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    up = command("up", "boot a machine; a new one, or one that was killed or switched off, on its old disk")
    up.add_argument("name")
    up.add_argument(
        "--layer", choices=sorted(RECIPES), help="what is installed on a new machine (default: base)"
    )
    up.add_argument(
        "--release", choices=RELEASES, default=DEFAULT_RELEASE, help="Debian's (default: %(default)s)"
    )
    up.add_argument(
        "--address", action="append", default=[], help="IPv4 address of eth0, eth1, … (each in a /24)"
    )
    up.add_argument(
        "--plug", action="append", default=[], metavar="NETWORK", help="one more interface, no address"
    )
    up.add_argument(
        "--bind", action="append", default=[], metavar="HOST[:INSIDE]", help="a folder of the host inside"
    )
    up.add_argument("--ssh-key", metavar="FILE", help="public key for root (default: the tool's own)")
    up.add_argument(
        "--state", default="", metavar="KEY", help="start from the state saved under KEY, if it is there"
    )
    up.add_argument(
        "--cpu-shares", type=int, default=0, metavar="N", help="its part of busy processors (1024: as others)"
    )
    up.add_argument("--timeout", type=float, default=60, help="seconds to wait for sshd; 0: do not wait")

    for name, text in (
        ("kill", "cut the power at once; disks stay"),
        ("off", "shut down in order; disks stay"),
        ("reset", "cut the power and boot again"),
        ("down", "power off and forget: disk, network, everything"),
    ):
        some = command(name, text)
        some.add_argument("names", nargs="*", metavar="name")
        if name == "down":
            some.add_argument("--all", action="store_true", help="every machine")

    for name, text in (
        ("freeze", "stop everything inside where it is, as when its operating system hangs"),
        ("thaw", "let what was frozen go on"),
        ("cut", "pull its network cables out"),
        ("plug", "put its network cables in again"),
    ):
        some = command(name, text)
        some.add_argument("names", nargs="+", metavar="name")
        if name in ("cut", "plug"):
            some.add_argument(
                "--interface", action="append", type=int, metavar="N", help="eth N (default: all)"
            )

    listing = command("list", "all machines")
    listing.add_argument("-f", "--format", choices=("table", "json"), default="table")
    ssh = command("ssh", "a command on a machine, by ssh with the tool's own key")
    ssh.add_argument("name")
    ssh.add_argument("words", nargs=argparse.REMAINDER, metavar="command")
    enter = command("run", "a command inside a machine, without ssh")
    enter.add_argument("name")
    enter.add_argument("words", nargs=argparse.REMAINDER, metavar="command")
    hosts = command("known-hosts", "the host keys, as ~/.ssh/known_hosts has them")
    hosts.add_argument("names", nargs="*", metavar="name")

    layer = command("layer", "make layers of packages, side by side")
    layer.add_argument("layers", nargs="+", metavar="layer", help=", ".join(RECIPES))
    layer.add_argument("--release", choices=RELEASES, default=DEFAULT_RELEASE)

    save = command("save", "shut down and keep the disk as the state KEY, for `up --state KEY`")
    save.add_argument("name")
    save.add_argument("--state", required=True, metavar="KEY")
    saved = command("saved", "exit status 0 when there is a state KEY for every machine named")
    saved.add_argument("names", nargs="+", metavar="name=layer")
    saved.add_argument("--state", required=True, metavar="KEY")
    saved.add_argument("--release", choices=RELEASES, default=DEFAULT_RELEASE)

    key = command("key", "a hash of files and folders, for `save --state`")
    key.add_argument("paths", nargs="+", type=Path, metavar="path")

    snapshot = command("snapshot", "remember what is on the disks, for `changes`")
    snapshot.add_argument("names", nargs="+", metavar="name")
    changed = command("changes", "what differs on the disks since the snapshot (logs, caches, data left out)")
    changed.add_argument("names", nargs="+", metavar="name")
    changed.add_argument("--none", action="store_true", help="exit status 1 when anything differs")
    changed.add_argument(
        "--ignore", action="append", default=[], metavar="PATTERN", help="leave out one more pattern"
    )
    return parser


def _own_key() -> Path:
    key = cache() / "id_ed25519"
    with lock("key"):
        if not key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "machines", "-f", key)
    return key


def _up(given: argparse.Namespace) -> int:
    check_name(given.name)
    with lock(f"machine-{given.name}"):
        try:
            machine = find(given.name)
        except MachinesError:
            machine = _create(given)
        machine.power_on()
    took = machine.wait(given.timeout) if given.timeout and machine.addresses else 0.0
    answer = {
        "name": machine.name,
        "addresses": machine.addresses,
        "state": machine.state,
        "seconds": round(took, 1),
    }
    print(json.dumps(answer))
    return 0


def _create(given: argparse.Namespace) -> Machine:
    if not given.address:
        raise MachinesError(f"{given.name} is a new machine: give it an --address")
    for address in given.address:
        network_of(address)
        for other in known():
            if address in other.addresses:
                raise MachinesError(f"{address} belongs to machine {other.name} already")
        if address.endswith((".0", ".1", ".255")):
            raise MachinesError(
                f"{address} is not for machines: the host has .1, .0 and .255 are the network's"
            )
    layer = given.layer or "base"
    lower = layers.stack(layer, given.release)
    state = states.find(given.name, layer, given.release, given.state) if given.state else None
    machine = Machine(
        name=given.name,
        layer=layer,
        release=given.release,
        addresses=given.address,
        plugs=given.plug,
        binds=given.bind,
        cpu_shares=given.cpu_shares,
        lower=[str(place) for place in ([state] if state else []) + lower],
        state=given.state if state else "",
    )
    machine.save()
    key = Path(given.ssh_key) if given.ssh_key else _own_key().with_suffix(".pub")
    if not key.is_file():
        raise MachinesError(f"{key} is not there")
    machine.personalise(key.read_text())
    return machine


def _several(given: argparse.Namespace) -> int:
    everyone = given.command == "down" and given.all
    machines = known() if everyone else [find(name) for name in given.names]
    if not machines and not everyone:
        raise MachinesError("name at least one machine")
    for machine in machines:
        with lock(f"machine-{machine.name}"):
            if given.command == "down":
                machine.remove()
                continue
            machine.power_off(orderly=given.command == "off")
            if given.command == "reset":
                machine.power_on()
    return 0


def _disturb(given: argparse.Namespace) -> int:
    for machine in [find(name) for name in given.names]:
        with lock(f"machine-{machine.name}"):
            if given.command in ("freeze", "thaw"):
                machine.freeze(given.command == "freeze")
                continue
            every = list(range(len(machine.addresses) + len(machine.plugs)))
            machine.wires(given.command == "plug", given.interface or every)
    return 0


def _list(given: argparse.Namespace) -> int:
    rows = [
        {
            "name": machine.name,
            "power": "on" if machine.supervisor() else "off",
            "addresses": machine.addresses,
            "layer": f"{machine.release}/{machine.layer}",
            "state": machine.state,
            "leader": machine.leader(),
        }
        for machine in known()
    ]
    if given.format == "json":
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        print(f"{row['name']:20} {row['power']:4} {row['layer']:24} {' '.join(row['addresses'])}")
    return 0


def _inside(given: argparse.Namespace) -> int:
    machine = find(given.name)
    words = given.words[1:] if given.words[:1] == ["--"] else given.words
    if given.command == "run":
        return machine.enter(words or ["bash", "-l"])
    hosts = cache() / "known_hosts"
    hosts.write_text("".join(f"{one.host_key()}\n" for one in known()))
    options = ["-i", str(_own_key()), "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={hosts}"]
    os.execvp("ssh", ["ssh", *options, f"root@{machine.addresses[0]}", *words])


def _layer(given: argparse.Namespace) -> int:
    layers.make_all(given.layers, given.release)
    return 0


def _save(given: argparse.Namespace) -> int:
    machine = find(given.name)
    with lock(f"machine-{machine.name}"):
        states.save(machine, given.state)
    return 0


def _saved(given: argparse.Namespace) -> int:
    for pair in given.names:
        name, _, layer = pair.partition("=")
        if states.find(name, layer or "base", given.release, given.state) is None:
            return 1
    return 0


def _key(given: argparse.Namespace) -> int:
    print(states.key_of(given.paths))
    return 0


def _changes(given: argparse.Namespace) -> int:
    found = 0
    for machine in [find(name) for name in given.names]:
        if given.command == "snapshot":
            changes.snapshot(machine)
            continue
        for line in changes.since_snapshot(machine, given.ignore):
            found += 1
            print(f"{machine.name}: {line}")
    return 1 if given.command == "changes" and given.none and found else 0


def _known_hosts(given: argparse.Namespace) -> int:
    for machine in [find(name) for name in given.names] if given.names else known():
        print(machine.host_key())
    return 0


DO = {
    "up": _up,
    "kill": _several,
    "off": _several,
    "reset": _several,
    "down": _several,
    "freeze": _disturb,
    "thaw": _disturb,
    "cut": _disturb,
    "plug": _disturb,
    "list": _list,
    "ssh": _inside,
    "run": _inside,
    "known-hosts": _known_hosts,
    "layer": _layer,
    "save": _save,
    "saved": _saved,
    "key": _key,
    "snapshot": _changes,
    "changes": _changes,
}


def main() -> int:
    """Exit status 0 done, 1 failed, 2 usage."""
    given = _parser().parse_args()
    try:
        demand()
        return DO[given.command](given)
    except MachinesError as error:
        print(f"machines: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
