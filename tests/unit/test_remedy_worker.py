"""The worker and its launcher, with small playbooks: every way in which a run can end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from hass_runtime.domain import MoveState, StepStatus
from hass_runtime.remedy import processes, rundir, wire
from hass_runtime.remedy import runs as runs_module
from hass_runtime.remedy.guard import Breath, Stop
from hass_runtime.remedy.rundir import IDENTITY, LOCK
from hass_runtime.remedy.runs import (
    CANCEL_TAKES,
    Launcher,
    MoveChanged,
    RunEnded,
    RunHandle,
    RunsError,
    RunSpec,
    TaskEnded,
    TaskStarted,
    terminate_leftovers,
)

LEASE = 6.0
LONG = 120.0  # far longer than any of this takes; only so that a broken run ends at all


class Sink:
    def __init__(self):
        self.events = []
        self.changed = threading.Condition()

    def __call__(self, event):
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def until(self, what):
        with self.changed:
            assert self.changed.wait_for(lambda: any(what(event) for event in self.events), LONG), self.events

    @property
    def ended(self) -> RunEnded:
        ends = [event for event in self.events if isinstance(event, RunEnded)]
        assert len(ends) == 1
        assert self.events[-1] is ends[0]
        return ends[0]

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


class Runs:
    """Starts runs of playbooks given as text, and leaves nothing behind."""

    def __init__(self, tmp_path: Path):
        self.tmp = tmp_path
        self.playbooks = tmp_path / "playbooks"
        self.playbooks.mkdir()
        self.ids: list[str] = []

    def spec(self, tasks: str, **changes) -> RunSpec:
        text = tasks if tasks.startswith(("-", "%")) else HEAD + tasks
        (self.playbooks / "it.yml").write_text(text)
        run_id = f"test-{uuid.uuid4().hex[:8]}"
        self.ids.append(run_id)
        values = {
            "run_id": run_id,
            "incident": 7,
            "host": "compute2",
            "playbook": "it",
            "run_dir": self.tmp / "runs" / run_id,
            "config": Path("/nowhere/hass.conf"),
            "deadline": LONG,
            "breath": LONG,
        }
        return RunSpec(**{**values, **changes})

    def start(self, tasks: str, **changes) -> tuple[RunHandle, Sink, RunSpec]:
        spec, sink = self.spec(tasks, **changes), Sink()
        return Launcher(self.playbooks).start(spec, sink), sink, spec

    def finish(self, tasks: str, **changes) -> Sink:
        handle, sink, _ = self.start(tasks, **changes)
        assert handle.wait(LONG)
        assert not handle.alive()
        return sink


HEAD = """\
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
"""
SLEEP = """\
    - name: Sleep long
      ansible.builtin.command: sleep 300
"""


ACTS = """\
    - name: Act and listen to nobody
      ansible.builtin.command:
        argv: ["{{ ansible_playbook_python }}", -c, "{{ code }}", "{{ out }}"]
      vars:
        code: |
          import signal, sys, time
          for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
              signal.signal(number, signal.SIG_IGN)
          while True:
              with open(sys.argv[1], "a") as file:
                  file.write(f"{time.monotonic()!r}\\n")
              time.sleep(0.02)
"""


class Acting:
    """A run whose module writes down each moment (time.monotonic()) at which it still acts."""

    def __init__(self, runs, **changes):
        self.out = runs.tmp / "acts"
        self.handle, self.sink, self.spec = runs.start(ACTS, extravars={"out": str(self.out)}, **changes)

    def until_it_acts(self, beat=lambda: None):
        end = time.monotonic() + LONG
        while not self.out.exists() or not self.out.read_text():
            assert time.monotonic() < end, self.sink.events
            beat()
            time.sleep(0.05)

    def last_act(self) -> float:
        """Asked again a little later, so that a module that still lives is found out."""
        time.sleep(0.5)
        return float(self.out.read_text().splitlines()[-1])


@pytest.fixture
def runs(tmp_path):
    made = Runs(tmp_path)
    yield made
    for run_id in made.ids:
        processes.end_run(run_id, grace=0)


def sleeping(run_id):
    """The `sleep 300` of the run, by the mark in its environment."""
    found = []
    for process in processes.of_run(run_id):
        try:
            argv = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if argv[:2] == [b"sleep", b"300"]:
            found.append(process)
    return found


def until_sleeping(run_id):
    end = time.monotonic() + LONG
    while not sleeping(run_id):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_success_is_told_step_by_step_with_facts(runs):
    sink = runs.finish(
        """\
    - name: "Look at {{ host }}"
      ansible.builtin.debug:
        msg: "incident {{ incident }} of {{ host }}, {{ since }}"
    - name: Not now
      ansible.builtin.debug:
      when: false
    - name: Change something
      ansible.builtin.command: "true"
    - name: Report
      ansible.builtin.set_stats:
        data: {moves: [1, 2], config: "{{ config }}"}
