"""Nova's records of the moves from one host, read once for all who follow them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from hass_runtime.remedy.nova import Migration


@dataclass
class Records:
    """Reads them at most once per ``every`` seconds. Threads share one; it raises what ``read`` raises."""

    read: Callable[[], list[Migration]]
    every: float
    monotonic: Callable[[], float]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _read_at: float | None = None
    _found: list[Migration] = field(default_factory=list)

    def all(self) -> list[Migration]:
        with self._lock:
            now = self.monotonic()
            if self._read_at is None or now - self._read_at >= self.every:
                self._found = self.read()
                self._read_at = now
            return self._found

    def of(self, instance: str) -> list[Migration]:
        """Those of one instance, oldest first."""
        return [record for record in self.all() if record.instance == instance]
