"""What Nova and Placement say of the cloud at one moment, frozen: what readiness and plans are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Need(str, Enum):
    """What an instance has that Nova cannot, or may not be able to, give it elsewhere."""

    VTPM = "vtpm"
    DEVICE = "device"


@dataclass(frozen=True)
class Shape:
    """What an instance asks of Placement: amounts by resource class (VCPU, MEMORY_MB in MiB, DISK_GB in GiB),
    and traits.
    """

    resources: tuple[tuple[str, int], ...]
    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class Instance:
    """An instance by Nova. ``zone`` is the availability zone that it was asked for, "" for any; ``group``
    the id of its server group. ``local_disk``: its root disk is a file of its host's, not a volume.
    ``left_alone`` is why the policy leaves it alone, "" when it is protected.
    """

    id: str
    name: str
    host: str
    vm_state: str
    shape: Shape
    priority: int = 0
    zone: str = ""
    group: str = ""
    local_disk: bool = True
    needs: frozenset[Need] = frozenset()
    left_alone: str = ""


@dataclass(frozen=True)
class Compute:
    """nova-compute of a host. ``free`` is what is left of each resource class, overcommitment included; None:
    Placement names no such host among those that have anything left.
    """

    host: str
    zone: str
    enabled: bool
    up: bool
    free: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Group:
    """A server group. ``most`` of its members may be on one host, for anti-affinity."""

    policy: str
    members: frozenset[str] = frozenset()
    most: int = 1


@dataclass(frozen=True)
class CloudFacts:
    """All of it. ``fits``: the hosts that could take one instance of that shape now, by Placement itself; a
    shape that is missing was not asked for. ``shared_storage``: every host sees the disks of all instances.
    ``calls`` counts the requests that it took, by service.
    """

    at: float
    computes: Mapping[str, Compute] = field(default_factory=dict)
    instances: tuple[Instance, ...] = ()
    groups: Mapping[str, Group] = field(default_factory=dict)
    fits: Mapping[Shape, frozenset[str]] = field(default_factory=dict)
    shared_storage: bool = True
    calls: Mapping[str, int] = field(default_factory=dict)
