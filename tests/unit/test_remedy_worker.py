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
from hass_runtime.remedy import processes
from hass_runtime.remedy.runs import (
    IDENTITY,
    Launcher,
    MoveChanged,
    RunEnded,
    RunHandle,
    RunSpec,
    TaskEnded,
    TaskStarted,
    terminate_leftovers,
)

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
