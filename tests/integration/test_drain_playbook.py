"""Emptying a living host, in a real Nova: what runs leaves, what is stopped stays, nothing runs twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playing import DEADLINE, LOST, ROOT, Played, World, a_world, until

from hass_runtime.domain import MoveState
from hass_runtime.remedy.runs import Launcher, MoveChanged, RunEnded, RunSpec

pytestmark = pytest.mark.integration

ACTIVE = {"web1", "web2"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, migrate_seconds=0.5) as made:
        yield made


class Witness:
    """Looks at the hypervisors all the time: which guests ever ran on two hosts, or on none."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.twice: set[str] = set()
        self.gone: set[str] = set()
        self.looks = 0
        self._names = {server.id: name for name, server in world.servers().items()}
        self._ran = set(world.running())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            running = self.world.process.command("guests")["running"]
            self.twice |= {self._names[uuid] for uuid, hosts in running.items() if len(hosts) > 1}
            self.gone |= self._ran - {self._names[uuid] for uuid in running}
            self.looks += 1

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()


def placed(world: World) -> dict[str, tuple[str, str]]:
    return {name: (server.host, server.vm_state) for name, server in world.servers().items()}


def test_by_hand_from_look_to_restore(world: World) -> None:
    before = placed(world)
    looked = world.play("host_drain", "--check", confirm="")
    assert looked.rc == 0, looked.text
    assert (placed(world), world.service().enabled) == (before, True)
    assert looked.changed == 1

    unconfirmed = world.play("host_drain", confirm="compute1")
    assert unconfirmed.rc != 0
    assert "confirm=compute2" in unconfirmed.text
    assert world.service().enabled

    with Witness(world) as witness:
        done = world.play("host_drain", "-e", "reason='a fan is slow'")
    assert done.rc == 0, done.text
    assert witness.looks > 20
    assert (witness.twice, witness.gone) == (set(), set())
    after = placed(world)
    assert {name for name, (host, _) in after.items() if host == LOST} == {"idle"}
    assert {name: state for name, (_, state) in after.items()} == {
        name: state for name, (_, state) in before.items()
    }
    assert set(world.running()) == {*ACTIVE, "near"}
    assert all(world.running()[name] == [after[name][0]] for name in ACTIVE)
    assert (world.service().enabled, world.service().disabled_reason) == (False, "hass: a fan is slow")
    assert "1 refused: idle (stopped: stays, it loses nothing if the host fails)" in done.text

    again = world.play("host_drain")
    assert again.rc == 0, again.text
    assert again.changed == 0
    assert placed(world) == after

    restored = world.play("host_restore")
    assert restored.rc == 0, restored.text
    assert restored.changed == 1
    assert (world.service().enabled, world.service().forced_down) == (True, False)
    assert world.bmc.commands == []
    assert placed(world) == after


def test_a_dead_nova_compute_means_that_nothing_is_changed(world: World) -> None:
    world.process.command("compute_stop", host=LOST, power=False)
    until(lambda: not world.service().up)
    before = placed(world)
    for arguments in ((), ("--check",)):
        done = world.play("host_drain", *arguments)
        assert done.rc != 0
        assert (
            "compute2 cannot be drained, nothing was changed: nova-compute of compute2 is down" in done.text
        )
    assert placed(world) == before
    assert world.service().enabled
    assert world.nova.live_migrations(LOST, 0.0) == []


def test_what_fails_once_is_tried_again_and_what_fails_always_is_told(world: World) -> None:
    world.set(recovery={"evacuate_retries": "1", "evacuate_workers": "1"})
    world.process.command("fail_next_migration", host=LOST, count=1)
    done = world.play("host_drain")
    assert done.rc == 0, done.text
    assert {name for name, (host, _) in placed(world).items() if host == LOST} == {"idle"}
    assert len(world.nova.live_migrations(LOST, 0.0)) == 3

    world.nova.set_enabled(world.service(), True)
    world.process.command("boot", name="late", host=LOST)
    for name in ("compute1", "compute10"):
        service = world.nova.compute_service(name)
        assert service is not None
        world.nova.set_enabled(service, False, "test")
    full = world.play("host_drain")
    assert full.rc != 0
    assert "1 failed: late (live migration to any host ended as error: " in full.text
    assert "No valid host" in full.text
    assert world.running()["late"] == [LOST]
    assert placed(world)["late"] == (LOST, "active")


