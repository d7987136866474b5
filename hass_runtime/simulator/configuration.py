"""The controller's settings for a scenario: a file as an operator would write it, read by the real loader."""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache

from hass_runtime.daemon import load_table, policy_of
from hass_runtime.decide.symptoms import Symptom, SymptomError
from hass_runtime.decide.view import Policy
from hass_runtime.settings import ControllerSettings, SettingsError, load_controller
from hass_runtime.simulator.scenario_model import HostSpec, Scenario, ScenarioError

_USUAL: dict[str, str] = {
    "openstack.openstack_auth_url": "http://controller:5000/v3",
    "openstack.openstack_admin_password": "made-up-password-of-nova",
    "openstack.openstack_external_network_gateway_ip": "192.0.2.1",
    "detection.polling_key": "made-up-key-of-a-world",
    "ipmi_sensor.ipmi_watched_sensors": '["Inlet Temp", "Temp"]',
    "ipmi_sensor.upper_critical": "80",
    "ipmi_sensor.lower_critical": "10",
    "controller.name": "controller",
    "cluster.name": "default",
    "paths.state_dir": "/var/lib/hass",
    "paths.own_playbooks": "/nonexistent",  # a scenario's outcome is the same on every machine
}

_QUICK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a disk takes longer than a short run

_TABLES: dict[
    tuple[object, ...], tuple[Symptom, ...]
] = {}  # reading one takes longer than all of a short run


def configured(scenario: Scenario) -> tuple[ControllerSettings, Policy]:
    """The settings of the scenario's controller, and its policy. Raises ScenarioError."""
    text = _text(scenario)
    try:
        return _loaded(text)
    except SettingsError as error:
        problems = tuple(
            f"{scenario.path or scenario.name}: settings: {problem.partition(': ')[2]}"
            for problem in error.problems
        )
        raise ScenarioError(problems) from error
    except SymptomError as error:
        raise ScenarioError(tuple(error.problems)) from error


def _text(scenario: Scenario) -> str:
    sections: dict[str, dict[str, str]] = {}
    for full, value in {**_USUAL, **scenario.settings}.items():
        section, _, key = full.partition(".")
        sections.setdefault(section, {})[key] = value
    sections.setdefault("cluster", {})["hosts"] = ", ".join(host.name for host in scenario.hosts)
    reserved = ", ".join(host.name for host in scenario.hosts if host.reserved)
    if reserved:
        sections["cluster"]["reserved_hosts"] = reserved
    for number, host in enumerate(scenario.hosts, 1):
        for section, value in _of_host(number, host, sections["cluster"]["name"]).items():
            sections.setdefault(section, {})[host.name] = value
    lines = []
    for section, keys in sections.items():
        lines += [f"[{section}]", *(f"{key} = {value}" for key, value in keys.items()), ""]
    return "\n".join(lines)


def _of_host(number: int, host: HostSpec, cluster: str) -> dict[str, str]:
    address = f"10.{number // 250}.{number % 250}"
    values = {"address": f"{address}.1"}
    if host.ipmi:
        values |= {"ipmi": f"{address}.2", "ipmi_user": "admin,made-up-password-of-a-bmc"}
    if host.zone:
        values["zone"] = host.zone
    if host.cluster != cluster:
        values["host_cluster"] = host.cluster
    return values


@lru_cache(maxsize=256)
def _loaded(text: str) -> tuple[ControllerSettings, Policy]:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="hass-simulate-", dir=_QUICK) as file:
        file.write(text)
        file.flush()
        settings = load_controller(file.name, {})
    paths = settings.paths
    key = (paths.symptoms, paths.playbooks, paths.own_playbooks, settings.detection.wait_restart_threshold)
    if key not in _TABLES:
        _TABLES[key] = load_table(settings)
    return settings, policy_of(settings, _TABLES[key])
