"""Finding and ending every process of a run, straight from /proc.

A run's processes carry its id in their environment. That finds them whatever session or process group they
moved to: ansible-core gives each of its workers a session of its own, so that killing a process group
misses the modules.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

MARKER = "HASS_RUN_ID"
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Process:
    """A process, with its start time (clock ticks since boot): pids are used again."""

    pid: int
    started: int


def look(pid: int) -> Process | None:
    """The living process of this pid; None when there is none, or only its zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[19]))


def boot_id() -> str:
    """Which start of this machine it is: no process outlives it. "" where the kernel does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def alive(process: Process) -> bool:
    return look(process.pid) == process


def of_run(run_id: str) -> list[Process]:
    """Every living process that carries the run's id, except this one."""
    wanted = f"{MARKER}={run_id}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                carries = wanted in file.read().split(b"\0")
        except OSError:  # gone meanwhile, or not ours
            continue
        process = look(int(entry)) if carries else None
        if process is not None:
            found.append(process)
    return found


def send(processes: Iterable[Process], number: int) -> None:
    """A signal to each of them that still lives and is still the same."""
    for process in processes:
        if alive(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)


def end_run(
    run_id: str,
    grace: float,
    first: Callable[[], Iterable[Process]] | None = None,
    patience: float = 10.0,
) -> tuple[int, ...]:
    """SIGTERM to ``first`` (default: to all of the run), SIGKILL to what is left after ``grace`` seconds.

    Returns the pids that had to be killed. Raises OSError when some survive even that for ``patience``
    seconds.
    """

    def left() -> list[Process]:
        # Asked twice: one that is born while its parent ends may be missed by a single look.
        return of_run(run_id) or of_run(run_id)

    send(first() if first is not None else of_run(run_id), signal.SIGTERM)
    end = time.monotonic() + grace
    while time.monotonic() < end and left():
        time.sleep(0.02)
    killed: set[int] = set()
    end = time.monotonic() + patience
    while rest := left():
        if time.monotonic() > end:
            raise OSError(f"processes of run {run_id} survive SIGKILL: {[process.pid for process in rest]}")
        killed.update(process.pid for process in rest)
        send(rest, signal.SIGKILL)
        time.sleep(0.02)
    return tuple(sorted(killed))


def adopt_orphans() -> None:
    """Make this process the parent of orphaned descendants, so that they end with it and not after it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
