#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Look at every moved instance once more."""

from __future__ import annotations

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from hass_runtime.remedy import ansible_support as support
    from hass_runtime.remedy import cloud, inventory, wire

    MISSING = None
except ImportError:
    MISSING = traceback.format_exc()

DOCUMENTATION = r"""
---
module: hass_verify_instances
short_description: Verify that every moved instance is elsewhere and is what it was
description:
  - Reads every instance anew; each one that was moved must be on another host and be what it was
    (running or stopped), and nothing may be left on the host that is not among the moves.
  - What somebody stopped, started or deleted since is nothing wrong. Changes nothing.
options:
  host:
    description: Name of the compute host, exactly as Nova and the configuration file spell it.
    type: str
    required: true
  config:
    description: The controller's configuration file. Credentials are read from it, never from arguments.
    type: path
    default: /etc/hass.conf
  moves:
    description: The moves that M(hass_evacuate) returned.
    type: list
    elements: dict
    required: true
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
- name: Verify that each instance of compute2 runs elsewhere
  hass_verify_instances:
    host: compute2
    moves: "{{ evacuation.moves }}"
"""

RETURN = r"""
msg:
  description: What was found or done, one sentence.
  type: str
  returned: always
problems:
  description: What is wrong, one line each.
  type: list
  elements: str
  returned: always
"""


def run(module: AnsibleModule) -> None:
    settings, host = support.load(module.params["config"], module.params["host"])
    try:
        moves = [wire.move_from_dict(raw) for raw in module.params["moves"]]
    except (KeyError, TypeError, ValueError) as error:
        raise support.BadArgument(f"moves: not what hass_evacuate returns: {error}") from error
    if module.check_mode:
        module.exit_json(changed=False, msg=f"would read {len(moves)} instances once more", problems=[])
    problems = inventory.verify(cloud.connect(settings), host.name, moves, settings.recovery.evacuate_workers)
    if problems:
        module.fail_json(msg="; ".join(problems), problems=list(problems))
    succeeded = [move for move in moves if move.state.value == "succeeded"]
    msg = f"all {len(succeeded)} moved instances are on other hosts and are what they were"
    module.exit_json(
        changed=False, msg=msg if succeeded else f"nothing was moved off {host.name}", problems=[]
    )


def main() -> None:
    """Read the arguments, and do it."""
    arguments = {
        "host": {"type": "str", "required": True},
        "config": {"type": "path", "default": "/etc/hass.conf"},
        "moves": {"type": "list", "elements": "dict", "required": True},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    if MISSING:
        module.fail_json(msg=missing_required_lib("hass-runtime"), exception=MISSING)
    with support.one_line_failures(lambda msg: module.fail_json(msg=msg)):
        run(module)


if __name__ == "__main__":
    main()
