"""A BMC for a machine: ipmi_sim on an address of the machines' network. `start` it, `stop` it.

With --machines its power button is the machine's: chassis commands start and kill it. With --watchdog it has
a watchdog timer, which the machine re-arms through a pipe, FOLDER/device: bind that to its /dev/watchdog.
"""

from __future__ import annotations

import argparse
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from hass_runtime.sandbox import bmc
from hass_runtime.sandbox.layout import HostLayout

COUNTDOWN = 60.0  # s
STOP = b"V"  # what a watchdog daemon writes before it closes the device in order

# It has to return at once: ipmi_sim does nothing else meanwhile. What changes takes the machine's lock.
CHASSIS = """#!/bin/sh
# NAME get PARAMETER... | NAME set PARAMETER VALUE...
machines={machines} name={name} folder={folder}
export HASS_CACHE_DIR={cache}
alive() {{
    read -r pid started 2>/dev/null <"$folder/pid" &&
        [ "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d ' ' -f 20)" = "$started" ] && return
    # What its power supply no longer feeds may still be dying.
    find /sys/fs/cgroup/*/"hass-$name" -name cgroup.procs -exec cat {{}} + 2>/dev/null | grep -q .
}}
what=$1
shift
if [ "$what" = get ]; then
    for parameter; do
        case $parameter in
            power) if alive; then echo power:1; else echo power:0; fi ;;
            boot) echo boot:default ;;
            *) echo "$parameter:0" ;;
        esac
    done
    exit 0
fi
while [ "$what" = set ] && [ $# -ge 2 ]; do
    case $1=$2 in
        power=0) verb=kill ;;
        power=1) verb='up --timeout=0' ;;
        reset=*) verb=reset ;;
        shutdown=*) verb=off ;;
        *) verb= ;;
    esac
    shift 2
    [ -n "$verb" ] || continue
    echo "$(date +%FT%T) $verb" >>chassis.log
    # shellcheck disable=SC2086 # a verb may have an option
    setsid "$machines" $verb "$name" </dev/null >>chassis.log 2>&1 &
done
exit 0
"""


def start(given: argparse.Namespace) -> None:
    """Write its configuration, give it its address, start it, and wait until it answers."""
    folder: Path = given.folder
    password = os.environ["BMC_PASSWORD"]
    host = HostLayout(given.name, given.address, 623, 0, folder, bmc_user=given.user, bmc_password=password)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "state").mkdir(exist_ok=True)
    host.power_file.write_text("1")
    host.inlet_file.write_text("24")
    limits = (90, 80, 42, 0, 3, 10)
    inlet = bmc.Sensor(
        1, "Inlet Temp", bmc.TEMPERATURE, bmc.DEGREES_C, bmc.AIR_INLET, 24, limits, host.inlet_file
    )
    chassis = folder / "chassis"
    lan = bmc.lan_config(host, chassis)
    if given.watchdog:
        module = f'loadlib "{given.watchdog.absolute()}" "{folder / "armed"} {COUNTDOWN:g}"\n'
        lan = module + lan
    for path, text in (
        (chassis, _chassis(given) if given.machines else bmc.chassis_program(host)),
        (folder / "lan.conf", lan),
        (folder / "bmc.emu", bmc.emulator_commands([inlet])),
    ):
        path.touch(mode=0o700)
        path.write_text(text)
    subprocess.run(["ip", "address", "replace", f"{given.address}/32", "dev", given.bridge], check=True)
    command = ["ipmi_sim", "-n", "-p", "-s", "state", "-c", "lan.conf", "-f", "bmc.emu"]
    process = _spawn(folder, "pid", "log", command)
    deadline = time.monotonic() + 10
    while not bmc.answers(given.address, 623):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the BMC of {given.name} does not answer: {(folder / 'log').read_text().strip()}")
        time.sleep(0.1)
    if given.watchdog and not alive(folder, "keeper.pid"):
        if not (folder / "device").exists():
            os.mkfifo(folder / "device", 0o600)
        _spawn(folder, "keeper.pid", "keeper.log", [sys.executable, __file__, "keep", str(folder)])


def _spawn(folder: Path, pid: str, log: str, command: list[str]) -> subprocess.Popen[bytes]:
    with (folder / log).open("w") as file:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    (folder / pid).write_text(str(process.pid))
    return process


def _chassis(given: argparse.Namespace) -> str:
    cache = Path(os.environ.get("HASS_CACHE_DIR") or Path.home() / ".cache/hass").absolute()
    places = {
        "machines": given.machines.absolute(),
        "name": given.name,
        "folder": cache / "machines/running" / given.name,
        "cache": cache,
    }
    return CHASSIS.format(**{key: shlex.quote(str(value)) for key, value in places.items()})


def keep(folder: Path) -> None:
    """The timer behind the machine's /dev/watchdog: a byte re-arms it, at its end it resets the machine."""
    pipe = os.open(folder / "device", os.O_RDWR)  # also for writing: it has no end when the machine dies
    armed = folder / "armed"
    armed.unlink(missing_ok=True)
    expires: float | None = None
    while True:
        ready, _, _ = select.select([pipe], [], [], 1)
        now = time.monotonic()
        if ready:
            if os.read(pipe, 4096).endswith(STOP):
                armed.unlink(missing_ok=True)
                expires = None
                continue
            draft = folder / ".armed"
            draft.write_text(f"{now:.3f}\n")
            draft.replace(armed)
            expires = now + COUNTDOWN
        elif expires is not None and now > expires:
            expires = None
            if _chassis_says_on(folder):
                print("the countdown has run out: hard reset", flush=True)
                subprocess.run([str(folder / "chassis"), "set", "reset", "1"], cwd=folder, check=False)
        elif expires is not None and not _chassis_says_on(folder):
            armed.unlink(missing_ok=True)  # without power it does not run
            expires = None


def _chassis_says_on(folder: Path) -> bool:
    said = subprocess.run(
        [str(folder / "chassis"), "get", "power"], cwd=folder, capture_output=True, text=True, check=False
    )
    return said.stdout.strip() == "power:1"


def alive(folder: Path, name: str = "pid") -> int:
    """The process id of the BMC (or of the keeper of its timer), 0 when it does not run."""
    try:
        pid = int((folder / name).read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        here = Path(f"/proc/{pid}/cwd").readlink()
    except (OSError, ValueError):
        return 0
    ours = words[0].endswith(b"ipmi_sim") or b"keep" in words
    return pid if ours and here == folder.resolve() else 0


def stop(folder: Path, everything: bool) -> bool:
    """End it; the timer, a part of the machine, goes on unless everything is to end."""
    found = [alive(folder)] + ([alive(folder, "keeper.pid")] if everything else [])
    for pid in filter(None, found):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while alive(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return any(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=("start", "stop", "keep"))
    parser.add_argument("folder", type=Path)
    for option in ("name", "address", "user", "bridge"):
        parser.add_argument(f"--{option}", default="")
    parser.add_argument("--machines", type=Path, help="the tool whose machine NAME it switches")
    parser.add_argument("--watchdog", type=Path, help="the module of ipmi_sim with the timer")
    parser.add_argument("--lan-only", action="store_true", help="stop: leave the timer running")
    given = parser.parse_args()
    given.folder = given.folder.absolute()
    if given.verb == "keep":
        keep(given.folder)
    elif given.verb == "start" and not alive(given.folder):
        start(given)
        print("started")
    elif given.verb == "stop" and stop(given.folder, not given.lan_only):
        print("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
