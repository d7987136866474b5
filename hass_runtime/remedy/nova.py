"""Nova's words as data: services, instances, evacuation records and actions, and how its calls fail.

Apart from the connection, so that whoever only decides does not load it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PRIORITY_KEY = "hass:priority"


class CloudError(Exception):
    """A call that Nova or Keystone did not carry out, as one line.

    ``status`` is the HTTP status, None when Nova gave no answer. ``uncertain`` tells a call that changes
    something and got no answer: it may have been carried out all the same. ``gone``: Nova itself, not some
    proxy on the way, says that there is no such thing.
    """

    def __init__(
        self, message: str, status: int | None = None, uncertain: bool = False, gone: bool = False
    ) -> None:
        super().__init__(" ".join(message.split()))
        self.status = status
        self.uncertain = uncertain
        self.gone = gone


@dataclass(frozen=True)
class ComputeService:
    """nova-compute of one host. ``updated_at`` changes with each of its heartbeats."""

    id: str
    host: str
    up: bool
    enabled: bool
    forced_down: bool
    disabled_reason: str
    updated_at: str


@dataclass(frozen=True)
class Server:
    """An instance as Nova shows it to an administrator."""

    id: str
    name: str
    host: str
    vm_state: str
    task_state: str
    priority: int = 0
    fault: str = ""


@dataclass(frozen=True)
class Migration:
    """Nova's record of one evacuation. Times are seconds since the epoch."""

    id: int
    instance: str
    status: str
    source: str
    target: str
    created_at: float
    updated_at: float | None = None


@dataclass(frozen=True)
class InstanceAction:
    """An entry of os-instance-actions. ``failed`` when Nova says that it ended in an error."""

    name: str
    started_at: float
    failed: bool


def parse_time(text: str) -> float:
    """Nova's or ISO 8601's time as seconds since the epoch; without a zone it is UTC. Raises ValueError."""
    moment = dt.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip()))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.timezone.utc)
    return moment.timestamp()


def to_server(raw: Mapping[str, Any]) -> Server:
    """One entry of GET /servers/detail."""
    try:
        priority = int((raw.get("metadata") or {}).get(PRIORITY_KEY, 0))
    except ValueError:
        priority = 0
    return Server(
        id=raw["id"],
        name=raw.get("name") or "",
        host=raw.get("OS-EXT-SRV-ATTR:host") or "",
        vm_state=raw.get("OS-EXT-STS:vm_state") or "",
        task_state=raw.get("OS-EXT-STS:task_state") or "",
        priority=priority,
        fault=" ".join(str((raw.get("fault") or {}).get("message") or "").split()),
    )


def to_migration(raw: Mapping[str, Any]) -> Migration:
    """One entry of GET /os-migrations."""
    updated = raw.get("updated_at")
    return Migration(
        id=int(raw["id"]),
        instance=raw.get("instance_uuid") or "",
        status=raw.get("status") or "",
        source=raw.get("source_compute") or "",
        target=raw.get("dest_compute") or "",
        created_at=parse_time(raw["created_at"]),
        updated_at=parse_time(updated) if updated else None,
    )


def to_service(raw: Mapping[str, Any]) -> ComputeService:
    """One entry of GET /os-services."""
    return ComputeService(
        id=str(raw["id"]),
        host=raw["host"],
        up=raw.get("state") == "up",
        enabled=raw.get("status") == "enabled",
        forced_down=bool(raw.get("forced_down")),
        disabled_reason=raw.get("disabled_reason") or "",
        updated_at=raw.get("updated_at") or "",
    )
