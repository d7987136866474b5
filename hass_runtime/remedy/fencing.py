"""The fence: the proof that a host is off, without which nothing of it may be evacuated.

Proof is, in this order: an off command that the BMC accepted, then ``reads`` readings of "off" in a row, then
silence on every layer. A reset or a power cycle is no fence. A host that still answers is not off, whatever
its BMC says. The proof is of one moment: OffWatch looks again, before each instance that is moved.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Protocol

MIN_READS = 2
RESEND_AFTER = 10.0
"""Seconds after which a host that still reads on is told again: a BMC may lose a command."""

FUTURE_SLACK = 5.0
"""By how much a proof may seem to be from the future, because a clock was set back meanwhile."""

DEAF = "cannot "
"""How words begin that tell of no sign of life, only that nobody could listen for one."""


class FenceError(Exception):
    """The host is not proven off: in doubt. One line; the operator has to look."""


class PowerControl(Protocol):
    """What the fence needs of a BMC. Every call is bounded in time and raises on failure."""

    def power(self) -> str: ...

    def power_off(self) -> None: ...


@dataclass(frozen=True)
class PowerReading:
    """One answer of the BMC: "on", "off", or what went wrong instead of an answer."""

    at: float
    value: str


@dataclass(frozen=True)
class FenceProof:
    """Why the host is known to be off. Times are seconds since the epoch, UTC.

    ``was_on`` is None when the BMC could not tell before the command; ``sent_off_at`` is when the BMC
    accepted it; ``off_complaint`` is what it last said to the command before that, "" when it took the first.
    """

    host: str
    bmc: str
    was_on: bool | None
    sent_off_at: float
    reads: tuple[PowerReading, ...]
    silent_at: float
    off_complaint: str = ""

    def words(self) -> str:
        """The proof as a person reads it."""
        told = ", ".join(f"{read.value} at {_clock_face(read.at)}" for read in self.reads)
        return (
            f"{self.host} is off: after the off command of {_clock_face(self.sent_off_at)} its BMC said "
            f"{told}; silent on every layer at {_clock_face(self.silent_at)}"
            + (
                f" (to an earlier off command the BMC said: {self.off_complaint})"
                if self.off_complaint
                else ""
            )
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as modules return it and incidents keep it."""
        return {
            "host": self.host,
            "bmc": self.bmc,
            "was_on": self.was_on,
            "sent_off_at": self.sent_off_at,
            "reads": [{"at": read.at, "value": read.value} for read in self.reads],
            "silent_at": self.silent_at,
            "off_complaint": self.off_complaint,
        }


def check_proof(proof: Mapping[str, Any], host: str, reads: int, now: float, max_age: float) -> None:
    """Refuse a proof of another host, with too few readings, out of order, too old or of the future.

    Raises FenceError. Whoever evacuates calls this first, so that no order of tasks can leave the fence out.
    """
    problem = ""
    try:
        taken = [(float(read["at"]), str(read["value"])) for read in proof["reads"]]
        times = [float(proof["sent_off_at"]), float(proof["silent_at"]), *(at for at, _ in taken)]
        if proof["host"] != host:
            problem = f"it is about {proof['host']}"
        elif len(taken) < max(reads, MIN_READS) or any(value != "off" for _, value in taken):
            problem = f"it holds {sum(value == 'off' for _, value in taken)} readings of off, needs {reads}"
        elif not all(math.isfinite(at) for at in times):
            problem = "a time of it is none"
        elif max(times) > now + FUTURE_SLACK:
            problem = f"it is from {max(times) - now:.0f} s in the future"
        elif any(at < float(proof["sent_off_at"]) for at, _ in taken):
            problem = "a reading is older than the off command"
        elif float(proof["silent_at"]) < float(proof["sent_off_at"]):
            problem = "the host was not found silent after the off command"
        elif now - float(proof["sent_off_at"]) > max_age:
            problem = (
                f"it is {now - float(proof['sent_off_at']):.0f} s old, at most {max_age:.0f} s are accepted"
            )
    except (KeyError, TypeError, ValueError) as error:
        problem = f"it is incomplete ({type(error).__name__}: {error})"
    if problem:
        raise FenceError(f"{host} is not proven off, nothing is evacuated: no valid fence proof, {problem}")


@dataclass(frozen=True)
class Watch:
    """The readings of off in a row so far. Pure: whoever reads the BMC feeds it."""

    needed: int
    streak: tuple[PowerReading, ...] = ()
    last: str = ""
    doubt: str = "no reading yet"

    def fed(self, reading: PowerReading) -> Watch:
        """With one more reading; anything but off begins the count anew."""
        if reading.value == "off":
            return replace(self, streak=(*self.streak, reading), last=reading.value)
        return replace(self, streak=(), last=reading.value, doubt=f"the BMC says {reading.value}")

    def broken(self, why: str) -> Watch:
        """Begun anew because the host gave a sign of life."""
        return replace(self, streak=(), last=why, doubt=why)

    @property
    def complete(self) -> bool:
        return len(self.streak) >= self.needed


