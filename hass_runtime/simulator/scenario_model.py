"""A scenario as frozen data: a cluster, what happens to it and when, and what has to come of it.

Times are seconds from the start of the run, durations seconds, both as float. Where something stood in the
file (``line``, ``path``, ``text``) is for messages only: it does not count when two scenarios are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class ScenarioError(Exception):
    """A scenario file cannot be used.

    ``problems`` holds every one found, in the order of the file, each a line "FILE:LINE: key: what was wrong,
    what was expected".
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class HostSpec:
    """A compute host as it is at the start: on and healthy.

    ``zone`` is its failure domain, "" when none is known. A ``reserved`` host gets no instances at the start
    unless they are listed. ``watchdog``: the host keeps the watchdog timer of its BMC armed. ``room`` is how
    many instances it can take, None for any number. ``aggregates`` are the host aggregates that it is in.
    """

    name: str
    ipmi: bool = True
    zone: str = ""
    reserved: bool = False
    cluster: str = "default"
    watchdog: bool = True
    room: int | None = None
    aggregates: tuple[str, ...] = ()


@dataclass(frozen=True)
class InstanceSpec:
    """An instance as it is at the start. ``state`` is ``active`` or ``stopped``.

    ``protect`` is what its own metadata says of that, None nothing. ``flavor``, ``project`` and the tag of
    its image are "" when no rule goes by them.
    """

    name: str
    host: str
    state: str = "active"
    priority: int = 0
    protect: bool | None = None
    flavor: str = ""
    project: str = ""
    image_tag: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happens to the world at ``at``.

    ``name`` is a key of :data:`~hass_runtime.simulator.scenario_words.EVENTS`. ``subjects`` are the hosts or
    instances that it happens to, () for what happens to everything. ``duration``: it is undone so many
    seconds later, None: it stays. ``arguments``, complete whatever the file left out:

    * service_stop, service_start: ``service`` (str)
    * sensor: ``name`` (str), ``value`` (float; or str: ``normal``, or a word that the BMC answers instead)
    * playbook: ``name``, ``outcome`` (str), ``times`` (int), ``seconds`` (float, 0 unless ``slow``)
    * operator: ``do``, ``reason`` (str); maintenance also ``drain`` (bool); arm and disarm also ``scope``
      (``all``, ``cluster`` or ``host``: what the subject is)
    """

    at: float
    name: str
    subjects: tuple[str, ...] = ()
    duration: float | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Expectation:
    """What has to be true ``by`` a time (at some moment up to it), ``at`` it, or at no moment (``never``).

    ``time`` is None for ``never``. ``text`` is how the person wrote it. ``what`` and its ``arguments``,
    complete whatever the file left out:

    * by, at: ``fenced`` and ``not_fenced`` {host}, ``host_state`` {host, state}, ``instances_of`` {host,
      running_on: "others" or a tuple of hosts}, ``instance`` {instance, state or None, on: a host, "others"
      (than the one it was on at the start) or None}, ``incident`` {host, fault or "any", outcome or "any"},
      ``held`` {host, gate or "any"}
    * never: ``two_writers`` {}, ``fenced`` {host}, ``evacuated`` {host}, ``more_fenced_than`` {count},
      ``restarted`` {instance}
    """

    kind: str
    time: float | None
    what: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    line: int = field(default=0, compare=False)
    text: str = field(default="", compare=False)


@dataclass(frozen=True)
class Scenario:
    """A whole scenario. ``settings`` are by "section.key" of the controller's file, values as text in it.

    ``events`` are in order of time, those of one moment in the order of the file. A run lasts ``run_for``.
    """

    name: str
    settings: Mapping[str, str]
    hosts: tuple[HostSpec, ...]
    instances: tuple[InstanceSpec, ...]
    events: tuple[Event, ...]
    run_for: float
    expect: tuple[Expectation, ...]
    path: str = field(default="", compare=False)
