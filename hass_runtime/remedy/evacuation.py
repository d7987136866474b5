"""Moves everything off a failed host, all instances at once, and shows each move as it goes.

May be run again at any moment: it reads the real state first. What an earlier attempt moved is found in
Nova's own evacuation records of the host (those that began at ``since`` or later) and is part of the
result.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from hass_runtime.domain import Move, MoveState
from hass_runtime.remedy import moves
from hass_runtime.remedy.moves import Do, Policy, Track, View
from hass_runtime.remedy.nova import CloudError, InstanceAction, Migration, Server
from hass_runtime.remedy.wire import move_to_dict

if TYPE_CHECKING:
    from hass_runtime.settings import ControllerSettings

DAY = 86400.0
CLOCK_SLACK = 60.0
"""How far Nova's clock may be behind the controller's before evacuations of this incident are overlooked."""

_FINAL = {Do.SUCCEED: MoveState.SUCCEEDED, Do.FAIL: MoveState.FAILED, Do.REFUSE: MoveState.REFUSED}


class Nova(Protocol):
    """What an evacuation needs of the cloud."""

    def servers_on(self, host: str) -> list[Server]: ...
    def server(self, server_id: str) -> Server | None: ...
    def evacuations(self, source: str, since: float) -> list[Migration]: ...
    def actions(self, server_id: str) -> list[InstanceAction]: ...
    def evacuate(self, server_id: str) -> None: ...
    def start(self, server_id: str) -> None: ...
    def stop(self, server_id: str) -> None: ...


@dataclass(frozen=True)
class Clock:
    """Time, injected. ``wall`` is for the record, ``monotonic`` for deadlines."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Evacuation:
    """The record of an evacuation: one move for each instance, none lost. ``calls`` were made by this run."""

    moves: tuple[Move, ...]
    calls: int

    def count(self, state: MoveState) -> int:
        return sum(move.state is state for move in self.moves)

    @property
    def ok(self) -> bool:
        return self.count(MoveState.FAILED) == 0

    def words(self, host: str) -> str:
        """The outcome as a person reads it."""
        if not self.moves:
            return f"no instances on {host}"
        text = f"{self.count(MoveState.SUCCEEDED)} of {len(self.moves)} instances of {host} run elsewhere"
        if self.count(MoveState.SUCCEEDED) == len(self.moves):
            text = f"all {len(self.moves)} instances of {host} are elsewhere, as they were before"
        for state in (MoveState.FAILED, MoveState.REFUSED):
            named = [
                f"{move.name or move.instance} ({move.reason})" for move in self.moves if move.state is state
            ]
            if named:
                text += f"; {len(named)} {state.value}: {', '.join(named)}"
        return text


def policy_of(settings: ControllerSettings) -> Policy:
    """The limits of `[recovery]`."""
    return Policy(
        timeout=settings.recovery.evacuate_timeout,
        retries=settings.recovery.evacuate_retries,
        unanswered=max(60.0, 2 * settings.openstack.request_timeout),
    )


def since_of(opened_at: float | None, now: float) -> float:
    """From when on evacuations of the host belong to this failure.

    A controller gives the moment it opened the incident. By hand it is the last 24 hours: an instance that
    was moved earlier that day is listed once more and left as it is, which harms nobody.
    """
    return opened_at - CLOCK_SLACK if opened_at is not None else now - DAY


class ProgressFile:
    """Appends each change of a move as a line of JSON; the worker of the run reads along. None: nowhere."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._lock = threading.Lock()

    def __call__(self, move: Move) -> None:
        if not self._path:
            return
        line = json.dumps(move_to_dict(move)) + "\n"
        with self._lock:
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(fd, line.encode())
            finally:
                os.close(fd)


@dataclass
class _Records:
    """Nova's evacuation records of the host, read once for all threads and at most once per ``every``."""

    cloud: Nova
    source: str
    since: float
    every: float
    clock: Clock
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _read_at: float | None = None
    _found: list[Migration] = field(default_factory=list)

    def all(self) -> list[Migration]:
        with self._lock:
            now = self.clock.monotonic()
            if self._read_at is None or now - self._read_at >= self.every:
                self._found = self.cloud.evacuations(self.source, self.since)
                self._read_at = now
            return self._found

    def of(self, instance: str) -> list[Migration]:
        return [record for record in self.all() if record.instance == instance]


