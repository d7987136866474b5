"""The gates between a fault and its remedy: pure, one place for all hosts, each with a reason in words.

They are asked in the order of `GATES`; the first that is closed holds the fault back. Which of them a remedy
has to pass depends on what it does: see `asked_of`. What each gate does when it cannot know (fail open or
closed) is in its `Gatekeeper`, from which the table in docs/safety.md is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hass_runtime.decide import lifecycle, reserve
from hass_runtime.decide.diagnosis import sign
from hass_runtime.decide.symptoms import Sign
from hass_runtime.decide.view import DRAIN, FAILURE, REVIVE, HostView, View
from hass_runtime.domain import Gate, HostState, Layer, Method, Order, Scope

_EVERYWHERE = {Scope.ALL: "", Scope.CLUSTER: "cluster ", Scope.HOST: "host "}


def switched_off(view: View, host: HostView) -> str:
    """Why HASS may not act on the host because somebody said so, or ""."""
    pause = view.paused(host)
    if pause is not None:
        where = f" for {_EVERYWHERE[pause.scope]}{pause.name}" if pause.scope is not Scope.ALL else ""
        return f"switched off{where} by {pause.by}: {pause.reason}"
    return "" if view.policy.armed else "the configuration says [safety] armed = false"


def _disarmed(view: View, host: HostView, playbook: str) -> str:
    return switched_off(view, host)


def cut_off(view: View) -> str:
    """Why the controller itself seems to be cut off, or ""."""
    if view.gateway_answers is False:
        return "the controller's own gateway does not answer: it may be cut off itself"
    if view.gateway_answers or len(view.hosts) == 1:
        return ""
    if any(view.answers(host) for host in view.hosts.values()):
        return ""
    return f"none of {len(view.hosts)} hosts answers: the controller may be cut off itself"


def _isolated(view: View, host: HostView, playbook: str) -> str:
    return cut_off(view)


def _blind(view: View, host: HostView, playbook: str) -> str:
    """What is left must be able to tell: power and agents for a fence, agents for anything else."""
    needs_power = playbook == FAILURE and host.host.bmc is not None and confirmation(view, host) is None
    if needs_power and Layer.POWER in view.blind:
        return f"the power detector is blind: {view.blind[Layer.POWER]}"
    if Layer.SERVICE in view.blind:
        return f"the service detector is blind: {view.blind[Layer.SERVICE]}"
    if Layer.NETWORK in view.blind and host.fault is not None and host.fault.layer is Layer.NETWORK:
        return f"the network detector is blind: {view.blind[Layer.NETWORK]}"
    return ""


def _storm(view: View, host: HostView, playbook: str) -> str:
    cluster = host.host.cluster
    size = view.sizes[cluster]
    # Who is about to fence counts hosts that are down; who does something milder counts every host with a
    # fault, or a message queue that is down would have all of the cloud's services restarted.
    failing = (view.down if playbook == FAILURE else view.ailing)[cluster] | {host.name}
    if len(failing) > view.policy.storm_threshold * size:
        what = "are down" if playbook == FAILURE else "have a fault"
        return (
            f"{len(failing)} of {size} hosts of cluster {cluster} {what} ({_some(sorted(failing))}), "
            f"more than {view.policy.storm_threshold:.0%}"
        )
    return ""


def _domain(view: View, host: HostView, playbook: str) -> str:
    zone = host.host.zone
    members = view.zones.get((host.host.cluster, zone), frozenset())
    if len(members) == view.sizes[host.host.cluster]:
        return ""  # all of the cluster in one domain: that is what the storm gate is for
    failing = (view.down[host.host.cluster] | {host.name}) & members
    if len(failing) >= 2 and len(failing) > view.policy.domain_threshold * len(members):
        return (
            f"{len(failing)} of {len(members)} hosts of failure domain {zone} are down "
            f"({_some(sorted(failing))}), more than {view.policy.domain_threshold:.0%}"
        )
    return ""


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


_AT_WORK = (HostState.FENCING, HostState.FENCED, HostState.EVACUATING)


def _rate(view: View, host: HostView, playbook: str) -> str:
    policy = view.policy
    others = sorted(
        other.name
        for other in view.hosts.values()
        if other.name != host.name and other.running and other.state in _AT_WORK
    )
    if len(others) >= policy.max_remedies:
        return f"{len(others)} remedies run already ({', '.join(others)})"
    if host.proven_off:
        return ""  # it is off already, only its instances are missing
    troubles = [view.troubled_at.get(where) for where in (EVERYWHERE, host.host.cluster)]
    ago = view.now - max((at for at in troubles if at is not None), default=float("-inf"))
    if ago < policy.cooldown:
        return f"{ago:.0f} s after a storm or an isolation, {policy.cooldown:g} s are waited"
    if playbook == FAILURE:
        since = view.now - policy.fence_window
        fenced = {name for name, at in view.fences if at > since and name != host.name}
        if len(fenced) >= policy.max_fences:
            return f"{len(fenced)} hosts were fenced in the last {policy.fence_window:g} s"
    return ""


def is_target(view: View, host: HostView) -> bool:
    """True when instances may be moved to this host. A host whose agent was never heard is no target."""
    if host.maintenance is not None or host.state in lifecycle.TAKEN_OUT:
        return False
    if host.state in lifecycle.OUT and (view.ladder(host) or host.state is HostState.MAINTENANCE):
        return False  # a host with a fault that is only reported can still take instances
    limits = view.policy.thresholds
    return sign(host.track.layers.get(Layer.SERVICE), view.now, limits) is Sign.OK


def _no_target(view: View, host: HostView, playbook: str) -> str:
    cluster = host.host.cluster
    method = view.policy.method(cluster) if playbook == FAILURE else Method.AUTO
    if method is not Method.AUTO and reserve.reserve_for(view, host):
        return ""
    if method is Method.RESERVED_HOST:
        return f"no reserved host of cluster {cluster} is ready (recovery_method {method.value})"
    for other in view.hosts.values():
        if other.host.cluster != cluster or other.name == host.name or reserve.is_kept(other):
            continue
        if is_target(view, other):
            return ""
    return f"no healthy host in cluster {cluster} to go to"


def confirmation(view: View, host: HostView) -> Order | None:
    """A person's word that the host is off, unless the host has spoken since."""
    order = host.confirmed
    heard_at = host.heard_at()
    return order if order is not None and (heard_at is None or heard_at <= order.at) else None


