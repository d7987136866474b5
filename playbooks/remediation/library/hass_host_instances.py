#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Read what runs on a compute host, before anything is done to it."""

from __future__ import annotations

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import time
    from collections import Counter
    from dataclasses import asdict

    from hass_runtime.domain import MoveState
    from hass_runtime.remedy import ansible_support as support
    from hass_runtime.remedy import attempt, cloud, inventory, restoration

    MISSING = None
except ImportError:
    MISSING = traceback.format_exc()

DOCUMENTATION = r"""
---
module: hass_host_instances
short_description: Read what runs on a compute host
description:
  - Reads nova-compute of a host and the instances that are on it, and changes nothing.
  - Fails when Nova does not answer or knows no such host, so that a host whose instances could not be
    moved is not switched off.
options:
  host:
    description: Name of the compute host, exactly as Nova and the configuration file spell it.
    type: str
    required: true
  config:
    description: The controller's configuration file. Credentials are read from it, never from arguments.
    type: path
    default: /etc/hass.conf
  incident:
    description: Number of the incident that this belongs to; 0 by hand.
    type: int
    default: 0
  since:
    description:
      - ISO 8601 time from which on evacuations from the host belong to this failure.
      - The controller gives the time at which it opened the incident. Without it, the last 24 hours.
    type: str
  was:
    description:
      - By UUID what instances were, C(active) or C(stopped), as an earlier run of the incident recorded it.
      - Counts more than what Nova shows now, which a nova-compute that came back for a while has changed.
    type: dict
    default: {}
  failed_at:
    description:
      - ISO 8601 time at which the host had failed, as far as it was seen.
      - A guest whose stop Nova noted by itself after that counts as running until then. The host came back,
        and its nova-compute found the guest off.
    type: str
  choices:
    description:
      - By UUID what people chose for single instances, each with C(protected), C(reason) and C(by).
      - Without it, it is read from the controller's database.
    type: dict
  progress_file:
    description: File to which each change of a move is appended as one line of JSON.
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
- name: Read what runs on compute2
  hass_host_instances:
    host: compute2
"""

RETURN = r"""
msg:
  description: What was found or done, one sentence.
  type: str
  returned: always
instances:
  description: The instances on the host now, in the order in which they would be moved; pending, or left.
  type: list
  elements: dict
  returned: success
  contains:
    instance:
      description: UUID of the instance.
      type: str
    name:
      description: Its name.
      type: str
    source:
      description: The failed host.
      type: str
    target:
      description: The host that it is on now.
      type: str
    state:
      description: One of pending, ongoing, succeeded, failed, refused, left.
      type: str
    was:
      description: Its vm_state before, which it has to have afterwards; empty while it is being evacuated.
      type: str
    attempts:
      description: How many evacuations of it were begun, by this and earlier runs.
      type: int
    priority:
      description: Its metadata hass:priority; higher goes first.
      type: int
    reason:
      description: Why it failed, was refused or was left.
      type: str
    started_at:
      description: Seconds since the epoch.
      type: float
    finished_at:
      description: Seconds since the epoch.
      type: float

read_at:
  description: When they were read, before that rather than after. Seconds since the epoch.
  type: float
  returned: success
evacuate_microversion:
  description: The compute microversion that an evacuation would use.
  type: str
  returned: success
service:
  description: State of the host's nova-compute (up, enabled, forced_down).
  type: dict
  returned: success
"""


def run(module: AnsibleModule) -> None:
    params = module.params
    settings, host = support.load(params["config"], params["host"])
    was = support.recorded(params["was"])
    read_at = time.time()
    since = attempt.since_of(support.moment(params["since"], "since"), read_at)
    nova = cloud.connect(settings)
    service = restoration.required(nova, host.name)
    microversion = nova.evacuate_microversion()
    failed_at = support.moment(params["failed_at"], "failed_at")
    protects = support.protector(settings, host, nova, params["choices"])
    found = inventory.on_host(
        nova, host.name, params["incident"], since, was, service.forced_down, failed_at, protects
    )
    progress = attempt.ProgressFile(None if module.check_mode else params["progress_file"])
    for move in found:
        progress(move)
    counts = Counter(move.was or "on the way" for move in found)
    states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    left = [move for move in found if move.state is MoveState.LEFT]
    if left:
        states += f"; {len(left)} left: " + ", ".join(f"{move.name} ({move.reason})" for move in left)
    module.exit_json(
        changed=False,
        msg=f"{len(found)} instances on {host.name}" + (f": {states}" if states else ""),
        instances=inventory.as_dicts(found),
        read_at=read_at,
        evacuate_microversion=microversion,
        service=asdict(service),
    )


def main() -> None:
    """Read the arguments, and do it."""
    arguments = {
        "host": {"type": "str", "required": True},
        "config": {"type": "path", "default": "/etc/hass.conf"},
        "incident": {"type": "int", "default": 0},
        "since": {"type": "str"},
        "was": {"type": "dict", "default": {}},
        "failed_at": {"type": "str"},
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
