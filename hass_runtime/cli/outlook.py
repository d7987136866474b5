"""`hass readiness` and `hass plan`: what would happen if a host failed now."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import click

from hass_runtime.cli.client import DEFAULT, Client
from hass_runtime.report.words import count, plain

_FORMAT = click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table")
_API = click.option(
    "--api",
    envvar="HASS_API",
    default=DEFAULT,
    show_default=True,
    metavar="URL",
    help="The controller's REST interface (environment: HASS_API).",
)
_BACK = {"blank": "comes back without what was on its disk", "unsure": "may not come back", "no": "stays off"}
_SHOWN = 50  # instances of one host that are listed, unless it is asked for alone
_NOT_KNOWN = 2


@click.command()
@click.argument("host", required=False)
@_FORMAT
@click.option("--check", is_flag=True, help="One line, and the exit status, for a monitoring system.")
@_API
def readiness(host: str | None, form: str, check: bool, api: str) -> None:
    """If a host died now, would each of its instances come back?

    By host, and by instance that would not, with what to do about it. Of HOST alone, every instance.

    Exit status: 0 everything would come back (or, without --check, it could be told), 1 with --check:
    something would not, 2 with --check: it cannot be told. Without --check a failure is 1.
    """
    try:
        found = Client(api).get("/v1/readiness", {"host": host})
    except click.ClickException as error:
        if not check:
            raise
        click.echo(f"UNKNOWN: {error.message}")
        sys.exit(_NOT_KNOWN)
    bad = [each for each in found["hosts"] if not each["ready"]]
    if check:
        click.echo(_one_line(found, bad))
        sys.exit(1 if bad else 0)
    if form == "json":
        click.echo(json.dumps(found, indent=2))
        return
    for line in _lines(found, host is not None):
        click.echo(line)


def _one_line(found: Mapping[str, Any], bad: list[Mapping[str, Any]]) -> str:
    if not bad:
        return f"OK: everything on {count(len(found['hosts']), 'host')} would come back"
    lost = sum(each["counts"][back] for each in bad for back in _BACK)
    names = ", ".join(plain(each["host"]) for each in bad[:10]) + (" …" if len(bad) > 10 else "")
    return f"NOT READY: {names}; {count(lost, 'instance')} would not come back as they were"


def _lines(found: Mapping[str, Any], alone: bool) -> Iterator[str]:
    for host in found["hosts"]:
        counts = host["counts"]
        total = sum(counts.values())
        state = "ready" if host["ready"] else "HELD" if host["held"] else "NOT READY"
        parts = [f"{counts['yes']} of {total} come back"]
        parts += [f"{counts[back]} {words}" for back, words in _BACK.items() if counts[back]]
        parts += [f"{counts['left']} left alone by policy"] if counts["left"] else []
        yield f"{plain(host['host'])}  {state}: {', '.join(parts)}"
        for problem in host["problems"]:
            yield f"    {plain(problem['words'])}"
            yield f"      -> {plain(problem['advice'])}"
        listed = [each for each in host["instances"] if alone or each["back"] in _BACK]
        for each in listed if alone else listed[:_SHOWN]:
            yield from _instance(each)
        if not alone and len(listed) > _SHOWN:
            yield f"    and {len(listed) - _SHOWN} more: hass readiness {plain(host['host'])}"
    if not alone:
        yield f"The {count(found['can_lose'], 'fullest host')} may die at once and everything still has room."
        asked = ", ".join(f"{service} {number}" for service, number in sorted(found["calls"].items()))
        yield f"Surveyed at {plain(found['at'])}, calls made: {asked}."


def _instance(each: Mapping[str, Any]) -> Iterator[str]:
    where = f", for instance on {plain(each['target'])}" if each["target"] else ""
    problem = each["problem"]
    if problem is None:
        yield f"    {plain(each['name'])} comes back{where}"
        return
    back = _BACK.get(each["back"], "is left alone")
    yield f"    {plain(each['name'])} {back}{where}: {plain(problem['words'])}"
    if problem["advice"]:
        yield f"      -> {plain(problem['advice'])}"


@click.command()
@click.argument("host")
@click.option(
    "--fault", default="power", show_default=True, help="A fault of the symptom table (docs/faults.md)."
)
@_FORMAT
@_API
def plan(host: str, fault: str, form: str, api: str) -> None:
    """Say what would be done now if HOST had a fault, step by step. Nothing is touched.

    What would hold it back is said, too. Targets are an example: they are chosen by Nova when it happens.
    """
    found = Client(api).get(f"/v1/plan/{quote(host, safe='')}", {"fault": fault})
    if form == "json":
        click.echo(json.dumps(found, indent=2))
        return
    for line in plan_lines(found):
        click.echo(line)


def plan_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """A plan in sentences."""
    yield f"If {plain(found['host'])} had the fault {plain(found['fault'])} now ({plain(found['why'])}):"
    if found["becomes"] != found["fault"]:
        instead = f"the fault {plain(found['becomes'])}" if found["becomes"] else "no fault"
        yield f"  With what can be read of it, that would be {instead}."
    if found["waits"]:
        yield f"  It has to last {found['waits']:g} s before anything is done."
    if not found["ladder"]:
        yield "  It is reported, and nothing is done."
        return
    if found["held"] is not None:
        yield f"  It would be held by gate {found['held']['gate']}: {plain(found['held']['said'])}."
        yield "  Once that gate is open:"
    for place, rung in enumerate(found["ladder"]):
        tries = f", up to {count(rung['tries'], 'time')}" if rung["tries"] > 1 else ""
        yield f"  {'First' if place == 0 else 'When that does not help'}: {plain(rung['playbook'])}{tries}"
        yield from (f"    {number}. {plain(step)}" for number, step in enumerate(rung["steps"], start=1))
    if found["instances"]:
        back = [each for each in found["instances"] if each["target"]]
        yield f"  Of {count(len(found['instances']), 'instance')}, {len(back)} have a place to go to:"
        for each in found["instances"]:
            yield from _instance(each)
