"""The power, network and service layers without a network: verdicts, evidence, and that nothing escapes."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import icmplib
import pytest

from hass_runtime.agent.protocol import Check
from hass_runtime.bmc import BmcClient, BmcError
from hass_runtime.detect.network import NetworkDetector
from hass_runtime.detect.power import PowerDetector
from hass_runtime.detect.services import ServiceDetector, judge
from hass_runtime.domain import Bmc, Host, Layer, Verdict

HOST = Host("compute1", "127.0.0.1", bmc=Bmc("192.0.2.1", "admin", "s3cret"))


@pytest.mark.parametrize(("state", "verdict"), [("on", Verdict.OK), ("off", Verdict.FAILED)])
def test_power_verdict(monkeypatch: pytest.MonkeyPatch, state: str, verdict: Verdict) -> None:
    monkeypatch.setattr(BmcClient, "power", lambda self: state)
    reading = PowerDetector(2.0).read(HOST)
    assert (reading.subject, reading.layer, reading.verdict) == ("compute1", Layer.POWER, verdict)
    assert (reading.evidence, reading.answered) == (f"BMC says {state}", False)


@pytest.mark.parametrize(
    "error", [BmcError("BMC 192.0.2.1:623: no answer in 2 s"), OSError("boom"), KeyError(1)]
)
def test_power_never_raises(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def power(self: BmcClient) -> str:
        raise error

    monkeypatch.setattr(BmcClient, "power", power)
    reading = PowerDetector(2.0).read(HOST)
    assert reading.verdict is Verdict.UNKNOWN
    assert "192.0.2.1" in reading.evidence
    assert "s3cret" not in reading.evidence


@pytest.mark.parametrize(
    ("checks", "verdict", "evidence"),
    [
        ({"libvirtd": Check("ok"), "nova-compute": Check("ok")}, Verdict.OK, "libvirtd, nova-compute ok"),
        (
            {
                "libvirtd": Check("ok"),
                "nova-compute": Check("failed", "inactive"),
                "qemu": Check("unknown", "?"),
            },
            Verdict.FAILED,
            "nova-compute failed: inactive",
        ),
        ({"a": Check("failed"), "b": Check("failed", "x")}, Verdict.FAILED, "a failed; b failed: x"),
        (
            {"libvirtd": Check("ok"), "qemu": Check("unknown", "no result")},
            Verdict.OK,
            "libvirtd ok; qemu unknown: no result",
        ),
        ({"a": Check("unknown", "x")}, Verdict.UNKNOWN, "a unknown: x"),
        ({}, Verdict.UNKNOWN, "the agent checks nothing"),
    ],
)
def test_service_verdict(checks: dict[str, Check], verdict: Verdict, evidence: str) -> None:
    assert judge(checks) == (verdict, evidence)


@pytest.mark.parametrize("key", [b"", (), (b"",)])
def test_without_a_key_the_service_layer_is_unknown(key: bytes | tuple[bytes, ...]) -> None:
    reading = ServiceDetector(2468, key, 0.2, 1024).read(HOST)
    assert (reading.verdict, reading.evidence) == (Verdict.UNKNOWN, "no polling key is configured")


def test_host_name_too_long_for_a_datagram_is_unknown() -> None:
    reading = ServiceDetector(2468, b"k", 0.2, 256).read(Host("c" * 300, "127.0.0.1"))
    assert reading.verdict is Verdict.UNKNOWN
    assert "does not fit into 256 bytes" in reading.evidence


@pytest.mark.parametrize("address", ["compute1.invalid", "", "a" * 70, "..", "-"])
def test_name_that_does_not_resolve_is_unknown(address: str) -> None:
    host = Host("compute1", address or "host.invalid")
    for reading in (
        NetworkDetector(1, None, 5.0).read(host),
        ServiceDetector(2468, b"k" * 32, 5.0, 1024).read(host),
    ):
        assert reading.verdict is Verdict.UNKNOWN
        assert "does not resolve" in reading.evidence
        assert not reading.answered


def ping_with(*command: str, timeout: float = 10.0, host: Host = HOST) -> tuple[Verdict, str, bool]:
    reading = NetworkDetector(3, command, timeout).read(host)
    assert (reading.subject, reading.layer) == (host.name, Layer.NETWORK)
    return reading.verdict, reading.evidence, reading.answered


def test_ping_command() -> None:
    assert ping_with("true") == (Verdict.OK, "true 127.0.0.1 succeeds", True)
    assert ping_with("false") == (Verdict.FAILED, "false 127.0.0.1 ends with status 1", False)
    assert ping_with("sh", "-c", "echo unreachable >&2; exit 2") == (
        Verdict.UNKNOWN,
        "sh 127.0.0.1 ends with status 2: unreachable",
        False,
    )
    assert ping_with("sh", "-c", "echo Connection refused >&2; exit 1") == (
        Verdict.FAILED,
        "sh 127.0.0.1 ends with status 1: Connection refused",
        False,
    )
    for status in (2, 3, 126, 127, 137):
        assert ping_with("sh", "-c", f"exit {status}")[0] is Verdict.UNKNOWN
    assert ping_with("sh", "-c", "kill -9 $$")[0] is Verdict.UNKNOWN
    # A shell's /dev/tcp ends with 1 whatever happened.
    said = "connect: Network is unreachable"
    assert ping_with("sh", "-c", f"echo '{said}' >&2; exit 1")[0] is Verdict.UNKNOWN
    assert ping_with("sh", "-c", "exit 124") == (Verdict.FAILED, "sh 127.0.0.1 timed out", False)
    assert ping_with("sleep", "600", timeout=0.2) == (
        Verdict.FAILED,
        "sleep 127.0.0.1 got no answer in 0.2 s",
        False,
    )
    assert ping_with("/no/such/ping")[:2] == (Verdict.UNKNOWN, "/no/such/ping is not installed")
    assert ping_with("/etc/passwd")[:2] == (Verdict.UNKNOWN, "/etc/passwd cannot be run: Permission denied")


def test_ping_command_gets_address_and_name_as_they_are(tmp_path: Path) -> None:
    out = tmp_path / "argv"
    script = "import sys; open(sys.argv[1], 'w').write('|'.join(sys.argv[2:]))"
    host = Host("{address}; touch x", "$(reboot) {host}")
    command = (sys.executable, "-c", script, str(out), "-a", "{address}", "--name={host}", "{other}")
    assert ping_with(*command, host=host)[0] is Verdict.OK
    assert out.read_text() == "-a|$(reboot) {host}|--name={address}; touch x|{other}"


def test_not_permitted_to_ping_is_unknown_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, kind: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(icmplib.ICMPv4Socket, "_create_socket", refuse)
    reading = NetworkDetector(3, None, 2.0).read(HOST)
    assert reading.verdict is Verdict.UNKNOWN
    assert "CAP_NET_RAW" in reading.evidence
    assert "net.ipv4.ping_group_range" in reading.evidence


class Wire:
    """Stands in for an ICMP socket: answers from a list, one a request; None is silence."""

    def __init__(self, answers: list[object]) -> None:
        self.answers = answers
        self.sent = 0

    def __call__(self, privileged: bool) -> Wire:
        return self

    def send(self, request: object) -> None:
        self.sent += 1

    def receive(self, request: icmplib.ICMPRequest, timeout: float) -> object:
        if not self.answers:
            raise icmplib.TimeoutExceeded(timeout)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            raise icmplib.TimeoutExceeded(timeout)
        source, kind = answer  # type: ignore[misc]
        return icmplib.ICMPReply(source, 4, request.id, request.sequence, kind, 0, 64, 0.0)

    def close(self) -> None:
        return


ECHO_REPLY, UNREACHABLE = 0, 3


@pytest.mark.parametrize(
    ("answers", "verdict", "sent", "evidence"),
    [
        ([("127.0.0.1", ECHO_REPLY)], Verdict.OK, 1, "answers in"),
        ([None, None, ("127.0.0.1", ECHO_REPLY)], Verdict.OK, 3, "at try 3"),
        ([None, None, None], Verdict.FAILED, 3, "127.0.0.1 answers none of 3 ICMP echo requests"),
        ([("127.0.0.10", ECHO_REPLY), None], Verdict.FAILED, 3, "answers none"),
        ([("127.0.0.1", UNREACHABLE)] * 3, Verdict.FAILED, 3, "answers none"),
        ([icmplib.ICMPSocketError("who knows")] * 3, Verdict.UNKNOWN, 3, "who knows"),
    ],
)
def test_ping_verdict(
    monkeypatch: pytest.MonkeyPatch, answers: list[object], verdict: Verdict, sent: int, evidence: str
) -> None:
    wire = Wire(list(answers))
    monkeypatch.setattr(icmplib, "ICMPv4Socket", wire)
    reading = NetworkDetector(3, None, 2.0).read(HOST)
    assert reading.verdict is verdict
    assert evidence in reading.evidence
    assert reading.answered == (verdict is Verdict.OK)
    assert wire.sent == sent


LOCAL = ["ENETUNREACH", "EPERM", "EACCES", "ENOBUFS", "EADDRNOTAVAIL", "ENETDOWN", "EINVAL", "ENOMEM"]
THERE = ["EHOSTUNREACH", "EHOSTDOWN"]


class Kernel:
    """Stands in for a socket of any kind whose system calls fail with an errno, so many times."""

    def __init__(self, where: str, name: str, times: int = 1000) -> None:
        self.where, self.times = where, times
        self.number = getattr(errno, name)

    def __call__(self, call: str) -> None:
        if call == self.where and self.times > 0:
            self.times -= 1
            raise OSError(self.number, os.strerror(self.number))

    def ping(self, monkeypatch: pytest.MonkeyPatch, answer: object = None) -> tuple[Verdict, str, bool]:
        def sendto(packet: bytes, address: object) -> None:
            self("send")

        def recvfrom(size: int) -> tuple[bytes, tuple[str, int]]:
            self("receive")
            raise TimeoutError

        sock = SimpleNamespace(
            family=socket.AF_INET, type=socket.SOCK_DGRAM, sendto=sendto, recvfrom=recvfrom,
            getsockname=lambda: ("0.0.0.0", 1), settimeout=lambda seconds: None, close=lambda: None,
            setsockopt=lambda *args: None,
        )  # fmt: skip
        monkeypatch.setattr(icmplib.ICMPv4Socket, "_create_socket", lambda self, kind: sock)
        reading = NetworkDetector(3, None, 2.0).read(HOST)
        return reading.verdict, reading.evidence, reading.answered

    def poll(self, monkeypatch: pytest.MonkeyPatch) -> tuple[Verdict, str, bool]:
        kernel = self

        class Socket(socket.socket):
            def connect(self, address: object) -> None:
                kernel("connect")
                super().connect(address)  # type: ignore[arg-type]

            def send(self, datagram: bytes) -> int:  # type: ignore[override]
                kernel("send")
                return len(datagram)

            def recv(self, size: int) -> bytes:  # type: ignore[override]
                kernel("receive")
                raise AssertionError("nobody answers here")

        monkeypatch.setattr("hass_runtime.detect.services.socket.socket", Socket)
        monkeypatch.setattr("hass_runtime.detect.services._readable", lambda sock, left: True)
        reading = ServiceDetector(2468, b"k" * 32, 0.5, 1024).read(HOST)
        return reading.verdict, reading.evidence, reading.answered


@pytest.mark.parametrize("where", ["send", "receive"])
@pytest.mark.parametrize("name", LOCAL + THERE)
def test_a_ping_that_could_not_leave_is_no_silence(
    monkeypatch: pytest.MonkeyPatch, where: str, name: str
) -> None:
    verdict, evidence, answered = Kernel(where, name).ping(monkeypatch)
    assert verdict is (Verdict.UNKNOWN if name in LOCAL else Verdict.FAILED)
    assert os.strerror(getattr(errno, name)) in evidence
    assert not answered


def test_one_ping_that_could_not_leave_is_enough_to_know_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Kernel("send", "ENOBUFS", times=1).ping(monkeypatch)[0] is Verdict.UNKNOWN
    assert Kernel("send", "ENOBUFS", times=0).ping(monkeypatch)[0] is Verdict.FAILED


@pytest.mark.parametrize("where", ["connect", "send", "receive"])
@pytest.mark.parametrize("name", LOCAL + THERE)
def test_a_poll_that_could_not_leave_is_no_silence(
    monkeypatch: pytest.MonkeyPatch, where: str, name: str
) -> None:
    verdict, evidence, answered = Kernel(where, name).poll(monkeypatch)
    assert verdict is (Verdict.UNKNOWN if name in LOCAL else Verdict.FAILED)
    assert os.strerror(getattr(errno, name)) in evidence
    assert not answered
