"""A broken inventory: every mistake gives one clear line, and no secret is in any of them."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from role_plugins import ROLES, load

rules_module = load("inventory_check", "module_utils/hass_inventory_rules.py")
check = rules_module.check

TOP = Path(__file__).parents[2]
SECRET = "correct horse battery"
GOOD = {
    "groups": {
        "all": ["controller1", "compute1", "compute2", "block1"],
        "ungrouped": [],
        "controller": ["controller1"],
        "compute": ["compute1", "compute2"],
        "blockstorage": ["block1"],
    },
    "hosts": {
        "controller1": {"ansible_host": "192.0.2.11"},
        "compute1": {
            "ansible_host": "192.0.2.31",
            "management_address": "192.0.2.31",
            "migration_address": "198.51.100.31",
            "bmc_address": "192.0.2.131",
            "bmc_user": "hass",
            "bmc_password": "bmc one",
        },
        "compute2": {"ansible_host": "compute2.example.org"},
        "block1": {},
    },
    "errors": {},
    "files": {},
    "names": {"host_vars": ["compute1"], "group_vars": ["all", "compute"]},
}
for _vars in GOOD["hosts"].values():
    _vars.update(
        openstack_release="zed",
        hass_auth_url="http://controller1:5000/v3",
        hass_polling_key=SECRET,
        hass_admin_password="admin one",
        hass_database_password="db one",
    )


def role_rules():
    defaults = yaml.safe_load((ROLES / "inventory_check/defaults/main.yml").read_text())
    shared = yaml.safe_load((ROLES / "inventory_check/vars/main.yml").read_text())
    return {
        "groups": defaults["inventory_check_groups"],
        "required_groups": defaults["inventory_check_required_groups"],
        "required": defaults["inventory_check_required"],
        "secrets": defaults["inventory_check_secrets"],
        "own": defaults["inventory_check_own_variables"],
        "known": [*shared["__inventory_check_variables"], "hass_agent_polling_key", "libvirt_listen_address"],
        "prefixes": ["hass_agent_", "libvirt_", "hass_", "bmc_", "openstack_", "management_", "migration_"],
    }


RULES = role_rules()


def broken(*changes, **more):
    """The lines for the good inventory with changes: (host, variable, value)."""
    inventory = copy.deepcopy(GOOD)
    for host, name, value in changes:
        if value is ...:
            inventory["hosts"][host].pop(name)
        else:
            inventory["hosts"][host][name] = value
    for name, value in more.items():
        inventory[name].update(value)
    return check(inventory, RULES)


def test_nothing_is_said_about_a_good_inventory():
    assert check(GOOD, RULES) == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            [("compute1", "bmc_password", ...)],
            "host compute1: bmc_password is missing, expected it beside bmc_address",
        ),
        (
            [("compute1", "bmc_user", "")],
            "host compute1: bmc_user is missing, expected it beside bmc_address",
        ),
        (
            [("compute1", "bmc_address", ...)],
            "host compute1: bmc_address is missing, expected it beside bmc_user; a host without IPMI "
            "has none of the "
            "three, or an empty bmc_address",
        ),
        (
            [("compute1", "bmc_password", "x" * 21)],
            "host compute1: bmc_password is longer than the 20 bytes that IPMI 2.0 has room for",
        ),
        (
            [("compute1", "bmc_user", "a,b")],
            "host compute1: bmc_user has a comma in it, which hass.conf cannot hold",
        ),
        (
            [("compute1", "bmc_password", 1234)],
            "host compute1: bmc_password is not text, expected it in quotes",
        ),
        (
            [("compute1", "bmc_address", "192.0.2.300")],
            "host compute1: bmc_address is 192.0.2.300, which is not an IPv4 address; expected an IP "
            "address or a host "
            "name",
        ),
        (
            [("compute2", "ansible_host", "compute 2")],
            "host compute2: ansible_host is compute 2, which is not a host name (letters, digits, "
            "'-', and dots "
            "between them); expected an IP address or a host name",
        ),
        (
            [("compute2", "migration_address", "198.51.100.0/24")],
            "host compute2: migration_address is 198.51.100.0/24, which is a network, or has a "
            "prefix length; expected "
            "an IP address or a host name",
        ),
        (
            [("compute2", "management_address", "0.0.0.0")],
            "host compute2: management_address is 0.0.0.0, which is the address of nothing; expected "
            "an IP address or "
            "a host name",
        ),
        (
            [("compute2", "ansible_host", "192.0.2.31")],
            "hosts compute1, compute2: ansible_host is 192.0.2.31 for each of them, expected each its own",
        ),
        (
            [("compute1", "bmc_address", "192.0.2.11")],
            "host compute1: bmc_address is 192.0.2.11, the ansible_host of controller1; expected an "
            "address of the BMC",
        ),
        (
            [(host, "openstack_release", "rocky") for host in GOOD["hosts"]],
            "all hosts: openstack_release is rocky, expected queens, zed or epoxy",
        ),
        (
            [("compute1", "openstack_release", ...), ("compute2", "openstack_release", ...)],
            "group compute: openstack_release is missing, expected queens, zed or epoxy",
        ),
        (
            [("controller1", "hass_auth_url", "controller:5000")],
            "host controller1: hass_auth_url is controller:5000, expected Keystone's URL, such as "
            "http://controller:5000/v3",
        ),
        (
            [("controller1", "hass_database_password", "HASSDB_PASS")],
            "host controller1: hass_database_password still has the placeholder HASSDB_PASS, "
            "expected a value of yours",
        ),
        (
            [("controller1", "hass_auth_url", "http://change-me:5000/v3")],
            "host controller1: hass_auth_url still has the placeholder change-me, expected a value of yours",
        ),
        (
            [("controller1", "hass_admin_password", ...)],
            "host controller1: hass_admin_password is missing, expected a password, best kept in a vault",
        ),
        (
            [(host, "hass_polling_key", "short") for host in ("controller1", "compute1", "compute2")],
            "hosts controller1, compute1, compute2: hass_polling_key has 5 characters, expected 16 or more",
        ),
        (
            [("compute2", "hass_polling_key", SECRET[::-1])],
            "hass_polling_key: is not the same on controller1, compute2, expected one for all",
        ),
        (
            [("controller1", "hass_admin_password", "x\n")],
            "host controller1: hass_admin_password has a line break or another control character in it",
        ),
        (
            [("compute1", "bmc_adress", "192.0.2.131")],
            "host compute1: bmc_adress is not a variable of HASS, did you mean bmc_address?",
        ),
        (
            [("compute1", "hass_agent_pollingkey", "x")],
            "host compute1: hass_agent_pollingkey is not a variable of HASS, did you mean "
            "hass_agent_polling_key?",
        ),
        (
            [("compute1", "mangement_address", "192.0.2.31")],
            "host compute1: mangement_address is not a variable of HASS, did you mean management_address?",
        ),
        (
            [("compute1", "libvirt_listen_address", "nowhere at all")],
            "host compute1: libvirt_listen_address is nowhere at all, which is not a host name "
            "(letters, digits, '-', "
            "and dots between them); expected an IP address or a host name",
        ),
    ],
)
def test_one_mistake_gives_one_line(changes, line):
    assert broken(*changes) == [line]


def test_a_host_without_ipmi_is_not_a_mistake():
    assert (
        broken(
            ("compute2", "bmc_user", "hass"),
            ("compute2", "bmc_password", "x"),
            ("compute2", "bmc_address", ""),
        )
        == []
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bmc_address", "[2001:db8::31]:6230"),
        ("bmc_address", "192.0.2.131:6230"),
        ("bmc_address", "bmc-1.example.org"),
        ("management_address", "2001:db8::1"),
        ("management_address", "fe80::1%eth0"),
        ("libvirt_listen_address", "0.0.0.0"),
        ("hass_something_of_mine", "x"),
        ("ansible_hosts_file", "x"),
    ],
)
def test_what_is_right_is_not_complained_about(name, value):
    assert broken(("compute1", name, value)) == []


def test_ones_own_variable_that_only_looks_misspelt():
    inventory = copy.deepcopy(GOOD)
    inventory["hosts"]["compute1"]["bmc_adress"] = "x"
    assert check(inventory, {**RULES, "own": ["bmc_adress"]}) == []


@pytest.mark.parametrize(
    ("groups", "lines"),
    [
        ({"controller": []}, ["group controller: has no hosts, expected at least one"]),
        ({"blockstorage": []}, ["group blockstorage: has no hosts, expected some, or no such group"]),
        (
            {"computes": ["compute9"]},
            ["group computes: is not a group of HASS, did you mean compute? compute9 would be left out"],
        ),
        (
            {"Block-Storage": ["block2"]},
            [
                "group Block-Storage: is not a group of HASS, did you mean blockstorage? block2 "
                "would be left out"
            ],
        ),
        ({"compute_rack1": ["compute1"]}, []),
        ({"monitoring": ["grafana"]}, []),
        (
            {"ungrouped": ["lost"]},
            ["host lost: is in no group, expected controller, compute or blockstorage"],
        ),
        (
            {"compute": ["compute1", "compute2", "Compute1"]},
            [
                "hosts compute1, Compute1: differ in upper and lower case or blanks only, expected "
                "one name, spelt as "
                "Nova spells it",
            ],
        ),
        (
            {"controller": ["ctl.a.example", "ctl.b.example"]},
            [
                "hosts ctl.a.example, ctl.b.example: have one name, 'ctl', expected each controller "
                "host its own"
            ],
        ),
        (
            {"compute": ["compute1", "192.0.2.99"]},
            [
                "host 192.0.2.99: is an IP address, expected the name that Nova has for the host, "
                "and ansible_host"
            ],
        ),
    ],
)
def test_groups_and_names(groups, lines):
    got = [line for line in broken(groups=groups) if "is missing" not in line]
    assert got == lines


def test_files_named_after_nobody():
    assert broken(
        names={"host_vars": ["compute1", "compute-2", "compute7"], "group_vars": ["all", "controler"]}
    ) == [
        "host_vars/compute-2: there is no host compute-2 in the inventory: did you mean compute2?",
        "host_vars/compute7: there is no host compute7 in the inventory",
        "group_vars/controler: there is no group controler in the inventory: did you mean controller?",
    ]


def test_two_controllers_with_one_name_in_yaml():
    text = """
