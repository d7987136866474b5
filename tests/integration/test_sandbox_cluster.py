"""The sandbox's hosts for real: BMCs over lanplus, agents as processes, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fake_cloud import FakeCloud

import hass_runtime
from hass_runtime.bmc import BmcClient, BmcError
from hass_runtime.detect.network import NetworkDetector
from hass_runtime.detect.power import PowerDetector
from hass_runtime.detect.services import ServiceDetector
from hass_runtime.domain import Host, Reading, Verdict
from hass_runtime.sandbox import bmc, control
from hass_runtime.sandbox.cluster import Sandbox, running_on
from hass_runtime.sandbox.pointer import SandboxError, find_running, pointer_file
from hass_runtime.settings import ControllerSettings, load_controller
from hass_runtime.store import Store, StoreError

pytestmark = pytest.mark.integration
LIMIT = 30.0
TIMEOUT = 2.0
HERE = Path(__file__).parent
KINDS = [
    pytest.param(
        "ipmi_sim", marks=pytest.mark.skipif(not shutil.which("ipmi_sim"), reason="ipmi_sim is not installed")
    ),
    "pyghmi",
]


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for a condition; fails the test when it does not come true."""
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline, f"not within {LIMIT:.0f} s: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module", autouse=True)
def own_pointer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Leave alone the sandbox that the person at this machine may be running."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        patch.delenv("HASS_SANDBOX", raising=False)
        yield


