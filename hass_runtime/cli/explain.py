"""`hass explain` and `hass replay`: why an incident was decided as it was, and what another policy would
do.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from hass_runtime.cli.client import DEFAULT, Client

if TYPE_CHECKING:
    from hass_runtime.decide.view import Policy

_FORMAT = click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table")
_NUMBER = click.argument("number", type=click.IntRange(0), metavar="INCIDENT")
_TROUBLE = 2


@click.command()
@_NUMBER
@_FORMAT
@click.option(
    "--api",
    envvar="HASS_API",
    default=DEFAULT,
    show_default=True,
    metavar="URL",
    help="The controller's REST interface (environment: HASS_API).",
)
def explain(number: int, form: str, api: str) -> None:
    """Say in sentences why INCIDENT was decided as it was.

    For each decision: what had been read of the host and when, which row of the symptom table matched, and
    what each gate said; also of incidents that were held or cleared.
    """
    from hass_runtime.explain import story

    told = Client(api).get(f"/v1/incidents/{number}/explanation")
    if form == "json":
        click.echo(json.dumps(told, indent=2))
        return
    for line in story.lines(told):
        click.echo(line)


@click.command()
@_NUMBER
@_FORMAT
@click.option(
    "--policy",
    "table",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Another symptom table.",
)
@click.option(
    "--settings",
    "settings",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Another hass.conf: its thresholds, gates and table.",
)
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the incident as a scenario that `hass simulate` plays.",
)
@click.option(
    "--config",
    default="/etc/hass.conf",
    show_default=True,
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The controller's configuration: it names the database.",
)
def replay(
    number: int, form: str, table: Path | None, settings: Path | None, save: Path | None, config: str
) -> None:
    """Judge the recorded readings of INCIDENT again, by another policy.

    Without --policy and --settings by the recorded one, which shows whether this HASS still decides the same.
    Nothing is changed, and nobody is asked but the database.

    Exit status: 0 the same would be done, 1 something else, 2 it cannot be told.
    """
    from hass_runtime.api.render import moment
    from hass_runtime.cli.person import database
    from hass_runtime.explain import replay as again
    from hass_runtime.explain.recorded import recorded

    try:
        with database(config) as store:
            incident = store.incident(number)
            if incident is None:
                raise click.ClickException(f"there is no incident {number}")
            made, views = recorded(store, number)
            moves = store.moves(number)
    except click.ClickException as error:
        _trouble(error.message)
    if not views:
        _trouble(f"incident {number}: what its decisions were made from is not kept (any more)")
    if save is not None:
        from hass_runtime.explain.saving import SavingError, scenario
        from hass_runtime.simulator.scenario import dump

        try:
            save.write_text(dump(scenario(incident, made, views, moves)), encoding="utf-8")
        except SavingError as problem:
            _trouble(str(problem))
        except OSError as problem:
            _trouble(f"{save}: cannot be written: {problem.strerror}")
        click.echo(f"written: {save}", err=form == "json")
        if table is None and settings is None:
            return
    first = views[min(views)]
    policy, name = _policy(first.policy, table, settings, config)
    told = again.replay(incident, made, views, policy)
    if form == "json":
        click.echo(json.dumps(again.data(told, moment), indent=2))
    else:
        for line in again.lines(told, name):
            click.echo(line)
    sys.exit(0 if told.same else 1)


def _policy(
    recorded: Policy, table: Path | None, settings: Path | None, config: str
) -> tuple[Policy | None, str]:
    """The policy to judge by (None: the recorded one), and its name in words."""
    from dataclasses import replace

    from hass_runtime.daemon import load_table, policy_of
    from hass_runtime.decide.symptoms import SymptomError
    from hass_runtime.remedy.playbooks import Shelf
    from hass_runtime.settings import SettingsError, load_controller
    from hass_runtime.table import read_table

    if table is None and settings is None:
        return None, "the recorded policy"
    try:
        loaded = load_controller(settings if settings is not None else config)
        policy = recorded
        if settings is not None:
            policy = policy_of(loaded, load_table(loaded) if table is None else recorded.table)
        if table is not None:
            numbers = {"wait_restart_threshold": loaded.detection.wait_restart_threshold}
            shelf = Shelf(loaded.paths.playbooks, loaded.paths.own_playbooks)
            policy = replace(policy, table=read_table(table, shelf, numbers).rows)
    except (SettingsError, SymptomError) as error:
        _trouble("\n".join(error.problems))
    return policy, " and ".join(str(file) for file in (settings, table) if file is not None)


def _trouble(words: str) -> NoReturn:
    click.echo(f"Error: {words}", err=True)
    sys.exit(_TROUBLE)
