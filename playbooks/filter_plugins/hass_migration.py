# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Where guests are moved to."""

from __future__ import annotations


def migration_address(name, hostvars):
    """The address of a host for live migration: its own, else the one that it is managed by."""
    known = hostvars[name]
    said = (known.get(key) for key in ("migration_address", "management_address", "ansible_host"))
    return str(next((address for address in said if address), name))


def migration_peers(names, hostvars):
    """The hosts as libvirt_migration_peers takes them."""
    return [{"name": name, "address": migration_address(name, hostvars)} for name in names]


class FilterModule:
    def filters(self):
        return {"migration_address": migration_address, "migration_peers": migration_peers}
