"""Real BMCs on loopback for the tests: openipmi's ``ipmi_sim``, or pyghmi's ``Bmc`` where that is missing.

The machine behind a BMC is a file that holds ``1`` (on) or ``0`` (off); ``deaf`` next to it makes the BMC
accept power commands and do nothing, as a broken one does. Run as a program this file is the pyghmi BMC.
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
from collections.abc import Iterator
from pathlib import Path

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


def free_udp_port() -> int:
    """A UDP port of 127.0.0.1 that nobody holds at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class SimulatedBmc:
    """One BMC process. ``start`` after ``stop`` brings it back on the same port, with the same machine."""

    def __init__(self, directory: Path, name: str = "bmc", password: str = PASSWORD) -> None:
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
        (self.dir / "bmc.emu").write_text(_EMU)

    @property
    def power(self) -> str:
        """What the machine really is: ``on`` or ``off``."""
        return "on" if (self.dir / "power").read_text().strip() == "1" else "off"

    def set_power(self, state: str) -> None:
        """Change the machine behind the BMC's back."""
        new = self.dir / "power.new"
        new.write_text("1\n" if state == "on" else "0\n")
        new.replace(self.dir / "power")

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
        if shutil.which("ipmi_sim"):
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

    FileBmc({user: password}, port=port, address="127.0.0.1").listen()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
