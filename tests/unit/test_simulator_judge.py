"""What the expectations of a scenario mean: for each a run in which it holds, and one in which not."""

from __future__ import annotations

import pytest

from hass_runtime.simulator.run import simulate
from hass_runtime.simulator.scenario import parse

DEAD = """
settings: {{polling_interval: 1}}
cluster:
  hosts: 3
  instances:
    - {{name: web, host: host1}}
    - {{name: batch, host: host1, state: stopped}}
    - {{name: db, host: host2}}
events: [{{at: 10, power_cut: {{host: host1, for: 90}}}}]
run_for: 250
expect: [{expectation}]
"""


def held(expectation: str, text: str = DEAD) -> bool:
    result = simulate(parse(text.format(expectation=expectation), "x.yml"))
    (judgement,) = result.judgements
    assert result.violations == ()
    assert judgement.text().startswith("ok" if judgement.held else "FAILED")
    assert result.ok is judgement.held
    return judgement.held


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("{by: 30, fenced: host1}", "{by: 11, fenced: host1}"),
        ("{at: 60, fenced: host1}", "{at: 249, fenced: host1}"),
        ("{at: 249, not_fenced: host1}", "{by: 60, not_fenced: host1}"),
        ("{by: 200, host: host1, state: healthy}", "{by: 60, host: host1, state: healthy}"),
        ("{at: 9, host: host1, state: healthy}", "{at: 60, host: host1, state: healthy}"),
        ("{by: 60, host: host3, state: healthy}", "{by: 60, host: host3, state: faulty}"),
        ("{by: 60, instances_of: host1, running_on: others}",
         "{by: 12, instances_of: host1, running_on: others}"),
        ("{by: 60, instances_of: host1, running_on: [host2, host3]}",
         "{by: 60, instances_of: host1, running_on: host1}"),
        ("{by: 60, instance: web, state: active, on: others}",
         "{by: 11, instance: web, state: active, on: others}"),
        ("{by: 60, instance: batch, state: stopped, on: others}", "{by: 60, instance: batch, state: active}"),
        ("{at: 60, instance: db, on: host2}", "{at: 60, instance: db, on: host1}"),
        ("{by: 60, incident: {host: host1, fault: power}}",
         "{by: 60, incident: {host: host1, fault: network}}"),
        (
            "{by: 249, incident: {host: host1, fault: any, outcome: recovered}}",
            "{by: 249, incident: {host: host1, outcome: failed}}",
        ),
        ("{never: two_writers}", "{never: {fenced: host1}}"),
        ("{never: {fenced: host2}}", "{never: {evacuated: host1}}"),
        ("{never: {more_fenced_than: 1}}", "{never: {more_fenced_than: 0}}"),
        ("{never: {evacuated: host2}}", "{by: 60, held: {host: host1}}"),
        ("{never: {restarted: batch}}", "{by: 60, incident: {host: host2}}"),
    ],
)  # fmt: skip
def test_expectation(good: str, bad: str) -> None:
    assert held(good)
    assert not held(bad)


def test_a_hold_is_told_by_its_gate() -> None:
    text = DEAD.replace("events: [", "events: [{{at: 5, operator: {{do: disarm, for: 60}}}}, ")
    assert held("{by: 40, held: {host: host1, gate: disarmed}}", text)
    assert held("{by: 40, held: {host: host1}}", text)
    assert not held("{by: 40, held: {host: host1, gate: storm}}", text)
    assert not held("{at: 80, held: {host: host1}}", text)


def test_what_starts_again_by_hass_counts_as_restarted_and_what_a_person_starts_does_not() -> None:
    stopped_on_arrival = DEAD.replace("interval: 1}}", "interval: 1, evacuate_microversion: 2.95}}")
    assert not held("{never: {restarted: web}}", stopped_on_arrival)
    by_hand = DEAD.replace(
        "events: [", "events: [{{at: 60, operator: {{do: start_instance, subject: batch}}}}, "
    )
    assert held("{never: {restarted: batch}}", by_hand)
    assert held("{by: 70, instance: batch, state: active}", by_hand)


def test_an_expectation_that_fails_says_what_was_the_case() -> None:
    text = DEAD.format(expectation="{by: 12, instances_of: host1, running_on: others}")
    (judgement,) = simulate(parse(text, "x.yml")).judgements
    assert judgement.words == "not so: web"
    text = DEAD.format(expectation="{at: 60, host: host1, state: healthy}")
    (judgement,) = simulate(parse(text, "x.yml")).judgements
    assert "host1 is restoring" in judgement.words
