#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Empty a living compute host by live migration."""

from __future__ import annotations

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import time

    from hass_runtime.remedy import ansible_support as support
    from hass_runtime.remedy import attempt, cloud, draining, groups, inventory

    MISSING = None
except ImportError:
    MISSING = traceback.format_exc()

DOCUMENTATION = r"""
---
module: hass_drain
short_description: Empty a living compute host by live migration
description:
  - Disables nova-compute of the host, so that nothing new arrives there, and live-migrates every active and
    paused instance to hosts of the scheduler's choice, C(evacuate_workers) of the configuration file at once.
  - Fails at once, having changed nothing, when nova-compute of the host is down or forced down.
  - A service that a person disabled is left as it is. One that this module disabled has a reason that begins
    with C(hass:); M(hass_compute_service) enables it again.
  - Stopped instances stay where they are and are listed as refused, and so are those that Nova does not
    live-migrate. What somebody stops, deletes or moves meanwhile is left alone.
  - A live migration that fails is tried again, C(evacuate_retries) times. After C(drain_timeout) what is
    still on its way is aborted.
  - Reads the real state first. What is elsewhere already is left there, what is being live-migrated is
    followed; so it may be run again from the top at any time, and its result lists what earlier runs moved.
  - Fails at the end when an active or paused instance could not leave; refused ones are no failure.
options:
  host:
    description: Name of the compute host, exactly as Nova and the configuration file spell it.
    type: str
    required: true
  config:
    description: The controller's configuration file. Credentials are read from it, never from arguments.
    type: path
    default: /etc/hass.conf
  reason:
    description: Why; people read it as the reason for which the service is disabled.
    type: str
    default: drain
  was:
    description:
      - By UUID what instances were, C(active) or C(stopped), as an earlier run of the incident recorded it.
      - Only told again in the result, for those that are gone.
    type: dict
    default: {}
  since:
    description:
      - ISO 8601 time from which on live migrations from the host belong to this drain.
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
- name: Empty compute2 before its disk is changed
  hass_drain:
    host: compute2
    reason: new disk
  register: drain
"""

RETURN = r"""
msg:
  description: What was found or done, one sentence.
  type: str
  returned: always
moves:
  description: One entry for each instance of this drain, none left out.
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
    was = support.recorded(params["was"])
    nova = cloud.connect(settings)
    drainer = draining.Drainer(
        nova,
        host.name,
        since=since,
        was=was,
        incident=params["incident"],
        protects=support.protector(settings, host, nova, params["choices"]),
        turns=groups.turns_of(settings),
        policy=draining.policy_of(settings),
        workers=settings.recovery.evacuate_workers,
        poll_interval=settings.recovery.poll_interval,
        progress=attempt.ProgressFile(None if module.check_mode else params["progress_file"]),
    )
    service = draining.look_first(nova, host.name)
    if module.check_mode:
        foresee(module, drainer, service)
        return
    disabled, said = draining.disable(nova, service, params["reason"])
    outcome = drainer.run()
    result = {
        "changed": disabled or outcome.calls > 0,
        "msg": f"{outcome.words(host.name)}; {said}",
        "moves": inventory.as_dicts(outcome.moves),
        "calls": outcome.calls,
    }
    if outcome.ok:
        module.exit_json(**result)
    module.fail_json(**result)


def foresee(module: AnsibleModule, drainer, service) -> None:
    """What a run would begin with, instance by instance."""
    seen = drainer.foresee()
    plan = [f"{move.name or move.instance}: {words}" for move, words in seen]
    first = f"would disable nova-compute of {service.host} and" if service.enabled else "would"
    module.exit_json(
        changed=service.enabled
        or any(not words.startswith(("succeed", "refuse", "leave")) for _, words in seen),
        msg=f"{first} drain {len(seen)} instances" + (f": {'; '.join(plan)}" if plan else ""),
        moves=inventory.as_dicts(move for move, _ in seen),
        calls=0,
    )


def main() -> None:
    """Read the arguments, and do it."""
    arguments = {
        "host": {"type": "str", "required": True},
        "config": {"type": "path", "default": "/etc/hass.conf"},
        "reason": {"type": "str", "default": "drain"},
        "was": {"type": "dict", "default": {}},
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
