"""Drills: what is waited for, what is told of it, and the report."""

from __future__ import annotations

import base64
import importlib.util
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.drills.goals import GoalError, Instance, View, check, missing
from hass_runtime.drills.report import as_json, main, page, picture, table
from hass_runtime.drills.story import doubles, restarts, tell

TOP = Path(__file__).resolve().parents[2]
CUT = 1_800_000_000.0
A, B = "a" * 36, "b" * 36


def instance(name, host, state="active", task=""):
    return Instance(name, name, host, state, task)


def view(*instances, incidents=(), **hosts):
    return View(hosts, {item.id: item for item in instances}, list(incidents))


class TestGoals:
    BEFORE = view(instance("vm1", "c1"), instance("vm2", "c2"), instance("off", "c1", "stopped"))
    ELSEWHERE = ({"instances_of": "c1", "running": "others"},)

    def test_an_instance_counts_when_it_is_settled_elsewhere(self):
        assert missing(self.ELSEWHERE, self.BEFORE, self.BEFORE) == ["vm1 is active on c1"]
        arriving = view(instance("vm1", "c2", task="rebuilding"))
        assert missing(self.ELSEWHERE, arriving, self.BEFORE) == ["vm1 is active (rebuilding) on c2"]
        assert missing(self.ELSEWHERE, view(instance("vm1", "c2")), self.BEFORE) == []
        assert missing(self.ELSEWHERE, view(instance("vm1", "c2", "error")), self.BEFORE) != []
        assert missing(self.ELSEWHERE, view(), self.BEFORE) == ["vm1 is gone"]

    def test_there_is_where_it_was(self):
        goals = [{"instances_of": "c1", "running": "there"}]
        assert missing(goals, self.BEFORE, self.BEFORE) == []
        assert missing(goals, view(instance("vm1", "c2")), self.BEFORE) == ["vm1 is active on c2"]

    def test_as_before_is_about_the_stopped_one_too(self):
        goals = [{"instances": "as before"}]
        started = view(instance("vm1", "c3"), instance("vm2", "c2"), instance("off", "c3", "active"))
        assert missing(goals, self.BEFORE, self.BEFORE) == []
        assert missing(goals, started, self.BEFORE) == ["off is active, was stopped"]

    def test_hosts(self):
        goals = [{"host": "c1", "state": ["healthy", "draining"]}]
        assert missing(goals, view(c1="draining"), view()) == []
        assert missing(goals, view(c1="fenced"), view()) == ["c1 is fenced"]
        assert missing(goals, view(c10="healthy"), view()) == ["c1 is unknown"]

    def test_an_incident_has_everything_that_is_asked_of_it(self):
        held = {"host": "c1", "fault": "power", "outcome": "held", "gate": "unproven"}
        goals = [{"incident": "c1", "outcome": "held", "gate": ["unproven", "storm"]}]
        assert missing(goals, view(incidents=[held]), view()) == []
        for other in ({"host": "c10"}, {"outcome": "recovered"}, {"gate": "rate"}):
            said = missing(goals, view(incidents=[held | other]), view())
            assert said == ["no incident of c1 with outcome held, gate unproven or storm"]

    @pytest.mark.parametrize(
        ("goals", "said"),
        [
            ({"host": "c1"}, "expected a list"),
            ([{"hosts": "c1"}], "expected one of host, incident"),
            ([{"host": "c1", "state": "healthy", "gate": "x"}], "gate does not belong to host"),
        ],
    )
    def test_a_mistake_is_told(self, goals, said):
        with pytest.raises(GoalError, match=said):
            check(goals)


class TestDoubles:
    def test_a_move_is_none(self):
        looks = {"c1": [[1, [A]], [2, [A]], [3, []]], "c2": [[2.9, []], [3.9, [A]], [4.9, [A]]]}
        assert doubles(looks) == []

    def test_two_looks_that_overlap_by_a_second_are_none(self):
        assert doubles({"c1": [[1, [A]], [3, [A]]], "c2": [[2, [A]], [9, [A]]]}) == []

    def test_a_guest_on_two_hosts_is_told(self):
        looks = {"c1": [[1, [A]], [9, [A, B]]], "c2": [[4, [A]], [20, [A]]]}
        assert doubles(looks) == [f"{A} ran on c1 and c2 at the same time, for 5.0 s"]

    def test_a_guest_that_a_returned_host_starts_again_is_told(self):
        looks = {"c1": [[1, [A]], [30, []], [31, [A]], [40, [A]]], "c2": [[10, [A]], [50, [A]]]}
        assert len(doubles(looks)) == 1

    @given(st.lists(st.tuples(st.sampled_from(["c1", "c2", "c3"]), st.integers(2, 9)), max_size=12))
    def test_one_place_after_another_is_never_two(self, stays):
        looks, at = {"c1": [], "c2": [], "c3": []}, 0
        for host, seconds in stays:
            for _ in range(seconds):
                at += 1
                for name, samples in looks.items():
                    samples.append([at, [A] if name == host else []])
        assert doubles(looks) == []


