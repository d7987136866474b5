"""Reads what the generated documentation is made from: the table, the playbooks, the scenarios, the tests."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from hass_runtime.domain import Gate
from hass_runtime.remedy.playbooks import Shelf
from hass_runtime.report.policy_doc import Sources, between, faults_page, gates_table, lifecycle_table
from hass_runtime.settings.controller import shipped_playbooks
from hass_runtime.settings.controller_keys import CONTROLLER
from hass_runtime.table import read_table


def checkout() -> Path | None:
    """The repository that this code is run from; None when it is installed without one."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "tests" / "scenarios").is_dir() else None


def read(root: Path | None) -> Sources:
    """The sources, with scenarios and tests of the repository at ``root`` (None: none of them)."""
    shelf = Shelf(shipped_playbooks())
    tries = int(CONTROLLER.key("detection", "wait_restart_threshold").default or 0)
    rows = read_table(None, shelf, {"wait_restart_threshold": tries}).rows
    does = {name: _first_play(shelf.find(name)) for name in sorted(shelf.rungs())}
    faults: dict[str, list[str]] = {}
    gates: dict[str, list[str]] = {}
    for name, expected in _expectations(root):
        for kind, key, found in (("incident", "fault", faults), ("held", "gate", gates)):
            wanted = expected.get(kind)
            word = wanted.get(key) if isinstance(wanted, dict) else None
            if isinstance(word, str) and name not in found.setdefault(word, []):
                found[word].append(name)
    return Sources(rows, does, faults, gates, _tests(root), _fault_tests(root, {row.fault for row in rows}))


def pages(root: Path) -> dict[Path, str]:
    """The generated pages of a repository, by path. Raises OSError or ValueError."""
    sources = read(root)
    docs = root / "docs"
    safety, architecture = docs / "safety.md", docs / "architecture.md"
    return {
        docs / "faults.md": faults_page(sources),
        safety: between(safety.read_text(encoding="utf-8"), "gates", gates_table(sources)),
        architecture: between(architecture.read_text(encoding="utf-8"), "lifecycle", lifecycle_table()),
    }


def _first_play(path: Path) -> str:
    plays = yaml.safe_load(path.read_text(encoding="utf-8"))
    return str(plays[0].get("name", "")) if isinstance(plays, list) and plays else ""


def _expectations(root: Path | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name of the scenario, one thing that it expects)."""
    for path in sorted(root.glob("tests/scenarios/*/scenario.yml")) if root is not None else []:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        for expected in (data or {}).get("expect") or ():
            if isinstance(expected, dict):
                yield path.parent.name, expected


def _tests(root: Path | None) -> dict[str, list[tuple[str, str]]]:
    """By gate, the unit tests that name it; those of the gates themselves first."""
    found: dict[str, list[tuple[str, str]]] = {gate.value: [] for gate in Gate}
    paths = sorted(root.glob("tests/unit/test_*.py")) if root is not None else []
    for path in sorted(paths, key=lambda path: path.name != "test_gates.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for gate in _gates_in(node):
                    found[gate.value].append((path.name, node.name))
    return found


def _fault_tests(root: Path | None, faults: Collection[str]) -> dict[str, str]:
    """The faults that the tests of the diagnosis name."""
    path = root / "tests" / "unit" / "test_diagnosis.py" if root is not None else None
    if path is None or not path.exists():
        return {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = {each.value for each in ast.walk(tree) if isinstance(each, ast.Constant)}
    return {fault: path.name for fault in sorted(faults) if fault in named}


def _gates_in(node: ast.AST) -> list[Gate]:
    """The members of `Gate` that the code names, each once."""
    names = {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "Gate"
    }
    return [gate for gate in Gate if gate.name in names]
