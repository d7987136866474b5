#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""The documentation of the action of the same name, which does the work where ansible-playbook runs."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: hass_inventory
short_description: Check the inventory before any host is contacted
description:
  - Reads the variables of every host of the inventory, and its files, and fails with all mistakes at once,
    one line each.
  - Runs inside C(ansible-playbook). It contacts no host, starts no module and changes nothing. The values of
    secrets are never shown.
options:
  groups:
    description: Names of the groups that HASS is about.
    type: list
    elements: str
    required: true
  required_groups:
    description: Those of the groups that have to have hosts.
    type: list
    elements: str
    default: []
  required:
    description:
      - Variables that have to have a certain value.
      - Each has C(name), and optionally C(groups), C(choices), C(pattern) (a regular expression), C(expected)
        (in words) and C(optional) (may be missing).
    type: list
    elements: dict
    default: []
  secrets:
    description: Secrets, each with C(name), C(groups) and C(shortest), the least number of characters.
    type: list
    elements: dict
    default: []
  variables:
    description: Names of variables that belong to no role.
    type: list
    elements: str
    default: []
  roles:
    description: The folder of the roles, whose variables are known from their C(meta/argument_specs.yml).
    type: path
  own:
    description: Names of your own variables that look like misspelt ones of HASS and are not.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: It never changes anything.
    support: full
author:
  - The HASS authors
"""

EXAMPLES = r"""
- name: Check the inventory
  hass_inventory:
    groups: [controller, compute, blockstorage]
    required_groups: [controller, compute]
    required:
      - {name: openstack_release, choices: [queens, zed, epoxy]}
    secrets:
      - {name: hass_polling_key, groups: [controller, compute], shortest: 16}
"""

RETURN = r"""
hosts:
  description: How many hosts were looked at.
  returned: always
  type: int
"""
