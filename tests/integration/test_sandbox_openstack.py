"""The embedded OpenStack: real Keystone and Nova, seen by openstacksdk as any cloud would be."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hass_runtime.sandbox.openstack.process import CommandError, Endpoints, OpenStackError, OpenStackProcess

openstack = pytest.importorskip("openstack")
from keystoneauth1 import exceptions as auth_errors  # noqa: E402

pytestmark = pytest.mark.integration

CACHE = Path(os.environ.get("HASS_CACHE_DIR", "~/.cache/hass")).expanduser()
HOSTS = ("compute1", "compute2", "compute3")
KEEPS_STATE = "2.94"  # the last microversion whose evacuation starts the instance again
ARRIVES_STOPPED = "2.95"


def until(what: Callable[[], Any], deadline: float = 30.0) -> Any:
    """The first true value of `what()`; fails the test when there is none within `deadline` seconds."""
    end = time.monotonic() + deadline
    while not (value := what()):
        assert time.monotonic() < end, f"not within {deadline} s"
        time.sleep(0.1)
    return value


class Cloud:
    """A started OpenStack and an admin's connection to it."""

    def __init__(self, process: OpenStackProcess, endpoints: Endpoints) -> None:
        self.process = process
        self.endpoints = endpoints
        self.connection = openstack.connect(**endpoints.connect_args())
        self.compute = self.connection.compute

    def service(self, host: str) -> Any:
        return next(self.compute.services(host=host, binary="nova-compute"))

    def servers(self) -> dict[str, Any]:
        return {server.name: server for server in self.compute.servers()}

    def names_on(self, host: str) -> list[str]:
        return sorted(n for n, s in self.servers().items() if s.compute_host == host)

    def force_down(self, host: str, forced: bool = True) -> None:
        reply = self.compute.put(
            f"/os-services/{self.service(host).id}", json={"forced_down": forced}, microversion="2.53"
        )
        assert reply.status_code == 200, reply.text

    def evacuate(self, server: Any, microversion: str) -> None:
        reply = self.compute.post(
            f"/servers/{server.id}/action", json={"evacuate": {}}, microversion=microversion
        )
        assert reply.status_code == 200, reply.text

    def action(self, server: Any, body: dict[str, Any]) -> None:
        reply = self.compute.post(f"/servers/{server.id}/action", json=body, microversion="2.90")
        assert reply.status_code < 300, reply.text

    def running(self) -> dict[str, list[str]]:
        """The hypervisors' own truth: instance name -> the hosts on which its guest runs."""
        names = {server.id: name for name, server in self.servers().items()}
        return {names[uuid]: hosts for uuid, hosts in self.process.command("guests")["running"].items()}

    def migrations(self, host: str) -> list[str]:
        found = self.compute.get(
            f"/os-migrations?source_compute={host}&migration_type=evacuation", microversion="2.80"
        )
        return [row["status"] for row in found.json()["migrations"]]


def started(directory: Path) -> OpenStackProcess:
    """Three hosts with two instances each; vm5, on compute2, is stopped."""
    instances = [
        {"name": f"vm{n}", "host": HOSTS[(n - 1) % 3], "state": "stopped" if n == 5 else "active"}
        for n in range(1, 7)
    ]
    return OpenStackProcess(directory, CACHE, HOSTS, instances, spawn_seconds=0.2)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """One of its own, for a test that breaks it."""
    with started(tmp_path / "openstack") as process:
        yield Cloud(process, process.start())


@pytest.fixture(scope="module")
def shared_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """For tests that leave every host as they found it."""
    with started(tmp_path_factory.mktemp("openstack")) as process:
        yield Cloud(process, process.start())


