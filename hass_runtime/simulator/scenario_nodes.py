"""Reads YAML as the person wrote it: with lines, and without turning names into something else.

YAML takes ``on`` for true, ``0123`` for 83 and ``1e3`` for a number. Here a scalar is its own spelling until
somebody asks for a number or a flag, so that a host may be called any of these. All problems are collected.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import yaml

from hass_runtime.settings import convert
from hass_runtime.settings.keys import did_you_mean
from hass_runtime.simulator.scenario_model import ScenarioError

Pair = tuple[yaml.Node, yaml.Node]
LARGEST = 1e9
_LONGEST_SHOWN = 60
_LONGEST_TEXT = 255
# Decimal, without exponent, and with as many digits as any float needs.
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})\Z")
_EMPTY = ("", "~", "null", "Null", "NULL")
_EXPECTED = "expected a scenario: name, settings, cluster, events, run_for, expect"


class Source:
    """One file. Its readers return None, or what is left over, after a problem, so that reading goes on."""

    def __init__(self, content: str, path: str) -> None:
        self.content = content
        self.path = path
        self._problems: list[tuple[int, str]] = []

    def root(self) -> yaml.Node:
        """The document as a tree; ScenarioError when it is no YAML at all."""
        try:
            node = yaml.compose(self.content, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(filter(None, (error.context, error.problem)))
            raise self._not_yaml(mark.line + 1 if mark else 1, what) from None
        except yaml.reader.ReaderError as error:
            line = self.content.count("\n", 0, error.position) + 1
            raise self._not_yaml(
                line, f"a character that YAML does not allow ({error.character:#x})"
            ) from None
        except RecursionError:
            raise self._not_yaml(1, "nested too deeply") from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            raise self._not_yaml(1, str(error)) from None
        if node is None:
            raise ScenarioError((f"{self.path}:1: the file is empty, {_EXPECTED}",))
        return node

    def _not_yaml(self, line: int, what: str) -> ScenarioError:
        return ScenarioError((f"{self.path}:{line}: not YAML: {' '.join(what.split())}, {_EXPECTED}",))

    def problem(self, node: yaml.Node, where: str, text: str) -> None:
        """Adds a problem of what stands at ``node``; ``where`` are the keys that lead there, with dots."""
        self.problem_at(line_of(node), where, text)

    def problem_at(self, line: int, where: str, text: str) -> None:
        """Adds a problem of what stands in that line."""
        self._problems.append((line, f"{where}: {text}" if where else text))

    def finish(self) -> None:
        """Raises ScenarioError when there were problems."""
        if self._problems:
            # A list that stands behind several anchors would say the same again.
            ordered = dict.fromkeys(sorted(self._problems, key=lambda each: each[0]))
            raise ScenarioError(tuple(f"{self.path}:{line}: {text}" for line, text in ordered))

    @property
    def count(self) -> int:
        """How many problems there are so far."""
        return len(self._problems)

    def written(self, node: yaml.Node) -> str:
        """What stands in the file, on one line."""
        return " ".join(self.content[node.start_mark.index : node.end_mark.index].split())

    def shown(self, node: yaml.Node) -> str:
        """The same as a message may show it: in quotes, not too long."""
        text = node.value if isinstance(node, yaml.ScalarNode) else self.written(node)
        return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")

    def mapping(
        self, node: yaml.Node, where: str, known: Collection[str] | None, needed: Collection[str] = ()
    ) -> dict[str, Pair]:
        """The keys of a mapping, each with its own node and the value's; unknown ones are problems."""
        if not isinstance(node, yaml.MappingNode):
            keys = f" with {', '.join(known)}" if known else ""
            self.problem(node, where, f"{self.shown(node)} is not a mapping, expected one{keys}")
            return {}
        found: dict[str, Pair] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.problem(key, where, f"{self.shown(key)} is not a key, expected a word")
            elif key.value in found:
                first = line_of(found[key.value][0])
                self.problem(
                    key, join(where, key.value), f"given twice, first in line {first}; expected once"
                )
            elif known is not None and key.value not in known:
                near = did_you_mean(key.value, known)
                self.problem(
                    key,
                    join(where, key.value),
                    f"no such key, expected {'one of ' if len(known) > 1 else ''}{', '.join(known)}{near}",
                )
            else:
                found[key.value] = (key, value)
        for name in needed:
            if name not in found:
                self.problem(node, join(where, name), f"missing, expected in {self.shown(node)}")
        return found

    def items(self, node: yaml.Node, where: str, expected: str) -> Iterator[yaml.Node]:
        """What a list holds."""
        if isinstance(node, yaml.SequenceNode):
            yield from node.value
        elif not is_empty(node):
            self.problem(node, where, f"{self.shown(node)} is not a list, expected {expected}")

    def text(self, node: yaml.Node, where: str, expected: str) -> str | None:
        """A scalar as it is spelled: one line of printable characters."""
        if not isinstance(node, yaml.ScalarNode) or is_empty(node):
            self.problem(node, where, f"{self.shown(node)}, expected {expected}")
            return None
        text: str = node.value.strip()
        if not text or not text.isprintable():
            self.problem(node, where, f"{self.shown(node)} is no plain text, expected {expected}")
            return None
        if len(text) > _LONGEST_TEXT:
            self.problem(node, where, f"{self.shown(node)} is too long, expected {expected}")
            return None
        return text

    def number(
        self, node: yaml.Node, where: str, expected: str, low: float = 0, high: float = LARGEST
    ) -> float | None:
        """A decimal number from ``low`` to ``high``."""
        if not isinstance(node, yaml.ScalarNode) or not _NUMBER.match(node.value):
            self.problem(node, where, f"{self.shown(node)} is not a number, expected {expected}")
            return None
        value = float(node.value)
        if not low <= value <= high:
            size = "small" if value < low else "large"
            self.problem(node, where, f"{self.shown(node)} is too {size}, expected {expected}")
            return None
        return value

    def integer(self, node: yaml.Node, where: str, expected: str, low: int, high: int) -> int | None:
        """A whole number from ``low`` to ``high``."""
        value = self.number(node, where, expected, low, high)
        if value is not None and value != int(value):
            self.problem(node, where, f"{self.shown(node)} is not a whole number, expected {expected}")
            return None
        return None if value is None else int(value)

    def flag(self, node: yaml.Node, where: str) -> bool | None:
        """true or false, yes or no, on or off."""
        try:
            return convert.flag(node.value if isinstance(node, yaml.ScalarNode) else "")
        except ValueError as error:
            self.problem(node, where, f"{self.shown(node)} is {error}, expected true or false")
            return None

    def word(self, node: yaml.Node, where: str, known: Collection[str], what: str) -> str | None:
        """One of the known words."""
        text = self.text(node, where, what)
        if text is None or text in known:
            return text
        expected = ", ".join(known) if len(known) <= 20 else f"{', '.join(list(known)[:20])}, …"
        near = did_you_mean(text, known)
        self.problem(node, where, f"{self.shown(node)} is not {what}, expected one of {expected}{near}")
        return None


def join(where: str, key: str) -> str:
    """The name of a key inside of another one."""
    shown = key if key.isprintable() and len(key) <= _LONGEST_SHOWN else repr(key[:_LONGEST_SHOWN])
    return f"{where}.{shown}" if where else shown


def line_of(node: yaml.Node) -> int:
    """The line, from 1, where it starts."""
    return int(node.start_mark.line) + 1


def is_empty(node: yaml.Node) -> bool:
    """Whether nothing is given: no value, ``~`` or ``null`` without quotes."""
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _EMPTY
