#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
# Runs on the hosts themselves, on those of Ubuntu 16.04, too: Python 3.5, standard library only.
"""The public keys of a host: that of an account, and those of its sshd."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import os
import pwd
import subprocess

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: host_ssh_keys
short_description: Read the public keys of a host
description:
  - Reads the public key of an account and those of sshd on the host itself, so that nothing that comes over
    the network has to be believed. Whatever is not there (yet) is empty.
options:
  user:
    description: Name of the account.
    type: str
    required: true
  file:
    description: Name of its private key in its folder C(.ssh).
    type: str
    required: true
attributes:
  check_mode:
    description: It only reads.
    support: full
author: the HASS authors
"""

EXAMPLES = r"""
- name: Read the public keys of this host
  host_ssh_keys:
    user: nova
    file: id_ed25519_hass
"""

RETURN = r"""
ansible_facts:
  description: The fact C(host_ssh_published), a dictionary of C(public_key) and C(host_keys).
  returned: always
  type: dict
"""


def key_of(path):
    """Type and key of a public key file; nothing of its comment."""
    try:
        with open(path) as stream:
            return " ".join(stream.read().split()[:2])
    except OSError:
        return ""


def host_key_files():
    """Those that sshd uses, or those that lie where they usually are."""
    try:
        said = subprocess.check_output(["/usr/sbin/sshd", "-T"], stderr=subprocess.DEVNULL, timeout=30)
        used = [line.split(None, 1)[1] for line in said.decode().splitlines() if line.startswith("hostkey ")]
    except (OSError, subprocess.SubprocessError):
        used = []
    return ["%s.pub" % path for path in used] or sorted(glob.glob("/etc/ssh/ssh_host_*_key.pub"))


def main():
    module = AnsibleModule(
        argument_spec={"user": {"type": "str", "required": True}, "file": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    try:
        home = pwd.getpwnam(module.params["user"]).pw_dir
        public_key = key_of(os.path.join(home, ".ssh", module.params["file"] + ".pub"))
    except KeyError:
        public_key = ""
    host_keys = [key for key in map(key_of, host_key_files()) if key]
    published = {"public_key": public_key, "host_keys": host_keys}
    module.exit_json(changed=False, ansible_facts={"host_ssh_published": published})


if __name__ == "__main__":
    main()
