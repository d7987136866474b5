"""Starts again what a host lost when it went down and came back by itself, before anybody had to fence it.

Nova leaves the guests of such a host off (`resume_guests_state_on_host_boot` has to be false, or what was
evacuated would start twice): its nova-compute notes a stop of each, within about a minute of its start. Those
stops are nobody's wish. What a person stopped, before or since, is left alone; so is what shut itself down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from hass_runtime.domain import Move, MoveState
from hass_runtime.remedy import inventory, moves
from hass_runtime.remedy.attempt import Clock
from hass_runtime.remedy.nova import CloudError, InstanceAction, Server
from hass_runtime.remedy.protecting import Protects, everything

NOTED_WITHIN = 90.0
"""Seconds after which a nova-compute that started has looked at the power of all its guests: it begins within
60 s (`periodic_fuzzy_delay`)."""

MOST_CALLS = 3


class Nova(Protocol):
    """What a revival needs of the cloud."""

    def servers_on(self, host: str) -> list[Server]: ...
    def actions(self, server_id: str) -> list[InstanceAction]: ...
    def start(self, server_id: str) -> None: ...


class Do(Enum):
    """What is next for one instance."""

    START = "start"
    WAIT = "wait"
    LEAVE = "leave"
    SPARE = "spare"
    FAIL = "fail"


def next_step(server: Server, actions: tuple[InstanceAction, ...], failed_at: float, noted: bool) -> Do:
    """What to do with an instance of the host. Pure.

    ``actions`` oldest first; ``noted``: nova-compute has had the time to note which guests are off.
    """
    if server.task_state:
        return Do.WAIT
    if server.vm_state == "stopped":
        return Do.START if moves.stopped_by_the_failure(actions, failed_at) else Do.LEAVE
    if server.vm_state == "error":
        return Do.FAIL
    if server.vm_state != "active" or moves.wished_since(actions, failed_at):
        return Do.LEAVE
    return Do.LEAVE if noted else Do.WAIT


@dataclass(frozen=True)
class Revived:
    """The record of a revival: one entry for each instance that had to be started. ``doubt`` says why it is
    not known whether that is all, "" when it is.
    """

    moves: tuple[Move, ...]
    calls: int
    doubt: str = ""

    @property
    def ok(self) -> bool:
        well = (MoveState.SUCCEEDED, MoveState.LEFT)
        return not self.doubt and all(move.state in well for move in self.moves)

    def words(self, host: str) -> str:
        """The outcome as a person reads it."""
        good = [move.name or move.instance for move in self.moves if move.state is MoveState.SUCCEEDED]
        text = f"{len(good)} instances of {host} started again: {', '.join(good)}" if good else ""
        bad = [f"{m.name or m.instance} ({m.reason})" for m in self.moves if m.state is MoveState.FAILED]
        if bad:
            text += f"{'; ' if text else ''}{len(bad)} of {host} not: {', '.join(bad)}"
        text = text or f"nothing on {host} had to be started"
        left = [f"{m.name or m.instance} ({m.reason})" for m in self.moves if m.state is MoveState.LEFT]
        if left:
            text += f"; {len(left)} left: {', '.join(left)}"
        return f"{text}; {self.doubt}" if self.doubt else text


class Reviver:
    """Starts what one host lost. ``progress`` is called with each change of an instance.

    ``failed_at`` is when the host had surely failed, or was last heard before it did (seconds since the
    epoch). ``timeout`` is for all of it, from its first look on.
    """

    def __init__(
        self,
        cloud: Nova,
        host: str,
        *,
        failed_at: float,
        timeout: float,
        was: Mapping[str, str] | None = None,
        incident: int = 0,
        protects: Protects = everything,
        workers: int = 16,
        poll_interval: float = 0.5,
        noted_within: float = NOTED_WITHIN,
        progress: Callable[[Move], None] = lambda move: None,
        clock: Clock | None = None,
        pool: Callable[..., Executor] = ThreadPoolExecutor,
    ) -> None:
        self._cloud = cloud
        self._host = host
        self._failed_at = failed_at
        self._timeout = timeout
        self._was = dict(was or {})
        self._incident = incident
        self._protects = protects
        self._workers = workers
        self._poll = poll_interval
        self._noted_within = noted_within
        self._progress = progress
        self._clock = clock or Clock()
        self._pool = pool
        self._moves: dict[str, Move] = {}
        self._errors: dict[str, str] = {}

    def foresee(self) -> tuple[Server, ...]:
        """What `run` would start at once; changes nothing. Raises CloudError."""
        steps = self._look(noted=True)
        return tuple(server for server, do in steps if do is Do.START)

    def run(self) -> Revived:
        """Until all that was lost runs again. Raises CloudError only when the first look fails."""
        began = self._clock.monotonic()
        calls = 0
        steps = self._look(noted=False)
        while True:
            for server, do in steps:
                calls += self._take(server, do)
            waits = [server.name for server, do in steps if do in (Do.WAIT, Do.START)]
            if not waits:
                return Revived(tuple(self._moves.values()), calls)
            passed = self._clock.monotonic() - began
            if passed + self._poll > self._timeout:
                return self._too_late(waits, calls)
            self._clock.sleep(self._poll)
            try:
                steps = self._look(noted=passed >= self._noted_within)
            except CloudError as error:
                if passed + self._poll > self._timeout:
                    return Revived(tuple(self._moves.values()), calls, str(error))

    def _look(self, noted: bool) -> list[tuple[Server, Do]]:
        servers = sorted(self._cloud.servers_on(self._host), key=lambda each: (-each.priority, each.name))
        with self._pool(max_workers=self._workers, thread_name_prefix="revive") as asking:
            known = list(asking.map(lambda server: tuple(self._cloud.actions(server.id)), servers))
        return [
            (server, self._step(server, actions, noted))
            for server, actions in zip(servers, known, strict=True)
        ]

    def _step(self, server: Server, actions: tuple[InstanceAction, ...], noted: bool) -> Do:
        if self._was.get(server.id) == "stopped":
            return Do.LEAVE
        step = next_step(server, actions, self._failed_at, noted)
        if step is Do.LEAVE:
            return step
        if server.id not in self._moves and not self._protects(server).protected:
            return Do.SPARE
        return Do.LEAVE if self._is_spared(server) else step

    def _is_spared(self, server: Server) -> bool:
        move = self._moves.get(server.id)
        return move is not None and move.state is MoveState.LEFT

    def _take(self, server: Server, do: Do) -> int:
        """One step with one instance. Returns how many calls were made."""
        move = self._moves.get(server.id)
        if do is Do.SPARE:
            pending = inventory.pending(server, self._host, self._incident)
            self._show(inventory.left(pending, self._protects(server).reason))
        elif do is Do.START:
            move = move or self._begun(server)
            if move.attempts >= MOST_CALLS:
                return 0
            try:
                self._cloud.start(server.id)
            except CloudError as error:
                self._errors[server.id] = str(error)
            self._show(replace(move, attempts=move.attempts + 1))
            return 1
        if do is Do.FAIL:
            move = move or self._begun(server)
            words = f"it is in error: {server.fault}" if server.fault else "it is in error"
            self._show(replace(move, state=MoveState.FAILED, reason=words, finished_at=self._clock.wall()))
        elif do is Do.LEAVE and move is not None and move.state is MoveState.ONGOING:
            # Active, or stopped by a person meanwhile: either is as somebody wants it.
            now = self._clock.wall()
            self._show(replace(move, state=MoveState.SUCCEEDED, target=self._host, finished_at=now))
        return 0

    def _begun(self, server: Server) -> Move:
        pending = inventory.pending(server, self._host, self._incident)
        return replace(pending, was="active", state=MoveState.ONGOING, started_at=self._clock.wall())

    def _show(self, move: Move) -> None:
        if self._moves.get(move.instance) != move:
            self._moves[move.instance] = move
            self._progress(move)

    def _too_late(self, waits: list[str], calls: int) -> Revived:
        now = self._clock.wall()
        for move in list(self._moves.values()):
            if move.state is MoveState.ONGOING:
                words = self._errors.get(move.instance) or f"does not run after {self._timeout:g} s"
                self._show(replace(move, state=MoveState.FAILED, reason=words, finished_at=now))
        begun = {move.name for move in self._moves.values()}
        unclear = [name for name in waits if name not in begun]
        doubt = f"not clear within {self._timeout:g} s: {', '.join(unclear)}" if unclear else ""
        return Revived(tuple(self._moves.values()), calls, doubt)
