"""Readiness held against what happens: a real Nova and Placement, in which each host is killed in turn.

10 hosts and 200 instances, among them some that cannot come back, each for another reason. Before each death
the cloud is surveyed and assessed; then the host loses its power and everything on it is evacuated by HASS's
own engine; then what really runs is compared with what was said, instance by instance. The host returns
empty, and the next one dies.

Usage: readiness_truth.py [--hosts N] [--instances N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openstack

from hass_runtime.decide.diagnosis import HostTrack, Thresholds, observe
from hass_runtime.decide.readiness import Back, assess
from hass_runtime.decide.view import HostView, Policy, View
from hass_runtime.domain import Bmc, Host, HostState, Layer, MoveState, Reading, Verdict
from hass_runtime.remedy.cloud import Cloud
from hass_runtime.remedy.evacuation import Evacuator
from hass_runtime.remedy.fencing import Look
from hass_runtime.remedy.moves import Policy as MovePolicy
from hass_runtime.sandbox.cloud import cache_dir
from hass_runtime.sandbox.openstack.nova_stubs import IMAGE
from hass_runtime.sandbox.openstack.process import Endpoints, OpenStackProcess
from hass_runtime.survey.collect import collect

VERSION = "2.90"
RESERVED = 512  # MiB that Nova keeps for the host itself
SPARE = 1300  # MiB that stay free on each host: enough for a tenth of another's, too little for a big one
TINY = 128
EACH = 17  # ordinary instances on each host
BIG = 1500  # more than any other host has left
START = 1800.0  # seconds until the cloud must be there, on a machine with other work
GRACE = 300.0


@dataclass(frozen=True)
class Line:
    """One host's death: what was said to come back and did, and where the two differ."""

    host: str
    instances: int
    said_lost: tuple[str, ...]
    lost: tuple[str, ...]
    why: tuple[str, ...]
    seconds: float

    @property
    def agrees(self) -> bool:
        return self.said_lost == self.lost


class Admin:
    """An administrator of the embedded cloud, by its API."""

    def __init__(self, ends: Endpoints) -> None:
        self.connection = openstack.connect(**ends.connect_args())
        self.compute = self.connection.compute

    def call(self, method: str, path: str, body: Any = None) -> Any:
        reply = self.compute.request(path, method, json=body, microversion=VERSION, raise_exc=False)
        if reply.status_code >= 400:
            raise RuntimeError(f"{method} {path}: {reply.status_code} {reply.text}")
        return reply.json() if reply.content else None

    def flavor(self, name: str, ram: int, specs: Mapping[str, str] | None = None) -> str:
        body = {"flavor": {"name": name, "ram": ram, "vcpus": 1, "disk": 1, "id": name}}
        self.call("POST", "/flavors", body)
        if specs:
            self.call("POST", f"/flavors/{name}/os-extra_specs", {"extra_specs": dict(specs)})
        return name

    def zone(self, name: str, hosts: list[str]) -> None:
        made = self.call("POST", "/os-aggregates", {"aggregate": {"name": name, "availability_zone": name}})
        for host in hosts:
            path = f"/os-aggregates/{made['aggregate']['id']}/action"
            self.call("POST", path, {"add_host": {"host": host}})

    def group(self, name: str, policy: str) -> str:
        made = self.call("POST", "/os-server-groups", {"server_group": {"name": name, "policy": policy}})
        return str(made["server_group"]["id"])

    def boot(self, name: str, host: str, flavor: str = "1", zone: str = "", group: str = "") -> str:
        server: dict[str, Any] = {"name": name, "imageRef": IMAGE, "flavorRef": flavor, "networks": "none"}
        if zone:
            server["availability_zone"] = f"{zone}"
        server["host"] = host
        hints = {"os:scheduler_hints": {"group": group}} if group else {}
        return str(self.call("POST", "/servers", {"server": server, **hints})["server"]["id"])

    def servers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", "/servers/detail?all_tenants=1")["servers"]
        return found

    def until(self, what: Callable[[], bool], words: str) -> None:
        end = time.monotonic() + GRACE
        while not what():
            if time.monotonic() > end:
                raise RuntimeError(f"not within {GRACE:g} s: {words}")
            time.sleep(0.5)


def furnish(admin: Admin, hosts: list[str], each: int) -> None:
    """Ordinary instances, what cannot come back, each for another reason, and what looks like it and can."""
    admin.flavor("big", BIG)
    admin.zone("pair", hosts[-2:])
    admin.zone("alone", hosts[-3:-2])  # while they are empty: Nova refuses it later
    admin.boot("too-large", hosts[0], flavor="big")
    for host in hosts:
        for number in range(1, each + (0 if host == hosts[0] else 1)):
            admin.boot(f"vm-{host}-{number}", host)
    spread, close, two = (
        admin.group(name, policy)
        for name, policy in (("spread", "anti-affinity"), ("close", "affinity"), ("two", "anti-affinity"))
    )
    for number, host in enumerate(hosts, start=1):
        admin.boot(f"spread-{number}", host, group=spread)
    for name in ("close-1", "close-2"):
        admin.boot(name, hosts[2], group=close)
        admin.until(lambda name=name: state_of(admin, name) == "ACTIVE", name)  # type: ignore[misc]
    admin.boot("two-1", hosts[3], group=two)
    admin.boot("two-2", hosts[4], group=two)
    for host in hosts[-2:]:
        admin.boot(f"zoned-on-{host}", host, zone="pair")
    admin.boot("zoned-alone", hosts[-3], zone="alone")
    admin.boot("paused", hosts[5])


def state_of(admin: Admin, name: str) -> str:
    return next((row["status"] for row in admin.servers() if row["name"] == name), "")


