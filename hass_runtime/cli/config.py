"""`hass config`: check a configuration file, or print an example of one."""

from __future__ import annotations

import sys
from pathlib import Path

import click

KINDS = click.Choice(["controller", "agent"])


@click.group()
def config() -> None:
    """Check configuration files and print examples."""


@config.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--kind", type=KINDS, help="What the file is for; otherwise recognised by what is in it.")
def check(file: Path, kind: str | None) -> None:
    """Check FILE as the daemon would, without starting anything.

    Prints every problem and every note. Exit status: 0 the file can be used, 1 it has problems.
    """
    from hass_runtime.settings.check import check as run_check
    from hass_runtime.settings.check import recognise

    kind = kind or recognise(file)
    if kind is None:
        raise click.UsageError(f"cannot tell what {file} is for: say --kind controller or --kind agent")
    findings = run_check(file, kind)
    for note in findings.notes:
        click.echo(f"note: {note}")
    for problem in findings.problems:
        click.echo(f"problem: {problem}", err=True)
    if findings.problems:
        count = len(findings.problems)
        click.echo(f"{file}: {count} problem{'s' if count > 1 else ''} ({kind})", err=True)
        sys.exit(1)
    click.echo(f"{file}: good ({kind})")


@config.command("example")
@click.argument("kind", type=KINDS)
def example(kind: str) -> None:
    """Print a commented example file with every key, its meaning, unit and default."""
    from hass_runtime.settings.example import example as text

    click.echo(text(kind), nl=False)
