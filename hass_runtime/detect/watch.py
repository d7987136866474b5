"""Looks at all hosts through all detectors, each at its own pace, and puts the readings on a queue.

No detector waits for another and no host for another: a BMC that takes five seconds to say nothing delays
neither the ping of its own host nor anything of any other.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from hass_runtime.decide.diagnosis import RARER
from hass_runtime.domain import Host, Layer, Reading, Verdict

log = logging.getLogger(__name__)

MAX_PROBES = 256  # threads; a probe mostly waits, so more than that only costs memory


class Detector(Protocol):
    """One layer's eye. ``read`` blocks for a bounded time and never raises: it says unknown instead."""

    layer: Layer

    def read(self, host: Host) -> Reading: ...


class Watch:
    """Reads every (detector, host) pair each ``interval`` seconds, hurried hosts twice as often.

    The layers in ``rarer`` are read so many times less often: what takes many questions, and changes slowly.

    Args:
        pairs: which layer of which host to read.
        interval: seconds from the start of one reading to the start of the next.
        out: takes each reading; called from the probes' threads.

    Readings arrive on ``out`` in the order in which they were made. A probe still under way is never
    started a second time.
    """

    def __init__(
        self,
        pairs: Iterable[tuple[Detector, Host]],
        interval: float,
        out: Callable[[Reading], None],
        clock: Callable[[], float] = time.monotonic,
        rarer: Mapping[Layer, float] = RARER,
    ) -> None:
        self._rarer = rarer
        self._interval = interval
        self._out = out
        self._clock = clock
        self._pairs = list(pairs)
        self._hurried: frozenset[str] = frozenset()
        self._due: list[tuple[float, int]] = []
        self._changed = threading.Condition()
        self._stopping = False
        workers = max(1, min(len(self._pairs), MAX_PROBES))
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="probe")
        self._scheduler = threading.Thread(target=self._schedule, name="watch", daemon=True)

    def start(self) -> None:
        now = self._clock()
        self._due = [(now, number) for number in range(len(self._pairs))]
        heapq.heapify(self._due)
        self._scheduler.start()

    def stop(self) -> None:
        """Ends without waiting for probes under way; their readings are dropped."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def hurry(self, hosts: frozenset[str]) -> None:
        """These hosts are looked at twice as often from now on, all others at the normal pace."""
        self._hurried = hosts

    def _schedule(self) -> None:
        with self._changed:
            while not self._stopping:
                if not self._due:
                    self._changed.wait()
                    continue
                wait = self._due[0][0] - self._clock()
                if wait > 0:
                    self._changed.wait(wait)
                    continue
                _, number = heapq.heappop(self._due)
                self._pool.submit(self._probe, number)

    def _probe(self, number: int) -> None:
        detector, host = self._pairs[number]
        began = self._clock()
        try:
            reading = detector.read(host)
        except Exception as error:
            log.exception("detector %s of %s is broken", detector.layer.value, host.name)
            reading = Reading(
                host.name, detector.layer, Verdict.UNKNOWN, f"the detector broke: {error}", time.time()
            )
        with self._changed:
            if self._stopping:
                return
            pace = self._interval * self._rarer.get(detector.layer, 1.0)
            if host.name in self._hurried:
                pace /= 2
            heapq.heappush(self._due, (began + pace, number))
            self._changed.notify()
        self._out(reading)
