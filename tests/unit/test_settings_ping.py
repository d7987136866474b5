"""ping_command: parsed, never evaluated."""

from __future__ import annotations

import pytest

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
