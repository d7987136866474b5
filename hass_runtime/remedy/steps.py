"""What a playbook would do, by the names of its tasks: for plans, and for people who want to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

_SECTIONS = ("pre_tasks", "tasks", "post_tasks", "block")
_CHECKS = frozenset({"ansible.builtin.assert", "ansible.builtin.fail", "ansible.builtin.debug"})
_HOST = "{{ host }}"


def steps_of(path: Path, host: str) -> list[str]:
    """The tasks of a playbook in their order, without what only checks its arguments, or reports, or runs
    when another one has failed. Of a playbook that cannot be read, a line that says so.
    """
    try:
        plays = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        return [f"{path} cannot be read: {' '.join(str(error).split())[:200]}"]
    found = plays if isinstance(plays, list) else []
    return [name.replace(_HOST, host) for play in found if isinstance(play, Mapping) for name in _names(play)]


def _names(block: Mapping[str, Any]) -> Iterator[str]:
    for section in _SECTIONS:
        for task in block.get(section) or ():
            if "block" in task:
                yield from _names(task)
            elif _CHECKS.isdisjoint(task):
                yield str(task.get("name") or next(iter(task), ""))
