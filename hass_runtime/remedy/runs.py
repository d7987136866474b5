"""Runs of remediation playbooks, each in a worker process of its own.

The worker lives on its controller's breath: when the pipe to it closes, or no beat comes in time, it ends
its playbook for real. What it reports comes back as events. A worker that dies without its last word, or
hangs, is reported all the same, after whatever it left behind has been ended.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hass_runtime.remedy import processes, wire
from hass_runtime.remedy.housekeeping import prune_runs
from hass_runtime.remedy.playbooks import Shelf
from hass_runtime.remedy.rundir import LOG, SPEC, RunsError, tail, terminate_leftovers, write_private
from hass_runtime.remedy.wire import (
    EXITS,
    MoveChanged,
    RunEnded,
    RunEvent,
    RunStatus,
    TaskEnded,
    TaskStarted,
    decode,
)

__all__ = [
    "CANCEL_TAKES",
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

CANCEL_TAKES = 10.0
"""Seconds after ``cancel`` within which a run has ended; twice that when a process survives SIGKILL."""

HANGS_AFTER = 30.0  # s beyond its deadline, in which a worker has to end its run
_CANCEL_PATIENCE = 8.0  # s until a worker that was told to end its run is taken for hung
_LOOK = 0.1  # s


@dataclass(frozen=True)
class RunSpec:
    """One run of one playbook. ``playbook`` is its name without .yml; ``extravars`` hold no secret.

    ``deadline`` is how long (seconds) the run may take. ``breath`` is how long a lease of its controller
    lasts, and ``valid_until`` (time.monotonic()) until when it surely lasts as things are: ``breath`` from
    the start unless given. Beats push that on; without them all of the run is dead by then. ``run_dir`` is
    the run's own and must not be used by another.
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
    valid_until: float | None = None

    def started(self) -> RunSpec:
        """The same with its ``valid_until`` counted from now, unless it has one."""
        if self.valid_until is not None:
            return self
        return replace(self, valid_until=time.monotonic() + self.breath)

    def as_json(self, playbooks: Path | Shelf) -> str:
        """What the worker reads."""
        shelf = playbooks if isinstance(playbooks, Shelf) else Shelf(playbooks)
        raw = {
            "run_id": self.run_id,
            "incident": self.incident,
            "host": self.host,
            "playbook": str(shelf.find(self.playbook).absolute()),
            "libraries": [str(path.absolute()) for path in shelf.libraries(self.playbook)],
            "run_dir": str(self.run_dir),
            "config": str(self.config),
            "deadline": self.deadline,
            "breath": self.breath,
            "valid_until": self.started().valid_until,
            "extravars": dict(self.extravars),
        }
        return json.dumps(raw, indent=1)


