"""Reads which hosts are kept in reserve, and where the instances of a failed host go, by cluster."""

from __future__ import annotations

from collections.abc import Iterable

from hass_runtime.domain import Host, Method
from hass_runtime.settings.keys import did_you_mean
from hass_runtime.settings.reader import Reader


def read_reserved(reader: Reader, names: tuple[str, ...]) -> frozenset[str]:
    """The hosts that are kept in reserve; problems go to the reader."""
    reserved = reader.words("cluster", "reserved_hosts") or ()
    for name in reserved:
        if name not in names:
            near = did_you_mean(name, names)
            where = "[cluster] reserved_hosts"
            reader.problem(where, f"no host of [cluster] hosts is called {name[:60]!r}{near}")
    return frozenset(reserved)


def read_methods(reader: Reader, hosts: Iterable[Host]) -> dict[str, Method]:
    """The method of each cluster; problems go to the reader."""
    hosts = tuple(hosts)
    clusters = {host.cluster for host in hosts} | {reader.text("cluster", "name")}
    known = [method.value for method in Method]
    usual = reader.text("recovery", "recovery_method")
    methods = dict.fromkeys(sorted(clusters), Method(usual) if usual in known else Method.AUTO)
    for name, where, value in reader.each("recovery_method"):
        word = value.strip()
        if name not in clusters:
            reader.problem(where, f"there is no cluster of that name{did_you_mean(name, clusters)}")
        elif word not in known:
            near = did_you_mean(word, known)
            reader.problem(where, f"{word[:60]!r} is no method, expected one of {', '.join(known)}{near}")
        else:
            methods[name] = Method(word)
    _advise(reader, hosts, methods)
    return methods


def _advise(reader: Reader, hosts: tuple[Host, ...], methods: dict[str, Method]) -> None:
    """What is allowed, and hardly meant."""
    for cluster, method in methods.items():
        reserved = [host.name for host in hosts if host.reserved and host.cluster == cluster]
        if reserved and method is Method.AUTO:
            words = f"{', '.join(reserved)}: kept free and never used, recovery_method of {cluster} is auto"
            reader.note("[cluster] reserved_hosts", words)
        elif not reserved and method is not Method.AUTO:
            reader.note(
                "[recovery] recovery_method", f"{method.value}: cluster {cluster} has no reserved host"
            )
