"""From the inventory of a cloud to the lists that the roles of HASS take."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError


def management_address(name, hostvars):
    """Where a host is reached: C(management_address), else C(ansible_host), else its name."""
    known = hostvars[name]
    return str(known.get("management_address") or known.get("ansible_host") or name)


def hass_compute_hosts(names, hostvars):
    """The compute hosts for C(hass_controller_hosts), in the order of C(names).

    Of each host's variables: C(hass_host_name) (its name in OpenStack, when the inventory's is another),
    C(management_address), C(migration_address), C(bmc_address), C(bmc_user), C(bmc_password), C(bmc_port),
    C(zone), C(cluster) and C(reserved). A host without C(bmc_address) has no IPMI.
    """
    return [_compute_host(name, hostvars) for name in names]


def _compute_host(name, hostvars):
    known = hostvars[name]
    first = management_address(name, hostvars)
    second = known.get("migration_address")
    host = {
        "name": str(known.get("hass_host_name") or name),
        "address": [first] + ([str(second)] if second and str(second) != first else []),
    }
    if known.get("bmc_address"):
        host["bmc"] = {"address": str(known["bmc_address"])}
        for key in ("user", "password"):
            if not known.get("bmc_" + key):
                raise AnsibleFilterError(
                    f"{name} has bmc_address and no bmc_{key}: "
                    "expected all of bmc_address, bmc_user and bmc_password, or none"
                )
            host["bmc"][key] = known["bmc_" + key]
        if known.get("bmc_port"):
            host["bmc"]["port"] = int(known["bmc_port"])
    for key in ("zone", "cluster"):
        if known.get(key):
            host[key] = str(known[key])
    reserved = str(known.get("reserved", "")).strip().lower()
    if reserved not in ("true", "yes", "false", "no", ""):
        raise AnsibleFilterError(f"{name} has reserved: {known['reserved']}, expected true or false")
    if reserved in ("true", "yes"):
        host["reserved"] = True
    return host


def management_addresses(names, hostvars):
    """Where each of the hosts is reached."""
    return [management_address(name, hostvars) for name in names]


class FilterModule:
    """Filters of the playbooks."""

    def filters(self):
        return {"hass_compute_hosts": hass_compute_hosts, "management_addresses": management_addresses}
