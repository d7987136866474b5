"""If this host died now, would each of its instances come back? Pure.

The host itself is asked by the gates of a fence; each instance by what Nova refuses to evacuate, by its zone
and group, and by the room that is left elsewhere once those before it have taken theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from hass_runtime.decide import gates, lifecycle
from hass_runtime.decide.cloud_facts import CloudFacts, Instance, Need
from hass_runtime.decide.placing import EVACUABLE, Floor, Placing
from hass_runtime.decide.reserve import destinations, reserve_for
from hass_runtime.decide.view import FAILURE, HostView, View
from hass_runtime.domain import Layer, Verdict

MOST_LOST = 5
"""So many hosts at once are asked for, at most, to find how many the cloud can lose."""


class Back(str, Enum):
    """Whether an instance comes back by itself."""

    YES = "yes"
    BLANK = "blank"
    UNSURE = "unsure"
    NO = "no"
    LEFT = "left"


@dataclass(frozen=True)
class Problem:
    """What is in the way: a word for machines, a sentence, and what to do about it."""

    kind: str
    words: str
    advice: str


@dataclass(frozen=True)
class InstanceReady:
    """One instance. ``target`` is where it would go, "" when nowhere."""

    instance: Instance
    back: Back
    target: str = ""
    problem: Problem | None = None


@dataclass(frozen=True)
class HostReady:
    """One host. ``problems`` concern all that is on it; with ``held`` nothing is done without a person."""

    host: str
    held: bool
    problems: tuple[Problem, ...]
    instances: tuple[InstanceReady, ...]

    @property
    def ready(self) -> bool:
        """Whether all that is to come back comes back, as it was."""
        return not self.held and all(each.back in (Back.YES, Back.LEFT) for each in self.instances)


@dataclass(frozen=True)
class Readiness:
    """All hosts. ``can_lose`` so many of the fullest hosts may die together and everything still finds room
    (no more than `MOST_LOST` is asked).
    """

    at: float
    hosts: tuple[HostReady, ...]
    can_lose: int
    calls: Mapping[str, int]

    @property
    def ready(self) -> bool:
        return all(host.ready for host in self.hosts)


ADVICE = {
    "room": "free some room or add a host; `hass:priority` says which instances come first",
    "zone": "add a host to that availability zone, or boot it without one",
    "group": "add a host, or take the instance out of its server group",
    "shape": "add a host that is large enough and has the traits that its flavor asks for",
    "targets": "bring another host into service",
    "vtpm": "Nova never evacuates an instance with a vTPM: make it replaceable, or rebuild it by hand",
    "device": "see that another host has such a device free; Placement cannot tell",
    "state": "bring it into a state that Nova evacuates: active or stopped",
    "disk": "put the instances' disks on shared storage, or boot it from a volume",
    "gate:disarmed": "`hass arm`",
    "gate:unproven": "make its BMC answer, with the right password; without a BMC a person has to confirm",
    "gate:no_target": "bring another host of its cluster into service",
    "agent": "install the same HASS on the host",
    "agent_silent": "start the agent of the host, and see that it has the same polling_key",
}


def assess(view: View, facts: CloudFacts) -> Readiness:
    """Readiness of every host of the view, by name."""
    floor = Floor(facts, usable_hosts(view, facts), view.policy.reserved_to_aggregates)
    by_host: dict[str, list[Instance]] = {name: [] for name in view.hosts}
    for each in facts.instances:
        if each.host in by_host:
            by_host[each.host].append(each)
    for instances in by_host.values():
        instances.sort(key=order)
    hosts = tuple(of_host(view, view.hosts[name], facts, floor, by_host[name]) for name in sorted(view.hosts))
    return Readiness(facts.at, hosts, _can_lose(view, floor, by_host), facts.calls)


def order(instance: Instance) -> tuple[int, str, str]:
    """Who is moved first."""
    return -instance.priority, instance.name, instance.id


def usable_hosts(view: View, facts: CloudFacts) -> frozenset[str]:
    """The hosts that Nova may choose: it knows nothing of suspicions, but a host that HASS took out is
    disabled.
    """

    def usable(name: str) -> bool:
        compute, host = facts.computes[name], view.hosts.get(name)
        out = host is not None and (host.state in lifecycle.TAKEN_OUT or host.maintenance is not None)
        return compute.up and compute.enabled and compute.free is not None and not out

    return frozenset(name for name in facts.computes if usable(name))


def of_host(
    view: View,
    host: HostView,
    facts: CloudFacts,
    floor: Floor,
    instances: list[Instance],
) -> HostReady:
    """Readiness of one host; ``instances`` are its own, in the order in which they are moved."""
    problems = list(_of_agent(host))
    shut = gates.closed(view, host, FAILURE)
    if shut is not None:
        kind = f"gate:{shut[0].value}"
        problems.insert(0, Problem(kind, shut[1], ADVICE.get(kind, "see docs/safety.md")))
    told: dict[str, InstanceReady] = {}
    movable = []
    for each in instances:
        early = _refused(each)
        if early is not None:
            told[each.id] = early
        else:
            movable.append(each)
    places = Placing(floor, frozenset({host.name})).all(movable, _destinations(view, host))
    for each in movable:
        place = places[each.id]
        if not place.target:
            told[each.id] = InstanceReady(
                each, Back.NO, "", Problem(place.kind, place.words, ADVICE[place.kind])
            )
        elif Need.DEVICE in each.needs:
            words = "it has a device of its host (PCI or SR-IOV), and needs another one like it"
            told[each.id] = InstanceReady(
                each, Back.UNSURE, place.target, Problem("device", words, ADVICE["device"])
            )
        elif each.local_disk and not facts.shared_storage:
            words = "its disk is on its host only: it is built anew from its image, what was written is lost"
            told[each.id] = InstanceReady(
                each, Back.BLANK, place.target, Problem("disk", words, ADVICE["disk"])
            )
        else:
            told[each.id] = InstanceReady(each, Back.YES, place.target)
    return HostReady(host.name, shut is not None, tuple(problems), tuple(told[each.id] for each in instances))


def _destinations(view: View, host: HostView) -> tuple[str, ...]:
    return destinations(view.policy.method(host.host.cluster), reserve_for(view, host))


def _refused(instance: Instance) -> InstanceReady | None:
    """What is decided before it is asked for a place."""
    if instance.left_alone:
        return InstanceReady(instance, Back.LEFT, "", Problem("policy", instance.left_alone, ""))
    if instance.vm_state not in EVACUABLE:
        words = f"it is {instance.vm_state}: Nova evacuates only what is active, stopped or in error"
        return InstanceReady(instance, Back.NO, "", Problem("state", words, ADVICE["state"]))
    if Need.VTPM in instance.needs:
        words = "it has a vTPM, with which Nova refuses to evacuate"
        return InstanceReady(instance, Back.NO, "", Problem("vtpm", words, ADVICE["vtpm"]))
    return None


def _of_agent(host: HostView) -> list[Problem]:
    reading = host.latest(Layer.SERVICE)
    if reading is None or (reading.verdict is Verdict.UNKNOWN and not reading.answered):
        why = reading.evidence if reading is not None else "not read yet"
        words = f"its agent was not heard ({why}): HASS notices less, and later"
        return [Problem("agent_silent", words, ADVICE["agent_silent"])]
    if "protocol version" in reading.evidence:
        return [Problem("agent", f"its agent is of another version ({reading.evidence})", ADVICE["agent"])]
    return []


def _can_lose(view: View, floor: Floor, by_host: Mapping[str, list[Instance]]) -> int:
    """How many of the fullest hosts may die together, as far as there is room for what can move at all."""

    def load(name: str) -> int:
        return sum(dict(each.shape.resources).get("MEMORY_MB", 0) for each in by_host[name])

    fullest = sorted(by_host, key=lambda name: (-load(name), name))
    for number in range(1, min(MOST_LOST, len(fullest) - 1) + 1):
        if not _all_find_room(view, Placing(floor, frozenset(fullest[:number])), by_host):
            return number - 1
    return min(MOST_LOST, max(len(fullest) - 1, 0))


def _all_find_room(view: View, placing: Placing, by_host: Mapping[str, list[Instance]]) -> bool:
    """Cluster by cluster, each with the destinations of its own."""
    clusters: dict[str, list[str]] = {}
    for name in sorted(placing.dead):
        clusters.setdefault(view.hosts[name].host.cluster, []).append(name)
    for names in clusters.values():
        movable = [each for name in names for each in by_host[name] if _refused(each) is None]
        ways = _destinations(view, view.hosts[names[0]])
        if any(not place.target for place in placing.all(sorted(movable, key=order), ways).values()):
            return False
    return True
