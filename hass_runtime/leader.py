"""Which of several controllers acts: the one that holds the lease row, by its own clock too.

The lease is judged twice. The database refuses the writes of whoever does not hold it (its clock, its row
lock); and the holder itself counts from *before* its last renewal on its own monotonic clock, so that it
stops acting in time even when the database cannot be asked.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from hass_runtime.store import Lease, LeaseLost, Store, StoreError

log = logging.getLogger(__name__)


def holder_name(name: str) -> str:
    """A holder that no other process on any machine has: two configurations may carry the same name.

    Shape: ``NAME MACHINE-BOOT PID START``; the last two tell a process from a later one of the same number.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{name} {boot} {os.getpid()} {_started(os.getpid())}"


def is_dead_predecessor(holder: str, mine: str) -> bool:
    """True when ``holder`` was a process of the same name on this machine, since it started, and is gone."""
    theirs, own = holder.rsplit(" ", 3), mine.rsplit(" ", 3)
    if len(theirs) != 4 or theirs[:2] != own[:2] or theirs == own or not theirs[2].isdecimal():
        return False
    return _started(int(theirs[2])) != theirs[3]


def _started(pid: int) -> str:
    """When a process began, in ticks since the machine did; "" when there is none of this number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


class Leadership:
    """Acquires, renews and gives up the lease; `tick` is called once a cycle.

    Args:
        holder: this controller's name, unique among all controllers.
        ttl: seconds that a lease lasts; renewed after a third of it.
        bury: ends what a dead predecessor on this machine left at work; False when something survives.
    """

    def __init__(
        self,
        store: Store,
        holder: str,
        ttl: float,
        clock: Callable[[], float] = time.monotonic,
        bury: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self.holder = holder
        self.ttl = ttl
        self._clock = clock
        self._bury = bury
        self._lease: Lease | None = None
        self._asked_at = 0.0
        self._succeeded = False

    @property
    def valid_until(self) -> float:
        """Until when the lease surely lasts, by `clock`; in the past when there is none."""
        return self._asked_at + self.ttl if self._lease is not None else 0.0

    @property
    def lease(self) -> Lease | None:
        """The lease, as long as this controller may act on it."""
        if self._lease is not None and self._clock() - self._asked_at >= self.ttl:
            return None
        return self._lease

    def tick(self) -> Lease | None:
        """Keep the lease, or try to get it.

        Returns:
            The lease, or None while another controller holds it or the database cannot be asked for
            longer than the lease lasts.
        """
        asked_at = self._clock()
        if self._lease is not None and asked_at - self._asked_at < self.ttl / 3:
            return self._lease
        try:
            if self._lease is not None:
                try:
                    self._lease = self._store.lease_renew(self._lease)
                except LeaseLost as lost:
                    log.error("lease lost: %s", lost)
                    self._lease = None
            if self._lease is None:
                self._succeed()
                self._lease = self._store.lease_acquire(self.holder, self.ttl)
                if self._lease is not None:
                    log.info("lease taken by %s, epoch %d", self.holder, self._lease.epoch)
            if self._lease is not None:
                self._asked_at = asked_at
        except StoreError as error:
            log.error("the lease cannot be renewed: %s", error)
        return self.lease

    def _succeed(self) -> None:
        """The lease of this controller's own dead predecessor need not be waited for."""
        current = None if self._succeeded else self._store.lease_current()
        self._succeeded = True
        if current is not None and is_dead_predecessor(current.holder, self.holder):
            log.info("lease of %s, epoch %d: its process is gone", current.holder, current.epoch)
            if not self._bury():  # its lease is to run out first, for whoever takes it then
                return
            try:
                self._store.lease_release(current)
            except LeaseLost:
                return  # it has run out meanwhile

    def drop(self) -> None:
        """Forget the lease: the database said that it is somebody else's."""
        self._lease = None

    def release(self) -> None:
        """Give the lease back, so that another controller can take it at once."""
        if self._lease is not None:
            try:
                self._store.lease_release(self._lease)
            except (LeaseLost, StoreError) as error:
                log.warning("the lease could not be given back: %s", error)
            self._lease = None