def test_what_is_paused_leaves_too_and_stays_paused(world: World) -> None:
    world.nova._connection.compute.pause_server(world.servers()["web1"].id)
    until(lambda: world.servers()["web1"].vm_state == "paused")
    done = world.play("host_drain")
    assert done.rc == 0, done.text
    host, vm_state = placed(world)["web1"]
    assert (host == LOST, vm_state) == (False, "paused")
    web1 = world.servers()["web1"].id
    guests = world.process.command("guests")["hosts"]
    found = [
        (on, guest["power_state"]) for on, all_ in guests.items() for guest in all_ if guest["uuid"] == web1
    ]
    assert found == [(host, "paused")]


def test_what_takes_too_long_is_aborted_and_stays_whole(world: World) -> None:
    world.set(recovery={"drain_timeout": "3"})
    world.process.command("set", migrate_seconds=60)
    with Witness(world) as witness:
        done = world.play("host_drain")
    assert done.rc != 0
    assert "not moved within 3 s, then aborted" in done.text
    assert (witness.twice, witness.gone) == (set(), set())
    assert {record.status for record in world.nova.live_migrations(LOST, 0.0)} == {"cancelled"}
    assert {placed(world)[name] for name in ACTIVE} == {(LOST, "active")}


def test_what_somebody_does_meanwhile_is_his_business(world: World) -> None:
    world.set(recovery={"evacuate_workers": "1"})
    world.process.command("set", migrate_seconds=3)
    said: list[Played] = []
    run = threading.Thread(target=lambda: said.append(world.play("host_drain")))
    run.start()
    until(lambda: len(world.nova.live_migrations(LOST, 0.0)) == 1)
    (record,) = world.nova.live_migrations(LOST, 0.0)
    servers = world.servers()
    (waiting,) = (name for name in ACTIVE if servers[name].id != record.instance)
    world.nova.stop(servers[waiting].id)
    until(lambda: world.servers()[waiting].vm_state == "stopped")
    run.join(DEADLINE)
    assert said[0].rc == 0, said[0].text
    assert f"{waiting} (stopped by somebody meanwhile: stays" in said[0].text
    assert placed(world)[waiting] == (LOST, "stopped")
    assert len(world.nova.live_migrations(LOST, 0.0)) == 1


def test_a_run_of_the_controller_that_is_cancelled_can_be_run_again(world: World, tmp_path: Path) -> None:
    world.process.command("set", migrate_seconds=4)

    def spec(name: str) -> RunSpec:
        return RunSpec(
            run_id=name,
            incident=7,
            host=LOST,
            playbook="host_drain",
            run_dir=tmp_path / "runs" / name,
            config=world.config,
            deadline=DEADLINE,
            extravars={"confirm": LOST, "reason": "a fan", "since": "2020-01-01T00:00:00Z", "confirmed": {}},
            breath=DEADLINE,
        )

    first: list[object] = []
    handle = Launcher(ROOT / "playbooks" / "remediation").start(spec("r1"), first.append)
    until(lambda: len(world.nova.live_migrations(LOST, 0.0)) == 2)
    handle.cancel("the lease is gone")
    assert handle.wait(DEADLINE)
    second: list[object] = []
    time.sleep(0.1)
    handle = Launcher(ROOT / "playbooks" / "remediation").start(spec("r2"), second.append)
    assert handle.wait(DEADLINE)
    ended = second[-1]
    assert isinstance(ended, RunEnded)
    assert ended.status == "successful", ended
    last = {event.move.name: event.move for event in second if isinstance(event, MoveChanged)}
    assert {name: move.state for name, move in last.items()} == {
        "web1": MoveState.SUCCEEDED, "web2": MoveState.SUCCEEDED, "idle": MoveState.REFUSED,
    }  # fmt: skip
    assert {move.incident for move in last.values()} == {7}
    assert {last[name].attempts for name in ACTIVE} == {1}
    assert len(world.nova.live_migrations(LOST, 0.0)) == 2, "each was live-migrated once by two runs"
    assert {move["name"] for move in ended.facts["moves"]} == {"web1", "web2", "idle"}
