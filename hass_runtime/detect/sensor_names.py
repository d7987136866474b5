"""Which sensor an operator means: names as the vendors of BMCs write them, compared by whole words.

Pure. ``Inlet Temp``, ``INLET_TEMP``, ``Inlet-Temperature`` and ``01-Inlet Temp (3)`` are one name to a
person. ``Temp Exhaust`` is not ``Temp``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

Words = tuple[str, ...]

_INDEX = re.compile(r"\A\s*\d+\s*[-.:)_]\s*(?=[^\W\d])")
_WORD = re.compile(r"\d+|[^\W\d_]+")
_SYNONYMS = {"temperature": "temp", "tmp": "temp"}

# The IANA numbers by which BMCs name their makers (Get Device ID).
DELL, HP, HPE, IBM, LENOVO, LENOVO_X86 = 674, 11, 47196, 2, 19046, 20301
FUJITSU, INTEL, SUPERMICRO, CISCO, HUAWEI = 10368, 343, 10876, 5771, 2011

# What others call a sensor: by maker, the operators' name, and the names to try in this order when no sensor
# has the operators' name itself. A maker that is not in here: all of them.
ALIASES: Mapping[int, Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        DELL: {"Inlet Temp": ("System Board Inlet Temp", "Ambient Temp", "System Board Ambient Temp")},
        HP: {"Inlet Temp": ("Inlet Ambient",), "Temp": ("CPU",), "CPU Temp": ("CPU",)},
        HPE: {"Inlet Temp": ("Inlet Ambient",), "Temp": ("CPU",), "CPU Temp": ("CPU",)},
        IBM: {"Inlet Temp": ("Ambient Temp",), "Temp": ("CPU Temp",)},
        LENOVO: {"Inlet Temp": ("Ambient Temp",), "Temp": ("CPU Temp",)},
        LENOVO_X86: {"Inlet Temp": ("Ambient Temp",), "Temp": ("CPU Temp",)},
        FUJITSU: {"Inlet Temp": ("Ambient",), "Temp": ("CPU",), "CPU Temp": ("CPU",)},
        INTEL: {"Inlet Temp": ("Front Panel Temp",)},
        SUPERMICRO: {"Temp": ("CPU Temp",)},
        CISCO: {"Inlet Temp": ("FP Temp Sensor", "Front Temp")},
        HUAWEI: {"Temp": ("CPU Core Rem", "CPU Core Temp")},
    }
)


@dataclass(frozen=True)
class Name:
    """A sensor's name in words, lower case, without an index before it; ``number`` is one after it."""

    words: Words
    number: int | None = None

    def means(self, other: Name) -> bool:
        """Whether this name, as an operator wrote it, stands for the other one, a sensor's own."""
        return self.words == other.words and self.number in (None, other.number)


def parse(text: str) -> Name:
    """The words of a name. One that is nothing but a number has no words, and means nothing."""
    found = _WORD.findall(_INDEX.sub("", text).casefold())
    number = None
    if found and found[-1].isdecimal():
        # A number that is part of the name (12V) is followed by a word, an instance's is not.
        number = int(found.pop()[-9:])
    return Name(tuple(_SYNONYMS.get(word, word) for word in found), number)


def find(wanted: str, names: Sequence[str], maker: int | None = None) -> tuple[int, ...]:
    """The positions of all sensors that an operator's name stands for; empty when there are none.

    The name itself comes first, then the aliases of the BMC's maker, each with the number that the operator
    gave (``CPU Temp 2``), and those with a number inside (``CPU2 Temp``) as well.
    """
    name = parse(wanted)
    if not name.words:
        return ()
    parsed = [parse(text) for text in names]
    for candidate in (name, *_aliases(name, maker)):
        hits = tuple(at for at, other in enumerate(parsed) if _means(candidate, other))
        if hits:
            return hits
    return ()


def _means(name: Name, other: Name) -> bool:
    if name.means(other):
        return True
    # CPU2 Temp: the instance's number behind the first word.
    if len(other.words) < 3 or not other.words[1].isdecimal() or other.number is not None:
        return False
    return name.means(Name((other.words[0], *other.words[2:]), int(other.words[1][-9:])))


def _aliases(name: Name, maker: int | None) -> list[Name]:
    known = list(ALIASES.values())
    if maker is not None and maker in ALIASES:
        known = [ALIASES[maker]]
    return [
        Name(parse(alias).words, name.number)
        for table in known
        for key, aliases in table.items()
        if parse(key).words == name.words
        for alias in aliases
    ]
