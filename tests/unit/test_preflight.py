"""What a host lacks, and how it is told: the pure parts of the role preflight."""

import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from role_plugins import ROLES, load

look = load("preflight", "library/hass_preflight.py")
action = load("preflight", "action_plugins/hass_preflight.py")
tell = load("preflight", "filter_plugins/hass_preflight.py")

PLATFORMS = {
    path.stem: yaml.safe_load(path.read_text())["__preflight_platform"]
    for path in (ROLES / "preflight/vars").glob("*-*.yml")
}


def unit(state="active", boot="enabled", there=True):
    return {"there": there, "state": state, "boot": boot}


def test_every_platform_has_every_row_of_the_guide():
    assert set(PLATFORMS) == {"debian-12", "debian-13", "ubuntu-16.04"}
    for platform in PLATFORMS.values():
        services = platform["services"]
        assert set(services["controller"]) == set(look.TITLES)
        assert set(services["compute"]) == {"nova", "neutron"}
        assert set(services["blockstorage"]) == {"cinder"}
        assert platform["time_units"]
        assert set(platform["packages"]) == {"controller", "compute", "blockstorage"}


def test_the_operating_system():
    text = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'
    assert look.operating_system(text) == ("debian", "12", "Debian GNU/Linux 12 (bookworm)")
    assert look.judge_system(look.operating_system(text), PLATFORMS) == []
    assert look.judge_system(("fedora", "40", "Fedora 40"), PLATFORMS) == [
        "is Fedora 40, expected one of: Debian 12, Debian 13, Ubuntu 16.04"
    ]


def test_names():
    peers = [
        {"name": "a", "address": "192.0.2.1"},
        {"name": "b", "address": "192.0.2.2"},
        {"name": "c", "address": "192.0.2.3"},
        {"name": "d", "address": "d.example.org"},
        {"name": "e", "address": "192.0.2.5"},
    ]
    answers = {"a": {"127.0.1.1"}, "b": {"192.0.2.9"}, "c": set(), "d": {"192.0.2.4"}, "e": None}
    assert look.judge_names("a", peers, answers) == [
        "the names of these hosts do not resolve here (DNS or /etc/hosts): c",
        "the name service does not answer for: e",
        "names resolve to another address: b to 192.0.2.9 instead of 192.0.2.2",
    ]


def test_units():
    groups = [["keystone", "apache2"]]
    assert look.judge_units("keystone", groups, {"apache2": unit()}) == []
    assert look.judge_units("keystone", groups, {"apache2": unit("inactive")}) == [
        "Keystone: apache2 does not run (inactive)"
    ]
    assert look.judge_units("keystone", groups, {"keystone": unit(there=False)}) == [
        "Keystone is missing: there is no service keystone or apache2"
    ]
    assert look.judge_units("keystone", groups, {"keystone": unit(boot="disabled")}) == [
        "Keystone: keystone runs, but is not started at boot (systemctl enable keystone)"
    ]


def test_unit_states_are_read_in_their_order():
    text = (
        "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\n"
        "LoadState=not-found\nActiveState=inactive\nUnitFileState=\n"
    )
    assert look.unit_states(text, ["a", "b"]) == {
        "a": unit(),
        "b": {"there": False, "state": "inactive", "boot": ""},
    }


def test_versions():
    text = (
        "nova-common\tinstall ok installed\t2:26.2.2-1~deb12u5\n"
        "cinder-common\tdeinstall ok config-files\t2:21\n"
    )
    versions = look.package_versions(text)
    assert versions == {"nova-common": "2:26.2.2-1~deb12u5"}
    wanted = {"nova": "nova-common", "cinder": "cinder-common"}
    assert look.judge_packages(wanted, versions, {"nova": ["26"]}, "zed") == [
        "packages of OpenStack are missing: cinder-common"
    ]
    assert look.judge_packages({"nova": "nova-common"}, versions, {"nova": ["31"]}, "epoxy") == [
        "nova-common is version 26.2.2, expected 31.* (epoxy)"
    ]
    assert look.judge_packages({"nova": "nova-common"}, versions, {"nova": ["2"]}, "x") != []
    assert look.judge_packages({"nova": "nova-common"}, versions, {}, "") == []


def test_ports():
    tcp = (
        "  sl  local_address rem_address   st\n"
        "   0: 00000000:0CEA 00000000:0000 0A 0\n   1: 0100007F:1234 0:0 01 0\n"
    )
    assert look.listening_ports(tcp, "") == {3306}
    assert look.judge_port("sql", {3306}) == []
    assert look.judge_port("etcd", {3306}) == ["etcd does not listen at port 2379"]


def test_time():
    assert look.judge_time({"chrony": unit()}, ["chrony"], True) == []
    assert look.judge_time({"chrony": unit()}, ["chrony"], None) == []
    assert look.judge_time({"chrony": unit()}, ["chrony"], False) == [
        "chrony runs, but the clock is not synchronised (yet)"
    ]
    assert look.judge_time({"chrony": unit("inactive")}, ["chrony", "ntp"], None) == [
        "no time service runs: chrony is there, but inactive"
    ]
    assert look.judge_time({}, ["chrony", "ntp"], None) == [
        "no time service runs, expected one of: chrony, ntp"
    ]


@pytest.mark.parametrize(
    ("value", "wrong"), [("true", True), ("On", True), ("1", True), ("false", False), (None, False)]
)
def test_guests_that_nova_would_start_by_itself(value, wrong):
    lines = look.judge_resume(value)
    assert bool(lines) == wrong
    assert not wrong or f"resume_guests_state_on_host_boot = {value}" in lines[0]


