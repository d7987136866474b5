"""Nova's words as data: services, instances, evacuation records and actions, and how its calls fail.

Apart from the connection, so that whoever only decides does not load it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hass_runtime.decide.protection import Aggregate

if TYPE_CHECKING:
    from openstack.resource import Resource

PRIORITY_KEY = "hass:priority"
MAX_PRIORITY = 1_000_000
"""Tenants write the priority: whatever they write, it stays within plus and minus this."""

_INTEGER = re.compile(r"([+-]?)0*([0-9]+)")  # ASCII digits only, unlike \d


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
    """An instance as Nova shows it to an administrator. ``image`` is the id of its image, if it has one."""

    id: str
    name: str
    host: str
    vm_state: str
    task_state: str
    priority: int = 0
    fault: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    project: str = ""
    flavor: str = ""
    flavor_specs: Mapping[str, str] = field(default_factory=dict)
    image: str = ""


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
    """An entry of os-instance-actions. ``failed`` when Nova says that it ended in an error.

    ``internal``: nobody asked for it. A nova-compute that finds a guest off notes a stop of its own, which
    has neither a user nor a project.
    """

    name: str
    started_at: float
    failed: bool
    internal: bool = False


def parse_time(text: str) -> float:
    """Nova's or ISO 8601's time as seconds since the epoch; without a zone it is UTC. Raises ValueError."""
    moment = dt.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip()))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.timezone.utc)
    return moment.timestamp()


def parse_priority(text: object) -> int:
    """A `hass:priority`: a decimal integer within MAX_PRIORITY, cut off there; 0 for anything else."""
    found = _INTEGER.fullmatch(str(text).strip(" "))
    if found is None:
        return 0
    sign, digits = found.groups()
    # By length first: Python refuses to read numbers of thousands of digits.
    size = MAX_PRIORITY if len(digits) > len(str(MAX_PRIORITY)) else min(int(digits), MAX_PRIORITY)
    return -size if sign == "-" else size


def to_server(row: Resource) -> Server:
    """openstacksdk's Server. Raises ValueError when it is none."""
    if row.name is None:
        raise ValueError("no server")
    return Server(
        id=row.id,
        name=row.name,
        host=row.compute_host or "",
        vm_state=row.vm_state or "",
        task_state=row.task_state or "",
        priority=parse_priority((row.metadata or {}).get(PRIORITY_KEY, 0)),
        fault=" ".join(str((row.fault or {}).get("message") or "").split()),
        metadata=_texts(row.metadata),
        project=row.project_id or "",
        flavor=_part(row.flavor, "original_name") or _part(row.flavor, "name"),
        flavor_specs=_texts(_raw(row.flavor).get("extra_specs")),
        image=_part(row.image, "id"),
    )


def _raw(part: object) -> Mapping[str, Any]:
    """What Nova embeds in an answer, as openstacksdk hands it out: a resource, a mapping, or "" for none."""
    return part if isinstance(part, Mapping) else {}


def _part(part: object, key: str) -> str:
    return str(_raw(part).get(key) or "")


def _texts(part: object) -> dict[str, str]:
    return {str(key): str(value) for key, value in _raw(part).items()}


def to_migration(row: Resource) -> Migration:
    """openstacksdk's Migration. Raises ValueError and the like when it is none."""
    return Migration(
        id=int(row.id),
        instance=row.server_id or "",
        status=row.status or "",
        source=row.source_compute or "",
        target=row.dest_compute or "",
        created_at=parse_time(row.created_at),
        updated_at=parse_time(row.updated_at) if row.updated_at else None,
    )


def to_service(row: Resource) -> ComputeService:
    """openstacksdk's Service. Raises ValueError when it is none."""
    if not row.id or not row.host:
        raise ValueError("no compute service")
    return ComputeService(
        id=str(row.id),
        host=row.host,
        up=row.state == "up",
        enabled=row.status == "enabled",
        forced_down=bool(row.is_forced_down),
        disabled_reason=row.disabled_reason or "",
        updated_at=row.updated_at or "",
    )


def to_aggregate(row: Resource) -> Aggregate:
    """openstacksdk's Aggregate. Raises ValueError when it is none."""
    if not row.name:
        raise ValueError("no host aggregate")
    return Aggregate(row.name, _texts(row.metadata), str(row.id))


def to_action(row: Resource) -> InstanceAction:
    """openstacksdk's ServerAction. Raises AttributeError and the like when it is none."""
    internal = not row.user_id and not row.project_id
    return InstanceAction(row.action, parse_time(row.start_time), row.message == "Error", internal)
