"""The guide's rules as data, and what a cloud lacks: the pure parts of the role openstack_resources."""

from role_plugins import load

resources = load("openstack_resources", "filter_plugins/hass_openstack_resources.py")

NETWORK = {
    "name": "provider",
    "physical_network": "provider",
    "subnets": [
        {
            "name": "v4",
            "cidr": "192.0.2.0/24",
            "gateway": "192.0.2.1",
            "pools": [{"start": "192.0.2.100", "end": "192.0.2.150"}],
            "dns": ["8.8.4.4"],
        }
    ],
}
FLAVOR = {"name": "medium", "id": "1", "vcpus": 1, "ram": 1000, "disk": 10, "watchdog_action": "none"}


def found():
    return {
        "networks": [
            {
                "networks": [
                    {
                        "is_shared": True,
                        "is_router_external": True,
                        "is_admin_state_up": True,
                        "provider_network_type": "flat",
                        "provider_physical_network": "provider",
                    }
                ]
            }
        ],
        "subnets": [
            {
                "subnets": [
                    {
                        "cidr": "192.0.2.0/24",
                        "gateway_ip": "192.0.2.1",
                        "is_dhcp_enabled": True,
                        "allocation_pools": [{"start": "192.0.2.100", "end": "192.0.2.150"}],
                        "dns_nameservers": ["8.8.4.4"],
                    }
                ]
            }
        ],
        "groups": [{"security_groups": [{"id": "x"}]}],
        "rules": [
            {
                "security_group_rules": [
                    {
                        "direction": "egress",
                        "protocol": "icmp",
                        "remote_ip_prefix": "0.0.0.0/0",
                        "port_range_min": None,
                    },
                    {
                        "direction": "ingress",
                        "protocol": "icmp",
                        "remote_ip_prefix": "192.0.2.11/32",
                        "port_range_min": None,
                    },
                    {
                        "direction": "egress",
                        "protocol": "tcp",
                        "remote_ip_prefix": "0.0.0.0/0",
                        "port_range_min": 22,
                    },
                ]
            }
        ],
        "flavors": [{**FLAVOR, "extra_specs": {"hw:watchdog_action": "none"}}],
    }


RULES = resources.rules(["0.0.0.0/0"], ["192.0.2.11/32"], [22])


def lacks(there, networks=(NETWORK,)):
    return resources.lacks(there, list(networks), [{"name": "hass"}], RULES, [FLAVOR])


def test_the_three_rules_of_the_guide():
    assert [(rule["direction"], rule["protocol"], rule["port"], rule["prefix"]) for rule in RULES] == [
        ("egress", "icmp", None, "0.0.0.0/0"),
        ("ingress", "icmp", None, "192.0.2.11/32"),
        ("egress", "tcp", 22, "0.0.0.0/0"),
    ]


def test_ipv6_has_an_icmp_of_its_own():
    rule = resources.rules([], ["2001:db8::/64"], [])[0]
    assert (rule["protocol"], rule["ether_type"]) == ("ipv6-icmp", "IPv6")


def test_only_addresses_become_prefixes():
    assert resources.prefixes(["192.0.2.1", "compute1", "2001:db8::1", "192.0.2.1"]) == [
        "192.0.2.1/32",
        "2001:db8::1/128",
    ]


def test_a_cloud_that_has_it_all():
    assert not any(lacks(found()).values())


def test_a_cloud_that_has_nothing():
    assert lacks({}) == {
        "networks": ["provider is missing"],
        "subnets": ["v4 is missing"],
        "groups": ["hass is missing"],
        "flavors": [],
        "unwatched": [],
        "hidden": ["medium is missing"],
    }


def test_what_is_different_is_named():
    there = found()
    there["networks"][0]["networks"][0].update(is_shared=False, provider_network_type="vlan")
    there["subnets"][0]["subnets"][0].update(gateway_ip=None, is_dhcp_enabled=False, dns_nameservers=[])
    there["rules"][0]["security_group_rules"].pop()
    there["flavors"][0].update(ram=2000, extra_specs={"hw:watchdog_action": "reset"})
    assert lacks(there) == {
        "networks": ["provider is not shared and is a network of type vlan"],
        "subnets": ["v4 has gateway none instead of 192.0.2.1 and has no DHCP and has other name servers"],
        "groups": ["hass lacks egress tcp 22 0.0.0.0/0"],
        "flavors": ["medium has another size"],
        "unwatched": ["medium has 'reset' instead of 'none'"],
        "hidden": [],
    }
