"""Reads the values of a file by a table of keys and collects every problem instead of stopping at one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from hass_runtime.settings import convert, ini
from hass_runtime.settings.keys import ANY, PLACEHOLDERS, Key, Kind, Table
from hass_runtime.settings.model import SettingsError

_SECRET_FILE_BYTES = 64 * 1024
_LONGEST_SHOWN = 60
_CONVERTERS: Mapping[Kind, Callable[[str], object]] = {
    Kind.TEXT: str,
    Kind.INTEGER: convert.integer,
    Kind.NUMBER: convert.number,
    Kind.FLAG: convert.flag,
    Kind.ADDRESS: convert.address,
    Kind.URL: convert.url,
    Kind.PATH: convert.absolute_path,
    Kind.NAMES: convert.names,
    Kind.PORT: convert.port,
    Kind.COMMAND: convert.ping_command,
    Kind.MICROVERSION: convert.microversion,
}
T = TypeVar("T")


class Reader:
    """One file under one table.

    The typed getters return a value that fits the type even after a problem, so that reading goes on;
    :meth:`finish` then raises. Values of secret keys are never part of a message.
    """

    def __init__(self, table: Table, path: Path, environ: Mapping[str, str]) -> None:
        self.table = table
        self.path = path
        self.environ = environ
        self.problems: list[str] = []
        self.notes: list[str] = []
        try:
            text, self._mode = ini.read_text(path)
        except ValueError as error:
            expected = f"expected the configuration of a HASS {table.kind}"
            raise SettingsError((f"{path}: {error}; {expected}",)) from None
        self.ini = ini.parse(text)
        self.problems.extend(f"{path}: {problem}" for problem in self.ini.problems)
        self._check_names()
        self._check_mode()

    def problem(self, where: str, text: str) -> None:
        """Adds a problem; ``where`` is "[section] key"."""
        self.problems.append(f"{self.path}: {where}: {text}")

    def note(self, where: str, text: str) -> None:
        """Adds a line for the operator that is no error."""
        self.notes.append(f"{self.path}: {where}: {text}")

    def finish(self) -> tuple[str, ...]:
        """The notes, or SettingsError when there was any problem."""
        if self.problems:
            raise SettingsError(tuple(self.problems), tuple(self.notes))
        return tuple(self.notes)

    def has(self, section: str, name: str | None = None) -> bool:
        """Whether the file has the section, or the key in it."""
        return section in self.ini.sections if name is None else self.ini.get(section, name) is not None

    def text(self, section: str, name: str) -> str:
        return self._value(section, name, str) or ""

    def optional(self, section: str, name: str) -> str | None:
        """A text kind of value, None when it is not in the file and has no default."""
        return self._value(section, name, str)

    def integer(self, section: str, name: str) -> int:
        return self._value(section, name, int) or 0

    def number(self, section: str, name: str) -> float:
        return self._value(section, name, float) or 0.0

    def optional_number(self, section: str, name: str) -> float | None:
        return self._value(section, name, float)

    def flag(self, section: str, name: str) -> bool:
        return bool(self._value(section, name, bool))

    def words(self, section: str, name: str) -> tuple[str, ...] | None:
        """A list of names or the words of a command, None when it is not in the file."""
        return self._value(section, name, tuple)

    def each(self, section: str) -> Iterator[tuple[str, str, str]]:
        """(name, "[section] name", value) of the section's free names, without those that are unusable."""
        for name, entry in self.ini.sections.get(section, {}).items():
            key = self.table.find(section, name)
            if key is None or key.name != ANY:
                continue
            where = f"[{section}] {name}"
            if name in PLACEHOLDERS:
                self.problem(where, f"still the placeholder {name}, expected a name of your own")
            elif self._usable(key, where, entry.value):
                yield name, where, entry.value

    def secret(self, section: str, name: str, required: bool = False) -> str:
        """A password: from its environment variable, else the key, else the file that ``<key>_file`` names.

        "" when there is none.
        """
        key = self.table.key(section, name)
        given = self.environ.get(key.from_environment, "")
        if given:
            return given if self._usable(key, key.from_environment, given) else ""
        entry = self.ini.get(section, name)
        file_entry = self.ini.get(section, key.from_file)
        if entry is not None and file_entry is not None:
            self.problem(key.where, f"given twice, as {name} and as {key.from_file}; expected one of them")
            return ""
        if entry is not None:
            return entry.value if self._usable(key, key.where, entry.value) else ""
        if file_entry is not None:
            return self.secret_file(self.table.key(section, key.from_file), key.from_file, file_entry.value)
        if required:
            self.problem(
                key.where, f"missing, expected it here, in {key.from_file} or in ${key.from_environment}"
            )
        return ""

    def secret_file(self, key: Key, name: str, value: str) -> str:
        """What the file holds, without the newline at its end; "" after a problem."""
        where = f"[{key.section}] {name}"
        if not self._usable(key, where, value):
            return ""
        try:
            path = Path(convert.absolute_path(value))
            text, mode = ini.read_text(path, _SECRET_FILE_BYTES)
        except ValueError as error:
            # Something that is no path may be the password itself.
            shown = f"{value}: " if value.startswith("/") else ""
            self.problem(where, f"{shown}{error}; expected a file with the password in it")
            return ""
        if mode & 0o004:
            self.note(where, f"anybody on this machine can read {value} (mode {mode:04o}): chmod 640 {value}")
        secret = text.removeprefix("\ufeff").rstrip("\r\n")
        if not secret or "\n" in secret or "\0" in secret:
            self.problem(where, f"{value} does not hold one line of text, expected the password alone")
            return ""
        if secret in PLACEHOLDERS:
            self.problem(where, f"{value} still holds the placeholder {secret}, expected the password")
            return ""
        return secret

    def _value(self, section: str, name: str, type_: type[T]) -> T | None:
        key = self.table.key(section, name)
        entry = self.ini.get(section, name)
        if entry is not None:
            if not self._usable(key, key.where, entry.value):
                return None
            raw = entry.value
        elif key.default is not None:
            raw = key.default
        else:
            if key.required:
                self.problem(key.where, f"missing, expected {key.expected}")
            return None
        try:
            value = _convert(key, raw)
        except ValueError as error:
            shown = "" if key.secret else f"{_shown(raw)}: "
            self.problem(key.where, f"{shown}{error}, expected {key.expected}")
            return None
        if not isinstance(value, type_):
            raise TypeError(f"{key.where} is read as {type_.__name__} but is a {key.kind.value}")
        return value

    def _usable(self, key: Key, where: str, value: str) -> bool:
        """Whether a value is there, in one line unless it is a list, and no placeholder."""
        if not value:
            self.problem(where, f"empty, expected {key.expected}, or no such line")
        elif "\n" in value and key.kind not in (Kind.NAMES, Kind.COMMAND):
            self.problem(where, f"goes on over an indented line, expected {key.expected} in one line")
        elif value in PLACEHOLDERS:
            self.problem(where, f"still the placeholder {value}, expected {key.expected}")
        else:
            return True
        return False

    def _check_names(self) -> None:
        for section, entries in self.ini.sections.items():
            if section in self.table.no_effect_sections:
                self.note(f"[{section}]", f"accepted, {self.table.no_effect_sections[section]}")
                continue
            if section not in self.table.sections:
                near = self.table.nearest_section(section)
                self.problem(f"[{section}]", f"no section of this file is called that{near}")
                continue
            for name in entries:
                key = self.table.find(section, name)
                if key is None:
                    near = self.table.nearest_key(section, name)
                    self.problem(f"[{section}] {name}", f"no key of this section is called that{near}")
                elif key.no_effect:
                    self.note(key.where, f"accepted, {key.no_effect}")

    def _check_mode(self) -> None:
        if not self._mode & 0o004:
            return
        for section, entries in self.ini.sections.items():
            for name, entry in entries.items():
                key = self.table.find(section, name)
                # A user alone is no secret; its password is elsewhere.
                if key is not None and key.secret and (section != "ipmi_user" or "," in entry.value):
                    self.notes.append(
                        f"{self.path}: anybody on this machine can read the passwords in it "
                        f"(mode {self._mode:04o}): chmod 640 {self.path}"
                    )
                    return


def _convert(key: Key, raw: str) -> object:
    value = _CONVERTERS[key.kind](raw)
    if key.choices and value not in key.choices:
        raise ValueError("not one of the words for it")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if key.low is not None and value < key.low:
            raise ValueError("too small")
        if key.above is not None and value <= key.above:
            raise ValueError("too small")
        if key.high is not None and value > key.high:
            raise ValueError("too large")
    return value


def _shown(value: str) -> str:
    """The value as a message may show it: in quotes, on one line, not too long."""
    return repr(value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "…")
