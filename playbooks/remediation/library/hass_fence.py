#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Power a compute host off and prove that it is off."""

from __future__ import annotations

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from hass_runtime.remedy import ansible_support as support
    from hass_runtime.remedy import fencing, silence

    MISSING = None
except ImportError:
    MISSING = traceback.format_exc()

DOCUMENTATION = r"""
---
module: hass_fence
short_description: Power a compute host off and prove it
description:
  - Sends the host's BMC the off command, always, until the BMC accepts it; then reads the power back as
    off several times in a row; then listens until the host is silent on every layer (agent, network).
  - Fails when any of that is missing at the deadline. A host that still answers is not off, whatever
    its BMC says; a host without a BMC cannot be proven off.
  - Number of readings and deadline are C(fence_reads) and C(fence_timeout) of the configuration file.
options:
  host:
    description: Name of the compute host, exactly as Nova and the configuration file spell it.
    type: str
    required: true
  config:
    description: The controller's configuration file. Credentials are read from it, never from arguments.
    type: path
    default: /etc/hass.conf
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
- name: Power off compute2 and read it back as off
  hass_fence:
    host: compute2
  register: fence
"""

RETURN = r"""
msg:
  description: What was found or done, one sentence.
  type: str
  returned: always
proof:
  description: Why the host is known to be off. Times are seconds since the epoch.
  type: dict
  returned: success, not in check mode
  contains:
    host:
      description: The host.
      type: str
    bmc:
      description: Address of its BMC.
      type: str
    was_on:
      description: Whether it was on before the command; null when the BMC could not tell.
      type: bool
    sent_off_at:
      description: When the BMC accepted the off command.
      type: float
    reads:
      description: The readings in a row that say off, each with its time.
      type: list
      elements: dict
    silent_at:
      description: When it was found silent on every layer.
      type: float
    off_complaint:
      description: What the BMC said to an off command that it did not accept before that one, else empty.
      type: str
"""


def run(module: AnsibleModule) -> None:
    settings, host = support.load(module.params["config"], module.params["host"])
    bmc = support.bmc_of(settings, host)
    if module.check_mode:
        foresee(module, host.name, bmc)
        return
    proof = fencing.fence(
        host.name,
        bmc,
        silence.listener(host, silence.ears_of(settings)),
        reads=settings.safety.fence_reads,
        deadline=settings.safety.fence_timeout,
        bmc_name=f"{host.bmc.address}:{host.bmc.port}" if host.bmc else "",
    )
    before = {True: "on", False: "off", None: "unknown"}[proof.was_on]
    module.exit_json(
        changed=proof.was_on is not False,
        msg=proof.words(),
        proof=proof.as_dict(),
        diff={"before": {"power": before}, "after": {"power": "off"}},
    )


def foresee(module: AnsibleModule, name: str, bmc: object) -> None:
    """What a run would do, from what the BMC says now."""
    if bmc is None:
        raise fencing.FenceError(f"{name} has no BMC: no proof possible that it is off")
    power = fencing.read_power(bmc)
    if power not in ("on", "off"):
        raise fencing.FenceError(f"{name} would stay in doubt, its power cannot be read: {power}")
    module.exit_json(
        changed=power != "off",
        msg=f"would power off {name} (the BMC says {power}), read it back as off, and listen for silence",
        diff={"before": {"power": power}, "after": {"power": "off"}},
    )


def main() -> None:
    """Read the arguments, and do it."""
    arguments = {
        "host": {"type": "str", "required": True},
        "config": {"type": "path", "default": "/etc/hass.conf"},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    if MISSING:
        module.fail_json(msg=missing_required_lib("hass-runtime"), exception=MISSING)
    with support.one_line_failures(lambda msg: module.fail_json(msg=msg)):
        run(module)


if __name__ == "__main__":
    main()
