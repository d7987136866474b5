"""The instances of a failed host: what is on it, what each was before, and whether each is so afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

from hass_runtime.domain import Move, MoveState
from hass_runtime.remedy import moves
from hass_runtime.remedy.nova import InstanceAction, Migration, Server
from hass_runtime.remedy.protecting import Protects, everything
from hass_runtime.remedy.wire import move_to_dict


class Instances(Protocol):
    """What is read of the cloud."""

    def servers_on(self, host: str) -> list[Server]: ...
    def server(self, server_id: str) -> Server | None: ...
    def evacuations(self, source: str, since: float) -> list[Migration]: ...
    def actions(self, server_id: str) -> list[InstanceAction]: ...


@dataclass(frozen=True)
class Seen:
    """What an instance was, "active" or "stopped", when it was looked at ``at``, seconds since the epoch."""

    was: str
    at: float


def on_host(
    cloud: Instances,
    host: str,
    incident: int,
    since: float,
    recorded: Mapping[str, str] | None = None,
    forced_down: bool = False,
    failed_at: float | None = None,
    protects: Protects = everything,
) -> tuple[Move, ...]:
    """What is on a host now, in the order in which it would be moved. Raises CloudError.

    What is not protected, and is not being evacuated already, is ``left`` with the reason.

    ``was`` is what ``recorded`` holds for the instance, by UUID; else its vm_state; "" while it is being
    evacuated, when that says nothing. A host may have come back since it failed, and have noted its guests as
    stopped: what ran until it failed counts as active all the same. It had failed at ``failed_at`` (seconds
    since the epoch), and before the first evacuation of a host that is still forced down.
    """
    known = recorded or {}
    records = cloud.evacuations(host, since)
    newest = {record.instance: record for record in records}
    moments = [record.created_at for record in records] if forced_down else []
    began = min(moments + ([failed_at] if failed_at is not None else []), default=None)

    def before(server: Server) -> str:
        if server.id in known:
            return known[server.id]
        if not (server.vm_state == "error" or moves.vm_state_tells(server, host, newest.get(server.id))):
            return ""
        stopped = server.vm_state == "stopped" and began is not None
        if stopped and moves.stopped_by_the_failure(tuple(cloud.actions(server.id)), began or 0.0):
            return "active"
        return server.vm_state

    found = [
        unless_left(
            server,
            newest.get(server.id),
            replace(pending(server, host, incident), was=before(server)),
            protects,
        )
        for server in cloud.servers_on(host)
    ]
    return tuple(sorted(found, key=order))


def unless_left(server: Server, newest: Migration | None, move: Move, protects: Protects) -> Move:
    """The move, or that the instance is left alone. What is on its way is not: it is seen to its end."""
    if moves.in_flight(newest) or moves.rebuilding(server):
        return move
    told = protects(server)
    return move if told.protected else left(move, told.reason)


def left(move: Move, reason: str) -> Move:
    """It stays where it is, because it is not protected."""
    return replace(move, state=MoveState.LEFT, reason=f"not protected: {reason}")


def seen_of(
    found: Iterable[Move], read_at: float, recorded: Mapping[str, str], recorded_at: float
) -> dict[str, Seen]:
    """By UUID what is known of instances: what an earlier run recorded, else what this run found."""
    seen = {move.instance: Seen(move.was, read_at) for move in found if move.was in moves.POWER_STATES}
    return seen | {
        instance: Seen(was, recorded_at) for instance, was in recorded.items() if was in moves.POWER_STATES
    }


def order(move: Move) -> tuple[int, str, str]:
    """Sorts moves: higher priority first, then by name."""
    return (-move.priority, move.name, move.instance)


def pending(server: Server | None, host: str, incident: int, instance: str = "") -> Move:
    """The move of an instance that has not begun; ``was`` is only known while it is on the host."""
    return Move(
        incident,
        server.id if server else instance,
        server.name if server else "",
        host,
        MoveState.PENDING,
        was=server.vm_state if server and server.host == host else "",
        priority=server.priority if server else 0,
    )


def verify(
    cloud: Instances,
    host: str,
    done: Iterable[Move],
    workers: int = 16,
    pool: Callable[..., Executor] = ThreadPoolExecutor,
) -> tuple[str, ...]:
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

    with pool(max_workers=workers, thread_name_prefix="verify") as looking:
        problems = [problem for problem in looking.map(wrong_with, arrived) if problem]
    for server in cloud.servers_on(host):
        if server.id not in known:
            problems.append(f"{server.name} is on {host} and nobody moved it")
    return tuple(problems)


def as_dicts(done: Iterable[Move]) -> list[dict[str, Any]]:
    """Moves as plain data, as modules return them."""
    return [move_to_dict(move) for move in done]
