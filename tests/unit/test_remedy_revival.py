"""Starting again what a host lost when it went down and came back: that, and nothing somebody wished off."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.domain import Move, MoveState
from hass_runtime.remedy.attempt import Clock
from hass_runtime.remedy.nova import CloudError, InstanceAction, Server
from hass_runtime.remedy.revival import MOST_CALLS, Do, Revived, Reviver, next_step

HOST, FAILED_AT = "compute2", 100.0
CREATED = InstanceAction("create", 1.0, False)
NOTED = InstanceAction("stop", 130.0, False, internal=True)
BY_ITSELF = InstanceAction("stop", 90.0, False, internal=True)
BY_A_PERSON = InstanceAction("stop", 90.0, False)


def vm(number: int, vm_state: str = "stopped", task: str = "", **more: object) -> Server:
    return Server(f"u{number}", f"vm{number}", HOST, vm_state, task, **more)  # type: ignore[arg-type]


class Nova:
    """Instances of one host. A start takes ``takes`` looks; ``refuses`` answers the first starts."""

    def __init__(self, *servers: Server, takes: int = 2, refuses: tuple[str, ...] = ()) -> None:
        self.all = {server.id: server for server in servers}
        self.done = {
            server.id: [CREATED] + ([NOTED] if server.vm_state == "stopped" else []) for server in servers
        }
        self.takes = takes
        self.refuses = list(refuses)
        self.started: list[str] = []
        self.notes_at: dict[int, str] = {}
        self.looks = 0
        self.breaks_at = 0

    def servers_on(self, host: str) -> list[Server]:
        self.looks += 1
        if self.looks == self.breaks_at:
            raise CloudError("list the instances: Nova does not answer")
        if self.looks in self.notes_at:
            server = self.notes_at[self.looks]
            self.all[server] = replace(self.all[server], vm_state="stopped")
            self.done[server].append(NOTED)
        for server in [each for each in self.all.values() if each.task_state == "powering-on"]:
            left = int(server.fault or self.takes) - 1
            self.all[server.id] = (
                replace(server, fault=str(left))
                if left
                else replace(server, fault="", task_state="", vm_state="active")
            )
        return [server for server in self.all.values() if server.host == host]

    def actions(self, server_id: str) -> list[InstanceAction]:
        return self.done[server_id]

    def start(self, server_id: str) -> None:
        if self.refuses:
            raise CloudError(self.refuses.pop(0), 409)
        self.started.append(server_id)
        self.done[server_id].append(InstanceAction("start", 140.0, False))
        self.all[server_id] = replace(self.all[server_id], task_state="powering-on")


class Bench:
    """A reviver by a clock that only moves by sleeping."""

    def __init__(self, nova: Nova, **changes: object) -> None:
        self.now = 0.0
        self.shown: list[Move] = []
        clock = Clock(lambda: 1000.0 + self.now, lambda: self.now, self.sleep)
        values = {"failed_at": FAILED_AT, "timeout": 300.0, "progress": self.shown.append, "clock": clock}
        self.reviver = Reviver(nova, HOST, pool=ThreadPoolExecutor, **{**values, **changes})  # type: ignore[arg-type]

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self) -> Revived:
        return self.reviver.run()


def test_what_the_host_lost_is_started_once_and_seen_running() -> None:
    nova = Nova(vm(1), vm(2, priority=5))
    bench = Bench(nova)
    revived = bench.run()
    assert nova.started == ["u2", "u1"]  # by priority
    assert [(m.name, m.state, m.target, m.was) for m in revived.moves] == [
        ("vm2", MoveState.SUCCEEDED, HOST, "active"),
        ("vm1", MoveState.SUCCEEDED, HOST, "active"),
    ]
    assert revived.ok
    assert revived.words(HOST) == "2 instances of compute2 started again: vm2, vm1"
    assert {move.state for move in bench.shown} == {MoveState.ONGOING, MoveState.SUCCEEDED}


@pytest.mark.parametrize(
    "actions", [[CREATED, BY_ITSELF], [CREATED, BY_A_PERSON], [CREATED, NOTED, BY_A_PERSON]]
)
def test_what_somebody_wished_off_stays_off(actions: list[InstanceAction]) -> None:
    nova = Nova(vm(1))
    nova.done["u1"] = actions
    revived = Bench(nova).run()
    assert (nova.started, revived.moves, revived.ok) == ([], (), True)
    assert revived.words(HOST) == "nothing on compute2 had to be started"


def test_what_an_earlier_run_knew_to_be_stopped_stays_so() -> None:
    nova = Nova(vm(1))
    assert Bench(nova, was={"u1": "stopped"}).run().moves == ()
    assert nova.started == []


def test_a_stop_that_is_noted_late_is_waited_for() -> None:
    nova = Nova(vm(1, "active"))
    nova.notes_at = {40: "u1"}
    bench = Bench(nova)
    assert bench.run().ok
    assert nova.started == ["u1"]


def test_what_still_counts_as_active_when_all_is_noted_runs() -> None:
    nova = Nova(vm(1, "active"))
    bench = Bench(nova, noted_within=30.0)
    revived = bench.run()
    assert (revived.ok, revived.moves, nova.started) == (True, (), [])
    assert bench.now >= 30.0


def test_running_it_again_starts_nothing() -> None:
    nova = Nova(vm(1), vm(2))
    Bench(nova).run()
    again = Bench(nova)
    assert again.run().moves == ()
    assert (len(nova.started), again.now) == (2, 0.0)


def test_one_that_nova_does_not_start_is_told_with_its_reason() -> None:
    nova = Nova(vm(1), vm(2), refuses=("no such image",) * 9)
    revived = Bench(nova, timeout=20.0).run()
    assert not revived.ok
    assert revived.calls == 2 * MOST_CALLS
    assert "vm1 (no such image)" in revived.words(HOST)


def test_one_in_error_is_told_and_does_not_hold_up_the_others() -> None:
    nova = Nova(vm(1, "error", fault="disk gone"), vm(2))
    bench = Bench(nova)
    revived = bench.run()
    assert nova.started == ["u2"]
    assert [move.state for move in revived.moves] == [MoveState.FAILED, MoveState.SUCCEEDED]
    assert "vm1 (it is in error: disk gone)" in revived.words(HOST)


def test_a_nova_that_is_away_for_a_moment_loses_nothing() -> None:
    nova = Nova(vm(1))
    nova.breaks_at = 2
    assert Bench(nova).run().ok


def test_what_is_still_busy_at_the_end_is_told() -> None:
    nova = Nova(vm(1, "active", task="migrating"))
    revived = Bench(nova, timeout=10.0).run()
    assert revived.doubt == "not clear within 10 s: vm1"
    assert not revived.ok


def test_foresee_starts_nothing() -> None:
    nova = Nova(vm(1), vm(2, "active"))
    assert [server.name for server in Bench(nova).reviver.foresee()] == ["vm1"]
    assert nova.started == []


ACTIONS = st.lists(
    st.builds(
        InstanceAction,
        st.sampled_from(["stop", "start", "reboot", "evacuate", "resize"]),
        st.floats(0, 200),
        st.booleans(),
        st.booleans(),
    ),
    max_size=6,
).map(lambda found: tuple(sorted(found, key=lambda action: action.started_at)))


@given(ACTIONS, st.sampled_from(["active", "stopped", "paused", "error", "shelved"]), st.booleans())
def test_only_what_nova_itself_noted_as_stopped_since_is_ever_started(
    actions: tuple[InstanceAction, ...], vm_state: str, noted: bool
) -> None:
    if next_step(vm(1, vm_state), actions, FAILED_AT, noted) is Do.START:
        stops = [each for each in actions if each.name == "stop" and not each.failed]
        assert vm_state == "stopped"
        assert stops[-1].internal
        assert stops[-1].started_at >= FAILED_AT


@given(ACTIONS, st.booleans())
def test_what_nova_works_on_is_let_alone(actions: tuple[InstanceAction, ...], noted: bool) -> None:
    assert next_step(vm(1, "stopped", "powering-on"), actions, FAILED_AT, noted) is Do.WAIT
