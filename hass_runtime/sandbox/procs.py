"""Start and end the sandbox's own processes so that none of them can be left behind.

Each child has a session (and so a process group) of its own, a pipe on stdin whose end tells it that the
sandbox is gone, the sandbox's id in its environment for the keeper, and dies with its parent by the kernel's
hand (guard.py). That last request is tied to the *thread* that starts the child, so one thread that lives as
long as the sandbox starts them all.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

import hass_runtime
from hass_runtime.sandbox import guard, keeper

TERM_SECONDS = 5.0
LOG_TAIL = 2000


class ProcessError(Exception):
    """A process of the sandbox did not start or ended; one clear line."""


class Child:
    """A process of the sandbox with its log. Signals go to its whole group unless said otherwise."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int, group: bool = True) -> None:
        """Send a signal; a process that is gone already is no error."""
        if self.process.poll() is not None and not group:
            return
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to the group; returns when the process is gone."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        self._close_stdin()

    def terminate(self, seconds: float = TERM_SECONDS) -> None:
        """SIGTERM to the process, SIGKILL to its group after ``seconds``."""
        self.signal(signal.SIGTERM, group=False)
        self._close_stdin()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        self.kill()

    def _close_stdin(self) -> None:
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def tail(self) -> str:
        """The end of the log, for an error message."""
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:].strip()
        except OSError:
            return ""


def hass(*arguments: str) -> list[str]:
    """The `hass` command of this very environment, wherever its script may be."""
    return [sys.executable, "-m", "hass_runtime.cli.main", *arguments]


def _python_path() -> dict[str, str]:
    """Lets a child import this package from a checkout that is not installed."""
    parent = str(Path(hass_runtime.__file__).resolve().parent.parent)
    if parent == sysconfig.get_path("purelib"):
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, (parent, os.environ.get("PYTHONPATH"))))}


class Spawner:
    """Starts children from one long-lived thread; keeps the keeper that clears up after all of them."""

    def __init__(self, sandbox_id: str, logs: Path, remove: Path | None = None) -> None:
        """``remove``: a directory that goes with the sandbox, however that ends."""
        self._id = sandbox_id
        self._logs = logs
        self._jobs: queue.Queue[tuple[Future[Child], str, list[str], dict[str, str]] | None] = queue.Queue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="sandbox-spawner", daemon=True)
        self._thread.start()
        argv = [sys.executable, "-I", "-S", str(Path(keeper.__file__)), sandbox_id]
        # Not from the spawner and without the marker: the keeper has to outlive everything else.
        self._keeper = subprocess.Popen(
            [*argv, str(remove)] if remove else argv,
            stdin=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            env={name: value for name, value in os.environ.items() if name != keeper.MARKER},
        )

    @property
    def environ(self) -> dict[str, str]:
        """What every process of the sandbox has to have in its environment."""
        return {keeper.MARKER: self._id}

    def spawn(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
        """Start a program; its output goes to ``<logs>/<name>.out``.

        OSError when that cannot be, ProcessError when the sandbox is ending.
        """
        future: Future[Child] = Future()
        environ = {**os.environ, **_python_path(), **self.environ, **(env or {})}
        with self._lock:
            if self._closed:
                raise ProcessError(f"{name}: not started, the sandbox is ending")
            self._jobs.put((future, name, list(argv), environ))
        return future.result()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, name, argv, env = job
            try:
                future.set_result(self._spawn(name, argv, env))
            except OSError as error:
                future.set_exception(error)

    def _spawn(self, name: str, argv: list[str], env: dict[str, str]) -> Child:
        log = self._logs / f"{name}.out"
        guarded = [sys.executable, "-I", "-S", str(Path(guard.__file__)), str(os.getpid()), *argv]
        with open(log, "ab") as out:
            process = subprocess.Popen(
                guarded,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=self._logs,
                start_new_session=True,
            )
        return Child(name, process, log)

    def close(self, seconds: float = keeper.SWEEP_SECONDS + 5) -> bool:
        """Let the keeper clear up and wait for it; False when it had to leave something behind."""
        with self._lock:
            if not self._closed:
                self._jobs.put(None)
            self._closed = True
        # What was asked for before is started before the keeper looks, nothing is after that.
        self._thread.join()
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        try:
            return self._keeper.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False
