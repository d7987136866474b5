"""`hass disarm` and `hass arm` on a configuration file and a database of their own."""

from __future__ import annotations

import getpass
import re
import time
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from person import fill, run, use_database

from hass_runtime.cli.main import main
from hass_runtime.cli.person import duration
from hass_runtime.domain import Host, Scope
from hass_runtime.store import Store

ME = getpass.getuser()


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return use_database(tmp_path, monkeypatch)


@pytest.fixture
def store(url: str) -> Store:
    store = Store(url)
    fill(store)
    return store


@pytest.fixture
def odd_cluster(store: Store) -> None:
    fill(store).put_host(Host("odd", "192.0.2.1", "rack c; ls"))


def test_disarm_and_arm(store: Store) -> None:
    done = run("disarm", "--reason", "network works tonight")
    assert done.exit_code == 0, done.output
    assert done.output == f"disarmed by {ME} until `hass arm`: network works tonight\n"
    pause = store.disarmed()
    assert pause is not None
    assert (pause.reason, pause.by, pause.until) == ("network works tonight", ME, None)
    assert run("arm").output == "armed\n"
    assert store.disarmed() is None
    assert run("arm").output == "armed (it was not disarmed)\n"


def test_disarm_for_a_while_names_the_person_behind_sudo(store: Store) -> None:
    before = time.time()
    assert run("disarm", "--reason", "x", "--for", "10m", SUDO_USER="alice").exit_code == 0
    pause = store.disarmed()
    assert pause is not None
    assert pause.until is not None
    assert before + 600 <= pause.until <= time.time() + 600
    assert pause.by.startswith("alice")
    assert store.disarmed(pause.until) is None


def test_a_cluster_and_a_host_are_disarmed_and_armed_on_their_own(store: Store) -> None:
    host = run("disarm", "--host", "compute1", "--reason", "disk")
    assert host.output == f"host compute1: disarmed by {ME} until `hass arm --host compute1`: disk\n"
    cluster = run("disarm", "--cluster", "rack-a", "--reason", "switch")
    assert cluster.output == (f"cluster rack-a: disarmed by {ME} until `hass arm --cluster rack-a`: switch\n")
    assert store.disarmed() is None
    assert [(pause.scope, pause.name) for pause in store.pauses()] == [
        (Scope.CLUSTER, "rack-a"),
        (Scope.HOST, "compute1"),
    ]
    armed = run("arm", "--host", "compute1")
    assert armed.output == (
        "host compute1: armed\n"
        f"still disarmed: cluster rack-a, by {ME}: switch (`hass arm --cluster rack-a` ends it)\n"
    )
    assert run("arm", "--cluster", "rack-a").output == "cluster rack-a: armed\n"
    assert run("arm", "--cluster", "rack-a").output == "cluster rack-a: armed (it was not disarmed)\n"
    assert store.pauses() == ()


def test_what_others_wrote_cannot_paint_the_terminal(store: Store, odd_cluster: None) -> None:
    store.disarm("\x1b[2Jworks", "bob\x07", scope=Scope.CLUSTER, name="rack c; ls")
    told = run("arm").output
    assert "(`hass arm --cluster 'rack c; ls'` ends it)" in told
    assert not {"\x1b", "\x07"} & set(told)


def test_arming_one_host_says_that_everything_is_still_disarmed(store: Store) -> None:
    run("disarm", "--reason", "all of it")
    told = run("arm", "--host", "compute1").output
    assert told.splitlines() == [
        "host compute1: armed (it was not disarmed)",
        f"still disarmed: everything, by {ME}: all of it (`hass arm` ends it)",
    ]


@pytest.mark.parametrize("command", [["disarm", "--reason", "x"], ["arm"]])
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            ["--host", "compte1"],
            "host 'compte1' is not known; did you mean compute1? known: compute1, compute10, compute2",
        ),
        (["--host", "rack-a"], "host 'rack-a' is not known; known: compute1, compute10, compute2"),
        (
            ["--cluster", "Rack-A"],
            "cluster 'Rack-A' is not known; did you mean rack-a? known: rack-a, rack-b",
        ),
        (["--cluster", ""], "cluster '' is not known; known: rack-a, rack-b"),
    ],
)
def test_an_unknown_name_is_one_clear_line(
    store: Store, command: list[str], wrong: list[str], words: str
) -> None:
    done = run(*command, *wrong)
    assert (done.exit_code, done.output) == (1, f"Error: {words}\n")
    assert store.pauses() == ()


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["--reason", "  "],
        ["--reason", "x", "--for", "0"],
        ["--reason", "x", "--for", "soon"],
        ["--reason", "x", "--for", "nan"],
        ["--reason", "x", "--for", "2h30"],
        ["--reason", "x", "--for", "999999d"],
        ["--reason", "x", "--for", "-5"],
        ["--reason", "x", "--host", "compute1", "--cluster", "rack-a"],
    ],
)
def test_wrong_usage(store: Store, wrong: list[str]) -> None:
    assert run("disarm", *wrong).exit_code == 2
    assert store.pauses() == ()


def test_arm_takes_one_scope_only(store: Store) -> None:
    done = run("arm", "--host", "compute1", "--cluster", "rack-a")
    assert done.exit_code == 2
    assert "--host and --cluster cannot be used together" in done.output


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("1.5", 1.5),
        ("90s", 90.0),
        ("30m", 1800.0),
        ("2h", 7200.0),
        ("1h30m", 5400.0),
        ("1.5D", 129_600.0),
        (" 1d12h ", 129_600.0),
    ],
)
def test_a_time_is_read_with_and_without_units(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@given(st.one_of(st.text(), st.from_regex(r"[0-9.eE_dhms+ -]{1,12}", fullmatch=True)))
@example("1_000")
@example("1e3")
@example("\u0663")
@example("0.5s")
def test_any_text_is_a_sane_time_or_refused(text: str) -> None:
    written = text.strip().lower()
    fits = re.fullmatch(r"[0-9]+(\.[0-9]+)?([dhms]([0-9]+(\.[0-9]+)?[dhms])*)?", written)
    if fits is None:
        with pytest.raises(ValueError, match=r"is not a time such as .* 1h30m"):
            duration(text)
        return
    units = {"d": "86400", "h": "3600", "m": "60", "s": "1"}
    parts = re.findall(r"([0-9.]+)([dhms]?)", written)
    meant = float(sum(Fraction(number) * int(units[unit or "s"]) for number, unit in parts))
    if 1.0 <= meant <= 10 * 365 * 86_400:
        assert duration(text) == pytest.approx(meant)
    else:
        with pytest.raises(ValueError, match="from 1 s to ten years"):
            duration(text)


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_units_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    written = f"{days}d{hours}h{minutes}m{seconds}s"
    assert duration(written) == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def test_a_database_that_is_not_there_is_one_clear_line_and_stays_away(url: str, tmp_path: Path) -> None:
    for command in (["disarm", "--reason", "x"], ["arm"]):
        done = run(*command)
        assert done.exit_code == 1
        assert done.output == f"Error: database {tmp_path}/hass.db: unable to open database file\n"
    assert not (tmp_path / "hass.db").exists()


def test_a_configuration_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["arm", "--config", str(tmp_path / "missing.conf")])
    assert done.exit_code == 1
    assert str(tmp_path / "missing.conf") in done.output
