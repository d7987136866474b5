#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Look into a disk image, without starting or mounting it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: guest_image_look
short_description: Look into a disk image, without starting or mounting it
description:
  - Reads the files of an ext2, ext3 or ext4 file system by debugfs, which needs neither root nor the kernel.
  - Never fails. When it cannot look, C(problem) says why.
options:
  path: {description: The image., type: path, required: true}
  files: {description: Files of which the content is wanted., type: list, elements: str, default: []}
  folders: {description: Folders of which the names are wanted., type: list, elements: str, default: []}
  configuration:
    description: Folders whose files *.conf are wanted; the first with a name wins, as modprobe sees it.
    type: list
    elements: str
    default: []
  modules: {description: Kernel modules that are looked for., type: list, elements: str, default: []}
"""

RETURN = r"""
exists: {description: Whether there is an image., type: bool, returned: always}
problem: {description: Why it could not be looked into; empty when it could., type: str, returned: always}
format: {description: Format of the image., type: str, returned: when there is one}
compressed: {description: Share of its clusters that are compressed in percent., type: float, returned: so}
bytes: {description: Its size as a file., type: int, returned: so}
files: {description: Content by name; null when there is none., type: dict, returned: when it could look}
folders: {description: Names by folder., type: dict, returned: so}
configuration: {description: Content by name., type: dict, returned: so}
modules: {description: Kernels by module., type: dict, returned: so}
"""


class Blind(Exception):
    pass


def run(*argv: str) -> str:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    environment = {**os.environ, "LC_ALL": "C", "PATH": path}
    try:
        done = subprocess.run(argv, capture_output=True, env=environment, timeout=600)
    except FileNotFoundError as error:
        raise Blind(f"{argv[0]} is not there") from error
    except subprocess.TimeoutExpired as error:
        raise Blind(f"{argv[0]} takes too long") from error
    if done.returncode:
        raise Blind(f"{argv[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace")


class FileSystem:
    def __init__(self, disk: str, offset: int) -> None:
        self.disk = f"{disk}?offset={offset}"

    def _debugfs(self, request: str) -> str:
        return run("debugfs", "-R", request, self.disk)

    def names(self, folder: str) -> list[str]:
        # /inode/mode/uid/gid/name/size/
        rows = [line.split("/") for line in self._debugfs(f"ls -p {folder}").splitlines()]
        return sorted(row[5] for row in rows if len(row) > 5 and row[5] not in {"", ".", ".."})

    def read(self, path: str, links: int = 5) -> str | None:
        about = self._debugfs(f"stat {path}")
        kind = re.search(r"Type: (\S+)", about)
        if not kind:
            return None
        if kind[1] == "symlink" and links:
            target = re.search(r'Fast link dest: "(.*)"', about)
            if not target:
                return None
            return self.read(os.path.normpath(os.path.join(os.path.dirname(path), target[1])), links - 1)
        return self._debugfs(f"cat {path}")


def file_system(disk: str) -> FileSystem:
    table = json.loads(run("sfdisk", "--json", disk))["partitiontable"]
    for partition in table.get("partitions", []):
        found = FileSystem(disk, partition["start"] * table.get("sectorsize", 512))
        try:
            if "etc" in found.names("/") and "usr" in found.names("/"):
                return found
        except Blind:
            continue
    raise Blind("it has no ext4 file system with a system in it; others cannot be read without mounting them")


def look(wanted: dict, told: dict) -> None:
    path = wanted["path"]
    if not os.path.isfile(path):
        raise Blind("there is no image")
    told["exists"] = True
    about = json.loads(run("qemu-img", "info", "--output=json", path))
    told.update(format=about["format"], bytes=os.path.getsize(path), compressed=0.0)
    if about["format"] == "qcow2":
        clusters = json.loads(run("qemu-img", "check", "--output=json", path))
        share = clusters.get("compressed-clusters", 0) / max(1, clusters.get("allocated-clusters", 0))
        told["compressed"] = round(100 * share, 1)
    with tempfile.TemporaryDirectory(prefix="guest_image.", dir=os.path.dirname(path)) as place:
        disk = os.path.join(place, "disk.raw")
        run("qemu-img", "convert", "-O", "raw", path, disk)
        system = file_system(disk)
        told["files"] = {name: system.read(name) for name in wanted["files"]}
        told["folders"] = {name: system.names(name) for name in wanted["folders"]}
        told["configuration"] = {}
        for folder in wanted["configuration"]:
            for name in system.names(folder):
                if name.endswith(".conf"):
                    told["configuration"].setdefault(name, system.read(f"{folder}/{name}"))
        root = "/usr/lib/modules" if "modules" in system.names("/usr/lib") else "/lib/modules"
        kernels = {name: system._debugfs(f"cat {root}/{name}/modules.dep") for name in system.names(root)}
        told["modules"] = {
            module: [name for name, text in kernels.items() if re.search(rf"/{module}\.ko[^:\n]*:", text)]
            for module in wanted["modules"]
        }


def main() -> None:
    lists = ["files", "folders", "configuration", "modules"]
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            **{name: {"type": "list", "elements": "str", "default": []} for name in lists},
        },
        supports_check_mode=True,
    )
    told: dict = {"changed": False, "exists": False, "problem": ""}
    try:
        look(module.params, told)
    except Blind as error:
        told["problem"] = str(error)
    module.exit_json(**told)


if __name__ == "__main__":
    main()
