"""What a real agent process restarts, says of a storage on a real mount, and says when its host goes down.

PID 1 of the machines that run these tests is not systemd as a rule, and none of them may be shut down. So
`systemctl` is a script in front of PATH here; everything else is real: the agent's process, its datagrams,
the module and the playbook that ask it, the mounts.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running_agent import HOST, KEY, SIZE, RunningAgent

from hass_runtime.agent import protocol, storage, storage_helper
from hass_runtime.detect import agent_poll
from hass_runtime.detect.storage import StorageDetector
from hass_runtime.domain import Reading, Verdict
from hass_runtime.remedy.agent import UdpAgent

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
NOVA = "unit nova-compute.service openstack-nova-compute.service"

SYSTEMCTL = """#!/bin/sh
# A unit is a file with its ActiveState; `restarted` has a line for each restart, `system` the system's state.
dir={dir}
case $1 in
is-system-running) cat $dir/system; test "$(cat $dir/system)" = running ;;
show)
    while test "$1" != --; do shift; done; shift
    for unit; do
        echo Id=$unit
        if test -e $dir/$unit; then
            echo LoadState=loaded; echo ActiveState=$(cat $dir/$unit); echo UnitFileState=enabled
        else
            echo LoadState=not-found; echo ActiveState=inactive
        fi
        echo SubState=dead; echo
    done ;;
restart)
    while test "$1" != --; do shift; done; shift
    echo "$1" >> $dir/restarted
    echo active > $dir/$1 ;;
esac
"""


class Systemd:
    """What the script in front of PATH shows and does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        program = directory / "bin" / "systemctl"
        program.parent.mkdir()
        program.write_text(SYSTEMCTL.replace("{dir}", str(directory)))
        program.chmod(0o755)
        self.system("running")

    def system(self, state: str) -> None:
        partial = self.directory / "system.part"
        partial.write_text(state + "\n")
        partial.rename(self.directory / "system")

    def unit(self, name: str, state: str) -> None:
        (self.directory / name).write_text(state + "\n")

    @property
    def restarted(self) -> list[str]:
        path = self.directory / "restarted"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    directory = tmp_path / "systemd"
    directory.mkdir()
    made = Systemd(directory)
    monkeypatch.setenv("PATH", f"{directory / 'bin'}:{os.environ['PATH']}")
    return made


@contextlib.contextmanager
def running(directory: Path, checks: dict[str, str]) -> Iterator[RunningAgent]:
    agent = RunningAgent(directory, checks)
    try:
        yield agent
    finally:
        if agent.process.poll() is None:
            agent.stop()


def wanted(agent: RunningAgent) -> UdpAgent:
    return UdpAgent(HOST, agent.port, (KEY.encode(),), 10.0, SIZE)


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Restarting


def test_an_order_restarts_the_unit_that_is_there_once(tmp_path: Path, systemd: Systemd) -> None:
    systemd.unit("openstack-nova-compute.service", "failed")
    with running(tmp_path, {"nova-compute": NOVA, "mine": "command false"}) as agent:
        reading = agent.poll()
        assert (reading.verdict, reading.answered) == (Verdict.FAILED, True)
        asked = wanted(agent)
        assert asked.restart("nova-compute") is None
        assert systemd.restarted == ["openstack-nova-compute.service"]
        assert (asked.restart("nova-compute") or "").startswith("was restarted ")
        assert asked.restart("mine") == "is no unit"
        assert asked.restart("sshd") == "is not checked here"
        assert systemd.restarted == ["openstack-nova-compute.service"]
        until(lambda: asked.checks()["nova-compute"].state == "ok")
        assert agent.stop() == 0
        log = agent.log.read_text()
    assert log.count("openstack-nova-compute.service is restarted by order of a controller") == 1
    assert KEY not in log


def send(port: int, datagrams: list[bytes]) -> list[bytes]:
    """Whatever came back, one after the other; b"" for one that is not answered."""
    answers = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        for datagram in datagrams:
            sock.send(datagram)
            sock.settimeout(10.0 if datagram is datagrams[0] else 1.0)
            try:
                answers.append(sock.recv(65536))
            except TimeoutError:
                answers.append(b"")
    return answers


