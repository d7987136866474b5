"""The way of one instance from a living host to another: what Nova shows in, what to do out. Pure.

A drain empties a host before it dies. Only what runs has to leave: Nova live-migrates it, the guest notices
next to nothing. What is stopped stays, and so does what somebody stops meanwhile. What somebody deletes or
moves himself is left to him.

Running a drain again is safe at any moment: the first look decides from what Nova shows, so that a live
migration which is under way is followed, whoever asked for it. Only this run's own ones are ever aborted.

Times are seconds of a monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from hass_runtime.domain import Move
from hass_runtime.remedy.moves import DONE_MIGRATION, FAILED_MIGRATION, in_flight
from hass_runtime.remedy.nova import CloudError, ComputeService, Migration, Server

MOVABLE = frozenset({"active", "paused"})
"""vm_states that Nova live-migrates."""

REASON_LENGTH = 255
"""How long the disabled_reason of a service may be."""


class DrainError(Exception):
    """The host cannot be drained; nothing was changed. One line."""


class Do(str, Enum):
    """What the state machine asks for."""

    WAIT = "wait"
    MIGRATE = "migrate"
    ABORT = "abort"
    SUCCEED = "succeed"
    FAIL = "fail"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Action:
    """What to do next, and why where a person wants to know."""

    do: Do
    reason: str = ""


@dataclass(frozen=True)
class Policy:
    """Limits, in seconds and calls. ``timeout`` is for all instances together, ``retries`` after the first.

    ``ending`` is how long a live migration may take to end once the time is over and it was aborted.
    ``keeps_disks``: the disks of an instance outlive its host (shared storage).
    """

    timeout: float = 1800.0
    retries: int = 3
    backoff: float = 2.0
    max_backoff: float = 60.0
    unanswered: float = 60.0
    ending: float = 20.0
    abort_again: float = 5.0
    keeps_disks: bool = True


@dataclass(frozen=True)
class View:
    """What Nova shows of one instance. ``migration`` is its newest live migration from the host.

    ``migration`` must not be newer than ``server``: read it first. ``why`` is what Nova says of a failed one.
    """

    server: Server | None
    migration: Migration | None = None
    why: str = ""


@dataclass(frozen=True)
class Track:
    """What is known of a move besides what Nova shows.

    ``history`` is the newest record that has been accounted for, None before the first look. ``called`` is ""
    when no call of ours is open, else "accepted" or "unanswered". ``abort_at`` is when an abort was asked for
    last. ``let_be``: somebody aborted the live migration. ``earlier`` counts those begun before this run.
    """

    move: Move
    deadline: float
    history: int | None = None
    called: str = ""
    called_at: float = 0.0
    retry_at: float = 0.0
    error: str = ""
    abort_at: float | None = None
    abort_error: str = ""
    let_be: bool = False
    earlier: int = 0


def cannot_begin(service: ComputeService) -> str:
    """Why nothing can be live-migrated from the host of this nova-compute, "" when something can."""
    if service.forced_down:
        return f"nova-compute of {service.host} is forced down"
    return "" if service.up else f"nova-compute of {service.host} is down"


def disabled_reason(ours: str, reason: str) -> str:
    """What stands in the service's disabled_reason: one line that begins with ``ours``."""
    return f"{ours} {' '.join(reason.split()) or 'drain'}"[:REASON_LENGTH]


def next_action(view: View, track: Track, now: float, policy: Policy) -> tuple[Action, Track]:
    """What to do about one instance, and what is known of its move from here on."""
    track = _observe(view, track, now, policy)
    action = _decide(view, track, now, policy)
    if action.do is Do.WAIT and now >= track.deadline:
        return _too_late(view, track, now, policy), track
    return action, track


def called(track: Track, now: float, policy: Policy, error: CloudError | None = None) -> Track:
    """After a call to live-migrate: accepted, refused, or without an answer."""
    attempts = track.move.attempts + 1
    track = replace(track, move=replace(track.move, attempts=attempts), called_at=now)
    if error is None:
        return replace(track, called="accepted")
    if error.uncertain:
        return replace(track, called="unanswered", error=str(error))
    return replace(track, called="", error=str(error), retry_at=now + _backoff(attempts, policy))


def aborted(track: Track, now: float, error: CloudError | None = None) -> Track:
    """After a call to abort."""
    return replace(track, abort_at=now, abort_error=str(error) if error is not None else "")


def news(view: View, track: Track) -> Migration | None:
    """The record that this run follows and has not accounted for yet, if Nova shows one."""
    if view.migration is None or (track.history is not None and view.migration.id <= track.history):
        return None
    return view.migration


def _backoff(attempt: int, policy: Policy) -> float:
    return float(min(policy.max_backoff, policy.backoff * 2 ** (attempt - 1)))


