"""Times, durations and other people's words, fit for a person to read. Pure."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Directions that turn the text after them around: fine in a book, a trick in a name.
_TURNING = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)}


def plain(value: object) -> str:
    """Text on one line without control characters: evidence and names come from hosts, Nova and networks."""
    text = "" if value is None else str(value)
    return " ".join("".join(_plain(character) for character in text).split())


def _plain(character: str) -> str:
    if character.isspace():
        return " "
    if character in _TURNING:
        return ""
    return "\N{REPLACEMENT CHARACTER}" if unicodedata.category(character) in ("Cc", "Cs", "Cn") else character


def seconds(text: object) -> float | None:
    """An ISO 8601 time as seconds since the epoch; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=timezone.utc)
    return (at - EPOCH).total_seconds()


def span(duration: float | None) -> str:
    """A duration in the units that a person would use; "" for none."""
    if duration is None or not math.isfinite(duration):
        return ""
    if duration < 0:
        return "-" + span(-duration)
    if duration < 59.95:
        return f"{duration:.1f} s"
    whole = round(duration)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def offset(duration: float | None) -> str:
    """How long after the beginning, with its sign."""
    if duration is None:
        return ""
    return span(duration) if duration < 0 else "+" + span(duration)


def clock(at: float | None, pattern: str = "%H:%M:%S", *, local: bool = False) -> str:
    """A time as UTC, or as this machine's own; "" for none."""
    if at is None:
        return ""
    try:
        moment = EPOCH + timedelta(seconds=at)
        return (moment.astimezone() if local else moment).strftime(pattern)
    except (OverflowError, ValueError, OSError):
        return ""


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def join(items: Sequence[str]) -> str:
    """a, b and c."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1] if items else ""
