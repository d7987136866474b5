"""Readiness and plans: which instances would come back, which not, why, and how it is told."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from seeded import seed
from views import DEAD, MUTE, NOW, WELL, answering, host, order, policy, silent, view_of

from hass_runtime.api import create_app
from hass_runtime.api.views import load_openapi
from hass_runtime.cli import client as clients
from hass_runtime.cli.main import main
from hass_runtime.decide.cloud_facts import CloudFacts, Compute, Group, Instance, Need, Shape
from hass_runtime.decide.foresight import faults_of, plan
from hass_runtime.decide.protection import Aggregate, Lists, Rules
from hass_runtime.decide.readiness import ADVICE, Back, HostReady, assess
from hass_runtime.decide.view import View
from hass_runtime.domain import Choice, Gate, HostState, Layer, Method, OrderKind, Pause, Reserve
from hass_runtime.remedy.nova import CloudError
from hass_runtime.remedy.steps import steps_of
from hass_runtime.settings.controller import shipped_playbooks
from hass_runtime.survey.collect import collect, to_instance, to_shape
from hass_runtime.survey.keeper import INTERVAL, STALE, NotKnown, Surveyor
from hass_runtime.survey.policy import policy_of, traits_of

PATHS: Any = SimpleNamespace(playbooks=shipped_playbooks(), own_playbooks=Path("/nonexistent"))
ONE = Shape((("MEMORY_MB", 100), ("VCPU", 1)))


def instance(name: str, on: str = "host1", memory: int = 100, **more: Any) -> Instance:
    shape = Shape((("MEMORY_MB", memory), ("VCPU", 1)))
    return replace(Instance(f"id-{name}", name, on, "active", shape), **more)


def compute(name: str, free: int | None = 1000, **more: Any) -> Compute:
    left = None if free is None else {"MEMORY_MB": free, "VCPU": 50}
    return replace(Compute(name, "nova", True, True, left), **more)


def facts(*instances: Instance, hosts: tuple[Compute, ...] = (), **more: Any) -> CloudFacts:
    given = hosts or tuple(compute(f"host{number}") for number in (1, 2, 3))
    return replace(CloudFacts(NOW, {each.host: each for each in given}, instances), **more)


def well(*names: str) -> View:
    return view_of(*(answering(name) for name in names or ("host1", "host2", "host3")))


def of_host1(cloud: CloudFacts, view: View | None = None) -> HostReady:
    return next(each for each in assess(view or well(), cloud).hosts if each.host == "host1")


def only(cloud: CloudFacts, view: View | None = None) -> tuple[Back, str]:
    """What becomes of the only instance, and the kind of its problem."""
    (found,) = of_host1(cloud, view).instances
    return found.back, found.problem.kind if found.problem is not None else ""


# One instance


def test_an_instance_that_fits_elsewhere_comes_back_on_the_emptiest_host() -> None:
    hosts = (compute("host1"), compute("host2", 500), compute("host3", 700))
    found = of_host1(facts(instance("a"), hosts=hosts))
    assert (found.ready, found.held, found.problems) == (True, False, ())
    assert [(each.back, each.target) for each in found.instances] == [(Back.YES, "host3")]


@pytest.mark.parametrize(
    ("cloud", "expected"),
    [
        (facts(instance("a", memory=1001)), (Back.NO, "room")),
        (facts(instance("a", memory=1000)), (Back.YES, "")),
        (facts(instance("a", zone="az1")), (Back.NO, "zone")),
        (facts(instance("a", zone="nova")), (Back.YES, "")),
        (facts(instance("a", needs=frozenset({Need.VTPM}))), (Back.NO, "vtpm")),
        (facts(instance("a", needs=frozenset({Need.DEVICE}))), (Back.UNSURE, "device")),
        (facts(instance("a", vm_state="paused")), (Back.NO, "state")),
        (facts(instance("a", vm_state="stopped")), (Back.YES, "")),
        (facts(instance("a"), shared_storage=False), (Back.BLANK, "disk")),
        (facts(instance("a", local_disk=False), shared_storage=False), (Back.YES, "")),
        (facts(instance("a"), fits={ONE: frozenset({"host1"})}), (Back.NO, "shape")),
        (facts(instance("a"), fits={ONE: frozenset({"host1", "host2"})}), (Back.YES, "")),
        (facts(instance("a"), hosts=(compute("host1"),)), (Back.NO, "targets")),
    ],
)
def test_what_keeps_an_instance_from_coming_back(cloud: CloudFacts, expected: tuple[Back, str]) -> None:
    assert only(cloud) == expected
    back, kind = expected
    assert of_host1(cloud).ready is (back is Back.YES)
    assert kind == "" or ADVICE[kind]


@pytest.mark.parametrize(
    "other",
    [
        compute("host2", up=False),
        compute("host2", enabled=False),
        compute("host2", free=None),
    ],
)
def test_a_host_that_nova_does_not_choose_takes_nothing(other: Compute) -> None:
    assert only(facts(instance("a"), hosts=(compute("host1"), other))) == (Back.NO, "targets")


def test_a_host_that_hass_took_out_takes_nothing() -> None:
    cloud = facts(instance("a"), hosts=(compute("host1"), compute("host2"), compute("host3", 50)))
    assert only(cloud) == (Back.YES, "")
    out = view_of(answering("host1"), answering("host2", state=HostState.QUARANTINED), answering("host3"))
    assert only(cloud, out) == (Back.NO, "room")
    kept = view_of(
        answering("host1"),
        answering("host2", maintenance=order("host2", OrderKind.MAINTENANCE)),
        answering("host3"),
    )
    assert only(cloud, kept) == (Back.NO, "room")


# Several


def test_who_comes_first_gets_the_room() -> None:
    hosts = (compute("host1"), compute("host2", 250))
    cloud = facts(instance("a"), instance("b", priority=5), instance("c"), hosts=hosts)
    found = of_host1(cloud)
    assert [(each.instance.name, each.back) for each in found.instances] == [
        ("b", Back.YES),
        ("a", Back.YES),
        ("c", Back.NO),
    ]
    problem = found.instances[2].problem
    assert problem is not None
    wanted = "it needs MEMORY_MB 100, VCPU 1; the emptiest, host2, has MEMORY_MB 50, VCPU 48 left"
    assert wanted in problem.words


def test_anti_affinity_needs_a_host_without_the_others() -> None:
    three = (instance("a"), instance("b", "host2"), instance("c", "host3"))
    group = {"g": Group("anti-affinity", frozenset(each.id for each in three))}
    grouped = tuple(replace(each, group="g") for each in three)
    found = of_host1(facts(*grouped, groups=group))
    assert found.instances[0].problem is not None
    assert found.instances[0].problem.kind == "group"
    two = {"g": replace(group["g"], most=2)}
    assert of_host1(facts(*grouped, groups=two)).ready
    soft = {"g": replace(group["g"], policy="soft-anti-affinity")}
    assert of_host1(facts(*grouped, groups=soft)).ready
    assert of_host1(facts(*grouped[:2], groups=group)).instances[0].target == "host3"


def test_members_that_move_together_keep_their_distance() -> None:
    two = (instance("a", group="g"), instance("b", group="g"))
    group = {"g": Group("anti-affinity", frozenset(each.id for each in two))}
    targets = [each.target for each in of_host1(facts(*two, groups=group)).instances]
    assert sorted(targets) == ["host2", "host3"]


def test_affinity_to_what_died_with_it_keeps_an_instance_off() -> None:
    two = (instance("a", group="g"), instance("b", group="g"))
    group = {"g": Group("affinity", frozenset(each.id for each in two))}
    assert [each.back for each in of_host1(facts(*two, groups=group)).instances] == [Back.NO, Back.NO]
    elsewhere = (two[0], replace(two[1], host="host3"))
    assert of_host1(facts(*elsewhere, groups=group)).instances[0].target == "host3"
    assert of_host1(facts(two[0], groups={"g": Group("affinity", frozenset({"id-a"}))})).ready


def test_how_many_hosts_may_die_at_once() -> None:
    each = [instance(f"i{number}", f"host{number}", memory=400) for number in range(1, 6)]
    hosts = tuple(compute(f"host{number}", 400) for number in range(1, 6))
    names = tuple(f"host{number}" for number in range(1, 6))
    assert assess(well(*names), facts(*each, hosts=hosts)).can_lose == 2
    full = tuple(compute(f"host{number}", 0) for number in range(1, 6))
    assert assess(well(*names), facts(*each, hosts=full)).can_lose == 0
    assert assess(well(*names), facts(hosts=hosts)).can_lose == 4


# The reserve


def with_reserve(method: Method, spare: Compute, **more: Any) -> tuple[View, tuple[Compute, ...]]:
    """host1 dies, host2 has room for one instance of 100 MiB, host3 is kept in reserve."""
    view = view_of(
        answering("host1"),
        answering("host2"),
        answering("host3", reserve=Reserve.READY),
        policy=policy(methods={"default": method}, **more),
    )
    return view, (compute("host1"), compute("host2", 100), spare)


SPARE = compute("host3", 150, enabled=False)


@pytest.mark.parametrize(
    ("method", "targets"),
    [
        (Method.AUTO, ("host2", "", "")),
        (Method.RESERVED_HOST, ("host3", "", "")),
        (Method.AUTO_PRIORITY, ("host2", "host3", "")),
        (Method.RH_PRIORITY, ("host3", "host2", "")),
    ],
)
def test_what_a_reserved_host_takes_depends_on_the_method(method: Method, targets: tuple[str, ...]) -> None:
    view, hosts = with_reserve(method, SPARE)
    found = of_host1(facts(instance("a"), instance("b"), instance("c"), hosts=hosts), view)
    assert tuple(each.target for each in found.instances) == targets
    assert found.instances[2].back is Back.NO


@pytest.mark.parametrize(
    ("spare", "joins", "back"),
    [
        (SPARE, True, Back.YES),
        (SPARE, False, Back.NO),
        (replace(SPARE, zone="az2"), True, Back.NO),
        (replace(SPARE, zone="az1"), False, Back.YES),
        (replace(SPARE, up=False), True, Back.NO),
        (replace(SPARE, free=None), True, Back.NO),
    ],
)
def test_a_reserved_host_takes_what_is_in_a_zone_when_it_may_join_it(
    spare: Compute, joins: bool, back: Back
) -> None:
    view, hosts = with_reserve(Method.RESERVED_HOST, spare, reserved_to_aggregates=joins)
    assert of_host1(facts(instance("a", zone="az1"), hosts=hosts), view).instances[0].back is back


def test_the_reserve_counts_in_how_many_hosts_may_die() -> None:
    each = [instance("a"), instance("b", "host2")]
    for method, lost in ((Method.AUTO, 0), (Method.RH_PRIORITY, 1)):
        view, hosts = with_reserve(method, SPARE)
        cloud = facts(*each, hosts=(hosts[0], compute("host2", 0), hosts[2]))
        assert assess(view, cloud).can_lose == lost


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 300), st.integers(-2, 2)), max_size=12),
    st.lists(st.integers(0, 900), min_size=4, max_size=4),
)
def test_nobody_is_placed_where_there_is_no_room(asked: list[tuple[int, int, int]], free: list[int]) -> None:
    hosts = tuple(compute(f"host{number}", left) for number, left in enumerate(free, start=1))
    instances = [
        instance(f"i{number}", f"host{on}", memory, priority=priority)
        for number, (on, memory, priority) in enumerate(asked)
    ]
    found = assess(well("host1", "host2", "host3", "host4"), facts(*instances, hosts=hosts))
    assert sum(len(each.instances) for each in found.hosts) == len(instances)
    for dead in found.hosts:
        taken: Counter[str] = Counter()
        for each in dead.instances:
            assert each.target != dead.host
            taken[each.target] += dict(each.instance.shape.resources)["MEMORY_MB"] if each.target else 0
            if not each.target:  # then it really fits nowhere after those before it
                need = dict(each.instance.shape.resources)["MEMORY_MB"]
                others = [other for other in hosts if other.host != dead.host]
                left = [(other.free or {})["MEMORY_MB"] - taken[other.host] for other in others]
                assert max(left) < need
        for other in hosts:
            assert taken[other.host] <= (other.free or {})["MEMORY_MB"]


# The host itself


@pytest.mark.parametrize(
    ("view", "kind"),
    [
        (view_of(answering("host1", bmc=False), answering("host2"), answering("host3")), "gate:unproven"),
        (
            view_of(
                host("host1", {Layer.POWER: MUTE, Layer.NETWORK: WELL, Layer.SERVICE: WELL}),
                answering("host2"),
                answering("host3"),
            ),
            "gate:unproven",
        ),
        (replace(well(), pauses=(Pause("works", "ann", 1.0),)), "gate:disarmed"),
        (view_of(answering("host1"), silent("host2"), silent("host3")), "gate:storm"),
    ],
)
def test_a_gate_that_would_hold_it_is_told_before_it_is_needed(view: View, kind: str) -> None:
    found = of_host1(facts(instance("a")), view)
    assert (found.held, found.ready, found.problems[0].kind) == (True, False, kind)
    assert found.problems[0].advice


def test_an_agent_that_is_not_heard_or_too_old_is_told() -> None:
    mute = view_of(
        host("host1", {Layer.POWER: WELL, Layer.NETWORK: WELL, Layer.SERVICE: MUTE}), answering("host2")
    )
    assert [each.kind for each in of_host1(facts(), mute).problems] == ["agent_silent"]
    words = "protocol version 9, expected 2"
    looks = {Layer.POWER: WELL, Layer.NETWORK: WELL, Layer.SERVICE: DEAD}
    old = view_of(host("host1", looks, evidence=words), answering("host2"), answering("host3"))
    assert [each.kind for each in of_host1(facts(), old).problems] == ["agent"]
    unread = view_of(host("host1", {}), answering("host2"), answering("host3"))
    assert "agent_silent" in [each.kind for each in of_host1(facts(), unread).problems]


def test_what_policy_leaves_alone_is_no_loss() -> None:
    cloud = facts(
        instance("a", vm_state="paused", left_alone="its project is p1, which is in leave_projects")
    )
    found = assess(well(), cloud)
    assert found.ready
    assert found.hosts[0].instances[0].back is Back.LEFT


# What Nova and Placement say


ROW: dict[str, Any] = {
    "id": "u1",
    "name": "vm1",
    "OS-EXT-SRV-ATTR:host": "host1",
    "OS-EXT-STS:vm_state": "active",
    "metadata": {"hass:priority": "7"},
    "image": {"id": "i", "properties": {}},
    "pinned_availability_zone": "az1",
    "flavor": {"vcpus": 2, "ram": 512, "disk": 10, "ephemeral": 5, "swap": 1500, "extra_specs": {}},
}


def test_an_instance_as_nova_tells_it() -> None:
    found = to_instance(ROW)
    assert (found.id, found.name, found.host, found.vm_state) == ("u1", "vm1", "host1", "active")
    assert (found.priority, found.zone, found.local_disk, found.needs) == (7, "az1", True, frozenset())
    assert dict(found.shape.resources) == {"VCPU": 2, "MEMORY_MB": 512, "DISK_GB": 17}
    from_volume = to_instance({**ROW, "image": ""})
    assert (from_volume.local_disk, dict(from_volume.shape.resources)["DISK_GB"]) == (False, 7)


@pytest.mark.parametrize(
    ("specs", "properties", "needs"),
    [
        ({"hw:tpm_version": "2.0"}, {}, {Need.VTPM}),
        ({}, {"hw_tpm_version": "1.2"}, {Need.VTPM}),
        ({"pci_passthrough:alias": "gpu:1"}, {}, {Need.DEVICE}),
        ({"resources:VGPU": "1"}, {}, {Need.DEVICE}),
        ({"hw:cpu_policy": "dedicated"}, {}, set()),
    ],
)
def test_what_an_instance_cannot_have_elsewhere(
    specs: dict[str, str], properties: dict[str, str], needs: set[Need]
) -> None:
    row = {**ROW, "flavor": {**ROW["flavor"], "extra_specs": specs}, "image": {"properties": properties}}
    assert to_instance(row).needs == needs


def test_a_flavor_asks_placement_for_what_its_extra_specs_say() -> None:
    specs = {
        "hw:cpu_policy": "dedicated",
        "resources:CUSTOM_GOLD": "3",
        "resources:MEMORY_MB": "0",
        "trait:HW_CPU_X86_AVX": "required",
        "trait:CUSTOM_OLD": "forbidden",
    }
    found = to_shape(ROW["flavor"], specs, local_disk=True)
    assert dict(found.resources) == {"PCPU": 2, "CUSTOM_GOLD": 3, "DISK_GB": 17}
    assert (found.required, found.forbidden) == (("HW_CPU_X86_AVX",), ("CUSTOM_OLD",))


RULES = Rules(heed_images=True, flavors=Lists(leave=("m1.scratch",)), aggregates=Lists(leave=("lab",)))


def detail(**more: Any) -> dict[str, Any]:
    """A server as Nova details it."""
    flavor = {**ROW["flavor"], "original_name": "m1.small"}
    row = {"id": "i1", "name": "web", "tenant_id": "p1", "metadata": {}, "flavor": flavor, "image": ""}
    return {**row, **more}


@pytest.mark.parametrize(
    ("more", "aggregates", "told"),
    [
        ({}, (), ""),
        ({"metadata": {"hass:protect": "false"}}, (), "its metadata says hass:protect=false"),
        (
            {"flavor": {**ROW["flavor"], "original_name": "m1.scratch"}},
            (),
            "its flavor is m1.scratch, which is in leave_flavors",
        ),
        ({}, (Aggregate("lab"),), "which is in leave_aggregates"),
        ({"id": "i2"}, (), "left alone one by one by kim: a test"),
        # What only its image could decide is protected.
        ({"image": {"id": "img"}}, (Aggregate("lab"),), ""),
    ],
)
def test_a_survey_says_what_is_left_alone(
    more: dict[str, Any], aggregates: tuple[Aggregate, ...], told: str
) -> None:
    choices = {"i2": Choice("i2", False, "a test", "kim", 0.0)}
    row = detail(**more)
    why = policy_of({"host1": RULES}, choices)(row["id"], "host1", traits_of(row, aggregates))
    assert (told in why) if told else why == ""
    assert policy_of({"host1": RULES}, choices)(row["id"], "host9", traits_of(row, aggregates)) == ""


def test_what_the_policy_leaves_alone_is_told_and_takes_no_room() -> None:
    left = instance("b", memory=9000, left_alone="its flavor is m1.scratch")
    cloud = facts(instance("a"), left)
    assert [each.back for each in of_host1(cloud).instances] == [Back.YES, Back.LEFT]
    assert of_host1(cloud).ready
    assert assess(well(), cloud).can_lose == assess(well(), facts(instance("a"))).can_lose


class Broken:
    def get_endpoint_data(self) -> Any:
        return SimpleNamespace(max_microversion=(2, 60))

    def get(self, path: str, microversion: str) -> Any:
        raise ConnectionError("nobody\nthere")


def test_a_cloud_that_does_not_answer_is_one_line() -> None:
    connection: Any = SimpleNamespace(compute=Broken(), placement=Broken())
    with pytest.raises(CloudError, match="survey of the cloud: ConnectionError: nobody there"):
        collect(connection, 0.0, True)


# Who keeps it


class Sky:
    """A survey that a test decides on."""

    def __init__(self, found: CloudFacts) -> None:
        self.found: CloudFacts | Exception = found
        self.view: View | None = well()
        self.now = NOW
        self.keeper = Surveyor(self.survey, lambda: self.view, PATHS, lambda: self.now)

    def survey(self, at: float) -> CloudFacts:
        if isinstance(self.found, Exception):
            raise self.found
        return replace(self.found, at=at)


@pytest.fixture
def sky() -> Sky:
    return Sky(facts(instance("a"), instance("big", "host2", memory=5000), calls={"nova": 3, "placement": 4}))


def test_nothing_is_told_before_there_is_a_survey_nor_from_an_old_one(sky: Sky) -> None:
    with pytest.raises(NotKnown, match="not surveyed yet"):
        sky.keeper.readiness()
    sky.keeper.look()
    assert not sky.keeper.readiness().ready
    sky.now += STALE * INTERVAL + 1
    sky.found = CloudError("Nova is away")
    sky.keeper.look()
    with pytest.raises(NotKnown, match="is 301 s old: Nova is away"):
        sky.keeper.readiness()
    sky.view = None
    with pytest.raises(NotKnown, match="stands by"):
        sky.keeper.readiness()


def test_a_host_that_becomes_unready_or_ready_is_logged_once(
    sky: Sky, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        sky.keeper.look()
        sky.keeper.look()
        sky.found = facts(instance("a"))
        sky.keeper.look()
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        "host host2: if it died now: not ready",
        "host host2: if it died now: ready",
    ]
    assert "1 of 1 instances, such as big: no" in caplog.text


def test_trouble_with_the_survey_is_logged_once(sky: Sky, caplog: pytest.LogCaptureFixture) -> None:
    sky.found = CloudError("Nova is away")
    sky.keeper.look()
    sky.keeper.look()
    assert [record.message for record in caplog.records] == ["survey of the cloud: failed (Nova is away)"]


# What is told


@pytest.fixture
def web(tmp_path: Path, sky: Sky) -> Iterator[FlaskClient]:
    store = seed(f"sqlite:///{tmp_path}/hass.db")
    yield create_app(store, lambda: {"status": "ok"}, sky.keeper).test_client()
    store.close()


def valid(schema: str, data: Any) -> Any:
    document = load_openapi()
    Draft202012Validator({"$ref": f"#/components/schemas/{schema}", **document}).validate(data)
    return data


def test_readiness_over_rest(web: FlaskClient, sky: Sky) -> None:
    assert web.get("/v1/readiness").status_code == 503
    sky.keeper.look()
    found = valid("Readiness", web.get("/v1/readiness").get_json())
    assert (found["ready"], found["calls"]) == (False, {"nova": 3, "placement": 4})
    assert [(each["host"], each["ready"]) for each in found["hosts"]] == [
        ("host1", True),
        ("host2", False),
        ("host3", True),
    ]
    one = valid("Readiness", web.get("/v1/readiness?host=host2").get_json())
    assert [each["instances"][0]["problem"]["kind"] for each in one["hosts"]] == ["room"]
    assert web.get("/v1/readiness?host=host20").status_code == 404
    assert web.get("/v1/readiness?hots=host2").status_code == 400


def test_plans_over_rest(web: FlaskClient, sky: Sky) -> None:
    assert web.get("/v1/plan/host1").status_code == 503
    sky.keeper.look()
    found = valid("Plan", web.get("/v1/plan/host1").get_json())
    assert (found["fault"], found["becomes"], found["held"]) == ("power", "power", None)
    assert found["ladder"][0]["steps"][1] == "Power off and read back as off: host1"
    assert [each["target"] for each in found["instances"]] == ["host2"]
    assert web.get("/v1/plan/host9").status_code == 404
    unknown = web.get("/v1/plan/host1?fault=flood")
    assert unknown.status_code == 404
    assert "known: power, hardware, os" in unknown.get_json()["error"]["message"]


def test_metrics_of_prometheus(web: FlaskClient, sky: Sky) -> None:
    assert "hass_readiness_known 0.0" in web.get("/metrics").text
    sky.keeper.look()
    text = web.get("/metrics").text
    for line in (
        "hass_readiness_known 1.0",
        'hass_host_ready{host="host1"} 1.0',
        'hass_host_ready{host="host2"} 0.0',
        'hass_readiness_instances{back="no",host="host2"} 1.0',
        'hass_survey_calls{service="placement"} 4.0',
        "hass_hosts_can_lose 0.0",
    ):
        assert line in text.splitlines(), line


@pytest.fixture
def command(web: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command, whose REST interface is the one of this test."""

    def get(self: clients.Client, path: str, params: Any = None, accept: Any = ()) -> Any:
        import click

        reply = web.get(path, query_string={k: v for k, v in (params or {}).items() if v is not None})
        if reply.status_code != 200:
            raise click.ClickException(reply.get_json()["error"]["message"])
        return reply.get_json()

    monkeypatch.setattr(clients.Client, "get", get)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments))

    return call


