"""What a drill waits for: conditions on what is seen of hosts, instances and incidents. Pure.

Goals come from the drill's playbook as a list of mappings. Each has one of these forms:

    {host: NAME, state: STATE or list}      its lifecycle state in HASS
    {incident: NAME, fault: ..., outcome: ..., gate: ...}
                                            an incident of that host, opened since the drill began
    {instances_of: NAME, running: others}   what was active there at the start is active elsewhere
    {instances_of: NAME, running: there}    ... is active there
    {instances: as before}                  every instance is what it was: active or stopped
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Goal = Mapping[str, Any]
ACTIVE, STOPPED = "active", "stopped"
_FORMS = {
    "host": {"host", "state"},
    "incident": {"incident", "fault", "outcome", "gate"},
    "instances_of": {"instances_of", "running"},
    "instances": {"instances"},
}


@dataclass(frozen=True)
class Instance:
    """An instance as Nova has it: ``state`` is Nova's vm_state, ``task`` its task_state."""

    id: str
    name: str
    host: str
    state: str
    task: str = ""

    @property
    def settled(self) -> bool:
        return not self.task and self.state in (ACTIVE, STOPPED)


@dataclass(frozen=True)
class View:
    """What is seen at one moment. ``hosts``: name to lifecycle state; ``incidents``: as REST tells them."""

    hosts: Mapping[str, str] = field(default_factory=dict)
    instances: Mapping[str, Instance] = field(default_factory=dict)
    incidents: Sequence[Mapping[str, Any]] = ()


class GoalError(Exception):
    """A goal that is none: one clear line."""


def check(goals: object) -> list[Goal]:
    """The goals, or GoalError."""
    if not isinstance(goals, list):
        raise GoalError(f"goals: expected a list, not {type(goals).__name__}")
    for goal in goals:
        form = next((name for name in _FORMS if isinstance(goal, dict) and name in goal), None)
        if form is None:
            raise GoalError(f"goal {goal!r}: expected one of {', '.join(_FORMS)}")
        if extra := set(goal) - _FORMS[form]:
            raise GoalError(f"goal {goal!r}: {', '.join(sorted(extra))} does not belong to {form}")
    return goals


def missing(goals: Iterable[Goal], view: View, before: View) -> list[str]:
    """What does not hold yet, in words; nothing when all goals are reached."""
    return [words for goal in goals if (words := _missing(goal, view, before))]


def _missing(goal: Goal, view: View, before: View) -> str:
    if "incident" in goal:
        return _no_incident(goal, view)
    if "host" in goal:
        state = view.hosts.get(goal["host"], "unknown")
        return "" if state in _several(goal["state"]) else f"{goal['host']} is {state}"
    if "instances_of" in goal:
        return _not_running(goal, view, before)
    wrong = [
        f"{was.name} is {_state(view, was)}, was {was.state}"
        for was in before.instances.values()
        if was.settled and _state(view, was) != was.state
    ]
    return ", ".join(wrong)


def _no_incident(goal: Goal, view: View) -> str:
    wanted = {key: _several(goal[key]) for key in ("fault", "outcome", "gate") if key in goal}
    for incident in view.incidents:
        if incident.get("host") != goal["incident"]:
            continue
        if all(incident.get(key) in values for key, values in wanted.items()):
            return ""
    words = ", ".join(f"{key} {' or '.join(values)}" for key, values in wanted.items())
    return f"no incident of {goal['incident']}{' with ' if words else ''}{words}"


def _not_running(goal: Goal, view: View, before: View) -> str:
    home = goal["instances_of"]
    wrong = []
    for was in before.instances.values():
        if was.host != home or was.state != ACTIVE:
            continue
        now = view.instances.get(was.id)
        place = now is not None and (now.host == home) == (goal["running"] == "there")
        if now is None or not now.settled or now.state != ACTIVE or not place:
            wrong.append(f"{was.name} is {_state(view, was)}{' on ' + now.host if now else ''}")
    return ", ".join(wrong)


def _state(view: View, was: Instance) -> str:
    now = view.instances.get(was.id)
    if now is None:
        return "gone"
    return now.state if now.settled else f"{now.state} ({now.task or 'unsettled'})"


def _several(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]
