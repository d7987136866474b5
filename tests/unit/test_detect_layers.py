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
from hypothesis import given
from hypothesis import strategies as st
from settings_files import controller

from hass_runtime.agent.protocol import Check
from hass_runtime.bmc import BmcClient, BmcError
from hass_runtime.daemon import detectors_of
from hass_runtime.detect.knock import Door, Knock, _came, knock
from hass_runtime.detect.network import NetworkDetector
from hass_runtime.detect.power import PowerDetector
from hass_runtime.detect.services import ServiceDetector, judge
from hass_runtime.domain import Bmc, Host, Layer, Verdict
from hass_runtime.memory import GATEWAY
from hass_runtime.remedy.silence import ears_of

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
        (
            {"nova-compute": Check("ok"), "storage": Check("failed", "hangs for 12 s", storage=True)},
            Verdict.OK,
            "nova-compute ok",
        ),
        ({"storage": Check("ok", storage=True)}, Verdict.UNKNOWN, "the agent checks nothing"),
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

        monkeypatch.setattr("hass_runtime.detect.agent_poll.socket.socket", Socket)
        monkeypatch.setattr("hass_runtime.detect.agent_poll._readable", lambda sock, left: True)
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


# Several addresses, and TCP

TWO = Host("compute1", "10.0.0.2", more_addresses=("10.1.0.2",))
Told = tuple[Verdict, str, bool]


