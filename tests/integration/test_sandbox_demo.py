"""`hass sandbox` as a person uses it, with the real OpenStack in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import hass_runtime

pytestmark = pytest.mark.integration
# The first run builds OpenStack's environment.
LIMIT = 600.0
HASS = [sys.executable, "-m", "hass_runtime.cli.main", "sandbox"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A pointer file of our own, and a marker by which everything that is started can be found."""
    return {
        **os.environ,
        "XDG_RUNTIME_DIR": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "HASS_TEST_RUN": str(tmp_path),
        "PYTHONPATH": str(Path(hass_runtime.__file__).parent.parent),
        "COLUMNS": "120",
    }


@pytest.fixture
def nothing_left(tmp_path: Path) -> Iterator[None]:
    yield
    deadline = time.monotonic() + 15
    while (left := ours(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def ours(tmp_path: Path) -> list[list[str]]:
    """Command lines of what was started by this test and still runs."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HASS_TEST_RUN") == str(tmp_path):
                found.append(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def until(true: Callable[[], bool], what: str, seconds: float = LIMIT) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


@pytest.mark.usefixtures("nothing_left")
def test_the_demo_proves_what_it_says(tmp_path: Path, environ: dict[str, str]) -> None:
    report = tmp_path / "report.html"
    done = subprocess.run(
        [*HASS, "demo", "--report", str(report)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vm2, vm5 run elsewhere, each exactly once" in done.stdout
    assert "compute2" in report.read_text(encoding="utf-8")


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_sandbox_takes_openstack_and_the_controller_with_it(
    tmp_path: Path, environ: dict[str, str], number: signal.Signals
) -> None:
    log = tmp_path / "up.log"
    with open(log, "wb") as out:
        up = subprocess.Popen([*HASS, "up", "--hosts", "1", "--instances", "1"], env=environ, stdout=out)
    try:
        until(lambda: b"The sandbox is up" in log.read_bytes() or up.poll() is not None, "the sandbox is up")
        asked = subprocess.run(
            [*HASS, "status", "-f", "json"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        status = json.loads(asked.stdout)
        assert psutil.pid_exists(status["controller_pid"])
        up.send_signal(number)
        up.wait(60)
    finally:
        up.kill()
        up.wait()
    until(lambda: not Path(status["dir"]).exists(), "its directory is gone", 15)


@pytest.mark.usefixtures("nothing_left")
def test_ctrl_c_while_it_starts(tmp_path: Path, environ: dict[str, str]) -> None:
    up = subprocess.Popen([*HASS, "up", "--hosts", "1"], env=environ, stdout=subprocess.DEVNULL)
    try:
        until(lambda: any("server.py" in " ".join(line) for line in ours(tmp_path)), "OpenStack is starting")
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0
    finally:
        up.kill()
        up.wait()
    assert not list(tmp_path.glob("hass-sandbox-*"))


def test_without_a_sandbox_commands_say_so(environ: dict[str, str]) -> None:
    environ.pop("HASS_SANDBOX", None)
    done = subprocess.run(
        [*HASS, "power-cut", "compute1"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "hass sandbox: no sandbox is running; start one with: hass sandbox up\n"
