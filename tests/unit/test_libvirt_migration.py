"""libvirt for live migration: what is written by platform, and taken back; what the verification sees."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
import yaml

pytest.importorskip("ansible")
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

TOP = Path(__file__).resolve().parents[2]
ROLE = TOP / "roles" / "libvirt_migration"
PLATFORMS = {
    "debian-12": "libvirtd.service",
    "debian-13": "libvirtd.service",
    "ubuntu-16.04": "libvirtd.service",
}
LIBVIRTD_CONF = """\
# Master libvirt daemon configuration file
#listen_tls = 0
#listen_tcp = 1
#auth_tcp = "sasl"
unix_sock_group = "libvirt"
"""


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


settings = load(TOP / "playbooks" / "library" / "hass_settings.py", "hass_settings")
units = load(TOP / "playbooks" / "library" / "hass_restart_units.py", "hass_restart_units")
migration = load(TOP / "playbooks" / "filter_plugins" / "hass_migration.py", "hass_migration")


def trusted(value):
    """ansible-core 2.19 evaluates only what it is told to trust."""
    try:
        from ansible.template import trust_as_template
    except ImportError:
        return value
    if isinstance(value, dict):
        return {key: trusted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [trusted(inner) for inner in value]
    return trust_as_template(value) if isinstance(value, str) else value


class Host:
    """The variables of the role as a host of the platform has them."""

    def __init__(self, platform, there=(), **parameters):
        self.variables = {
            "role_path": str(ROLE),
            "inventory_hostname": "compute1",
            "ansible_managed": "Ansible",
        }
        for path in (ROLE / "defaults/main.yml", ROLE / "vars/main.yml", ROLE / f"vars/{platform}.yml"):
            self.variables.update(yaml.safe_load(path.read_text()))
        self.variables["libvirt_migration_address"] = "192.0.2.11"
        self.variables.update(parameters)
        self.variables["ansible_facts"] = {"hostname": "compute1", "fqdn": "compute1.example.com"}
        self.variables["__libvirt_migration_daemon_files"] = {
            "results": [
                {"item": daemon, "stat": {"exists": daemon["options"] in there}}
                for daemon in self.variables["__libvirt_migration_daemons"]
            ]
        }
        self.templar = Templar(DataLoader(), trusted(self.variables))

    def __getitem__(self, name):
        return self.template("{{ " + name + " }}")

    def template(self, text):
        return self.templar.template(trusted(text))

    def file(self, name):
        return self.template((ROLE / "templates" / name).read_text())

    def check(self, name, **extra):
        """A check of the verification, evaluated."""
        if extra:
            self.templar = Templar(DataLoader(), trusted({**self.variables, **extra}))
        for task in yaml.safe_load((ROLE / "tasks/verify.yml").read_text()):
            for check in task.get("hass_check", {}).get("checks", ()):
                if check["name"] == name:
                    return self.template(check)
        raise KeyError(name)


def values(text):
    """What libvirt reads: the first line of a key counts."""
    read = {}
    for line in text.splitlines():
        key = settings.key_of(line)
        if key:
            read.setdefault(key, line.split("=", 1)[1].strip())
    return read


def set_in(text, host):
    return settings.wanted(text, {k: str(v) for k, v in host["__libvirt_migration_settings"].items()}, " = ")


@pytest.mark.parametrize("platform", PLATFORMS)
class TestConfiguration:
    def test_tcp_is_bound_to_the_migration_address(self, platform):
        read = values(set_in(LIBVIRTD_CONF, Host(platform)))
        assert read == {
            "unix_sock_group": '"libvirt"',
            "listen_tls": "0",
            "listen_tcp": "1",
            "listen_addr": '"192.0.2.11"',
            "tcp_port": '"16509"',
            "tls_port": '"16514"',
            "auth_tcp": '"none"',
            "auth_tls": '"none"',
        }

    def test_tls_lets_nobody_in_without_a_certificate(self, platform):
        read = values(set_in(LIBVIRTD_CONF, Host(platform, libvirt_migration_transport="tls")))
        assert (read["listen_tls"], read["listen_tcp"], read["auth_tcp"]) == ("1", "0", '"sasl"')
        assert read["listen_addr"] == '"192.0.2.11"'

    def test_the_literal_guide_is_a_variable_away(self, platform):
        host = Host(platform, libvirt_migration_listen_address="0.0.0.0")
        assert values(set_in(LIBVIRTD_CONF, host))["listen_addr"] == '"0.0.0.0"'

    def test_the_unit_that_has_to_be_active(self, platform):
        host = Host(platform)
        sockets = host["__libvirt_migration_activation"] == "sockets"
        assert host["__libvirt_migration_open"] == (["libvirtd-tcp.socket"] if sockets else [])
        assert host["__libvirt_migration_unit"] == ("libvirtd-tcp.socket" if sockets else PLATFORMS[platform])
        assert len(host["__libvirt_migration_all_sockets"]) == (5 if sockets else 0)


@pytest.mark.parametrize("platform", ["debian-12", "debian-13"])
@pytest.mark.parametrize(
    ("parameters", "stream"),
    [
        ({}, "192.0.2.11:16509"),
        ({"libvirt_migration_transport": "tls"}, "192.0.2.11:16514"),
        ({"libvirt_migration_listen_address": "0.0.0.0"}, "0.0.0.0:16509"),
        ({"libvirt_migration_listen_address": "::"}, "[::]:16509"),
        (
            {"libvirt_migration_address": "2001:db8::11", "libvirt_migration_tcp_port": 17000},
            "[2001:db8::11]:17000",
        ),
    ],
)
def test_the_socket_is_bound_to_one_address(platform, parameters, stream):
    lines = Host(platform, **parameters).file("listener.conf.j2").splitlines()
    assert [line for line in lines if line.startswith("ListenStream")] == [
        "ListenStream=",
        "ListenStream=" + stream,
    ]
    assert "FreeBind=yes" in lines  # it has to start at boot before the address is there


class TestUbuntu1604:
    """The guide's own: libvirtd with -l."""

    @pytest.mark.parametrize(
        ("there", "service"),
        [
            ((), "libvirtd.service"),
            (("/etc/default/libvirtd",), "libvirtd.service"),
            (("/etc/default/libvirt-bin",), "libvirt-bin.service"),
            (("/etc/default/libvirtd", "/etc/default/libvirt-bin"), "libvirtd.service"),
        ],
    )
    def test_the_daemon_is_the_one_that_is_there(self, there, service):
        host = Host("ubuntu-16.04", there=there)
        assert host["__libvirt_migration_daemon"]["service"] == service
        assert host["__libvirt_migration_unit"] == service

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("", 'libvirtd_opts="-l"'),
            ('#libvirtd_opts="-l"\n', 'libvirtd_opts="-l"'),
            ('libvirtd_opts=""\n', 'libvirtd_opts="-l"'),
            ('libvirtd_opts="-d"\nstart_libvirtd="yes"\n', 'libvirtd_opts="-d -l"'),
            ("libvirtd_opts='-d -v'", 'libvirtd_opts="-d -v -l"'),
        ],
    )
    def test_the_option_to_listen_is_added(self, before, after):
        text = settings.wanted(before, settings.with_words(before, {"libvirtd_opts": ["-l|--listen"]}), "=")
        assert [line for line in text.splitlines() if settings.key_of(line) == "libvirtd_opts"] == [after]
        assert settings.original(text) == before

    @pytest.mark.parametrize("before", ['libvirtd_opts="-l"\n', 'libvirtd_opts="-d --listen"\n'])
    def test_an_option_that_is_there_is_left_alone(self, before):
        assert (
            settings.wanted(before, settings.with_words(before, {"libvirtd_opts": ["-l|--listen"]}), "=")
            == before
        )

    def test_it_waits_for_the_network(self):
        assert "After=network-online.target" in Host("ubuntu-16.04").file("daemon.conf.j2").splitlines()


