"""`hass controller`: the daemon."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hass_runtime.settings import SettingsError, load_controller


@click.command()
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("/etc/hass.conf"),
    show_default=True,
    help="The controller's configuration file.",
)
def controller(config: Path) -> None:
    """Watch all hosts and remedy what fails (systemd: hass.service)."""
    try:
        settings = load_controller(config)
    except SettingsError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(1)
    from hass_runtime import daemon  # after the configuration: what is wrong with it is said at once

    sys.exit(daemon.run(settings))
