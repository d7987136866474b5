"""The symptom table: which pattern of readings is which fault, and which playbook remedies it.

The table is data (`symptoms.yml`) that an operator can read and extend; this module gives it a type and
says all that is wrong with it at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hass_runtime.domain import Layer


class Sign(str, Enum):
    """How a layer of a host looks after debouncing.

    ``missing`` is a failure still below its threshold; ``silent`` and ``complaining`` are both failures:
    nothing answered, or the host itself answered that something is wrong.
    """

    OK = "ok"
    MISSING = "missing"
    SILENT = "silent"
    COMPLAINING = "complaining"
    UNKNOWN = "unknown"


# What an operator may write for a layer; `failed` covers both kinds of failure.
_WORDS: dict[str, frozenset[Sign]] = {
    **{sign.value: frozenset({sign}) for sign in Sign},
    "failed": frozenset({Sign.SILENT, Sign.COMPLAINING}),
    "any": frozenset(Sign),
}


@dataclass(frozen=True)
class Symptom:
    """One row: when every layer in ``when`` shows one of its signs, the fault is ``fault``.

    ``remedy`` names a remediation playbook, or is empty for a fault that is only reported. ``patient``
    rows must hold for `network_transient_time` seconds before they count: the network may come back.
    """

    fault: str
    layer: Layer
    when: Mapping[Layer, frozenset[Sign]]
    why: str
    remedy: str = ""
    patient: bool = False

    def matches(self, signs: Mapping[Layer, Sign]) -> bool:
        """True when every layer that the row names shows one of the signs it asks for."""
        return all(signs.get(layer, Sign.UNKNOWN) in wanted for layer, wanted in self.when.items())


class SymptomError(ValueError):
    """The table cannot be used; ``problems`` lists every reason, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass
class _Reader:
    source: str
    problems: list[str] = field(default_factory=list)

    def complain(self, row: int, text: str) -> None:
        self.problems.append(f"{self.source}: row {row}: {text}")


_KEYS = {"fault", "layer", "when", "why", "remedy", "patient"}


def parse(data: Any, source: str, remedies: frozenset[str]) -> tuple[Symptom, ...]:
    """Turn the loaded YAML of a table into rows.

    Args:
        data: a list of mappings, as in `symptoms.yml`.
        source: the file's name, for messages.
        remedies: names of the playbooks that exist.

    Raises:
        SymptomError: with every problem found.
    """
    reader = _Reader(source)
    if not isinstance(data, list) or not data:
        raise SymptomError([f"{source}: expected a list of rows, got {type(data).__name__}"])
    rows = [_row(reader, number, raw, remedies) for number, raw in enumerate(data, start=1)]
    if reader.problems:
        raise SymptomError(reader.problems)
    return tuple(row for row in rows if row is not None)


def _row(reader: _Reader, number: int, raw: Any, remedies: frozenset[str]) -> Symptom | None:
    if not isinstance(raw, dict):
        reader.complain(number, f"expected a mapping with {', '.join(sorted(_KEYS))}, got {raw!r}")
        return None
    before = len(reader.problems)
    for unknown in sorted(set(map(str, raw)) - _KEYS):
        reader.complain(number, f"unknown key '{unknown}', expected one of {', '.join(sorted(_KEYS))}")
    for key in ("fault", "why"):
        if not isinstance(raw.get(key), str) or not raw[key].strip():
            reader.complain(number, f"key '{key}': expected a text, got {raw.get(key)!r}")
    layer = _layer(reader, number, "layer", raw.get("layer"))
    when = _when(reader, number, raw.get("when"))
    remedy = raw.get("remedy", "")
    if remedy not in remedies | {""}:
        known = ", ".join(sorted(remedies)) or "none"
        reader.complain(number, f"key 'remedy': no playbook '{remedy}' (known: {known})")
    patient = raw.get("patient", False)
    if not isinstance(patient, bool):
        reader.complain(number, f"key 'patient': expected true or false, got {patient!r}")
    if len(reader.problems) > before or layer is None:
        return None
    return Symptom(raw["fault"].strip(), layer, when, " ".join(raw["why"].split()), remedy, patient)


def _layer(reader: _Reader, number: int, key: str, value: Any) -> Layer | None:
    try:
        return Layer(value)
    except ValueError:
        names = ", ".join(layer.value for layer in Layer)
        reader.complain(number, f"key '{key}': expected a layer ({names}), got {value!r}")
        return None


def _when(reader: _Reader, number: int, raw: Any) -> dict[Layer, frozenset[Sign]]:
    if not isinstance(raw, dict) or not raw:
        reader.complain(number, f"key 'when': expected a mapping of layers to signs, got {raw!r}")
        return {}
    when: dict[Layer, frozenset[Sign]] = {}
    for name, words in raw.items():
        layer = _layer(reader, number, "when", name)
        signs: set[Sign] = set()
        for word in words if isinstance(words, list) else [words]:
            if not isinstance(word, str) or word not in _WORDS:
                expected = ", ".join(_WORDS)
                reader.complain(number, f"layer '{name}': expected one of {expected}, got {word!r}")
            else:
                signs |= _WORDS[word]
        if layer is not None:
            when[layer] = frozenset(signs)
    return when