def _observe(view: View, track: Track, now: float, policy: Policy) -> Track:
    server = view.server
    if track.history is None:
        # A finished record of an instance that is still here tells of another day.
        past = view.migration.id if view.migration is not None else 0
        here = server is not None and server.host == track.move.source
        track = replace(track, history=past if here and not in_flight(view.migration) else past - 1)
    newest = news(view, track)
    if newest is not None and track.called == "unanswered":
        track = replace(track, called="accepted", error="")
    if newest is not None and newest.status in FAILED_MIGRATION:
        why = f": {view.why}" if view.why else ""
        return replace(
            track,
            called="",
            history=newest.id,
            error=f"live migration to {newest.target or 'any host'} ended as {newest.status}{why}",
            let_be=newest.status == "cancelled" and track.abort_at is None,
            retry_at=now + _backoff(max(track.move.attempts, 1), policy),
        )
    lost = track.called and newest is None and server is not None and not server.task_state
    if lost and now >= track.called_at + policy.unanswered:
        error = track.error or f"Nova accepted the call and began nothing within {policy.unanswered:g} s"
        track = replace(track, called="", error=error)
    return track


def _decide(view: View, track: Track, now: float, policy: Policy) -> Action:
    server, newest = view.server, news(view, track)
    if server is None:
        if newest is not None and newest.status in DONE_MIGRATION:
            return Action(Do.SUCCEED, f"deleted by somebody after it arrived on {newest.target}")
        return Action(Do.REFUSE, "deleted meanwhile")
    if server.host == track.move.source:
        return _decide_here(server, newest, track, now, policy)
    if in_flight(newest) or server.task_state == "migrating":
        return Action(Do.WAIT)
    if not server.host:
        return Action(Do.REFUSE, f"is on no host any more (vm_state {server.vm_state})")
    if server.vm_state == "error":
        return Action(Do.FAIL, f"arrived on {server.host} in error{_fault(server)}")
    if server.vm_state != track.move.was:
        return Action(Do.SUCCEED, f"is {server.vm_state} since, by somebody else's hand")
    return Action(Do.SUCCEED)


def _decide_here(
    server: Server, newest: Migration | None, track: Track, now: float, policy: Policy
) -> Action:
    if newest is not None and newest.status in DONE_MIGRATION:
        # Nova notes the new host first and the end of the live migration then.
        return Action(Do.FAIL, f"it was on {newest.target}, and somebody moved it back: left alone")
    busy = bool(server.task_state) or server.vm_state == "building"
    if in_flight(newest) or track.called or busy:
        return Action(Do.WAIT)
    if server.vm_state == "stopped":
        return Action(Do.REFUSE, _stays(track, policy))
    if server.vm_state == "error" and track.move.attempts:
        return Action(Do.FAIL, f"is in error since its live migration{_fault(server)}; {track.error}")
    if server.vm_state not in MOVABLE:
        return Action(
            Do.REFUSE, f"vm_state {server.vm_state}: Nova live-migrates only active and paused instances"
        )
    if track.let_be:
        return Action(Do.FAIL, "somebody aborted its live migration: left alone")
    if track.move.attempts > policy.retries:
        return Action(Do.FAIL, track.error)
    if now >= track.deadline or now < track.retry_at:
        return Action(Do.WAIT)
    return Action(Do.MIGRATE)


def _too_late(view: View, track: Track, now: float, policy: Policy) -> Action:
    server, newest = view.server, news(view, track)
    if in_flight(newest) and now < track.deadline + policy.ending:
        # What another began is his; and a record without a call of ours is another's.
        due = track.abort_at is None or now >= track.abort_at + policy.abort_again
        here = server is not None and server.host == track.move.source
        return Action(Do.ABORT if here and track.called and due else Do.WAIT)
    words = [f"not moved within {policy.timeout:g} s"]
    if track.abort_at is not None and not in_flight(newest):
        words = [f"not moved within {policy.timeout:g} s, then aborted"]
    else:
        words += [_describe(server, newest)]
        words += [track.error] if track.error else []
        words += [track.abort_error] if track.abort_error else []
    return Action(Do.FAIL, "; ".join(words))


def _stays(track: Track, policy: Policy) -> str:
    began = "stopped" if track.move.was == "stopped" else "stopped by somebody meanwhile"
    if policy.keeps_disks:
        return f"{began}: stays, it loses nothing if the host fails"
    return f"{began}: stays, Nova moves it only with its disk copied"


def _fault(server: Server) -> str:
    return f": {server.fault}" if server.fault else ""


def _describe(server: Server | None, newest: Migration | None) -> str:
    if server is None:
        return "gone"
    text = f"vm_state {server.vm_state}, task_state {server.task_state or 'none'}"
    if newest is not None:
        text += f", live migration {newest.id} {newest.status}"
    return text
