"""`hass disarm` and `hass arm`: the operator's switch, written to the database itself, on a controller."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hass_runtime.store import Store

CONFIG = click.option(
    "--config",
    default="/etc/hass.conf",
    show_default=True,
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The controller's configuration: it names the database.",
)


@click.command()
@click.option("--reason", required=True, help="Why; whoever is called at night reads it.")
@click.option(
    "--for",
    "duration",
    type=click.FloatRange(min=1.0),
    metavar="SECONDS",
    help="Arm again by itself after so many seconds; otherwise it lasts until `hass arm`.",
)
@CONFIG
def disarm(reason: str, duration: float | None, config: str) -> None:
    """Stop HASS from acting: it goes on watching, and holds every fault back."""
    if not reason.strip():
        raise click.BadParameter("must not be empty", param_hint="--reason")
    now = time.time()
    with _database(config) as store:
        made = store.disarm(reason, _who(), None if duration is None else now + duration, now)
    until = "until `hass arm`"
    if made.until is not None:
        until = f"until {datetime.fromtimestamp(made.until):%Y-%m-%d %H:%M:%S}"
    click.echo(f"disarmed by {made.by} {until}: {made.reason}")


@click.command()
@CONFIG
def arm(config: str) -> None:
    """Let HASS act again."""
    with _database(config) as store:
        was = store.arm()
    click.echo("armed" if was else "armed (it was not disarmed)")


@contextmanager
def _database(config: str) -> Iterator[Store]:
    """The store of a configuration file, checked; every failure is one line and exit status 1."""
    from hass_runtime.settings import SettingsError, load_controller
    from hass_runtime.store import Store, StoreError

    try:
        store = Store(load_controller(config).database_url)
        try:
            store.check()
            yield store
        finally:
            store.close()
    except SettingsError as exc:
        raise click.ClickException("\n".join(exc.problems)) from None
    except StoreError as exc:
        raise click.ClickException(str(exc)) from None


def _who() -> str:
    """Who asks: behind sudo the person, not root."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER", "")
    return f"{behind} (as {user})" if behind and behind != user else user
