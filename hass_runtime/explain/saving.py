"""A recorded incident as a scenario: the same cluster, and what happens to it, read back from the readings.
Pure.

What HASS read is turned into what must have happened: a host that is silent on every layer while its BMC
says off had its power cut, and so on. A reading that nothing in a made-up world brings about is refused in
words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from hass_runtime.decide.diagnosis import signs
from hass_runtime.decide.lifecycle import TAKEN_OUT
from hass_runtime.decide.symptoms import Sign
from hass_runtime.decide.view import HostView, View
from hass_runtime.domain import HostState, Incident, Layer, Method, Move, Scope
from hass_runtime.explain import again
from hass_runtime.settings.controller_keys import CONTROLLER
from hass_runtime.simulator.scenario_model import Event, Expectation, HostSpec, InstanceSpec, Scenario
from hass_runtime.simulator.scenario_words import ANY, SERVICES
from hass_runtime.store.records import Decided

_BEGINS = 10.0  # seconds: by then every host of the made-up cluster has been seen
_BLINK = 0.5  # seconds: too short for anybody to see, long enough to end all that runs
_PATIENCE = 60.0
_AFTERWARDS = 240.0
_BAD = frozenset({Sign.SILENT, Sign.COMPLAINING, Sign.MISSING})
# Gates that the readings alone close; what was fenced before belongs to a story that this one leaves out.
_OF_THE_MOMENT = frozenset({"disarmed", "isolated", "storm", "domain", "no_target", "unproven"})
_RUNNING_STATES = ("active", "stopped")


class SavingError(Exception):
    """This incident cannot be played in a made-up world. One line."""


def scenario(
    incident: Incident, made: Sequence[Decided], views: Mapping[int, View], moves: Sequence[Move]
) -> Scenario:
    """The incident as a scenario in which the same fault is established. Raises SavingError."""
    first = next((each for each in made if each.kind == "opened" and each.snapshot in views), None)
    if first is None:
        raise SavingError(f"incident {incident.id}: what it was opened from is not kept")
    view = views[first.snapshot]
    fault = first.what
    hosts = tuple(_spec(host) for host in view.hosts.values())
    events = tuple(_events(view, incident.host))
    if not any(incident.host in event.subjects for event in events):
        raise SavingError(
            f"incident {incident.id}: nothing that can happen in a scenario makes the fault {fault} of "
            f"{incident.host}"
        )
    wait = view.policy.thresholds.transient + (
        view.policy.thresholds.planned if view.hosts[incident.host].track.leaving else 0.0
    )
    until = _BEGINS + wait + _PATIENCE
    wanted = {"host": incident.host, "fault": fault, "outcome": ANY}
    expect = [Expectation("by", until, "incident", wanted), Expectation("never", None, "two_writers")]
    verdict = again.judge(again.of(view, first), incident.host)
    if (
        verdict.kind == "held"
        and verdict.what in _OF_THE_MOMENT
        and not any(host.state in TAKEN_OUT for host in view.hosts.values())
    ):
        expect.insert(1, Expectation("by", until, "held", {"host": incident.host, "gate": verdict.what}))
    return Scenario(
        f"incident {incident.id}: {fault} of {incident.host}, as it was recorded",
        settings_of(view) | _method_of(view, incident.host),
        hosts,
        _instances(view, incident.host, moves),
        events,
        until + _AFTERWARDS,
        tuple(expect),
    )


def settings_of(view: View) -> dict[str, str]:
    """The recorded policy as settings of a scenario, by "section.key"."""
    policy, limits = view.policy, view.policy.thresholds
    interval = max((limits.stale_after - 10.0) / 3, 0.1)
    found: dict[str, object] = {
        "detection.polling_interval": interval,
        "detection.polling_threshold": limits.misses,
        "default.network_transient_time": limits.transient,
        "safety.planned_shutdown_time": limits.planned,
        "safety.armed": policy.armed,
        "safety.storm_threshold": policy.storm_threshold,
        "safety.domain_threshold": policy.domain_threshold,
        "safety.max_remedies": policy.max_remedies,
        "safety.max_fences": policy.max_fences,
        "safety.fence_window": policy.fence_window,
        "safety.cooldown": policy.cooldown,
        "safety.flap_limit": policy.flap_limit,
        "safety.flap_window": policy.flap_window,
        "safety.retry_interval": policy.retry_interval,
        "safety.max_attempts": policy.max_attempts,
        "recovery.auto_restore": policy.auto_restore,
        "recovery.healthy_delay": policy.healthy_delay,
    }
    texts = {key: _text(value) for key, value in found.items()}
    return {full: text for full, text in texts.items() if text != _default(full)}


def _method_of(view: View, name: str) -> dict[str, str]:
    """Where instances of this host's cluster go, when Nova does not choose; a scenario has one way."""
    method = view.policy.method(view.hosts[name].host.cluster)
    return {} if method is Method.AUTO else {"recovery.recovery_method": method.value}


