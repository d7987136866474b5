"""Orders to restart: only units that the operator's own file names, once an order, and not too often."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.agent import restarting
from hass_runtime.agent.protocol import Order
from hass_runtime.agent.restarting import EVERY, Outcome, RefusedError, Restarts, choose, units_behind

CHECKS = {
    "nova-compute": "unit nova-compute.service openstack-nova-compute.service",
    "libvirtd": "libvirt libvirtd.service virtqemud.service",
    "bare": "libvirt",
    "qemu": "driver",
    "agent": "process neutron-agent",
    "mine": "command systemctl is-active x.service",
    "storage": "storage /srv/x.service",
    "off": "off",
}


def show(name: str, load: str = "loaded", active: str = "active", file: str = "enabled") -> str:
    return f"Id={name}\nLoadState={load}\nActiveState={active}\nUnitFileState={file}\n"


@pytest.mark.parametrize(
    ("shown", "chosen"),
    [
        ((show("a.service"),), ("a.service", "active")),
        ((show("a.service", "not-found", "inactive", ""), show("b.service")), ("b.service", "active")),
        (
            (show("a.service", "masked", "inactive"), show("b.service", active="failed")),
            ("b.service", "failed"),
        ),
        # What nobody uses is not woken: libvirtd beside virtqemud.
        ((show("a.service", active="inactive", file="disabled"), show("b.service")), ("b.service", "active")),
        (
            (
                show("a.service", active="inactive", file="disabled"),
                show("b.service", active="inactive", file="enabled-runtime"),
            ),
            ("b.service", "inactive"),
        ),
        ((show("a.service", active="inactive", file="static"),), ("a.service", "inactive")),
        ((show("a.service", active="activating"), show("b.service")), ("a.service", "activating")),
    ],
)
def test_which_unit(shown: tuple[str, ...], chosen: tuple[str, str]) -> None:
    assert choose("\n".join(shown)) == chosen


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        (show("a.service", "not-found", "inactive", ""), "no such unit here: a.service not-found"),
        (show("a.service", "masked", "inactive"), "no such unit here: a.service masked"),
        ("", "no such unit here: systemctl shows none"),
    ],
)
def test_no_unit(shown: str, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        choose(shown)


@given(st.text())
def test_no_output_is_too_strange(shown: str) -> None:
    try:
        unit, _ = choose(shown)
    except RefusedError:
        return
    assert f"Id={unit}" in shown


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that writes down what it is told; it fails in `fail`, as the word of the command tells."""
    program = tmp_path / "systemctl"
    program.write_text(
        f"""#!/bin/sh
echo "$*" >> {tmp_path}/told
if test -e {tmp_path}/fail-$1; then echo "Failed: no" >&2; exit 1; fi
if test $1 = show; then cat {tmp_path}/shown; fi
"""
    )
    program.chmod(0o755)
    (tmp_path / "shown").write_text(show("nova-compute.service"))
    (tmp_path / "told").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def told(systemctl: Path, word: str = "restart") -> list[str]:
    return [line for line in (systemctl / "told").read_text().splitlines() if line.split()[0] == word]


def order(check: str, number: int = 1) -> Order:
    return Order(check, f"{number:032x}")