class TestSettings:
    """A file of settings, and the way back."""

    BEFORE = (
        LIBVIRTD_CONF,
        "",
        "\n",
        'auth_tcp = "sasl"',  # no newline at the end
        '  listen_tcp=0\nauth_tcp = "sasl"\n\n# the end\n\n',
        "host_uuid = \"x\"\r\nauth_tcp = 'none'\r\n",
        '#HASSLE = 1\nauth_tcps = "other"\n',
    )

    @pytest.mark.parametrize("before", BEFORE)
    def test_the_way_back_leaves_no_trace(self, before):
        text = before
        for wanted in (
            {"auth_tcp": '"none"'},
            {"auth_tcp": '"none"', "listen_tcp": "1"},
            {"listen_tcp": "0"},
        ):
            text = settings.wanted(settings.original(text), wanted, " = ")
            assert {key: value for key, value in values(text).items() if key in wanted} == wanted
            assert settings.original(text) == before

    def test_the_second_time_nothing_changes(self):
        once = settings.wanted(LIBVIRTD_CONF, {"auth_tcp": '"none"'}, " = ")
        assert settings.wanted(settings.original(once), {"auth_tcp": '"none"'}, " = ") == once

    def test_every_line_of_the_key_is_set_aside(self):
        text = settings.wanted("a = 1\nb = 2\na = 3\n", {"a": "4"}, " = ")
        assert [line for line in text.splitlines() if settings.key_of(line)] == ["b = 2", "a = 4"]

    def test_what_a_person_adds_below_stays(self):
        text = settings.wanted('a = "1"', {"a": "2"}, " = ") + "b = 3\n"
        assert settings.original(text) == 'a = "1"\nb = 3\n'

    def test_without_settings_there_is_no_block(self):
        assert settings.wanted(LIBVIRTD_CONF, {}, " = ") == LIBVIRTD_CONF


