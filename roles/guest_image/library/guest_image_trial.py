#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Start a guest image in QEMU, hang it, and see its watchdog fire."""

from __future__ import annotations

import os
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.guest_image_machine import Machine, MachineError, Shell, end_in_order

DOCUMENTATION = r"""
---
module: guest_image_trial
short_description: Start a guest image in QEMU, hang it, and see its watchdog fire
description:
  - Starts a copy-on-write view of the image with a watchdog device whose action is none, and logs in by a
    key that cloud-init was given. Looks at the watchdog, sees that it stays quiet for twice its timeout, then
    crashes the guest's kernel and waits for the event, as HASS does by libvirt. The image is not changed.
  - Never fails. What went wrong is in C(problem).
options:
  path: {description: The image., type: path, required: true}
  format: {description: Its format., type: str, default: qcow2}
  timeout: {description: After how many seconds the watchdog has to fire., type: int, required: true}
  boot_timeout: {description: Within how many seconds one must be able to log in., type: int, default: 600}
  accelerator: {description: tcg or kvm., type: str, default: tcg}
  memory: {description: Memory of the machine in MiB., type: int, default: 512}
"""

RETURN = r"""
problem: {description: What was not as it has to be; empty when all was., type: str, returned: always}
serial: {description: The end of what the guest's console said, with a problem., type: str, returned: always}
boot_seconds: {description: Seconds until one could log in., type: float, returned: when one could}
device: {description: The watchdog of the guest., type: dict, returned: when one could log in}
quiet_seconds: {description: Seconds without an event in a guest that is well., type: int, returned: so}
fired_seconds: {description: Seconds from the crash to the event., type: float, returned: when it fired}
"""

LOOK = """
for name in identity timeout state; do printf '%s=' $name; cat /sys/class/watchdog/watchdog0/$name; done
printf 'daemon=%s\\n' "$(systemctl is-active watchdog.service)"
printf 'enabled=%s\\n' "$(systemctl is-enabled watchdog.service)"
printf 'password=%s\\n' "$(sudo -n passwd -S "$(id -un)" | cut -d' ' -f2)"
printf 'sshd_password=%s\\n' "$(sudo -n sshd -T | sed -n 's/^passwordauthentication //p')"
printf 'kernel=%s\\n' "$(uname -r)"
test -e /var/lib/cloud/instance/boot-finished && echo cloud_init=done
printf 'root=%s\\n' "$(df -BM --output=size / | tail -1 | tr -d ' M')"
"""


def trial(params: dict, told: dict) -> None:
    with tempfile.TemporaryDirectory(prefix="guest_image.") as keys:
        private, public = Shell.make_key(keys)
    seed = {
        "meta-data": b"instance-id: trial\nlocal-hostname: trial\n",
        "user-data": b"#cloud-config\nuser: {name: trial}\nssh_authorized_keys:\n  - " + public,
    }
    with Machine(
        params["path"],
        params["format"],
        seed,
        keep=False,
        accel=params["accelerator"],
        memory=params["memory"],
    ) as machine:
        told["accelerator"] = machine.accel
        shell = Shell(machine, "trial")
        descriptor = os.open(shell.key, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(private)
        told["boot_seconds"] = round(shell.wait(params["boot_timeout"]), 1)

        # One can log in before everything has been started, and cloud-init is done.
        deadline = time.monotonic() + 180
        while True:
            answer = shell.run(LOOK)
            device = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
            seen = (device.get("daemon"), device.get("state"), device.get("cloud_init"))
            if seen == ("active", "active", "done") or time.monotonic() > deadline:
                break
            time.sleep(2)
        told["device"] = device
        wrong = [
            text
            for good, text in [
                (
                    device.get("daemon") == "active",
                    f"watchdog.service is {device.get('daemon') or 'not there'}",
                ),
                (
                    "i6300" in device.get("identity", ""),
                    f"its watchdog is {device.get('identity') or 'not there'}",
                ),
                (device.get("state") == "active", "nobody has opened its watchdog"),
                (
                    device.get("timeout") == str(params["timeout"]),
                    f"its watchdog fires after {device.get('timeout')} s, not {params['timeout']} s",
                ),
            ]
            if not good
        ]
        if wrong:
            raise MachineError("; ".join(wrong), machine.serial())

        fired = machine.watchdog_within(2 * params["timeout"])
        if fired is not None:
            raise MachineError(f"it fired after {fired:.1f} s although the guest was well", machine.serial())
        told["quiet_seconds"] = 2 * params["timeout"]

        # This is how a kernel dies; a moment later, so that the command is told to have begun.
        crash = "sleep 2; echo c >/proc/sysrq-trigger"
        begun = shell.run(
            f"sudo -n nohup sh -c '{crash}' </dev/null >/dev/null 2>&1 & echo begun", timeout=30
        )
        if begun.returncode != 0:
            raise MachineError(f"it cannot be told to crash: {begun.stderr.strip()}", machine.serial())
        allowed = params["timeout"] + 20
        fired = machine.watchdog_within(allowed)
        if fired is None:
            raise MachineError(f"it did not fire within {allowed} s after the crash", machine.serial())
        told["fired_seconds"] = round(fired, 1)
        status = machine.ask("query-status")
        told["status"] = status["status"] if isinstance(status, dict) else ""
        if told["status"] != "running":
            raise MachineError(f"QEMU acted on its own: the machine is {told['status']}", machine.serial())


def main() -> None:
    end_in_order()
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "format": {"type": "str", "default": "qcow2"},
            "timeout": {"type": "int", "required": True},
            "boot_timeout": {"type": "int", "default": 600},
            "accelerator": {"type": "str", "default": "tcg", "choices": ["tcg", "kvm"]},
            "memory": {"type": "int", "default": 512},
        },
        supports_check_mode=True,
    )
    told: dict = {"changed": False, "problem": "", "serial": ""}
    try:
        trial(module.params, told)
    except MachineError as error:
        told.update(problem=str(error), serial=error.serial)
    except OSError as error:
        told.update(problem=f"the trial could not be made: {error}")
    module.exit_json(**told)


if __name__ == "__main__":
    main()
