"""Emptying a living host: the state machine of one move, and the drain of a host against a small Nova."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hass_runtime.domain import Move, MoveState
from hass_runtime.remedy import drain, draining
from hass_runtime.remedy.attempt import Clock
from hass_runtime.remedy.drain import Do, DrainError, Policy, Track, View, aborted, called, next_action
from hass_runtime.remedy.draining import Drainer
from hass_runtime.remedy.nova import CloudError, ComputeService, Migration, Server

SOURCE, TARGET = "compute1", "compute10"
POLICY = Policy(timeout=100.0, retries=2, backoff=1.0, unanswered=30.0, ending=10.0, abort_again=4.0)


def server(host=SOURCE, vm_state="active", task="", fault=""):
    return Server("u1", "vm1", host, vm_state, task, fault=fault)


def record(status, number=5, target=TARGET):
    return Migration(number, "u1", status, SOURCE, target, 1.0)


def track(was="active", **changes):
    move = Move(7, "u1", "vm1", SOURCE, MoveState.ONGOING, was=was)
    return replace(Track(move, deadline=100.0), **changes)


def step(view, known=None, now=0.0):
    return next_action(view, known or track(), now, POLICY)


def do(view, known=None, now=0.0):
    return step(view, known, now)[0].do


def asked(attempts=1, **changes):
    """After a call of ours that Nova accepted, with one record of another day."""
    known = called(track(history=4), 0.0, POLICY)
    return replace(known, move=replace(known.move, attempts=attempts), **changes)


# --- first look


@pytest.mark.parametrize("vm_state", ["active", "paused"])
def test_what_runs_is_live_migrated(vm_state):
    assert do(View(server(vm_state=vm_state)), track(vm_state)) is Do.MIGRATE


@pytest.mark.parametrize("vm_state", ["suspended", "rescued", "shelved", "error", "resized", "soft-delete"])
def test_what_nova_does_not_live_migrate_is_refused_with_a_reason(vm_state):
    action, _ = step(View(server(vm_state=vm_state)), track(vm_state))
    assert action.do is Do.REFUSE
    assert vm_state in action.reason


@pytest.mark.parametrize(
    ("was", "keeps", "words"),
    [
        ("stopped", True, "stopped: stays, it loses nothing if the host fails"),
        ("active", True, "stopped by somebody meanwhile: stays, it loses nothing if the host fails"),
        ("stopped", False, "stopped: stays, Nova moves it only with its disk copied"),
    ],
)
def test_what_is_stopped_stays(was, keeps, words):
    view = View(server(vm_state="stopped"))
    action, _ = next_action(view, track(was), 0.0, replace(POLICY, keeps_disks=keeps))
    assert (action.do, action.reason) == (Do.REFUSE, words)


def test_a_record_of_another_day_says_nothing():
    for status in ("completed", "error", "cancelled"):
        assert do(View(server(), record(status))) is Do.MIGRATE


def test_what_is_under_way_is_followed_whoever_asked_for_it():
    assert do(View(server(task="migrating"), record("running"))) is Do.WAIT
    assert do(View(server(), record("queued"))) is Do.WAIT


@pytest.mark.parametrize("view", [View(server(task="rebooting")), View(server(vm_state="building"))])
def test_what_somebody_is_at_is_waited_for(view):
    assert do(view) is Do.WAIT


def test_compute10_is_not_compute1():
    assert do(View(server("compute10"))) is Do.SUCCEED
    assert do(View(server("compute1"))) is Do.MIGRATE


# --- the end


def test_it_has_arrived_when_the_record_and_the_instance_say_so():
    known = asked()
    assert do(View(server(task="migrating"), record("running")), known) is Do.WAIT
    assert do(View(server(TARGET, task="migrating"), record("post-migrating")), known) is Do.WAIT
    assert do(View(server(TARGET), record("completed")), known) is Do.SUCCEED


@pytest.mark.parametrize(
    ("view", "expected", "words"),
    [
        (View(None), Do.REFUSE, "deleted meanwhile"),
        (View(None, record("completed")), Do.SUCCEED, "deleted by somebody after it arrived on compute10"),
        (View(server(TARGET, "stopped"), record("completed")), Do.SUCCEED, "is stopped since, by somebody"),
        (View(server(TARGET, "error", fault="no net"), record("completed")), Do.FAIL, "in error: no net"),
        (View(server("", "shelved_offloaded")), Do.REFUSE, "is on no host any more"),
        (View(server(), record("completed")), Do.FAIL, "somebody moved it back"),
        (View(server(TARGET, task="rebooting"), record("completed")), Do.SUCCEED, ""),
        (View(server("compute3")), Do.SUCCEED, ""),  # by a person's own migration
    ],
)
def test_ends(view, expected, words):
    action, _ = step(view, asked())
    assert action.do is expected
    assert words in action.reason


def test_a_failed_one_is_tried_again_after_a_while_and_novas_reason_is_kept():
    view = View(server(), record("error", target=""), "No valid host was found.")
    action, known = step(view, asked(), 1.0)
    assert action.do is Do.WAIT
    assert do(view, known, 1.5) is Do.WAIT
    assert do(view, known, 2.5) is Do.MIGRATE
    action, _ = step(view, asked(attempts=3))
    assert action.do is Do.FAIL
    assert action.reason == "live migration to any host ended as error: No valid host was found."


def test_one_that_somebody_aborted_is_left_alone():
    action, _ = step(View(server(), record("cancelled")), asked())
    assert (action.do, action.reason) == (Do.FAIL, "somebody aborted its live migration: left alone")


def test_an_instance_that_its_live_migration_left_in_error_has_failed():
    action, _ = step(View(server(vm_state="error", fault="lost"), record("error")), asked())
    assert action.do is Do.FAIL
    assert "is in error since its live migration: lost" in action.reason


def test_a_refused_call_is_made_again_until_there_were_enough():
    known = track(history=0)
    for attempt in range(3):
        assert do(View(server()), known, known.retry_at) is Do.MIGRATE
        known = called(known, known.retry_at, POLICY, CloudError("Nova says 409: busy", 409))
        assert known.move.attempts == attempt + 1
    action, _ = step(View(server()), known, known.retry_at)
    assert (action.do, action.reason) == (Do.FAIL, "Nova says 409: busy")


@pytest.mark.parametrize("error", [None, CloudError("no answer", uncertain=True)])
def test_a_call_of_which_nothing_comes_is_made_again_late(error):
    known = called(track(history=4), 0.0, POLICY, error)
    assert do(View(server(), record("completed", 4)), known, 29.0) is Do.WAIT
    assert do(View(server(task="migrating")), known, 31.0) is Do.WAIT
    assert do(View(server(), record("completed", 4)), known, 31.0) is Do.MIGRATE


def test_an_unanswered_call_that_was_carried_out_counts():
    known = called(track(history=4), 0.0, POLICY, CloudError("no answer", uncertain=True))
    _, known = step(View(server(task="migrating"), record("running")), known)
    assert (known.called, known.error) == ("accepted", "")


# --- too late


def test_what_is_on_its_way_at_the_deadline_is_aborted_and_again():
    view, known = View(server(task="migrating"), record("running")), asked()
    assert do(view, known, 99.0) is Do.WAIT
    assert do(view, known, 100.0) is Do.ABORT
    known = aborted(known, 100.0, CloudError("Nova says 400: not running", 400))
    assert do(view, known, 103.0) is Do.WAIT
    assert do(view, known, 104.0) is Do.ABORT
    action, _ = step(view, known, 110.0)
    assert action.do is Do.FAIL
    assert "live migration 5 running; Nova says 400" in action.reason


def test_an_aborted_one_has_failed_and_is_not_tried_again():
    action, _ = step(View(server(), record("cancelled")), aborted(asked(), 100.0), 101.0)
    assert (action.do, action.reason) == (Do.FAIL, "not moved within 100 s, then aborted")


def test_an_abort_that_came_too_late_is_an_arrival():
    assert do(View(server(TARGET), record("completed")), aborted(asked(), 100.0), 101.0) is Do.SUCCEED


def test_what_another_began_is_not_aborted():
    view = View(server(task="migrating"), record("running"))
    _, known = step(view, track(), 0.0)
    assert do(view, known, 105.0) is Do.WAIT
    action, _ = step(view, known, 110.0)
    assert (action.do, "running" in action.reason) == (Do.FAIL, True)


def test_nothing_is_begun_after_the_deadline():
    action, _ = step(View(server()), track(history=0), 100.0)
    assert (action.do, action.reason) == (
        Do.FAIL, "not moved within 100 s; vm_state active, task_state none",
    )  # fmt: skip


SERVERS = st.one_of(
    st.none(),
    st.builds(
        server,
        st.sampled_from([SOURCE, TARGET, ""]),
        st.sampled_from(["active", "paused", "stopped", "error", "building", "suspended"]),
        st.sampled_from(["", "migrating", "powering-off", "deleting"]),
    ),
)
RECORDS = st.one_of(
    st.none(),
    st.builds(
        record,
        st.sampled_from(["queued", "running", "completed", "error", "failed", "cancelled", "new in 2030"]),
        st.integers(1, 6),
    ),
)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.builds(View, SERVERS, RECORDS), st.sampled_from([None, 409, 503, -1])), max_size=40)
)
def test_whatever_nova_shows(looks):
    """It ends, calls only for what runs on the host with nothing under way, and aborts only its own."""
    known, now, began = track(), 0.0, 0
    for view, refusal in [*looks, *[(View(server()), 409)] * 40]:
        action, known = step(view, known, now)
        if action.do is Do.MIGRATE:
            assert now < known.deadline
            assert view.server.host == SOURCE
            assert view.server.vm_state in drain.MOVABLE
            assert view.server.task_state == ""
            assert known.called == ""
            began += 1
            error = None
            if refusal:
                error = CloudError("no", refusal if refusal > 0 else None, uncertain=refusal == -1)
            known = called(known, now, POLICY, error)
        elif action.do is Do.ABORT:
            assert began
            assert now >= known.deadline
            assert known.called
            assert view.server.host == SOURCE
            known = aborted(known, now)
        elif action.do is not Do.WAIT:
            assert action.do is Do.SUCCEED or action.reason
            assert began <= POLICY.retries + 1
            return
        now += 4.0
    raise AssertionError("it never ended")


# --- before anything is changed

SERVICE = ComputeService("s1", SOURCE, True, True, False, "", "12:00:00")


@pytest.mark.parametrize(
    ("changes", "words"), [({"up": False}, "is down"), ({"forced_down": True}, "is forced down")]
)
def test_a_host_that_nova_takes_for_down_cannot_be_drained(changes, words):
    nova = Nova(vm(1))
    nova.service = replace(SERVICE, **changes)
    with pytest.raises(DrainError, match=f"nothing was changed: nova-compute of compute1 {words}"):
        draining.look_first(nova, SOURCE)


def test_a_service_is_disabled_with_a_reason_that_people_read():
    nova = Nova()
    assert draining.disable(nova, SERVICE, "a fan\nis slow " + "x" * 400)[0]
    assert nova.service.disabled_reason.startswith("hass: a fan is slow xx")
    assert len(nova.service.disabled_reason) == drain.REASON_LENGTH
    nova = Nova()
    draining.disable(nova, SERVICE, " ")
    assert nova.service.disabled_reason == "hass: drain"


@pytest.mark.parametrize(
    ("reason", "words"), [("new disks", "already, by a person: new disks"), ("hass: x", "already: hass: x")]
)
def test_a_service_that_is_disabled_is_left_so(reason, words):
    nova = Nova()
    changed, said = draining.disable(nova, replace(SERVICE, enabled=False, disabled_reason=reason), "a fan")
    assert (changed, nova.service) == (False, SERVICE)
    assert words in said


# --- a whole host


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
    """Instances and their live migrations. One takes ``takes`` looks at the server; 0 for ever."""

    def __init__(self, *servers, takes=2):
        self.lock = threading.RLock()
        self.all = {server.id: server for server in servers}
        self.service = SERVICE
        self.records: list[Migration] = []
        self.takes = takes
        self.under_way: dict[str, int] = {}
        self.most_at_once = 0
        self.calls: list[str] = []
        self.aborts: list[int] = []
        self.spoil: dict[str, int] = {}
        self.failures: dict[str, list[CloudError]] = {}
        self.late: list[Server] = []

    def _may_fail(self, call):
        if self.failures.get(call):
            raise self.failures[call].pop(0)

    def compute_service(self, host):
        return self.service

    def set_enabled(self, service, enabled, reason=""):
        self.service = replace(self.service, enabled=enabled, disabled_reason=reason)

    def set_forced_down(self, service, forced_down):
        raise AssertionError("a drain forces nothing down")

    def evacuations(self, source, since):
        raise AssertionError("a drain is no evacuation")

    def servers_on(self, host):
        with self.lock:
            self._may_fail("servers_on")
            return [server for server in self.all.values() if server.host == host]

    def server(self, server_id):
        with self.lock:
            self._may_fail("server")
            if self.under_way.get(server_id):
                self.under_way[server_id] -= 1
                if self.under_way[server_id] == 0:
                    self._land(server_id)
            return self.all.get(server_id)

    def _land(self, server_id):
        del self.under_way[server_id]
        failed = self.spoil.get(server_id, 0) > 0
        if failed:
            self.spoil[server_id] -= 1
        self._end(server_id, "failed" if failed else "completed")
        for late in self.late:
            self.all[late.id] = late
        self.late = []

    def _end(self, server_id, status):
        host = TARGET if status == "completed" else SOURCE
        self.all[server_id] = replace(self.all[server_id], host=host, task_state="")
        index = next(
            i for i, r in enumerate(self.records) if r.instance == server_id and r.status == "running"
        )
        self.records[index] = replace(self.records[index], status=status)

    def live_migrations(self, source, since):
        with self.lock:
            return [each for each in self.records if each.source == source and each.created_at >= since]

    def live_migrate(self, server_id):
        with self.lock:
            self.calls.append(server_id)
            self._may_fail("live_migrate")
            assert server_id not in self.under_way, "a second call while one is in flight"
            self.begin(server_id)

    def begin(self, server_id):
        self.all[server_id] = replace(self.all[server_id], task_state="migrating")
        self.records.append(Migration(len(self.records) + 1, server_id, "running", SOURCE, TARGET, 5.0, 6.0))
        self.under_way[server_id] = self.takes
        self.most_at_once = max(self.most_at_once, len(self.under_way))

    def abort_migration(self, server_id, migration_id):
        with self.lock:
            self.aborts.append(migration_id)
            self._may_fail("abort")
            del self.under_way[server_id]
            self._end(server_id, "cancelled")

    def why_not_migrated(self, server_id):
        self._may_fail("why")
        return "no room anywhere"


def vm(number, host=SOURCE, vm_state="active", task="", priority=0):
    return Server(f"u{number}", f"vm{number}", host, vm_state, task, priority)


def run(nova, **changes):
    seen = []
    values = {"since": 0.0, "incident": 7, "policy": POLICY, "workers": 4, "poll_interval": 0.1, **changes}
    drainer = Drainer(nova, SOURCE, **values, progress=seen.append, clock=Time().clock())
    return drainer.run(), seen


def states(outcome):
    return {move.name: move.state for move in outcome.moves}


def test_what_runs_leaves_and_what_is_stopped_stays():
    nova = Nova(vm(1), vm(2, vm_state="stopped"), vm(3, TARGET), vm(4, vm_state="paused"))
    outcome, seen = run(nova)
    assert states(outcome) == {
        "vm1": MoveState.SUCCEEDED, "vm2": MoveState.REFUSED, "vm4": MoveState.SUCCEEDED,
    }  # fmt: skip
    assert outcome.ok
    assert sorted(nova.calls) == ["u1", "u4"]
    assert nova.all["u2"] == vm(2, vm_state="stopped")
    assert "2 of 3 instances of compute1 run elsewhere; 1 refused: vm2 (stopped: stays" in outcome.words(
        SOURCE
    )
    shown = [move.state for move in seen if move.name == "vm1"]
    assert shown[0] is MoveState.PENDING
    assert shown[-1] is MoveState.SUCCEEDED
    assert {move.target for move in outcome.moves} == {TARGET, ""}
    assert {move.incident for move in seen} == {7}


def test_the_more_important_go_first_and_not_all_at_once():
    nova = Nova(vm(1), vm(2, priority=5), vm(3), vm(4))
    run(nova, workers=2)
    assert nova.calls[0] == "u2" or nova.calls[1] == "u2"
    assert nova.most_at_once <= 2


def test_what_arrives_while_it_is_drained_leaves_too():
    nova = Nova(vm(1))
    nova.late = [vm(9)]
    outcome, _ = run(nova)
    assert states(outcome) == {"vm1": MoveState.SUCCEEDED, "vm9": MoveState.SUCCEEDED}


def test_a_second_run_follows_what_a_first_one_began_and_lists_what_it_moved():
    nova = Nova(vm(1), vm(2), vm(3))
    nova.begin("u1")
    nova.records.append(Migration(9, "u7", "completed", SOURCE, TARGET, 5.0, 8.0))
    nova.all["u7"] = vm(7, TARGET)
    outcome, seen = run(nova, was={"u7": "active"})
    assert states(outcome) == dict.fromkeys(["vm1", "vm2", "vm3", "vm7"], MoveState.SUCCEEDED)
    assert sorted(nova.calls) == ["u2", "u3"]
    moved = next(move for move in outcome.moves if move.name == "vm7")
    assert (moved.target, moved.was, moved.attempts, moved.started_at, moved.finished_at) == (
        TARGET, "active", 1, 5.0, 8.0,
    )  # fmt: skip
    assert MoveState.PENDING not in {move.state for move in seen if move.name == "vm7"}
    again, _ = run(nova)
    assert (again.calls, again.ok, len(again.moves)) == (0, True, 4)


def test_one_that_fails_is_tried_again_and_then_told_with_novas_reason():
    nova = Nova(vm(1), vm(2))
    nova.spoil = {"u1": 1, "u2": 99}
    outcome, _ = run(nova)
    assert states(outcome) == {"vm1": MoveState.SUCCEEDED, "vm2": MoveState.FAILED}
    assert nova.calls.count("u1") == 2
    assert nova.calls.count("u2") == POLICY.retries + 1
    assert not outcome.ok
    assert "1 failed: vm2 (live migration to compute10 ended as failed: no room anywhere)" in outcome.words(
        SOURCE
    )


def test_not_knowing_why_is_no_reason_to_give_up():
    nova = Nova(vm(1))
    nova.spoil, nova.failures = {"u1": 1}, {"why": [CloudError("away")] * 99}
    assert run(nova)[0].ok


def test_what_takes_too_long_is_aborted_and_the_rest_is_not_begun():
    nova = Nova(vm(1), vm(2), takes=0)
    outcome, _ = run(nova, workers=1)
    assert nova.aborts == [1]
    assert nova.calls == ["u1"]
    assert states(outcome) == {"vm1": MoveState.FAILED, "vm2": MoveState.FAILED}
    assert "vm1 (not moved within 100 s, then aborted)" in outcome.words(SOURCE)
    assert {server.host for server in nova.all.values()} == {SOURCE}


def test_a_nova_that_is_away_for_a_while_is_waited_for():
    nova = Nova(vm(1), vm(2))
    nova.failures = {"server": [CloudError("away")] * 20}
    assert run(nova)[0].ok


def test_a_nova_that_stays_away_leaves_a_doubt():
    nova = Nova(vm(1))
    real = nova.servers_on

    def once(host):
        nova.servers_on = lambda host: (_ for _ in ()).throw(CloudError("away"))
        return real(host)

    nova.servers_on = once
    outcome, _ = run(nova)
    assert states(outcome) == {"vm1": MoveState.SUCCEEDED}
    assert not outcome.ok
    assert "nobody knows what is left on it: away" in outcome.words(SOURCE)


def test_one_instances_surprise_does_not_lose_the_others():
    nova = Nova(vm(1), vm(2))
    real = nova.live_migrate

    def surprise(server_id):
        if server_id == "u1":
            raise RuntimeError("a bug")
        real(server_id)

    nova.live_migrate = surprise
    outcome, seen = run(nova)
    assert states(outcome) == {"vm1": MoveState.FAILED, "vm2": MoveState.SUCCEEDED}
    assert "unexpected RuntimeError: a bug" in outcome.words(SOURCE)
    assert seen[-1].state in (MoveState.FAILED, MoveState.SUCCEEDED)


def test_looking_changes_nothing():
    nova = Nova(vm(1), vm(2, vm_state="stopped"))
    drainer = Drainer(nova, SOURCE, since=0.0, policy=POLICY, clock=Time().clock())
    assert [(move.name, words.split(" ")[0]) for move, words in drainer.foresee()] == [
        ("vm1", "migrate"), ("vm2", "refuse"),
    ]  # fmt: skip
    assert (nova.calls, nova.service) == ([], SERVICE)


def test_an_empty_host_is_said():
    outcome, _ = run(Nova(vm(3, TARGET)))
    assert (outcome.ok, outcome.words(SOURCE)) == (True, "no instances on compute1")
