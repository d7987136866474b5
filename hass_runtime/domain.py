"""The words of the field as frozen data: hosts, readings, faults, incidents, steps and moves.

No I/O, no clock, no randomness. Times are seconds since the epoch, UTC, as float; durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Layer(str, Enum):
    """Host layers, lowest first: the lowest failed layer is the root cause."""

    POWER = "power"
    HARDWARE = "hardware"
    OS = "os"
    NETWORK = "network"
    STORAGE = "storage"
    SERVICE = "service"


class Verdict(str, Enum):
    """What a detector found. ``unknown`` is an answer like any other, never an exception.

    ``warning``: it works, and is heading for a failure.
    """

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Reading:
    """What one detector saw of one layer of one host at one moment.

    ``answered`` tells a host that spoke (even to complain) from one that was silent: a host that answers
    on any layer is not off, whatever its BMC says. ``leaving``: the host itself said that it is being shut
    down, by a person or a program that asked it to. ``boot`` names the boot that it lives in, "" when it did
    not tell: another name means that whatever ran on it has ended.
    """

    subject: str
    layer: Layer
    verdict: Verdict
    evidence: str
    at: float
    answered: bool = False
    leaving: bool = False
    boot: str = ""

    def dated(self, at: float) -> Reading:
        """The same, of another moment. Written out, since it is done with every reading of every host."""
        return Reading(
            self.subject,
            self.layer,
            self.verdict,
            self.evidence,
            at,
            self.answered,
            self.leaving,
            self.boot,
        )


class HostState(str, Enum):
    """Where a host stands in its life; `decide/lifecycle.py` holds the permitted transitions."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    FAULTY = "faulty"
    HELD = "held"
    FENCING = "fencing"
    FENCED = "fenced"
    EVACUATING = "evacuating"
    EVACUATED = "evacuated"
    RESTORING = "restoring"
    QUARANTINED = "quarantined"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True)
class Host:
    """A compute host under watch. ``bmc`` is None for a host without IPMI, a first-class citizen.

    ``more_addresses`` are those on its other networks. ``zone`` is its failure domain (a rack, a switch), ""
    when none is known. A ``reserved`` host is kept free until another one fails.
    """

    name: str
    address: str
    cluster: str = "default"
    bmc: Bmc | None = None
    zone: str = ""
    more_addresses: tuple[str, ...] = ()
    reserved: bool = False

    @property
    def addresses(self) -> tuple[str, ...]:
        """All of them, the one of its agent first."""
        return (self.address, *self.more_addresses)


class Reserve(str, Enum):
    """Whether a host is kept free. ``ready``: disabled in Nova until another host fails. ``used``: it was
    given to Nova when one did.
    """

    NONE = ""
    READY = "ready"
    USED = "used"


class Method(str, Enum):
    """Where the instances of a failed host go: wherever Nova's scheduler likes, to reserved hosts, or first
    one and then the other with what did not fit.
    """

    AUTO = "auto"
    RESERVED_HOST = "reserved_host"
    AUTO_PRIORITY = "auto_priority"
    RH_PRIORITY = "rh_priority"


@dataclass(frozen=True)
class Bmc:
    """How to reach a host's BMC. The password never shows in a repr, log or traceback."""

    address: str
    username: str
    password: str = field(repr=False)
    port: int = 623


@dataclass(frozen=True)
class Fault:
    """What is broken: the row of the symptom table that matched, and the readings that say so."""

    host: str
    name: str
    layer: Layer
    why: str
    seen: tuple[Reading, ...] = ()


class Gate(str, Enum):
    """Reasons to hold a fault back; `decide/gates.py` evaluates them in the order written here."""

    DISARMED = "disarmed"
    ISOLATED = "isolated"
    BLIND = "blind"
    STORM = "storm"
    DOMAIN = "domain"
    RATE = "rate"
    NO_TARGET = "no_target"
    UNPROVEN = "unproven"


