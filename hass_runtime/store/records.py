"""What the store hands out: frozen records and the two ways it can fail. No SQL here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hass_runtime.domain import HostState, Layer, Reserve, Verdict


class StoreError(Exception):
    """The database did not do what was asked: down, hung, not migrated, or it refused the data. One line."""


class LeaseLost(Exception):
    """This controller does not hold the lease any more (or let it expire): nothing was written.

    Not a `StoreError` on purpose: who waits for a database to come back must not wait for a lost lease.
    """


@dataclass(frozen=True)
class Lease:
    """The right to act, held by one controller at a time.

    ``epoch`` grows with every acquisition, so that an earlier holder can be told from this one.
    ``expires_at`` is by the clock that judges it (MariaDB: the database server's), so never compare it with
    this machine's clock; ``ttl`` is in seconds.
    """

    holder: str
    epoch: int
    expires_at: float
    ttl: float = 15.0


@dataclass(frozen=True)
class LayerRow:
    """The latest reading of one layer of a host; ``since`` is when its verdict last changed."""

    subject: str
    layer: Layer
    verdict: Verdict
    evidence: str
    at: float
    since: float
    answered: bool = False


@dataclass(frozen=True)
class HostRow:
    """A watched host as the store knows it. ``bmc``: whether it has one; its credentials are never stored.

    ``doubt``: why its BMC is not believed, "" while it is. ``boot`` names the one in which its instances
    run. ``reserve``: whether it is kept free for the instances of another.
    """

    name: str
    cluster: str
    address: str
    bmc: bool
    state: HostState
    since: float | None
    reason: str
    layers: Mapping[Layer, LayerRow] = field(default_factory=dict)
    doubt: str = ""
    boot: str = ""
    reserve: Reserve = Reserve.NONE


@dataclass(frozen=True)
class Run:
    """One start of one remediation playbook. ``status`` is "running" until it has ended."""

    id: str
    incident: int
    playbook: str
    attempt: int
    pid: int | None
    run_dir: str
    status: str
    rc: int | None
    reason: str
    started_at: float
    finished_at: float | None


@dataclass(frozen=True)
class Decided:
    """One decision of an incident, and the snapshot that it was made from.

    ``kind`` is opened, escalated, held, launched, cancelled, settled or closed; ``what`` the fault, gate,
    playbook or outcome that it is about. ``launched`` are (host, state, playbook) of the remedies that were
    launched before it, from the same snapshot: they counted already. ``snapshot`` is 0 until it is stored.
    """

    incident: int
    at: float
    kind: str
    what: str
    words: str
    launched: tuple[tuple[str, str, str], ...] = ()
    snapshot: int = 0
