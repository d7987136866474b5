"""A real BMC per host on loopback: full lanplus, chassis power that really switches the machine.

Two kinds: ``ipmi_sim`` (package openipmi: sensors and an event log) where installed, else ``pyghmi`` (pure
Python: power, and a watchdog timer). Both read the power state from the host's power file and hand chassis
commands to the host's chassis pipe without waiting for them, as real hardware does.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hass_runtime.sandbox.layout import HostLayout, write_private
from hass_runtime.sandbox.procs import Child, ProcessError, Spawner

KINDS = ("ipmi_sim", "pyghmi")
READY_SECONDS = 15.0
READY_INTERVAL = 0.05
# RMCP header, IPMI 1.5 without a session, Get Channel Authentication Capabilities (IPMI v2.0, 22.13).
PROBE = bytes.fromhex("0600ff07000000000000000000092018c88100388e04b5")


def default_kind() -> str:
    """``ipmi_sim`` where it is installed, else ``pyghmi``."""
    return "ipmi_sim" if shutil.which("ipmi_sim") else "pyghmi"


@dataclass(frozen=True)
class Sensor:
    """A threshold sensor of ipmi_sim: raw reading = value, in whole units. ``file`` holds the value."""

    number: int
    label: str
    kind: int
    unit: int
    entity: int
    nominal: int
    # upper non-recoverable, critical, non-critical; lower non-recoverable, critical, non-critical
    thresholds: tuple[int, int, int, int, int, int]
    file: Path


TEMPERATURE = 0x01
DEGREES_C = 0x01
AIR_INLET = 0x37
QUIT = b"\0"


def full_record(record: int, sensor: Sensor) -> list[int]:
    """Bytes of a Full Sensor Record (IPMI v2.0, 43.1) for a linear sensor with factor one."""
    events, readable = 0x7A95, 0x3F
    label = sensor.label.encode("ascii")
    body = [
        *(0x20, 0x00, sensor.number),  # owner, its LUN, sensor number
        *(sensor.entity, 0x01),  # entity and instance
        *(0x7F, 0x68),  # all initialised at start; auto re-arm, thresholds readable and settable
        *(sensor.kind, 0x01),  # threshold based
        *(events & 0xFF, events >> 8, events & 0xFF, events >> 8, readable, readable),
        *(0x00, sensor.unit, 0x00),  # unsigned, base unit, no modifier
        *(0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00),  # linear; M = 1, B = 0, no exponents
        *(0x01, sensor.nominal, sensor.thresholds[2], sensor.thresholds[5]),  # nominal value given
        *(0xFF, 0x00),  # highest and lowest reading
        *sensor.thresholds,
        *(0x01, 0x01, 0x00, 0x00, 0x00),  # hysteresis, reserved, OEM
        0xC0 | len(label),
        *label,
    ]
    return [record & 0xFF, record >> 8, 0x51, 0x01, len(body), *body]


def emulator_commands(sensors: list[Sensor]) -> str:
    """Text of ipmi_sim's command file: one management controller, its event log and sensors."""
    lines = [
        "mc_setbmc 0x20",
        "mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr",
        "sel_enable 0x20 1000 0x0a",
    ]
    for index, sensor in enumerate(sensors, start=1):
        where = f"0x20 0 {sensor.number}"
        limits = " ".join(str(value) for value in sensor.thresholds)
        every = "000111111111111"
        armed = "000001010000101"
        record = " ".join(f"0x{byte:02x}" for byte in full_record(index, sensor))
        lines += [
            f'sensor_add {where} {sensor.kind} 1 poll 500 file "{sensor.file}"',
            f"sensor_set_threshold {where} settable 111111 {limits}",
            f"sensor_set_event_support {where} enable scanning per-state {every} {every} {armed} {armed}",
            f"main_sdr_add 0x20 {record}",
        ]
    return "\n".join([*lines, "mc_enable 0x20"]) + "\n"


def lan_config(host: HostLayout, chassis: Path) -> str:
    """Text of ipmi_sim's lan.conf. The password is in there: write it for the owner only."""
    levels = "\n".join(
        f"    allowed_auths_{level} md5" for level in ("callback", "user", "operator", "admin")
    )
    return f"""name "{host.name}"
set_working_mc 0x20
  startlan 1
    addr {host.address} {host.bmc_port}
    priv_limit admin
{levels}
    guid {uuid.uuid5(uuid.NAMESPACE_DNS, host.name).hex}
  endlan
  chassis_control "{chassis}"
  user 2 true "{host.bmc_user}" "{host.bmc_password}" admin 10 md5
"""


