"""What the listings look like on a terminal. Everything said by hosts, Nova or people is cleaned first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hass_runtime.report.timeline import GATES, Item, RunStory, Timeline, build, headline
from hass_runtime.report.words import clock, count, offset, plain, seconds, span

Json = Mapping[str, Any]
LAYERS = ("power", "hardware", "os", "network", "storage", "service")
# The others are shown where some host has them.
ALWAYS_SHOWN = ("power", "network", "service")
ORDERS = {
    "maintenance": "maintenance",
    "confirm_fenced": "confirmed to be off",
    "restore": "to be restored",
    "failback": "instances to come home",
}
# word -> (symbol, its substitute in ASCII, style)
LOOKS = {
    "ok": ("✓", "+", "green"),
    "changed": ("✓", "+", "green"),
    "succeeded": ("✓", "+", "green"),
    "successful": ("✓", "+", "green"),
    "recovered": ("✓", "+", "bold green"),
    "healthy": ("●", "+", "green"),
    "cleared": ("✓", "+", "green"),
    "settled": ("◐", "~", "bold green"),
    "running": ("▸", ">", "cyan"),
    "ongoing": ("▸", ">", "cyan"),
    "pending": ("·", ".", "dim"),
    "skipped": ("·", ".", "dim"),
    "open": ("▸", ">", "bold cyan"),
    "unknown": ("?", "?", "yellow"),
    "warning": ("▲", "!", "yellow"),
    "held": ("‖", "=", "bold yellow"),
    "suspect": ("◌", "?", "yellow"),
    "maintenance": ("◌", "m", "blue"),
    "cancelled": ("⊘", "x", "yellow"),
    "lost": ("⊘", "x", "yellow"),
    "timeout": ("✗", "x", "red"),
    "failed": ("✗", "x", "bold red"),
    "refused": ("✗", "x", "bold red"),
    "left": ("–", "-", "dim"),
    "crashed": ("✗", "x", "bold red"),
    "faulty": ("✗", "x", "bold red"),
    "quarantined": ("✗", "x", "bold red"),
}


def status(console: Console, found: Json) -> None:
    """Health, what people want, hosts and open incidents."""
    health = found["health"]
    state = plain(health.get("status"))
    line = Text("controller ").append(
        state or "unknown", "bold green" if state in ("ok", "standby") else "bold red"
    )
    for name in ("role", "holder", "epoch"):
        if health.get(name) not in (None, ""):
            line.append(f"   {name} {plain(health[name])}", "dim")
    if isinstance(health.get("cycle_age"), (int, float)):
        line.append(f"   last cycle {span(health['cycle_age'])} ago", "dim")
    console.print(line)
    if health.get("reason"):
        console.print(Text(f"  {plain(health['reason'])}", "red"))
    for layer, why in (health.get("blind") or {}).items():
        console.print(Text(f"BLIND on layer {plain(layer)}: {plain(why)}", "bold red"))
    for pause in found["switch"].get("pauses", ()):
        console.print(Text(_pause(pause), "bold yellow"))
    for order in found["orders"]:
        console.print(Text(_order(order), "bold blue"))
    shown = [
        name
        for name in LAYERS
        if name in ALWAYS_SHOWN or any(name in host.get("layers", {}) for host in found["hosts"])
    ]
    table = _table("host", "cluster", "address", "state", "since", *shown, "why")
    for host in found["hosts"]:
        layers = host.get("layers", {})
        table.add_row(
            plain(host["name"]),
            plain(host["cluster"]),
            plain(host["address"]),
            _look(console, host["state"]),
            clock(seconds(host["since"]), "%m-%d %H:%M:%S", local=True),
            *(_layer(console, layers.get(name), host["bmc"] or name != "power") for name in shown),
            ("kept in reserve; " if host.get("reserve") == "ready" else "") + plain(host["reason"]),
        )
    console.print(table)
    if not found["hosts"]:
        console.print(Text("no hosts are watched yet", "dim"))
    if found["incidents"]:
        console.print()
        incidents(console, found["incidents"])


def orders(console: Console, found: Json) -> None:
    """One line an order, and one a pause."""
    for pause in found["pauses"]:
        console.print(Text(_pause(pause), "bold yellow"))
    if not found["orders"]:
        console.print(Text("no orders", "dim"))
        return
    table = _table("no", "host", "order", "by", "since", "until", "why")
    for order in found["orders"]:
        table.add_row(
            str(order["id"]),
            plain(order["host"]),
            ORDERS.get(order["kind"], plain(order["kind"])) + (", drained" if order["drain"] else ""),
            plain(order["by"]),
            _moment(order["at"]),
            _moment(order["until"]),
            plain(order["reason"]),
        )
    console.print(table)


def incidents(console: Console, found: Sequence[Json]) -> None:
    """One line an incident."""
    if not found:
        console.print(Text("no incidents", "dim"))
        return
    table = _table("no", "opened", "host", "fault", "outcome", "took", "what")
    for item in found:
        story = build(item)
        ended = item.get("duration")
        table.add_row(
            str(story.id),
            clock(story.opened_at, "%Y-%m-%d %H:%M:%S", local=True),
            story.host,
            story.fault,
            _look(console, story.verdict),
            span(ended) if ended is not None else Text("goes on", "cyan"),
            (f"{story.gate}: " if story.gate else "") + (story.reason or story.decision),
        )
    console.print(table)


def incident(console: Console, found: Json, now: float | None = None) -> None:
    """The timeline of one incident; without an end it goes on until ``now``."""
    story = build(found, now)
    head = Text(f"Incident {story.id}  ", "bold").append(story.host, "bold").append(f"  {story.fault}  ")
    head.append_text(_look(console, story.verdict))
    head.append(f"  {span(story.end - story.begin)}" + ("" if story.closed_at is not None else " so far"))
    console.print(head)
    console.print(Text(f"  {headline(story)}", "bold"))
    began = f"began {clock(story.begin, '%Y-%m-%d %H:%M:%S %Z', local=True)}"
    numbers = _numbers(story, seconds(found.get("fenced_at")))
    console.print(Text("  " + "; ".join(filter(None, (began, numbers))), "dim"))
    _section(console, "Seen")
    table = _rows()
    for reading in story.seen:
        table.add_row(
            *_when(story, reading.at), _look(console, reading.verdict), reading.layer, reading.evidence
        )
    console.print(Padding(table if story.seen else Text("no reading was written down", "dim"), (0, 0, 0, 2)))
    _section(console, "Decided")
    console.print(Text(f"  {story.decision or story.why or 'nothing is written down'}"))
    ladder = _ladder(found)
    if ladder:
        console.print(Text(f"  {ladder}"))
    if story.outcome == "held" or story.gate:
        meaning = GATES.get(story.gate, "")
        gate = f"{story.gate}" + (f" ({meaning})" if meaning else "") if story.gate else "waits"
        console.print(Text(f"  held: {gate}: {story.reason}", "bold yellow"))
    if story.notes:
        _steps(console, story, story.notes)
    for run in story.runs:
        _run(console, story, run)
    if story.moves:
        _section(console, f"Instances: {story.moved} of {len(story.moves)} moved")
        _moves(console, story)
    if story.reason and story.outcome != "held":
        _section(console, "Outcome")
        console.print(Text("  ").append_text(_look(console, story.verdict)).append(f"  {story.reason}"))


def _pause(pause: Json) -> str:
    """A pause in words; the wide ones in capitals, because they explain why nothing happens."""
    where = (
        "DISARMED" if pause["scope"] == "all" else f"{plain(pause['scope'])} {plain(pause['name'])} paused"
    )
    until = _moment(pause.get("until"))
    words = f"{where} by {plain(pause.get('by'))}: {plain(pause.get('reason'))}"
    return words + (f" (until {until})" if until else "")


def _order(order: Json) -> str:
    """An order in words."""
    what = ORDERS.get(order["kind"], plain(order["kind"]))
    words = f"{plain(order['host'])}: {what}, ordered by {plain(order['by'])}"
    until = _moment(order["until"])
    return ": ".join(filter(None, (words, plain(order["reason"])))) + (f" (until {until})" if until else "")


def _ladder(found: Json) -> str:
    """How far the incident went up its fault's ladder of remedies; "" before the first."""
    rung, tries, phase = found.get("rung") or 0, found.get("tries") or 0, plain(found.get("phase"))
    if not tries:
        return ""
    where = f"rung {rung + 1} of its ladder, try {tries}"
    return f"remedy: {phase}, after {where}" if phase == "host_restore" else f"remedy: {phase}, {where}"


