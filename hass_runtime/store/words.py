"""Text on its way into the database: what both can hold, whatever a host, a task or Nova calls itself."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hass_runtime.domain import Layer, Reading, Verdict
from hass_runtime.store.records import StoreError

NAME_LIMIT = 255
WORD_LIMIT = 32
# MariaDB's TEXT holds 65,535 bytes; a character may take four.
TEXT_LIMIT = 16_000
# The readings are JSON in ASCII: a byte a character.
SEEN_LIMIT = 60_000
# Of a large cloud's hosts, so many are named in an error.
NAMED = 10


def clean(value: object) -> str:
    """Text without what UTF-8 or a database column cannot hold: lone surrogates and NUL."""
    return str(value).encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")


def name(value: object, what: str, limit: int = NAME_LIMIT) -> str:
    """A name that identifies something: never cut. Raises StoreError when it is too long or empty."""
    text = clean(value)
    if not text:
        raise StoreError(f"{what}: must not be empty")
    if len(text) > limit:
        raise StoreError(f"{what} {text[:40]!r}…: has {len(text)} characters, the limit is {limit}")
    return text


def known(value: object, names: Collection[str], what: str) -> str:
    """One of ``names``, compared whole and by case, which a database that pads with spaces does not do.

    ``what`` is "host" or "cluster". Raises StoreError, which names what was perhaps meant, and what is known.
    """
    text = clean(value)
    if text in names:
        return text
    folded = {each.casefold(): each for each in sorted(names)}
    close = difflib.get_close_matches(text.casefold(), folded, n=1)
    meant = f"; did you mean {folded[close[0]]}?" if close else ""
    some = sorted(names)[:NAMED]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    listed = f"known: {', '.join(some)}{more}" if some else f"no {what} is known yet"
    raise StoreError(f"{what} {_cut(text, 80)!r} is not known{meant or ';'} {listed}")


def short(value: object) -> str:
    """Text for a person in a column of 255 characters: cut with an ellipsis."""
    return _cut(clean(value), NAME_LIMIT)


def long(value: object) -> str:
    """Text for a person in a long column: cut with an ellipsis."""
    return _cut(clean(value), TEXT_LIMIT)


def key(value: object) -> str:
    """A key of any length; one that is too long keeps its beginning and gets a digest: two keys stay two."""
    text = clean(value)
    if len(text) <= NAME_LIMIT:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return text[: NAME_LIMIT - len(digest) - 1] + "." + digest


def dump_seen(seen: Iterable[Reading | Mapping[str, object]]) -> str:
    """The readings of a fault as JSON. Long evidence is cut, so that all of them fit the column."""
    items = [reading_mapping(item) if isinstance(item, Reading) else dict(item) for item in seen]
    text = json.dumps(items, default=str)
    share = SEEN_LIMIT // max(1, len(items))
    while len(text) > SEEN_LIMIT and share > 8:
        share //= 2
        items = [{k: _cut(v, share) if isinstance(v, str) else v for k, v in item.items()} for item in items]
        text = json.dumps(items, default=str)
    if len(text) > SEEN_LIMIT:
        raise StoreError(f"the {len(items)} readings of one fault do not fit the database")
    return text


def load_seen(text: str) -> tuple[Mapping[str, Any], ...]:
    return tuple(json.loads(text)) if text else ()


def reading_mapping(reading: Reading) -> dict[str, object]:
    return {
        "layer": Layer(reading.layer).value,
        "verdict": Verdict(reading.verdict).value,
        "evidence": clean(reading.evidence),
        "at": reading.at,
        "answered": reading.answered,
    }


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
