"""Boots instances through Nova's own API, as a user would."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import eventlet

from .nova_hypervisor import WORLD
from .nova_spec import Boot
from .nova_stubs import IMAGE

FLAVOR_ID = "1"
# 2.74 lets an admin name the host without pinning the instance to it for ever.
MICROVERSION = "2.74"
# Asking Nova takes 10 ms an instance of the processor that boots them: it is asked when the hypervisors
# say that the guests run, or else once in so many seconds.
ASK_SECONDS = 2.0
BASE_SECONDS, SECONDS_EACH = 30.0, 2.0  # an instance takes 0.4 s of a processor that has nothing else to do


class BootError(RuntimeError):
    """Nova refused, or the instance did not reach its state in time."""


class Booter:
    """Talks to Nova as the admin user."""

    def __init__(self, auth_url: str, nova_url: str, password: str) -> None:
        self._auth_url, self._nova_url, self._password = auth_url, nova_url, password
        self._session: Any = None

    def boot(self, wanted: Sequence[Boot]) -> dict[str, str]:
        """Boot these and return name -> uuid once each is active, or stopped where that was asked.

        Raises BootError, at the latest after BASE_SECONDS and SECONDS_EACH for every instance.
        """
        end = time.monotonic() + BASE_SECONDS + SECONDS_EACH * len(wanted)
        made: dict[str, tuple[str, Boot]] = {}
        for boot in wanted:
            server = {
                "name": boot.name,
                "imageRef": IMAGE,
                "flavorRef": FLAVOR_ID,
                "networks": "none",
                "host": boot.host,
                "metadata": boot.metadata,
            }
            uuid = self._call("POST", "/servers", {"server": server})["server"]["id"]
            made[boot.name] = (uuid, boot)
        self._wait(dict.fromkeys((uuid for uuid, _ in made.values()), "ACTIVE"), end)
        stopped = [uuid for uuid, boot in made.values() if boot.state == "stopped"]
        for uuid in stopped:
            self._call("POST", f"/servers/{uuid}/action", {"os-stop": None})
        self._wait(dict.fromkeys(stopped, "SHUTOFF"), end)
        return {name: uuid for name, (uuid, _) in made.items()}

    def _wait(self, states: dict[str, str], end: float) -> None:
        left = dict(states)
        while left:
            self._look(left)
            rows = self._call("GET", "/servers/detail")["servers"]
            for row in rows:
                if row["status"] == left.get(row["id"]):
                    del left[row["id"]]
                elif row["id"] in left and row["status"] == "ERROR":
                    raise BootError(f"{row['name']}: {row.get('fault', {}).get('message', 'ERROR')}")
            if left and time.monotonic() > end:
                raise BootError(f"not in time: {', '.join(sorted(left))}")

    @staticmethod
    def _look(states: dict[str, str]) -> None:
        """Return when the hypervisors have made it so, or after ASK_SECONDS."""
        end = time.monotonic() + ASK_SECONDS
        while time.monotonic() < end:
            eventlet.sleep(0.05)
            running = WORLD.running()
            if all((uuid in running) == (state == "ACTIVE") for uuid, state in states.items()):
                return

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        if self._session is None:
            from keystoneauth1 import session
            from keystoneauth1.identity import v3

            self._session = session.Session(
                v3.Password(
                    self._auth_url,
                    username="admin",
                    password=self._password,
                    user_domain_id="default",
                    project_name="admin",
                    project_domain_id="default",
                )
            )
        reply = self._session.request(
            self._nova_url + path,
            method,
            json=body,
            headers={"OpenStack-API-Version": f"compute {MICROVERSION}"},
            raise_exc=False,
        )
        if reply.status_code >= 400:
            raise BootError(f"{method} {path}: {reply.status_code} {reply.text}")
        return reply.json() if reply.content else None
