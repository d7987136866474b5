"""A compute host's file."""

from __future__ import annotations

import socket

import pytest
from settings_files import KEY, agent, problems, write

from hass_runtime.agent.checks import CheckRunner
from hass_runtime.agent.restarting import units_behind
from hass_runtime.settings import load_agent
from hass_runtime.settings.agent_keys import DEFAULT_CHECKS


def test_defaults(tmp_path):
    settings = agent(tmp_path)
    assert settings.host == socket.gethostname()
    assert (settings.listen_address, settings.listen_port) == ("0.0.0.0", 2468)
    assert settings.key == KEY.encode()
    assert settings.checks == DEFAULT_CHECKS
    assert settings.libvirt_uri == "qemu:///system"
    assert (settings.check_timeout, settings.clock_tolerance) == (2.0, 30.0)
    assert settings.notes == ()


def test_an_empty_file_loads_and_asks_for_a_key(tmp_path):
    settings = load_agent(write(tmp_path, ""), {})
    assert settings.key == b""
    (note,) = settings.notes
    assert "[polling] polling_key: not set" in note
    assert load_agent(write(tmp_path, ""), {"HASS_POLLING_KEY": KEY}).key == KEY.encode()


def test_checks_add_to_the_default_ones_and_replace_them(tmp_path):
    settings = agent(
        tmp_path,
        {
            "checks.qemu": "off",
            "checks.ovs": "unit a.service b.service",
            "checks.x": "command sh -c 'exit 1'",
        },
    )
    assert settings.checks == {
        **DEFAULT_CHECKS,
        "qemu": "off",
        "ovs": "unit a.service b.service",
        "x": "command sh -c 'exit 1'",
    }


def test_storage_and_the_units_of_libvirt_are_taken_and_the_agent_understands_them(tmp_path):
    specs = {
        "checks.libvirtd": "libvirt virtqemud.service",
        "checks.storage": "storage shared /srv/nova '/srv/more room'",
    }
    settings = agent(tmp_path, specs)
    assert settings.checks["libvirtd"] == "libvirt virtqemud.service"
    names = CheckRunner(settings.checks, "qemu:///system", 2.0).names
    assert names == ("libvirtd", "nova-compute", "qemu", "storage")


def test_what_runs_on_a_host_by_default_can_be_restarted():
    behind = {name: units_behind(spec) for name, spec in DEFAULT_CHECKS.items()}
    assert behind == {
        "libvirtd": ("libvirtd.service", "virtqemud.service"),
        "nova-compute": ("nova-compute.service", "openstack-nova-compute.service"),
        "qemu": (),
        "storage": (),
    }


@pytest.mark.parametrize(
    ("changes", "where", "says"),
    [
        ({"checks.x": "ping it"}, "[checks] x", "no such kind of check"),
        ({"checks.x": "unit"}, "[checks] x", "unit needs something after it"),
        ({"checks.x": "libvirt now"}, "[checks] x", "now is no unit such as libvirtd.service"),
        ({"checks.x": "driver now"}, "[checks] x", "too many words after driver"),
        ({"checks.x": "storage"}, "[checks] x", "storage needs something after it"),
        ({"checks.x": "storage shared"}, "[checks] x", "storage needs something after it"),
        ({"checks.x": "storage /srv instances"}, "[checks] x", "instances is no absolute path"),
        ({"checks.x": "process a b"}, "[checks] x", "too many words after process"),
        ({"checks.x": "command 'a"}, "[checks] x", "no closing quotation"),
        ({"polling.listen_port": "x"}, "[polling] listen_port", "not a whole number"),
        ({"polling.polling_key": "short"}, "[polling] polling_key", "expected 16"),
        ({"agent.check_timeout": "0"}, "[agent] check_timeout", "above 0"),
        ({"watchdog.watchdog_timout": "6"}, "[watchdog] watchdog_timout", "did you mean watchdog_timeout?"),
        ({"mysql.mysql_ip": "x"}, "[mysql]", "no section"),
    ],
)
def test_what_is_wrong_is_one_clear_line(tmp_path, changes, where, says):
    (problem,) = problems(agent, tmp_path, changes)
    assert problem.startswith(f"{where}: ")
    assert says in problem


def test_the_guides_slip_in_the_name_of_the_log_is_noted(tmp_path):
    settings = agent(tmp_path, {"log.location": "/var/log/hass/hass_compute.log.log"})
    assert settings.log.location == "/var/log/hass/hass_compute.log.log"
    assert any("ends in .log.log" in note for note in settings.notes)
