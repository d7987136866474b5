"""The symptom table: which pattern of readings is which fault, and which playbooks remedy it.

The table is data (`symptoms.yml`) that an operator can read and extend; this module gives it a type and
says all that is wrong with it at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hass_runtime.domain import Layer


class Sign(str, Enum):
    """How a layer of a host looks after debouncing.

    ``missing`` is a failure or a warning still below its threshold; ``silent`` and ``complaining`` are both
    failures: nothing answered, or the host itself answered that something is wrong. ``doubted`` is the power
    of a host whose BMC was caught lying: it said off, and the host answered. ``rebooted`` is the operating
    system of a host that went down and came back, with which all that ran on it ended.
    """

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"
    SILENT = "silent"
    COMPLAINING = "complaining"
    UNKNOWN = "unknown"
    DOUBTED = "doubted"
    REBOOTED = "rebooted"


# What an operator may write for a layer; `failed` covers both kinds of failure.
WORDS: dict[str, frozenset[Sign]] = {
    **{sign.value: frozenset({sign}) for sign in Sign},
    "failed": frozenset({Sign.SILENT, Sign.COMPLAINING}),
    "any": frozenset(Sign),
}


_ONLY = {Sign.DOUBTED: Layer.POWER, Sign.REBOOTED: Layer.OS}


def shown_by(layer: Layer) -> frozenset[Sign]:
    """The signs that a layer can show at all: some are of one layer only."""
    return frozenset(sign for sign in Sign if _ONLY.get(sign, layer) is layer)


@dataclass(frozen=True)
class Rung:
    """One step of a ladder: a playbook, how often it is tried before the next rung, and how long one try may
    take (seconds; None: what the settings say for it).
    """

    playbook: str
    tries: int = 1
    deadline: float | None = None


@dataclass(frozen=True)
class Symptom:
    """One row: when every layer in ``when`` shows one of its signs, the fault is ``fault``.

    ``ladder`` are its remedies, the mildest first; empty for a fault that is only reported. ``patient`` rows
    must hold for `network_transient_time` seconds before they count: the network may come back.
    """

    fault: str
    layer: Layer
    when: Mapping[Layer, frozenset[Sign]]
    why: str
    ladder: tuple[Rung, ...] = ()
    patient: bool = False

    def matches(self, signs: Mapping[Layer, Sign]) -> bool:
        """True when every layer that the row names shows one of the signs it asks for."""
        for layer, wanted in self.when.items():  # noqa: SIM110 - twice as fast; for each host in each cycle
            if signs.get(layer, Sign.UNKNOWN) not in wanted:
                return False
        return True

    def covers(self, other: Symptom) -> bool:
        """True when this row matches whatever the other one does."""
        return all(
            wanted >= other.when.get(layer, shown_by(layer)) & shown_by(layer)
            for layer, wanted in self.when.items()
        )


class SymptomError(ValueError):
    """The table cannot be used; ``problems`` lists every reason, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass
class _Reader:
    source: str
    remedies: frozenset[str]
    numbers: Mapping[str, int]
    lines: Mapping[tuple[int, str], int]
    problems: list[str] = field(default_factory=list)

    def complain(self, row: int, text: str, key: str = "") -> None:
        line = self.lines.get((row, key), self.lines.get((row, "")))
        where = f"{self.source}:{line}" if line else self.source
        self.problems.append(f"{where}: row {row}: {text}")


_KEYS = {"fault", "layer", "when", "why", "remedy", "patient"}
_RUNG_KEYS = {"playbook", "tries", "deadline"}


def parse(
    data: Any,
    source: str,
    remedies: frozenset[str],
    numbers: Mapping[str, int] | None = None,
    lines: Mapping[tuple[int, str], int] | None = None,
) -> tuple[Symptom, ...]:
    """Turn the loaded YAML of a table into rows.

    Args:
        data: a list of mappings, as in `symptoms.yml`.
        source: the file's name, for messages.
        remedies: names of the playbooks that exist.
        numbers: what may stand for a number of tries, such as wait_restart_threshold.
        lines: the line of each (row, key) in the file, and of each row under (row, ""), for messages.

    Raises:
        SymptomError: with every problem found.
    """
    reader = _Reader(source, remedies, numbers or {}, lines or {})
    if not isinstance(data, list) or not data:
        raise SymptomError([f"{source}: expected a list of rows, got {type(data).__name__}"])
    rows = [_row(reader, number, raw) for number, raw in enumerate(data, start=1)]
    if reader.problems:
        raise SymptomError(reader.problems)
    return tuple(row for row in rows if row is not None)


