"""The evacuation of a host against a small Nova: order, failures of every call, and running it again."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from hass_runtime.domain import MoveState
from hass_runtime.remedy.attempt import DAY, Clock, ProgressFile, since_of
from hass_runtime.remedy.evacuation import Evacuator
from hass_runtime.remedy.fencing import Look
from hass_runtime.remedy.inventory import Seen, on_host, seen_of, verify
from hass_runtime.remedy.moves import Policy
from hass_runtime.remedy.nova import CloudError, ComputeService, InstanceAction, Migration, Server
from hass_runtime.remedy.wire import move_from_dict

SOURCE, TARGET = "compute1", "compute10"
POLICY = Policy(timeout=60.0, retries=2, backoff=0.5, foreign_task=5.0, unanswered=5.0, power=2.0)


class Time:
    """A clock that all threads move by sleeping."""

    def __init__(self):
        self._lock = threading.Lock()
        self.now = 0.0

    def sleep(self, seconds):
        with self._lock:
            self.now += seconds

    def clock(self):
        return Clock(lambda: 1_000_000 + self.now, lambda: self.now, self.sleep)


class Nova:
    """Instances, their records and actions. An evacuation takes ``takes`` looks at the server."""

    def __init__(self, *servers, takes=2, arrives=None):
        self.lock = threading.RLock()
        self.all = {server.id: server for server in servers}
        self.records: list[Migration] = []
        self.done = {server.id: [InstanceAction("create", 0.0, False)] for server in servers}
        for server in servers:
            if server.vm_state == "stopped":
                self.done[server.id].append(InstanceAction("stop", 1.0, False))
        self.takes = takes
        self.arrives = arrives
        self.under_way: dict[str, int] = {}
        self.most_at_once = 0
        self.calls: list[tuple[str, str]] = []
        self.failures: dict[str, list[CloudError]] = {}
        self.spoil: dict[str, int] = {}
        self.services_up = True

    def _may_fail(self, call):
        if self.failures.get(call):
            raise self.failures[call].pop(0)

    def servers_on(self, host):
        with self.lock:
            self._may_fail("servers_on")
            return [server for server in self.all.values() if server.host == host]

    def server(self, server_id):
        with self.lock:
            self._may_fail("server")
            if server_id in self.under_way:
                self.under_way[server_id] -= 1
                if self.under_way[server_id] <= 0:
                    del self.under_way[server_id]
                    self._land(server_id)
            return self.all.get(server_id)

    def _land(self, server_id):
        server = self.all[server_id]
        index = next(
            i for i, r in enumerate(self.records) if r.instance == server_id and r.status == "accepted"
        )
        if self.spoil.get(server_id, 0) > 0:
            self.spoil[server_id] -= 1
            self.all[server_id] = replace(server, vm_state="error", task_state="", fault="no room")
            self.records[index] = replace(self.records[index], status="failed")
            return
        state = self.arrives or ("active" if server.vm_state == "error" else server.vm_state)
        self.all[server_id] = replace(server, host=TARGET, vm_state=state, task_state="")
        self.records[index] = replace(self.records[index], status="done", target=TARGET)

    def evacuations(self, source, since):
        with self.lock:
            self._may_fail("evacuations")
            return [record for record in self.records if record.source == source]

    def actions(self, server_id):
        with self.lock:
            self._may_fail("actions")
            return list(self.done.get(server_id, []))

    def compute_service(self, host):
        return ComputeService("s1", host, self.services_up, True, False, "", "")

    def evacuate(self, server_id):
        with self.lock:
            self.calls.append(("evacuate", server_id))
            self._may_fail("evacuate")
            assert server_id not in self.under_way, "a second call while one is in flight"
            self.begin(server_id)

    def begin(self, server_id):
        self.all[server_id] = replace(self.all[server_id], task_state="rebuilding")
        self.records.append(Migration(len(self.records) + 1, server_id, "accepted", SOURCE, "", 5.0))
        self.done[server_id].append(InstanceAction("evacuate", 5.0 + len(self.records), False))
        self.under_way[server_id] = self.takes
        self.most_at_once = max(self.most_at_once, len(self.under_way))

    def start(self, server_id):
        self._power("start", server_id, "active")

    def stop(self, server_id):
        self._power("stop", server_id, "stopped")

    def _power(self, call, server_id, state):
        with self.lock:
            self.calls.append((call, server_id))
            self._may_fail(call)
            self.all[server_id] = replace(self.all[server_id], vm_state=state)
            self.done[server_id].append(InstanceAction(call, 100.0 + len(self.calls), False))


def vm(number, host=SOURCE, vm_state="active", task="", priority=0):
    return Server(f"u{number}", f"vm{number}", host, vm_state, task, priority)


def evacuate(nova, time=None, **changes):
    seen = []
    values = {
        "since": 0.0,
        "still_off": lambda: Look(True),
        "incident": 7,
        "policy": POLICY,
        "workers": 4,
        "poll_interval": 0.1,
    }
    evacuator = Evacuator(
        nova, SOURCE, **{**values, **changes}, progress=seen.append, clock=(time or Time()).clock()
    )
    return evacuator.run(), seen


def never():
    raise AssertionError("nothing is to be evacuated")


def states(outcome):
    return {move.name: move.state for move in outcome.moves}


def test_everything_moves_and_is_what_it_was():
    nova = Nova(vm(1), vm(2, vm_state="stopped"), vm(3, host="compute10"))
    outcome, seen = evacuate(nova)
    assert states(outcome) == {"vm1": MoveState.SUCCEEDED, "vm2": MoveState.SUCCEEDED}
    assert {(move.target, move.was) for move in outcome.moves} == {(TARGET, "active"), (TARGET, "stopped")}
    assert outcome.calls == 2
    assert verify(nova, SOURCE, outcome.moves) == ()
    one = [move.state for move in seen if move.name == "vm1"]
    assert (one[0], one[-1]) == (MoveState.PENDING, MoveState.SUCCEEDED)
    assert MoveState.ONGOING in one
    assert all(move.incident == 7 for move in seen)


def test_the_second_run_changes_nothing_and_lists_the_same_moves():
    nova = Nova(vm(1), vm(2, vm_state="stopped"))
    first, _ = evacuate(nova)
    second, _ = evacuate(nova)
    assert second.calls == 0
    assert [(m.instance, m.state, m.target, m.was, m.attempts) for m in second.moves] == [
        (m.instance, m.state, m.target, m.was, m.attempts) for m in first.moves
    ]


def test_a_run_after_a_crash_follows_what_is_under_way_and_takes_what_is_left():
    nova = Nova(vm(1), vm(2), vm(3), takes=5)
    nova.begin("u1")
    nova.begin("u2")
    nova._land("u2")
    del nova.under_way["u2"]
    outcome, _ = evacuate(nova)
    assert set(states(outcome).values()) == {MoveState.SUCCEEDED}
    assert len(outcome.moves) == 3
    assert nova.calls == [("evacuate", "u3")]


def test_higher_priority_begins_first_and_workers_bound_it():
    servers = [vm(number, priority=number % 3) for number in range(12)]
    nova = Nova(*servers, takes=4)
    together, real = threading.Barrier(3), nova.evacuate

    def evacuate_together(server_id):
        together.wait(30)  # breaks when fewer than three come at once
        real(server_id)

    nova.evacuate = evacuate_together
    evacuate(nova, workers=3)
    order = [next(s.priority for s in servers if s.id == call[1]) for call in nova.calls]
    assert order[:3] == [2, 2, 2]
    assert order[-3:] == [0, 0, 0]
    assert nova.most_at_once <= 3


def test_a_straggler_does_not_hold_up_the_others():
    nova = Nova(vm(1, task="powering-off", priority=9), vm(2), vm(3))
    outcome, _ = evacuate(nova, workers=2)
    assert states(outcome)["vm1"] is MoveState.FAILED
    assert states(outcome)["vm2"] is states(outcome)["vm3"] is MoveState.SUCCEEDED
    assert not outcome.ok
    assert "vm1" in outcome.words(SOURCE)


def test_a_target_that_fails_is_tried_again():
    nova = Nova(vm(1), vm(2, vm_state="stopped"))
    nova.spoil = {"u1": 2, "u2": 1}
    outcome, _ = evacuate(nova)
    assert set(states(outcome).values()) == {MoveState.SUCCEEDED}
    assert {move.name: move.attempts for move in outcome.moves} == {"vm1": 3, "vm2": 2}
    # Out of error Nova brings it up running; it was stopped.
    assert ("stop", "u2") in nova.calls
    assert nova.all["u2"].vm_state == "stopped"


def test_a_target_that_keeps_failing_ends_failed_with_the_fault():
    nova = Nova(vm(1))
    nova.spoil = {"u1": 99}
    outcome, _ = evacuate(nova)
    assert outcome.moves[0].state is MoveState.FAILED
    assert "no room" in outcome.moves[0].reason
    assert len(nova.calls) == POLICY.retries + 1


def test_at_2_95_what_ran_is_started_and_what_was_stopped_is_not():
    nova = Nova(vm(1), vm(2, vm_state="stopped"), arrives="stopped")
    outcome, _ = evacuate(nova, arrives_stopped=True)
    assert set(states(outcome).values()) == {MoveState.SUCCEEDED}
    assert [call for call in nova.calls if call[0] != "evacuate"] == [("start", "u1")]
    assert nova.all["u1"].vm_state == "active"


def test_at_2_95_a_run_after_a_crash_starts_what_ran():
    nova = Nova(vm(1), vm(2, vm_state="stopped"), arrives="stopped", takes=1)
    for instance in ("u1", "u2"):
        nova.begin(instance)
        nova.server(instance)
    outcome, _ = evacuate(nova, arrives_stopped=True)
    assert {move.name: move.was for move in outcome.moves} == {"vm1": "active", "vm2": "stopped"}
    assert nova.calls == [("start", "u1")]


def test_before_2_95_nova_knows_better_than_actions_that_are_cut_off():
    nova = Nova(vm(1, vm_state="stopped"), takes=1)
    nova.done["u1"] = []  # purged
    nova.begin("u1")
    nova.server("u1")
    outcome, _ = evacuate(nova)
    assert [(move.state, move.was) for move in outcome.moves] == [(MoveState.SUCCEEDED, "stopped")]
    assert nova.calls == []


@pytest.mark.parametrize("call", ["server", "evacuations", "actions", "evacuate", "start"])
@pytest.mark.parametrize(
    "error", [CloudError("503", 503), CloudError("lost", uncertain=True), CloudError("409", 409)]
)
def test_a_passing_failure_of_any_call_is_survived(call, error):
    nova = Nova(vm(1), vm(2, vm_state="stopped"), arrives="stopped", takes=1)
    time = Time()
    evacuator_failures = [error]
    if call == "evacuations":
        nova.evacuations("x", 0)  # the first one is the list at the start, see the next test
        real, count = nova.evacuations, [0]

        def flaky(source, since):
            count[0] += 1
            if count[0] == 2:
                raise error
            return real(source, since)

        nova.evacuations = flaky
    else:
        nova.failures[call] = evacuator_failures
    outcome, _ = evacuate(nova, time, arrives_stopped=True)
    assert set(states(outcome).values()) == {MoveState.SUCCEEDED}
    assert nova.all["u1"].vm_state == "active"
    assert nova.all["u2"].vm_state == "stopped"


@pytest.mark.parametrize("call", ["servers_on", "evacuations"])
def test_no_list_at_the_start_is_an_error(call):
    nova = Nova(vm(1))
    nova.failures[call] = [CloudError("Nova is away")]
    with pytest.raises(CloudError, match="away"):
        evacuate(nova)
    assert nova.calls == []


def test_a_nova_that_stays_away_fails_each_move_at_its_deadline():
    nova = Nova(vm(1), vm(2))
    nova.failures["server"] = [CloudError("Nova is away")] * 10_000
    outcome, _ = evacuate(nova)
    assert {(move.state, move.reason) for move in outcome.moves} == {(MoveState.FAILED, "Nova is away")}


def test_a_surprise_in_one_move_loses_no_other():
    nova = Nova(vm(1), vm(2))
    real = nova.server

    def surprise(server_id):
        if server_id == "u1":
            raise ZeroDivisionError("surprise")
        return real(server_id)

    nova.server = surprise
    outcome, seen = evacuate(nova)
    assert states(outcome) == {"vm1": MoveState.FAILED, "vm2": MoveState.SUCCEEDED}
    assert any(move.name == "vm1" and move.state is MoveState.FAILED for move in seen)


def test_what_nova_does_not_evacuate_is_listed():
    outcome, _ = evacuate(Nova(vm(1, vm_state="paused"), vm(2)))
    assert states(outcome) == {"vm1": MoveState.REFUSED, "vm2": MoveState.SUCCEEDED}
    assert outcome.ok
    assert "1 refused: vm1 (vm_state paused" in outcome.words(SOURCE)


def test_what_is_deleted_on_the_way_is_listed():
    nova = Nova(vm(1), vm(2))
    real = nova.server

    def gone(server_id):
        return None if server_id == "u1" else real(server_id)

    nova.server = gone
    outcome, _ = evacuate(nova)
    assert states(outcome)["vm1"] is MoveState.REFUSED


def test_an_empty_host_is_no_work():
    outcome, _ = evacuate(Nova(vm(1, host="compute10")))
    assert (outcome.moves, outcome.calls, outcome.ok) == ((), 0, True)


def test_foresee_calls_nothing():
    nova = Nova(vm(1), vm(2, vm_state="paused"), vm(3, task="rebuilding"))
    evacuator = Evacuator(nova, SOURCE, since=0.0, still_off=never, policy=POLICY, clock=Time().clock())
    assert [words.split()[0] for _, words in evacuator.foresee()] == ["evacuate", "refuse", "wait"]
    assert nova.calls == []


def test_on_host_compares_names_whole():
    nova = Nova(vm(1), vm(2, host="compute10"), vm(3, priority=2))
    assert [move.name for move in on_host(nova, "compute1", 7, 0.0)] == ["vm3", "vm1"]
    assert {move.state for move in on_host(nova, "compute1", 7, 0.0)} == {MoveState.PENDING}


# --- the host comes back in the middle (safety rule 1)


CAME_BACK = Look(False, "compute1 came back during its evacuation: its BMC says on", final=True)


def test_once_the_host_came_back_no_evacuation_is_begun():
    nova = Nova(*(vm(number) for number in range(6)), takes=5)
    looks = [Look(True), Look(True)]
    outcome, seen = evacuate(nova, workers=1, still_off=lambda: looks.pop(0) if looks else CAME_BACK)
    assert [call[0] for call in nova.calls] == ["evacuate", "evacuate"]
    # What Nova had accepted is followed to its end, the rest says why and is left to the next run.
    assert [move.state for move in outcome.moves] == [MoveState.SUCCEEDED] * 2 + [MoveState.FAILED] * 4
    assert {move.reason for move in outcome.moves[2:]} == {CAME_BACK.words}
    assert not outcome.ok
    assert outcome.words(SOURCE).startswith(f"{CAME_BACK.words}; no further evacuation was begun; 2 of 6")
    assert outcome.words(SOURCE).count(CAME_BACK.words) == 1
    assert {move.reason for move in seen if move.state is MoveState.FAILED} == {CAME_BACK.words}
    assert {server.host for server in nova.all.values()} == {SOURCE, TARGET}
    again, _ = evacuate(nova)
    assert again.ok
    assert len(again.moves) == 6
    assert again.calls == 4


def test_a_second_try_of_the_same_instance_asks_again():
    nova = Nova(vm(1))
    nova.spoil = {"u1": 9}
    looks = [Look(True)]
    outcome, _ = evacuate(nova, still_off=lambda: looks.pop(0) if looks else CAME_BACK)
    assert nova.calls == [("evacuate", "u1")]
    assert outcome.moves[0].reason == CAME_BACK.words


def test_while_nobody_can_see_it_off_it_is_waited_for():
    blind = Look(False, "compute1 cannot be seen off any more during its evacuation: no answer")
    nova, looks = Nova(vm(1)), [blind] * 20
    outcome, _ = evacuate(nova, still_off=lambda: looks.pop(0) if looks else Look(True))
    assert looks == []
    assert outcome.ok
    outcome, _ = evacuate(nova := Nova(vm(1)), still_off=lambda: blind)
    assert nova.calls == []
    assert outcome.moves[0].reason == blind.words


def test_what_has_arrived_is_started_though_the_host_came_back():
    nova = Nova(vm(1), arrives="stopped", takes=1)
    nova.begin("u1")
    nova.server("u1")
    outcome, _ = evacuate(nova, arrives_stopped=True, still_off=never)
    assert nova.calls == [("start", "u1")]
    assert outcome.ok


# --- what it was is what was recorded (safety rule 12)


def stopped_by_nova(nova, server_id, at):
    """The host came back: its nova-compute found the guest off."""
    nova.all[server_id] = replace(nova.all[server_id], vm_state="stopped")
    nova.done[server_id].append(InstanceAction("stop", at, False, internal=True))


def test_what_the_returning_nova_compute_notes_is_not_what_it_was():
    nova = Nova(vm(1), vm(2, vm_state="stopped"))
    seen = seen_of(on_host(nova, SOURCE, 7, 0.0), 50.0, {}, 50.0)
    stopped_by_nova(nova, "u1", 60.0)
    outcome, _ = evacuate(nova, seen=seen)
    assert [(move.name, move.was) for move in outcome.moves] == [("vm1", "active"), ("vm2", "stopped")]
    assert (nova.all["u1"].vm_state, nova.all["u2"].vm_state) == ("active", "stopped")
    assert outcome.ok


def test_it_may_come_back_between_the_list_and_the_first_look():
    nova = Nova(vm(1))
    real = nova.servers_on

    def servers_on(host):
        found = real(host)
        stopped_by_nova(nova, "u1", 60.0)
        return found

    nova.servers_on = servers_on
    outcome, _ = evacuate(nova)
    assert (outcome.moves[0].was, nova.all["u1"].vm_state) == ("active", "active")


def test_what_an_earlier_run_recorded_counts_more_than_what_this_one_found():
    nova = Nova(vm(1), vm(2))
    stopped_by_nova(nova, "u1", 60.0)
    was = {"u1": "active", "u9": "stopped"}
    found = on_host(nova, SOURCE, 7, 0.0, was)
    assert {move.instance: move.was for move in found} == {"u1": "active", "u2": "active"}
    seen = seen_of(on_host(nova, SOURCE, 7, 0.0), 70.0, was, 50.0)
    assert (seen["u1"], seen["u2"]) == (Seen("active", 50.0), Seen("active", 70.0))
    outcome, _ = evacuate(nova, seen=seen)
    assert {move.was for move in outcome.moves} == {"active"}
    assert nova.all["u1"].vm_state == "active"


def test_what_is_shown_never_contradicts_the_record():
    # What is shown is journaled, and is the record of the next run if this one is killed.
    nova = Nova(vm(1), vm(2), takes=1)
    for instance in ("u1", "u2"):
        stopped_by_nova(nova, instance, 60.0)
    nova.begin("u2")
    nova.server("u2")
    real, count = nova.server, [0]

    def away_at_first(server_id):
        count[0] += 1
        if 1 < count[0] < 6:  # the first look is the list's
            raise CloudError("Nova is away")
        return real(server_id)

    nova.server = away_at_first
    record = {"u1": Seen("active", 50.0), "u2": Seen("active", 50.0)}
    outcome, seen = evacuate(nova, seen=record)
    assert outcome.ok
    assert {move.name for move in seen} == {"vm1", "vm2"}
    assert {move.was for move in seen} == {"active"}
    assert not any(move.state is MoveState.PENDING and move.name == "vm2" for move in seen)


def test_a_record_tells_what_an_instance_was_that_an_earlier_run_moved():
    nova = Nova(vm(1), takes=1)
    stopped_by_nova(nova, "u1", 1.0)
    nova.begin("u1")
    nova.server("u1")
    assert nova.all["u1"].vm_state == "stopped"
    outcome, _ = evacuate(nova, seen={"u1": Seen("active", 0.5)})
    assert (outcome.moves[0].was, nova.all["u1"].vm_state) == ("active", "active")


def test_a_persons_own_stop_after_the_record_wins():
    nova = Nova(vm(1), vm(2))
    for instance, at in (("u1", 210.0), ("u2", 40.0)):
        nova.all[instance] = replace(nova.all[instance], vm_state="stopped")
        nova.done[instance].append(InstanceAction("stop", at, False))
    outcome, _ = evacuate(nova, seen={"u1": Seen("active", 200.0), "u2": Seen("active", 200.0)})
    assert [move.was for move in outcome.moves] == ["stopped", "active"]
    assert nova.all["u1"].vm_state == "stopped"


def test_what_is_under_way_says_nothing_about_what_it_was():
    nova = Nova(vm(1), vm(2, vm_state="error"), takes=99)
    nova.begin("u1")
    found = on_host(nova, SOURCE, 7, 0.0)
    assert [move.was for move in found] == ["", "error"]
    assert seen_of(found, 1.0, {}, 1.0) == {}


# --- the target dies, too


@pytest.mark.parametrize("up", [True, False])
def test_a_target_that_died_meanwhile_is_named_with_what_helps(up):
    nova = Nova(vm(1), takes=10**9)
    nova.services_up = up
    nova.begin("u1")
    nova.records[0] = replace(nova.records[0], target="compute3")
    outcome, _ = evacuate(nova)
    reason = outcome.moves[0].reason
    assert "not done after" in reason
    assert ("its target compute3 went down meanwhile" in reason) is not up
    assert ("openstack server set --state error u1" in reason) is not up


# --- the independent look afterwards


def test_verify_sees_what_is_wrong():
    nova = Nova(vm(1), vm(2, vm_state="stopped"), vm(3))
    outcome, _ = evacuate(nova)
    nova.all["u1"] = replace(nova.all["u1"], vm_state="stopped")
    nova.all["u2"] = replace(nova.all["u2"], host=SOURCE)
    nova.all["u9"] = vm(9)
    problems = verify(nova, SOURCE, outcome.moves)
    assert [problem.split()[0] for problem in problems] == ["vm1", "vm2", "vm9"]


def test_verify_leaves_a_persons_wish_alone():
    nova = Nova(vm(1), vm(2), vm(3))
    outcome, _ = evacuate(nova)
    nova.stop("u1")
    del nova.all["u2"]
    nova.all["u3"] = replace(nova.all["u3"], task_state="rebooting", vm_state="stopped")
    assert verify(nova, SOURCE, outcome.moves) == ()


# --- small things


def test_progress_is_one_line_a_change(tmp_path):
    path = tmp_path / "progress.jsonl"
    nova = Nova(vm(1), vm(2))
    evacuator = Evacuator(
        nova,
        SOURCE,
        since=0.0,
        still_off=lambda: Look(True),
        policy=POLICY,
        progress=ProgressFile(str(path)),
        clock=Time().clock(),
    )
    outcome = evacuator.run()
    moves = [move_from_dict(json.loads(line)) for line in path.read_text().splitlines()]
    assert {move for move in moves if move.state is MoveState.SUCCEEDED} == set(outcome.moves)
    assert path.stat().st_mode & 0o777 == 0o600
    ProgressFile(None)(outcome.moves[0])


def test_since_when_evacuations_belong_to_this_failure():
    assert since_of(None, 1_000_000.0) == 1_000_000.0 - DAY
    assert 0 < 500.0 - since_of(500.0, 1_000_000.0) < 600
