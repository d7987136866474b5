"""An operator's own rungs: a playbook dropped into a directory and named in a table."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from settings_files import controller

from hass_runtime.daemon import load_table
from hass_runtime.decide.symptoms import SymptomError
from hass_runtime.remedy.playbooks import NAME, Shelf
from hass_runtime.remedy.runs import Launcher, RunEnded, RunEvent, RunSpec, TaskEnded, TaskStarted
from hass_runtime.settings.controller import shipped_playbooks
from hass_runtime.simulator.run import simulate
from hass_runtime.simulator.scenario import parse

LONG = 120.0
SHIPPED = shipped_playbooks()
MODULE = """\
#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule(argument_spec={"lamp": {"type": "str", "required": True}})
module.exit_json(changed=True, msg=f"lamp of {module.params['lamp']} blinks")
"""
BLINK = """\
- name: Blink
  hosts: localhost
  connection: local
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - name: What it was given
      ansible.builtin.assert:
        that:
          - host == 'host1'
          - incident == 7
          - reason == 'a lamp is out'
          - config is defined
    - name: Blink {{ host }}
      acme_blink: {lamp: "{{ host }}"}
"""
TABLE = """\
- fault: storage
  layer: storage
  when: {storage: failed}
  remedy:
    - {playbook: blink, tries: 2, deadline: 60}
    - host_drain
  why: it cannot write
- fault: power
  layer: power
  when: {power: failed}
  remedy: host_failure
  why: it is off
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A directory of one's own with the rung `blink`, and its module."""
    directory = tmp_path / "own"
    (directory / "library").mkdir(parents=True)
    (directory / "blink.yml").write_text(BLINK)
    (directory / "library" / "acme_blink.py").write_text(MODULE)
    return directory


def shelf_problems(own: Path) -> list[str]:
    return Shelf(SHIPPED, own).problems()


def test_its_playbooks_are_found_and_its_modules_beside_those_of_hass(own: Path) -> None:
    shelf = Shelf(SHIPPED, own)
    assert shelf.rungs() == Shelf(SHIPPED).rungs() | {"blink"}
    assert "host_restore" not in shelf.rungs()
    assert shelf.find("blink") == own / "blink.yml"
    assert shelf.libraries("blink") == (own / "library", SHIPPED / "library")
    assert shelf.find("host_failure") == SHIPPED / "host_failure.yml"
    assert shelf.libraries("host_failure") == (SHIPPED / "library",)
    assert shelf.problems() == []
    assert Shelf(SHIPPED, own / "no").rungs() == Shelf(SHIPPED).rungs()
    assert Shelf(SHIPPED, own / "no").problems() == []
    assert Shelf(SHIPPED, SHIPPED).problems() == []


@pytest.mark.parametrize("name", ["host_failure", "host_drain", "host_restore", "service_restart"])
def test_a_file_never_takes_the_place_of_one_of_hass(own: Path, name: str) -> None:
    (own / f"{name}.yml").write_text(BLINK)
    assert Shelf(SHIPPED, own).find(name) == SHIPPED / f"{name}.yml"
    (told,) = shelf_problems(own)
    assert told.startswith(f"{own}/{name}.yml: {name} comes from {SHIPPED}, expected another name ")
    assert "[paths] playbooks" in told
    # Who names a directory of his own for all of them has said so.
    other = own.parent / "all"
    other.mkdir()
    assert Shelf(other, own).problems() == []
    assert Shelf(other, own).find(name) == own / f"{name}.yml"


@given(st.text("aZ9_-. é/", min_size=1, max_size=8))
def test_only_good_names_are_rungs(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    own = tmp_path_factory.mktemp("own")
    if "/" in name or name in (".", ".."):
        return
    (own / f"{name}.yml").write_text("[]")
    shelf = Shelf(own / "none", own)
    good = NAME.fullmatch(name) is not None
    assert shelf.rungs() == ({name} if good else frozenset())
    assert bool(shelf.problems()) is not good


def test_the_daemon_takes_own_rungs_and_refuses_a_replacement_with_one_clear_line(
    own: Path, tmp_path: Path
) -> None:
    table = tmp_path / "mine.yml"
    table.write_text(TABLE)
    settings = controller(tmp_path, {"paths.own_playbooks": str(own), "paths.symptoms": str(table)})
    assert [rung.playbook for rung in load_table(settings)[0].ladder] == ["blink", "host_drain"]
    (own / "host_failure.yml").write_text(BLINK)
    with pytest.raises(SymptomError) as refused:
        load_table(settings)
    (line,) = refused.value.problems
    assert line.startswith(f"{own}/host_failure.yml: ")
    (own / "host_failure.yml").unlink()
    (own / "blink.yml").unlink()
    with pytest.raises(SymptomError, match=r"mine\.yml:4: row 1: key 'remedy': no playbook 'blink'"):
        load_table(settings)


def test_without_a_key_the_usual_directory_is_taken(tmp_path: Path) -> None:
    assert controller(tmp_path).paths.own_playbooks == Path("/etc/hass/playbooks")


class Sink:
    def __init__(self) -> None:
        self.events: list[RunEvent] = []
        self.changed = threading.Condition()

    def __call__(self, event: RunEvent) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def until(self, kind: type) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: any(isinstance(e, kind) for e in self.events), LONG)


