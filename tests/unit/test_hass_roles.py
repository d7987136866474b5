"""The roles of section 4: what they write is what HASS takes, whatever is in the inventory.

Files are rendered by ansible-playbook, from the roles' own defaults, vars and templates, for each platform.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hass_runtime.settings import load_agent, load_controller

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "roles"
PLATFORMS = ("debian-12", "debian-13", "ubuntu-16.04")
KEY = "0123456789abcdef-polling"
ADMIN = "adm,in's #pass%{}"
DATABASE = 'd"b@/:%;'
HOSTS = [
    {
        "name": "compute1",
        "address": "192.0.2.31",
        "bmc": {"address": "192.0.2.131", "user": "u", "password": "b,1 #"},
    },
    {
        "name": "compute10",
        "address": ["192.0.2.40", "198.51.100.40"],
        "bmc": {"address": "2001:db8::1", "user": "u", "password": "p", "port": 6230},
        "zone": "rack2",
    },
    {"name": "compute2", "cluster": "edge", "reserved": True},
]
CONTROLLER = {
    "hass_controller_hosts": HOSTS,
    "hass_controller_auth_url": "http://controller:5000/v3",
    "hass_controller_admin_password": ADMIN,
    "hass_controller_polling_key": KEY,
    "hass_controller_database": {"host": "192.0.2.11", "password": DATABASE},
    "hass_controller_gateway": "192.0.2.1",
    "hass_controller_settings": {
        "ipmi_sensor": {"ipmi_watched_sensors": ["Inlet Temp", "Temp"], "upper_critical": 80},
        "safety": {"armed": False},
        "recovery_method": {"edge": "reserved_host"},
        "detection": {"polling_interval": 2.5},
        "log": {"location": None},
    },
}
AGENT = {
    "hass_agent_polling_key": KEY,
    "hass_agent_host": "compute1",
    "hass_agent_checks": {"ovs": "unit openvswitch-switch.service", "qemu": "off"},
    "hass_agent_settings": {"agent": {"check_timeout": 3}},
}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONTROLLER_FILES = {
    "hass.conf": "{{ lookup('ansible.builtin.template', role_path ~ '/templates/hass.conf.j2') }}",
    "logrotate": "{{ lookup('ansible.builtin.template', role_path ~ '/templates/logrotate.j2') }}",
    "unit": "{{ __hass_controller_unit }}",
    "secrets": "{{ __hass_controller_secret_files | to_json }}",
    "shows": "{{ __hass_controller_shows_secrets | to_json }}",
}
AGENT_FILES = {
    "hass_compute.conf": "{{ lookup('template', role_path ~ '/templates/hass_compute.conf.j2') }}",
    "logrotate": "{{ lookup('ansible.builtin.template', role_path ~ '/templates/logrotate.j2') }}",
    "unit": "{{ __hass_agent_unit }}",
}


def play(role: str, platform: str, files: dict[str, str], variables: dict, where: Path) -> dict:
    """Writes each of ``files`` as the role would on that platform."""
    directory = ROLES / role
    where.mkdir()
    return {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"role_path": str(directory), "ansible_managed": "Ansible managed", **variables},
        "vars_files": [str(directory / "vars" / f"{platform}.yml"), str(directory / "vars" / "main.yml")],
        "tasks": [
            {
                "ansible.builtin.copy": {
                    "content": "{{ __made }}",
                    "dest": str(where / name),
                    "mode": "0640",
                },
                "vars": {"__made": expression},
            }
            for name, expression in files.items()
        ],
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of both roles, in ROLE-PLATFORM/NAME, made by a single run of ansible-playbook."""
    where = tmp_path_factory.mktemp("roles")
    plays = [
        play(role, platform, files, {}, where / f"{role}-{platform}")
        for platform in PLATFORMS
        for role, files in (("hass_controller", CONTROLLER_FILES), ("hass_agent", AGENT_FILES))
    ]
    inline = {"hass_controller_secrets": "inline"}
    plays.append(play("hass_controller", PLATFORMS[0], CONTROLLER_FILES, inline, where / "inline"))
    # Defaults are the least of all: below what the inventory says.
    given = where / "group_vars" / "all"
    given.mkdir(parents=True)
    for role in ("hass_controller", "hass_agent"):
        (given / f"1-{role}.yml").write_text((ROLES / role / "defaults" / "main.yml").read_text())
    (given / "2-inventory.json").write_text(json.dumps(CONTROLLER | AGENT))
    (where / "hosts").write_text("localhost\n")
    (where / "play.json").write_text(json.dumps(plays))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts", "play.json"],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=600,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(where),
            "ANSIBLE_LOCAL_TEMP": str(where / "tmp"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "LC_ALL": "C.UTF-8",
        },
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return where


