"""A BMC for a machine: ipmi_sim on an address of the machines' network. `start` it, `stop` it."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from hass_runtime.sandbox import bmc
from hass_runtime.sandbox.layout import HostLayout


def start(folder: Path, name: str, address: str, user: str, bridge: str) -> None:
    """Write its configuration, give it its address, start it, and wait until it answers."""
    password = os.environ["BMC_PASSWORD"]
    host = HostLayout(name, address, 623, 0, folder, bmc_user=user, bmc_password=password)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "state").mkdir(exist_ok=True)
    host.power_file.write_text("1")
    host.inlet_file.write_text("24")
    limits = (90, 80, 42, 0, 3, 10)
    inlet = bmc.Sensor(
        1, "Inlet Temp", bmc.TEMPERATURE, bmc.DEGREES_C, bmc.AIR_INLET, 24, limits, host.inlet_file
    )
    chassis = folder / "chassis"
    for path, text in (
        (chassis, bmc.chassis_program(host)),
        (folder / "lan.conf", bmc.lan_config(host, chassis)),
        (folder / "bmc.emu", bmc.emulator_commands([inlet])),
    ):
        path.touch(mode=0o700)
        path.write_text(text)
    subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", bridge], check=True)
    command = ["ipmi_sim", "-n", "-p", "-s", "state", "-c", "lan.conf", "-f", "bmc.emu"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    (folder / "pid").write_text(str(process.pid))
    deadline = time.monotonic() + 10
    while not bmc.answers(address, 623):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the BMC of {name} does not answer: {(folder / 'log').read_text().strip()}")
        time.sleep(0.1)


def alive(folder: Path) -> int:
    """The process id of the BMC, 0 when it does not run."""
    try:
        pid = int((folder / "pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if words[0].endswith(b"ipmi_sim") else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=("start", "stop"))
    parser.add_argument("folder", type=Path)
    for option in ("name", "address", "user", "bridge"):
        parser.add_argument(f"--{option}", default="")
    given = parser.parse_args()
    pid = alive(given.folder)
    if given.verb == "start" and not pid:
        start(given.folder, given.name, given.address, given.user, given.bridge)
        print("started")
    elif given.verb == "stop" and pid:
        os.kill(pid, signal.SIGTERM)
        print("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
