"""What every remedy of a host's instances begins with: a clock, since when, where it tells its progress."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from hass_runtime.domain import Move
from hass_runtime.remedy.wire import move_to_dict

DAY = 86400.0
CLOCK_SLACK = 60.0
"""How far Nova's clock may be behind the controller's before what happened in this incident is overlooked."""


@dataclass(frozen=True)
class Clock:
    """Time, injected. ``wall`` is for the record, ``monotonic`` for deadlines."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def since_of(opened_at: float | None, now: float) -> float:
    """From when on evacuations of the host belong to this failure.

    A controller gives the moment it opened the incident. By hand it is the last 24 hours: an instance that
    was moved earlier that day is listed once more and left as it is, which harms nobody.
    """
    return opened_at - CLOCK_SLACK if opened_at is not None else now - DAY


class ProgressFile:
    """Appends each change of a move as a line of JSON; the worker of the run reads along. None: nowhere."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._lock = threading.Lock()

    def __call__(self, move: Move) -> None:
        if not self._path:
            return
        line = json.dumps(move_to_dict(move)) + "\n"
        with self._lock:
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(fd, line.encode())
            finally:
                os.close(fd)
