"""`hass simulate`: exit statuses, what is printed, golden logs, and the search for a broken rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hass_runtime.cli.main import main
from hass_runtime.decide import gates
from hass_runtime.simulator.dice import fair, roll
from hass_runtime.simulator.scenario import Event, Scenario, load, parse
from hass_runtime.simulator.shrink import shrink

GOOD = """
name: a dead host
settings: {polling_interval: 1}
events: [{at: 10, power_cut: host1}]
run_for: 60
expect:
  - {by: 30, fenced: host1}
"""


def hass(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["simulate", *map(str, arguments)])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "all" / "good" / "scenario.yml"
    path.parent.mkdir(parents=True)
    path.write_text(GOOD)
    return path


def test_it_tells_what_happened_and_what_came_of_it(good: Path) -> None:
    result = hass(good)
    assert result.exit_code == 0
    assert "    10.0  host1      world.power_cut\n" in result.output
    assert "ok      {by: 30, fenced: host1} at 16" in result.output
    assert result.output.endswith("1 of 1 expectations held, no safety rule broken\n")
    assert "power_cut" not in hass("--quiet", good).output


def test_an_expectation_that_fails_is_status_1(good: Path) -> None:
    good.write_text(GOOD.replace("by: 30", "by: 11"))
    result = hass(good)
    assert result.exit_code == 1
    assert "FAILED  {by: 11, fenced: host1}" in result.output


def test_a_broken_rule_is_status_1(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "closed", lambda view, host, playbook="": None)
    good.write_text(GOOD.replace("power_cut: host1", "power_cut: [host1, host2]"))
    result = hass("-q", good)
    assert result.exit_code == 1
    assert "BROKEN  rule 4: the gates: host2 at " in result.output


def test_json_is_one_object_a_line(good: Path) -> None:
    result = hass("--json", good)
    rows = [json.loads(line) for line in result.output.splitlines()]
    assert all({"t", "event", "subject"} <= row.keys() for row in rows)
    assert rows[-1]["event"] == "simulation.ended"
    assert rows[-1]["ok"] is True
    fenced = next(row for row in rows if row["event"] == "host.fenced")
    assert (fenced["subject"], fenced["t"]) == ("host1", pytest.approx(16.4, abs=0.5))
    assert (
        next(row for row in rows if row["event"] == "expectation.held")["subject"]
        == "{by: 30, fenced: host1}"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no scenario is given"),
        (["--random", "0"], "--random"),
        (["--random", "2", "x.yml"], "--random makes its own"),
        (["nowhere.yml"], "nowhere.yml"),
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], words: str) -> None:
    result = hass(*arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_a_bad_file_is_status_2_with_file_line_and_key(good: Path) -> None:
    good.write_text(GOOD.replace("power_cut", "powercut"))
    result = hass(good)
    assert result.exit_code == 2
    assert f"{good}:4: events.powercut: no such event" in result.output


def test_settings_that_do_not_fit_together_are_status_2(good: Path) -> None:
    good.write_text(GOOD.replace("polling_interval: 1", "paths.symptoms: /no/such/table.yml"))
    result = hass(good)
    assert result.exit_code == 2
    assert "/no/such/table.yml" in result.output


def test_a_directory_is_all_its_scenarios_with_their_golden_logs(good: Path) -> None:
    directory = good.parents[1]
    other = directory / "other" / "scenario.yml"
    other.parent.mkdir()
    other.write_text(GOOD)
    assert hass(directory).output.endswith("2 of 2 scenarios passed\n")
    assert hass("--update", directory).exit_code == 0
    log = good.with_name("log.expect")
    assert "world.power_cut" in log.read_text()
    assert hass(directory).exit_code == 0
    log.write_text(log.read_text().replace("world.power_cut", "world.power_lost"))
    result = hass(directory)
    assert result.exit_code == 1
    assert f"{log}:4: the log differs:" in result.output
    assert "1 of 2 scenarios passed" in result.output
    log.write_text(log.read_text().replace("world.power_lost", "world.power_cut") + "one more\n")
    assert hass(good.parent).exit_code == 1


def test_random_schedules_end_with_their_statistics(tmp_path: Path) -> None:
    quiet = hass("--random", 3, "--save", tmp_path, "--seed", 1)
    assert quiet.exit_code == 0, quiet.output
    assert "3 schedules, 0.3 simulated hours" in quiet.output
    assert "0 violations" in quiet.output
    one, two = (hass("--random", 3, "--json", "--seed", 1, "--jobs", jobs) for jobs in (1, 2))
    rows = [json.loads(result.output.splitlines()[-1]) for result in (one, two)]
    assert all(row.pop("took") > 0 for row in rows)
    assert rows[0] == rows[1]
    assert list(tmp_path.iterdir()) == []


def test_what_breaks_a_rule_is_made_small_and_can_be_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "closed", lambda view, host, playbook="": None)
    result = hass("--random", 200, "--save", tmp_path)
    assert result.exit_code == 1
    (path,) = tmp_path.glob("broken-0-*.yml")
    assert f"replay it: hass simulate {path}" in result.output
    small = load(path)
    index = int(path.stem.rpartition("-")[2])
    assert len(small.events) <= len(roll(0, index).events)
    assert len(small.events) <= 3
    again = hass("-q", path)
    assert again.exit_code == 1
    assert "BROKEN" in again.output
    monkeypatch.undo()
    assert hass("-q", path).exit_code == 0


def test_shrinking_leaves_only_what_matters() -> None:
    base = roll(9, 3)
    names = [host.name for host in base.hosts]
    events = tuple(
        Event(float(at), "power_cut", (names[at // 10 % 2],), 33.3 if at == 40 else None)
        for at in range(10, 90, 10)
    )
    scenario = Scenario("x", base.settings, base.hosts, base.instances, events, 600.0, ())

    def breaks(candidate: Scenario) -> bool:
        """It takes the second host, twice."""
        hit = [event for event in candidate.events if names[1] in event.subjects]
        return len(hit) >= 2 and len(candidate.hosts) >= 2

    small = shrink(scenario, breaks)
    assert breaks(small)
    assert len(small.events) == 2
    assert len(small.hosts) == 2
    assert small.instances == ()
    assert dict(small.settings) == {}
    assert all(event.duration is None for event in small.events)
    assert small.run_for == 60.0


def test_shrinking_asks_no_more_often_than_it_may() -> None:
    asked = []

    def breaks(candidate: Scenario) -> bool:
        asked.append(candidate)
        return True

    shrink(roll(9, 3), breaks, most=5)
    assert len(asked) <= 5


@pytest.mark.parametrize(
    ("events", "good"),
    [
        # Its own watchdog timer gives the lie away, as long as somebody re-arms it.
        ("{at: 10, bmc_lies: host1}, {at: 20, network_cut: host1}", True),
        ("{at: 10, bmc_lies: host1}, {at: 20, os_hang: host1}", False),
        # It was seen for long enough while the host answered.
        ("{at: 10, bmc_lies: host1}, {at: 50, os_hang: host1}", True),
        ("{at: 10, bmc_lies: host1}, {at: 12, controller_kill: {for: 10}}, {at: 50, os_hang: host1}", False),
        ("{at: 10, bmc_lies: host1}, {at: 15, agent_stop: host1}, {at: 50, os_hang: host1}", False),
        ("{at: 10, os_hang: {host: host1, for: 30}}, {at: 39, bmc_lies: host1}", False),
        ("{at: 10, os_hang: {host: host1, for: 30}}, {at: 41, bmc_lies: host1}", True),
        ("{at: 10, bmc_lies: host1}, {at: 20, network_cut: host2}", True),
        ("{at: 10, operator: {do: confirm_fenced, subject: host1}}", False),
        ("{at: 9, power_cut: host1}, {at: 10, operator: {do: confirm_fenced, subject: host1}}", True),
    ],
)
def test_a_schedule_is_fair_when_not_everything_lies_at_once(events: str, good: bool) -> None:
    assert fair(parse(f"events: [{events}]", "x.yml")) is good
