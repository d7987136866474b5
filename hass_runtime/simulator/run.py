"""One run of a scenario: the made-up world, the real controller, and the time between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hass_runtime.simulator.bmc import MadeUpBmc
from hass_runtime.simulator.cloud import MadeUpCloud
from hass_runtime.simulator.configuration import configured
from hass_runtime.simulator.daemon import Daemon
from hass_runtime.simulator.eyes import Eyes
from hass_runtime.simulator.facts import MadeUpFacts
from hass_runtime.simulator.happenings import Controls, Happenings
from hass_runtime.simulator.hub import Hub
from hass_runtime.simulator.journal import Journal
from hass_runtime.simulator.judge import Judge, Judgement
from hass_runtime.simulator.modules import Surroundings
from hass_runtime.simulator.monitor import NO_BUGS, Monitor, Violation
from hass_runtime.simulator.nova import Nova
from hass_runtime.simulator.record import Entry, Record
from hass_runtime.simulator.runs import MadeUpLauncher
from hass_runtime.simulator.scenario import Event, Scenario, timeline
from hass_runtime.simulator.world import World


@dataclass(frozen=True)
class Result:
    """What came of a run."""

    scenario: Scenario
    seed: int
    entries: tuple[Entry, ...]
    violations: tuple[Violation, ...]
    judgements: tuple[Judgement, ...]
    fences: int = 0
    evacuations: int = 0
    cycles: int = 0

    @property
    def ok(self) -> bool:
        return not self.violations and all(each.held for each in self.judgements)


class _Bugs(logging.Handler):
    """Hears what HASS itself calls a bug; ``said`` takes every line of its log."""

    def __init__(self, told: Callable[[str], None], said: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._told = told
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        self._said(words)
        if words.startswith("BUG"):
            error = f": {record.exc_info[1]!r}" if record.exc_info and record.exc_info[1] else ""
            self._told(f"{words}{error}")


class Simulation:
    """Builds the world of a scenario and lets it run once.

    Args:
        seed: what chance does; the same seed and scenario give the same run.
        skips: leave out the controller's cycles that change nothing; the result is the same.
    """

    def __init__(self, scenario: Scenario, seed: int = 0, skips: bool = True) -> None:
        self.scenario = scenario
        self.seed = seed
        self._skips = skips
        self.hub = hub = Hub()
        self.settings, self.policy = configured(scenario)
        self.world = world = World(hub, scenario.hosts, scenario.instances, seed)
        self.record = Record(lambda: hub.now)
        world.say = self.record.world
        microversion = self.settings.recovery.evacuate_microversion
        self.nova = Nova(world)
        self.eyes = Eyes(world, self.nova, self.settings)
        self.journal = Journal(hub.wall, self._written)
        self.monitor = Monitor(world, self.nova, self.journal, self.settings, self.record)
        cloud = MadeUpCloud(self.nova, microversion, self.monitor.told_nova)
        self.nova.arrives_stopped = cloud.arrives_stopped
        bmcs = {
            host.name: MadeUpBmc(world, host, self.monitor.told_bmc, self.monitor.read_bmc)
            for host in world.hosts.values()
            if host.spec.ipmi
        }
        surroundings = Surroundings(hub, world, self.eyes, self.settings, cloud, bmcs)
        paths = self.settings.paths
        self.launcher = MadeUpLauncher(surroundings, paths.playbooks, seed, paths.own_playbooks)
        self.launcher.begins, self.launcher.reports = self.monitor.begins, self.monitor.reports
        self.happenings = Happenings(
            hub,
            world,
            self.nova,
            self.journal,
            self.launcher,
            Controls(self._kill, self._start),
            self.record.world,
        )
        self.happenings.false_words = self.monitor.false_words
        self.monitor.goodbyes = self.eyes.goodbyes
        self.monitor.runs.controller_lives = lambda: self._daemon is not None
        facts = MadeUpFacts(world, self.nova, self.journal, self.record, self.monitor)
        self.judge = Judge(scenario, facts)
        self._daemon: Daemon | None = None
        self._quiet_since = 0.0
        self._started = 0
        self._cycles = 0

    def run(self) -> Result:
        """Let it all happen."""
        with _listening(lambda words: self.monitor.violated(NO_BUGS, "", words), self.monitor.said):
            try:
                self._play()
            finally:
                for run in self.launcher.living():
                    run.end_now()
        return Result(
            self.scenario,
            self.seed,
            tuple(self.record.entries),
            tuple(self.monitor.violations),
            self.judge.judgements(),
            self.monitor.fences,
            self.monitor.evacuations,
            self._cycles + (self._daemon.cycles if self._daemon is not None else 0),
        )

    def _play(self) -> None:
        for event in timeline(self.scenario):
            self.hub.at(event.at, lambda event=event: self._happen(event))  # type: ignore[misc]
        self._boot()
        self.judge.begin(self.hub)
        self.hub.run(self.scenario.run_for, self.judge.look if self.scenario.expect else _nothing)
        self.monitor.finish(self._quiet_since, self._daemon.controller if self._daemon is not None else None)
        self.judge.finish()

    def _happen(self, event: Event) -> None:
        self._quiet_since = self.hub.now
        self.judge.before(event)
        self.happenings.happen(event)
        if self._daemon is not None:
            self._daemon.news()

    def _written(self, kind: str, before: object, after: object) -> None:
        self.record.written(kind, before, after)
        self.monitor.written(kind, before, after)

    # -- the controller's process ----------------------------------------------------------------------

    def _boot(self) -> None:
        self._started += 1
        self.monitor.controller_since = self.hub.now
        self._daemon = Daemon(
            self.hub,
            self.settings,
            self.policy,
            self.journal,
            self.launcher,
            self.eyes,
            self._started,
            self._skips,
        )
        self.monitor.controller = self._daemon.controller
        self._daemon.start()

    def _kill(self) -> None:
        if self._daemon is not None:
            self._cycles += self._daemon.cycles
            self._daemon.die()
            self._daemon = self.monitor.controller = None
            self.launcher.controller_died()

    def _start(self) -> None:
        if self._daemon is None:
            self._boot()


def _nothing() -> None:
    """Nobody expects anything."""


@contextmanager
def _listening(told: Callable[[str], None], said: Callable[[str], None]) -> Iterator[None]:
    """HASS's own log is not shown; what it calls a bug is told."""
    logger = logging.getLogger("hass_runtime")
    handler = _Bugs(told, said)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def simulate(scenario: Scenario, seed: int = 0, skips: bool = True) -> Result:
    """Run a scenario once. Raises ScenarioError when its settings cannot be used."""
    return Simulation(scenario, seed, skips).run()
