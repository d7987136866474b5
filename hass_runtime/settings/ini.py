"""Reads the INI dialect of HASS: names are case-sensitive, values are taken as they stand.

There is no interpolation (``%`` is a character), no inline comment (``#`` may be part of a password) and
no quoting. A line that starts with ``#`` or ``;`` is a comment. An indented line continues the value above
it. Every entry remembers its line; names given twice are problems, not silent overwrites.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 1024 * 1024

_SECTION = re.compile(r"\[([^\[\]]+)\]\s*(?:[#;].*)?\Z")
# A name of anything else is rather a value, perhaps a password, that has lost its own name.
_NAME = re.compile(r"[\w.@:+-]+\Z")
_INDENTED_ENTRY = re.compile(r"[^\s=\[\]'\"]+\s*=")
# Tab and newline (of a continued value) are the only control characters that have a use here.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Entry:
    """A value and the line (from 1) where it starts. The value may be secret: it does not show in a repr."""

    value: str = field(repr=False)
    line: int


@dataclass(frozen=True)
class Ini:
    """A parsed file. ``sections`` maps section to name to entry, in the order of the file.

    ``problems`` are the lines that made no sense, without the file's name and never quoting a value.
    """

    sections: Mapping[str, Mapping[str, Entry]]
    problems: tuple[str, ...]
    lines: Mapping[str, int] = field(default_factory=dict)

    def get(self, section: str, name: str) -> Entry | None:
        """The entry, or None when the file does not have it."""
        return self.sections.get(section, {}).get(name)


class _Parser:
    def __init__(self) -> None:
        self.sections: dict[str, dict[str, tuple[list[str], int]]] = {}
        self.lines: dict[str, int] = {}
        self.problems: list[str] = []
        self.section: dict[str, tuple[list[str], int]] | None = None
        self.section_name = ""
        self.current: list[str] | None = None
        self.stray_reported = False

    def feed(self, number: int, line: str) -> None:
        text = line.strip()
        if not text:
            self.current = None
        elif text[0] in "#;":
            return
        elif _CONTROL.search(text):
            self.current = None
            self.problems.append(f"line {number}: it holds a control character, expected plain text")
        elif line[0] in " \t":
            self._indented(number, text)
        elif text[0] == "[":
            self._start_section(number, text)
        else:
            self._entry(number, text)

    def _indented(self, number: int, text: str) -> None:
        if self.current is None or text[0] == "[" or _INDENTED_ENTRY.match(text):
            self.problems.append(
                f"line {number}: the line is indented, which would make it a part of the value above; "
                "expected section and key lines to start at the margin"
            )
            return
        self.current.append(text)

    def _start_section(self, number: int, text: str) -> None:
        self.current = None
        found = _SECTION.match(text)
        name = found.group(1).strip() if found else ""
        if not name:
            self.problems.append(f"line {number}: a section line that is not of the form [section]")
            # What follows belongs to a section nobody can name: swallow it without further complaints.
            self.section, self.section_name = {}, ""
            return
        if name in self.sections:
            self.problems.append(
                f"[{name}]: the section is there twice, in lines {self.lines[name]} and {number}; "
                "expected one section with all its keys"
            )
        else:
            self.lines[name] = number
        self.section, self.section_name = self.sections.setdefault(name, {}), name

    def _entry(self, number: int, text: str) -> None:
        self.current = None
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            self.problems.append(f"line {number}: expected 'key = value', '[section]' or a comment")
        elif not _NAME.match(name):
            self.problems.append(f"line {number}: what stands before = is no name of a key")
        elif self.section is None:
            if not self.stray_reported:
                self.problems.append(f"line {number}: a key before the first [section] line")
            self.stray_reported = True
        elif name in self.section:
            where = f"[{self.section_name}] {name}" if self.section_name else name
            self.problems.append(
                f"{where}: given twice, in lines {self.section[name][1]} and {number}; expected one"
            )
        else:
            self.current = [value.strip()]
            self.section[name] = (self.current, number)


def parse(text: str) -> Ini:
    """Reads any text; whatever makes no sense ends up in :attr:`Ini.problems`."""
    parser = _Parser()
    # Not str.splitlines(): it also splits at characters that may be part of a password.
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        parser.feed(number, line.removesuffix("\r"))
    sections = {
        section: {name: Entry("\n".join(parts).strip(), line) for name, (parts, line) in entries.items()}
        for section, entries in parser.sections.items()
    }
    return Ini(sections, tuple(parser.problems), parser.lines)


def read_text(path: Path, limit: int = MAX_BYTES) -> tuple[str, int]:
    """The text of a regular file and its permission bits.

    Raises ValueError with a reason (the path is not part of it) when it cannot be read as UTF-8 text of at
    most ``limit`` bytes.
    """
    try:
        # A pipe or device would block or never end: look before opening.
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ValueError("not a regular file")
        with path.open("rb") as stream:
            raw = stream.read(limit + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or type(error).__name__}") from None
    if len(raw) > limit:
        raise ValueError(f"larger than {limit} bytes")
    try:
        return raw.decode("utf-8"), stat.S_IMODE(mode)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start + 1})") from None
