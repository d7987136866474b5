"""The fence: switches a host off and proves it, without which nothing of it may be evacuated.

Proof is, in this order: an off command that the BMC accepted, then ``reads`` readings of "off" in a row, then
silence on every layer. A reset or a power cycle is no fence. A host that still answers is not off, whatever
its BMC says. The proof is of one moment: OffWatch looks again, before each instance that is moved.

A BMC that said off before it was told to was not seen to obey: it may lie about a host that is only cut off.
Then it is asked for its watchdog timer, too: what somebody re-arms is not off.

A person who has seen to it that the host is off may stand in for a BMC that there is not, that cannot be read
or that obeys nothing: then the proof is their word and silence on every layer, listened to twice. The BMC is
asked first all the same. One that says on outweighs any word, and so does a host that answers: people mix up
machines.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

from hass_runtime.remedy.proof import MIN_READS, FenceError, FenceProof, PowerReading, Word, stale

RESEND_AFTER = 10.0
"""Seconds after which a host that still reads on is told again: a BMC may lose a command."""

WORD_GAP = 5.0
"""Seconds between the two times that a host is listened for which only a person's word says is off."""

DEAF = "cannot "
"""How words begin that tell of no sign of life, only that nobody could listen for one."""


class InDoubt(FenceError):
    """The BMC did not prove it. ``against``: what it, or the host, said that no person's word outweighs."""

    def __init__(self, message: str, against: str = "") -> None:
        super().__init__(message)
        self.against = against


class PowerControl(Protocol):
    """What the fence needs of a BMC. Every call is bounded in time and raises on failure."""

    def power(self) -> str: ...

    def power_off(self) -> None: ...


@dataclass(frozen=True)
class Watch:
    """The readings of off in a row so far. Pure: whoever reads the BMC feeds it.

    ``against`` is what tells that it is on, not only that nobody knows: the BMC said on and has not said off
    to an accepted command since, or the host answered.
    """

    needed: int
    streak: tuple[PowerReading, ...] = ()
    last: str = ""
    doubt: str = "no reading yet"
    said_on: bool = False
    answered: str = ""

    def fed(self, reading: PowerReading) -> Watch:
        """With one more reading; anything but off begins the count anew."""
        if reading.value == "off":
            return replace(self, streak=(*self.streak, reading), last=reading.value, said_on=False)
        doubt = f"the BMC says {reading.value}"
        return self._anew(reading.value, doubt, said_on=self.said_on or reading.value == "on")

    def refused(self, reading: PowerReading, complaint: str) -> Watch:
        """With one more reading of a BMC that has not accepted the off command: it counts only against it."""
        doubt = f"the BMC says {reading.value}; to the off command the BMC said: {complaint}"
        return self._anew(doubt, doubt, said_on=self.said_on or reading.value == "on")

    def heard(self, sign: str) -> Watch:
        """With a sign of life, or without anybody being able to listen for one."""
        doubt = f"the BMC says off, but the host still answers: {sign}"
        answered = self.answered if sign.startswith(DEAF) else f"it still answers ({sign})"
        return self._anew(doubt, doubt, answered=answered)

    def _anew(self, last: str, doubt: str, **changes: Any) -> Watch:
        return replace(self, streak=(), last=last, doubt=doubt, **changes)

    @property
    def against(self) -> str:
        return "the BMC says on" if self.said_on else self.answered

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
    word: Word | None = None,
    max_age: float = 1800.0,
    rearmed: Callable[[], str | None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    pool: Callable[..., Executor] = ThreadPoolExecutor,
) -> FenceProof:
    """Power a host off and prove it, or raise FenceError within ``deadline`` seconds (plus one bounded call).

    ``still_answers`` returns the sign of life that the host gave on some layer, or None when all were asked
    and all were silent. ``reads`` below 2 is raised to 2. ``interval`` is the time between readings. ``word``
    is a person's, at most ``max_age`` seconds old: it counts only where the BMC proves nothing. ``rearmed``
    tells, after some time, whether the host re-arms its BMC's watchdog timer: in words, or None.
    """
    if bmc is None and word is None:
        raise FenceError(f"{host} has no BMC: no proof possible that it is off, nothing is evacuated")
    doubt = f"{host} has no BMC"
    if bmc is not None:
        try:
            return _by_power(
                host,
                bmc,
                (still_answers,) if rearmed is None else (still_answers, rearmed),
                max(reads, MIN_READS),
                interval,
                deadline,
                bmc_name,
                clock,
                wall,
                sleep,
                pool,
            )
        except InDoubt as error:
            if word is None:
                raise
            if error.against:
                raise FenceError(
                    f"{host} in doubt: {error.against}; that {word.by} confirmed it as off does not count"
                ) from error
            doubt = str(error)
    assert word is not None
    # The quick one last: what it says is the newest. A BMC that is silent is what the word stands in for.
    listens = (still_answers,) if rearmed is None else (_unless_deaf(rearmed), still_answers)
    proof = _by_word(host, word, listens, doubt, max_age, bmc_name, wall, sleep)
    if bmc is not None and _read(bmc, wall).value == "on":  # it may be able to tell again by now
        raise FenceError(f"{host} in doubt: {word.by} confirmed it as off, but its BMC says on")
    return proof


