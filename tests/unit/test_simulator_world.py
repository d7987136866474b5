"""The made-up world and its Nova: what the remedies were built to cope with has to be there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hass_runtime.remedy.nova import CloudError
from hass_runtime.simulator.bmc import BmcSilent, MadeUpAgent, MadeUpBmc
from hass_runtime.simulator.cloud import MadeUpCloud
from hass_runtime.simulator.hub import Hub
from hass_runtime.simulator.nova import Nova, Refused
from hass_runtime.simulator.scenario import HostSpec, InstanceSpec
from hass_runtime.simulator.world import World


class Place:
    """Three hosts, two instances on the first."""

    def __init__(self, *hosts: HostSpec) -> None:
        self.hub = Hub()
        specs = hosts or (HostSpec("a"), HostSpec("b"), HostSpec("c"))
        instances = (InstanceSpec("one", "a"), InstanceSpec("two", "a", "stopped", 5))
        self.world = World(self.hub, specs, instances, 0)
        self.nova = Nova(self.world)
        self.a = self.world.hosts["a"]
        self.one = self.world.by_name["one"].uuid
        self.two = self.world.by_name["two"].uuid

    def pass_time(self, seconds: float) -> None:
        self.hub.run(self.hub.now + seconds, lambda: None)

    def server(self, uuid: str) -> tuple[str, str, str]:
        server = self.nova.records[uuid].server
        return server.host, server.vm_state, server.task_state

    def runs_on(self, uuid: str) -> list[str]:
        return self.world.running_on(self.world.guests[uuid])

    def refused(self, work: Callable[[], object]) -> int:
        with pytest.raises(Refused) as caught:
            work()
        return caught.value.status


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_dead_nova_compute_counts_as_up_for_a_minute(place: Place) -> None:
    place.pass_time(5)
    place.world.cut_mains(place.a)
    place.pass_time(59)
    assert place.nova.is_up("a")
    assert place.refused(lambda: place.nova.evacuate(place.one)) == 400
    place.pass_time(2)
    assert not place.nova.is_up("a")


def test_an_evacuation_gives_each_instance_its_state_back_elsewhere(place: Place) -> None:
    place.world.cut_mains(place.a)
    assert place.runs_on(place.one) == []
    place.nova.set_forced_down("a", True)
    place.nova.evacuate(place.one)
    place.nova.evacuate(place.two)
    assert place.refused(lambda: place.nova.evacuate(place.one)) == 409
    assert place.server(place.one) == ("a", "active", "rebuilding")
    assert [each.status for each in place.nova.migrations.values()] == ["accepted", "accepted"]
    place.pass_time(10)
    host, state, task = place.server(place.one)
    assert (state, task) == ("active", "")
    assert place.runs_on(place.one) == [host] != ["a"]
    assert place.server(place.two)[1] == "stopped"
    assert place.runs_on(place.two) == []
    assert [each.status for each in place.nova.migrations.values()] == ["done", "done"]
    assert place.server(place.one)[0] != place.server(place.two)[0]  # the emptiest first


def test_from_microversion_2_95_on_what_was_evacuated_arrives_stopped(place: Place) -> None:
    place.nova.arrives_stopped = True
    place.world.cut_mains(place.a)
    place.nova.set_forced_down("a", True)
    place.nova.evacuate(place.one)
    place.pass_time(10)
    assert place.server(place.one)[1:] == ("stopped", "")


def test_without_a_host_to_go_to_an_evacuation_ends_in_error() -> None:
    place = Place(HostSpec("a"), HostSpec("b", room=0), HostSpec("c", cluster="other"))
    place.world.cut_mains(place.a)
    place.nova.set_forced_down("a", True)
    place.nova.evacuate(place.one)
    place.pass_time(10)
    assert place.server(place.one) == ("a", "error", "")
    assert [each.status for each in place.nova.migrations.values()] == ["error"]


def test_who_is_on_the_way_to_a_host_that_dies_waits_for_it() -> None:
    place = Place(HostSpec("a"), HostSpec("b"))
    place.world.cut_mains(place.a)
    place.nova.set_forced_down("a", True)
    place.nova.evacuate(place.one)
    place.pass_time(1)
    place.world.cut_mains(place.world.hosts["b"])
    place.pass_time(100)
    assert place.server(place.one) == ("a", "active", "rebuild_spawning")
    assert place.nova.migrations[1].status == "pre-migrating"
    place.world.restore_mains(place.world.hosts["b"])
    place.pass_time(60)
    assert place.server(place.one) == ("a", "error", "")


def test_a_rebooted_host_runs_nothing_and_nova_notes_its_guests_as_stopped(place: Place) -> None:
    place.world.cut_mains(place.a)
    place.pass_time(5)
    place.world.restore_mains(place.a)
    place.pass_time(10)
    assert not place.world.up(place.a)
    place.pass_time(50)
    assert place.world.up(place.a)
    assert place.nova.alive("a")
    assert place.runs_on(place.one) == []
    assert place.server(place.one) == ("a", "stopped", "")
    assert [(each.name, each.internal) for each in place.nova.records[place.one].actions] == [
        ("create", False),
        ("stop", True),
    ]


def test_a_host_that_was_only_cut_off_runs_its_guests_on(place: Place) -> None:
    place.a.network = False
    place.world.touched()
    assert place.runs_on(place.one) == ["a"]
    place.pass_time(70)
    assert not place.nova.is_up("a")
    place.a.network = True
    place.world.touched()
    place.pass_time(10)
    assert place.nova.is_up("a")
    assert place.server(place.one) == ("a", "active", "")


def test_force_down_is_lifted_only_after_the_source_has_cleaned_up(place: Place) -> None:
    place.world.cut_mains(place.a)
    place.nova.set_forced_down("a", True)
    place.nova.evacuate(place.one)
    place.pass_time(10)
    assert place.refused(lambda: place.nova.set_forced_down("a", False)) == 400
    place.world.restore_mains(place.a)
    place.pass_time(60)
    service = place.nova.service("a")
    assert service is not None
    assert (service.up, service.forced_down) == (False, True)  # down for Nova, and beating
    place.pass_time(20)
    again = place.nova.service("a")
    assert again is not None
    assert again.updated_at > service.updated_at
    place.nova.set_forced_down("a", False)
    assert place.nova.is_up("a")


def test_a_live_migration_moves_what_runs_and_can_be_aborted(place: Place) -> None:
    assert place.refused(lambda: place.nova.live_migrate(place.two)) == 409
    place.nova.live_migrate(place.one)
    place.pass_time(2)
    place.nova.abort(place.one, 1)
    assert place.server(place.one) == ("a", "active", "")
    place.pass_time(20)
    assert place.runs_on(place.one) == ["a"]
    place.nova.live_migrate(place.one)
    place.pass_time(20)
    assert place.runs_on(place.one) == [place.server(place.one)[0]] != ["a"]
    assert place.refused(lambda: place.nova.abort(place.one, 2)) == 400


def test_a_bmc_switches_reads_lies_and_falls_silent(place: Place) -> None:
    told = []
    bmc = MadeUpBmc(place.world, place.a, lambda host, what: told.append(what))
    assert bmc.power() == "on"
    bmc.power_off()
    assert bmc.power() == "on"  # it takes a moment
    place.pass_time(2)
    assert bmc.power() == "off"
    bmc.power_on()
    assert bmc.power() == "on"
    place.a.bmc_lies = True
    bmc.power_off()
    place.pass_time(2)
    assert bmc.power() == "off"
    assert place.a.power
    place.a.bmc_lies, place.a.bmc_answers = False, False
    for call in (bmc.power, bmc.power_off, bmc.power_on):
        with pytest.raises(BmcSilent):
            call()
    assert told == ["off", "on", "off"]


def test_without_mains_a_bmc_switches_nothing_on(place: Place) -> None:
    bmc = MadeUpBmc(place.world, place.a, lambda host, what: None)
    place.world.cut_mains(place.a)
    bmc.power_on()
    assert bmc.power() == "off"
    place.world.restore_mains(place.a)
    assert bmc.power() == "on"


def test_an_agent_restarts_units_only(place: Place) -> None:
    agent = MadeUpAgent(place.world, place.a)
    place.world.stop_service(place.a, "nova-compute")
    place.world.stop_service(place.a, "qemu")
    assert {name: check.state for name, check in agent.checks().items()} == {
        "nova-compute": "failed",
        "libvirtd": "ok",
        "qemu": "failed",
    }
    assert agent.restart("qemu") is not None
    assert agent.restart("nova-compute") is None
    place.pass_time(10)
    assert place.a.stopped == {"qemu"}


def test_a_proper_shutdown_says_goodbye_first(place: Place) -> None:
    place.world.shut_down(place.a)
    assert place.a.leaving
    assert place.world.speaks(place.a)
    place.pass_time(10)
    assert not place.a.power
    place.world.get_power(place.a)
    place.pass_time(40)
    assert place.world.speaks(place.a)
    assert not place.a.leaving


def test_what_is_deleted_while_its_host_cannot_be_reached_writes_on_until_the_host_is_off(
    place: Place,
) -> None:
    place.a.network = False
    place.world.touched()
    place.nova.delete(place.one)
    assert place.runs_on(place.one) == ["a"]
    place.world.cut_mains(place.a)
    assert place.runs_on(place.one) == []


def test_nova_that_is_cut_off_refuses_in_one_line_and_tells_what_was_asked(place: Place) -> None:
    told = []
    cloud = MadeUpCloud(place.nova, "2.94", lambda *what: told.append(what))
    assert not cloud.arrives_stopped
    with pytest.raises(CloudError, match="still in use") as caught:
        cloud.evacuate(place.one)
    assert caught.value.status == 400
    assert told == [("evacuate", place.one, "a")]
    with pytest.raises(CloudError) as caught:
        cloud.start("no such instance")
    assert caught.value.gone
    place.world.nova_api = False
    for call in (
        lambda: cloud.servers_on("a"),
        lambda: cloud.actions(place.one),
        cloud.evacuate_microversion,
    ):
        with pytest.raises(CloudError, match="does not answer"):
            call()
