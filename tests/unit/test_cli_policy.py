"""`hass policy`: mistakes with their lines, what a table says, and why a row matches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from settings_files import CONTROLLER, changed, ini_text, write

from hass_runtime.cli.main import main
from hass_runtime.decide.gates import asked_of
from hass_runtime.decide.symptoms import WORDS, Rung, Sign, Symptom, SymptomError, oddities, shown_by
from hass_runtime.domain import Layer
from hass_runtime.remedy.playbooks import Shelf
from hass_runtime.report.policy import explain, words_of
from hass_runtime.settings.controller import shipped_playbooks
from hass_runtime.table import read_table

NUMBERS = {"wait_restart_threshold": 2}
GOOD = """\
- fault: power
  layer: power
  when: {power: failed, network: [failed, unknown]}
  remedy: host_failure
  patient: true
  why: it is off
- fault: service
  layer: service
  when: {service: complaining}
  remedy: [{playbook: service_restart, tries: wait_restart_threshold, deadline: 30}, host_drain]
  why: something on it fails
"""


def policy(*words: str) -> Result:
    return CliRunner().invoke(main, ["policy", *words])


def table(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yml"
    path.write_text(text)
    return str(path)


def configuration(tmp_path: Path, changes: dict[str, str]) -> Path:
    return write(tmp_path, ini_text(changed(CONTROLLER, changes)))


# Check


def test_the_table_that_comes_with_hass_is_good() -> None:
    done = policy("check", "--strict")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("symptoms.yml: good, ")


def test_a_table_of_ones_own_is_good(tmp_path: Path) -> None:
    path = table(tmp_path, GOOD)
    done = policy("check", path)
    assert (done.exit_code, done.output) == (0, f"{path}: good, 2 rows\n")


BAD = """\
- fault: power
  layer: powr
  when: {power: of, network: []}
  remedy: host_failuer
  why: it is off
- fault: ""
  layer: service
  when: {service: complaining}
  remedy:
    - playbook: service_restart
      tries: often
      deadline: -1
      what: else
  patient: maybe
  why: something on it fails
  wen: {}
