"""The remediation playbooks by hand, against a real Nova and a real BMC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ipmi_sim import SimulatedBmc

from hass_runtime.domain import MoveState
from hass_runtime.remedy import cloud as clouds
from hass_runtime.remedy import processes
from hass_runtime.remedy.runs import Launcher, MoveChanged, RunEnded, RunSpec, TaskEnded
from hass_runtime.sandbox.openstack.process import OpenStackProcess
from hass_runtime.settings import load_controller

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("HASS_CACHE_DIR", "~/.cache/hass")).expanduser()
HOSTS = ("compute1", "compute2", "compute10")  # names that begin alike
LOST = "compute2"
DEADLINE = 120.0

INSTANCES = [
    {"name": "web1", "host": LOST, "state": "active"},
    {"name": "web2", "host": LOST, "state": "active"},
    {"name": "idle", "host": LOST, "state": "stopped"},
    {"name": "near", "host": "compute1", "state": "active"},
]


class World:
    """A cloud, and a BMC whose power switch is that of the host's nova-compute."""

    def __init__(self, process: OpenStackProcess, bmc: SimulatedBmc, config: Path) -> None:
        self.process = process
        self.bmc = bmc
        self.config = config
        self.nova = clouds.connect(load_controller(config))
        self._stop = threading.Event()
        self._wiring = threading.Thread(target=self._wire, daemon=True)
        self._wiring.start()

    def _wire(self) -> None:
        powered = "on"
        while not self._stop.wait(0.02):
            now = self.bmc.power
            if now != powered:
                self.process.command("compute_stop" if now == "off" else "compute_start", host=LOST)
                powered = now

    def close(self) -> None:
        self._stop.set()
        self._wiring.join()

    def servers(self) -> dict[str, clouds.Server]:
        return {server.name: server for host in HOSTS for server in self.nova.servers_on(host)}

    def running(self) -> dict[str, list[str]]:
        names = {server.id: name for name, server in self.servers().items()}
        return {names[uuid]: hosts for uuid, hosts in self.process.command("guests")["running"].items()}

    def service(self) -> clouds.ComputeService:
        service = self.nova.compute_service(LOST)
        assert service is not None
        return service

    def set(self, **values: dict[str, Any]) -> None:
        text = self.config.read_text()
        for section, keys in values.items():
            lines = "".join(f"{key} = {value}\n" for key, value in keys.items())
            text = text.replace(f"[{section}]\n", f"[{section}]\n{lines}")
        self.config.write_text(text)
        self.nova = clouds.connect(load_controller(self.config))

    def play(self, playbook: str, *arguments: str, confirm: str = LOST) -> Played:
        argv = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            f"playbooks/remediation/{playbook}.yml",
            "-e", f"host={LOST}", "-e", f"config={self.config}", "-e", f"confirm={confirm}",
            *arguments,
        ]  # fmt: skip
        env = {**os.environ, "ANSIBLE_SHOW_CUSTOM_STATS": "1", "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=DEADLINE)
        return Played(done.returncode, done.stdout + done.stderr)


class Played:
    """What a run by hand said."""

    def __init__(self, rc: int, text: str) -> None:
        self.rc = rc
        self.text = text

    @property
    def changed(self) -> int:
        recap = next(line for line in self.text.splitlines() if line.startswith("localhost "))
        return int(recap.split("changed=")[1].split()[0])


def until(what: Callable[[], Any], deadline: float = DEADLINE) -> None:
    end = time.monotonic() + deadline
    while not what():
        assert time.monotonic() < end, f"not within {deadline} s"
        time.sleep(0.1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    process = OpenStackProcess(tmp_path / "openstack", CACHE, HOSTS, INSTANCES, spawn_seconds=0.3)
    bmc = SimulatedBmc(tmp_path, LOST)
    config = tmp_path / "hass.conf"
    with process:
        endpoints = process.start()
        bmc.start()
        config.touch(mode=0o600)
        config.write_text(f"""\
[openstack]
openstack_auth_url = {endpoints.auth_url}
openstack_admin_account = {endpoints.username}
openstack_admin_password = {endpoints.password}
openstack_project_name = {endpoints.project_name}
openstack_region_name = {endpoints.region}
[cluster]
hosts = {", ".join(HOSTS)}
[ipmi]
{LOST} = 127.0.0.1:{bmc.port}
[ipmi_user]
{LOST} = {bmc.bmc.username},{bmc.bmc.password}
[address]
compute1 = 127.0.0.21
{LOST} = 127.0.0.22
compute10 = 127.0.0.23
[detector]
ping_command = ["grep", "-q", "1", "{tmp_path}/{{host}}/power"]
[paths]
state_dir = {tmp_path}/state
[safety]
fence_timeout = 20
[recovery]
poll_interval = 0.2
restore_timeout = 60
""")
        made = World(process, bmc, config)
        try:
            yield made
        finally:
            made.close()
            bmc.stop()


def test_by_hand_from_look_to_restore(world: World) -> None:
    before = world.servers()

    looked = world.play("host_failure", "--check", confirm="")
    assert looked.rc == 0, looked.text
    assert (world.servers(), world.bmc.power, world.bmc.commands) == (before, "on", [])
    assert not world.service().forced_down
    assert looked.changed == 3  # fence, force-down, evacuation: what a run would change

    unconfirmed = world.play("host_failure", confirm="compute1")
    assert unconfirmed.rc != 0
    assert "confirm=compute2" in unconfirmed.text
    assert world.bmc.commands == []

    done = world.play("host_failure")
    assert done.rc == 0, done.text
    assert done.changed == 3
    after = world.servers()
    assert {name for name, server in after.items() if server.host == LOST} == set()
    assert {name: server.vm_state for name, server in after.items()} == {
        "web1": "active", "web2": "active", "idle": "stopped", "near": "active",
    }  # fmt: skip
    assert world.bmc.commands == ["0"]
    assert world.service().forced_down

    again = world.play("host_failure")
    assert again.rc == 0, again.text
    assert again.changed == 0
    assert world.servers() == after
    assert "all 3 instances of compute2 are elsewhere" in again.text

    foreseen = world.play("host_restore", "--check")
    assert foreseen.rc == 0, foreseen.text
    assert world.bmc.commands[-1] == "0"
    assert foreseen.changed == 2

    restored = world.play("host_restore")
    assert restored.rc == 0, restored.text
    assert restored.changed == 2
    assert (world.service().forced_down, world.service().enabled) == (False, True)
    until(lambda: world.service().up)
    assert all(len(hosts) == 1 for hosts in world.running().values())

    once_more = world.play("host_restore")
    assert once_more.rc == 0, once_more.text
    assert once_more.changed == 0
    assert world.servers() == after


def test_at_2_95_what_ran_is_started_and_what_was_stopped_stays_so(world: World) -> None:
    world.set(recovery={"evacuate_microversion": "2.95"})
    done = world.play("host_failure")
    assert done.rc == 0, done.text
    states = {name: server.vm_state for name, server in world.servers().items() if server.host != LOST}
    assert states == {"web1": "active", "web2": "active", "idle": "stopped", "near": "active"}
    assert set(world.running()) == {"web1", "web2", "near"}
    assert world.play("host_failure").changed == 0


def test_at_2_95_a_run_after_a_crash_starts_what_an_earlier_one_moved(world: World) -> None:
    world.set(recovery={"evacuate_microversion": "2.95"})
    world.bmc.set_power("off")
    until(lambda: "web1" not in world.running())
    world.nova.set_forced_down(world.service(), True)
    for server in world.nova.servers_on(LOST):  # an earlier run came so far, and then was killed
        world.nova.evacuate(server.id)
    until(lambda: world.nova.servers_on(LOST) == [])
    assert set(world.running()) == {"near"}
    done = world.play("host_failure")
    assert done.rc == 0, done.text
    assert set(world.running()) == {"web1", "web2", "near"}
    assert world.servers()["idle"].vm_state == "stopped"


def test_a_bmc_that_accepts_and_does_nothing_ends_in_doubt(world: World) -> None:
    world.bmc.deaf()
    world.set(safety={})
    world.config.write_text(world.config.read_text().replace("fence_timeout = 20", "fence_timeout = 3"))
    before = world.servers()
    done = world.play("host_failure")
    assert done.rc != 0
    assert "in doubt" in done.text
    assert world.servers() == before
    assert not world.service().forced_down


def test_a_bmc_that_says_off_of_a_host_that_answers_ends_in_doubt(world: World) -> None:
    # The BMC really says off, but what the ping asks says that the host is there.
    text = world.config.read_text().replace("fence_timeout = 20", "fence_timeout = 3")
    world.config.write_text(text.replace('"grep", "-q", "1"', '"test", "-e"'))
    before = world.servers()
    done = world.play("host_failure")
    assert done.rc != 0
    assert "still answers" in done.text
    assert "host in doubt" in done.text or "compute2 in doubt" in done.text
    assert {name: server.host for name, server in world.servers().items()} == {
        name: server.host for name, server in before.items()
    }
    assert not world.service().forced_down


def test_a_nova_that_does_not_answer_means_no_fence(world: World) -> None:
    world.process.stop()
    world._stop.set()
    done = world.play("host_failure")
    assert done.rc != 0
    assert world.bmc.commands == []
    assert "Read what runs on compute2" in done.text


def test_a_failing_target_is_tried_again(world: World) -> None:
    world.nova.set_enabled(_service(world, "compute1"), False, "test")
    world.process.command("fail_next_spawn", host="compute10", count=2)
    done = world.play("host_failure")
    assert done.rc == 0, done.text
    states = {name: (server.host, server.vm_state) for name, server in world.servers().items()}
    assert states["web1"] == ("compute10", "active")
    assert states["idle"] == ("compute10", "stopped")


def _service(world: World, host: str) -> clouds.ComputeService:
    service = world.nova.compute_service(host)
    assert service is not None
    return service


def test_an_operators_disable_stays_and_ours_goes(world: World) -> None:
    assert world.play("host_failure").rc == 0
    world.nova.set_enabled(world.service(), False, "new disks")
    restored = world.play("host_restore")
    assert restored.rc == 0, restored.text
    assert (world.service().enabled, world.service().disabled_reason) == (False, "new disks")
    world.nova.set_enabled(world.service(), False, "hass: incident 4")
    assert world.play("host_restore").changed == 1
    assert world.service().enabled


def test_a_run_of_the_controller_reports_moves_and_proof(world: World, tmp_path: Path) -> None:
    events: list[Any] = []
    spec = RunSpec(
        run_id="r1",
        incident=7,
        host=LOST,
        playbook="host_failure",
        run_dir=tmp_path / "runs" / "r1",
        config=world.config,
        deadline=DEADLINE,
        extravars={"confirm": LOST, "since": "2020-01-01T00:00:00.000+00:00"},
        breath=DEADLINE,
    )
    began = time.time()
    handle = Launcher(ROOT / "playbooks" / "remediation").start(spec, events.append)
    assert handle.wait(DEADLINE)
    ended = events[-1]
    assert isinstance(ended, RunEnded)
    assert ended.status == "successful", ended
    assert ended.facts["fence"]["host"] == LOST
    assert [read["value"] for read in ended.facts["fence"]["reads"]] == ["off", "off"]
    assert {move["name"] for move in ended.facts["moves"]} == {"web1", "web2", "idle"}
    moves = [event.move for event in events if isinstance(event, MoveChanged)]
    last = {move.name: move for move in moves}
    assert {move.state for move in last.values()} == {MoveState.SUCCEEDED}
    assert {move.incident for move in moves} == {7}
    assert all(move.target not in ("", LOST) for move in last.values())
    fence = next(event for event in events if isinstance(event, TaskEnded) and event.action == "hass_fence")
    assert fence.at <= min(move.started_at for move in moves if move.started_at)
    assert "off at" in fence.detail
    password = load_controller(world.config).openstack.password
    for path in spec.run_dir.rglob("*"):
        if path.is_file():
            assert password not in path.read_text(errors="replace"), path
    steps = [(e.action, round(e.at - began, 2)) for e in events if isinstance(e, TaskEnded)]
    print(json.dumps({"steps": steps, "ended": round(ended.at - began, 2)}))


def test_a_cancelled_evacuation_can_be_run_again(world: World, tmp_path: Path) -> None:
    world.process.command("set", spawn_seconds=3)
    events: list[Any] = []
    spec = RunSpec(
        "r2", 7, LOST, "host_failure", tmp_path / "runs" / "r2", world.config, DEADLINE, {"confirm": LOST},
        DEADLINE,
    )  # fmt: skip
    handle = Launcher(ROOT / "playbooks" / "remediation").start(spec, events.append)
    until(lambda: any(s.task_state.startswith("rebuild") for s in world.servers().values()))
    handle.cancel("the lease is gone")
    assert handle.wait(DEADLINE)
    assert events[-1].status == "cancelled"
    assert processes.of_run("r2") == []
    done = world.play("host_failure")
    assert done.rc == 0, done.text
    records = world.nova.evacuations(LOST, 0.0)
    assert len(records) == 3, "each instance was evacuated once, though two runs wanted to"
    assert set(world.running()) == {"web1", "web2", "near"}


def test_a_host_that_comes_back_in_the_middle_loses_nothing_more(world: World) -> None:
    world.set(recovery={"evacuate_workers": "1"})
    world.process.command("set", spawn_seconds=4)
    called: list[Played] = []
    run = threading.Thread(target=lambda: called.append(world.play("host_failure")))
    run.start()
    until(lambda: len(world.nova.evacuations(LOST, 0.0)) == 1)
    world.bmc.set_power("on")  # somebody, PXE, or power restore
    run.join(DEADLINE)
    (first,) = called
    assert first.rc != 0
    assert "compute2 came back during its evacuation: its BMC says on" in first.text
    assert len(world.nova.evacuations(LOST, 0.0)) == 1, "nothing was begun after that"
    assert world.service().forced_down
    left = {name for name, server in world.servers().items() if server.host == LOST}
    assert len(left) == 2, "what was accepted went to its end"
    assert all(len(hosts) == 1 for hosts in world.running().values())

    world.process.command("set", spawn_seconds=0.3)
    second = world.play("host_failure")
    assert second.rc == 0, second.text
    assert world.bmc.commands == ["0", "0"], "fenced anew"
    assert world.bmc.power == "off"
    assert len(world.nova.evacuations(LOST, 0.0)) == 3
    assert {name: server.vm_state for name, server in world.servers().items()} == {
        "web1": "active", "web2": "active", "idle": "stopped", "near": "active",
    }  # fmt: skip
    assert set(world.running()) == {"web1", "web2", "near"}
    assert all(len(hosts) == 1 for hosts in world.running().values())


def test_what_the_returning_nova_compute_stops_is_running_again_afterwards(world: World) -> None:
    web1, web2 = (world.servers()[name].id for name in ("web1", "web2"))
    was = {web1: "active", web2: "active"}  # as an earlier run found them
    time.sleep(1.1)  # Nova's times are whole seconds
    opened = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    time.sleep(1.1)
    world.process.command("guest_power", uuid=web1, on=False)  # nova-compute finds the guest off
    world.nova.stop(web2)  # a person
    until(lambda: {world.servers()[name].vm_state for name in ("web1", "web2")} == {"stopped"})
    assert [action.internal for action in world.nova.actions(web1) if action.name == "stop"] == [True]
    assert [action.internal for action in world.nova.actions(web2) if action.name == "stop"] == [False]
    done = world.play("host_failure", "-e", json.dumps({"was": was, "since": opened}))
    assert done.rc == 0, done.text
    states = {name: server.vm_state for name, server in world.servers().items() if server.host != LOST}
    assert states == {"web1": "active", "web2": "stopped", "idle": "stopped", "near": "active"}
