"""BmcClient and the power layer against real BMCs on loopback, dead ones, sick ones and liars."""

from __future__ import annotations

import json
import os
import random
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ipmi_sim import PASSWORD, USER, SimulatedBmc, free_udp_port, simulated_bmcs

from hass_runtime import ipmi
from hass_runtime.bmc import BmcClient, BmcError
from hass_runtime.detect.power import PowerDetector
from hass_runtime.domain import Bmc, Host, Verdict

pytestmark = pytest.mark.integration

TIMEOUT = 2.0


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[SimulatedBmc]:
    with simulated_bmcs(tmp_path, 1) as bmcs:
        yield bmcs[0]


@pytest.fixture
def silent() -> Iterator[Bmc]:
    """A port that takes datagrams and answers none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield Bmc("127.0.0.1", USER, PASSWORD, sock.getsockname()[1])


def client(bmc: Bmc) -> BmcClient:
    return BmcClient(bmc, TIMEOUT)


def read(bmc: Bmc) -> tuple[Verdict, str]:
    reading = PowerDetector(TIMEOUT).read(Host("compute1", "127.0.0.1", bmc=bmc))
    assert not reading.answered
    return reading.verdict, reading.evidence


def within(seconds: float, call: Callable[[], object]) -> object:
    """The result of a call, which has to come back within so many seconds; its exception if it raises."""
    box: list[object] = []

    def run() -> None:
        try:
            box.append(call())
        except Exception as error:  # noqa: BLE001
            box.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert box, f"no result after {seconds} s"
    return box[0]


def test_power_is_read_and_set(sim: SimulatedBmc) -> None:
    bmc = client(sim.bmc)
    assert bmc.power() == "on"
    bmc.power_off()
    assert sim.power == "off"
    assert bmc.power() == "off"
    bmc.power_off()  # off already: fine
    bmc.power_on()
    assert sim.power == "on"
    assert bmc.power() == "on"
    assert sim.commands == ["0", "0", "1"]


def test_power_layer(sim: SimulatedBmc, silent: Bmc) -> None:
    assert read(sim.bmc) == (Verdict.OK, "BMC says on")
    sim.set_power("off")
    assert read(sim.bmc) == (Verdict.FAILED, "BMC says off")
    assert read(silent) == (
        Verdict.UNKNOWN,
        f"BMC 127.0.0.1:{silent.port}: no answer to the login in 2 s",
    )
    without = PowerDetector(TIMEOUT).read(Host("compute1", "127.0.0.1"))
    assert (without.verdict, without.evidence) == (Verdict.UNKNOWN, "host has no BMC")


def test_bmc_that_obeys_nothing_keeps_saying_on(sim: SimulatedBmc) -> None:
    sim.deaf()
    client(sim.bmc).power_off()
    assert client(sim.bmc).power() == "on"


@pytest.mark.parametrize(
    ("user", "password"), [(USER, "wrong"), ("nobody", PASSWORD), (USER, ""), (USER, "pässwörd, 'quoted\"")]
)
def test_refused_login_is_one_line_without_the_password(sim: SimulatedBmc, user: str, password: str) -> None:
    bmc = Bmc("127.0.0.1", user, password, sim.port)
    with pytest.raises(BmcError, match=r"BMC 127\.0\.0\.1:\d+: (login refused: .+|no answer.*)$") as caught:
        client(bmc).power()
    assert not password or password not in str(caught.value)
    assert password == "" or password not in repr(client(bmc)) + repr(bmc)
    assert client(sim.bmc).power() == "on", "one refused login must not disturb the right one"


def test_dead_bmc_ends_in_time(silent: Bmc) -> None:
    for bmc in (silent, Bmc("127.0.0.1", USER, PASSWORD, free_udp_port())):
        result = within(TIMEOUT * 3, client(bmc).power)
        assert isinstance(result, BmcError)
        assert "no answer to the login in 2 s" in str(result)


def test_name_that_does_not_resolve(silent: Bmc) -> None:
    result = within(TIMEOUT * 3, client(Bmc("bmc.invalid", USER, PASSWORD)).power)
    assert isinstance(result, BmcError)
    assert "bmc.invalid does not resolve" in str(result)


def test_bmc_by_name(sim: SimulatedBmc) -> None:
    assert client(Bmc("localhost", USER, sim.bmc.password, sim.port)).power() == "on"


def test_bmc_that_dies_and_comes_back(sim: SimulatedBmc) -> None:
    assert client(sim.bmc).power() == "on"
    sim.stop()
    assert isinstance(within(TIMEOUT * 3, client(sim.bmc).power), BmcError)
    sim.start()
    assert client(sim.bmc).power() == "on"


def test_bmc_that_forgot_the_session_is_read_by_the_same_call(sim: SimulatedBmc) -> None:
    assert client(sim.bmc).power() == "on"
    sim.stop()
    sim.start()
    assert client(sim.bmc).power() == "on"


def test_bmc_that_freezes_and_thaws(sim: SimulatedBmc) -> None:
    assert client(sim.bmc).power() == "on"
    sim.freeze()
    assert isinstance(within(TIMEOUT * 3, client(sim.bmc).power), BmcError)
    sim.thaw()
    assert client(sim.bmc).power() == "on"


def test_off_command_for_a_dead_bmc_is_an_error(sim: SimulatedBmc) -> None:
    client(sim.bmc).power()
    sim.freeze()
    assert isinstance(within(TIMEOUT * 3, client(sim.bmc).power_off), BmcError)
    sim.thaw()


def test_many_bmcs_at_once_with_dead_ones_among_them(tmp_path: Path, silent: Bmc) -> None:
    with simulated_bmcs(tmp_path, 10) as sims:
        for number, sim in enumerate(sims):
            sim.set_power("on" if number % 2 else "off")
        wanted = {sim.port: sim.power for sim in sims}

        def poll(bmc: Bmc) -> list[str]:
            return [client(bmc).power() for _ in range(4)]

        with ThreadPoolExecutor(50) as pool:
            dead = [pool.submit(client(silent).power) for _ in range(10)]
            # Four threads a BMC: they share one session, and nobody gets another's answer.
            live = [(sim.port, pool.submit(poll, sim.bmc)) for sim in sims for _ in range(4)]
            for port, future in live:
                assert future.result(60) == [wanted[port]] * 4
            for future in dead:
                assert isinstance(future.exception(60), BmcError)


def test_two_accounts_of_one_bmc_do_not_mix(sim: SimulatedBmc) -> None:
    wrong = Bmc("127.0.0.1", USER, "wrong", sim.port)
    with ThreadPoolExecutor(8) as pool:
        good = [pool.submit(client(sim.bmc).power) for _ in range(8)]
        bad = [pool.submit(client(wrong).power) for _ in range(8)]
        assert [future.result(60) for future in good] == ["on"] * 8
        assert all(isinstance(future.exception(60), BmcError) for future in bad)


READ_A_LOT = """
import gc, json, os, sys, threading
from pathlib import Path
from hass_runtime import ipmi
from hass_runtime.bmc import BmcClient
from hass_runtime.domain import Bmc

