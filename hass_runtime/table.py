"""Reads a symptom table from its file: with the line of each mistake, and what is odd about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from hass_runtime.decide import symptoms
from hass_runtime.decide.symptoms import Symptom, SymptomError
from hass_runtime.remedy.playbooks import Shelf

SHIPPED = "symptoms.yml"


@dataclass(frozen=True)
class Table:
    """A table that can be used. ``source`` is the file's name; ``oddities`` are lines for a person."""

    source: str
    rows: tuple[Symptom, ...]
    oddities: tuple[str, ...] = ()


def read_table(path: Path | None, shelf: Shelf, numbers: Mapping[str, int]) -> Table:
    """The operator's table, or, without a path, the one that comes with HASS.

    Args:
        shelf: the playbooks that a ladder may name.
        numbers: what may stand for a number of tries, such as wait_restart_threshold.

    Raises:
        SymptomError: with every problem of the file and of the operator's own playbooks, one line each.
    """
    source = str(path) if path else SHIPPED
    problems = shelf.problems()
    try:
        data, lines, doubles = _load(_text(path), source)
        problems += doubles
        rows = symptoms.parse(data, source, shelf.rungs(), numbers, lines)
    except SymptomError as error:
        raise SymptomError([*problems, *error.problems]) from error
    if problems:
        raise SymptomError(problems)
    odd = tuple(
        f"{source}:{lines.get((number, ''), 0)}: row {number}: {text}"
        for number, text in symptoms.oddities(rows)
    )
    return Table(source, rows, odd)


def _text(path: Path | None) -> str:
    try:
        if path is not None:
            return path.read_text(encoding="utf-8")
        return resources.files("hass_runtime.decide").joinpath(SHIPPED).read_text(encoding="utf-8")
    except OSError as error:
        raise SymptomError([f"{path or SHIPPED}: cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise SymptomError([f"{path or SHIPPED}: is not YAML: it is not in UTF-8"]) from error


def _load(text: str, source: str) -> tuple[Any, dict[tuple[int, str], int], list[str]]:
    """The data, the line of each (row, key) and of each row under (row, ""), and what is in it twice."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: a date such as 2024-99-99.
        raise SymptomError([f"{source}: is not YAML: {' '.join(str(error).split())}"]) from error
    lines: dict[tuple[int, str], int] = {}
    doubles: list[str] = []
    rows = root.value if isinstance(root, yaml.SequenceNode) else []
    for number, row in enumerate(rows, start=1):
        lines[number, ""] = row.start_mark.line + 1
        for name, key, value in _keys(row):
            line = key.start_mark.line + 1
            if (number, name) in lines:
                doubles.append(f"{source}:{line}: row {number}: key '{name}': is there twice, expected once")
            lines[number, name] = line
            if name == "when":
                doubles += _double_layers(value, source, number)
    return data, lines, doubles


def _double_layers(when: yaml.Node, source: str, number: int) -> Iterator[str]:
    seen: set[str] = set()
    for name, key, _ in _keys(when):
        if name in seen:
            where = f"{source}:{key.start_mark.line + 1}: row {number}"
            yield f"{where}: key 'when': layer '{name}' is there twice, expected once, with a list of signs"
        seen.add(name)


def _keys(node: yaml.Node) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (str(key.value) if isinstance(key, yaml.ScalarNode) else ""), key, value
