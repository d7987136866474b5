"""Brings home by live migration what was moved away from a host when it failed or was emptied.

Only what is still where HASS had put it: what somebody has moved since is where somebody wants it. Nova's
scheduler has to find that it fits at home, nothing is forced.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from hass_runtime.domain import Incident, Move, MoveState
from hass_runtime.remedy import drain, draining, inventory
from hass_runtime.remedy.drain import DrainError
from hass_runtime.remedy.draining import Drained, Drainer
from hass_runtime.remedy.nova import Server
from hass_runtime.remedy.restoration import required

LATELY = 100
"""So many incidents of a host are looked through for the last one that moved something away."""


class Journal(Protocol):
    """What is read of the store."""

    def incidents(self, limit: int = 100, host: str | None = None) -> list[Incident]: ...
    def moves(self, id: int) -> list[Move]: ...


def moved_away(host: str, moves: Iterable[Move]) -> dict[str, str]:
    """By UUID where the instances of the host have gone."""
    return {
        move.instance: move.target
        for move in moves
        if move.source == host and move.state is MoveState.SUCCEEDED and move.target not in ("", host)
    }


def newest_that_moved(journal: Journal, host: str) -> int:
    """The number of the newest incident of the host that moved something away; 0 when none did."""
    for incident in journal.incidents(limit=LATELY, host=host):
        if moved_away(host, journal.moves(incident.id)):
            return incident.id
    return 0


def look_first(cloud: draining.Nova, home: str) -> None:
    """DrainError unless Nova would send instances to the host."""
    service = required(cloud, home)
    why = drain.cannot_begin(service)
    if not why and not service.enabled:
        why = f"nova-compute of {home} is disabled: {service.disabled_reason or 'no reason'}"
    if why:
        raise DrainError(f"nothing can come home to {home}, nothing was changed: {why}")


class Homecoming:
    """Brings home what is in ``moved``: by UUID, and where HASS has put it.

    Args:
        drainer: makes a Drainer of a host for the instances with these UUIDs.
    """

    def __init__(
        self,
        cloud: draining.Nova,
        home: str,
        moved: Mapping[str, str],
        incident: int,
        drainer: Callable[[str, frozenset[str]], Drainer],
        progress: Callable[[Move], None],
    ) -> None:
        self._cloud = cloud
        self._home = home
        self._moved = moved
        self._incident = incident
        self._drainer = drainer
        self._progress = progress

    def run(self) -> Drained:
        """One host after the other. Raises CloudError only before anything was moved."""
        there, stay = self._sort()
        done = list(stay)
        for move in stay:
            self._progress(move)
        calls, doubts = 0, []
        for source, ids in there.items():
            drained = self._drainer(source, ids).run()
            done += drained.moves
            calls += drained.calls
            doubts += [drained.doubt] if drained.doubt else []
        return Drained(tuple(done), calls, "; ".join(doubts))

    def foresee(self) -> tuple[tuple[Move, str], ...]:
        """What `run` would begin with for every instance; changes nothing. Raises CloudError."""
        there, stay = self._sort()
        seen = [(move, f"leave ({move.reason})") for move in stay]
        for source, ids in there.items():
            seen += self._drainer(source, ids).foresee()
        return tuple(seen)

    def _sort(self) -> tuple[dict[str, frozenset[str]], list[Move]]:
        """By host what is to come home from there; and what is not, with the reason."""
        there: dict[str, set[str]] = defaultdict(set)
        stay = []
        for uuid, target in sorted(self._moved.items()):
            server = self._cloud.server(uuid)
            if server is None:
                continue  # deleted since
            if server.vm_state == "stopped" and not server.task_state and server.host != self._home:
                stay.append(self._stays(server, "stopped: stays, Nova live-migrates only what runs"))
            elif server.host in (target, self._home):
                # From home it is asked for all the same: a run before this one may have brought it there.
                there[target].add(uuid)
            else:
                where = f"is on {server.host} since" if server.host else "is on no host"
                stay.append(self._stays(server, f"{where}, not on {target} where HASS had moved it"))
        return {source: frozenset(ids) for source, ids in sorted(there.items())}, stay

    def _stays(self, server: Server, why: str) -> Move:
        move = inventory.pending(server, server.host, self._incident)
        return replace(move, state=MoveState.LEFT, reason=why)


def words(drained: Drained, home: str) -> str:
    """The outcome as a person reads it."""
    back = [move for move in drained.moves if move.state is MoveState.SUCCEEDED]
    text = f"{len(back)} of {len(drained.moves)} instances are home on {home}"
    for state in (MoveState.FAILED, MoveState.REFUSED, MoveState.LEFT):
        named = [f"{m.name or m.instance} ({m.reason})" for m in drained.moves if m.state is state]
        if named:
            text += f"; {len(named)} {state.value}: {', '.join(named)}"
    return f"{text}; {drained.doubt}" if drained.doubt else text
