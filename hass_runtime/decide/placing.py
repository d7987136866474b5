"""Where the instances of a dead host would go, one after the other, as Nova would place them. Pure.

Of the hosts that an instance fits on, the one with most memory left is taken, as Nova's weighers usually do.
What is sent to a reserved host goes there or nowhere, as Nova does it when it is told the host.
That each finds a place is what counts; which one it is may differ.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hass_runtime.decide.cloud_facts import CloudFacts, Instance
from hass_runtime.decide.reserve import ANYWHERE

EVACUABLE = frozenset({"active", "stopped", "error"})
ROOM, ZONE, GROUP, SHAPE, TARGETS = "room", "zone", "group", "shape", "targets"
DEFAULT_ZONE = "nova"
"""The availability zone of a host that is in no aggregate with another one; it may still join one."""


@dataclass(frozen=True)
class Place:
    """Where one instance goes, or, when ``target`` is "", which of the reasons above keeps it, and in
    words.
    """

    target: str
    kind: str = ""
    words: str = ""


@dataclass
class Floor:
    """The hosts that may take instances, the emptiest first, and where every instance is.

    Made once, for all deaths that are asked about. ``joins``: a reserved host that is used joins the
    aggregates of the failed one, and so its zone.
    """

    facts: CloudFacts
    usable: frozenset[str]
    joins: bool = False
    where: dict[str, str] = field(default_factory=dict)
    order: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.where = {each.id: each.host for each in self.facts.instances}
        self.order = sorted((-self._free(name).get("MEMORY_MB", 0), name) for name in self.usable)

    def _free(self, name: str) -> Mapping[str, int]:
        return self.facts.computes[name].free or {}

    def place(self, instances: Collection[Instance], dead: Collection[str]) -> dict[str, Place]:
        """By id, where each goes when the hosts ``dead`` are gone; in the order given."""
        return Placing(self, frozenset(dead)).all(instances)


class Placing:
    """The hosts ``dead`` are gone, and what was on them takes the room of the others."""

    def __init__(self, floor: Floor, dead: frozenset[str]) -> None:
        self.floor, self.facts, self.dead = floor, floor.facts, dead
        self.taken: dict[str, Counter[str]] = {}
        self.moved: dict[str, str] = {}

    def all(
        self, instances: Iterable[Instance], destinations: Sequence[str] = (ANYWHERE,)
    ) -> dict[str, Place]:
        """By id, where each goes, in the order given: to one destination after the other, each with what
        found no place at the one before.
        """
        rest = list(instances)
        found = {each.id: Place("", TARGETS, "no reserved host is ready") for each in rest}
        for destination in destinations:
            for each in rest:
                found[each.id] = place = self._one(each, destination)
                if place.target:
                    taken = self.taken.setdefault(place.target, Counter())
                    taken.update(dict(each.shape.resources))
                    self.moved[each.id] = place.target
            rest = [each for each in rest if not found[each.id].target]
        return found

    def _one(self, instance: Instance, destination: str) -> Place:
        fits = self.facts.fits.get(instance.shape)
        limit = self._of_group(instance)
        for name in self._choice(destination):
            if fits is not None and name not in fits:
                continue
            if not self._in_zone(name, instance, destination):
                continue
            if limit is not None and not limit(name):
                continue
            if self._has_room(name, instance):
                return Place(name)
        return self._why_not(instance, destination)

    def _choice(self, destination: str) -> Iterator[str]:
        """The hosts that are looked at for a destination."""
        if destination == ANYWHERE:
            yield from self._emptiest_first()
        elif destination not in self.dead and self._can_serve(destination):
            yield destination

    def _can_serve(self, name: str) -> bool:
        compute = self.facts.computes.get(name)
        return compute is not None and compute.up and compute.free is not None

    def _in_zone(self, name: str, instance: Instance, destination: str) -> bool:
        zone = self.facts.computes[name].zone
        joined = self.floor.joins and name == destination and zone == DEFAULT_ZONE
        return not instance.zone or zone == instance.zone or joined

    def _emptiest_first(self) -> Iterator[str]:
        """Those that took something are in the order of what they have left now, as all the others are."""
        touched = [(-(self._left(name, "MEMORY_MB")), name) for name in self.taken if name not in self.dead]
        untouched = (entry for entry in self.floor.order if entry[1] not in self.taken)
        for _, name in heapq.merge(sorted(touched), untouched):
            if name not in self.dead:
                yield name

    def _left(self, name: str, resource: str) -> int:
        taken = self.taken.get(name)
        free = (self.facts.computes[name].free or {}).get(resource, 0)
        return free - (taken[resource] if taken is not None else 0)

    def _has_room(self, name: str, instance: Instance) -> bool:
        """A class that is not the host's own (a shared pool of disks) is left to Placement's word."""
        free = self.facts.computes[name].free or {}
        return all(
            self._left(name, resource) >= amount
            for resource, amount in instance.shape.resources
            if resource in free or instance.shape not in self.facts.fits
        )

    def _of_group(self, instance: Instance) -> Callable[[str], bool] | None:
        """Whether its server group lets it be on a host; None when it has nothing to say."""
        group = self.facts.groups.get(instance.group)
        if group is None or group.policy not in ("affinity", "anti-affinity"):
            return None
        others = group.members - {instance.id}
        hosts = Counter(self.moved.get(each) or self.floor.where.get(each, "") for each in others)
        hosts.pop("", None)
        if group.policy == "affinity":
            return (lambda name: name in hosts) if hosts else None
        most = group.most
        return lambda name: hosts[name] < most

    def _why_not(self, instance: Instance, destination: str) -> Place:
        """The first thing that leaves no host over."""
        names = list(self._choice(destination))
        if not names:
            other = (
                f"reserved host {destination} is not up"
                if destination
                else "no other host may take instances"
            )
            return Place("", TARGETS, other)
        if instance.zone:
            names = [name for name in names if self._in_zone(name, instance, destination)]
            if not names:
                return Place("", ZONE, f"no other host of availability zone {instance.zone} is in service")
        limit = self._of_group(instance)
        if limit is not None:
            names = [name for name in names if limit(name)]
            if not names:
                policy = self.facts.groups[instance.group].policy
                words = (
                    "its server group wants it beside the others, which are on the dead host"
                    if policy == "affinity"
                    else "every other host has its share of its server group already (anti-affinity)"
                )
                return Place("", GROUP, words)
        fits = self.facts.fits.get(instance.shape)
        alone = names if fits is None else [name for name in names if name in fits]
        asks = ", ".join(f"{resource} {amount}" for resource, amount in instance.shape.resources)
        if not alone:
            return Place("", SHAPE, f"no host that is left can take {asks} at all")
        most = max(alone, key=lambda name: self._left(name, "MEMORY_MB"))
        left = ", ".join(
            f"{resource} {self._left(most, resource)}" for resource, _ in instance.shape.resources
        )
        return Place("", ROOM, f"no room: it needs {asks}; the emptiest, {most}, has {left} left by then")
