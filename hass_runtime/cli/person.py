"""What the commands of a person have in common: who he is, which database he writes to, how long it lasts."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from hass_runtime.store import Store

F = TypeVar("F", bound=Callable[..., Any])
CONFIG = click.option(
    "--config",
    default="/etc/hass.conf",
    show_default=True,
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The controller's configuration: it names the database.",
)

_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PART = re.compile(rf"({_NUMBER})([dhms])")
_WHOLE = re.compile(rf"(?:{_NUMBER}[dhms])+")
_SHORTEST = 1.0
_LONGEST = 10 * 365 * 86_400.0


def duration(text: str) -> float:
    """Seconds from a number of seconds or from numbers with units: 90, 30m, 1h30m, 1.5d.

    Raises ValueError, in words, for anything else, less than a second and more than ten years.
    """
    words = text.strip().lower()
    if re.fullmatch(_NUMBER, words):
        words += "s"
    parts = _PART.findall(words) if _WHOLE.fullmatch(words) else []
    found = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not _SHORTEST <= found <= _LONGEST:
        raise ValueError(f"{text!r} is not a time such as 90, 30m, 2h, 1h30m or 1d (from 1 s to ten years)")
    return found


def lasting(help: str, default: str | None = None) -> Callable[[F], F]:
    """The option ``--for``: seconds, or None without one."""

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
        try:
            return None if value is None else duration(value)
        except ValueError as exc:
            raise click.BadParameter(str(exc), ctx, param) from None

    return click.option(
        "--for",
        "duration",
        default=default,
        show_default=default is not None,
        callback=read,
        metavar="TIME",
        help=f"{help} TIME is a number of seconds, or such as 90s, 30m, 2h, 1h30m or 1d.",
    )


@contextmanager
def database(config: str) -> Iterator[Store]:
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


def who() -> str:
    """Who asks: behind sudo the person, not root."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER", "")
    return f"{behind} (as {user})" if behind and behind != user else user


def moment(at: float) -> str:
    """A time as this machine's clock on the wall shows it."""
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"
