#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
# Runs on the hosts themselves, on those of Ubuntu 16.04, too: Python 3.5, standard library only.
"""Compare options of an INI file of OpenStack with those wanted, and know the way back."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import io
import json
import os

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: hass_ini_info
short_description: Compare options of an INI file of OpenStack with those wanted, and know the way back
description:
  - Reads an INI file as OpenStack's services do, and tells of each option in question what it is and
    whether that is what it should be. Options that nobody asks for are not returned, so that the passwords
    in such a file stay in it.
  - Tells what has to be remembered so that C(restore) can later tell how to undo it.
  - Changes nothing. The roles write with C(community.general.ini_file).
options:
  path:
    description: The INI file. It may be missing.
    type: path
    required: true
  others:
    description: Files (or patterns of files) that the service reads afterwards, so that what they say wins.
    type: list
    elements: str
    default: []
  options:
    description: The options in question.
    type: list
    elements: dict
    default: []
    suboptions:
      section:
        description: Name of the section.
        type: str
        required: true
      option:
        description: Name of the option.
        type: str
        required: true
      value:
        description: What it should be. Without C(value) and C(add) the option is only read.
        type: str
      add:
        description: What the list (words with commas between them) should have in it, besides what it has.
        type: str
      restart:
        description: Returned as it is. For the role, which restarts different units for different options.
        type: str
  memory:
    description: JSON file of what was remembered in former runs. It may be missing.
    type: path
attributes:
  check_mode:
    description: It only reads, and does so in check mode as well.
    support: full
author: the HASS authors
"""

EXAMPLES = r"""
- name: Look at cinder.conf
  hass_ini_info:
    path: /etc/cinder/cinder.conf
    options:
      - {section: DEFAULT, option: allowed_direct_url_schemes, add: cinder}
    memory: /var/lib/hass-install/volume_backed_images.json
  register: cinder_conf
"""

RETURN = r"""
exists:
  description: Whether the file is there.
  type: bool
  returned: always
options:
  description: The options in question, each with what it is (C(current), null when it is not set), what it
    should be (C(value)), whether these differ (C(differs)), which other file says something else and
    wins (C(wins), empty when none), and all that in words (C(problem), empty when all is as wanted).
  type: list
  elements: dict
  returned: always
memory:
  description: What has to be remembered once the options are written.
  type: list
  elements: dict
  returned: always
restore:
  description: How to undo what was remembered of this file - C(section), C(option), C(state) (present or
    absent) and C(value). Options that somebody has changed since are not in it.
  type: list
  elements: dict
  returned: always
restore_sections:
  description: Sections that are empty once C(restore) is done, and were not there before.
  type: list
  elements: str
  returned: always
kept:
  description: Options that somebody has changed since, and that are therefore left as they are.
  type: list
  elements: str
  returned: always
"""


def unquoted(value):
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def parse(text):
    """{section: {option: [value, ...]}}, in the way of oslo.config: an option may be there several times, a
    line that starts with a blank goes on with the one before."""
    sections = {}
    section = None
    values = None
    for line in text.splitlines():
        if not line.strip():
            values = None
        elif line[0] in "#;":
            continue
        elif line[0] in " \t":
            if values:
                values[-1] = "%s\n%s" % (values[-1], line.strip())
        elif line[0] == "[" and "]" in line:
            section = sections.setdefault(line[1 : line.index("]")].strip(), {})
            values = None
        else:
            marks = [line.index(mark) for mark in "=:" if mark in line]
            if section is None or not marks:
                values = None
                continue
            name, value = line[: min(marks)].strip(), line[min(marks) + 1 :].strip()
            values = section.setdefault(name, [])
            values.append(unquoted(value))
    return sections


def read(path):
    """The parsed file, None when there is none."""
    try:
        with io.open(path, encoding="utf-8", errors="replace") as file:
            return parse(file.read())
    except (IOError, OSError) as error:
        if isinstance(error, IsADirectoryError) or os.path.exists(path):
            raise
        return None


def current_of(sections, section, option):
    values = (sections or {}).get(section, {}).get(option)
    return values[-1] if values else None


def words(value):
    return [word.strip() for word in (value or "").split(",") if word.strip()]


def wanted_of(option, current):
    """What the option should be, None when nobody wants anything."""
    if option.get("add") is None:
        return option.get("value")
    if option["add"] in words(current):
        return current
    return ",".join([*words(current), option["add"]])


