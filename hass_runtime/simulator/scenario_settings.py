"""The settings of a scenario: keys of the controller's file, checked by its own table."""

from __future__ import annotations

import yaml

from hass_runtime.settings.controller_keys import CONTROLLER
from hass_runtime.settings.keys import ANY, Key, did_you_mean
from hass_runtime.settings.reader import _convert
from hass_runtime.simulator.scenario_nodes import Source, is_empty, join

# Where simulator and sandbox put what the scenario's own `cluster` says.
_OF_THE_CLUSTER = frozenset({"ipmi_user", "ipmi_password_file", "host_cluster", "zone", "address"})
_CLUSTER_KEYS = (("cluster", "hosts"), ("cluster", "reserved_hosts"))
_FLAT = tuple(dict.fromkeys(key.name for key in CONTROLLER.keys if key.name != ANY))


def read_settings(source: Source, node: yaml.Node | None) -> dict[str, str]:
    """By "section.key", values as text in the controller's file."""
    if node is None or is_empty(node):
        return {}
    found: dict[str, str] = {}
    for name, (name_node, value_node) in source.mapping(node, "settings", None).items():
        where = join("settings", name)
        named = _key(source, name_node, where, name)
        if named is None:
            continue
        section, key = named
        full = f"{section}.{name.removeprefix(section + '.') if '.' in name else name}"
        value = _value(source, value_node, where, key)
        if full in found:
            source.problem(name_node, where, f"{full} is given twice, expected once")
        elif value is not None:
            found[full] = value
    return found


def short_name(full: str) -> str:
    """The shortest name by which the settings know "section.key"."""
    section, _, name = full.partition(".")
    known = [key.section for key in CONTROLLER.keys if key.name == name]
    return name if known == [section] and "." not in name else full


def _key(source: Source, node: yaml.Node, where: str, name: str) -> tuple[str, Key] | None:
    """The section and key that the name means."""
    section, dot, rest = name.partition(".")
    if dot:
        return _full_key(source, node, where, section, rest)
    keys = [key for key in CONTROLLER.keys if key.name == name]
    if len(keys) > 1:
        ways = " or ".join(f"{key.section}.{name}" for key in keys)
        source.problem(node, where, f"there are several keys of that name, expected {ways}")
    elif keys:
        return _allowed(source, node, where, keys[0].section, keys[0])
    else:
        near = did_you_mean(name, _FLAT)
        source.problem(node, where, f"no such setting, expected a key of {CONTROLLER.default_path}{near}")
    return None


def _full_key(source: Source, node: yaml.Node, where: str, section: str, name: str) -> tuple[str, Key] | None:
    if section not in CONTROLLER.sections:
        near = did_you_mean(section, CONTROLLER.sections)
        source.problem(node, where, f"no section is called that, expected SECTION.KEY{near}")
        return None
    key = CONTROLLER.find(section, name) if name == name.strip() and name.isprintable() else None
    if key is None or not name:
        near = CONTROLLER.nearest_key(section, name)
        source.problem(node, where, f"no such key, expected one of [{section}]{near}")
        return None
    return _allowed(source, node, where, section, key)


def _allowed(source: Source, node: yaml.Node, where: str, section: str, key: Key) -> tuple[str, Key] | None:
    of_bmc = section == "ipmi" and key.name == ANY
    if of_bmc or section in _OF_THE_CLUSTER or (section, key.name) in _CLUSTER_KEYS:
        source.problem(node, where, "follows from the scenario's cluster, expected it under cluster.hosts")
        return None
    return section, key


def _value(source: Source, node: yaml.Node, where: str, key: Key) -> str | None:
    """The value as a line of the file would hold it: a list as words with commas."""
    words = node.value if isinstance(node, yaml.SequenceNode) else [node]
    texts = [word.value.strip() for word in words if isinstance(word, yaml.ScalarNode)]
    text = ", ".join(texts)
    if len(texts) != len(words) or is_empty(node) or not text or not text.isprintable():
        source.problem(node, where, f"no value in one line, expected {key.expected}")
        return None
    try:
        _convert(key, text)
    except ValueError as error:
        shown = "" if key.secret else f"{source.shown(node)}: "
        source.problem(node, where, f"{shown}{error}, expected {key.expected}")
        return None
    return text
