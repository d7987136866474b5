# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Checks the inventory where ansible-playbook runs. No host is contacted, no module is sent anywhere.

An action plugin and no module: it sees every variable of every host, also those that cannot be evaluated,
and no secret becomes an argument of anything. What is right and wrong is in hass_inventory_rules.
"""

from __future__ import annotations

import importlib.util
import os

import yaml
from ansible.plugins.action import ActionBase

HERE = os.path.dirname(os.path.abspath(__file__))
LARGEST_FILE = 8 * 1024 * 1024
NO_INVENTORY = (".bak", ".cfg", ".j2", ".md", ".orig", ".py", ".pyc", ".retry", ".rpmnew", ".sh", ".swp", "~")
SHARED_PREFIXES = ("hass_", "bmc_", "openstack_", "management_", "migration_", "database_")
ALWAYS_READ = ("ansible_host", "ansible_port", "ansible_connection", "ansible_user")


def _load(name):
    path = os.path.join(HERE, "..", "module_utils", name + ".py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("groups", "required_groups", "required", "secrets", "variables", "roles", "own"))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = self._task.args
        roles, specified = self._roles(arguments.get("roles") or "")
        known = specified | set(arguments.get("variables") or ())
        known |= {rule["name"] for key in ("required", "secrets") for rule in arguments.get(key) or ()}
        rules = {
            "groups": arguments.get("groups"),
            "required_groups": arguments.get("required_groups"),
            "required": arguments.get("required"),
            "secrets": arguments.get("secrets"),
            "own": arguments.get("own"),
            "known": sorted(known),
            "prefixes": [*(role + "_" for role in roles), *SHARED_PREFIXES],
        }
        hosts, errors = self._variables(task_vars, known)
        files, names = self._files(task_vars)
        inventory = {
            "groups": {name: list(members) for name, members in task_vars["groups"].items()},
            "hosts": hosts,
            "errors": errors,
            "files": files,
            "names": names,
        }
        problems = _load("hass_inventory_rules").check(inventory, rules)
        result.update(changed=False, hosts=len(hosts))
        if problems:
            count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
            result["failed"] = True
            lines = [
                f"The inventory has {count}; no host was contacted:",
                *(f"  - {line}" for line in problems),
            ]
            result["msg"] = "\n".join(lines)
        return result

    @staticmethod
    def _roles(folder):
        """The names of our roles, and of all their variables."""
        roles, names = [], set()
        for role in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            roles.append(role)
            path = os.path.join(folder, role, "meta", "argument_specs.yml")
            if not os.path.isfile(path):
                continue
            with open(path, encoding="utf-8") as stream:
                specs = yaml.safe_load(stream) or {}
            for entry in (specs.get("argument_specs") or {}).values():
                names.update((entry or {}).get("options") or {})
        return roles, names

    def _variables(self, task_vars, known):
        """Every host's variables: evaluated those that are checked, and of the others the names alone."""
        hostvars = task_vars["hostvars"]
        hosts, errors = {}, {}
        for host in task_vars["groups"]["all"]:
            raw = hostvars.raw_get(host)
            evaluated = hostvars[host]
            hosts[host] = {}
            for name in raw:
                if name not in known and name not in ALWAYS_READ:
                    hosts[host][name] = None
                    continue
                try:
                    hosts[host][name] = evaluated[name]
                except Exception as error:  # noqa: BLE001 whatever the template or the vault raises is told
                    errors.setdefault(host, {})[name] = str(error)
        return hosts, errors

    def _files(self, task_vars):
        """The texts of the inventory's files, and what the files of variables are named after."""
        folders, texts = [], {}
        names = {"host_vars": [], "group_vars": []}
        for source in task_vars.get("ansible_inventory_sources") or ():
            source = str(source)
            if os.path.isdir(source):
                folders.append(source)
                for entry in sorted(os.listdir(source)):
                    if not entry.startswith(".") and not entry.endswith(NO_INVENTORY):
                        self._read(os.path.join(source, entry), entry, texts)
            elif os.path.isfile(source):
                folders.append(os.path.dirname(os.path.abspath(source)))
                self._read(source, os.path.basename(source), texts)
        for folder in dict.fromkeys(folders):
            for kind, found in names.items():
                top = os.path.join(folder, kind)
                for entry in sorted(os.listdir(top)) if os.path.isdir(top) else ():
                    stem, extension = os.path.splitext(entry)
                    whole = os.path.join(top, entry)
                    if entry.startswith(".") or entry.endswith("~"):
                        continue
                    if os.path.isdir(whole):
                        found.append(entry)
                        for name in sorted(os.listdir(whole)):
                            self._read(os.path.join(whole, name), f"{kind}/{entry}/{name}", texts)
                    elif extension in (".yml", ".yaml", ".json"):
                        found.append(stem)
                        self._read(whole, f"{kind}/{entry}", texts)
                    else:  # a host's name may have dots in it
                        found.append(entry)
        return texts, names

    @staticmethod
    def _read(path, shown, texts):
        """Reads a file that is no program."""
        if os.path.isfile(path) and not os.access(path, os.X_OK) and os.path.getsize(path) < LARGEST_FILE:
            with open(path, encoding="utf-8", errors="replace") as stream:
                texts[shown] = stream.read()
