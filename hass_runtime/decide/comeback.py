"""The way back: an emptied host is restored, kept out for a reason, or waited for."""

from __future__ import annotations

from hass_runtime.decide.decisions import (
    CloseIncident,
    Decision,
    EndOrder,
    Launch,
    SetReserve,
    SetState,
    WantHome,
)
from hass_runtime.decide.diagnosis import signs, stale
from hass_runtime.decide.ladder import pause_before_retry
from hass_runtime.decide.reserve import is_kept, is_to_refill
from hass_runtime.decide.symptoms import Sign
from hass_runtime.decide.view import DRAIN, FAILURE, RESTORE, HostView, LastRun, View
from hass_runtime.domain import HostState, Incident, Layer, Outcome, Reserve, Verdict

BACK = "it is back in service"


def coming_back(view: View, host: HostView, incident: Incident) -> list[Decision]:
    """The instances are safe; bring the host back, or wait until it can be."""
    run = host.last_run if host.last_run is not None and host.last_run.playbook == RESTORE else None
    if run is not None and incident.phase == RESTORE:
        if run.status == "successful":
            return _back(view, host, incident, run)
        if host.state is HostState.RESTORING and run.status != "lost":
            spent = run.failures >= view.policy.max_attempts
            to = HostState.QUARANTINED if spent else HostState.EVACUATED
            return [SetState(host.name, to, f"restoration {run.failures} {run.status}: {run.reason}")]
    if host.maintenance is not None:
        by = f"in maintenance by {host.maintenance.by}: {host.maintenance.reason}"
        return [] if host.state is HostState.MAINTENANCE else [SetState(host.name, HostState.MAINTENANCE, by)]
    if host.wanted_back is not None:
        order = host.wanted_back
        return [
            *restoration(view, host, incident, 1, f"{order.by} wants it back"),
            EndOrder(order.id, host.name, "its restoration was begun"),
        ]
    kept_out = _kept_out(view, host, incident)
    if kept_out:
        if host.state in (HostState.QUARANTINED, HostState.MAINTENANCE):
            return []
        return [SetState(host.name, HostState.QUARANTINED, kept_out)]
    if view.policy.by_hand and incident.phase != RESTORE:
        return []  # until somebody wants it back
    if _not_yet(view, host, run) or view.paused(host) is not None or not view.policy.armed:
        return []
    number = (run.failures if run is not None else 0) + 1
    return restoration(view, host, incident, number, "its instances are safe elsewhere; bring it back")


def waits_for_a_person(view: View, host: HostView) -> str:
    """What to tell of a host that does not come back by itself."""
    return f"; comes back with `hass restore {host.name}`" if view.policy.by_hand else ""


def restoration(view: View, host: HostView, incident: Incident, number: int, why: str) -> list[Decision]:
    """The launch of the restoration; into the reserve, when that lacks one."""
    kept, refill = is_kept(host), is_to_refill(view, host)
    launch = Launch(
        incident.id, host.name, RESTORE, number, HostState.RESTORING, why, into_reserve=kept or refill
    )
    # In the journal first: a later try, and another controller, must not give it to Nova in between.
    first = SetReserve(host.name, Reserve.READY, "the reserve of its cluster lacks one")
    return [first, launch] if refill else [launch]


def _kept_out(view: View, host: HostView, incident: Incident) -> str:
    """Why the host stays out until a person wants it back, or ""."""
    fences = [at for at in host.fences if at > view.now - view.policy.flap_window]
    if len(fences) >= view.policy.flap_limit:
        often = f"fenced {len(fences)} times in {view.policy.flap_window:g} s"
        return f"{often}: `hass restore {host.name}` ends this"
    if host.proven_off and incident.layer == Layer.HARDWARE.value and not well(view, host):
        return f"its hardware was critical: have a look at it, then `hass restore {host.name}`"
    return ""


def _not_yet(view: View, host: HostView, run: LastRun | None) -> bool:
    if run is not None and run.status == "lost" and host.state is HostState.RESTORING:
        return False  # it was begun, and goes on
    if run is not None and view.now < run.ended_at + pause_before_retry(run, view.policy.retry_interval):
        return True
    if not host.proven_off:  # it was only drained: nothing is gained by hurry
        return bool(view.ladder(host)) or not well(view, host)
    alive = view.answers(host)
    if run is None:
        return not view.policy.auto_restore and not alive
    return host.state is HostState.QUARANTINED and not alive


def well(view: View, host: HostView) -> bool:
    """True when the host has looked well on every layer that can be seen for `healthy_delay` seconds.

    A BMC that is not believed says nothing about its host.
    """
    looks = signs(host.track, view.now, view.policy.thresholds, view.blind)
    if Sign.OK not in looks.values() or not set(looks.values()) <= {Sign.OK, Sign.UNKNOWN, Sign.DOUBTED}:
        return False
    good_since = [known.since for known in host.track.layers.values() if known.reading.verdict is Verdict.OK]
    return view.now - max(good_since) >= view.policy.healthy_delay


def _back(view: View, host: HostView, incident: Incident, run: LastRun) -> list[Decision]:
    """Restored: ends the incident once every layer was read again, lest old readings open a new one.

    What was not read for so long that it says nothing any more is not waited for.
    """
    limits = view.policy.thresholds
    awaited = [each for each in host.track.layers.values() if not stale(each, view.now, limits)]
    if any(layer.reading.at < run.ended_at for layer in awaited):
        return []
    home = view.policy.failback and bool(host.begun & {DRAIN, FAILURE}) and not is_kept(host)
    return [
        SetState(host.name, HostState.HEALTHY, "it is kept in reserve" if is_kept(host) else BACK),
        *([WantHome(incident.id, host.name, "[recovery] failback is on")] if home else []),
        CloseIncident(incident.id, host.name, *_end(incident)),
    ]


def _end(incident: Incident) -> tuple[Outcome, str]:
    """How its instances fared; an incident that had not settled that had nothing left to do."""
    if incident.outcome in (Outcome.OPEN, Outcome.HELD):
        return Outcome.CLEARED, "nothing is wrong any more, and it is back in service"
    return incident.outcome, incident.reason