- not a row
"""


def test_all_mistakes_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    path = table(tmp_path, BAD)
    done = policy("check", path)
    assert (done.exit_code, done.stdout) == (1, "")
    layers, signs = ", ".join(layer.value for layer in Layer), ", ".join(WORDS)
    known = ", ".join(sorted(Shelf(shipped_playbooks()).rungs()))
    assert done.stderr.splitlines() == [
        f"{path}:2: row 1: key 'layer': expected a layer ({layers}), got 'powr'",
        f"{path}:3: row 1: layer 'power': expected one of {signs}, got 'of'",
        f"{path}:3: row 1: layer 'network': expected one or more of {signs}, got none",
        f"{path}:4: row 1: key 'remedy': no playbook 'host_failuer' (known: {known})",
        f"{path}:16: row 2: unknown key 'wen', expected one of fault, layer, patient, remedy, when, why",
        f"{path}:6: row 2: key 'fault': expected a text, got ''",
        f"{path}:9: row 2: key 'remedy': unknown key 'what', expected one of deadline, playbook, tries",
        f"{path}:9: row 2: key 'tries': "
        "expected a whole number, 0 or more or wait_restart_threshold, got 'often'",
        f"{path}:9: row 2: key 'deadline': expected seconds above 0, got -1",
        f"{path}:14: row 2: key 'patient': expected true or false, got 'maybe'",
        f"{path}:17: row 3: expected a mapping with fault, layer, patient, remedy, when, why, "
        "got 'not a row'",
    ]


def test_what_is_there_twice_is_refused(tmp_path: Path) -> None:
    twice = GOOD.replace("power: failed,", "power: failed, power: ok,") + "  layer: service\n- not a row\n"
    path = table(tmp_path, twice)
    done = policy("check", path)
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        f"{path}:3: row 1: key 'when': layer 'power' is there twice, expected once, with a list of signs",
        f"{path}:12: row 2: key 'layer': is there twice, expected once",
        f"{path}:13: row 3: expected a mapping with fault, layer, patient, remedy, when, why, "
        "got 'not a row'",
    ]


SHADOWED = """\
- {fault: down, layer: network, when: {network: [failed, unknown]}, remedy: host_failure, why: a}
- {fault: worse, layer: network, when: {network: silent, power: ok}, why: b}
- {fault: down, layer: network, when: {network: ok, service: silent}, remedy: host_drain, why: c}
- {fault: odd, layer: service, when: {service: doubted}, why: d}
"""


def test_rows_that_can_never_match_and_second_ladders_are_warned_of(tmp_path: Path) -> None:
    path = table(tmp_path, SHADOWED)
    done = policy("check", path)
    warnings = [
        f"warning: {path}:2: row 2: can never match: row 1 (down) above it matches everything that it does",
        f"warning: {path}:3: row 3: fault 'down' has another ladder in row 1, and that one is used for both",
        f"warning: {path}:4: row 4: can never match: layer service is never doubted",
    ]
    assert (done.exit_code, done.stderr.splitlines()) == (0, warnings)
    assert done.stdout == f"{path}: good, 4 rows\n"
    strict = policy("check", "--strict", path)
    assert (strict.exit_code, strict.stderr.splitlines(), strict.stdout) == (1, warnings, "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected a list of rows, got NoneType"),
        ("{}", "expected a list of rows, got dict"),
        ("- a: [", "is not YAML: "),
        ("- 2024-99-99", "is not YAML: "),
        ("\x00", "is not YAML: "),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = table(tmp_path, text)
    done = policy("check", path)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{path}: {told}")


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "no.yml"
    done = policy("check", str(missing))
    assert (done.exit_code, done.stderr) == (1, f"{missing}: cannot be read: No such file or directory\n")
    latin = tmp_path / "latin.yml"
    latin.write_bytes(b"\xff\xfe\xff")
    assert policy("check", str(latin)).stderr == f"{latin}: is not YAML: it is not in UTF-8\n"


def test_the_configuration_names_the_table_and_has_to_be_good_when_it_is_given(tmp_path: Path) -> None:
    path = table(tmp_path, GOOD)
    config = configuration(tmp_path, {"paths.symptoms": path, "detection.wait_restart_threshold": "5"})
    assert policy("check", "--config", str(config)).output == f"{path}: good, 2 rows\n"
    shown = json.loads(policy("show", "-f", "json", "--config", str(config)).stdout)
    assert shown["rows"][1]["ladder"][0]["tries"] == 5
    done = policy("check", "--config", str(tmp_path / "no.conf"))
    assert done.exit_code == 1
    assert done.stderr.startswith(f"problem: {tmp_path}/no.conf: ")


# Show


def test_show_for_people(tmp_path: Path) -> None:
    shown = policy("show", table(tmp_path, GOOD)).stdout
    for words in ("network: failed or unknown", "for network_transient_time", "service_restart ×2 (30 s)"):
        assert words in shown


def test_show_for_programs(tmp_path: Path) -> None:
    path = table(tmp_path, GOOD)
    shown = json.loads(policy("show", path, "-f", "json").stdout)
    assert shown["source"] == path
    assert shown["rows"][0]["when"] == {"power": ["failed"], "network": ["failed", "unknown"]}
    assert shown["rows"][0]["patient"] is True
    restart, drain = shown["rows"][1]["ladder"]
    assert (restart["playbook"], restart["tries"], restart["deadline"]) == ("service_restart", 2, 30.0)
    assert drain["gates"] == [keeper.gate.value for keeper in asked_of("host_drain")]


# Explain


def test_explain_in_sentences(tmp_path: Path) -> None:
    done = policy("explain", table(tmp_path, GOOD), "service=complaining", "power=ok")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "With power ok, service complaining; not read, so unknown: hardware, os, network, storage:",
        "  Row 2 matches. The fault is 'service' (layer service): something on it fails.",
        "  Row 1 (power) does not: it asks for power failed, and it shows ok.",
        "  First: service_restart, up to 2 times, each try at most 30 s.",
        "    Gates asked before it, in this order: disarmed, isolated, blind, storm, rate; "
        "not asked: domain, no_target, unproven.",
        "  When that has failed, or has not helped: host_drain, once, each try at most "
        "[recovery] drain_timeout.",
        "    Gates asked before it, in this order: "
        "disarmed, isolated, blind, storm, domain, rate, no_target; not asked: unproven.",
    ]


def test_explain_when_a_word_leads_to_several_rows(tmp_path: Path) -> None:
    done = policy("explain", table(tmp_path, GOOD), "service=failed", "-f", "json")
    cases = json.loads(done.stdout)["cases"]
    assert [case["signs"] for case in cases] == [{"service": "complaining"}, {"service": "silent"}]
    assert [case["match"] and case["match"]["fault"] for case in cases] == ["service", None]
    first = {"row": 1, "fault": "power", "layer": "power", "asked": ["failed"], "shown": "unknown"}
    assert cases[0]["above"] == [first]
    none = policy("explain", table(tmp_path, GOOD), "service=ok").stdout
    assert "No row matches: there is no fault." in none


def test_explain_knows_the_words_of_the_table() -> None:
    for word in WORDS:
        assert policy("explain", f"power={word}").exit_code == 0


def test_explain_names_the_clusters_that_do_not_protect_the_layer(tmp_path: Path) -> None:
    config = configuration(tmp_path, {"cluster.protected_layers": "power"})
    done = policy("explain", "--config", str(config), "service=complaining")
    assert "Only reported in default, whose protected_layers do not have service." in done.stdout
    done = policy("explain", "--config", str(config), "power=failed", "network=failed", "service=silent")
    assert "Only reported" not in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["powr=ok"], "'powr' is no layer, expected one of power, hardware, os, network, storage, service"),
        (["power=of"], f"'of' is no sign, expected one of {', '.join(WORDS)}"),
        (["power=ok,"], "'' is no sign"),
        (["power=ok", "network"], "'network': expected LAYER=SIGN"),
        (["power=ok", "power=ok"], "layer power is there twice"),
        (["symptoms.yml"], "no sign is given"),
        ([], "Missing argument"),
    ],
)
def test_explain_refuses_what_it_does_not_know(words: list[str], told: str) -> None:
    done = policy("explain", *words)
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.split())


def test_generated_pages_from_the_command(tmp_path: Path) -> None:
    assert policy("docs").stdout == (Path(__file__).parents[2] / "docs" / "faults.md").read_text("utf-8")
    done = policy("docs", "--write", str(tmp_path))
    assert done.exit_code == 1
    assert "the pages cannot be made" in done.stderr


# The functions behind it

SIGNS = st.frozensets(st.sampled_from(Sign), min_size=1)
WHEN = st.dictionaries(st.sampled_from(Layer), SIGNS, min_size=1)
ROWS = st.lists(
    st.builds(
        Symptom,
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(Layer),
        WHEN,
        st.just("why"),
        st.sampled_from([(), (Rung("host_failure"),), (Rung("host_drain"),)]),
    ),
    min_size=1,
    max_size=5,
)


@given(SIGNS)
def test_words_stand_for_exactly_the_signs(signs: frozenset[Sign]) -> None:
    assert frozenset().union(*(WORDS[word] for word in words_of(signs))) == signs


@given(ROWS, st.dictionaries(st.sampled_from(Layer), st.sampled_from(Sign)))
def test_a_row_that_is_warned_of_never_matches_first(rows: list[Symptom], signs: dict[Layer, Sign]) -> None:
    signs = {layer: sign for layer, sign in signs.items() if sign in shown_by(layer)}
    first = next((number for number, row in enumerate(rows, 1) if row.matches(signs)), None)
    assert first not in {number for number, text in oddities(rows) if text.startswith("can never match")}
    (case,) = explain(rows, {layer: frozenset({sign}) for layer, sign in signs.items()})
    assert case.row == first
    assert len(case.misses) == (first - 1 if first else len(rows))
    for miss in case.misses:
        assert miss.shown not in miss.wanted


@given(st.text() | st.binary())
def test_any_file_is_a_table_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
    with pytest.raises(SymptomError) as refused:
        read_table(path, Shelf(shipped_playbooks()), NUMBERS)
    assert all(problem.startswith(str(path)) and "\n" not in problem for problem in refused.value.problems)
