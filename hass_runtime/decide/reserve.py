"""Reserved hosts: which of them may take the instances of a failed host, and who takes their place. Pure.

A reserved host is disabled in Nova until another host of its cluster fails. Then it is given to Nova and is a
host like any other; the next host of the cluster that comes back is kept in reserve in its place.
"""

from __future__ import annotations

from collections.abc import Sequence

from hass_runtime.decide.view import FAILURE, HostView, View, emptied
from hass_runtime.domain import HostState, Method, Reserve

ANYWHERE = ""
"""A destination: whatever Nova's scheduler chooses."""


def destinations(method: Method, reserved: Sequence[str]) -> tuple[str, ...]:
    """Where instances are sent, one after the other until they fit: names of hosts, or `ANYWHERE`."""
    return {
        Method.AUTO: (ANYWHERE,),
        Method.RESERVED_HOST: tuple(reserved),
        Method.AUTO_PRIORITY: (ANYWHERE, *reserved),
        Method.RH_PRIORITY: (*reserved, ANYWHERE),
    }[method]


def is_kept(host: HostView) -> bool:
    """True while the host is in the reserve, whatever its state."""
    return host.reserve is Reserve.READY


def reserve_for(view: View, host: HostView) -> tuple[str, ...]:
    """Names of the reserved hosts that may take the instances of a failed host, the first choice first.

    Empty when the cluster's method does not use them. Those that were used already come last: they are
    hosts like any other by now, and what was begun goes on there. Two hosts that fail together get them in
    another order, so that both do not crowd onto the first.
    """
    if view.policy.method(host.host.cluster) is Method.AUTO:
        return ()
    mine = [
        other for other in _others(view, host) if other.reserve is not Reserve.NONE and _is_fit(view, other)
    ]
    ready = sorted(other.name for other in mine if is_kept(other))
    used = sorted(other.name for other in mine if not is_kept(other))
    at_work = sum(1 for other in _others(view, host) if other.running == FAILURE)
    turn = at_work % len(ready) if ready else 0
    return (*ready[turn:], *ready[:turn], *used)


def _others(view: View, host: HostView) -> list[HostView]:
    cluster = host.host.cluster
    return [
        other for other in view.hosts.values() if other.host.cluster == cluster and other.name != host.name
    ]


def _is_fit(view: View, host: HostView) -> bool:
    """Well beyond doubt: no host is used that is suspect, has a fault, is held, or is being worked on."""
    quiet = host.fault is None and not host.running and host.maintenance is None
    return quiet and host.state is HostState.HEALTHY and view.answers(host)


def missing(view: View, cluster: str) -> int:
    """How many hosts the reserve of a cluster lacks. One that is quarantined is no reserve."""
    members = [host for host in view.hosts.values() if host.host.cluster == cluster]
    kept = sum(is_kept(host) and host.state is not HostState.QUARANTINED for host in members)
    unknown = sum(host.host.reserved and host.reserve is Reserve.NONE for host in members)
    return sum(host.host.reserved for host in members) - kept - unknown


def is_surplus(view: View, host: HostView) -> bool:
    """True when the reserve has more hosts than are configured, and this is one to give back to Nova."""
    over = -missing(view, host.host.cluster)
    kept = [
        other for other in view.hosts.values() if other.host.cluster == host.host.cluster and is_kept(other)
    ]
    names = [other.name for other in sorted(kept, key=lambda each: (each.host.reserved, each.name))]
    return over > 0 and host.name in names[:over]


def is_to_refill(view: View, host: HostView) -> bool:
    """True when the host, which is coming back empty, is to be kept in reserve from now on."""
    if not view.policy.refill_reserve or is_kept(host) or not (host.proven_off or emptied(host)):
        return False
    return missing(view, host.host.cluster) > 0
