"""The agent as a remedy talks to it: only its own fresh, signed answer counts, and silence ends in time."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from hass_runtime.agent import protocol
from hass_runtime.agent.protocol import Check
from hass_runtime.detect import agent_poll
from hass_runtime.domain import Host
from hass_runtime.remedy.agent import UdpAgent
from hass_runtime.remedy.restart import AgentSilent

KEY, SIZE = b"k" * 32, 1024
CHECKS = {"libvirt": Check("ok", "3 guests"), "nova-compute": Check("failed", "inactive (dead)")}


def answers(*makers):
    """A socket on loopback that sends what each maker makes of the first request; returns its port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(10)

    def serve():
        with sock:
            datagram, sender = sock.recvfrom(SIZE + 1)
            request, _ = protocol.decode_request(datagram, [KEY], SIZE, "compute1")
            for make in makers:
                sock.sendto(make(request), sender)

    threading.Thread(target=serve, daemon=True).start()
    return sock.getsockname()[1]


def signed(host="compute1", key=KEY, nonce=None):
    return lambda request: protocol.encode_response(
        protocol.Response(host, nonce or request.nonce, time.time(), CHECKS), [key], SIZE
    )


def ask(port, timeout=5.0):
    return UdpAgent(Host("compute1", "127.0.0.1"), port, (KEY,), timeout, SIZE).checks()


def test_it_says_how_each_check_is():
    assert ask(answers(signed())) == CHECKS


@pytest.mark.parametrize(
    "wrong",
    [lambda request: b"noise", signed(key=b"x" * 32), signed(host="compute10"), signed(nonce="0" * 32)],
)
def test_what_is_not_its_answer_is_passed_over(wrong):
    assert ask(answers(wrong, signed())) == CHECKS
    with pytest.raises(AgentSilent, match=r"no answer from agent 127\.0\.0\.1:"):
        ask(answers(wrong), 0.2)


def test_a_closed_port_is_said():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(
        AgentSilent, match=r"no agent 127\.0\.0\.1:\d+: the host says that the port is closed"
    ):
        ask(port)


def test_an_agent_that_cannot_be_asked_is_silent():
    with pytest.raises(AgentSilent, match="no polling key is configured"):
        UdpAgent(Host("compute1", "127.0.0.1"), 2468, (), 1.0, SIZE).checks()
    long = UdpAgent(Host("c" * 2000, "127.0.0.1"), 2468, (KEY,), 1.0, SIZE)
    with pytest.raises(AgentSilent, match="does not fit into 1024 bytes"):
        long.checks()
    assert "does not fit into 1024 bytes" in long.restart("nova-compute")


def test_a_restart_is_asked_of_this_very_host(monkeypatch):
    asked = []

    def restart(*arguments):
        asked.append(arguments)
        return "is no unit"

    monkeypatch.setattr(agent_poll, "restart", restart)
    host = Host("compute1", "127.0.0.1")
    assert UdpAgent(host, 2468, (KEY,), 5.0, SIZE).restart("driver") == "is no unit"
    assert asked == [(host, 2468, (KEY,), 5.0, SIZE, "driver")]
