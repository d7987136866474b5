"""What the demo shows: pure functions from what was seen to what is printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

LAYERS = ("power", "network", "service")
STATE_STYLE = {
    "healthy": "green",
    "suspect": "yellow",
    "faulty": "bold red",
    "held": "bold yellow",
    "fencing": "bold magenta",
    "fenced": "magenta",
    "evacuating": "bold cyan",
    "evacuated": "cyan",
    "restoring": "bold blue",
    "quarantined": "red",
    "maintenance": "dim",
}
VERDICT = {"ok": ("●", "green"), "failed": ("●", "bold red"), "unknown": ("○", "yellow")}
STEP = {
    "running": ("…", "bold cyan"),
    "ok": ("✓", "green"),
    "changed": ("✓", "bold green"),
    "skipped": ("·", "dim"),
    "failed": ("✗", "bold red"),
    "cancelled": ("✗", "yellow"),
}
MOVE_STYLE = {
    "pending": "dim",
    "ongoing": "bold cyan",
    "succeeded": "green",
    "failed": "bold red",
    "refused": "yellow",
    "left": "dim",
}
LIVE_FRAME = 18  # lines of the live screen that are not hosts, moves or steps


@dataclass(frozen=True)
class Server:
    """One instance as Nova tells it."""

    name: str
    status: str
    host: str
    task: str = ""


@dataclass(frozen=True)
class Seen:
    """One look at everything: HASS's REST API and Nova's."""

    at: float
    hosts: tuple[Mapping[str, Any], ...] = ()
    servers: tuple[Server, ...] = ()
    incident: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""


def seconds(value: object) -> float | None:
    """A time of the REST API (ISO 8601, or seconds since the epoch) as seconds since the epoch."""
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str) and value:
        return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    return None


def offset(value: object, start: float) -> str:
    """Seconds since the power cut, signed, for a timeline."""
    at = seconds(value)
    return "" if at is None else f"{at - start:+.1f} s"


def duration(row: Mapping[str, Any]) -> str:
    begun, ended = seconds(row.get("started_at")), seconds(row.get("finished_at"))
    return "" if begun is None or ended is None else f"{max(0.0, ended - begun):.1f} s"


def _table(*columns: str, title: str = "") -> Table:
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def cluster_table(seen: Seen, title: str = "") -> Table:
    """Hosts with their state, layers and instances."""
    table = _table("host", "state", *LAYERS, "instances", title=title)
    for host in seen.hosts:
        state = str(host.get("state", ""))
        layers = host.get("layers") or {}
        cells = []
        for layer in LAYERS:
            verdict = str((layers.get(layer) or {}).get("verdict", "unknown"))
            mark, style = VERDICT.get(verdict, VERDICT["unknown"])
            cells.append(Text(f"{mark} {verdict}", style=style))
        table.add_row(
            str(host["name"]),
            Text(state, style=STATE_STYLE.get(state, "")),
            *cells,
            _instances(s for s in seen.servers if s.host == host["name"]),
        )
    return table


def _instances(servers: Iterable[Server]) -> Text:
    text = Text()
    for server in sorted(servers, key=lambda s: s.name):
        busy = bool(server.task) or server.status in ("REBUILD", "BUILD")
        style = "yellow" if busy else "green" if server.status == "ACTIVE" else "red"
        if text:
            text.append("  ")
        text.append(f"■ {server.name}", style=style)
        if server.status != "ACTIVE" or server.task:
            text.append(f" {(server.task or server.status).lower()}", style="dim")
    return text or Text("-", style="dim")


def steps_table(incident: Mapping[str, Any], start: float, last: int | None = None) -> Table:
    """The incident's steps with their time since the power cut; only the ``last`` ones, a line each."""
    table = _table("after", "step", "took", "what came of it")
    if last:
        for column in table.columns:
            column.no_wrap, column.overflow = True, "ellipsis"
    for index, width in ((0, 7), (2, 6)):
        table.columns[index].min_width, table.columns[index].justify = width, "right"
    steps = list(incident.get("steps") or ())
    for step in steps[-last:] if last else steps:
        mark, style = STEP.get(str(step.get("status")), ("?", ""))
        table.add_row(
            offset(step.get("started_at"), start),
            Text(f"{mark} {step.get('name', '')}", style=style),
            duration(step),
            Text(str(step.get("detail") or ""), style="dim"),
        )
    return table