class Evacuator:
    """Evacuates one host. ``progress`` is called from several threads, with each change of a move.

    ``arrives_stopped``: the microversion is 2.95 or later, at which Nova leaves what it evacuated stopped.
    """

    def __init__(
        self,
        cloud: Nova,
        host: str,
        *,
        since: float,
        incident: int = 0,
        policy: Policy | None = None,
        arrives_stopped: bool = False,
        workers: int = 16,
        poll_interval: float = 0.5,
        progress: Callable[[Move], None] = lambda move: None,
        clock: Clock | None = None,
    ) -> None:
        self._cloud = cloud
        self._host = host
        self._incident = incident
        self._policy = policy or Policy()
        self._arrives_stopped = arrives_stopped
        self._workers = workers
        self._poll = poll_interval
        self._progress = progress
        self._clock = clock or Clock()
        self._records = _Records(cloud, host, since, poll_interval, self._clock)

    def pending(self) -> tuple[Move, ...]:
        """Every instance of this failure, in the order in which they are moved: what is still on the host and
        what has left it since. Raises CloudError when Nova does not answer."""
        # Servers first: an instance that leaves between the two reads must not be missed by both.
        found = list(on_host(self._cloud, self._host, self._incident))
        gone = {record.instance for record in self._records.all()} - {move.instance for move in found}

        def left(instance: str) -> Move:
            return _pending(self._cloud.server(instance), self._host, self._incident, instance)

        with ThreadPoolExecutor(max_workers=self._workers) as pool:
            found += pool.map(left, gone)
        return tuple(sorted(found, key=_order))

    def run(self) -> Evacuation:
        """Bring every instance to its end, and return one move for each. Raises CloudError only at the
        start.
        """
        todo = self.pending()
        for move in todo:
            if move.was:  # what has left already was shown by the attempt that moved it
                self._progress(move)
        with ThreadPoolExecutor(max_workers=self._workers, thread_name_prefix="move") as pool:
            done = list(pool.map(self._drive_safely, todo))
        return Evacuation(tuple(move for move, _ in done), sum(calls for _, calls in done))

    def foresee(self) -> tuple[tuple[Move, str], ...]:
        """What `run` would begin with for every instance; changes nothing. Raises CloudError."""
        seen = []
        for move in self.pending():
            track = Track(move, deadline=self._clock.monotonic() + self._policy.timeout)
            view, track = self._look(track)
            action, track = moves.next_action(view, track, self._clock.monotonic(), self._policy)
            words = f"{action.do.value} ({action.reason})" if action.reason else action.do.value
            seen.append((track.move, words))
        return tuple(seen)

    # --- one instance

    def _drive_safely(self, move: Move) -> tuple[Move, int]:
        try:
            return self._drive(move)
        except Exception as error:  # noqa: BLE001 - one instance's surprise must not lose the others' records
            words = f"unexpected {type(error).__name__}: {error}"
            lost = replace(move, state=MoveState.FAILED, finished_at=self._clock.wall(), reason=words)
            self._progress(lost)
            return lost, 1

    def _drive(self, move: Move) -> tuple[Move, int]:
        track = Track(
            replace(move, state=MoveState.ONGOING, started_at=self._clock.wall()),
            deadline=self._clock.monotonic() + self._policy.timeout,
        )
        calls = 0
        shown: Move | None = None
        while True:
            try:
                view, track = self._look(track)
                action, track = moves.next_action(view, track, self._clock.monotonic(), self._policy)
            except CloudError as error:
                # A Nova that is away for a while is no reason to give an instance up before its deadline.
                late = self._clock.monotonic() >= track.deadline
                action, view = moves.Action(Do.FAIL if late else Do.WAIT, str(error)), View(None)
            if action.do in _FINAL:
                ended = self._ended(track, view, action)
                self._progress(ended)
                return ended, calls
            if action.do is not Do.WAIT:
                track = self._call(action.do, track)
                calls += 1
            move = replace(track.move, attempts=track.move.attempts + track.earlier)
            if move != shown:
                shown = move
                self._progress(shown)
            self._clock.sleep(self._poll)

    def _look(self, track: Track) -> tuple[View, Track]:
        instance = track.move.instance
        records = self._records.of(instance)  # before the server: see View
        newest = records[-1] if records else None
        server = self._cloud.server(instance)
        if track.history is None:
            if moves.vm_state_tells(server, self._host, newest) and server is not None:
                was, derived = server.vm_state, False
            else:
                was, derived = moves.was_before(tuple(self._cloud.actions(instance))), True
            earlier = records[0].created_at if records and server and server.host != self._host else None
            track = replace(
                track,
                earlier=len(records),
                derived=derived,
                move=replace(track.move, was=was, started_at=earlier or track.move.started_at),
            )
        if (
            track.derived
            and not self._arrives_stopped
            and server is not None
            and server.host != self._host
            and server.vm_state == "stopped"
        ):
            # Nova gave the state back itself, and knows it better than a list of actions that may be cut off.
            track = replace(track, move=replace(track.move, was="stopped"))
        since_arrival: tuple[str, ...] = ()
        if server is not None and server.host not in ("", self._host) and server.vm_state != track.move.was:
            since_arrival = moves.after_evacuation(tuple(self._cloud.actions(instance)))
        return View(server, newest, since_arrival), track

    def _call(self, do: Do, track: Track) -> Track:
        call = {Do.EVACUATE: self._cloud.evacuate, Do.START: self._cloud.start, Do.STOP: self._cloud.stop}[do]
        after = moves.called if do is Do.EVACUATE else moves.power_called
        try:
            call(track.move.instance)
        except CloudError as error:
            return after(track, self._clock.monotonic(), self._policy, error)
        return after(track, self._clock.monotonic(), self._policy)

    def _ended(self, track: Track, view: View, action: moves.Action) -> Move:
        state = _FINAL[action.do]
        target = view.server.host if view.server is not None else ""
        if state is MoveState.SUCCEEDED and not target and view.migration is not None:
            target = view.migration.target
        at = self._clock.wall()
        if state is MoveState.SUCCEEDED and track.move.attempts == 0 and track.power_calls == 0:
            # An earlier attempt did it: the record tells when.
            at = (view.migration.updated_at if view.migration is not None else None) or at
        return replace(
            track.move,
            state=state,
            target="" if target == self._host else target,
            attempts=track.move.attempts + track.earlier,
            finished_at=at,
            reason=action.reason,
        )


