"""The one decision point: from the view of all hosts to what is to be done next, in order.

`decide` is asked again after its decisions were carried out, until it has nothing more to say: each call
takes every host at most one step further. Hosts are looked at in order of name, so the same view always
gives the same decisions.
"""

from __future__ import annotations

from hass_runtime.decide import chores, gates, maintenance
from hass_runtime.decide.comeback import coming_back, restoration, waits_for_a_person
from hass_runtime.decide.decisions import (
    Cancel,
    CloseIncident,
    Decision,
    EndOrder,
    Escalate,
    Launch,
    OpenIncident,
    SetBoot,
    SetDoubt,
    SetReserve,
    SetState,
    Settle,
)
from hass_runtime.decide.diagnosis import describe, signs
from hass_runtime.decide.ladder import climb, hold, launch, pause_before_retry
from hass_runtime.decide.reserve import is_kept
from hass_runtime.decide.symptoms import Rung, Sign
from hass_runtime.decide.view import DRAIN, FAILURE, REBOOTED, RESTORE, REVIVE, HostView, View
from hass_runtime.domain import Gate, HostState, Incident, Layer, Outcome

_BAD = frozenset({Sign.MISSING, Sign.WARNING, Sign.SILENT, Sign.COMPLAINING, Sign.DOUBTED, Sign.REBOOTED})


def decide(view: View) -> tuple[Decision, ...]:
    """What to do now. An empty answer means: nothing, until something is seen or ends.

    Decisions that launch a fence are made one host at a time against a view that already counts the
    hosts launched before it, so that gates on totals cannot be passed by several hosts at once.
    """
    done: list[Decision] = []
    for name in sorted(view.hosts):
        host = view.hosts[name]
        decisions = _host(view, host)
        boot = _known_boot(view, host)
        if boot != host.boot:
            decisions.insert(0, SetBoot(name, boot))
        if host.track.doubt != host.doubt:  # in the journal before it is acted upon, like everything
            decisions.insert(0, SetDoubt(name, host.track.doubt))
        done.extend(decisions)
        for decision in decisions:
            if isinstance(decision, Launch):
                view = view.launched(name, decision.state, decision.playbook)
            elif isinstance(decision, SetReserve):
                view = view.reserved(name, decision.reserve)
    return tuple(done)


def decide_host(view: View, name: str) -> tuple[Decision, ...]:
    """What is to be done about this host alone, as `decide` would say it: for who explains, or asks what
    if.
    """
    return tuple(_host(view, view.hosts[name]))


def _host(view: View, host: HostView) -> list[Decision]:
    incident = host.incident
    if host.running:
        return _at_work(view, host)
    if incident is None:
        return _watching(view, host)
    if incident.phase == RESTORE and view.is_empty(host):
        return coming_back(view, host, incident)
    if incident.fault == maintenance.FAULT:
        return maintenance.in_maintenance(view, host, incident)
    if incident.fault in chores.PLAYBOOK:
        if host.fault is None:
            return chores.at_chore(view, host, incident, _looks(view, host))
        if host.state in (HostState.HEALTHY, HostState.SUSPECT):
            looks = describe(host.track, view.now, view.policy.thresholds)
            return [SetState(host.name, HostState.FAULTY, looks)]
    if host.state in (HostState.EVACUATED, HostState.QUARANTINED, HostState.MAINTENANCE):
        if view.is_empty(host):
            return coming_back(view, host, incident)
        return _ailing(view, host, incident)  # drained only, and now it dies
    if incident.phase == FAILURE:
        return _after_failure_run(view, host, incident)
    if incident.phase == DRAIN and host.state is HostState.EVACUATING:
        return _after_drain(view, host, incident)
    return _ailing(view, host, incident)


_EMPTY = frozenset({HostState.EVACUATED, HostState.RESTORING, HostState.QUARANTINED, HostState.MAINTENANCE})