def chassis_program(host: HostLayout) -> str:
    """Text of the program that ipmi_sim calls: ``get PARAMETER…`` or ``set PARAMETER VALUE…``.

    ipmi_sim does nothing else meanwhile, so a change is handed on and not waited for: callers send a command
    again after a second or two without an answer. The pipe is opened for reading too, which never blocks.
    """
    power, lies, pipe = (
        shlex.quote(str(path)) for path in (host.power_file, host.lies_file, host.chassis_pipe)
    )
    return f"""#!/bin/sh
if [ "$1" = set ]; then
    shift
    [ -e {lies} ] || echo "$*" 1<>{pipe}
    exit 0
fi
shift
for parameter; do
    case $parameter in
        power) echo "power:$(cat {power})" ;;
        boot) echo boot:default ;;
        *) echo "$parameter:0" ;;
    esac
done
"""


class ChassisPipe:
    """Takes chassis commands from a BMC, ``KEY VALUE [KEY VALUE…]`` a line; has them obeyed in turn."""

    def __init__(self, path: Path, obey: Callable[[str, str], None], log: Callable[[str], None]) -> None:
        """``obey`` is called from a thread of this object's own; what it raises is logged."""
        self._obey = obey
        self._log = log
        self._closed = False
        os.mkfifo(path, 0o600)
        # For writing too: without that the pipe would end whenever no BMC has it open.
        self._fd = os.open(path, os.O_RDWR)
        self._thread = threading.Thread(target=self._run, name=f"chassis-{path.parent.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with open(self._fd, "rb+", buffering=0) as pipe:
            rest = b""
            while not rest.endswith(QUIT):
                *lines, rest = (rest + pipe.read(4096)).split(b"\n")
                for line in lines:
                    words = line.decode("ascii", "replace").split()
                    for key, value in zip(words[::2], words[1::2], strict=False):
                        try:
                            self._obey(key, value)
                        except Exception as error:  # noqa: BLE001 - a BMC has nobody to tell
                            self._log(f"chassis {key} {value}: {error}")

    def close(self) -> None:
        """Take no more commands; one that is being carried out is not waited for."""
        if not self._closed:
            self._closed = True
            os.write(self._fd, QUIT)


class BmcProcess:
    """The BMC of one host: start, stop (which is what `bmc_cut` does), start again."""

    def __init__(self, host: HostLayout, spawner: Spawner, kind: str) -> None:
        if kind not in KINDS:
            raise ValueError(f"{kind}: no such kind of BMC, expected one of {', '.join(KINDS)}")
        self.host = host
        self.kind = kind
        self._spawner = spawner
        self._dir = host.dir / "bmc"
        self._child: Child | None = None

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.alive()

    def start(self) -> None:
        """Returns when the BMC answers; ProcessError when it does not."""
        if self.alive:
            return
        argv = self._ipmi_sim() if self.kind == "ipmi_sim" else self._pyghmi()
        self._child = self._spawner.spawn(f"bmc-{self.host.name}", argv)
        self._wait_ready(self._child)

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _ipmi_sim(self) -> list[str]:
        state = self._dir / "state"
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        inlet = Sensor(
            1,
            "Inlet Temp",
            TEMPERATURE,
            DEGREES_C,
            AIR_INLET,
            24,
            (90, 80, 42, 0, 3, 10),
            self.host.inlet_file,
        )
        chassis, lan, commands = self._dir / "chassis", self._dir / "lan.conf", self._dir / "bmc.emu"
        write_private(chassis, chassis_program(self.host))
        chassis.chmod(0o700)
        write_private(lan, lan_config(self.host, chassis))
        write_private(commands, emulator_commands([inlet]))
        return ["ipmi_sim", "-n", "-p", "-s", str(state), "-c", str(lan), "-f", str(commands)]

    def _pyghmi(self) -> list[str]:
        self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        secret = self._dir / "password"
        write_private(secret, self.host.bmc_password + "\n")
        return [
            *(sys.executable, "-m", "hass_runtime.sandbox.bmc_server"),
            *("--pipe", str(self.host.chassis_pipe), "--lies-file", str(self.host.lies_file)),
            *("--address", self.host.address, "--port", str(self.host.bmc_port)),
            *("--user", self.host.bmc_user, "--password-file", str(secret)),
            *("--power-file", str(self.host.power_file), "--watchdog-file", str(self.host.watchdog_file)),
        ]

    def _wait_ready(self, child: Child) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if not child.alive():
                raise ProcessError(f"BMC of {self.host.name} ({self.kind}) ended at once: {child.tail()}")
            if answers(self.host.address, self.host.bmc_port):
                return
            time.sleep(READY_INTERVAL)
        raise ProcessError(
            f"BMC of {self.host.name} ({self.kind}) does not answer after {READY_SECONDS:.0f} s"
        )


def answers(address: str, port: int, timeout: float = 0.3) -> bool:
    """Whether a BMC answers the question that comes before every session."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect((address, port))
            sock.send(PROBE)
            return len(sock.recv(512)) > 4
        except OSError:
            return False
