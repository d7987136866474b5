"""The agent's view of the storage of instances: whether it can be written and read.

The storage may hang for ever, and whatever touches it then cannot even be killed. So a helper process does
that, the agent merely waits for its answer in a thread, and neither is waited for when the agent ends.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from hass_runtime.agent.protocol import Check, cut

HELPER = Path(__file__).with_name("storage_helper.py")
MACHINE_ID = Path("/etc/machine-id")
EVIDENCE = 200  # characters
GRACE = 1.0  # s; a helper that is at work for longer is not left to finish
_SPACE = uuid.UUID("5f1c1d0e-6f0b-4d0a-9c55-6a1f0a7d9a51")


def file_name(host: str, check: str, machine_id: Path = MACHINE_ID) -> str:
    """``.hass-UUID``: the same each time, another on each host and for each check."""
    try:
        machine = machine_id.read_text(errors="replace").strip()
    except OSError:  # the host's name has to do
        machine = ""
    return f".hass-{uuid.uuid5(_SPACE, f'{machine}/{host}/{check}')}"


def parse(arguments: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether it has to be shared, and the paths, of a spec ``storage [shared] PATH...``; ValueError."""
    shared = list(arguments[:1]) == ["shared"]
    paths = list(arguments[1:] if shared else arguments)
    if not paths:
        raise ValueError("storage needs something after it")
    for path in paths:
        if not path.startswith("/"):
            raise ValueError(f"{path} is no absolute path")
    return shared, paths


class Storage:
    """Asks the helper; one question at a time. Starts it when there is none."""

    def __init__(self, paths: Sequence[str], shared: bool, name: str) -> None:
        self._question = json.dumps({"paths": list(paths), "name": name, "shared": shared}) + "\n"
        self._lock = threading.Lock()
        self._helper: subprocess.Popen[str] | None = None
        self._closed = False
        self._busy_since: float | None = None

    def ask(self) -> Check:
        """Blocks for as long as the storage does. Never raises but what Popen does."""
        with self._lock:
            if self._closed:
                return Check("unknown", "the agent ends")
            if self._helper is None:
                self._helper = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(HELPER)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,
                )
            helper = self._helper
            self._busy_since = time.monotonic()
        assert helper.stdin is not None
        assert helper.stdout is not None
        try:
            helper.stdin.write(self._question)
            helper.stdin.flush()
            line = helper.stdout.readline()
            state, evidence = json.loads(line)
        except (OSError, ValueError):
            return self._lost(helper)
        self._busy_since = None
        return Check(str(state), cut(str(evidence), EVIDENCE))

    def _lost(self, helper: subprocess.Popen[str]) -> Check:
        helper.kill()
        status = helper.wait()  # it closed its output, or was killed: it is at its end
        with self._lock:
            if self._helper is helper:
                self._helper = self._busy_since = None
        return Check("unknown", f"the helper process ended with status {status}")

    def close(self) -> None:
        """End the helper without waiting for it. One that is stuck in the kernel ends when it can."""
        with self._lock:
            self._closed = True
            helper, since = self._helper, self._busy_since
        if helper is None or helper.stdin is None:
            return
        with contextlib.suppress(OSError, ValueError):
            helper.stdin.close()  # it removes its file, and ends
        if since is not None and time.monotonic() - since > GRACE:
            helper.kill()
