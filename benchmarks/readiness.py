"""Readiness: what it takes to survey a cloud, and to judge it.

``survey`` is the code that asks Nova and Placement, against answers made up in this process, as those two
would give them page by page: its seconds are those of reading the answers, not of a network; its calls are
what a real cloud would be asked. ``assess`` is the judgement: for every host, where each of its instances
would go. Seconds are of this process alone, and compare with seconds of the same machine only; calls compare
everywhere.

Usage: benchmarks/readiness.py [HOSTS ...]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rich.console import Console
from rich.table import Table

from hass_runtime.decide.diagnosis import HostTrack, Thresholds, observe
from hass_runtime.decide.readiness import assess
from hass_runtime.decide.view import HostView, Policy, View
from hass_runtime.domain import Bmc, Host, HostState, Layer, Reading, Verdict
from hass_runtime.survey.collect import PAGE, collect

SIZES = (100, 1_000)
EACH = 20  # instances of a host
FLAVORS = {"small": (1, 2048), "medium": (2, 4096), "large": (4, 8192), "huge": (16, 65536)}
MEMORY, CPUS = 131_072, 128  # MiB and overcommitted CPUs of a host


class Answer:
    """As `requests.Response`, as far as it is read."""

    status_code = 200

    def __init__(self, data: Any) -> None:
        self._text = json.dumps(data)

    def json(self) -> Any:
        return json.loads(self._text)


class Api:
    """A Nova and a Placement that answer the listings of a survey."""

    def __init__(self, hosts: int, each: int = EACH) -> None:
        self.names = [f"compute{number:04}" for number in range(hosts)]
        kinds = list(FLAVORS.items())
        self.servers = [
            self._server(number, host, *kinds[number % 3])
            for number, host in enumerate(host for host in self.names for _ in range(each))
        ]
        self.used = dict.fromkeys(self.names, 0)
        for row in self.servers:
            self.used[row["OS-EXT-SRV-ATTR:host"]] += row["flavor"]["ram"]

    def connection(self) -> Any:
        data = SimpleNamespace(max_microversion=(2, 98))
        return SimpleNamespace(
            compute=SimpleNamespace(get=self._asked, get_endpoint_data=lambda: data),
            placement=SimpleNamespace(get=self._asked),
        )

    def _server(self, number: int, host: str, flavor: str, size: tuple[int, int]) -> dict[str, Any]:
        return {
            "id": f"00000000-0000-4000-8000-{number:012}",
            "name": f"vm{number}",
            "OS-EXT-SRV-ATTR:host": host,
            "OS-EXT-STS:vm_state": "active",
            "metadata": {},
            "image": {"id": "image", "properties": {}},
            "pinned_availability_zone": None,
            "flavor": {"original_name": flavor, "vcpus": size[0], "ram": size[1], "disk": 20, "ephemeral": 0}
            | {"swap": 0, "extra_specs": {}},
        }

    def _asked(self, path: str, microversion: str = "") -> Answer:
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        answers: dict[str, Callable[[dict[str, str]], Any]] = {
            "/os-services": self._services,
            "/servers/detail": self._page,
            "/os-aggregates": lambda query: {"aggregates": []},
            "/os-server-groups": lambda query: {"server_groups": []},
            "/resource_providers": lambda query: {
                "resource_providers": [{"uuid": f"rp-{name}", "name": name} for name in self.names]
            },
            "/allocation_candidates": self._candidates,
        }
        return Answer(answers[parts.path](query))

    def _services(self, query: dict[str, str]) -> Any:
        return {
            "services": [
                {"host": name, "zone": "nova", "status": "enabled", "state": "up", "forced_down": False}
                for name in self.names
            ]
        }

    def _page(self, query: dict[str, str]) -> Any:
        start = 0
        if "marker" in query:
            start = int(query["marker"][-12:]) + 1
        page = self.servers[start : start + min(int(query["limit"]), PAGE)]
        more = start + len(page) < len(self.servers)
        return {"servers": page, **({"servers_links": [{"rel": "next"}]} if more else {})}

    def _candidates(self, query: dict[str, str]) -> Any:
        asked = dict(each.split(":") for each in query["resources"].split(","))
        found = {}
        for name in self.names:
            left = MEMORY - self.used[name]
            if left >= int(asked.get("MEMORY_MB", 0)):
                resources = {
                    "MEMORY_MB": {"capacity": MEMORY, "used": self.used[name]},
                    "VCPU": {"capacity": CPUS, "used": 0},
                    "DISK_GB": {"capacity": 100_000, "used": 0},
                }
                found[f"rp-{name}"] = {"resources": resources, "root_provider_uuid": f"rp-{name}"}
        return {"allocation_requests": [], "provider_summaries": found}


def view_of(names: list[str]) -> View:
    hosts = {}
    for name in names:
        track = HostTrack(name)
        for layer in (Layer.POWER, Layer.NETWORK, Layer.SERVICE):
            track = observe(track, Reading(name, layer, Verdict.OK, "", 1.0, layer is not Layer.POWER))
        hosts[name] = HostView(Host(name, "192.0.2.1", bmc=Bmc("", "", "")), HostState.HEALTHY, track)
    return View(2.0, Policy(Thresholds(2, 30.0, 60.0), ()), hosts)


def main(sizes: tuple[int, ...]) -> Table:
    table = Table(title="Readiness: survey and judgement")
    for column in (
        *("hosts", "instances", "calls to Nova", "to Placement", "survey, CPU s", "assess, CPU s"),
        *("ready", "can lose"),
    ):
        table.add_column(column, justify="right")
    for hosts in sizes:
        api = Api(hosts)
        connection = api.connection()
        began = time.process_time()
        facts = collect(connection, 0.0, shared_storage=True)
        surveyed = time.process_time()
        found = assess(view_of(api.names), facts)
        ended = time.process_time()
        table.add_row(
            f"{hosts}",
            f"{len(facts.instances)}",
            f"{facts.calls['nova']}",
            f"{facts.calls['placement']}",
            f"{surveyed - began:.2f}",
            f"{ended - surveyed:.2f}",
            f"{sum(host.ready for host in found.hosts)}",
            f"{found.can_lose}",
        )
    return table


if __name__ == "__main__":
    Console().print(main(tuple(map(int, sys.argv[1:])) or SIZES))
