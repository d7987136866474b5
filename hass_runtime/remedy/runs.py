"""Runs of remediation playbooks, each in a worker process of its own.

The worker lives on its controller's breath: when the pipe to it closes, or no beat comes for a while, it
ends its playbook for real. What it reports comes back as events; a worker that dies without its last word
is reported as crashed, after whatever it left behind has been ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hass_runtime.remedy import processes
from hass_runtime.remedy.wire import (
    MoveChanged,
    RunEnded,
    RunEvent,
    RunStatus,
    TaskEnded,
    TaskStarted,
    decode,
)

__all__ = [
    "Launcher",
    "MoveChanged",
    "RunEnded",
    "RunEvent",
    "RunHandle",
    "RunSpec",
    "RunStatus",
    "RunsError",
    "TaskEnded",
    "TaskStarted",
    "terminate_leftovers",
]

log = logging.getLogger(__name__)

SPEC, IDENTITY, LOCK, LOG = "spec.json", "worker.json", "lock", "worker.log"
_LOG_TAIL = 500


class RunsError(Exception):
    """A run cannot be started or ended. One line."""


@dataclass(frozen=True)
class RunSpec:
    """One run of one playbook. ``playbook`` is its name without .yml; ``extravars`` hold no secret.

    ``deadline`` is how long (seconds) the run may take; ``breath`` how long without a beat of its controller.
    ``run_dir`` is the run's own and must not be used by another.
    """

    run_id: str
    incident: int
    host: str
    playbook: str
    run_dir: Path
    config: Path
    deadline: float
    extravars: Mapping[str, Any] = field(default_factory=dict)
    breath: float = 15.0

    def as_json(self, playbooks: Path) -> str:
        """What the worker reads."""
        raw = {
            "run_id": self.run_id,
            "incident": self.incident,
            "host": self.host,
            "playbook": str(playbooks.absolute() / f"{self.playbook}.yml"),
            "run_dir": str(self.run_dir),
            "config": str(self.config),
            "deadline": self.deadline,
            "breath": self.breath,
            "extravars": dict(self.extravars),
        }
        return json.dumps(raw, indent=1)


class RunHandle:
    """A started run. ``beat`` and ``cancel`` never block and never fail; a dead run takes no notice."""

    def __init__(self, run_id: str, process: subprocess.Popen[bytes] | None) -> None:
        self.run_id = run_id
        self._process = process
        self._ended = threading.Event()
        if process is not None and process.stdin is not None:
            # A worker that hangs must not make its controller hang on a full pipe.
            os.set_blocking(process.stdin.fileno(), False)
        elif process is None:
            self._ended.set()

    @property
    def pid(self) -> int:
        """Of the worker; 0 when it could not be started."""
        return self._process.pid if self._process is not None else 0

    def beat(self) -> None:
        """Tell the worker that its controller lives and still may act."""
        self._say("beat")

    def cancel(self, reason: str) -> None:
        """End the playbook and all its processes; the sink gets RunEnded("cancelled") when they are gone."""
        self._say("cancel " + " ".join(reason.split()))

    def alive(self) -> bool:
        """Whether the run has not ended yet: its RunEnded has not been given to the sink."""
        return not self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Until the run has ended. False when it has not within ``timeout`` seconds."""
        return self._ended.wait(timeout)

    def _say(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            # Closed, or full: either way the worker hears no beat, which ends the run as it should.
            with contextlib.suppress(OSError, ValueError):
                os.write(self._process.stdin.fileno(), line.encode() + b"\n")


class Launcher:
    """Starts runs of the playbooks in ``playbooks``.

    ``python`` is the interpreter of the workers; ansible-playbook is looked for beside it.
    """

    def __init__(self, playbooks: Path, python: str = sys.executable) -> None:
        self._playbooks = playbooks
        self._python = python

    def start(self, spec: RunSpec, sink: Callable[[RunEvent], None]) -> RunHandle:
        """Start a run. ``sink`` is called from a thread of its own, RunEnded last and exactly once.

        A run that cannot be started is a run that crashed: it is reported to ``sink``, nothing is raised.
        """
        try:
            process = self._spawn(spec)
        except OSError as error:
            log.error("run %s cannot be started: %s", spec.run_id, error)
            sink(RunEnded(spec.run_id, "crashed", None, f"cannot be started: {error}", time.time()))
            return RunHandle(spec.run_id, None)
        handle = RunHandle(spec.run_id, process)
        reader = threading.Thread(
            target=self._follow, args=(spec, process, handle, sink), name=f"run-{spec.run_id}", daemon=True
        )
        reader.start()
        return handle

    def _spawn(self, spec: RunSpec) -> subprocess.Popen[bytes]:
        spec.run_dir.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        spec.run_dir.mkdir(mode=0o700)
        path = spec.run_dir / SPEC
        path.touch(mode=0o600)
        path.write_text(spec.as_json(self._playbooks), encoding="utf-8")
        root = str(Path(__file__).resolve().parents[2])
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        }
        env.pop(processes.MARKER, None)
        log_fd = os.open(spec.run_dir / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(
                [self._python, "-m", "hass_runtime.remedy.worker", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_fd,
                env=env,
                cwd=spec.run_dir,
                start_new_session=True,
            )
        finally:
            os.close(log_fd)

    @staticmethod
    def _follow(
        spec: RunSpec,
        process: subprocess.Popen[bytes],
        handle: RunHandle,
        sink: Callable[[RunEvent], None],
    ) -> None:
        ended: RunEnded | None = None
        assert process.stdout is not None
        for line in process.stdout:
            try:
                event = decode(line.decode("utf-8", "replace"))
            except ValueError as error:
                log.error("run %s: %s", spec.run_id, error)
                continue
            if isinstance(event, RunEnded):
                ended = event  # told last of all, when the worker is gone too
            else:
                _tell(sink, event)
        rc = process.wait()
        if ended is None:
            reason = f"its worker died ({_how(rc)}){_tail(spec.run_dir / LOG)}"
            try:
                left = processes.end_run(spec.run_id, grace=5.0)
                if left:
                    reason += f"; processes {', '.join(map(str, left))} of it were killed"
            except OSError as error:
                reason += f"; {error}"
            ended = RunEnded(spec.run_id, "crashed", rc, reason, time.time())
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        _tell(sink, ended)
        handle._ended.set()


def _tell(sink: Callable[[RunEvent], None], event: RunEvent) -> None:
    try:
        sink(event)
    except Exception:
        # The reader must go on, or the worker would block on a full pipe.
        log.exception("run %s: an event was not taken: %r", event.run_id, event)


def _how(rc: int) -> str:
    return f"signal {signal.Signals(-rc).name}" if rc < 0 else f"status {rc}"


def _tail(path: Path) -> str:
    with contextlib.suppress(OSError):
        text = " ".join(path.read_text(encoding="utf-8", errors="replace").split())
        if text:
            return f": …{text[-_LOG_TAIL:]}" if len(text) > _LOG_TAIL else f": {text}"
    return ""


def terminate_leftovers(run_dir: Path, grace: float = 10.0) -> tuple[int, ...]:
    """Make sure that nothing of an earlier run is at work any more; returns the pids that had to be killed.

    For a controller that starts again: its worker may still be ending, or have been killed and left its
    playbook behind. A directory that does not exist was never started. Raises RunsError when something
    survives.
    """
    try:
        identity = json.loads((run_dir / IDENTITY).read_text(encoding="utf-8"))
        worker = processes.Process(int(identity["pid"]), int(identity["started"]))
        run_id = str(identity["run_id"])
    except FileNotFoundError:
        # The worker writes it before anything else; the name of the directory is the run's id by convention.
        worker, run_id = None, run_dir.name
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunsError(f"{run_dir / IDENTITY}: cannot be read: {error}") from error
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
