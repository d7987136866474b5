"""The OS layer: whether the host still re-arms the watchdog timer of its BMC."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hass_runtime.bmc import BmcClient, BmcError
from hass_runtime.domain import Bmc, Host, Layer, Reading, Verdict

_APP, _GET_WATCHDOG = 0x06, 0x25  # netfn, command
_TENTHS = 10.0  # countdowns are in units of 100 ms
_RUNNING = 0x40
_USES = {1: "its BIOS", 2: "its BIOS", 3: "the start of its operating system", 4: "", 5: ""}
_OS_LOAD = 3

# A timer that fell by less than this share of the time that passed was re-armed. Between two looks at one
# that nobody re-arms it falls by all of it; some BMCs count in whole seconds, so half of it may seem missing.
_SHARE = 0.45


@dataclass(frozen=True)
class Timer:
    """A BMC's watchdog timer. ``initial`` and ``present`` are countdowns in seconds.

    ``use`` is what it is used for: 1 and 2 the BIOS, 3 the loading of the OS, 4 the running OS, 5 the maker's
    own. ``expired``: it has run out in that use, and nobody has cleared that since.
    """

    running: bool
    use: int
    expired: bool
    initial: float
    present: float

    @property
    def age(self) -> float:
        """Seconds since it was re-armed."""
        return self.initial - self.present


class WatchdogError(Exception):
    """A BMC's answer about its watchdog timer that is none: one clear line."""


def parse(data: bytes) -> Timer:
    """The answer to Get Watchdog Timer (IPMI 2.0, 27.7). Raises WatchdogError."""
    if len(data) < 8:
        raise WatchdogError(f"garbage about its watchdog timer: {len(data)} bytes, expected 8")
    use = data[0] & 0x07
    timer = Timer(
        running=bool(data[0] & _RUNNING),
        use=use,
        expired=bool(data[3] >> use & 1) if use else False,
        initial=int.from_bytes(data[4:6], "little") / _TENTHS,
        present=int.from_bytes(data[6:8], "little") / _TENTHS,
    )
    if timer.running and not timer.initial:
        raise WatchdogError("garbage about its watchdog timer: it runs, with nothing to count down from")
    if timer.running and timer.present > timer.initial:
        raise WatchdogError(
            f"garbage about its watchdog timer: {timer.present:g} s left of {timer.initial:g} s"
        )
    return timer


def judge(timer: Timer, threshold: float) -> tuple[Verdict, str]:
    """What the timer says about the host's operating system, and the evidence.

    A timer that the BIOS has set, or has set for the loading of the OS, is not re-armed by design, and tells
    nothing unless it has run out in the latter use.
    """
    if timer.running:
        if timer.use not in (4, 5):
            what = _USES.get(timer.use, f"something unknown ({timer.use})")
            return Verdict.UNKNOWN, f"its watchdog timer watches over {what}, not over a running system"
        if timer.age <= threshold:
            return Verdict.OK, f"watchdog timer re-armed {timer.age:.1f} s ago"
        return (
            Verdict.FAILED,
            f"watchdog timer not re-armed for {timer.age:.1f} s, {timer.present:.1f} s left",
        )
    if timer.expired and timer.use >= _OS_LOAD:
        return Verdict.FAILED, f"watchdog timer of {timer.initial:g} s has run out"
    return Verdict.UNKNOWN, "its watchdog timer does not run"


class OsWatchdogDetector:
    """Reads the watchdog timer of a host's BMC. Thread-safe; a read takes at most about ``timeout`` s.

    ``threshold`` is how many seconds it may go without being re-armed.
    """

    layer = Layer.OS

    def __init__(self, timeout: float, threshold: float) -> None:
        self._timeout = timeout
        self._threshold = threshold

    def read(self, host: Host) -> Reading:
        """OK: re-armed of late. FAILED: not, or it has run out. UNKNOWN: it does not run, cannot be read, or
        there is none. Never raises.

        ``answered`` when OK: only a living host re-arms it, even if nothing else of it is heard.
        """
        verdict, evidence = self._look(host)
        return Reading(host.name, self.layer, verdict, evidence, time.time(), answered=verdict is Verdict.OK)

    def _look(self, host: Host) -> tuple[Verdict, str]:
        if host.bmc is None:
            return Verdict.UNKNOWN, "host has no BMC"
        client = BmcClient(host.bmc, self._timeout)
        try:
            return judge(parse(client.ask(_APP, _GET_WATCHDOG)), self._threshold)
        except BmcError as error:
            return Verdict.UNKNOWN, str(error)
        except WatchdogError as error:
            return Verdict.UNKNOWN, f"{client.name}: {error}"
        except Exception as error:  # noqa: BLE001 - a detector never raises
            return Verdict.UNKNOWN, f"{client.name}: {type(error).__name__}: {error}"


def rearmed_since(
    bmc: Bmc,
    gap: float,
    timeout: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str | None:
    """Looks twice at the watchdog timer, ``gap`` seconds apart: who re-arms it in between is alive.

    Takes at most about ``gap`` plus twice ``timeout`` seconds and never raises.

    Returns:
        A text when somebody re-armed or started it, or, beginning with "cannot ", when the BMC fell silent
        over it: then nobody knows. None when nobody did, or when there is no such timer or it does not run.
    """
    client = BmcClient(bmc, timeout)
    try:
        first = parse(client.ask(_APP, _GET_WATCHDOG))
        # From the answer to the next question: as long as surely passed between the two readings.
        seen = clock()
        sleep(gap)
        passed = clock() - seen
        second = parse(client.ask(_APP, _GET_WATCHDOG))
    except BmcError as error:
        # A BMC that refuses has no such timer; one that does not answer may have one that is re-armed.
        return f"cannot read its watchdog timer: {error}" if error.code is None else None
    except Exception:  # noqa: BLE001 - whatever a BMC does, it does not tell then
        return None
    return rearmed_between(first, second, passed)


def rearmed_between(first: Timer, second: Timer, passed: float) -> str | None:
    """A text when the second look, at least ``passed`` seconds after the first, proves that the timer was
    re-armed or started in between; None when it does not."""
    if not second.running:
        return None
    if not first.running:
        return f"its watchdog timer was started within {passed:.1f} s"
    fallen = first.present - second.present
    changed = second.initial != first.initial
    if changed or fallen < _SHARE * passed:
        return f"its watchdog timer was re-armed within {passed:.1f} s: {second.present:.1f} s left"
    return None
