"""From power cut to the last instance ACTIVE, leg by leg, and the same evacuations by direct API calls.

Both are done on the same embedded cloud in one run, so their ratio says something on any machine; the seconds
themselves only compare with seconds of the same machine. Usage: benchmarks/recovery.py [INSTANCES [ROUNDS]]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import openstack
import requests
from rich.console import Console
from rich.table import Table

from hass_runtime.sandbox.cluster import Sandbox

LOST = "compute2"
MICROVERSION = "2.94"
LEGS = (
    ("power cut → fault established", "cut", "detected"),
    ("fault established → first task of the playbook", "detected", "first_task"),
    ("first task → host proven off (fenced)", "first_task", "fenced"),
    ("fenced → first evacuation call", "fenced", "first_call"),
    ("first evacuation call → last instance ACTIVE", "first_call", "last_active"),
)


def get(sandbox: Sandbox, path: str) -> Any:
    answer = requests.get(f"{sandbox.layout.rest_url}{path}", timeout=10)
    answer.raise_for_status()
    return answer.json()


def until(what: str, condition: Callable[[], Any], seconds: float = 180.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise SystemExit(f"not within {seconds:.0f} s: {what}")


def moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def healthy(sandbox: Sandbox) -> bool:
    return all(host["state"] == "healthy" for host in get(sandbox, "/v1/hosts")["hosts"])


def by_hass(sandbox: Sandbox) -> dict[str, float]:
    """Cut the power, let the daemon do it all; the moments of the incident, in seconds since the epoch."""
    before = {incident["id"] for incident in get(sandbox, "/v1/incidents")["incidents"]}
    cut = time.time()
    sandbox.power_cut(LOST)

    def settled() -> Any:
        new = [i for i in get(sandbox, "/v1/incidents")["incidents"] if i["id"] not in before]
        return new[0] if new and new[0]["outcome"] in ("recovered", "failed") else None

    number = until("the instances are recovered", settled)["id"]
    incident = get(sandbox, f"/v1/incidents/{number}")
    states = {move["state"] for move in incident["moves"]}
    if states != {"succeeded"}:
        raise SystemExit(f"incident {number}: not every move succeeded: {incident['reason']}")
    tasks = [step for step in incident["steps"] if step["run"]]
    fence = next(step for step in tasks if step["action"] == "hass_fence")
    return {
        "cut": cut,
        "detected": moment(incident["opened_at"]),
        "first_task": min(moment(step["started_at"]) for step in tasks),
        "fenced": moment(fence["finished_at"]),
        "first_call": min(moment(move["started_at"]) for move in incident["moves"]),
        "last_active": max(moment(move["finished_at"]) for move in incident["moves"]),
    }


def directly(sandbox: Sandbox, cloud: Any) -> float:
    """The floor: seconds for the same evacuations by API calls alone, of a host known to be dead."""
    sandbox.command("compute_stop", host=LOST, power=True)
    compute = cloud.compute
    service = next(s for s in compute.services(binary="nova-compute") if s.host == LOST)
    servers = [s for s in compute.servers(all_projects=True, details=True) if s.compute_host == LOST]
    began = time.monotonic()
    compute.update_service_forced_down(service, forced=True)

    def evacuate(server: Any) -> None:
        answer = compute.post(
            f"/servers/{server.id}/action", json={"evacuate": {}}, microversion=MICROVERSION
        )
        answer.raise_for_status()

    def arrived(server: Any) -> bool:
        now = compute.get_server(server.id)
        return bool(now.compute_host != LOST and now.status == "ACTIVE" and not now.task_state)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(evacuate, servers))
        until("the direct evacuations are done", lambda: all(pool.map(arrived, servers)))
    took = time.monotonic() - began
    sandbox.command("compute_start", host=LOST)

    def lifted() -> bool:
        try:
            compute.update_service_forced_down(service, forced=False)
        except openstack.exceptions.BadRequestException:
            return False
        return True

    until("force-down can be lifted", lifted)
    return took


def populate(sandbox: Sandbox, count: int, name: str) -> None:
    """As many instances on the host to be lost in every round."""
    for number in range(count):
        sandbox.command("boot", name=f"{name}-{number}", host=LOST, state="active")


def main(instances: int, rounds: int) -> None:
    console = Console()
    console.print(f"Embedded cloud: 3 hosts, {instances} instances on the host that is lost, {rounds} rounds")
    legs: list[dict[str, float]] = []
    floors: list[float] = []
    for number in range(rounds):
        # A cloud of its own for each round: capacity and load are the same in all.
        with Sandbox(hosts=3, instances=0) as sandbox:
            until("all hosts are healthy", lambda: healthy(sandbox))
            cloud = openstack.connect(**sandbox.endpoints.connect_args())
            populate(sandbox, instances, "hass")
            legs.append(by_hass(sandbox))
            until("the host is back", lambda: healthy(sandbox))
            sandbox.controller_kill()
            populate(sandbox, instances, "direct")
            floors.append(directly(sandbox, cloud))
        console.print(f"round {number + 1} of {rounds} is done")
    table = Table("leg", "median s", "min", "max")

    def row(title: str, values: list[float]) -> None:
        table.add_row(title, *(f"{f(values):.2f}" for f in (statistics.median, min, max)))

    for title, begin, end in LEGS:
        row(title, [times[end] - times[begin] for times in legs])
    table.add_section()
    row("power cut → last instance ACTIVE", [times["last_active"] - times["cut"] for times in legs])
    row("the same evacuations by direct API calls (floor)", floors)
    console.print(table)
    ratio = statistics.median(
        (times["last_active"] - times["first_call"]) / floor
        for times, floor in zip(legs, floors, strict=True)
    )
    whole = statistics.median(
        (times["last_active"] - times["cut"]) / floor for times, floor in zip(legs, floors, strict=True)
    )
    console.print(f"evacuation by HASS / direct calls: {ratio:.2f}; everything / direct calls: {whole:.2f}")


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:3]]
    main(*(words + [2, 3][len(words) :]))
