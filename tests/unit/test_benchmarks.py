"""The benchmarks run and fill their tables; how long anything takes is not asserted."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses and processes look there
    spec.loader.exec_module(module)
    return module


def test_the_decision_step_of_two_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = load("decisions", monkeypatch)
    monkeypatch.setattr(decisions, "REPEATS", 1)
    table = decisions.main((100, 200))
    assert table.row_count == 2 * len(decisions.MOMENTS)
    assert list(table.columns[1].cells) == ["100", "200"] * 3
    # Nobody is fenced in a storm; each host that fell is told of once.
    assert list(table.columns[4].cells)[-2:] == ["240", "480"]


def test_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = load("simulation", monkeypatch)
    table = simulation.main(2)
    assert table.row_count in (1, 2)
    assert next(iter(table.columns[4].cells)) == "1.00"


def test_the_survey_of_a_cloud_takes_calls_by_pages_and_shapes_not_by_hosts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readiness = load("readiness", monkeypatch)
    table = readiness.main((10, 60))
    assert list(table.columns[1].cells) == ["200", "1200"]
    # Services, aggregates, server groups, and a page a thousand instances.
    assert list(table.columns[2].cells) == ["4", "5"]
    # Names of the providers, what all of them have left, and one a flavor.
    assert list(table.columns[3].cells) == ["5", "5"]
    assert list(table.columns[6].cells) == ["10", "60"]
