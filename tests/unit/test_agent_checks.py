from __future__ import annotations

import builtins
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hass_runtime.agent import checks
from hass_runtime.agent.checks import Check, CheckRunner, make_probe

URI = "qemu:///system"


def ask(spec: str, timeout: float = 10.0, uri: str = URI) -> Check:
    probe = make_probe(spec, uri, timeout)
    assert probe is not None
    return probe.ask()


def settle(runner: CheckRunner) -> dict[str, Check]:
    """Start what is due, wait for it, and return the results."""
    runner.start(time.monotonic())
    deadline = time.monotonic() + 30
    while not runner.settled(time.monotonic()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return runner.results(time.monotonic())


@pytest.mark.parametrize(
    "spec",
    [
        *("", "libvirt now", "unit", "process", "process a b", "command", "dance", "off x", "process 'a"),
        *("Off", "storage", "storage shared", "storage instances", "storage /a b"),
    ],
)
def test_bad_spec_says_what_was_expected(spec: str) -> None:
    with pytest.raises(ValueError, match=r"expected libvirt \[UNIT...\], unit|quotation"):
        make_probe(spec, URI, 2.0)


def test_bad_spec_names_the_check() -> None:
    with pytest.raises(ValueError, match=r"check nova: 'dance': expected libvirt"):
        CheckRunner({"nova": "dance"}, URI, 2.0)


def test_off_is_left_out() -> None:
    assert CheckRunner({"a": "off", "b": "command true"}, URI, 2.0).names == ("b",)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("command true", Check("ok", "")),
        ("command sh -c 'echo one; echo two'", Check("ok", "two")),
        ("command false", Check("failed", "exit status 1")),
        ("command sh -c 'echo disk is read-only >&2; exit 1'", Check("failed", "disk is read-only")),
        ("command sh -c 'echo hm; exit 3'", Check("unknown", "exit status 3: hm")),
        ("command /no/such/program", Check("unknown", "/no/such/program is not installed")),
        ("command /etc/passwd", Check("unknown", "/etc/passwd: Permission denied")),
    ],
)
def test_command(spec: str, expected: Check) -> None:
    assert ask(spec) == expected


def test_command_uses_no_shell() -> None:
    assert ask("command echo $HOME; ls") == Check("ok", "$HOME; ls")


