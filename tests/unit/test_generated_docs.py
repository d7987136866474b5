"""The pages that are made from the code say what the code says, and nothing in them is without proof."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from settings_files import CONTROLLER, changed, controller, ini_text, write

from hass_runtime.cli.main import main
from hass_runtime.decide.gates import GATES
from hass_runtime.decide.symptoms import WORDS, Rung, Sign, Symptom
from hass_runtime.domain import Gate, HostState, Layer
from hass_runtime.remedy.execute import Executor
from hass_runtime.remedy.playbooks import Shelf
from hass_runtime.report import policy_sources
from hass_runtime.report.policy import deadline_of
from hass_runtime.report.policy_doc import Sources, between, faults_page, gates_table, lifecycle_table
from hass_runtime.settings.controller import shipped_playbooks
from hass_runtime.settings.model import RecoverySettings

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("faults.md", "safety.md", "architecture.md")  # made, or with a part that is made


@pytest.mark.parametrize("name", PAGES)
def test_a_committed_page_is_what_the_generator_makes(name: str) -> None:
    path = ROOT / "docs" / name
    assert path.read_text(encoding="utf-8") == policy_sources.pages(ROOT)[path], "run `make docs`"


@pytest.mark.parametrize("name", [*PAGES, "policy.md"])
def test_links_of_the_page_lead_somewhere(name: str) -> None:
    path = ROOT / "docs" / name
    links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_fault_with_a_remedy_is_shown_by_a_scenario_and_every_other_at_least_by_a_test() -> None:
    sources = policy_sources.read(ROOT)
    remedied = dict.fromkeys(row.fault for row in sources.rows if row.ladder)
    assert [fault for fault in remedied if not sources.shows_fault.get(fault)] == []
    shown = {*sources.shows_fault, *sources.fault_tests}
    assert [row.fault for row in sources.rows if row.fault not in shown] == []


def test_every_gate_is_shown_by_a_test_or_a_scenario() -> None:
    sources = policy_sources.read(ROOT)
    shown = {gate for found in (sources.tests, sources.shows_gate) for gate, names in found.items() if names}
    assert [gate.value for gate in Gate if gate.value not in shown] == []


ROW = Symptom(
    "leak",
    Layer.HARDWARE,
    {Layer.HARDWARE: WORDS["failed"] | {Sign.WARNING}, Layer.NETWORK: WORDS["any"]},
    "water | on the floor",
    (Rung("mop", 3, 90.0), Rung("host_failure")),
    patient=True,
)


def test_a_row_of_the_page() -> None:
    page = faults_page(Sources((ROW,), {"mop": "Dry the floor"}, {"leak": ["flood", "rain", "pipe", "tap"]}))
    line = next(line for line in page.splitlines() if line.startswith("| 1 |"))
    assert line == (
        "| 1 | **leak**<br>water \\| on the floor | hardware | hardware: warning or failed<br>network: any "
        "| `network_transient_time` | `mop` × 3, 90 s<br>`host_failure` "
        "| all but `domain`, `no_target`, `unproven`<br>all "
        "| [flood](../tests/scenarios/flood/scenario.yml), [rain](../tests/scenarios/rain/scenario.yml), "
        "[pipe](../tests/scenarios/pipe/scenario.yml) |"
    )
    assert "| `mop` | Dry the floor | `[recovery] run_timeout` | all but" in page
    assert "**nothing yet**" in faults_page(Sources((ROW,), {}))


def test_tables_have_every_gate_and_every_state_in_their_order() -> None:
    gates = [line.split("|")[2].strip(" `") for line in gates_table(Sources((), {})).splitlines()[4:]]
    assert gates == [keeper.gate.value for keeper in GATES]
    states = [line.split("|")[1].strip(" `") for line in lifecycle_table().splitlines()[4:]]
    assert states == [state.value for state in HostState]


def test_what_is_between_the_markers_is_replaced_and_nothing_else() -> None:
    text = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n"
    assert between(text, "x", "new") == "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb\n"
    for broken in ("nothing", "<!-- x:begin -->", "<!-- x:end --> <!-- x:begin -->"):
        with pytest.raises(ValueError, match="expected the lines <!-- x:begin -->"):
            between(broken, "x", "new")


def test_scenarios_and_tests_are_found_by_what_they_expect(tmp_path: Path) -> None:
    scenario = tmp_path / "tests" / "scenarios" / "wet"
    scenario.mkdir(parents=True)
    (scenario / "scenario.yml").write_text(
        "expect:\n"
        "  - {by: 1, incident: {host: h, fault: leak}}\n"
        "  - {by: 2, held: {host: h, gate: rate}}\n"
        "  - {never: two_writers}\n"
    )
    (tmp_path / "tests" / "unit").mkdir()
    (tmp_path / "tests" / "unit" / "test_z.py").write_text("def test_it():\n    assert Gate.BLIND\n")
    (tmp_path / "tests" / "unit" / "test_gates.py").write_text(
        "def test_that():\n    Gate.BLIND, Gate.RATE\n"
    )
    sources = policy_sources.read(tmp_path)
    assert sources.shows_fault == {"leak": ["wet"]}
    assert sources.shows_gate == {"rate": ["wet"]}
    assert sources.tests["blind"] == [("test_gates.py", "test_that"), ("test_z.py", "test_it")]
    assert sources.tests["rate"] == [("test_gates.py", "test_that")]


# The worked example of docs/policy.md: its files are written down, its commands run, its output compared.

POLICY = ROOT / "docs" / "policy.md"
_FILES = re.compile(r"<!-- file: (\S+) -->\n```yaml\n(.*?)```", re.S)
_CONSOLES = re.compile(r"```console\n(.*?)```", re.S)


def played(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """(what the page shows of a console, what the commands really say)."""
    page, etc = POLICY.read_text(encoding="utf-8"), str(tmp_path / "hass")
    for name, text in _FILES.findall(page):
        path = Path(name.replace("/etc/hass", etc))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("/etc/hass", etc))
    paths = {"paths.own_playbooks": f"{etc}/playbooks"}
    config = str(write(tmp_path, ini_text(changed(CONTROLLER, paths))))
    defaults = {"policy": {name: {"config": config} for name in ("check", "show", "explain")}}
    for shown in _CONSOLES.findall(page):
        said = ""
        for command in re.findall(r"^\$ hass (.*)$", shown, re.M):
            words = command.replace("/etc/hass", etc).split()
            done = CliRunner().invoke(main, words, default_map=defaults)
            said += f"$ hass {command}\n{done.output.replace(etc, '/etc/hass')}"
        yield shown, said


def test_the_worked_example_of_the_policy_page_is_what_the_commands_say(tmp_path: Path) -> None:
    consoles = list(played(tmp_path))
    assert len(consoles) == 3
    for shown, said in consoles:
        assert shown == said


def test_the_policy_page_has_every_sign_every_layer_and_every_variable_of_a_rung() -> None:
    page = POLICY.read_text(encoding="utf-8")
    signs = re.findall(r"^\| `([a-z]+)` \|", page[page.index("### Signs") : page.index("### Ladders")], re.M)
    assert sorted(signs) == sorted(WORDS)
    for layer in Layer:
        assert f"`{layer.value}`" in page
    source = inspect.getsource(Executor)
    given = re.findall(r'^ {16}"(\w+)":', source[source.index("extravars={") :], re.M)
    assert {"host", "config", "incident", "reason"} <= set(given)
    assert [name for name in given if f"`{name}`" not in page] == []


@pytest.mark.parametrize("playbook", sorted(Shelf(shipped_playbooks()).rungs() | {"remount"}))
def test_the_deadline_that_is_told_is_the_one_that_is_set(tmp_path: Path, playbook: str) -> None:
    """Only the setting that the page names changes how long a try of the playbook may take."""

    def limit(**changes: str) -> float:
        settings = controller(tmp_path, {f"recovery.{name}": value for name, value in changes.items()})
        return Executor._deadline(SimpleNamespace(_settings=settings), playbook)  # type: ignore[arg-type]

    named = deadline_of(Rung(playbook)).removeprefix("[recovery] ")
    every = {field.name for field in fields(RecoverySettings) if field.name.endswith("_timeout")}
    others = every - {named, "run_timeout"}
    assert limit(**{named: "20"}) != limit(**{named: "21"})
    assert limit(**dict.fromkeys(others, "20")) == limit()
