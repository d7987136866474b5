"""What the judgement can decide: frozen data, carried out by `remedy/execute.py`."""

from __future__ import annotations

from dataclasses import dataclass

from hass_runtime.domain import Fault, HostState, Order, Outcome, Reserve


@dataclass(frozen=True)
class SetState:
    """The host goes from one state to another."""

    host: str
    to: HostState
    reason: str


@dataclass(frozen=True)
class SetDoubt:
    """What the host's BMC says of its power is not believed, and why; "": it is again."""

    host: str
    doubt: str


@dataclass(frozen=True)
class SetBoot:
    """The boot of the host in which its instances run, or in which there are none to care for."""

    host: str
    boot: str


@dataclass(frozen=True)
class SetReserve:
    """The host is kept in reserve from now on, or no longer."""

    host: str
    reserve: Reserve
    reason: str


@dataclass(frozen=True)
class OpenIncident:
    """A fault is established."""

    host: str
    fault: Fault
    decision: str


@dataclass(frozen=True)
class Escalate:
    """The fault of an open incident turned out to be another one: its ladder begins at the bottom."""

    incident: int
    host: str
    fault: Fault
    decision: str


@dataclass(frozen=True)
class HoldIncident:
    """The remedy waits; ``gate`` is empty when it is not a gate that keeps it back."""

    incident: int
    host: str
    gate: str
    reason: str


@dataclass(frozen=True)
class Launch:
    """A remediation playbook is to run now.

    ``rung`` is its place in the fault's ladder, ``tries`` the number of this try there, and ``deadline`` the
    seconds it may take (None: what the settings say). ``attempt`` counts for people. ``confirmed`` is a
    person's word that the host is off, for a fence that cannot prove it. ``beware`` are other hosts that
    instances should not go to, because they do not answer. ``reserved`` are hosts that it may give to Nova
    for the instances, the first choice first; ``into_reserve``: the host itself is to be kept out of Nova's
    scheduling.
    """

    incident: int
    host: str
    playbook: str
    attempt: int
    state: HostState
    why: str
    rung: int = 0
    tries: int = 1
    deadline: float | None = None
    confirmed: Order | None = None
    beware: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    into_reserve: bool = False


@dataclass(frozen=True)
class Cancel:
    """The playbook at work is to end: something worse has happened to the host."""

    incident: int
    host: str
    reason: str


@dataclass(frozen=True)
class Settle:
    """The instances are where they should be; the incident stays open until the host is back."""

    incident: int
    host: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class WantHome:
    """What the incident moved away from the host is to come home, since the settings say so."""

    incident: int
    host: str
    reason: str


@dataclass(frozen=True)
class CloseIncident:
    """The incident ends."""

    incident: int
    host: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class EndOrder:
    """A person's order was carried out, or there is nothing left to carry out."""

    order: int
    host: str
    reason: str


Decision = (
    SetState
    | SetDoubt
    | SetBoot
    | SetReserve
    | OpenIncident
    | Escalate
    | HoldIncident
    | Launch
    | Cancel
    | Settle
    | WantHome
    | CloseIncident
    | EndOrder
)