class TestVerification:
    HEADER = "State    Recv-Q   Send-Q     Local Address:Port      Peer Address:Port  Process\n"
    MINE = 'LISTEN   0        128           192.0.2.11:16509  0.0.0.0:*  users:(("libvirtd",pid=1,fd=3))\n'
    LIKE_MINE = "LISTEN   0        128          192.0.2.110:16509          0.0.0.0:*\n"
    ALL = "LISTEN   0        128              0.0.0.0:16509          0.0.0.0:*\n"
    OLD_ALL = "LISTEN   0        128                    *:16509                *:*\n"
    ALL_6 = "LISTEN   0        128                 [::]:16509             [::]:*\n"

    @pytest.mark.parametrize(
        ("shown", "there", "alone"),
        [
            (HEADER + MINE, True, True),
            (MINE, True, True),
            (HEADER, False, True),
            (HEADER + LIKE_MINE, False, False),
            (HEADER + ALL, False, False),
            (HEADER + OLD_ALL, False, False),
            (HEADER + MINE + ALL_6, True, False),
            (HEADER + ALL_6 + MINE, True, False),
        ],
    )
    def test_listening_on_the_migration_address_alone(self, shown, there, alone):
        host = Host("debian-12")
        assert (
            bool(re.search(host.check("libvirt listens on the migration address")["expect"], shown)) is there
        )
        assert bool(re.search(host.check("libvirt listens on no other address")["expect"], shown)) is alone

    @pytest.mark.parametrize(
        ("address", "shown"), [("0.0.0.0", ALL), ("0.0.0.0", OLD_ALL), ("::", ALL_6), ("::", OLD_ALL)]
    )
    def test_listening_everywhere_when_asked_to(self, address, shown):
        host = Host("debian-12", libvirt_migration_listen_address=address)
        for name in ("libvirt listens on the migration address", "libvirt listens on no other address"):
            assert re.search(host.check(name)["expect"], self.HEADER + shown)

    def test_the_other_transport(self):
        expect = Host("debian-12").check("the other transport is closed")
        assert expect["command"][-1] == "sport = :16514"
        assert re.search(expect["expect"], self.HEADER)
        assert not re.search(expect["expect"], self.HEADER + self.ALL_6)

    @pytest.mark.parametrize(
        ("text", "right"),
        [
            (
                "[libvirt]\nx = 1\nlive_migration_scheme = tcp\nlive_migration_inbound_addr=192.0.2.11\n",
                True,
            ),
            ("[libvirt]\nlive_migration_scheme = tcp\nlive_migration_inbound_addr = 192.0.2.110\n", False),
            ("[libvirt]\nlive_migration_scheme = tls\nlive_migration_inbound_addr = 192.0.2.11\n", False),
            ("[libvirt]\n#live_migration_scheme = tcp\nlive_migration_inbound_addr = 192.0.2.11\n", False),
            (
                "[libvirt]\n\n[vnc]\nlive_migration_scheme = tcp\nlive_migration_inbound_addr = 192.0.2.11\n",
                False,
            ),
        ],
    )
    def test_nova_conf(self, text, right):
        patterns = Host("debian-12").check("nova.conf moves guests over this transport")["file"]["contains"]
        assert all(re.search(pattern, "[DEFAULT]\n" + text, re.MULTILINE) for pattern in patterns) is right

    @pytest.mark.parametrize(
        ("platform", "parameters", "address", "uri"),
        [
            ("debian-12", {}, "192.0.2.12", "qemu+tcp://192.0.2.12:16509/system"),
            (
                "debian-13",
                {"libvirt_migration_tcp_port": 17000},
                "2001:db8::2",
                "qemu+tcp://[2001:db8::2]:17000/system",
            ),
            (
                "ubuntu-16.04",
                {"libvirt_migration_transport": "tls"},
                "192.0.2.12",
                "qemu+tls://192.0.2.12:16514/system",
            ),
        ],
    )
    def test_the_other_host_is_called_by_its_address(self, platform, parameters, address, uri):
        peer = {"name": "compute2", "address": address}
        host = Host(platform, **parameters, item=peer, libvirt_migration_peers=[peer])
        tasks = yaml.safe_load((ROLE / "tasks/verify.yml").read_text())
        said = [task["vars"]["__libvirt_migration_peer"] for task in tasks if "vars" in task]
        assert [host.template(text) for text in said] == [uri, uri]
        baseline = next(task for task in tasks if task["name"].startswith("Find what the CPUs"))
        words = host.template(baseline["ansible.builtin.command"]["argv"])
        assert words[-2:] == ["qemu:///system", uri]

    def test_the_way_back_removes_the_directories_that_it_emptied(self):
        tasks = yaml.safe_load((ROLE / "tasks/take_back.yml").read_text())
        task = next(task for task in tasks if task["name"].startswith("Remove the directories"))
        host = Host("debian-12", __libvirt_migration_ours_file={"stat": {"exists": True}})
        directories = host.template(task["loop"])
        assert "/etc/systemd/system/libvirtd-tcp.socket.d" in directories
        assert directories.index("/etc/pki/libvirt/private") < directories.index("/etc/pki/libvirt")
        assert directories.index("/etc/pki/qemu") < directories.index("/etc/pki")

    @pytest.mark.parametrize(
        ("platform", "mode", "models", "asked"),
        [
            ("debian-12", "", [], ["domcapabilities", "hypervisor-cpu-compare"]),
            ("debian-12", "host-model", [], ["domcapabilities", "hypervisor-cpu-compare"]),
            ("debian-12", "host-passthrough", [], ["capabilities", "cpu-compare"]),
            ("debian-12", "custom", ["Haswell"], ["domcapabilities", "hypervisor-cpu-compare", "Haswell"]),
            ("ubuntu-16.04", "", [], ["capabilities", "cpu-compare"]),
            ("ubuntu-16.04", "custom", ["Haswell"], ["capabilities", "cpu-compare", "Haswell"]),
        ],
    )
    def test_the_cpu_that_guests_get_is_compared(self, platform, mode, models, asked):
        peer = "qemu+tcp://compute2/system"
        host = Host(
            platform,
            libvirt_migration_cpu_mode=mode,
            libvirt_migration_cpu_models=models,
            __libvirt_migration_peer=peer,
        )
        tasks = yaml.safe_load((ROLE / "tasks/verify.yml").read_text())
        task = next(task for task in tasks if task["name"].startswith("Compare the CPU"))
        words = host.template(task["ansible.builtin.command"]["argv"])
        assert words[:4] == ["timeout", "10", "sh", "-c"]
        assert words[5:] == ["sh", peer, *asked]

    @pytest.mark.parametrize(
        ("mode", "rc", "stdout", "stderr", "outcome"),
        [
            ("", 0, "Host CPU is a superset of CPU described in /dev/stdin", "", "compatible"),
            ("host-passthrough", 0, "Host CPU is a superset of CPU described in x", "", "not identical"),
            ("host-passthrough", 0, "CPU described in /dev/stdin is identical to host CPU", "", "compatible"),
            ("", 124, "", "", "no answer"),
            (
                "",
                1,
                "",
                "error: failed to connect to the hypervisor",
                "error: failed to connect to the hypervisor",
            ),
            (
                "",
                1,
                "",
                "error: Failed to compare\nerror: the CPU is incompatible with host CPU: "
                "Host CPU does not provide required features: pcid, rtm",
                "Host CPU does not provide required features: pcid, rtm",
            ),
        ],
    )
    def test_what_came_of_the_comparison(self, mode, rc, stdout, stderr, outcome):
        seen = {"rc": rc, "stdout": stdout, "stderr": stderr}
        host = Host("debian-12", libvirt_migration_cpu_mode=mode, __libvirt_migration_seen=seen)
        assert host["__libvirt_migration_outcome"] == outcome

    def test_a_cpu_that_every_host_has_is_not_compared(self):
        assert (
            "cpu_mode = none"
            in Host("debian-12", libvirt_migration_cpu_mode="none")["__libvirt_migration_cpu_skip"]
        )
        assert not Host("debian-12")["__libvirt_migration_cpu_skip"]

    def test_the_advice_names_what_all_hosts_have(self):
        baseline = (
            "<cpu mode='custom' match='exact'>\n  <model fallback='forbid'>Broadwell-noTSX</model>\n"
            "  <feature policy='require' name='vme'/>\n  <feature policy='disable' name='pcid'/>\n</cpu>"
        )
        host = Host("debian-12", __libvirt_migration_baseline={"stdout": baseline})
        assert host["__libvirt_migration_advice"].endswith(
            "to what all hosts have: Broadwell-noTSX, with cpu_model_extra_flags = -pcid"
        )

    @pytest.mark.parametrize(
        "script", ["__libvirt_migration_cpu_script", "__libvirt_migration_baseline_script"]
    )
    def test_the_scripts_are_scripts(self, script):
        text = yaml.safe_load((ROLE / "vars/main.yml").read_text())[script]
        assert subprocess.run(["sh", "-n", "-c", text], check=False).returncode == 0

    @pytest.mark.parametrize(("answers", "code"), [("0", 0), ("1", 1)])
    def test_each_model_has_to_be_there(self, tmp_path, answers, code):
        fake = tmp_path / "virsh"
        fake.write_text(
            f"#!/bin/sh\ncat >>{tmp_path}/seen\ngrep -q Broadwell {tmp_path}/seen && exit {answers}\nexit 0\n"
        )
        fake.chmod(0o755)
        text = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__libvirt_migration_cpu_script"]
        ran = subprocess.run(
            [
                "sh",
                "-c",
                text,
                "sh",
                "qemu+tcp://x/system",
                "capabilities",
                "cpu-compare",
                "Haswell",
                "Broadwell",
            ],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            check=False,
        )
        assert ran.returncode == code
        assert "<model>Haswell</model>" in (tmp_path / "seen").read_text()


