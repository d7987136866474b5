"""The INI dialect: what is read as it stands, and what is a problem with its line."""

from __future__ import annotations

import os

import pytest

from hass_runtime.settings import ini


def values(text):
    parsed = ini.parse(text)
    assert parsed.problems == ()
    return {
        section: {name: entry.value for name, entry in keys.items()}
        for section, keys in parsed.sections.items()
    }


def test_names_keep_their_case():
    assert values("[ipmi]\nCompute1 = a\ncompute1 = b\n[IPMI]\nx = c\n") == {
        "ipmi": {"Compute1": "a", "compute1": "b"},
        "IPMI": {"x": "c"},
    }


@pytest.mark.parametrize(
    "value", ["a,b", "100%", "%(x)s", "a=b=", "a # b", "a ; b", '"a"', "'", "a  b", "[x]", "$HOME", "päß"]
)
def test_values_are_taken_as_they_stand(value):
    assert values(f"[s]\nk =  {value}  \n") == {"s": {"k": value}}


def test_comments_blank_lines_bom_and_windows_line_ends():
    text = "\ufeff# top\r\n\r\n[s] # why\r\n; note\r\nk = v\r\n  # indented\r\nempty =\r\n"
    assert values(text) == {"s": {"k": "v", "empty": ""}}


def test_an_indented_line_continues_the_value():
    assert values("[cluster]\nhosts = a,\n   b,\n\tc\n\nname = x\n") == {
        "cluster": {"hosts": "a,\nb,\nc", "name": "x"}
    }


def test_a_key_given_twice_names_both_lines():
    parsed = ini.parse("[s]\nk = 1\nother = 2\nk = 3\n")
    assert parsed.problems == ("[s] k: given twice, in lines 2 and 4; expected one",)
    assert parsed.sections["s"]["k"].value == "1"


def test_a_section_given_twice_names_both_lines():
    (problem,) = ini.parse("[s]\nk = 1\n[t]\n[s]\nm = 1\n").problems
    assert "[s]" in problem
    assert "lines 1 and 4" in problem


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("k = v\n", 1),
        ("[s]\nno equals sign\n", 2),
        ("[s]\n= v\n", 2),
        ("[ipmi_user]\ncompute1 root,pass=word\n", 2),
        ("[s\nk = v\n", 1),
        ("[]\n", 1),
        ("[s]\nk = a\x00b\n", 2),
        ("[s]\nk = v\n   password = hidden\n", 3),
        ("[s]\n  k = v\n", 2),
        ("[s]\nk = v\n  [t]\n", 3),
    ],
)
def test_what_makes_no_sense_is_a_problem_with_its_line(text, line):
    (problem,) = ini.parse(text).problems
    assert problem.startswith(f"line {line}: ")


def test_problems_and_entries_do_not_show_values():
    parsed = ini.parse("[s]\nk = hunter2\nk = hunter2\nhunter2 alone\n  x = hunter2\n")
    assert len(parsed.problems) == 3
    assert "hunter2" not in repr(parsed)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "not a regular file"),
        (lambda path: os.mkfifo(path), "not a regular file"),
        (lambda path: path.write_bytes(b"[s]\nk = \xff\n"), "not UTF-8 text"),
        (lambda path: path.write_bytes(b"#" * (ini.MAX_BYTES + 1)), "larger than"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, make, reason):
    path = tmp_path / "hass.conf"
    make(path)
    with pytest.raises(ValueError, match=reason):
        ini.read_text(path)
