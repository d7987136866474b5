"""molecule/machines boots, cuts, compares and forgets machines, and leaves nothing behind. Root; a minute,
or three the first time, when the layer is made."""

import contextlib
import json
import os
import shlex
import socket
import subprocess
import time
from pathlib import Path

import pytest

MACHINES = Path(__file__).resolve().parents[2] / "molecule/machines/machines"
NAME, ADDRESS, NETWORK = "under-test", "10.77.250.10", "10.77.250"


def machines(*words, status=0):
    done = subprocess.run([str(MACHINES), *words], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == status, done.stderr + done.stdout
    return done.stdout if status == 0 else done.stderr


def inside(*words):
    return machines("run", NAME, "--", *words)


def traces():
    """Whatever of the machine is left on this host."""
    bridge = f"hm{NETWORK.replace('.', '-')}"
    commands = (("ip", "netns"), ("ip", "-o", "link"), ("nft", "list", "tables"), ("mount",))
    seen = [subprocess.run(words, capture_output=True, text=True, check=True).stdout for words in commands]
    lines = [line for text in seen for line in text.splitlines()]
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/hass-{NAME}")]
    marks = (NAME, bridge, f"hass_machines_{NETWORK.replace('.', '_')}")
    return [line for line in lines if any(mark in line for mark in marks)] + cgroups


def greets(within=2):
    """Whether its sshd answers within so many seconds."""
    deadline = time.monotonic() + within
    while True:
        with contextlib.suppress(OSError), socket.create_connection((ADDRESS, 22), 1) as connection:
            connection.settimeout(1)
            if connection.recv(4) == b"SSH-":
                return True
        if time.monotonic() > deadline:
            return False


@pytest.fixture
def machine():
    machines("up", NAME, "--layer", "base", "--address", ADDRESS, "--plug", "10.77.251.0")
    try:
        yield
    finally:
        machines("down", NAME)
    assert traces() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="machines need root")
class TestMachine:
    def test_lives_and_dies(self, machine):
        assert machines("ssh", NAME, "hostname").strip() == NAME
        assert inside("systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""
        assert inside("ip", "-br", "-4", "address").split()[-1] == f"{ADDRESS}/24"

        machines("snapshot", NAME)
        assert machines("changes", NAME, "--none") == ""
        inside(
            "sh",
            "-c",
            "echo new >/etc/new; chmod 600 /etc/issue; touch /etc/fstab; rm /etc/issue.net;"
            "cp -a /etc/profile /etc/copy; mv /etc/copy /etc/profile; echo x >/var/log/x",
        )
        assert machines("changes", NAME).splitlines() == [
            f"{NAME}: changed /etc/issue",
            f"{NAME}: removed /etc/issue.net",
            f"{NAME}: added /etc/new",
        ]

        inside("sync")
        machines("kill", NAME)
        (known,) = (row for row in json.loads(machines("list", "-f", "json")) if row["name"] == NAME)
        assert known["power"] == "off"
        assert "is off" in machines("run", NAME, "true", status=1)
        machines("up", NAME)
        assert inside("cat", "/etc/new") == "new\n"

    # Set to what it is, so that the clock of the host stays right when this fails.
    SET_CLOCK = ("sh", "-c", """LC_ALL=C date -s "$(date -Ins)" 2>&1 || true""")

    def test_keeps_its_hands_off_the_clock(self, machine):
        assert "Operation not permitted" in machines(
            "ssh", NAME, *self.SET_CLOCK[:2], shlex.quote(self.SET_CLOCK[2])
        )
        assert "Operation not permitted" in inside(*self.SET_CLOCK)

    def test_hangs_and_goes_on(self, machine):
        machines("cut", NAME)
        machines("freeze", NAME)
        assert not greets()
        machines("thaw", NAME)
        assert not greets()
        machines("plug", NAME)
        assert greets(within=20)

    def test_its_power_is_cut_while_it_hangs(self, machine):
        machines("freeze", NAME)
        machines("kill", NAME)
        machines("up", NAME)
        assert greets(within=20)

    def test_what_has_no_cable_has_none(self, machine):
        assert "has no eth7" in machines("cut", NAME, "--interface", "7", status=1)

    def test_its_address_is_its_own(self, machine):
        said = machines("up", "another-test", "--address", ADDRESS, status=1)
        assert f"{ADDRESS} belongs to machine {NAME} already" in said
        assert "another-test" not in machines("list")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("up", "new"), "give it an --address"),
        (("up", "new", "--address", "10.77.250.1"), "is not for machines"),
        (("up", "new", "--address", "8.8.8.8"), "is not a private address"),
        (("up", "new", "--address", "10.77.250"), "is not an IPv4 address"),
        (("up", "Ünicode", "--address", ADDRESS), "is no name for a machine"),
        (("kill", "nobody"), "there is no machine nobody"),
        (("layer", "cake"), "there is no layer cake"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="machines need root")
def test_a_mistake_is_told_in_a_line(words, said):
    error = machines(*words, status=1)
    assert said in error
    assert len(error.splitlines()) == 1
