"""Watches a cloud during a drill, on a controller: what changes in HASS and in Nova is written down.

    python -m hass_runtime.drills.observe --output FILE --goals JSON --after JSON --seconds N

FILE is one JSON object a line: what was seen at a moment, whenever it differs from before. When all of
--goals hold, for --hold seconds, FILE with the suffix .reached is written: the playbook then puts right what
it has broken. After that the goals of --after are waited for. Exit status 0 when everything was reached, 1
otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import click

from hass_runtime.cli.client import Client
from hass_runtime.drills.goals import Goal, GoalError, Instance, View, check, missing
from hass_runtime.remedy.cloud import Cloud, connect
from hass_runtime.remedy.nova import CloudError
from hass_runtime.settings import SettingsError, load_controller

INTERVAL = 0.5  # s


class Eyes:
    """Looks at HASS and at Nova. What does not answer is as it was when it last did."""

    def __init__(self, client: Client, cloud: Cloud, hosts: list[str], since: int) -> None:
        self._client = client
        self._cloud = cloud
        self._hosts = hosts
        self._since = since
        self.view = View()
        self.problems: dict[str, str] = {}

    def look(self) -> View:
        """The view now; what could not be seen is in ``problems``."""
        self.problems = {}
        hosts, incidents = self.view.hosts, self.view.incidents
        try:
            hosts = {row["name"]: row["state"] for row in self._client.get("/v1/hosts")["hosts"]}
            found = self._client.get("/v1/incidents", {"limit": 50})["incidents"]
            incidents = sorted((row for row in found if row["id"] > self._since), key=lambda row: row["id"])
        except click.ClickException as error:
            self.problems["hass"] = error.message
        instances = dict(self.view.instances)
        try:
            seen: dict[str, Instance] = {}
            for host in self._hosts:
                for server in self._cloud.servers_on(host):
                    seen[server.id] = Instance(
                        server.id, server.name, host, server.vm_state, server.task_state or ""
                    )
            instances = seen
        except CloudError as error:
            self.problems["nova"] = str(error)
        self.view = View(hosts, instances, incidents)
        return self.view


def record(view: View, problems: Mapping[str, str]) -> dict[str, Any]:
    """A view as JSON."""
    return {
        "hosts": dict(view.hosts),
        "instances": {
            item.id: {"name": item.name, "host": item.host, "state": item.state, "task": item.task}
            for item in sorted(view.instances.values(), key=lambda item: item.name)
        },
        "incidents": {
            str(row["id"]): {
                key: row.get(key)
                for key in ("host", "fault", "outcome", "gate", "decision", "fenced_at", "phase")
            }
            for row in view.incidents
        },
        "problems": dict(problems),
    }


class Watch:
    """Looks until goals hold, and writes down what changes."""

    def __init__(self, eyes: Eyes, output: IO[str], deadline: float) -> None:
        self._eyes = eyes
        self._output = output
        self._deadline = deadline
        self._last: dict[str, Any] = {}

    def look(self) -> View:
        view = self._eyes.look()
        seen = record(view, self._eyes.problems)
        if seen != self._last:
            self._last = seen
            self.write({"at": time.time(), **seen})
        return view

    def write(self, line: Mapping[str, Any]) -> None:
        self._output.write(json.dumps(line) + "\n")
        self._output.flush()

    def until(self, goals: list[Goal], before: View, hold: float) -> list[str]:
        """What was missing at the deadline; nothing when the goals held for ``hold`` seconds."""
        since: float | None = None
        while True:
            lacking = missing(goals, self.look(), before)
            now = time.monotonic()
            since = (since or now) if not lacking else None
            if since is not None and now - since >= hold:
                return []
            if now > self._deadline:
                return lacking or [f"it did not last {hold:g} s"]
            time.sleep(INTERVAL)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("/etc/hass.conf"))
    parser.add_argument("--output", type=Path, required=True)
    for name in ("goals", "after"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("hold", "seconds"):
        parser.add_argument(f"--{name}", type=float, required=True)
    given = parser.parse_args(argv)
    try:
        goals, after = check(json.loads(given.goals)), check(json.loads(given.after))
        settings = load_controller(given.config)
    except (GoalError, json.JSONDecodeError, SettingsError) as error:
        print(f"observe: {error}", file=sys.stderr)
        return 2
    client = Client(f"http://127.0.0.1:{settings.rest.port}")
    rows = client.get("/v1/incidents", {"limit": 1})["incidents"]
    hosts = [host.name for host in settings.hosts]
    eyes = Eyes(client, connect(settings, workers=1), hosts, max([row["id"] for row in rows], default=0))
    deadline = time.monotonic() + given.seconds
    with given.output.open("w", encoding="utf-8") as output:
        watch = Watch(eyes, output, deadline)
        before = watch.look()
        given.output.with_suffix(".ready").touch()
        lacking = watch.until(goals, before, given.hold)
        watch.write({"at": time.time(), "reached": not lacking, "lacking": lacking})
        given.output.with_suffix(".reached").write_text(json.dumps(lacking), encoding="utf-8")
        lost = watch.until(after, before, 0)
        watch.write({"at": time.time(), "restored": not lost, "lacking": lost})
        for row in eyes.view.incidents:
            watch.write({"at": time.time(), "incident": client.get(f"/v1/incidents/{row['id']}")})
    return 1 if lacking or lost else 0


if __name__ == "__main__":
    sys.exit(main())
