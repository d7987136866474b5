"""Which scenarios the embedded cluster can play, and how it has to be built for one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hass_runtime.decide.protection import KEY
from hass_runtime.remedy.nova import PRIORITY_KEY
from hass_runtime.sandbox.layout import HOST_NAME, MAX_HOSTS
from hass_runtime.simulator.scenario_model import Event, InstanceSpec, Scenario, ScenarioError

MOST_INSTANCES = 200
# Event, or "operator.VERB" -> why the embedded cluster cannot make it happen.
_ONLY_SIMULATED: Mapping[str, str] = {
    "storage_cut": "sandbox hosts have no storage of their own",
    "storage_restore": "sandbox hosts have no storage of their own",
    "guest_hang": "sandbox guests have no operating system",
    "guest_network_cut": "sandbox guests have no network",
    "guest_network_restore": "sandbox guests have no network",
    "playbook": "the playbooks of the sandbox are the real ones and go as they go",
    "operator.shutdown_host": "sandbox hosts have no init system that could shut them down",
    "operator.start_host": "sandbox hosts have no init system that could have shut them down",
}
SENSOR = "Inlet Temp"
SENSOR_RANGE = (0, 255)
# Settings by which the controller finds the sandbox's own parts.
_OF_THE_SANDBOX = ("openstack", "keystone_auth", "mysql", "database", "RESTful", "paths", "log")
_KEYS_OF_THE_SANDBOX = frozenset(
    {"detection.polling_port", "detection.polling_key", "detector.ping_command", "default.max_message_size"}
)


def bmc_kind(scenario: Scenario, default: str) -> str:
    """Sensors are ipmi_sim's. The watchdog timer, by which a hang is told from a cut, is pyghmi's."""
    names = {event.name for event in scenario.events}
    return "pyghmi" if "os_hang" in names and "sensor" not in names else default


def watchdogs(scenario: Scenario, kind: str) -> list[str]:
    """The hosts that are to keep the watchdog timer of their BMC armed: those that could hang."""
    hangs = any(event.name == "os_hang" for event in scenario.events)
    keep = [host.name for host in scenario.hosts if host.ipmi and host.watchdog]
    return keep if hangs and kind == "pyghmi" else []


def check(scenario: Scenario, bmc_kind: str) -> None:
    """Raise ScenarioError, with a line for everything that the embedded cluster cannot do."""
    problems = tuple(_problems(scenario, bmc_kind))
    if problems:
        raise ScenarioError(problems)


def _problems(scenario: Scenario, bmc_kind: str) -> Iterator[str]:
    where = scenario.path or scenario.name
    if len(scenario.hosts) > MAX_HOSTS or len(scenario.instances) > MOST_INSTANCES:
        yield (
            f"{where}: cluster: {len(scenario.hosts)} hosts with {len(scenario.instances)} instances is only "
            f"for hass simulate, expected {MAX_HOSTS} with {MOST_INSTANCES} at most in the sandbox"
        )
    for host in scenario.hosts:
        if not HOST_NAME.fullmatch(host.name):
            yield f"{where}: cluster.hosts: {host.name!r}: expected letters, digits, - and . in the sandbox"
        if host.room is not None:
            yield f"{where}: cluster.hosts: {host.name}: room is only for hass simulate: all hosts are alike"
    for each in scenario.instances:
        if each.flavor or each.project or each.image_tag:
            what = "flavor, project and image_tag are only for hass simulate: all instances are alike"
            yield f"{where}: cluster.instances: {each.name}: {what}"
    for full in scenario.settings:
        if full.partition(".")[0] in _OF_THE_SANDBOX or full in _KEYS_OF_THE_SANDBOX:
            yield f"{where}: settings: {full} is the sandbox's own to set, expected without it"
    # In the order of the file, not of time.
    for event in sorted(scenario.events, key=lambda each: each.line):
        if reason := refusal(event, scenario, bmc_kind):
            name = f"{event.name} {event.arguments['do']}" if event.name == "operator" else event.name
            yield f"{where}:{event.line}: events.{event.name}: {name} is only for hass simulate: {reason}"


def refusal(event: Event, scenario: Scenario, bmc_kind: str) -> str:
    """Why the event cannot happen in the sandbox, "" when it can."""
    name = f"operator.{event.arguments['do']}" if event.name == "operator" else event.name
    if name in _ONLY_SIMULATED:
        return _ONLY_SIMULATED[name]
    if event.name == "sensor":
        return _sensor_refusal(event, bmc_kind)
    if event.name.startswith("bmc_"):
        bare = [host.name for host in scenario.hosts if not host.ipmi and host.name in event.subjects]
        return f"{', '.join(bare)} has no BMC" if bare else ""
    return ""


def _sensor_refusal(event: Event, bmc_kind: str) -> str:
    if bmc_kind != "ipmi_sim":
        return "the BMCs here, by pyghmi, have no sensors (the package openipmi brings ipmi_sim, whose have)"
    if event.arguments["name"] != SENSOR:
        return f"the BMCs of the sandbox have one sensor, {SENSOR}"
    value = event.arguments["value"]
    low, high = SENSOR_RANGE
    if value == "normal" or (not isinstance(value, str) and value == int(value) and low <= value <= high):
        return ""
    return f"the BMCs of the sandbox show whole numbers from {low} to {high}"


def overrides(scenario: Scenario) -> dict[str, dict[str, object]]:
    """Section -> key -> value of the controller's file: the settings, and what follows from the cluster."""
    sections: dict[str, dict[str, object]] = {"cluster": {"name": "default"}}
    if any(event.name == "sensor" for event in scenario.events):
        sections["ipmi_sensor"] = {
            "ipmi_watched_sensors": f'["{SENSOR}"]',
            "upper_critical": "80",
            "lower_critical": "10",
        }
    for full, value in scenario.settings.items():
        section, _, key = full.partition(".")
        sections.setdefault(section, {})[key] = value
    reserved = ", ".join(host.name for host in scenario.hosts if host.reserved)
    if reserved:
        sections["cluster"]["reserved_hosts"] = reserved
    for host in scenario.hosts:
        if host.zone:
            sections.setdefault("zone", {})[host.name] = host.zone
        if host.cluster != sections["cluster"]["name"]:
            sections.setdefault("host_cluster", {})[host.name] = host.cluster
    return sections


def _metadata(spec: InstanceSpec) -> dict[str, str]:
    said = {} if spec.protect is None else {KEY: str(spec.protect).lower()}
    return said | ({PRIORITY_KEY: str(spec.priority)} if spec.priority else {})


def instances(scenario: Scenario) -> list[dict[str, Any]]:
    """What is to be booted."""
    return [
        {
            "name": each.name,
            "host": each.host,
            "state": each.state,
            "metadata": _metadata(each),
        }
        for each in scenario.instances
    ]
