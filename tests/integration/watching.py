"""Looks at a sandbox from outside: its REST interface, and the world's own truth."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests

from hass_runtime.sandbox.cluster import Sandbox


def get(sandbox: Sandbox, path: str) -> dict[str, Any]:
    """A GET of the controller's REST interface; {} while it does not answer."""
    try:
        answer = requests.get(f"{sandbox.layout.rest_url}{path}", timeout=5)
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):  # or killed amid its answer
        return {}
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body


def until(what: str, condition: Callable[[], Any], seconds: float = 90.0, pause: float = 0.2) -> Any:
    """The first true value of ``condition``; fails, saying for ``what`` it waited, after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(pause)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


def host_state(sandbox: Sandbox, name: str) -> str:
    hosts = get(sandbox, "/v1/hosts").get("hosts", [])
    return next((host["state"] for host in hosts if host["name"] == name), "")


def all_healthy(sandbox: Sandbox) -> bool:
    return all(host_state(sandbox, name) == "healthy" for name in sandbox.machines)


def incidents(sandbox: Sandbox) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get(sandbox, "/v1/incidents").get("incidents", [])
    return found


def incident_of(sandbox: Sandbox, host: str) -> dict[str, Any]:
    """The newest incident of a host in full, or {}."""
    numbers = [incident["id"] for incident in incidents(sandbox) if incident["host"] == host]
    return get(sandbox, f"/v1/incidents/{max(numbers)}") if numbers else {}


def places(sandbox: Sandbox) -> dict[str, list[str]]:
    """Where each guest really runs, by instance name, whatever Nova believes."""
    guests = sandbox.guests()
    return {name: guests["running"].get(uuid, []) for uuid, name in guests["names"].items()}


def once_elsewhere(sandbox: Sandbox, lost: str) -> bool:
    """Every instance runs exactly once, and none on the lost host."""
    return all(len(hosts) == 1 and hosts[0] != lost for hosts in places(sandbox).values())
