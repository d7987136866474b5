"""The samples of the installation guide, its placeholders filled in, load as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from settings_files import GUIDE, KEY, write

from hass_runtime.settings import SettingsError, ini, load_agent, load_controller
from hass_runtime.settings.example import TABLES
from hass_runtime.settings.keys import ANY

# For every key of the samples that has an effect: another value, which must make other settings.
OTHER = {
    "controller": {
        "openstack.openstack_admin_account": "hass",
        "openstack.openstack_admin_password": "other",
        "openstack.openstack_user_domain_id": "other",
        "openstack.openstack_project_domain_id": "other",
        "openstack.openstack_project_name": "other",
        "openstack.openstack_external_network_gateway_ip": "198.51.100.1",
        "ipmi.compute1": "198.51.100.131",
        "ipmi.compute2": "198.51.100.132:6230",
        "ipmi_user.compute1": "root,other",
        "ipmi_user.compute2": "other,example-two",
        "mysql.mysql_ip": "198.51.100.2",
        "mysql.mysql_username": "other",
        "mysql.mysql_password": "other",
        "mysql.mysql_db": "other",
        "ipmi_sensor.ipmi_watched_sensors": '["Temp"]',
        "ipmi_sensor.upper_critical": "75",
        "ipmi_sensor.lower_critical": "5",
        "log.level": "ERROR",
        "log.location": "/tmp/other.log",
        "detection.polling_interval": "0.5",
        "detection.polling_threshold": "3",
        "detection.polling_port": "2469",
        "detection.wait_restart_threshold": "0",
        "default.network_transient_time": "1.5",
        "default.heartbeat_time": "1",
        "default.shared_storage": "false",
        "default.max_message_size": "2048",
        "RESTful.host": "198.51.100.11",
        "RESTful.port": "9998",
        "detector.ping_command": "fping {address}",
    },
    "agent": {
        "libvirt.libvirt_uri": "test:///default",
        "log.level": "ERROR",
        "log.location": "/tmp/other.log",
        "polling.listen_port": "2469",
    },
}
LOAD = {"controller": load_controller, "agent": load_agent}


def sample(kind):
    return ini.parse(GUIDE[kind].read_text(encoding="utf-8"))


def guide_keys():
    return [
        pytest.param(kind, section, name, id=f"{kind}-{section}-{name}")
        for kind in GUIDE
        for section, keys in sample(kind).sections.items()
        for name in keys
    ]


def loaded(kind, path):
    return replace(LOAD[kind](path, {}), path=Path("/"), notes=())


@pytest.mark.parametrize("kind", ["controller", "agent"])
def test_every_key_has_an_effect_or_a_note(kind, tmp_path):
    parsed = sample(kind)
    settings = LOAD[kind](GUIDE[kind], {})
    without_effect = {note.split(": ")[1] for note in settings.notes if ": accepted, no effect" in note}
    keys = {(section, name) for section, keys in parsed.sections.items() for name in keys}
    noted = {(s, n) for s, n in keys if f"[{s}] {n}" in without_effect or f"[{s}]" in without_effect}
    assert {f"{s}.{n}" for s, n in keys - noted} == set(OTHER[kind])


@pytest.mark.parametrize(("kind", "where"), [(kind, where) for kind in OTHER for where in OTHER[kind]])
def test_a_key_with_an_effect_changes_the_settings(kind, where, tmp_path):
    section, name = where.split(".")
    lines = GUIDE[kind].read_text(encoding="utf-8").splitlines()
    number = sample(kind).sections[section][name].line
    lines[number - 1] = f"{name} = {OTHER[kind][where]}"
    assert loaded(kind, write(tmp_path, "\n".join(lines))) != loaded(kind, GUIDE[kind])


@pytest.mark.parametrize(("kind", "section", "name"), guide_keys())
def test_every_key_of_the_samples_is_in_the_table(kind, section, name):
    table = TABLES[kind]
    if section in table.no_effect_sections:
        return
    key = table.find(section, name)
    assert key is not None
    assert key.guide
    assert key.meaning
    assert key.name == name or (key.name == ANY and name in ("compute1", "compute2"))


@pytest.mark.parametrize("kind", ["controller", "agent"])
def test_the_table_claims_no_key_for_the_guide_that_it_does_not_have(kind):
    # These three were read by HASS 4.1 itself; the guide's sample of the controller left them out.
    left_out = {("detection", "time_to_wait"), ("detection", "check_timeout")} | {
        ("keystone_auth", name) for name in ("url", "port")
    }
    parsed = sample(kind)
    for key in TABLES[kind].keys:
        if key.guide and key.name != ANY and (key.section, key.name) not in left_out:
            assert parsed.get(key.section, key.name) is not None, key.where


def test_what_the_controllers_sample_means():
    settings = load_controller(GUIDE["controller"], {"HASS_POLLING_KEY": KEY})
    assert settings.openstack.password == 'correct horse, 100%=#"battery"'
    assert settings.openstack.auth_url == "http://192.168.2.11:5000/v3"
    assert [(host.name, host.bmc.address, host.bmc.port, host.bmc.password) for host in settings.hosts] == [
        ("compute1", "192.0.2.131", 623, "example,one"),
        ("compute2", "192.0.2.132", 623, "example-two"),
    ]
    assert settings.network.ping_command == ("timeout", "0.2", "ping", "-c", "1", "{address}")
    assert settings.sensors.watched == ("Inlet Temp", "Temp")
    assert settings.sensors.node_sensors == ("Temp", "Inlet Temp", "Fan1", "Fan2")
    assert (settings.sensors.lower_critical, settings.sensors.upper_critical) == (10.0, 80.0)
    assert settings.database_url_safe == "mysql+pymysql://hass:***@controller:3306/hass?charset=utf8mb4"
    assert settings.rest.host == "127.0.0.1"
    assert settings.detection.polling_key == KEY.encode()


def test_the_notes_of_the_controllers_sample():
    notes = "\n".join(load_controller(GUIDE["controller"], {}).notes)
    path = GUIDE["controller"]
    assert f"{path}: [iii]: accepted, no effect" in notes
    assert f"{path}: [RESTful] host: listens on 127.0.0.1 only: the API has no authentication yet" in notes
    assert (
        f"{path}: [ipmi_sensor] ipmi_node_sensors: accepted, no effect yet: nothing shows a host's sensors"
        in notes
    )
    assert f"{path}: [detection] polling_key: not set" in notes


def test_the_placeholders_of_the_guide_are_problems_and_not_passwords(tmp_path):
    text = (
        GUIDE["controller"]
        .read_text(encoding="utf-8")
        .replace('correct horse, 100%=#"battery"', "ADMIN_PASS")
        .replace("example db %40", "HASSDB_PASS")
        .replace("root,example,one", "IPMI_USER,IPMI_PASSWORD")
        .replace("192.0.2.132", "IPMI_IP_ADDRESS")
    )
    with pytest.raises(SettingsError) as raised:
        load_controller(write(tmp_path, text), {})
    found = "\n".join(raised.value.problems)
    assert len(raised.value.problems) == 4
    for where, placeholder in [
        ("[openstack] openstack_admin_password", "ADMIN_PASS"),
        ("[mysql] mysql_password", "HASSDB_PASS"),
        ("[ipmi_user] compute1", "IPMI_USER and IPMI_PASSWORD"),
        ("[ipmi] compute2", "IPMI_IP_ADDRESS"),
    ]:
        assert f"{where}: still the placeholder {placeholder}" in found
