"""What a survey of the made-up cloud finds, so that readiness and plans can be held against what happens in
it.
"""

from __future__ import annotations

from hass_runtime.decide.cloud_facts import CloudFacts, Compute, Instance, Shape
from hass_runtime.simulator.nova import Nova

_PLENTY = 1_000_000  # how much there is of what the made-up world has no end of
_ONE = Shape((("MEMORY_MB", 1),))


def facts_of(nova: Nova) -> CloudFacts:
    """Every instance takes one unit of memory; a host with ``room`` has so many."""
    load = dict.fromkeys(nova.services, 0)
    for record in nova.records.values():
        load[record.server.host] += 1
    computes = {
        name: Compute(
            name,
            nova.world.hosts[name].spec.cluster,
            service.enabled,
            nova.is_up(name),
            {"MEMORY_MB": _room(nova, name) - load[name]},
        )
        for name, service in nova.services.items()
    }
    instances = tuple(
        Instance(each.id, each.name, each.host, each.vm_state, _ONE, each.priority)
        for each in (record.server for record in nova.records.values())
    )
    return CloudFacts(nova.hub.wall(), computes, instances)


def _room(nova: Nova, name: str) -> int:
    room = nova.world.hosts[name].spec.room
    return _PLENTY if room is None else room