def _unproven(view: View, host: HostView, playbook: str) -> str:
    if confirmation(view, host) is not None:
        return ""
    if host.host.bmc is None:
        return f"{host.name} has no BMC: only a person can prove that it is off (hass confirm-fenced)"
    if host.track.doubt:
        return f"nothing can prove that {host.name} is off: {host.track.doubt}, and has not said on since"
    power = host.latest(Layer.POWER)
    if power is None or sign(host.track.layers.get(Layer.POWER), view.now, view.policy.thresholds) is (
        Sign.UNKNOWN
    ):
        why = power.evidence if power is not None else "not read yet"
        return f"nothing can prove that {host.name} is off: {why}"
    return ""


@dataclass(frozen=True)
class Gatekeeper:
    """One gate: how to ask it, what closes it, and what it does when it cannot know."""

    gate: Gate
    ask: Callable[[View, HostView, str], str]
    closes: str
    unknown: str


GATES: tuple[Gatekeeper, ...] = (
    Gatekeeper(
        Gate.DISARMED,
        _disarmed,
        "A person switched HASS off, everywhere or for this cluster or host.",
        "closed: when the database cannot be asked, nothing is decided at all",
    ),
    Gatekeeper(
        Gate.ISOLATED,
        _isolated,
        "The gateway does not answer, or, without one, no host does.",
        "closed: a controller that sees nothing must not conclude that everything is dead",
    ),
    Gatekeeper(
        Gate.BLIND,
        _blind,
        "A detector that the remedy depends on sees nothing of any host that is known to live.",
        "open: with fewer than two living hosts to compare nobody can tell; `unproven` still asks this host",
    ),
    Gatekeeper(
        Gate.STORM,
        _storm,
        "More than `storm_threshold` of the cluster is down, those already taken out included.",
        "closed: a host that was not read yet counts as down",
    ),
    Gatekeeper(
        Gate.DOMAIN,
        _domain,
        "Two or more hosts, and more than `domain_threshold`, of one failure domain are down.",
        "open: a host without a `[zone]` belongs to no domain; the storm gate counts it",
    ),
    Gatekeeper(
        Gate.RATE,
        _rate,
        "`max_remedies` run, `max_fences` were reached, or a storm ended less than `cooldown` seconds ago.",
        "closed: fences of the time before a restart are read back from the journal",
    ),
    Gatekeeper(
        Gate.NO_TARGET,
        _no_target,
        "No other host of the cluster is healthy; with `recovery_method = reserved_host`, no reserved one.",
        "closed: a host whose agent was never heard is no target",
    ),
    Gatekeeper(
        Gate.UNPROVEN,
        _unproven,
        "Nothing can prove that the host is off: it has no BMC, or its BMC cannot be read.",
        "closed: what cannot be proven off is not evacuated, until a person confirms it",
    ),
)
_MOVES_NOTHING = frozenset({Gate.DOMAIN, Gate.NO_TARGET, Gate.UNPROVEN})
_TAKES_NOTHING = _MOVES_NOTHING | {Gate.STORM}


def asked_of(playbook: str) -> tuple[Gatekeeper, ...]:
    """The gates that a remedy has to pass: all of them to fence and evacuate; to drain, all but the proof;
    for anything else those that have to do with fencing or moving do not matter. Hosts that are all back
    after a blackout are no storm: what ran on them may be started at once.
    """
    if playbook == FAILURE:
        return GATES
    spared = {DRAIN: frozenset({Gate.UNPROVEN}), REVIVE: _TAKES_NOTHING}.get(playbook, _MOVES_NOTHING)
    return tuple(keeper for keeper in GATES if keeper.gate not in spared)


def closed(view: View, host: HostView, playbook: str = FAILURE) -> tuple[Gate, str] | None:
    """The first closed gate and its reason, or None when the playbook may run on the host."""
    for keeper in asked_of(playbook):
        reason = keeper.ask(view, host, playbook)
        if reason:
            return keeper.gate, reason
    return None


EVERYWHERE = ""
"""Where trouble is when the controller itself is cut off; a storm is in its cluster."""


def troubled(view: View) -> frozenset[str]:
    """The clusters in which there is a storm, and `EVERYWHERE` while the controller is cut off: then readings
    are not to be trusted for some time after, either. Hosts that were not read yet do not count here: every
    start begins like that.
    """
    if not any(host.track.layers for host in view.hosts.values()):
        return frozenset()
    if cut_off(view):
        return frozenset({EVERYWHERE})
    return frozenset(
        cluster
        for cluster, names in view.down.items()
        if sum(bool(view.hosts[name].track.layers) for name in names)
        > view.policy.storm_threshold * view.sizes[cluster]
    )
