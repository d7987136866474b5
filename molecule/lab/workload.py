"""The lab's instances, made and moved; runs on the controller with HASS's own Python and account.

workload.py make FOLDER     image, three instances on the first compute host, one on the second
workload.py place HOST      those three back on HOST: live, the stopped one by way of a start
workload.py list            who runs where, as JSON
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from hass_runtime.remedy.cloud import connect
from hass_runtime.settings import load_controller

SETTINGS = load_controller(Path("/etc/hass.conf"))
CONNECTION = connect(SETTINGS)._connection  # what the remedies have no call for
CONNECTION.session.timeout = 180  # s; the first calls after the boot of a busy cloud take long
HOSTS = [host.name for host in SETTINGS.hosts]
IMAGE = "lab-guest"
TRIO = {"image1": "active", "volume1": "active", "stopped1": "stopped"}
OTHER = "image2"
PATIENCE = 400  # s


def image(name: str, kind: str, file: Path, **properties: str) -> str:
    """The id of an image, uploaded when it is not there."""
    found = CONNECTION.image.find_image(name)
    if found is not None and found.status == "active":
        return str(found.id)
    made = CONNECTION.image.create_image(
        name,
        filename=str(file),
        disk_format=kind,
        container_format="bare" if kind == "raw" else kind,
        visibility="public",
        validate_checksum=False,
        **properties,
    )
    return str(made.id)


def servers() -> dict[str, Any]:
    """Instances by name."""
    return {server.name: server for server in CONNECTION.compute.servers(details=True, all_projects=True)}


def wait(name: str, state: str, host: str | None = None) -> None:
    """Until an instance is settled in a state, and on a host."""
    deadline = time.monotonic() + PATIENCE
    while True:
        server = servers()[name]
        if server.vm_state == "error":
            sys.exit(f"{name} is in error: {(server.fault or {}).get('message')}")
        if server.vm_state == state and not server.task_state and host in (None, server.hypervisor_hostname):
            return
        if time.monotonic() > deadline:
            sys.exit(f"{name} is {server.vm_state} ({server.task_state}) on {server.hypervisor_hostname}")
        time.sleep(1)


def act(name: str, body: dict[str, Any], microversion: str = "2.60") -> None:
    reply = CONNECTION.compute.post(
        f"/servers/{servers()[name].id}/action", json=body, microversion=microversion
    )
    if reply.status_code >= 300:
        sys.exit(f"{name}: {body}: {reply.status_code} {reply.text}")


def make(folder: Path) -> None:
    kernel = image("lab-kernel", "aki", folder / "kernel")
    ramdisk = image("lab-ramdisk", "ari", folder / "ramdisk")
    disk = image(
        IMAGE,
        "raw",
        folder / "disk",
        kernel_id=kernel,
        ramdisk_id=ramdisk,
        os_command_line="console=ttyS0 mitigations=off quiet",
    )
    flavor = CONNECTION.compute.find_flavor("tiny").id
    network = CONNECTION.network.find_network("provider").id
    there = servers()
    for name in (*TRIO, OTHER):
        if name in there:
            continue
        body: dict[str, Any] = {
            "name": name,
            "flavorRef": flavor,
            "networks": [{"uuid": network}],
            "availability_zone": f"nova:{HOSTS[1] if name == OTHER else HOSTS[0]}",
        }
        if name.startswith("volume"):
            disk_from_volume = {
                "boot_index": 0,
                "uuid": disk,
                "source_type": "image",
                "destination_type": "volume",
                "volume_size": 1,
                "delete_on_termination": True,
            }
            body["block_device_mapping_v2"] = [disk_from_volume]
        else:
            body["imageRef"] = disk
        reply = CONNECTION.compute.post("/servers", json={"server": body}, microversion="2.60")
        if reply.status_code >= 300:
            sys.exit(f"{name}: {reply.status_code} {reply.text}")
    for name in (*TRIO, OTHER):
        if servers()[name].vm_state != "stopped":
            wait(name, "active")
    if servers()["stopped1"].vm_state == "active":
        act("stopped1", {"os-stop": None})
        wait("stopped1", "stopped")


def place(host: str) -> None:
    for name, state in TRIO.items():
        if servers()[name].hypervisor_hostname == host:
            continue
        if state == "stopped":
            act(name, {"os-start": None})
            wait(name, "active")
        act(name, {"os-migrateLive": {"host": host, "block_migration": "auto"}})
        wait(name, "active", host)
        if state == "stopped":
            act(name, {"os-stop": None})
            wait(name, "stopped")


def listing() -> None:
    rows = {
        name: {
            "id": server.id,
            "host": server.hypervisor_hostname,
            "state": server.vm_state,
            "address": next((a["addr"] for nets in (server.addresses or {}).values() for a in nets), ""),
        }
        for name, server in servers().items()
    }
    print(json.dumps(rows))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", where]:
            make(Path(where))
        case ["place", host]:
            place(host)
        case ["list"]:
            pass
        case _:
            sys.exit(__doc__)
    listing()
