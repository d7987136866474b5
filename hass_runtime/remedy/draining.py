"""Empties a living host by live migration, and shows each move as it goes.

The host is disabled in Nova first, so that nothing new arrives. Then every instance is driven by `drain`, so
many at once as there are workers, and the host is looked at again until nothing is on it that was not
accounted for: what was being built when the drain began arrives a little later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from hass_runtime.domain import Move, MoveState
from hass_runtime.remedy import drain, groups, inventory
from hass_runtime.remedy.attempt import Clock
from hass_runtime.remedy.drain import Do, DrainError, Policy, Track, View
from hass_runtime.remedy.groups import Turns
from hass_runtime.remedy.moves import DONE_MIGRATION, FAILED_MIGRATION, in_flight
from hass_runtime.remedy.nova import CloudError, ComputeService, Migration, Server
from hass_runtime.remedy.protecting import Protects, everything
from hass_runtime.remedy.records import Records
from hass_runtime.remedy.restoration import OUR_REASON, required

if TYPE_CHECKING:
    from hass_runtime.settings import ControllerSettings

_FINAL = {Do.SUCCEED: MoveState.SUCCEEDED, Do.FAIL: MoveState.FAILED, Do.REFUSE: MoveState.REFUSED}


class Nova(Protocol):
    """What a drain needs of the cloud."""

    def compute_service(self, host: str) -> ComputeService | None: ...
    def set_enabled(self, service: ComputeService, enabled: bool, reason: str = "") -> None: ...
    def set_forced_down(self, service: ComputeService, forced_down: bool) -> None: ...
    def evacuations(self, source: str, since: float) -> list[Migration]: ...
    def servers_on(self, host: str) -> list[Server]: ...
    def server(self, server_id: str) -> Server | None: ...
    def live_migrations(self, source: str, since: float) -> list[Migration]: ...
    def live_migrate(self, server_id: str, host: str = "") -> None: ...
    def abort_migration(self, server_id: str, migration_id: int) -> None: ...
    def why_not_migrated(self, server_id: str) -> str: ...


@dataclass(frozen=True)
class Drained:
    """The record of a drain: one move for each instance, none lost. ``calls`` were made by this run.

    ``doubt`` says why it is not known whether something is left, "" when it is.
    """

    moves: tuple[Move, ...]
    calls: int
    doubt: str = ""

    @property
    def ok(self) -> bool:
        return not self.doubt and all(move.state is not MoveState.FAILED for move in self.moves)

    def words(self, host: str) -> str:
        """The outcome as a person reads it."""
        left = [move for move in self.moves if move.state is MoveState.SUCCEEDED]
        text = f"{len(left)} of {len(self.moves)} instances of {host} run elsewhere"
        if len(left) == len(self.moves):
            text = f"all {len(left)} instances of {host} are elsewhere" if left else f"no instances on {host}"
        for state in (MoveState.FAILED, MoveState.REFUSED, MoveState.LEFT):
            named = [f"{m.name or m.instance} ({m.reason})" for m in self.moves if m.state is state]
            if named:
                text += f"; {len(named)} {state.value}: {', '.join(named)}"
        return f"{text}; {self.doubt}" if self.doubt else text


def policy_of(settings: ControllerSettings) -> Policy:
    """The limits of `[recovery]`."""
    return Policy(
        timeout=settings.recovery.drain_timeout,
        retries=settings.recovery.evacuate_retries,
        unanswered=max(60.0, 2 * settings.openstack.request_timeout),
        keeps_disks=settings.network.shared_storage,
    )


def look_first(cloud: Nova, host: str) -> ComputeService:
    """The host's nova-compute, or DrainError when nothing can be live-migrated from it."""
    service = required(cloud, host)
    if why := drain.cannot_begin(service):
        raise DrainError(f"{host} cannot be drained, nothing was changed: {why}")
    return service


