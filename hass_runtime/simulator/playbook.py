"""A remediation playbook as the simulator plays it: the real file's tasks, in order, with its templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

OMIT = "__omit_place_holder__"
_BLOCKS = ("block", "rescue", "always")
_KEYWORDS = frozenset(
    {"name", "register", "when", "vars", "ignore_errors", "tags", "become", "no_log", "delegate_to", "args",
     "changed_when", "failed_when", "environment", "check_mode", "timeout", "loop", "with_items", "until",
     "retries", "delay", "notify", "run_once", *_BLOCKS}
)  # fmt: skip
_ENVIRONMENT = jinja2.Environment(undefined=jinja2.ChainableUndefined, autoescape=False)
_PLAIN = re.compile(r"\s*\{\{\s*(\w+)\s*\}\}\s*")
"""A template that is the name of a variable and nothing else, as most are."""


class TemplateFailed(Exception):
    """A template asks for what there is not, or makes no sense. One line."""


@dataclass(frozen=True)
class Task:
    """One task, or a block of them. ``action`` is the module's name as written, "" for a block."""

    name: str
    action: str
    arguments: Any = field(default_factory=dict)
    register: str = ""
    when: tuple[Any, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    ignore_errors: bool = False
    block: tuple[Task, ...] = ()
    rescue: tuple[Task, ...] = ()
    always: tuple[Task, ...] = ()


@dataclass(frozen=True)
class Playbook:
    """The tasks of all plays of a file, and the variables that they begin with."""

    path: Path
    variables: Mapping[str, Any]
    tasks: tuple[Task, ...]


def load(path: Path) -> Playbook:
    """Raises OSError or ValueError; the file is read once a process, or again when it has changed."""
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _load(path: Path, changed_at: int) -> Playbook:
    plays = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(plays, list):
        raise ValueError(f"{path}: no list of plays")
    variables: dict[str, Any] = {}
    tasks: list[Task] = []
    for play in plays:
        variables |= play.get("vars") or {}
        for section in ("pre_tasks", "tasks", "post_tasks"):
            tasks += [_task(each) for each in play.get(section) or ()]
    return Playbook(path, variables, tuple(tasks))


def _task(raw: Mapping[str, Any]) -> Task:
    actions = [key for key in raw if key not in _KEYWORDS]
    action = actions[0] if actions else ""
    when = raw.get("when", [])
    return Task(
        name=str(raw.get("name") or action),
        action=action,
        arguments=raw.get(action) or {},
        register=str(raw.get("register") or ""),
        when=tuple(when if isinstance(when, list) else [when]),
        variables=raw.get("vars") or {},
        ignore_errors=raw.get("ignore_errors") is True,
        **{part: tuple(_task(each) for each in raw.get(part) or ()) for part in _BLOCKS},
    )


def render(value: Any, variables: Mapping[str, Any]) -> Any:
    """The value with its templates filled in; one that is nothing but an expression keeps its type."""
    if isinstance(value, Mapping):
        filled = {key: render(each, variables) for key, each in value.items()}
        return {key: each for key, each in filled.items() if not (isinstance(each, str) and each == OMIT)}
    if isinstance(value, list):
        return [render(each, variables) for each in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    plain = _PLAIN.fullmatch(value)
    if plain is not None and plain[1] in variables:
        return variables[plain[1]]
    try:
        template, whole = _compiled(value)
        return _defined(template(**variables), value) if whole else template.render(variables)
    except jinja2.TemplateError as error:
        raise TemplateFailed(f"{value.strip()}: {error}") from error


def holds(condition: Any, variables: Mapping[str, Any]) -> bool:
    """Whether a condition of `when` or `assert` is true."""
    if not isinstance(condition, str):
        return bool(condition)
    try:
        return bool(_defined(_expression(condition)(**variables), condition))
    except jinja2.TemplateError as error:
        raise TemplateFailed(f"{condition}: {error}") from error


def _defined(value: Any, source: str) -> Any:
    if isinstance(value, jinja2.Undefined):
        raise TemplateFailed(f"{source.strip()}: something in it is undefined")
    return value


@lru_cache(maxsize=1024)
def _compiled(text: str) -> tuple[Any, bool]:
    """The template, and whether it is one expression and nothing else."""
    bare = text.strip()
    inner = bare[2:-2]
    if bare.startswith("{{") and bare.endswith("}}") and "{{" not in inner and "}}" not in inner:
        return _expression(inner), True
    return _ENVIRONMENT.from_string(text), False


@lru_cache(maxsize=1024)
def _expression(text: str) -> Any:
    return _ENVIRONMENT.compile_expression(text, undefined_to_none=False)