all:
  children:
    controller:
      hosts:
        controller1: {ansible_host: 192.0.2.11}
        controller1: {ansible_host: 192.0.2.12}
"""
    assert broken(files={"hosts.yml": text}) == [
        "hosts.yml, line 7: controller1 stands twice (first in line 6), and only the last would "
        "count; expected each "
        "name once",
    ]
    text = """
all:
  children:
    controller:
      hosts:
        host1: {ansible_host: 192.0.2.11}
    compute:
      hosts:
        host1: {ansible_host: 192.0.2.12}
"""
    assert broken(files={"hosts.yml": text}) == [
        "hosts.yml, line 9: host1 has another ansible_host than in line 6, expected two names for two hosts",
    ]


def test_two_controllers_with_one_name_in_ini():
    text = (
        "[controller]\nctl ansible_host=192.0.2.11\n"
        "ctl ansible_host=192.0.2.12\n[all:vars]\na=1\na=2\n[compute]\nctl\n"
    )
    assert broken(files={"hosts": text}) == [
        "hosts, line 3: ctl stands twice in [controller] (first in line 2), expected each name once",
    ]
    text = "[controller]\nctl ansible_host=192.0.2.11\n[compute]\nctl ansible_host=192.0.2.12\n"
    assert broken(files={"hosts": text}) == [
        "hosts, line 4: ctl has another ansible_host than in line 2, and only the last would count; "
        "expected one",
    ]


def test_a_variable_that_needs_another_one():
    errors = {
        "compute1": {"bmc_password": "'vault_bmc' is undefined"},
        "compute2": {"hass_polling_key": "Decryption failed (no vault secrets were found) " + SECRET},
        "block1": {"hass_agent_polling_key": "bad template " + SECRET},
    }
    inventory = copy.deepcopy(GOOD)
    for host, names in errors.items():
        for name in names:
            inventory["hosts"][host].pop(name, None)
    inventory["errors"] = errors
    assert check(inventory, RULES) == [
        "host compute1: bmc_password needs vault_bmc, which is not defined",
        "host compute2: hass_polling_key cannot be decrypted, expected the vault's password by "
        "--ask-vault-pass or "
        "--vault-id",
        "host block1: hass_agent_polling_key cannot be evaluated",
    ]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from([*RULES["known"], "ansible_host", "ansible_port", "bmc_adress"]) | st.text(
    max_size=12
)
hosts = st.sampled_from(["compute1", "Compute1", "a b", "192.0.2.1", ""]) | st.text(max_size=10)
inventories = st.fixed_dictionaries(
    {
        "groups": st.dictionaries(
            st.sampled_from([*RULES["groups"], "computes", "ungrouped"]), st.lists(hosts, max_size=4)
        ),
        "hosts": st.dictionaries(hosts, st.dictionaries(names, values, max_size=6), max_size=4),
        "errors": st.dictionaries(hosts, st.dictionaries(names, st.text(), max_size=2), max_size=2),
        "files": st.dictionaries(st.sampled_from(["a.yml", "b", "c.ini"]), st.text(), max_size=2),
        "names": st.dictionaries(
            st.sampled_from(["host_vars", "group_vars"]), st.lists(st.text(max_size=8), max_size=3)
        ),
    }
)


@given(inventories | values, st.just(RULES) | values)
def test_it_never_raises_and_gives_lines(inventory, rules):
    lines = check(inventory, rules)
    assert all(isinstance(line, str) and line and "\n" not in line for line in lines)
    assert len(lines) == len(set(lines))
    assert check(inventory, rules) == lines


@given(st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF), max_size=60))
def test_any_text_is_looked_through_for_names_that_stand_twice(text):
    for line in rules_module.twice(text) + rules_module.twice_in_ini(text):
        assert isinstance(line, str)


@given(
    st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=7, max_size=30),
    st.sampled_from(["hass_polling_key", "hass_admin_password", "hass_database_password", "bmc_password"]),
    st.sampled_from(["{}", " {}", "{}\n", "{}\t"]),
)
def test_a_secret_is_never_in_a_line(secret, name, shape):
    inventory = copy.deepcopy(GOOD)
    known = json.dumps(check(inventory, RULES)) + json.dumps(RULES) + json.dumps(GOOD) + name + SOURCE
    if secret in known:
        return
    inventory["hosts"]["compute1"][name] = shape.format(secret)
    inventory["hosts"]["controller1"][name] = shape.format(secret)
    assert not [line for line in check(inventory, RULES) if secret in line]


SOURCE = Path(rules_module.__file__).read_text()


@given(st.ip_addresses().map(str))
def test_every_ip_address_of_a_host_is_one(address):
    why = rules_module.bad_address(address, port=False)
    assert why in (None, "is no address of a single host")


def test_the_run_ends_before_any_host_is_contacted(tmp_path):
    """The real playbook: mistakes end it, and the play after it, whatever the limit, does not begin."""
    (tmp_path / "hosts.yml").write_text(
        yaml.safe_dump(
            {
                "all": {
                    "vars": {
                        "openstack_release": "zed",
                        "hass_polling_key": SECRET,
                        "hass_admin_password": "x",
                    },
                    "children": {
                        "controller": {
                            "hosts": {
                                "ctl": {"ansible_host": "192.0.2.1", "hass_auth_url": "http://ctl:5000"}
                            }
                        },
                        "compute": {
                            "hosts": {"cmp": {"ansible_host": "192.0.2.2", "bmc_address": "192.0.2.3"}}
                        },
                    },
                }
            }
        )
    )
    touched = tmp_path / "touched"
    run = tmp_path / "run.yml"
    run.write_text(
        yaml.safe_dump(
            [
                {"import_playbook": str(TOP / "playbooks/preflight.yml")},
                {
                    "hosts": "all",
                    "gather_facts": False,
                    "tasks": [{"command": f"touch {touched}", "delegate_to": "localhost"}],
                },
            ]
        )
    )
    environment = {**os.environ, "ANSIBLE_CONFIG": str(TOP / "ansible.cfg"), "NO_COLOR": "1"}
    for limit in ([], ["--limit", "cmp"], ["--tags", "something"]):
        got = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                "-i",
                str(tmp_path / "hosts.yml"),
                str(run),
                *limit,
            ],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=600,
        )
        assert got.returncode == 2, got.stdout + got.stderr
        assert "The inventory has 3 mistakes; no host was contacted:" in got.stdout + got.stderr
        assert "host ctl: hass_database_password is missing" in got.stdout + got.stderr
        assert "host cmp: bmc_user is missing" in got.stdout + got.stderr
        assert SECRET not in got.stdout + got.stderr
        assert not touched.exists()
