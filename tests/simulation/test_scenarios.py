"""Every scenario in tests/scenarios: its expectations hold, no rule breaks, and its log is as written."""

from __future__ import annotations

from pathlib import Path

import pytest

from hass_runtime.simulator.record import text_of
from hass_runtime.simulator.run import simulate
from hass_runtime.simulator.scenario import load

SCENARIOS = sorted((Path(__file__).parents[1] / "scenarios").glob("*/scenario.yml"))


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 12


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.parent.name)
def test_scenario(path: Path) -> None:
    result = simulate(load(path))
    failed = [judgement.text() for judgement in result.judgements if not judgement.held]
    broken = [violation.text() for violation in result.violations]
    assert failed + broken == []
    expected = path.with_name("log.expect")
    assert expected.exists(), f"hass simulate --update {path.parent}"
    # When only words have changed: hass simulate --update tests/scenarios, and read the difference.
    assert text_of(result.entries).splitlines() == expected.read_text(encoding="utf-8").splitlines()
    assert path.with_name("README.md").exists()