""",
        extravars={"since": "2026-01-01T00:00:00Z"},
    )
    assert (sink.ended.status, sink.ended.rc, sink.ended.reason) == ("successful", 0, "")
    assert sink.ended.facts == {"moves": [1, 2], "config": "/nowhere/hass.conf"}
    names = [event.name for event in sink.of(TaskStarted)]
    assert names == ["Look at compute2", "Not now", "Change something", "Report"]
    ended = sink.of(TaskEnded)
    assert [event.status for event in ended] == [
        StepStatus.OK, StepStatus.SKIPPED, StepStatus.CHANGED, StepStatus.OK
    ]  # fmt: skip
    assert ended[0].detail == "incident 7 of compute2, 2026-01-01T00:00:00Z"
    assert ended[0].action == "ansible.builtin.debug"
    assert [event.key for event in ended] == [event.key for event in sink.of(TaskStarted)]
    assert all(event.started_at <= event.at for event in ended)


def test_failure_names_the_task_and_its_words(runs):
    sink = runs.finish("""\
    - name: Give up
      ansible.builtin.fail: {msg: "no use"}
""")
    assert sink.ended.status == "failed"
    assert sink.ended.reason == "Give up: no use"
    assert sink.of(TaskEnded)[0].status is StepStatus.FAILED


def test_always_section_reports_after_a_failure(runs):
    sink = runs.finish("""\
    - name: Both
      block:
        - name: Give up
          ansible.builtin.fail: {msg: "no use"}
      always:
        - name: Report
          ansible.builtin.set_stats: {data: {seen: true}}
""")
    assert (sink.ended.status, sink.ended.facts) == ("failed", {"seen": True})
    assert sink.ended.reason == "Give up: no use"


def test_moves_are_told_while_the_task_runs(runs):
    line = {
        "incident": 7, "instance": "u1", "name": "vm1", "source": "compute2", "state": "ongoing",
    }  # fmt: skip
    handle, sink, spec = runs.start(
        """\
    - name: Move
      ansible.builtin.shell: echo '{{ line | to_json }}' > {{ progress_file }}; sleep 300
""",
        extravars={"line": line},
    )
    sink.until(lambda event: isinstance(event, MoveChanged))
    assert sink.of(MoveChanged)[0].move.state is MoveState.ONGOING
    assert handle.alive()
    handle.cancel("enough")
    assert handle.wait(LONG)
    assert spec.run_dir.stat().st_mode & 0o777 == 0o700
    assert (spec.run_dir / "artifacts").stat().st_mode & 0o777 == 0o700


def test_cancel_ends_every_process(runs):
    handle, sink, spec = runs.start(SLEEP)
    until_sleeping(spec.run_id)
    handle.cancel("an operator\nsaid so")
    assert handle.wait(LONG)
    assert (sink.ended.status, sink.ended.reason) == ("cancelled", "an operator said so")
    assert processes.of_run(spec.run_id) == []


def test_cancel_ends_what_hides_in_a_session_of_its_own_and_ignores_signals(runs):
    handle, sink, spec = runs.start("""\
    - name: Hide
      ansible.builtin.shell: >-
        setsid sh -c 'trap "" TERM HUP INT; sleep 300; sleep 300' >/dev/null 2>&1 & sleep 300
