"""The hardware and OS layers against real BMCs: sensors that change, timers that run, dead and sick ones."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ipmi_sim import FAN, PASSWORD, RPM, USER, Gauge, Lamp, SimulatedBmc, free_udp_port
from test_bmc import Relay

from hass_runtime.bmc import BmcClient
from hass_runtime.detect.os_watchdog import OsWatchdogDetector, rearmed_since
from hass_runtime.detect.power import PowerDetector
from hass_runtime.detect.sensors import SensorDetector
from hass_runtime.domain import Bmc, Host, Reading, Verdict
from hass_runtime.sandbox.bmc import BmcProcess
from hass_runtime.sandbox.layout import HostLayout
from hass_runtime.sandbox.procs import Spawner
from hass_runtime.settings.model import SensorSettings

pytestmark = pytest.mark.integration

TIMEOUT = 2.0
PATIENCE = 20.0
LIMITS = SensorSettings(("Inlet Temp", "Temp"), (), 80.0, 10.0, 300.0)
INLET = Gauge("01-Inlet Ambient", 24)
CPUS = (Gauge("Temp", 40), Gauge("Temp", 41))
FAN1 = Gauge("Fan1", 70, FAN, RPM, 60, (255, 254, 253, 0, 6, 10))
GOOD_SUPPLY = Lamp("PSU1", 0x08, (0,))
HEALTHY = (INLET, *CPUS, FAN1, GOOD_SUPPLY)


@contextmanager
def bmc_with(directory: Path, *sensors: Gauge | Lamp, watchdog: bool = False) -> Iterator[SimulatedBmc]:
    sim = SimulatedBmc(directory, sensors=sensors, watchdog=watchdog)
    try:
        yield sim.start()
    finally:
        sim.stop()


def host(bmc: Bmc) -> Host:
    return Host("compute1", "127.0.0.1", bmc=bmc)


def until(look: Callable[[], Reading], wanted: Verdict) -> str:
    """The evidence of the first look with this verdict; a BMC takes a moment to notice anything."""
    deadline = time.monotonic() + PATIENCE
    while True:
        reading = look()
        assert reading.subject == "compute1"
        if reading.verdict is wanted:
            return reading.evidence
        assert time.monotonic() < deadline, f"still {reading.verdict.value}: {reading.evidence}"
        time.sleep(0.1)


def ipmitool(sim: SimulatedBmc, *words: str) -> str:
    command = [
        "ipmitool",
        "-I",
        "lanplus",
        "-C",
        "3",
        "-H",
        "127.0.0.1",
        "-p",
        str(sim.port),
        "-U",
        USER,
        "-E",
    ]
    done = subprocess.run(
        [*command, *words],
        env={**os.environ, "IPMI_PASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def arm(sim: SimulatedBmc, seconds: float) -> None:
    """Set the timer (use: running OS; action: hard reset; its own expiration flag cleared) and start it."""
    low, high = round(seconds * 10).to_bytes(2, "little")
    ipmitool(sim, "raw", "0x06", "0x24", "0x04", "0x01", "0", "0x10", str(low), str(high))
    rearm(sim)


def rearm(sim: SimulatedBmc) -> None:
    ipmitool(sim, "raw", "0x06", "0x22")


def test_sensors_that_change(tmp_path: Path) -> None:
    with bmc_with(tmp_path, *HEALTHY) as sim:
        detector = SensorDetector(LIMITS, TIMEOUT)

        def look() -> Reading:
            return detector.read(host(sim.bmc))

        assert until(look, Verdict.OK) == (
            "01-Inlet Ambient 24 degrees C; Temp #2 40 degrees C; Temp #3 41 degrees C; 5 sensors are fine"
        )
        sim.set_sensor("01-Inlet Ambient", 83)
        assert until(look, Verdict.WARNING) == "01-Inlet Ambient 83 degrees C: above upper_critical 80"
        sim.set_sensor("01-Inlet Ambient", 9)
        sim.set_sensor("Fan1", 9)
        assert until(look, Verdict.WARNING)
        deadline = time.monotonic() + PATIENCE
        both = "01-Inlet Ambient 9 degrees C: below lower_critical 10; " + (
            "Fan1 not normal: 540 RPM (the BMC's own lower non-critical threshold)"
        )
        while look().evidence != both:
            assert time.monotonic() < deadline, look()
        sim.set_sensor("01-Inlet Ambient", 24)
        sim.set_sensor("Fan1", 5)
        assert (
            until(look, Verdict.FAILED) == "Fan1 critical: 300 RPM (the BMC's own lower critical threshold)"
        )
        sim.set_power("off")
        assert until(look, Verdict.UNKNOWN) == "its power is off: its sensors say nothing without power"
        sim.set_power("on")
        sim.set_sensor("Fan1", 70)
        assert until(look, Verdict.OK).endswith("5 sensors are fine")
        assert not look().answered, "the BMC spoke, not the host"


def test_sensors_with_states(tmp_path: Path) -> None:
    no_input = Lamp("PSU1", 0x08, (0, 3))
    tripped = Lamp("CPU1 Status", 0x07, (1, 7))
    detector = SensorDetector(LIMITS, TIMEOUT)
    with bmc_with(tmp_path / "1", INLET, no_input) as sim:
        evidence = until(lambda: detector.read(host(sim.bmc)), Verdict.WARNING)
        assert evidence.startswith("PSU1 not normal (")
    with bmc_with(tmp_path / "2", INLET, tripped) as sim:
        evidence = until(lambda: detector.read(host(sim.bmc)), Verdict.FAILED)
        assert evidence.startswith("CPU1 Status critical (")
        assert "Thermal trip" in evidence


def test_a_sensor_on_its_way_to_a_limit(tmp_path: Path) -> None:
    now = [0.0]
    with bmc_with(tmp_path, Gauge("Inlet Temp", 62)) as sim:
        detector, scout = (
            SensorDetector(LIMITS, TIMEOUT, clock=lambda: now[0]),
            SensorDetector(LIMITS, TIMEOUT),
        )
        verdicts = []
        for step in range(10):
            sim.set_sensor("Inlet Temp", 62 + step)
            deadline = time.monotonic() + PATIENCE
            while f"Inlet Temp {62 + step} degrees C" not in scout.read(host(sim.bmc)).evidence:
                assert time.monotonic() < deadline, "the BMC does not notice"
            now[0] = 25.0 * step
            verdicts.append(detector.read(host(sim.bmc)))
        assert verdicts[2].verdict is Verdict.OK
        assert verdicts[-1].verdict is Verdict.WARNING
        wanted = "Inlet Temp 71 degrees C rises 2.4 a minute: 80 in 225 s"
        assert verdicts[-1].evidence.startswith(wanted)


def test_a_bmc_without_sensors(tmp_path: Path) -> None:
    with bmc_with(tmp_path) as sim:
        reading = SensorDetector(LIMITS, TIMEOUT).read(host(sim.bmc))
        assert reading.verdict is Verdict.UNKNOWN
        assert reading.evidence.startswith("its BMC has no sensors")


def test_a_bmc_that_dies_freezes_and_comes_back(tmp_path: Path) -> None:
    with bmc_with(tmp_path, *HEALTHY) as sim:
        detector = SensorDetector(LIMITS, TIMEOUT)
        until(lambda: detector.read(host(sim.bmc)), Verdict.OK)
        sim.freeze()
        reading = detector.read(host(sim.bmc))
        assert (reading.verdict, "no answer" in reading.evidence) == (Verdict.UNKNOWN, True), reading
        sim.thaw()
        until(lambda: detector.read(host(sim.bmc)), Verdict.OK)
        sim.stop()
        assert detector.read(host(sim.bmc)).verdict is Verdict.UNKNOWN
        sim.start()
        until(lambda: detector.read(host(sim.bmc)), Verdict.OK)


def test_all_three_detectors_share_a_bmc(tmp_path: Path) -> None:
    with bmc_with(tmp_path, *HEALTHY) as sim:
        sensors, power = SensorDetector(LIMITS, TIMEOUT), PowerDetector(TIMEOUT)
        until(lambda: sensors.read(host(sim.bmc)), Verdict.OK)
        wrong: list[Reading] = []

        def read(detector: SensorDetector | PowerDetector) -> None:
            for _ in range(10):
                reading = detector.read(host(sim.bmc))
                if reading.verdict is not Verdict.OK:
                    wrong.append(reading)

        threads = [threading.Thread(target=read, args=(each,)) for each in (sensors, power, sensors, power)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_garbage_is_never_a_fault(tmp_path: Path) -> None:
    dice = random.Random(11)

    def mangle(datagram: bytes) -> bytes:
        if dice.random() < 0.7:
            return datagram
        changed = bytearray(datagram)
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        return bytes(changed)

    with bmc_with(tmp_path, *HEALTHY) as sim:
        relay = Relay(sim.port, mangle=mangle)
        detectors = (SensorDetector(LIMITS, 0.3), OsWatchdogDetector(0.3, 10.0))
        try:
            for _ in range(10):
                for detector in detectors:
                    reading = detector.read(host(relay.bmc))
                    assert reading.verdict in (Verdict.OK, Verdict.UNKNOWN), reading
        finally:
            relay.close()


def test_watchdog_timer_from_armed_to_run_out(tmp_path: Path) -> None:
    with bmc_with(tmp_path, watchdog=True) as sim:

        def look(threshold: float = 30.0) -> Reading:
            return OsWatchdogDetector(TIMEOUT, threshold).read(host(sim.bmc))

        assert (look().verdict, look().evidence) == (Verdict.UNKNOWN, "its watchdog timer does not run")
        arm(sim, 60)
        reading = look()
        assert (reading.verdict, reading.answered) == (Verdict.OK, True)
        assert reading.evidence.startswith("watchdog timer re-armed ")
        evidence = until(lambda: look(0.5), Verdict.FAILED)
        assert evidence.startswith("watchdog timer not re-armed for ")
        assert not look(0.1).answered
        rearm(sim)
        assert look().answered
        arm(sim, 1)
        assert until(look, Verdict.FAILED) == "watchdog timer of 1 s has run out"
        assert not look().answered
        arm(sim, 60)
        assert look().answered


def test_who_rearms_the_timer_is_noticed(tmp_path: Path) -> None:
    with bmc_with(tmp_path, watchdog=True) as sim:
        assert rearmed_since(sim.bmc, 0.1, TIMEOUT) is None, "it does not run"
        arm(sim, 60)
        assert rearmed_since(sim.bmc, 1.0, TIMEOUT) is None, "nobody re-arms it"

        def and_rearm(seconds: float) -> None:
            time.sleep(seconds)
            rearm(sim)

        said = rearmed_since(sim.bmc, 1.0, TIMEOUT, sleep=and_rearm)
        assert said is not None
        assert said.startswith("its watchdog timer was re-armed within ")
        # Re-armed so often that it always looks the same.
        stop = threading.Event()

        def daemon() -> None:
            while not stop.wait(0.05):
                BmcClient(sim.bmc, TIMEOUT).ask(0x06, 0x22)

        thread = threading.Thread(target=daemon)
        thread.start()
        try:
            assert rearmed_since(sim.bmc, 2.0, TIMEOUT)
        finally:
            stop.set()
            thread.join()
        sim.freeze()
        assert (rearmed_since(sim.bmc, 0.1, 0.5) or "").startswith("cannot read its watchdog timer")


def test_a_timer_without_a_present_countdown_says_nothing(tmp_path: Path) -> None:
    with bmc_with(tmp_path, INLET) as sim:  # ipmi_sim
        reading = OsWatchdogDetector(TIMEOUT, 10.0).read(host(sim.bmc))
        assert (reading.verdict, reading.answered) == (Verdict.UNKNOWN, False)
        assert "garbage about its watchdog timer" in reading.evidence
        assert rearmed_since(sim.bmc, 0.1, TIMEOUT) is None


def test_the_sandboxs_bmcs_do_not_look_broken(tmp_path: Path) -> None:
    """ipmi_sim has a sensor and half a timer; pyghmi's knows the chassis commands only."""
    (tmp_path / "host1").mkdir()
    (tmp_path / "logs").mkdir()
    layout = HostLayout(
        "host1", "127.0.0.1", free_udp_port(), free_udp_port(), tmp_path / "host1", bmc_password=PASSWORD
    )
    layout.power_file.write_text("1\n")
    layout.inlet_file.write_text("24\n")
    os.mkfifo(layout.chassis_pipe)
    own = host(Bmc(layout.address, layout.bmc_user, PASSWORD, layout.bmc_port))
    spawner = Spawner("bmc-layers", tmp_path / "logs")
    try:
        for kind, hardware, words in (
            ("ipmi_sim", Verdict.OK, "Inlet Temp 24 degrees C; 1 sensor is fine"),
            ("pyghmi", Verdict.UNKNOWN, "has no list of its sensors: refused"),
        ):
            bmc = BmcProcess(layout, spawner, kind)
            bmc.start()
            assert PowerDetector(TIMEOUT).read(own).verdict is Verdict.OK
            evidence = until(lambda: SensorDetector(LIMITS, TIMEOUT).read(own), hardware)
            assert words in evidence
            reading = OsWatchdogDetector(TIMEOUT, 10.0).read(own)
            assert (reading.verdict, reading.answered) == (Verdict.UNKNOWN, False)
            bmc.stop()
    finally:
        spawner.close()
