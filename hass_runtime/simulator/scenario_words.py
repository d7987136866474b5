"""The words of scenario files: which events there are, what undoes them, what a person can do.

Both the simulator and the sandbox act by :func:`timeline`, so that ``for`` means the same in both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from hass_runtime.simulator.scenario_model import Event, Scenario


class Target(str, Enum):
    """What an event happens to."""

    HOST = "host"
    INSTANCE = "instance"
    ALL = "all"
    OPERATOR = "operator"
    PLAYBOOK = "playbook"


@dataclass(frozen=True)
class Word:
    """An event or a verb: what it happens to, and which other one undoes it ("" none does)."""

    target: Target
    undo: str = ""


def _pairs(target: Target, *pairs: tuple[str, str]) -> dict[str, Word]:
    words = {}
    for one, other in pairs:
        words[one], words[other] = Word(target, other), Word(target, one)
    return words


EVENTS: Mapping[str, Word] = {
    **_pairs(
        Target.HOST,
        ("power_cut", "power_restore"),
        ("os_hang", "os_restore"),
        ("network_cut", "network_restore"),
        ("bmc_cut", "bmc_restore"),
        ("bmc_lies", "bmc_honest"),
        ("agent_stop", "agent_start"),
        ("storage_cut", "storage_restore"),
        ("service_stop", "service_start"),
    ),
    "sensor": Word(Target.HOST, "sensor"),
    "guest_crash": Word(Target.INSTANCE, "guest_restore"),
    "guest_hang": Word(Target.INSTANCE, "guest_restore"),
    # What it undoes cannot be told from the event itself.
    "guest_restore": Word(Target.INSTANCE),
    **_pairs(Target.INSTANCE, ("guest_network_cut", "guest_network_restore")),
    **_pairs(
        Target.ALL,
        ("controller_kill", "controller_start"),
        ("controller_network_cut", "controller_network_restore"),
        ("nova_api_cut", "nova_api_restore"),
        ("database_cut", "database_restore"),
    ),
    "playbook": Word(Target.PLAYBOOK),
    "operator": Word(Target.OPERATOR),
}

# What a person does. For those in TERMS, `for` is a part of the order itself: it ends on its own.
VERBS: Mapping[str, Word] = {
    **_pairs(Target.INSTANCE, ("stop_instance", "start_instance")),
    "delete_instance": Word(Target.INSTANCE),
    **_pairs(Target.INSTANCE, ("protect", "unprotect")),
    "migrate_instance": Word(Target.INSTANCE),
    "maintenance": Word(Target.HOST),
    "end_maintenance": Word(Target.HOST),
    "confirm_fenced": Word(Target.HOST),
    "restore": Word(Target.HOST),
    "failback": Word(Target.HOST),
    **_pairs(Target.HOST, ("shutdown_host", "start_host")),
    "disarm": Word(Target.ALL),
    "arm": Word(Target.ALL),
}
TERMS = frozenset({"maintenance", "confirm_fenced", "restore", "disarm"})

SERVICES = ("nova-compute", "libvirtd", "qemu")
INSTANCE_STATES = ("active", "stopped")
PLAYBOOKS = (
    "host_failure",
    "host_restore",
    "service_restart",
    "host_drain",
    "instances_start",
    "host_reserve",
    "host_failback",
)
PLAYBOOK_OUTCOMES = ("fail", "crash", "hang", "slow")
OTHERS = "others"
ANY = "any"
NORMAL = "normal"


def can_end(event: Event) -> bool:
    """Whether ``for`` makes sense for the event: something undoes it, or it ends on its own."""
    verb = event.arguments.get("do", "")
    return bool(_undo(event)) or verb in TERMS


def undone(event: Event) -> Event | None:
    """The event that undoes this one when its duration is over.

    None when it has no duration, or ends on its own: then the duration belongs to the operator's order.
    """
    name = _undo(event)
    if event.duration is None or not name:
        return None
    arguments = dict(event.arguments)
    if event.name == "operator":
        name, arguments = event.name, {**arguments, "do": name}
    elif event.name == "sensor":
        arguments["value"] = NORMAL
    return dataclasses.replace(
        event, at=event.at + event.duration, name=name, duration=None, arguments=arguments
    )


def timeline(scenario: Scenario) -> tuple[Event, ...]:
    """All that happens, in order of time, with the undoing of what lasts only for a while.

    An event keeps its duration only where it ends on its own. What is undone at a moment comes before what
    is new at it, so that "for 10, and again at once" is what it says.
    """
    happening: list[tuple[float, int, Event]] = []
    for event in scenario.events:
        undo = undone(event)
        if undo is None:
            happening.append((event.at, 1, event))
        else:
            happening.append((event.at, 1, dataclasses.replace(event, duration=None)))
            happening.append((undo.at, 0, undo))
    return tuple(event for _, _, event in sorted(happening, key=lambda each: each[:2]))


def _undo(event: Event) -> str:
    if event.name == "operator":
        return VERBS[event.arguments["do"]].undo
    return EVENTS[event.name].undo
