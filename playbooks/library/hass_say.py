#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Documentation; what it does is in the action plugin of the same name."""

DOCUMENTATION = r"""
---
module: hass_say
short_description: Print text as it is
description:
  - Prints text on the terminal as it is, without JSON around it. Nothing runs on a host.
options:
  text:
    description: What to print.
    type: str
    required: true
attributes:
  check_mode:
    description: It prints in check mode, too.
    support: full
author: the HASS authors
"""

EXAMPLES = r"""
- name: Print the table
  hass_say:
    text: "{{ rows | hass_table }}"
"""

RETURN = r""" # """
