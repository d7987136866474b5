#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
# Runs on the hosts themselves, on those of Ubuntu 16.04, too: Python 3.5, and of libraries only the PyYAML
# that OpenStack itself needs, where the file is YAML.
"""Set rules in a policy file of OpenStack, and leave all the rest of it as it is."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import grp
import io
import json
import os
import pwd
import re
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule

try:
    import yaml
except ImportError:
    yaml = None

DOCUMENTATION = r"""
---
module: hass_policy_merge
short_description: Set rules in a policy file of OpenStack, and leave all the rest of it as it is
description:
  - Edits the text of a policy file, JSON or YAML, in place. Other rules, comments, order and layout stay.
    What was written is parsed again, and has to be what was there with the rules changed and nothing else;
    otherwise the file is left alone.
  - A file that cannot be parsed is left alone, with one line that says where.
  - What a rule was before is remembered, and C(state=absent) puts it back, to the letter. Rules that were
    already there with the same value, and those that somebody has changed since, stay.
options:
  path:
    description: The policy file. It is made when it is missing.
    type: path
    required: true
  fallback:
    description: A file that the service reads as long as C(path) does not exist. When it is there, and
      C(path) is not, it is the one that is edited, since making C(path) would switch its rules off.
    type: path
  ignored:
    description: A file that the service does not read, whatever people may think. Its presence is a warning.
    type: path
  dirs:
    description: Directories whose files the service reads after C(path), so that their rules win. A rule in
      them that says something else than C(rules) is a failure, and nothing is changed.
    type: list
    elements: str
    default: []
  rules:
    description: By the name of the rule what it has to be.
    type: dict
    default: {}
  state:
    description: Whether the rules are to be there. With C(absent), what is remembered is undone, C(rules) is
      not looked at.
    type: str
    choices: [present, absent]
    default: present
  memory:
    description: JSON file in which the former values are remembered. Its directory has to be there.
    type: path
    required: true
  validator:
    description: The program oslopolicy-validator, which judges the new file before it takes the place of the
      old one. What it has to say about the old one, too, is no reason to refuse. Nothing happens when there
      is no such program.
    type: path
  namespace:
    description: The name of the service, for the validator and its configuration file.
    type: str
    default: nova
  owner:
    description: Owner of the file if it has to be made.
    type: str
    default: root
  group:
    description: Group of the file if it has to be made.
    type: str
    default: root
  mode:
    description: Mode of the file if it has to be made.
    type: str
    default: "0640"
attributes:
  check_mode:
    description: Tells what would be changed, and changes nothing.
    support: full
  diff_mode:
    description: Shows the file before and after.
    support: full
author: the HASS authors
"""

EXAMPLES = r"""
- name: Let a role migrate
  hass_policy_merge:
    path: /etc/nova/policy.yaml
    fallback: /etc/nova/policy.json
    rules:
      os_compute_api:os-migrate-server:migrate_live: role:ha_operator or rule:context_is_admin
    memory: /var/lib/hass-install/nova_policy.json
    group: nova
"""

RETURN = r"""
path:
  description: The file that was edited.
  type: str
  returned: success
differing:
  description: Names of the rules that had (or, in check mode, have) another value.
  type: list
  elements: str
  returned: success
restored:
  description: Names of the rules that were put back to what they had been.
  type: list
  elements: str
  returned: success
kept:
  description: Names of the rules that somebody has changed since, and that were therefore left as they are.
  type: list
  elements: str
  returned: success
