"""`hass failback`: a person has the instances of a host brought home, by live migration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hass_runtime.cli.person import CONFIG, database, who
from hass_runtime.domain import OrderKind
from hass_runtime.report.words import plain

if TYPE_CHECKING:
    from hass_runtime.domain import Move
    from hass_runtime.store import Store


@click.command()
@click.argument("what", metavar="HOST|INCIDENT")
@click.option("--reason", default="", help="Why.")
@click.option("--yes", "sure", is_flag=True, help="Do not ask.")
@click.option("--cancel", is_flag=True, help="Take it back, as long as it has not begun.")
@CONFIG
def failback(what: str, reason: str, sure: bool, cancel: bool, config: str) -> None:
    """Bring home, by live migration, what was moved away from HOST, or by INCIDENT.

    Of a host it is what its newest incident has moved away. What somebody has moved since stays where it is.
    """
    with database(config) as store:
        if cancel:
            host = _host(store, what)
            was = store.end_orders(host, OrderKind.FAILBACK)
            click.echo(f"failback of {host} taken back" if was else f"no failback of {host} was ordered")
            return
        host, incident = _meant(store, what)
        moves = _moved(store, host, incident)
        if not sure:
            _ask(host, moves)
        made = store.give_order(host, OrderKind.FAILBACK, reason, who(), incident=incident)
    told = f": {made.reason}" if made.reason else ""
    click.echo(
        f"failback of {len(moves)} instances to {host} ordered by {made.by}{told}; "
        "it begins when the host is healthy"
    )


def _host(store: Store, what: str) -> str:
    """The host that is meant, by its name or by one of its incidents."""
    incident = store.incident(int(what)) if what.isascii() and what.isdigit() and len(what) < 19 else None
    names = {row.name for row in store.hosts()}
    return incident.host if incident is not None and what not in names else what


def _meant(store: Store, what: str) -> tuple[str, int]:
    """The host, and the number of the incident that moved its instances away."""
    from hass_runtime.remedy.homecoming import newest_that_moved

    if what in {row.name for row in store.hosts()}:
        number = newest_that_moved(store, what)
        if not number:
            raise click.ClickException(f"no incident has moved anything away from {what}")
        return what, number
    if not (what.isascii() and what.isdigit() and len(what) < 19):
        expected = "expected a host or the number of an incident"
        raise click.ClickException(f"no host is called {plain(what)!r}, {expected}")
    incident = store.incident(int(what))
    if incident is None:
        raise click.ClickException(f"there is no incident {what}")
    return incident.host, incident.id


def _moved(store: Store, host: str, incident: int) -> list[Move]:
    from hass_runtime.remedy.homecoming import moved_away

    moves = store.moves(incident)
    away = moved_away(host, moves)
    if not away:
        raise click.ClickException(f"incident {incident} has moved nothing away from {host}")
    return [move for move in moves if move.instance in away]


def _ask(host: str, moves: list[Move]) -> None:
    for move in moves:
        click.echo(f"{plain(move.name or move.instance)}: {move.target} -> {host}")
    try:
        sure = click.confirm(f"Live-migrate them to {host}?", err=True)
    except click.Abort:
        raise click.ClickException("nothing was ordered: nobody answered (see --yes)") from None
    if not sure:
        raise click.ClickException("nothing was ordered")
