"""The order in which instances are dealt with: by priority, one group after, or soon after, the other.

Within a group as many at once as there are workers. A group that hangs must not keep all that follow off for
ever, so by default the next one begins after a while whatever has become of the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from hass_runtime.domain import Move

if TYPE_CHECKING:
    from hass_runtime.settings import ControllerSettings

T = TypeVar("T")


class Pace(str, Enum):
    """When the next group begins: with the one before it; when that is done, or after a while; when it is."""

    TOGETHER = "together"
    STAGGERED = "staggered"
    IN_TURN = "in_turn"


@dataclass(frozen=True)
class Turns:
    """How groups follow one another. ``stagger`` is in seconds, from the beginning of the group before."""

    pace: Pace = Pace.STAGGERED
    stagger: float = 30.0
    poll: float = 0.5

    def words(self, todo: Sequence[Move]) -> str:
        """How what is to be done is divided, "" when it is not."""
        groups = [(priority, len(group)) for priority, group in by_priority(todo)]
        if len(groups) < 2:
            return ""
        told = ", ".join(f"{count} of priority {priority}" for priority, count in groups)
        after = {
            Pace.TOGETHER: "all at once, as far as there are workers",
            Pace.STAGGERED: f"each when the one before is done, or {self.stagger:g} s after it began",
            Pace.IN_TURN: "each when the one before is done",
        }[self.pace]
        return f"{told}: {after}"


def turns_of(settings: ControllerSettings) -> Turns:
    """The order of `[recovery]`."""
    recovery = settings.recovery
    return Turns(Pace(recovery.priority_groups), recovery.priority_stagger, recovery.poll_interval)


def by_priority(todo: Sequence[Move]) -> Iterator[tuple[int, list[Move]]]:
    """The groups, the highest priority first; within one the order stays as it is."""
    ordered = sorted(todo, key=lambda move: -move.priority)
    for priority, group in groupby(ordered, key=lambda move: move.priority):
        yield priority, list(group)


def drive(
    pool: Executor,
    work: Callable[[Move], T],
    todo: Sequence[Move],
    turns: Turns,
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> list[T]:
    """Do the work of every instance, group by group, and return what came of each."""
    begun: list[Future[T]] = []
    for _, group in by_priority(todo):
        began = monotonic()
        earlier = list(begun)
        while earlier and turns.pace is not Pace.TOGETHER:
            if turns.pace is Pace.STAGGERED and monotonic() - began >= turns.stagger:
                break
            earlier = [future for future in earlier if not future.done()]
            if earlier:
                sleep(turns.poll)
        begun += [pool.submit(work, move) for move in group]
    return [future.result() for future in begun]
