#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Force down, disable or take back nova-compute of a host."""

from __future__ import annotations

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import time
    from dataclasses import asdict, replace

    from hass_runtime.remedy import ansible_support as support
    from hass_runtime.remedy import attempt, cloud, reserve, restoration

    MISSING = None
except ImportError:
    MISSING = traceback.format_exc()

DOCUMENTATION = r"""
---
module: hass_compute_service
short_description: Force down, disable or take back nova-compute of a host
description:
  - Sets and lifts force-down, enables and disables the nova-compute service of exactly one host.
  - Lifting force-down waits until no evacuation from the host is unfinished and Nova accepts it, which
    it does once the returned nova-compute has cleaned up, at most C(restore_timeout) of the
    configuration file.
  - Enables only what HASS disabled; a service that a person disabled is left alone.
options:
  host:
    description: Name of the compute host, exactly as Nova and the configuration file spell it.
    type: str
    required: true
  config:
    description: The controller's configuration file. Credentials are read from it, never from arguments.
    type: path
    default: /etc/hass.conf
  forced_down:
    description: Whether Nova has to take the service for down.
    type: bool
  enabled:
    description: Whether the scheduler may use the host.
    type: bool
  reserved:
    description: Whether it is disabled because the host is kept in reserve; only with O(enabled=false).
    type: bool
    default: false
  incident:
    description: Number of the incident that this belongs to; 0 by hand.
    type: int
    default: 0
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
    support: full
requirements:
  - hass-runtime in the Python that runs the module
author:
  - The HASS authors
"""

EXAMPLES = r"""
- name: Tell Nova that compute2 is down
  hass_compute_service:
    host: compute2
    forced_down: true

- name: Take compute2 back
  hass_compute_service:
    host: compute2
    forced_down: false
    enabled: true
"""

RETURN = r"""
msg:
  description: What was found or done, one sentence.
  type: str
  returned: always
service:
  description: The state of the service afterwards (up, enabled, forced_down, disabled_reason).
  type: dict
  returned: success
"""


def run(module: AnsibleModule) -> None:
    settings, host = support.load(module.params["config"], module.params["host"])
    nova = cloud.connect(settings)
    before = restoration.required(nova, host.name)
    said, after = change(module, settings, nova, before)
    if not module.check_mode:
        after = restoration.required(nova, host.name)
    keys = ("forced_down", "enabled", "disabled_reason")
    old, new = asdict(before), asdict(after)
    module.exit_json(
        changed=any(old[key] != new[key] for key in keys),
        msg="; ".join(said),
        service=new,
        diff={"before": {key: old[key] for key in keys}, "after": {key: new[key] for key in keys}},
    )


def change(module: AnsibleModule, settings, nova, before):
    """Change what differs (not in check mode); sentences and the service as it would be."""
    said: list[str] = []
    after = before
    name, params, real = before.host, module.params, not module.check_mode
    patience = restoration.Patience(settings.recovery.restore_timeout, settings.recovery.poll_interval)
    if params["enabled"] is False:  # first: what is no longer held down must not get instances in between
        after = disable(module, nova, after, said)
    if params["forced_down"] is True:
        after = replace(after, forced_down=True)
        if real:
            restoration.force_down(nova, name, replace(patience, deadline=settings.openstack.request_timeout))
        said.append(
            f"nova-compute of {name} {'is' if before.forced_down else _done('forced down', real)}"
            + (" forced down" if before.forced_down else "")
        )
    elif params["forced_down"] is False:
        after = replace(after, forced_down=False)
        if real and before.forced_down:
            since = attempt.since_of(support.moment(params["since"], "since"), time.time())
            restoration.wait_moves(nova, name, since, patience)
            restoration.unforce(nova, name, patience)
        said.append(f"force-down of {name} {_done('lifted', real) if before.forced_down else 'is not set'}")
    if params["enabled"] is True:
        ours = before.disabled_reason.startswith(restoration.OUR_REASON)
        if real:
            said.append(restoration.enable(nova, name)[1])
        elif not before.enabled and ours:
            said.append(f"nova-compute of {name} would be enabled again")
        else:
            said.append(
                f"nova-compute of {name} {'is enabled' if before.enabled else 'stays disabled, by a person'}"
            )
        if not before.enabled and ours:
            after = replace(after, enabled=True, disabled_reason="")
    return said, after


def disable(module: AnsibleModule, nova, before, said: list[str]):
    """Disable it, or give what HASS has disabled its new reason; a person's own disable stays as it is."""
    reason = (
        reserve.KEPT
        if module.params["reserved"]
        else f"{restoration.OUR_REASON} incident {module.params['incident']}"
    )
    ours = before.disabled_reason.startswith(restoration.OUR_REASON)
    renamed = module.params["reserved"] and ours and before.disabled_reason != reason
    differs = before.enabled or renamed
    if differs and not module.check_mode:
        nova.set_enabled(before, False, reason)
    told = _done(f"disabled ({reason})", not module.check_mode)
    said.append(f"nova-compute of {before.host} {told if differs else 'is disabled'}")
    return replace(before, enabled=False, disabled_reason=reason) if differs else before


def _done(word: str, real: bool) -> str:
    return word if real else f"would be {word}"


def main() -> None:
    """Read the arguments, and do it."""
    arguments = {
        "host": {"type": "str", "required": True},
        "config": {"type": "path", "default": "/etc/hass.conf"},
        "forced_down": {"type": "bool"},
        "enabled": {"type": "bool"},
        "reserved": {"type": "bool", "default": False},
        "incident": {"type": "int", "default": 0},
        "since": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec=arguments, required_one_of=[("forced_down", "enabled")], supports_check_mode=True
    )
    if MISSING:
        module.fail_json(msg=missing_required_lib("hass-runtime"), exception=MISSING)
    with support.one_line_failures(lambda msg: module.fail_json(msg=msg)):
        run(module)


if __name__ == "__main__":
    main()
