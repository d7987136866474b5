"""Whether a host is being shut down on purpose: which signs are believed, and from when on."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.agent import leaving
from hass_runtime.agent.leaving import LATE, SOON, Lookout, look, reason, scheduled_at

AT = 1_800_000_000.0


def scheduled(mode: str = "poweroff", at: float = AT) -> str:
    return f"USEC={int(at * 1e6)}\nWARN_WALL=1\nMODE={mode}\nWALL_MESSAGE=a = b\n"


@pytest.mark.parametrize(
    ("said", "leaves"),
    [
        ("stopping\n", True),
        ("running\n", False),
        ("degraded\n", False),
        ("starting\n", False),
        ("initializing\n", False),
        ("maintenance\n", False),
        ("offline\n", False),
        ("unknown\n", False),
        ("", False),
        ("not stopping\n", False),
    ],
)
def test_what_systemd_says(said: str, leaves: bool) -> None:
    assert bool(reason(said, "", AT)) is leaves


@pytest.mark.parametrize(
    ("away", "leaves"),
    [(86400.0, False), (SOON + 1, False), (SOON - 1, True), (0.0, True), (1 - LATE, True), (-LATE, False)],
)
def test_a_scheduled_shutdown_counts_when_it_is_due(away: float, leaves: bool) -> None:
    assert bool(reason("running", scheduled(), AT - away)) is leaves


@pytest.mark.parametrize("mode", ["poweroff", "reboot", "halt", "kexec", "soft-reboot"])
def test_every_way_down_counts(mode: str) -> None:
    assert scheduled_at(scheduled(mode)) == AT


@pytest.mark.parametrize(
    "text",
    ["", "USEC=1", "MODE=reboot", "USEC=\nMODE=reboot", "USEC=soon\nMODE=reboot", "USEC=-1\nMODE=reboot",
     "USEC=²\nMODE=reboot", scheduled("dry-reboot"), scheduled("cancel"), "\0\0"],
)  # fmt: skip
def test_what_schedules_nothing(text: str) -> None:
    assert scheduled_at(text) is None


@given(st.text(), st.text(), st.floats(allow_nan=False))
def test_no_text_is_too_strange(said: str, text: str, now: float) -> None:
    assert isinstance(reason(said, text, now), str)
    assert isinstance(reason(said, f"USEC={text}\nMODE=reboot", now), str)


def fake_systemctl(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = directory / "systemctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def test_looking_asks_systemd_and_reads_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = tmp_path / "none"
    # It exits with 1 in every state but running: the word counts.
    fake_systemctl(tmp_path, 'test "$*" = is-system-running && echo stopping; exit 1', monkeypatch)
    assert look(nothing) == "systemd is stopping the system"
    fake_systemctl(tmp_path, "echo running", monkeypatch)
    assert look(nothing) == ""
    file = tmp_path / "scheduled"
    file.write_text(scheduled(at=time.time() + 5))
    assert look(file) == "a shutdown is due"


def test_a_host_without_systemd_never_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert look(tmp_path / "none") == ""


def test_a_systemd_that_hangs_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "PATIENCE", 0.2)
    fake_systemctl(tmp_path, "exec sleep 600", monkeypatch)
    assert look(tmp_path / "none") == ""


class Looks:
    """A look that takes until it is let go."""

    def __init__(self) -> None:
        self.says = ""
        self.count = 0
        self.go = threading.Semaphore(0)
        self.done = threading.Event()
        self.lookout = Lookout(self.done.set, self)

    def __call__(self) -> str:
        self.count += 1
        says = self.says
        assert self.go.acquire(timeout=30)
        return says

    def wait(self) -> None:
        assert self.done.wait(30)
        self.done.clear()


def test_a_look_is_good_for_a_second_and_never_doubled() -> None:
    looks = Looks()
    assert not looks.lookout.leaving
    now = time.monotonic()
    looks.says = "systemd is stopping the system"
    looks.lookout.start(now)
    looks.lookout.start(now)
    assert looks.lookout.looking
    looks.go.release()
    looks.wait()
    assert looks.lookout.leaving
    assert not looks.lookout.looking
    assert looks.count == 1
    now = looks.lookout._looked_at or 0.0
    looks.lookout.start(now + 0.9)
    assert looks.count == 1
    looks.says = ""
    looks.go.release()
    looks.lookout.start(now + 1.1)
    looks.wait()
    assert looks.count == 2
    assert not looks.lookout.leaving, "a shutdown that was called off"


def test_a_look_that_began_before_does_not_do_for_an_agent_that_is_told_to_end() -> None:
    looks = Looks()
    looks.lookout.start(time.monotonic())
    while looks.count == 0:
        time.sleep(0.005)
    looks.says = "systemd is stopping the system"
    looks.lookout.start(time.monotonic(), anew=True)
    looks.go.release(2)
    looks.wait()
    assert looks.count == 2
    assert looks.lookout.leaving