def _by_power(
    host: str,
    bmc: PowerControl,
    listens: tuple[Callable[[], str | None], ...],
    reads: int,
    interval: float,
    deadline: float,
    bmc_name: str,
    clock: Callable[[], float],
    wall: Callable[[], float],
    sleep: Callable[[float], None],
    pool: Callable[..., Executor],
) -> FenceProof:
    began = clock()
    before = _read(bmc, wall)
    watch = Watch(reads)
    sent_off_at = 0.0
    complaint = ""
    accepted = False
    last_try: float | None = None
    if before.value == "on":  # then it will be seen to obey
        listens = listens[:1]
    ears: list[Future[str | None]] = []
    with pool(max_workers=len(listens), thread_name_prefix="silence") as listeners:
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
            watch = watch.fed(reading) if accepted else watch.refused(reading, complaint)
            if len(watch.streak) == 1:
                # Listening takes seconds; it may run beside the readings that are still to come.
                ears = [listeners.submit(listen) for listen in listens]
            if watch.complete and ears:
                sign = _first_sign([ear.result for ear in ears])
                ears = []
                if sign is None:
                    return FenceProof(
                        host, bmc_name, _was_on(before), sent_off_at, watch.streak, wall(), complaint
                    )
                watch = watch.heard(sign)
            if clock() - began + interval > deadline:
                raise InDoubt(
                    f"{host} in doubt: not proven off within {deadline:g} s; {watch.doubt}", watch.against
                )
            sleep(interval)


def _by_word(
    host: str,
    word: Word,
    listens: tuple[Callable[[], str | None], ...],
    doubt: str,
    max_age: float,
    bmc_name: str,
    wall: Callable[[], float],
    sleep: Callable[[float], None],
) -> FenceProof:
    """Proof by a person, for a host whose BMC has nothing to say against it. Raises FenceError."""
    _refuse_old(word, wall(), max_age, doubt)
    heard: list[float] = []
    while len(heard) < MIN_READS:
        if heard:
            sleep(WORD_GAP)
        at = wall()  # as it was when the listening began: the proof must not look newer than it is
        sign = _first_sign(listens)
        if sign is not None:
            said = sign if sign.startswith(DEAF) else f"it still answers: {sign}"
            raise FenceError(f"{host} in doubt: {word.by} confirmed it as off, but {said}")
        heard.append(at)
    _refuse_old(word, wall(), max_age, doubt)  # listening took its time, and nobody would accept the proof
    return FenceProof(host, bmc_name, None, None, (), heard[-1], person=word, heard=tuple(heard))


def _refuse_old(word: Word, now: float, max_age: float, doubt: str) -> None:
    if old := stale(word, now, max_age):
        raise FenceError(f"{doubt}; {old}: confirm it anew")


@dataclass(frozen=True)
class Look:
    """Whether the host is still off. ``final``: it will not count as off again without a new fence."""

    off: bool
    words: str = ""
    final: bool = False


class OffWatch:
    """Whether a host that was proven off still is: its BMC says off and it is silent on every layer.

    ``by_word``: a person proved it, so a BMC that there is not or that does not answer is nothing new, and
    silence alone will do. One that says on ends it all the same.

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
        by_word: bool = False,
        every: float = 1.0,
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._by_word = by_word
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
        if self._bmc is None and not self._by_word:
            return Look(False, f"{self._host} has no BMC: it cannot be seen off", final=True)
        began = self._clock()
        sign = _listened(self._still_answers)
        # Last, because it is the quicker one: what it says is the newest.
        power = read_power(self._bmc) if self._bmc is not None else "nothing, there is none"
        seen_off = power == "off" or (self._by_word and power != "on")
        if seen_off and sign is None:
            self._unseen_since = None
            return Look(True)
        back = f"{self._host} came back during its evacuation"
        if power == "on":
            return Look(False, f"{back}: its BMC says on", final=True)
        if sign is not None and not sign.startswith(DEAF):
            return Look(False, f"{back}: it answers ({sign})", final=True)
        if self._unseen_since is None:
            self._unseen_since = began
        said = sign if seen_off else f"its BMC says {power}"
        return Look(
            False,
            f"{self._host} cannot be seen off any more during its evacuation: {said}",
            final=self._clock() - self._unseen_since >= self._patience,
        )


def read_power(bmc: PowerControl) -> str:
    """ "on", "off", or in words why the BMC does not tell. Never raises."""
    return _read(bmc, time.time).value


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


def _first_sign(listens: Iterable[Callable[[], str | None]]) -> str | None:
    """Everybody is listened to; the first who heard something is believed."""
    return next((sign for sign in [_listened(listen) for listen in listens] if sign is not None), None)


def _unless_deaf(listen: Callable[[], str | None]) -> Callable[[], str | None]:
    def listened() -> str | None:
        sign = _listened(listen)
        return None if sign is not None and sign.startswith(DEAF) else sign

    return listened


def _listened(listen: Callable[[], str | None]) -> str | None:
    try:
        return listen()
    except Exception as error:  # noqa: BLE001 - who cannot listen has not heard silence
        return f"{DEAF}listen: {_words(error)}"


def _was_on(before: PowerReading) -> bool | None:
    return {"on": True, "off": False}.get(before.value)


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
