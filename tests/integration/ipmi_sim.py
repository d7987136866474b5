"""Real BMCs on loopback for the tests: openipmi's ``ipmi_sim``, or pyghmi's ``Bmc`` where that is missing.

The machine behind a BMC is a file that holds ``1`` (on) or ``0`` (off); ``deaf`` next to it makes the BMC
accept power commands and do nothing, as a broken one does. Run as a program this file is the pyghmi BMC.

Sensors are ipmi_sim's, each with a file for its value. A watchdog timer that counts is in the pyghmi BMC
only: ipmi_sim's Get Watchdog Timer leaves out the present countdown.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hass_runtime.domain import Bmc

USER = "ipmiuser"
PASSWORD = "ipmipass,1"

_CHASSIS = """#!/bin/sh
# The chassis of the simulated BMC: DIR VERB WHAT [VALUE]
dir=$1; verb=$2; what=$3
case "$verb $what" in
"get power") echo "power:$(cat "$dir/power")" ;;
"set power") echo "$4" >> "$dir/commands"; [ -e "$dir/deaf" ] || echo "$4" > "$dir/power" ;;
"get "*) exit 1 ;;
esac
exit 0
"""

_LAN = """name "{name}"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "{chassis} {dir}"
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""

_EMU = """mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 100 0x0a
mc_enable 0x20
"""


TEMPERATURE, FAN = 0x01, 0x04
DEGREES_C, RPM = 0x01, 0x12


@dataclass(frozen=True)
class Gauge:
    """A sensor with thresholds, upper and lower, each non-recoverable, critical, non-critical; raw bytes.

    A raw value is multiplied by ``factor``.
    """

    name: str
    value: int
    kind: int = TEMPERATURE
    unit: int = DEGREES_C
    factor: int = 1
    thresholds: tuple[int, int, int, int, int, int] = (120, 110, 100, 0, 2, 4)


@dataclass(frozen=True)
class Lamp:
    """A sensor with states instead of numbers: ``kind`` is its sensor type, ``states`` those that are set."""

    name: str
    kind: int
    states: tuple[int, ...]


def _record(number: int, sensor: Gauge | Lamp) -> list[int]:
    """A Full or a Compact Sensor Record (IPMI 2.0, 43.1 and 43.2)."""
    label = [0xC0 | len(sensor.name), *sensor.name.encode()]
    body = [0x20, 0x00, number, 0x07, 0x01, 0x7F]
    if isinstance(sensor, Gauge):
        body += [0x68, sensor.kind, 0x01, 0x95, 0x7A, 0x95, 0x7A, 0x3F, 0x3F, 0x00, sensor.unit, 0x00]
        body += [0x00, sensor.factor, 0, 0, 0, 0, 0]  # linear, M, no offset, no exponents
        body += [0x00, 0, 0, 0, 0xFF, 0x00, *sensor.thresholds, 1, 1, 0, 0, 0]
    else:
        body += [0x40, sensor.kind, 0x6F, 0xFF, 0x7F, 0xFF, 0x7F, 0xFF, 0x7F, 0xC0, 0x00, 0x00]
        body += [0x01, 0x00, 0, 0, 0, 0, 0, 0]
    body += label
    return [number, 0x00, 0x51, 0x01 if isinstance(sensor, Gauge) else 0x02, len(body), *body]


def _emulated(directory: Path, sensors: Sequence[Gauge | Lamp]) -> str:
    """The lines of ipmi_sim's command file for the sensors."""
    lines = []
    every, none = "1" * 15, "0" * 15
    for number, sensor in enumerate(sensors, start=1):
        where = f"0x20 0 {number}"
        if isinstance(sensor, Gauge):
            limits = " ".join(str(limit) for limit in sensor.thresholds)
            lines += [
                f'sensor_add {where} {sensor.kind} 1 poll 100 file "{directory}/sensor{number}"',
                f"sensor_set_threshold {where} settable 111111 {limits}",
                f"sensor_set_event_support {where} enable scanning per-state {every} {every} {none} {none}",
            ]
        else:
            lines += [
                f"sensor_add {where} {sensor.kind} 0x6f",
                f"sensor_set_event_support {where} enable scanning per-state {every} {every} {none} {none}",
                *(f"sensor_set_bit {where} {state} 1 0" for state in sensor.states),
            ]
        lines.append("main_sdr_add 0x20 " + " ".join(f"0x{byte:02x}" for byte in _record(number, sensor)))
    return "".join(f"{line}\n" for line in lines)


