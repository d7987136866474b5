"""Judge a recorded view again, as it was or by another policy: what it comes to for one host. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hass_runtime.decide import chores, decisions, maintenance
from hass_runtime.decide.diagnosis import describe, diagnose, signs
from hass_runtime.decide.gates import asked_of
from hass_runtime.decide.ladder import next_try
from hass_runtime.decide.plan import decide_host
from hass_runtime.decide.view import DRAIN, FAILURE, RESTORE, HostView, Policy, View
from hass_runtime.domain import HostState, Incident, Order, Outcome
from hass_runtime.store.records import Decided

_ROUNDS = 6  # opened, state, escalated, launched: one host takes fewer steps in one moment
_NEW = 0  # the number of an incident that there is only in what if


@dataclass(frozen=True)
class Verdict:
    """What a moment comes to for a host.

    ``kind`` is launched, held, cancelled, settled, closed, reported or nothing; ``what`` the playbook, gate
    or outcome; ``why`` in words; ``fault`` the name of the host's fault at that moment, "" for none.
    """

    kind: str
    what: str = ""
    why: str = ""
    fault: str = ""

    @property
    def acts(self) -> bool:
        """Whether something is done to the host: whatever is read later is read of another world."""
        return self.kind in ("launched", "cancelled")

    def same(self, other: Verdict) -> bool:
        """Whether the same is done; the words may differ."""
        return (self.kind, self.what, self.fault) == (other.kind, other.what, other.fault)


def as_decided(view: View, launched: Sequence[tuple[str, str, str]]) -> View:
    """The view as it was for a decision that others had been launched before in the same round."""
    for host, state, playbook in launched:
        if host in view.hosts:
            view = view.launched(host, HostState(state), playbook)
    return view


def of(view: View, made: Decided) -> View:
    """The view that this decision was made from."""
    return as_decided(view, made.launched)


def under(view: View, policy: Policy) -> View:
    """The same readings, diagnosed by another policy."""
    hosts = {}
    for name, host in view.hosts.items():
        track, fault = diagnose(host.track, policy.table, view.now, policy.thresholds, view.blind)
        hosts[name] = replace(host, track=track, fault=fault)
    return replace(view, policy=policy, hosts=hosts)


def without_incident(view: View, name: str) -> View:
    """The view in which nobody has established a fault of the host yet."""
    host = view.hosts[name]
    state = HostState.SUSPECT if host.incident is not None else host.state
    calm = replace(host, incident=None, state=state, last_run=None, running="", begun=frozenset())
    return replace(view, hosts={**view.hosts, name: calm})


def judge(view: View, name: str) -> Verdict:
    """What the moment comes to; of several, what is done to the host."""
    found = verdicts(view, name)
    return next((each for each in found if each.acts), found[0])


def verdicts(view: View, name: str) -> list[Verdict]:
    """All that the moment comes to, at least one, with all steps that one moment takes."""
    for _ in range(_ROUNDS):
        made = decide_host(view, name)
        host = view.hosts[name]
        fault = host.fault.name if host.fault is not None else ""
        found = [replace(each, fault=fault) for each in map(_final, made) if each is not None]
        if found:
            return found
        if not made:
            return [_idle(view, host, fault)]
        for decision in made:
            view = _step(view, name, decision)
    return [Verdict("nothing", why="the decisions do not agree with one another")]


def wanted(view: View, name: str) -> str:
    """The playbook that the host's incident is about to launch, or would be if no gate were closed."""
    host = view.hosts[name]
    incident = host.incident
    if incident is not None and incident.phase == RESTORE and view.is_empty(host):
        return RESTORE
    if incident is not None and incident.fault == maintenance.FAULT:
        return DRAIN
    if incident is not None and incident.fault in chores.PLAYBOOK:
        return chores.PLAYBOOK[incident.fault]
    ladder = view.ladder(host)
    if not ladder or (incident is not None and incident.phase == FAILURE):
        return FAILURE
    if incident is None:
        return ladder[0].playbook
    return ladder[next_try(incident, ladder, host.last_run, view.policy).rung].playbook


def gates_of(view: View, name: str, playbook: str) -> list[tuple[str, str]]:
    """Every gate that is asked before the playbook, and why it is closed, "" when it is open."""
    host = view.hosts[name]
    return [(keeper.gate.value, keeper.ask(view, host, playbook)) for keeper in asked_of(playbook)]


def _final(decision: decisions.Decision) -> Verdict | None:
    match decision:
        case decisions.Launch():
            return Verdict("launched", decision.playbook, decision.why)
        case decisions.HoldIncident(_, _, gate, reason):
            return Verdict("held", gate, reason)
        case decisions.Cancel(_, _, reason):
            return Verdict("cancelled", "", reason)
        case decisions.Settle(_, _, outcome, reason):
            return Verdict("settled", outcome.value, reason)
        case decisions.CloseIncident(_, _, outcome, reason):
            return Verdict("closed", outcome.value, reason)
        case _:
            return None


def _idle(view: View, host: HostView, fault: str) -> Verdict:
    incident = host.incident
    if incident is not None and incident.outcome is Outcome.HELD:
        return Verdict("held", incident.gate, incident.reason, fault)
    if fault and not view.ladder(host):
        return Verdict("reported", "", "it has no remedy in this cluster", fault)
    return Verdict("nothing", "", waiting(view, host), fault)


def waiting(view: View, host: HostView) -> str:
    """Why there is no fault yet, in words."""
    limits = view.policy.thresholds
    looks = describe(host.track, view.now, limits)
    shown = signs(host.track, view.now, limits, view.blind)
    row = next((row for row in view.policy.table if row.matches(shown)), None)
    if row is None or host.fault is not None:
        return looks
    held = view.now - host.track.matched_since
    wait = limits.planned if host.track.leaving else limits.transient
    return f"{looks}; {row.fault} has held for {held:.0f} s of {wait:g} s"


def _step(view: View, name: str, decision: decisions.Decision) -> View:
    host = view.hosts[name]
    match decision:
        case decisions.SetState(_, to, _):
            host = replace(host, state=to)
        case decisions.OpenIncident(_, fault, why):
            opened = Incident(
                _NEW, name, fault.name, fault.layer.value, Outcome.OPEN, view.now, decision=why, why=fault.why
            )
            host = replace(host, incident=opened, last_run=None, begun=frozenset())
        case decisions.Escalate(_, _, fault, _) if host.incident is not None:
            worse = replace(
                host.incident, fault=fault.name, layer=fault.layer.value, why=fault.why, rung=0, tries=0
            )
            host = replace(host, incident=worse)
        case decisions.EndOrder(order, _, _):
            host = replace(
                host,
                maintenance=_unless(host.maintenance, order),
                confirmed=_unless(host.confirmed, order),
                wanted_back=_unless(host.wanted_back, order),
            )
        case _:
            pass
    return replace(view, hosts={**view.hosts, name: host})


def _unless(order: Order | None, number: int) -> Order | None:
    return None if order is not None and order.id == number else order
