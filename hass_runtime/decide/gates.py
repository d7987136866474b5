"""The gates between a fault and its remedy: pure, one place for all hosts, each with a reason in words.

They are asked in the order of `GATES`; the first that is closed holds the fault back. What each does when
it cannot know (fail open or closed) is said beside it.
"""

from __future__ import annotations

from collections.abc import Callable

from hass_runtime.decide import lifecycle
from hass_runtime.decide.diagnosis import sign
from hass_runtime.decide.symptoms import Sign
from hass_runtime.decide.view import HostView, View
from hass_runtime.domain import Gate, HostState, Layer


def _disarmed(view: View, host: HostView) -> str:
    if view.disarmed:
        return view.disarmed
    return "" if view.policy.armed else "the configuration says [safety] armed = false"


def _isolated(view: View, host: HostView) -> str:
    # Fails closed: with no gateway configured and no host answering there is no sign of life anywhere,
    # and a controller that sees nothing must not conclude that everything is dead.
    if view.gateway_answers is False:
        return "the controller's own gateway does not answer: it may be cut off itself"
    if view.gateway_answers or len(view.hosts) == 1:
        return ""
    if any(view.answers(host) for host in view.hosts.values()):
        return ""
    return f"none of {len(view.hosts)} hosts answers: the controller may be cut off itself"


def _storm(view: View, host: HostView) -> str:
    cluster = host.host.cluster
    size = view.sizes[cluster]
    down = view.down[cluster] | {host.name}
    if len(down) > view.policy.storm_threshold * size:
        return (
            f"{len(down)} of {size} hosts of cluster {cluster} are down ({_some(sorted(down))}), "
            f"more than {view.policy.storm_threshold:.0%}"
        )
    return ""


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


_AT_WORK = (HostState.FENCING, HostState.FENCED, HostState.EVACUATING)


def _rate(view: View, host: HostView) -> str:
    others = sorted(
        other.name
        for other in view.hosts.values()
        if other.name != host.name and other.running and other.state in _AT_WORK
    )
    if len(others) >= view.policy.max_remedies:
        return f"{len(others)} remedies run already ({', '.join(others)})"
    return ""


def _no_target(view: View, host: HostView) -> str:
    # Fails closed: a host whose agent was never heard is no target.
    limits = view.policy.thresholds
    for other in view.hosts.values():
        if other.host.cluster != host.host.cluster:
            continue
        service = sign(other.track.layers.get(Layer.SERVICE), view.now, limits)
        if other.name != host.name and other.state not in lifecycle.OUT and service is Sign.OK:
            return ""
    return f"no healthy host in cluster {host.host.cluster} to go to"


def _unproven(view: View, host: HostView) -> str:
    # Fails closed: what cannot be proven off is not evacuated.
    if host.host.bmc is None:
        return f"{host.name} has no BMC: only a person can prove that it is off"
    power = host.latest(Layer.POWER)
    if power is None or sign(host.track.layers.get(Layer.POWER), view.now, view.policy.thresholds) is (
        Sign.UNKNOWN
    ):
        why = power.evidence if power is not None else "not read yet"
        return f"nothing can prove that {host.name} is off: {why}"
    return ""


GATES: tuple[tuple[Gate, Callable[[View, HostView], str]], ...] = (
    (Gate.DISARMED, _disarmed),
    (Gate.ISOLATED, _isolated),
    (Gate.STORM, _storm),
    (Gate.RATE, _rate),
    (Gate.NO_TARGET, _no_target),
    (Gate.UNPROVEN, _unproven),
)


def closed(view: View, host: HostView) -> tuple[Gate, str] | None:
    """The first closed gate and its reason, or None when the host may be fenced and evacuated."""
    for gate, ask in GATES:
        reason = ask(view, host)
        if reason:
            return gate, reason
    return None