@pytest.fixture(scope="module", params=KINDS)
def shared(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    box = Sandbox(2, 4, controller=False, bmc_kind=request.param, openstack=FakeCloud)
    with box:
        yield box
    assert marked(box.environ) == []


@pytest.fixture
def box(shared: Sandbox) -> Iterator[Sandbox]:
    """The shared sandbox, everything whole again afterwards."""
    yield shared
    for event in ("bmc_honest", "bmc_restore", "network_restore", "os_restore", "agent_start"):
        shared.event(event, "compute1")
    shared.power_cut("compute1")
    shared.power_restore("compute1")
    assert isinstance(shared._openstack, FakeCloud)
    shared._openstack.boot()


@pytest.fixture
def eyes(box: Sandbox) -> Eyes:
    return Eyes(load_controller(box.layout.config, environ={}))


class Eyes:
    """HASS's own detectors, as its controller would use them."""

    def __init__(self, settings: ControllerSettings) -> None:
        self.settings = settings
        detection, network = settings.detection, settings.network
        self._power = PowerDetector(TIMEOUT)
        self._network = NetworkDetector(network.heartbeat_time, network.ping_command, TIMEOUT)
        self._service = ServiceDetector(
            detection.polling_port, detection.polling_key, TIMEOUT, network.max_message_size
        )

    def host(self, name: str) -> Host:
        return next(host for host in self.settings.hosts if host.name == name)

    def power(self, name: str = "compute1") -> Reading:
        return self._power.read(self.host(name))

    def network(self, name: str = "compute1") -> Reading:
        return self._network.read(self.host(name))

    def service(self, name: str = "compute1") -> Reading:
        return self._service.read(self.host(name))

    def bmc(self, name: str = "compute1") -> BmcClient:
        found = self.host(name).bmc
        assert found is not None
        return BmcClient(found, TIMEOUT)

    def all_ok(self, name: str = "compute1") -> bool:
        return all(
            reading.verdict is Verdict.OK
            for reading in (self.power(name), self.network(name), self.service(name))
        )


def agent_pid(box: Sandbox, host: str = "compute1") -> int:
    pid = box.machine(host).status()["agent_pid"]
    assert isinstance(pid, int), f"no agent on {host}"
    return pid


def marked(marker: dict[str, str]) -> list[psutil.Process]:
    """Every process of the machine that carries the marker in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if marker.items() <= process.environ().items() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def vms_on(box: Sandbox, host: str) -> list[str]:
    return [name for name, hosts in running_on(box.guests()).items() if host in hosts]


def test_everything_is_well_at_first(box: Sandbox, eyes: Eyes) -> None:
    for name in ("compute1", "compute2"):
        assert eyes.all_ok(name)
        assert eyes.network(name).answered
    assert box.layout.temporary
    assert find_running() == box.layout.root


def test_power_off_by_the_bmc_kills_the_machine_and_power_on_boots_it(box: Sandbox, eyes: Eyes) -> None:
    pid = agent_pid(box)
    client = eyes.bmc()
    client.power_off()
    until(lambda: client.power() == "off", "the BMC says off")
    # Whatever the BMC calls off is dead already.
    assert not psutil.pid_exists(pid)
    assert eyes.network().verdict is Verdict.FAILED
    assert not eyes.network().answered
    assert not eyes.service().answered
    assert vms_on(box, "compute1") == []
    assert not box.layout.host("compute1").compute_marker.exists()
    assert eyes.all_ok("compute2")
    client.power_on()
    until(lambda: client.power() == "on", "the BMC says on")
    until(eyes.all_ok, "the host is back")
    assert agent_pid(box) != pid


@pytest.mark.skipif(not shutil.which("ipmitool"), reason="ipmitool is not installed")
def test_ipmitool_is_understood(box: Sandbox) -> None:
    host = box.layout.host("compute1")

    def ipmitool(*words: str) -> str:
        command = ["ipmitool", "-I", "lanplus", "-C", "3", "-H", host.address, "-p", str(host.bmc_port)]
        done = subprocess.run(
            [*command, "-U", host.bmc_user, "-E", *words],
            env={**os.environ, "IPMI_PASSWORD": host.bmc_password},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
        )
        return done.stdout

    assert "is on" in ipmitool("chassis", "power", "status")
    ipmitool("chassis", "power", "off")
    until(lambda: "is off" in ipmitool("chassis", "power", "status"), "off")
    assert not box.machine("compute1").wanted.powered
    ipmitool("chassis", "power", "on")
    until(lambda: "is on" in ipmitool("chassis", "power", "status"), "on")
    pid = agent_pid(box)
    ipmitool("chassis", "power", "reset")
    until(lambda: not psutil.pid_exists(pid), "the old agent is gone")
    until(lambda: box.machine("compute1").status()["agent_pid"] is not None, "a new agent is there")
    if box.machine("compute1").bmc.kind == "ipmi_sim":
        host.inlet_file.write_text("31\n")
        until(lambda: "31 degrees C" in ipmitool("sdr"), "the sensor follows its file")


def test_a_wrong_password_is_refused(box: Sandbox, eyes: Eyes) -> None:
    found = eyes.host("compute1").bmc
    assert found is not None
    wrong = type(found)(found.address, found.username, "wrong", found.port)
    with pytest.raises(BmcError):
        BmcClient(wrong, TIMEOUT).power_off()
    assert box.machine("compute1").wanted.powered


def test_a_lying_bmc_says_off_and_obeys_nothing(box: Sandbox, eyes: Eyes) -> None:
    box.bmc_lies("compute1")
    pid = agent_pid(box)
    client = eyes.bmc()
    assert client.power() == "off"
    client.power_off()
    client.power_on()
    assert client.power() == "off"
    assert eyes.network().answered
    assert eyes.service().answered
    assert agent_pid(box) == pid
    assert vms_on(box, "compute1") != []
    box.bmc_honest("compute1")
    assert client.power() == "on"


def test_a_cut_bmc_is_silent_and_the_machine_does_not_notice(box: Sandbox, eyes: Eyes) -> None:
    pid = agent_pid(box)
    box.bmc_cut("compute1")
    assert eyes.power().verdict is Verdict.UNKNOWN
    assert eyes.service().verdict is Verdict.OK
    box.bmc_restore("compute1")
    until(lambda: eyes.power().verdict is Verdict.OK, "the BMC answers again")
    assert agent_pid(box) == pid


def test_a_network_cut_leaves_everything_inside_running(box: Sandbox, eyes: Eyes) -> None:
    pid, before = agent_pid(box), vms_on(box, "compute1")
    box.network_cut("compute1")
    assert eyes.network().verdict is Verdict.FAILED
    assert eyes.service().verdict is Verdict.FAILED
    assert not eyes.service().answered
    assert eyes.power().verdict is Verdict.OK
    assert before == vms_on(box, "compute1") != []
    assert box.layout.host("compute1").compute_marker.exists()
    box.network_restore("compute1")
    until(eyes.all_ok, "the host is back")
    assert agent_pid(box) == pid


def test_a_hung_system_answers_nothing_and_keeps_its_guests(box: Sandbox, eyes: Eyes) -> None:
    pid, before = agent_pid(box), vms_on(box, "compute1")
    box.os_hang("compute1")
    # A signal to stop arrives when the process is next scheduled, which a busy machine may put off.
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "the agent is stopped")
    assert not eyes.network().answered
    assert not eyes.service().answered
    assert eyes.power().verdict is Verdict.OK
    assert before == vms_on(box, "compute1") != []
    box.os_restore("compute1")
    until(eyes.all_ok, "the host goes on")
    assert agent_pid(box) == pid


def test_a_hung_system_dies_with_the_power_and_boots_afresh(box: Sandbox, eyes: Eyes) -> None:
    pid = agent_pid(box)
    box.os_hang("compute1")
    box.power_cut("compute1")
    assert not psutil.pid_exists(pid)
    assert vms_on(box, "compute1") == []
    box.power_restore("compute1")
    until(eyes.all_ok, "the host is back")
    assert not box.machine("compute1").wanted.hung


def test_a_stopped_service_is_reported_by_its_agent(box: Sandbox, eyes: Eyes) -> None:
    box.service_stop("compute1", "nova-compute")
    until(lambda: eyes.service().verdict is Verdict.FAILED, "the agent complains")
    assert eyes.service().answered
    assert "nova-compute" in eyes.service().evidence
    assert vms_on(box, "compute1") != []
    box.service_start("compute1", "nova-compute")
    until(eyes.all_ok, "the service is back")


@pytest.mark.parametrize("service", ["libvirtd", "qemu"])
def test_what_its_agent_finds_of_other_services(box: Sandbox, eyes: Eyes, service: str) -> None:
    box.service_stop("compute1", service)
    until(lambda: eyes.service().verdict is Verdict.FAILED, "the agent complains")
    assert service in eyes.service().evidence
    box.service_start("compute1", service)
    until(eyes.all_ok, "the service is back")


def test_without_its_cord_nobody_switches_a_machine_on(box: Sandbox, eyes: Eyes) -> None:
    machine, client = box.machine("compute1"), eyes.bmc()
    machine.mains(False)
    assert client.power() == "off"
    client.power_on()
    # Commands of a BMC are carried out in turn: when this one is known to be, the one before it is too.
    box.machine("compute1").chassis("power", "1")
    assert client.power() == "off"
    assert vms_on(box, "compute1") == []
    machine.mains(True)
    until(eyes.all_ok, "it boots by itself")


def test_a_controller_that_is_cut_off_reaches_nothing_and_everything_runs_on(
    box: Sandbox, eyes: Eyes
) -> None:
    pid, before = agent_pid(box), vms_on(box, "compute1")
    box.controller_network_cut()
    for name in ("compute1", "compute2"):
        assert not eyes.network(name).answered
        assert not eyes.service(name).answered
        assert eyes.power(name).verdict is Verdict.UNKNOWN
    assert box.machine("compute1").status()["nova_compute"]
    assert (agent_pid(box), vms_on(box, "compute1")) == (pid, before)
    box.controller_network_restore()
    until(lambda: eyes.all_ok() and eyes.all_ok("compute2"), "everything is reached again")


def test_nothing_can_be_written_to_a_database_that_is_cut(box: Sandbox) -> None:
    url = f"sqlite:///{box.layout.database}"
    Store(url).migrate()
    store = Store(url, connect_timeout=0.2)
    try:
        box.database_cut()
        with pytest.raises(StoreError, match="locked"):
            store.lease_acquire("me", 10.0)
        box.database_restore()
        assert store.lease_acquire("me", 10.0) is not None
    finally:
        store.close()


def test_a_stopped_agent_leaves_the_host_reachable(box: Sandbox, eyes: Eyes) -> None:
    box.agent_stop("compute1")
    assert not eyes.service().answered
    assert eyes.network().verdict is Verdict.OK
    box.agent_start("compute1")
    until(eyes.all_ok, "the agent is back")


def test_other_processes_command_it_through_the_socket(box: Sandbox, eyes: Eyes) -> None:
    root = box.layout.root
    status = control.call(root, "status")
    assert [host["host"] for host in status["hosts"]] == ["compute1", "compute2"]
    assert status["pid"] == os.getpid()
    assert running_on(control.call(root, "guests"))["vm1"] == ["compute1"]
    exports = control.call(root, "exports")
    assert exports["HASS_SANDBOX"] == str(root)
    assert exports["OS_PASSWORD"] == "s3cret"
    control.call(root, "power_cut", host="compute1")
    assert eyes.power().verdict is Verdict.FAILED
    control.call(root, "nova_api_cut")
    cloud = box._openstack
    assert isinstance(cloud, FakeCloud)
    assert not cloud.api
    control.call(root, "nova_api_restore")
    assert cloud.api


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"do": "power_cut", "host": "compute"}, "compute: no such host"),
        ({"do": "power_cut"}, "which host"),
        ({"do": "explode", "host": "compute1"}, "explode: no such event"),
        ({"do": "service_stop", "host": "compute1", "service": "sshd"}, "sshd: no such service"),
        ({"do": "controller_kill"}, "does not run"),
        ({"do": "_start"}, "no such event"),
    ],
)
def test_nonsense_is_refused_with_one_line(box: Sandbox, request_: dict[str, Any], words: str) -> None:
    with pytest.raises(control.ControlError, match=words) as caught:
        control.call(box.layout.root, **request_)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", [b"\n", b"not json\n", b"[]\n", b"{}\n", b'"power_cut"\n', b"\xff\n"])
def test_the_socket_survives_nonsense(box: Sandbox, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as sock, control._address(box.layout.root) as address:
        sock.settimeout(LIMIT)
        sock.connect(address)
        sock.sendall(line)
        answer = json.loads(sock.makefile().readline())
    assert answer["ok"] is False
    assert control.call(box.layout.root, "status")["id"] == box.layout.id


def test_no_password_is_in_a_command_line(box: Sandbox) -> None:
    secrets = [box.layout.key, "s3cret", *(host.bmc_password for host in box.layout.hosts)]
    lines = [" ".join(process.cmdline()) for process in marked(box.environ)]
    assert len(lines) >= 4
    assert not [line for line in lines for secret in secrets if secret in line]
    for log in box.layout.logs.iterdir():
        text = log.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in text], log


# What is left when it ends


Start = Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pointer file of this test's own: the shared sandbox still has the other one."""
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


@pytest.fixture
def start_holder(alone: None) -> Iterator[Start]:
    """Starts a process of its own that holds a sandbox; returns it and what it says about itself."""
    holders = []

    def start(kind: str, *more: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        holder = subprocess.Popen(
            [sys.executable, str(HERE / "fake_cloud.py"), kind, *more],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(hass_runtime.__file__).parent.parent)},
        )
        holders.append(holder)
        assert holder.stdout is not None
        line = holder.stdout.readline()
        assert line, "the sandbox did not start"
        return holder, json.loads(line)

    yield start
    for holder in holders:
        holder.kill()
        holder.wait()
        if holder.stdout is not None:
            holder.stdout.close()


