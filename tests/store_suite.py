"""What every database must do. Each dialect's module imports all of it and defines `url`, a fresh one.

No SQL here, only what a store takes and tells: whatever else claims to be a store can be held to it, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hass_runtime.domain import (
    Bmc,
    Choice,
    Fault,
    Gate,
    Host,
    HostState,
    Incident,
    Layer,
    Move,
    MoveState,
    Order,
    OrderKind,
    Outcome,
    Pause,
    Reading,
    Reserve,
    Scope,
    StepStatus,
    Verdict,
)
from hass_runtime.store import Decided, Lease, Store, StoreError, Writer
from hass_runtime.store.decided import MOST

FAULT = Fault(
    "compute1",
    "power_lost",
    Layer.POWER,
    "the BMC reads off",
    (Reading("compute1", Layer.POWER, Verdict.FAILED, "power is off", 99.5),),
)
HOST = Host("compute1", "192.0.2.11", "rack-a", Bmc("192.0.2.111", "admin", "s3cret"))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store(url)
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def lease(store: Store) -> Lease:
    lease = store.lease_acquire("ctl1", 60)
    assert lease is not None
    return lease


@pytest.fixture
def writer(store: Store, lease: Lease) -> Writer:
    writer = store.writer(lease)
    writer.put_host(HOST)
    return writer


@pytest.fixture
def incident(writer: Writer) -> Incident:
    return writer.open_incident("compute1", FAULT, "fence and evacuate", 100.25)


# Hosts and readings


def test_a_host_keeps_its_state_when_its_configuration_changes(store: Store, writer: Writer) -> None:
    writer.set_host_state("compute1", HostState.FENCED, "off by BMC", 12.0)
    writer.put_host(Host("compute1", "198.51.100.1", "rack-b"))
    (host,) = store.hosts()
    assert (host.address, host.cluster, host.bmc) == ("198.51.100.1", "rack-b", False)
    assert (host.state, host.since, host.reason) == (HostState.FENCED, 12.0, "off by BMC")


def test_since_moves_with_the_state_and_the_reason_always(store: Store, writer: Writer) -> None:
    assert store.hosts()[0].since is None
    writer.set_host_state("compute1", HostState.HEALTHY, "first look", 10.0)
    writer.set_host_state("compute1", HostState.HEALTHY, "second look", 11.0)
    assert (store.hosts()[0].since, store.hosts()[0].reason) == (10.0, "second look")
    writer.set_host_state("compute1", HostState.SUSPECT, "silent", 12.0)
    assert store.hosts()[0].since == 12.0


def test_a_doubt_about_a_bmc_stays_until_it_ends_whatever_the_state(store: Store, writer: Writer) -> None:
    writer.set_host_doubt("compute1", "its BMC said off while the host answered")
    writer.set_host_state("compute1", HostState.SUSPECT, "silent", 12.0)
    writer.put_host(Host("compute1", "10.0.0.1"))
    doubts = {row.name: row.doubt for row in store.hosts()}
    assert doubts["compute1"] == "its BMC said off while the host answered"
    assert {doubt for name, doubt in doubts.items() if name != "compute1"} <= {""}
    writer.set_host_doubt("compute1", "")
    assert {row.doubt for row in store.hosts()} == {""}
    with pytest.raises(StoreError, match="'stranger' is not in the database"):
        writer.set_host_doubt("stranger", "whatever")


def test_a_host_keeps_the_boot_that_it_is_known_by(store: Store, writer: Writer) -> None:
    assert [row.boot for row in store.hosts()] == [""]
    writer.set_host_boot("compute1", "0b6a1f8e-5a55-4f3e-9d0e-1f2a3b4c5d6e")
    writer.put_host(HOST)
    assert [row.boot for row in store.hosts()] == ["0b6a1f8e-5a55-4f3e-9d0e-1f2a3b4c5d6e"]
    with pytest.raises(StoreError, match="'stranger' is not in the database"):
        writer.set_host_boot("stranger", "whatever")


def test_only_the_latest_reading_is_kept_with_when_its_verdict_changed(store: Store, writer: Writer) -> None:
    for at, verdict in enumerate([Verdict.OK, Verdict.OK, Verdict.FAILED, Verdict.FAILED]):
        writer.put_reading(Reading("compute1", Layer.NETWORK, verdict, f"look {at}", float(at), at % 2 == 1))
    writer.put_readings([Reading("compute1", Layer.POWER, Verdict.UNKNOWN, "no answer", 9.0)])
    layers = store.hosts()[0].layers
    assert list(layers) == [Layer.POWER, Layer.NETWORK]
    network = layers[Layer.NETWORK]
    assert (network.verdict, network.evidence, network.at, network.since) == (
        Verdict.FAILED,
        "look 3",
        3.0,
        2.0,
    )
    assert network.answered


def test_a_reading_of_a_stranger_is_refused_and_nothing_of_it_kept(store: Store, writer: Writer) -> None:
    readings = [Reading(name, Layer.POWER, Verdict.OK, "on", 1.0) for name in ("compute1", "compute10")]
    with pytest.raises(StoreError, match="compute10"):
        writer.put_readings(readings)
    assert store.hosts()[0].layers == {}


def test_a_host_that_is_not_configured_any_more_is_not_listed_and_comes_back(
    store: Store, writer: Writer, incident: Incident
) -> None:
    writer.put_host(Host("compute2", "192.0.2.12"))
    writer.keep_hosts(["compute2"])
    assert [host.name for host in store.hosts()] == ["compute2"]
    assert store.incident(incident.id) == incident
    writer.put_host(HOST)
    assert [host.name for host in store.hosts()] == ["compute1", "compute2"]


def test_names_are_compared_whole_and_by_case(store: Store, writer: Writer) -> None:
    names = ["Compute1", "compute1", "compute10", "cömpute1", "compute1\u0301"]
    writer.put_hosts(Host(name, "192.0.2.1") for name in names)
    assert {host.name for host in store.hosts()} == set(names)
    for name in names:
        writer.open_incident(name, FAULT, "", 1.0)
    assert len(store.incidents()) == len(names)
    assert [incident.host for incident in store.incidents(host="compute1")] == ["compute1"]


@pytest.mark.parametrize("name", ["n" * 255, "ノ" * 255, "💥" * 255, "h'; DROP TABLE host; --", "100%s {x}"])
def test_names_of_255_characters_of_any_script(store: Store, writer: Writer, name: str) -> None:
    writer.put_host(Host(name, name, name))
    writer.put_reading(Reading(name, Layer.OS, Verdict.OK, name, 1.0))
    opened = writer.open_incident(name, Fault(name, name, Layer.OS, name), name, 1.0)
    writer.put_step(opened.id, name, name, name, StepStatus.OK, 1.0, 2.0, name)
    writer.put_move(Move(opened.id, name, name, name, MoveState.SUCCEEDED, target=name, reason=name))
    writer.start_run(name, opened.id, name, 1, 1, "/run/" + name, 1.0)
    (host,) = [host for host in store.hosts() if host.name == name]
    assert (host.address, host.cluster, host.layers[Layer.OS].evidence) == (name, name, name)
    assert store.incident(opened.id) == opened
    assert (opened.host, opened.fault, opened.decision, opened.why) == (name, name, name, name)
    (move,) = store.moves(opened.id)
    assert (move.instance, move.target) == (name, name)
    assert store.steps(opened.id)[0].name == name
    assert store.runs(opened.id)[0].id == name


def test_a_name_that_does_not_fit_is_refused_not_cut(store: Store, writer: Writer) -> None:
    with pytest.raises(StoreError, match="256 characters, the limit is 255"):
        writer.put_host(Host("n" * 256, "192.0.2.1"))
    with pytest.raises(StoreError, match="must not be empty"):
        writer.put_host(Host("", "192.0.2.1"))
    assert [host.name for host in store.hosts()] == ["compute1"]


def test_long_and_broken_words_are_kept_as_far_as_they_fit(store: Store, writer: Writer) -> None:
    evidence = "💥" * 100_000 + "\udcff\0"
    seen = tuple(Reading("compute1", layer, Verdict.FAILED, evidence, 1.0) for layer in Layer)
    opened = writer.open_incident("compute1", Fault("compute1", "x", Layer.OS, evidence, seen), evidence, 1.0)
    assert opened.why.startswith("💥" * 1000)
    assert opened.why.endswith("…")
    assert [item["layer"] for item in opened.seen] == [layer.value for layer in Layer]
    assert all(str(item["evidence"]).startswith("💥💥") for item in opened.seen)
    writer.note(opened.id, "\0 \udcff", StepStatus.OK, 2.0, evidence)
    assert store.steps(opened.id)[0].name == "\ufffd ?"


# Incidents


def test_an_incident_has_what_was_seen_and_why(store: Store, incident: Incident) -> None:
    assert store.incident(incident.id) == incident
    assert (incident.host, incident.fault, incident.layer) == ("compute1", "power_lost", "power")
    assert (incident.why, incident.decision) == ("the BMC reads off", "fence and evacuate")
    assert (incident.outcome, incident.opened_at, incident.closed_at) == (Outcome.OPEN, 100.25, None)
    assert incident.seen == (
        {"layer": "power", "verdict": "failed", "evidence": "power is off", "at": 99.5, "answered": False},
    )
    assert store.incident(incident.id + 1) is None


def test_a_host_has_one_incident_without_an_end(store: Store, writer: Writer, incident: Incident) -> None:
    worse = Fault("compute1", "network_lost", Layer.NETWORK, "silent")
    assert writer.open_incident("compute1", worse, "", 101.0) == incident
    held = writer.update_incident(incident.id, outcome=Outcome.HELD, gate=Gate.STORM, reason="3 of 4 hosts")
    assert (held.outcome, held.gate, held.reason) == (Outcome.HELD, "storm", "3 of 4 hosts")
    assert writer.open_incident("compute1", worse, "", 102.0).id == incident.id
    closed = writer.close_incident(incident.id, Outcome.RECOVERED, "all moved", 130.5)
    assert (closed.outcome, closed.closed_at, closed.reason) == (Outcome.RECOVERED, 130.5, "all moved")
    second = writer.open_incident("compute1", worse, "", 140.0)
    assert second.id != incident.id
    assert [found.id for found in store.incidents()] == [second.id, incident.id]
    assert [found.id for found in store.incidents(open_only=True)] == [second.id]
    assert [found.id for found in store.incidents(limit=1)] == [second.id]
    assert store.incidents(host="compute10") == []


def test_an_incident_can_get_worse_but_its_first_end_stays(
    store: Store, writer: Writer, incident: Incident
) -> None:
    reading = Reading("compute1", Layer.OS, Verdict.FAILED, "watchdog", 120.0)
    worse = writer.update_incident(
        incident.id,
        fault="os_hang",
        layer=Layer.OS,
        why="hung",
        phase="host_failure",
        attempts=2,
        seen=[reading],
    )
    assert (worse.fault, worse.layer, worse.phase, worse.attempts) == ("os_hang", "os", "host_failure", 2)
    assert worse.seen[0]["evidence"] == "watchdog"
    settled = writer.update_incident(incident.id, outcome=Outcome.RECOVERED)
    assert (settled.outcome, settled.closed_at) == (Outcome.RECOVERED, None)
    assert store.incidents(open_only=True) == [settled]
    assert writer.open_incident("compute1", FAULT, "", 125.0) == settled
    with pytest.raises(TypeError, match="opened_at"):
        writer.update_incident(incident.id, opened_at=0.0)
    with pytest.raises(ValueError, match="not an end"):
        writer.close_incident(incident.id, Outcome.HELD, "", 1.0)
    closed = writer.close_incident(incident.id, Outcome.FAILED, "no target", 130.0)
    assert writer.close_incident(incident.id, Outcome.RECOVERED, "again", 140.0) == closed
    with pytest.raises(StoreError, match="has ended"):
        writer.update_incident(incident.id, phase="host_restore")
    with pytest.raises(StoreError, match="incident 77"):
        writer.close_incident(77, Outcome.CLEARED, "", 1.0)


def test_an_incident_knows_its_rung_and_its_tries(store: Store, writer: Writer, incident: Incident) -> None:
    assert (incident.rung, incident.tries, incident.fenced_at) == (0, 0, None)
    tried = writer.update_incident(incident.id, phase="host_drain", rung=1, tries=2)
    assert (tried.rung, tried.tries, tried.phase) == (1, 2, "host_drain")
    assert store.incident(incident.id) == tried
    assert writer.update_incident(incident.id, attempts=1).rung == 1


def test_the_first_fence_of_an_incident_stays_and_is_found_by_its_moment(
    store: Store, writer: Writer, incident: Incident
) -> None:
    writer.put_host(Host("compute2", "192.0.2.12"))
    writer.put_host(Host("compute3", "192.0.2.13"))
    other = writer.open_incident("compute2", FAULT, "", 100.0)
    writer.open_incident("compute3", FAULT, "", 300.0)
    assert store.fences_since(0.0) == []
    assert writer.update_incident(incident.id, fenced_at=120.5).fenced_at == 120.5
    assert writer.update_incident(incident.id, fenced_at=130.0, attempts=2).fenced_at == 120.5
    assert writer.update_incident(incident.id, fenced_at=None).fenced_at == 120.5
    writer.update_incident(other.id, fenced_at=110.0)
    closed = writer.close_incident(other.id, Outcome.RECOVERED, "all moved", 150.0)
    assert closed.fenced_at == 110.0
    assert [(found.host, found.fenced_at) for found in store.fences_since(0.0)] == [
        ("compute2", 110.0),
        ("compute1", 120.5),
    ]
    assert [found.host for found in store.fences_since(120.5)] == ["compute1"]
    assert store.fences_since(120.6) == []


def test_an_incident_needs_a_known_host(writer: Writer) -> None:
    with pytest.raises(StoreError, match="compute2"):
        writer.open_incident("compute2", FAULT, "", 1.0)


# Runs, steps and moves


def test_runs_are_found_after_a_crash_and_their_first_end_stays(
    store: Store, writer: Writer, incident: Incident
) -> None:
    writer.start_run("r1", incident.id, "host_failure", 1, 4711, "/var/lib/hass/runs/r1", 101.0)
    writer.put_step(incident.id, "r1", "t1", "Fence", StepStatus.OK, 101.0, 102.0)
    writer.put_step(incident.id, "r1", "t2", "Evacuate", StepStatus.RUNNING, 102.0)
    (run,) = store.unfinished_runs()
    assert run == store.runs(incident.id)[0]
    assert (run.id, run.incident, run.playbook, run.attempt, run.pid) == (
        "r1",
        incident.id,
        "host_failure",
        1,
        4711,
    )
    assert (run.run_dir, run.status, run.rc, run.finished_at) == (
        "/var/lib/hass/runs/r1",
        "running",
        None,
        None,
    )
    writer.finish_run("r1", "crashed", None, "the controller died", 110.0)
    writer.finish_run("r1", "successful", 0, "", 120.0)
    (run,) = store.runs(incident.id)
    assert (run.status, run.rc, run.reason, run.finished_at) == (
        "crashed",
        None,
        "the controller died",
        110.0,
    )
    assert store.unfinished_runs() == []
    steps = store.steps(incident.id)
    assert [(step.status, step.finished_at) for step in steps] == [
        (StepStatus.OK, 102.0),
        (StepStatus.CANCELLED, 110.0),
    ]
    with pytest.raises(StoreError, match="r2"):
        writer.finish_run("r2", "failed", 2, "", 1.0)
    with pytest.raises(StoreError, match="incident 99"):
        writer.start_run("r3", 99, "host_failure", 1, 1, "", 1.0)


def test_the_same_key_is_the_same_step_and_every_note_a_new_one(
    store: Store, writer: Writer, incident: Incident
) -> None:
    writer.put_step(incident.id, "r1", "t1", "Fence", StepStatus.RUNNING, 101.0)
    writer.put_step(
        incident.id, "r1", "t1", "Fence", StepStatus.CHANGED, 101.0, 103.5, "read off twice", "hass_fence"
    )
    writer.put_step(incident.id, "r2", "t1", "Fence", StepStatus.SKIPPED, 120.0, 120.0)
    writer.note(incident.id, "decided", StepStatus.OK, 100.5, "act")
    writer.note(incident.id, "decided", StepStatus.OK, 119.0, "act again")
    long = "k" * 400
    writer.put_step(incident.id, "r3", long + "a", "A", StepStatus.OK, 130.0, 131.0)
    writer.put_step(incident.id, "r3", long + "b", "B", StepStatus.OK, 131.0, 132.0)
    steps = store.steps(incident.id)
    assert [(step.run, step.name, step.status) for step in steps] == [
        ("", "decided", StepStatus.OK),
        ("r1", "Fence", StepStatus.CHANGED),
        ("", "decided", StepStatus.OK),
        ("r2", "Fence", StepStatus.SKIPPED),
        ("r3", "A", StepStatus.OK),
        ("r3", "B", StepStatus.OK),
    ]
    assert (steps[1].started_at, steps[1].finished_at, steps[1].detail) == (101.0, 103.5, "read off twice")
    assert [step.action for step in steps] == ["", "hass_fence", "", "", "", ""]


def test_a_move_is_told_again_and_again(store: Store, writer: Writer, incident: Incident) -> None:
    first = Move(incident.id, "uuid-1", "web", "compute1", MoveState.PENDING, was="active", priority=3)
    second = Move(incident.id, "uuid-2", "db", "compute1", MoveState.PENDING, was="stopped")
    done = Move(
        incident.id,
        "uuid-1",
        "web",
        "compute1",
        MoveState.SUCCEEDED,
        "compute2",
        "active",
        2,
        3,
        105.0,
        109.25,
        "x",
    )
    for move in (first, second, done):
        writer.put_move(move)
    assert store.moves(incident.id) == [done, second]


# What people want: pauses and orders


def test_what_was_decided_is_kept_with_its_snapshot_which_is_made_once(
    store: Store, writer: Writer, incident: Incident
) -> None:
    asked: list[str] = []

    def body() -> bytes:
        asked.append("body")
        return b"\x00view\xff" * 20_000  # more than MariaDB's BLOB holds

    held = Decided(incident.id, 5.0, "held", "storm", "many are down", (("compute2", "fencing", "p"),))
    number = writer.put_decided([held], body)
    opened = Decided(incident.id, 5.0, "opened", "power", "off")
    assert writer.put_decided([opened], body, number) == number
    assert len(asked) <= 1  # in memory it is made when it is asked for
    found = store.decided(incident.id)
    assert found == [replace(held, snapshot=number), replace(opened, snapshot=number)]
    assert store.snapshot(number) == b"\x00view\xff" * 20_000
    assert store.snapshot(number + 1) is None
    assert store.decided(incident.id + 1) == []


def test_of_very_many_decisions_the_first_and_the_newest_are_kept(
    store: Store, writer: Writer, incident: Incident
) -> None:
    numbers = []
    for at in range(MOST + 10):
        made = Decided(incident.id, float(at), "held", "rate", "others run")
        numbers.append(writer.put_decided([made], lambda: b"view"))
    kept = [int(each.at) for each in store.decided(incident.id)]
    assert len(kept) == MOST
    assert kept[: MOST // 4] == list(range(MOST // 4))
    assert kept[MOST // 4 :] == list(range(MOST // 4 + 10, MOST + 10))
    assert store.snapshot(numbers[MOST // 4]) is None
    assert store.snapshot(numbers[0]) == store.snapshot(numbers[-1]) == b"view"


def test_of_old_ended_incidents_it_is_forgotten_what_was_decided(
    store: Store, writer: Writer, incident: Incident
) -> None:
    shared = writer.put_decided([Decided(incident.id, 1.0, "opened", "power", "off")], lambda: b"one")
    writer.forget_decided(0)
    assert len(store.decided(incident.id)) == 1  # it has no end yet
    writer.close_incident(incident.id, Outcome.CLEARED, "back", 2.0)
    later = writer.open_incident("compute1", FAULT, "again", 3.0)
    own = writer.put_decided([Decided(later.id, 3.0, "opened", "power", "off")], lambda: b"two")
    writer.forget_decided(2)
    assert store.snapshot(shared) == b"one"
    writer.forget_decided(1)
    assert (store.decided(incident.id), store.snapshot(shared)) == ([], None)
    assert store.snapshot(own) == b"two"
    assert store.incident(incident.id) is not None


def test_a_pause_of_everything_is_the_switch(store: Store) -> None:
    assert store.disarmed(10.0) is None
    assert store.disarm("network works", "alice", at=10.0) == Pause("network works", "alice", 10.0)
    made = store.disarm(" power works ", "bob", until=30.0, at=20.0)
    assert made == Pause("power works", "bob", 20.0, 30.0, Scope.ALL, "")
    assert store.disarmed(29.9) == made
    assert store.pauses(29.9) == (made,)
    assert store.disarmed(30.0) is None
    assert store.arm(40.0) is False
    store.disarm("third", "carol", at=50.0)
    assert store.arm(60.0) is True
    assert store.disarmed(61.0) is None
    assert store.pauses(61.0) == ()


def test_pauses_of_several_scopes_live_side_by_side_the_widest_first(store: Store, writer: Writer) -> None:
    writer.put_host(Host("compute10", "192.0.2.20", "rack-b"))
    host = store.disarm("memory test", "alice", at=10.0, scope=Scope.HOST, name="compute1")
    tenth = store.disarm("disk", "alice", at=11.0, scope=Scope.HOST, name="compute10")
    rack_b = store.disarm("switch", "bob", 50.0, at=12.0, scope=Scope.CLUSTER, name="rack-b")
    rack_a = store.disarm("power", "bob", at=13.0, scope=Scope.CLUSTER, name="rack-a")
    assert store.disarmed(14.0) is None
    everything = store.disarm("all of it", "carol", at=14.0)
    assert store.pauses(20.0) == (everything, rack_a, rack_b, host, tenth)
    assert store.pauses(50.0) == (everything, rack_a, host, tenth)
    assert (host.scope, host.name) == (Scope.HOST, "compute1")
    again = store.disarm("still", "dave", at=15.0, scope=Scope.HOST, name="compute1")
    assert store.pauses(20.0) == (everything, rack_a, rack_b, again, tenth)
    assert store.arm(20.0, Scope.HOST, "compute1") is True
    assert store.arm(20.0, Scope.HOST, "compute1") is False
    assert store.arm(20.0) is True
    assert store.disarmed(20.0) is None
    assert store.pauses(20.0) == (rack_a, rack_b, tenth)
    assert store.arm(21.0, Scope.CLUSTER, "rack-b") is True
    assert store.pauses(21.0) == (rack_a, tenth)


def test_a_cluster_and_a_host_of_the_same_name_are_paused_apart(store: Store, writer: Writer) -> None:
    writer.put_host(Host("rack-a", "192.0.2.20", "rack-a"))
    store.disarm("x", "alice", at=10.0, scope=Scope.CLUSTER, name="rack-a")
    store.disarm("y", "alice", at=11.0, scope=Scope.HOST, name="rack-a")
    assert store.arm(12.0, Scope.CLUSTER, "rack-a") is True
    assert [(pause.scope, pause.reason) for pause in store.pauses(13.0)] == [(Scope.HOST, "y")]


def test_a_pause_wants_a_reason_a_future_and_a_name_that_is_known(store: Store, writer: Writer) -> None:
    with pytest.raises(StoreError, match="reason"):
        store.disarm("  ", "alice")
    with pytest.raises(StoreError, match="after its beginning"):
        store.disarm("x", "alice", until=5.0, at=10.0)
    with pytest.raises(StoreError, match="has no name, got 'compute1'"):
        store.disarm("x", "alice", name="compute1")
    for name in ("compute10", "Compute1", "compute1 ", "rack-a", ""):
        with pytest.raises(StoreError, match=f"host '{name}' is not known; .*known: compute1$"):
            store.disarm("x", "alice", scope=Scope.HOST, name=name)
        with pytest.raises(StoreError, match=f"host '{name}' is not known"):
            store.arm(scope=Scope.HOST, name=name)
    with pytest.raises(
        StoreError, match=r"cluster 'rack-b' is not known; did you mean rack-a\? known: rack-a$"
    ):
        store.disarm("x", "alice", scope=Scope.CLUSTER, name="rack-b")
    assert store.pauses() == ()


def test_a_pause_can_be_ended_after_its_host_was_taken_off_the_list(store: Store, writer: Writer) -> None:
    store.disarm("x", "alice", scope=Scope.HOST, name="compute1")
    writer.keep_hosts([])
    assert store.arm(scope=Scope.HOST, name="compute1") is True
    with pytest.raises(StoreError, match="host 'compute1' is not known; no host is known yet"):
        store.disarm("x", "alice", scope=Scope.HOST, name="compute1")


def test_an_order_is_in_force_until_it_is_ended(store: Store, writer: Writer) -> None:
    assert store.orders(1.0) == ()
    given = store.give_order(
        "compute1", OrderKind.MAINTENANCE, " new memory ", "alice", until=500.0, drain=True, at=100.0
    )
    assert given == Order(
        given.id, "compute1", OrderKind.MAINTENANCE, "new memory", "alice", 100.0, 500.0, True
    )
    assert store.orders(101.0) == (given,)
    assert store.end_orders("compute1", OrderKind.RESTORE, 102.0) is False
    assert store.end_orders("compute1", OrderKind.MAINTENANCE, 103.0) is True
    assert store.end_orders("compute1", OrderKind.MAINTENANCE, 104.0) is False
    assert store.orders(104.0) == ()


def test_an_order_runs_out_by_itself(store: Store, writer: Writer) -> None:
    given = store.give_order("compute1", OrderKind.CONFIRM_FENCED, "unplugged", "bob", until=20.0, at=10.0)
    assert store.orders(19.9) == (given,)
    assert store.orders(20.0) == ()
    assert store.end_orders("compute1", OrderKind.CONFIRM_FENCED, 21.0) is False


def test_of_a_host_and_a_kind_the_newest_order_is_in_force(store: Store, writer: Writer) -> None:
    writer.put_host(Host("compute2", "192.0.2.12"))
    kinds = (OrderKind.MAINTENANCE, OrderKind.CONFIRM_FENCED, OrderKind.RESTORE)
    first, *others = (store.give_order("compute1", kind, "r", "alice", at=10.0) for kind in kinds)
    elsewhere = store.give_order("compute2", OrderKind.MAINTENANCE, "r", "alice", at=11.0)
    newer = store.give_order("compute1", OrderKind.MAINTENANCE, "s", "bob", drain=True, at=12.0)
    assert len({first.id, elsewhere.id, newer.id}) == 3
    assert store.orders(13.0) == (*others, elsewhere, newer)


def test_the_controller_ends_an_order_that_it_carried_out(store: Store, writer: Writer) -> None:
    first = store.give_order("compute1", OrderKind.RESTORE, "", "alice", at=10.0)
    second = store.give_order("compute1", OrderKind.MAINTENANCE, "r", "alice", at=11.0)
    assert first.reason == ""
    writer.end_order(first.id, 12.0)
    writer.end_order(first.id, 13.0)
    assert store.orders(12.0) == (second,)
    with pytest.raises(StoreError, match=f"order {second.id + 1} is not in the database"):
        writer.end_order(second.id + 1, 14.0)


def test_an_order_wants_a_known_host_a_reason_and_a_future(store: Store, writer: Writer) -> None:
    writer.put_host(Host("compute2", "192.0.2.12"))
    writer.put_host(Host("gone", "192.0.2.13"))
    writer.keep_hosts(["compute1", "compute2"])
    for kind in (OrderKind.MAINTENANCE, OrderKind.CONFIRM_FENCED):
        with pytest.raises(StoreError, match=f"order {kind.value}: a reason is needed"):
            store.give_order("compute1", kind, " \n", "alice")
    with pytest.raises(StoreError, match="after its beginning"):
        store.give_order("compute1", OrderKind.RESTORE, "", "alice", until=10.0, at=10.0)
    for name in ("gone", "compute10", "COMPUTE1", "compute1 ", ""):
        with pytest.raises(StoreError, match=f"host '{name}' is not known; .*known: compute1, compute2$"):
            store.give_order(name, OrderKind.RESTORE, "", "alice")
        with pytest.raises(StoreError, match=f"host '{name}' is not known"):
            store.end_orders(name, OrderKind.RESTORE)
    assert store.orders() == ()


def test_an_order_for_a_host_that_was_taken_off_the_list_can_be_taken_back(
    store: Store, writer: Writer
) -> None:
    store.give_order("compute1", OrderKind.MAINTENANCE, "r", "alice", at=10.0)
    writer.keep_hosts([])
    assert store.end_orders("compute1", OrderKind.MAINTENANCE, 11.0) is True
    assert store.orders(12.0) == ()


def test_of_many_hosts_an_error_names_only_some(store: Store, writer: Writer) -> None:
    writer.put_hosts(Host(f"node{number:04d}", "192.0.2.1") for number in range(500))
    with pytest.raises(StoreError, match=r"did you mean node0123\?.* and 491 more$") as caught:
        store.give_order("node0123a", OrderKind.RESTORE, "", "alice")
    assert len(str(caught.value)) < 300


def test_what_people_write_is_kept_as_far_as_it_fits(store: Store, writer: Writer) -> None:
    reason = "💥" * 20_000 + "\0"
    pause = store.disarm(reason, "n" * 300)
    given = store.give_order("compute1", OrderKind.MAINTENANCE, reason, "n" * 300)
    assert store.pauses() == (pause,)
    assert store.orders() == (given,)
    assert (len(given.reason), len(given.by)) == (len(pause.reason), len(pause.by)) == (16_000, 255)


def test_a_word_on_an_instance_is_in_force_until_it_is_taken_back(store: Store, writer: Writer) -> None:
    assert store.choices() == ()
    given = store.choose("u1", False, " rebuilt every night ", "alice", "build-7", at=10.0)
    assert given == Choice("u1", False, "rebuilt every night", "alice", 10.0, "build-7")
    other = store.choose("u2", True, "", "bob", at=11.0)
    assert store.choices() == (given, other)
    newer = store.choose("u1", True, "", "bob", "build-7", at=12.0)
    assert store.choices() == (other, newer)
    assert store.forget_choice("u10", at=13.0) is False
    assert store.forget_choice("u1", at=13.0) is True
    assert store.forget_choice("u1", at=14.0) is False
    assert store.choices() == (other,)


def test_a_host_is_kept_in_reserve_or_not(store: Store, writer: Writer) -> None:
    assert [row.reserve for row in store.hosts()] == [Reserve.NONE]
    writer.set_host_reserve("compute1", Reserve.READY)
    writer.put_host(Host("compute1", "192.0.2.99"))  # the configuration is read again
    assert [row.reserve for row in store.hosts()] == [Reserve.READY]
    writer.set_host_reserve("compute1", Reserve.USED)
    assert [row.reserve for row in store.hosts()] == [Reserve.USED]
    with pytest.raises(StoreError, match="host 'compute10' is not in the database"):
        writer.set_host_reserve("compute10", Reserve.READY)


def test_a_failback_says_of_which_incident_it_is(store: Store, writer: Writer, incident: Incident) -> None:
    given = store.give_order("compute1", OrderKind.FAILBACK, "", "alice", at=10.0, incident=incident.id)
    assert given.incident == incident.id
    assert store.orders(11.0) == (given,)
