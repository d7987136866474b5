# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""From what hass_check has found on the hosts to the table of playbooks/verify.yml."""

from __future__ import annotations

import os
import shutil
import textwrap

FACT = "hass_verify_"
SHOWN = {"ok": "ok", "failed": "FAILED", "skipped": "-"}
HEAD = ("host", "step", "check", "", "why")
NARROWEST_WHY = 40


def by_step(row):
    """2.10 comes after 2.9, and the policy, P.1, last."""
    section, _, step = row["guide"].partition(".")
    return (int(section) if section.isdigit() else 99, int(step) if step.isdigit() else 0)


def hass_verify_rows(hosts, hostvars):
    """All rows of the hosts, in the order of the hosts and of the guide's steps, each with its host."""
    rows = []
    for host in hosts:
        known = hostvars[host]
        facts = known.get("ansible_facts") or {}
        found = [row for fact in sorted(facts) if fact.startswith(FACT) for row in facts[fact]]
        found += known.get("hass_verify_problems") or []
        rows += [{"host": host, **row} for row in sorted(found, key=by_step)]
    return rows


def hass_table(rows, width=0):
    """The rows as text: columns aligned, the last one wrapped to the width of the terminal."""
    cells = [(r["host"], r["guide"], r["check"], SHOWN[r["status"]], r["why"]) for r in rows]
    widths = [max([len(HEAD[at])] + [len(cell[at]) for cell in cells]) for at in range(4)]
    before = sum(widths) + 2 * 4
    room = max((width or terminal_width()) - before, NARROWEST_WHY)
    lines = [line_of(HEAD, widths), line_of(["-" * wide for wide in widths] + ["-" * 3], widths)]
    last = None
    for cell in cells:
        host = "" if cell[0] == last else cell[0]
        last = cell[0]
        why = textwrap.wrap(cell[4], room, break_on_hyphens=False) or [""]
        lines.append(line_of((host, *cell[1:4], why[0]), widths))
        lines += [" " * before + more for more in why[1:]]
    return "\n".join(lines)


def line_of(cell, widths):
    padded = [text.ljust(wide) for text, wide in zip(cell[:4], widths[:4], strict=True)]
    return "  ".join([*padded, cell[4]]).rstrip()


def terminal_width():
    if os.environ.get("COLUMNS", "").isdigit():
        return int(os.environ["COLUMNS"])
    for stream in (1, 2, 0):
        try:
            return os.get_terminal_size(stream).columns
        except OSError:
            continue
    return shutil.get_terminal_size((120, 24)).columns


def plural(number, word):
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def hass_verify_summary(rows):
    """One line: how many checks passed, failed and were skipped."""
    count = {status: sum(row["status"] == status for row in rows) for status in SHOWN}
    hosts = len({row["host"] for row in rows})
    return (
        f"{plural(len(rows), 'check')} on {plural(hosts, 'host')}: "
        f"{count['ok']} ok, {count['failed']} failed, "
        f"{count['skipped']} not for that host"
    )


def hass_verify_failure(rows, most=5):
    """One line that names the first rows that failed."""
    failed = [f"{row['host']}: {row['check']}" for row in rows if row["status"] == "failed"]
    more = f"; and {len(failed) - most} more" if len(failed) > most else ""
    return f"{len(failed)} of {plural(len(rows), 'check')} failed ({'; '.join(failed[:most])}{more})"


class FilterModule:
    def filters(self):
        return {
            "hass_verify_rows": hass_verify_rows,
            "hass_table": hass_table,
            "hass_verify_summary": hass_verify_summary,
            "hass_verify_failure": hass_verify_failure,
        }
