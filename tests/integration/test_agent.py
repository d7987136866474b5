"""The agent as a real process, the service layer that polls it, and what strangers throw at it."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from private_libvirtd import PrivateLibvirtd
from running_agent import COMMAND, HOST, KEY, SIZE, RunningAgent

from hass_runtime.agent import protocol
from hass_runtime.detect.services import ServiceDetector
from hass_runtime.domain import Host, Verdict

pytestmark = pytest.mark.integration


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningAgent]:
    state = tmp_path / "state"
    state.write_text("exit 0")
    running = RunningAgent(tmp_path, {"nova-compute": f"command sh {state}"})
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture
def libvirtd() -> Iterator[PrivateLibvirtd]:
    private = PrivateLibvirtd()
    private.start()
    yield private
    private.remove()


def talk(port: int, datagrams: list[bytes]) -> list[bytes]:
    """Send all of these, then an honest poll with another socket; whatever came back to the first one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        for number, datagram in enumerate(datagrams):
            sock.send(datagram)
            if number % 32 == 31:
                time.sleep(0.005)  # do not overflow the receive buffer: every one shall be judged
        # The agent takes datagrams in order: once this poll is answered all of the others have been judged.
        assert ServiceDetector(port, KEY.encode(), 10.0, SIZE).read(HOST).answered
        sock.setblocking(False)
        answers = []
        while True:
            try:
                answers.append(sock.recv(65536))
            except BlockingIOError:
                return answers


def request(
    host: str = "compute1", at: float | None = None, nonce: str = "00" * 16, size: int = SIZE
) -> bytes:
    message = protocol.Request(host, nonce, time.time() if at is None else at)
    return protocol.encode_request(message, (KEY.encode(),), size)


def test_ok_then_failed_then_ok_and_one_log_line_each(agent: RunningAgent, tmp_path: Path) -> None:
    assert agent.poll().verdict is Verdict.OK
    assert agent.poll().evidence == "nova-compute ok"
    (tmp_path / "state").write_text("echo inactive; exit 1")
    reading = agent.poll_until(lambda reading: reading.verdict is Verdict.FAILED)
    assert (reading.evidence, reading.answered) == ("nova-compute failed: inactive", True)
    (tmp_path / "state").write_text("exit 0")
    agent.poll_until(lambda reading: reading.verdict is Verdict.OK)
    assert agent.stop() == 0
    log = agent.log.read_text()
    assert log.count("nova-compute is ok") == 2
    assert log.count("nova-compute is failed: inactive") == 1
    assert KEY not in log


def test_silence_is_failed_and_not_answered(agent: RunningAgent) -> None:
    assert agent.poll().answered
    agent.process.send_signal(signal.SIGSTOP)
    reading = agent.poll(timeout=0.5)
    assert (reading.verdict, reading.answered) == (Verdict.FAILED, False)
    assert reading.evidence == f"no answer from agent 127.0.0.1:{agent.port} in 0.5 s"
    agent.process.send_signal(signal.SIGCONT)
    assert agent.poll().verdict is Verdict.OK
    agent.stop()
    # The kernel's "port unreachable" is a sign of life: such a host is not off, whatever its BMC says.
    reading = agent.poll()
    assert (reading.verdict, reading.answered) == (Verdict.FAILED, True)
    assert reading.evidence == f"no agent 127.0.0.1:{agent.port}: the host says that the port is closed"


@pytest.mark.parametrize("name", ["compute10", "compute", "Compute1"])
def test_another_hosts_name_is_not_answered(agent: RunningAgent, name: str) -> None:
    reading = agent.poll(Host(name, "127.0.0.1"), timeout=0.5)
    assert (reading.verdict, reading.answered) == (Verdict.FAILED, False)


def test_wrong_key_is_not_answered(agent: RunningAgent) -> None:
    assert not agent.poll(key=b"another key of the same length!!", timeout=0.5).answered


def test_unauthenticated_datagrams_are_never_answered(agent: RunningAgent) -> None:
    dice = random.Random(3)
    good = request()
    garbage = [dice.randbytes(dice.randrange(0, 2000)) for _ in range(300)]
    garbage += [b"", b"HASS", b"polling request", b"HASS" + b"\0" * 500, good[:-1], good + b" ", good[:40]]
    for _ in range(200):
        bad = bytearray(good)
        bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
        garbage.append(bytes(bad))
    assert talk(agent.port, garbage) == []
    status = agent.until(lambda message: "STATUS=" in message and "bad_mac" in message)
    assert "garbage" in status
    assert "too_long" in status
    assert agent.poll().verdict is Verdict.OK


def test_replayed_stale_and_foreign_requests_are_not_answered(agent: RunningAgent) -> None:
    good = request(nonce="01" * 16)
    answers = talk(agent.port, [good, good, good])
    assert len(answers) == 1
    assert len(answers[0]) <= len(good)
    now = time.time()
    refused = [
        good,
        request(at=now - 31, nonce="02" * 16),
        request(at=now + 40, nonce="03" * 16),
        request(host="compute10", nonce="04" * 16),
        request(nonce="05" * 16, size=SIZE * 2),
    ]
    assert talk(agent.port, refused) == []
    agent.until(
        lambda message: (
            all(f"1 {reason}" in message for reason in ("too_long", "wrong_host"))
            and "3 replayed" in message
            and "2 stale" in message
        )
    )


