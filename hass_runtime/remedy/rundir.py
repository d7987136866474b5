"""What a run leaves on the disk, and the end of whatever an earlier run left at work."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import time
from pathlib import Path

from hass_runtime.remedy import processes

log = logging.getLogger(__name__)

SPEC, IDENTITY, LOCK, LOG = "spec.json", "worker.json", "lock", "worker.log"
_LOG_TAIL = 500


class RunsError(Exception):
    """A run cannot be started or ended. One line."""


def write_private(path: Path, text: str) -> None:
    """A file for the owner only that is there as a whole or not at all, even after a loss of power."""
    new = path.with_name(f"{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)
    os.replace(new, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def tail(path: Path) -> str:
    """The end of a log in one line; "" when there is none."""
    with contextlib.suppress(OSError):
        text = " ".join(path.read_text(encoding="utf-8", errors="replace").split())
        if text:
            return f"…{text[-_LOG_TAIL:]}" if len(text) > _LOG_TAIL else text
    return ""


def terminate_leftovers(run_dir: Path, grace: float = 6.0) -> tuple[int, ...]:
    """Make sure that nothing of an earlier run is at work any more; returns the pids that had to be killed.

    For a controller that starts again: its worker may still be ending, or have been killed and left its
    playbook behind. A directory that does not exist was never started, and of a run of an earlier boot no
    process is left. Takes at most ``grace`` seconds when the worker hangs, and 15 more when something
    survives SIGKILL, which is what RunsError says.
    """
    worker, run_id, boot = _identity(run_dir)
    if boot and (now := processes.boot_id()) and boot != now:
        return ()
    killed: list[int] = []
    if worker is not None and processes.alive(worker):
        processes.send([worker], signal.SIGTERM)  # it ends its playbook itself
        if not _free(run_dir / LOCK, worker, grace):
            processes.send([worker], signal.SIGKILL)
            killed.append(worker.pid)
    try:
        killed += processes.end_run(run_id, grace=min(grace, 5.0))
    except OSError as error:
        raise RunsError(str(error)) from error
    if worker is not None and not _free(run_dir / LOCK, worker, 5.0):
        raise RunsError(f"the worker {worker.pid} of {run_dir} does not end")
    return tuple(killed)


def _identity(run_dir: Path) -> tuple[processes.Process | None, str, str]:
    """The worker of a run, the run's id and the boot. What a loss of power took does not matter: the name of
    the directory is the run's id, and all of its processes, the worker too, carry that."""
    try:
        raw = json.loads((run_dir / IDENTITY).read_text(encoding="utf-8"))
        worker = processes.Process(int(raw["pid"]), int(raw["started"]))
        return worker, str(raw["run_id"]), str(raw.get("boot", ""))
    except FileNotFoundError:
        log.debug("%s: its worker did not come to write it", run_dir / IDENTITY)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: cannot be read (%s): looking for the run's processes", run_dir / IDENTITY, error)
    return None, run_dir.name, ""


def _free(lock: Path, worker: processes.Process, patience: float) -> bool:
    end = time.monotonic() + patience
    while True:
        if not processes.alive(worker):
            return True
        with contextlib.suppress(OSError), open(lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