def read(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


@pytest.fixture(params=PLATFORMS)
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def controller(made: Path, platform: str) -> dict[str, str]:
    return read(made / f"hass_controller-{platform}")


@pytest.fixture
def agent(made: Path, platform: str) -> dict[str, str]:
    return read(made / f"hass_agent-{platform}")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o640)
    return path


def test_the_controller_takes_what_is_written_for_it(controller: dict[str, str], tmp_path: Path) -> None:
    secrets = json.loads(controller["secrets"])
    for name, content in secrets.items():
        write(tmp_path / name, content)
    text = controller["hass.conf"].replace("/etc/hass/secrets", str(tmp_path))
    settings = load_controller(write(tmp_path / "hass.conf", text), {})
    assert [host.name for host in settings.hosts] == ["compute1", "compute10", "compute2"]
    one, ten, two = settings.hosts
    assert one.bmc is not None
    assert (one.bmc.address, one.bmc.port, one.bmc.password) == ("192.0.2.131", 623, "b,1 #")
    assert ten.bmc is not None
    assert (ten.bmc.address, ten.bmc.port) == ("2001:db8::1", 6230)
    assert (ten.address, ten.more_addresses, ten.zone) == ("192.0.2.40", ("198.51.100.40",), "rack2")
    assert two.bmc is None
    assert (two.cluster, two.address) == ("edge", "compute2")
    assert [host.name for host in settings.hosts if host.reserved] == ["compute2"]
    assert settings.openstack.password == ADMIN
    assert settings.detection.polling_key == KEY.encode()
    assert settings.detection.polling_interval == 2.5
    assert settings.sensors.watched == ("Inlet Temp", "Temp")
    assert settings.safety.armed is False
    assert settings.log.location == ""  # taken away by null
    assert settings.database_url_safe == "mysql+pymysql://hass:***@192.0.2.11:3306/hass?charset=utf8mb4"
    assert not settings.notes


def test_no_secret_is_in_a_file_whose_differences_are_shown(
    controller: dict[str, str], agent: dict[str, str]
) -> None:
    assert controller["shows"] == "false"
    for secret in (ADMIN, DATABASE, KEY, "b,1 #"):
        assert secret not in controller["hass.conf"]
    assert KEY not in agent["hass_compute.conf"]


def test_inline_is_the_guides_form_and_not_shown(made: Path) -> None:
    found = read(made / "inline")
    assert (found["secrets"], found["shows"]) == ("{}", "true")
    settings = load_controller(made / "inline" / "hass.conf", {})
    assert settings.openstack.password == ADMIN
    assert settings.hosts[0].bmc is not None
    assert settings.hosts[0].bmc.password == "b,1 #"


def test_the_agent_takes_what_is_written_for_it(agent: dict[str, str], platform: str, tmp_path: Path) -> None:
    key = write(tmp_path / "key", KEY)
    text = agent["hass_compute.conf"].replace("/etc/hass_compute.key", str(key))
    settings = load_agent(write(tmp_path / "hass_compute.conf", text), {})
    assert (settings.host, settings.key, settings.check_timeout) == ("compute1", KEY.encode(), 3)
    assert settings.checks["ovs"] == "unit openvswitch-switch.service"
    assert settings.checks["qemu"] == "off"
    assert ("libvirt-bin.service" in settings.checks["libvirtd"]) == (platform == "ubuntu-16.04")
    assert not settings.notes


@pytest.mark.parametrize("role", ["hass_controller", "hass_agent"])
def test_units_are_those_of_packaging_less_what_systemd_does_not_know(
    role: str, controller: dict[str, str], agent: dict[str, str], platform: str
) -> None:
    name = {"hass_controller": "hass.service", "hass_agent": "detectionagent.service"}[role]
    unit = {"hass_controller": controller, "hass_agent": agent}[role]["unit"].splitlines()
    source = (ROOT / "packaging" / "systemd" / name).read_text().splitlines()
    without = (
        ("SystemCallFilter", "ProtectSystem", "StartLimitIntervalSec") if platform == "ubuntu-16.04" else ()
    )
    left_out = [line for line in source if line not in unit]
    assert [line for line in unit if line not in source] == []
    assert all(line.startswith(without) for line in left_out) if without else left_out == []
    assert not any(line.startswith("SystemCallFilter") for line in unit) or platform != "ubuntu-16.04"


def test_logs_are_rotated_where_they_are_written(controller: dict[str, str], agent: dict[str, str]) -> None:
    assert "\n/var/log/hass/hass.log {\n" in controller["logrotate"]
    assert "\n    su hass hass\n" in controller["logrotate"]
    assert "\n/var/log/hass/hass_compute.log {\n" in agent["logrotate"]


# -- the bundle ------------------------------------------------------------------------------------------

