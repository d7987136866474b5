# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""What SSH between the hosts has to know of each host."""

from __future__ import annotations

import ipaddress


def is_address(text):
    """Whether it is an IP address or a network; a name is no good for from=."""
    try:
        ipaddress.ip_network(str(text), strict=False)
    except ValueError:
        return False
    return True


def hass_ssh_peers(names, hostvars):
    """The peers as host_ssh takes them, from the inventory and from what the hosts have published."""
    peers = []
    for name in names:
        known = hostvars[name]
        facts = known.get("ansible_facts") or {}
        published = facts.get("host_ssh_published") or {}
        reached_by = known.get("ansible_host") or name
        management = known.get("management_address") or reached_by
        more = known.get("ssh_addresses") or []
        said = [management, known.get("migration_address"), reached_by, *more]
        said = list(dict.fromkeys(str(word) for word in said if word))
        called = [name, known.get("hass_host_name"), facts.get("nodename"), facts.get("fqdn")]
        called += [word for word in said if not is_address(word)]
        peers.append(
            {
                "name": name,
                "names": list(dict.fromkeys(word for word in called if word and word != name)),
                "addresses": [word for word in said if is_address(word)],
                "port": int(known.get("ansible_port") or 22),
                "public_key": published.get("public_key", ""),
                "host_keys": list(published.get("host_keys", [])),
            }
        )
    return peers


class FilterModule:
    def filters(self):
        return {"hass_ssh_peers": hass_ssh_peers}
