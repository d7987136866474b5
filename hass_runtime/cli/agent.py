"""``hass agent``: the daemon of a compute host."""

from __future__ import annotations

import sys

import click


@click.command()
@click.option(
    "--config",
    default="/etc/hass_compute.conf",
    show_default=True,
    metavar="FILE",
    help="Configuration of the compute host.",
)
def agent(config: str) -> None:
    """Answer the controllers' polls about this compute host until ended by SIGTERM."""
    from hass_runtime import logs
    from hass_runtime.settings import SettingsError, load_agent

    try:
        settings = load_agent(config)
    except SettingsError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(1)
    logs.configure(settings.log.level, settings.log.location)
    from hass_runtime.agent.server import run_agent

    sys.exit(run_agent(settings))
