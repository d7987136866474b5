"""What the tests of a person's commands share: a configuration that names a database, and hosts in it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from hass_runtime import settings
from hass_runtime.cli.main import main
from hass_runtime.domain import Host
from hass_runtime.store import Store, Writer


def use_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database that every configuration file names here; reading real files has tests of its own."""
    url = f"sqlite:///{tmp_path}/hass.db"
    monkeypatch.setattr(
        settings, "load_controller", lambda path: SimpleNamespace(database_url=url, path=path)
    )
    monkeypatch.delenv("SUDO_USER", raising=False)
    return url


def fill(store: Store) -> Writer:
    """Three hosts in two clusters."""
    store.migrate()
    lease = store.lease_acquire("ctl1", 600)
    assert lease is not None
    writer = store.writer(lease)
    writer.put_hosts(
        Host(name, "192.0.2.1", cluster)
        for name, cluster in (("compute1", "rack-a"), ("compute2", "rack-a"), ("compute10", "rack-b"))
    )
    return writer


def run(*arguments: str, typed: str | None = None, **env: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--config", "hass.conf"], env=dict(env), input=typed)