def _default(full: str) -> str | None:
    section, _, name = full.partition(".")
    return CONTROLLER.key(section, name).default


def _text(value: object) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _spec(host: HostView) -> HostSpec:
    os_layer = host.track.layers.get(Layer.OS)
    armed = os_layer is not None and os_layer.heard_at is not None
    return HostSpec(
        host.name,
        ipmi=host.host.bmc is not None,
        zone=host.host.zone,
        cluster=host.host.cluster,
        watchdog=armed or host.host.bmc is None,
        reserved=host.host.reserved,
    )


def _instances(view: View, name: str, moves: Sequence[Move]) -> tuple[InstanceSpec, ...]:
    """Those that were moved, as they were; one stands for each other host, whose instances nobody
    recorded.
    """
    found = {
        move.name or move.instance: InstanceSpec(
            _plain(move.name or move.instance),
            name,
            move.was if move.was in _RUNNING_STATES else "active",
            move.priority,
        )
        for move in moves
    }
    if not found:
        found = {name: InstanceSpec(f"on-{name}", name)}
    others = (
        InstanceSpec(f"on-{other.name}", other.name)
        for other in view.hosts.values()
        if other.name != name and not other.host.reserved
    )
    return (*found.values(), *others)


def _plain(name: str) -> str:
    """Tenants name instances as they like; a scenario's names are letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).strip("-.") or "instance"


def _events(view: View, subject: str) -> Iterator[Event]:
    if view.gateway_answers is False:
        yield Event(_BEGINS, "controller_network_cut")
    for pause in view.pauses:
        arguments: dict[str, object] = {"do": "disarm", "reason": pause.reason, "scope": pause.scope.value}
        subjects = () if pause.scope is Scope.ALL else (pause.name,)
        yield Event(1.0, "operator", subjects, None, arguments)
    for host in view.hosts.values():
        order = host.maintenance
        if order is not None:
            arguments = {"do": "maintenance", "reason": order.reason, "drain": order.drain}
            yield Event(_BEGINS if host.name == subject else 1.0, "operator", (host.name,), None, arguments)
        # What had already failed comes first, so that it counts when the subject fails.
        at = (
            _BEGINS
            if host.name == subject or host.state in (HostState.SUSPECT, HostState.HEALTHY)
            else _BEGINS - 1
        )
        yield from _of_host(view, host, at)


def _of_host(view: View, host: HostView, at: float) -> Iterator[Event]:
    """What must have happened to a host that is read like this."""
    looks = signs(host.track, view.now, view.policy.thresholds, view.blind)
    seen = {layer: looks.get(layer, Sign.UNKNOWN) for layer in Layer}
    name = (host.name,)
    silent = seen[Layer.NETWORK] in _BAD and seen[Layer.SERVICE] in (*_BAD, Sign.UNKNOWN)
    power = seen[Layer.POWER]
    if power is Sign.DOUBTED:
        yield Event(at, "bmc_lies", name)
    elif host.host.bmc is not None and power is Sign.UNKNOWN and _was_read(host, Layer.POWER):
        yield Event(at, "bmc_cut", name)
    if seen[Layer.OS] is Sign.REBOOTED:
        yield Event(at, "power_cut", name, _BLINK)
    elif silent and power in (Sign.SILENT, Sign.MISSING):
        yield Event(at, "power_cut", name)
    elif (silent and (seen[Layer.OS] in _BAD or power is Sign.DOUBTED)) or (silent and host.host.bmc is None):
        yield Event(at, "os_hang", name)
    elif silent:
        yield Event(at, "network_cut", name)
    elif seen[Layer.SERVICE] in _BAD:
        yield from _service(host, at)
    if seen[Layer.STORAGE] in _BAD:
        yield Event(at, "storage_cut", name)
    if seen[Layer.HARDWARE] in (*_BAD, Sign.WARNING) and not silent:
        bad = "critical" if seen[Layer.HARDWARE] in _BAD else "warning"
        yield Event(at, "sensor", name, None, {"name": "Inlet Temp", "value": bad})


def _was_read(host: HostView, layer: Layer) -> bool:
    return layer in host.track.layers


def _service(host: HostView, at: float) -> Iterator[Event]:
    """Which service does not run, by what the agent said of it."""
    reading = host.track.layers[Layer.SERVICE].reading
    if not reading.answered:
        return  # its agent is silent while its network answers: no event does that
    named = [each for each in SERVICES if f"{each} failed" in reading.evidence]
    if not named:
        yield Event(at, "agent_stop", (host.name,))
    for each in named:
        yield Event(at, "service_stop", (host.name,), None, {"service": each})
