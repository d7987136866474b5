# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""The guide's rules as data, and what a cloud lacks of what it is asked to have."""

from __future__ import annotations

import ipaddress


def rules(egress_prefixes, probe_prefixes, egress_ports):
    """The rules of a security group, as arguments of openstack.cloud.security_group_rule."""

    def rule(direction, protocol, prefix, port=None):
        six = ":" in prefix
        return {
            "direction": direction,
            "protocol": "ipv6-icmp" if six and protocol == "icmp" else protocol,
            "ether_type": "IPv6" if six else "IPv4",
            "prefix": prefix,
            "port": port,
        }

    return (
        [rule("egress", "icmp", prefix) for prefix in egress_prefixes]
        + [rule("ingress", "icmp", prefix) for prefix in probe_prefixes]
        + [rule("egress", "tcp", prefix, int(port)) for prefix in egress_prefixes for port in egress_ports]
    )


def prefixes(addresses):
    """The network of one address for each; names are left out, Neutron takes addresses only."""
    made = []
    for address in addresses:
        try:
            made.append(str(ipaddress.ip_network(address)))
        except ValueError:
            continue
    return list(dict.fromkeys(made))


def lacks(found, networks, groups, wanted_rules, flavors):
    """What is not as asked, by section of the guide; each a list of names, with what is wrong.

    ``found`` has the results of the modules that looked: ``networks``, ``subnets``, ``groups`` and ``rules``
    (of loops) and ``flavors``.
    """
    subnets = [subnet for network in networks for subnet in network.get("subnets") or []]
    there = {flavor["name"]: flavor for flavor in found.get("flavors") or []}
    return {
        "networks": list(_each(networks, _results(found, "networks", "networks"), _network)),
        "subnets": list(_each(subnets, _results(found, "subnets", "subnets"), _subnet)),
        "groups": list(_groups(found, groups, wanted_rules)),
        "flavors": [
            f"{flavor['name']} has another size"
            for flavor in flavors
            if flavor["name"] in there
            and any(int(there[flavor["name"]][key]) != int(flavor[key]) for key in ("vcpus", "ram", "disk"))
        ],
        "unwatched": [
            f"{flavor['name']} has {action!r} instead of {flavor.get('watchdog_action', 'none')!r}"
            for flavor in flavors
            if flavor["name"] in there
            for action in [(there[flavor["name"]].get("extra_specs") or {}).get("hw:watchdog_action", "")]
            if action != flavor.get("watchdog_action", "none")
        ],
        "hidden": [f"{flavor['name']} is missing" for flavor in flavors if flavor["name"] not in there],
    }


def _results(found, name, inner):
    """What each turn of a loop found: the first, or an empty dictionary."""
    return [((result or {}).get(inner) or [{}])[0] for result in found.get(name) or []]


def _each(wanted, there, judge):
    for number, one in enumerate(wanted):
        got = there[number] if number < len(there) else {}
        wrong = list(judge(one, got)) if got else ["is missing"]
        if wrong:
            yield f"{one['name']} {' and '.join(wrong)}"


def _first(got, *names):
    """openstacksdk has had more than one name for it."""
    return next((got[name] for name in names if got.get(name) is not None), None)


def _network(wanted, got):
    for key, default, names in (
        ("shared", True, ("is_shared", "shared")),
        ("external", True, ("is_router_external", "router:external")),
        ("admin_state_up", True, ("is_admin_state_up", "admin_state_up")),
    ):
        if bool(_first(got, *names)) != bool(wanted.get(key, default)):
            yield f"is {'not ' if wanted.get(key, default) else ''}{key}"
    kind = got.get("provider_network_type")
    if kind is not None and kind != wanted.get("network_type", "flat"):
        yield f"is a network of type {kind}"
    physical = got.get("provider_physical_network")
    if physical is not None and wanted.get("physical_network") not in (None, physical):
        yield f"is on physical network {physical}"


def _subnet(wanted, got):
    if got.get("cidr") != wanted["cidr"]:
        yield f"has {got.get('cidr')} instead of {wanted['cidr']}"
    if "gateway" in wanted and (got.get("gateway_ip") or "") != (wanted["gateway"] or ""):
        yield f"has gateway {got.get('gateway_ip') or 'none'} instead of {wanted['gateway'] or 'none'}"
    if bool(_first(got, "is_dhcp_enabled", "enable_dhcp")) != bool(wanted.get("dhcp", True)):
        yield "has no DHCP" if wanted.get("dhcp", True) else "has DHCP"
    pools = {(pool["start"], pool["end"]) for pool in got.get("allocation_pools") or []}
    if wanted.get("pools") and pools != {(pool["start"], pool["end"]) for pool in wanted["pools"]}:
        yield "has other pools"
    if "dns" in wanted and sorted(got.get("dns_nameservers") or []) != sorted(wanted["dns"]):
        yield "has other name servers"


def _groups(found, groups, wanted_rules):
    there = _results(found, "groups", "security_groups")
    loops = found.get("rules") or []
    for number, group in enumerate(groups):
        if number >= len(there) or not there[number]:
            yield f"{group['name']} is missing"
            continue
        got = (loops[number].get("security_group_rules") or []) if number < len(loops) else []
        have = {
            tuple(rule.get(key) for key in ("direction", "protocol", "remote_ip_prefix", "port_range_min"))
            for rule in got
        }
        for rule in wanted_rules:
            if (rule["direction"], rule["protocol"], rule["prefix"], rule["port"]) not in have:
                port = f" {rule['port']}" if rule["port"] else ""
                yield f"{group['name']} lacks {rule['direction']} {rule['protocol']}{port} {rule['prefix']}"


class FilterModule:
    def filters(self):
        return {
            "hass_openstack_rules": rules,
            "hass_openstack_prefixes": prefixes,
            "hass_openstack_lacks": lacks,
        }
