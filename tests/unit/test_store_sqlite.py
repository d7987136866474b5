"""The store on SQLite: the suite that every database passes, and what is SQLite's own."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest
from store_suite import *  # noqa: F403
from store_suite import HOST
from store_suite_shared import *  # noqa: F403

from hass_runtime.store import Store, StoreError


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state dir/100%/hass.db"


def _file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def test_the_file_and_its_directory_are_closed_to_others(url: str) -> None:
    old = os.umask(0)
    try:
        store = Store(url)
        store.migrate()
        lease = store.lease_acquire("ctl1", 60)
    finally:
        os.umask(old)
    assert lease is not None
    assert stat.S_IMODE(_file(url).stat().st_mode) == 0o640
    assert stat.S_IMODE(_file(url).parent.stat().st_mode) == 0o750
    assert stat.S_IMODE(Path(f"{_file(url)}-wal").stat().st_mode) == 0o640


def test_a_file_that_is_open_to_others_is_closed(url: str) -> None:
    Store(url).migrate()
    _file(url).chmod(0o666)
    Store(url).migrate()
    assert stat.S_IMODE(_file(url).stat().st_mode) == 0o640


def test_it_writes_ahead_and_checks_foreign_keys(url: str) -> None:
    store = Store(url)
    store.migrate()
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 5000


def test_a_reader_never_makes_a_database(url: str) -> None:
    _file(url).parent.mkdir(parents=True)
    for use in (Store(url).hosts, Store(url).check, lambda: Store(url).disarm("x", "me")):
        with pytest.raises(StoreError, match=r"hass\.db: unable to open database file"):
            use()
    assert not _file(url).exists()
    _file(url).touch()
    with pytest.raises(StoreError, match="has no tables yet"):
        Store(url).check()


def test_a_database_locked_by_another_is_an_error_after_a_bounded_wait(url: str) -> None:
    store = Store(url, connect_timeout=0.2)
    store.migrate()
    lease = store.lease_acquire("ctl1", 60)
    assert lease is not None
    other = sqlite3.connect(_file(url), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.writer(lease).put_host(HOST)
    assert store.hosts() == []  # readers go on
    other.execute("ROLLBACK")
    store.writer(lease).put_host(HOST)
    assert len(store.hosts()) == 1
    other.close()


def test_a_file_that_is_no_database_is_one_clear_line(url: str) -> None:
    _file(url).parent.mkdir(parents=True)
    _file(url).write_text("not a database " * 100)
    for use in (Store(url).migrate, Store(url).hosts):
        with pytest.raises(StoreError, match=r"hass\.db: file is not a database"):
            use()


def test_a_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"hass\.db: .*(Not a directory|File exists)"):
        Store(f"sqlite:///{tmp_path}/file/hass.db").migrate()


def test_a_clock_in_this_machine_judges_the_lease(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(url)
    store.migrate()
    now = 1000.0
    monkeypatch.setattr("time.time", lambda: now)
    lease = store.lease_acquire("ctl1", 15)
    assert lease is not None
    assert lease.expires_at == 1015.0
    now = 1014.9
    store.writer(lease).put_host(HOST)
    assert store.lease_renew(lease).expires_at == pytest.approx(1029.9)
    now = 1029.9
    assert store.lease_current() is None
    taken = store.lease_acquire("ctl2", 15)
    assert taken is not None
    assert taken.epoch == 2


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("nonsense", "cannot be read"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql://u:s3cret@h/d", "postgresql is not supported"),
        ("mysql+pymysql://u:s3cret@h", "name of the database is missing"),
    ],
)
def test_a_bad_url_is_one_clear_line_without_its_password(bad: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        Store(bad)
    assert "s3cret" not in str(caught.value)


def test_a_database_that_nobody_serves_is_one_clear_line_without_its_password() -> None:
    store = Store("mysql+pymysql://hass:s3cret@127.0.0.1:1/hass", connect_timeout=1)
    assert "s3cret" not in repr(store)
    for use in (store.migrate, store.hosts, store.check, lambda: store.lease_acquire("ctl1", 15)):
        with pytest.raises(StoreError, match=r"^database hass at 127\.0\.0\.1:1: .*refused") as caught:
            use()
        assert "s3cret" not in str(caught.value)
        assert "\n" not in str(caught.value)