class Systemd:
    """As far as it matters here: no socket starts while its service runs, and clients start the service."""

    SOCKETS = ("lib.socket", "lib-ro.socket", "lib-tcp.socket")

    def __init__(self, clients=lambda: False):
        self.active = {"lib.socket", "lib-ro.socket", "lib.service"}
        self.clients = clients
        self.asked = []

    def start(self, unit):
        if unit == "lib.service":
            if unit not in self.active:
                self.active |= {"lib.socket", "lib-ro.socket", unit}
            return True
        if unit not in self.active and "lib.service" in self.active:
            return False
        self.active |= {"lib.socket", unit}
        return True

    def run(self, words):
        self.asked.append(words)
        verb, good = words[1], True
        if words[0] == "journalctl":
            return 0, "Socket service already active, refusing.\n", ""
        if verb == "show":
            return 0, "RequiredBy=nova.service\nBoundBy=lib-ro.socket\nConsistsOf=\n", ""
        if verb == "is-active":
            return (0 if words[-1] in self.active else 3), "", ""
        for unit in words[2:]:
            if verb == "stop":
                self.active -= {unit, "nova.service"}
            elif verb == "start":
                good = self.start(unit) and good
            if self.active & set(self.SOCKETS) and self.clients():
                self.start("lib.service")
        return (0, "", "") if good else (1, "", "Job failed.")


