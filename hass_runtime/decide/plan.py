"""The one decision point: from the view of all hosts to what is to be done next, in order.

`decide` is asked again after its decisions were carried out, until it has nothing more to say: each call
takes every host at most one step further. Hosts are looked at in order of name, so the same view always
gives the same decisions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hass_runtime.decide import gates
from hass_runtime.decide.diagnosis import describe, signs
from hass_runtime.decide.symptoms import Sign, Symptom
from hass_runtime.decide.view import HostView, LastRun, View
from hass_runtime.domain import Fault, HostState, Incident, Outcome

FAILURE = "host_failure"
RESTORE = "host_restore"
RETRY_CAP = 300.0  # seconds: the longest pause between two attempts


@dataclass(frozen=True)
class SetState:
    """The host goes from one state to another."""

    host: str
    to: HostState
    reason: str


@dataclass(frozen=True)
class OpenIncident:
    """A fault is established."""

    host: str
    fault: Fault
    decision: str


@dataclass(frozen=True)
class Escalate:
    """The fault of an open incident turned out to be another one."""

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
    """A remediation playbook is to run now."""

    incident: int
    host: str
    playbook: str
    attempt: int
    state: HostState
    why: str


@dataclass(frozen=True)
class Settle:
    """The instances are where they should be; the incident stays open until the host is back."""

    incident: int
    host: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class CloseIncident:
    """The incident ends."""

    incident: int
    host: str
    outcome: Outcome
    reason: str


Decision = SetState | OpenIncident | Escalate | HoldIncident | Launch | Settle | CloseIncident


def decide(view: View) -> tuple[Decision, ...]:
    """What to do now. An empty answer means: nothing, until something is seen or ends.

    Decisions that launch a fence are made one host at a time against a view that already counts the
    hosts launched before it, so that gates on totals cannot be passed by several hosts at once.
    """
    done: list[Decision] = []
    for name in sorted(view.hosts):
        decisions = _host(view, view.hosts[name])
        done.extend(decisions)
        for decision in decisions:
            if isinstance(decision, Launch):
                host = replace(view.hosts[name], state=decision.state, running=decision.playbook)
                view = replace(view, hosts={**view.hosts, name: host})
    return tuple(done)


def _host(view: View, host: HostView) -> list[Decision]:
    if host.running:
        return []
    if host.incident is None:
        return _watching(view, host)
    if host.incident.phase == RESTORE or host.state in (HostState.EVACUATED, HostState.QUARANTINED):
        return _coming_back(view, host, host.incident)
    if host.incident.phase == FAILURE:
        return _after_failure_run(view, host, host.incident)
    return _not_begun(view, host, host.incident)


def _watching(view: View, host: HostView) -> list[Decision]:
    """No incident: healthy, suspect, or the moment at which a fault is established."""
    limits = view.policy.thresholds
    if host.fault is not None:
        looks = describe(host.track, view.now, limits)
        decisions: list[Decision] = []
        if host.state is not HostState.FAULTY:
            decisions.append(SetState(host.name, HostState.FAULTY, looks))
        decisions.append(OpenIncident(host.name, host.fault, f"{host.fault.name}: {host.fault.why}"))
        return decisions
    to = _looks(view, host)
    return [SetState(host.name, to, describe(host.track, view.now, limits))] if to is not host.state else []


def _looks(view: View, host: HostView) -> HostState:
    looks = signs(host.track, view.now, view.policy.thresholds)
    bad = (Sign.MISSING, Sign.SILENT, Sign.COMPLAINING)
    seen = Sign.OK in looks.values()
    return HostState.HEALTHY if seen and not any(s in bad for s in looks.values()) else HostState.SUSPECT


def _row(view: View, fault: str) -> Symptom | None:
    return next((row for row in view.policy.table if row.fault == fault), None)


def _not_begun(view: View, host: HostView, incident: Incident) -> list[Decision]:
    """An incident whose remedy has not begun: it may clear, change its fault, be held, or begin."""
    if host.fault is None:
        to = _looks(view, host)
        reason = f"nothing is wrong any more: {describe(host.track, view.now, view.policy.thresholds)}"
        if to is HostState.HEALTHY:
            return [
                SetState(host.name, to, reason),
                CloseIncident(incident.id, host.name, Outcome.CLEARED, reason),
            ]
        return _hold(host, incident, "", "waits to see whether the host is well again")
    decisions: list[Decision] = []
    if host.fault.name != incident.fault:
        decision = f"{host.fault.name}: {host.fault.why} (was {incident.fault})"
        decisions.append(Escalate(incident.id, host.name, host.fault, decision))
    row = _row(view, host.fault.name)
    if row is None or not row.remedy:
        why = f"{host.fault.name} is reported only: {host.fault.why}"
        return [*decisions, *_hold(host, incident, "", why)]
    return [*decisions, *_permit(view, host, incident, row.remedy, 1)]


def _permit(view: View, host: HostView, incident: Incident, playbook: str, attempt: int) -> list[Decision]:
    shut = gates.closed(view, host)
    if shut is not None:
        gate, reason = shut
        return _hold(host, incident, gate.value, reason)
    why = f"{host.fault.why if host.fault else incident.fault}; no gate is closed"
    if attempt > 1:
        why = f"attempt {attempt}: {why}"
    return [Launch(incident.id, host.name, playbook, attempt, HostState.FENCING, why)]


def _hold(host: HostView, incident: Incident, gate: str, reason: str) -> list[Decision]:
    decisions: list[Decision] = []
    if host.state is not HostState.HELD:
        decisions.append(SetState(host.name, HostState.HELD, f"{gate}: {reason}" if gate else reason))
    # Of a gate, the words may change with every reading; that it is closed is told once.
    known = (incident.outcome, incident.gate, gate or incident.reason)
    if known != (Outcome.HELD, gate, gate or reason):
        decisions.append(HoldIncident(incident.id, host.name, gate, reason))
    return decisions


def pause_before_retry(run: LastRun, interval: float) -> float:
    """Seconds between a failed run and the next try. A run lost with its controller is repeated at once."""
    if run.status == "lost":
        return 0.0
    return float(min(interval * 2 ** min(max(run.failures - 1, 0), 8), RETRY_CAP))


def _after_failure_run(view: View, host: HostView, incident: Incident) -> list[Decision]:
    """The fence-and-evacuate playbook is not running: it succeeded, failed, or was lost with a controller."""
    run = host.last_run
    if run is not None and run.playbook == FAILURE and run.status == "successful":
        outcome = Outcome.FAILED if run.reason else Outcome.RECOVERED
        reason = run.reason or "every instance is where it should be"
        # In this order: a crash between the two finds the run successful and settles once more.
        return [
            Settle(incident.id, host.name, outcome, reason),
            SetState(host.name, HostState.EVACUATED, reason),
        ]
    if run is not None and view.now < run.ended_at + pause_before_retry(run, view.policy.retry_interval):
        gate = "unproven" if host.state is HostState.FENCING else incident.gate
        return _hold(host, incident, gate, f"attempt {incident.attempts} {run.status}: {run.reason}")
    if host.fault is None and not host.proven_off:
        # Nothing was taken from it: a host that is well again is not switched off for an old failure.
        return _not_begun(view, host, incident)
    # Once proven off it is finished, however it looks: some of its instances may run elsewhere already.
    return _permit(view, host, incident, FAILURE, incident.attempts + 1)


def _coming_back(view: View, host: HostView, incident: Incident) -> list[Decision]:
    """The instances are safe; bring the host back, or wait until it can be."""
    run = host.last_run
    if run is not None and run.playbook == RESTORE:
        if run.status == "successful":
            return _back(view, host, incident, run)
        if host.state is HostState.RESTORING and run.status != "lost":
            spent = run.failures >= view.policy.max_attempts
            to = HostState.QUARANTINED if spent else HostState.EVACUATED
            return [SetState(host.name, to, f"restoration {run.failures} {run.status}: {run.reason}")]
        if host.state is HostState.QUARANTINED and not _shows_life(view, host):
            return []
        if view.now < run.ended_at + pause_before_retry(run, view.policy.retry_interval):
            return []
    elif not view.policy.auto_restore and not _shows_life(view, host):
        return []
    if view.disarmed or not view.policy.armed:
        return []
    why = "its instances are safe elsewhere; bring it back"
    attempt = (run.failures if run is not None and run.playbook == RESTORE else 0) + 1
    return [Launch(incident.id, host.name, RESTORE, attempt, HostState.RESTORING, why)]


def _back(view: View, host: HostView, incident: Incident, run: LastRun) -> list[Decision]:
    """Restored: ends the incident once every layer was read again, lest old readings open a new one."""
    if any(layer.reading.at < run.ended_at for layer in host.track.layers.values()):
        return []
    return [
        SetState(host.name, HostState.HEALTHY, "it is back in service"),
        CloseIncident(incident.id, host.name, incident.outcome, incident.reason),
    ]


def _shows_life(view: View, host: HostView) -> bool:
    return view.answers(host)
