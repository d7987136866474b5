"""`hass maintenance`, `hass confirm-fenced` and `hass restore` on a database of their own."""

from __future__ import annotations

import getpass
import time
from pathlib import Path

import pytest
from person import fill, run, use_database

from hass_runtime.domain import Layer, OrderKind, Reading, Verdict
from hass_runtime.store import Store, Writer

ME = getpass.getuser()


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return use_database(tmp_path, monkeypatch)


@pytest.fixture
def store(url: str) -> Store:
    return Store(url)


@pytest.fixture
def writer(store: Store) -> Writer:
    return fill(store)


# Maintenance


def test_maintenance_drains_until_it_is_ended(store: Store, writer: Writer) -> None:
    done = run("maintenance", "compute1", "--reason", "new memory", SUDO_USER="alice")
    assert done.exit_code == 0, done.output
    assert done.output == (
        f"maintenance of compute1 ordered by alice (as {ME}) until `hass maintenance compute1 --end`:"
        " new memory; its instances are moved away first\n"
    )
    (order,) = store.orders()
    assert (order.host, order.kind, order.reason) == ("compute1", OrderKind.MAINTENANCE, "new memory")
    assert (order.drain, order.until) == (True, None)
    assert run("maintenance", "compute1", "--end").output == "maintenance of compute1 ended\n"
    assert store.orders() == ()
    again = run("maintenance", "compute1", "--end")
    assert (again.exit_code, again.output) == (0, "compute1 was not in maintenance\n")


def test_maintenance_for_a_while_with_its_instances_on_it(store: Store, writer: Writer) -> None:
    before = time.time()
    done = run("maintenance", "compute1", "--reason", "x", "--for", "4h", "--keep-instances")
    assert done.exit_code == 0
    assert done.output.endswith(": x; its instances stay on it\n")
    (order,) = store.orders()
    assert order.until is not None
    assert before + 4 * 3600 <= order.until <= time.time() + 4 * 3600
    assert order.drain is False


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["compute1"], "Missing option '--reason'"),
        (["compute1", "--reason", " "], "must not be empty"),
        (["compute1", "--reason", "x", "--for", "ever"], "'ever' is not a time such as"),
        (["compute1", "--end", "--reason", "x"], "--end goes with none of"),
        (["compute1", "--end", "--for", "1h"], "--end goes with none of"),
        (["compute1", "--end", "--keep-instances"], "--end goes with none of"),
        (["--reason", "x"], "Missing argument 'HOST'"),
    ],
)
def test_wrong_usage_orders_no_maintenance(
    store: Store, writer: Writer, wrong: list[str], words: str
) -> None:
    done = run("maintenance", *wrong)
    assert done.exit_code == 2
    assert words in done.output
    assert store.orders() == ()


# A person's word that a host is off


def test_the_name_of_the_host_has_to_be_typed(store: Store, writer: Writer) -> None:
    before = time.time()
    done = run("confirm-fenced", "compute1", "--reason", "pulled the cable", typed="compute1\n")
    assert done.exit_code == 0, done.output
    assert "compute1 is OFF" in done.stderr
    assert "two hosts write to the same disks, and the data on them is destroyed" in done.stderr
    assert f"compute1 confirmed to be off by {ME}" in done.stdout
    (order,) = store.orders()
    assert (order.host, order.kind, order.reason) == (
        "compute1",
        OrderKind.CONFIRM_FENCED,
        "pulled the cable",
    )
    assert order.until is not None
    assert before + 3600 <= order.until <= time.time() + 3600


@pytest.mark.parametrize("typed", ["y\n", "yes\n", "compute10\n", "Compute1\n", "\n", ""])
def test_without_the_exact_name_nothing_is_confirmed(store: Store, writer: Writer, typed: str) -> None:
    done = run("confirm-fenced", "compute1", "--reason", "x", typed=typed)
    assert done.exit_code == 1
    assert "Error: nothing was confirmed" in done.stderr
    assert store.orders() == ()


def test_it_says_when_the_host_was_heard(store: Store, writer: Writer) -> None:
    at = time.time() - 30
    writer.put_readings(
        [
            Reading("compute1", Layer.NETWORK, Verdict.OK, "3 of 3 echo\x1b[2J", at, answered=True),
            Reading("compute1", Layer.SERVICE, Verdict.FAILED, "no answer", at),
        ]
    )
    told = run("confirm-fenced", "compute1", "--reason", "x", typed="no\n").stderr
    assert "It answered 30." in told
    assert "(network): 3 of 3 echo" in told
    assert "(service)" not in told
    assert "[2J" in told
    assert "\x1b" not in told
    assert "It answered" not in run("confirm-fenced", "compute2", "--reason", "x", typed="no\n").stderr


def test_a_script_has_to_say_it_in_so_many_words(store: Store, writer: Writer) -> None:
    done = run("confirm-fenced", "compute1", "--reason", "x", "--yes-it-is-off", "--for", "2h")
    assert done.exit_code == 0
    assert done.stderr == ""
    assert [order.kind for order in store.orders()] == [OrderKind.CONFIRM_FENCED]


@pytest.mark.parametrize("flag", ["--yes", "-y", "--force"])
def test_nothing_shorter_will_do(store: Store, writer: Writer, flag: str) -> None:
    assert run("confirm-fenced", "compute1", "--reason", "x", flag).exit_code == 2
    assert store.orders() == ()


@pytest.mark.parametrize("wrong", [["compute1"], ["compute1", "--reason", "\t"], ["--reason", "x"]])
def test_a_word_without_a_host_and_a_reason_is_wrong_usage(
    store: Store, writer: Writer, wrong: list[str]
) -> None:
    assert run("confirm-fenced", *wrong, "--yes-it-is-off").exit_code == 2
    assert store.orders() == ()


# Bring it back


def test_a_restoration_with_and_without_a_reason(store: Store, writer: Writer) -> None:
    assert run("restore", "compute1").output == f"restoration of compute1 ordered by {ME}\n"
    done = run("restore", "compute2", "--reason", "new board")
    assert done.output == f"restoration of compute2 ordered by {ME}: new board\n"
    assert [(order.host, order.kind, order.reason) for order in store.orders()] == [
        ("compute1", OrderKind.RESTORE, ""),
        ("compute2", OrderKind.RESTORE, "new board"),
    ]


# All of them


@pytest.mark.parametrize(
    "command",
    [
        ["maintenance", "compte1", "--reason", "x"],
        ["maintenance", "compte1", "--end"],
        ["confirm-fenced", "compte1", "--reason", "x"],
        ["confirm-fenced", "compte1", "--reason", "x", "--yes-it-is-off"],
        ["restore", "compte1"],
    ],
)
def test_an_unknown_host_is_one_clear_line(store: Store, writer: Writer, command: list[str]) -> None:
    done = run(*command, typed="compte1\n")
    assert done.exit_code == 1
    assert done.output == (
        "Error: host 'compte1' is not known; did you mean compute1? known: compute1, compute10, compute2\n"
    )
    assert store.orders() == ()


def test_a_database_that_is_not_there_is_one_clear_line(url: str, tmp_path: Path) -> None:
    for command in (
        ["maintenance", "compute1", "--reason", "x"],
        ["confirm-fenced", "compute1", "--reason", "x"],
        ["restore", "compute1"],
    ):
        done = run(*command)
        assert done.exit_code == 1
        assert done.output == f"Error: database {tmp_path}/hass.db: unable to open database file\n"
