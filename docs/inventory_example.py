#!/usr/bin/env python3
"""Writes the knobs of the roles, commented, into inventory/example/group_vars, from their defaults.

`make docs` runs it; a test fails while a role has a variable that the example does not show as it is.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
MARK = "# ==== The knobs of the roles, with their defaults; made by `make docs`: only uncomment below this."
# Which file has the knobs of a role: that of the group that it is for, or that of all when it is for several.
FILES = {
    "all": [
        "inventory_check",
        "preflight",
        "volume_backed_images",
        "ipmi",
        "hass_install",
        "guest_image",
        "nova_options",
        "host_ssh",
    ],
    "controller": ["openstack_resources", "hass_database", "hass_controller", "nova_policy"],
    "compute": ["hass_agent", "watchdog", "libvirt_migration"],
    "blockstorage": [],
}


def given_by_playbooks(root=ROOT):
    """Variables that the playbooks make from the inventory: setting them there has no effect."""
    names = set()
    for path in (root / "playbooks" / "vars").glob("*.yml"):
        names |= set(yaml.safe_load(path.read_text()))
    return names


def blocks(text):
    """(name, lines) of each variable of a defaults file, with the comments before it."""
    lines, name = [], None
    for line in text.splitlines():
        if line.strip() == "---":
            continue
        starts = re.match(r"([A-Za-z_]\w*):", line)
        if name and (starts or (line.startswith("#") and lines and not lines[-1].strip())):
            yield name, lines
            lines, name = [], None
        if starts:
            name = starts.group(1)
        lines.append(line)
    if name:
        yield name, lines


def commented(lines):
    """Comments as they are, and what is to be uncommented with # right before it."""
    for line in "\n".join(lines).strip("\n").splitlines():
        yield line if line.startswith("#") or not line else f"#{line}"


def knobs(role, given, root=ROOT):
    found = list(blocks((root / "roles" / role / "defaults" / "main.yml").read_text()))
    yield f"# ---- {role}: roles/{role}/README.md"
    passed = [name for name, _ in found if name in given]
    if passed:
        yield "# (from the inventory, by the playbooks: {})".format(", ".join(passed))
    yield ""
    first = True
    for name, lines in found:
        if name not in given:
            if not first and lines[0].startswith("#"):
                yield ""
            yield from commented(lines)
        first = False
    yield ""


def example(group, text, root=ROOT):
    """The file of a group: what stands before the mark stays."""
    before = text.split(MARK)[0].rstrip("\n")
    if not FILES[group]:
        return before + "\n"
    given = given_by_playbooks(root)
    lines = [before, "", MARK, "# yamllint disable rule:comments rule:line-length", ""]
    for role in FILES[group]:
        lines += knobs(role, given, root)
    return "\n".join(lines).rstrip("\n") + "\n"


def path_of(group, root=ROOT):
    """A group with secrets is a folder: Ansible reads either the folder or the file of a group, not both."""
    folder = root / "inventory" / "example" / "group_vars"
    return folder / group / "settings.yml" if (folder / group).is_dir() else folder / f"{group}.yml"


def main():
    for group in FILES:
        path = path_of(group)
        path.write_text(example(group, path.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
