"""The controller's file: defaults, every way to give a password, and one clear line for what is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from settings_files import KEY, controller, ini_text, problems, write

from hass_runtime.domain import Bmc, Host
from hass_runtime.settings import SettingsError, load_controller


def test_defaults(tmp_path):
    settings = controller(tmp_path)
    assert settings.detection.polling_interval == 5.0
    assert settings.safety.fence_reads == 2
    assert settings.safety.armed is True
    assert settings.recovery.evacuate_microversion == "2.94"
    assert settings.network.ping_command is None
    assert settings.paths.state_dir == Path("/var/lib/hass")
    assert settings.paths.symptoms is None
    assert settings.database_url == "sqlite:////var/lib/hass/hass.db"
    assert settings.log.location == ""
    assert settings.openstack.region_name is None
    assert settings.controller.name
    assert settings.notes == ()


def test_settings_are_frozen(tmp_path):
    settings = controller(tmp_path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.safety.armed = False


def test_own_keys_are_read(tmp_path):
    settings = controller(
        tmp_path,
        {
            "safety.armed": "no",
            "safety.storm_threshold": "0.3",
            "recovery.auto_restore": "false",
            "recovery.poll_interval": "0.1",
            "paths.state_dir": "/srv/hass",
            "paths.playbooks": "/srv/playbooks",
            "paths.symptoms": "/srv/symptoms.yml",
            "controller.name": "c1",
            "controller.lease_ttl": "2",
            "openstack.openstack_interface": "internal",
        },
    )
    assert (settings.safety.armed, settings.safety.storm_threshold) == (False, 0.3)
    assert (settings.recovery.auto_restore, settings.recovery.poll_interval) == (False, 0.1)
    assert settings.paths.state_dir == Path("/srv/hass")
    assert settings.paths.playbooks == Path("/srv/playbooks")
    assert settings.paths.symptoms == Path("/srv/symptoms.yml")
    assert settings.database_url == "sqlite:////srv/hass/hass.db"
    assert (settings.controller.name, settings.controller.lease_ttl) == ("c1", 2.0)
    assert settings.openstack.interface == "internal"


def test_hosts_with_and_without_ipmi(tmp_path):
    settings = controller(
        tmp_path,
        {
            "cluster.hosts": "compute2, compute1, Compute3",
            "cluster.name": "rack1",
            "address.Compute3": "192.0.2.33",
            "ipmi.compute2": "[2001:db8::2]:6230",
        },
    )
    assert settings.hosts == (
        Host("compute2", "compute2", "rack1", Bmc("2001:db8::2", "root", "example2", 6230)),
        Host("compute1", "compute1", "rack1", Bmc("192.0.2.131", "root", "example1", 623)),
        Host("Compute3", "192.0.2.33", "rack1", None),
    )


def test_names_are_compared_whole_and_with_their_case(tmp_path):
    settings = controller(
        tmp_path,
        {
            "ipmi.Compute1": "192.0.2.141",
            "ipmi_user.Compute1": "root,big",
            "ipmi.compute10": "192.0.2.140",
            "ipmi_user.compute10": "root,ten",
        },
    )
    found = {host.name: (host.bmc.address, host.bmc.password) for host in settings.hosts}
    assert found == {
        "compute1": ("192.0.2.131", "example1"),
        "compute2": ("192.0.2.132", "example2"),
        "Compute1": ("192.0.2.141", "big"),
        "compute10": ("192.0.2.140", "ten"),
    }
    assert any("compute1 and Compute1 are two hosts" in note for note in settings.notes)


# Every row: what is changed, and the one line that comes of it (its start, and a part of it).
WRONG = [
    ({"openstack.openstack_admin_password": None}, "[openstack] openstack_admin_password", "missing"),
    ({"openstack.openstack_admin_password": ""}, "[openstack] openstack_admin_password", "empty"),
    ({"openstack.openstack_auth_url": None}, "[openstack] openstack_auth_url", "http://controller:5000/v3"),
    ({"openstack.openstack_auth_url": "controller"}, "[openstack] openstack_auth_url", "http or https URL"),
    ({"openstack.openstack_auth_url": "http://u:p@c/v3"}, "[openstack] openstack_auth_url", "host, port"),
    ({"openstack.openstack_interface": "Public"}, "[openstack] openstack_interface", "one of public"),
    ({"openstack.openstack_cacert": "ca.pem"}, "[openstack] openstack_cacert", "absolute path"),
    ({"openstack.openstack_request_timeout": "0"}, "[openstack] openstack_request_timeout", "above 0"),
    ({"openstack.openstack_external_network_gateway_ip": "192.0.2.300"},
     "[openstack] openstack_external_network_gateway_ip", "IP address"),
    ({"detection.polling_interval": "fast"}, "[detection] polling_interval", "'fast': not a number"),
    ({"detection.polling_interval": "nan"}, "[detection] polling_interval", "not a number"),
    ({"detection.polling_threshold": "0"}, "[detection] polling_threshold", "from 1 to 1000"),
    ({"detection.polling_threshold": "2.5"}, "[detection] polling_threshold", "whole number"),
    ({"detection.polling_port": "70000"}, "[detection] polling_port", "from 1 to 65535"),
    ({"detection.polling_key": "short"}, "[detection] polling_key", "has 5 characters, expected 16"),
    ({"default.shared_storage": "maybe"}, "[default] shared_storage", "true or false"),
    ({"default.heartbeat_time": "0"}, "[default] heartbeat_time", "from 1"),
    ({"log.level": "info"}, "[log] level", "one of DEBUG, INFO"),
    ({"safety.fence_reads": "1"}, "[safety] fence_reads", "from 2 to 100"),
    ({"safety.storm_threshold": "50"}, "[safety] storm_threshold", "from 0 to 1"),
    ({"recovery.evacuate_microversion": "2.29"}, "[recovery] evacuate_microversion", "2.53 or later"),
    ({"detection.polling_treshold": "2"}, "[detection] polling_treshold", "did you mean polling_threshold?"),
    ({"detection.network_transient_time": "2"}, "[detection] network_transient_time", "belongs in [default]"),
    ({"openstack.auth_url": "http://c/v3"}, "[openstack] auth_url", "did you mean openstack_auth_url?"),
    ({"DEFAULT.heartbeat_time": "2"}, "[DEFAULT]", "did you mean [default]?"),
    ({"ipmi_sensor.upper_critical": "5", "ipmi_sensor.lower_critical": "10"},
     "[ipmi_sensor] lower_critical", "less than upper_critical"),
    ({"ipmi_sensor.ipmi_watched_sensors": '["Temp", 5]'}, "[ipmi_sensor] ipmi_watched_sensors", "strings"),
    ({"ipmi.compute3": "192.0.2.133"}, "[ipmi_user] compute3", "missing, expected USER,PASSWORD"),
    ({"ipmi_user.compute3": "root,x"}, "[ipmi_user] compute3", "did you mean compute"),
    ({"ipmi_user.compute1": "root"}, "[ipmi_user] compute1", "no password"),
    ({"ipmi_user.compute1": "root,"}, "[ipmi_user] compute1", "no password after the comma"),
    ({"ipmi_user.compute1": ",x"}, "[ipmi_user] compute1", "names no user"),
    ({"ipmi.compute1": "192.0.2.131:"}, "[ipmi] compute1", "ADDRESS:PORT"),
    ({"ipmi.compute1": "192.0.2.132"}, "[ipmi] compute2", "is the BMC of compute1 as well"),
    ({"cluster.hosts": "compute1"}, "[ipmi] compute2", "no host of [cluster] hosts is called that"),
    ({"cluster.hosts": "compute1, compute2, compute2"}, "[cluster] hosts", "compute2 is listed twice"),
    ({"cluster.hosts": "compute1, compute2, -x"}, "[cluster] hosts", "not a host name"),
    ({"address.compute1": "192.0.2.9", "address.compute2": "192.0.2.9"}, "[address] compute2", "of compute1"),
    ({"address.compute9": "192.0.2.9"}, "[address] compute9", "no host of [cluster] hosts"),
    ({"mysql.mysql_ip": "db"}, "[mysql] mysql_password", "$HASS_MYSQL_PASSWORD"),
    ({"mysql.mysql_password": "x", "mysql.mysql_db": "a/b"}, "[mysql] mysql_db", "letters"),
    ({"keystone_auth.url": "a b", "openstack.openstack_auth_url": None}, "[keystone_auth] url", "host name"),
    ({"detector.ping_command": "ping -c 1"}, "[detector] ping_command", "{address} is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "where", "says"), WRONG)
def test_what_is_wrong_is_one_clear_line(tmp_path, changes, where, says):
    (problem,) = problems(controller, tmp_path, changes)
    assert problem.startswith(f"{where}: ")
    assert says in problem
    assert "\n" not in problem


def test_all_problems_come_at_once_and_name_the_file(tmp_path):
    changes = {
        "openstack.openstack_admin_password": None,
        "detection.polling_interval": "fast",
        "safety.fence_reads": "1",
        "nonsense.x": "1",
    }
    with pytest.raises(SettingsError) as raised:
        controller(tmp_path, changes)
    assert len(raised.value.problems) == 4
    assert all(problem.startswith(f"{tmp_path}/hass.conf: [") for problem in raised.value.problems)
    assert str(raised.value) == "\n".join(raised.value.problems)


def test_a_missing_file_is_a_problem(tmp_path):
    (problem,) = problems(load_controller, tmp_path / "none.conf", {})
    expected = "expected the configuration of a HASS controller"
    assert problem == f"cannot be read: No such file or directory; {expected}"


def test_no_host_at_all(tmp_path):
    path = write(
        tmp_path,
        "[openstack]\nopenstack_auth_url = http://c:5000\nopenstack_admin_password = x\n",
    )
    (problem,) = problems(load_controller, path, {})
    assert problem.startswith("[cluster] hosts: names no host")


@pytest.mark.parametrize(
    ("given", "auth_url"),
    [
        ({"keystone_auth.url": "keystone"}, "http://keystone:5000/v3"),
        ({"keystone_auth.url": "keystone", "keystone_auth.port": "35357"}, "http://keystone:35357/v3"),
        ({"keystone_auth.url": "2001:db8::1"}, "http://[2001:db8::1]:5000/v3"),
        ({"keystone_auth.url": "https://keystone/identity/v3"}, "https://keystone/identity/v3"),
        ({"keystone_auth.url": "https://keystone", "keystone_auth.port": "5000"}, "https://keystone:5000/v3"),
        ({"RESTful.host": "192.0.2.11"}, "http://192.0.2.11:5000/v3"),
        ({"RESTful.host": "192.0.2.11", "keystone_auth.url": "k"}, "http://k:5000/v3"),
    ],
)
def test_where_keystone_is_when_there_is_no_auth_url(tmp_path, given, auth_url):
    settings = controller(tmp_path, {"openstack.openstack_auth_url": None, **given})
    assert settings.openstack.auth_url == auth_url


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "localhost", "::"])
def test_an_address_that_is_nobodys_is_not_taken_for_keystone(tmp_path, host):
    (problem,) = problems(controller, tmp_path, {"openstack.openstack_auth_url": None, "RESTful.host": host})
    assert problem.startswith("[openstack] openstack_auth_url: missing")


def test_auth_url_wins_over_keystone_auth_and_says_so(tmp_path):
    settings = controller(tmp_path, {"keystone_auth.url": "other"})
    assert settings.openstack.auth_url == "http://controller:5000/v3"
    assert any("[keystone_auth] url: accepted, no effect" in note for note in settings.notes)


def private(directory, name, text, mode=0o600):
    path = write(directory, text, name)
    path.chmod(mode)
    return str(path)


def test_passwords_from_files(tmp_path):
    settings = controller(
        tmp_path,
        {
            "openstack.openstack_admin_password": None,
            "openstack.openstack_admin_password_file": private(tmp_path, "admin", " a b \n"),
            "mysql.mysql_password_file": private(tmp_path, "mysql", "p@/:%+ w"),
            "detection.polling_key": None,
            "detection.polling_key_file": private(tmp_path, "key", KEY + "\r\n"),
            "ipmi_user.compute1": "root",
            "ipmi_password_file.compute1": private(tmp_path, "bmc", "b,m,c\n"),
        },
    )
    assert settings.openstack.password == " a b "
    assert settings.database_url == (
        "mysql+pymysql://hass:p%40%2F%3A%25%2B%20w@controller:3306/hass?charset=utf8mb4"
    )
    assert settings.detection.polling_key == KEY.encode()
    assert settings.hosts[0].bmc.password == "b,m,c"
    assert settings.notes == ()


def test_passwords_from_the_environment_come_first(tmp_path):
    settings = controller(
        tmp_path,
        {"mysql.mysql_password": "file", "ipmi_user.compute2": "root"},
        {
            "HASS_OPENSTACK_ADMIN_PASSWORD": "admin-env",
            "HASS_MYSQL_PASSWORD": "mysql-env",
            "HASS_POLLING_KEY": "k" * 16,
            "HASS_IPMI_PASSWORD_COMPUTE2": "bmc-env",
        },
    )
    assert settings.openstack.password == "admin-env"
    assert "hass:mysql-env@" in settings.database_url
    assert settings.detection.polling_key == b"k" * 16
    assert [host.bmc.password for host in settings.hosts] == ["example1", "bmc-env"]


def test_one_variable_for_two_bmcs_is_a_problem(tmp_path):
    changes = {"ipmi.Compute1": "192.0.2.141", "ipmi_user.Compute1": "root,x"}
    (problem,) = problems(controller, tmp_path, changes, {"HASS_IPMI_PASSWORD_COMPUTE1": "y"})
    shared = "$HASS_IPMI_PASSWORD_COMPUTE1 would be for compute1 as well"
    assert problem.startswith(f"[ipmi_user] Compute1: {shared}")


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "one line"), ("\n", "one line"), ("a\nb\n", "one line"), ("CHANGE_ME\n", "placeholder")],
)
def test_a_password_file_with_something_else_in_it(tmp_path, text, says):
    changes = {"mysql.mysql_password_file": private(tmp_path, "mysql", text)}
    (problem,) = problems(controller, tmp_path, changes)
    assert problem.startswith("[mysql] mysql_password_file: ")
    assert says in problem


def test_a_password_file_that_is_not_there(tmp_path):
    (problem,) = problems(controller, tmp_path, {"mysql.mysql_password_file": f"{tmp_path}/none"})
    assert "/none: cannot be read: No such file or directory" in problem


@pytest.mark.parametrize("section", ["ipmi", "address", "ipmi_password_file"])
def test_a_password_in_the_wrong_section_is_not_shown(tmp_path, section):
    changes = {f"{section}.compute1": "root,hunter2", "ipmi_user.compute1": "root"}
    found = problems(controller, tmp_path, changes)
    assert any(problem.startswith(f"[{section}] compute1: ") for problem in found)
    assert "hunter2" not in "".join(found)


def test_a_password_given_twice_is_a_problem(tmp_path):
    file = private(tmp_path, "p", "x")
    changes = {
        "openstack.openstack_admin_password_file": file,
        "ipmi_password_file.compute1": file,
    }
    assert [problem.split(": ")[0] for problem in problems(controller, tmp_path, changes)] == [
        "[openstack] openstack_admin_password",
        "[ipmi_user] compute1",
    ]


def test_files_that_anybody_can_read_are_noted(tmp_path):
    open_file = private(tmp_path, "admin", "x", 0o644)
    changes = {
        "openstack.openstack_admin_password": None,
        "openstack.openstack_admin_password_file": open_file,
    }
    (note,) = controller(tmp_path, changes).notes
    assert f"chmod 640 {open_file}" in note
    config = tmp_path / "hass.conf"
    config.chmod(0o644)
    notes = load_controller(config, {}).notes
    assert any(f"(mode 0644): chmod 640 {config}" in note for note in notes)


def test_a_file_without_passwords_may_be_read_by_anybody(tmp_path):
    text = ini_text({"openstack": {"openstack_auth_url": "http://c:5000"}, "cluster": {"hosts": "compute1"}})
    path = write(tmp_path, text)
    path.chmod(0o644)
    environ = {"HASS_OPENSTACK_ADMIN_PASSWORD": "x", "HASS_POLLING_KEY": KEY}
    assert load_controller(path, environ).notes == ()


def test_long_bmc_passwords_are_noted(tmp_path):
    settings = controller(tmp_path, {"ipmi_user.compute1": "root," + "x" * 21})
    assert any("longer than the 20 bytes" in note for note in settings.notes)


def test_sqlite_path_and_mysql_exclude_each_other(tmp_path):
    assert controller(tmp_path, {"database.path": "/x/y.db"}).database_url == "sqlite:////x/y.db"
    settings = controller(tmp_path, {"database.path": "/x/y.db", "mysql.mysql_password": "p"})
    assert settings.database_url_safe == "mysql+pymysql://hass:***@controller:3306/hass?charset=utf8mb4"
    assert any("[database] path: accepted, no effect" in note for note in settings.notes)
