"""Moves everything off a failed host, all instances at once, and shows each move as it goes.

May be run again at any moment: it reads the real state first. What an earlier attempt moved is found in
Nova's own evacuation records of the host (those that began at ``since`` or later) and is part of the
result.

Two things are not left to what Nova shows at the moment. Before each evacuation call the host is looked at
once more: one that came back must not lose an instance to another host while it runs it. And what an
instance was is what was read before the host was fenced: a nova-compute that comes back in between notes
every guest as stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from hass_runtime.decide.reserve import ANYWHERE
from hass_runtime.domain import Move, MoveState
from hass_runtime.remedy import groups, inventory, moves
from hass_runtime.remedy.attempt import CLOCK_SLACK, Clock
from hass_runtime.remedy.fencing import Look
from hass_runtime.remedy.groups import Turns
from hass_runtime.remedy.inventory import Seen
from hass_runtime.remedy.moves import Do, Policy, Track, View
from hass_runtime.remedy.nova import CloudError, ComputeService, InstanceAction, Migration, Server
from hass_runtime.remedy.protecting import Protects, everything
from hass_runtime.remedy.records import Records
from hass_runtime.remedy.reserve import Reserve

if TYPE_CHECKING:
    from hass_runtime.settings import ControllerSettings

NO_RESERVE = "no reserved host is ready"
_FINAL = {Do.SUCCEED: MoveState.SUCCEEDED, Do.FAIL: MoveState.FAILED, Do.REFUSE: MoveState.REFUSED}


class Nova(Protocol):
    """What an evacuation needs of the cloud."""

    def servers_on(self, host: str) -> list[Server]: ...
    def server(self, server_id: str) -> Server | None: ...
    def evacuations(self, source: str, since: float) -> list[Migration]: ...
    def actions(self, server_id: str) -> list[InstanceAction]: ...
    def compute_service(self, host: str) -> ComputeService | None: ...
    def evacuate(self, server_id: str, host: str = "") -> None: ...
    def start(self, server_id: str) -> None: ...
    def stop(self, server_id: str) -> None: ...


@dataclass(frozen=True)
class Evacuation:
    """The record of an evacuation: one move for each instance, none lost. ``calls`` were made by this run.

    ``halted`` says why no further evacuation was begun, "" when nothing stood in the way. ``order`` says in
    which groups they were moved, "" when all had the same priority.
    """

    moves: tuple[Move, ...]
    calls: int
    halted: str = ""
    order: str = ""

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
        for state in (MoveState.FAILED, MoveState.REFUSED, MoveState.LEFT):
            named = [
                (move.name or move.instance) + (f" ({move.reason})" if move.reason != self.halted else "")
                for move in self.moves
                if move.state is state
            ]
            if named:
                text += f"; {len(named)} {state.value}: {', '.join(named)}"
        text += f"; {self.order}" if self.order else ""
        return f"{self.halted}; no further evacuation was begun; {text}" if self.halted else text


def policy_of(settings: ControllerSettings) -> Policy:
    """The limits of `[recovery]`."""
    return Policy(
        timeout=settings.recovery.evacuate_timeout,
        retries=settings.recovery.evacuate_retries,
        unanswered=max(60.0, 2 * settings.openstack.request_timeout),
    )


class Evacuator:
    """Evacuates one host. ``progress`` is called from several threads, with each change of a move.

    ``still_off`` is asked before each evacuation call, from several threads. ``seen`` holds by UUID what was
    recorded of instances before, which counts more than what Nova shows now; only what a person did after
    that counts still more. ``arrives_stopped``: the microversion is 2.95 or later, at which Nova leaves what
    it evacuated stopped. ``destinations`` are tried one after the other, hosts of the ``reserve`` among them.
    """

    def __init__(
        self,
        cloud: Nova,
        host: str,
        *,
        since: float,
        still_off: Callable[[], Look],
        seen: Mapping[str, Seen] | None = None,
        incident: int = 0,
        protects: Protects = everything,
        turns: Turns | None = None,
        destinations: Sequence[str] = (ANYWHERE,),
        reserve: Reserve | None = None,
        policy: Policy | None = None,
        arrives_stopped: bool = False,
        workers: int = 16,
        poll_interval: float = 0.5,
        progress: Callable[[Move], None] = lambda move: None,
        clock: Clock | None = None,
        pool: Callable[..., Executor] = ThreadPoolExecutor,
    ) -> None:
        self._cloud = cloud
        self._host = host
        self._still_off = still_off
        self._seen = dict(seen or {})
        self._gone: set[str] = set()
        self._halted = ""
        self._incident = incident
        self._protects = protects
        self._turns = turns or Turns()
        self._destinations = tuple(destinations)
        self._reserve = reserve
        self._destination, self._last = ANYWHERE, True
        self._policy = self._limits = policy or Policy()
        self._arrives_stopped = arrives_stopped
        self._workers = workers
        self._poll = poll_interval
        self._progress = progress
        self._clock = clock or Clock()
        self._pool = pool
        self._records = Records(lambda: cloud.evacuations(host, since), poll_interval, self._clock.monotonic)

    def pending(self) -> tuple[Move, ...]:
        """Every instance of this failure, in the order in which they are moved: what is still on the host and
        what has left it since. Raises CloudError when Nova does not answer."""
        # Servers first: an instance that leaves between the two reads must not be missed by both.
        servers = self._cloud.servers_on(self._host)
        at = self._clock.wall()
        newest = {record.instance: record for record in self._records.all()}
        moved = set(newest)
        found = [
            inventory.unless_left(
                server,
                newest.get(server.id),
                inventory.pending(server, self._host, self._incident),
                self._protects,
            )
            for server in servers
        ]
        for move in found:
            if move.was in moves.POWER_STATES and move.instance not in moved:
                self._seen.setdefault(move.instance, Seen(move.was, at))
        self._gone = moved - {move.instance for move in found}

        def left(instance: str) -> Move:
            return inventory.pending(self._cloud.server(instance), self._host, self._incident, instance)

        with self._pool(max_workers=self._workers) as pool:
            found += pool.map(left, self._gone)
        return tuple(sorted(map(self._as_recorded, found), key=inventory.order))

    def _as_recorded(self, move: Move) -> Move:
        """What is shown of a move is what a later run will take for the record."""
        seen = self._seen.get(move.instance)
        lasting = move.was not in {"", "error", *moves.POWER_STATES}
        return move if seen is None or lasting else replace(move, was=seen.was)

    def run(self) -> Evacuation:
        """Bring every instance to its end, and return one move for each. Raises CloudError only at the
        start.
        """
        every = self.pending()
        for move in every:
            if move.instance not in self._gone:  # those were shown by the attempt that moved them
                self._progress(move)
        todo = [move for move in every if move.state is not MoveState.LEFT]
        left = tuple(move for move in every if move.state is MoveState.LEFT)
        moved, calls = self._to_destinations(todo)
        said = [self._turns.words(todo)]
        if self._reserve is not None:
            self._reserve.close_unused()
            said += self._reserve.said
        return Evacuation((*moved, *left), calls, self._halted, "; ".join(filter(None, said)))

    def _to_destinations(self, todo: list[Move]) -> tuple[list[Move], int]:
        """One destination after the other, each with what found no place at the one before."""
        done = {move.instance: replace(move, state=MoveState.FAILED, reason=NO_RESERVE) for move in todo}
        rest, calls = todo, 0
        for place, destination in enumerate(self._destinations):
            trouble = self._reserve.open(destination) if destination and self._reserve is not None else ""
            if trouble:
                rest = [replace(move, reason=trouble) for move in rest]
                done |= {move.instance: replace(move, state=MoveState.FAILED) for move in rest}
                continue
            self._enter(destination, last=place == len(self._destinations) - 1)
            driven = self._drive_all(rest)
            calls += sum(made for _, made in driven)
            done |= {move.instance: move for move, _ in driven}
            rest = [self._again(move) for move, _ in driven if self._finds_no_place(move)]
            if not rest or self._halted:
                break
        for move in rest:  # nothing was left to try
            self._progress(done[move.instance])
        return list(done.values()), calls

    def _enter(self, destination: str, last: bool) -> None:
        """What fits elsewhere, too, need not be tried here for long."""
        retries = self._policy.retries if last else min(1, self._policy.retries)
        self._destination, self._last = destination, last
        self._limits = replace(self._policy, retries=retries)

    def _drive_all(self, todo: list[Move]) -> list[tuple[Move, int]]:
        with self._pool(max_workers=self._workers, thread_name_prefix="move") as pool:
            clock = self._clock
            return groups.drive(pool, self._drive_safely, todo, self._turns, clock.monotonic, clock.sleep)

    def _finds_no_place(self, move: Move) -> bool:
        """Whether it failed where it was sent, is where it was, and there is somewhere else to send it."""
        return move.state is MoveState.FAILED and not move.target and not self._last

    def _again(self, move: Move) -> Move:
        where = self._destination or "any host"
        waits = replace(move, state=MoveState.PENDING, attempts=0, reason=f"not to {where}: {move.reason}")
        self._progress(waits)
        return waits

    def foresee(self) -> tuple[tuple[Move, str], ...]:
        """What `run` would begin with for every instance; changes nothing. Raises CloudError."""
        seen = []
        for move in self.pending():
            if move.state is MoveState.LEFT:
                seen.append((move, f"leave ({move.reason})"))
                continue
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
            deadline=self._clock.monotonic() + self._limits.timeout,
        )
        calls = 0
        shown: Move | None = None
        unseen = ""
        while True:
            try:
                view, track = self._look(track)
                action, track = moves.next_action(view, track, self._clock.monotonic(), self._limits)
            except CloudError as error:
                # A Nova that is away for a while is no reason to give an instance up before its deadline.
                late = self._clock.monotonic() >= track.deadline
                action, view = moves.Action(Do.FAIL if late else Do.WAIT, str(error)), View(None)
            if action.do is Do.EVACUATE:
                action = self._only_if_still_off(action)
                unseen = action.reason
            elif action.do is Do.FAIL and unseen:
                action = moves.Action(Do.FAIL, unseen)  # that is what the deadline went by with
            if action.do in _FINAL:
                ended = self._ended(track, view, action)
                if not self._finds_no_place(ended):
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

    def _only_if_still_off(self, action: moves.Action) -> moves.Action:
        look = self._still_off()
        if look.off:
            return action
        if look.final:
            self._halted = look.words
        return moves.Action(Do.FAIL if look.final else Do.WAIT, look.words)

    def _look(self, track: Track) -> tuple[View, Track]:
        instance = track.move.instance
        records = self._records.of(instance)  # before the server: see View
        newest = records[-1] if records else None
        server = self._cloud.server(instance)
        if track.history is None:
            was, derived = self._was(instance, server, newest)
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
        late = self._clock.monotonic() >= track.deadline
        return View(server, newest, since_arrival, late and self._target_down(newest)), track

    def _was(self, instance: str, server: Server | None, newest: Migration | None) -> tuple[str, bool]:
        """What the instance was before the failure, and whether that is only concluded from its actions."""
        seen = self._seen.get(instance)
        state = ""
        if server is not None and moves.vm_state_tells(server, self._host, newest):
            state = server.vm_state
        if state and (seen is None or state == seen.was or state not in moves.POWER_STATES):
            return state, False
        actions = tuple(self._cloud.actions(instance))
        if seen is None:
            return moves.was_before(actions), True
        return moves.wished_since(actions, seen.at - CLOCK_SLACK) or seen.was, False

    def _target_down(self, migration: Migration | None) -> bool:
        if not moves.in_flight(migration) or migration is None or not migration.target:
            return False
        try:
            service = self._cloud.compute_service(migration.target)
        except CloudError:
            return False  # the move has failed anyway, only the hint is less good
        return service is None or not service.up

    def _call(self, do: Do, track: Track) -> Track:
        call = {Do.EVACUATE: self._evacuate, Do.START: self._cloud.start, Do.STOP: self._cloud.stop}[do]
        after = moves.called if do is Do.EVACUATE else moves.power_called
        try:
            call(track.move.instance)
        except CloudError as error:
            return after(track, self._clock.monotonic(), self._limits, error)
        return after(track, self._clock.monotonic(), self._limits)

    def _evacuate(self, instance: str) -> None:
        if self._destination:
            self._cloud.evacuate(instance, self._destination)
        else:
            self._cloud.evacuate(instance)

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
