"""What is done to a host that is well: it is put in reserve, or what was moved away from it comes home.

Each is an incident of its own, so that it is told, journalled and finished after a crash like all that HASS
does; and each gives way at once to a fault, and to a person who wants the host for something else.
"""

from __future__ import annotations

from hass_runtime.decide import gates
from hass_runtime.decide.decisions import (
    CloseIncident,
    Decision,
    EndOrder,
    Launch,
    OpenIncident,
    SetReserve,
    SetState,
)
from hass_runtime.decide.diagnosis import describe
from hass_runtime.decide.ladder import hold, pause_before_retry
from hass_runtime.decide.reserve import is_kept, is_surplus
from hass_runtime.decide.view import FAILBACK, KEEP, HostView, View
from hass_runtime.domain import Fault, Gate, HostState, Incident, Layer, Outcome, Reserve

RESERVE = "reserve"
RELEASE = "release"
COMING_HOME = "failback"
BY_SETTING = "the settings"
"""Who orders what nobody has ordered."""
PLAYBOOK = {RESERVE: KEEP, RELEASE: KEEP, COMING_HOME: FAILBACK}
"""What stands in the incident in place of a fault, and the playbook that does it."""


def due(view: View, host: HostView) -> list[Decision]:
    """What is to be done to a host that is healthy and has no incident."""
    if host.state is not HostState.HEALTHY:
        return []
    fault = None
    if host.host.reserved and host.reserve is Reserve.NONE and not gates.switched_off(view, host):
        why = "it is a reserved host: kept out of Nova's scheduling until another host fails"
        fault = Fault(host.name, RESERVE, Layer.SERVICE, why)
    elif is_kept(host) and host.wanted_back is not None:
        order = host.wanted_back
        why = f"taken out of the reserve by {order.by}" + (f": {order.reason}" if order.reason else "")
        fault = Fault(host.name, RELEASE, Layer.SERVICE, why)
    elif is_surplus(view, host) and not gates.switched_off(view, host):
        why = "the reserve of its cluster has more hosts than are configured"
        fault = Fault(host.name, RELEASE, Layer.SERVICE, why)
    elif host.failback is not None:
        order = host.failback
        told = f": {order.reason}" if order.reason else ""
        why = f"what incident {order.incident} moved away is to come home, by {order.by}{told}"
        fault = Fault(host.name, COMING_HOME, Layer.SERVICE, why)
    return [OpenIncident(host.name, fault, f"{fault.name}: {fault.why}")] if fault is not None else []


def at_chore(view: View, host: HostView, incident: Incident, looks: HostState) -> list[Decision]:
    """What is next. ``looks``: healthy or suspect, by what is read of it now."""
    run = host.last_run if host.last_run is not None and host.last_run.playbook == incident.phase else None
    if run is not None and run.status == "successful":
        return _done(host, incident, run.reason)
    if incident.fault == COMING_HOME and run is not None and run.status not in ("lost", "cancelled"):
        return _done(host, incident, run.reason or run.status, failed=True)  # it is for a person to ask again
    if host.maintenance is not None or (incident.fault == COMING_HOME and host.failback is None):
        reason = "in maintenance" if host.maintenance is not None else "it was taken back"
        return [CloseIncident(incident.id, host.name, Outcome.CLEARED, reason)]
    if host.state not in (looks, HostState.HELD) and host.state in (HostState.HEALTHY, HostState.SUSPECT):
        words = describe(host.track, view.now, view.policy.thresholds)
        return [SetState(host.name, looks, words)]
    if looks is not HostState.HEALTHY:
        return []
    shut = gates.switched_off(view, host)
    ordered = host.failback is not None and host.failback.by != BY_SETTING
    if shut and not ordered:  # a person who orders a failback means it
        return hold(host, incident, Gate.DISARMED.value, shut)
    if run is not None and view.now < run.ended_at + pause_before_retry(run, view.policy.retry_interval):
        return hold(host, incident, "", f"{run.playbook} {run.status}: {run.reason}")
    number = (run.failures if run is not None else 0) + 1
    playbook, kept = PLAYBOOK[incident.fault], incident.fault == RESERVE
    return [
        Launch(incident.id, host.name, playbook, number, HostState.HEALTHY, incident.why, into_reserve=kept)
    ]


def _done(host: HostView, incident: Incident, trouble: str, failed: bool = False) -> list[Decision]:
    decisions: list[Decision] = []
    if incident.fault == RESERVE:
        decisions.append(SetReserve(host.name, Reserve.READY, "it is disabled in Nova until it is needed"))
        reason = trouble or "kept in reserve"
    elif incident.fault == RELEASE:
        reason = trouble or "in service"
        decisions.append(SetReserve(host.name, Reserve.USED, "it is enabled in Nova"))
        if host.wanted_back is not None:
            decisions.append(EndOrder(host.wanted_back.id, host.name, reason))
    else:
        reason = trouble or "what was moved away is home again"
        if host.failback is not None:
            decisions.append(EndOrder(host.failback.id, host.name, reason))
    outcome = Outcome.FAILED if failed or trouble else Outcome.RECOVERED
    return [*decisions, CloseIncident(incident.id, host.name, outcome, reason)]
