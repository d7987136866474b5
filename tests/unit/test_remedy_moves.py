"""The state machine of one move: what Nova shows in, what to do out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hass_runtime.domain import Move, MoveState
from hass_runtime.remedy.moves import (
    Do,
    Policy,
    Track,
    View,
    after_evacuation,
    by_somebody,
    called,
    in_flight,
    next_action,
    power_called,
    rebuilding,
    stopped_by_the_failure,
    vm_state_tells,
    was_before,
    wished_since,
)
from hass_runtime.remedy.nova import CloudError, InstanceAction, Migration, Server

SOURCE, TARGET = "compute1", "compute10"
POLICY = Policy(timeout=100.0, retries=2, backoff=1.0, foreign_task=10.0, unanswered=30.0, power=5.0)


def server(host=SOURCE, vm_state="active", task="", fault=""):
    return Server("u1", "vm1", host, vm_state, task, fault=fault)


def record(status, number=5, target=TARGET):
    return Migration(number, "u1", status, SOURCE, target, 1.0)


def track(was="active", **changes):
    move = Move(7, "u1", "vm1", SOURCE, MoveState.ONGOING, was=was)
    return replace(Track(move, deadline=100.0), **changes)


def step(view, known, now=0.0):
    return next_action(view, known, now, POLICY)


def do(view, known=None, now=0.0):
    return step(view, known or track(), now)[0].do


# --- first look


@pytest.mark.parametrize("vm_state", ["active", "stopped", "error"])
def test_what_nova_evacuates_is_evacuated(vm_state):
    assert do(View(server(vm_state=vm_state))) is Do.EVACUATE


@pytest.mark.parametrize(
    "vm_state", ["paused", "suspended", "rescued", "shelved", "building", "resized", "soft-delete"]
)
def test_what_nova_does_not_evacuate_is_refused_with_a_reason(vm_state):
    action, _ = step(View(server(vm_state=vm_state)), track(vm_state))
    assert action.do is Do.REFUSE
    assert vm_state in action.reason


def test_what_is_elsewhere_is_done():
    assert do(View(server(TARGET), record("done"))) is Do.SUCCEED


def test_compute10_is_not_compute1():
    assert do(View(server("compute10"))) is Do.SUCCEED
    assert do(View(server("compute1"))) is Do.EVACUATE


@pytest.mark.parametrize("task", ["rebuilding", "rebuild_block_device_mapping", "rebuild_spawning"])
def test_what_is_being_evacuated_is_followed(task):
    assert do(View(server(task=task))) is Do.WAIT


@pytest.mark.parametrize("status", ["accepted", "pre-migrating", "preparing", "a status of tomorrow"])
def test_an_unfinished_record_is_followed_though_the_server_looks_untouched(status):
    assert do(View(server(), record(status))) is Do.WAIT


@pytest.mark.parametrize("status", ["done", "completed", "failed", "error"])
def test_a_record_of_an_earlier_failure_is_history(status):
    assert do(View(server(), record(status))) is Do.EVACUATE


def test_what_is_gone_is_recorded():
    action, _ = step(View(None), track())
    assert (action.do, action.reason) == (Do.REFUSE, "deleted meanwhile")
    action, _ = step(View(None, record("done")), track())
    assert action.do is Do.SUCCEED
    assert "deleted" in action.reason


def test_an_instance_on_no_host_is_refused():
    assert do(View(server("", "shelved_offloaded"))) is Do.REFUSE


# --- after our call


def after_call(first=None, error=None, now=1.0):
    view = first or View(server())
    action, known = step(view, track())
    assert action.do is Do.EVACUATE
    return called(known, now, POLICY, error)


def test_the_gap_in_which_the_server_shows_the_old_host_and_no_task():
    known = after_call()
    # Accepted and not begun; begun; spawned, and still the old host; there.
    for view, expected in [
        (View(server()), Do.WAIT),
        (View(server(task="rebuilding"), record("accepted")), Do.WAIT),
        (View(server(), record("pre-migrating")), Do.WAIT),
        (View(server(), record("done")), Do.WAIT),
        (View(server(TARGET), record("pre-migrating")), Do.WAIT),
        (View(server(TARGET), record("done")), Do.SUCCEED),
    ]:
        action, known = step(view, known, 2.0)
        assert action.do is expected, view


def test_a_failed_record_is_tried_again_after_a_pause():
    known = after_call()
    failed = View(server(vm_state="error", fault="No valid host"), record("error"))
    action, known = step(failed, known, 10.0)
    assert action.do is Do.WAIT
    assert "No valid host" in known.error
    action, known = step(failed, known, 20.0)
    assert action.do is Do.EVACUATE


def test_tries_end_with_the_last_error():
    known, now = track(), 0.0
    for number in range(1, POLICY.retries + 2):
        action, known = step(View(server(vm_state="error"), record("failed", number - 1)), known, now)
        assert action.do is Do.EVACUATE
        known = called(known, now, POLICY)
        now += 10
        _, known = step(View(server(vm_state="error", fault="no room"), record("failed", number)), known, now)
        now += 10
    action, _ = step(View(server(vm_state="error"), record("failed", number)), known, now)
    assert action.do is Do.FAIL
    assert "no room" in action.reason


def test_a_call_without_an_answer_is_not_repeated_before_it_is_sure():
    known = after_call(error=CloudError("timed out", uncertain=True))
    action, known = step(View(server()), known, POLICY.unanswered)
    assert action.do is Do.WAIT
    action, _ = step(View(server()), known, 1.0 + POLICY.unanswered)
    assert action.do is Do.EVACUATE


def test_a_call_without_an_answer_that_was_carried_out_is_followed():
    known = after_call(error=CloudError("timed out", uncertain=True))
    _, known = step(View(server(), record("accepted")), known, 2.0)
    assert step(View(server(), record("accepted")), known, 90.0)[0].do is Do.WAIT
    assert step(View(server(TARGET), record("done")), known, 91.0)[0].do is Do.SUCCEED


@pytest.mark.parametrize(
    ("status", "outcome"), [(400, Do.FAIL), (403, Do.FAIL), (409, Do.REFUSE), (500, Do.FAIL), (None, Do.FAIL)]
)
def test_what_nova_keeps_refusing(status, outcome):
    known, now = track(), 0.0
    for left in range(POLICY.retries, -1, -1):
        action, known = step(View(server()), known, now)
        assert action.do is Do.EVACUATE
        known = called(known, now, POLICY, CloudError("Nova says no", status))
        assert step(View(server()), known, now)[0].do is (Do.WAIT if left else outcome)
        now += 20
    action, _ = step(View(server()), known, now)
    assert (action.do, action.reason) == (outcome, "Nova says no")


def test_a_foreign_task_gets_a_while_and_then_a_hint():
    view = View(server(task="powering-off"))
    action, known = step(view, track(), 0.0)
    assert action.do is Do.WAIT
    action, known = step(view, known, 9.9)
    assert action.do is Do.WAIT
    action, _ = step(view, known, 10.0)
    assert action.do is Do.FAIL
    assert "powering-off" in action.reason
    assert "--state error u1" in action.reason


def test_the_deadline_says_where_it_stands():
    known = after_call()
    action, _ = step(View(server(task="rebuilding"), record("pre-migrating")), known, 100.0)
    assert action.do is Do.FAIL
    assert "rebuilding" in action.reason
    assert "pre-migrating" in action.reason


def test_a_target_that_died_is_told_with_what_helps_only_while_it_is_under_way():
    known = after_call()
    view = View(server(task="rebuilding"), record("pre-migrating", target="compute3"), target_down=True)
    action, _ = step(view, known, 100.0)
    assert "its target compute3 went down meanwhile" in action.reason
    assert "--state error u1" in action.reason
    assert "went down" not in step(replace(view, target_down=False), known, 100.0)[0].reason


def test_nothing_is_begun_after_the_deadline():
    assert do(View(server()), track(), 100.0) is Do.FAIL


# --- rule 12: what it was is what it is after


@pytest.mark.parametrize(
    ("was", "arrives", "expected"),
    [
        ("active", "active", Do.SUCCEED),
        ("stopped", "stopped", Do.SUCCEED),
        ("active", "stopped", Do.START),  # microversion 2.95 and later
        ("stopped", "active", Do.STOP),  # evacuated out of error
        ("active", "error", Do.FAIL),
        ("active", "paused", Do.SUCCEED),  # somebody's doing
    ],
)
def test_the_power_state_is_given_back(was, arrives, expected):
    assert do(View(server(TARGET, arrives), record("done")), track(was)) is expected


def test_start_is_called_once_and_followed():
    view = View(server(TARGET, "stopped"), record("done"))
    action, known = step(view, track(), 0.0)
    assert action.do is Do.START
    known = power_called(known, 0.0, POLICY)
    assert step(view, known, 1.0)[0].do is Do.WAIT
    assert step(View(server(TARGET, "stopped", "powering-on"), record("done")), known, 2.0)[0].do is Do.WAIT
    assert step(View(server(TARGET), record("done")), known, 3.0)[0].do is Do.SUCCEED
    assert step(view, known, 5.0)[0].do is Do.START


def test_start_is_given_up_after_its_tries():
    view, known, now = View(server(TARGET, "stopped"), record("done")), track(), 0.0
    for _ in range(POLICY.retries + 1):
        action, known = step(view, known, now)
        assert action.do is Do.START
        known = power_called(known, now, POLICY, CloudError("no", 409))
        now += 10
    assert step(view, known, now)[0].do is Do.FAIL


def test_a_persons_stop_after_the_arrival_is_left_alone():
    view = View(server(TARGET, "stopped"), record("done"), since_arrival=("stop",))
    assert do(view) is Do.SUCCEED
    view = View(server(TARGET, "stopped"), record("done"), since_arrival=("start",))
    assert do(view) is Do.START
    view = View(server(TARGET), record("done"), since_arrival=("start",))
    assert do(view, track("stopped")) is Do.SUCCEED


def actions(*names, failed=()):
    return tuple(InstanceAction(name, float(at), at in failed) for at, name in enumerate(names))


@pytest.mark.parametrize(
    ("names", "was"),
    [
        (("create", "evacuate"), "active"),
        (("create", "stop", "evacuate"), "stopped"),
        (("create", "stop", "evacuate", "evacuate"), "stopped"),  # tried again after an error
        (("create", "stop", "start", "evacuate"), "active"),
        (("create", "stop", "live-migration", "lock", "evacuate"), "stopped"),
        (("create", "stop", "evacuate", "start"), "stopped"),  # what came after does not count
        (("create", "evacuate", "stop"), "active"),
        (("create", "evacuate", "start", "stop", "evacuate"), "stopped"),  # a second failure
        (("create", "stop"), "stopped"),  # in error, never evacuated
        ((), "active"),
    ],
)
def test_what_it_was_from_its_actions(names, was):
    assert was_before(actions(*names)) == was


def test_a_stop_that_failed_stopped_nothing():
    assert was_before(actions("create", "stop", "evacuate", failed=(1,))) == "active"


@pytest.mark.parametrize(
    ("names", "at", "wish"),
    [
        (("create", "stop"), 1.0, "stopped"),
        (("create", "stop"), 1.5, ""),
        (("create", "stop", "start"), 1.0, "active"),
        (("create", "stop", "lock"), 0.0, "stopped"),
        (("create", "stop", "evacuate", "start"), 1.0, "stopped"),  # what came after is another question
        (("create", "evacuate", "stop"), 1.0, ""),
        ((), 0.0, ""),
    ],
)
def test_what_a_person_wished_since(names, at, wish):
    assert wished_since(actions(*names), at) == wish


def test_what_nova_noted_by_itself_or_did_not_do_is_nobodys_wish():
    seen = actions("create", "start", "stop")
    assert wished_since((*seen[:2], replace(seen[2], internal=True)), 1.0) == "active"
    assert wished_since(actions("create", "start", "stop", failed=(2,)), 1.0) == "active"


def test_what_came_after_the_newest_evacuation():
    assert after_evacuation(actions("create", "stop", "evacuate", "start", "stop")) == ("start", "stop")
    assert after_evacuation(actions("create", "stop")) == ()
    assert after_evacuation(actions("evacuate", "stop", failed=(1,))) == ()
    assert by_somebody("paused", ("pause",))
    assert not by_somebody("stopped", ("start",))


def test_when_the_vm_state_still_tells():
    assert vm_state_tells(server(), SOURCE, None)
    assert vm_state_tells(server(), SOURCE, record("failed"))
    assert not vm_state_tells(server(), SOURCE, record("accepted"))
    assert not vm_state_tells(server(task="rebuilding"), SOURCE, None)
    assert not vm_state_tells(server(vm_state="error"), SOURCE, None)
    assert not vm_state_tells(server(TARGET), SOURCE, None)
    assert not vm_state_tells(None, SOURCE, None)


# --- whatever Nova shows

servers = st.none() | st.builds(
    server,
    host=st.sampled_from([SOURCE, TARGET, ""]),
    vm_state=st.sampled_from(["active", "stopped", "error", "paused"]),
    task=st.sampled_from(["", "", "rebuilding", "rebuild_spawning", "powering-on", "deleting"]),
)
records = st.none() | st.builds(
    record,
    st.sampled_from(["accepted", "pre-migrating", "done", "completed", "failed", "error", "unheard-of"]),
    st.integers(1, 4),
)
views = st.builds(
    View, servers, records, st.lists(st.sampled_from(["stop", "start", "reboot"]), max_size=2).map(tuple)
)
errors = st.sampled_from([
    None, None, CloudError("no", 409), CloudError("no", 400), CloudError("lost", uncertain=True)
])  # fmt: skip


@settings(max_examples=500)
@given(
    st.lists(st.tuples(views, st.floats(0, 20), errors), max_size=40), st.sampled_from(["active", "stopped"])
)
def test_whatever_nova_shows_no_call_is_made_while_another_is_open(seen, was):
    known, now, open_until = track(was), 0.0, None
    calls = 0
    open_call = False
    for view, later, error in seen:
        now += later
        newest_before = known.history
        action, known = step(view, known, now)
        # Our own view of what is open, told apart from the machine's: an accepted call is open until a newer
        # record of it is final, an unanswered one also when its time is over and nothing shows of it.
        fresh = view.migration is not None and (newest_before is None or view.migration.id > newest_before)
        if (
            open_call
            and fresh
            and not in_flight(view.migration)
            and view.migration.status in ("failed", "error")
        ):
            open_call = False
        if open_call and open_until is not None and fresh:
            open_until = None
        if (
            open_call
            and open_until is not None
            and now >= open_until
            and not (view.server or server()).task_state
        ):
            open_call = False
        if action.do is Do.EVACUATE:
            assert not open_call
            assert view.server is not None
            assert view.server.host == SOURCE
            assert not view.server.task_state
            assert not rebuilding(view.server)
            assert not (fresh and in_flight(view.migration))
            assert view.server.vm_state in ("active", "stopped", "error")
            assert now < known.deadline
            calls += 1
            assert calls <= POLICY.retries + 1
            known = called(known, now, POLICY, error)
            open_call = error is None or error.uncertain
            open_until = now + POLICY.unanswered if error is not None and error.uncertain else None
        elif action.do in (Do.START, Do.STOP):
            assert view.server is not None
            assert view.server.host == TARGET
            assert (action.do is Do.START) == (was == "active")
            known = power_called(known, now, POLICY, error)
        elif action.do is not Do.WAIT:
            if action.do is Do.SUCCEED and view.server is not None:
                assert view.server.host == TARGET
            return
    assert known.move.attempts == calls


def power(name: str, at: float, internal: bool = False, failed: bool = False) -> InstanceAction:
    return InstanceAction(name, at, failed, internal)


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([power("create", 1), power("stop", 60, internal=True)], True),
        ([power("stop", 60, internal=True)], True),
        ([power("create", 1), power("stop", 40, internal=True)], False),  # a guest that shut itself down
        ([power("create", 1), power("stop", 40), power("stop", 60, internal=True)], False),
        ([power("create", 1), power("stop", 60)], False),  # a person
        ([power("create", 1), power("stop", 60, internal=True), power("stop", 70)], False),
        ([power("create", 1), power("stop", 55), power("stop", 60, internal=True)], False),
        ([power("create", 1), power("stop", 40), power("start", 55), power("stop", 60, internal=True)], True),
        ([power("create", 1), power("stop", 60, internal=True, failed=True)], False),
        ([], False),
    ],
)
def test_a_stop_noted_at_the_hosts_return_is_nobodys_wish(
    actions: list[InstanceAction], expected: bool
) -> None:
    """The first evacuation began at 50: the host had been proven off by then."""
    assert stopped_by_the_failure(tuple(actions), 50.0) is expected
