"""Clears up after a sandbox however it ended: `keeper.py SANDBOX_ID [DIRECTORY]`.

Started by the sandbox with a pipe as stdin. The pipe's end (the sandbox stopped, crashed, or was killed with
SIGKILL) is the signal: every process that carries the sandbox's id in its environment is killed, repeatedly
until there is none, and the temporary directory, if one was given, is removed. The id is random and written
into the environment of the sandbox's own processes only, so nobody else's process can match.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

MARKER = "HASS_SANDBOX_ID"
SWEEP_SECONDS = 10.0
SWEEP_INTERVAL = 0.05


def marked(sandbox_id: str) -> list[int]:
    """Process ids, other than our own, that carry this sandbox's marker and are not zombies."""
    wanted = f"{MARKER}={sandbox_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue  # gone meanwhile, or somebody else's: not ours
    return found


def sweep(sandbox_id: str, seconds: float = SWEEP_SECONDS) -> list[int]:
    """Kill until nothing is left or the time is up; returns what was left."""
    deadline = time.monotonic() + seconds
    while (left := marked(sandbox_id)) and time.monotonic() < deadline:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(SWEEP_INTERVAL)
    return left


def main(argv: list[str]) -> int:
    # Signals of the terminal are the sandbox's business; this process goes when its pipe does.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    left = sweep(argv[1])
    if len(argv) > 2:
        shutil.rmtree(argv[2], ignore_errors=True)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