address, user, password, port = json.load(sys.stdin)
bmc = BmcClient(Bmc(address, user, password, port), 10.0)

def look():
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "kept": ipmi.shared_loop().sessions(),
        "sessions": sum(type(thing).__name__ == "Session" for thing in gc.get_objects()),
        "objects": len(gc.get_objects()),
        "resident": resident,
    }

def read(times):
    for _ in range(times):
        bmc.power()
    return look()

print(json.dumps([read(100), read(1000)]))
"""


def test_one_session_is_kept_and_nothing_grows(sim: SimulatedBmc) -> None:
    """In a process of its own, where nothing else opens, closes or grows."""
    credentials = json.dumps(["127.0.0.1", USER, sim.bmc.password, sim.port])
    done = subprocess.run(
        [sys.executable, "-c", READ_A_LOT], input=credentials, capture_output=True, text=True, check=True
    )
    before, after = json.loads(done.stdout)
    assert before["kept"] == after["kept"] == 1
    assert after["sessions"] <= before["sessions"] + 2  # a busy machine may lose a datagram or two
    assert after["threads"] <= before["threads"]
    assert after["descriptors"] <= before["descriptors"] + 2
    assert after["objects"] - before["objects"] < 500  # less than one for two reads
    assert after["resident"] - before["resident"] < 4 * 1024 * 1024  # 4 KiB a read


class Relay:
    """A network between us and a BMC: passes ``limit`` answers on and swallows the rest, or mangles them."""

    def __init__(
        self, port: int, limit: int = 1 << 30, mangle: Callable[[bytes], bytes] | None = None
    ) -> None:
        self.limit, self._mangle = limit, mangle
        self._closed = threading.Event()
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self._back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._back.connect(("127.0.0.1", port))
        self.bmc = Bmc("127.0.0.1", USER, PASSWORD, self._front.getsockname()[1])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        peer = None
        while not self._closed.is_set():
            ready, _, _ = select.select([self._front, self._back], [], [], 0.05)
            if self._front in ready:
                datagram, peer = self._front.recvfrom(4096)
                self._back.send(datagram)
            if self._back in ready and peer is not None:
                datagram = self._back.recv(4096)
                if self.limit > 0:
                    self.limit -= 1
                    self._front.sendto(self._mangle(datagram) if self._mangle else datagram, peer)

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._front.close()
        self._back.close()


@pytest.mark.parametrize("limit", range(7))
def test_bmc_that_falls_silent_at_any_point_stops_nobody_else(tmp_path: Path, limit: int) -> None:
    with simulated_bmcs(tmp_path, 2) as (sick, well):
        relay = Relay(sick.port, limit)
        try:
            client(well.bmc).power()
            box: list[object] = []
            thread = threading.Thread(target=lambda: box.append(within(20, client(relay.bmc).power)))
            thread.start()
            # pyghmi alone would sit in the last step of the sick login here, for seconds and for all BMCs.
            while thread.is_alive():
                assert client(well.bmc).power() == "on"
                time.sleep(0.02)
            assert box[0] == "on" or isinstance(box[0], BmcError)
            relay.limit = 1 << 30
            deadline = time.monotonic() + 30
            while within(20, client(relay.bmc).power) != "on":
                assert time.monotonic() < deadline, "never read again after it came back"
        finally:
            relay.close()


def test_garbage_from_a_bmc_is_unknown_and_stops_nobody_else(tmp_path: Path) -> None:
    dice = random.Random(7)

    def mangle(datagram: bytes) -> bytes:
        kind = dice.randrange(5)
        if kind == 0:
            return dice.randbytes(dice.randrange(1, 80))
        if kind == 1:
            return datagram[: dice.randrange(4, len(datagram) + 1)]
        if kind == 2:
            return datagram[:4] + b"\x06" + dice.randbytes(dice.randrange(1, 60))
        if kind == 3:
            changed = bytearray(datagram)
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
            return bytes(changed)
        return datagram

    with simulated_bmcs(tmp_path, 2) as (sick, well):
        relay = Relay(sick.port, mangle=mangle)
        try:
            for _ in range(30):
                reading = PowerDetector(0.3).read(Host("compute1", "127.0.0.1", bmc=relay.bmc))
                assert reading.verdict in (Verdict.OK, Verdict.UNKNOWN), reading
                assert read(well.bmc)[0] is Verdict.OK
        finally:
            relay.close()


def test_pyghmis_own_bmc_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It answers every proposal with SHA-1, as VirtualBMC does; also what these tests use without ipmi_sim.
    monkeypatch.setattr("ipmi_sim.shutil.which", lambda program: None)
    with simulated_bmcs(tmp_path, 1) as (sim,):
        bmc = client(sim.bmc)
        assert bmc.power() == "on"
        bmc.power_off()
        assert (sim.power, bmc.power()) == ("off", "off")
        sim.stop()
        sim.start()
        assert bmc.power() == "off"


def test_loop_logs_out_when_closed(sim: SimulatedBmc) -> None:
    loop = ipmi.IpmiLoop()
    target = ipmi.Target("127.0.0.1", sim.port, USER, sim.bmc.password)
    assert loop.call(target, 0, 1, (), TIMEOUT)[0] & 1
    assert loop.sessions() == 1
    loop.close()
    assert loop.sessions() == 0
    with pytest.raises(ipmi.IpmiError):
        loop.call(target, 0, 1, (), 0.2)


def test_child_process_gets_a_loop_of_its_own(sim: SimulatedBmc) -> None:
    assert client(sim.bmc).power() == "on"
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if client(sim.bmc).power() == "on" else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert client(sim.bmc).power() == "on"
