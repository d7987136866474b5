"""docs/guide-coverage.md is what the roles say, and no step of the guide is left out."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("guide_coverage", ROOT / "docs" / "guide_coverage.py")
guide_coverage = importlib.util.module_from_spec(spec)
spec.loader.exec_module(guide_coverage)


def test_the_page_is_up_to_date():
    assert guide_coverage.PAGE.read_text() == guide_coverage.page(), "run: make docs"


def test_no_step_is_left_out():
    assert list(guide_coverage.problems()) == []


def test_what_is_not_part_of_this_version_says_so():
    row = next(line for line in guide_coverage.page().splitlines() if line.startswith("| 4.2 |"))
    assert "Not part of this version yet" in row


def test_steps_are_in_the_order_of_the_guide_and_there_once():
    numbers = [step["step"] for step in guide_coverage.guide_steps()]
    assert len(numbers) == len(set(numbers))
    plain = [tuple(map(int, number.split("."))) for number in numbers if number != "P.1"]
    assert plain == sorted(plain)
    assert numbers[-1] == "P.1"


@pytest.fixture
def made_up(tmp_path):
    """A small guide of three steps, and a role; a function that writes the role's entries."""
    (tmp_path / "docs").mkdir()
    steps = [
        {"step": "1.1", "title": "Do"},
        {"step": "1.2", "title": "Look", "looks": True},
        {"step": "1.3", "title": "Panels", "not_yet": "Later"},
    ]
    (tmp_path / "docs" / "guide-steps.yml").write_text(yaml.safe_dump({"steps": steps}))

    def put(*entries):
        meta = tmp_path / "roles" / "ipmi" / "meta"
        meta.mkdir(parents=True, exist_ok=True)
        (meta / "guide.yml").write_text(yaml.safe_dump({"steps": list(entries)}))
        return tmp_path

    return put


DO = {"step": "1.1", "tasks": ["Do it"], "verified_by": ["it is done"], "instead": "a | b"}
LOOK = {"step": "1.2", "tasks": [], "verified_by": ["it looks good"]}


def test_a_row_names_role_task_check_and_replacement(made_up):
    root = made_up(DO, LOOK)
    assert list(guide_coverage.problems(root)) == []
    assert guide_coverage.page(root).splitlines()[-3:] == [
        "| 1.1 | Do | [ipmi](../roles/ipmi/README.md) | Do it | it is done | a \\| b |",
        "| 1.2 | Look | [ipmi](../roles/ipmi/README.md) | - | it looks good | |",
        "| 1.3 | Panels | | | | Later |",
    ]


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([LOOK], "step 1.1 (Do) has no role"),
        ([{**DO, "tasks": []}, LOOK], "step 1.1 (Do) has no task"),
        ([DO, {**LOOK, "verified_by": []}], "step 1.2 (Look) is verified by nothing"),
        ([DO, LOOK, {**DO, "step": "9.9"}], "step 9.9 of ipmi is not in docs/guide-steps.yml"),
        (
            [DO, LOOK, {**DO, "step": "1.3"}],
            "step 1.3 is done by a role and still said to be missing (not_yet)",
        ),
    ],
)
def test_what_is_missing_is_named(made_up, entries, problem):
    assert list(guide_coverage.problems(made_up(*entries))) == [problem]
