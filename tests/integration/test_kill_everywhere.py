"""The real controller dies by SIGKILL at every journal boundary of an incident, and is started again.

A boundary is the moment right before or right after a commit of the journal. Each incident takes three of
them, and three controllers after the first: one death until the host is fenced, one until its instances run
elsewhere, one until it is back. However often it was killed, the end is the same. All boundaries take long,
so by default it is every HASS_KILL_STRIDE-th; `make kill-everywhere` takes each (HASS_KILL_STRIDE=1), in
HASS_KILL_CLUSTERS clusters side by side.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from crashing import FENCE, PARTS
from watching import all_healthy, get, incident_of, incidents, until

from hass_runtime.sandbox.cluster import Sandbox
from hass_runtime.sandbox.nova_user import NovaUser

pytestmark = pytest.mark.integration

STRIDE = int(os.environ.get("HASS_KILL_STRIDE", "9"))
CLUSTERS = int(os.environ.get("HASS_KILL_CLUSTERS", "1"))
REPORT = os.environ.get("HASS_KILL_REPORT", "")
PATIENCE = 300.0  # seconds: no verdict about speed
HOSTS = ["host1", "host2"]  # whatever leaves the one is on the other: each takes its turn to fail
INSTANCES = [
    {"name": "web", "host": "host1", "state": "active"},
    {"name": "batch", "host": "host1", "state": "stopped"},
]
# The same incident over and over: nothing may be held back for having happened before.
OVERRIDES = {
    "safety": {
        "flap_limit": 1000,
        "max_fences": 10000,
        "cooldown": 0,
        "retry_interval": 1,
        "max_attempts": 50,
    },
    "recovery": {"healthy_delay": 1, "poll_interval": 0.2},
    "detection": {"polling_interval": 0.5},
}


@dataclass(frozen=True)
class Boundary:
    """One place in the journal of an incident: the n-th of its part, before or after a commit of ``what``."""

    part: str
    n: int
    side: str = ""
    what: str = ""


@dataclass(frozen=True)
class Death:
    """A boundary at which the controller was killed, and how the incident ended."""

    boundary: Boundary
    end: str
    seconds: float

    def row(self) -> str:
        at = self.boundary
        return f"| {at.part} {at.n} | {at.side} | {at.what} | {self.end} | {self.seconds:.0f} |"


@dataclass
class Work:
    """What is left to try, shared by all clusters, and what came of the rest."""

    left: dict[str, deque[Boundary]] = field(default_factory=dict)
    deaths: list[Death] = field(default_factory=list)
    missed: list[Boundary] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> list[Boundary]:
        """One of each part, as far as there is one."""
        with self.lock:
            return [self.left[part].popleft() for part in PARTS if self.left[part]]


class Cluster:
    """A sandbox of two hosts whose controller can be told where to die."""

    def __init__(self, directory: Path) -> None:
        self._control = directory / "control.json"
        self._trace = directory / "trace.jsonl"
        wrapper = str(Path(__file__).with_name("crashing.py"))
        self.box = Sandbox(
            hosts=HOSTS,
            instances=INSTANCES,
            spawn_seconds=0.1,
            overrides=OVERRIDES,
            controller_argv=lambda config: [
                *(sys.executable, wrapper, str(self._control), str(self._trace)),
                *("--config", str(config)),
            ],
        )
        self._nova: NovaUser | None = None
        self._incidents = 0

    def start(self) -> None:
        self.box.start()
        self._nova = NovaUser(self.box.endpoints)
        until("all hosts healthy", lambda: all_healthy(self.box), PATIENCE)

    def incident(self, boundaries: list[Boundary]) -> tuple[list[Boundary], float]:
        """One power cut to its end, with a death at each boundary; those that were reached, and seconds."""
        known = {each["id"] for each in incidents(self.box)}
        victim = self._place()
        begun = time.monotonic()
        self._incidents += 1
        self._trace.unlink(missing_ok=True)
        self._aim(boundaries[0] if boundaries else None)
        self.box.power_cut(victim)
        died: list[Boundary] = []
        for number, boundary in enumerate(boundaries):
            if not until(f"death at {boundary}, or the end", lambda: self._dead_or_over(known), PATIENCE):
                raise AssertionError("unreachable")
            if self.box.controller_runs:
                break
            died.append(self._last())
            assert (died[-1].part, died[-1].n) == (boundary.part, boundary.n)
            self._aim(boundaries[number + 1] if number + 1 < len(boundaries) else None)
            self.box.controller_start()
        until("the incident has an end", lambda: self._over(known), PATIENCE)
        self._control.unlink(missing_ok=True)
        until("all hosts healthy", lambda: all_healthy(self.box), PATIENCE)
        self._check(known, victim)
        return died, time.monotonic() - begun

    def trace(self) -> list[Boundary]:
        return [Boundary(**json.loads(line)) for line in self._trace.read_text().splitlines()]

    def _last(self) -> Boundary:
        return self.trace()[-1]

    def _aim(self, boundary: Boundary | None) -> None:
        part, n = (boundary.part, boundary.n) if boundary else (FENCE, 0)
        aim = {"incident": self._incidents, "part": part, "at": n}
        partial = self._control.with_suffix(".part")
        partial.write_text(json.dumps(aim))
        partial.replace(self._control)

    def _place(self) -> str:
        guests = self.box.guests()
        (host,) = guests["running"][self.box.instances["web"]]
        return str(host)

    def _new(self, known: set[int]) -> list[dict]:
        return [each for each in incidents(self.box) if each["id"] not in known]

    def _over(self, known: set[int]) -> bool:
        return any(each["closed_at"] for each in self._new(known))

    def _dead_or_over(self, known: set[int]) -> bool:
        return not self.box.controller_runs or self._over(known)

    def _check(self, known: set[int], victim: str) -> None:
        """The end is the same wherever the controller died."""
        (other,) = set(HOSTS) - {victim}
        new = self._new(known)
        assert [each["host"] for each in new] == [victim], new
        incident = get(self.box, f"/v1/incidents/{new[0]['id']}")
        assert incident["outcome"] == "recovered", incident["reason"]
        assert incident["fenced_at"]
        assert {move["name"]: (move["state"], move["target"]) for move in incident["moves"]} == {
            "web": ("succeeded", other),
            "batch": ("succeeded", other),
        }
        assert all(run["status"] != "running" for run in incident["runs"])
        assert all(step["status"] != "running" for step in incident["steps"])
        guests = self.box.guests()
        assert guests["doubled"] == {}, "two hosts wrote to one disk"
        assert guests["running"] == {self.box.instances["web"]: [other]}
        assert self._nova is not None
        servers = {row["name"]: row for row in self._nova.get("/servers/detail?all_tenants=1")["servers"]}
        assert {name: (row["status"], row["OS-EXT-SRV-ATTR:host"]) for name, row in servers.items()} == {
            "web": ("ACTIVE", other),
            "batch": ("SHUTOFF", other),
        }
        services = self._nova.get("/os-services?binary=nova-compute")["services"]
        assert all((each["status"], each["forced_down"]) == ("enabled", False) for each in services)
        assert incident_of(self.box, victim)["id"] == new[0]["id"]


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[list[Cluster]]:
    made = []
    for number in range(CLUSTERS):
        directory = tmp_path / str(number)
        directory.mkdir()
        made.append(Cluster(directory))
    try:
        for cluster in made:
            cluster.start()
        yield made
    finally:
        for cluster in made:
            cluster.box.stop()


def test_it_ends_the_same_wherever_the_controller_is_killed(
    clusters: list[Cluster], capsys: pytest.CaptureFixture[str]
) -> None:
    _, usual = clusters[0].incident([])
    every = clusters[0].trace()
    assert set(PARTS) == {each.part for each in every}
    work = Work({part: deque([b for b in every if b.part == part][::STRIDE]) for part in PARTS})
    total = sum(len(part) for part in work.left.values())
    began = time.monotonic()
    with ThreadPoolExecutor(len(clusters)) as pool:
        for future in [pool.submit(_kill_until_done, cluster, work, capsys) for cluster in clusters]:
            future.result()
    _tell(every, usual, work, time.monotonic() - began, capsys)
    # How many steps a run has differs by one or two: of the last ones some are not there.
    assert len(work.missed) <= max(1, total // 10), work.missed
    assert len(work.deaths) + len(work.missed) == total


def _kill_until_done(cluster: Cluster, work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    while boundaries := work.take():
        try:
            died, seconds = cluster.incident(boundaries)
        except AssertionError as error:
            raise AssertionError(f"killed at {boundaries}: {error}") from error
        with work.lock:
            work.deaths += [Death(each, "recovered, closed, healthy", seconds) for each in died]
            not_died = boundaries[len(died) :]
            # What was not even aimed at is tried again.
            work.missed += not_died[:1]
            for each in not_died[1:]:
                work.left[each.part].append(each)
            with capsys.disabled():
                for each in died:
                    print(f"  {seconds:5.1f} s  {each.part} {each.n} {each.side}: {each.what}", flush=True)


def _tell(
    every: list[Boundary], usual: float, work: Work, took: float, capsys: pytest.CaptureFixture[str]
) -> None:
    deaths = sorted(work.deaths, key=lambda each: (PARTS.index(each.boundary.part), each.boundary.n))
    lines = [
        f"{len(every)} boundaries in an incident that takes {usual:.0f} s undisturbed; killed at "
        f"{len(deaths)} of them in {took:.0f} s; not reached: {len(work.missed)}.",
        "",
        "| boundary | side of the commit | what was written | end | seconds |",
        "| --- | --- | --- | --- | --- |",
        *(death.row() for death in deaths),
    ]
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    if REPORT:
        Path(REPORT).write_text("\n".join(lines) + "\n", encoding="utf-8")
