"""The network layer with real ICMP: loopback, and a peer in a network namespace that goes away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hass_runtime.detect.network import NetworkDetector
from hass_runtime.detect.services import ServiceDetector
from hass_runtime.domain import Host, Verdict

pytestmark = pytest.mark.integration

PEER = "198.18.77.2"  # from the block for benchmarks (RFC 2544): nobody has it


def ping(address: str, tries: int = 3) -> tuple[Verdict, str, bool]:
    reading = NetworkDetector(tries, None, 2.0).read(Host("compute1", address))
    return reading.verdict, reading.evidence, reading.answered


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _may_ping() -> bool:
    verdict, evidence, _ = ping("127.0.0.1")
    return verdict is not Verdict.UNKNOWN or "not permitted" not in evidence


@pytest.mark.skipif(not _may_ping(), reason="ICMP is not permitted here")
@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_loopback_answers(address: str) -> None:
    verdict, evidence, answered = ping(address)
    assert (verdict, answered) == (Verdict.OK, True)
    assert "answers in" in evidence


@pytest.fixture
def peer() -> Iterator[str]:
    """The name of a network namespace that answers on PEER over a veth of its own."""
    name, near, far = (f"hass{kind}{os.getpid() % 100000}" for kind in ("n", "a", "b"))
    ip("netns", "add", name)
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        ip("addr", "add", "198.18.77.1/30", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", name, "addr", "add", f"{PEER}/30", "dev", far)
        ip("-n", name, "link", "set", far, "up")
        yield name
    finally:
        ip("netns", "del", name)


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_peer_that_goes_away(peer: str) -> None:
    far = peer.replace("hassn", "hassb")
    assert ping(PEER)[0] is Verdict.OK
    # Its system hangs or its address is gone: ARP still answered by nobody, or ICMP ignored.
    ip("-n", peer, "addr", "del", f"{PEER}/30", "dev", far)
    verdict, evidence, answered = ping(PEER)
    assert (verdict, answered) == (Verdict.FAILED, False)
    assert f"{PEER} answers none of 3 ICMP echo requests" in evidence
    ip("-n", peer, "addr", "add", f"{PEER}/30", "dev", far)
    assert ping(PEER, tries=20)[0] is Verdict.OK
    ip("-n", peer, "link", "set", far, "down")
    assert ping(PEER)[0] is Verdict.FAILED


CUT_OFF = """
import json
from hass_runtime.detect.network import NetworkDetector
from hass_runtime.detect.services import ServiceDetector
from hass_runtime.domain import Host

host = Host("compute1", "192.0.2.9")
shell = ("timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/{address}/22")
detectors = [
    NetworkDetector(3, None, 2.0),
    NetworkDetector(3, ("ping", "-c", "1", "-W", "1", "{address}"), 5.0),
    NetworkDetector(3, shell, 5.0),
    ServiceDetector(2468, b"k" * 32, 2.0, 1024),
]
readings = [detector.read(host) for detector in detectors]
print(json.dumps([[reading.verdict.value, reading.evidence, reading.answered] for reading in readings]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_a_controller_without_a_network_hears_no_silence() -> None:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", CUT_OFF], capture_output=True, text=True, check=True
    )
    readings = json.loads(done.stdout)
    assert len(readings) == 4
    for verdict, evidence, answered in readings:
        assert (verdict, answered) == ("unknown", False), evidence
    assert all("Network is unreachable" in readings[number][1] for number in (0, 2, 3))


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_a_poll_of_a_peer_that_is_gone_is_silence(peer: str) -> None:
    """Nobody on the segment answers for its address: that is what a dead host looks like."""
    detector = ServiceDetector(2468, b"k" * 32, 8.0, 1024)
    ip("-n", peer, "addr", "del", f"{PEER}/30", "dev", peer.replace("hassn", "hassb"))
    reading = detector.read(Host("compute1", PEER))
    assert (reading.verdict, reading.answered) == (Verdict.FAILED, False), reading


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give itself up")
def test_without_privileges_it_is_unknown_or_works_by_the_sysctl() -> None:
    # In a child without capabilities: either the sysctl lets it ping, or the reading says what is missing.
    script = (
        "from hass_runtime.detect.network import NetworkDetector\n"
        "from hass_runtime.domain import Host\n"
        "reading = NetworkDetector(3, None, 2.0).read(Host('compute1', '127.0.0.1'))\n"
        "print(reading.verdict.value, reading.evidence)\n"
    )
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("ok ") or "CAP_NET_RAW" in done.stdout, done.stdout
