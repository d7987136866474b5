"""The made-up clock: what happens in order of time, and what waits for a time without a thread.

Whatever has to wait in the middle of its work, as the playbooks' own code does, runs in a greenlet: its sleep
hands the turn back to the hub. Everything runs in one thread, so the same seed gives the same run.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

T = TypeVar("T")
EPOCH = 1_767_225_600.0
"""Seconds since the epoch at which every run begins: 2026-01-01, midnight UTC."""
BOOTED = 1000.0
"""What the controller's monotonic clock shows when a run begins."""
Due = tuple[float, int]
"""When something is to happen, and its number: at one moment the lowest is first."""
_NEVER = 1 << 60  # no number is so high


class Hub:
    """Time in seconds from the start of the run, and the queue of what is to happen."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._ready: deque[greenlet] = deque()
        self._number = 0
        self._until = 0.0
        self._main = getcurrent()

    def wall(self) -> float:
        return EPOCH + self.now

    def monotonic(self) -> float:
        return BOOTED + self.now

    def at(self, moment: float, work: Callable[[], None]) -> None:
        """Call ``work`` at the moment, which is not in the past; at one moment the first asked is first."""
        self._number += 1
        heapq.heappush(self._due, (max(moment, self.now), self._number, work))

    def number(self) -> int:
        """The next number, for something that is to happen as if it was asked for now."""
        self._number += 1
        return self._number

    def at_number(self, due: Due, work: Callable[[], None]) -> None:
        """Call ``work`` when something of this number is due."""
        heapq.heappush(self._due, (*due, work))

    def following(self) -> Due:
        """Before this nothing else happens: when the next thing is due, or the run ends."""
        end = (self._until, _NEVER)
        return min(end, self._due[0][:2]) if self._due else end

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        self.at(self.now + seconds, work)

    def spawn(self, work: Callable[[], Any]) -> greenlet:
        """Begin ``work`` as soon as whoever has the turn gives it away; it may `sleep`."""
        made = greenlet(work, self._main)
        self._ready.append(made)
        return made

    def sleep(self, seconds: float) -> None:
        """Let time pass; only within `spawn`."""
        me = getcurrent()
        self.after(max(seconds, 0.0), lambda: self._resume(me))
        self._main.switch()

    def park(self) -> None:
        """Wait until somebody calls `wake`; only within `spawn`."""
        self._main.switch()

    def wake(self, sleeper: greenlet) -> None:
        self._ready.append(sleeper)

    def run(self, until: float, after_each: Callable[[], None]) -> None:
        """Let everything happen up to a moment, that one included."""
        self._main = getcurrent()
        self._until = until
        while self._due and self._due[0][0] <= until:
            self.now, _, work = heapq.heappop(self._due)
            work()
            while self._ready:
                self._resume(self._ready.popleft())
            after_each()
        self.now = until

    def _resume(self, sleeper: greenlet) -> None:
        if not sleeper.dead:
            sleeper.switch()


def kill(victims: Iterable[greenlet]) -> None:
    """End them wherever they are; what they would have done next is never done."""
    for victim in victims:
        if not victim.dead:
            victim.throw(GreenletExit)


class Promise(Generic[T]):
    """The result of something that runs on the hub, as `concurrent.futures.Future` has it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._done = False
        self._value: T | None = None
        self._error: Exception | None = None
        self._waiting: list[greenlet] = []

    def keep(self, work: Callable[[], T]) -> None:
        """Do the work and remember what came of it."""
        try:
            self._value = work()
        except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._error = error
        self._done = True
        for each in self._waiting:
            self._hub.wake(each)

    def done(self) -> bool:
        return self._done

    def result(self) -> T:
        while not self._done:
            self._waiting.append(getcurrent())
            self._hub.park()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


class Pool:
    """As much of `concurrent.futures.Executor` as the remedies use, on the hub instead of threads.

    Args:
        begun: takes every greenlet that is started, so that all of them can be ended together.
    """

    def __init__(
        self,
        hub: Hub,
        begun: Callable[[greenlet], None],
        max_workers: int = 1,
        thread_name_prefix: str = "",
    ) -> None:
        self._hub = hub
        self._begun = begun
        self._free = max(1, max_workers)
        self._waiting: deque[Callable[[], None]] = deque()
        self._promises: list[Promise[Any]] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):  # not when all of it is being ended
            for promise in self._promises:
                if not promise.done():
                    _settled(promise)

    def submit(self, work: Callable[..., T], *arguments: Any) -> Promise[T]:
        promise: Promise[T] = Promise(self._hub)
        self._promises.append(promise)
        self._waiting.append(lambda: promise.keep(lambda: work(*arguments)))
        if self._free:
            self._free -= 1
            self._begun(self._hub.spawn(self._work))
        return promise

    def map(self, work: Callable[..., T], *items: Iterable[Any]) -> Iterator[T]:
        promises = [self.submit(work, *each) for each in zip(*items, strict=False)]
        return iter([promise.result() for promise in promises])

    def _work(self) -> None:
        while self._waiting:
            self._waiting.popleft()()
        self._free += 1


class AtOnce:
    """An executor that does everything at once and in order: for what must not let time pass."""

    def __init__(self, max_workers: int = 1, thread_name_prefix: str = "") -> None:
        self.max_workers = max_workers

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, work: Callable[..., T], *items: Iterable[Any]) -> Iterator[T]:
        return iter([work(*each) for each in zip(*items, strict=False)])


def _settled(promise: Promise[Any]) -> None:
    try:
        promise.result()
    except Exception:  # noqa: BLE001 - whoever wanted the result has had it
        return