class RunHandle:
    """A started run. ``beat`` and ``cancel`` never block and never fail; a dead run takes no notice."""

    def __init__(self, spec: RunSpec, process: subprocess.Popen[bytes] | None) -> None:
        self.run_id = spec.run_id
        self._spec = spec.started()
        self._process = process
        self._ended = threading.Event()
        self._pipe = threading.Lock()
        self._valid_until = self._spec.valid_until or 0.0
        self._hangs_at = time.monotonic() + spec.deadline + HANGS_AFTER
        self._cancel: tuple[float, str] | None = None
        if process is not None and process.stdin is not None:
            # A worker that hangs must not make its controller hang on a full pipe.
            os.set_blocking(process.stdin.fileno(), False)
        elif process is None:
            self._ended.set()

    @property
    def pid(self) -> int:
        """Of the worker; 0 when it could not be started."""
        return self._process.pid if self._process is not None else 0

    def beat(self, valid_for: float | None = None, *, valid_until: float | None = None) -> None:
        """Tell the worker that its controller lives, and for how long it surely still may act.

        Either ``valid_for``, seconds from now, or ``valid_until``, by time.monotonic(), which cannot be made
        wrong by a pause of this process on the way here; without both, the spec's ``breath`` from now. It
        only ever prolongs: a beat that reaches less far than an earlier one changes nothing.
        """
        if valid_until is None:
            valid_until = time.monotonic() + (self._spec.breath if valid_for is None else valid_for)
        if self._say(wire.beat(valid_until)):
            self._valid_until = max(self._valid_until, valid_until)

    def cancel(self, reason: str) -> None:
        """End the playbook and all its processes; the sink gets RunEnded("cancelled") when they are gone.

        That takes a second or two, some more when they do not listen, and at most CANCEL_TAKES.
        """
        words = " ".join(reason.split())
        if self._cancel is None:
            self._cancel = (time.monotonic() + _CANCEL_PATIENCE, words)
        self._say(f"cancel {words}")

    def alive(self) -> bool:
        """Whether the run has not ended yet: its RunEnded has not been given to the sink."""
        return not self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Until the run has ended. False when it has not within ``timeout`` seconds.

        After ``cancel`` (of all runs first, they end side by side) CANCEL_TAKES is enough.
        """
        return self._ended.wait(timeout)

    def lapse(self) -> wire.Lapse:
        """When the run has to be dead by the beats that its worker was sent."""
        return wire.Lapse.of(self._valid_until, self._spec.breath)

    def overdue(self, now: float) -> tuple[RunStatus, str] | None:
        """How the run ends, and why, when its worker should have ended it long since; else None."""
        if self._cancel is not None and now >= self._cancel[0]:
            return "cancelled", f"{self._cancel[1]}; its worker hung and was killed"
        if now >= self.lapse().over:
            return "cancelled", "the lease of its controller ran out, and its worker had not ended it"
        if now >= self._hangs_at:
            return "timeout", f"not finished after {self._spec.deadline:g} s; its worker hung and was killed"
        return None

    def _say(self, line: str) -> bool:
        if self._process is not None and self._process.stdin is not None:
            # Closed, or full: either way the worker hears no beat, which ends the run as it should.
            with self._pipe, contextlib.suppress(OSError, ValueError):
                os.write(self._process.stdin.fileno(), line.encode() + b"\n")
                return True
        return False

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with self._pipe, contextlib.suppress(OSError):  # nobody writes to a descriptor used again
                self._process.stdin.close()


class _Following:
    """Two threads for a run: one hands its events on, one ends it when its worker hangs."""

    def __init__(
        self,
        spec: RunSpec,
        process: subprocess.Popen[bytes],
        handle: RunHandle,
        sink: Callable[[RunEvent], None],
    ) -> None:
        self._spec = spec
        self._process = process
        self._handle = handle
        self._sink = sink
        self._lock = threading.Lock()
        self._killed: tuple[RunStatus, str] | None = None
        self._reader = threading.Thread(target=self._read, name=f"run-{spec.run_id}", daemon=True)
        self._watchdog = threading.Thread(target=self._watch, name=f"watch-{spec.run_id}", daemon=True)

    def start(self) -> None:
        """A run that cannot be followed is ended at once, and reported as crashed."""
        try:
            self._watchdog.start()
            self._reader.start()
        except RuntimeError as error:
            log.error("run %s cannot be followed: %s", self._spec.run_id, error)
            trouble = self._kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            reason = f"cannot be followed: {error}{trouble}"
            self._finish(RunEnded(self._spec.run_id, "crashed", None, reason, time.time()))

    def _read(self) -> None:
        said: RunEnded | None = None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    event = decode(line.decode("utf-8", "replace"))
                except ValueError as error:
                    log.error("run %s: %s", self._spec.run_id, error)
                    continue
                if isinstance(event, RunEnded):
                    said = event  # told last of all, when the worker is gone too
                else:
                    self._tell(event)
        ended = said or self._obituary(self._process.wait())
        self._process.wait()
        # Whatever the worker said: what was born in its last moments is ended too, before the run is over.
        trouble = ""
        try:
            left = processes.end_run(self._spec.run_id, self._handle.lapse().grace(time.monotonic()))
            if left:
                trouble = f"processes {', '.join(map(str, left))} of it were killed"
        except OSError as error:
            trouble = str(error)
        self._finish(replace(ended, reason="; ".join(filter(None, [ended.reason, trouble]))))

    def _obituary(self, rc: int) -> RunEnded:
        """For a worker without a last word."""
        status, reason = self._killed or (EXITS.get(rc, "crashed"), "")
        words = tail(self._spec.run_dir / LOG)
        if not reason:
            reason = words or status if rc in EXITS else f"its worker died ({_how(rc)})"
            reason += f": {words}" if words and rc not in EXITS else ""
        return RunEnded(self._spec.run_id, status, rc, reason, time.time())

    def _watch(self) -> None:
        while (overdue := self._handle.overdue(time.monotonic())) is None:
            if self._handle.wait(_LOOK):
                return
        self._killed = overdue
        log.error("run %s: %s", self._spec.run_id, overdue[1])
        trouble = self._kill()
        self._reader.join(5.0)
        # Still there: the worker survives even SIGKILL and holds the pipe, or the sink takes its time.
        if self._reader.is_alive():
            self._finish(RunEnded(self._spec.run_id, overdue[0], None, f"{overdue[1]}{trouble}", time.time()))

    def _kill(self) -> str:
        """The worker first, so that nothing new is born. Returns what survives, in words."""
        self._process.kill()
        try:
            processes.end_run(self._spec.run_id, grace=0.0)
        except OSError as error:
            return f"; {error}"
        return ""

    def _finish(self, ended: RunEnded) -> None:
        with self._lock:
            if not self._handle.alive():
                return
            self._handle._close()
            self._hand_over(ended)
            self._handle._ended.set()

    def _tell(self, event: RunEvent) -> None:
        with self._lock:
            if self._handle.alive():
                self._hand_over(event)

    def _hand_over(self, event: RunEvent) -> None:
        try:
            self._sink(event)
        except Exception:
            # The reader must go on, or the worker would block on a full pipe.
            log.exception("run %s: an event was not taken: %r", event.run_id, event)


class Launcher:
    """Starts runs of the playbooks in ``playbooks``, and of the operator's own in ``own``.

    ``python`` is the interpreter of the workers; ansible-playbook is looked for beside it.
    """

    def __init__(self, playbooks: Path, python: str = sys.executable, own: Path | None = None) -> None:
        self._playbooks = Shelf(playbooks, own)
        self._python = python

    def start(self, spec: RunSpec, sink: Callable[[RunEvent], None]) -> RunHandle:
        """Start a run. ``sink`` is called from a thread of its own, RunEnded last and exactly once.

        A run that cannot be started is a run that crashed: it is reported to ``sink``, nothing is raised.
        """
        spec = spec.started()
        try:
            process = self._spawn(spec)
        except OSError as error:
            log.error("run %s cannot be started: %s", spec.run_id, error)
            sink(RunEnded(spec.run_id, "crashed", None, f"cannot be started: {error}", time.time()))
            return RunHandle(spec, None)
        handle = RunHandle(spec, process)
        _Following(spec, process, handle, sink).start()
        return handle

    def end_leftovers(self, run_id: str, run_dir: Path) -> None:
        """End what is left of a run of an earlier controller. Raises RunsError when something survives."""
        terminate_leftovers(run_dir)

    def prune(self, runs: Path, keep: Collection[str]) -> None:
        """Remove the directories of old runs, but none of those in ``keep``."""
        prune_runs(runs, keep)

    def new_name(self) -> str:
        """What tells one run of a playbook from another."""
        return uuid.uuid4().hex[:8]

    def _spawn(self, spec: RunSpec) -> subprocess.Popen[bytes]:
        spec.run_dir.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        spec.run_dir.mkdir(mode=0o700)
        path = spec.run_dir / SPEC
        write_private(path, spec.as_json(self._playbooks))
        root = str(Path(__file__).resolve().parents[2])
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        }
        env[processes.MARKER] = spec.run_id  # the worker itself is found by it too
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


def _how(rc: int) -> str:
    return f"signal {signal.Signals(-rc).name}" if rc < 0 else f"status {rc}"
