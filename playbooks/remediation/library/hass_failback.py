#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Bring home what was moved away from a compute host."""

from __future__ import annotations

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import time

    from hass_runtime.remedy import ansible_support as support
    from hass_runtime.remedy import attempt, cloud, draining, groups, homecoming, inventory

    MISSING = None
except ImportError:
    MISSING = traceback.format_exc()

DOCUMENTATION = r"""
---
module: hass_failback
short_description: Bring home what was moved away from a compute host
description:
  - Live-migrates to a host what HASS has moved away from it, from wherever that is now.
  - Only what is still where HASS had put it; what somebody has moved since is listed as left.
  - Nova's scheduler has to find that it fits there, nothing is forced. Stopped instances stay where they are.
  - Fails at once, having changed nothing, when nova-compute of the host is down, forced down or disabled.
  - Reads the real state first. What is home already is left there, what is being live-migrated is followed;
    so it may be run again from the top at any time.
  - Fails at the end when an active or paused instance could not come home.
options:
  host:
    description: Name of the compute host that is home, exactly as Nova and the configuration file spell it.
    type: str
    required: true
  config:
    description: The controller's configuration file. Credentials are read from it, never from arguments.
    type: path
    default: /etc/hass.conf
  moved:
    description:
      - By UUID the instances, and the host on which HASS had put each.
      - Without it, it is read from the controller's database, of incident O(of) or the newest that moved any.
    type: dict
  of:
    description: Number of the incident that moved them away; 0 for the newest. Only without O(moved).
    type: int
    default: 0
  since:
    description:
      - ISO 8601 time from which on live migrations belong to this failback.
      - The controller gives the time at which it opened the incident. Without it, the last 24 hours.
    type: str
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
- name: Bring home what was moved away from compute2
  hass_failback:
    host: compute2
  register: failback
"""

RETURN = r"""
msg:
  description: What was found or done, one sentence.
  type: str
  returned: always
moves:
  description: One entry for each instance that still exists.
  type: list
  elements: dict
  returned: success, and on failure when there are any
  contains:
    instance:
      description: UUID of the instance.
      type: str
    name:
      description: Its name.
      type: str
    source:
      description: The host that is drained.
      type: str
    target:
      description: The host that it is on now.
      type: str
    state:
      description: One of pending, ongoing, succeeded, failed, refused, left.
      type: str
    was:
      description: Its vm_state before.
      type: str
    attempts:
      description: How many live migrations of it were begun, by this and earlier runs.
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
calls:
  description: How many calls that change an instance were made to Nova.
  type: int
  returned: success
"""


def run(module: AnsibleModule) -> None:
    params = module.params
    settings, host = support.load(params["config"], params["host"])
    since = attempt.since_of(support.moment(params["since"], "since"), time.time())
    moved = support.moved(settings, host.name, params["moved"], params["of"])
    nova = cloud.connect(settings)
    protects = support.protector(settings, host, nova, params["choices"])
    progress = attempt.ProgressFile(None if module.check_mode else params["progress_file"])

    def drainer(source: str, only: frozenset[str]) -> draining.Drainer:
        return draining.Drainer(
            nova,
            source,
            only=only,
            destination=host.name,
            since=since,
            incident=params["incident"],
            protects=protects,
            turns=groups.turns_of(settings),
            policy=draining.policy_of(settings),
            workers=settings.recovery.evacuate_workers,
            poll_interval=settings.recovery.poll_interval,
            progress=progress,
        )

    homecoming.look_first(nova, host.name)
    coming = homecoming.Homecoming(nova, host.name, moved, params["incident"], drainer, progress)
    if module.check_mode:
        foresee(module, coming, host.name)
        return
    outcome = coming.run()
    result = {
        "changed": outcome.calls > 0,
        "msg": homecoming.words(outcome, host.name),
        "moves": inventory.as_dicts(outcome.moves),
        "calls": outcome.calls,
    }
    if outcome.ok:
        module.exit_json(**result)
    module.fail_json(**result)


def foresee(module: AnsibleModule, coming, name: str) -> None:
    """What a run would begin with, instance by instance."""
    seen = coming.foresee()
    plan = [f"{move.name or move.instance}: {words}" for move, words in seen]
    module.exit_json(
        changed=any(not words.startswith(("succeed", "refuse", "leave")) for _, words in seen),
        msg=f"would bring {len(seen)} instances home to {name}" + (f": {'; '.join(plan)}" if plan else ""),
        moves=inventory.as_dicts(move for move, _ in seen),
        calls=0,
    )


def main() -> None:
    """Read the arguments, and do it."""
    arguments = {
        "host": {"type": "str", "required": True},
        "config": {"type": "path", "default": "/etc/hass.conf"},
        "moved": {"type": "dict"},
        "of": {"type": "int", "default": 0},
        "since": {"type": "str"},
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