def moves_table(incident: Mapping[str, Any], start: float) -> Table:
    """The incident's moves."""
    table = _table("instance", "from", "to", "state", "done after", "took")
    for move in incident.get("moves") or ():
        state = str(move.get("state", ""))
        table.add_row(
            str(move.get("name") or move.get("instance")),
            str(move.get("source", "")),
            str(move.get("target") or "-"),
            Text(state, style=MOVE_STYLE.get(state, "")),
            offset(move.get("finished_at"), start),
            duration(move),
        )
    return table


def headline(incident: Mapping[str, Any]) -> Text:
    """The incident in one line: what, decided how, where it stands."""
    if not incident:
        return Text("no incident yet", style="dim")
    text = Text(f"incident {incident.get('id')}: ", style="bold")
    text.append(str(incident.get("decision") or incident.get("fault") or ""))
    text.append(f"  [{incident.get('outcome')}]", style="bold")
    if incident.get("reason"):
        text.append(f"  {incident.get('gate') or ''} {incident['reason']}".rstrip(), style="dim")
    return text


def live(seen: Seen, start: float, title: str, height: int) -> RenderableType:
    """The whole live screen; of the steps the last ones that fit into ``height`` lines."""
    parts: list[RenderableType] = [cluster_table(seen), headline(seen.incident)]
    moves = len(seen.incident.get("moves") or ())
    if moves:
        parts.append(moves_table(seen.incident, start))
    if seen.incident.get("steps"):
        fitting = max(3, height - LIVE_FRAME - len(seen.hosts) - moves)
        parts.append(steps_table(seen.incident, start, fitting))
    if seen.trouble:
        parts.append(Text(seen.trouble, style="yellow"))
    return Panel(
        Group(*parts),
        title=f"[bold]{title}[/] [cyan]{max(0.0, seen.at - start):.1f} s[/] ago",
        title_align="left",
        border_style="dim",
        box=box.ROUNDED,
    )


def changes(before: Seen, after: Seen, start: float) -> list[str]:
    """What is new between two looks, a line each: the live screen for a terminal that is none."""
    lines = []
    old_hosts = {h["name"]: h for h in before.hosts}
    for host in after.hosts:
        old = old_hosts.get(host["name"], {})
        if host.get("state") != old.get("state"):
            why = f" ({host['reason']})" if host.get("reason") else ""
            lines.append(f"{host['name']} is {host.get('state')}{why}")
    if after.incident:
        for key in ("decision", "outcome"):
            if after.incident.get(key) and after.incident.get(key) != before.incident.get(key):
                lines.append(f"incident {after.incident.get('id')}: {key}: {after.incident[key]}")
    known = {(s.get("id"), s.get("status")) for s in before.incident.get("steps") or ()}
    for step in after.incident.get("steps") or ():
        if (step.get("id"), step.get("status")) not in known:
            detail = f": {step['detail']}" if step.get("detail") else ""
            lines.append(f"step {step.get('name')}: {step.get('status')}{detail}")
    moves = {m.get("instance"): m.get("state") for m in before.incident.get("moves") or ()}
    for move in after.incident.get("moves") or ():
        if moves.get(move.get("instance")) != move.get("state"):
            where = f" to {move['target']}" if move.get("target") else ""
            lines.append(f"move {move.get('name')}: {move.get('state')}{where}")
    if after.trouble and after.trouble != before.trouble:
        lines.append(after.trouble)
    return [f"{after.at - start:6.1f} s  {line}" for line in lines]


def proof(running: Mapping[str, list[str]], moved: Iterable[str]) -> Table:
    """Which instance really runs where; the moved ones are marked."""
    table = _table("instance", "really runs on", "", title="What the hypervisors themselves say")
    moved = set(moved)
    for name, hosts in sorted(running.items()):
        table.add_row(
            name,
            Text(", ".join(hosts) or "no host", style="green" if len(hosts) == 1 else "bold red"),
            Text("moved" if name in moved else "", style="cyan"),
        )
    return table


def verdict(moved: Iterable[str], dead: str, recovered: float, back: float | None) -> Panel:
    """What was promised, and how long it took."""
    text = Text(overflow="fold")
    text.append(f"{', '.join(moved)}", style="bold")
    text.append(" run elsewhere, each exactly once, none ever twice:\n")
    text.append(f"{recovered:.1f} s", style="bold green")
    text.append(" from the power cut to the last one ACTIVE in Nova\n")
    if back is not None:
        text.append(f"{back:.1f} s", style="bold green")
        text.append(f" until {dead} was healthy and back in service")
    else:
        text.append(f"{dead} is not back in service yet", style="yellow")
    return Panel(text, border_style="green", box=box.ROUNDED, expand=False, title="[bold green]recovered[/]")


def section(text: str) -> Padding:
    return Padding(Text(text, style="bold"), (1, 0, 0, 0))
