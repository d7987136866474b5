"""Scenario files: what is read from good ones, and that writing one gives the same again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hass_runtime.domain import Gate, HostState, Outcome
from hass_runtime.settings.controller_keys import CONTROLLER
from hass_runtime.settings.keys import ANY as ANY_NAME
from hass_runtime.settings.keys import Kind
from hass_runtime.simulator.scenario import (
    Event,
    Expectation,
    HostSpec,
    InstanceSpec,
    Scenario,
    ScenarioError,
    dump,
    load,
    parse,
    timeline,
)
from hass_runtime.simulator.scenario_words import (
    ANY,
    EVENTS,
    INSTANCE_STATES,
    OTHERS,
    PLAYBOOK_OUTCOMES,
    PLAYBOOKS,
    SERVICES,
    VERBS,
    Target,
    can_end,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "scenarios.md"
relaxed = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)

DESIGN = """
name: power cut on one of four hosts
settings: {polling_interval: 1, polling_threshold: 2}     # overrides, by guide key
cluster:
  hosts: 4                       # host1..host4
  instances_per_host: 5
events:
  - {at: 10, power_cut: host2}
  - {at: 200, power_restore: host2}
run_for: 600
expect:
  - {by: 30, fenced: host2}
  - {by: 60, instances_of: host2, running_on: others}
  - {by: 400, host: host2, state: healthy}
  - {never: two_writers}         # always on, whether written or not
"""


def events(text):
    """The events of the lines of a list, in the default cluster (host1..host3, vm1..vm6)."""
    return parse(f"events:\n{text}", "t.yml").events


def event(text):
    (only,) = events(f"- {text}")
    return only


def expectation(text):
    (only,) = parse(f"expect:\n- {text}", "t.yml").expect
    return only


def test_the_example_of_the_design_is_read_as_it_says():
    scenario = parse(DESIGN, "power.yml")
    assert scenario == Scenario(
        name="power cut on one of four hosts",
        settings={"detection.polling_interval": "1", "detection.polling_threshold": "2"},
        hosts=tuple(HostSpec(f"host{number}") for number in (1, 2, 3, 4)),
        instances=tuple(InstanceSpec(f"vm{n + 1}", f"host{n // 5 + 1}") for n in range(20)),
        events=(Event(10, "power_cut", ("host2",)), Event(200, "power_restore", ("host2",))),
        run_for=600,
        expect=(
            Expectation("by", 30, "fenced", {"host": "host2"}),
            Expectation("by", 60, "instances_of", {"host": "host2", "running_on": "others"}),
            Expectation("by", 400, "host_state", {"host": "host2", "state": "healthy"}),
            Expectation("never", None, "two_writers"),
        ),
    )
    assert scenario.path == "power.yml"
    assert [each.line for each in (*scenario.events, *scenario.expect)] == [8, 9, 12, 13, 14, 15]
    assert scenario.expect[1].text == "{by: 60, instances_of: host2, running_on: others}"


def test_what_is_left_out_has_a_default():
    scenario = parse("cluster:", "some/quiet day.yml")
    assert scenario.name == "quiet day"
    assert [host.name for host in scenario.hosts] == ["host1", "host2", "host3"]
    assert [instance.host for instance in scenario.instances] == [
        *("host1", "host1", "host2", "host2", "host3", "host3")
    ]
    assert (scenario.settings, scenario.events, scenario.expect) == ({}, (), ())
    assert scenario.run_for == 600


def test_a_run_goes_on_after_the_last_event_and_covers_every_expectation():
    lasting = "events: [{at: 700, nova_api_cut: {for: 50}}, {at: 10, power_cut: host1}]\n"
    assert parse(lasting, "t.yml").run_for == 1350
    late = "expect: [{by: 2000, fenced: host1}, {never: two_writers}]"
    assert parse(lasting + late, "t.yml").run_for == 2000


def test_a_file_is_read_from_disk(tmp_path):
    path = tmp_path / "power.yml"
    path.write_text(DESIGN, encoding="utf-8")
    assert load(path) == parse(DESIGN, "")
    assert load(path).path == str(path)


def test_hosts_are_names_or_mappings():
    scenario = parse(
        """
