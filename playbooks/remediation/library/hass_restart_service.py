#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Restart the failed services of a compute host."""

from __future__ import annotations

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from hass_runtime.remedy import ansible_support as support
    from hass_runtime.remedy import cloud, restart, restoration

    MISSING = None
except ImportError:
    MISSING = traceback.format_exc()

DOCUMENTATION = r"""
---
module: hass_restart_service
short_description: Restart the failed services of a compute host
description:
  - Asks the host's agent, by an authenticated datagram, to restart the service behind each of its checks
    that failed; behind its check C(nova-compute) also when Nova takes it for down.
  - Then waits until the agent says that all is fine and, where C(nova_view) of the configuration file is on,
    until Nova sees nova-compute up or a new heartbeat of it; at most C(restart_timeout).
  - Does nothing when all is fine. Fails at once when the agent restarts nothing of what failed, because
    nothing of it is a unit.
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
- name: Restart what has failed on compute2
  hass_restart_service:
    host: compute2
"""

RETURN = r"""
msg:
  description: What was found or done, one sentence.
  type: str
  returned: always
restarted:
  description: The agent's checks whose services were (or would be) restarted.
  type: list
  elements: str
  returned: success
refused:
  description: By check why the agent did not restart its service.
  type: dict
  returned: success
"""


def run(module: AnsibleModule) -> None:
    settings, host = support.load(module.params["config"], module.params["host"])
    agent = support.asked_agent(settings, host)
    nova = cloud.connect(settings) if settings.detection.nova_view else None
    patience = restoration.Patience(settings.recovery.restart_timeout, settings.recovery.poll_interval)
    restarter = restart.Restarter(host.name, agent, nova, patience)
    if module.check_mode:
        names = restarter.foresee()
        would = f"would restart {', '.join(names)} of {host.name}"
        msg = would if names else f"the services of {host.name} are fine"
        module.exit_json(changed=bool(names), msg=msg, restarted=list(names), refused={})
    done = restarter.run()
    module.exit_json(
        changed=bool(done.asked),
        msg=done.words(host.name),
        restarted=[name for name in done.asked if name not in done.refused],
        refused=dict(done.refused),
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