@dataclass(frozen=True)
class Hold:
    """A closed gate and its reason in words."""

    gate: Gate
    reason: str


class Scope(str, Enum):
    """How much of the cloud a pause covers."""

    ALL = "all"
    CLUSTER = "cluster"
    HOST = "host"


@dataclass(frozen=True)
class Pause:
    """A person stopped HASS from acting: everywhere, on a cluster or on a host (``name``), and why.

    ``until`` None: until somebody arms it again.
    """

    reason: str
    by: str
    since: float
    until: float | None = None
    scope: Scope = Scope.ALL
    name: str = ""


class OrderKind(str, Enum):
    """What a person may order for a host."""

    MAINTENANCE = "maintenance"
    CONFIRM_FENCED = "confirm_fenced"
    RESTORE = "restore"
    FAILBACK = "failback"


@dataclass(frozen=True)
class Order:
    """A person's order for one host, in force from ``at`` to ``until``, or until it is ended.

    maintenance: take it out of service, moving its instances away first when ``drain``; it lasts until it is
    ended. confirm_fenced: the person has seen to it that the host is off. restore: bring it back now.
    failback: live-migrate home what ``incident`` moved away from it.
    """

    id: int
    host: str
    kind: OrderKind
    reason: str
    by: str
    at: float
    until: float | None = None
    drain: bool = False
    incident: int = 0


@dataclass(frozen=True)
class Choice:
    """A person's word on one instance, by its UUID: protected or left alone, whatever the rules say."""

    instance: str
    protected: bool
    reason: str
    by: str
    at: float
    name: str = ""


class Outcome(str, Enum):
    """How an incident stands or ended. ``open`` is the only one that is not an end, besides ``held``."""

    OPEN = "open"
    HELD = "held"
    RECOVERED = "recovered"
    FAILED = "failed"
    CLEARED = "cleared"


@dataclass(frozen=True)
class Incident:
    """One fault of one host from first sight to end. A host has at most one incident without an end.

    ``phase`` is the playbook that was launched last: "" (nothing yet), "host_failure", "host_restore", or a
    milder rung of the fault's ladder.
    ``seen`` are the readings that led to it, as plain mappings (layer, verdict, evidence, at), and ``why`` is
    the fault's own explanation; ``reason`` says why it is held or how it ended. ``fenced_at`` is when the
    host was first proven off. ``rung`` is its place in the fault's ladder of remedies, from 0, and ``tries``
    how often that rung was tried.
    """

    id: int
    host: str
    fault: str
    layer: str
    outcome: Outcome
    opened_at: float
    closed_at: float | None = None
    decision: str = ""
    gate: str = ""
    reason: str = ""
    phase: str = ""
    attempts: int = 0
    seen: tuple[Mapping[str, object], ...] = ()
    why: str = ""
    fenced_at: float | None = None
    rung: int = 0
    tries: int = 0


class StepStatus(str, Enum):
    """How a step of a remedy stands."""

    RUNNING = "running"
    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Step:
    """One task of a remediation playbook, or one decision of the controller, inside an incident.

    ``action`` is the module behind the task (``hass_fence``), "" for the controller's own.
    """

    id: int
    incident: int
    run: str
    name: str
    status: StepStatus
    started_at: float
    finished_at: float | None = None
    detail: str = ""
    action: str = ""


class MoveState(str, Enum):
    """How one instance's way from the failed host to another stands."""

    PENDING = "pending"
    ONGOING = "ongoing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    LEFT = "left"


@dataclass(frozen=True)
class Move:
    """One instance from one host to another. One that is not protected is ``left`` where it is.

    ``was`` is its vm_state before (``active``, ``stopped``, …) and what it has to be afterwards.
    ``attempts`` counts the evacuation calls made.
    """

    incident: int
    instance: str
    name: str
    source: str
    state: MoveState
    target: str = ""
    was: str = ""
    attempts: int = 0
    priority: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    reason: str = ""
