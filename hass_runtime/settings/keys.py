"""What a key of the configuration files is, and how to look one up.

The tables themselves are :mod:`hass_runtime.settings.controller_keys` and
:mod:`hass_runtime.settings.agent_keys`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

PLACEHOLDER = "CHANGE_ME"
# What the installation guide writes where a value of one's own belongs, and our own word for it.
PLACEHOLDERS = frozenset(
    {
        PLACEHOLDER,
        "ADMIN_PASS",
        "HASSDB_PASS",
        "CONTROLLER_GATEWAY",
        "CONTROLLER_IP_ADDRESS",
        "COMPUTE_HOSTNAME",
        "IPMI_IP_ADDRESS",
        "IPMI_USER",
        "IPMI_PASSWORD",
        "VENDOR_NAME",
    }
)
ANY = "*"


class Kind(str, Enum):
    """How the text of a value is understood; :mod:`hass_runtime.settings.convert` does it."""

    TEXT = "text"
    INTEGER = "whole number"
    NUMBER = "number"
    FLAG = "true or false"
    ADDRESS = "host name or IP address"
    URL = "http or https URL"
    PATH = "absolute path"
    NAMES = "list of names"
    PORT = "port number"
    COMMAND = "command line"
    MICROVERSION = "microversion"


@dataclass(frozen=True)
class Key:
    """One key: everything that is to say about it, for the loader, the example file and the documents.

    ``name`` is ``*`` where every name of the section is a host or a check (``each`` says which).
    ``default`` is text as in a file; None: there is none. ``guide`` tells the guide's keys from our own.
    ``no_effect`` says why a key is read and not used. ``low`` and ``high`` are inclusive; ``above`` is not.
    ``from_file`` and ``from_environment`` name the other ways to give a secret.
    """

    section: str
    name: str
    kind: Kind
    meaning: str
    default: str | None = None
    unit: str = ""
    guide: bool = False
    required: bool = False
    secret: bool = False
    no_effect: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()
    each: str = ""
    sample: str = ""
    from_file: str = ""
    from_environment: str = ""

    @property
    def where(self) -> str:
        """How messages name the key."""
        return f"[{self.section}] {self.name}"

    @property
    def expected(self) -> str:
        """In words, what a good value is."""
        kind: str = self.kind.value
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.low is not None and self.high is not None:
            return f"{kind} from {self.low:g} to {self.high:g}"
        if self.low is not None:
            return f"{kind}, {self.low:g} or more"
        if self.above is not None:
            return f"{kind} above {self.above:g}" + (f", {self.high:g} at most" if self.high else "")
        if self.kind is Kind.PORT:
            return f"{kind} from 1 to 65535"
        return kind


def _with_file(key: Key) -> Iterator[Key]:
    """The key, and after it the one that names a file with the secret, where there is such a way."""
    yield key
    if key.from_file:
        meaning = f"A file with the value of {key.name} and nothing else, instead of {key.name}."
        yield Key(key.section, key.from_file, Kind.PATH, meaning, sample=f"/etc/hass/{key.name}")


class Table:
    """The keys of one kind of file. ``kind`` is ``controller`` or ``agent``.

    ``no_effect_sections`` maps a section that is ignored as a whole to the reason.
    """

    def __init__(
        self,
        kind: str,
        default_path: str,
        keys: Iterable[Key],
        no_effect_sections: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.default_path = default_path
        self.keys = tuple(each for key in keys for each in _with_file(key))
        self.no_effect_sections = dict(no_effect_sections or {})
        self._by_name = {(key.section, key.name): key for key in self.keys}
        self.sections = tuple(dict.fromkeys([*(key.section for key in self.keys), *self.no_effect_sections]))

    def key(self, section: str, name: str) -> Key:
        """The key of exactly this name; KeyError when the table has none."""
        return self._by_name[section, name]

    def find(self, section: str, name: str) -> Key | None:
        """The key that a line of a file means: of this name, or the one that takes any name."""
        return self._by_name.get((section, name)) or self._by_name.get((section, ANY))

    def names(self, section: str) -> list[str]:
        """The fixed names of a section, those of password files included."""
        return [key.name for key in self.keys if key.section == section and key.name != ANY]

    def nearest_section(self, section: str) -> str:
        """ "; did you mean …" for an unknown section, or "" when nothing is near."""
        return did_you_mean(section, self.sections, "[{}]")

    def nearest_key(self, section: str, name: str) -> str:
        """ "; …" for a key that the section does not have, or "" when nothing is near."""
        elsewhere = [key.section for key in self.keys if key.name == name]
        if elsewhere:
            return "; it belongs in " + " or ".join(f"[{other}]" for other in elsewhere)
        return did_you_mean(name, self.names(section), "{}")


def did_you_mean(word: str, known: Iterable[str], form: str = "{}") -> str:
    """ "; did you mean …?" with the known word nearest to ``word``, or "" when none is near."""
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(word.lower()[:200], list(by_lower), n=1, cutoff=0.6)
    return f"; did you mean {form.format(by_lower[near[0]])}?" if near else ""