def test_restarts_are_seen_by_uptime_and_by_the_count_of_starts():
    before = {"vm1": "up 50.1 s, start 1", "vm2": "up 9.0 s, start 2", "vm3": "up 5.0 s, start 1", "dumb": ""}
    after = {"vm1": "up 70.2 s, start 1", "vm2": "up 10.0 s, start 3", "vm3": ""}
    assert restarts({"before": before, "after": after}) == [
        "vm2 was restarted: up 9.0 s, start 2 before, up 10.0 s, start 3 after",
        "vm3 does not answer any more",
    ]


INCIDENT = {
    "id": 1,
    "host": "c1",
    "fault": "power",
    "outcome": "recovered",
    "gate": "",
    "opened_at": "2027-01-15T08:00:05.000Z",
    "fenced_at": "2027-01-15T08:00:08.500Z",
    "moves": [{"state": "succeeded", "finished_at": "2027-01-15T08:00:14.250Z"}],
}


def raw(**changes):
    seen = [
        {"at": CUT - 5, "hosts": {"c1": "healthy"}, "incidents": {}},
        {"at": CUT + 4, "hosts": {"c1": "suspect"}, "incidents": {}},
        {"at": CUT + 15, "reached": True, "lacking": []},
        {"at": CUT + 40, "restored": True, "lacking": []},
        {"at": CUT + 40, "incident": INCIDENT},
    ]
    return {
        "name": "power_cut",
        "title": "Power cut",
        "expected": "fenced | evacuated",
        "victims": ["c1"],
        "cut_at": CUT,
        "restored_at": CUT + 16,
        "never": {},
        "seen": seen,
        "guests": {},
        "probes": {},
    } | changes


class TestStory:
    def test_the_timeline_of_a_power_cut(self):
        outcome = tell(raw())
        assert outcome.passed
        assert [(moment.key, moment.at) for moment in outcome.moments] == [
            ("cut", 0.0),
            ("detected", 4.0),
            ("decided", 5.0),
            ("fenced", 8.5),
            ("active", 14.25),
            ("mended", 16.0),
            ("restored", 40.0),
        ]
        assert outcome.observed == "c1: power, recovered; 1 of 1 instances moved or started again"

    def test_what_did_not_come_is_a_problem(self):
        lines = [{"at": CUT, "reached": False, "lacking": ["vm1 is gone"]}]
        assert tell(raw(seen=lines)).problems == (
            "what was expected did not come: vm1 is gone",
            "it did not become well again: the watch ended before",
        )

    def test_a_watch_that_broke_off_is_a_problem(self):
        assert len(tell(raw(seen=[])).problems) == 2

    def test_what_must_not_happen(self):
        assert tell(raw(never={"fenced": True})).problems == ("c1 was fenced",)
        assert tell(raw(never={"fenced": ["c2"]})).passed
        probes = {"before": {"vm1": "up 5 s, start 1"}, "after": {"vm1": "up 2 s, start 2"}}
        assert not tell(raw(never={"restarted": True}, probes=probes)).passed
        assert tell(raw(probes=probes)).passed

    def test_a_guest_on_two_hosts_is_a_problem_of_every_drill(self):
        guests = {"c1": [[1, [A]], [9, [A]]], "c2": [[1, [A]], [9, [A]]]}
        assert not tell(raw(guests=guests)).passed


