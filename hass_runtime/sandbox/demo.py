"""`hass sandbox demo`: one host loses its power, HASS brings its instances back; proven, not claimed."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from hass_runtime.report.render import render
from hass_runtime.sandbox import demo_view as view
from hass_runtime.sandbox.cluster import Sandbox, running_on
from hass_runtime.sandbox.demo_view import Seen, Server
from hass_runtime.sandbox.layout import LayoutError
from hass_runtime.sandbox.nova_user import NovaRefused, NovaUser
from hass_runtime.sandbox.pointer import SandboxError

HOSTS = 3
INSTANCES = 6
VICTIM = "compute2"
REQUEST_SECONDS = 5.0
LOOK_EVERY = 0.5  # each look costs Nova a tenth of a second of one core
HEALTHY_SECONDS = 60.0
RECOVERED_SECONDS = 180.0
BACK_SECONDS = 120.0


class DemoFailed(Exception):
    """Why the demo did not end as it should; one clear line."""


def get_json(url: str) -> Any:
    """One GET; raises OSError or ValueError."""
    with urllib.request.urlopen(url, timeout=REQUEST_SECONDS) as reply:
        return json.load(reply)


class NovaEye:
    """Looks at Nova from outside."""

    def __init__(self, endpoints: Any) -> None:
        self._user = NovaUser(endpoints)

    def servers(self) -> tuple[Server, ...]:
        """All instances; raises NovaRefused, OSError or ValueError."""
        data = self._user.get("/servers/detail?all_tenants=1")
        return tuple(
            Server(
                name=row["name"],
                status=row["status"],
                host=row.get("OS-EXT-SRV-ATTR:host") or "",
                task=row.get("OS-EXT-STS:task_state") or "",
            )
            for row in data["servers"]
        )


class Observer:
    """Looks at HASS's REST API and at Nova; what does not answer keeps its last look and says so."""

    def __init__(self, api: str, nova: NovaEye) -> None:
        self._api = api
        self._nova = nova
        self._last = Seen(at=time.time())

    def look(self, host: str | None = None) -> Seen:
        """Hosts, instances and, when a host is named, its newest incident."""
        seen = replace(self._last, at=time.time(), trouble="")
        try:
            seen = replace(seen, hosts=tuple(get_json(f"{self._api}/v1/hosts")["hosts"]))
            if host is not None:
                seen = replace(seen, incident=self._incident(host))
        except (OSError, ValueError, KeyError) as error:
            seen = replace(seen, trouble=f"the REST API does not answer: {error}")
        try:
            seen = replace(seen, servers=self._nova.servers())
        except (NovaRefused, OSError, ValueError, KeyError) as error:
            seen = replace(seen, trouble=f"Nova does not answer: {error}")
        self._last = replace(seen, at=time.time())
        return self._last

    def _incident(self, host: str) -> Mapping[str, Any]:
        found = [
            row
            for row in get_json(f"{self._api}/v1/incidents?host={host}")["incidents"]
            if row["host"] == host
        ]
        if not found:
            return {}
        newest = max(int(row["id"]) for row in found)
        incident: Mapping[str, Any] = get_json(f"{self._api}/v1/incidents/{newest}")
        return incident


@dataclass
class Story:
    """What came of it, as far as it is known."""

    cut_at: float
    moved: tuple[str, ...]
    doubled: dict[str, list[str]] = field(default_factory=dict)
    recovered_after: float | None = None
    back_after: float | None = None
    failure: str = ""


