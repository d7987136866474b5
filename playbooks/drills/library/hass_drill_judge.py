#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Say whether a drill went as expected."""

from __future__ import annotations

import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: hass_drill_judge
short_description: Say whether a drill went as expected
description:
  - Reads the raw record of a drill and fails with what was not as expected. It changes nothing.
options:
  record:
    description: The record, NAME.raw.json.
    type: path
    required: true
attributes:
  check_mode:
    description: It only reads.
    support: full
author: the HASS authors
"""

EXAMPLES = r"""
- name: Judge it
  hass_drill_judge:
    record: drills-raw/power_cut.raw.json
"""

RETURN = r"""
observed:
  description: What happened, in words.
  returned: always
  type: str
timeline:
  description: Seconds from the cut, by moment.
  returned: always
  type: dict
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={"record": {"type": "path", "required": True}}, supports_check_mode=True
    )
    try:
        from hass_runtime.drills.story import tell
    except ImportError as error:
        module.fail_json(msg=f"the Python that runs ansible-playbook has no hass_runtime: {error}")
    outcome = tell(json.loads(Path(module.params["record"]).read_text(encoding="utf-8")))
    timeline = {moment.label: round(moment.at, 1) for moment in outcome.moments}
    words = {"observed": outcome.observed, "timeline": timeline}
    if outcome.problems:
        module.fail_json(msg="; ".join(outcome.problems), **words)
    module.exit_json(changed=False, msg=outcome.observed, **words)


if __name__ == "__main__":
    main()