class TestRestart:
    def test_nobody_can_come_in_between(self):
        systemd = Systemd(clients=lambda: True)
        assert units.restart(systemd.run, "lib.service", list(Systemd.SOCKETS), ["lib-tcp.socket"]) == ""
        assert systemd.active == {*Systemd.SOCKETS, "lib.service"}

    def test_a_service_without_sockets_is_just_restarted(self):
        assert units.commands("lib.service", [], []) == [["systemctl", "restart", "lib.service"]]

    def test_what_comes_too_late_is_tried_again(self):
        came = iter([False] * 4 + [True] + [False] * 100)
        systemd = Systemd(clients=lambda: next(came))
        systemd.active.add("lib-two.socket")
        wanted = ["lib-tcp.socket", "lib-two.socket"]
        sockets = [*Systemd.SOCKETS, "lib-two.socket"]
        assert units.restart(systemd.run, "lib.service", sockets, wanted) == ""
        assert set(wanted) <= systemd.active

    @pytest.mark.parametrize("ran", [True, False])
    def test_what_was_stopped_along_with_it_runs_again(self, ran):
        systemd = Systemd()
        systemd.active |= {"nova.service"} if ran else set()
        start = systemd.start
        systemd.start = lambda unit: start(unit) if unit.startswith("lib") else not systemd.active.add(unit)
        assert units.restart(systemd.run, "lib.service", list(Systemd.SOCKETS), ["lib-tcp.socket"]) == ""
        assert ("nova.service" in systemd.active) is ran

    def test_a_failure_that_stays_is_told(self):
        systemd = Systemd()
        systemd.start = lambda unit: unit != "lib-tcp.socket"
        problem = units.restart(systemd.run, "lib.service", list(Systemd.SOCKETS), ["lib-tcp.socket"])
        assert problem == "systemctl start lib-tcp.socket: Job failed."
        assert units.reasons(systemd.run, ["lib-tcp.socket"]) == (
            "lib-tcp.socket: Socket service already active, refusing."
        )