class Net:
    """A made-up network: what ICMP and TCP come to, by address, as an errno's name, seconds or silence."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.echo: dict[str, str | float | None] = {}
        self.tcp: dict[tuple[str, int], str] = {}
        self.knocked: list[tuple[str, int]] = []
        monkeypatch.setattr("hass_runtime.detect.network._echo", self._echo)
        monkeypatch.setattr("hass_runtime.detect.network.knock", self._knock)

    def _echo(self, address: str, timeout: float) -> float | None:
        came = self.echo.get(address)
        if came == "forbidden":
            raise icmplib.SocketPermissionError(privileged=True)
        if isinstance(came, str):
            number = getattr(errno, came)
            raise icmplib.ICMPSocketError(came) from OSError(number, os.strerror(number))
        return came

    def _knock(self, doors: list[Door], timeout: float) -> list[Knock]:
        self.knocked = [(door.numeric, door.port) for door in doors]
        ends = [self.tcp.get((door.numeric, door.port), "ETIMEDOUT") for door in doors]
        return [
            _came(door, 0 if end == "open" else getattr(errno, end))
            for door, end in zip(doors, ends, strict=True)
        ]

    def read(self, host: Host = TWO, ports: tuple[int, ...] = (22,)) -> Told:
        reading = NetworkDetector(3, None, 2.0, ports, spared={"(gateway)"}).read(host)
        return reading.verdict, reading.evidence, reading.answered


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    return Net(monkeypatch)


def test_one_address_that_answers_is_enough_and_the_silent_one_is_told(net: Net) -> None:
    net.echo["10.1.0.2"] = 0.0004
    told = "10.1.0.2 answers in 0.4 ms; 10.0.0.2 answers none of 3 ICMP echo requests"
    assert net.read() == (Verdict.OK, told, True)
    assert net.knocked == []
    net.echo["10.0.0.2"] = 0.001
    assert net.read() == (Verdict.OK, "10.0.0.2 answers in 1.0 ms; 10.1.0.2 answers in 0.4 ms", True)


@pytest.mark.parametrize(
    ("end", "words"),
    [("ECONNREFUSED", "refuses"), ("ECONNRESET", "refuses"), ("open", "accepts a connection")],
)
def test_who_accepts_or_refuses_a_connection_lives(net: Net, end: str, words: str) -> None:
    net.tcp["10.1.0.2", 2222] = end
    verdict, evidence, answered = net.read(ports=(22, 2222))
    assert (verdict, answered) == (Verdict.OK, True)
    assert evidence.startswith(f"no echo reply, but 10.1.0.2 {words}")
    assert evidence.endswith("port 2222: it lives")
    assert net.knocked == [("10.0.0.2", 22), ("10.0.0.2", 2222), ("10.1.0.2", 22), ("10.1.0.2", 2222)]


def test_silence_everywhere_is_silence(net: Net) -> None:
    net.echo["10.1.0.2"] = net.tcp["10.1.0.2", 22] = "EHOSTUNREACH"
    assert net.read() == (
        Verdict.FAILED,
        "10.0.0.2 answers none of 3 ICMP echo requests; "
        "10.1.0.2 answers none of 3 ICMP echo requests: No route to host; no answer on TCP port 22 either",
        False,
    )


@pytest.mark.parametrize("echo", ["ENETUNREACH", "ENOBUFS", "EADDRNOTAVAIL", "forbidden"])
def test_an_address_that_could_not_be_asked_is_not_silent(net: Net, echo: str) -> None:
    net.echo["10.1.0.2"] = echo
    verdict, evidence, answered = net.read()
    assert (verdict, answered) == (Verdict.UNKNOWN, False)
    assert "10.0.0.2 answers none" in evidence
    net.echo["10.0.0.2"] = 0.0004
    assert net.read()[0] is Verdict.OK
    net.echo = {"10.0.0.2": echo, "10.1.0.2": echo}
    net.tcp["10.0.0.2", 22] = "ECONNREFUSED"
    assert net.read()[:2] == (Verdict.OK, "no echo reply, but 10.0.0.2 refuses port 22: it lives")


def test_a_knock_that_could_not_be_put_is_no_silence_but_one_that_is_forbidden_here_was_no_question(
    net: Net,
) -> None:
    net.tcp["10.1.0.2", 22] = "ENETUNREACH"
    verdict, evidence, _ = net.read()
    assert verdict is Verdict.UNKNOWN
    assert "cannot knock at 10.1.0.2 port 22 from here: Network is unreachable" in evidence
    net.tcp["10.1.0.2", 22] = "EPERM"
    verdict, evidence, _ = net.read()
    assert verdict is Verdict.FAILED
    assert "cannot knock at 10.1.0.2 port 22 from here: Operation not permitted" in evidence


def test_the_controllers_gateway_is_not_knocked_at(net: Net) -> None:
    gateway = Host("(gateway)", "10.0.0.1")
    net.tcp["10.0.0.1", 22] = "ECONNREFUSED"
    assert net.read(gateway)[0] is Verdict.FAILED
    net.echo["10.0.0.1"] = "ENETUNREACH"
    assert net.read(gateway)[0] is Verdict.UNKNOWN
    assert net.knocked == []


def test_a_name_that_does_not_resolve_hides_no_other_address(net: Net) -> None:
    host = Host("compute1", "10.0.0.2", more_addresses=("compute1.invalid",))
    verdict, evidence, _ = net.read(host)
    assert verdict is Verdict.UNKNOWN
    assert evidence.count("compute1.invalid does not resolve") == 1
    net.tcp["10.0.0.2", 22] = "open"
    assert net.read(host)[0] is Verdict.OK


@given(
    st.lists(
        st.sampled_from([None, 0.001, "EHOSTUNREACH", "ENETUNREACH", "forbidden"]), min_size=1, max_size=4
    ),
    st.lists(
        st.sampled_from(["open", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "EPERM"]), min_size=4, max_size=4
    ),
)
def test_what_several_addresses_come_to(echoes: list[str | float | None], ends: list[str]) -> None:
    """OK exactly when anything answered; FAILED only when every address was asked and silent."""
    addresses = [f"10.0.{number}.2" for number in range(len(echoes))]
    with pytest.MonkeyPatch.context() as patch:
        net = Net(patch)
        net.echo = dict(zip(addresses, echoes, strict=True))
        net.tcp = {(address, 22): end for address, end in zip(addresses, ends, strict=False)}
        verdict, _, answered = net.read(Host("compute1", addresses[0], more_addresses=tuple(addresses[1:])))
    lives = any(isinstance(echo, float) for echo in echoes)
    lives = lives or any(end in ("open", "ECONNREFUSED") for end in ends[: len(echoes)])
    assert answered == lives == (verdict is Verdict.OK)
    if verdict is Verdict.FAILED:
        assert set(echoes) <= {None, "EHOSTUNREACH"}
        assert "ENETUNREACH" not in ends[: len(echoes)]


def test_ping_command_is_run_for_every_address() -> None:
    host = Host("compute1", "10.0.0.2", more_addresses=("10.1.0.2",))
    script = ("sh", "-c", "test {address} = 10.1.0.2")
    assert ping_with(*script, host=host) == (
        Verdict.OK,
        "sh 10.1.0.2 succeeds; sh 10.0.0.2 ends with status 1",
        True,
    )
    assert ping_with("false", "{address}", host=host)[:2] == (
        Verdict.FAILED,
        "false 10.0.0.2 ends with status 1; false 10.1.0.2 ends with status 1",
    )
    mixed = ping_with("sh", "-c", "test {address} = 10.1.0.2 && exit 3; exit 1", host=host)
    assert mixed[0] is Verdict.UNKNOWN
    # One that goes by the name asks the same question for each address: once is enough.
    assert ping_with("false", "{host}", host=host)[1] == "false 10.0.0.2 ends with status 1"


def test_knocking_at_real_ports() -> None:
    with socket.socket() as listener, socket.socket() as closed:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take it
        doors = {sock: Door("me", "127.0.0.1", sock.getsockname()[1]) for sock in (listener, closed)}
        (accepted,) = knock([doors[listener]], 5.0)
        (refused,) = knock([doors[closed]], 5.0)
        assert accepted.words == f"me accepts a connection to port {doors[listener].port}"
        assert refused.words == f"me refuses port {doors[closed].port}"
        assert (accepted.verdict, refused.verdict) == (Verdict.OK, Verdict.OK)
        # Ends with the first that answers.
        answers = knock([Door("nobody", "192.0.2.1", 22), doors[closed]], 600.0)
        assert Verdict.OK in {each.verdict for each in answers}
    (garbage,) = knock([Door("x", "not an address", 22)], 1.0)
    assert garbage.verdict is Verdict.UNKNOWN
    assert knock([], 1.0) == []


def test_daemon_and_fence_knock_as_configured_but_not_at_the_gateway(net: Net, tmp_path: Path) -> None:
    settings = controller(tmp_path, {"detector.tcp_ports": "22, 2222"})
    host = Host("compute1", "10.0.0.2")
    watch = next(each for each in detectors_of(settings) if each.layer is Layer.NETWORK)
    for eye in (watch, ears_of(settings)[0]):
        net.knocked = []
        assert eye.read(host).verdict is Verdict.FAILED
        assert net.knocked == [("10.0.0.2", 22), ("10.0.0.2", 2222)]
    net.knocked = []
    assert watch.read(Host(GATEWAY, "10.0.0.1")).verdict is Verdict.FAILED
    assert net.knocked == []
