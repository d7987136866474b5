#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
# Runs on the hosts themselves, on those of Ubuntu 16.04, too: Python 3.5, standard library only.
"""Look several times at the watchdog timer of a host's own BMC, and say whether it is re-armed."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: hass_watchdog_timer
short_description: Look several times at the watchdog timer of a host's own BMC
description:
  - Runs C(ipmitool mc watchdog get), as the guide has it, several times. A timer that fell by all the time
    that passed, from each look to the next, is not re-armed by anybody.
  - It never fails; whatever goes wrong is told in RV(text).
options:
  readings:
    description: How many looks.
    type: int
    default: 3
  gap:
    description: Seconds from one look to the next; more than the interval of the watchdog daemon.
    type: float
    default: 2
  limit:
    description: For how many seconds it may not have been re-armed; what HASS calls C(watchdog_threshold).
    type: float
    default: 10
attributes:
  check_mode:
    description: It only reads, and runs in check mode as well.
    support: full
author: the HASS authors
"""

EXAMPLES = r"""
- name: Look at the BMC's watchdog timer
  hass_watchdog_timer:
  register: timer
"""

RETURN = r"""
rearmed:
  description: Whether somebody re-arms it.
  returned: always
  type: bool
action:
  description: What the BMC does when it has run out, in the words of ipmitool; empty when it does not run.
  returned: always
  type: str
text:
  description: What was seen, in words. Starts with C(re-armed) if it is.
  returned: always
  type: str
"""

TIMEOUT = 20
FIELDS = {
    "use": r"^Watchdog Timer Use:\s*(.+?)\s*$",
    "is": r"^Watchdog Timer Is:\s*(.+?)\s*$",
    "action": r"^Watchdog Timer Actions?:\s*(.+?)\s*$",
    "initial": r"^Initial Countdown:\s*([0-9.]+)",
    "present": r"^Present Countdown:\s*([0-9.]+)",
}
# A countdown that fell by less than this share of the time that passed was re-armed in between.
SHARE = 0.45


class Unknown(Exception):
    """Why nothing can be said about it."""


def parse(output):
    """What ipmitool prints, as a dictionary of FIELDS."""
    seen = {}
    for field, pattern in FIELDS.items():
        match = re.search(pattern, output, re.MULTILINE)
        if match is None:
            raise Unknown("garbage from ipmitool about the watchdog timer: no %s" % field)
        seen[field] = match.group(1)
    try:
        seen["initial"] = float(seen["initial"])
        seen["present"] = float(seen["present"])
    except ValueError:
        raise Unknown("garbage from ipmitool about the watchdog timer: a countdown is no number") from None
    return seen


def seconds(values):
    words = ["%g" % round(value, 1) for value in values]
    return "%s and %s s" % (", ".join(words[:-1]), words[-1]) if len(words) > 1 else "%s s" % words[0]


def judge(looks, limit):
    """(whether it is re-armed, in words). ``looks`` are pairs: time of the look, what was seen."""
    last = looks[-1][1]
    if not last["is"].lower().startswith("started"):
        return False, "the BMC's watchdog timer does not run (%s)" % last["is"].lower()
    if not last["use"].startswith("SMS/OS"):
        return False, "the BMC's watchdog timer is not used for the running system, but for %s" % last["use"]
    presents = [seen["present"] for _at, seen in looks]
    left = "%s left of %g s" % (seconds(presents), last["initial"])
    if max(presents) > last["initial"]:
        return False, "garbage from the BMC about its watchdog timer: %s" % left
    if last["initial"] - last["present"] > limit:
        return False, "not re-armed for %g s: %s" % (round(last["initial"] - last["present"], 1), left)
    for number, (at, seen) in enumerate(looks[:-1]):
        later_at, later = looks[number + 1]
        if seen["present"] - later["present"] < SHARE * (later_at - at):
            return True, "re-armed: %s" % left
    return False, "not re-armed, it falls all the time: %s" % left


def main():
    module = AnsibleModule(
        argument_spec={
            "readings": {"type": "int", "default": 3},
            "gap": {"type": "float", "default": 2},
            "limit": {"type": "float", "default": 10},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C"}
    tool = module.get_bin_path("ipmitool")
    looks = []
    try:
        if tool is None:
            raise Unknown("there is no ipmitool")
        for number in range(max(2, module.params["readings"])):
            if number:
                time.sleep(module.params["gap"])
            at = time.time()
            status, out, err = module.run_command(["timeout", str(TIMEOUT), tool, "mc", "watchdog", "get"])
            if status:
                said = " ".join((err or out).split()) or "no answer within %d s" % TIMEOUT
                raise Unknown("ipmitool cannot read the watchdog timer: %s" % said)
            looks.append((at, parse(out)))
    except Unknown as reason:
        module.exit_json(changed=False, rearmed=False, action="", text=str(reason))
    rearmed, text = judge(looks, module.params["limit"])
    running = looks[-1][1]["is"].lower().startswith("started")
    module.exit_json(
        changed=False, rearmed=rearmed, action=looks[-1][1]["action"] if running else "", text=text
    )


if __name__ == "__main__":
    main()
