#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Wait until a compute host is healthy again."""

from __future__ import annotations

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from hass_runtime.remedy import ansible_support as support
    from hass_runtime.remedy import cloud, restoration

    MISSING = None
except ImportError:
    MISSING = traceback.format_exc()

DOCUMENTATION = r"""
---
module: hass_wait_host
short_description: Wait until a compute host is healthy again
description:
  - Waits until the host's agent says that its services are fine and its nova-compute reports to Nova,
    at most C(restore_timeout) of the configuration file. Changes nothing.
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
    support: none
requirements:
  - hass-runtime in the Python that runs the module
author:
  - The HASS authors
"""

EXAMPLES = r"""
- name: Wait for the agent and nova-compute of compute2
  hass_wait_host:
    host: compute2
"""

RETURN = r"""
msg:
  description: What was found or done, one sentence.
  type: str
  returned: always
"""


def run(module: AnsibleModule) -> None:
    settings, host = support.load(module.params["config"], module.params["host"])
    if module.check_mode:
        module.exit_json(
            changed=False, msg=f"would wait until the agent and nova-compute of {host.name} are fine"
        )
    patience = restoration.Patience(settings.recovery.restore_timeout, settings.recovery.poll_interval)
    evidence, _ = restoration.wait_host(
        host.name,
        cloud.connect(settings),
        support.agent_of(settings, host),
        patience,
        settings.recovery.return_delay,
    )
    module.exit_json(changed=False, msg=f"{host.name} is healthy: nova-compute is up; {evidence}")


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