def on_host(cloud: Nova, host: str, incident: int) -> tuple[Move, ...]:
    """What is on a host now, in the order in which it would be moved. Raises CloudError."""
    found = [_pending(server, host, incident) for server in cloud.servers_on(host)]
    return tuple(sorted(found, key=_order))


def _order(move: Move) -> tuple[int, str, str]:
    return (-move.priority, move.name, move.instance)


def _pending(server: Server | None, host: str, incident: int, instance: str = "") -> Move:
    return Move(
        incident,
        server.id if server else instance,
        server.name if server else "",
        host,
        MoveState.PENDING,
        was=server.vm_state if server and server.host == host else "",
        priority=server.priority if server else 0,
    )


def verify(cloud: Nova, host: str, done: Iterable[Move], workers: int = 16) -> tuple[str, ...]:
    """Look at every instance once more, independently of the evacuation; returns what is wrong, one line
    each.

    Every instance that moved must be on another host and be what it was, and nothing may be left on the host
    except what was refused. Somebody's own stop, start or deletion since is nothing wrong. Raises CloudError.
    """
    known = {move.instance: move for move in done}
    arrived = [move for move in known.values() if move.state is MoveState.SUCCEEDED]

    def wrong_with(move: Move) -> str:
        server = cloud.server(move.instance)
        name = move.name or move.instance
        if server is None:
            return ""
        if server.host == host:
            return f"{name} is on {host}"
        if server.vm_state == move.was or server.task_state:
            return ""
        since_arrival = moves.after_evacuation(tuple(cloud.actions(move.instance)))
        if moves.by_somebody(server.vm_state, since_arrival):
            return ""
        return f"{name} on {server.host} is {server.vm_state}, was {move.was}"

    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="verify") as pool:
        problems = [problem for problem in pool.map(wrong_with, arrived) if problem]
    for server in cloud.servers_on(host):
        if server.id not in known:
            problems.append(f"{server.name} is on {host} and nobody moved it")
    return tuple(problems)


def as_dicts(done: Iterable[Move]) -> list[dict[str, Any]]:
    """Moves as plain data, as modules return them."""
    return [move_to_dict(move) for move in done]