BUNDLE = load(ROLES / "hass_install" / "lookup_plugins" / "hass_bundle.py")


def test_the_checksum_is_over_all_that_goes_into_the_wheel() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    table = text.split("[tool.hatch.build.targets.wheel.shared-data]\n")[1].split("\n[")[0]
    shared = re.findall(r'^"([^"]+)" = "share/hass/([^"]+)"$', table, re.M)
    assert shared
    assert all(source == target for source, target in shared)
    assert set(BUNDLE.PARTS) == {source for source, _ in shared} | {
        "LICENSE",
        "README.md",
        "hass_runtime",
        "pyproject.toml",
    }


def checkout(directory: Path) -> Path:
    (directory / "hass_runtime" / "__pycache__").mkdir(parents=True)
    (directory / "pyproject.toml").write_text("")
    (directory / "hass_runtime" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    return directory


def test_the_checksum_changes_with_a_file_its_name_and_the_constraints(tmp_path: Path) -> None:
    source = checkout(tmp_path / "a")
    first = BUNDLE.bundle(str(source))
    assert first["version"] == "1.2.3"
    (source / "hass_runtime" / "__pycache__" / "x.pyc").write_text("compiled")
    (source / "hass_runtime" / ".x.swp").write_text("an editor's")
    (source / "molecule").mkdir()
    (source / "molecule" / "x.yml").write_text("not in the wheel")
    assert BUNDLE.bundle(str(source)) == first
    seen = {first["checksum"]}
    (source / "constraints.txt").write_text("a==1\n")
    seen.add(BUNDLE.bundle(str(source))["checksum"])
    (source / "hass_runtime" / "one.py").write_text("")
    seen.add(BUNDLE.bundle(str(source))["checksum"])
    (source / "hass_runtime" / "one.py").rename(source / "hass_runtime" / "two.py")
    seen.add(BUNDLE.bundle(str(source))["checksum"])
    seen.add(BUNDLE.bundle(str(source), str(source / "constraints.txt"))["checksum"])
    assert len(seen) == 5


def test_what_is_no_bundle_is_said_in_one_line(tmp_path: Path) -> None:
    for path, constraints, expected in (
        (tmp_path, "", "is no checkout of HASS"),
        (tmp_path / "gone", "", "no such checkout or wheel"),
        (checkout(tmp_path / "b"), str(tmp_path / "none.txt"), "no such constraints file"),
    ):
        with pytest.raises(ValueError, match=expected) as caught:
            BUNDLE.bundle(str(path), constraints)
        assert "\n" not in str(caught.value)
    wheel = tmp_path / "other-1.0-py3-none-any.whl"
    wheel.write_text("")
    with pytest.raises(ValueError, match="is no wheel of HASS"):
        BUNDLE.bundle(str(wheel))


# -- the inventory ---------------------------------------------------------------------------------------

FILTERS = load(ROOT / "playbooks" / "filter_plugins" / "hass_hosts.py")


def test_hosts_of_the_inventory_become_the_controllers_list() -> None:
    variables = {
        "c1": {
            "ansible_host": "192.0.2.1",
            "bmc_address": "192.0.2.101",
            "bmc_user": "u",
            "bmc_password": "p",
        },
        "c2": {
            "management_address": "192.0.2.2",
            "migration_address": "198.51.100.2",
            "zone": "a",
            "cluster": "x",
            "reserved": True,
        },
        "c3": {
            "hass_host_name": "c3.example.org",
            "ansible_host": "192.0.2.3",
            "migration_address": "192.0.2.3",
        },
        "c4": {"bmc_address": "", "reserved": "no"},
    }
    assert FILTERS.hass_compute_hosts(list(variables), variables) == [
        {
            "name": "c1",
            "address": ["192.0.2.1"],
            "bmc": {"address": "192.0.2.101", "user": "u", "password": "p"},
        },
        {
            "name": "c2",
            "address": ["192.0.2.2", "198.51.100.2"],
            "zone": "a",
            "cluster": "x",
            "reserved": True,
        },
        {"name": "c3.example.org", "address": ["192.0.2.3"]},
        {"name": "c4", "address": ["c4"]},
    ]
    assert FILTERS.management_addresses(["c2", "c1"], variables) == ["192.0.2.2", "192.0.2.1"]


def test_what_is_neither_reserved_nor_not_names_the_host() -> None:
    with pytest.raises(Exception, match="c1 has reserved: maybe, expected true or false"):
        FILTERS.hass_compute_hosts(["c1"], {"c1": {"reserved": "maybe"}})


def test_a_bmc_without_its_password_names_the_host() -> None:
    with pytest.raises(Exception, match="c1 has bmc_address and no bmc_password"):
        FILTERS.hass_compute_hosts(["c1"], {"c1": {"bmc_address": "192.0.2.101", "bmc_user": "u"}})
