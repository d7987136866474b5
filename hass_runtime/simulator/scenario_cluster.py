"""The cluster of a scenario: its hosts and what runs on them at the start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import yaml

from hass_runtime.settings import convert
from hass_runtime.settings.keys import did_you_mean
from hass_runtime.simulator.scenario_model import HostSpec, InstanceSpec
from hass_runtime.simulator.scenario_nodes import Pair, Source, is_empty, join
from hass_runtime.simulator.scenario_words import INSTANCE_STATES, OTHERS

HOSTS = 3
INSTANCES_PER_HOST = 2
_MOST_HOSTS = 2000
_MOST_PER_HOST = 1000
_MOST_INSTANCES = 100_000
_CLUSTER_KEYS = ("hosts", "instances_per_host", "instances")
_HOST_KEYS = ("name", "ipmi", "zone", "reserved", "cluster", "watchdog", "room", "aggregates")
_HOST_FLAGS = ("ipmi", "reserved", "watchdog")
_INSTANCE_TRAITS = ("flavor", "project", "image_tag")
_INSTANCE_KEYS = ("name", "host", "state", "priority", "protect", *_INSTANCE_TRAITS)
_HOSTS_EXPECTED = f"a number from 1 to {_MOST_HOSTS} or a list of hosts"
_PER_HOST_EXPECTED = f"a number from 0 to {_MOST_PER_HOST} or a list of instances"


@dataclass(frozen=True)
class Names:
    """What the events and expectations of a scenario may name."""

    hosts: tuple[str, ...]
    instances: tuple[str, ...]
    clusters: tuple[str, ...]


def names_of(hosts: Iterable[HostSpec], instances: Iterable[InstanceSpec]) -> Names:
    """The names that the cluster has."""
    hosts = tuple(hosts)
    clusters = dict.fromkeys(host.cluster for host in hosts)
    return Names(tuple(host.name for host in hosts), tuple(each.name for each in instances), tuple(clusters))


def read_cluster(
    source: Source, node: yaml.Node | None
) -> tuple[tuple[HostSpec, ...], tuple[InstanceSpec, ...]]:
    """Hosts and instances, each in the order of the file."""
    given: Mapping[str, Pair] = {}
    if node is not None and not is_empty(node):
        given = source.mapping(node, "cluster", _CLUSTER_KEYS)
    hosts = numbered_hosts(HOSTS)
    if "hosts" in given:
        hosts = _hosts(source, given["hosts"][1])
    if "instances" in given and "instances_per_host" in given:
        source.problem(
            given["instances"][0],
            "cluster.instances",
            "instances_per_host is there too, expected one of them",
        )
    for key in ("instances", "instances_per_host"):
        if key in given:
            instances = _instances(source, given[key][1], f"cluster.{key}", hosts)
            _check_room(source, given[key][1], f"cluster.{key}", hosts, instances)
            return hosts, instances
    instances = numbered_instances(hosts, INSTANCES_PER_HOST)
    if node is not None:
        _check_room(source, node, "cluster", hosts, instances)
    return hosts, instances


def numbered_hosts(count: int) -> tuple[HostSpec, ...]:
    """host1, host2, …"""
    return tuple(HostSpec(f"host{number}") for number in range(1, count + 1))


def numbered_instances(hosts: Iterable[HostSpec], per_host: int) -> tuple[InstanceSpec, ...]:
    """vm1, vm2, … counted through over the hosts in their order; reserved hosts get none."""
    places = [host.name for host in hosts if not host.reserved for _ in range(per_host)]
    return tuple(InstanceSpec(f"vm{number}", host) for number, host in enumerate(places, start=1))


def _hosts(source: Source, node: yaml.Node) -> tuple[HostSpec, ...]:
    where = "cluster.hosts"
    if isinstance(node, yaml.ScalarNode):
        count = source.integer(node, where, _HOSTS_EXPECTED, 1, _MOST_HOSTS)
        return numbered_hosts(count or HOSTS)
    if not isinstance(node, yaml.SequenceNode) or not 0 < len(node.value) <= _MOST_HOSTS:
        source.problem(node, where, f"{source.shown(node)}, expected {_HOSTS_EXPECTED}")
        return ()
    hosts: dict[str, HostSpec] = {}
    for item in node.value:
        host = _host(source, item, where)
        if host is not None and host.name in hosts:
            source.problem(item, where, f"there are two hosts {host.name}, expected each name once")
        elif host is not None:
            hosts[host.name] = host
    return tuple(hosts.values())


def _host(source: Source, node: yaml.Node, where: str) -> HostSpec | None:
    if isinstance(node, yaml.ScalarNode):
        name = _host_name(source, node, where)
        return HostSpec(name) if name else None
    given = source.mapping(node, where, _HOST_KEYS, ("name",))
    name = _host_name(source, given["name"][1], join(where, "name")) if "name" in given else None
    if name is None:
        return None
    host = HostSpec(name)
    # What has a problem keeps its default: nobody will see it.
    flags = {key: source.flag(given[key][1], join(where, key)) for key in _HOST_FLAGS if key in given}
    host = replace(
        host,
        ipmi=flags.get("ipmi") is not False,
        reserved=flags.get("reserved") is True,
        watchdog=flags.get("watchdog") is not False,
    )
    if "cluster" in given:
        cluster = _plain_name(source, given["cluster"][1], join(where, "cluster"), "the name of a cluster")
        host = replace(host, cluster=cluster or host.cluster)
    if "zone" in given and not _is_blank(given["zone"][1]):
        zone = _plain_name(source, given["zone"][1], join(where, "zone"), "the name of a failure domain")
        host = replace(host, zone=zone or "")
    if "room" in given and not is_empty(given["room"][1]):
        expected = f"how many instances it can take, from 0 to {_MOST_INSTANCES}"
        host = replace(
            host, room=source.integer(given["room"][1], join(where, "room"), expected, 0, _MOST_INSTANCES)
        )
    if "aggregates" in given and not is_empty(given["aggregates"][1]):
        host = replace(
            host, aggregates=_aggregates(source, given["aggregates"][1], join(where, "aggregates"))
        )
    return host


def _aggregates(source: Source, node: yaml.Node, where: str) -> tuple[str, ...]:
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    names = (_plain_name(source, item, where, "names of host aggregates") for item in items)
    return tuple(dict.fromkeys(name for name in names if name))


def _is_blank(node: yaml.Node) -> bool:
    """Whether nothing is given, with quotes or without."""
    return is_empty(node) or (isinstance(node, yaml.ScalarNode) and not node.value.strip())


def _plain_name(source: Source, node: yaml.Node, where: str, expected: str) -> str | None:
    text = source.text(node, where, expected)
    if text is None:
        return None
    try:
        return convert.host_name(text)
    except ValueError:
        source.problem(
            node, where, f"{source.shown(node)} is no name, expected {expected}: letters, digits, . _ -"
        )
        return None


def _host_name(source: Source, node: yaml.Node, where: str) -> str | None:
    name = _plain_name(source, node, where, "the name of a host")
    if name == OTHERS:
        source.problem(node, where, f"{OTHERS!r} stands for any other host, expected another name")
        return None
    return name


def _instances(
    source: Source, node: yaml.Node, where: str, hosts: tuple[HostSpec, ...]
) -> tuple[InstanceSpec, ...]:
    if isinstance(node, yaml.ScalarNode) and not is_empty(node) and where.endswith("per_host"):
        per_host = source.integer(node, where, _PER_HOST_EXPECTED, 0, _MOST_PER_HOST) or 0
        if per_host * len(hosts) > _MOST_INSTANCES:
            source.problem(
                node, where, f"{per_host * len(hosts)} instances, expected {_MOST_INSTANCES} at most"
            )
            return ()
        return numbered_instances(hosts, per_host)
    names: set[str] = set()
    found = []
    for item in source.items(node, where, "a list of instances"):
        instance = _instance(source, item, where, hosts)
        if instance is None:
            continue
        if instance.name in names:
            source.problem(item, where, f"there are two instances {instance.name}, expected each name once")
        names.add(instance.name)
        found.append(instance)
    return tuple(found)


def _instance(
    source: Source, node: yaml.Node, where: str, hosts: tuple[HostSpec, ...]
) -> InstanceSpec | None:
    given = source.mapping(node, where, _INSTANCE_KEYS, ("name", "host"))
    before = source.count
    name = host = None
    state: str | None = "active"
    priority: int | None = 0
    if "name" in given:
        name = source.text(given["name"][1], join(where, "name"), "the name of an instance")
    if "host" in given:
        names = [each.name for each in hosts]
        host = known_name(source, given["host"][1], join(where, "host"), names, "host")
    if "state" in given:
        state = source.word(given["state"][1], join(where, "state"), INSTANCE_STATES, "a state")
    if "priority" in given:
        expected = "a whole number, what is higher moves first"
        priority = source.integer(given["priority"][1], join(where, "priority"), expected, -1000, 1000)
    protect = source.flag(given["protect"][1], join(where, "protect")) if "protect" in given else None
    traits = {
        key: _plain_name(source, given[key][1], join(where, key), f"a name for its {key}") or ""
        for key in _INSTANCE_TRAITS
        if key in given
    }
    if source.count > before or name is None or host is None or state is None or priority is None:
        return None
    return InstanceSpec(name, host, state, priority, protect, **traits)


def _check_room(
    source: Source,
    node: yaml.Node,
    where: str,
    hosts: tuple[HostSpec, ...],
    instances: tuple[InstanceSpec, ...],
) -> None:
    count = Counter(instance.host for instance in instances)
    for host in hosts:
        there = count[host.name]
        if host.room is not None and there > host.room:
            source.problem(
                node, where, f"{there} instances on {host.name}, expected {host.room} at most: its room"
            )


def known_name(source: Source, node: yaml.Node, where: str, names: Iterable[str], what: str) -> str | None:
    """The whole name of a host, instance or cluster of this scenario."""
    names = tuple(names)
    text = source.text(node, where, f"the name of {'an' if what[0] in 'aeiou' else 'a'} {what}")
    if text is None or text in names:
        return text
    source.problem(
        node,
        where,
        f"there is no {what} {source.shown(node)}, expected {_some(names)}{did_you_mean(text, names)}",
    )
    return None


def known_names(
    source: Source, node: yaml.Node, where: str, names: Iterable[str], what: str
) -> tuple[str, ...]:
    """One name or a list of different ones; () after a problem."""
    names = tuple(names)
    if not isinstance(node, yaml.SequenceNode):
        name = known_name(source, node, where, names, what)
        return (name,) if name else ()
    found = tuple(_each_name(source, node, where, names, what))
    if not node.value:
        source.problem(node, where, f"an empty list, expected names: {_some(names)}")
    for name in (name for name, times in Counter(found).items() if times > 1):
        source.problem(node, where, f"{name} is listed twice, expected each name once")
    return found


def _each_name(
    source: Source, node: yaml.SequenceNode, where: str, names: tuple[str, ...], what: str
) -> Iterator[str]:
    for item in node.value:
        name = known_name(source, item, where, names, what)
        if name is not None:
            yield name


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "") if names else "one, but there are none"