def test_an_order_whose_answer_got_lost_is_answered_and_not_carried_out_again(
    tmp_path: Path, systemd: Systemd
) -> None:
    systemd.unit("nova-compute.service", "failed")
    keys = (KEY.encode(),)

    def datagram(nonce: str, number: str = "ab" * 16, key: str = KEY, age: float = 0.0) -> bytes:
        order = protocol.Order("nova-compute", number)
        request = protocol.Request("compute1", nonce, time.time() - age, order)
        return protocol.encode_request(request, (key.encode(),), SIZE)

    with running(tmp_path, {"nova-compute": NOVA}) as agent:
        first = datagram("01" * 16)
        answers = send(
            agent.port,
            [
                first,
                datagram("02" * 16),  # sent again: the same order
                first,  # somebody plays it back
                datagram("03" * 16, "cd" * 16, key="another key, not ours"),
                datagram("04" * 16, "cd" * 16, age=31),
                first[:-1] + b"x",
            ],
        )
        for answer, nonce in zip(answers[:2], ("01" * 16, "02" * 16), strict=True):
            said = protocol.decode_restart_response(answer, keys, SIZE, "compute1", [nonce])
            assert said.refused is None
        assert answers[2:] == [b""] * 4
        assert systemd.restarted == ["nova-compute.service"]
        agent.until(lambda message: "dropped 2 bad_mac, 1 replayed, 1 stale" in message)


def test_an_order_from_before_the_agent_was_started_is_not_carried_out(
    tmp_path: Path, systemd: Systemd
) -> None:
    """An earlier agent of the host may have done so: whoever recorded the datagram could play it back."""
    systemd.unit("nova-compute.service", "failed")
    request = protocol.Request("compute1", "05" * 16, time.time(), protocol.Order("nova-compute", "ab" * 16))
    recorded = protocol.encode_request(request, (KEY.encode(),), SIZE)
    with running(tmp_path, {"nova-compute": NOVA}) as agent:
        assert agent.ask().checks is not None
        assert send(agent.port, [recorded]) == [b""]
        agent.until(lambda message: "1 stale" in message)
    assert systemd.restarted == []


CONFIG = """\
[openstack]
openstack_auth_url = http://127.0.0.1:1/v3
openstack_admin_password = not-used-here
[cluster]
hosts = compute1
[address]
compute1 = 127.0.0.1
[detection]
polling_port = {port}
polling_key = {key}
nova_view = false
[recovery]
restart_timeout = 30
"""


