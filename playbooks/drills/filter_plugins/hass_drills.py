"""Filters of the drills."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any


def drill_name(variables: Mapping[str, Any]) -> str:
    """The name that HASS and Nova have for a host of the inventory."""
    return str(variables.get("hass_host_name") or variables["inventory_hostname"])


def drill_healthy(host: str) -> dict[str, str]:
    """The goal that a host is healthy."""
    return {"host": host, "state": "healthy"}


def drill_samples(text: str) -> list[list[Any]]:
    """Lines of TIME UUID... as [time, [UUID, ...]]. A line that a power cut has torn is left out."""
    found: list[list[Any]] = []
    for line in text.splitlines():
        first, *guests = line.replace("\0", "").split() or [""]
        try:
            at = float(first)
        except ValueError:
            continue
        found.append([at, [guest for guest in guests if len(guest) == 36]])
    return found


def drill_guests(
    results: Iterable[Mapping[str, Any]], names: Mapping[str, str]
) -> dict[str, list[list[Any]]]:
    """Files and last answers of the hosts of a loop, as host -> samples. Who did not answer has none."""
    found: dict[str, list[list[Any]]] = {}
    for result in results:
        text = str(result.get("stdout", ""))
        if "content" in result:
            text = base64.b64decode(result["content"]).decode(errors="replace")
        found.setdefault(names[result["item"]], []).extend(drill_samples(text))
    return found


def drill_action(host: str, do: str, which: str = "all") -> dict[str, str]:
    """An action on a host, for a drill that breaks many."""
    return {"do": do, "host": host, "which": which}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "hass_drill_name": drill_name,
            "hass_drill_healthy": drill_healthy,
            "hass_drill_guests": drill_guests,
            "hass_drill_action": drill_action,
        }