def test_the_peers_come_from_the_inventory():
    hosts = {
        "compute1": {
            "ansible_host": "10.0.0.1",
            "management_address": "10.0.1.1",
            "migration_address": "10.0.2.1",
        },
        "compute2": {"ansible_host": "10.0.0.12", "management_address": "10.0.1.12"},
        "compute3": {"ansible_host": "10.0.0.13"},
        "compute4": {},
    }
    assert migration.migration_peers(list(hosts), hosts) == [
        {"name": "compute1", "address": "10.0.2.1"},
        {"name": "compute2", "address": "10.0.1.12"},
        {"name": "compute3", "address": "10.0.0.13"},
        {"name": "compute4", "address": "compute4"},
    ]


def test_the_certificate_has_every_name():
    host = Host("debian-12", libvirt_migration_names=["alias.example.com", "2001:db8::1"])
    task = next(
        task
        for task in yaml.safe_load((ROLE / "tasks/certificate.yml").read_text())
        if "community.crypto.openssl_csr_pipe" in task
    )
    assert host.template(task["community.crypto.openssl_csr_pipe"]["subject_alt_name"]) == [
        "DNS:compute1",
        "DNS:compute1.example.com",
        "DNS:alias.example.com",
        "IP:192.0.2.11",
        "IP:2001:db8::1",
    ]