def disable(cloud: Nova, service: ComputeService, reason: str) -> tuple[bool, str]:
    """Keep new instances away. Returns whether it was changed and a sentence. Raises CloudError."""
    if not service.enabled:
        by = "" if service.disabled_reason.startswith(OUR_REASON) else ", by a person"
        why = service.disabled_reason or "no reason"
        return False, f"nova-compute of {service.host} is disabled already{by}: {why}"
    words = drain.disabled_reason(OUR_REASON, reason)
    cloud.set_enabled(service, False, words)
    return True, f"nova-compute of {service.host} disabled ({words})"


class Drainer:
    """Drains one host, or only the instances ``only`` of it. ``progress`` is called from several threads,
    with each change of a move. ``destination``: the host to go to, if Nova's scheduler finds that they fit
    there; "": the scheduler's choice.

    ``since``: live migrations that began then or later belong to this drain. ``was`` is by UUID what an
    earlier run of the incident recorded of instances.
    """

    def __init__(
        self,
        cloud: Nova,
        host: str,
        *,
        since: float,
        was: Mapping[str, str] | None = None,
        incident: int = 0,
        protects: Protects = everything,
        turns: Turns | None = None,
        only: frozenset[str] | None = None,
        destination: str = "",
        policy: Policy | None = None,
        workers: int = 16,
        poll_interval: float = 0.5,
        progress: Callable[[Move], None] = lambda move: None,
        clock: Clock | None = None,
        pool: Callable[..., Executor] = ThreadPoolExecutor,
    ) -> None:
        self._cloud = cloud
        self._host = host
        self._was = dict(was or {})
        self._incident = incident
        self._protects = protects
        self._turns = turns or Turns()
        self._only = only
        self._destination = destination
        self._policy = policy or Policy()
        self._workers = workers
        self._poll = poll_interval
        self._progress = progress
        self._clock = clock or Clock()
        self._pool = pool
        self._records = Records(
            lambda: cloud.live_migrations(host, since), poll_interval, self._clock.monotonic
        )
        self._deadline = self._clock.monotonic() + self._policy.timeout
        self._gone: set[str] = set()

    def pending(self) -> tuple[Move, ...]:
        """Every instance of this drain, in the order in which they are moved: what is on the host, and what
        was live-migrated away since. Raises CloudError.
        """
        # Servers first: an instance that leaves between the two reads must not be missed by both.
        servers = [each for each in self._cloud.servers_on(self._host) if self._is_meant(each.id)]
        records = [each for each in self._records.all() if self._is_meant(each.instance)]
        newest = {record.instance: record for record in records}
        found = [self._of(server, newest.get(server.id)) for server in servers]
        here = {move.instance for move in found}
        moved = {
            record.instance
            for record in records
            if record.instance not in here and (record.status in DONE_MIGRATION or in_flight(record))
        }

        def left(instance: str) -> Move:
            server = self._cloud.server(instance)
            was = self._was.get(instance) or (server.vm_state if server else "")
            return replace(inventory.pending(server, self._host, self._incident, instance), was=was)

        self._gone = moved
        with self._pool(max_workers=self._workers) as pool:
            found += pool.map(left, moved)
        return tuple(sorted(found, key=inventory.order))

    def _is_meant(self, instance: str) -> bool:
        return self._only is None or instance in self._only

    def _of(self, server: Server, newest: Migration | None) -> Move:
        move = inventory.pending(server, self._host, self._incident)
        if in_flight(newest) or server.task_state == "migrating":
            return move  # whoever began it: it is seen to its end
        told = self._protects(server)
        return move if told.protected else inventory.left(move, told.reason)

    def run(self) -> Drained:
        """Bring every instance to its end, and return one move for each. Raises CloudError only at the
        start.
        """
        done: dict[str, Move] = {}
        calls = 0
        todo = self.pending()
        while True:
            for move in todo:
                if move.instance not in self._gone:  # those were shown by the run that moved them
                    self._progress(move)
            done |= {move.instance: move for move in todo if move.state is MoveState.LEFT}
            todo = tuple(move for move in todo if move.instance not in done)
            with self._pool(max_workers=self._workers, thread_name_prefix="drain") as pool:
                clock = self._clock
                driven = groups.drive(
                    pool, self._drive_safely, todo, self._turns, clock.monotonic, clock.sleep
                )
            for ended, made in driven:
                done[ended.instance] = ended
                calls += made
            try:
                todo = tuple(move for move in self._again() if move.instance not in done)
            except CloudError as error:
                return Drained(tuple(done.values()), calls, f"nobody knows what is left on it: {error}")
            if not todo:
                return Drained(tuple(done.values()), calls)

    def _again(self) -> tuple[Move, ...]:
        """What is on the host now; asked until Nova answers or the time is over."""
        while True:
            try:
                return self.pending()
            except CloudError:
                if self._clock.monotonic() >= self._deadline:
                    raise
            self._clock.sleep(self._poll)

    def foresee(self) -> tuple[tuple[Move, str], ...]:
        """What `run` would begin with for every instance; changes nothing. Raises CloudError."""
        seen = []
        for move in self.pending():
            if move.state is MoveState.LEFT:
                seen.append((move, f"leave ({move.reason})"))
                continue
            view, track = self._look(Track(move, self._deadline))
            action, track = drain.next_action(view, track, self._clock.monotonic(), self._policy)
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
            replace(move, state=MoveState.ONGOING, started_at=self._clock.wall()), deadline=self._deadline
        )
        calls = 0
        shown: Move | None = None
        while True:
            try:
                view, track = self._look(track)
                action, track = drain.next_action(view, track, self._clock.monotonic(), self._policy)
            except CloudError as error:
                late = self._clock.monotonic() >= self._deadline + self._policy.ending
                action, view = drain.Action(Do.FAIL if late else Do.WAIT, str(error)), View(None)
            if action.do in _FINAL:
                ended = self._ended(track, view, action)
                self._progress(ended)
                return ended, calls
            if action.do is not Do.WAIT:
                track = self._call(action.do, view, track)
                calls += 1
            move = replace(track.move, attempts=track.move.attempts + track.earlier)
            if move != shown:
                shown = move
                self._progress(shown)
            self._clock.sleep(self._poll)

    def _look(self, track: Track) -> tuple[View, Track]:
        instance = track.move.instance
        records = self._records.of(instance)  # before the server: see View
        server = self._cloud.server(instance)
        newest = records[-1] if records else None
        if track.history is None and records:
            gone = server is not None and server.host != self._host
            began = records[0].created_at if gone else track.move.started_at
            track = replace(track, earlier=len(records), move=replace(track.move, started_at=began))
        view = View(server, newest)
        failed = drain.news(view, track) if track.history is not None else None
        if failed is not None and failed.status in FAILED_MIGRATION:
            view = replace(view, why=self._why(instance))
        return view, track

    def _why(self, instance: str) -> str:
        try:
            return self._cloud.why_not_migrated(instance)
        except CloudError:
            return ""  # that it failed is known all the same, only not why

    def _call(self, do: Do, view: View, track: Track) -> Track:
        instance, error = track.move.instance, None
        try:
            if do is Do.MIGRATE:
                if self._destination:
                    self._cloud.live_migrate(instance, self._destination)
                else:
                    self._cloud.live_migrate(instance)
            elif view.migration is not None:
                self._cloud.abort_migration(instance, view.migration.id)
        except CloudError as refusal:
            error = refusal
        now = self._clock.monotonic()
        if do is Do.MIGRATE:
            return drain.called(track, now, self._policy, error)
        return drain.aborted(track, now, error)

    def _ended(self, track: Track, view: View, action: drain.Action) -> Move:
        target = view.server.host if view.server is not None else ""
        at = self._clock.wall()
        if action.do is Do.SUCCEED:
            target = target or (view.migration.target if view.migration is not None else "")
            if track.move.attempts == 0 and view.migration is not None:  # an earlier run did it
                at = view.migration.updated_at or at
        return replace(
            track.move,
            state=_FINAL[action.do],
            target="" if target == self._host else target,
            attempts=track.move.attempts + track.earlier,
            finished_at=at,
            reason=action.reason,
        )