""")
    until_sleeping(spec.run_id)
    handle.cancel("enough")
    assert handle.wait(LONG)
    assert sink.ended.status == "cancelled"
    assert processes.of_run(spec.run_id) == []


def test_deadline_ends_the_run(runs):
    sink = runs.finish(SLEEP, deadline=2.0)
    assert sink.ended.status == "timeout"
    assert "2 s" in sink.ended.reason
    assert processes.of_run(runs.ids[0]) == []


def test_no_beat_ends_the_run_and_beats_keep_it(runs):
    handle, sink, spec = runs.start(SLEEP, breath=2.0)
    began, slept = time.monotonic(), False
    while not (slept and time.monotonic() - began > 4.0):
        handle.beat()
        slept = slept or bool(sleeping(spec.run_id))
        assert time.monotonic() - began < LONG
        time.sleep(0.1)
    assert sleeping(spec.run_id), "longer than a breath, but with beats"
    assert handle.wait(LONG)
    assert sink.ended.status == "cancelled"
    assert "no sign of life" in sink.ended.reason
    assert processes.of_run(spec.run_id) == []


def test_nothing_acts_any_more_when_a_lease_without_a_beat_is_over(runs):
    over = time.monotonic() + 15.0
    run = Acting(runs, breath=LONG, valid_until=over)
    assert run.handle.wait(LONG)
    assert run.last_act() < over
    assert processes.look(run.handle.pid) is None
    assert (run.sink.ended.status, processes.of_run(run.spec.run_id)) == ("cancelled", [])
    assert "no sign of life" in run.sink.ended.reason


@pytest.mark.parametrize("how", ["valid_for", "valid_until"])
def test_the_last_beat_says_until_when_the_run_may_act(runs, how):
    run = Acting(runs, breath=LEASE)
    over = 0.0

    def beat():
        nonlocal over
        if how == "valid_for":
            run.handle.beat(LEASE)
            over = time.monotonic() + LEASE
        else:
            over = time.monotonic() + LEASE
            run.handle.beat(valid_until=over)

    run.until_it_acts(beat)
    run.handle.beat(1.0)  # reaches less far: takes nothing back
    assert run.handle.wait(LONG)
    assert over - LEASE / 2 < run.last_act() < over
    assert processes.look(run.handle.pid) is None
    assert processes.of_run(run.spec.run_id) == []
    assert run.sink.ended.status == "cancelled"


def test_a_beat_that_was_held_up_prolongs_nothing():
    def after(*lines):
        breath = Breath(Stop(), 100.0, 8.0, lines)
        breath.listen()
        return breath.valid_until

    assert after(f"{wire.beat(90.0)}\n") == 100.0
    assert after(f"{wire.beat(120.5)}\n", f"{wire.beat(110.0)}\n") == 120.5
    assert after("beat\n", "beat soon\n", "beat nan\n", "beat inf\n", "\n", "what\n") == 100.0


@pytest.mark.parametrize("breath", [0.5, 1.0, 2.0, 6.0, 15.0, 60.0, 600.0])
def test_the_order_of_the_end(breath):
    lapse = wire.Lapse.of(1000.0, breath)
    assert lapse.end < lapse.kill < lapse.leave < lapse.over < 1000.0
    # A renewal after a third of the lease, and even one after two thirds, comes in time.
    assert lapse.end > 1000.0 - breath / 3
    assert lapse.grace(lapse.end) <= wire.GRACE
    assert lapse.end + lapse.grace(lapse.end) <= lapse.kill + 1e-6
    assert lapse.grace(lapse.kill + 0.1) == 0.0
    assert lapse.grace(0.0) == wire.GRACE


def test_a_stopped_worker_is_ended_with_the_lease(runs):
    run = Acting(runs, breath=LEASE)
    run.until_it_acts(lambda: run.handle.beat(LEASE))
    os.kill(run.handle.pid, signal.SIGSTOP)
    over = time.monotonic() + LEASE
    assert run.handle.wait(LONG)
    assert run.last_act() < over
    assert run.sink.ended.status == "cancelled"
    assert "lease" in run.sink.ended.reason
    assert processes.look(run.handle.pid) is None
    assert processes.of_run(run.spec.run_id) == []


def test_a_stopped_worker_is_ended_after_the_deadline(runs, monkeypatch):
    began = time.monotonic()
    run = Acting(runs, deadline=LONG)
    run.until_it_acts(lambda: run.handle.beat(10 * LONG))
    os.kill(run.handle.pid, signal.SIGSTOP)
    assert run.handle.overdue(began + LONG + runs_module.HANGS_AFTER) is None
    status, _ = run.handle.overdue(time.monotonic() + LONG + runs_module.HANGS_AFTER)
    assert status == "timeout"
    later = run.handle.overdue
    monkeypatch.setattr(run.handle, "overdue", lambda now: later(now + LONG + runs_module.HANGS_AFTER))
    assert run.handle.wait(LONG)
    assert run.sink.ended.status == "timeout"
    assert "120 s" in run.sink.ended.reason
    assert processes.of_run(run.spec.run_id) == []
    last = run.last_act()
    assert run.last_act() == last


def test_a_stopped_worker_is_ended_by_cancel(runs, monkeypatch):
    monkeypatch.setattr(runs_module, "_CANCEL_PATIENCE", 1.0)
    run = Acting(runs)
    run.until_it_acts()
    os.kill(run.handle.pid, signal.SIGSTOP)
    run.handle.cancel("an operator said so")
    assert run.handle.wait(LONG)
    assert run.sink.ended.status == "cancelled"
    assert "an operator said so" in run.sink.ended.reason
    assert processes.of_run(run.spec.run_id) == []


def test_cancel_takes_no_longer_than_it_says():
    """Of its parts: how long a worker is waited for, then a kill and the pipe's end."""
    assert wire.GRACE < runs_module._CANCEL_PATIENCE < CANCEL_TAKES


