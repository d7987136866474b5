"""Which rung of a fault's ladder is next: the same once more, or the next one when its tries are used up."""

from __future__ import annotations

from dataclasses import dataclass

from hass_runtime.decide import gates
from hass_runtime.decide.decisions import Decision, HoldIncident, Launch, SetState
from hass_runtime.decide.reserve import reserve_for
from hass_runtime.decide.symptoms import Rung
from hass_runtime.decide.view import DRAIN, FAILURE, HostView, LastRun, Policy, View
from hass_runtime.domain import HostState, Incident, Outcome

RETRY_CAP = 300.0  # seconds: the longest pause between two attempts
UNFINISHED = ("lost", "cancelled")  # a run that ended so says nothing about its remedy


@dataclass(frozen=True)
class Try:
    """The next try: which rung, the number of the try there, and not before when. ``why`` says what was."""

    rung: int
    number: int
    not_before: float = 0.0
    why: str = ""


def pause_before_retry(run: LastRun, interval: float) -> float:
    """Seconds between a failed run and the next try. A run lost with its controller is repeated at once."""
    if run.status in UNFINISHED:
        return 0.0
    return float(min(interval * 2 ** min(max(run.failures - 1, 0), 8), RETRY_CAP))


def next_try(incident: Incident, ladder: tuple[Rung, ...], run: LastRun | None, policy: Policy) -> Try:
    """What follows on how the last run of this incident went. ``ladder`` is not empty."""
    rung = min(incident.rung, len(ladder) - 1)
    if run is None or incident.tries == 0 or run.playbook != ladder[rung].playbook:
        return Try(rung, max(incident.tries, 1))
    if run.status in UNFINISHED:
        return Try(rung, incident.tries)
    if run.status == "successful":
        told = f"{run.playbook} ended well, and the fault is still there"
        again, onward = run.ended_at + policy.settle, run.ended_at + policy.settle
    else:
        told = f"{run.playbook} {run.status}: {run.reason}"
        again, onward = run.ended_at + pause_before_retry(run, policy.retry_interval), run.ended_at
    if incident.tries < ladder[rung].tries:
        return Try(rung, incident.tries + 1, again, told)
    if rung + 1 < len(ladder):
        return Try(rung + 1, 1, onward, told)
    return Try(rung, incident.tries + 1, again, told)


_STATE = {FAILURE: HostState.FENCING, DRAIN: HostState.EVACUATING}


def climb(view: View, host: HostView, incident: Incident, ladder: tuple[Rung, ...]) -> list[Decision]:
    """Launch the next try, or hold the incident with the reason why it cannot be launched yet."""
    turn = next_try(incident, ladder, host.last_run, view.policy)
    if view.now < turn.not_before:
        waits_for_effect = host.last_run is not None and host.last_run.status == "successful"
        return [] if waits_for_effect else hold(host, incident, "", turn.why)
    rung = ladder[turn.rung]
    shut = gates.closed(view, host, rung.playbook)
    if shut is not None:
        gate, reason = shut
        return hold(host, incident, gate.value, reason)
    why = f"{host.fault.why if host.fault else incident.fault}; no gate is closed"
    if turn.why:
        why = f"{turn.why}; {why}"
    return [launch(view, host, incident, rung, why, turn.rung, turn.number)]


def launch(
    view: View, host: HostView, incident: Incident, rung: Rung, why: str, place: int, number: int
) -> Launch:
    """The launch of one try of a rung, with the state that the host enters."""
    fences = rung.playbook == FAILURE
    attempt = incident.attempts + 1 if fences else number
    return Launch(
        incident.id,
        host.name,
        rung.playbook,
        attempt,
        _STATE.get(rung.playbook, HostState.FAULTY),
        f"attempt {attempt}: {why}" if attempt > 1 else why,
        place,
        number,
        rung.deadline,
        gates.confirmation(view, host) if fences else None,
        view.silent_beside(host) if fences else (),
        reserve_for(view, host) if fences else (),
    )


def hold(host: HostView, incident: Incident, gate: str, reason: str) -> list[Decision]:
    """Keep the remedy back, and say why once."""
    decisions: list[Decision] = []
    if host.state is not HostState.HELD:
        decisions.append(SetState(host.name, HostState.HELD, f"{gate}: {reason}" if gate else reason))
    # Of a gate, the words may change with every reading; that it is closed is told once.
    known = (incident.outcome, incident.gate, gate or incident.reason)
    if known != (Outcome.HELD, gate, gate or reason):
        decisions.append(HoldIncident(incident.id, host.name, gate, reason))
    return decisions