"""

MARK = "  # set by HASS"
COMPLAINT = re.compile(r"(Unknown rule found|Failed to parse rule|Invalid rules found)")


class Refused(Exception):
    """Why the file is left alone."""


class Entry(object):
    """A rule, and where in the text it stands: start of its name, start and end of its value."""

    def __init__(self, name, value, start, value_start, value_end):
        self.name = name
        self.value = value
        self.start = start
        self.value_start = value_start
        self.value_end = value_end


class Sheet(object):
    """The text of a policy file, and its rules in it."""

    def __init__(self, text, entries, inside=None):
        self.text = text
        self.entries = entries
        self.inside = inside  # (after the opening brace, before the closing one); None: a rule a line

    def values(self):
        return {entry.name: entry.value for entry in self.entries}

    def entry(self, name):
        found = [entry for entry in self.entries if entry.name == name]
        if len(found) > 1:
            raise Refused("the rule %s is there %d times" % (name, len(found)))
        return found[0] if found else None


# ------------------------------------------------------------------------------------------ reading


def position(text, index):
    line = text.count("\n", 0, index) + 1
    return "line %d, column %d" % (line, index - (text.rfind("\n", 0, index) + 1) + 1)


def blanks(text, index):
    while index < len(text) and text[index] in " \t\r\n":
        index += 1
    return index


def expect(text, index, characters):
    index = blanks(text, index)
    if index >= len(text) or text[index] not in characters:
        what = "the end" if index >= len(text) else "%r" % str(text[index])
        wanted = " or ".join(characters)
        raise Refused("%s: %s was expected, not %s" % (position(text, index), wanted, what))
    return index


def json_value(text, index):
    index = blanks(text, index)
    try:
        value, end = json.JSONDecoder().raw_decode(text, index)
    except ValueError:
        raise Refused("%s: this is no JSON" % position(text, index)) from None
    return value, index, end


def read_json(text):
    entries = []
    opening = expect(text, 0, "{")
    index = blanks(text, opening + 1)
    if text[index : index + 1] != "}":
        while True:
            start = expect(text, index, '"')
            name, start, end = json_value(text, start)
            value, value_start, value_end = json_value(text, expect(text, end, ":") + 1)
            entries.append(Entry(name, value, start, value_start, value_end))
            index = expect(text, value_end, ",}")
            if text[index] == "}":
                break
            index += 1
    rest = blanks(text, index + 1)
    if rest < len(text):
        raise Refused("%s: something follows after the rules" % position(text, rest))
    return Sheet(text, entries, (opening + 1, index))


def last_index(node):
    """Where a value ends. What ends with its indentation ends for PyYAML where the next thing starts."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        if not node.value:
            return node.start_mark.index
        last = node.value[-1]
        return last_index(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.index


def read_yaml(text):
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        return Sheet(text, [])
    if yaml is None:
        raise Refused("there is no PyYAML for this host's Python, which the comparison needs")
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            data = loader.construct_document(root) if root is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Refused("%s: %s" % (position(text, mark.index), error.problem or error.context)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise Refused(" ".join(str(error).split())) from None
    if data is None:
        return Sheet(text, [])
    if not isinstance(data, dict):
        raise Refused("it is no list of rules with a value each")
    entries = []
    for name, value in root.value:
        start, end = value.start_mark.index, last_index(value)
        end = start + len(text[start:end].rstrip())
        if start == end or (isinstance(value, yaml.CollectionNode) and not value.flow_style):
            # Nothing, or lines below the name: the value is all that follows the colon.
            start = text.index(":", name.end_mark.index) + 1
        value = data.get(name.value)
        entries.append(Entry(name.value, value, name.start_mark.index, start, max(start, end)))
    inside = (root.start_mark.index + 1, root.end_mark.index - 1) if root.flow_style else None
    return Sheet(text, entries, inside)


def read(text, json_first):
    """As oslo.policy: what is not JSON may still be YAML, whatever the file is called."""
    if not json_first or not text.strip():
        return read_yaml(text)
    try:
        return read_json(text)
    except Refused:
        if yaml is None:
            raise
        try:
            return read_yaml(text)
        except Refused:
            pass
        raise


# ------------------------------------------------------------------------------------------ writing


def literal(value):
    return json.dumps(value, ensure_ascii=False)


def line_start(text, index):
    return text.rfind("\n", 0, index) + 1


def line_end(text, index):
    """After the line break of the line that has this character."""
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def appended(sheet, rule):
    """A rule a line: at the end, in front of the end of the document where that is marked."""
    text = sheet.text
    indent = ""
    if sheet.entries:
        first = sheet.entries[0].start
        indent = text[line_start(text, first) : first]
    end = len(text)
    marked = re.search(r"(?m)^\.\.\.\s*$", text)
    if marked:
        end = marked.start()
    before = text[:end]
    if before and not before.endswith("\n"):
        before += "\n"
    return before + indent + rule + MARK + "\n" + text[end:]


def inserted(sheet, rule):
    """Within braces: behind the last rule, on a line of its own if that is."""
    text = sheet.text
    first, last = sheet.inside
    if not sheet.entries:
        rest = text[first:last].rstrip() if text[first:last].strip() else ""
        return text[:first] + rest + "\n    " + rule + "\n" + text[last:]
    entry = sheet.entries[-1]
    before = text[line_start(text, entry.start) : entry.start]
    lead = "\n" + before if not before.strip() else " "
    return text[: entry.value_end] + "," + lead + rule + text[entry.value_end :]


def with_rule(sheet, name, value, raw=None, json_file=False):
    """The text with this rule."""
    text = sheet.text
    entry = sheet.entry(name)
    written = literal(value) if raw is None else raw
    if entry is not None:
        before = text[: entry.value_start]
        if not written or written[0] in " \r\n":
            before = before.rstrip(" ")
        elif before.endswith(":"):
            before += " "
        return before + written + text[entry.value_end :]
    rule = "%s: %s" % (literal(name), written)
    if sheet.inside is not None:
        return inserted(sheet, rule)
    if json_file and not sheet.entries:
        return text + "{\n    " + rule + "\n}\n"
    return appended(sheet, rule)


def without_rule(sheet, name):
    """The text without this rule."""
    text = sheet.text
    entry = sheet.entry(name)
    if sheet.inside is None:
        return text[: line_start(text, entry.start)] + text[line_end(text, entry.value_end) :]
    number = sheet.entries.index(entry)
    if number:
        return text[: sheet.entries[number - 1].value_end] + text[entry.value_end :]
    if len(sheet.entries) > 1:
        return text[: entry.start] + text[sheet.entries[1].start :]
    first, last = sheet.inside
    rest = text[first : entry.start] + text[entry.value_end : last]
    return text[:first] + (rest if rest.strip(" \t\r\n,") else "") + text[last:]


class Editor(object):
    """Changes rules one by one, and sees after each that nothing else has changed."""

    def __init__(self, text, json_file):
        self.json_file = json_file
        self.sheet = read(text, json_file)

    def current(self, name):
        """(whether it is there, its value, the text of its value)"""
        entry = self.sheet.entry(name)
        if entry is None:
            return False, None, None
        return True, entry.value, self.sheet.text[entry.value_start : entry.value_end]

    def put(self, name, value, raw=None):
        wanted = dict(self.sheet.values(), **{name: value})
        for written in (raw, None):
            text = with_rule(self.sheet, name, value, written, self.json_file)
            if self.take(text, wanted):
                return
        raise Refused("the rule %s cannot be changed without changing others: do it by hand" % name)

    def drop(self, name):
        wanted = self.sheet.values()
        del wanted[name]
        if not self.take(without_rule(self.sheet, name), wanted):
            raise Refused("the rule %s cannot be removed without changing others: do it by hand" % name)

    def take(self, text, wanted):
        try:
            sheet = read(text, self.json_file)
        except Refused:
            return False
        if sheet.values() != wanted:
            return False
        self.sheet = sheet
        return True


# ------------------------------------------------------------------------------------------ deciding


def same(value, other):
    """An empty rule may be written in several ways."""
    return value == other or (value in (None, "", []) and other in (None, "", []))


def put_back(editor, name, item, done):
    """Undo a rule, unless somebody has changed it since."""
    there, value, _raw = editor.current(name)
    if not there or not same(value, item["set"]):
        if there:
            done["kept"].append(name)
        return
    if item["before"] is None:
        editor.drop(name)
    else:
        editor.put(name, item["before"]["value"], item["before"]["raw"])
    done["restored"].append(name)


def make_present(editor, rules, memory, done):
    """Set the rules; returns the new memory."""
    remembered = dict(memory)
    for name in sorted(set(memory) - set(rules)):
        put_back(editor, name, remembered.pop(name), done)
    for name in sorted(rules):
        there, value, raw = editor.current(name)
        if there and same(value, rules[name]):
            continue
        done["differing"].append(name)
        before = {"value": value, "raw": raw} if there else None
        if name in memory and there and same(value, memory[name]["set"]):
            before = memory[name]["before"]
        remembered[name] = {"set": rules[name], "before": before}
        editor.put(name, rules[name])
    return remembered


def make_absent(editor, memory, done):
    for name in sorted(memory):
        put_back(editor, name, memory[name], done)
    return {}


def contradictions(dirs, rules, skip):
    """What files that are read afterwards say otherwise, in words."""
    for directory in dirs:
        if not os.path.isdir(directory):
            continue
        for base in sorted(os.listdir(directory)):
            path = os.path.join(directory, base)
            if base.startswith(".") or not os.path.isfile(path) or os.path.realpath(path) == skip:
                continue
            try:
                values = read(load(path), path.endswith(".json")).values()
            except Refused as refused:
                raise Refused("%s, %s" % (path, refused)) from None
            for name in sorted(rules):
                if name in values and not same(values[name], rules[name]):
                    yield '%s says "%s" of the rule %s, and wins: take it out there' % (
                        path,
                        values[name],
                        name,
                    )


# ------------------------------------------------------------------------------------------ the module


def load(path):
    """The text of a file, empty when there is none."""
    if not os.path.exists(path):
        return ""
    try:
        with io.open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise Refused("byte %d is no UTF-8" % error.start) from None
    except (IOError, OSError) as error:
        raise Refused("it cannot be read: %s" % error.strerror) from None


def load_memory(path):
    if not os.path.exists(path):
        return {}
    try:
        memory = json.loads(load(path))
        items = memory["rules"]
        if all({"set", "before"} <= set(item) for item in items.values()):
            return items
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise Refused("this is not what the module has written: remove it, then nothing is put back")


def complaints(module, text, suffix):
    """What the validator says of a policy file, None when it cannot tell."""
    home = tempfile.mkdtemp(dir=module.tmpdir)
    namespace = module.params["namespace"]
    try:
        policy = os.path.join(home, "policy" + suffix)
        os.mkdir(os.path.join(home, "." + namespace))
        # Services look for their configuration in ~/.NAME first, and the validator asks the service.
        config = os.path.join(home, "." + namespace, namespace + ".conf")
        with io.open(policy, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        with io.open(config, "w", encoding="utf-8") as file:
            file.write("[oslo_policy]\npolicy_file = %s\n" % policy)
            for directory in module.params["dirs"]:
                file.write("policy_dirs = %s\n" % directory)
        code, out, _err = module.run_command(
            [module.params["validator"], "--namespace", namespace],
            environ_update={"HOME": home, "LC_ALL": "C"},
            cwd="/",
        )
    finally:
        shutil.rmtree(home)
    lines = [line.strip() for line in out.splitlines() if COMPLAINT.search(line)]
    return lines if lines or code == 0 else None


def validate(module, path, before, after):
    validator = module.params["validator"]
    if not validator or not os.access(validator, os.X_OK):
        return
    suffix = os.path.splitext(path)[1]
    said = complaints(module, after, suffix)
    if said is None:
        module.warn("%s could not judge the policy file" % validator)
    elif said:
        old = complaints(module, before, suffix) if before.strip() else []
        new = [line for line in said if line not in (old or [])]
        if new:
            raise Refused("%s says: %s" % (os.path.basename(validator), "; ".join(new)))


def check_owner(owner, group):
    """Before anything is written, since a file of nobody's would be left."""
    for kind, name, look in (("user", owner, pwd.getpwnam), ("group", group, grp.getgrnam)):
        try:
            look(name)
        except KeyError:
            raise Refused("there is no %s %s to give it to" % (kind, name)) from None


def write(module, path, text, new):
    handle, temporary = tempfile.mkstemp(dir=module.tmpdir)
    os.close(handle)
    with io.open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    if new:
        os.chmod(temporary, 0o600)
    module.atomic_move(temporary, path)
    if new:
        module.set_owner_if_different(path, new["owner"], False)
        module.set_group_if_different(path, new["group"], False)
        module.set_mode_if_different(path, new["mode"], False)


def run(module):
    params = module.params
    path = params["path"]
    if params["fallback"] and os.path.exists(params["fallback"]) and not os.path.exists(path):
        module.warn("%s is what the service reads, as there is no %s" % (params["fallback"], path))
        path = params["fallback"]
    elif params["ignored"] and os.path.exists(params["ignored"]):
        module.warn("%s is there, too, but the service reads %s" % (params["ignored"], path))
    done = {"differing": [], "restored": [], "kept": []}
    where = path
    try:
        exists = os.path.exists(path)
        before = load(path)
        editor = Editor(before, path.endswith(".json"))
        where = params["memory"]
        memory = load_memory(where)
        where = path
        if params["state"] == "present":
            said = list(contradictions(params["dirs"], params["rules"], os.path.realpath(path)))
            if said:
                module.fail_json(msg="%s. Nothing was changed." % "; ".join(said))
            remembered = make_present(editor, params["rules"], memory, done)
        else:
            remembered = make_absent(editor, memory, done)
        after = editor.sheet.text
        if after != before:
            validate(module, path, before, after)
            if not exists and not module.check_mode:
                check_owner(params["owner"], params["group"])
    except Refused as refused:
        module.fail_json(msg="%s, %s. Nothing was changed." % (where, refused))
    if not module.check_mode:
        # The memory first: if this is cut short, the next run finds the old value still there.
        if remembered != memory and remembered:
            text = json.dumps({"rules": remembered}, indent=2, sort_keys=True) + "\n"
            private = {"owner": "root", "group": "root", "mode": "0600"}
            write(module, params["memory"], text, private if os.geteuid() == 0 else None)
        if after != before:
            created = None if exists else {key: params[key] for key in ("owner", "group", "mode")}
            write(module, path, after, created)
        if not remembered and os.path.exists(params["memory"]):
            os.remove(params["memory"])
    changed = after != before or remembered != memory
    names = {"before_header": path, "after_header": path}
    module.exit_json(changed=changed, path=path, diff=dict(names, before=before, after=after), **done)


def main():
    """Read the arguments, and do it."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "fallback": {"type": "path"},
            "ignored": {"type": "path"},
            "dirs": {"type": "list", "elements": "str", "default": []},
            "rules": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "memory": {"type": "path", "required": True},
            "validator": {"type": "path"},
            "namespace": {"type": "str", "default": "nova"},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "mode": {"type": "str", "default": "0640"},
        },
        supports_check_mode=True,
    )
    run(module)


if __name__ == "__main__":
    main()
