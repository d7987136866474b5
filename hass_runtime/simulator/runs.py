"""Runs of playbooks in the made-up world: what `remedy.runs` does with processes, with greenlets.

A run dies as a real one does: when its controller is gone, when no beat reaches far enough any more, when it
is cancelled or takes too long. What Nova has begun for it goes on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from greenlet import greenlet

from hass_runtime.domain import Move, StepStatus
from hass_runtime.remedy.playbooks import Shelf
from hass_runtime.remedy.runs import (
    MoveChanged,
    RunEnded,
    RunEvent,
    RunSpec,
    RunStatus,
    TaskEnded,
    TaskStarted,
)
from hass_runtime.remedy.wire import Lapse
from hass_runtime.simulator import playbook as playbooks
from hass_runtime.simulator.hub import kill
from hass_runtime.simulator.modules import Modules, Surroundings
from hass_runtime.simulator.playbook import OMIT, Task

STARTS_IN = 0.8  # seconds from the launch to the first task
TASK = 0.5  # what a task takes besides its work
ENDS_IN = 1.0  # from a cancel until everything is dead
_DETAIL = 1000
_PASSED_THROUGH = ("set_stats", "assert", "debug")


@dataclass(frozen=True)
class Fate:
    """What the scenario wants a run to come to: fail, crash, hang or slow (``seconds`` more for each task).

    ``times`` is for how many runs; ``host`` "" for those of any.
    """

    playbook: str
    outcome: str
    times: int = 1
    seconds: float = 0.0
    host: str = ""


class TaskFailed(Exception):
    """A task failed and nothing rescued it."""


class MadeUpRun:
    """A run, and the handle of it that its controller holds."""

    def __init__(
        self,
        spec: RunSpec,
        sink: Callable[[RunEvent], None],
        surroundings: Surroundings,
        library: Path,
        path: Path,
        fate: Fate | None,
        rng: random.Random,
    ) -> None:
        hub = surroundings.hub
        self.run_id = spec.run_id
        self.spec = spec
        self._hub = hub
        self._sink: Callable[[RunEvent], None] | None = sink
        self._fate = fate
        self._rng = rng
        self._valid_until = (
            spec.valid_until if spec.valid_until is not None else hub.monotonic() + spec.breath
        )
        self._greenlets: list[greenlet] = []
        self._modules = Modules(surroundings, library, self._greenlets.append, self._progress)
        self._path = path
        self._number = 0
        self._failure = ""
        self._facts: dict[str, Any] = {}
        self._ill_at = -1
        self._cancelled = False
        self.alive = True

    def start(self) -> None:
        self._greenlets.append(self._hub.spawn(self._play))
        self._hub.after(self.spec.deadline, lambda: self._end("timeout", self._too_long()))
        self._breathe()

    def _too_long(self) -> str:
        return f"not finished after {self.spec.deadline:g} s"

    # -- what its controller does with it --------------------------------------------------------------

    def beat(self, *, valid_until: float) -> None:
        self._valid_until = max(self._valid_until, valid_until)

    def cancel(self, reason: str) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._hub.after(ENDS_IN, lambda: self._end("cancelled", " ".join(reason.split())))

    def wait(self, timeout: float | None = None) -> bool:
        """Nothing waits in a made-up world: whether it has ended by now."""
        return not self.alive

    def orphaned(self) -> None:
        """Its controller is gone, and nobody listens any more."""
        self._sink = None
        self.cancel("the controller is gone")

    def _breathe(self) -> None:
        """Ends when the lease that it lives on is about to run out."""
        end = Lapse.of(self._valid_until, self.spec.breath).end
        if not self.alive:
            return
        if self._hub.monotonic() >= end:
            why = "the controller gave no sign of life: its lease is about to run out"
            self._end("cancelled", why)
        else:
            self._hub.at(self._hub.now + end - self._hub.monotonic(), self._breathe)

    # -- its end ---------------------------------------------------------------------------------------

    def _end(self, status: RunStatus, reason: str, rc: int | None = None) -> None:
        if not self.alive:
            return
        self.alive = False
        kill(self._greenlets)
        self._tell(RunEnded(self.run_id, status, rc, reason, self._hub.wall(), self._facts))

    def end_now(self) -> None:
        """As `terminate_leftovers`: nothing of it is left afterwards."""
        self._sink = None
        self._end("cancelled", "ended by another controller")

    def _tell(self, event: RunEvent) -> None:
        if self._sink is not None:
            self._sink(event)

    def _progress(self, move: Move) -> None:
        self._tell(MoveChanged(self.run_id, move))

    # -- its work --------------------------------------------------------------------------------------

    def _play(self) -> None:
        self._hub.sleep(STARTS_IN)
        try:
            book = playbooks.load(self._path)
        except (OSError, ValueError) as error:
            self._over("failed", str(error), 1)
            return
        if self._fate is not None and self._fate.outcome in ("fail", "crash", "hang"):
            self._ill_at = self._rng.choice(_at_work(book.tasks))
        given = {"host": self.spec.host, "config": str(self.spec.config), "incident": self.spec.incident}
        variables = {
            **book.variables,
            **given,
            **self.spec.extravars,
            "progress_file": str(self.spec.run_dir / "progress.jsonl"),
            "omit": OMIT,
            "ansible_check_mode": False,
        }
        try:
            for task in book.tasks:
                self._do(task, variables)
        except TaskFailed:
            self._over("failed", self._failure, 2)
        else:
            self._over("successful", "", 0)

    def _over(self, status: RunStatus, reason: str, rc: int) -> None:
        """Its own last word; the greenlet that says it is the only one left."""
        self.alive = False
        self._tell(RunEnded(self.run_id, status, rc, reason, self._hub.wall(), self._facts))

    def _do(self, task: Task, variables: dict[str, Any]) -> None:
        if not task.action:
            self._block(task, variables)
            return
        scope = {**variables, **task.variables}
        try:
            name = str(playbooks.render(task.name, scope))
        except playbooks.TemplateFailed:
            name = task.name
        self._number += 1
        key = f"{self.run_id}-{self._number}"
        started = TaskStarted(self.run_id, key, name, self._hub.wall(), task.action)
        self._tell(started)
        self._hub.sleep(TASK)
        result = self._result(task, scope)
        if task.register:
            variables[task.register] = result
        failed = bool(result.get("failed"))
        status = StepStatus.CHANGED if result.get("changed") else StepStatus.OK
        if result.get("skipped"):
            status = StepStatus.SKIPPED
        if failed and not task.ignore_errors:
            status = StepStatus.FAILED
        detail = " ".join(str(result.get("msg") or "").split())[:_DETAIL]
        if status is StepStatus.FAILED:
            self._failure = f"{name}: {detail}" if detail else name
        self._tell(
            TaskEnded(self.run_id, key, name, status, started.at, self._hub.wall(), detail, task.action)
        )
        if status is StepStatus.FAILED:
            raise TaskFailed

    def _block(self, task: Task, variables: dict[str, Any]) -> None:
        try:
            try:
                for each in task.block:
                    self._do(each, variables)
            except TaskFailed:
                if not task.rescue:
                    raise
                for each in task.rescue:
                    self._do(each, variables)
        finally:
            if self.alive:
                for each in task.always:
                    self._do(each, variables)

    def _result(self, task: Task, scope: dict[str, Any]) -> dict[str, Any]:
        """What came of a task, after what the scenario does to it."""
        if self._number == self._ill_at and self._fate is not None:
            if self._fate.outcome == "fail":
                return {"failed": True, "msg": "the scenario lets it fail"}
            if self._fate.outcome == "hang":
                self._hub.sleep(self.spec.deadline)
            else:
                why = "its worker died (the scenario lets it crash)"
                self._hub.after(self._rng.uniform(0.0, 3.0), lambda: self._end("crashed", why))
        elif self._fate is not None and self._fate.outcome == "slow":
            self._hub.sleep(self._fate.seconds)
        try:
            if not all(playbooks.holds(each, scope) for each in task.when):
                return {"skipped": True, "msg": "Conditional result was False"}
            return self._act(task, playbooks.render(task.arguments, scope), scope)
        except playbooks.TemplateFailed as error:
            return {"failed": True, "msg": f"The task includes an option with an undefined variable: {error}"}

    def _act(self, task: Task, arguments: Any, scope: dict[str, Any]) -> dict[str, Any]:
        short = _short(task.action)
        if self._modules.knows(task.action):
            return self._modules.run(task.action, arguments)
        if short == "set_stats":
            self._facts |= arguments.get("data") or {}
        elif short == "assert":
            that = task.arguments.get("that", [])
            conditions = that if isinstance(that, list) else [that]
            good = all(playbooks.holds(each, scope) for each in conditions)
            message = arguments.get("success_msg" if good else "fail_msg", "")
            return {"failed": not good, "msg": message or ("" if good else "Assertion failed")}
        elif short == "fail":
            return {"failed": True, "msg": arguments.get("msg", "Failed as requested from task")}
        return {"changed": short not in _PASSED_THROUGH}


def _at_work(tasks: tuple[Task, ...]) -> list[int]:
    """The numbers of the tasks that do something, as they are counted while all goes well."""
    actions = _actions(tasks)
    passive = {number for number, action in enumerate(actions, 1) if _short(action) in _PASSED_THROUGH}
    return [number for number in range(1, len(actions) + 1) if number not in passive] or [1]


def _actions(tasks: tuple[Task, ...]) -> list[str]:
    found = []
    for task in tasks:
        found += [task.action] if task.action else _actions(task.block)
    return found


def _short(action: str) -> str:
    return action.rpartition(".")[2]


class MadeUpLauncher:
    """As `remedy.runs.Launcher`.

    Args:
        surroundings: what modules reach the world by.
        playbooks: the directory of the remediation playbooks.
        own: that of the operator's own; what their modules do is not known here, and taken as done.
    """

    def __init__(
        self, surroundings: Surroundings, playbooks: Path, seed: int, own: Path | None = None
    ) -> None:
        self._in = surroundings
        self._shelf = Shelf(playbooks, own)
        self._library = playbooks / "library"
        self._seed = seed
        self._names = 0
        self.heard: Callable[[], None] = lambda: None
        """Called after a run has told its controller something."""
        self.begins: Callable[[RunSpec, bool, Collection[str]], None] = lambda spec, ill, at_work: None
        """Called before a run begins, with whether it is made ill, and the hosts of all others."""
        self.reports: Callable[[RunEvent], None] = lambda event: None
        """Called with everything that a run tells its controller."""
        self.fates: list[Fate] = []
        self.runs: dict[str, MadeUpRun] = {}

    def start(self, spec: RunSpec, sink: Callable[[RunEvent], None]) -> MadeUpRun:
        rng = random.Random(f"{self._seed} {spec.run_id}")

        def told(event: RunEvent) -> None:
            self.reports(event)
            sink(event)
            self.heard()

        path, fate = self._shelf.find(spec.playbook), self._fate(spec)
        self.begins(spec, fate is not None, {run.spec.host for run in self.living()})
        run = MadeUpRun(spec, told, self._in, self._library, path, fate, rng)
        self.runs[spec.run_id] = run
        run.start()
        return run

    def _fate(self, spec: RunSpec) -> Fate | None:
        for place, fate in enumerate(self.fates):
            if fate.playbook == spec.playbook and fate.host in ("", spec.host):
                left = replace(fate, times=fate.times - 1)
                self.fates[place : place + 1] = [left] if left.times else []
                return fate
        return None

    def end_leftovers(self, run_id: str, run_dir: Path) -> None:
        run = self.runs.get(run_id)
        if run is not None:
            run.end_now()

    def prune(self, runs: Path, keep: Collection[str]) -> None:
        """Nothing is on a disk."""

    def new_name(self) -> str:
        self._names += 1
        return f"{self._names:04d}"

    def living(self) -> list[MadeUpRun]:
        if self.runs:
            self.runs = {name: run for name, run in self.runs.items() if run.alive}
        return list(self.runs.values())

    def controller_died(self) -> None:
        for run in self.living():
            run.orphaned()
