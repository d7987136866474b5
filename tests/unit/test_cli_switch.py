"""`hass disarm` and `hass arm` on a configuration file and a database of their own."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from hass_runtime import settings
from hass_runtime.cli.main import main
from hass_runtime.store import Store


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database that every configuration file names here; reading real files has tests of its own."""
    url = f"sqlite:///{tmp_path}/hass.db"
    monkeypatch.setattr(
        settings, "load_controller", lambda path: SimpleNamespace(database_url=url, path=path)
    )
    monkeypatch.delenv("SUDO_USER", raising=False)
    return url


@pytest.fixture
def store(url: str) -> Store:
    store = Store(url)
    store.migrate()
    return store


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--config", "hass.conf"], env=dict(env))


def test_disarm_and_arm(store: Store) -> None:
    done = run("disarm", "--reason", "network works tonight")
    assert done.exit_code == 0, done.output
    assert done.output == f"disarmed by {getpass.getuser()} until `hass arm`: network works tonight\n"
    disarm = store.disarmed()
    assert disarm is not None
    assert (disarm.reason, disarm.by, disarm.until) == ("network works tonight", getpass.getuser(), None)
    assert run("arm").output == "armed\n"
    assert store.disarmed() is None
    assert run("arm").output == "armed (it was not disarmed)\n"


def test_disarm_for_a_while_names_the_person_behind_sudo(store: Store) -> None:
    before = time.time()
    assert run("disarm", "--reason", "x", "--for", "600", SUDO_USER="alice").exit_code == 0
    disarm = store.disarmed()
    assert disarm is not None
    assert disarm.until is not None
    assert before + 600 <= disarm.until <= time.time() + 600
    assert disarm.by.startswith("alice")
    assert store.disarmed(disarm.until) is None


@pytest.mark.parametrize(
    "wrong", [[], ["--reason", "  "], ["--reason", "x", "--for", "0"], ["--reason", "x", "--for", "soon"]]
)
def test_wrong_usage(store: Store, wrong: list[str]) -> None:
    assert run("disarm", *wrong).exit_code == 2
    assert store.disarmed() is None


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
