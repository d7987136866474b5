"""Playbooks as the simulator plays them: order, templates, blocks, and runs that end as real ones do."""

from __future__ import annotations

from pathlib import Path

import pytest

from hass_runtime.simulator import playbook
from hass_runtime.simulator.run import Result, simulate
from hass_runtime.simulator.scenario import Scenario, parse

REAL = Path(__file__).parents[2] / "playbooks" / "remediation"
BLOCKS = """
- hosts: localhost
  vars: {greeting: hello}
  tasks:
    - name: "{{ greeting }} {{ host }}"
      ansible.builtin.assert: {that: [host == 'host1', "greeting == 'hello'"]}
    - name: Own module
      acme.metal.blink: {lamp: "{{ host }}"}
      register: lamp
    - name: Not today
      acme.metal.explode: {}
      when: lamp.changed and host == 'host9'
    - block:
        - name: Breaks
          ansible.builtin.fail: {msg: "{{ nobody.knows | default('as it should') }}"}
        - name: Is never reached
          ansible.builtin.debug: {}
      rescue:
        - name: Rescued
          ansible.builtin.debug: {}
      always:
        - name: Reported
          ansible.builtin.set_stats: {data: {lamp: "{{ lamp.changed }}", host: "{{ host }}"}}
"""


def incident(tmp_path: Path, text: str) -> tuple[Scenario, Result]:
    """A host dies, and its remedy is the playbook in the text."""
    own = tmp_path / "remediation"
    own.mkdir()
    (own / "library").symlink_to(REAL / "library")
    (own / "host_failure.yml").write_text(text)
    (own / "service_restart.yml").write_text("[]")
    (own / "host_drain.yml").write_text("[]")
    (own / "instances_start.yml").write_text("[]")
    scenario = parse(
        f"settings: {{polling_interval: 1, paths.playbooks: {own}, retry_interval: 1000}}\n"
        "events: [{at: 10, power_cut: host1}]\nrun_for: 60\n",
        "x.yml",
    )
    return scenario, simulate(scenario)


def steps(result: Result) -> list[str]:
    return [entry.words for entry in result.entries if entry.event == "run.step"]


def ends(result: Result) -> list[str]:
    return [entry.words for entry in result.entries if entry.event == "run.ended"]


def test_tasks_of_an_operators_own_playbook_run_in_order_and_unknown_modules_are_taken_as_done(
    tmp_path: Path,
) -> None:
    _, result = incident(tmp_path, BLOCKS)
    assert steps(result)[:6] == [
        "hello host1: ok",
        "Own module: changed",
        "Not today: skipped (Conditional result was False)",
        "Breaks: failed (as it should)",
        "Rescued: ok",
        "Reported: ok",
    ]
    assert ends(result)[0] == "host_failure successful"


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("ansible.builtin.assert: {that: host == 'x', fail_msg: 'not {{ host }}'}", "not host1"),
        ("acme.blink: {lamp: '{{ nobody.knows }}'}", "undefined"),
        ("acme.blink: {lamp: '{{ host | no_such_filter }}'}", "no_such_filter"),
        ("hass_fence: {host: '{{ host }}', colour: red}", "Unsupported parameters: colour"),
        ("hass_fence: {}", "missing required arguments: host"),
        ("hass_power: {host: '{{ host }}', state: 'off'}", "must be one of on"),
        ("hass_evacuate: {host: '{{ host }}', proof: many}", "cannot be converted to dict"),
        ("hass_evacuate: {host: '{{ host }}'}", "not proven off"),
        ("hass_fence: {host: host9}", "names no host host9"),
    ],
)
def test_a_task_that_cannot_work_fails_its_run_with_the_reason(
    task: str, reason: str, tmp_path: Path
) -> None:
    _, result = incident(tmp_path, f"- hosts: localhost\n  tasks:\n    - name: Try\n      {task}\n")
    assert len(ends(result)) == 1
    assert ends(result)[0].startswith("host_failure failed: Try: ")
    assert reason in ends(result)[0]


