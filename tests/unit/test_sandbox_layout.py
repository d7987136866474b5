"""Where the sandbox puts things, and what it writes into its configuration files."""

from __future__ import annotations

import random
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.domain import Bmc, Host
from hass_runtime.sandbox import layout as layouts
from hass_runtime.sandbox.bmc import Sensor, chassis_program, emulator_commands, full_record, lan_config
from hass_runtime.sandbox.layout import Endpoints, Layout, LayoutError, make_layout
from hass_runtime.settings import load_agent, load_controller

ENDS = Endpoints("http://127.0.0.1:5000/v3", "http://127.0.0.1:8774/v2.1", "admin", "s3cret")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return make_layout(3, tmp_path / "box")


def test_hosts_have_addresses_of_their_own_in_one_block(layout: Layout) -> None:
    addresses = [host.address for host in layout.hosts]
    assert len(set(addresses)) == 3
    assert {address.rsplit(".", 1)[0] for address in addresses} == {addresses[0].rsplit(".", 1)[0]}
    assert all(address.startswith("127.") and not address.startswith("127.0.0.") for address in addresses)


def test_ports_differ_are_unprivileged_and_free(layout: Layout) -> None:
    host = layout.hosts[0]
    ports = [layout.polling_port, layout.presence_port, host.bmc_port, host.inner_port]
    assert len(set(ports)) == 4
    assert all(port > 1024 for port in [*ports, layout.rest_port])
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((host.address, port))


def test_a_port_in_use_on_any_host_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.55.1.2", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(layouts, "PORT_RANGE", (port, port))
        with pytest.raises(LayoutError, match="no 1 free ports"):
            layouts._free_ports(["127.55.1.1", "127.55.1.2"], 1, random.Random(1))
        assert layouts._free_ports(["127.55.1.1"], 1, random.Random(1)) == [port]


def test_two_sandboxes_share_no_secret_and_no_id(tmp_path: Path) -> None:
    one, two = make_layout(1, tmp_path / "one"), make_layout(1, tmp_path / "two")
    assert one.id != two.id
    assert one.key != two.key
    assert one.hosts[0].bmc_password != two.hosts[0].bmc_password


def test_secrets_do_not_show_in_a_repr(layout: Layout) -> None:
    assert layout.key not in repr(layout)
    assert layout.hosts[0].bmc_password not in repr(layout)
    assert "s3cret" not in repr(ENDS)


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        (0, "out of range"),
        (201, "out of range"),
        (["a", "a"], "not unique"),
        (["a b"], "a b"),
        (["../x"], "../x"),
        ([""], "expected letters"),
    ],
)
def test_bad_hosts_are_one_clear_line(tmp_path: Path, hosts: int | list[str], words: str) -> None:
    with pytest.raises(LayoutError, match=words) as caught:
        make_layout(hosts, tmp_path / "box")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "box").exists()


def test_a_directory_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    with pytest.raises(LayoutError, match="not empty"):
        make_layout(1, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["with space", "quo'te", "dollar$", "per%cent"])
def test_directory_names_that_cannot_be_written_into_scripts_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LayoutError, match="not supported"):
        make_layout(1, tmp_path / name)


def test_compute1_is_not_compute10(tmp_path: Path) -> None:
    layout = make_layout(10, tmp_path / "box")
    assert layout.host("compute1").address != layout.host("compute10").address
    with pytest.raises(LayoutError, match="compute: no such host"):
        layout.host("compute")


def test_the_controller_understands_its_file(layout: Layout) -> None:
    layouts.write_controller(layout, ENDS)
    settings = load_controller(layout.config, environ={})
    assert settings.notes == ()
    assert settings.openstack.auth_url == ENDS.auth_url
    assert (settings.openstack.username, settings.openstack.password) == ("admin", "s3cret")
    assert settings.openstack.region_name == ENDS.region
    assert settings.hosts == tuple(
        Host(h.name, h.address, "default", Bmc(h.address, h.bmc_user, h.bmc_password, h.bmc_port))
        for h in layout.hosts
    )
    assert settings.detection.polling_interval == 1
    assert settings.detection.polling_threshold == 2
    assert settings.detection.polling_port == layout.polling_port
    assert settings.detection.polling_key == layout.key.encode()
    assert settings.network.network_transient_time == 5
    assert settings.network.heartbeat_time == 2
    assert settings.network.ping_command is not None
    assert f"exec 3<>/dev/tcp/{{address}}/{layout.presence_port}" in settings.network.ping_command
    assert settings.rest.port == layout.rest_port
    assert settings.paths.state_dir == layout.state_dir
    assert str(layout.state_dir) in settings.database_url