def test_a_host_dies_is_evacuated_and_returns(cloud: Cloud) -> None:
    compute = cloud.compute
    assert {s.host for s in compute.services(binary="nova-compute")} == set(HOSTS)
    assert cloud.names_on("compute2") == ["vm2", "vm5"]
    before = cloud.servers()
    assert before["vm5"].status == "SHUTOFF"
    assert cloud.running() == {f"vm{n}": [HOSTS[(n - 1) % 3]] for n in (1, 2, 3, 4, 6)}

    # The host loses power: Nova has not noticed yet and refuses.
    cloud.process.command("compute_stop", host="compute2")
    assert "vm2" not in cloud.running()
    refused = compute.post(f"/servers/{before['vm2'].id}/action", json={"evacuate": {}}, microversion="2.94")
    assert refused.status_code == 400

    cloud.force_down("compute2")
    assert cloud.service("compute2").state == "down"
    for name in ("vm2", "vm5"):
        cloud.evacuate(before[name], KEEPS_STATE)
    until(lambda: cloud.names_on("compute2") == [])
    until(lambda: cloud.servers()["vm2"].status == "ACTIVE" and cloud.servers()["vm5"].status == "SHUTOFF")
    running = cloud.running()
    assert sorted(running) == ["vm1", "vm2", "vm3", "vm4", "vm6"]
    assert all(len(hosts) == 1 for hosts in running.values())
    assert running["vm2"] == [cloud.servers()["vm2"].compute_host]
    assert cloud.migrations("compute2") == ["done", "done"]
    actions = [a.action for a in compute.server_actions(before["vm2"].id)]
    assert "evacuate" in actions

    # As long as the host has not cleaned up after itself, Nova does not let it back in.
    refused = compute.put(
        f"/os-services/{cloud.service('compute2').id}", json={"forced_down": False}, microversion="2.53"
    )
    assert refused.status_code == 400

    cloud.process.command("compute_start", host="compute2")
    until(lambda: cloud.migrations("compute2") == ["completed", "completed"])
    cloud.force_down("compute2", False)
    until(lambda: cloud.service("compute2").state == "up")
    assert cloud.process.command("guests")["hosts"]["compute2"] == []
    assert all(len(hosts) == 1 for hosts in cloud.running().values())


def test_since_2_95_an_evacuated_instance_arrives_stopped(cloud: Cloud) -> None:
    cloud.process.command("compute_stop", host="compute3")
    cloud.force_down("compute3")
    server = cloud.servers()["vm3"]
    cloud.evacuate(server, ARRIVES_STOPPED)
    until(lambda: cloud.names_on("compute3") == ["vm6"] and cloud.servers()["vm3"].status == "SHUTOFF")
    cloud.compute.start_server(server)
    until(lambda: cloud.servers()["vm3"].status == "ACTIVE")
    assert len(cloud.running()["vm3"]) == 1


def test_a_dead_nova_compute_leaves_its_guests_running(cloud: Cloud) -> None:
    cloud.process.command("compute_stop", host="compute1", power=False)
    assert cloud.running()["vm1"] == ["compute1"]
    until(lambda: cloud.service("compute1").state == "down", deadline=20)  # by itself: service_down_time
    cloud.evacuate(cloud.servers()["vm1"], KEEPS_STATE)
    until(lambda: len(cloud.running()["vm1"]) == 2)  # the disaster that fencing prevents, made visible
    until(lambda: cloud.servers()["vm1"].status == "ACTIVE" and "vm1" not in cloud.names_on("compute1"))
    cloud.process.command("compute_start", host="compute1")
    until(lambda: len(cloud.running()["vm1"]) == 1)
    assert cloud.running()["vm4"] == ["compute1"]


def test_the_scheduler_avoids_disabled_hosts(cloud: Cloud) -> None:
    disabled = cloud.service("compute1")
    cloud.compute.disable_service(disabled, disabled_reason="maintenance")
    cloud.process.command("compute_stop", host="compute2")
    cloud.force_down("compute2")
    for name in ("vm2", "vm5"):
        cloud.evacuate(cloud.servers()[name], KEEPS_STATE)
    until(lambda: cloud.names_on("compute3") == ["vm2", "vm3", "vm5", "vm6"])
    cloud.compute.enable_service(disabled)
    assert cloud.service("compute1").status == "enabled"


def test_a_spawn_may_be_slow_and_may_fail(cloud: Cloud) -> None:
    cloud.process.command("set", spawn_seconds=1.5)
    cloud.process.command("compute_stop", host="compute2")
    cloud.force_down("compute2")
    cloud.compute.disable_service(cloud.service("compute1"))
    cloud.process.command("fail_next_spawn", host="compute3", count=1)
    server, began = cloud.servers()["vm2"], time.monotonic()
    cloud.evacuate(server, KEEPS_STATE)
    until(lambda: cloud.servers()["vm2"].status == "ERROR")
    assert time.monotonic() - began >= 1.5
    assert cloud.migrations("compute2") == ["failed"]
    cloud.evacuate(server, KEEPS_STATE)
    until(lambda: cloud.servers()["vm2"].status == "ACTIVE")
    assert cloud.running()["vm2"] == ["compute3"]