def _moment(text: object) -> str:
    return clock(seconds(text), "%Y-%m-%d %H:%M:%S", local=True)


def _run(console: Console, story: Timeline, run: RunStory) -> None:
    title = run.name + (f", attempt {run.attempt}" if run.attempt > 1 else "")
    took = f" in {span(run.took)}" if run.took is not None else f" since {offset_of(story, run.start)}"
    _section(console, title, Text.assemble("  ", _look(console, run.state), took))
    if run.detail:
        console.print(Text(f"  {run.detail}", "yellow"))
    _steps(console, story, run.steps)


def _steps(console: Console, story: Timeline, steps: Sequence[Item]) -> None:
    table = _rows()
    for step in steps:
        took = "" if step.took == 0 else span(step.took) if step.took is not None else "…"
        table.add_row(
            *_when(story, step.start), _mark(console, step.state), step.name, took, Text(step.detail, "dim")
        )
    console.print(Padding(table, (0, 0, 0, 2)))


def _moves(console: Console, story: Timeline) -> None:
    table = _rows()
    arrow = "->" if console.options.ascii_only else "→"
    for move in story.moves:
        table.add_row(
            *_when(story, move.start),
            _look(console, move.state),
            move.name,
            f"{move.source} {arrow} {move.target or '?'}",
            f"was {move.was}" if move.was else "",
            count(move.attempts, "attempt") if move.attempts else "",
            span(move.took),
            Text(move.detail, "dim"),
        )
    console.print(Padding(table, (0, 0, 0, 2)))