def assert_all_gone(about: dict[str, Any]) -> None:
    until(lambda: marked(about["marker"]) == [], "no process of the sandbox is left")
    for port in about["ports"]:
        # The kernel closes a dying process's sockets a moment after its environment is gone.
        until(lambda port=port: bindable(about["address"], port), f"port {port} is free")  # type: ignore[misc]


def bindable(address: str, port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((address, port))
            except OSError:
                return False
    return True


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_however_it_is_ended(start_holder: Start, kind: str, number: signal.Signals) -> None:
    holder, about = start_holder(kind)
    assert len(marked(about["marker"])) >= 4
    holder.send_signal(number)
    holder.wait(LIMIT)
    assert_all_gone(about)
    until(lambda: not Path(about["dir"]).exists(), "its temporary directory is gone")
    if number is not signal.SIGKILL:
        assert not pointer_file().exists()


def test_a_hung_host_does_not_survive_the_supervisor(start_holder: Start) -> None:
    holder, about = start_holder(bmc.default_kind())
    control.call(Path(about["dir"]), "os_hang", host="compute1")
    holder.kill()
    holder.wait(LIMIT)
    assert_all_gone(about)


def test_without_its_keeper_the_kernel_ends_what_is_left(start_holder: Start, tmp_path: Path) -> None:
    holder, about = start_holder(bmc.default_kind(), str(tmp_path / "box"))
    keepers = [
        process
        for process in psutil.Process(holder.pid).children()
        if any(part.endswith("keeper.py") for part in process.cmdline())
    ]
    assert len(keepers) == 1
    keepers[0].kill()
    holder.kill()
    holder.wait(LIMIT)
    assert_all_gone(about)


@pytest.mark.usefixtures("alone")
def test_a_directory_that_was_given_stays(tmp_path: Path) -> None:
    root = tmp_path / "box"
    with Sandbox(1, 0, root, controller=False, openstack=FakeCloud) as box:
        assert control.call(root, "status")["dir"] == str(root)
    assert (root / "hass.conf").exists()
    assert not (root / "control.sock").exists()
    assert marked(box.environ) == []
    with pytest.raises(control.ControlError, match="no sandbox answers there"):
        control.call(root, "status")


def test_a_long_directory_name_is_no_obstacle(tmp_path: Path) -> None:
    root = tmp_path / ("x" * 120)
    with Sandbox(1, 0, root, controller=False, openstack=FakeCloud):
        assert control.call(root, "status")["dir"] == str(root)


@pytest.mark.usefixtures("alone")
def test_a_second_sandbox_does_not_hide_the_first(tmp_path: Path) -> None:
    with Sandbox(1, 0, controller=False, openstack=FakeCloud) as first:
        said: list[str] = []
        with Sandbox(1, 0, tmp_path / "box", controller=False, openstack=FakeCloud, log=said.append):
            assert find_running() == first.layout.root
        assert find_running() == first.layout.root
        assert any(f"HASS_SANDBOX={tmp_path / 'box'}" in line for line in said)
    with pytest.raises(SandboxError, match="no sandbox is running"):
        find_running()


@pytest.mark.usefixtures("alone")
def test_a_pointer_to_a_sandbox_that_is_gone_is_no_obstacle() -> None:
    pointer_file().write_text('{"dir": "/nowhere"}')
    with Sandbox(1, 0, controller=False, openstack=FakeCloud) as box:
        assert find_running() == box.layout.root


@pytest.mark.usefixtures("alone")
def test_a_failed_start_leaves_nothing() -> None:
    class Broken(FakeCloud):
        def start(self) -> Any:
            raise OSError("no cloud today")

    box = Sandbox(2, 0, controller=False, openstack=Broken)
    with pytest.raises(SandboxError, match="no cloud today"):
        box.start()
    assert marked(box.environ) == []
    assert not box.layout.root.exists()
    assert not pointer_file().exists()


def test_an_agent_that_does_not_start_is_reported_with_its_words(tmp_path: Path) -> None:
    class Saboteur(FakeCloud):
        def __init__(self, box: Sandbox) -> None:
            super().__init__(box)
            box.layout.hosts[0].agent_config.write_text("[polling]\nlisten_port = never\n")

    box = Sandbox(1, 0, tmp_path / "box", controller=False, openstack=Saboteur)
    with pytest.raises(SandboxError, match=r"agent of compute1 ended at once.*listen_port"):
        box.start()
    assert marked(box.environ) == []
