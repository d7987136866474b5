"""The remediation playbooks by hand, against a real Nova and a real BMC."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from playing import DEADLINE, LOST, ROOT, Played, World, a_world, until

from hass_runtime.domain import MoveState
from hass_runtime.remedy import cloud as clouds
from hass_runtime.remedy import processes
from hass_runtime.remedy.runs import Launcher, MoveChanged, RunEnded, RunSpec, TaskEnded
from hass_runtime.settings import load_controller

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as made:
        yield made


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


def without_bmc(world: World) -> None:
    text = world.config.read_text()
    start, end = text.index("[ipmi]"), text.index("[address]")
    world.config.write_text(text[:start] + text[end:])


def confirmed(at: float) -> str:
    return json.dumps({"confirmed": {"by": "anna", "reason": "cords pulled", "at": at}})


def test_a_host_without_a_bmc_is_emptied_on_the_word_of_a_person(world: World) -> None:
    without_bmc(world)
    nobody = world.play("host_failure")
    assert nobody.rc != 0
    assert "compute2 has no BMC" in nobody.text

    alive = world.play("host_failure", "-e", confirmed(time.time()))
    assert alive.rc != 0, "it still answers, whatever a person says"
    assert "anna confirmed it as off, but it still answers" in alive.text
    assert not world.service().forced_down

    world.bmc.set_power("off")  # by hand, at its cords
    until(lambda: "web1" not in world.running())
    old = world.play("host_failure", "-e", confirmed(time.time() - 4000))
    assert old.rc != 0
    assert "confirm it anew" in old.text
    done = world.play("host_failure", "-e", confirmed(time.time()))
    assert done.rc == 0, done.text
    assert '"by": "anna"' in done.text
    assert set(world.running()) == {"web1", "web2", "near"}
    assert world.servers()["idle"].vm_state == "stopped"

    world.bmc.set_power("on")
    restored = world.play("host_restore")
    assert restored.rc == 0, restored.text
    assert (world.service().forced_down, world.service().enabled) == (False, True)
    assert all(len(hosts) == 1 for hosts in world.running().values())


def test_a_bmc_that_says_on_outweighs_the_word_of_a_person(world: World) -> None:
    world.bmc.deaf()
    world.config.write_text(world.config.read_text().replace("fence_timeout = 20", "fence_timeout = 3"))
    before = world.servers()
    done = world.play("host_failure", "-e", confirmed(time.time()))
    assert done.rc != 0
    assert "the BMC says on; that anna confirmed it as off does not count" in done.text
    assert world.servers() == before
    assert not world.service().forced_down