def _row(reader: _Reader, number: int, raw: Any) -> Symptom | None:
    if not isinstance(raw, dict):
        reader.complain(number, f"expected a mapping with {', '.join(sorted(_KEYS))}, got {raw!r}")
        return None
    before = len(reader.problems)
    for unknown in sorted(set(map(str, raw)) - _KEYS):
        reader.complain(
            number, f"unknown key '{unknown}', expected one of {', '.join(sorted(_KEYS))}", unknown
        )
    for key in ("fault", "why"):
        if not isinstance(raw.get(key), str) or not raw[key].strip():
            reader.complain(number, f"key '{key}': expected a text, got {raw.get(key)!r}", key)
    layer = _layer(reader, number, "layer", raw.get("layer"))
    when = _when(reader, number, raw.get("when"))
    ladder = _ladder(reader, number, raw.get("remedy", ""))
    patient = raw.get("patient", False)
    if not isinstance(patient, bool):
        reader.complain(number, f"key 'patient': expected true or false, got {patient!r}", "patient")
    if len(reader.problems) > before or layer is None:
        return None
    return Symptom(raw["fault"].strip(), layer, when, " ".join(raw["why"].split()), ladder, patient)


def _layer(reader: _Reader, number: int, key: str, value: Any) -> Layer | None:
    try:
        return Layer(value)
    except ValueError:
        names = ", ".join(layer.value for layer in Layer)
        reader.complain(number, f"key '{key}': expected a layer ({names}), got {value!r}", key)
        return None


def _when(reader: _Reader, number: int, raw: Any) -> dict[Layer, frozenset[Sign]]:
    if not isinstance(raw, dict) or not raw:
        reader.complain(number, f"key 'when': expected a mapping of layers to signs, got {raw!r}", "when")
        return {}
    when: dict[Layer, frozenset[Sign]] = {}
    for name, words in raw.items():
        layer = _layer(reader, number, "when", name)
        signs: set[Sign] = set()
        expected = ", ".join(WORDS)
        if words == []:
            reader.complain(number, f"layer '{name}': expected one or more of {expected}, got none", "when")
        for word in words if isinstance(words, list) else [words]:
            if not isinstance(word, str) or word not in WORDS:
                reader.complain(number, f"layer '{name}': expected one of {expected}, got {word!r}", "when")
            else:
                signs |= WORDS[word]
        if layer is not None:
            when[layer] = frozenset(signs)
    return when


def _ladder(reader: _Reader, number: int, raw: Any) -> tuple[Rung, ...]:
    if raw in ("", None):
        return ()
    rungs = [_rung(reader, number, each) for each in (raw if isinstance(raw, list) else [raw])]
    return tuple(rung for rung in rungs if rung is not None and rung.tries > 0)


def _rung(reader: _Reader, number: int, raw: Any) -> Rung | None:
    raw = {"playbook": raw} if not isinstance(raw, dict) else raw
    before = len(reader.problems)
    for unknown in sorted(set(map(str, raw)) - _RUNG_KEYS):
        expected = ", ".join(sorted(_RUNG_KEYS))
        reader.complain(
            number, f"key 'remedy': unknown key '{unknown}', expected one of {expected}", "remedy"
        )
    playbook = raw.get("playbook")
    if not isinstance(playbook, str) or playbook not in reader.remedies:
        known = ", ".join(sorted(reader.remedies)) or "none"
        reader.complain(number, f"key 'remedy': no playbook {playbook!r} (known: {known})", "remedy")
    tries = raw.get("tries", 1)
    tries = reader.numbers.get(tries, tries) if isinstance(tries, str) else tries
    if not isinstance(tries, int) or isinstance(tries, bool) or tries < 0:
        words = " or ".join(("a whole number, 0 or more", *sorted(reader.numbers)))
        reader.complain(number, f"key 'tries': expected {words}, got {raw.get('tries')!r}", "remedy")
    deadline = raw.get("deadline")
    if deadline is not None and (
        isinstance(deadline, bool) or not isinstance(deadline, (int, float)) or not 0 < deadline < 1e7
    ):
        reader.complain(number, f"key 'deadline': expected seconds above 0, got {deadline!r}", "remedy")
    if len(reader.problems) > before:
        return None
    return Rung(str(playbook), tries, None if deadline is None else float(deadline))


def oddities(rows: Sequence[Symptom]) -> list[tuple[int, str]]:
    """What is no mistake, and surely not meant: (number of the row, from 1; what is odd about it)."""
    found: list[tuple[int, str]] = []
    ladders: dict[str, tuple[int, tuple[Rung, ...]]] = {}
    for number, row in enumerate(rows, start=1):
        never = next((layer for layer, wanted in row.when.items() if not wanted & shown_by(layer)), None)
        above = next((n for n, other in enumerate(rows[: number - 1], start=1) if other.covers(row)), None)
        if never is not None:
            wanted = ", ".join(sorted(sign.value for sign in row.when[never]))
            found.append((number, f"can never match: layer {never.value} is never {wanted}"))
        elif above is not None:
            other = f"row {above} ({rows[above - 1].fault})"
            found.append((number, f"can never match: {other} above it matches everything that it does"))
        first, ladder = ladders.setdefault(row.fault, (number, row.ladder))
        if ladder != row.ladder:
            text = f"fault '{row.fault}' has another ladder in row {first}, and that one is used for both"
            found.append((number, text))
    return found
