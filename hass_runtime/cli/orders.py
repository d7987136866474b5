"""`hass maintenance`, `hass confirm-fenced` and `hass restore`: a person's orders for one host.

They are written to the database itself, on a controller; the one that acts carries them out soon.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from hass_runtime.cli.person import CONFIG, database, lasting, moment, who
from hass_runtime.domain import OrderKind
from hass_runtime.report.words import plain, span

if TYPE_CHECKING:
    from hass_runtime.store import HostRow, Store

# A word given once must not count as proof for another failure of the same host weeks later.
WORD_COUNTS_FOR = "1h"
WARNING = """\
You are about to give your word that {host} is OFF: without power, and nobody will switch it on.
HASS will then start its instances on other hosts, without any other proof.
If {host} still runs, two hosts write to the same disks, and the data on them is destroyed.
Go and look: pull its power cable, or see that its power supply is dead."""


@click.command()
@click.argument("host")
@click.option("--reason", help="Why; needed unless with --end.")
@lasting("End it by itself after TIME; otherwise it lasts until --end.")
@click.option(
    "--keep-instances", is_flag=True, help="Leave its instances on it; otherwise they are moved away first."
)
@click.option("--end", is_flag=True, help="End the maintenance: the host is brought back into service.")
@CONFIG
def maintenance(
    host: str, reason: str | None, duration: float | None, keep_instances: bool, end: bool, config: str
) -> None:
    """Take HOST out of service: no new instances, and nothing it does counts as a failure.

    A host that keeps its instances and goes dark is still fenced and evacuated.
    """
    if end:
        if reason is not None or duration is not None or keep_instances:
            raise click.UsageError("--end goes with none of --reason, --for and --keep-instances")
        with database(config) as store:
            was = store.end_orders(host, OrderKind.MAINTENANCE)
        click.echo(f"maintenance of {host} ended" if was else f"{host} was not in maintenance")
        return
    if reason is None:
        raise click.UsageError("Missing option '--reason'.")
    now = time.time()
    until = None if duration is None else now + duration
    with database(config) as store:
        made = store.give_order(
            host, OrderKind.MAINTENANCE, _reason(reason), who(), until, not keep_instances, now
        )
    lasts = f"until {moment(until)}" if until is not None else f"until `hass maintenance {host} --end`"
    first = "its instances are moved away first" if made.drain else "its instances stay on it"
    click.echo(f"maintenance of {host} ordered by {made.by} {lasts}: {made.reason}; {first}")


@click.command("confirm-fenced")
@click.argument("host")
@click.option("--reason", required=True, help="How you know that it is off; it is kept in the incident.")
@lasting("How long your word counts; a sign of life from the host ends it at once.", WORD_COUNTS_FOR)
@click.option("--yes-it-is-off", "sure", is_flag=True, help="Do not ask.")
@CONFIG
def confirm_fenced(host: str, reason: str, duration: float, sure: bool, config: str) -> None:
    """Give your word that HOST is off, so that its instances may be started elsewhere.

    For a host that HASS cannot prove off by itself: without a BMC, or whose BMC does not answer. When it is
    not off, two hosts write to the same disks, and the data on them is destroyed.
    """
    words = _reason(reason)
    with database(config) as store:
        row = _row(store, host)
        if not sure:
            _ask(host, row)
        now = time.time()
        made = store.give_order(host, OrderKind.CONFIRM_FENCED, words, who(), now + duration, at=now)
    click.echo(
        f"{host} confirmed to be off by {made.by}, which counts until {moment(now + duration)}: {made.reason}"
    )


@click.command()
@click.argument("host")
@click.option("--reason", default="", help="Why.")
@CONFIG
def restore(host: str, reason: str, config: str) -> None:
    """Bring HOST back into service now.

    It is switched on if need be, and takes instances again once it is well. Also one that was fenced too
    often, or whose restoration failed too often, to be taken back by itself.
    """
    with database(config) as store:
        made = store.give_order(host, OrderKind.RESTORE, reason, who())
    click.echo(f"restoration of {host} ordered by {made.by}" + (f": {made.reason}" if made.reason else ""))


def _reason(text: str) -> str:
    if not text.strip():
        raise click.BadParameter("must not be empty", param_hint="--reason")
    return text


def _row(store: Store, host: str) -> HostRow | None:
    return next((row for row in store.hosts() if row.name == host), None)


def _ask(host: str, row: HostRow | None) -> None:
    """Warn, and have the host's name typed. An unknown host is refused by the store, without a question."""
    if row is None:
        return
    click.secho(WARNING.format(host=host), fg="red", err=True)
    for line in _heard(row, time.time()):
        click.secho(line, fg="red", bold=True, err=True)
    try:
        typed = click.prompt("Type the host's name to confirm", default="", show_default=False, err=True)
    except click.Abort:
        raise click.ClickException("nothing was confirmed: nobody answered (see --yes-it-is-off)") from None
    if typed.strip() != host:
        raise click.ClickException(f"nothing was confirmed: {plain(typed)!r} is not {host!r}")


def _heard(row: HostRow, now: float) -> list[str]:
    """What speaks against it: the layers on which the host itself answered when it was last looked at."""
    return [
        f"It answered {span(max(0.0, now - reading.at))} ago ({layer.value}): {plain(reading.evidence)}"
        for layer, reading in row.layers.items()
        if reading.answered
    ]
