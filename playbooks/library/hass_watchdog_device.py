#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
# Runs on the hosts themselves, on those of Ubuntu 16.04, too: Python 3.5, standard library only.
"""See to it that the watchdog device of a host belongs to the driver that it should."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import os
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: hass_watchdog_device
short_description: See to it that the watchdog device of a host belongs to the driver that it should
description:
  - C(/dev/watchdog) belongs to the driver that was loaded first. This module says to which, and who has it
    open; and, with O(state=present), loads the driver that it should belong to, and before that takes out
    others that were faster.
  - A driver is taken out only when its timer can be stopped (its C(nowayout) is off), so that no timer is
    left running that nobody re-arms. The daemon is stopped before, and has to be started afterwards.
options:
  device:
    description: The device that the watchdog daemon uses.
    type: str
    default: /dev/watchdog
  driver:
    description: Name of the kernel module to which the device should belong.
    type: str
    required: true
  options:
    description: Parameters of that module. It is loaded anew when those that it shows are others.
    type: dict
    default: {}
  rivals:
    description: Modules that may be taken out when they are in its way.
    type: list
    elements: str
    default: []
  units:
    description: Units that use the device, to be stopped before drivers are changed.
    type: list
    elements: str
    default: []
  reload:
    description: Load the driver anew in any case, because its parameters are said to have changed.
    type: bool
    default: false
  state:
    description: C(query) only looks.
    type: str
    choices: [query, present]
    default: query
attributes:
  check_mode:
    description: Says whether something would be changed.
    support: full
author: the HASS authors
"""

EXAMPLES = r"""
- name: Give the watchdog device to the BMC's timer
  hass_watchdog_device:
    driver: ipmi_watchdog
    options: {action: reset, nowayout: 0}
    rivals: [iTCO_wdt, softdog]
    units: [watchdog.service]
    state: present
"""

RETURN = r"""
ready:
  description: Whether the device belongs to the driver.
  returned: always
  type: bool
owner:
  description: The module to which the device belongs; empty when there is no device.
  returned: always
  type: str
holders:
  description: Processes that have the device open, as C(NAME (PID)).
  returned: always
  type: list
  elements: str
container:
  description: The kind of container that this is, whose kernel modules are its host's; empty when it is none.
  returned: always
  type: str
why:
  description: The same in words.
  returned: always
  type: str
"""

# The only driver in use that has /dev/watchdog to itself, outside of the kernel's watchdog class.
LEGACY = "ipmi_watchdog"
SHARED = "watchdog"
IDENTITIES = {"Software Watchdog": "softdog"}
SETTLE = 5.0


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace").strip("\n\0 ")
    except OSError:
        return ""


def container_kind():
    kind = read("/run/systemd/container")
    if kind:
        return kind
    for word in read("/proc/1/environ").split("\0"):
        if word.startswith("container="):
            return word[len("container=") :] or "container"
    for path, name in (("/.dockerenv", "docker"), ("/run/.containerenv", "podman")):
        if os.path.exists(path):
            return name
    return ""


def is_loaded(driver, root="/"):
    return os.path.isdir(os.path.join(root, "sys/module", driver))


def driver_of(entry):
    """The module behind a device of the kernel's watchdog class."""
    module = os.path.join(entry, "device/driver/module")
    if os.path.exists(module):
        return os.path.basename(os.path.realpath(module))
    identity = read(os.path.join(entry, "identity"))
    return IDENTITIES.get(identity, identity or "an unknown driver")


def entries(root="/"):
    """The devices of the kernel's watchdog class: folder -> module."""
    found = glob.glob(os.path.join(root, "sys/class/watchdog/watchdog[0-9]*"))
    return {entry: driver_of(entry) for entry in sorted(found)}


def owner_of(device, root="/"):
    """The module to which the device belongs. The first device of the class has /dev/watchdog as well, unless
    the driver that is outside of the class was there before."""
    if not os.path.exists(os.path.join(root, device.lstrip("/"))):
        return ""
    name = os.path.basename(os.path.realpath(device) if root == "/" else device)
    known = {os.path.basename(entry): driver for entry, driver in entries(root).items()}
    if name != SHARED:
        return known.get(name, "an unknown driver")
    if "watchdog0" in known:
        return known["watchdog0"]
    return LEGACY if is_loaded(LEGACY, root) else "an unknown driver"


