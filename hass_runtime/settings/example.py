"""Writes an example file from a table of keys: every key with its meaning, unit and default."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from hass_runtime.settings.agent_keys import AGENT, DEFAULT_CHECKS
from hass_runtime.settings.controller_keys import CONTROLLER
from hass_runtime.settings.keys import ANY, PLACEHOLDER, Key, Kind, Table

TABLES: Mapping[str, Table] = {"controller": CONTROLLER, "agent": AGENT}
_WIDTH = 100
# What has no default that suits everybody and is asked for, though the file would load without it.
_ASKED = {
    "controller": {
        ("openstack", "openstack_auth_url"),
        ("openstack", "openstack_admin_password"),
        ("cluster", "hosts"),
        ("detection", "polling_key"),
    },
    "agent": {("polling", "polling_key")},
}
# Sections that change what HASS does by being there, even when empty.
_SWITCHES = ("mysql",)
_HEAD = """\
{path}: the configuration of a HASS {kind}.

Put your own values where it says {placeholder}; everything that is commented out has the default shown, or
none. Then check the file: hass config check {path}

A value is everything after the first = up to the end of the line, without the spaces around it: it needs no
quotes, and # or % in it are plain characters. Names are case-sensitive. The file holds passwords:
chmod 640, or keep them in files of their own or in the environment, see below."""


def example(kind: str) -> str:
    """The text of an example file; ``kind`` is ``controller`` or ``agent`` (else KeyError)."""
    table = TABLES[kind]
    head = _HEAD.format(path=table.default_path, kind=kind, placeholder=PLACEHOLDER)
    blocks = ["\n".join(_comment(line) for line in head.splitlines())]
    for section in table.sections:
        blocks.append("\n".join(_section(table, section)))
    return "\n\n".join(blocks) + "\n"


def describe(key: Key) -> str:
    """In a sentence or two: meaning, what is expected, unit, default, and whether it has an effect."""
    parts = [key.meaning]
    facts = [key.expected if key.kind is not Kind.TEXT or key.choices else ""]
    facts.append(f"unit: {key.unit}" if key.unit else "")
    facts.append(f"default: {key.default}" if key.default is not None else "")
    facts.append(f"or ${key.from_environment}" if key.from_environment else "")
    listed = "; ".join(fact for fact in facts if fact)
    if listed:
        parts.append(f"({listed})")
    if key.no_effect:
        parts.append(f"Accepted, {key.no_effect}.")
    return " ".join(parts)


def _section(table: Table, section: str) -> Iterator[str]:
    if section in _SWITCHES:
        yield _comment("Take the # off the line of the section too: the section being there has an effect.")
        yield f"#[{section}]"
    else:
        yield f"[{section}]"
    if section in table.no_effect_sections:
        yield _comment(f"The whole section is accepted, {table.no_effect_sections[section]}.")
    for key in table.keys:
        if key.section == section:
            yield from (_comment(line) for line in textwrap.wrap(describe(key), _WIDTH))
            yield from _lines(table, key)


def _lines(table: Table, key: Key) -> Iterator[str]:
    if key.name == ANY:
        if key.section == "checks":  # these have defaults, of names of their own
            yield from (f"#{name} = {spec}" for name, spec in DEFAULT_CHECKS.items())
        yield f"#{key.sample}"
    elif (key.section, key.name) in _ASKED[table.kind]:
        yield f"{key.name} = {PLACEHOLDER}"
    else:
        value = key.default if key.default is not None else key.sample
        yield f"#{key.name} = {value or PLACEHOLDER}"


def _comment(line: str) -> str:
    return f"# {line}".rstrip()