class TestReport:
    def test_the_table_has_a_row_a_drill_and_its_cells_hold(self):
        lines = table([tell(raw()), tell(raw(name="other", seen=[]))]).splitlines()
        assert len(lines) == 4
        assert "| 4.0 s | 8.5 s | 14.2 s | 40.0 s | as expected |" in lines[2]
        assert "fenced \\| evacuated" in lines[2]
        assert "**what was expected did not come" in lines[3]

    def test_the_picture_is_svg_with_every_moment(self):
        outcome = tell(raw(title="A & <B>"))
        text = picture(outcome)
        words = [node.text for node in ElementTree.fromstring(text).iter() if node.text and node.text.strip()]
        assert "A & <B>" in words
        for moment in outcome.moments:
            assert any(word.startswith(moment.label) for word in words)

    @given(st.floats(0.1, 1000), st.floats(0.1, 1000))
    def test_labels_of_the_picture_stay_inside(self, fenced, well):
        lines = [{"at": CUT + well, "restored": True}, {"at": CUT + fenced, "reached": True}]
        nodes = ElementTree.fromstring(picture(tell(raw(seen=lines, restored_at=CUT + fenced)))).iter()
        texts = [node for node in nodes if node.tag.endswith("text")]
        assert all(0 <= float(node.attrib["x"]) <= 860 for node in texts)

    def test_json_has_timeline_and_verdict(self):
        told = json.loads(as_json(tell(raw())))
        assert told["passed"] is True
        assert told["timeline"][-1] == {"key": "restored", "label": "all hosts healthy", "at": 40.0}
        assert told["incidents"][0]["moves"][0]["state"] == "succeeded"

    def test_the_page_shows_what_guests_said(self):
        text = page([tell(raw(probes={"before": {"vm1": "up 5 s"}, "after": {"vm1": "up 9 s"}}))])
        assert "1 of 1 drills went as expected" in text
        assert "| vm1 | up 5 s | up 9 s |" in text

    def test_files_are_written_and_the_status_tells(self, tmp_path, capsys):
        (tmp_path / "power_cut.raw.json").write_text(json.dumps(raw()))
        assert main([str(tmp_path), str(tmp_path / "out")]) == 0
        assert {path.name for path in (tmp_path / "out").iterdir()} == {
            "README.md",
            "power_cut.json",
            "power_cut.svg",
        }
        (tmp_path / "bad.raw.json").write_text(json.dumps(raw(name="bad", seen=[])))
        assert main([str(tmp_path), str(tmp_path / "out")]) == 1
        assert "bad" in capsys.readouterr().out
        assert main([str(tmp_path / "out"), str(tmp_path)]) == 1


class TestFilters:
    @pytest.fixture
    def filters(self):
        path = TOP / "playbooks/drills/filter_plugins/hass_drills.py"
        spec = importlib.util.spec_from_file_location("hass_drills", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.FilterModule().filters()

    def test_what_libvirt_said_is_put_together_by_host(self, filters):
        files = [
            {
                "item": "one",
                "content": base64.b64encode(f"1.5 {A} {B}\n2.5\n3.5 {A[:9]}\0".encode()).decode(),
            },
            {"item": "two", "unreachable": True},
        ]
        now = [{"item": "one", "stdout": f"4.5 {A}"}, {"item": "two", "stdout": "torn"}]
        said = filters["hass_drill_guests"](files + now, {"one": "c1", "two": "c2"})
        assert said == {"c1": [[1.5, [A, B]], [2.5, []], [3.5, []], [4.5, [A]]], "c2": []}

    def test_names_are_nova_s(self, filters):
        assert filters["hass_drill_name"]({"inventory_hostname": "a", "hass_host_name": "b"}) == "b"
        assert filters["hass_drill_name"]({"inventory_hostname": "a"}) == "a"


@pytest.mark.parametrize("path", sorted((TOP / "playbooks/drills").glob("*.yml")), ids=lambda path: path.stem)
def test_a_drill_has_what_it_needs(path):
    (play,) = yaml.safe_load(path.read_text())
    given = play["vars"]
    assert given["drill"] == path.stem
    assert f"-e confirm={path.stem}" in path.read_text()
    assert given["drill_restore"]
    if isinstance(given["drill_goals"], list):
        check(given["drill_goals"])
    for key in ("drill_break", "drill_restore"):
        actions = given[key] if isinstance(given[key], list) else []
        for action in actions:
            assert (path.parent / "means" / f"{action['do']}.yml").is_file(), action


def test_the_lab_runs_every_drill():
    text = (TOP / "molecule/lab/lab").read_text()
    for path in (TOP / "playbooks/drills").glob("*.yml"):
        assert f'"{path.stem}"' in text
    assert f"`{path.stem}`" in (TOP / "playbooks/drills/README.md").read_text()


def test_the_lab_s_means_stand_for_ours():
    ours = {path.name for path in (TOP / "playbooks/drills/means").glob("*.yml")}
    lab = {path.name for path in (TOP / "molecule/lab/means").glob("*.yml")}
    assert lab - ours == {"place.yml", "probe.yml"}
