#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Move everything off a compute host that is proven off."""

from __future__ import annotations

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import time

    from hass_runtime.decide.reserve import destinations
    from hass_runtime.domain import Method
    from hass_runtime.remedy import ansible_support as support
    from hass_runtime.remedy import (
        attempt,
        cloud,
        evacuation,
        fencing,
        groups,
        inventory,
        reserve,
        restoration,
        silence,
        targets,
        wire,
    )
    from hass_runtime.remedy import proof as proofs

    MISSING = None
except ImportError:
    MISSING = traceback.format_exc()

DOCUMENTATION = r"""
---
module: hass_evacuate
short_description: Move everything off a compute host that is proven off
description:
  - Evacuates all instances of a host at once, follows each to its end, and gives each its power state back.
  - Refuses to begin without the proof of M(hass_fence) for the same host, and unless Nova takes its
    nova-compute for down.
  - Looks before each evacuation whether the host is still off; begins no further one when its BMC says on,
    when it answers on any layer, or when its BMC has not answered for C(fence_timeout) of the configuration
    file. What Nova has accepted before that is followed to its end; the rest fails, for the next run.
  - Of a host that a person confirmed as off the BMC need not answer; it may not say on.
  - Reads the real state first. What is elsewhere already is left there, what is being evacuated is
    followed; so it may be run again from the top at any time, and its result lists the moves of earlier
    attempts too.
  - Instances with a higher metadata C(hass:priority) go first. What Nova does not evacuate (paused,
    suspended, rescued and so on) is listed as refused.
  - What is not protected stays where it is, and is listed as left with the reason.
  - Fails at the end when a move failed; refused and left ones are no failure.
options:
  host:
    description: Name of the compute host, exactly as Nova and the configuration file spell it.
    type: str
    required: true
  config:
    description: The controller's configuration file. Credentials are read from it, never from arguments.
    type: path
    default: /etc/hass.conf
  proof:
    description: The proof that M(hass_fence) returned. May be left out in check mode only.
    type: dict
  instances:
    description:
      - The instances that M(hass_host_instances) returned, read before the host was fenced.
      - What they were then counts more than what Nova shows now.
    type: list
    elements: dict
    default: []
  read_at:
    description:
      - When these were read, as M(hass_host_instances) returned it.
      - What a person did later counts still more.
      - Without it, now.
    type: float
  was:
    description:
      - By UUID what instances were, C(active) or C(stopped), as an earlier run of the incident recorded it.
      - Counts more than what Nova shows now, which a nova-compute that came back for a while has changed.
    type: dict
    default: {}
  since:
    description:
      - ISO 8601 time from which on evacuations from the host belong to this failure.
      - The controller gives the time at which it opened the incident. Without it, the last 24 hours.
    type: str
  incident:
    description: Number of the incident that this belongs to; 0 by hand.
    type: int
    default: 0
  beware:
    description:
      - Names of other hosts that are silent. Before its first call it waits, for C(75) seconds at most, until
        Nova would send no instance to any of them, or until they answer.
    type: list
    elements: str
    default: []
  choices:
    description:
      - By UUID what people chose for single instances, each with C(protected), C(reason) and C(by).
      - Without it, it is read from the controller's database.
    type: dict
  method:
    description:
      - Where the instances go. V(auto) leaves it to Nova's scheduler, V(reserved_host) sends them to hosts of
        O(reserved); V(auto_priority) and V(rh_priority) try one, and then the other with what found no place.
    type: str
    choices: [auto, reserved_host, auto_priority, rh_priority]
    default: auto
  reserved:
    description:
      - Names of reserved hosts. One that is needed joins the host aggregates of the failed host and is
        enabled in Nova; one to which nothing came is disabled again. Whether an instance fits there is for
        Nova's scheduler to say, nothing is forced.
    type: list
    elements: str
    default: []
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
- name: Evacuate compute2
  hass_evacuate:
    host: compute2
    proof: "{{ fence.proof }}"
    instances: "{{ found.instances }}"
    read_at: "{{ found.read_at }}"
  register: evacuation
"""

RETURN = r"""
msg:
  description: What was found or done, one sentence.
  type: str
  returned: always
moves:
  description: One entry for each instance of this failure, none left out.
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
      description: The failed host.
      type: str
    target:
      description: The host that it is on now.
      type: str
    state:
      description: One of pending, ongoing, succeeded, failed, refused, left.
      type: str
    was:
      description: Its vm_state before, which it has to have afterwards.
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
calls:
  description: How many calls that change something were made to Nova.
  type: int
  returned: success
"""