@pytest.mark.parametrize("hangs", ["callback", "output"])
def test_a_worker_whose_other_threads_hang_ends_its_run(runs, hangs):
    """ansible-runner stuck in a callback, or its own words in a full pipe: the guard acts."""
    out = runs.tmp / "acts"
    spec = runs.spec(ACTS, extravars={"out": str(out)}, breath=LEASE)
    spec.run_dir.mkdir(parents=True, mode=0o700)
    path = spec.run_dir / "spec.json"
    path.write_text(spec.as_json(runs.playbooks))
    stuck = {
        "callback": "guard.Guard.ended = lambda self: time.sleep(600)",
        "output": "worker.Reporter.tell = lambda self, event: time.sleep(600)",
    }[hangs]
    code = (
        "import sys, os, time; from hass_runtime.remedy import guard, worker\n"
        f"{stuck}\n"
        "c = worker.main([sys.argv[1]]); sys.stdout.flush(); os._exit(c)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    began = time.monotonic()
    while not out.exists() or not out.read_text():
        assert time.monotonic() - began < LONG
        until = time.monotonic() + LEASE
        process.stdin.write(f"{wire.beat(until)}\n".encode())
        process.stdin.flush()
        time.sleep(0.05)
    text = process.stdout.read()
    code = process.wait(LONG)
    time.sleep(0.5)
    assert float(out.read_text().splitlines()[-1]) < until
    assert processes.of_run(spec.run_id) == []
    if hangs == "output":
        assert (code, text) == (75, b"")
    else:
        assert json.loads(text.splitlines()[-1])["status"] == "cancelled"


def test_a_worker_without_a_last_word_says_why_by_its_status(runs, tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho the lease is over >&2\nexit 75\n")
    program.chmod(0o755)
    spec, sink = runs.spec(SLEEP), Sink()
    assert Launcher(runs.playbooks, str(program)).start(spec, sink).wait(LONG)
    assert (sink.ended.status, sink.ended.reason) == ("cancelled", "the lease is over")


@pytest.mark.parametrize("name", ["watch", "run"])
def test_a_run_that_cannot_be_followed_is_ended_and_told(runs, monkeypatch, name):
    start = threading.Thread.start

    def refuse(self):
        if self.name.startswith(f"{name}-test-"):
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    handle, sink, spec = runs.start(SLEEP)
    assert not handle.alive()
    assert handle.wait(LONG)
    assert sink.ended.status == "crashed"
    assert "can't start new thread" in sink.ended.reason
    assert processes.look(handle.pid) is None
    assert processes.of_run(spec.run_id) == []


def direct(runs, tasks, **changes):
    """A worker started by hand, so that its pipe can be closed and its output read."""
    spec = runs.spec(tasks, **changes)
    spec.run_dir.mkdir(parents=True, mode=0o700)
    path = spec.run_dir / "spec.json"
    path.write_text(spec.as_json(runs.playbooks))
    argv = [sys.executable, "-m", "hass_runtime.remedy.worker", str(path)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    return process, spec


def test_end_of_file_on_the_pipe_ends_the_run(runs):
    process, spec = direct(runs, SLEEP)
    until_sleeping(spec.run_id)
    process.stdin.close()
    out = process.stdout.read().splitlines()
    assert process.wait(LONG) == 1
    last = json.loads(out[-1])
    assert (last["status"], last["reason"]) == ("cancelled", "the controller is gone")
    assert processes.of_run(spec.run_id) == []


def test_a_worker_that_is_killed_is_reported_and_leaves_nothing(runs):
    handle, sink, spec = runs.start(SLEEP)
    until_sleeping(spec.run_id)
    os.kill(handle.pid, signal.SIGKILL)
    assert handle.wait(LONG)
    assert sink.ended.status == "crashed"
    assert "SIGKILL" in sink.ended.reason
    assert processes.of_run(spec.run_id) == []


def test_leftovers_of_a_living_worker_are_ended(runs):
    process, spec = direct(runs, SLEEP)
    until_sleeping(spec.run_id)
    terminate_leftovers(spec.run_dir)
    assert processes.of_run(spec.run_id) == []
    assert process.wait(LONG) == 1
    assert json.loads(process.stdout.read().splitlines()[-1])["status"] == "cancelled"


def test_leftovers_of_a_killed_worker_are_ended(runs):
    process, spec = direct(runs, SLEEP)
    until_sleeping(spec.run_id)
    process.kill()
    process.wait()
    assert processes.of_run(spec.run_id), "ansible-playbook outlives its worker"
    terminate_leftovers(spec.run_dir)
    assert processes.of_run(spec.run_id) == []


def test_leftovers_of_a_hanging_worker_are_killed(runs):
    process, spec = direct(runs, SLEEP)
    until_sleeping(spec.run_id)
    process.send_signal(signal.SIGSTOP)
    assert process.pid in terminate_leftovers(spec.run_dir, grace=0.5)
    assert processes.of_run(spec.run_id) == []
    assert process.wait(LONG) == -signal.SIGKILL


def test_leftovers_of_nothing_are_nothing(runs, tmp_path):
    assert terminate_leftovers(tmp_path / "never-started") == ()


@pytest.mark.parametrize("content", [b"", b'{"run_id": "te', b"\0" * 64, b"[]", b"{}", b'"\xff"'])
@pytest.mark.parametrize("worker", ["lives", "stopped", "killed"])
def test_leftovers_are_found_without_the_workers_word(runs, content, worker):
    handle, sink, spec = runs.start(SLEEP)
    until_sleeping(spec.run_id)
    assert json.loads((spec.run_dir / IDENTITY).read_text())["boot"] == processes.boot_id()
    (spec.run_dir / IDENTITY).write_bytes(content)
    if worker != "lives":
        os.kill(handle.pid, signal.SIGSTOP if worker == "stopped" else signal.SIGKILL)
    terminate_leftovers(spec.run_dir, grace=0.5)
    assert processes.of_run(spec.run_id) == []
    assert handle.wait(LONG)
    assert sink.ended.status in ("cancelled", "crashed")
    assert processes.look(handle.pid) is None


def test_leftovers_of_an_earlier_boot_are_nothing(runs, tmp_path):
    stranger = subprocess.Popen(["sleep", "60"], env={**os.environ, processes.MARKER: "old"})
    try:
        run_dir = tmp_path / "old"
        run_dir.mkdir()
        me = processes.look(stranger.pid)
        identity = {"run_id": "old", "pid": me.pid, "started": me.started, "boot": "another"}
        (run_dir / IDENTITY).write_text(json.dumps(identity))
        assert terminate_leftovers(run_dir) == ()
        assert stranger.poll() is None
        (run_dir / LOCK).touch()
        (run_dir / IDENTITY).write_text(json.dumps({**identity, "boot": processes.boot_id()}))
        assert terminate_leftovers(run_dir, grace=0.2) == ()  # it listens to SIGTERM
        assert stranger.wait(LONG) == -signal.SIGTERM
    finally:
        stranger.kill()
        stranger.wait()


def test_what_survives_sigkill_is_an_error(runs, tmp_path, monkeypatch):
    run_dir = tmp_path / "old"
    run_dir.mkdir()
    monkeypatch.setattr(processes, "of_run", lambda run_id: [processes.Process(2**22 + 1, 1)])
    whole = processes.end_run
    monkeypatch.setattr(processes, "end_run", lambda run_id, grace: whole(run_id, grace, patience=0.1))
    with pytest.raises(RunsError, match="survive SIGKILL"):
        terminate_leftovers(run_dir, grace=0.1)


def test_a_private_file_is_there_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "it"
    rundir.write_private(path, "first")
    assert path.stat().st_mode & 0o777 == 0o600

    def lose_power(*args):
        raise OSError("gone")

    monkeypatch.setattr(rundir.os, "fsync", lose_power)
    with pytest.raises(OSError, match="gone"):
        rundir.write_private(path, "second")
    assert path.read_text() == "first"


def test_leftovers_do_not_touch_a_stranger_with_the_same_pid(runs, tmp_path):
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        run_dir = tmp_path / "old"
        run_dir.mkdir()
        identity = {"run_id": "old", "pid": stranger.pid, "started": 1}
        (run_dir / IDENTITY).write_text(json.dumps(identity))
        assert terminate_leftovers(run_dir) == ()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_missing_ansible_playbook_is_said(runs):
    spec = runs.spec("    - ansible.builtin.debug:\n")
    spec.run_dir.mkdir(parents=True)
    path = spec.run_dir / "spec.json"
    path.write_text(spec.as_json(runs.playbooks))
    code = (
        "import sys; from hass_runtime.remedy import worker; before = worker.environment\n"
        "worker.environment = lambda job: {**before(job), 'PATH': '/nowhere'}\n"
        "import os; c = worker.main([sys.argv[1]]); sys.stdout.flush(); os._exit(c)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    last = json.loads(process.stdout.read().splitlines()[-1])
    process.wait(LONG)
    assert last["status"] == "failed"
    assert last["rc"] == 127
    assert "ansible-playbook" in last["reason"]


def test_unparsable_playbook_is_said(runs):
    sink = runs.finish("- hosts: [\n")
    assert sink.ended.status == "failed"
    assert "it.yml" in sink.ended.reason


def test_missing_playbook_is_said(runs):
    sink = runs.finish("", playbook="absent")
    assert sink.ended.status == "failed"
    assert "absent.yml" in sink.ended.reason


def test_a_run_directory_is_used_once(runs):
    spec, sink = runs.spec("    - ansible.builtin.debug:\n"), Sink()
    spec.run_dir.mkdir(parents=True)
    handle = Launcher(runs.playbooks).start(spec, sink)
    assert (handle.alive(), handle.pid) == (False, 0)
    assert sink.ended.status == "crashed"


def test_the_environment_is_clean_and_variables_are_not_in_argv(runs, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_SHELL", "s3cret")
    monkeypatch.setenv("ANSIBLE_GATHERING", "implicit")
    handle, sink, spec = runs.start(SLEEP, extravars={"note": "not-in-argv"})
    until_sleeping(spec.run_id)
    for process in processes.of_run(spec.run_id):
        if process.pid == handle.pid:
            continue  # the worker was started with its controller's environment
        environ = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert b"s3cret" not in environ
        assert b"ANSIBLE_GATHERING" not in environ
        assert b"ANSIBLE_HOST_KEY_CHECKING=True" in environ
        assert b"not-in-argv" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    handle.cancel("done")
    assert handle.wait(LONG)
    assert sink.ended.status == "cancelled"


def test_a_sink_that_fails_does_not_stop_the_run(runs):
    spec, seen = runs.spec("    - ansible.builtin.debug:\n"), Sink()

    def sink(event):
        seen(event)
        raise RuntimeError("the store is away")

    assert Launcher(runs.playbooks).start(spec, sink).wait(LONG)
    assert seen.ended.status == "successful"


@pytest.mark.parametrize("text", ["{", "[]", '{"run_id": "x"}'])
def test_bad_spec_is_one_line(tmp_path, text):
    path = tmp_path / "spec.json"
    path.write_text(text)
    argv = [sys.executable, "-m", "hass_runtime.remedy.worker", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert str(path) in done.stderr
    assert len(done.stderr.splitlines()) == 1