def test_the_exit_status_for_monitoring(command: Any, sky: Sky) -> None:
    unknown = command("readiness", "--check")
    assert (unknown.exit_code, unknown.output[:8]) == (2, "UNKNOWN:")
    assert command("readiness").exit_code == 1
    sky.keeper.look()
    bad = command("readiness", "--check")
    assert bad.exit_code == 1
    assert bad.output == "NOT READY: host2; 1 instance would not come back as they were\n"
    assert command("readiness").exit_code == 0
    assert command("readiness", "host1", "--check").output == "OK: everything on 1 host would come back\n"


def test_readiness_in_words(command: Any, sky: Sky) -> None:
    sky.keeper.look()
    text = command("readiness").output
    assert "host1  ready: 1 of 1 come back" in text
    assert "host2  NOT READY: 0 of 1 come back, 1 stays off" in text
    assert "    big stays off: no room: it needs MEMORY_MB 5000" in text
    assert f"      -> {ADVICE['room']}" in text
    assert "calls made: nova 3, placement 4." in text
    alone = command("readiness", "host1").output
    assert "    a comes back, for instance on host2" in alone
    assert json.loads(command("readiness", "-f", "json").output)["hosts"][0]["host"] == "host1"


def test_a_plan_in_words(command: Any, sky: Sky) -> None:
    sky.keeper.look()
    text = command("plan", "host1").output
    assert "If host1 had the fault power now (its BMC says off and nothing on it answers):" in text
    assert "  First: host_failure" in text
    assert "    2. Power off and read back as off: host1" in text
    assert "    a comes back, for instance on host2" in text
    assert command("plan", "host1", "--fault", "flood").exit_code == 1
    sky.view = replace(well(), pauses=(Pause("works", "ann", 1.0),))
    held = command("plan", "host1", "--fault", "network").output
    assert "It would be held by gate disarmed: switched off by ann: works." in held
    assert "It has to last 30 s before anything is done." in held
    assert "reported, and nothing is done" in command("plan", "host1", "--fault", "watchdog").output


def test_a_plan_says_what_the_readings_would_make_of_it() -> None:
    view = view_of(answering("host1", bmc=False), answering("host2"), answering("host3"))
    found = plan(view, facts(instance("a")), "host1", "power")
    assert found.becomes == "unreachable"
    assert found.held is not None
    assert found.held[0] == Gate.UNPROVEN.value
    for fault in faults_of(view):
        assert plan(well(), facts(), "host1", fault).becomes == fault


@pytest.mark.parametrize("text", ["", "- 1", "a: b"])
def test_what_is_no_playbook_has_no_steps(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yml"
    path.write_text(text)
    assert steps_of(path, "host1") == []


@pytest.mark.parametrize("text", [None, "]", "\x00"])
def test_a_playbook_that_cannot_be_read_is_told_in_the_place_of_its_steps(
    tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "x.yml"
    if text is not None:
        path.write_text(text)
    (told,) = steps_of(path, "host1")
    assert told.startswith(f"{path} cannot be read: ")
    assert "\n" not in told