def test_command_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    result = ask(f"command sh -c 'sleep 600 & echo $! > {pids}; wait'", timeout=0.5)
    assert result == Check("unknown", "sh did not end in 0.5 s")
    child = int(pids.read_text())
    for _ in range(500):
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.01)
    else:
        pytest.fail("the child of the command still runs")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a copy of sleep(1) under another name."""
    started = []

    def start(name: str, *argv: str) -> subprocess.Popen[bytes]:
        program = tmp_path / name
        shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
        process = subprocess.Popen([*(argv or (str(program),)), "600"], executable=program)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_process_name_is_exact(running: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = running("hass-t-comp10")
    assert ask("process hass-t-comp10") == Check("ok", f"pid {process.pid}")
    for other in ("hass-t-comp1", "hass-t-comp100", "ass-t-comp10", "hass-t-comp10 600", "HASS-T-COMP10"):
        assert ask(f"process '{other}'") == Check("failed", "not running")


def test_process_by_the_base_name_of_its_program(running: Callable[..., subprocess.Popen[bytes]]) -> None:
    name = "hass-test-openstack-nova-compute"  # longer than the 15 bytes that the kernel keeps
    process = running(name)
    assert ask(f"process {name}") == Check("ok", f"pid {process.pid}")
    assert ask("process hass-test-opens-other").state == "failed"


def test_process_that_ended_but_was_not_waited_for_does_not_run(
    running: Callable[..., subprocess.Popen[bytes]],
) -> None:
    process = running("hass-t-zombie")
    assert ask("process hass-t-zombie").state == "ok"
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ask("process hass-t-zombie").state == "failed"


def show(name: str, load: str, active: str, sub: str) -> str:
    return f"Id={name}\nLoadState={load}\nActiveState={active}\nSubState={sub}\n"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (show("n.service", "loaded", "active", "running"), Check("ok", "n.service")),
        (show("n.service", "loaded", "reloading", "reload"), Check("ok", "n.service")),
        (show("n.service", "loaded", "inactive", "dead"), Check("failed", "inactive")),
        (show("n.service", "loaded", "failed", "failed"), Check("failed", "failed")),
        (
            show("n.service", "loaded", "activating", "auto-restart"),
            Check("failed", "activating (auto-restart)"),
        ),
        (show("n.service", "masked", "inactive", "dead"), Check("failed", "masked")),
        (show("n.service", "not-found", "inactive", "dead"), Check("unknown", "no such unit: n.service")),
        (
            show("n.service", "not-found", "inactive", "dead")
            + "\n"
            + show("openstack-n.service", "loaded", "active", "running"),
            Check("ok", "openstack-n.service"),
        ),
        (
            show("n.service", "loaded", "inactive", "dead")
            + "\n"
            + show("openstack-n.service", "not-found", "inactive", "dead"),
            Check("failed", "inactive"),
        ),
        (
            show("a.service", "loaded", "inactive", "dead")
            + "\n"
            + show("b.service", "loaded", "failed", "failed"),
            Check("failed", "a.service inactive, b.service failed"),
        ),
        ("", Check("unknown", "no such unit: systemctl shows none")),
    ],
)
def test_units(shown: str, expected: Check) -> None:
    assert checks.judge_units(shown) == expected


def fake_systemctl(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = directory / "systemctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def test_unit_names_reach_systemctl_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "argv"
    fake_systemctl(
        tmp_path,
        f'for a; do echo "$a"; done > {out}; echo Id=a.service; echo ActiveState=active',
        monkeypatch,
    )
    assert ask("unit a.service --now") == Check("ok", "a.service")
    assert out.read_text().splitlines()[-3:] == ["--", "a.service", "--now"]


def test_systemctl_that_fails_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_systemctl(tmp_path, "echo 'Failed to connect to bus' >&2; exit 1", monkeypatch)
    assert ask("unit a.service") == Check("unknown", "systemctl: Failed to connect to bus")


def test_systemctl_that_hangs_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_systemctl(tmp_path, "exec sleep 600", monkeypatch)
    assert ask("unit a.service", timeout=0.3) == Check("unknown", "systemctl did not answer in 0.3 s")


def test_systemctl_missing_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask("unit a.service") == Check("unknown", "systemctl is not installed")


def capabilities(*kinds: str) -> str:
    domains = "".join(f"<domain type='{kind}'/>" for kind in kinds)
    return f"<capabilities><guest><arch name='x86_64'>{domains}</arch></guest></capabilities>"


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        (capabilities("qemu", "kvm"), Check("ok", "kvm")),
        (capabilities("qemu"), Check("ok", "qemu without kvm")),
        (capabilities("xen"), Check("failed", "no kvm or qemu driver, only xen")),
        (capabilities(), Check("failed", "no kvm or qemu driver, only none at all")),
    ],
)
def test_driver(xml: str, expected: Check) -> None:
    assert checks.judge_capabilities(xml) == expected


def test_driver_with_unreadable_capabilities_is_unknown() -> None:
    assert checks.judge_capabilities("<capabilities>").state == "unknown"


def test_without_libvirt_python_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: object, **kwargs: object) -> object:
        if name == "libvirt":
            raise ImportError(name)
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "libvirt", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    assert ask("libvirt") == Check("unknown", "libvirt-python is not installed")
    assert ask("driver") == Check("unknown", "libvirt-python is not installed")


def test_results_are_kept_for_a_second(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    runner = CheckRunner({"a": f"command sh -c 'echo x >> {ran}'"}, URI, 10.0)
    settle(runner)
    finished = runner._slots[0].result_at
    runner.start(finished + 0.9 * checks.CACHE)
    assert runner._slots[0].running_since is None
    runner.start(finished + 1.1 * checks.CACHE)
    settle(runner)
    assert len(ran.read_text().split()) == 2


def test_checks_run_side_by_side(tmp_path: Path) -> None:
    # Each waits for a file that the other one makes: one after the other, neither would end.
    a, b = tmp_path / "a", tmp_path / "b"
    wait = "sh -c 'touch {}; while [ ! -e {} ]; do sleep 0.01; done'"
    runner = CheckRunner(
        {"a": "command " + wait.format(a, b), "b": "command " + wait.format(b, a)}, URI, 20.0
    )
    assert settle(runner) == {"a": Check("ok"), "b": Check("ok")}


class Hanging:
    """A runner with one check that hangs until released, on a clock of our own."""

    def __init__(self, hanging: str) -> None:
        self.release = threading.Event()
        self.done = threading.Event()
        self.runs = 0
        self.runner = CheckRunner({"libvirtd": "libvirt", "other": "command true"}, URI, 2.0, self.done.set)

        def block() -> Check:
            self.runs += 1
            self.release.wait(60)
            return Check("ok", "back")

        self.runner._slots[0].probe = checks.Probe(block, hanging)


@pytest.mark.parametrize("hanging", ["failed", "unknown"])
def test_hanging_check_is_told_and_not_started_again(hanging: str) -> None:
    hang = Hanging(hanging)
    t0 = time.monotonic()
    hang.runner.start(t0)
    assert hang.runner.results(t0 + 1.0)["libvirtd"] == Check("unknown", "no result after 1.0 s")
    assert hang.runner.results(t0 + 5.0)["libvirtd"] == Check(hanging, "hangs for 5 s")
    hang.runner.start(t0 + 5.0)
    assert hang.runner.results(t0 + 65.0)["libvirtd"] == Check(hanging, "hangs for 65 s")
    assert hang.runs == 1
    hang.release.set()
    while hang.runner._slots[0].running_since is not None:
        time.sleep(0.005)
    assert hang.runner.results(time.monotonic())["libvirtd"] == Check("ok", "back")


def test_a_storage_hangs_later_than_it_is_waited_for() -> None:
    hang = Hanging("failed")
    hang.runner._slots[0].probe = replace(hang.runner._slots[0].probe, patience=10.0, storage=True)
    t0 = time.monotonic()
    hang.runner.start(t0)
    hang.done.wait(30)
    assert not hang.runner.settled(t0 + 1.9)
    assert hang.runner.settled(t0 + 2.1), "nobody waits longer for the answer"
    assert hang.runner.results(t0 + 9.0)["libvirtd"] == Check("unknown", "no result after 9.0 s", True)
    assert hang.runner.results(t0 + 12.0)["libvirtd"] == Check("failed", "hangs for 12 s", True)
    hang.release.set()


def test_hanging_check_does_not_hold_up_the_others() -> None:
    hang = Hanging("failed")
    hang.runner.start(time.monotonic())
    assert hang.done.wait(30)
    assert hang.runner.results(time.monotonic())["other"] == Check("ok")
    hang.release.set()


def test_slow_check_tells_its_last_result_meanwhile() -> None:
    hang = Hanging("failed")
    slot = hang.runner._slots[0]
    t0 = time.monotonic()
    slot.result, slot.result_at = Check("ok", "before"), t0 - 5.0
    hang.runner.start(t0)
    assert hang.runner.results(t0 + 1.0)["libvirtd"] == Check("ok", "before")
    slot.result_at = t0 - checks.REMEMBER
    assert hang.runner.results(t0 + 1.0)["libvirtd"].state == "unknown"
    hang.release.set()


def test_check_that_raises_is_unknown() -> None:
    runner = CheckRunner({"a": "command true"}, URI, 2.0)

    def explode() -> Check:
        raise RuntimeError("boom")

    runner._slots[0].probe = checks.Probe(explode)
    assert settle(runner) == {"a": Check("unknown", "RuntimeError: boom")}


def test_one_line_in_the_log_per_change_of_state(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    runner = CheckRunner({"nova-compute": "command true"}, URI, 2.0)
    slot = runner._slots[0]
    for state, evidence in [
        ("ok", "1"),
        ("ok", "2"),
        ("failed", "inactive"),
        ("failed", "dead"),
        ("ok", "3"),
    ]:
        slot.result, slot.result_at = Check(state, evidence), 100.0
        runner.results(100.0)
    assert [record.getMessage() for record in caplog.records] == [
        "nova-compute is ok: 1",
        "nova-compute is failed: inactive",
        "nova-compute is ok: 3",
    ]