def play(config: Path, *more: str) -> subprocess.CompletedProcess[str]:
    argv = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "playbooks/remediation/service_restart.yml",
        *("-e", "host=compute1", "-e", f"config={config}", *more),
    ]
    env = {**os.environ, "ANSIBLE_SHOW_CUSTOM_STATS": "1", "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_playbook_restarts_what_failed_and_sees_it_well(tmp_path: Path, systemd: Systemd) -> None:
    systemd.unit("nova-compute.service", "failed")
    systemd.unit("virtqemud.service", "active")
    checks = {"nova-compute": NOVA, "virtqemud": "unit virtqemud.service"}
    with running(tmp_path, checks) as agent:
        config = tmp_path / "hass.conf"
        config.touch(mode=0o600)
        config.write_text(CONFIG.format(port=agent.port, key=KEY))
        looked = play(config, "--check")
        assert looked.returncode == 0, looked.stdout
        assert "would restart nova-compute of compute1" in looked.stdout
        assert systemd.restarted == []
        done = play(config)
        assert done.returncode == 0, done.stdout
        assert "nova-compute of compute1 restarted" in done.stdout
        assert systemd.restarted == ["nova-compute.service"]
        again = play(config)
        assert again.returncode == 0, again.stdout
        assert "the services of compute1 are fine" in again.stdout
        assert systemd.restarted == ["nova-compute.service"]
        assert KEY not in looked.stdout + done.stdout + again.stdout


# Leaving


def test_it_says_that_its_host_leaves_and_says_goodbye(tmp_path: Path, systemd: Systemd) -> None:
    with running(tmp_path, {"mine": "command true"}) as agent:
        assert not agent.poll().leaving
        systemd.system("stopping")
        until(lambda: agent.poll().leaving)
        agent.process.send_signal(signal.SIGTERM)
        answer = agent.ask()
        assert answer.leaving
        assert answer.checks == {"mine": protocol.Check("ok")}
        agent.until(lambda message: "STOPPING=1" in message)
        assert agent.process.wait(30) == 0
        assert "this host is being shut down: systemd is stopping the system" in agent.log.read_text()


def test_a_shutdown_is_noticed_by_the_sigterm_alone(tmp_path: Path, systemd: Systemd) -> None:
    with running(tmp_path, {"mine": "command true"}) as agent:
        assert not agent.ask().leaving
        systemd.system("stopping")
        agent.process.send_signal(signal.SIGTERM)
        until(lambda: "this host is being shut down" in agent.log.read_text())
        assert agent.ask().leaving
        assert agent.process.wait(30) == 0


@pytest.mark.parametrize("state", ["running", "degraded", "starting"])
def test_a_restart_of_the_agent_is_no_goodbye(tmp_path: Path, systemd: Systemd, state: str) -> None:
    systemd.system(state)
    with running(tmp_path, {"mine": "command true"}) as agent:
        assert not agent.ask().leaving
        assert agent.stop() == 0
        assert "shut down" not in agent.log.read_text()


# Storage


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True, timeout=60)


def is_mounted(directory: Path) -> bool:
    """Path.is_mount does not see a bind mount from the same filesystem."""
    found = storage_helper.mount_of(str(directory), Path("/proc/self/mountinfo").read_text())
    return found is not None and found.point == str(directory)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory; what the test mounts there is unmounted."""
    directory = tmp_path / "instances"
    directory.mkdir()
    yield directory
    while is_mounted(directory):
        subprocess.run(["umount", str(directory)], check=True, capture_output=True, timeout=60)


def look(agent: RunningAgent) -> Reading:
    return StorageDetector(agent.port, KEY.encode(), 10.0, SIZE).read(HOST)


def look_until(agent: RunningAgent, verdict: Verdict) -> Reading:
    deadline = time.monotonic() + 60
    while (reading := look(agent)).verdict is not verdict:
        assert time.monotonic() < deadline, reading
        time.sleep(0.2)
    return reading


def test_a_storage_full_read_only_and_well_again(tmp_path: Path, place: Path) -> None:
    mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place))
    (place / "disk").write_text("an instance's")
    with running(tmp_path, {"storage": f"storage {place}", "mine": "command true"}) as agent:
        reading = look(agent)
        assert (reading.verdict, reading.answered) == (Verdict.OK, True)
        assert reading.evidence == f"storage ok: {place} (tmpfs)"

        with contextlib.suppress(OSError), (place / "big").open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        reading = look_until(agent, Verdict.UNKNOWN)
        assert reading.evidence == f"storage unknown: {place} (tmpfs): No space left on device"
        (place / "big").unlink()
        look_until(agent, Verdict.OK)

        mount("-o", "remount,ro", str(place))
        reading = look_until(agent, Verdict.FAILED)
        assert (reading.evidence, reading.answered) == (
            f"storage failed: {place} (tmpfs): Read-only file system",
            True,
        )
        assert agent.poll().verdict is Verdict.OK, "the services are another layer"
        mount("-o", "remount,rw", str(place))
        look_until(agent, Verdict.OK)
    assert sorted(path.name for path in place.iterdir()) == ["disk"]


def test_a_view_that_is_read_only_is_no_fault_of_the_storage(tmp_path: Path, place: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    mount("--bind", str(source), str(place))
    mount("-o", "remount,bind,ro", str(place))
    with running(tmp_path, {"storage": f"storage {place}"}) as agent:
        reading = look(agent)
    assert reading.verdict is Verdict.UNKNOWN
    assert reading.evidence.endswith("Read-only file system for this process")


def test_what_is_not_mounted_is_no_failure_unless_the_operator_says_so(tmp_path: Path, place: Path) -> None:
    checks = {"local": f"storage {place}", "there": f"storage shared {place}", "none": "storage /no/such"}
    with running(tmp_path, checks) as agent:
        said = agent.ask().checks
        assert said == {
            "there": protocol.Check("failed", f"nothing is mounted at {place}", True),
            "none": protocol.Check("unknown", "/no/such is not there", True),
            "local": protocol.Check("ok", f"{place} is no mount of its own, so it is not shared", True),
        }
    assert list(place.iterdir()) == []


@pytest.fixture
def frozen(tmp_path: Path, place: Path) -> Iterator[Path]:
    """A filesystem whose writers hang, in the kernel and beyond any signal, as on a server that is gone."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True, timeout=60)
    mount("-o", "loop", str(image), str(place))
    yield place
    subprocess.run(["fsfreeze", "-u", str(place)], check=False, capture_output=True, timeout=60)
    until(lambda: subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode == 0)


