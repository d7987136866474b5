"""A compute host's file."""

from __future__ import annotations

import socket

import pytest
from settings_files import KEY, agent, problems, write

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


@pytest.mark.parametrize(
    ("changes", "where", "says"),
    [
        ({"checks.x": "ping it"}, "[checks] x", "no such kind of check"),
        ({"checks.x": "unit"}, "[checks] x", "unit needs something after it"),
        ({"checks.x": "libvirt now"}, "[checks] x", "too many words after libvirt"),
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
