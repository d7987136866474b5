#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
# Runs on the hosts themselves, on those of Ubuntu 16.04, too: Python 3.5, standard library only.
"""Restart a service that is started by its sockets, together with them."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: hass_restart_units
short_description: Restart a service that is started by its sockets, together with them
description:
  - A socket of systemd does not start while its service runs, and any of the service's sockets that is open
    starts the service as soon as somebody connects. C(systemctl restart) of all does not help, as it asks
    for one unit after the other.
  - So the sockets are closed first, then the service is stopped, then those sockets are opened that have to
    be, and then the service is started, which brings the sockets that it wants. As somebody may connect
    in between, the whole is done again when a socket has come too late.
  - Units that ran and that systemd stopped along with these are started again.
options:
  service:
    description: The service.
    type: str
    required: true
  sockets:
    description: All sockets that may start it. Without any, the service is just restarted.
    type: list
    elements: str
    default: []
  open:
    description: Those of them that have to be open, besides the ones that the service itself wants.
    type: list
    elements: str
    default: []
  only_if_needed:
    description:
      - Restart only when a socket of C(open) is not active or, when there are none, the service is not.
    type: bool
    default: false
attributes:
  check_mode:
    description: Tells whether there would be a restart.
    support: full
author: the HASS authors
"""

EXAMPLES = r"""
- name: Restart libvirt and its sockets
  hass_restart_units:
    service: libvirtd.service
    sockets: [libvirtd.socket, libvirtd-ro.socket, libvirtd-admin.socket, libvirtd-tcp.socket]
    open: [libvirtd-tcp.socket]

- name: Have libvirt listen
  hass_restart_units:
    service: libvirtd.service
    sockets: [libvirtd.socket, libvirtd-ro.socket, libvirtd-admin.socket, libvirtd-tcp.socket]
    open: [libvirtd-tcp.socket]
    only_if_needed: true
"""

RETURN = r"""
inactive:
  description: What should have been active before, and was not.
  returned: success
  type: list
  elements: str
"""

TRIES = 3
LINES = 5


def inactive(run, units):
    return [unit for unit in units if run(["systemctl", "is-active", "--quiet", unit])[0] != 0]


def commands(service, sockets, wanted_open):
    """What is asked of systemd, one after the other."""
    if not sockets:
        return [["systemctl", "restart", service]]
    # A socket that others depend on is opened with them, so that the service waits for both.
    stop = ["systemctl", "stop"] + sockets + [service]  # noqa: RUF005 Python 3.5
    return [stop] + [["systemctl", "start", unit] for unit in wanted_open + [service]]  # noqa: RUF005


def dependents(run, units):
    """The active units that systemd stops when these are stopped."""
    words = ["systemctl", "show", "-p", "RequiredBy", "-p", "BoundBy", "-p", "ConsistsOf"]
    said = run(words + units)[1]
    names = {name for line in said.splitlines() for name in line.partition("=")[2].split()}
    others = sorted(name for name in names - set(units) if not name.endswith(".target"))
    missing = inactive(run, others)
    return [name for name in others if name not in missing]


def restart(run, service, sockets, wanted_open):
    """Restarts; what went wrong, or nothing."""
    run(["systemctl", "daemon-reload"])
    depend = dependents(run, sockets + [service])  # noqa: RUF005 Python 3.5
    problem = ""
    for _attempt in range(TRIES):
        problem = ""
        for words in commands(service, sockets, wanted_open):
            code, out, err = run(words)
            if code != 0 and not problem:
                problem = "%s: %s" % (" ".join(words), (err or out).strip())
        missing = inactive(run, wanted_open or [service])
        if missing and not problem:
            problem = "started, and not active all the same: %s" % ", ".join(missing)
        if not problem:
            break
    for unit in inactive(run, depend):
        code, out, err = run(["systemctl", "start", unit])
        if code != 0 and not problem:
            problem = "%s was stopped along with it, and does not start: %s" % (unit, (err or out).strip())
    return problem


def reasons(run, units):
    """What systemd and the units themselves say about those that failed."""
    said = []
    for unit in inactive(run, units):
        out = run(["journalctl", "--no-pager", "--output=cat", "--lines=%d" % LINES, "--unit=" + unit])[1]
        log = " / ".join(line.strip() for line in out.splitlines() if line.strip())
        said.append("%s: %s" % (unit, log or "no log"))
    return "; ".join(said)


def main():
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "required": True},
            "sockets": {"type": "list", "elements": "str", "default": []},
            "open": {"type": "list", "elements": "str", "default": []},
            "only_if_needed": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    service, sockets, wanted_open = (module.params[key] for key in ("service", "sockets", "open"))
    needed = wanted_open or [service]

    def run(words):
        return module.run_command(words, environ_update={"LC_ALL": "C", "SYSTEMD_COLORS": "0"})

    missing = inactive(run, needed)
    changed = bool(missing) or not module.params["only_if_needed"]
    if changed and not module.check_mode:
        problem = restart(run, service, sockets, wanted_open)
        if problem:
            told = [problem, reasons(run, needed)]
            module.fail_json(msg="; ".join(part for part in told if part))
    module.exit_json(changed=changed, inactive=missing)


if __name__ == "__main__":
    main()