def spec(tmp_path: Path, **changes: object) -> RunSpec:
    run_id = f"own-{uuid.uuid4().hex[:8]}"
    values: dict[str, object] = {
        "run_id": run_id,
        "incident": 7,
        "host": "host1",
        "playbook": "blink",
        "run_dir": tmp_path / "runs" / run_id,
        "config": Path("/nowhere/hass.conf"),
        "deadline": LONG,
        "breath": LONG,
        "extravars": {"reason": "a lamp is out"},
    }
    return RunSpec(**{**values, **changes})  # type: ignore[arg-type]


def test_the_real_launcher_runs_it_with_its_module_and_the_variables_of_every_rung(
    own: Path, tmp_path: Path
) -> None:
    sink = Sink()
    assert Launcher(SHIPPED, own=own).start(spec(tmp_path), sink).wait(LONG)
    ended = sink.events[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.status, ended.reason) == ("successful", "")
    done = [(event.name, event.detail) for event in sink.events if isinstance(event, TaskEnded)]
    assert done[-1] == ("Blink host1", "lamp of host1 blinks")


def test_it_may_use_the_modules_of_hass(own: Path, tmp_path: Path) -> None:
    head = BLINK[: BLINK.index("    - name: What it was given")]
    task = "    - name: Ask\n      hass_host_instances: {host: '{{ host }}', config: /nowhere/hass.conf}\n"
    (own / "blink.yml").write_text(head + task)
    sink = Sink()
    assert Launcher(SHIPPED, own=own).start(spec(tmp_path), sink).wait(LONG)
    ended = sink.events[-1]
    assert isinstance(ended, RunEnded)
    assert ended.status == "failed"
    assert "/nowhere/hass.conf" in ended.reason, ended  # the module itself looked for its configuration


def test_it_is_cancelled_and_timed_out_as_any_other(own: Path, tmp_path: Path) -> None:
    head = BLINK[: BLINK.index("    - name: What it was given")]
    (own / "blink.yml").write_text(head + "    - name: Sleep\n      ansible.builtin.command: sleep 300\n")
    late, told = Sink(), Sink()
    launcher = Launcher(SHIPPED, own=own)
    one = launcher.start(spec(tmp_path, deadline=3.0), late)
    other = launcher.start(spec(tmp_path), told)
    told.until(TaskStarted)
    other.cancel("a worse fault")
    assert one.wait(LONG)
    assert other.wait(LONG)
    ends = [sink.events[-1] for sink in (late, told)]
    assert [end.status for end in ends if isinstance(end, RunEnded)] == ["timeout", "cancelled"]


def scenario(own: Path, table: Path, more: str = "") -> str:
    return (
        f"settings: {{polling_interval: 1, network_transient_time: 5, own_playbooks: {own}, "
        f"symptoms: {table}}}\n"
        "cluster: {hosts: 3, instances_per_host: 1}\n"
        f"events: [{{at: 10, storage_cut: host1}}{more}]\nrun_for: 200\n"
        "expect:\n"
        "  - {by: 60, incident: {host: host1, fault: storage}}\n"
        "  - {by: 60, host: host1, state: faulty}\n"
        "  - {never: {fenced: host1}}\n"
    )


def test_it_runs_in_a_simulated_scenario_as_often_as_the_table_says(own: Path, tmp_path: Path) -> None:
    table = tmp_path / "mine.yml"
    table.write_text(TABLE)
    (own / "blink.yml").write_text(
        BLINK.replace("          - incident == 7\n", "").replace("a lamp is out", "it cannot write")
    )
    result = simulate(parse(scenario(own, table), "x.yml"))
    assert result.ok, [judgement.text() for judgement in result.judgements if not judgement.held]
    ends = [entry.words for entry in result.entries if entry.event == "run.ended"]
    assert ends[:3] == ["blink successful", "blink successful", "host_drain successful"]
    steps = [entry.words for entry in result.entries if entry.event == "run.step"]
    assert steps[:2] == ["What it was given: ok", "Blink host1: changed"]


def test_a_worse_fault_ends_it(own: Path, tmp_path: Path) -> None:
    table = tmp_path / "mine.yml"
    table.write_text(TABLE)
    tasks = "".join(f"    - {{name: Wait {number}, acme_wait: {{}}}}\n" for number in range(100))
    (own / "blink.yml").write_text(f"- hosts: localhost\n  tasks:\n{tasks}")
    text = scenario(own, table, ", {at: 25, power_cut: host1}")
    result = simulate(parse(text.replace("{never: {fenced: host1}}", "{by: 100, fenced: host1}"), "x.yml"))
    assert result.ok, [judgement.text() for judgement in result.judgements if not judgement.held]
    ends = [entry.words for entry in result.entries if entry.event == "run.ended"]
    assert ends[0].startswith("blink cancelled")
    assert ends[1] == "host_failure successful"
