"""The report of a round of drills: a JSON file and a picture of each, and a table of them all.

    python -m hass_runtime.drills.report RAW_FOLDER OUTPUT_FOLDER

RAW_FOLDER has NAME.raw.json of each drill (see hass_runtime.drills.story). Exit status 1 when one of them did
not go as expected.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from hass_runtime.drills.story import Moment, Outcome, tell

WIDTH, LEFT, RIGHT = 860, 24, 24
COLOURS = {
    "cut": "#b3261e",
    "detected": "#b26a00",
    "decided": "#7a5a00",
    "fenced": "#5b3fa0",
    "active": "#1d7a3a",
    "mended": "#5f6368",
    "restored": "#0b57a4",
}
COLUMNS = ("detected", "fenced", "active", "restored")


def seconds(value: float | None) -> str:
    """For a table: one decimal, or a dash."""
    return "–" if value is None else f"{value:.1f} s"


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a Markdown table; times are from the cut."""
    lines = [
        "| drill | expected | observed | detected | fenced | last ACTIVE | all healthy | |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for outcome in outcomes:
        cells = [
            f"[{outcome.title}]({outcome.name}.svg)",
            outcome.expected,
            outcome.observed,
            *(seconds(outcome.after(key)) for key in COLUMNS),
            "as expected" if outcome.passed else "**" + "; ".join(outcome.problems) + "**",
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def picture(outcome: Outcome) -> str:
    """The timeline of a drill as SVG, with a flag a moment; labels never lie upon each other."""
    end = max((moment.at for moment in outcome.moments), default=1.0) or 1.0
    usable = WIDTH - LEFT - RIGHT
    lanes: list[float] = []
    flags: list[tuple[Moment, float, int, str, bool]] = []
    for moment in outcome.moments:
        at = LEFT + usable * moment.at / end
        text = moment.label if moment.key == "cut" else f"{moment.label} {moment.at:.1f} s"
        length = 7.2 * len(text) + 12
        back = at + length > WIDTH - 4
        left = at - length if back else at
        lane = next((number for number, edge in enumerate(lanes) if edge <= left), len(lanes))
        lanes[lane : lane + 1] = [left + length]
        flags.append((moment, at, lane, text, back))
    base = 46 + 20 * max(len(lanes), 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {base + 34}" width="{WIDTH}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(outcome.title)}</title>",
        f'<rect width="{WIDTH}" height="{base + 34}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-weight="600" fill="#1f1f1f">{escape(outcome.title)}</text>',
        f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}" stroke="#9aa0a6" stroke-width="2"/>',
    ]
    for moment, at, lane, text, back in flags:
        y, colour = 48 + 20 * lane, COLOURS.get(moment.key, "#5f6368")
        parts += [
            f'<line x1="{at:.1f}" y1="{y - 10}" x2="{at:.1f}" y2="{base}" stroke="{colour}"/>',
            f'<circle cx="{at:.1f}" cy="{base}" r="4" fill="{colour}"/>',
            f'<text x="{at - 6 if back else at + 6:.1f}" y="{y}" fill="{colour}" '
            f'text-anchor="{"end" if back else "start"}">{escape(text)}</text>',
        ]
    for number in range(5):
        at = LEFT + usable * number / 4
        anchor = ("start", "middle", "middle", "middle", "end")[number]
        parts.append(
            f'<text x="{at:.1f}" y="{base + 22}" fill="#5f6368" text-anchor="{anchor}">'
            f"{end * number / 4:.0f} s</text>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def page(outcomes: Sequence[Outcome], about: str = "") -> str:
    """The report's README."""
    good = sum(outcome.passed for outcome in outcomes)
    head = f"# Drills\n\n{about}{good} of {len(outcomes)} drills went as expected. "
    head += "Times are seconds from the cut.\n\n"
    body = table(outcomes)
    for outcome in outcomes:
        body += f"\n## {outcome.title}\n\n![{outcome.title}]({outcome.name}.svg)\n\n"
        body += f"Expected: {outcome.expected}.\nObserved: {outcome.observed}. "
        body += f"[Everything]({outcome.name}.json)\n"
        probes = outcome.probes
        if probes.get("before"):
            body += "\n| guest | before | after |\n| --- | --- | --- |\n"
            for name, text in sorted(probes["before"].items()):
                body += f"| {name} | {text} | {probes.get('after', {}).get(name, '')} |\n"
        for problem in outcome.problems:
            body += f"\n**{problem}**\n"
    return head + body


def as_json(outcome: Outcome) -> str:
    """One drill as a JSON document: the outcome, its timeline, its incidents with steps and moves."""
    timeline = [{"key": item.key, "label": item.label, "at": round(item.at, 3)} for item in outcome.moments]
    fields = {key: value for key, value in asdict(outcome).items() if key != "moments"}
    told = {**fields, "passed": outcome.passed, "timeline": timeline}
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--about", default="", help="sentences for the top of the page")
    given = parser.parse_args(argv)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in given.raw.glob("*.raw.json")]
    if not records:
        print(f"report: there is no NAME.raw.json in {given.raw}", file=sys.stderr)
        return 1
    outcomes = [tell(raw) for raw in sorted(records, key=lambda raw: float(raw["cut_at"]))]
    given.output.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        (given.output / f"{outcome.name}.json").write_text(as_json(outcome), encoding="utf-8")
        (given.output / f"{outcome.name}.svg").write_text(picture(outcome), encoding="utf-8")
    about = given.about.rstrip() + "\n\n" if given.about else ""
    (given.output / "README.md").write_text(page(outcomes, about), encoding="utf-8")
    for outcome in outcomes:
        print(f"{outcome.name:28} {'as expected' if outcome.passed else '; '.join(outcome.problems)}")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
