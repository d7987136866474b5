#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Start a disk with cloud-init once in QEMU, and let it change itself."""

from __future__ import annotations

import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.guest_image_machine import Machine, MachineError, end_in_order

DOCUMENTATION = r"""
---
module: guest_image_change
short_description: Start a disk with cloud-init once in QEMU, and let it change itself
description:
  - The machine gets a second disk with some files, and runs one of them as root. It powers itself off when
    that has ended. No user is made in it.
options:
  path: {description: The disk. It is written to., type: path, required: true}
  format: {description: Its format., type: str, default: qcow2}
  files: {description: The files that it gets., type: list, elements: path, required: true}
  command:
    description: What it runs; {seed} is where the files are.
    type: str
    required: true
  apt_proxy: {description: Its proxy for packages., type: str, default: ""}
  timeout: {description: How long it may take in seconds., type: int, default: 1200}
  accelerator: {description: tcg or kvm., type: str, default: tcg}
  memory: {description: Memory of the machine in MiB., type: int, default: 512}
"""

DONE = "HASS: the image was changed"
FAILED = "HASS: the image could not be changed"


def user_data(command: str, apt_proxy: str) -> bytes:
    proxy = "/etc/apt/apt.conf.d/99hass-build"
    lines = ["#!/bin/sh", "seed=$(mktemp -d)", "mount -o ro -L CIDATA $seed"]
    if apt_proxy:
        lines.append(f"""echo 'Acquire::http::Proxy "{apt_proxy}";' >{proxy}""")
    lines += [
        # Files on FAT are read only once; their names and modes do not matter.
        f"if ( {command.replace('{seed}', '$seed')} ) >/dev/ttyS0 2>&1",
        f"then said='{DONE}'; else said='{FAILED}'; fi",
        f"rm -f {proxy}",
        "umount $seed; sync",
        'echo "$said" >/dev/ttyS0',
        "systemctl poweroff",
    ]
    # cloud-init is told to make no user, and runs the script after that: two parts of one message.
    script = "\n".join(lines) + "\n"
    return (
        "Content-Type: multipart/mixed; boundary=part\nMIME-Version: 1.0\n\n"
        "--part\nContent-Type: text/cloud-config\n\n#cloud-config\nusers: []\ndisable_root: true\n\n"
        f"--part\nContent-Type: text/x-shellscript\n\n{script}\n--part--\n"
    ).encode()


def main() -> None:
    end_in_order()
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "format": {"type": "str", "default": "qcow2"},
            "files": {"type": "list", "elements": "path", "required": True},
            "command": {"type": "str", "required": True},
            "apt_proxy": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 1200},
            "accelerator": {"type": "str", "default": "tcg", "choices": ["tcg", "kvm"]},
            "memory": {"type": "int", "default": 512},
        },
    )
    wanted = module.params
    seed = {Path(path).name: Path(path).read_bytes() for path in wanted["files"]}
    seed["meta-data"] = b"instance-id: hass-image\n"
    seed["user-data"] = user_data(wanted["command"], wanted["apt_proxy"])
    try:
        with Machine(
            wanted["path"],
            wanted["format"],
            seed,
            keep=True,
            accel=wanted["accelerator"],
            memory=wanted["memory"],
            directory=str(Path(wanted["path"]).parent),
        ) as machine:
            machine.run_to_end(wanted["timeout"])
            said = machine.serial(lines=400)
    except MachineError as error:
        module.fail_json(msg=f"the image could not be changed: {error}", serial=error.serial.splitlines())
    if DONE not in said:
        clean = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", said)
        last = [line for line in clean.splitlines() if line.strip() and not line.startswith("[")][-30:]
        module.fail_json(
            msg="the image could not be changed from within; its console ends as in serial", serial=last
        )
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
