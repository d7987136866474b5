#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
# Runs on the hosts themselves, on those of Ubuntu 16.04, too: Python 3.5, standard library only.
"""Look whether a host has a BMC that it can talk to by itself."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import os
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: hass_ipmi_device
short_description: Look whether a host has a BMC that it can talk to by itself
description:
  - Only looks, in C(/dev), C(/sys) and the firmware's tables. It loads no module and asks no BMC.
options:
  wait:
    description: Seconds to wait until the device is there, for a look right after its modules were loaded.
    type: float
    default: 0
attributes:
  check_mode:
    description: It only reads, and runs in check mode as well.
    support: full
author: the HASS authors
"""

EXAMPLES = r"""
- name: Look for an IPMI device
  hass_ipmi_device:
  register: ipmi
"""

RETURN = r"""
found:
  description: Whether there is a BMC, or the firmware says that there is one.
  returned: always
  type: bool
ready:
  description: Whether its device is there, so that C(ipmitool) without an address works.
  returned: always
  type: bool
container:
  description: The kind of container that this is, whose kernel modules are its host's; empty when it is none.
  returned: always
  type: str
evidence:
  description: What it was seen by.
  returned: always
  type: list
  elements: str
why:
  description: The same in words.
  returned: always
  type: str
"""

DEVICES = ("dev/ipmi[0-9]*", "dev/ipmi/[0-9]*", "dev/ipmidev/[0-9]*")
SEEN_BY = (
    ("sys/class/ipmi/ipmi[0-9]*", "a device of its kernel"),
    ("sys/firmware/dmi/entries/38-*", "entry 38 of its DMI table"),
    ("sys/bus/acpi/devices/IPI0001*", "a device of its ACPI tables"),
    ("sys/firmware/acpi/tables/SPMI*", "its ACPI table SPMI"),
)
DMI_TABLE = "sys/firmware/dmi/tables/DMI"
IPMI_ENTRY = 38
END_OF_TABLE = 127


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def dmi_types(table):
    """The types of the entries in a DMI table: each has its type and the length of its fixed part in front,
    and texts up to two zero bytes behind it."""
    at = 0
    while at + 4 <= len(table):
        kind, length = table[at], table[at + 1]
        if length < 4:
            return
        yield kind
        end = table.find(b"\0\0", at + length)
        if kind == END_OF_TABLE or end < 0:
            return
        at = end + 2


def container_kind(root):
    """What systemd, Docker and Podman leave in their containers."""
    kind = read(os.path.join(root, "run/systemd/container")).decode("ascii", "replace").strip()
    if kind:
        return kind
    for word in read(os.path.join(root, "proc/1/environ")).split(b"\0"):
        if word.startswith(b"container="):
            return word[len(b"container=") :].decode("ascii", "replace") or "container"
    for path, name in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if os.path.exists(os.path.join(root, path)):
            return name
    return ""


def look(root="/"):
    """What there is, as the dictionary to return."""
    devices = [
        "/" + os.path.relpath(path, root)
        for pattern in DEVICES
        for path in sorted(glob.glob(os.path.join(root, pattern)))
    ]
    container = container_kind(root)
    evidence = ["the device %s" % path for path in devices]
    if not container:  # there, /sys is its host's
        evidence += [words for pattern, words in SEEN_BY if glob.glob(os.path.join(root, pattern))]
        if len(evidence) == len(devices) and IPMI_ENTRY in dmi_types(read(os.path.join(root, DMI_TABLE))):
            evidence.append("entry 38 of its DMI table")
    if evidence:
        why = "it has a BMC: %s" % ", ".join(evidence)
    elif container:
        why = "it is a container (%s), and its host gives it no IPMI device" % container
    else:
        why = "neither a device nor its firmware tells of a BMC"
    return {
        "found": bool(evidence),
        "ready": bool(devices),
        "container": container,
        "evidence": evidence,
        "why": why,
    }


def main():
    module = AnsibleModule(argument_spec={"wait": {"type": "float", "default": 0}}, supports_check_mode=True)
    deadline = time.time() + module.params["wait"]
    seen = look()
    while not seen["ready"] and time.time() < deadline:
        time.sleep(0.2)
        seen = look()
    module.exit_json(changed=False, **seen)


if __name__ == "__main__":
    main()
