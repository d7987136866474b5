"""A stand-in for the sandbox's OpenStack process, and a program that holds a sandbox with it.

`python fake_cloud.py KIND [DIRECTORY]` starts one, prints a line of JSON about it and waits to be ended.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from hass_runtime.sandbox.cluster import Sandbox
from hass_runtime.sandbox.layout import Endpoints


class FakeCloud:
    """Guests by host, as the real one has them: gone with the power, not with nova-compute."""

    def __init__(self, box: Sandbox) -> None:
        self.instances = {f"vm{i}": f"uuid-{i}" for i in range(1, box.instance_count + 1)}
        names = [host.name for host in box.layout.hosts]
        self._names = names
        self.guests: dict[str, list[str]] = {}
        self.boot()
        self.computes = set(names)
        self.api = True

    def boot(self) -> None:
        """Every guest runs on its first host."""
        for index, uuid in enumerate(self.instances.values()):
            self.guests[uuid] = [self._names[index % len(self._names)]]

    def start(self) -> Endpoints:
        return Endpoints("http://127.0.0.1:9/v3", "http://127.0.0.1:9/v2.1", "admin", "s3cret")

    def command(self, do: str, **arguments: Any) -> dict[str, Any]:
        if do == "compute_start":
            self.computes.add(arguments["host"])
        elif do == "compute_stop":
            self.computes.discard(arguments["host"])
            if arguments["power"]:
                for hosts in self.guests.values():
                    hosts[:] = [host for host in hosts if host != arguments["host"]]
        elif do in ("api_cut", "api_restore"):
            self.api = do == "api_restore"
        elif do != "guests":
            raise AssertionError(f"unexpected command {do}")
        return {"running": {uuid: list(hosts) for uuid, hosts in self.guests.items() if hosts}}

    def stop(self) -> None:
        self.computes.clear()


def main(argv: list[str]) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    directory = Path(argv[2]) if len(argv) > 2 else None
    box = Sandbox(2, 2, directory, controller=False, bmc_kind=argv[1], openstack=FakeCloud)
    try:
        box.start()
        host = box.layout.hosts[0]
        about = {
            "marker": box.environ,
            "dir": str(box.layout.root),
            "address": host.address,
            "ports": [host.bmc_port, host.inner_port, box.layout.polling_port, box.layout.presence_port],
        }
        print(json.dumps(about), flush=True)
        box.down_requested.wait()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    finally:
        box.stop()


if __name__ == "__main__":
    main(sys.argv)
