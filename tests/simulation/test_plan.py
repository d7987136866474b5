"""Plans held against what happens: the page of the docs, and the check mode of the playbooks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hass_runtime.decide.foresight import faults_of, plan
from hass_runtime.decide.readiness import Back
from hass_runtime.remedy.evacuation import Evacuator
from hass_runtime.remedy.fencing import Look
from hass_runtime.simulator.cloud import MadeUpCloud
from hass_runtime.simulator.outlook import facts_of
from hass_runtime.simulator.run import Simulation
from hass_runtime.simulator.scenario import parse

ROOT = Path(__file__).parents[2]


def generator(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    return generator("plan_page")


def test_the_page_of_explanations_is_what_the_generator_makes() -> None:
    page = ROOT / "docs" / "explain.md"
    assert page.read_text(encoding="utf-8") == generator("explain_page").page(), "run `make docs`"


def test_plan_and_story_agree_for_every_fault_and_the_page_says_so(pages: ModuleType) -> None:
    assert [row.fault for row in pages.rows() if not row.agree] == []
    assert (ROOT / "docs" / "plan.md").read_text(encoding="utf-8") == pages.page(), "run `make docs`"


def test_every_fault_of_the_table_is_on_the_page_or_named_as_not_played(pages: ModuleType) -> None:
    row = pages.play("power")
    assert row.planned.first == "host_failure"
    assert row.planned.moves
    told = {*pages.STORIES, *pages.NOT_PLAYED}
    simulation = Simulation(parse("name: x\n", "x.yml"))
    assert told == {row.fault for row in simulation.policy.table}


SCENARIO = """
name: instances of every kind
settings: {polling_interval: 1}
cluster:
  hosts: 3
  instances:
    - {name: web, host: host2, priority: 3}
    - {name: batch, host: host2, state: stopped}
    - {name: other, host: host1}
run_for: 30
"""


def test_the_check_mode_of_the_evacuation_names_the_same_instances_in_the_same_order() -> None:
    played = Simulation(parse(SCENARIO, "x.yml"))
    found: list[tuple[list[str], list[tuple[str, str]]]] = []

    def look() -> None:
        daemon = played._daemon
        assert daemon is not None
        planned = plan(daemon.controller.last_view, facts_of(played.nova), "host2", "power").ready
        assert planned is not None
        cloud = MadeUpCloud(played.nova, "2.94", lambda what, subject, words: None)
        # Check mode: what it would begin with, and nothing is changed. Its fence is only foreseen.
        played.nova.services["host2"].forced_down = True
        foreseen = Evacuator(cloud, "host2", since=0.0, still_off=lambda: Look(True)).foresee()
        played.nova.services["host2"].forced_down = False
        found.append(
            (
                [each.instance.name for each in planned.instances if each.back is Back.YES],
                [(move.name, words) for move, words in foreseen],
            )
        )

    played.hub.at(20.0, look)
    played.run()
    ((planned, foreseen),) = found
    assert planned == [name for name, _ in foreseen] == ["web", "batch"]
    assert {words for _, words in foreseen} == {"evacuate"}


def test_every_fault_can_be_planned_for_every_kind_of_host() -> None:
    text = SCENARIO.replace("hosts: 3", "hosts: [host1, {name: host2, ipmi: false}, host3]")
    played = Simulation(parse(text, "x.yml"))
    becomes: dict[tuple[str, str], str] = {}

    def look() -> None:
        daemon = played._daemon
        assert daemon is not None
        view = daemon.controller.last_view
        for fault in faults_of(view):
            for host in view.hosts:
                becomes[host, fault] = plan(view, facts_of(played.nova), host, fault).becomes

    played.hub.at(20.0, look)
    played.run()
    assert {fault: made for (host, fault), made in becomes.items() if host == "host1" and fault != made} == {}
    # Without a BMC nothing can say that it has no power.
    assert becomes["host2", "power"] == "unreachable"
    assert becomes["host2", "network"] == "unreachable"
    assert becomes["host2", "storage"] == "storage"
