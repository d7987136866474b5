"""Carries out orders to restart what is behind a check: only ever a systemd unit that the spec names.

The order comes from a controller, authenticated; the units come from the operator's file on this host. A
check that names no unit is refused.
"""

from __future__ import annotations

import logging
import shlex
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hass_runtime.agent.process import last_line, run
from hass_runtime.agent.protocol import Order

log = logging.getLogger(__name__)

EVERY = 10.0  # s; a check's unit is not restarted more often
REMEMBERED = 256  # orders whose outcome is known, to answer them again

_SHOWN = "--property=Id,LoadState,ActiveState,UnitFileState"


class RefusedError(Exception):
    """The order is not carried out. One line."""


@dataclass(frozen=True)
class Outcome:
    """``refused`` None: systemd was told to restart the unit."""

    refused: str | None = None


def units_behind(spec: str) -> tuple[str, ...]:
    """The units that a spec names, () for none."""
    words = shlex.split(spec)
    return tuple(words[1:]) if words[:1] in (["unit"], ["libvirt"]) else ()


def choose(shown: str) -> tuple[str, str]:
    """Pure: which of the units that ``systemctl show`` shows to restart, and its state.

    The first that is there and in use: distributions name them differently, and of two that can take the
    place of one another (libvirtd and virtqemud) the one that nobody enabled is not to be woken.

    Raises RefusedError when none is there.
    """
    units = [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in shown.strip().split("\n\n")
    ]
    there = [unit for unit in units if unit.get("LoadState") == "loaded" and unit.get("Id")]
    if not there:
        names = ", ".join(
            f"{unit['Id']} {unit.get('LoadState', '')}".strip() for unit in units if "Id" in unit
        )
        raise RefusedError(f"no such unit here: {names or 'systemctl shows none'}")
    used = [unit for unit in there if unit.get("ActiveState", "inactive") != "inactive"]
    enabled = [unit for unit in there if unit.get("UnitFileState", "").startswith("enabled")]
    chosen = (used or enabled or there)[0]
    return chosen["Id"], chosen.get("ActiveState", "")


class Restarts:
    """Orders, and what became of them. Nothing blocks; times are ``time.monotonic()``.

    Args:
        checks: spec by name of the check.
        timeout: the longest (seconds) that systemctl may take for one answer.
        on_done: called, from the order's thread, when an outcome is known.
    """

    def __init__(
        self, checks: Mapping[str, str], timeout: float, on_done: Callable[[], None] = lambda: None
    ) -> None:
        self._units = {name: units_behind(spec) for name, spec in checks.items() if spec.strip() != "off"}
        self._timeout = timeout
        self._on_done = on_done
        self._lock = threading.Lock()
        self._known: OrderedDict[Order, Outcome | None] = OrderedDict()
        self._restarted_at: dict[str, float] = {}

    def submit(self, order: Order, now: float) -> None:
        """Carry out the order in a thread of its own, unless it is known already or has to be refused."""
        with self._lock:
            if order in self._known:
                return
            while len(self._known) >= REMEMBERED:
                self._known.popitem(last=False)
            refused = self._refusal(order.check, now)
            self._known[order] = Outcome(refused) if refused else None
            if refused is None:
                self._restarted_at[order.check] = now
        if refused is None:
            threading.Thread(target=self._carry_out, args=(order,), name="restart", daemon=True).start()
        else:
            log.warning("restart of %.60r refused: %s", order.check, refused)

    def outcome(self, order: Order) -> Outcome | None:
        """None while it is under way."""
        with self._lock:
            return self._known.get(order, Outcome("too many orders, its outcome is forgotten"))

    def _refusal(self, check: str, now: float) -> str | None:
        units = self._units.get(check)
        if units is None:
            return "is not checked here"
        if not units:
            return "is no unit"
        last = self._restarted_at.get(check)
        if last is not None and now - last < EVERY:
            return f"was restarted {now - last:.0f} s ago"
        return None

    def _carry_out(self, order: Order) -> None:
        try:
            unit = self._restart(order.check)
            outcome = Outcome()
            log.warning("%s is restarted by order of a controller (check %s)", unit, order.check)
        except RefusedError as error:
            outcome = Outcome(str(error))
            log.warning("restart of %s failed: %s", order.check, error)
        except Exception as error:
            outcome = Outcome(f"{type(error).__name__}: {error}")
            log.exception("restart of %s failed", order.check)
        with self._lock:
            self._known[order] = outcome
        self._on_done()

    def _restart(self, check: str) -> str:
        """The unit that systemd was told to restart; RefusedError."""
        try:
            unit, state = choose(self._systemctl("show", "--no-pager", _SHOWN, "--", *self._units[check]))
        except RefusedError:
            with self._lock:
                self._restarted_at.pop(check, None)  # nothing was touched
            raise
        if state == "failed":
            # A unit that failed too often in a row would not be started before its limit has passed.
            self._systemctl("reset-failed", "--", unit)
        self._systemctl("restart", "--no-block", "--no-ask-password", "--", unit)
        return unit

    def _systemctl(self, *arguments: str) -> str:
        try:
            done = run(["systemctl", *arguments], self._timeout)
        except FileNotFoundError:
            raise RefusedError("systemctl is not installed") from None
        except subprocess.TimeoutExpired:
            raise RefusedError(f"systemctl did not answer in {self._timeout:g} s") from None
        if done.returncode != 0:
            said = last_line(done.stderr) or f"exit status {done.returncode}"
            raise RefusedError(f"systemctl {arguments[0]}: {said}")
        return done.stdout
