"""One incident as one HTML page: everything is in it, nothing is loaded, no script runs. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from hass_runtime import __version__
from hass_runtime.report import words
from hass_runtime.report.picture import draw
from hass_runtime.report.timeline import GATES, Timeline, build, headline, narrative

# verdict -> (colour of the page, words for a reader)
TONES = {
    "recovered": ("good", "recovered"),
    "settled": ("good", "instances safe, host not back yet"),
    "cleared": ("good", "cleared by itself"),
    "open": ("info", "under way"),
    "held": ("warn", "held back"),
    "failed": ("bad", "failed"),
}
SYMBOLS = {
    "ok": "✓",
    "changed": "✓",
    "succeeded": "✓",
    "successful": "✓",
    "running": "▸",
    "ongoing": "▸",
    "pending": "·",
    "skipped": "–",
    "unknown": "?",
    "cancelled": "⊘",
    "lost": "⊘",
    "failed": "✗",
    "refused": "✗",
    "left": "–",
    "crashed": "✗",
    "timeout": "✗",
}
# state -> what it means for a reader: its colour and pattern in the picture
KINDS = {
    "ok": "good",
    "changed": "good",
    "succeeded": "good",
    "successful": "good",
    "running": "info",
    "ongoing": "info",
    "pending": "idle",
    "skipped": "idle",
    "left": "idle",
    "unknown": "warn",
    "cancelled": "warn",
    "lost": "warn",
    "held": "warn",
    "note": "point",
}


# A number and its unit stay on one line.
_UNIT = re.compile(r"(\d) (s|min|h|d)\b")


def render(incident: Mapping[str, Any], now: float | None = None) -> str:
    """The page, from the JSON of ``/v1/incidents/N``. Whatever its texts say is escaped.

    ``now`` (seconds since the epoch) is how far an incident without an end has come.
    """
    story = build(incident, now)
    tone, outcome = TONES.get(story.verdict, ("info", story.outcome or "unknown"))
    return _template().render(
        story=story,
        picture=draw(story),
        tone=tone,
        outcome=outcome,
        headline=headline(story),
        narrative=" ".join(_UNIT.sub("\\1\N{NO-BREAK SPACE}\\2", sentence) for sentence in narrative(story)),
        figures=_figures(story),
        gate=GATES.get(story.gate, ""),
        version=__version__,
    )


def _figures(story: Timeline) -> list[tuple[str, str, str]]:
    """The numbers on top: what, how much, and what it means."""
    found: list[tuple[str, str, str]] = []
    if story.moves:
        found.append(
            ("instances safe", f"{story.moved} of {len(story.moves)}", "on other hosts, as they were before")
        )
    for key, what, meaning in (
        ("decided", "to be sure", "from the first sign to the decision"),
        ("fenced", "to prove it off", "from the first sign to the proof"),
        ("active", "to the last instance", "from the first sign until all were there"),
    ):
        after = story.since_begin(key)
        if after is not None:
            found.append((what, words.span(after), meaning))
    whole = words.span(story.end - story.begin)
    if story.closed_at is not None:
        found.append(("in all", whole, "from the first sign to the end"))
    else:
        found.append(("so far", whole, "since the first sign"))
    return found


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("hass_runtime.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "n": lambda number: f"{number:.1f}".removesuffix(".0"),
        "span": words.span,
        "clock": words.clock,
        "offset": words.offset,
        "symbol": lambda state: SYMBOLS.get(state, "•"),
        "kind": lambda state: KINDS.get(state, "bad"),
        "count": words.count,
    }
    return environment.get_template("incident.html")
