#!/usr/bin/env python3
"""Writes docs/guide-coverage.md: guide step -> role -> task -> verified by, from roles/*/meta/guide.yml.

`make docs` runs it; a test fails while the page is not what the roles say, or a step of the guide has no row.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "guide-coverage.md"
HEAD = """\
# What became of each step of the guide

Made by `make docs` from `docs/guide-steps.yml` and from `meta/guide.yml` of each role; do not edit. Steps
are numbered by the sections of the NCU-HASS installation guide 4.1 (P is its section on Nova's policy).
Where the literal step was replaced by a safer one, the last column says by what, and which variable brings
the literal one back.

| step | | role | task | verified by | instead of the literal step |
| --- | --- | --- | --- | --- | --- |
"""


def guide_steps(root=ROOT):
    return yaml.safe_load((root / "docs" / "guide-steps.yml").read_text())["steps"]


def covered(root=ROOT):
    """(role, entry) of each role for each step, by step."""
    by_step = {}
    for path in sorted((root / "roles").glob("*/meta/guide.yml")):
        for entry in (yaml.safe_load(path.read_text()) or {}).get("steps") or []:
            by_step.setdefault(str(entry["step"]), []).append((path.parents[1].name, entry))
    return by_step


def cell(text):
    return " ".join(str(text).split()).replace("|", "\\|")


def listed(texts):
    return "<br>".join(cell(text) for text in texts)


def rows(steps, by_step):
    for step in steps:
        number, title = step["step"], cell(step["title"])
        entries = by_step.get(number, [])
        if not entries:
            yield (number, title, "", "", "", cell(step.get("not_yet", "")))
        for role, entry in entries:
            yield (
                number,
                title,
                f"[{role}](../roles/{role}/README.md)",
                listed(entry.get("tasks") or []) or "-",
                listed(entry.get("verified_by") or []) or "-",
                cell(entry.get("instead") or ""),
            )


def line_of(row):
    return "|" + "".join(f" {text} |" if text else " |" for text in row) + "\n"


def page(root=ROOT):
    return HEAD + "".join(line_of(row) for row in rows(guide_steps(root), covered(root)))


def problems(root=ROOT):
    """Rows that are empty, and steps that the guide does not have."""
    steps, by_step = guide_steps(root), covered(root)
    for unknown in sorted(set(by_step) - {step["step"] for step in steps}):
        roles = ", ".join(role for role, _ in by_step[unknown])
        yield f"step {unknown} of {roles} is not in docs/guide-steps.yml"
    for step in steps:
        entries = [entry for _, entry in by_step.get(step["step"], [])]
        if step.get("not_yet"):
            if entries:
                yield f"step {step['step']} is done by a role and still said to be missing (not_yet)"
            continue
        if not entries:
            yield f"step {step['step']} ({step['title']}) has no role"
            continue
        if not step.get("looks") and not any(entry.get("tasks") for entry in entries):
            yield f"step {step['step']} ({step['title']}) has no task"
        if not any(entry.get("verified_by") for entry in entries):
            yield f"step {step['step']} ({step['title']}) is verified by nothing"


def main():
    PAGE.write_text(page())
    found = list(problems())
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
