"""The BMCs of hosts, as their inventory variables tell them."""

from __future__ import annotations


def hass_bmcs(names, hostvars):
    """The BMCs for C(ipmi_bmcs), in the order of C(names); hosts without C(bmc_address) have none."""
    return [
        {
            "host": str(name),
            "address": str(hostvars[name]["bmc_address"]),
            "port": int(hostvars[name].get("bmc_port") or 623),
            "user": hostvars[name].get("bmc_user") or "",
            "password": hostvars[name].get("bmc_password") or "",
        }
        for name in names
        if hostvars[name].get("bmc_address")
    ]


class FilterModule:
    """Filters of the playbooks."""

    def filters(self):
        return {"hass_bmcs": hass_bmcs}
