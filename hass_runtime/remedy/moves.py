"""The way of one instance from the failed host to another, as a pure state machine.

`next_action` takes what Nova shows of the instance, what is known of its move, and the time, and says what
to do. It calls nothing. What makes it safe to start again at any moment is that it trusts what it sees, not
what was done before: an instance that is elsewhere has arrived, one that is being rebuilt is followed.

Two traps of Nova are in here. A server that is being evacuated shows for some tenths of a second ACTIVE, no
task, and still its old host: only the evacuation's own record tells that from a server nobody touched. And
a record of an earlier failure of the same host looks like one of this evacuation: only those newer than the
first look count.

Times are seconds of a monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from hass_runtime.domain import Move
from hass_runtime.remedy.nova import CloudError, InstanceAction, Migration, Server

EVACUABLE = frozenset({"active", "stopped", "error"})
"""vm_states that Nova evacuates."""

POWER_STATES = frozenset({"active", "stopped"})
"""vm_states that an instance gets back after its evacuation."""

FAILED_MIGRATION = frozenset({"error", "failed", "cancelled"})
DONE_MIGRATION = frozenset({"done", "completed"})

_STOPPING = frozenset({"stop"})
_RUNNING = frozenset({"create", "start", "reboot", "resume", "unpause", "unrescue", "unshelve", "restore"})


class Do(str, Enum):
    """What the state machine asks for."""

    WAIT = "wait"
    EVACUATE = "evacuate"
    START = "start"
    STOP = "stop"
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
    """Limits of one move, in seconds and calls. ``retries`` are calls after the first."""

    timeout: float = 300.0
    retries: int = 3
    backoff: float = 2.0
    max_backoff: float = 20.0
    foreign_task: float = 30.0
    unanswered: float = 60.0
    power: float = 20.0


@dataclass(frozen=True)
class View:
    """What Nova shows of one instance. ``migration`` is its newest evacuation from the failed host.

    ``migration`` must not be newer than ``server``: read it first. ``since_arrival`` names what was done to
    the instance after it was evacuated, oldest first; only needed when its power state is not the expected
    one. ``target_down``: Nova takes the host that it is on its way to for down; only needed at the deadline.
    """

    server: Server | None
    migration: Migration | None = None
    since_arrival: tuple[str, ...] = ()
    target_down: bool = False


@dataclass(frozen=True)
class Track:
    """What is known of a move besides what Nova shows.

    ``history`` is the newest evacuation record that has been accounted for, None before the first look.
    ``called`` is "" when no call of ours is open, else "accepted" or "unanswered".
    ``earlier`` counts the evacuations of the instance that were begun before this run;
    ``derived`` tells that what it was could not be seen any more, only concluded.
    """

    move: Move
    deadline: float
    history: int | None = None
    called: str = ""
    called_at: float = 0.0
    retry_at: float = 0.0
    error: str = ""
    refused: bool = False
    foreign_since: float | None = None
    power_calls: int = 0
    power_until: float = 0.0
    earlier: int = 0
    derived: bool = False


def in_flight(migration: Migration | None) -> bool:
    """Whether Nova still works on it. A status that we do not know counts as work."""
    return migration is not None and migration.status not in FAILED_MIGRATION | DONE_MIGRATION


def rebuilding(server: Server) -> bool:
    return server.task_state.startswith("rebuild")


def vm_state_tells(server: Server | None, source: str, migration: Migration | None) -> bool:
    """Whether the vm_state still says what the instance was, because nothing has been done to it yet."""
    return (
        server is not None
        and server.host == source
        and server.vm_state != "error"
        and not rebuilding(server)
        and not in_flight(migration)
    )


def was_before(actions: tuple[InstanceAction, ...]) -> str:
    """What the instance was before its newest evacuation, "active" or "stopped", when its vm_state is no
    help.

    The newest action before it that changed the power decides; earlier tries to evacuate do not count. An
    instance in error that was never evacuated is judged by all of its actions. ``actions`` oldest first.
    """
    names = [action for action in actions if not action.failed or action.name == "evacuate"]
    evacuations = [index for index, action in enumerate(names) if action.name == "evacuate"]
    # Without an evacuation among the actions (an instance in error) everything counts.
    before = names[: evacuations[-1]] if evacuations else names
    for action in reversed(before):
        if action.name in _STOPPING:
            return "stopped"
        if action.name in _RUNNING:
            return "active"
    return "active"


def wished_since(actions: tuple[InstanceAction, ...], at: float) -> str:
    """What a person wished the power to be at ``at`` or later and before the newest evacuation, "active" or
    "stopped"; "" when nobody did.

    What Nova notes by itself is nobody's wish: a nova-compute that starts again after its host was off finds
    the guests off, and notes a stop of each. ``actions`` oldest first.
    """
    names = [action.name for action in actions]
    end = len(names) - names[::-1].index("evacuate") - 1 if "evacuate" in names else len(names)
    for action in reversed(actions[:end]):
        if action.failed or action.internal or action.started_at < at:
            continue
        if action.name in _STOPPING:
            return "stopped"
        if action.name in _RUNNING:
            return "active"
    return ""


def stopped_by_the_failure(actions: tuple[InstanceAction, ...], began: float) -> bool:
    """Whether an instance that is stopped was running until its host failed, and nobody wished it to stop.

    ``began`` is when its host had surely failed: a stop that Nova noted by itself later comes from the host's
    return, not from a guest that shut itself down.
    ``actions`` oldest first.
    """
    power = [each for each in actions if not each.failed and each.name in _STOPPING | _RUNNING]
    noted = power[-1] if power and power[-1].internal and power[-1].name in _STOPPING else None
    if noted is None or noted.started_at < began:
        return False
    if wished := wished_since(actions, began):
        return wished == "active"
    earlier = [each for each in power if each.started_at < began]
    return not earlier or earlier[-1].name in _RUNNING


def after_evacuation(actions: tuple[InstanceAction, ...]) -> tuple[str, ...]:
    """Names of what was done since the newest evacuation, oldest first."""
    names = [action.name for action in actions if not action.failed or action.name == "evacuate"]
    if "evacuate" not in names:
        return ()
    return tuple(names[len(names) - names[::-1].index("evacuate") :])


def by_somebody(vm_state: str, since_arrival: tuple[str, ...]) -> bool:
    """Whether a power state that is not the expected one is somebody's wish: HASS only ever undoes the
    opposite.
    """
    if vm_state in ("active", "stopped"):
        return bool((_STOPPING if vm_state == "stopped" else _RUNNING).intersection(since_arrival))
    return bool(since_arrival)


def next_action(view: View, track: Track, now: float, policy: Policy) -> tuple[Action, Track]:
    """What to do about one instance, and what is known of its move from here on."""
    track = _observe(view, track, now, policy)
    action = _decide(view, track, now, policy)
    if action.do is Do.WAIT and now >= track.deadline:
        error = f"; {track.error}" if track.error else ""
        return (
            Action(Do.FAIL, f"not done after {policy.timeout:g} s: {_describe(view)}{error}{_helps(view)}"),
            track,
        )
    return action, track


def called(track: Track, now: float, policy: Policy, error: CloudError | None = None) -> Track:
    """After an evacuation call: accepted, refused, or without an answer."""
    attempts = track.move.attempts + 1
    track = replace(track, move=replace(track.move, attempts=attempts), called_at=now)
    if error is None:
        return replace(track, called="accepted")
    if error.uncertain:
        return replace(track, called="unanswered", error=str(error))
    return replace(
        track,
        called="",
        error=str(error),
        # 409 that is still there at the last try, with the instance in a state that Nova evacuates, is a
        # property of the instance (a vTPM, a device): nothing that doing it once more would change.
        refused=error.status == 409,
        retry_at=now + _backoff(attempts, policy),
    )


def power_called(track: Track, now: float, policy: Policy, error: CloudError | None = None) -> Track:
    """After a start or stop call."""
    wait = policy.power if error is None or error.uncertain else _backoff(track.power_calls + 1, policy)
    return replace(
        track,
        power_calls=track.power_calls + 1,
        power_until=now + wait,
        error=str(error) if error is not None else track.error,
    )


def _backoff(attempt: int, policy: Policy) -> float:
    return float(min(policy.max_backoff, policy.backoff * 2 ** (attempt - 1)))


def _newest(view: View, track: Track) -> Migration | None:
    """The evacuation record of this move, if Nova shows one."""
    if view.migration is None or (track.history is not None and view.migration.id <= track.history):
        return None
    return view.migration


def _observe(view: View, track: Track, now: float, policy: Policy) -> Track:
    server, source = view.server, track.move.source
    if track.history is None:
        # A finished record while the instance is still here belongs to an earlier failure of this host.
        past = view.migration.id if view.migration is not None else 0
        here = server is not None and server.host == source and not rebuilding(server)
        track = replace(track, history=past if here and not in_flight(view.migration) else past - 1)
    newest = _newest(view, track)
    if newest is not None and track.called == "unanswered":
        track = replace(track, called="accepted", error="")
    if newest is not None and newest.status in FAILED_MIGRATION:
        fault = f": {server.fault}" if server is not None and server.fault else ""
        track = replace(
            track,
            called="",
            history=newest.id,
            error=f"evacuation to {newest.target or 'any host'} ended as {newest.status}{fault}",
            refused=False,
            retry_at=now + _backoff(max(track.move.attempts, 1), policy),
        )
    if (
        track.called == "unanswered"
        and newest is None
        and server is not None
        and not server.task_state
        and now >= track.called_at + policy.unanswered
    ):
        track = replace(track, called="")
    foreign = server is not None and bool(server.task_state) and not rebuilding(server)
    since = (track.foreign_since if track.foreign_since is not None else now) if foreign else None
    return replace(track, foreign_since=since)


def _decide(view: View, track: Track, now: float, policy: Policy) -> Action:
    server = view.server
    if server is None:
        newest = _newest(view, track)
        if newest is not None and newest.status in DONE_MIGRATION:
            return Action(Do.SUCCEED, f"deleted by somebody after it arrived on {newest.target}")
        return Action(Do.REFUSE, "deleted meanwhile")
    if server.host == track.move.source:
        return _decide_here(view, server, track, now, policy)
    if not server.host:
        if in_flight(_newest(view, track)) or rebuilding(server) or track.called:
            return Action(Do.WAIT)
        return Action(Do.REFUSE, f"is on no host any more (vm_state {server.vm_state})")
    return _decide_arrived(view, server, track, now, policy)


def _decide_here(view: View, server: Server, track: Track, now: float, policy: Policy) -> Action:
    if rebuilding(server) or track.called or _newest(view, track) is not None:
        return Action(Do.WAIT)
    if track.foreign_since is not None:
        if now - track.foreign_since < policy.foreign_task:
            return Action(Do.WAIT)
        return Action(
            Do.FAIL,
            f"hangs in task_state {server.task_state} since the host failed; Nova evacuates it after "
            f"`openstack server set --state error {server.id}`",
        )
    if server.vm_state not in EVACUABLE:
        return Action(Do.REFUSE, f"vm_state {server.vm_state}: Nova evacuates only active, stopped and error")
    if track.move.attempts > policy.retries:
        return Action(Do.REFUSE if track.refused else Do.FAIL, track.error)
    if now >= track.deadline or now < track.retry_at:
        return Action(Do.WAIT)
    return Action(Do.EVACUATE)


def _decide_arrived(view: View, server: Server, track: Track, now: float, policy: Policy) -> Action:
    if server.task_state or in_flight(_newest(view, track)):
        return Action(Do.WAIT)
    if server.vm_state == track.move.was:
        return Action(Do.SUCCEED)
    if server.vm_state == "error":
        return Action(
            Do.FAIL, f"arrived on {server.host} in error" + (f": {server.fault}" if server.fault else "")
        )
    wanted = {("active", "stopped"): Do.START, ("stopped", "active"): Do.STOP}.get(
        (track.move.was, server.vm_state)
    )
    if wanted is None:
        return Action(Do.SUCCEED, f"is {server.vm_state} since, by somebody else's hand")
    if by_somebody(server.vm_state, view.since_arrival):
        return Action(Do.SUCCEED, f"was {server.vm_state} by somebody after it arrived: left so")
    if track.power_calls > policy.retries:
        return Action(
            Do.FAIL, f"arrived on {server.host} {server.vm_state} and does not become {track.move.was}"
        )
    if now >= track.deadline or now < track.power_until:
        return Action(Do.WAIT)
    return Action(wanted)


def _helps(view: View) -> str:
    """What a person can do about an instance that waits for a target which died meanwhile."""
    server, migration = view.server, view.migration
    if server is None or migration is None or not in_flight(migration) or not view.target_down:
        return ""
    return (
        f"; its target {migration.target} went down meanwhile: when {migration.target} is surely off, "
        f"`openstack server set --state error {server.id}` and `openstack server evacuate {server.id}` "
        "move it elsewhere"
    )


def _describe(view: View) -> str:
    server, migration = view.server, view.migration
    if server is None:
        return "gone"
    text = (
        f"vm_state {server.vm_state}, task_state {server.task_state or 'none'}, host {server.host or 'none'}"
    )
    if migration is not None:
        text += f", evacuation record {migration.id} {migration.status}"
    return text