def compared(sections, others, options):
    rows = []
    for option in options:
        current = current_of(sections, option["section"], option["option"])
        value = wanted_of(option, current)
        row = dict(option, current=current, value=value, wins="")
        row["differs"] = value is not None and current != value
        for path, parsed in others:
            other = current_of(parsed, option["section"], option["option"])
            if other is None:
                continue
            fine = option["add"] in words(other) if option.get("add") is not None else other == value
            row["wins"] = "" if fine else "%s says %s" % (path, other or "nothing")
            if value is None:
                row["current"], row["wins"] = other, ""
        row["problem"] = problem(row)
        rows.append(row)
    return rows


def problem(row):
    """What is not as wanted, in words; empty when all is fine."""
    name = "[%s] %s" % (row["section"], row["option"])
    if row["wins"]:
        return "%s: %s, and wins" % (name, row["wins"])
    if not row["differs"]:
        return ""
    if row["current"] is None:
        return "%s is not set" % name
    if row.get("add") is not None:
        return "%s lacks %s" % (name, row["add"])
    return "%s is %s, not %s" % (name, row["current"] or "empty", row["value"])


def remembered(path, sections, rows, memory):
    """The memory with what is about to be written to this file. What an option was before the first time
    counts, unless somebody else has changed it since."""
    known = {(item["path"], item["section"], item["option"]): item for item in memory}
    order = [(item["path"], item["section"], item["option"]) for item in memory]
    for row in rows:
        if not row["differs"]:
            continue
        key = (path, row["section"], row["option"])
        before = row["current"]
        there = row["section"] in (sections or {})
        if key in known:
            there = there and known[key]["section_there"]
            if row["current"] == known[key]["set"]:
                before = known[key]["before"]
        else:
            order.append(key)
        known[key] = {
            "path": path,
            "section": row["section"],
            "option": row["option"],
            "set": row["value"],
            "add": row.get("add"),
            "before": before,
            "section_there": there,
        }
    return [known[key] for key in order]


def way_back(path, sections, memory):
    """(restore, restore_sections, kept)"""
    restore, kept, ours = [], [], {}
    for item in memory:
        if item["path"] != path:
            continue
        current = current_of(sections, item["section"], item["option"])
        value = item["before"]
        if current != item["set"]:
            if current is None or current == item["before"]:
                continue
            if item.get("add") is None or item["add"] not in words(current):
                kept.append("[%s] %s = %s" % (item["section"], item["option"], current))
                continue
            value = ",".join(word for word in words(current) if word != item["add"]) or None
        state = "absent" if value is None else "present"
        row = {"section": item["section"], "option": item["option"], "state": state, "value": value or ""}
        restore.append(row)
        if state == "absent" and not item["section_there"]:
            ours.setdefault(item["section"], set()).add(item["option"])
    empty = [name for name in sorted(ours) if set((sections or {}).get(name, {})) <= ours[name]]
    return restore, empty, kept


def load_memory(path):
    if not path or not os.path.exists(path):
        return []
    with io.open(path, encoding="utf-8") as file:
        memory = json.load(file)
    if not isinstance(memory, list):
        raise ValueError("not a list")
    return memory


def main():
    """Read the arguments, and look."""
    option = {
        "section": {"type": "str", "required": True},
        "option": {"type": "str", "required": True},
        "value": {"type": "str"},
        "add": {"type": "str"},
        "restart": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "others": {"type": "list", "elements": "str", "default": []},
            "options": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": option,
                "mutually_exclusive": [("value", "add")],
            },
            "memory": {"type": "path"},
        },
        supports_check_mode=True,
    )
    path = module.params["path"]
    try:
        sections = read(path)
        paths = [found for pattern in module.params["others"] for found in sorted(glob.glob(pattern))]
        others = [(found, read(found)) for found in paths]
    except (IOError, OSError) as error:
        module.fail_json(msg="%s cannot be read: %s" % (error.filename or path, error.strerror))
    try:
        memory = load_memory(module.params["memory"])
    except (IOError, OSError, ValueError) as error:
        module.fail_json(msg="%s cannot be used: %s" % (module.params["memory"], error))
    rows = compared(sections, others, module.params["options"])
    restore, empty, kept = way_back(path, sections, memory)
    module.exit_json(
        changed=False,
        exists=sections is not None,
        options=rows,
        memory=remembered(path, sections, rows, memory),
        restore=restore,
        restore_sections=empty,
        kept=kept,
    )


if __name__ == "__main__":
    main()
