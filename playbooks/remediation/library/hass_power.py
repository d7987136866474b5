#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Power a compute host on."""

from __future__ import annotations

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from hass_runtime.remedy import ansible_support as support
    from hass_runtime.remedy import fencing, restoration

    MISSING = None
except ImportError:
    MISSING = traceback.format_exc()

DOCUMENTATION = r"""
---
module: hass_power
short_description: Power a compute host on
description:
  - Sends the host's BMC the on command and reads the power back as on. Does nothing to a host that is on.
  - Fails when it is not on at the deadline, C(restore_timeout) of the configuration file. To switch a
    host off there is only M(hass_fence).
  - Leaves a host without a BMC alone, and one whose BMC cannot be read while its agent answers.
options:
  host:
    description: Name of the compute host, exactly as Nova and the configuration file spell it.
    type: str
    required: true
  config:
    description: The controller's configuration file. Credentials are read from it, never from arguments.
    type: path
    default: /etc/hass.conf
  state:
    description: The power that the host has to have.
    type: str
    choices: ["on"]
    default: "on"
attributes:
  check_mode:
    description: What a run would do is read from the cloud and the host, and told; nothing is changed.
    support: full
  diff_mode:
    description: Shows the state before and after.
    support: full
requirements:
  - hass-runtime in the Python that runs the module
author:
  - The HASS authors
"""

EXAMPLES = r"""
- name: Power on compute2
  hass_power:
    host: compute2
    state: "on"
"""

RETURN = r"""
msg:
  description: What was found or done, one sentence.
  type: str
  returned: always
"""


def run(module: AnsibleModule) -> None:
    settings, host = support.load(module.params["config"], module.params["host"])
    bmc = support.bmc_of(settings, host)
    if bmc is None:
        said = f"{host.name} has no BMC: it is on when a person has powered it on"
        module.exit_json(changed=False, msg=said)
    power = fencing.read_power(bmc)
    agent = support.agent_of(settings, host)
    if power not in ("on", "off") and agent is not None and agent().answered:
        said = f"{host.name} is on, its agent answers; its BMC says {power}"
        module.exit_json(changed=False, msg=said)
    diff = {"before": {"power": power}, "after": {"power": "on"}}
    if module.check_mode:
        changed = power != "on"
        msg = f"would power on {host.name} (the BMC says {power})" if changed else f"{host.name} is on"
        module.exit_json(changed=changed, msg=msg, diff=diff)
    patience = restoration.Patience(settings.recovery.restore_timeout)
    changed = restoration.power_on(host.name, bmc, patience)
    module.exit_json(changed=changed, msg=f"{host.name} {'powered on' if changed else 'is on'}", diff=diff)


def main() -> None:
    """Read the arguments, and do it."""
    arguments = {
        "host": {"type": "str", "required": True},
        "config": {"type": "path", "default": "/etc/hass.conf"},
        "state": {"type": "str", "choices": ["on"], "default": "on"},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    if MISSING:
        module.fail_json(msg=missing_required_lib("hass-runtime"), exception=MISSING)
    with support.one_line_failures(lambda msg: module.fail_json(msg=msg)):
        run(module)


if __name__ == "__main__":
    main()
