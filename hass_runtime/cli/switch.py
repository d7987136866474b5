"""`hass disarm` and `hass arm`: the operator's switch, written to the database itself, on a controller."""

from __future__ import annotations

import time
from shlex import quote
from typing import TYPE_CHECKING

import click

from hass_runtime.cli.person import CONFIG, database, lasting, moment, who
from hass_runtime.domain import Scope
from hass_runtime.report.words import plain

if TYPE_CHECKING:
    from hass_runtime.domain import Pause

HOST = click.option("--host", metavar="NAME", help="This host only.")
CLUSTER = click.option("--cluster", metavar="NAME", help="The hosts of this cluster only.")


@click.command()
@click.option("--reason", required=True, help="Why; whoever is called at night reads it.")
@HOST
@CLUSTER
@lasting("Arm again by itself after TIME; otherwise it lasts until `hass arm`.")
@CONFIG
def disarm(reason: str, host: str | None, cluster: str | None, duration: float | None, config: str) -> None:
    """Stop HASS from acting: it goes on watching, and holds every fault back.

    Everywhere, or on one cluster or host; each such pause is ended on its own.
    """
    if not reason.strip():
        raise click.BadParameter("must not be empty", param_hint="--reason")
    scope, name = _scope(host, cluster)
    now = time.time()
    until = None if duration is None else now + duration
    with database(config) as store:
        made = store.disarm(reason, who(), until, now, scope, name)
    end = f"until {moment(made.until)}" if made.until is not None else f"until `{_arming(made)}`"
    click.echo(f"{_what(scope, name)}disarmed by {made.by} {end}: {made.reason}")


@click.command()
@HOST
@CLUSTER
@CONFIG
def arm(host: str | None, cluster: str | None, config: str) -> None:
    """Let HASS act again: ends the pause of everything, or of one cluster or host."""
    scope, name = _scope(host, cluster)
    with database(config) as store:
        was = store.arm(scope=scope, name=name)
        left = store.pauses()
    click.echo(f"{_what(scope, name)}armed" + ("" if was else " (it was not disarmed)"))
    for pause in left:
        what = _what(pause.scope, pause.name).rstrip(": ") or "everything"
        why = f"by {plain(pause.by)}: {plain(pause.reason)}"
        click.echo(f"still disarmed: {what}, {why} (`{_arming(pause)}` ends it)")


def _scope(host: str | None, cluster: str | None) -> tuple[Scope, str]:
    if host is not None and cluster is not None:
        raise click.UsageError("--host and --cluster cannot be used together")
    if host is not None:
        return Scope.HOST, host
    return (Scope.ALL, "") if cluster is None else (Scope.CLUSTER, cluster)


def _what(scope: Scope, name: str) -> str:
    return "" if scope is Scope.ALL else f"{scope.value} {name}: "


def _arming(pause: Pause) -> str:
    return "hass arm" if pause.scope is Scope.ALL else f"hass arm --{pause.scope.value} {quote(pause.name)}"