cluster:
  hosts:
    - compute1
    - {name: compute2, ipmi: no, zone: rack1, reserved: yes, cluster: edge, watchdog: off, room: 4}
    - {name: compute3, zone: "", room: }
  instances_per_host: 1
""",
        "t.yml",
    )
    assert scenario.hosts == (
        HostSpec("compute1"),
        HostSpec("compute2", False, "rack1", True, "edge", False, 4),
        HostSpec("compute3"),
    )
    assert scenario.instances == (InstanceSpec("vm1", "compute1"), InstanceSpec("vm2", "compute3"))


@pytest.mark.parametrize("key", ["instances", "instances_per_host"])
def test_instances_may_be_a_list_under_either_key(key):
    listed = "[{name: web, host: host1, priority: 3}, {name: old, host: host3, state: stopped}]"
    assert parse(f"cluster: {{{key}: {listed}}}", "t.yml").instances == (
        InstanceSpec("web", "host1", "active", 3),
        InstanceSpec("old", "host3", "stopped"),
    )


@pytest.mark.parametrize(
    "name", ["on", "off", "yes", "no", "1e3", "0123", "null", "true", "12", "1_000", "0x1f"]
)
def test_a_host_is_called_as_it_is_spelled(name):
    if name == "null":
        # Only quotes tell the word from nothing at all.
        name = '"null"'
    text = f"""
cluster: {{hosts: [{name}, other], instances: [{{name: {name}, host: {name}}}]}}
events: [{{at: 1, power_cut: {name}}}]
expect: [{{by: 2, instance: {name}, on: {name}}}, {{never: {{fenced: {name}}}}}]
"""
    scenario = parse(text, "t.yml")
    spelled = name.strip('"')
    assert scenario.hosts[0].name == spelled
    assert scenario.events[0].subjects == (spelled,)
    assert scenario.expect[0].arguments == {"instance": spelled, "state": None, "on": spelled}
    assert scenario.expect[1].arguments == {"host": spelled}
    assert parse(dump(scenario), "t.yml") == scenario


def test_settings_are_named_by_key_or_by_section_and_key():
    text = """
settings:
  polling_interval: 0.5
  safety.armed: off
  protected_layers.edge: [power, network]
  controller.name: c1
  ping_command: ping -c 1 {address}
