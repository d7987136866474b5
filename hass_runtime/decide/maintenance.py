"""A person takes a host out of service: that is no failure, and must not hide one either.

A host that was emptied first can be switched off, rebooted and taken apart; nothing on it can fail. One that
keeps its instances is left alone too, in all that is milder than its death: when it goes dark with its
instances on it, that is a failure like any other.
"""

from __future__ import annotations

from hass_runtime.decide import gates
from hass_runtime.decide.comeback import coming_back, restoration
from hass_runtime.decide.decisions import (
    CloseIncident,
    Decision,
    Escalate,
    HoldIncident,
    OpenIncident,
    SetState,
    Settle,
)
from hass_runtime.decide.ladder import hold, launch, pause_before_retry
from hass_runtime.decide.symptoms import Rung
from hass_runtime.decide.view import DRAIN, FAILURE, RESTORE, HostView, View, emptied
from hass_runtime.domain import Fault, Gate, HostState, Incident, Layer, Order, Outcome

FAULT = "maintenance"


def fault_of(host: HostView, order: Order) -> Fault:
    """What stands in the incident in place of a fault."""
    return Fault(host.name, FAULT, Layer.SERVICE, f"taken out of service by {order.by}: {order.reason}")


def begin(host: HostView, order: Order) -> list[Decision]:
    """An order for a host without an incident."""
    fault = fault_of(host, order)
    return [OpenIncident(host.name, fault, f"{FAULT}: {fault.why}")]


def swallow(host: HostView, incident: Incident, order: Order) -> list[Decision]:
    """A fault milder than the host's death is the business of whoever works on the host."""
    fault = fault_of(host, order)
    return [Escalate(incident.id, host.name, fault, f"{FAULT}: {fault.why} (was {incident.fault})")]


def in_maintenance(view: View, host: HostView, incident: Incident) -> list[Decision]:
    """What is next for a host whose incident is its maintenance."""
    if view.needs_failure(host) and not emptied(host):
        assert host.fault is not None
        decision = f"{host.fault.name}: {host.fault.why} (in maintenance, with its instances on it)"
        return [Escalate(incident.id, host.name, host.fault, decision)]
    order = host.maintenance
    if order is None:
        return _ended(view, host, incident)
    if order.drain and not emptied(host):
        return _drain(view, host, incident)
    reason = f"in maintenance by {order.by}: {order.reason}"
    decisions: list[Decision] = []
    if emptied(host) and incident.outcome is not Outcome.RECOVERED:
        left = host.last_run.reason if host.last_run is not None else ""
        decisions.append(Settle(incident.id, host.name, Outcome.RECOVERED, left or reason))
    elif not emptied(host) and (incident.outcome, incident.reason) != (Outcome.HELD, reason):
        decisions.append(HoldIncident(incident.id, host.name, "", reason))
    if host.state is not HostState.MAINTENANCE:
        decisions.append(SetState(host.name, HostState.MAINTENANCE, reason))
    return decisions


def _drain(view: View, host: HostView, incident: Incident) -> list[Decision]:
    run = host.last_run
    pause = pause_before_retry(run, view.policy.retry_interval) if run is not None else 0.0
    if run is not None and run.playbook == DRAIN and view.now < run.ended_at + pause:
        return hold(host, incident, "", f"{DRAIN} {run.status}: {run.reason}")
    # A person wants it: of all gates only the one that says that it cannot work is asked.
    for keeper in gates.asked_of(DRAIN):
        reason = keeper.ask(view, host, DRAIN) if keeper.gate is Gate.NO_TARGET else ""
        if reason:
            return hold(host, incident, keeper.gate.value, reason)
    return [launch(view, host, incident, Rung(DRAIN), "moved away for maintenance", 0, incident.tries + 1)]


def _ended(view: View, host: HostView, incident: Incident) -> list[Decision]:
    reason = "its maintenance has ended"
    if not host.begun & {DRAIN, FAILURE}:  # it was never taken out of service
        return [
            SetState(host.name, HostState.SUSPECT, reason),
            CloseIncident(incident.id, host.name, Outcome.CLEARED, reason),
        ]
    if incident.phase != RESTORE:
        return restoration(view, host, incident, 1, reason)
    if host.state is not HostState.RESTORING and host.fault is not None and not view.is_empty(host):
        decision = f"{host.fault.name}: {host.fault.why} (its maintenance has ended)"
        return [Escalate(incident.id, host.name, host.fault, decision)]
    return coming_back(view, host, incident)
