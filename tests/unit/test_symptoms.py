"""The symptom table: what is read from it, what is refused and in which words, and what is odd in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from views import RUNGS, TABLE

from hass_runtime.decide import symptoms
from hass_runtime.decide.symptoms import WORDS, Rung, Sign, Symptom, SymptomError, oddities, shown_by
from hass_runtime.domain import Layer

KNOWN = frozenset({"host_failure", "host_drain", "service_restart"})
ROW = {"fault": "x", "layer": "network", "when": {"network": "failed"}, "why": "it is silent"}


def parse(*rows, **more):
    return symptoms.parse(list(rows), "mine.yml", KNOWN, **more)


def problems(*rows, **more):
    with pytest.raises(SymptomError) as refused:
        parse(*rows, **more)
    assert str(refused.value) == "; ".join(refused.value.problems)
    return refused.value.problems


def ladder(remedy, **more):
    return parse({**ROW, "remedy": remedy}, **more)[0].ladder


def test_a_row_has_its_layers_and_the_signs_that_they_may_show():
    (row,) = parse({**ROW, "when": {"power": ["ok", "unknown"], "network": "failed"}})
    assert row == Symptom(
        "x",
        Layer.NETWORK,
        {
            Layer.POWER: frozenset({Sign.OK, Sign.UNKNOWN}),
            Layer.NETWORK: frozenset({Sign.SILENT, Sign.COMPLAINING}),
        },
        "it is silent",
    )


def test_a_folded_why_is_one_line():
    assert parse({**ROW, "why": "it is\n  silent\n"})[0].why == "it is silent"


def test_a_row_without_a_remedy_is_reported_only():
    assert parse(ROW)[0].ladder == ()
    assert ladder("") == ()
    assert ladder(None) == ()
    assert ladder([]) == ()


def test_one_playbook_is_a_ladder_of_one_rung():
    assert ladder("host_failure") == (Rung("host_failure"),)


def test_rungs_are_kept_in_the_order_written_with_tries_and_deadline():
    assert ladder([{"playbook": "service_restart", "tries": 2, "deadline": 90}, "host_drain"]) == (
        Rung("service_restart", 2, 90.0),
        Rung("host_drain"),
    )


def test_a_word_may_stand_for_the_number_of_tries():
    remedy = {"playbook": "service_restart", "tries": "wait_restart_threshold"}
    assert ladder(remedy, numbers={"wait_restart_threshold": 5})[0].tries == 5


def test_a_rung_with_no_tries_is_not_climbed_at_all():
    remedy = [{"playbook": "service_restart", "tries": "n"}, "host_failure"]
    assert ladder(remedy, numbers={"n": 0}) == (Rung("host_failure"),)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"layer": "cable"}, "key 'layer': expected a layer (power, hardware"),
        ({"when": {}}, "key 'when': expected a mapping of layers to signs, got {}"),
        ({"when": "network"}, "key 'when': expected a mapping of layers to signs, got 'network'"),
        ({"when": {"cable": "ok"}}, "expected a layer"),
        ({"when": {"network": "gone"}}, "layer 'network': expected one of ok, warning"),
        ({"when": {"network": ["ok", 3]}}, "got 3"),
        ({"when": {"network": []}}, "layer 'network': expected one or more of"),
        ({"fault": ""}, "key 'fault': expected a text, got ''"),
        ({"fault": 7}, "key 'fault': expected a text, got 7"),
        ({"why": "  "}, "key 'why': expected a text"),
        ({"colour": "red"}, "'colour'"),
        ({"patient": "yes"}, "key 'patient': expected true or false, got 'yes'"),
        ({"remedy": "reboot"}, "key 'remedy': no playbook 'reboot' (known: host_drain, host_failure"),
        ({"remedy": 5}, "no playbook 5"),
        ({"remedy": {"playbook": "host_drain", "trys": 1}}, "unknown key 'trys', expected one of deadline"),
        ({"remedy": {"tries": 1}}, "no playbook None"),
        ({"remedy": {"playbook": "host_drain", "tries": -1}}, "key 'tries': expected a whole number"),
        ({"remedy": {"playbook": "host_drain", "tries": True}}, "got True"),
        ({"remedy": {"playbook": "host_drain", "tries": "often"}}, "got 'often'"),
        ({"remedy": {"playbook": "host_drain", "deadline": 0}}, "key 'deadline': expected seconds above 0"),
        ({"remedy": {"playbook": "host_drain", "deadline": "1m"}}, "got '1m'"),
        ({"remedy": {"playbook": "host_drain", "deadline": float("nan")}}, "got nan"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line_that_names_the_place(change, expected):
    (line,) = problems({**ROW, **change})
    assert line.startswith("mine.yml: row 1: ")
    assert expected in line
    assert "\n" not in line


def test_all_problems_of_all_rows_are_told_at_once():
    bad = [
        {"fault": "x", "layer": "cable", "when": {"power": "gone"}, "why": "y", "remedy": "reboot"},
        "text",
        {"fault": "", "layer": "power", "when": {}, "why": "y", "colour": "red", "patient": "yes"},
    ]
    text = "\n".join(problems(*bad))
    for expected in ("'cable'", "'gone'", "'reboot'", "row 2", "'colour'", "'patient'", "'when'", "'fault'"):
        assert expected in text


def test_a_problem_is_told_with_the_line_of_its_key_where_it_is_known():
    lines = {(1, ""): 4, (1, "layer"): 6}
    assert problems({**ROW, "layer": "cable"}, lines=lines)[0].startswith("mine.yml:6: row 1: ")
    assert problems({**ROW, "why": ""}, lines=lines)[0].startswith("mine.yml:4: row 1: ")


@pytest.mark.parametrize("data", [None, {}, "text", 3, []])
def test_what_is_no_list_of_rows_is_refused(data):
    with pytest.raises(SymptomError):
        symptoms.parse(data, "mine.yml", KNOWN)


JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KEYS = ["fault", "layer", "when", "why", "power", "patient", "remedy", "playbook", "tries", "deadline"]


@given(st.recursive(JUNK, lambda x: st.lists(x) | st.dictionaries(st.sampled_from(KEYS), x)))
def test_any_table_parses_or_is_refused(data):
    try:
        assert symptoms.parse(data, "t.yml", frozenset())
    except SymptomError as error:
        assert error.problems  # noqa: PT017 - either way out is right


LAYER_NAMES = st.sampled_from([layer.value for layer in Layer])
WORD = st.sampled_from(list(WORDS))
RUNG = st.sampled_from(sorted(KNOWN)) | st.fixed_dictionaries(
    {"playbook": st.sampled_from(sorted(KNOWN))},
    optional={"tries": st.integers(0, 5), "deadline": st.floats(0.1, 1e6)},
)
GOOD_ROW = st.fixed_dictionaries(
    {
        "fault": st.sampled_from(["a", "b"]),
        "layer": LAYER_NAMES,
        "when": st.dictionaries(LAYER_NAMES, WORD | st.lists(WORD, min_size=1), min_size=1),
        "why": st.just("because"),
    },
    optional={"remedy": RUNG | st.lists(RUNG), "patient": st.booleans()},
)
LOOKS = st.dictionaries(st.sampled_from(list(Layer)), st.sampled_from(list(Sign)))


@given(st.lists(GOOD_ROW, min_size=1, max_size=6))
def test_every_well_written_table_is_accepted_row_by_row(data):
    rows = symptoms.parse(data, "t.yml", KNOWN)
    assert [row.fault for row in rows] == [raw["fault"] for raw in data]
    assert all(rung.tries > 0 for row in rows for rung in row.ladder)


@given(GOOD_ROW, LOOKS)
def test_a_row_matches_when_each_of_its_layers_shows_a_wanted_sign_and_unread_is_unknown(raw, looks):
    (row,) = symptoms.parse([raw], "t.yml", KNOWN)
    expected = all(looks.get(layer, Sign.UNKNOWN) in wanted for layer, wanted in row.when.items())
    assert row.matches(looks) is expected


@given(GOOD_ROW, GOOD_ROW, LOOKS)
def test_a_row_that_covers_another_matches_whatever_that_one_does(above, below, looks):
    first, second = symptoms.parse([above, below], "t.yml", KNOWN)
    possible = all(sign in shown_by(layer) for layer, sign in looks.items())
    if possible and first.covers(second) and second.matches(looks):
        assert first.matches(looks)


def test_a_row_below_one_that_matches_everything_it_does_is_odd():
    narrow = {**ROW, "fault": "y", "when": {"network": "silent", "power": "ok"}}
    ((number, text),) = oddities(parse(ROW, narrow))
    assert number == 2
    assert "row 1 (x) above it" in text


def test_a_row_that_asks_a_layer_for_what_it_never_shows_is_odd():
    ((number, text),) = oddities(parse({**ROW, "when": {"network": "doubted"}}))
    assert (number, text) == (1, "can never match: layer network is never doubted")


def test_one_fault_with_two_ladders_is_odd_for_only_the_first_is_used():
    other = {**ROW, "when": {"service": "silent"}, "remedy": "host_failure"}
    ((number, text),) = oddities(parse(ROW, other))
    assert number == 2
    assert "another ladder in row 1" in text


def test_the_table_that_comes_with_it_has_no_oddities_and_names_playbooks_that_exist():
    assert oddities(TABLE) == []
    assert {rung.playbook for row in TABLE for rung in row.ladder} <= RUNGS