"""
    assert parse(text, "t.yml").settings == {
        "detection.polling_interval": "0.5",
        "safety.armed": "off",
        "protected_layers.edge": "power, network",
        "controller.name": "c1",
        "detector.ping_command": "ping -c 1 {address}",
    }


def test_events_are_sorted_by_time_and_stay_in_order_within_a_moment():
    found = events("- {at: 20, power_cut: host1}\n- {at: 5, os_hang: host3}\n- {at: 5.0, os_hang: host2}")
    assert [(each.at, each.subjects) for each in found] == [
        *((5, ("host3",)), (5, ("host2",)), (20, ("host1",)))
    ]


HOST_EVENTS = [name for name, word in EVENTS.items() if word.target is Target.HOST and name != "sensor"]
GUEST_EVENTS = [name for name, word in EVENTS.items() if word.target is Target.INSTANCE]


@pytest.mark.parametrize("name", HOST_EVENTS)
def test_what_happens_to_hosts_takes_a_name_a_list_or_a_mapping(name):
    assert event(f"{{at: 1, {name}: host1}}").subjects == ("host1",)
    assert event(f"{{at: 1, {name}: [host3, host1]}}").subjects == ("host3", "host1")
    lasting = event(f"{{at: 1, {name}: {{host: [host1, host2], for: 2.5}}}}")
    assert (lasting.subjects, lasting.duration) == (("host1", "host2"), 2.5)


@pytest.mark.parametrize("name", GUEST_EVENTS)
def test_what_happens_to_instances_takes_the_same_forms(name):
    assert event(f"{{at: 1, {name}: vm1}}").subjects == ("vm1",)
    assert event(f"{{at: 1, {name}: [vm3, vm1]}}").subjects == ("vm3", "vm1")
    assert event(f"{{at: 1, {name}: {{instance: vm6}}}}").subjects == ("vm6",)
    assert event(f"{{at: 1, {name}: {{host: [vm6, vm1]}}}}").subjects == ("vm6", "vm1")


@pytest.mark.parametrize("name", [name for name, word in EVENTS.items() if word.target is Target.ALL])
def test_what_happens_to_everything_takes_nothing_or_a_duration(name):
    for nothing in ("", "null", "true", "{}"):
        assert event(f"{{at: 1, {name}: {nothing}}}") == Event(1, name)
    assert event(f"{{at: 1, {name}: {{for: 20}}}}") == Event(1, name, (), 20)


def test_a_service_is_nova_compute_unless_another_is_named():
    assert event("{at: 1, service_stop: host1}").arguments == {"service": "nova-compute"}
    named = event("{at: 1, service_start: {host: host1, service: qemu}}")
    assert named.arguments == {"service": "qemu"}


@pytest.mark.parametrize(
    ("written", "value"), [("91.5", 91.5), ("-4", -4.0), ("critical", "critical"), ("normal", "normal")]
)
def test_a_sensor_shows_a_number_or_a_word(written, value):
    found = event(f"{{at: 1, sensor: {{host: host1, name: Inlet Temp, value: {written}, for: 9}}}}")
    assert found == Event(1, "sensor", ("host1",), 9, {"name": "Inlet Temp", "value": value})


def test_what_an_operator_does_is_complete():
    def did(text):
        found = event(f"{{at: 1, operator: {{{text}}}}}")
        return found.subjects, found.duration, found.arguments

    assert did("do: stop_instance, subject: vm1, for: 5") == (
        ("vm1",),
        5,
        {"do": "stop_instance", "reason": ""},
    )
    assert did("do: maintenance, subject: host1, drain: yes, reason: new disk") == (
        ("host1",),
        None,
        {"do": "maintenance", "reason": "new disk", "drain": True},
    )
    assert did("do: maintenance, subject: host1")[2]["drain"] is False
    assert did("do: disarm, for: 60") == ((), 60, {"do": "disarm", "reason": "", "scope": "all"})
    assert did("do: arm, subject: host1")[2]["scope"] == "host"
    assert did("do: disarm, subject: default")[2]["scope"] == "cluster"


def test_a_playbook_can_be_told_to_go_wrong():
    assert event("{at: 1, playbook: {name: host_failure, outcome: crash}}") == Event(
        1, "playbook", (), None, {"name": "host_failure", "outcome": "crash", "times": 1, "seconds": 0}
    )
    slow = event("{at: 1, playbook: {name: host_drain, outcome: slow, seconds: 4, host: host2, times: 3}}")
    assert slow.subjects == ("host2",)
    assert slow.arguments == {"name": "host_drain", "outcome": "slow", "times": 3, "seconds": 4}


@pytest.mark.parametrize(
    ("text", "what", "arguments"),
    [
        ("{by: 1, fenced: host1}", "fenced", {"host": "host1"}),
        ("{at: 1, not_fenced: host1}", "not_fenced", {"host": "host1"}),
        ("{at: 1, host: host1, state: held}", "host_state", {"host": "host1", "state": "held"}),
        (
            "{by: 1, instances_of: host1, running_on: [host2, host3]}",
            "instances_of",
            {"host": "host1", "running_on": ("host2", "host3")},
        ),
        (
            "{by: 1, instances_of: host1, running_on: host2}",
            "instances_of",
            {"host": "host1", "running_on": ("host2",)},
        ),
        (
            "{by: 1, instance: vm1, state: stopped}",
            "instance",
            {"instance": "vm1", "state": "stopped", "on": None},
        ),
        (
            "{by: 1, instance: vm1, on: others}",
            "instance",
            {"instance": "vm1", "state": None, "on": "others"},
        ),
        (
            "{by: 1, incident: {host: host1}}",
            "incident",
            {"host": "host1", "fault": "any", "outcome": "any"},
        ),
        (
            "{by: 1, incident: {host: host1, fault: of my own, outcome: cleared}}",
            "incident",
            {"host": "host1", "fault": "of my own", "outcome": "cleared"},
        ),
        ("{by: 1, held: {host: host1, gate: unproven}}", "held", {"host": "host1", "gate": "unproven"}),
        ("{by: 1, held: {host: host1}}", "held", {"host": "host1", "gate": "any"}),
        ("{never: two_writers}", "two_writers", {}),
        ("{never: {fenced: host1}}", "fenced", {"host": "host1"}),
        ("{never: {evacuated: host1}}", "evacuated", {"host": "host1"}),
        ("{never: {more_fenced_than: 0}}", "more_fenced_than", {"count": 0}),
        ("{never: {restarted: vm1}}", "restarted", {"instance": "vm1"}),
    ],
)
def test_an_expectation_is_read_as_it_says(text, what, arguments):
    found = expectation(text)
    assert (found.what, found.arguments, found.text) == (what, arguments, text)
    assert found.kind == re.match(r"\{(\w+)", text).group(1)
    assert found.time == (None if found.kind == "never" else 1)


def test_the_timeline_undoes_what_lasts_for_a_while():
    scenario = parse(
        """
