"""Tells which kind a file is, and checks it without running anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hass_runtime.settings import ini
from hass_runtime.settings.agent import load_agent
from hass_runtime.settings.agent_keys import AGENT
from hass_runtime.settings.controller import load_controller
from hass_runtime.settings.controller_keys import CONTROLLER
from hass_runtime.settings.keys import Table
from hass_runtime.settings.model import SettingsError


@dataclass(frozen=True)
class Findings:
    """What a check found; the file can be used when there is no problem."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]


def check(path: str | os.PathLike[str], kind: str, environ: Mapping[str, str] = os.environ) -> Findings:
    """Loads the file as the daemon of that kind (``controller`` or ``agent``) would."""
    try:
        settings = load_agent(path, environ) if kind == "agent" else load_controller(path, environ)
    except SettingsError as error:
        return Findings(error.problems, error.notes)
    return Findings((), settings.notes)


def recognise(path: str | os.PathLike[str]) -> str | None:
    """``controller`` or ``agent`` by what is in the file, else by its name; None when neither tells."""
    try:
        parsed = ini.parse(ini.read_text(Path(path))[0])
    except ValueError:
        parsed = ini.parse("")
    controller, agent = (_known(table, parsed) for table in (CONTROLLER, AGENT))
    if controller != agent:
        return "controller" if controller > agent else "agent"
    name = Path(path).name
    if "compute" in name or "agent" in name:
        return "agent"
    return "controller" if name.startswith("hass") else None


def _known(table: Table, parsed: ini.Ini) -> int:
    """How many sections and keys of the file the table knows."""
    sections = sum(section in table.sections for section in parsed.sections)
    keys = sum(
        table.find(section, name) is not None
        for section, entries in parsed.sections.items()
        for name in entries
    )
    return sections + keys
