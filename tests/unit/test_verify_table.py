"""The table of playbooks/verify.yml, what SSH knows of each host, and host_ssh's files by platform."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]
HOST_SSH = ROOT / "roles" / "host_ssh"


def plugin(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "playbooks" / "filter_plugins" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


verify = plugin("hass_verify")
ssh = plugin("hass_ssh")


def row(guide, check, status="ok", why=""):
    return {"role": "ipmi", "guide": guide, "check": check, "status": status, "why": why}


HOSTVARS = {
    "compute10": {
        "ansible_facts": {
            "hass_verify_ipmi": [row("4.13", "status"), row("3.4", "bmc", "failed", "expected on, got off")],
            "hass_verify_ipmi__10": [row("P.1", "policy", "skipped", "no Nova here")],
            "distribution": "Debian",
        },
    },
    "compute1": {"hass_verify_problems": [row("1.1", "reached", "failed", "word " * 30)]},
    "other": {},
}
ROWS = verify.hass_verify_rows(["compute10", "compute1", "other"], HOSTVARS)


def test_rows_are_in_the_order_of_hosts_and_of_the_guide():
    assert [(r["host"], r["guide"]) for r in ROWS] == [
        ("compute10", "3.4"),
        ("compute10", "4.13"),
        ("compute10", "P.1"),
        ("compute1", "1.1"),
    ]


def test_columns_are_aligned_and_reasons_wrapped():
    lines = verify.hass_table(ROWS, 80).splitlines()
    assert lines[0] == "host       step  check            why"
    assert lines[2] == "compute10  3.4   bmc      FAILED  expected on, got off"
    assert lines[3] == "           4.13  status   ok"
    assert lines[4] == "           P.1   policy   -       no Nova here"
    assert lines[5].startswith("compute1   1.1   reached  FAILED  word word")
    assert lines[6].startswith(" " * 34 + "word")
    assert max(map(len, lines)) <= 80


def test_a_narrow_terminal_still_shows_reasons():
    assert "expected on, got off" in verify.hass_table(ROWS, 10)


def test_an_empty_table():
    assert verify.hass_table([]).splitlines()[0].split() == ["host", "step", "check", "why"]
    assert verify.hass_verify_summary([]).startswith("0 checks on 0 hosts: 0 ok")


def test_the_summary_and_the_failure_count():
    assert verify.hass_verify_summary(ROWS) == ("4 checks on 2 hosts: 1 ok, 2 failed, 1 not for that host")
    assert verify.hass_verify_failure(ROWS) == "2 of 4 checks failed (compute10: bmc; compute1: reached)"
    assert verify.hass_verify_failure(ROWS, most=1) == "2 of 4 checks failed (compute10: bmc; and 1 more)"


# ------------------------------------------------------------------------------------ SSH


def test_what_ssh_knows_of_a_host_comes_from_the_inventory_and_from_the_host():
    hostvars = {
        "compute1": {
            "ansible_host": "192.0.2.21",
            "migration_address": "198.51.100.21",
            "ssh_addresses": ["203.0.113.0/24"],
            "ansible_facts": {
                "nodename": "c1.example.org",
                "host_ssh_published": {"public_key": "ssh-ed25519 AAAA", "host_keys": ["ssh-rsa BBBB"]},
            },
        },
        "compute2": {
            "ansible_host": "c2.example.org",
            "management_address": "192.0.2.22",
            "ansible_port": "2222",
        },
    }
    assert ssh.hass_ssh_peers(["compute1", "compute2"], hostvars) == [
        {
            "name": "compute1",
            "names": ["c1.example.org"],
            "addresses": ["192.0.2.21", "198.51.100.21", "203.0.113.0/24"],
            "port": 22,
            "public_key": "ssh-ed25519 AAAA",
            "host_keys": ["ssh-rsa BBBB"],
        },
        {
            "name": "compute2",
            "names": ["c2.example.org"],
            "addresses": ["192.0.2.22"],
            "port": 2222,
            "public_key": "",
            "host_keys": [],
        },
    ]


PEERS = [
    {"name": "c1", "names": ["c1.x"], "addresses": ["192.0.2.21", "203.0.113.0/24"], "public_key": "t K1 old",
     "host_keys": ["t H1"]},
    {"name": "c2", "addresses": ["2001:db8::2"], "port": 2222, "public_key": "t K2", "host_keys": ["t H2"]},
    {"name": "c10", "addresses": ["192.0.2.30"], "public_key": "", "host_keys": []},
]  # fmt: skip


@pytest.fixture(scope="module")
def render():
    """A template of host_ssh, rendered by Ansible as on a host of that platform."""
    init_plugin_loader([])

    def rendered(template, platform="debian-12", **variables):
        known = {}
        for path in ("defaults/main.yml", "vars/main.yml", f"vars/{platform}.yml"):
            known |= yaml.safe_load((HOST_SSH / path).read_text())
        if "host_ssh_permit_root_login" not in variables:
            variables["host_ssh_permit_root_login"] = ""
        loader = DataLoader()
        loader.set_basedir(str(HOST_SSH / "templates"))
        templar = Templar(loader=loader, variables={**known, **variables})
        text = (HOST_SSH / "templates" / template).read_text()
        return templar.template(trust_as_template(text), escape_backslashes=False) or ""

    return rendered


def test_keys_are_good_from_their_hosts_addresses_only_and_unknown_ones_are_kept(render):
    old = ['from="x",restrict t OLD10 hass:c10', "t OLD1 hass:c1", "t MINE me@home", "t OTHER hass:c100"]
    assert render("authorized_keys.j2", host_ssh_clients=PEERS, __host_ssh_old_keys=old).splitlines() == [
        'from="192.0.2.21,203.0.113.0/24",restrict,pty t K1 hass:c1',
        'from="2001:db8::2",restrict,pty t K2 hass:c2',
        'from="x",restrict t OLD10 hass:c10',
    ]


def test_hosts_are_known_by_names_and_addresses_and_port(render):
    old = ["c10,192.0.2.30 t OLD10 hass:c10"]
    assert render("known_hosts.j2", host_ssh_servers=PEERS, __host_ssh_old_hosts=old).splitlines() == [
        "c1,c1.x,192.0.2.21 t H1 hass:c1",
        "[c2]:2222,[2001:db8::2]:2222 t H2 hass:c2",
        "c10,192.0.2.30 t OLD10 hass:c10",
    ]


def test_the_client_knows_the_port_and_the_key(render):
    lines = render("client_config.j2", host_ssh_servers=PEERS).splitlines()
    assert lines[0] == "Host c1 c1.x 192.0.2.21"
    assert "    Port 2222" in lines
    assert lines.count("    StrictHostKeyChecking yes") == 3


@pytest.mark.parametrize(
    ("platform", "dialogue"),
    [
        ("debian-12", "KbdInteractiveAuthentication"),
        ("debian-13", "KbdInteractiveAuthentication"),
        ("ubuntu-16.04", "ChallengeResponseAuthentication"),
    ],
)
def test_root_and_the_account_have_no_password(render, platform, dialogue):
    lines = [line.strip() for line in render("match.j2", platform).splitlines()]
    assert lines == [
        "Match User root", "PasswordAuthentication no", f"{dialogue} no",
        "Match User nova", "PubkeyAuthentication yes", "PasswordAuthentication no", f"{dialogue} no",
    ]  # fmt: skip
    assert render("first.j2", platform).strip() == ""


def test_the_guides_own_is_one_variable_away(render):
    literal = {"host_ssh_user": "root", "host_ssh_permit_root_login": "yes"}
    assert render("first.j2", **literal).strip() == "PermitRootLogin yes"
    assert render("match.j2", **literal).strip() == ""


# ------------------------------------------------------------------------------------ the guide's platform

GUIDES_OWN = {
    "host_ssh": {"__host_ssh_drop_in": "", "__host_ssh_service": "ssh"},
    "ipmi": {"__ipmi_modules": ["ipmi_msghandler", "ipmi_devintf", "ipmi_si"]},
    "libvirt_migration": {"__libvirt_migration_activation": "options"},
    "nova_policy": {"__nova_policy_group": "nova"},
    "volume_backed_images": {
        "__volume_backed_images_units": {
            "controller": ["nova-api", "cinder-scheduler", "apache2"],
            "blockstorage": ["cinder-volume"],
        }
    },
    "watchdog": {"__watchdog_packages": ["watchdog"], "__watchdog_unit": "watchdog.service"},
}


@pytest.mark.parametrize("role", sorted(GUIDES_OWN))
def test_ubuntu_16_04_is_as_the_guide_has_it(role):
    data = yaml.safe_load((ROOT / "roles" / role / "vars" / "ubuntu-16.04.yml").read_text())
    for name, value in GUIDES_OWN[role].items():
        assert data[name] == value
