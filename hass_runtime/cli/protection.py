"""`hass protect`, `hass unprotect` and `hass protection`: which instances are moved and started, and why.

A person's word on one instance is written to the database itself, on a controller, and counts from the next
remedy on. Instances are asked of Nova, with the account of the configuration file.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import click

from hass_runtime.cli.person import CONFIG, database, who
from hass_runtime.report.words import plain

if TYPE_CHECKING:
    from hass_runtime.remedy.nova import Server
    from hass_runtime.settings import ControllerSettings

Json = dict[str, Any]


class Nova(Protocol):
    """Where an instance is looked for."""

    def server(self, server_id: str) -> Server | None: ...
    def servers_named(self, name: str) -> list[Server]: ...


@dataclass(frozen=True)
class Found:
    """An instance that a person has named: its UUID, and its name when Nova could tell."""

    id: str
    name: str


REASON = click.option("--reason", default="", help="Why; it is shown wherever the instance is.")
BY_RULES = click.option("--by-rules", is_flag=True, help="Take your word back: let the rules decide again.")


@click.command()
@click.argument("instance")
@REASON
@BY_RULES
@CONFIG
def protect(instance: str, reason: str, by_rules: bool, config: str) -> None:
    """Protect INSTANCE (its UUID, or its whole name), whatever the rules say."""
    _choose(instance, True, reason, by_rules, config)


@click.command()
@click.argument("instance")
@REASON
@BY_RULES
@CONFIG
def unprotect(instance: str, reason: str, by_rules: bool, config: str) -> None:
    """Leave INSTANCE (its UUID, or its whole name) alone from now on.

    It is not moved when its host fails or is emptied, and not started again either.
    """
    _choose(instance, False, reason, by_rules, config)


@click.command()
@click.option("--host", help="Of this host only.")
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table")
@CONFIG
def protection(host: str | None, form: str, config: str) -> None:
    """List every instance, whether it is protected, and why."""
    with _cloud(config) as (settings, nova), database(config) as store:
        names = [each.name for each in settings.hosts]
        if host is not None and host not in names:
            raise click.ClickException(
                f"{config} names no host {plain(host)}; its hosts are: {', '.join(names)}"
            )
        choices = {each.instance: each for each in store.choices()}
        found = [
            row
            for each in settings.hosts
            if host in (None, each.name)
            for row in _rows(settings, nova, each, choices)
        ]
    if form == "json":
        click.echo(json.dumps({"instances": found}, indent=2))
        return
    _show(found)


def _rows(settings: ControllerSettings, nova: Any, host: Any, choices: Any) -> list[Json]:
    from hass_runtime.remedy.protecting import Protector

    protects = Protector(nova, host.name, settings.protection[host.cluster], choices)
    servers = sorted(nova.servers_on(host.name), key=lambda each: (-each.priority, each.name, each.id))
    rows = []
    for server in servers:
        told = protects(server)
        rows.append(
            {
                "id": server.id,
                "name": server.name,
                "host": host.name,
                "priority": server.priority,
                "protected": told.protected,
                "by": told.by,
                "reason": told.reason,
            }
        )
    return rows


def _show(found: list[Json]) -> None:
    if not found:
        click.echo("no instances on the hosts that are watched")
        return
    words = [
        (
            plain(row["name"]),
            row["id"],
            row["host"],
            str(row["priority"]),
            "protected" if row["protected"] else "left alone",
            plain(row["reason"]),
        )
        for row in found
    ]
    head = ("NAME", "INSTANCE", "HOST", "PRIORITY", "", "WHY")
    widths = [max(len(row[column]) for row in (head, *words)) for column in range(len(head))]
    for row in (head, *words):
        click.echo("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())


def _choose(instance: str, protected: bool, reason: str, by_rules: bool, config: str) -> None:
    if by_rules and reason:
        raise click.UsageError("--by-rules goes without --reason")
    with _cloud(config) as (_, nova):
        found = find(nova, instance)
    shown = f"{plain(found.name)} ({found.id})" if found.name else found.id
    with database(config) as store:
        if by_rules:
            was = store.forget_choice(found.id)
            click.echo(f"{shown}: the rules decide again" if was else f"{shown}: the rules decide already")
            return
        made = store.choose(found.id, protected, reason, who(), found.name)
    verb = "protected" if protected else "left alone"
    click.echo(f"{shown}: {verb} by {made.by}" + (f": {made.reason}" if made.reason else ""))


def find(nova: Nova, instance: str) -> Found:
    """The instance of that UUID, or of exactly that name. Raises ClickException when it is not one.

    A Nova that does not answer is no obstacle to a UUID: the word counts once there is such an instance.
    """
    from hass_runtime.remedy.nova import CloudError

    text = instance.strip()
    known = _uuid(text)
    try:
        if known:
            server = nova.server(known)
            if server is None:
                raise click.ClickException(f"Nova knows no instance {known}")
            return Found(server.id, server.name)
        servers = nova.servers_named(text)
    except CloudError as error:
        if known:
            click.echo(f"not looked up, taken as it is: {error}", err=True)
            return Found(known, "")
        raise
    if len(servers) == 1:
        return Found(servers[0].id, servers[0].name)
    if not servers:
        raise click.ClickException(
            f"Nova knows no instance named {plain(text)!r}, expected a UUID or a whole name"
        )
    ids = ", ".join(sorted(server.id for server in servers))
    raise click.ClickException(f"{len(servers)} instances are named {plain(text)!r}, expected one of: {ids}")


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return ""


@contextmanager
def _cloud(config: str) -> Iterator[tuple[ControllerSettings, Any]]:
    """The settings and Nova; every failure is one line and exit status 1."""
    from hass_runtime.remedy import cloud
    from hass_runtime.remedy.nova import CloudError
    from hass_runtime.settings import SettingsError, load_controller

    try:
        settings = load_controller(config)
        yield settings, cloud.connect(settings, workers=1)
    except SettingsError as exc:
        raise click.ClickException("\n".join(exc.problems)) from None
    except CloudError as exc:
        raise click.ClickException(str(exc)) from None