def fence(
    host: str,
    bmc: PowerControl | None,
    still_answers: Callable[[], str | None],
    *,
    reads: int = MIN_READS,
    interval: float = 0.5,
    deadline: float = 60.0,
    bmc_name: str = "",
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> FenceProof:
    """Power a host off and prove it, or raise FenceError within ``deadline`` seconds (plus one bounded call).

    ``still_answers`` returns the sign of life that the host gave on some layer, or None when all were asked
    and all were silent. ``reads`` below 2 is raised to 2. ``interval`` is the time between readings.
    """
    if bmc is None:
        raise FenceError(f"{host} has no BMC: no proof possible that it is off, nothing is evacuated")
    began = clock()
    before = _read(bmc, wall)
    watch = Watch(max(reads, MIN_READS))
    sent_off_at = 0.0
    complaint = ""
    accepted = False
    last_try: float | None = None
    ears: Future[str | None] | None = None
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="silence") as pool:
        while True:
            # Until the BMC takes the command no reading counts: a host that somebody else is power-cycling
            # reads off for a while, too.
            stubborn = watch.last == "on" and last_try is not None and clock() - last_try >= RESEND_AFTER
            if not accepted or stubborn:
                last_try = clock()
                refusal = _send_off(bmc)
                accepted = not refusal
                complaint = refusal or complaint
                sent_off_at = wall()
            reading = _read(bmc, wall)
            watch = watch.fed(reading) if accepted else watch.broken(_unaccepted(reading, complaint))
            if len(watch.streak) == 1:
                # Listening takes seconds; it may run beside the readings that are still to come.
                ears = pool.submit(still_answers)
            if watch.complete and ears is not None:
                sign = _listened(ears.result)
                ears = None
                if sign is None:
                    return FenceProof(
                        host, bmc_name, _was_on(before), sent_off_at, watch.streak, wall(), complaint
                    )
                watch = watch.broken(f"the BMC says off, but the host still answers: {sign}")
            if clock() - began + interval > deadline:
                raise FenceError(f"{host} in doubt: not proven off within {deadline:g} s; {watch.doubt}")
            sleep(interval)


@dataclass(frozen=True)
class Look:
    """Whether the host is still off. ``final``: it will not count as off again without a new fence."""

    off: bool
    words: str = ""
    final: bool = False


class OffWatch:
    """Whether a host that was proven off still is: its BMC says off and it is silent on every layer.

    Threads share one: a look is taken by one of them at a time and serves all for ``every`` seconds. A host
    that was seen on, or that gave a sign of life, is not off any more, whatever it looks like later: somebody
    is at it. A BMC that does not answer, or a layer that cannot be asked, is no proof either; after
    ``patience`` seconds of that it is given up.
    """

    def __init__(
        self,
        host: str,
        bmc: PowerControl | None,
        still_answers: Callable[[], str | None],
        *,
        every: float = 1.0,
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._bmc = bmc
        self._still_answers = still_answers
        self._every = every
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._last: Look | None = None
        self._at = 0.0
        self._unseen_since: float | None = None

    def __call__(self) -> Look:
        """A look that is at most ``every`` seconds old. Never raises."""
        with self._lock:
            if self._last is None or (not self._last.final and self._clock() - self._at >= self._every):
                self._last = self._look()
                self._at = self._clock()
            return self._last

    def _look(self) -> Look:
        if self._bmc is None:
            return Look(False, f"{self._host} has no BMC: it cannot be seen off", final=True)
        began = self._clock()
        sign = _listened(self._still_answers)
        power = read_power(self._bmc)  # last, because it is the quicker one: what it says is the newest
        if power == "off" and sign is None:
            self._unseen_since = None
            return Look(True)
        back = f"{self._host} came back during its evacuation"
        if power == "on":
            return Look(False, f"{back}: its BMC says on", final=True)
        if sign is not None and not sign.startswith(DEAF):
            return Look(False, f"{back}: it answers ({sign})", final=True)
        if self._unseen_since is None:
            self._unseen_since = began
        said = sign if power == "off" else f"its BMC says {power}"
        return Look(
            False,
            f"{self._host} cannot be seen off any more during its evacuation: {said}",
            final=self._clock() - self._unseen_since >= self._patience,
        )


def read_power(bmc: PowerControl) -> str:
    """ "on", "off", or in words why the BMC does not tell. Never raises."""
    return _read(bmc, time.time).value


def _unaccepted(reading: PowerReading, complaint: str) -> str:
    return f"the BMC says {reading.value}; to the off command the BMC said: {complaint}"


def _send_off(bmc: PowerControl) -> str:
    try:
        bmc.power_off()
    except Exception as error:  # noqa: BLE001 - a command that was not accepted, whyever
        return _words(error)
    return ""


def _read(bmc: PowerControl, wall: Callable[[], float]) -> PowerReading:
    try:
        value = bmc.power()
    except Exception as error:  # noqa: BLE001 - no reading is a reading that is not "off"
        value = _words(error)
    return PowerReading(wall(), value)


def _listened(listen: Callable[[], str | None]) -> str | None:
    try:
        return listen()
    except Exception as error:  # noqa: BLE001 - who cannot listen has not heard silence
        return f"{DEAF}listen: {_words(error)}"


def _was_on(before: PowerReading) -> bool | None:
    return {"on": True, "off": False}.get(before.value)


def _clock_face(at: float) -> str:
    moment = datetime.fromtimestamp(at, tz=timezone.utc)
    return moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 1000:03d}"


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