events:
  - {at: 10, network_cut: {host: host1, for: 20}}
  - {at: 15, sensor: {host: host2, name: Temp, value: 99, for: 5}}
  - {at: 30, service_stop: {host: host1, service: qemu, for: 5}}
  - {at: 40, operator: {do: stop_instance, subject: vm1, for: 5}}
  - {at: 50, operator: {do: disarm, for: 5}}
  - {at: 60, controller_kill: {for: 5}}
  - {at: 70, guest_hang: {instance: vm2, for: 5}}
""",
        "t.yml",
    )
    happening = [(each.at, each.arguments.get("do", each.name), each.duration) for each in timeline(scenario)]
    assert happening == [
        (10, "network_cut", None),
        (15, "sensor", None),
        (20, "sensor", None),
        (30, "network_restore", None),
        (30, "service_stop", None),
        (35, "service_start", None),
        (40, "stop_instance", None),
        (45, "start_instance", None),
        (50, "disarm", 5),
        (60, "controller_kill", None),
        (65, "controller_start", None),
        (70, "guest_hang", None),
        (75, "guest_restore", None),
    ]
    by_time = {each.at: each for each in timeline(scenario)}
    assert by_time[20].arguments == {"name": "Temp", "value": "normal"}
    assert by_time[35].arguments == {"service": "qemu"}
    assert by_time[45].subjects == ("vm1",)


def test_every_pair_of_events_undoes_one_another():
    for name, word in EVENTS.items():
        if word.undo:
            assert EVENTS[word.undo].target is word.target
        if word.undo and word.undo not in ("sensor", "guest_restore"):
            assert EVENTS[word.undo].undo == name


# --- the document ------------------------------------------------------------------------------------------


def documented():
    """The examples of the document: whole ones, and those in the tables as scenarios of their own."""
    text = DOCUMENT.read_text(encoding="utf-8")
    whole = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    rows = re.findall(r"\| `(\{(?:at|by|never): [^`]*\})` \|", text)
    return whole, [row for row in rows if row.startswith("{at")], [row for row in rows if row[1] in "bn"]


def test_every_example_of_the_document_is_good():
    whole, happening, expected = documented()
    assert len(whole) >= 5
    for text in whole:
        parse(text, "docs")
    for text in happening:
        event(text)
    for text in expected:
        expectation(text)


def test_the_document_has_an_example_of_every_word():
    _, happening, expected = documented()
    found = [event(text) for text in happening]
    assert {each.name for each in found} == set(EVENTS)
    assert {each.arguments["do"] for each in found if each.name == "operator"} == set(VERBS)
    assert {each.arguments["outcome"] for each in found if each.name == "playbook"} == set(PLAYBOOK_OUTCOMES)
    judged = {(each.kind == "never", each.what) for each in map(expectation, expected)}
    timed = ("fenced", "not_fenced", "host_state", "instances_of", "instance", "incident", "held")
    never = ("two_writers", "fenced", "evacuated", "more_fenced_than", "restarted")
    assert judged == {*((False, what) for what in timed), *((True, what) for what in never)}
    text = DOCUMENT.read_text(encoding="utf-8")
    for word in (*HostState, *Gate, *Outcome):
        assert f"`{word.value}`" in text


# --- writing -----------------------------------------------------------------------------------------------

times = st.floats(0, 1e6)
durations = st.floats(0.001, 1e5)
names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,8}[A-Za-z0-9])?", fullmatch=True).filter(
    lambda name: name != OTHERS
)
lines = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=20).map(
    lambda text: text.strip() or "x"
)


@st.composite
def clusters(draw):
    if draw(st.booleans()):
        return parse(f"cluster: {{hosts: {draw(st.integers(1, 5))}}}", "").hosts
    found = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    plain = names.filter(lambda name: name not in ("null", "Null", "NULL"))
    return tuple(
        HostSpec(
            name,
            draw(st.booleans()),
            draw(st.just("") | plain),
            draw(st.booleans()),
            draw(st.just("default") | plain),
            draw(st.booleans()),
            draw(st.none() | st.integers(10, 20)),
        )
        for name in found
    )


@st.composite
def a_setting(draw):
    key = draw(st.sampled_from([key for key in CONTROLLER.keys if key.name != ANY_NAME]))
    if (key.section, key.name) in (("cluster", "hosts"), ("cluster", "reserved_hosts")):
        return "safety.armed", "true"
    text = {
        Kind.TEXT: draw(st.sampled_from(key.choices)) if key.choices else draw(lines),
        Kind.INTEGER: key.default or key.sample,
        Kind.NUMBER: key.default or key.sample,
        Kind.FLAG: draw(st.sampled_from(["true", "no", "on", "0"])),
        Kind.PORT: str(draw(st.integers(1, 65535))),
        Kind.PATH: "/" + draw(names),
        Kind.ADDRESS: "192.0.2.7",
        Kind.URL: "http://c:5000/v3",
        Kind.NAMES: "power, os",
        Kind.COMMAND: "ping {address}",
        Kind.MICROVERSION: "2.90",
    }[key.kind]
    return f"{key.section}.{key.name}", text


@st.composite
def some_event(draw, hosts, instances, clusters_):
    name = draw(st.sampled_from(list(EVENTS)))
    target = EVENTS[name].target
    at, arguments, subjects = draw(times), {}, ()
    if target is Target.INSTANCE and not instances:
        return Event(at, "nova_api_cut")
    if target in (Target.HOST, Target.INSTANCE):
        known = hosts if target is Target.HOST else instances
        subjects = tuple(draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True)))
    if name.startswith("service_"):
        arguments = {"service": draw(st.sampled_from(SERVICES))}
    elif name == "sensor":
        value = st.floats(-1e6, 1e6) | st.sampled_from(["normal", "na"])
        arguments = {"name": draw(lines), "value": draw(value)}
    elif target is Target.PLAYBOOK:
        outcome = draw(st.sampled_from(PLAYBOOK_OUTCOMES))
        subjects = draw(st.just(()) | st.tuples(st.sampled_from(hosts)))
        arguments = {
            "name": draw(st.sampled_from(PLAYBOOKS)),
            "outcome": outcome,
            "times": draw(st.integers(1, 1000)),
            "seconds": draw(times) if outcome == "slow" else 0.0,
        }
    elif target is Target.OPERATOR:
        verb = draw(st.sampled_from(list(VERBS)))
        about = {Target.HOST: hosts, Target.INSTANCE: instances}.get(VERBS[verb].target, ())
        arguments = {"do": verb, "reason": draw(st.just("") | lines)}
        if not about and VERBS[verb].target is not Target.ALL:
            return Event(at, "nova_api_cut")
        if about:
            subjects = (draw(st.sampled_from(about)),)
        else:
            subjects = draw(st.just(()) | st.tuples(st.sampled_from([*hosts, *clusters_])))
            scope = "host" if set(subjects) & set(hosts) else "cluster"
            arguments["scope"] = scope if subjects else "all"
        if verb == "maintenance":
            arguments["drain"] = draw(st.booleans())
    event_ = Event(at, name, subjects, None, arguments)
    if can_end(event_) and draw(st.booleans()):
        event_ = Event(at, name, subjects, draw(durations), arguments)
    return event_


@st.composite
def some_expectation(draw, hosts, instances, run_for):
    host = draw(st.sampled_from(hosts))
    a_state = st.sampled_from([state.value for state in HostState])
    timed = {
        "fenced": {"host": host},
        "not_fenced": {"host": host},
        "host_state": {"host": host, "state": draw(a_state)},
        "instances_of": {
            "host": host,
            "running_on": draw(
                st.just(OTHERS)
                | st.lists(st.sampled_from(hosts), min_size=1, max_size=3, unique=True).map(tuple)
            ),
        },
        "incident": {
            "host": host,
            "fault": draw(st.just(ANY) | lines),
            "outcome": draw(st.sampled_from([ANY, *(each.value for each in Outcome)])),
        },
        "held": {"host": host, "gate": draw(st.sampled_from([ANY, *(each.value for each in Gate)]))},
    }
    never = {
        "two_writers": {},
        "fenced": {"host": host},
        "evacuated": {"host": host},
        "more_fenced_than": {"count": draw(st.integers(0, 1000))},
    }
    if instances:
        instance = draw(st.sampled_from(instances))
        never["restarted"] = {"instance": instance}
        timed["instance"] = draw(
            st.fixed_dictionaries(
                {
                    "instance": st.just(instance),
                    "state": st.sampled_from([None, *INSTANCE_STATES]),
                    "on": st.sampled_from([None, OTHERS, *hosts]),
                }
            ).filter(lambda each: each["state"] or each["on"])
        )
    kind = draw(st.sampled_from(["by", "at", "never"]))
    what = draw(st.sampled_from([*(never if kind == "never" else timed)]))
    if kind == "never":
        return Expectation(kind, None, what, never[what])
    return Expectation(kind, draw(st.floats(0, run_for)), what, timed[what])


@st.composite
def scenarios(draw):
    hosts = draw(clusters())
    host_names = [host.name for host in hosts]
    if draw(st.booleans()):
        places = [host.name for host in hosts if not host.reserved for _ in range(2)]
        instances = tuple(InstanceSpec(f"vm{n}", place) for n, place in enumerate(places, start=1))
    else:
        found = draw(st.lists(lines, max_size=5, unique=True))
        instances = tuple(
            InstanceSpec(
                name,
                draw(st.sampled_from(host_names)),
                draw(st.sampled_from(INSTANCE_STATES)),
                draw(st.integers(-5, 5)),
            )
            for name in found
        )
    instance_names = [each.name for each in instances]
    clusters_ = [host.cluster for host in hosts]
    happening = draw(st.lists(some_event(host_names, instance_names, clusters_), max_size=5))
    run_for = 1e6 + draw(st.integers(0, 5))
    return Scenario(
        draw(lines),
        dict(draw(st.lists(a_setting(), max_size=4))),
        hosts,
        instances,
        tuple(sorted(happening, key=lambda each: each.at)),
        run_for,
        tuple(draw(st.lists(some_expectation(host_names, instance_names, run_for), max_size=5))),
    )


@relaxed
@given(scenarios())
def test_a_scenario_that_was_written_reads_as_the_same(scenario):
    text = dump(scenario)
    try:
        assert parse(text, "t.yml") == scenario
    except ScenarioError as error:
        raise AssertionError(f"{error}\n{text}") from None


def test_a_written_scenario_is_small_and_readable():
    assert dump(parse(DESIGN, "t.yml")) == (
        "name: power cut on one of four hosts\n"
        "settings:\n"
        "  polling_interval: 1\n"
        "  polling_threshold: 2\n"
        "cluster:\n"
        "  hosts: 4\n"
        "  instances_per_host: 5\n"
        "events:\n"
        "  - {at: 10, power_cut: host2}\n"
        "  - {at: 200, power_restore: host2}\n"
        "run_for: 600\n"
        "expect:\n"
        "  - {by: 30, fenced: host2}\n"
        "  - {by: 60, instances_of: host2, running_on: others}\n"
        "  - {by: 400, host: host2, state: healthy}\n"
        "  - {never: two_writers}\n"
    )
