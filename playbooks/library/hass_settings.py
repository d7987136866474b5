#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
# Runs on the hosts themselves, on those of Ubuntu 16.04, too: Python 3.5, standard library only.
"""Set keys in a file of settings without sections, so that they can be taken out again without a trace."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re
import tempfile

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: hass_settings
short_description: Set keys in a file of settings without sections
description:
  - For files such as C(/etc/libvirt/libvirtd.conf) and those in C(/etc/default), whose lines are
    C(KEY = VALUE) and whose comments start with C(#).
  - Our keys are in one block at the end of the file. A line that sets one of them elsewhere becomes a
    comment, so that it does not matter whether the first or the last line of a key counts.
  - With C(state=absent) the block goes and those lines are lines again. What comes out is, byte by byte,
    what was there before.
  - Owner, group and mode stay as they are.
options:
  path:
    description: The file.
    type: path
    required: true
  settings:
    description: Keys, and what stands behind the sign, to the letter, quotes included.
    type: dict
    default: {}
  words:
    description:
      - Keys whose quoted value is a list of words, such as options of a daemon, and a list of the words that
        have to be in it. The words that the file has already are kept, and when none is missing the line is
        left alone.
      - Of words with C(|) between them one is enough; the first is added when there is none.
    type: dict
    default: {}
  separator:
    description: What stands between key and value.
    type: str
    default: " = "
  state:
    description: Whether the keys are to be set, or the file to be as it was.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Tells what would be changed. A file that is not there yet is taken for one that will be.
    support: full
  diff_mode:
    description: Shows the lines that change.
    support: full
author: the HASS authors
"""

EXAMPLES = r"""
- name: Let libvirtd accept connections over TCP
  hass_settings:
    path: /etc/libvirt/libvirtd.conf
    settings:
      listen_tls: 0
      listen_tcp: 1
      auth_tcp: '"none"'

- name: Start libvirtd with the option to listen
  hass_settings:
    path: /etc/default/libvirtd
    words: {libvirtd_opts: ["-l|--listen"]}
    separator: "="

- name: Put the file back as it was
  hass_settings:
    path: /etc/libvirt/libvirtd.conf
    state: absent
"""

RETURN = r"""
settings:
  description: What the block sets, by key.
  returned: success
  type: dict
  sample: {listen_tcp: "1"}
"""

BEGIN = "# BEGIN HASS: set by Ansible, and taken out by it"
BARE = " (the last line above had no end)"
END = "# END HASS"
ASIDE = "#HASS# "


def original(text):
    """The text as it was before we put anything in."""
    out, inside, bare = [], False, False
    for line in text.splitlines(True):
        content = line.rstrip("\r\n")
        if inside:
            inside = content != END
        elif content in (BEGIN, BEGIN + BARE):
            inside = True
            bare = content == BEGIN + BARE
            if bare and out:
                out[-1] = out[-1][:-1]
        elif line.startswith(ASIDE):
            out.append(line[len(ASIDE) :])
        else:
            if bare and out and not out[-1].endswith("\n"):
                out[-1] += "\n"  # somebody has written below our block since
            out.append(line)
    return "".join(out)


def key_of(line):
    match = re.match(r"[ \t]*([A-Za-z_]\w*)[ \t]*=", line)
    return match.group(1) if match else None


def last_value(text, key):
    """What the last line of the key says, without its quotes; None when there is no such line."""
    found = None
    for line in text.splitlines():
        if key_of(line) == key:
            found = line.split("=", 1)[1].strip()
    if found is not None and len(found) > 1 and found[0] == found[-1] and found[0] in "\"'":
        found = found[1:-1]
    return found


def with_words(text, words):
    """The settings that add the missing words to what the text says."""
    settings = {}
    for key, needed in words.items():
        have = (last_value(text, key) or "").split()
        missing = [word.split("|")[0] for word in needed if not set(word.split("|")) & set(have)]
        if missing:
            settings[key] = '"%s"' % " ".join(have + missing)
    return settings


def wanted(text, settings, separator):
    """The original text with the settings in it."""
    if not settings:
        return text
    lines = [ASIDE + line if key_of(line) in settings else line for line in text.splitlines(True)]
    begin = BEGIN
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
        begin += BARE
    block = [begin] + ["%s%s%s" % (key, separator, settings[key]) for key in sorted(settings)] + [END]
    return "".join(lines) + "".join(line + "\n" for line in block)


def read(path):
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(module, path, text):
    handle, temporary = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(handle, "wb") as stream:
        stream.write(text.encode("utf-8", "surrogateescape"))
    module.atomic_move(temporary, path)


def main():
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "settings": {"type": "dict", "default": {}},
            "words": {"type": "dict", "default": {}},
            "separator": {"type": "str", "default": " = ", "no_log": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    path, present = module.params["path"], module.params["state"] == "present"
    before = read(path)
    if before is None and present and not module.check_mode:
        module.fail_json(msg="%s: no such file; is the package that brings it installed?" % path)
    was = original(before or "")
    settings = {}
    if present:
        settings = {key: str(value) for key, value in module.params["settings"].items()}
        settings.update(with_words(was, module.params["words"]))
    after = wanted(was, settings, module.params["separator"])
    changed = after != (before or "")
    if changed and not module.check_mode:
        write(module, path, after)
    diff = {"before": before or "", "after": after, "before_header": path, "after_header": path}
    module.exit_json(changed=changed, settings=settings, diff=diff)


if __name__ == "__main__":
    main()
