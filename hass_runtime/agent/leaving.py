"""Whether this host is being shut down because a person or a program asked it to.

Two signs are believed, both kept by systemd itself:

* ``systemctl is-system-running`` says ``stopping``: the job of shutdown.target is queued or under way. It is
  so from the moment of poweroff, reboot, halt or kexec (by hand, by a tool, by the power button or a soft-off
  of the BMC) until the very end, also in a unit that has just got its SIGTERM. That tells a shutdown from a
  mere ``systemctl restart`` of the agent, in which the state stays ``running`` or ``degraded``.
* ``/run/systemd/shutdown/scheduled``, written by ``shutdown +5``, names a moment that is at most `SOON` away,
  or was up to `LATE` ago. One for tonight does not count: until then a failure of the host is a failure.

Not believed: SIGTERM on its own (see above), and /run/nologin, which is there during every boot, and which
people create by hand.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hass_runtime.agent.process import run

log = logging.getLogger(__name__)

SOON = 15.0  # s; a shutdown that is scheduled counts from so long before
LATE = 120.0  # s; and until so long after: one that did not come about is no reason any more
FRESH = 1.0  # s; a look is good for so long
PATIENCE = 1.0  # s; systemd answers this question in milliseconds, or not at all
SCHEDULED = Path("/run/systemd/shutdown/scheduled")

_MODES = frozenset({"poweroff", "reboot", "halt", "kexec", "soft-reboot"})  # not dry-poweroff and the like


def scheduled_at(text: str) -> float | None:
    """Pure: the moment in systemd's file of a scheduled shutdown, seconds since the epoch; None: none."""
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    usec = fields.get("USEC", "").strip()
    if fields.get("MODE", "").strip() not in _MODES or not (usec.isascii() and usec.isdigit()):
        return None
    return int(usec[:30]) / 1e6


def reason(running: str, scheduled: str, now: float) -> str:
    """Pure: by which sign the host is being shut down, "" when by none.

    Args:
        running: what ``systemctl is-system-running`` said, "" for nothing.
        scheduled: the text of `SCHEDULED`, "" when there is none.
        now: seconds since the epoch.
    """
    if running.strip() == "stopping":
        return "systemd is stopping the system"
    at = scheduled_at(scheduled)
    if at is not None and at - SOON <= now < at + LATE:
        return "a shutdown is due"
    return ""


def look(scheduled: Path = SCHEDULED) -> str:
    """`reason` for this host now. A host without systemd never says that it leaves; never raises."""
    try:
        running = run(["systemctl", "is-system-running"], PATIENCE).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        log.debug("systemctl is-system-running: %s", error)
        running = ""
    try:
        planned = scheduled.read_text(errors="replace")
    except OSError:  # mostly: none is scheduled
        planned = ""
    return reason(running, planned, time.time())


class Lookout:
    """Looks in a thread of its own when somebody asks and the last look is older than `FRESH`.

    Nothing here blocks. ``on_done`` is called from that thread. Times are ``time.monotonic()``.
    """

    def __init__(self, on_done: Callable[[], None] = lambda: None, looks: Callable[[], str] = look) -> None:
        self._on_done = on_done
        self._looks = looks
        self._lock = threading.Lock()
        self._running = False
        self._again = False
        self._looked_at: float | None = None
        self._reason = ""

    @property
    def leaving(self) -> bool:
        """What the last look said."""
        return bool(self._reason)

    @property
    def looking(self) -> bool:
        return self._running

    def start(self, now: float, anew: bool = False) -> None:
        """Look unless it was done just now. ``anew``: a look that began before now does not do."""
        with self._lock:
            if self._running:
                self._again = self._again or anew
                return
            if not anew and self._looked_at is not None and now - self._looked_at < FRESH:
                return
            self._running = True
        threading.Thread(target=self._look, name="leaving", daemon=True).start()

    def _look(self) -> None:
        while True:
            found = self._looks()
            with self._lock:
                known, self._reason = self._reason, found
                again, self._again = self._again, False
                self._looked_at = time.monotonic()
                self._running = again
            if found and not known:
                log.warning("this host is being shut down: %s", found)
            elif known and not found:
                log.info("this host is not being shut down any more")
            if not again:
                break
        self._on_done()
