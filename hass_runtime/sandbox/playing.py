"""What `hass sandbox play` does from the file to the exit status, and what it prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from hass_runtime.cli import verdict
from hass_runtime.sandbox.cluster import ERRORS, Sandbox
from hass_runtime.sandbox.play import Play, build
from hass_runtime.sandbox.pointer import SandboxError
from hass_runtime.simulator.record import Entry
from hass_runtime.simulator.scenario import ScenarioError, load

HELD, FAILED, UNUSABLE = 0, 1, 2


def run(
    path: Path,
    as_json: bool,
    quiet: bool,
    keep: bool,
    look_around: Callable[[str, str], str],
    uninterrupted: Callable[[], None],
) -> int:
    """Play it; returns the exit status. What the sandbox says about itself goes to stderr."""

    def log(line: str) -> None:
        click.echo(f"  {line}", err=True)

    def tell(entry: Entry) -> None:
        if not quiet:
            click.echo(entry.json() if as_json else entry.text())

    box: Sandbox | None = None
    try:
        scenario = load(path)
        box = build(scenario, log)
        log(f"starting {len(scenario.hosts)} hosts with {len(scenario.instances)} instances")
        box.start()
        log(f"playing {scenario.name!r}, {scenario.run_for:g} s")
        result = Play(box, scenario, tell).run()
        if as_json:
            verdict.judgements_as_json(result)
            verdict.end_as_json(result, "play.ended", result.ok)
        else:
            click.echo()
            verdict.tell(result, only_failures=quiet)
            verdict.count(result)
        if keep:
            click.echo(look_around(box.layout.rest_url, scenario.hosts[-1].name), err=True)
            box.down_requested.wait()
        return HELD if result.ok else FAILED
    except ScenarioError as error:
        click.echo(str(error), err=True)
        return UNUSABLE
    except (SandboxError, *ERRORS) as error:
        click.echo(f"hass sandbox: {error}", err=True)
        return FAILED
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return FAILED
    finally:
        uninterrupted()
        if box is not None:
            box.stop()
