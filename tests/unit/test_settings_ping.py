"""ping_command: parsed, never evaluated; and the ports that are knocked at beside it."""

from __future__ import annotations

import pytest
from settings_files import controller

from hass_runtime.settings import SettingsError
from hass_runtime.settings.convert import ping_command

GUIDE = "['timeout', '0.2', 'ping', '-c', '1', self.node], stderr=subprocess.STDOUT, universal_newlines=True"


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        (GUIDE, ("timeout", "0.2", "ping", "-c", "1", "{address}")),
        ("['ping', '-c', '1', \"{host}\"]", ("ping", "-c", "1", "{host}")),
        ("['sh', '-c', 'exec 3<>/dev/tcp/{address}/22']", ("sh", "-c", "exec 3<>/dev/tcp/{address}/22")),
        ("ping -c 1 {address}", ("ping", "-c", "1", "{address}")),
        ("sh -c 'nc -z {address} 22'", ("sh", "-c", "nc -z {address} 22")),
    ],
)
def test_good(text, argv):
    assert ping_command(text) == argv


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[__import__('os').system('touch /tmp/x'), self.node]", "something other"),
        ("['ping', self.node], shell=True", "carries an option"),
        ("['ping', self.node], **options", "carries an option"),
        ("['ping', self.node], 'more'", "not a Python list"),
        ("['ping', self.node]), print('x'", "not a Python list"),
        ("['ping', self.node, 1]", "something other"),
        ("['ping', f'{self.node}']", "something other"),
        ("[x for x in 'ab']", "not a Python list"),
        ("['ping', self.other]", "something other"),
        ("['ping', self.node", "not a Python list"),
        ("[" * 4000, "not a Python list"),
        ("['ping'], stderr=x", "{address} is missing"),
        ("[]", "no command"),
        ("[self.node]", "starts with the host"),
        ("ping 'x", "not a command line"),
        ("ping {node}", "only {address} and {host}"),
    ],
)
def test_wrong(text, says):
    with pytest.raises(ValueError, match=says.replace("{", r"\{")):
        ping_command(text)


@pytest.mark.parametrize(
    ("changes", "ports"),
    [
        ({}, (22,)),
        ({"detector.tcp_ports": "22, 8022"}, (22, 8022)),
        ({"detector.tcp_ports": "[]"}, ()),
        # Who has a ping command has said what an answer is.
        ({"detector.ping_command": "ping -c 1 {address}"}, ()),
        ({"detector.ping_command": "ping -c 1 {address}", "detector.tcp_ports": "22"}, (22,)),
    ],
)
def test_tcp_ports(tmp_path, changes, ports):
    assert controller(tmp_path, changes).network.tcp_ports == ports


@pytest.mark.parametrize("value", ["0", "65536", "ssh", "22;23"])
def test_tcp_ports_that_are_none(tmp_path, value):
    with pytest.raises(SettingsError, match=r"\[detector\] tcp_ports: .*expected ports from 1 to 65535"):
        controller(tmp_path, {"detector.tcp_ports": value})
