#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Wait until no evacuation from a host is unfinished."""

from __future__ import annotations

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import time
    from dataclasses import replace

    from hass_runtime.remedy import ansible_support as support
    from hass_runtime.remedy import attempt, cloud, restoration

    MISSING = None
except ImportError:
    MISSING = traceback.format_exc()

DOCUMENTATION = r"""
---
module: hass_wait_moves
short_description: Wait until no evacuation from a host is unfinished
description:
  - Reads Nova's evacuation records of the host until none is unfinished, at most C(restore_timeout) of
    the configuration file. Changes nothing.
options:
  host:
    description: Name of the compute host, exactly as Nova and the configuration file spell it.
    type: str
    required: true
  config:
    description: The controller's configuration file. Credentials are read from it, never from arguments.
    type: path
    default: /etc/hass.conf
  since:
    description:
      - ISO 8601 time from which on evacuations from the host belong to this failure.
      - The controller gives the time at which it opened the incident. Without it, the last 24 hours.
    type: str
attributes:
  check_mode:
    description: What a run would do is read from the cloud and the host, and told; nothing is changed.
    support: full
  diff_mode:
    description: Shows the state before and after.
    support: none
requirements:
  - hass-runtime in the Python that runs the module
author:
  - The HASS authors
"""

EXAMPLES = r"""
- name: Wait until the moves from compute2 are finished
  hass_wait_moves:
    host: compute2
"""

RETURN = r"""
msg:
  description: What was found or done, one sentence.
  type: str
  returned: always
evacuations:
  description: How many evacuations from the host Nova has on record since then.
  type: int
  returned: success
"""


def run(module: AnsibleModule) -> None:
    settings, host = support.load(module.params["config"], module.params["host"])
    since = attempt.since_of(support.moment(module.params["since"], "since"), time.time())
    patience = restoration.Patience(settings.recovery.restore_timeout, settings.recovery.poll_interval)
    if module.check_mode:  # one look, no waiting
        patience = replace(patience, deadline=0.0)
    try:
        found = restoration.wait_moves(cloud.connect(settings), host.name, since, patience)
    except restoration.RestoreError as error:
        if not module.check_mode:
            raise
        module.exit_json(changed=False, msg=f"would wait: {error}", evacuations=0)
    module.exit_json(changed=False, msg=f"no evacuation from {host.name} is unfinished", evacuations=found)


def main() -> None:
    """Read the arguments, and do it."""
    arguments = {
        "host": {"type": "str", "required": True},
        "config": {"type": "path", "default": "/etc/hass.conf"},
        "since": {"type": "str"},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    if MISSING:
        module.fail_json(msg=missing_required_lib("hass-runtime"), exception=MISSING)
    with support.one_line_failures(lambda msg: module.fail_json(msg=msg)):
        run(module)


if __name__ == "__main__":
    main()
