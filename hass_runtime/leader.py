"""Which of several controllers acts: the one that holds the lease row, by its own clock too.

The lease is judged twice. The database refuses the writes of whoever does not hold it (its clock, its row
lock); and the holder itself counts from *before* its last renewal on its own monotonic clock, so that it
stops acting in time even when the database cannot be asked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from hass_runtime.store import Lease, LeaseLost, Store, StoreError

log = logging.getLogger(__name__)


class Leadership:
    """Acquires, renews and gives up the lease; `tick` is called once a cycle.

    Args:
        holder: this controller's name, unique among all controllers.
        ttl: seconds that a lease lasts; renewed after a third of it.
    """

    def __init__(
        self, store: Store, holder: str, ttl: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self.holder = holder
        self.ttl = ttl
        self._clock = clock
        self._lease: Lease | None = None
        self._asked_at = 0.0

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
                self._lease = self._store.lease_acquire(self.holder, self.ttl)
                if self._lease is not None:
                    log.info("lease taken by %s, epoch %d", self.holder, self._lease.epoch)
            if self._lease is not None:
                self._asked_at = asked_at
        except StoreError as error:
            log.error("the lease cannot be renewed: %s", error)
        return self.lease

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
