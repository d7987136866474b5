"""The real controller daemon, which dies by SIGKILL right before or right after a commit that it is told.

`python crashing.py CONTROL TRACE --config FILE`. As long as the file CONTROL is there, every commit of the
journal (hosts, incidents, runs, steps, moves; not the lease's heartbeats and not readings) is two boundaries,
one before and one after it, and each is a line of TRACE. CONTROL holds ``{"incident": I, "part": PART,
"at": N}``: at the N-th boundary of that part (0: none) the process kills itself. The parts are "fence", from
the commit that calls the host fenced on "evacuation", and from the one that starts its restoration on
"restoration"; it counts anew in each part and with each number I.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

JOURNAL = ("host", "incident", "run", "step", "move")
TOUCHED = "touched"  # a write that says nothing new
PARTS = FENCE, EVACUATION, RESTORATION = ("fence", "evacuation", "restoration")
_WRITES = re.compile(r"\s*(?:INSERT INTO|UPDATE) (\w+)")
# What tells one write to a table from another.
_TELLING = (
    "name",
    "playbook",
    "state",
    "status",
    "outcome",
    "phase",
    "gate",
    "fenced_at",
    "closed_at",
    "rung",
)


class Boundaries:
    """Counts the boundaries of one process."""

    def __init__(self, control: Path, trace: Path) -> None:
        self._control = control
        self._trace = trace
        self._writing = threading.local()
        self._lock = threading.Lock()
        self._incident = -1
        self._part = FENCE
        self._count = 0

    def install(self) -> None:
        event.listen(Engine, "begin", self._begins)
        event.listen(Engine, "before_cursor_execute", self._executes)
        commit = DefaultDialect.do_commit

        def do_commit(dialect: DefaultDialect, connection: Any) -> None:
            what = list(getattr(self._writing, "what", ()))
            if what:
                self._reached("before", what)
            commit(dialect, connection)
            if what:
                self._reached("after", what)

        DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]

    def _begins(self, connection: Any) -> None:
        self._writing.what = []

    def _executes(
        self, connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ):
        found = _WRITES.match(statement)
        if found is None or found.group(1) not in JOURNAL or context is None:
            return
        values = (context.compiled_parameters or [{}])[0]
        told = [f"{key}={values[key]}" for key in _TELLING if values.get(key) not in (None, "")]
        told = [re.sub(r"=\d+\.\d+", "", each) for each in told]
        self._writing.what.append(f"{found.group(1)}: {', '.join(told) or TOUCHED}")

    def _reached(self, side: str, what: list[str]) -> None:
        with self._lock:
            try:
                control = json.loads(self._control.read_text())
            except FileNotFoundError:
                return
            if control["incident"] != self._incident:
                self._incident, self._part, self._count = control["incident"], FENCE, 0
            if (
                side == "before"
                and (part := _begins_part(what))
                and PARTS.index(part) > PARTS.index(self._part)
            ):
                self._part, self._count = part, 0
            self._count += 1
            told = [each for each in dict.fromkeys(what) if not each.endswith(TOUCHED)] or what[:1]
            line = {"part": self._part, "n": self._count, "side": side, "what": "; ".join(told)}
            with self._trace.open("a") as trace:
                trace.write(json.dumps(line) + "\n")
            if (self._part, self._count) == (control["part"], control["at"]):
                os.kill(os.getpid(), signal.SIGKILL)


def _begins_part(what: list[str]) -> str | None:
    """The part that begins with a commit of this, None when none does."""
    if any(each.startswith("run:") and "host_restore" in each for each in what):
        return RESTORATION
    return EVACUATION if "host: state=fenced" in what else None


def main() -> None:
    control, trace = Path(sys.argv[1]), Path(sys.argv[2])
    Boundaries(control, trace).install()
    from hass_runtime.cli.main import main as hass

    sys.argv = ["hass", "controller", *sys.argv[3:]]
    hass()


if __name__ == "__main__":
    main()