def view_of(hosts: list[str]) -> View:
    """What a controller sees of hosts that are all well."""
    now = time.time()
    views = {}
    for name in hosts:
        track = HostTrack(name)
        for layer in (Layer.POWER, Layer.NETWORK, Layer.SERVICE):
            track = observe(track, Reading(name, layer, Verdict.OK, "well", now, layer is not Layer.POWER))
        views[name] = HostView(Host(name, "192.0.2.1", bmc=Bmc("", "", "")), HostState.HEALTHY, track)
    return View(now, Policy(Thresholds(2, 30.0, 60.0), ()), views)


def die(process: OpenStackProcess, admin: Admin, cloud: Cloud, hosts: list[str], host: str) -> Line:
    """Say what would come back, kill the host, evacuate, and look what did."""
    ready = assess(view_of(hosts), collect(admin.connection, time.time(), shared_storage=True))
    mine = next(each for each in ready.hosts if each.host == host)
    said = tuple(sorted(each.instance.name for each in mine.instances if each.back is not Back.YES))
    why = tuple(
        sorted({each.problem.kind for each in mine.instances if each.back is not Back.YES and each.problem})
    )
    on_it = {each.instance.id: each.instance.name for each in mine.instances}
    running = process.command("guests")["running"]
    ran = {uuid for uuid in on_it if host in running.get(uuid, [])}
    began = time.monotonic()
    process.command("compute_stop", host=host)
    service = cloud.compute_service(host)
    assert service is not None
    cloud.set_forced_down(service, True)
    done = Evacuator(
        cloud,
        host,
        since=time.time() - 1.0,
        still_off=lambda: Look(True, ""),
        policy=MovePolicy(timeout=GRACE, retries=0),
    ).run()
    took = time.monotonic() - began
    running = process.command("guests")["running"]
    # What is back runs on exactly one other host, by the hypervisors themselves, and HASS says so.
    back = {
        move.instance
        for move in done.moves
        if move.state is MoveState.SUCCEEDED
        and len(running.get(move.instance, [])) == (1 if move.instance in ran else 0)
    }
    process.command("compute_start", host=host)
    admin.until(lambda: _lifted(cloud, host), f"{host} is back")
    lost = tuple(sorted(name for uuid, name in on_it.items() if uuid not in back))
    return Line(host, len(on_it), said, lost, why, took)


def _lifted(cloud: Cloud, host: str) -> bool:
    from hass_runtime.remedy.nova import CloudError

    service = cloud.compute_service(host)
    try:
        if service is not None and service.forced_down:
            cloud.set_forced_down(service, False)
            return False
    except CloudError:
        return False  # it has not cleaned up yet
    return service is not None and service.up


@contextmanager
def cloud_of(hosts: list[str], each: int) -> Iterator[tuple[OpenStackProcess, Admin, Cloud]]:
    with tempfile.TemporaryDirectory(prefix="hass-readiness-") as directory:
        process = OpenStackProcess(
            Path(directory) / "openstack",
            cache_dir(),
            hosts,
            0,
            memory_mb=RESERVED + TINY * (each + 2) + SPARE,
            spawn_seconds=0.0,
            service_down_time=3600,  # a busy machine is not a dead host; what dies here is forced down
        )
        ends = process.start(START)
        try:
            admin = Admin(ends)
            yield process, admin, Cloud(openstack.connect(**ends.connect_args()), "2.94")
        finally:
            process.stop()


def play(hosts: int = 10, each: int = EACH, total: int = 200) -> list[Line]:
    """One line a host, in the order of their deaths."""
    names = [f"compute{number}" for number in range(1, hosts + 1)]
    with cloud_of(names, each) as (process, admin, cloud):
        furnish(admin, names, each)
        for number in range(total - len(admin.servers())):  # the rest, where nothing special is
            admin.boot(f"more-{number + 1}", names[1 + number % (hosts - 1)])
        admin.until(lambda: all(row["status"] != "BUILD" for row in admin.servers()), "every instance built")
        broken = [
            f"{row['name']}: {row.get('fault', {}).get('message')}"
            for row in admin.servers()
            if row["status"] == "ERROR"
        ]
        assert not broken, broken
        paused = next(row["id"] for row in admin.servers() if row["name"] == "paused")
        admin.call("POST", f"/servers/{paused}/action", {"pause": None})
        admin.until(lambda: state_of(admin, "paused") == "PAUSED", "paused")
        lines = []
        for name in names:
            lines.append(die(process, admin, cloud, names, name))
            print(row_of(lines[-1]), file=sys.stderr, flush=True)
        assert not process.command("guests")["doubled"]
        return lines


def row_of(line: Line) -> str:
    said, lost = (", ".join(names) or "none" for names in (line.said_lost, line.lost))
    agree = "yes" if line.agrees else "NO"
    return f"| {line.host} | {line.instances} | {said} | {', '.join(line.why) or '–'} | {lost} | {agree} |"


def table(lines: list[Line]) -> str:
    head = "| host | instances | said not to come back | why | did not come back | agree |"
    agree = sum(line.agrees for line in lines)
    said = f"{sum(line.instances for line in lines)} predictions for {len(lines)} deaths"
    foot = f"{said}; they agree for {agree} of {len(lines)} hosts."
    return "\n".join([head, "| --- | --- | --- | --- | --- | --- |", *map(row_of, lines), "", foot])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=10)
    parser.add_argument("--each", type=int, default=EACH)
    parser.add_argument("--instances", type=int, default=200)
    given = parser.parse_args()
    lines = play(given.hosts, given.each, given.instances)
    print(table(lines))
    return 0 if all(line.agrees for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