def _numbers(story: Timeline, fenced_at: float | None) -> str:
    """Seconds from the first sign. A fence is known by its moment, even without a step of it."""
    names = {"decided": "sure after", "fenced": "proven off after", "active": "last instance up after"}
    known = {"fenced": None if fenced_at is None else fenced_at - story.begin}
    parts = [(words, story.since_begin(key) or known.get(key)) for key, words in names.items()]
    return ", ".join(f"{words} {span(after)}" for words, after in parts if after)


def offset_of(story: Timeline, at: float | None) -> str:
    return "" if at is None else offset(at - story.begin)


def _when(story: Timeline, at: float | None) -> tuple[Text, Text]:
    return Text(clock(at, local=True), "dim"), Text(offset_of(story, at), "cyan", justify="right")


def _section(console: Console, title: str, more: Text | None = None) -> None:
    console.print()
    console.print(Text(title, "bold underline").append_text(more or Text()))


def _look(console: Console, word: object) -> Text:
    name = plain(word)
    return _mark(console, name).append(f" {name}")


def _mark(console: Console, word: object) -> Text:
    symbol, ascii_only, style = LOOKS.get(plain(word), ("•", "*", "cyan"))
    return Text(ascii_only if console.options.ascii_only else symbol, style)


def _layer(console: Console, reading: Json | None, expected: bool) -> Text:
    if reading is None:
        return Text("" if expected else "no BMC", "dim")
    return _look(console, reading["verdict"])


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _rows() -> Table:
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
