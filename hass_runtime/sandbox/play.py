"""`hass sandbox play`: a scenario in the embedded cluster, in real time, judged from outside."""

from __future__ import annotations

import heapq
import re
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from hass_runtime.sandbox import bmc, playable
from hass_runtime.sandbox.cluster import Sandbox
from hass_runtime.sandbox.happenings import Happenings
from hass_runtime.sandbox.nova_user import NovaUser
from hass_runtime.sandbox.pointer import SandboxError
from hass_runtime.sandbox.real_facts import STORE_SECONDS, RealFacts
from hass_runtime.settings import load_controller
from hass_runtime.simulator.configuration import configured
from hass_runtime.simulator.judge import Judge
from hass_runtime.simulator.monitor import NO_BUGS, TWO_WRITERS, Violation
from hass_runtime.simulator.record import Entry, Record
from hass_runtime.simulator.run import Result
from hass_runtime.simulator.scenario import Event, Scenario, timeline
from hass_runtime.store import Store, StoreError

LOOK_EVERY = 0.25
HEALTHY_SECONDS = 120.0
EVENT_SECONDS = 120.0  # how long, after the end, an event that is still under way is waited for
_BUG = re.compile(r"\bBUG: (.*)")

Tell = Callable[[Entry], None]


def build(scenario: Scenario, log: Callable[[str], None]) -> Sandbox:
    """The sandbox that the scenario asks for, not yet started.

    Raises ScenarioError when it cannot be played here, with every reason; SandboxError and LayoutError when
    the machine cannot hold it.
    """
    configured(scenario)  # what the controller would say of the settings is said now
    kind = playable.bmc_kind(scenario, bmc.default_kind())
    playable.check(scenario, kind)
    return Sandbox(
        hosts=[host.name for host in scenario.hosts],
        instances=playable.instances(scenario),
        bmc_kind=kind,
        overrides=playable.overrides(scenario),
        without_bmc=[host.name for host in scenario.hosts if not host.ipmi],
        with_watchdog=playable.watchdogs(scenario, kind),
        gateway=any(event.name.startswith("controller_network") for event in scenario.events),
        quick=False,
        log=log,
    )


class Agenda:
    """What is to be done at which second of the scenario."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def at(self, moment: float, work: Callable[[], None]) -> None:
        """At one moment the first asked is first."""
        self._number += 1
        heapq.heappush(self._due, (moment, self._number, work))

    def next(self) -> float:
        """When the next one is due."""
        return self._due[0][0] if self._due else float("inf")

    def pop(self) -> Callable[[], None]:
        return heapq.heappop(self._due)[2]


class Play:
    """Plays a scenario once in a sandbox that was built for it and is started."""

    def __init__(self, box: Sandbox, scenario: Scenario, tell: Tell) -> None:
        """``tell`` gets each line of the log as soon as it is written."""
        self._box = box
        self._scenario = scenario
        self._tell = tell
        self._told = 0
        nova = NovaUser(box.endpoints)
        url = load_controller(box.layout.config, environ={}).database_url
        # One to look with, which does not wait for a database that is cut, and a person's, who does.
        self._eyes = Store(url, connect_timeout=STORE_SECONDS)
        self._hands = Store(url)
        self._record = Record(lambda: self._facts.now)
        self._facts = RealFacts(box, scenario, nova, self._eyes, self._record)
        self._happenings = Happenings(box, nova, self._hands, self._facts, self._record.world)
        self._judge = Judge(scenario, self._facts)
        self._agenda = Agenda()
        self._violations: list[Violation] = []
        self._under_way: list[Future[None]] = []

    def run(self) -> Result:
        """Raises SandboxError, or what the sandbox's parts raise, when it is the sandbox that fails."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="sandbox-events")
        try:
            self._wait_healthy()
            for event in timeline(self._scenario):
                self._agenda.at(event.at, lambda event=event: self._happen(event, pool))  # type: ignore[misc]
            self._judge.begin(self._agenda)
            self._facts.look()
            self._facts.begin()
            self._play()
            for future in self._under_way:
                future.result(EVENT_SECONDS)
            self._look_for_bugs()
            self._judge.finish()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self._eyes.close()
            self._hands.close()
        self._show()
        return Result(
            self._scenario,
            0,
            tuple(self._record.entries),
            tuple(self._violations),
            self._judge.judgements(),
            len(self._facts.fenced()),
            len(self._facts.evacuated()),
        )

    def _wait_healthy(self) -> None:
        """Until HASS has seen every host healthy: a scenario begins in a cluster that is well."""
        deadline = time.monotonic() + HEALTHY_SECONDS
        states: dict[str, str] = {}
        while time.monotonic() < deadline:
            try:
                states = {row.name: row.state.value for row in self._eyes.hosts()}
            except StoreError:
                states = {}
            if len(states) == len(self._scenario.hosts) and set(states.values()) == {"healthy"}:
                return
            self._pause(LOOK_EVERY)
        told = ", ".join(f"{name} is {state}" for name, state in states.items())
        raise SandboxError(f"not all hosts became healthy: {told or 'HASS sees no host'}")

    def _play(self) -> None:
        end = self._scenario.run_for
        while True:
            now = self._facts.now
            # What was due before the end still is, however late it has become.
            while self._agenda.next() <= min(now, end):
                self._facts.look()
                self._judge.look()
                self._agenda.pop()()
            self._facts.look()
            self._judge.look()
            self._keep_rules()
            self._show()
            if now >= end:
                return
            self._pause(min(LOOK_EVERY, max(0.0, min(self._agenda.next(), end) - self._facts.now)))

    def _happen(self, event: Event, pool: ThreadPoolExecutor) -> None:
        self._judge.before(event)
        self._under_way.append(pool.submit(self._happenings.happen, event))

    def _keep_rules(self) -> None:
        for future in [each for each in self._under_way if each.done()]:
            self._under_way.remove(future)
            future.result()
        for instance, hosts in self._facts.doubled.items():
            self._violated(TWO_WRITERS, instance, f"ran on {' and on '.join(hosts)}")
        if self._happenings.controller_lives and not self._under_way and not self._box.controller_runs:
            self._violated(NO_BUGS, "", "the controller has ended by itself")

    def _look_for_bugs(self) -> None:
        """What HASS itself calls a bug."""
        path = self._box.layout.logs / "hass.log"
        if path.exists():
            for found in _BUG.finditer(path.read_text(encoding="utf-8", errors="replace")):
                self._violated(NO_BUGS, "", found.group(0))

    def _violated(self, rule: str, subject: str, words: str) -> None:
        """Once for each rule and subject."""
        if any((each.rule, each.subject) == (rule, subject) for each in self._violations):
            return
        self._violations.append(Violation(self._facts.now, rule, subject, words))
        self._record.add("safety.violated", subject, f"{rule}: {words}", rule=rule)

    def _show(self) -> None:
        for entry in self._record.entries[self._told :]:
            self._tell(entry)
            self._told += 1

    def _pause(self, seconds: float) -> None:
        """A moment; `hass sandbox down` ends it the way Ctrl-C does."""
        if self._box.down_requested.wait(seconds):
            raise KeyboardInterrupt