class Screen:
    """A live screen on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, before: Seen, start: float, title: str) -> None:
        self._console = console
        self._start = start
        self._title = title
        self._before = before
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, seen: Seen) -> None:
        if self._live:
            self._live.update(view.live(seen, self._start, self._title, self._console.height), refresh=True)
        else:
            for line in view.changes(self._before, seen, self._start):
                self._console.print(Text(line), soft_wrap=True)
        self._before = seen


def all_elsewhere(servers: tuple[Server, ...], names: tuple[str, ...], dead: str) -> bool:
    """Whether each of these instances is ACTIVE, at rest, and not on the dead host."""
    by_name = {server.name: server for server in servers}
    return all(
        name in by_name
        and by_name[name].status == "ACTIVE"
        and not by_name[name].task
        and by_name[name].host not in ("", dead)
        for name in names
    )


def check_truth(running: Mapping[str, list[str]], story: Story, dead: str) -> None:
    """Raises DemoFailed unless each instance runs once, never ran twice, and none is on the dead host."""
    moved = story.moved
    for name, hosts in story.doubled.items():
        raise DemoFailed(f"{name} ran on {len(hosts)} hosts at once: {', '.join(hosts)}")
    for name, hosts in sorted(running.items()):
        if len(hosts) != 1:
            raise DemoFailed(f"{name} runs on {len(hosts)} hosts: {', '.join(hosts) or 'none'}")
        if name in moved and hosts[0] == dead:
            raise DemoFailed(f"{name} runs on {dead}, which had lost its power")
    missing = sorted(set(moved) - set(running))
    if missing:
        raise DemoFailed(f"{', '.join(missing)}: runs nowhere")


def pause(box: Sandbox) -> None:
    """A moment until the next look; `hass sandbox down` ends it the way Ctrl-C does."""
    if box.down_requested.wait(LOOK_EVERY):
        raise KeyboardInterrupt


def wait_healthy(box: Sandbox, observer: Observer) -> Seen:
    """Until HASS has seen every host healthy once."""
    deadline = time.monotonic() + HEALTHY_SECONDS
    while True:
        seen = observer.look()
        if seen.hosts and all(host.get("state") == "healthy" for host in seen.hosts):
            return seen
        if time.monotonic() > deadline:
            states = ", ".join(f"{host['name']} is {host.get('state')}" for host in seen.hosts)
            raise DemoFailed(f"not all hosts became healthy: {states or seen.trouble or 'HASS sees no host'}")
        pause(box)


def watch(box: Sandbox, observer: Observer, screen: Screen, story: Story) -> Seen:
    """From the power cut to the host's return, or to a deadline; fills in the story."""
    while True:
        seen = observer.look(VICTIM)
        screen.show(seen)
        running = running_on(box.guests())
        story.doubled.update({name: hosts for name, hosts in running.items() if len(hosts) > 1})
        after = seen.at - story.cut_at
        if story.recovered_after is None:
            if all_elsewhere(seen.servers, story.moved, VICTIM):
                story.recovered_after = after
            elif after > RECOVERED_SECONDS:
                reason = seen.incident.get("reason") or seen.trouble or "no reason given"
                story.failure = (
                    f"not every instance of {VICTIM} is ACTIVE elsewhere after {after:.0f} s: {reason}"
                )
                return seen
        else:
            states = {host["name"]: host.get("state") for host in seen.hosts}
            if seen.incident.get("closed_at"):
                story.back_after = after if states.get(VICTIM) == "healthy" else None
                return seen
            if after > story.recovered_after + BACK_SECONDS:
                return seen
        pause(box)


def play(console: Console, box: Sandbox, report: Path) -> None:
    """The demo on a running sandbox; raises DemoFailed unless everything is proven."""
    observer = Observer(box.layout.rest_url, NovaEye(box.endpoints))
    before = wait_healthy(box, observer)
    console.print()
    console.print(view.cluster_table(before, "The cluster"))
    moved = tuple(sorted(s.name for s in before.servers if s.host == VICTIM))
    if not moved:
        raise DemoFailed(f"{VICTIM} has no instance to lose")
    console.print()
    console.print(Text.assemble(("Cutting the power of ", "bold"), (VICTIM, "bold red")))
    story = Story(cut_at=time.time(), moved=moved)
    box.power_cut(VICTIM)
    with Screen(console, before, story.cut_at, f"{VICTIM} lost its power") as screen:
        last = watch(box, observer, screen, story)
    tell(console, last, story)
    running = running_on(box.guests())
    console.print(view.proof(running, moved))
    write_report(console, last.incident, report)
    if story.failure:
        raise DemoFailed(story.failure)
    check_truth(running, story, VICTIM)
    recovered = story.recovered_after or 0.0
    console.print()
    console.print(view.verdict(moved, VICTIM, recovered, story.back_after))


def tell(console: Console, seen: Seen, story: Story) -> None:
    """The incident's timeline and the cluster as it is now."""
    console.print(view.section("What HASS did (seconds after the power cut)"))
    console.print(view.headline(seen.incident), soft_wrap=True)
    console.print(view.steps_table(seen.incident, story.cut_at))
    console.print(view.moves_table(seen.incident, story.cut_at))
    console.print(view.cluster_table(seen, "The cluster now"))


def write_report(console: Console, incident: Mapping[str, Any], path: Path) -> None:
    """The incident's report as one page of HTML."""
    if not incident:
        return
    try:
        path.write_text(render(incident), encoding="utf-8")
    except OSError as error:
        raise DemoFailed(f"{path}: cannot be written: {error.strerror}") from error
    console.print(Text(f"The incident's report: {path.absolute()}"), soft_wrap=True)


def run(
    keep: bool,
    report: Path,
    look_around: Callable[[str], str],
    uninterrupted: Callable[[], None],
    console: Console | None = None,
) -> int:
    """The whole demo; returns the exit status: 0 only when everything is proven."""
    console = console or Console(highlight=False)
    box: Sandbox | None = None
    status = 1
    try:
        console.print(Text(f"Starting {HOSTS} hosts with {INSTANCES} instances", style="bold"))
        box = Sandbox(
            hosts=HOSTS,
            instances=INSTANCES,
            log=lambda line: console.print(Text(f"  {line}"), soft_wrap=True),
        )
        box.start()
        try:
            play(console, box, report)
            status = 0
        except DemoFailed as error:
            console.print(Text(f"\nFAILED: {error}", style="bold red"), soft_wrap=True)
        if keep:
            console.print(Text(look_around(box.layout.rest_url)), soft_wrap=True)
            box.down_requested.wait()
    except (SandboxError, LayoutError) as error:
        console.print(Text(f"FAILED: {error}", style="bold red"), soft_wrap=True)
    except KeyboardInterrupt:
        console.print()
    finally:
        uninterrupted()
        if box is not None:
            box.stop()
    return status