def holders():
    """Processes that have a watchdog device open."""
    found = []
    for folder in glob.glob("/proc/[0-9]*/fd"):
        try:
            targets = [os.readlink(os.path.join(folder, name)) for name in os.listdir(folder)]
        except OSError:
            continue  # it has ended
        if any(target.startswith("/dev/watchdog") for target in targets):
            pid = folder.split("/")[2]
            found.append("%s (%s)" % (read("/proc/%s/comm" % pid), pid))
    return sorted(found)


def plain(value):
    """A parameter as the kernel may show it: switches are Y and N there."""
    text = str(value).strip()
    return {"true": "1", "yes": "1", "y": "1", "false": "0", "no": "0", "n": "0"}.get(text.lower(), text)


def differing(driver, options, root="/"):
    """Parameters that the loaded module shows, and shows otherwise."""
    folder = os.path.join(root, "sys/module", driver, "parameters")
    return [
        name
        for name, value in sorted(options.items())
        if os.path.exists(os.path.join(folder, name))
        and plain(read(os.path.join(folder, name))) != plain(value)
    ]


def release(entry):
    """Stop a timer, so that its driver can be taken out; a sentence when that cannot be done."""
    if read(os.path.join(entry, "nowayout")) == "1":
        return "its timer cannot be stopped (nowayout)"
    try:
        # Opened and closed with the letter V: the driver's timer stops, even one that the firmware started.
        with open(os.path.join("/dev", os.path.basename(entry)), "wb", 0) as device:
            device.write(b"V")
    except OSError as error:
        return "its timer cannot be stopped (%s)" % (error.strerror or error)
    if read(os.path.join(entry, "state")) == "active":
        return "its timer did not stop"
    return ""


def look(params):
    owner = owner_of(params["device"])
    if not owner:
        why = "there is no %s" % params["device"]
    elif owner == params["driver"]:
        why = "%s belongs to %s" % (params["device"], owner)
    else:
        why = "%s belongs to %s, not to %s" % (params["device"], owner, params["driver"])
    return {
        "ready": owner == params["driver"],
        "owner": owner,
        "holders": holders(),
        "container": container_kind(),
        "why": why,
    }


def apply(module):
    """Change drivers; returns sentences about those that could not be changed."""
    params = module.params
    for unit in params["units"]:
        module.run_command(["systemctl", "stop", unit])
    held = holders()
    if held:
        return ["it is held open by %s" % ", ".join(held)]
    problems = []
    for rival in params["rivals"]:
        if rival == params["driver"] or not is_loaded(rival):
            continue
        reasons = [release(entry) for entry, driver in entries().items() if driver == rival]
        reason = "; ".join(filter(None, reasons))
        if not reason:
            status, out, err = module.run_command(["modprobe", "-r", rival])
            reason = (err or out).strip() if status else ""
        if reason:
            problems.append("%s stays until this host is rebooted: %s" % (rival, reason))
    if is_loaded(params["driver"]):
        status, out, err = module.run_command(["modprobe", "-r", params["driver"]])
        if status:
            problems.append("%s cannot be loaded anew: %s" % (params["driver"], (err or out).strip()))
    status, out, err = module.run_command(["modprobe", params["driver"]])
    if status:
        problems.append((err or out).strip())
    deadline = time.time() + SETTLE
    while owner_of(params["device"]) != params["driver"] and time.time() < deadline and not problems:
        time.sleep(0.1)
    return problems


def main():
    module = AnsibleModule(
        argument_spec={
            "device": {"type": "str", "default": "/dev/watchdog"},
            "driver": {"type": "str", "required": True},
            "options": {"type": "dict", "default": {}},
            "rivals": {"type": "list", "elements": "str", "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
            "reload": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["query", "present"], "default": "query"},
        },
        supports_check_mode=True,
    )
    params = module.params
    before = look(params)
    right = before["ready"] and not differing(params["driver"], params["options"]) and not params["reload"]
    if params["state"] == "query" or right or before["container"]:
        module.exit_json(changed=False, **before)
    if module.check_mode:
        module.exit_json(changed=True, **before)
    strangers = [
        holder for holder in before["holders"] if holder.split(" ")[0] not in ("watchdog", "wd_keepalive")
    ]
    if strangers:
        msg = "%s is held open by %s: only one can use it" % (params["device"], ", ".join(strangers))
        module.fail_json(msg=msg, **before)
    problems = apply(module)
    after = look(params)
    if problems:
        after["why"] = "; ".join([after["why"], *problems])
    changed = after["ready"] or after["owner"] != before["owner"]
    module.exit_json(changed=changed, **after)


if __name__ == "__main__":
    main()
