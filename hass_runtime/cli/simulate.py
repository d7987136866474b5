"""`hass simulate`: scenarios in a made-up world, in a moment."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from hass_runtime.cli import verdict
from hass_runtime.simulator.explore import explore
from hass_runtime.simulator.record import text_of
from hass_runtime.simulator.run import Result
from hass_runtime.simulator.run import simulate as run_scenario
from hass_runtime.simulator.scenario import ScenarioError, load

EXPECTED_LOG = "log.expect"
_NAME = "scenario.yml"


@click.command()
@click.argument("paths", nargs=-1, metavar="[SCENARIO.yml|DIRECTORY]...", type=click.Path(path_type=Path))
@click.option(
    "--seed", type=int, default=0, show_default=True, help="What chance does: the same seed, the same run."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--quiet", "-q", is_flag=True, help="Only what came of it, not what happened.")
@click.option("--update", is_flag=True, help="Write log.expect beside each scenario.")
@click.option(
    "--random",
    "count",
    type=click.IntRange(1),
    help="Make up so many schedules of failures and look for a broken safety rule.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes, with --random."
)
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where a scenario that breaks a rule is written to, with --random.  [default: here]",
)
def simulate(
    paths: tuple[Path, ...],
    seed: int,
    as_json: bool,
    quiet: bool,
    update: bool,
    count: int | None,
    jobs: int,
    save: Path,
) -> None:
    """Run scenario files against made-up hosts and a made-up clock.

    The judgement, the remediation playbooks and their modules are the real ones. A DIRECTORY stands for every
    NAME/scenario.yml in it; when there is a log.expect beside it, the log has to be exactly that.

    Exit status: 0 when every expectation held and no safety rule was broken, 1 otherwise, 2 for wrong usage
    or a file that cannot be used.
    """
    if count is not None:
        if paths or update:
            raise click.UsageError(
                "--random makes its own scenarios: expected no file and no --update with it"
            )
        sys.exit(explore(count, seed, jobs, save, as_json))
    if not paths:
        raise click.UsageError("no scenario is given, expected a file, a directory or --random N")
    sys.exit(_files(list(_found(paths)), seed, as_json, quiet, update))


def _found(paths: tuple[Path, ...]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = [path / _NAME] if (path / _NAME).exists() else sorted(path.glob(f"*/{_NAME}"))
        if not inside:
            raise click.UsageError(f"{path}: no NAME/{_NAME} in it, expected at least one")
        yield from inside


def _files(paths: list[Path], seed: int, as_json: bool, quiet: bool, update: bool) -> int:
    failed = 0
    for path in paths:
        try:
            scenario = load(path)
            result = run_scenario(scenario, seed)
        except ScenarioError as error:
            click.echo(str(error), err=True)
            return 2
        log = text_of(result.entries)
        expected = path.with_name(EXPECTED_LOG)
        if update:
            expected.write_text(log, encoding="utf-8")
        problem = _difference(expected, log) if seed == 0 else ""
        _show(result, log, problem, as_json, quiet, len(paths) > 1)
        failed += bool(problem) or not result.ok
    if len(paths) > 1 and not as_json:
        click.echo(f"{len(paths) - failed} of {len(paths)} scenarios passed")
    return 1 if failed else 0


def _difference(expected: Path, log: str) -> str:
    """Where the log is another than what is expected, "" when it is not, or nothing is."""
    if expected.parent.joinpath(_NAME).exists() and expected.exists():
        wanted, got = expected.read_text(encoding="utf-8").splitlines(), log.splitlines()
        for number, (one, other) in enumerate(zip(wanted, got, strict=False), 1):
            if one != other:
                return f"{expected}:{number}: the log differs:\n  expected {one}\n  got      {other}"
        if len(wanted) != len(got):
            return f"{expected}: the log has {len(got)} lines, expected {len(wanted)}"
    return ""


def _show(result: Result, log: str, problem: str, as_json: bool, quiet: bool, several: bool) -> None:
    scenario = result.scenario
    if as_json:
        _show_json(result, problem, quiet)
        return
    if several:
        click.echo(f"== {scenario.path}: {scenario.name}")
    if not quiet and not several:
        click.echo(log, nl=False)
        click.echo()
    verdict.tell(result, quiet or several)
    if problem:
        click.echo(problem)
    verdict.count(result)


def _show_json(result: Result, problem: str, quiet: bool) -> None:
    if not quiet:
        for entry in result.entries:
            click.echo(entry.json())
    verdict.judgements_as_json(result)
    if problem:
        click.echo(
            json.dumps(
                {
                    "t": None,
                    "event": "log.differs",
                    "subject": os.fspath(result.scenario.path),
                    "words": problem,
                }
            )
        )
    verdict.end_as_json(result, "simulation.ended", result.ok and not problem)
