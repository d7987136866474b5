"""What a judge is told of the embedded cluster: from a real store, and a made-up Nova and hypervisors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hass_runtime.domain import Fault, Host, HostState, Layer, Move, MoveState, Outcome, StepStatus
from hass_runtime.sandbox.nova_user import NovaRefused
from hass_runtime.sandbox.real_facts import RealFacts
from hass_runtime.simulator.judge import Judge
from hass_runtime.simulator.record import Record
from hass_runtime.simulator.scenario import parse
from hass_runtime.store import Store, StoreError, Writer

SCENARIO = parse(
    """\
cluster:
  hosts: 2
  instances: [{name: web, host: host1}, {name: batch, host: host1, state: stopped}]
expect:
  - {by: 600, instance: web, state: active, on: others}
  - {never: {restarted: batch}}
  - {never: {evacuated: host2}}
""",
    "x.yml",
)
WEB, BATCH = "uuid-web", "uuid-batch"


class Box:
    """As much of a sandbox as facts need."""

    def __init__(self) -> None:
        self.instances = {"web": WEB, "batch": BATCH}
        self.running: dict[str, list[str]] = {WEB: ["host1"]}
        self.doubled: dict[str, list[str]] = {}

    def guests(self) -> dict[str, Any]:
        return {"running": self.running, "doubled": self.doubled}


class Nova:
    """Answers by path; `away` refuses."""

    def __init__(self) -> None:
        self.requests = {"req-of-a-person"}
        self.away = False
        self.servers = [
            {"id": WEB, "status": "ACTIVE", "OS-EXT-SRV-ATTR:host": "host1"},
            {"id": BATCH, "status": "SHUTOFF", "OS-EXT-SRV-ATTR:host": "host1"},
        ]
        self.actions: dict[str, list[dict[str, str]]] = {WEB: [], BATCH: []}
        self.migrations: list[dict[str, str]] = []

    def get(self, path: str) -> Any:
        if self.away:
            raise NovaRefused("503")
        if "os-instance-actions" in path:
            return {"instanceActions": self.actions[path.split("/")[2]]}
        return {"migrations": self.migrations} if "os-migrations" in path else {"servers": self.servers}


class Cluster:
    def __init__(self, path: Path) -> None:
        self.box, self.nova = Box(), Nova()
        self.store = Store(f"sqlite:///{path / 'hass.db'}")
        self.store.migrate()
        lease = self.store.lease_acquire("me", 1000.0)
        assert lease is not None
        self.pen: Writer = self.store.writer(lease)
        self.pen.put_hosts(Host(name, "127.0.0.1") for name in ("host1", "host2"))
        self.record = Record(lambda: self.facts.now)
        self.facts = RealFacts(self.box, SCENARIO, self.nova, self.store, self.record)  # type: ignore[arg-type]
        self.look()

    def look(self) -> None:
        self.facts._servers_at = float("-inf")  # now, not in a second
        self.facts.look()

    def events(self) -> list[str]:
        return [entry.event for entry in self.record.entries]

    def open(self) -> int:
        fault = Fault("host1", "power", Layer.POWER, "it is off")
        return self.pen.open_incident("host1", fault, "fence it", 1.0).id


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.store.close()


def test_what_was_so_at_the_beginning_is_no_event(cluster: Cluster) -> None:
    cluster.look()
    assert cluster.record.entries == []
    assert cluster.facts.running_on("web") == ["host1"]
    assert cluster.facts.running_there("host1") == {"web"}
    assert cluster.facts.running_on("batch") == []
    assert cluster.facts.nova_says("batch") == ("stopped", "host1")
    assert (cluster.facts.wanted("web"), cluster.facts.wanted("batch")) == (True, False)


def test_a_whole_incident_between_two_looks_is_told_in_order(cluster: Cluster) -> None:
    id = cluster.open()
    cluster.pen.set_host_state("host1", HostState.FENCING, "it is off", 2.0)
    cluster.pen.start_run("r1", id, "host_failure", 1, 1, "/run", 2.0)
    cluster.pen.put_step(id, "r1", "k", "Power off", StepStatus.OK, 2.0, 3.0, "off")
    cluster.pen.put_move(Move(id, WEB, "web", "host1", MoveState.SUCCEEDED, "host2", "active"))
    cluster.pen.update_incident(id, fenced_at=3.0)
    cluster.pen.finish_run("r1", "successful", 0, "", 4.0)
    cluster.look()
    assert cluster.events() == ["host.state", "incident.opened", "run.started", "run.step", "move",
                                "run.ended", "host.fenced"]  # fmt: skip
    found = cluster.facts.open_incident("host1")
    assert found is not None
    assert found.fenced_at == 3.0
    assert cluster.facts.fenced() == {"host1"}
    cluster.pen.close_incident(id, Outcome.RECOVERED, "all is well", 5.0)
    cluster.look()
    assert cluster.events()[-1] == "incident.closed"
    assert cluster.facts.open_incident("host1") is None
    before = len(cluster.record.entries)
    cluster.look()
    assert len(cluster.record.entries) == before


def test_what_cannot_be_asked_keeps_its_last_look(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut() -> Any:
        raise StoreError("the database does not answer")

    cluster.open()
    cluster.look()
    monkeypatch.setattr(cluster.store, "hosts", cut)
    cluster.nova.away = True
    cluster.box.running = {WEB: ["host2"]}
    version = cluster.facts.version
    cluster.look()
    assert cluster.facts.version != version
    assert cluster.facts.open_incident("host1") is not None
    assert cluster.facts.nova_says("web") == ("active", "host1")
    assert cluster.facts.running_on("web") == ["host2"], "the truth is always known"


def test_two_writers_of_a_moment_are_not_forgotten(cluster: Cluster) -> None:
    assert not cluster.facts.two_writers()
    cluster.box.doubled = {WEB: ["host1", "host2"]}
    cluster.look()
    cluster.box.doubled = {}
    cluster.look()
    assert cluster.facts.two_writers()
    assert cluster.facts.doubled == {"web": ["host1", "host2"]}


@pytest.mark.parametrize(
    ("action", "request_", "counts"),
    [
        ("start", "req-of-hass", True),
        ("evacuate", "req-of-hass", True),
        ("stop", "req-of-hass", False),
        ("create", "req-of-the-boot", False),
        ("start", "req-of-a-person", False),
    ],
)
def test_only_what_hass_starts_is_restarted(
    cluster: Cluster, action: str, request_: str, counts: bool
) -> None:
    cluster.nova.actions[BATCH] = [{"action": action, "request_id": request_}]
    cluster.look()
    assert cluster.facts.restarted() == ({"batch"} if counts else set())


def test_evacuated_is_the_host_that_instances_left(cluster: Cluster) -> None:
    cluster.nova.migrations = [{"source_compute": "host2", "dest_compute": "host1"}]
    cluster.look()
    assert cluster.facts.evacuated() == {"host2"}


def test_a_judge_gets_along_with_them(cluster: Cluster) -> None:
    judge = Judge(SCENARIO, cluster.facts)
    judge.look()
    cluster.box.running = {WEB: ["host2"]}
    cluster.nova.servers[0]["OS-EXT-SRV-ATTR:host"] = "host2"
    cluster.nova.actions[BATCH] = [{"action": "start", "request_id": "req-of-hass"}]
    cluster.look()
    judge.look()
    judge.finish()
    assert [each.held for each in judge.judgements()] == [True, False, True]


def test_one_that_is_deleted_is_not_wanted_any_more(cluster: Cluster) -> None:
    del cluster.nova.servers[0]
    cluster.facts.wishes.pop("web")
    cluster.look()
    assert cluster.facts.nova_says("web") is None
    assert not cluster.facts.wanted("web")
