"""`hass policy`: check a symptom table, show it, explain what it makes of the signs of a host."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hass_runtime.decide.symptoms import WORDS, Sign, SymptomError
from hass_runtime.domain import Layer

if TYPE_CHECKING:
    from rich.table import Table as Screen

    from hass_runtime.remedy.playbooks import Shelf
    from hass_runtime.table import Table

_FILE = click.argument("file", required=False, type=click.Path(path_type=Path))
_FORMAT = click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table")
_CONFIG = click.option(
    "--config",
    default="/etc/hass.conf",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The controller's configuration: it names the table and the playbooks. Need not be there.",
)


@dataclass(frozen=True)
class _Place:
    """What the configuration says, or, without one, what comes with HASS."""

    table: Path | None
    shelf: Shelf
    numbers: Mapping[str, int]
    protected: Mapping[str, frozenset[Layer]] = field(default_factory=dict)


@click.group()
def policy() -> None:
    """Check the symptom table, and explain what it says.

    The table says which signs of a host's layers are which fault, and which playbooks remedy it. It is
    explained in docs/policy.md.
    """


@policy.command()
@_FILE
@click.option("--strict", is_flag=True, help="A warning is a problem, too.")
@_CONFIG
def check(file: Path | None, strict: bool, config: Path) -> None:
    """Check the table in FILE: all that is wrong with it, one line each.

    Without FILE: the one that the configuration names, or the one that comes with HASS. A warning is
    something that is surely not meant, such as a row that can never match. Exit status: 0 the table can be
    used, 1 it cannot.
    """
    table = _read(_place(config), file)
    for line in table.oddities:
        click.echo(f"warning: {line}", err=True)
    if strict and table.oddities:
        sys.exit(1)
    click.echo(f"{table.source}: good, {len(table.rows)} rows")


@policy.command()
@_FILE
@_FORMAT
@_CONFIG
def show(file: Path | None, form: str, config: Path) -> None:
    """Show the table as it is understood: signs, ladders, what has to be waited for."""
    from hass_runtime.report.policy import row_data

    table = _read(_place(config), file)
    rows = [row_data(number, row) for number, row in enumerate(table.rows, start=1)]
    if form == "json":
        click.echo(json.dumps({"source": table.source, "rows": rows}, indent=2))
        return
    _draw(lambda: _screen(rows))


@policy.command()
@click.argument("words", nargs=-1, required=True, metavar="[FILE] LAYER=SIGN...")
@_FORMAT
@_CONFIG
def explain(words: tuple[str, ...], form: str, config: Path) -> None:
    """Which row matches, why those above it do not, and what follows.

    For example: hass policy explain power=failed network=failed service=silent. A layer that is not named was
    not read, which is `unknown`. Signs are those of the table, after debouncing.
    """
    from hass_runtime.report import policy as report

    file, given = _given(words)
    place = _place(config)
    table = _read(place, file)
    cases = report.explain(table.rows, given)
    if form == "json":
        click.echo(
            json.dumps(
                {"source": table.source, "cases": [report.case_data(case) for case in cases]}, indent=2
            )
        )
        return
    unprotected = {
        layer: sorted(name for name, layers in place.protected.items() if layer not in layers)
        for layer in Layer
    }
    for number, case in enumerate(cases):
        if number:
            click.echo()
        for line in report.case_lines(case, unprotected):
            click.echo(line)


@policy.command()
@click.option(
    "--write",
    "root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="The repository: docs/faults.md, and the tables in docs/safety.md and docs/architecture.md.",
)
def docs(root: Path | None) -> None:
    """Print the page of all faults, or renew the generated documentation.

    It is made from the table that comes with HASS, its gates and the life of a host.
    """
    from hass_runtime.report import policy_doc, policy_sources

    if root is None:
        click.echo(policy_doc.faults_page(policy_sources.read(policy_sources.checkout())), nl=False)
        return
    try:
        pages = policy_sources.pages(root)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{root}: the pages cannot be made: {error}") from None
    for path, text in pages.items():
        try:
            if path.exists() and path.read_text(encoding="utf-8") == text:
                click.echo(f"{path}: unchanged")
                continue
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"{path}: cannot be written: {error.strerror}") from None
        click.echo(f"{path}: written")


def _place(config: Path) -> _Place:
    from hass_runtime.remedy.playbooks import Shelf
    from hass_runtime.settings import SettingsError, load_controller
    from hass_runtime.settings.controller import shipped_playbooks
    from hass_runtime.settings.controller_keys import CONTROLLER

    source = click.get_current_context().get_parameter_source("config")
    usual = source is click.core.ParameterSource.DEFAULT
    if usual and not os.access(config, os.R_OK):
        if config.exists():
            click.echo(
                f"note: {config} may not be read by you: taking what comes with HASS instead", err=True
            )
        default = CONTROLLER.key("detection", "wait_restart_threshold").default
        own = Path(CONTROLLER.key("paths", "own_playbooks").default or "/nonexistent")
        return _Place(None, Shelf(shipped_playbooks(), own), {"wait_restart_threshold": int(default or 0)})
    try:
        settings = load_controller(config)
    except SettingsError as error:
        for problem in error.problems:
            click.echo(f"problem: {problem}", err=True)
        sys.exit(1)
    return _Place(
        settings.paths.symptoms,
        Shelf(settings.paths.playbooks, settings.paths.own_playbooks),
        {"wait_restart_threshold": settings.detection.wait_restart_threshold},
        settings.protected_layers,
    )


def _read(place: _Place, file: Path | None) -> Table:
    from hass_runtime.table import read_table

    try:
        return read_table(file or place.table, place.shelf, place.numbers)
    except SymptomError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(1)


def _given(words: tuple[str, ...]) -> tuple[Path | None, dict[Layer, frozenset[Sign]]]:
    """The file, and the signs of each layer. Raises UsageError with what was expected."""
    file: Path | None = None
    given: dict[Layer, frozenset[Sign]] = {}
    layers, signs = ", ".join(layer.value for layer in Layer), ", ".join(WORDS)
    for place, word in enumerate(words):
        name, equals, wanted = word.partition("=")
        if not equals and place == 0:
            file = Path(word)
            continue
        if not equals:
            raise click.UsageError(f"{word!r}: expected LAYER=SIGN, such as power=failed")
        if name not in [layer.value for layer in Layer]:
            raise click.UsageError(f"{word!r}: {name!r} is no layer, expected one of {layers}")
        if Layer(name) in given:
            raise click.UsageError(f"{word!r}: layer {name} is there twice, expected once")
        found: frozenset[Sign] = frozenset()
        for each in wanted.split(","):
            if each not in WORDS:
                raise click.UsageError(f"{word!r}: {each!r} is no sign, expected one of {signs}")
            found |= WORDS[each]
        given[Layer(name)] = found
    if not given:
        raise click.UsageError("no sign is given, expected LAYER=SIGN, such as power=failed")
    return file, given


def _screen(rows: list[dict[str, Any]]) -> Screen:
    from rich import box
    from rich.table import Table as Screen

    screen = Screen(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("row", "fault", "layer", "when", "remedy", "why"):
        screen.add_column(column, overflow="fold")
    for row in rows:
        when = "\n".join(f"{layer}: {' or '.join(words)}" for layer, words in row["when"].items())
        if row["patient"]:
            when += "\nfor network_transient_time"
        ladder = "\n".join(_rung(rung) for rung in row["ladder"]) or "reported only"
        screen.add_row(str(row["row"]), row["fault"], row["layer"], when, ladder, row["why"])
    return screen


def _rung(rung: dict[str, Any]) -> str:
    tries = f" ×{rung['tries']}" if rung["tries"] > 1 else ""
    deadline = f" ({rung['deadline']:g} s)" if rung["deadline"] is not None else ""
    return f"{rung['playbook']}{tries}{deadline}"


def _draw(screen: Callable[[], Screen]) -> None:
    from rich.console import Console

    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 160)
    console.print(screen())
