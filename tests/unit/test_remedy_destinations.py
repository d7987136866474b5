"""Where instances are sent, one destination after the other; what is left alone; reserved hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hass_runtime.decide.protection import Aggregate, Protection
from hass_runtime.decide.reserve import ANYWHERE, destinations
from hass_runtime.domain import Method, MoveState
from hass_runtime.remedy import homecoming
from hass_runtime.remedy.drain import DrainError
from hass_runtime.remedy.draining import Drained, Drainer
from hass_runtime.remedy.evacuation import Evacuator
from hass_runtime.remedy.fencing import Look
from hass_runtime.remedy.groups import Pace, Turns
from hass_runtime.remedy.moves import Policy
from hass_runtime.remedy.nova import CloudError, ComputeService, InstanceAction, Migration, Server
from hass_runtime.remedy.reserve import KEPT, Reserve

SOURCE = "compute1"
POLICY = Policy(timeout=60.0, retries=2, backoff=0.5, foreign_task=5.0, unanswered=5.0, power=2.0)


class Nova:
    """Hosts with so much room, services, aggregates; what is sent somewhere lands at the next look."""

    def __init__(self, *servers, room=None):
        self.all = {server.id: server for server in servers}
        self.room = dict(room or {})
        self.records: list[Migration] = []
        self.sent: list[tuple[str, str]] = []
        self.services = {name: service(name) for name in (SOURCE, *self.room)}
        self.aggregates: dict[str, list[str]] = {}
        self.refuses_aggregates = False

    def servers_on(self, host):
        return [server for server in self.all.values() if server.host == host]

    def server(self, server_id):
        return self.all.get(server_id)

    def evacuations(self, source, since):
        return [each for each in self.records if each.source == source]

    def live_migrations(self, source, since):
        return [each for each in self.records if each.source == source]

    def actions(self, server_id):
        return [InstanceAction("create", 0.0, False)]

    def compute_service(self, host):
        return self.services.get(host)

    def set_enabled(self, service, enabled, reason=""):
        self.services[service.host] = replace(
            self.services[service.host], enabled=enabled, disabled_reason=reason
        )

    def evacuate(self, server_id, host=ANYWHERE):
        self.sent.append((server_id, host))
        fits = [
            name
            for name, room in self.room.items()
            if host in (ANYWHERE, name) and room > 0 and self.services[name].enabled
        ]
        status = "done" if fits else "error"
        target = fits[0] if fits else ""
        number = len(self.records) + 1
        self.records.append(Migration(number, server_id, status, SOURCE, target, 5.0 + number))
        server = self.all[server_id]
        if fits:
            self.room[target] -= 1
            self.all[server_id] = replace(server, host=target, vm_state="active", task_state="")
        else:
            self.all[server_id] = replace(server, vm_state="error", fault="No valid host was found.")

    def start(self, server_id):
        raise AssertionError("all of it arrives running")

    stop = start

    def live_migrate(self, server_id, host=ANYWHERE):
        self.sent.append((server_id, host))
        server, number = self.all[server_id], len(self.records) + 1
        self.records.append(Migration(number, server_id, "completed", server.host, host, 5.0))
        self.all[server_id] = replace(server, host=host)

    def aggregates_of(self, host):
        return tuple(Aggregate(name, id=name) for name in self.aggregates.get(host, []))

    def add_to_aggregate(self, aggregate, host):
        if self.refuses_aggregates:
            raise CloudError("add it: Nova says 409: it is in another zone", 409)
        self.aggregates.setdefault(host, []).append(aggregate.name)


def service(host, **more):
    return replace(ComputeService(f"s-{host}", host, True, True, False, "", ""), **more)


def vm(number, host=SOURCE, vm_state="active", priority=0):
    return Server(f"u{number}", f"vm{number}", host, vm_state, "", priority)


def kept(nova, *names):
    for name in names:
        nova.services[name] = service(name, enabled=False, disabled_reason=KEPT)


class Ticks:
    """A clock that moves by sleeping; here everything happens in one thread."""

    def __init__(self):
        self.now = 0.0
        self.wall = lambda: 1_000_000 + self.now
        self.monotonic = lambda: self.now

    def sleep(self, seconds):
        self.now += seconds


def evacuate(nova, method=Method.AUTO, reserved=(), **changes):
    seen = []
    spare = Reserve(nova, SOURCE)
    outcome = Evacuator(
        nova,
        SOURCE,
        since=0.0,
        still_off=lambda: Look(True),
        policy=POLICY,
        workers=1,
        poll_interval=0.1,
        progress=seen.append,
        clock=Ticks(),
        destinations=destinations(method, spare.in_order(reserved)),
        reserve=spare,
        **changes,
    ).run()
    return outcome, seen


def places(nova):
    return {server.name: server.host for server in nova.all.values()}


@pytest.mark.parametrize(
    ("method", "ways"),
    [
        (Method.AUTO, (ANYWHERE,)),
        (Method.RESERVED_HOST, ("r1", "r2")),
        (Method.AUTO_PRIORITY, (ANYWHERE, "r1", "r2")),
        (Method.RH_PRIORITY, ("r1", "r2", ANYWHERE)),
    ],
)
def test_the_destinations_of_each_method(method, ways):
    assert destinations(method, ("r1", "r2")) == ways


def test_reserved_host_fills_one_after_the_other_and_uses_no_other():
    nova = Nova(vm(1), vm(2), vm(3), room={"r1": 2, "r2": 5, "big": 9})
    kept(nova, "r1", "r2")
    outcome, _ = evacuate(nova, Method.RESERVED_HOST, ("r1", "r2"))
    assert places(nova) == {"vm1": "r1", "vm2": "r1", "vm3": "r2"}
    assert outcome.ok
    assert "reserved host r1 given to Nova; reserved host r2 given to Nova" in outcome.words(SOURCE)
    assert nova.services["r1"].enabled


def test_auto_priority_opens_the_reserve_only_for_what_found_no_place():
    nova = Nova(vm(1), vm(2), room={"other": 1, "r1": 5})
    kept(nova, "r1")
    outcome, seen = evacuate(nova, Method.AUTO_PRIORITY, ("r1",))
    assert places(nova) == {"vm1": "other", "vm2": "r1"}
    waited = [move for move in seen if move.name == "vm2" and move.state is MoveState.PENDING][-1]
    assert waited.reason.startswith("not to any host: evacuation to any host ended as error: No valid host")
    assert MoveState.FAILED not in {move.state for move in seen}
    assert {move.was for move in outcome.moves} == {"active"}
    nova = Nova(vm(1), room={"other": 1, "r1": 5})
    kept(nova, "r1")
    evacuate(nova, Method.AUTO_PRIORITY, ("r1",))
    assert not nova.services["r1"].enabled


def test_rh_priority_goes_elsewhere_with_what_found_no_place():
    nova = Nova(vm(1), vm(2), room={"r1": 1, "other": 5})
    kept(nova, "r1")
    evacuate(nova, Method.RH_PRIORITY, ("r1",))
    assert places(nova) == {"vm1": "r1", "vm2": "other"}


def test_what_has_arrived_is_never_sent_elsewhere_even_if_it_cannot_be_started():
    class Cold(Nova):
        def evacuate(self, server_id, host=ANYWHERE):
            super().evacuate(server_id, host)
            self.all[server_id] = replace(self.all[server_id], vm_state="stopped")

        def start(self, server_id):
            raise CloudError("start it: Nova says 409: it is locked", 409)

    nova = Cold(vm(1), room={"compute2": 9, "spare": 9})
    kept(nova, "spare")
    outcome, seen = evacuate(nova, Method.RH_PRIORITY, ["spare"])
    assert nova.sent == [("u1", "spare")]
    assert [(move.state, move.target) for move in outcome.moves] == [(MoveState.FAILED, "spare")]
    assert seen[-1].state is MoveState.FAILED
    assert not [move.reason for move in seen if move.reason.startswith("not to")]  # nor is it said to be


def test_what_fits_nowhere_fails_once_and_says_why():
    nova = Nova(vm(1), room={"r1": 0, "r2": 0})
    kept(nova, "r1", "r2")
    outcome, seen = evacuate(nova, Method.RESERVED_HOST, ("r1", "r2"))
    assert not outcome.ok
    assert [move.state for move in seen].count(MoveState.FAILED) == 1
    assert nova.services["r1"].enabled is nova.services["r2"].enabled is False
    assert nova.services["r1"].disabled_reason == KEPT
    assert "reserved host r1 put back: nothing came" in outcome.words(SOURCE)


def test_without_any_reserve_everything_fails_with_that_reason():
    nova = Nova(vm(1), room={"other": 5})
    outcome, seen = evacuate(nova, Method.RESERVED_HOST)
    assert outcome.moves[0].reason == "no reserved host is ready"
    assert seen[-1].state is MoveState.FAILED
    assert nova.sent == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"up": False}, "reserved host r1: its nova-compute is down"),
        ({"forced_down": True}, "reserved host r1: its nova-compute is down"),
        ({"disabled_reason": "broken fan"}, "reserved host r1 stays disabled, by a person: broken fan"),
    ],
)
def test_a_reserve_that_cannot_be_used_is_passed_over(change, why):
    nova = Nova(vm(1), room={"r1": 5, "r2": 5})
    kept(nova, "r1", "r2")
    nova.services["r1"] = replace(nova.services["r1"], **change)
    evacuate(nova, Method.RESERVED_HOST, ("r1", "r2"))
    assert places(nova) == {"vm1": "r2"}
    nova.all["u1"] = vm(1)
    nova.services["r2"] = nova.services["r1"]
    outcome, seen = evacuate(nova, Method.RESERVED_HOST, ("r1",))
    assert (seen[-1].state, seen[-1].reason) == (MoveState.FAILED, why)
    assert not outcome.ok


def test_a_reserve_in_the_same_aggregates_comes_first_and_another_joins_them():
    nova = Nova(vm(1), vm(2), room={"r1": 1, "r2": 1})
    kept(nova, "r1", "r2")
    nova.aggregates = {SOURCE: ["ssd"], "r2": ["ssd"]}
    outcome, _ = evacuate(nova, Method.RESERVED_HOST, ("r1", "r2"))
    assert places(nova) == {"vm1": "r2", "vm2": "r1"}
    assert nova.aggregates["r1"] == ["ssd"]
    assert "r1 joined aggregate ssd" in outcome.words(SOURCE)


def test_an_aggregate_that_cannot_be_joined_leaves_it_to_the_scheduler():
    nova = Nova(vm(1), room={"r1": 1})
    kept(nova, "r1")
    nova.aggregates, nova.refuses_aggregates = {SOURCE: ["ssd"]}, True
    outcome, _ = evacuate(nova, Method.RESERVED_HOST, ("r1",))
    assert places(nova) == {"vm1": "r1"}
    assert "r1 did not join an aggregate of compute1: add it: Nova says 409" in outcome.words(SOURCE)


def test_no_aggregate_is_joined_when_that_is_not_wanted():
    nova = Nova(room={"r1": 1})
    kept(nova, "r1")
    nova.aggregates = {SOURCE: ["ssd"]}
    assert Reserve(nova, SOURCE, to_aggregates=False).open("r1") == ""
    assert "r1" not in nova.aggregates


def test_a_host_that_comes_back_ends_it_at_every_destination():
    nova = Nova(vm(1), room={"r1": 5})
    kept(nova, "r1")
    spare = Reserve(nova, SOURCE)
    outcome = Evacuator(
        nova,
        SOURCE,
        since=0.0,
        still_off=lambda: Look(False, "it says on", final=True),
        policy=POLICY,
        poll_interval=0.1,
        clock=Ticks(),
        destinations=("r1", ANYWHERE),
        reserve=spare,
    ).run()
    assert outcome.halted == "it says on"
    assert nova.sent == []
    assert not nova.services["r1"].enabled


# What is not protected


def only(*names):
    return lambda server: Protection(server.name in names, "instance", "it asked for it")


def test_what_is_not_protected_is_listed_and_never_sent():
    nova = Nova(vm(1), vm(2), vm(3, vm_state="paused"), room={"other": 5})
    outcome, seen = evacuate(nova, protects=only("vm1"))
    assert nova.sent == [("u1", ANYWHERE)]
    states = {move.name: move.state for move in outcome.moves}
    assert states == {"vm1": MoveState.SUCCEEDED, "vm2": MoveState.LEFT, "vm3": MoveState.LEFT}
    assert outcome.ok
    told = [move.reason for move in seen if move.name == "vm2"]
    assert told == ["not protected: it asked for it"]
    assert "2 left: vm2 (not protected: it asked for it)" in outcome.words(SOURCE)


def test_what_is_on_its_way_already_is_seen_to_its_end():
    nova = Nova(vm(1), room={"other": 5})
    nova.records.append(Migration(1, "u1", "accepted", SOURCE, "", 5.0))

    def landed(server_id, real=nova.server):
        nova.records[0] = replace(nova.records[0], status="done", target="other")
        nova.all["u1"] = replace(nova.all["u1"], host="other")
        return real(server_id)

    nova.server = landed
    outcome, _ = evacuate(nova, protects=only())
    assert [move.state for move in outcome.moves] == [MoveState.SUCCEEDED]
    assert nova.sent == []


def test_the_order_is_told_when_there_is_more_than_one_group():
    nova = Nova(vm(1, priority=5), vm(2), room={"other": 5})
    outcome, _ = evacuate(nova, turns=Turns(Pace.IN_TURN))
    assert [name for name, _ in nova.sent] == ["u1", "u2"]
    assert "1 of priority 5, 1 of priority 0: each when the one before is done" in outcome.words(SOURCE)


# Home again


def come_home(nova, moved, home=SOURCE, protects=None):
    seen = []

    def drainer(source, ids):
        more = {"protects": protects} if protects else {}
        return Drainer(
            nova, source, since=0.0, only=ids, destination=home, poll_interval=0.1, clock=Ticks(),
            progress=seen.append, **more,
        )  # fmt: skip

    return homecoming.Homecoming(nova, home, moved, 9, drainer, seen.append).run(), seen


def test_only_what_is_still_where_it_was_put_comes_home():
    nova = Nova(vm(1, "a"), vm(2, "b"), vm(3, "a"), vm(4, "a", "stopped"), vm(5, "a"), room={"a": 1, "b": 1})
    moved = {"u1": "a", "u2": "b", "u3": "b", "u4": "a", "u9": "a"}
    outcome, seen = come_home(nova, moved)
    assert sorted(nova.sent) == [("u1", SOURCE), ("u2", SOURCE)]
    assert places(nova) == {"vm1": SOURCE, "vm2": SOURCE, "vm3": "a", "vm4": "a", "vm5": "a"}
    left = {move.name: move.reason for move in seen if move.state is MoveState.LEFT}
    assert left == {
        "vm3": "is on a since, not on b where HASS had moved it",
        "vm4": "stopped: stays, Nova live-migrates only what runs",
    }
    assert outcome.ok
    assert homecoming.words(outcome, SOURCE).startswith(
        "2 of 4 instances are home on compute1; 2 left: vm3 ("
    )


def test_a_second_run_moves_nothing_and_lists_what_is_home():
    nova = Nova(vm(1, "a"), room={"a": 1})
    first, _ = come_home(nova, {"u1": "a"})
    nova.sent.clear()
    second, _ = come_home(nova, {"u1": "a"})
    assert nova.sent == []
    assert (
        [move.state for move in second.moves] == [move.state for move in first.moves] == [MoveState.SUCCEEDED]
    )


def test_what_is_not_protected_does_not_come_home():
    nova = Nova(vm(1, "a"), room={"a": 1})
    outcome, _ = come_home(nova, {"u1": "a"}, protects=only())
    assert [move.state for move in outcome.moves] == [MoveState.LEFT]
    assert nova.sent == []


@pytest.mark.parametrize("change", [{"up": False}, {"forced_down": True}, {"enabled": False}])
def test_nothing_comes_home_to_a_host_that_is_out(change):
    nova = Nova()
    nova.services[SOURCE] = service(SOURCE, **change)
    with pytest.raises(DrainError, match="nothing can come home to compute1, nothing was changed"):
        homecoming.look_first(nova, SOURCE)
    homecoming.look_first(Nova(), SOURCE)


def test_a_drained_record_without_moves_is_told():
    assert homecoming.words(Drained((), 0), SOURCE) == "0 of 0 instances are home on compute1"