def test_a_storage_that_hangs_is_failed_and_does_not_keep_the_agent_from_ending(
    tmp_path: Path, frozen: Path
) -> None:
    with running(tmp_path, {"storage": f"storage {frozen}", "mine": "command true"}) as agent:
        assert look(agent).evidence == f"storage ok: {frozen} (ext4)"
        subprocess.run(["fsfreeze", "-f", str(frozen)], check=True, timeout=60)
        reading = look_until(agent, Verdict.FAILED)
        assert reading.evidence.startswith("storage failed: hangs for 1")
        assert agent.poll().verdict is Verdict.OK
        assert agent.stop() == 0
    with running(tmp_path_of(tmp_path, "again"), {"storage": f"storage {frozen}"}) as agent:
        # A second agent, and its helper: the first one's is stuck still. It gets well by itself.
        agent.ask()
        subprocess.run(["fsfreeze", "-u", str(frozen)], check=True, timeout=60)
        look_until(agent, Verdict.OK)
    until(lambda: [path.name for path in frozen.iterdir()] == ["lost+found"])


def tmp_path_of(parent: Path, name: str) -> Path:
    directory = parent / name
    directory.mkdir()
    return directory


def test_where_root_is_nobody_the_owner_writes(tmp_path: Path, place: Path) -> None:
    """As on NFS with root_squash: without these capabilities root may not touch the directory of another."""
    mount("-t", "tmpfs", "-o", "mode=700,uid=65534,gid=65534", "tmpfs", str(place))
    drop = "-dac_override,-dac_read_search,-fowner"
    argv = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}", sys.executable, "-I", "-S"]
    question = {"paths": [str(place)], "name": ".hass-test", "shared": True}
    # The way there has to be open to everybody, as /var/lib/nova is.
    with contextlib.ExitStack() as stack:
        for directory in (tmp_path, *tmp_path.parents):
            if directory.stat().st_mode & 0o005 != 0o005:
                stack.callback(directory.chmod, directory.stat().st_mode & 0o7777)
                directory.chmod(0o755)
        done = subprocess.run(
            [*argv, str(storage.HELPER)],
            input=json.dumps(question) + "\n", capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    assert json.loads(done.stdout) == ["ok", f"{place} (tmpfs)"], done.stderr
    assert list(place.iterdir()) == []
    assert storage_helper.probe(str(place), ".hass-test", True)[0] == "ok", "root that may is not held up"


def test_no_agent_is_no_restart(tmp_path: Path, systemd: Systemd) -> None:
    with running(tmp_path, {"nova-compute": NOVA}) as agent:
        port = agent.port
    why = agent_poll.restart(HOST, port, (KEY.encode(),), 5.0, SIZE, "nova-compute")
    assert why == f"no agent 127.0.0.1:{port}: the host says that the port is closed"
    assert systemd.restarted == []
