"""What the executor makes of decisions and of what runs report, on a real database."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mortal import RESTART, Daemon
from views import COMPLAINING, CUT, MUTE, WARNING

from hass_runtime.decide import decisions
from hass_runtime.decide.plan import decide
from hass_runtime.decide.view import DRAIN, FAILURE, RESTORE
from hass_runtime.domain import (
    Fault,
    HostState,
    Layer,
    Move,
    MoveState,
    OrderKind,
    Outcome,
    Reading,
    StepStatus,
)
from hass_runtime.remedy.execute import REPORTING, unmoved
from hass_runtime.remedy.resume import LOST
from hass_runtime.remedy.runs import MoveChanged, RunEnded, TaskEnded, TaskStarted
from hass_runtime.store import LeaseLost


def dying(tmp_path, **more):
    """A controller that has just launched the fence of host1."""
    daemon = Daemon(tmp_path / "hass.db", **more)
    daemon.see(2)
    daemon.see(3, host1=CUT)
    return daemon


def test_a_lost_run_is_told_as_lost(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(3, host1=CUT)
    daemon.restart()
    daemon.see(2, host1=CUT)
    runs = daemon.store.runs(1)
    assert [run.status for run in runs] == [LOST, "running"]
    assert [run.attempt for run in runs] == [1, 2]
    assert daemon.store.incident(1).attempts == 2


def test_a_stale_controller_launches_nothing(tmp_path):
    """It decides as before, but its first write is refused, and the launch comes after the writes."""
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    stale_executor, stale_memory, stale_writer = daemon.executor, daemon.memory, daemon.writer
    daemon.restart()
    for seconds in (1, 2, 3):
        for layer, (verdict, answered) in CUT.items():
            stale_memory.observe(Reading("host1", layer, verdict, "", daemon.now + seconds, answered))
    decisions = decide(stale_memory.view(daemon.now + 3))
    assert decisions
    for decision in decisions:
        with pytest.raises(LeaseLost):
            stale_executor.carry_out(decision, stale_writer)
    assert not daemon.launcher.started


def test_events_of_runs_that_were_cancelled_are_not_listened_to(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(3, host1=CUT)
    spec, _ = daemon.launcher.started[-1]
    daemon.executor.cancel_all("lease lost")
    daemon.report(spec.run_id, lambda run: RunEnded(run, "cancelled", None, "lease lost", daemon.now, {}))
    assert [run.status for run in daemon.store.runs(1)] == ["running"]


def test_what_a_successful_run_could_not_move_is_the_incidents_reason(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(3, host1=CUT)
    spec, _ = daemon.launcher.started[-1]
    moves = [
        {"name": "vm1", "state": "succeeded", "reason": ""},
        {"name": "vm2", "state": "refused", "reason": "vm_state paused"},
    ]
    daemon.report(spec.run_id, lambda run: RunEnded(run, "successful", 0, "", daemon.now, {"moves": moves}))
    daemon.see(1, host1=CUT)
    incident = daemon.store.incident(1)
    assert (incident.outcome, incident.reason) == (Outcome.FAILED, "vm2: vm_state paused")


@pytest.mark.parametrize("facts", [{}, {"moves": None}, {"moves": "x"}, {"moves": ["x", 1, {}]}])
def test_strange_facts_are_no_reason(facts):
    assert unmoved(facts) == ""


def test_outcome_of_settled_instances_stays_while_the_host_is_brought_back(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(3, host1=CUT)
    daemon.finish(FAILURE)
    daemon.see(1, host1=CUT)
    incident = daemon.store.incident(1)
    assert (incident.outcome, incident.closed_at, incident.phase) == (Outcome.RECOVERED, None, RESTORE)
    assert replace(incident, outcome=Outcome.OPEN) != incident


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("proven", [False, True])
def test_a_host_once_proven_off_is_finished_even_if_it_looks_well(tmp_path, proven, restarted):
    """Some of its instances may run elsewhere: that is in the journal, so a restart knows it too."""
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(3, host1=CUT)
    spec, _ = daemon.launcher.started[-1]
    at = daemon.now
    status = StepStatus.CHANGED if proven else StepStatus.FAILED
    daemon.report(
        spec.run_id,
        lambda run: TaskStarted(run, "1", "Power off host1", at, "hass_fence"),
        lambda run: TaskEnded(run, "1", "Power off host1", status, at, at, "off", "hass_fence"),
        lambda run: RunEnded(run, "failed", 2, "no valid host", at, {}),
    )
    if restarted:
        daemon.restart()
    daemon.see(15)
    # Not proven off, it is only given back, and not switched off for an old failure.
    assert daemon.playbooks() == [FAILURE, FAILURE if proven else RESTORE]
    assert (daemon.store.incident(1).fenced_at is not None) is proven


# A fence that succeeded


def fence(daemon, status=StepStatus.CHANGED):
    spec, _ = daemon.launcher.started[-1]
    at = daemon.now
    daemon.report(
        spec.run_id,
        lambda run: TaskStarted(run, "1", "Power off host1", at, "hass_fence"),
        lambda run: TaskEnded(run, "1", "Power off host1", status, at, at, "off", "hass_fence"),
    )


def test_the_moment_of_a_proven_fence_is_noted_once_and_is_counted(tmp_path):
    daemon = dying(tmp_path)
    fence(daemon)
    first = daemon.store.incident(1).fenced_at
    assert first == daemon.now
    daemon.now += 5
    fence(daemon)
    assert daemon.store.incident(1).fenced_at == first
    assert daemon.memory.fences == [("host1", first)]
    assert daemon.state() is HostState.FENCED


def test_a_fence_that_failed_proves_nothing(tmp_path):
    daemon = dying(tmp_path)
    fence(daemon, StepStatus.FAILED)
    assert daemon.store.incident(1).fenced_at is None
    assert daemon.memory.fences == []
    assert daemon.state() is HostState.FENCING


def test_fences_are_counted_on_across_a_restart(tmp_path):
    daemon = dying(tmp_path)
    fence(daemon)
    before = list(daemon.memory.fences)
    daemon.restart()
    assert daemon.memory.fences == before


def test_a_fence_noted_only_as_a_step_is_known_after_a_restart(tmp_path):
    """The controller died between the two writes."""
    daemon = dying(tmp_path)
    spec, _ = daemon.launcher.started[-1]
    daemon.writer.put_step(
        1, spec.run_id, "1", "Power off", StepStatus.OK, daemon.now, daemon.now + 2, "off", "hass_fence"
    )
    daemon.restart()
    assert daemon.memory.incidents["host1"].fenced_at == daemon.now + 2
    daemon.see(10)
    assert daemon.playbooks() == [FAILURE, FAILURE]


def test_the_host_is_evacuating_as_soon_as_that_begins(tmp_path):
    daemon = dying(tmp_path)
    fence(daemon)
    spec, _ = daemon.launcher.started[-1]
    daemon.report(spec.run_id, lambda run: TaskStarted(run, "2", "Evacuate", daemon.now, "hass_evacuate"))
    assert daemon.state() is HostState.EVACUATING


# What goes with a launch


def test_a_launch_takes_along_what_its_playbook_needs_to_know(tmp_path):
    daemon = dying(tmp_path)
    spec, _ = daemon.launcher.started[-1]
    incident = daemon.store.incident(1)
    assert (spec.host, spec.playbook, spec.incident) == ("host1", FAILURE, 1)
    assert spec.extravars["host"] == spec.extravars["confirm"] == "host1"
    assert spec.extravars["was"] == {}
    assert spec.extravars["confirmed"] == {}
    assert spec.extravars["reason"] == incident.why
    assert spec.extravars["failed_at"] <= spec.extravars["since"]
    assert spec.run_id.startswith("1-host_failure-")
    assert "secret" not in repr(spec)


def test_what_instances_were_is_remembered_from_the_first_look(tmp_path):
    daemon = dying(tmp_path)
    spec, _ = daemon.launcher.started[-1]
    for name, was in (("uuid1", "active"), ("uuid2", "stopped"), ("uuid3", "paused")):
        move = Move(1, name, name, "host1", MoveState.PENDING, was=was)
        daemon.report(spec.run_id, lambda run, move=move: MoveChanged(run, move))
    daemon.restart()
    daemon.see(2, host1=CUT)
    assert daemon.playbooks() == [FAILURE, FAILURE]
    assert daemon.launcher.started[-1][0].extravars["was"] == {"uuid1": "active", "uuid2": "stopped"}


def test_a_persons_word_is_journalled_with_the_run_that_relies_on_it(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(40, host1={**CUT, Layer.POWER: MUTE})
    assert not daemon.launcher.started
    daemon.store.give_order("host1", OrderKind.CONFIRM_FENCED, "cords pulled", "ann", at=daemon.now)
    daemon.see(1, host1={**CUT, Layer.POWER: MUTE})
    spec, _ = daemon.launcher.started[-1]
    assert spec.extravars["confirmed"] == {"by": "ann", "reason": "cords pulled", "at": daemon.now - 1}


@pytest.mark.parametrize(
    ("looks", "playbook", "seconds"),
    [(CUT, FAILURE, 1000.0), (WARNING, DRAIN, 300.0 + REPORTING), (COMPLAINING, RESTART, 30.0 + REPORTING)],
)
def test_every_playbook_has_its_own_deadline(tmp_path, looks, playbook, seconds):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(2, host1=looks)
    spec, _ = daemon.launcher.started[-1]
    assert (spec.playbook, spec.deadline) == (playbook, seconds)


def test_rung_and_try_are_journalled_with_every_launch_of_a_ladder(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(2, host1=COMPLAINING)
    places = []
    for playbook in (RESTART, RESTART, DRAIN, FAILURE):
        incident = daemon.store.incident(1)
        places.append((incident.phase, incident.rung, incident.tries, incident.attempts))
        daemon.finish(playbook, "failed", "masked")
        daemon.see(30, host1=COMPLAINING)
    assert places == [(RESTART, 0, 1, 0), (RESTART, 0, 2, 0), (DRAIN, 1, 1, 0), (FAILURE, 2, 1, 1)]


@pytest.mark.parametrize("rung", [0, 1, 2, 3])
def test_a_restart_goes_on_at_the_same_rung_and_try(tmp_path, rung):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(2, host1=COMPLAINING)
    for playbook in (RESTART, RESTART, DRAIN)[:rung]:
        daemon.finish(playbook, "failed", "masked")
        daemon.see(30, host1=COMPLAINING)
    before = daemon.store.incident(1)
    daemon.restart()
    daemon.see(2, host1=COMPLAINING)
    after = daemon.store.incident(1)
    assert (after.phase, after.rung, after.tries) == (before.phase, before.rung, before.tries)
    assert [run.status for run in daemon.store.runs(1)][-2:] == [LOST, "running"]


def test_another_fault_begins_its_ladder_at_the_bottom_in_the_journal_too(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(2, host1=COMPLAINING)
    for _ in range(2):
        daemon.finish(RESTART, "failed", "masked")
        daemon.see(30, host1=COMPLAINING)
    before = daemon.store.incident(1)
    assert (before.rung, before.tries) == (1, 1)
    other = Fault("host1", "storage", Layer.STORAGE, "read-only")
    daemon.executor.carry_out(decisions.Escalate(1, "host1", other, "storage: read-only"), daemon.writer)
    after = daemon.store.incident(1)
    assert (after.fault, after.layer, after.rung, after.tries) == ("storage", "storage", 0, 0)
    assert daemon.memory.incidents["host1"] == after


# A worse failure during a milder remedy


def test_a_drain_is_told_to_end_when_its_host_dies_and_the_fence_waits_for_its_end(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(2, host1=WARNING)
    drain, _ = daemon.launcher.started[-1]
    daemon.see(3, host1=CUT)
    ((run_id, reason),) = daemon.launcher.cancelled
    assert run_id == drain.run_id
    assert reason.startswith("power: ")
    assert daemon.playbooks() == [DRAIN]
    daemon.report(drain.run_id, lambda run: RunEnded(run, "cancelled", None, reason, daemon.now, {}))
    daemon.see(1, host1=CUT)
    assert daemon.playbooks() == [DRAIN, FAILURE]
    assert daemon.store.incident(1).fault == "power"
    assert "Cancel host_drain" in [step.name for step in daemon.store.steps(1)]


def test_a_controller_killed_while_a_drain_was_being_cancelled_fences_all_the_same(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.see(2, host1=WARNING)
    daemon.see(3, host1=CUT)
    daemon.restart()
    daemon.see(3, host1=CUT)
    assert daemon.playbooks() == [DRAIN, FAILURE]
    assert daemon.launcher.ended == [daemon.launcher.started[0][0].run_id]


def test_a_persons_order_is_ended_in_the_journal_when_it_was_carried_out(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    daemon.store.give_order("host1", OrderKind.RESTORE, "", "ann", at=daemon.now)
    daemon.see(1)
    assert daemon.store.orders(daemon.now) == ()
    assert daemon.memory.orders == {}


def test_a_host_that_is_back_has_its_run_directories_tidied_up(tmp_path):
    daemon = dying(tmp_path)
    daemon.finish(FAILURE)
    daemon.see(1, host1=CUT)
    assert daemon.launcher.pruned == []
    daemon.finish(RESTORE)
    daemon.see(2)
    assert daemon.launcher.pruned == [set()]


def test_a_step_that_is_not_in_the_lifecycle_is_told_as_a_bug_and_journalled_all_the_same(tmp_path, caplog):
    daemon = Daemon(tmp_path / "hass.db")
    daemon.see(2)
    wrong = decisions.SetState("host1", HostState.FENCED, "out of the blue")
    daemon.executor.carry_out(wrong, daemon.writer)
    assert "BUG: host host1: healthy -> fenced" in caplog.text
    assert daemon.state() is HostState.FENCED


# What is left of an earlier controller


def test_a_leftover_that_survives_holds_its_host_and_is_tried_again_now_and_then(tmp_path):
    daemon = dying(tmp_path)
    daemon.launcher.survive = "process 4711 survives SIGKILL"
    daemon.restart()
    daemon.see(3, host1=CUT)
    assert daemon.playbooks() == [FAILURE]
    assert "4711" in daemon.store.incident(1).reason
    daemon.launcher.survive = ""
    daemon.executor.clear_leftovers(daemon.writer)
    assert daemon.launcher.ended == []  # not in every cycle
    daemon.see(10, host1=CUT)
    daemon.executor.clear_leftovers(daemon.writer)
    daemon.see(1, host1=CUT)
    assert daemon.playbooks() == [FAILURE, FAILURE]
    assert [run.status for run in daemon.store.runs(1)] == [LOST, "running"]
