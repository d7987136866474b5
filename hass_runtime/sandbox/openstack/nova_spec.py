"""What the parent asks for: the JSON file named on the command line, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STATES = ("active", "stopped")


class SpecError(ValueError):
    """The specification is wrong; the message names the key."""


@dataclass(frozen=True)
class Boot:
    """One instance to boot: on which host, and whether it is then stopped."""

    name: str
    host: str
    state: str = "active"
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """A run. Times are in seconds, memory in MiB, disk in GiB; port 0 means any free one."""

    directory: Path
    template: Path
    hosts: tuple[str, ...]
    instances: tuple[Boot, ...] = ()
    keystone_port: int = 0
    nova_port: int = 0
    placement_port: int = 0
    vcpus: int = 10
    memory_mb: int = 8192
    disk_gb: int = 1000
    spawn_seconds: float = 0.5
    migrate_seconds: float = 0.5
    service_down_time: int = 10
    report_interval: int = 2
    shared_storage: bool = True
    debug: bool = False
    nova_conf: dict[str, dict[str, Any]] = field(default_factory=dict)


def read(path: Path) -> Spec:
    """The specification in that file.

    Raises SpecError for an unknown, missing or contradictory key, OSError when the file cannot be read.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SpecError(f"{path}: not JSON: {error}") from error
    unknown = set(raw) - set(Spec.__dataclass_fields__)
    missing = {"directory", "template", "hosts"} - set(raw)
    if unknown or missing:
        raise SpecError(f"{path}: unknown keys {sorted(unknown)}, missing keys {sorted(missing)}")
    hosts = tuple(str(host) for host in raw.pop("hosts"))
    if not hosts or len(set(hosts)) != len(hosts):
        raise SpecError(f"{path}: hosts: names must be given, each once")
    return Spec(
        directory=Path(raw.pop("directory")).resolve(),
        template=Path(raw.pop("template")).resolve(),
        hosts=hosts,
        instances=boots(raw.pop("instances", 0), hosts),
        **raw,
    )


def boots(instances: int | list[dict[str, Any]], hosts: tuple[str, ...]) -> tuple[Boot, ...]:
    """A number spreads that many instances (vm1, vm2, …) evenly; a list gives name, host, state and metadata.

    Raises SpecError for an unknown host or state.
    """
    if isinstance(instances, int):
        return tuple(Boot(f"vm{n + 1}", hosts[n % len(hosts)]) for n in range(instances))
    wanted = tuple(
        Boot(
            row["name"],
            row.get("host") or hosts[n % len(hosts)],
            row.get("state", "active"),
            row.get("metadata") or {},
        )
        for n, row in enumerate(instances)
    )
    for boot in wanted:
        if boot.host not in hosts or boot.state not in STATES:
            raise SpecError(f"instances: {boot.name}: host {boot.host!r}, state {boot.state!r}")
    return wanted