def free_udp_port() -> int:
    """A UDP port of 127.0.0.1 that nobody holds at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class SimulatedBmc:
    """One BMC process. ``start`` after ``stop`` brings it back on the same port, with the same machine."""

    def __init__(
        self,
        directory: Path,
        name: str = "bmc",
        password: str = PASSWORD,
        sensors: Sequence[Gauge | Lamp] = (),
        watchdog: bool = False,
    ) -> None:
        self.dir = directory / name
        self.dir.mkdir(parents=True)
        self.name = name
        self.port = free_udp_port()
        self.bmc = Bmc("127.0.0.1", USER, password, self.port)
        self._process: subprocess.Popen[bytes] | None = None
        self.set_power("on")
        chassis = self.dir / "chassis"
        chassis.write_text(_CHASSIS)
        chassis.chmod(0o755)
        (self.dir / "lan.conf").write_text(
            _LAN.format(
                name=name, port=self.port, chassis=chassis, dir=self.dir, user=USER, password=password
            )
        )
        self._sensors = [sensor.name for sensor in sensors]
        for number, sensor in enumerate(sensors, start=1):
            if isinstance(sensor, Gauge):
                (self.dir / f"sensor{number}").write_text(f"{sensor.value}\n")
        enable = "mc_enable 0x20\n"
        emulated = _EMU.removesuffix(enable) + _emulated(self.dir, sensors) + enable
        (self.dir / "bmc.emu").write_text(emulated)
        self._pyghmi = watchdog or not shutil.which("ipmi_sim")
        if sensors and self._pyghmi:
            raise RuntimeError("sensors need ipmi_sim, without a watchdog timer: see tests/system-packages")

    @property
    def power(self) -> str:
        """What the machine really is: ``on`` or ``off``."""
        return "on" if (self.dir / "power").read_text().strip() == "1" else "off"

    def set_power(self, state: str) -> None:
        """Change the machine behind the BMC's back."""
        new = self.dir / "power.new"
        new.write_text("1\n" if state == "on" else "0\n")
        new.replace(self.dir / "power")

    def set_sensor(self, name: str, value: int) -> None:
        """Change what the first sensor of a name measures (raw); the BMC soon notices."""
        path = self.dir / f"sensor{self._sensors.index(name) + 1}"
        new = path.with_suffix(".new")
        new.write_text(f"{value}\n")
        new.replace(path)

    @property
    def commands(self) -> list[str]:
        """The power commands the chassis was given (``1`` on, ``0`` off), oldest first."""
        path = self.dir / "commands"
        return path.read_text().split() if path.exists() else []

    def deaf(self, is_deaf: bool = True) -> None:
        """Accept power commands and do nothing."""
        if is_deaf:
            (self.dir / "deaf").touch()
        else:
            (self.dir / "deaf").unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> SimulatedBmc:
        """Start the process and wait until it listens."""
        state = self.dir / "state"
        state.mkdir(exist_ok=True)
        if not self._pyghmi:
            conf, emu = self.dir / "lan.conf", self.dir / "bmc.emu"
            command = ["ipmi_sim", "-n", "-p", "-s", str(state), "-c", str(conf), "-f", str(emu)]
        else:
            command = [sys.executable, __file__, str(self.dir), str(self.port), USER, self.bmc.password]
        with (self.dir / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"BMC {self.name} did not start: {(self.dir / 'log').read_text()[-500:]}")
            time.sleep(0.02)
        return self

    def _listens(self) -> bool:
        wanted = f":{self.port:04X}"
        tables = [path for path in ("/proc/net/udp", "/proc/net/udp6") if os.path.exists(path)]
        return any(
            line.split()[1].endswith(wanted) for table in tables for line in open(table).readlines()[1:]
        )

    def stop(self) -> None:
        """Pull the BMC's plug: its port closes at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Leave the port open but answer nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


@contextlib.contextmanager
def simulated_bmcs(directory: Path, count: int) -> Iterator[list[SimulatedBmc]]:
    """``count`` running BMCs, stopped at the end."""
    bmcs = [SimulatedBmc(directory, f"bmc{number}") for number in range(1, count + 1)]
    try:
        for bmc in bmcs:
            bmc.start()
        yield bmcs
    finally:
        for bmc in bmcs:
            bmc.stop()


class WatchdogTimer:
    """A BMC's watchdog timer (IPMI 2.0, 27.5 to 27.7) that does nothing to the host when it runs out."""

    def __init__(self) -> None:
        self._settings: bytes | None = None
        self._flags = 0
        self._ends: float | None = None  # monotonic

    def handle(self, command: int, data: bytes) -> tuple[int, bytes]:
        """Completion code and data of the answer to Reset (0x22), Set (0x24) or Get (0x25)."""
        use = (self._settings or bytes(1))[0] & 0x07
        if self._ends is not None and time.monotonic() >= self._ends:
            self._ends, self._flags = None, self._flags | 1 << use
        if command == 0x22:
            if self._settings is None:
                return 0x80, b""
            self._ends = time.monotonic() + int.from_bytes(self._settings[4:6], "little") / 10
            return 0, b""
        if command == 0x24:
            if len(data) != 6:
                return 0xC7, b""
            if not data[0] & 0x40:
                self._ends = None
            self._settings, self._flags = data, self._flags & ~data[3]
            return 0, b""
        settings = self._settings or bytes(6)
        left = 0 if self._ends is None else round((self._ends - time.monotonic()) * 10)
        first = settings[0] & 0x87 | (0x40 if self._ends is not None else 0)
        return 0, bytes([first, *settings[1:3], self._flags]) + settings[4:6] + left.to_bytes(2, "little")


def _serve(directory: Path, port: int, user: str, password: str) -> None:
    from pyghmi.ipmi.bmc import Bmc as PyghmiBmc

    class FileBmc(PyghmiBmc):  # type: ignore[misc]
        def get_power_state(self) -> str:
            return "on" if (directory / "power").read_text().strip() == "1" else "off"

        def _set(self, value: str) -> None:
            with (directory / "commands").open("a") as commands:
                commands.write(value + "\n")
            if not (directory / "deaf").exists():
                (directory / "power").write_text(value + "\n")

        def power_off(self) -> None:
            self._set("0")

        def power_on(self) -> None:
            self._set("1")

        def handle_raw_request(self, request: dict[str, Any], session: Any) -> None:
            if request["netfn"] == 0x06 and request["command"] in (0x22, 0x24, 0x25):
                code, data = timer.handle(request["command"], bytes(request["data"]))
                session.send_ipmi_response(code=code, data=list(data))
            else:
                super().handle_raw_request(request, session)

    timer = WatchdogTimer()
    FileBmc({user: password}, port=port, address="127.0.0.1").listen()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