def run(module: AnsibleModule) -> None:
    params = module.params
    settings, host = support.load(params["config"], params["host"])
    if not module.check_mode:  # before anything else
        proofs.check_proof(
            params["proof"] or {},
            host.name,
            settings.safety.fence_reads,
            time.time(),
            settings.recovery.run_timeout,
        )
    opened_at = support.moment(params["since"], "since")
    since = attempt.since_of(opened_at, time.time())
    try:
        found = [wire.move_from_dict(raw) for raw in params["instances"]]
    except (KeyError, TypeError, ValueError) as error:
        raise support.BadArgument(f"instances: not what hass_host_instances returns: {error}") from error
    read_at = params["read_at"] or time.time()
    seen = inventory.seen_of(found, read_at, support.recorded(params["was"]), opened_at or read_at)
    still_off = fencing.OffWatch(
        host.name,
        support.bmc_of(settings, host),
        silence.listener(host, silence.ears_of(settings)),
        by_word=bool((params["proof"] or {}).get("person")),
        patience=settings.safety.fence_timeout,
    )
    nova = cloud.connect(settings)
    microversion = cloud.version_tuple(nova.evacuate_microversion())
    spare = reserve.reserve_of(settings, nova, host.name)
    ways = destinations(Method(params["method"]), spare.in_order(params["reserved"]))
    evacuator = evacuation.Evacuator(
        nova,
        host.name,
        destinations=ways,
        reserve=spare,
        since=since,
        still_off=still_off,
        seen=seen,
        incident=params["incident"],
        protects=support.protector(settings, host, nova, params["choices"]),
        turns=groups.turns_of(settings),
        policy=evacuation.policy_of(settings),
        arrives_stopped=microversion >= cloud.ARRIVES_STOPPED,
        workers=settings.recovery.evacuate_workers,
        poll_interval=settings.recovery.poll_interval,
        progress=attempt.ProgressFile(None if module.check_mode else params["progress_file"]),
    )
    if module.check_mode:
        foresee(module, evacuator, host.name)
        return
    if not restoration.required(nova, host.name).forced_down:
        raise proofs.FenceError(f"nova-compute of {host.name} is not forced down, nothing is evacuated")
    others = [each for each in settings.hosts if each.name in params["beware"] and each.name != host.name]
    silent = {each.name: silence.listener(each, silence.ears_of(settings)) for each in others}
    patience = restoration.Patience(targets.MISSED_WITHIN, max(1.0, settings.recovery.poll_interval))
    doubt = targets.wait_until_missed(nova, silent, patience)
    outcome = evacuator.run()
    result = {
        "changed": outcome.calls > 0,
        "msg": outcome.words(host.name) + (f"; {doubt}" if doubt else ""),
        "moves": inventory.as_dicts(outcome.moves),
        "calls": outcome.calls,
    }
    if outcome.ok:
        module.exit_json(**result)
    module.fail_json(**result)


def foresee(module: AnsibleModule, evacuator, name: str) -> None:
    """What a run would begin with, instance by instance."""
    seen = evacuator.foresee()
    plan = [f"{move.name or move.instance}: {words}" for move, words in seen]
    module.exit_json(
        changed=any(not words.startswith(("succeed", "refuse", "leave")) for _, words in seen),
        msg=f"would move {len(seen)} instances off {name}" + (f": {'; '.join(plan)}" if plan else ""),
        moves=inventory.as_dicts(move for move, _ in seen),
        calls=0,
    )


def main() -> None:
    """Read the arguments, and do it."""
    arguments = {
        "host": {"type": "str", "required": True},
        "config": {"type": "path", "default": "/etc/hass.conf"},
        "proof": {"type": "dict"},
        "instances": {"type": "list", "elements": "dict", "default": []},
        "read_at": {"type": "float"},
        "was": {"type": "dict", "default": {}},
        "since": {"type": "str"},
        "incident": {"type": "int", "default": 0},
        "beware": {"type": "list", "elements": "str", "default": []},
        "choices": {"type": "dict"},
        "method": {
            "type": "str",
            "default": "auto",
            "choices": ["auto", "reserved_host", "auto_priority", "rh_priority"],
        },
        "reserved": {"type": "list", "elements": "str", "default": []},
        "progress_file": {"type": "path"},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    if MISSING:
        module.fail_json(msg=missing_required_lib("hass-runtime"), exception=MISSING)
    with support.one_line_failures(lambda msg: module.fail_json(msg=msg)):
        run(module)


if __name__ == "__main__":
    main()
