"""The proof that a host is off: by its BMC, or by the word of a person who has seen to it. Pure.

Whoever evacuates checks the proof first, so that no order of tasks can leave the fence out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

MIN_READS = 2
"""So many readings of off in a row a BMC has to give, and so often nobody may hear a host that has none."""

FUTURE_SLACK = 5.0
"""By how much a proof may seem to be from the future, because a clock was set back meanwhile."""


class FenceError(Exception):
    """The host is not proven off: in doubt. One line; the operator has to look."""


@dataclass(frozen=True)
class PowerReading:
    """One answer of the BMC: "on", "off", or what went wrong instead of an answer."""

    at: float
    value: str


@dataclass(frozen=True)
class Word:
    """A person confirmed that the host is off: who, why, and when (seconds since the epoch, UTC)."""

    by: str
    reason: str
    at: float


@dataclass(frozen=True)
class FenceProof:
    """Why the host is known to be off. Times are seconds since the epoch, UTC.

    By its BMC: ``was_on`` is None when it could not tell before the command; ``sent_off_at`` is when it
    accepted it; ``off_complaint`` is what it last said to the command before that, "" when it took the first.
    By a ``person``: there is no command and there are no readings. ``heard`` are the moments at which it was
    listened for, on every layer, and was silent; ``silent_at`` is the last one.
    """

    host: str
    bmc: str
    was_on: bool | None
    sent_off_at: float | None
    reads: tuple[PowerReading, ...]
    silent_at: float
    off_complaint: str = ""
    person: Word | None = None
    heard: tuple[float, ...] = ()

    def words(self) -> str:
        """The proof as a person reads it."""
        if self.person is not None:
            why = f" ({self.person.reason})" if self.person.reason else ""
            return (
                f"{self.host} is off: {self.person.by} confirmed it at {_clock_face(self.person.at)}{why}; "
                f"silent on every layer at {' and at '.join(_clock_face(at) for at in self.heard)}"
            )
        told = ", ".join(f"{read.value} at {_clock_face(read.at)}" for read in self.reads)
        return (
            f"{self.host} is off: after the off command of {_clock_face(self.sent_off_at or 0.0)} "
            f"its BMC said {told}; silent on every layer at {_clock_face(self.silent_at)}"
            + (
                f" (to an earlier off command the BMC said: {self.off_complaint})"
                if self.off_complaint
                else ""
            )
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as modules return it and incidents keep it. ``person`` is {} for a proof by the BMC."""
        return {
            "host": self.host,
            "bmc": self.bmc,
            "was_on": self.was_on,
            "sent_off_at": self.sent_off_at,
            "reads": [{"at": read.at, "value": read.value} for read in self.reads],
            "silent_at": self.silent_at,
            "off_complaint": self.off_complaint,
            "person": asdict(self.person) if self.person is not None else {},
            "heard": list(self.heard),
        }


def word_of(raw: Mapping[str, Any] | None) -> Word | None:
    """The argument ``confirmed``: {by, reason, at} as a Word, None when it is empty. Raises ValueError."""
    if not raw:
        return None
    by, at = raw.get("by"), raw.get("at")
    if not isinstance(by, str) or not by.strip():
        raise ValueError(f"by is {by!r}, expected the name of the person who confirmed it")
    if isinstance(at, bool) or not isinstance(at, (int, float, str)):
        raise ValueError(f"at is {at!r}, expected seconds since the epoch")
    try:
        moment = float(at)
    except ValueError:
        moment = math.nan
    if not math.isfinite(moment):
        raise ValueError(f"at is {at!r}, expected seconds since the epoch")
    return Word(" ".join(by.split()), " ".join(str(raw.get("reason") or "").split()), moment)


def stale(word: Word, now: float, max_age: float) -> str:
    """Why a person's word does not count now, "" when it does. ``max_age`` in seconds."""
    if word.at > now + FUTURE_SLACK:
        return f"what {word.by} confirmed is from {word.at - now:.0f} s in the future"
    if now - word.at > max_age:
        return f"what {word.by} confirmed is {now - word.at:.0f} s old, at most {max_age:.0f} s are accepted"
    return ""


def check_proof(proof: Mapping[str, Any], host: str, reads: int, now: float, max_age: float) -> None:
    """Refuse a proof of another host, with too few readings, out of order, too old or of the future.

    A person's word proves it only together with silence, heard after it was given. Raises FenceError.
    """
    try:
        if proof["host"] != host:
            problem = f"it is about {proof['host']}"
        elif proof.get("person"):
            problem = _wrong_with_word(proof, now, max_age)
        else:
            problem = _wrong_with_reads(proof, reads, now, max_age)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"it is incomplete ({type(error).__name__}: {error})"
    if problem:
        raise FenceError(f"{host} is not proven off, nothing is evacuated: no valid fence proof, {problem}")


def _wrong_with_word(proof: Mapping[str, Any], now: float, max_age: float) -> str:
    word = word_of(proof["person"])
    if word is None:
        return "nobody confirmed it"
    heard = [float(at) for at in proof["heard"]]
    times = [float(proof["silent_at"]), *heard]
    if not all(math.isfinite(at) for at in times):
        return "a time of it is none"
    if max(times) > now + FUTURE_SLACK:
        return f"it is from {max(times) - now:.0f} s in the future"
    if len(set(heard)) < MIN_READS:
        return f"it was found silent {len(set(heard))} times, needs {MIN_READS}"
    if min(times) < word.at:
        return f"the host was not found silent after {word.by} confirmed it"
    return stale(word, now, max_age)


def _wrong_with_reads(proof: Mapping[str, Any], reads: int, now: float, max_age: float) -> str:
    taken = [(float(read["at"]), str(read["value"])) for read in proof["reads"]]
    sent, silent = float(proof["sent_off_at"]), float(proof["silent_at"])
    times = [sent, silent, *(at for at, _ in taken)]
    if len(taken) < max(reads, MIN_READS) or any(value != "off" for _, value in taken):
        return f"it holds {sum(value == 'off' for _, value in taken)} readings of off, needs {reads}"
    if not all(math.isfinite(at) for at in times):
        return "a time of it is none"
    if max(times) > now + FUTURE_SLACK:
        return f"it is from {max(times) - now:.0f} s in the future"
    if any(at < sent for at, _ in taken):
        return "a reading is older than the off command"
    if silent < sent:
        return "the host was not found silent after the off command"
    if now - sent > max_age:
        return f"it is {now - sent:.0f} s old, at most {max_age:.0f} s are accepted"
    return ""


def _clock_face(at: float) -> str:
    moment = datetime.fromtimestamp(at, tz=timezone.utc)
    return moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