def finish(restarts: Restarts, given_: Order) -> Outcome:
    deadline = time.monotonic() + 30
    while (outcome := restarts.outcome(given_)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return outcome


RESTART = "restart --no-block --no-ask-password -- nova-compute.service"


def test_a_unit_is_restarted_and_that_is_one_line(systemctl: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    done: list[int] = []
    restarts = Restarts(CHECKS, 10.0, lambda: done.append(1))
    restarts.submit(order("nova-compute"), 100.0)
    assert finish(restarts, order("nova-compute")) == Outcome()
    assert told(systemctl) == [RESTART]
    (asked,) = told(systemctl, "show")
    assert asked.endswith(" -- nova-compute.service openstack-nova-compute.service")
    assert [record.getMessage() for record in caplog.records] == [
        "nova-compute.service is restarted by order of a controller (check nova-compute)"
    ]
    while not done:
        time.sleep(0.005)
    assert told(systemctl, "reset-failed") == []


def test_the_same_order_again_restarts_nothing_and_has_the_same_outcome(systemctl: Path) -> None:
    restarts = Restarts(CHECKS, 10.0)
    for now in (100.0, 100.5, 500.0):
        restarts.submit(order("nova-compute"), now)
        assert finish(restarts, order("nova-compute")) == Outcome()
    assert told(systemctl) == [RESTART]


def test_not_too_often(systemctl: Path) -> None:
    restarts = Restarts(CHECKS, 10.0)
    restarts.submit(order("nova-compute", 1), 100.0)
    finish(restarts, order("nova-compute", 1))
    restarts.submit(order("nova-compute", 2), 103.4)
    assert finish(restarts, order("nova-compute", 2)) == Outcome("was restarted 3 s ago")
    (systemctl / "shown").write_text(show("libvirtd.service"))
    restarts.submit(order("libvirtd", 3), 103.4)
    assert finish(restarts, order("libvirtd", 3)) == Outcome(), "each check for itself"
    restarts.submit(order("nova-compute", 4), 100.0 + EVERY)
    assert finish(restarts, order("nova-compute", 4)) == Outcome()
    assert len(told(systemctl)) == 3


@pytest.mark.parametrize(
    ("check", "why"),
    [
        *((check, "is no unit") for check in ("bare", "qemu", "agent", "mine", "storage")),
        *((check, "is not checked here") for check in ("off", "x", "nova-compute.service", "sshd", "…", "")),
    ],
)
def test_what_is_no_unit_of_the_operators_file_is_refused(systemctl: Path, check: str, why: str) -> None:
    restarts = Restarts(CHECKS, 10.0)
    restarts.submit(order(check), 100.0)
    assert restarts.outcome(order(check)) == Outcome(why)
    assert (systemctl / "told").read_text() == ""


def test_a_unit_that_failed_is_forgiven_first(systemctl: Path) -> None:
    (systemctl / "shown").write_text(show("nova-compute.service", active="failed"))
    restarts = Restarts(CHECKS, 10.0)
    restarts.submit(order("nova-compute"), 100.0)
    assert finish(restarts, order("nova-compute")) == Outcome()
    assert (systemctl / "told").read_text().splitlines()[1:] == [
        "reset-failed -- nova-compute.service",
        RESTART,
    ]


def test_a_unit_that_is_not_there_is_no_restart_that_counts(systemctl: Path) -> None:
    (systemctl / "shown").write_text(show("nova-compute.service", "not-found", "inactive", ""))
    restarts = Restarts(CHECKS, 10.0)
    for number in (1, 2):
        restarts.submit(order("nova-compute", number), 100.0 + number)
        outcome = finish(restarts, order("nova-compute", number))
        assert outcome == Outcome("no such unit here: nova-compute.service not-found")
    assert told(systemctl) == []


def test_a_systemctl_that_fails_is_a_refusal(systemctl: Path) -> None:
    (systemctl / "fail-restart").touch()
    restarts = Restarts(CHECKS, 10.0)
    restarts.submit(order("nova-compute"), 100.0)
    assert finish(restarts, order("nova-compute")) == Outcome("systemctl restart: Failed: no")
    restarts.submit(order("nova-compute", 2), 101.0)
    assert finish(restarts, order("nova-compute", 2)) == Outcome("was restarted 1 s ago")


def test_a_systemctl_that_hangs_or_is_missing_is_a_refusal(
    systemctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (systemctl / "systemctl").write_text("#!/bin/sh\nexec sleep 600\n")
    restarts = Restarts(CHECKS, 0.2)
    restarts.submit(order("nova-compute"), 100.0)
    assert finish(restarts, order("nova-compute")) == Outcome("systemctl did not answer in 0.2 s")
    monkeypatch.setenv("PATH", "/no/such/directory")
    restarts.submit(order("nova-compute", 2), 200.0)
    assert finish(restarts, order("nova-compute", 2)) == Outcome("systemctl is not installed")


def test_not_every_order_ever_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarting, "REMEMBERED", 3)
    restarts = Restarts(CHECKS, 10.0)
    for number in range(10):
        restarts.submit(order("qemu", number), 100.0)
    assert len(restarts._known) == 3
    assert restarts.outcome(order("qemu", 9)) == Outcome("is no unit")
    assert restarts.outcome(order("qemu", 0)) == Outcome("too many orders, its outcome is forgotten")


@given(st.sampled_from(["unit", "libvirt", "process", "command", "driver", "storage", "off", ""]), st.text())
def test_only_units_are_behind_a_check(kind: str, rest: str) -> None:
    try:
        units = units_behind(f"{kind} {rest}")
    except ValueError:
        return  # a spec that the agent does not start with
    if kind in ("process", "command", "driver", "storage", "off"):
        assert units == ()
