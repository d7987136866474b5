"""The network layer with real ICMP: loopback, and a peer in a network namespace that goes away."""

from __future__ import annotations

import contextlib
import itertools
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


_numbers = itertools.count(1)


@pytest.fixture
def peer() -> Iterator[str]:
    """The name of a network namespace that answers on PEER over a veth of its own."""
    # New names each time: the kernel takes a deleted namespace's interfaces away when it pleases.
    number = f"{os.getpid() % 100000}{next(_numbers)}"
    name, near, far = (f"hass{kind}{number}" for kind in ("n", "a", "b"))
    ip("netns", "add", name)
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        ip("addr", "add", "198.18.77.1/30", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", name, "addr", "add", f"{PEER}/30", "dev", far)
        ip("-n", name, "link", "set", far, "up")
        yield name
    finally:
        subprocess.run(["ip", "link", "del", near], check=False, capture_output=True)
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


SECOND = "198.18.78.2"
BOTH = Host("compute1", PEER, more_addresses=(SECOND,))


def look(host: Host = BOTH, timeout: float = 2.0) -> tuple[Verdict, str, bool]:
    reading = NetworkDetector(3, None, timeout, (22,)).read(host)
    return reading.verdict, reading.evidence, reading.answered


@pytest.fixture
def second(peer: str) -> Iterator[str]:
    """The end, in the peer's namespace, of a second network that it has."""
    near, far = (f"hass{kind}{os.getpid() % 100000}" for kind in ("c", "d"))
    ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", peer)
    try:
        ip("addr", "add", "198.18.78.1/30", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", peer, "addr", "add", f"{SECOND}/30", "dev", far)
        ip("-n", peer, "link", "set", far, "up")
        yield far
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):  # gone with its namespace, or still there
            ip("link", "del", near)


def firewall(namespace: str, *rules: str) -> None:
    """What the host's own firewall does with what comes in, in the place of what it did before."""
    text = "flush ruleset\n"
    if rules:
        text += f"table inet f {{ chain i {{ type filter hook input priority 0; {'; '.join(rules)}; }}; }}\n"
    subprocess.run(
        ["ip", "netns", "exec", namespace, "nft", "-f", "-"],
        input=text, check=True, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_one_of_two_addresses_that_is_cut_is_told_and_the_host_lives(peer: str, second: str) -> None:
    assert look()[:1] == (Verdict.OK,)
    ip("-n", peer, "link", "set", second, "down")
    verdict, evidence, answered = look()
    assert (verdict, answered) == (Verdict.OK, True)
    assert evidence.startswith(f"{PEER} answers in")
    assert f"{SECOND} answers none of 3 ICMP echo requests" in evidence
    ip("-n", peer, "link", "set", peer.replace("hassn", "hassb"), "down")
    verdict, evidence, answered = look()
    assert (verdict, answered) == (Verdict.FAILED, False), evidence
    assert PEER in evidence
    assert SECOND in evidence
    ip("-n", peer, "link", "set", second, "up")
    assert NetworkDetector(20, None, 5.0, (22,)).read(BOTH).verdict is Verdict.OK


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_a_host_that_drops_icmp_and_refuses_tcp_lives(peer: str, second: str) -> None:
    firewall(peer, "meta l4proto icmp drop", f"ip daddr {PEER} tcp dport 22 drop")
    told = f"no echo reply, but {SECOND} refuses port 22: it lives"
    assert look() == (Verdict.OK, told, True)
    # Nothing that HASS sends is answered: silence, for all that it lives. The other layers have to tell.
    firewall(peer, "meta l4proto { icmp, tcp } drop")
    verdict, evidence, answered = look()
    assert (verdict, answered) == (Verdict.FAILED, False)
    assert evidence.endswith("no answer on TCP port 22 either")


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_a_network_without_a_route_is_no_silence(peer: str) -> None:
    """One address silent, the other not to be asked from here: nobody knows."""
    far = peer.replace("hassn", "hassb")
    ip("-n", peer, "addr", "del", f"{PEER}/30", "dev", far)
    ip("route", "add", "unreachable", "198.18.79.0/30", "metric", "1")
    try:
        host = Host("compute1", PEER, more_addresses=("198.18.79.2",))
        silent = look(host)
        ip("route", "replace", "prohibit", "198.18.79.0/30", "metric", "1")
        forbidden = look(host)
    finally:
        ip("route", "del", "198.18.79.0/30", "metric", "1")
    # "No route to host" is what a dead host looks like from its own segment, too.
    assert silent[0] is Verdict.FAILED, silent
    assert forbidden[0] is Verdict.UNKNOWN, forbidden
    assert "Permission denied" in forbidden[1]
