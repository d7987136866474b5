"""Which sensors an operator's name stands for, whoever made the BMC."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.detect import sensor_names
from hass_runtime.detect.sensor_names import ALIASES, DELL, FUJITSU, HPE, SUPERMICRO, find


@pytest.mark.parametrize(
    "name",
    [
        "Inlet Temp",
        "Inlet_Temp",
        "INLET TEMP",
        "inlet-temp",
        "InletTemp"[:5] + "  Temp",
        "Inlet Temp (3)",
        "Inlet Temp 3",
        "Inlet Temperature",
        "01-Inlet Temp",
        "System Board Inlet Temp",
        "01-Inlet Ambient",
        "Ambient Temp",
    ],
)
def test_inlet_temperature_by_any_name(name: str) -> None:
    assert find("Inlet Temp", ["Fan1", name, "Exhaust Temp"]) == (1,)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("Temp", "Temp Exhaust"),
        ("Temp", "Exhaust Temp"),
        ("Temp", "Temperature Margin"),
        ("Temp", "Tempo"),
        ("Inlet Temp", "Outlet Temp"),
        ("Inlet", "Inlet Temp"),
        ("Fan1", "Fan10"),
        ("Fan1", "Fan2"),
        ("Fan 1", "Fan"),
        ("12V", "3.3V"),
        ("12V", "V"),
        ("Temp", ""),
        ("", ""),
        ("1", "1"),
        ("...", "---"),
    ],
)
def test_whole_words_only(wanted: str, name: str) -> None:
    assert find(wanted, [name]) == ()


def test_all_instances_of_a_name_without_a_number() -> None:
    assert find("Temp", ["Temp", "Temp", "Inlet Temp", "Temp 3"]) == (0, 1, 3)
    assert find("Fan", ["Fan1", "FAN_2", "Fan Redundancy"]) == (0, 1)
    assert find("Fan2", ["Fan1", "FAN_2", "Fan 2A"]) == (1,)
    assert find("CPU Temp", ["CPU1 Temp", "CPU 2 Temp", "CPU Temp Margin"]) == (0, 1)
    assert find("CPU2 Temp", ["CPU1 Temp", "CPU 2 Temp"]) == (1,)
    assert find("12V", ["+12V", "12V", "P12V"]) == (0, 1)


def test_own_name_comes_before_the_aliases() -> None:
    assert find("Inlet Temp", ["Ambient Temp", "Inlet Temp"]) == (1,)
    assert find("Temp", ["CPU1 Temp", "Temp"], SUPERMICRO) == (1,)


def test_aliases_are_the_makers() -> None:
    assert find("Inlet Temp", ["Ambient"], FUJITSU) == (0,)
    assert find("Inlet Temp", ["Ambient"], DELL) == ()
    assert find("Inlet Temp", ["Ambient"], 99999) == (0,), "an unknown maker: all of them"
    assert find("Temp", ["02-CPU 1", "03-CPU 2", "01-Inlet Ambient"], HPE) == (0, 1)
    assert find("Temp 2", ["02-CPU 1", "03-CPU 2"], HPE) == (1,)


def test_every_alias_of_the_table_is_a_name_in_words() -> None:
    for table in ALIASES.values():
        for wanted, aliases in table.items():
            for name in (wanted, *aliases):
                assert sensor_names.parse(name).words
            assert all(sensor_names.parse(alias).number is None for alias in aliases)


@given(st.text(), st.lists(st.text()), st.one_of(st.none(), st.integers()))
def test_no_name_breaks_it(wanted: str, names: list[str], maker: int | None) -> None:
    hits = find(wanted, names, maker)
    assert all(0 <= at < len(names) for at in hits)


@given(st.lists(st.sampled_from(["inlet", "temp", "fan", "cpu", "exhaust"]), min_size=1), st.integers(0, 99))
def test_case_blanks_and_index_make_no_difference(words: list[str], index: int) -> None:
    plain = " ".join(words)
    for written in (
        plain.upper(),
        "_".join(words),
        "-".join(words).title(),
        f"{index:02d}-{plain}",
        f" {plain} (7)",
    ):
        assert find(plain, [written]) == (0,)
        assert find(plain, [f"{written} other"]) == ()