def test_a_file_that_is_no_playbook_is_a_run_that_failed(tmp_path: Path) -> None:
    _, result = incident(tmp_path, "{}")
    assert "no list of plays" in ends(result)[0]


def test_a_template_of_one_expression_keeps_its_type() -> None:
    variables = {"moves": [1, 2], "none": None, "omit": playbook.OMIT}
    assert playbook.render("{{ moves }}", variables) == [1, 2]
    assert playbook.render("{{ moves }} and {{ moves | length }}", variables) == "[1, 2] and 2"
    assert playbook.render({"a": "{{ none or omit }}", "b": ["{{ moves[0] }}"]}, variables) == {"b": [1]}
    assert playbook.render("no template }}", variables) == "no template }}"
    with pytest.raises(playbook.TemplateFailed, match="undefined"):
        playbook.render("{{ nobody.knows }}", variables)


@pytest.mark.parametrize("name", ["host_failure", "host_restore", "service_restart", "host_drain"])
def test_the_real_playbooks_use_only_what_the_simulator_plays(name: str) -> None:
    book = playbook.load(REAL / f"{name}.yml")

    def actions(tasks: tuple[playbook.Task, ...]) -> list[str]:
        return [
            action
            for task in tasks
            for action in ([task.action] if task.action else actions(task.block + task.rescue + task.always))
        ]

    found = actions(book.tasks)
    assert any(action.startswith("hass_") for action in found)
    for action in found:
        short = action.rpartition(".")[2]
        assert short in ("assert", "set_stats", "debug") or (REAL / "library" / f"{action}.py").exists()


@pytest.mark.parametrize(
    ("outcome", "end"),
    [
        ("fail", "host_failure failed: "),
        ("crash", "host_failure crashed: its worker died"),
        ("hang", "host_failure timeout: not finished after 40 s"),
    ],
)
def test_a_run_comes_to_what_the_scenario_wants_and_the_next_one_is_well(outcome: str, end: str) -> None:
    scenario = parse(
        "settings: {polling_interval: 1, run_timeout: 40, recovery.restore_timeout: 60}\n"
        "cluster: {hosts: 3, instances_per_host: 1}\n"
        f"events: [{{at: 1, playbook: {{name: host_failure, outcome: {outcome}}}}},\n"
        "         {at: 10, power_cut: host1}]\n"
        "run_for: 300\n",
        "x.yml",
    )
    result = simulate(scenario)
    failures = [words for words in ends(result) if words.startswith("host_failure")]
    assert failures[0].startswith(end)
    assert failures[1:] == ["host_failure successful"]
    assert result.violations == ()


def test_a_slow_run_takes_longer_for_every_step() -> None:
    text = "settings: {polling_interval: 1}\nevents: [{at: 10, power_cut: host1}%s]\nrun_for: 300\n"
    slow = ", {at: 1, playbook: {name: host_failure, outcome: slow, seconds: 20}}"

    def ended(extra: str) -> float:
        result = simulate(parse(text % extra, "x.yml"))
        return next(entry.t for entry in result.entries if entry.event == "run.ended")

    assert ended(slow) > ended("") + 100


def test_a_run_dies_with_its_controller_and_with_its_lease() -> None:
    """Evacuations that were not begun by then are begun by the next run."""
    text = (
        "settings: {polling_interval: 1, evacuate_workers: 1}\ncluster: {hosts: 3, instances_per_host: 4}\n"
        "events: [{at: 10, power_cut: host1}, {at: 17, %s: {for: 30}}]\nrun_for: 300\n"
    )
    for event in ("controller_kill", "database_cut"):
        result = simulate(parse(text % event, "x.yml"))
        calls = [entry.t for entry in result.entries if entry.event == "nova.evacuate"]
        assert len(calls) == 4
        # The database's silence is only noticed when the lease is about to run out.
        assert not [t for t in calls if (19 if event == "controller_kill" else 33) < t < 47]
        assert [t for t in calls if t > 47]
        assert result.violations == ()