def _known_boot(view: View, host: HostView) -> str:
    """The boot of the host in which its instances run: the present one once somebody has seen to them, or
    when there is nobody who should.
    """
    boots, run, incident = host.track.boots, host.last_run, host.incident
    if not boots.rebooted:
        return boots.known
    revived = (
        incident is not None
        and incident.phase == REVIVE
        and run is not None
        and (run.playbook, run.status) == (REVIVE, "successful")
        and boots.since <= run.ended_at
    )
    taken_off = host.proven_off or DRAIN in host.begun
    emptied = (host.state in _EMPTY and taken_off) or host.maintenance is not None
    only_told = host.fault is not None and host.fault.name == REBOOTED and not view.ladder(host)
    seen_to = revived or emptied or (only_told and incident is not None)
    return boots.present if seen_to else boots.known


def _at_work(view: View, host: HostView) -> list[Decision]:
    """A playbook runs. A mild one must not stand in the way of what a worse failure needs; and a host that is
    well again is not switched off. Unless it had no power: then what ran on it is lost, and only a host that
    tells of its boot is known to have come back from that.
    """
    incident = host.incident
    if incident is None or host.cancelling or (host.running == RESTORE and host.proven_off):
        return []
    if host.running == FAILURE:
        if host.proven_off or host.confirmed is not None:
            return []
        if host.fault is not None and host.fault.name == REBOOTED:
            return [Cancel(incident.id, host.name, "it came back, and was not proven off")]
        lost = host.fault is not None or incident.layer == Layer.POWER.value
        if lost or _looks(view, host) is not HostState.HEALTHY:
            return []
        return [Cancel(incident.id, host.name, "it is well again, and was not proven off")]
    if host.fault is None or not view.needs_failure(host) or gates.closed(view, host) is not None:
        return []
    return [Cancel(incident.id, host.name, f"{host.fault.name}: {host.fault.why}")]


def _watching(view: View, host: HostView) -> list[Decision]:
    """No incident: healthy, suspect, or the moment at which a fault is established."""
    limits = view.policy.thresholds
    order = host.maintenance
    if order is not None and not view.needs_failure(host):
        return maintenance.begin(host, order)
    if host.fault is not None:
        looks = describe(host.track, view.now, limits)
        decisions: list[Decision] = []
        if host.state is not HostState.FAULTY:
            decisions.append(SetState(host.name, HostState.FAULTY, looks))
        decisions.append(OpenIncident(host.name, host.fault, f"{host.fault.name}: {host.fault.why}"))
        return decisions
    to = _looks(view, host)
    if to is not host.state:
        return [SetState(host.name, to, describe(host.track, view.now, limits))]
    return _spent_orders(view, host) or chores.due(view, host)


def _spent_orders(view: View, host: HostView) -> list[Decision]:
    """Orders that have nothing to do any more must not wait for the next failure."""
    spent: list[Decision] = []
    if host.wanted_back is not None and host.state is HostState.HEALTHY and not is_kept(host):
        spent.append(EndOrder(host.wanted_back.id, host.name, "it is in service"))
    if host.confirmed is not None and gates.confirmation(view, host) is None:
        spent.append(EndOrder(host.confirmed.id, host.name, "it has given a sign of life since"))
    return spent


def _looks(view: View, host: HostView) -> HostState:
    looks = signs(host.track, view.now, view.policy.thresholds, view.blind).values()
    return HostState.HEALTHY if Sign.OK in looks and _BAD.isdisjoint(looks) else HostState.SUSPECT


def _ailing(view: View, host: HostView, incident: Incident) -> list[Decision]:
    """A fault whose remedy has not begun, or whose milder rungs have ended: clears, climbs, or is held."""
    if host.fault is None:
        return _over(view, host, incident)
    if host.maintenance is not None and not view.needs_failure(host):
        return maintenance.swallow(host, incident, host.maintenance)
    if host.fault.name != incident.fault:
        decision = f"{host.fault.name}: {host.fault.why} (was {incident.fault})"
        return [Escalate(incident.id, host.name, host.fault, decision)]
    ladder = view.ladder(host)
    if not ladder:
        return hold(host, incident, "", f"{host.fault.name} is reported only: {host.fault.why}")
    return climb(view, host, incident, ladder)


