"""Every row of playbooks/verify.yml is broken on purpose by a Molecule scenario (molecule/*/rounds.yml)."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = {
    path.parent.name: yaml.safe_load(path.read_text()) for path in sorted(ROOT.glob("molecule/*/rounds.yml"))
}
KEYS = {"name", "tags", "limit", "variables", "break", "mend", "rows"}

loader = importlib.machinery.SourceFileLoader("molecule_run", str(ROOT / "molecule/run"))
run = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
loader.exec_module(run)
spec = importlib.util.spec_from_file_location(
    "hass_unexpected", ROOT / "molecule/default/filter_plugins/hass_unexpected.py"
)
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)


def checks():
    """(role, name of the check) of every hass_check."""
    for path in sorted(ROOT.glob("roles/*/tasks/verify.yml")):
        tasks = yaml.safe_load(path.read_text())
        while tasks:
            task = tasks.pop()
            tasks += [inner for key in ("block", "rescue", "always") for inner in task.get(key, [])]
            for check in task.get("hass_check", {}).get("checks", []):
                yield path.parts[-3], check["name"]


def broken():
    """Names of rows that fail in some round."""
    return {
        check
        for rounds in ROUNDS.values()
        for one in rounds
        for rows in one["rows"].values()
        for check in rows
    }


@pytest.mark.parametrize(("role", "name"), sorted(set(checks())))
def test_a_round_breaks_it(role, name):
    pattern = re.compile(".+".join(re.escape(part) for part in re.split(r"\{\{.*?\}\}", name)))
    assert any(pattern.fullmatch(row) for row in broken()), f"{role}: no round breaks {name!r}"


def test_rounds_name_rows_that_exist():
    patterns = [".+".join(re.escape(part) for part in re.split(r"\{\{.*?\}\}", name)) for _, name in checks()]
    patterns += [r"the host can be reached", r"\w+ can be verified"]  # playbooks/verify.yml's own
    assert [
        row for row in sorted(broken()) if not any(re.fullmatch(pattern, row) for pattern in patterns)
    ] == []


@pytest.mark.parametrize(
    ("scenario", "number"),
    [(name, number) for name, rounds in ROUNDS.items() for number in range(len(rounds))],
)
def test_a_round_is_complete(scenario, number):
    one = ROUNDS[scenario][number]
    assert one.keys() <= KEYS
    assert one["rows"]
    for step in [*one.get("break", []), *one.get("mend", [])]:
        assert step.keys() == {"host", "run"}
    for rows in one["rows"].values():
        for pattern in rows.values():
            re.compile(pattern)


def row(host, check, status="failed", why="it is off"):
    return {"host": host, "check": check, "status": status, "why": why}


def test_rows_are_compared_whole():
    rows = [row("a", "one"), row("a", "two", "ok"), row("b", "one", why="else"), row("b", "three")]
    assert plugin.hass_unexpected(rows, {"a": {"one": "off$", "two": "."}, "b": {"one": "off"}}) == [
        "a: 'two' has not failed",
        "b: 'one' says 'else', expected 'off'",
        "b: 'three' has failed, too: it is off",
    ]
    assert plugin.hass_unexpected(rows[:2], {"a": {"one": "off"}}) == []


def test_a_step_that_was_left_out_is_no_success():
    times = [
        ("metal", "cleanup", 0.1, "Missing"),
        ("metal", "side_effect", 0.1, "Missing"),
        ("metal", "verify", 1, "Successful"),
    ]
    assert run.missing(times) == [("metal", "side_effect")]


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("molecule/*/molecule.yml")), ids=lambda path: path.parent.name
)
def test_playbooks_of_the_steps_are_there(path):
    config = yaml.safe_load(path.read_text())
    playbooks = (config.get("ansible") or {}).get("playbooks") or {}
    steps = [step.split() for step in (config.get("scenario") or {}).get("test_sequence") or []]
    named = [name for _, *names in steps for name in names] + list(playbooks.values())
    assert [name for name in named if not (path.parent / name).is_file()] == []
    if any(step == "side_effect" for step, *_ in steps):
        assert "side_effect" in playbooks, "without it Molecule leaves out every side effect"


def test_the_page_tells_each_row_once(tmp_path):
    rows = [
        row("metal1", "it runs", why="a | b " + "x" * 400) | {"guide": "5.2"},
        row("plain1", "it is there") | {"guide": "5.4"},
    ]
    (tmp_path / "metal.json").write_text(
        json.dumps([{"name": "a daemon is stopped", "break": [], "rows": rows}])
    )
    shown = [line for line in run.page(tmp_path).splitlines() if line.startswith("| ")]
    assert shown[2].startswith("| a daemon is stopped | metal1 | 5.2 | it runs | `` a \\| b xxx")
    assert shown[2].endswith("x … `` |")
    assert shown[3] == "|  | plain1 | 5.4 | it is there | `` it is off `` |"