def test_a_target_that_dies_during_an_evacuation_starts_nothing(cloud: Cloud) -> None:
    cloud.process.command("set", spawn_seconds=2)
    cloud.process.command("compute_stop", host="compute2")
    cloud.force_down("compute2")
    cloud.compute.disable_service(cloud.service("compute1"))
    cloud.evacuate(cloud.servers()["vm2"], KEEPS_STATE)
    until(lambda: cloud.servers()["vm2"].task_state == "rebuild_spawning")
    cloud.process.command("compute_stop", host="compute3")
    time.sleep(2.5)  # longer than the spawn would have taken: nothing may come of it
    assert sorted(cloud.running()) == ["vm1", "vm4"]
    assert cloud.servers()["vm2"].task_state == "rebuild_spawning"  # Nova does not know


def test_live_migration_moves_the_guest_once(shared_cloud: Cloud) -> None:
    cloud = shared_cloud
    server = cloud.servers()["vm1"]
    cloud.compute.live_migrate_server(server, host=None, block_migration="auto")
    until(lambda: cloud.servers()["vm1"].compute_host != "compute1")
    until(lambda: cloud.servers()["vm1"].status == "ACTIVE")
    assert cloud.running()["vm1"] == [cloud.servers()["vm1"].compute_host]


def test_users_stop_start_and_boot(shared_cloud: Cloud) -> None:
    cloud = shared_cloud
    server = cloud.servers()["vm1"]
    cloud.compute.stop_server(server)
    until(lambda: cloud.servers()["vm1"].status == "SHUTOFF")
    assert "vm1" not in cloud.running()
    cloud.compute.start_server(server)
    until(lambda: cloud.servers()["vm1"].status == "ACTIVE")
    uuid = cloud.process.command("boot", name="new", host="compute3")["uuid"]
    assert cloud.running()["new"] == ["compute3"]
    # A guest that dies by itself: Nova hears of it from the hypervisor and says so.
    cloud.process.command("guest_power", uuid=uuid, on=False)
    until(lambda: cloud.servers()["new"].status == "SHUTOFF")
    with pytest.raises(CommandError, match="unknown 'compute9'"):
        cloud.process.command("compute_stop", host="compute9")


def test_only_the_right_password_opens_and_tenants_see_only_their_own(shared_cloud: Cloud) -> None:
    cloud = shared_cloud
    args = cloud.endpoints.connect_args()
    args["auth"] = {**args["auth"], "password": "wrong"}
    with pytest.raises(auth_errors.Unauthorized):
        openstack.connect(**args).session.get_token()
    tenant = openstack.connect(**cloud.endpoints.connect_args(tenant=True))
    assert list(tenant.compute.servers()) == []
    assert tenant.compute.get("/os-services", microversion="2.53").status_code == 403
    providers = cloud.connection.placement.resource_providers()
    assert {provider.name for provider in providers} == set(HOSTS)


def test_the_api_can_be_cut_in_three_ways(shared_cloud: Cloud) -> None:
    cloud = shared_cloud
    url, session = "/os-services", cloud.compute
    cloud.process.command("api_cut", mode="refuse")
    with pytest.raises(auth_errors.ConnectFailure):
        session.get(url)
    cloud.process.command("api_cut", mode="error")
    assert session.get(url).status_code == 503
    cloud.process.command("api_cut", mode="hang")
    with pytest.raises(auth_errors.ConnectTimeout):
        session.get(url, timeout=1)
    cloud.process.command("api_restore")
    assert session.get(url).status_code == 200


def test_nothing_outlives_its_parent(cloud: Cloud) -> None:
    child = cloud.process._child
    assert child is not None
    assert child.stdin is not None
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    assert children, "Keystone is a child"
    child.stdin.close()  # what the parent's death does
    until(lambda: child.poll() is not None, deadline=10)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), deadline=5)
    with pytest.raises(OpenStackError):
        cloud.process.command("guests")


def test_a_bad_specification_is_one_clear_line(tmp_path: Path) -> None:
    with (
        OpenStackProcess(tmp_path, CACHE, HOSTS, [{"name": "vm", "host": "nowhere"}]) as process,
        pytest.raises(OpenStackError, match="host 'nowhere'"),
    ):
        process.start()