def _over(view: View, host: HostView, incident: Incident) -> list[Decision]:
    """The fault is gone, before or after a mild remedy."""
    if not host.track.layers:
        return []  # this controller has only just started, and has seen nothing of it yet
    to = _looks(view, host)
    looks = describe(host.track, view.now, view.policy.thresholds)
    if to is not HostState.HEALTHY:
        if host.last_run is not None and host.last_run.status == "successful":
            return []  # its effect is coming in, reading by reading
        return hold(host, incident, "", "waits to see whether the host is well again")
    worked = host.last_run is not None and host.last_run.status == "successful"
    remedied = worked and bool(incident.phase) and incident.tries > 0  # else it was for an earlier fault
    outcome = Outcome.RECOVERED if remedied else Outcome.CLEARED
    reason = f"{incident.phase} helped: {looks}" if remedied else f"nothing is wrong any more: {looks}"
    if host.begun & {DRAIN, FAILURE}:
        # A drain has disabled it; and how far a lost or cancelled fence got, the journal may not know.
        shut = gates.switched_off(view, host)
        if shut:
            return hold(host, incident, Gate.DISARMED.value, shut)
        settled = [Settle(incident.id, host.name, outcome, reason)] if remedied else []
        return [*settled, *restoration(view, host, incident, 1, reason)]
    if incident.layer == Layer.POWER.value and outcome is Outcome.CLEARED and incident.fault == "power":
        reason = f"it came back by itself; what ran on it was stopped, and is not started by HASS: {looks}"
    return [
        SetState(host.name, to, reason),
        CloseIncident(incident.id, host.name, outcome, reason),
    ]


def _after_drain(view: View, host: HostView, incident: Incident) -> list[Decision]:
    run = host.last_run
    if run is None or run.playbook != DRAIN or run.status != "successful":
        return _ailing(view, host, incident)
    reason = run.reason or "its instances run elsewhere"
    return [
        Settle(incident.id, host.name, Outcome.RECOVERED, reason),
        SetState(host.name, HostState.EVACUATED, reason + waits_for_a_person(view, host)),
    ]


def _after_failure_run(view: View, host: HostView, incident: Incident) -> list[Decision]:
    """The fence-and-evacuate playbook is not running: it succeeded, failed, or was lost with a controller."""
    run = host.last_run
    if run is not None and run.playbook == FAILURE and run.status == "successful":
        outcome = Outcome.FAILED if run.reason else Outcome.RECOVERED
        reason = run.reason or "every instance is where it should be"
        # In this order: a crash between the two finds the run successful and settles once more.
        return [
            Settle(incident.id, host.name, outcome, reason),
            SetState(host.name, HostState.EVACUATED, reason + waits_for_a_person(view, host)),
        ]
    if run is not None and view.now < run.ended_at + pause_before_retry(run, view.policy.retry_interval):
        gate = "unproven" if host.state is HostState.FENCING else incident.gate
        return hold(host, incident, gate, f"attempt {incident.attempts} {run.status}: {run.reason}")
    other = host.fault is not None and host.fault.name != incident.fault
    if not host.proven_off and (other or not view.needs_failure(host)):
        # Nothing was taken from it: a host that is well again is not switched off for an old failure, and
        # what it has now is what the incident is about.
        return _ailing(view, host, incident)
    # Once proven off it is finished, however it looks: some of its instances may run elsewhere already.
    return _again(view, host, incident)


def _again(view: View, host: HostView, incident: Incident) -> list[Decision]:
    ladder = view.ladder(host)
    places = [place for place, rung in enumerate(ladder) if rung.playbook == FAILURE]
    place = places[0] if places else 0
    rung = ladder[place] if places else Rung(FAILURE)
    shut = gates.closed(view, host)
    if shut is not None:
        gate, reason = shut
        return hold(host, incident, gate.value, reason)
    why = f"{host.fault.why if host.fault else incident.fault}; no gate is closed"
    return [launch(view, host, incident, rung, why, place, incident.tries + 1)]