def test_nova_conf_is_read_as_oslo_config_reads_it():
    first = "[DEFAULT]\n#host = x\nhost = a\n[libvirt]\nhost = b\n"
    assert look.ini_value([first], "DEFAULT", "host") == "a"
    assert look.ini_value([first, "[DEFAULT]\nhost: c\n"], "DEFAULT", "host") == "c"
    assert look.ini_value([first], "DEFAULT", "hosts") is None


def test_the_catalogue():
    def service(kind, url, interface="public", region="one"):
        return {"type": kind, "endpoints": [{"interface": interface, "url": url, "region_id": region}]}

    services = [
        service("identity", "http://k"),
        service("image", "http://g"),
        service("compute", "http://n", interface="internal"),
        service("network", "http://q", region="two"),
        service("block-storage", "http://c"),
    ]
    lines = list(
        look.judge_catalogue(services, "public", "one", lambda url: "dead" if url == "http://g" else None)
    )
    assert lines == [
        ("glance", "Glance: http://g does not answer: dead"),
        ("nova", "Nova: Keystone's catalogue has no public endpoint for compute"),
        ("neutron", "Neutron: Keystone's catalogue has no public endpoint for network"),
    ]


def test_the_name_that_nova_has():
    assert look.judge_own_name("compute1", "compute1", ["compute"]) == []
    assert look.judge_own_name("ctl", "other", ["controller"]) == []
    assert "Nova calls this host 'Compute1'" in look.judge_own_name("compute1", "Compute1", ["compute"])[0]


@given(st.text(string.printable))
def test_any_text_is_read(text):
    look.operating_system(text)
    look.unit_states(text, ["a", "b"])
    look.package_versions(text)
    look.listening_ports(text)
    look.ini_value([text], "DEFAULT", "host")
    look.bare_version(text)


@pytest.mark.parametrize(
    ("found", "core", "text"),
    [
        ("python 3.11", "2.19.0", None),
        ("python 3.5", "2.15.3", None),
        (
            "python 3.5",
            "2.19.0",
            "its Python is 3.5, ansible-core 2.19 needs 3.8 or newer; ansible-core 2.15 can work with it",
        ),
        (
            "sh: 1: python3: not found",
            "2.19.0",
            "there is no python3, which Ansible needs on a host (apt-get install python3)",
        ),
    ],
)
def test_the_python_of_a_host(found, core, text):
    assert action.judge_python("clock 1.2\n" + found, core) == text


def test_the_clock_of_a_host():
    assert action.read_clock("clock 1010.5\npython 3.11", 1000.0, 1001.0) == {
        "offset": 10.0,
        "uncertainty": 0.5,
    }
    assert action.read_clock("clock 1010.%N", 1000.0, 1001.0) is None
    assert action.read_clock("nothing", 0, 1) is None


def clock(offset, uncertainty=0.1):
    return {"problems": [], "clock": {"offset": offset, "uncertainty": uncertainty}}


def test_clocks_that_disagree():
    assert (
        tell.clocks({"a": clock(100), "b": clock(100), "c": clock(100)}, 30) == {}
    )  # ours is wrong, not theirs
    assert tell.clocks({"a": clock(0), "b": clock(1), "c": clock(95)}, 30) == {
        "c": ["its clock is 94 s ahead of that of most other hosts, expected 30 s at most"]
    }
    assert tell.clocks({"a": clock(0), "b": clock(40, 20)}, 30) == {}  # cannot be told
    assert tell.clocks({"a": clock(0), "b": None, "c": {"clock": None}}, 30) == {}


def test_everything_missing_is_told_once():
    results = {
        "ctl": {"problems": [{"item": "etcd", "text": "no etcd"}, {"item": "horizon", "text": "no Horizon"}]},
        "c1": {"problems": [{"item": "nova", "text": "no Nova"}]},
        "c2": {"problems": [{"item": "nova", "text": "no Nova"}]},
        "c3": {"problems": []},
    }
    assert tell.report(results, 30, ["horizon"]) == {
        "failed": "ctl:\n  - no etcd\nc1, c2:\n  - no Nova",
        "optional": "ctl:\n  - no Horizon",
    }
    assert tell.report({"c3": {"problems": []}}) == {"failed": "", "optional": ""}


def test_rows_for_the_table():
    rows = tell.rows({"problems": [{"item": "nova", "text": "no Nova"}]}, ["compute"], ["late"])
    assert rows["nova"] == {"problem": "no Nova", "skip": ""}
    assert rows["time"] == {"problem": "late", "skip": ""}
    assert rows["sql"]["skip"] == "not on compute"
    assert rows["os"] == {"problem": "", "skip": ""}


@pytest.mark.parametrize("item", ["reach", "python"])
def test_a_host_that_could_not_be_looked_at_fails_in_one_row_and_is_fine_in_none(item):
    rows = tell.rows({"problems": [{"item": item, "text": "no Python"}]}, ["compute"])
    assert rows.pop("python") == {"problem": "no Python", "skip": ""}
    assert all(row["skip"] for row in rows.values())
    assert rows["os"]["skip"] == "could not be looked at"


def test_the_other_hosts():
    hostvars = {
        "a": {"management_address": "192.0.2.1", "ansible_host": "198.51.100.1"},
        "b": {"ansible_host": "192.0.2.2", "hass_host_name": "nova-b"},
        "c": {},
    }
    assert tell.peers(["a", "b", "c"], hostvars) == [
        {"name": "a", "address": "192.0.2.1"},
        {"name": "nova-b", "address": "192.0.2.2"},
        {"name": "c", "address": ""},
    ]
