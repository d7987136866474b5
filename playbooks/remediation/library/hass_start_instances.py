#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Start again what a compute host lost when it went down and came back."""

from __future__ import annotations

import time
import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from hass_runtime.remedy import ansible_support as support
    from hass_runtime.remedy import attempt, cloud, inventory, revival

    MISSING = None
except ImportError:
    MISSING = traceback.format_exc()

DOCUMENTATION = r"""
---
module: hass_start_instances
short_description: Start again what a compute host lost when it went down and came back
description:
  - Starts every instance of the host that ran until the host went down and whose stop nobody wished, because
    nova-compute noted it by itself when it found the guest off.
  - Waits until nova-compute has had the time to note them all, and until they run; at most
    C(evacuate_timeout) of the configuration file.
  - Leaves alone what a person stopped and what shut itself down. Does nothing when all of them run.
options:
  host:
    description: Name of the compute host, exactly as Nova and the configuration file spell it.
    type: str
    required: true
  config:
    description: The controller's configuration file. Credentials are read from it, never from arguments.
    type: path
    default: /etc/hass.conf
  failed_at:
    description:
      - ISO 8601 time at which the host went down, or was last heard before it did.
      - Stops that Nova noted by itself before that are not undone.
    type: str
    required: true
  was:
    description:
      - By UUID what instances were, C(active) or C(stopped), as an earlier run of the incident recorded it.
    type: dict
    default: {}
  incident:
    description: Number of the incident that this belongs to; 0 by hand.
    type: int
    default: 0
  choices:
    description:
      - By UUID what people chose for single instances, each with C(protected), C(reason) and C(by).
      - Without it, it is read from the controller's database.
    type: dict
  progress_file:
    description: File to which each change of an instance is appended as one line of JSON.
    type: path
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
- name: Start what compute2 lost when its power failed at three
  hass_start_instances:
    host: compute2
    failed_at: "2026-03-01T03:00:00Z"
"""

RETURN = r"""
msg:
  description: What was found or done, one sentence.
  type: str
  returned: always
moves:
  description: One entry for each instance that had to be started; its source and its target are the host.
  type: list
  elements: dict
  returned: success, and on failure when there are any
calls:
  description: How many calls that change an instance were made to Nova.
  type: int
  returned: success
"""


def run(module: AnsibleModule) -> None:
    params = module.params
    settings, host = support.load(params["config"], params["host"])
    failed_at = support.moment(params["failed_at"], "failed_at")
    if failed_at is None:
        raise support.BadArgument("failed_at: is empty, expected an ISO 8601 time, e.g. 2026-03-01T02:03:04Z")
    nova = cloud.connect(settings)
    reviver = revival.Reviver(
        nova,
        host.name,
        failed_at=min(failed_at, time.time()),
        timeout=settings.recovery.evacuate_timeout,
        was=support.recorded(params["was"]),
        incident=params["incident"],
        protects=support.protector(settings, host, nova, params["choices"]),
        workers=settings.recovery.evacuate_workers,
        poll_interval=settings.recovery.poll_interval,
        progress=attempt.ProgressFile(None if module.check_mode else params["progress_file"]),
    )
    if module.check_mode:
        would = [server.name for server in reviver.foresee()]
        msg = f"would start {', '.join(would)}" if would else f"nothing on {host.name} had to be started"
        module.exit_json(changed=bool(would), msg=msg, moves=[], calls=0)
    revived = reviver.run()
    result = {
        "changed": revived.calls > 0,
        "msg": revived.words(host.name),
        "moves": inventory.as_dicts(revived.moves),
        "calls": revived.calls,
    }
    if revived.ok:
        module.exit_json(**result)
    module.fail_json(**result)


def main() -> None:
    """Read the arguments, and do it."""
    arguments = {
        "host": {"type": "str", "required": True},
        "config": {"type": "path", "default": "/etc/hass.conf"},
        "failed_at": {"type": "str", "required": True},
        "was": {"type": "dict", "default": {}},
        "incident": {"type": "int", "default": 0},
        "choices": {"type": "dict"},
        "progress_file": {"type": "path"},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    if MISSING:
        module.fail_json(msg=missing_required_lib("hass-runtime"), exception=MISSING)
    with support.one_line_failures(lambda msg: module.fail_json(msg=msg)):
        run(module)


if __name__ == "__main__":
    main()