def test_overrides_win_and_leave_the_rest(layout: Layout) -> None:
    layouts.write_controller(
        layout, ENDS, {"safety": {"armed": "false"}, "detection": {"polling_interval": 2}}
    )
    settings = load_controller(layout.config, environ={})
    assert settings.safety.armed is False
    assert settings.detection.polling_interval == 2
    assert settings.detection.polling_threshold == 2


def test_without_quick_values_the_times_are_those_of_a_real_cluster(layout: Layout) -> None:
    layouts.write_controller(layout, ENDS, {"detection": {"polling_interval": 1}}, quick=False)
    settings = load_controller(layout.config, environ={})
    assert settings.detection.polling_interval == 1
    assert settings.network.network_transient_time == 30
    assert settings.openstack.gateway_ip in (None, "")


def test_a_host_may_have_no_bmc_and_the_controller_a_gateway(tmp_path: Path) -> None:
    layout = layouts.make_layout(["a", "b"], tmp_path / "bare", without_bmc=["b"], gateway=True)
    layouts.write_controller(layout, ENDS)
    settings = load_controller(layout.config, environ={})
    assert [host.bmc is not None for host in settings.hosts] == [True, False]
    assert settings.openstack.gateway_ip == layout.gateway
    assert layout.gateway not in {host.address for host in layout.hosts}


def test_each_agent_understands_its_file(layout: Layout) -> None:
    layouts.write_agents(layout)
    for host in layout.hosts:
        settings = load_agent(host.agent_config, environ={})
        assert settings.notes == ()
        assert settings.host == host.name
        assert (settings.listen_address, settings.listen_port) == (host.address, host.inner_port)
        assert settings.key == layout.key.encode()
        assert settings.checks["nova-compute"] == f"command test -e {host.compute_marker}"
        assert settings.checks["libvirtd"] == f"command test -e {host.marker('libvirtd')}"


def test_files_with_secrets_are_for_their_owner_only(layout: Layout) -> None:
    layouts.write_agents(layout)
    layouts.write_controller(layout, ENDS)
    for path in (layout.config, *(host.agent_config for host in layout.hosts)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(layout.root.stat().st_mode) == 0o700


def test_write_private_follows_no_link_and_replaces_whole(tmp_path: Path) -> None:
    target, path = tmp_path / "elsewhere", tmp_path / "file"
    target.write_text("keep")
    (tmp_path / "file.part").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        layouts.write_private(path, "new")
    assert target.read_text() == "keep"


def test_the_bmc_files_hold_the_hosts_own_address_and_password(layout: Layout) -> None:
    host = layout.hosts[0]
    lan = lan_config(host, host.dir / "chassis")
    assert f"addr {host.address} {host.bmc_port}" in lan
    assert f'"{host.bmc_user}" "{host.bmc_password}" admin' in lan
    assert host.bmc_password not in chassis_program(host)


@given(
    label=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=16),
    number=st.integers(1, 254),
    thresholds=st.tuples(*[st.integers(0, 255)] * 6),
)
def test_sensor_records_are_well_formed(label: str, number: int, thresholds: tuple[int, ...]) -> None:
    sensor = Sensor(number, label, 1, 1, 0x37, 24, thresholds, Path("/x"))  # type: ignore[arg-type]
    record = full_record(1, sensor)
    assert all(0 <= byte <= 255 for byte in record)
    assert record[4] == len(record) - 5
    # IPMI v2.0, table 43-1, counted from 1: number 8, thresholds 37 to 42, type and length of the name 48
    assert record[7] == number
    assert tuple(record[36:42]) == thresholds
    assert record[47] == 0xC0 | len(label)
    assert bytes(record[48:]).decode() == label


def test_emulator_reads_each_sensor_from_its_file(layout: Layout) -> None:
    host = layout.hosts[0]
    sensor = Sensor(1, "Inlet Temp", 1, 1, 0x37, 24, (90, 80, 42, 0, 3, 10), host.inlet_file)
    assert f'poll 500 file "{host.inlet_file}"' in emulator_commands([sensor])
