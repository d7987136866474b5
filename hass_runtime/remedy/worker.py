"""``python -m hass_runtime.remedy.worker SPEC.json``: runs one playbook and reports it as JSON lines on
stdout.

stdin is the controller's breath: lines ``beat VALID_UNTIL`` and ``cancel REASON``. End of file, no beat that
reaches further, SIGTERM, or the deadline, ends the playbook for real: ansible-playbook is told to end (it
passes that on to its workers), and whatever of the run is left after a short grace is killed, wherever it
hides. All of that, this process too, is over before somebody else can hold the controller's lease.

A thread of its own sees to it, whatever else hangs: ansible-runner, which runs in a thread too, or the pipe
to a controller that does not read. ansible-runner's handlers only put into a queue, because a slow one would
fail the run.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import queue
import re
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hass_runtime.domain import StepStatus
from hass_runtime.remedy import processes, wire
from hass_runtime.remedy.guard import TICK, Breath, Guard, Stop
from hass_runtime.remedy.rundir import IDENTITY, LOCK, write_private

_DETAIL = 1000
_PASS_ON = re.compile(
    r"^(HASS_|OS_CACERT$|REQUESTS_CA_BUNDLE$|SSL_CERT_(FILE|DIR)$|TZ$|(HTTPS?|NO)_PROXY$)", re.I
)
_TASK_STARTS = ("playbook_on_task_start", "playbook_on_handler_task_start")
_TASK_ENDS = ("runner_on_ok", "runner_on_failed", "runner_on_unreachable", "runner_on_skipped")


@dataclass(frozen=True)
class Job:
    """The spec as the worker needs it."""

    run_id: str
    incident: int
    host: str
    playbook: Path
    run_dir: Path
    config: str
    deadline: float
    breath: float
    valid_until: float
    extravars: Mapping[str, Any]
    libraries: Sequence[str] = ()

    @property
    def progress(self) -> Path:
        return self.run_dir / "progress.jsonl"


def load_job(path: str) -> Job:
    """The job of a spec file. Raises OSError, ValueError, KeyError or TypeError."""
    raw = json.loads(Path(path).read_text(encoding="utf-8"))
    return Job(**{**raw, "playbook": Path(raw["playbook"]), "run_dir": Path(raw["run_dir"])})


def environment(job: Job) -> dict[str, str]:
    """Everything that ansible-playbook gets to see of the world. Secrets only where settings come from it."""
    kept = {key: value for key, value in os.environ.items() if _PASS_ON.match(key)}
    scripts = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    here = job.playbook.parent
    config = here / "ansible.cfg"
    return {
        **kept,
        "PATH": os.pathsep.join(
            [*dict.fromkeys(scripts), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        ),
        "HOME": os.environ.get("HOME", "/"),
        "LC_ALL": "C.UTF-8",
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "PYTHONUNBUFFERED": "1",
        "ANSIBLE_CONFIG": str(config if config.exists() else job.run_dir / "ansible.cfg"),
        "ANSIBLE_LIBRARY": os.pathsep.join(job.libraries or [str(here / "library")]),
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
        "ANSIBLE_DEPRECATION_WARNINGS": "False",
        "ANSIBLE_HOME": str(job.run_dir / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(job.run_dir / "tmp"),
        "ANSIBLE_REMOTE_TEMP": str(job.run_dir / "tmp"),
        processes.MARKER: job.run_id,
    }


def prepare(job: Job) -> Path:
    """Write what ansible-runner reads; returns the file of extra variables."""
    env_dir = job.run_dir / "env"
    env_dir.mkdir(mode=0o700, exist_ok=True)
    (job.run_dir / "artifacts").mkdir(mode=0o700, exist_ok=True)
    (job.run_dir / "ansible.cfg").touch(mode=0o600)  # so that nobody else's is looked for
    # Only a file of our own counts: without one, settings given as arguments are thrown away.
    _private(env_dir / "settings", {"pexpect_timeout": TICK, "suppress_ansible_output": True})
    variables = {
        "host": job.host,
        "config": job.config,
        "incident": job.incident,
        **job.extravars,
        "progress_file": str(job.progress),
    }
    return _private(job.run_dir / "extravars.json", variables)


def _private(path: Path, data: Any) -> Path:
    path.touch(mode=0o600)
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


class Reporter:
    """Turns ansible's events into ours and prints them. One thread only."""

    def __init__(self, job: Job, stop: Stop) -> None:
        self._job = job
        self._stop = stop
        self._started: dict[str, wire.TaskStarted] = {}
        self._offset = 0
        self.facts: dict[str, Any] = {}
        self.failure = ""

    def tell(self, event: wire.RunEvent) -> None:
        try:
            sys.stdout.write(wire.encode(event) + "\n")
            sys.stdout.flush()
        except OSError:
            self._stop.ask("cancelled", "the controller is gone")

    def ansible(self, event: Mapping[str, Any]) -> None:
        """One event of ansible-runner."""
        kind, data = event.get("event", ""), event.get("event_data") or {}
        at = _time(event.get("created"))
        key = str(data.get("task_uuid") or "")
        if kind in _TASK_STARTS:
            started = wire.TaskStarted(
                self._job.run_id, key, str(data.get("task") or ""), at, str(data.get("task_action") or "")
            )
            self._started[key] = started
            self.tell(started)
        elif kind in _TASK_ENDS:
            self._ended(kind, data, key, at)
        elif kind == "playbook_on_stats":
            self.facts = dict(data.get("artifact_data") or {})

    def _ended(self, kind: str, data: Mapping[str, Any], key: str, at: float) -> None:
        result = data.get("res") or {}
        started = self._started.get(key)
        name = started.name if started else str(data.get("task") or "")
        if kind == "runner_on_skipped":
            status = StepStatus.SKIPPED
        elif kind == "runner_on_ok" or data.get("ignore_errors"):
            status = StepStatus.CHANGED if result.get("changed") else StepStatus.OK
        else:
            status = StepStatus.FAILED
        detail = _words(result, kind)
        if status is StepStatus.FAILED:
            self.failure = f"{name}: {detail}" if detail else name
        self.tell(
            wire.TaskEnded(
                self._job.run_id,
                key,
                name,
                status,
                started.at if started else at,
                at,
                detail,
                str(data.get("task_action") or ""),
            )
        )

    def moves(self) -> None:
        """What the evacuation has written to its progress file since the last call."""
        try:
            with open(self._job.progress, "rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return
        whole = text[: text.rfind(b"\n") + 1]  # a line being written waits for its end
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                move = wire.move_from_dict(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                print(f"{self._job.progress}: not a move: {line!r} ({error})", file=sys.stderr)
                continue
            self.tell(wire.MoveChanged(self._job.run_id, move))


def _words(result: Mapping[str, Any], kind: str) -> str:
    text = result.get("msg") or result.get("skip_reason") or result.get("stderr") or ""
    if kind == "runner_on_failed" and not text:
        text = result.get("exception") or result.get("stdout") or ""
    return " ".join(str(text).split())[:_DETAIL]


def _time(created: object) -> float:
    try:
        moment = datetime.fromisoformat(str(created))
    except ValueError:
        return time.time()
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def run_playbook(job: Job, extravars: Path, guard: Guard, events: queue.SimpleQueue[Any]) -> Any:
    """Run it to its end in this thread; returns ansible-runner's runner."""
    import ansible_runner

    def handle(event: Mapping[str, Any]) -> bool:
        events.put(event)
        return False  # nothing of it goes to the disk

    return ansible_runner.run(
        private_data_dir=str(job.run_dir),
        project_dir=str(job.playbook.parent),
        ident=job.run_id,
        playbook=str(job.playbook),
        inventory="localhost,",
        cmdline=f"-e @{extravars}",
        suppress_env_files=True,
        fact_cache_type="",
        quiet=True,
        event_handler=handle,
        cancel_callback=guard.ended,
    )


def work(job: Job, stop: Stop, guard: Guard) -> wire.RunEnded:
    """The whole run; returns its last event, when nothing of it is alive any more."""
    extravars = prepare(job)
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    outcome: dict[str, Any] = {}

    def body() -> None:
        try:
            if stop.status is None:
                outcome["runner"] = run_playbook(job, extravars, guard, events)
        except Exception as error:  # noqa: BLE001 - it becomes the reason of the run's end
            outcome["error"] = f"{type(error).__name__}: {error}"

    thread = threading.Thread(target=body, name="ansible-runner", daemon=True)
    thread.start()
    reporter = Reporter(job, stop)
    while (thread.is_alive() or not events.empty()) and time.monotonic() < guard.speak_by:
        with contextlib.suppress(queue.Empty):
            reporter.ansible(events.get(timeout=TICK / 2))
        reporter.moves()
    leftovers = processes.end_run(job.run_id, grace=0.0)
    reporter.moves()
    runner = outcome.get("runner")
    rc = runner.rc if runner is not None else None
    status, reason = verdict(stop, rc, outcome.get("error", ""), reporter.failure)
    if status == "failed" and not reason:
        reason = _output(job, rc)
    if leftovers and stop.status is None:
        reason = "; ".join(filter(None, [reason, f"processes left behind were killed: {leftovers}"]))
    reason = "; ".join(filter(None, [reason, guard.problem]))
    return wire.RunEnded(job.run_id, status, rc, reason, time.time(), reporter.facts)


def verdict(stop: Stop, rc: int | None, error: str, failure: str) -> tuple[wire.RunStatus, str]:
    """How the run ended. A playbook that finished well before a late cancel reached it has succeeded."""
    if rc == 0:
        return "successful", ""
    if stop.status is not None:
        return stop.status, stop.reason
    if error:
        return "crashed", error
    return "failed", failure


def _output(job: Job, rc: int | None) -> str:
    """What ansible-playbook printed, when it ended before its first task."""
    try:
        text = (job.run_dir / "artifacts" / job.run_id / "stdout").read_text(
            encoding="utf-8", errors="replace"
        )
    except OSError:
        text = ""
    words = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
    words = words[max(words.find("[ERROR]"), 0) :]
    return words[:_DETAIL] or f"ansible-playbook ended with status {rc}"


def main(argv: list[str] | None = None) -> int:
    """0 the playbook succeeded, 1 it did not, 2 bad usage."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1:
        print("usage: python -m hass_runtime.remedy.worker SPEC.json", file=sys.stderr)
        return 2
    try:
        job = load_job(arguments[0])
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{arguments[0]}: no spec of a run: {error}", file=sys.stderr)
        return 2
    me = processes.look(os.getpid())
    lock = open(job.run_dir / LOCK, "wb")  # noqa: SIM115 - held until this process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print(f"{job.run_dir}: another worker is at work there", file=sys.stderr)
        return 2
    identity = {
        "run_id": job.run_id,
        "pid": os.getpid(),
        "started": me.started if me else 0,
        "boot": processes.boot_id(),
    }
    write_private(job.run_dir / IDENTITY, json.dumps(identity))
    processes.adopt_orphans()
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.ask("cancelled", "the worker was told to end"))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    clean = environment(job)
    os.environ.clear()
    os.environ.update(clean)
    breath = Breath(stop, job.valid_until, job.breath, sys.stdin)
    breath.start()
    guard = Guard(job.run_id, job.deadline, stop, breath)
    guard.start()
    ended = work(job, stop, guard)
    Reporter(job, stop).tell(ended)
    guard.finish()
    return 0 if ended.status == "successful" else 1


if __name__ == "__main__":
    # No waiting for the thread that reads stdin.
    code = main()
    sys.stderr.flush()
    os._exit(code)