def test_answer_is_never_longer_than_the_question(agent: RunningAgent, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("printf 'x%.0s' $(seq 300); exit 1")
    assert len(agent.poll().evidence) > 200, "evidence enough for an answer longer than the question below"
    small = request(nonce="06" * 16, size=260)
    answers = talk(agent.port, [small])
    assert [len(answer) <= len(small) for answer in answers] == [True]


def test_clock_that_differs_is_said_in_the_agents_log(agent: RunningAgent) -> None:
    talk(agent.port, [request(at=time.time() - 100, nonce="07" * 16)])
    agent.until(lambda message: "stale" in message)
    assert agent.stop() == 0
    assert "requests are up to +100" in agent.log.read_text()


def test_many_controllers_at_once(agent: RunningAgent) -> None:
    with ThreadPoolExecutor(16) as pool:
        readings = list(pool.map(lambda _: agent.poll(), range(64)))
    assert {reading.verdict for reading in readings} == {Verdict.OK}


def test_detector_ignores_wrong_answers_and_takes_the_right_one() -> None:
    key = KEY.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, ThreadPoolExecutor(1) as pool:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        future = pool.submit(ServiceDetector(sock.getsockname()[1], key, 5.0, SIZE).read, HOST)
        datagram, peer = sock.recvfrom(4096)
        asked, _ = protocol.decode_request(datagram, (key,), SIZE, "compute1")
        bad = {"nova-compute": protocol.Check("failed", "forged")}
        good = {"nova-compute": protocol.Check("ok")}

        def answer(host: str, nonce: str, checks: dict[str, protocol.Check], by: bytes = key) -> bytes:
            return protocol.encode_response(protocol.Response(host, nonce, 0.0, checks), (by,), SIZE)

        for forged in (
            b"garbage",
            datagram,
            answer("compute1", asked.nonce, bad, b"another key"),
            answer("compute1", "ff" * 16, bad),
            answer("compute10", asked.nonce, bad),
            answer("compute1", asked.nonce, good),
        ):
            sock.sendto(forged, peer)
        assert future.result(30).verdict is Verdict.OK


def test_detector_tells_what_it_ignored() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, ThreadPoolExecutor(1) as pool:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        port = sock.getsockname()[1]
        future = pool.submit(ServiceDetector(port, KEY.encode(), 0.5, SIZE).read, HOST)
        datagram, peer = sock.recvfrom(4096)
        sock.sendto(datagram[:-1] + b"x", peer)
        reading = future.result(30)
    assert reading.evidence == f"no answer from agent 127.0.0.1:{port} in 0.5 s (1 bad_mac ignored)"
    assert not reading.answered


def test_systemd_is_told(agent: RunningAgent) -> None:
    assert "READY=1" in agent.messages[-1]
    for _ in range(3):
        agent.until(lambda message: "WATCHDOG=1" in message)
    agent.poll()
    agent.until(lambda message: "STATUS=answered 1, dropped none" in message)
    agent.process.terminate()
    agent.until(lambda message: "STOPPING=1" in message)
    assert agent.process.wait(30) == 0


def test_stopped_agent_pets_no_watchdog(agent: RunningAgent) -> None:
    agent.until(lambda message: "WATCHDOG=1" in message)
    agent.process.send_signal(signal.SIGSTOP)
    agent._notified.settimeout(1.0)
    with pytest.raises(TimeoutError):
        agent.until(lambda message: False)
    agent.process.send_signal(signal.SIGCONT)


def test_port_in_use_is_one_clear_line(agent: RunningAgent) -> None:
    again = subprocess.run(
        [*COMMAND, str(agent.config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert again.returncode == 1
    assert f"cannot listen on 127.0.0.1:{agent.port}: Address already in use" in again.stderr
    assert "Traceback" not in again.stderr


def test_agent_on_all_addresses_answers_from_the_one_that_was_asked(tmp_path: Path) -> None:
    running = RunningAgent(tmp_path, {"nova-compute": "command true"}, listen="0.0.0.0")
    try:
        # The detector's socket is connected: an answer from another address would not arrive.
        for address in ("127.0.0.1", "127.0.0.2", "127.1.2.3"):
            assert running.poll(Host("compute1", address)).verdict is Verdict.OK
    finally:
        running.stop()


def test_libvirt_ok_hung_killed_and_back(tmp_path: Path, libvirtd: PrivateLibvirtd) -> None:
    running = RunningAgent(tmp_path, {"libvirtd": "libvirt", "qemu": "driver"}, uri=libvirtd.uri)
    try:
        reading = running.poll_until(lambda reading: "qemu ok" in reading.evidence.replace("libvirtd, ", ""))
        assert reading.verdict is Verdict.OK
        libvirtd.signal(signal.SIGSTOP)
        reading = running.poll_until(lambda reading: "libvirtd failed: hangs for" in reading.evidence)
        assert (reading.verdict, reading.answered) == (Verdict.FAILED, True)
        libvirtd.signal(signal.SIGCONT)
        running.poll_until(lambda reading: reading.verdict is Verdict.OK)
        libvirtd.kill()
        reading = running.poll_until(lambda reading: "Failed to connect" in reading.evidence)
        assert (reading.verdict, reading.answered) == (Verdict.FAILED, True)
        assert "libvirtd failed: qemu+unix:" in reading.evidence
        assert "qemu failed: cannot be asked, libvirt fails" in reading.evidence
        libvirtd.start()
        running.poll_until(lambda reading: reading.verdict is Verdict.OK)
    finally:
        running.stop()
