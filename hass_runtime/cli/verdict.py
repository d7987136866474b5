"""How `hass simulate` and `hass sandbox play` say what came of a scenario."""

from __future__ import annotations

import json

import click

from hass_runtime.simulator.run import Result


def tell(result: Result, only_failures: bool) -> None:
    """The judgements, the broken rules, and a line that counts them. ``only_failures``: of the judgements."""
    for judgement in result.judgements:
        if not only_failures or not judgement.held:
            click.echo(judgement.text())
    for violation in result.violations:
        click.echo(f"BROKEN  {violation.text()}")


def count(result: Result) -> None:
    """How many expectations held, and how many rules were broken."""
    held = sum(judgement.held for judgement in result.judgements)
    broken = f"{len(result.violations)} safety rules broken" if result.violations else "no safety rule broken"
    click.echo(f"{held} of {len(result.judgements)} expectations held, {broken}")


def judgements_as_json(result: Result) -> None:
    """An object a line for each expectation."""
    for judgement in result.judgements:
        wanted = judgement.expectation
        row = {
            "t": judgement.at,
            "event": "expectation.held" if judgement.held else "expectation.failed",
            "subject": wanted.text or wanted.what,
            "words": judgement.words,
        }
        click.echo(json.dumps(row))


def end_as_json(result: Result, event: str, ok: bool) -> None:
    """The last object: whether all is well, and every broken rule."""
    violations = [
        {"t": each.t, "rule": each.rule, "subject": each.subject, "words": each.words}
        for each in result.violations
    ]
    ended = {
        "t": result.scenario.run_for,
        "event": event,
        "subject": result.scenario.name,
        "ok": ok,
        "violations": violations,
    }
    click.echo(json.dumps(ended))
