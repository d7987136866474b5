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
    from hass_runtime.remedy import proof as proofs

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
    its BMC or a person says.
  - A host without a BMC, or with one that cannot be read or obeys nothing, is proven off only by a person
    who has seen to it (O(confirmed)), and by silence on every layer, listened to twice. The BMC is tried
    first all the same; when it says on, no person's word counts.
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
  confirmed:
    description:
      - Who confirmed that the host is off (C(by)), why (C(reason)) and when (C(at), seconds since the epoch).
      - Empty when nobody did. Not accepted when older than C(run_timeout) of the configuration file.
    type: dict
    default: {}
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

- name: Accept the word of a person for compute3, which has no BMC
  hass_fence:
    host: compute3
    confirmed:
      by: anna
      reason: pulled both power cords
      at: 1767225600
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
      description: When the BMC accepted the off command; null when a person confirmed it.
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
    person:
      description: Who confirmed it (by, reason, at); empty when the BMC proved it.
      type: dict
    heard:
      description: When it was listened for and silent, where a person confirmed it.
      type: list
      elements: float
"""


def run(module: AnsibleModule) -> None:
    settings, host = support.load(module.params["config"], module.params["host"])
    try:
        word = proofs.word_of(module.params["confirmed"])
    except ValueError as error:
        raise support.BadArgument(f"confirmed: {error}") from error
    bmc = support.bmc_of(settings, host)
    if module.check_mode:
        foresee(module, host.name, bmc, word)
        return
    proof = fencing.fence(
        host.name,
        bmc,
        silence.listener(host, silence.ears_of(settings)),
        reads=settings.safety.fence_reads,
        deadline=settings.safety.fence_timeout,
        bmc_name=f"{host.bmc.address}:{host.bmc.port}" if host.bmc else "",
        word=word,
        max_age=settings.recovery.run_timeout,
        rearmed=silence.rearmed(settings, host),
    )
    before = {True: "on", False: "off", None: "unknown"}[proof.was_on]
    module.exit_json(
        # Who only takes a person's word has switched nothing off.
        changed=proof.was_on is not False and proof.person is None,
        msg=proof.words(),
        proof=proof.as_dict(),
        diff={"before": {"power": before}, "after": {"power": "off"}},
    )


def foresee(module: AnsibleModule, name: str, bmc: object, word: object) -> None:
    """What a run would do, from what the BMC says now."""
    power = fencing.read_power(bmc) if bmc is not None else "there is none"
    if power in ("on", "off"):
        would = f"would power off {name} (the BMC says {power}), read it back as off, and listen for silence"
    elif word is not None:
        would = f"would listen for silence of {name}, which {word.by} confirmed as off (its BMC: {power})"
    elif bmc is None:
        raise proofs.FenceError(f"{name} has no BMC: no proof possible that it is off")
    else:
        raise proofs.FenceError(f"{name} would stay in doubt, its power cannot be read: {power}")
    known = power if power in ("on", "off") else "unknown"
    module.exit_json(
        changed=power == "on", msg=would, diff={"before": {"power": known}, "after": {"power": "off"}}
    )


def main() -> None:
    """Read the arguments, and do it."""
    arguments = {
        "host": {"type": "str", "required": True},
        "config": {"type": "path", "default": "/etc/hass.conf"},
        "confirmed": {"type": "dict", "default": {}},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    if MISSING:
        module.fail_json(msg=missing_required_lib("hass-runtime"), exception=MISSING)
    with support.one_line_failures(lambda msg: module.fail_json(msg=msg)):
        run(module)


if __name__ == "__main__":
    main()
