"""`hass status`, `orders`, `incidents`, `incident show|report`: what the REST interface knows, for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import time as now
from typing import Any

import click
from rich.console import Console

from hass_runtime.cli import screens
from hass_runtime.cli.client import DEFAULT, Client


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table"),
        _api,
    ):
        command = option(command)
    return command


_api = click.option(
    "--api",
    envvar="HASS_API",
    default=DEFAULT,
    show_default=True,
    metavar="URL",
    help="The controller's REST interface (environment: HASS_API).",
)


@click.command()
@_options
def status(api: str, form: str) -> None:
    """How the hosts are: state, layers and open incidents."""
    client = Client(api)
    found = {
        "health": client.get("/healthz", accept=(503,)),
        "switch": client.get("/v1/switch"),
        "orders": client.get("/v1/orders")["orders"],
        "hosts": client.get("/v1/hosts")["hosts"],
        "incidents": client.get("/v1/incidents", {"open": "true", "limit": 1000})["incidents"],
    }
    _show(form, found, lambda console: screens.status(console, found))


@click.command()
@_options
def orders(api: str, form: str) -> None:
    """What people have ordered for hosts, and what they have paused, as far as it is in force."""
    client = Client(api)
    found = client.get("/v1/orders") | {"pauses": client.get("/v1/switch")["pauses"]}
    _show(form, found, lambda console: screens.orders(console, found))


@click.command()
@_options
@click.option("--host", help="Of this host only.")
@click.option("--open", "open_only", is_flag=True, help="Without an end only.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many."
)
def incidents(api: str, form: str, host: str | None, open_only: bool, limit: int) -> None:
    """List incidents, the newest first."""
    params = {"limit": limit, "host": host, "open": "true" if open_only else None}
    found = Client(api).get("/v1/incidents", params)
    _show(form, found, lambda console: screens.incidents(console, found["incidents"]))


@click.group()
def incident() -> None:
    """One incident: what was seen, what was decided and why, what was done."""


@incident.command()
@_options
@click.argument("number", type=click.IntRange(0))
def show(api: str, form: str, number: int) -> None:
    """Show incident NUMBER as a timeline."""
    found = Client(api).get(f"/v1/incidents/{number}")
    _show(form, found, lambda console: screens.incident(console, found, now()))


@incident.command()
@_api
@click.argument("number", type=click.IntRange(0))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Where to write it (- is the screen; default hass-report-NUMBER.html).",
)
def report(api: str, number: int, output: str | None) -> None:
    """Write incident NUMBER as one HTML page that needs nothing else."""
    from hass_runtime.report.render import render

    page = render(Client(api).get(f"/v1/incidents/{number}"), now())
    if output == "-":
        click.echo(page, nl=False)
        return
    path = Path(output or f"hass-report-{number}.html")
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as exc:
        raise click.ClickException(f"{path}: cannot be written: {exc.strerror}") from None
    click.echo(f"written: {path}")


def _show(form: str, data: Any, draw: Callable[[Console], None]) -> None:
    if form == "json":
        click.echo(json.dumps(data, indent=2))
        return
    # A terminal that cannot show a character gets a question mark, not a traceback.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    draw(Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 160))
