"""What ends a run in its worker: reasons to stop, the controller's breath, and the guard of both."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterable

from hass_runtime.remedy import processes, wire
from hass_runtime.remedy.wire import EXITS

TICK = 0.2  # s
LINGER = 4.0  # s; how long ansible-runner may take to notice that its playbook is dead


class Stop:
    """Why the run has to end; the first reason counts. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # SIGTERM may come while this thread holds it
        self.status: wire.RunStatus | None = None
        self.reason = ""

    def ask(self, status: wire.RunStatus, reason: str) -> None:
        with self._lock:
            if self.status is None:
                self.reason = reason
                self.status = status


class Breath:
    """How long the controller's lease surely lasts, from its pipe."""

    def __init__(self, stop: Stop, valid_until: float, breath: float, pipe: Iterable[str]) -> None:
        self._stop = stop
        self._breath = breath
        self._pipe = pipe
        self.valid_until = valid_until

    def start(self) -> None:
        threading.Thread(target=self.listen, name="breath", daemon=True).start()

    def lapse(self) -> wire.Lapse:
        return wire.Lapse.of(self.valid_until, self._breath)

    def listen(self) -> None:
        """Until the end of the pipe, which is the end of the controller."""
        for line in self._pipe:
            word, _, rest = line.strip().partition(" ")
            if word == "beat":
                self.valid_until = max(self.valid_until, wire.valid_until(rest))
            elif word == "cancel":
                self._stop.ask("cancelled", rest or "cancelled")
        self._stop.ask("cancelled", "the controller is gone")


class Guard:
    """Ends the run in time: a thread that waits for nobody else."""

    def __init__(self, run_id: str, deadline: float, stop: Stop, breath: Breath) -> None:
        self._run_id = run_id
        self._deadline = deadline
        self._stop = stop
        self._breath = breath
        self._end = time.monotonic() + deadline
        self._finished = threading.Event()
        self.speak_by = math.inf
        """When the worker's last word is due (time.monotonic()), once the run has been ended."""
        self.problem = ""

    def start(self) -> None:
        threading.Thread(target=self._watch, name="guard", daemon=True).start()

    def ended(self) -> bool:
        """ansible-runner's cancel callback: only when all is over, as it would kill without any grace."""
        return self.speak_by < math.inf

    def finish(self) -> None:
        """The last word is said: nothing is left to guard."""
        self._finished.set()

    def _watch(self) -> None:
        # Waits first: the beats that are in the pipe already count.
        while not self._finished.wait(TICK / 4):
            self._look(time.monotonic())
            if self._stop.status is not None:
                break
        else:
            return
        now = time.monotonic()
        lapse = self._breath.lapse()
        grace = lapse.grace(now)
        patience = min(10.0, max(lapse.leave - now - grace, TICK))
        try:
            processes.end_run(self._run_id, grace, self._playbook_process, patience)
        except OSError as error:
            self.problem = str(error)
        now = time.monotonic()
        leave = max(min(now + LINGER, lapse.leave), now + TICK)
        self.speak_by = now + (leave - now) / 2
        while not self._finished.wait(TICK / 4):
            # ansible-runner may have been about to start its playbook when all of the run was ended.
            with contextlib.suppress(OSError):  # no descriptors left, say: the end comes all the same
                processes.send(processes.of_run(self._run_id), signal.SIGKILL)
            if time.monotonic() >= leave:
                with contextlib.suppress(OSError):
                    os.write(2, f"{self._stop.reason}\n".encode())
                os._exit(next(code for code, status in EXITS.items() if status == self._stop.status))

    def _look(self, now: float) -> None:
        if now >= self._breath.lapse().end:
            self._stop.ask("cancelled", "the controller gave no sign of life: its lease is about to run out")
        elif now >= self._end:
            self._stop.ask("timeout", f"not finished after {self._deadline:g} s")

    def _playbook_process(self) -> list[processes.Process]:
        """ansible-playbook itself: our own child. Its workers are its business, it passes the signal on."""
        return [process for process in processes.of_run(self._run_id) if _parent(process.pid) == os.getpid()]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0
