"""Scenario files with mistakes: each is named with file, line and key, and all are named at once."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hass_runtime.simulator.scenario import ScenarioError, load, parse
from hass_runtime.simulator.scenario_words import EVENTS, VERBS

relaxed = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=200)


def problems(text):
    """What is wrong with the text; () when nothing is."""
    try:
        parse(text, "f.yml")
    except ScenarioError as error:
        return error.problems
    return ()


def problem(text):
    (only,) = problems(text)
    return only


def test_all_problems_are_named_at_once_in_the_order_of_the_file():
    found = problems(
        """naem: a slip
settings: {polling_interva: 3}
events:
  - {at: 1, power_cut: host11}
  - {power_cut: host4}
  - 7
expect:
  - {by: 1, fenced: host0}
"""
    )
    assert [each.split(": ")[0] for each in found] == [
        *("f.yml:1", "f.yml:2", "f.yml:4", "f.yml:5", "f.yml:5", "f.yml:6", "f.yml:8")
    ]
    assert found[0] == (
        "f.yml:1: naem: no such key, expected one of name, settings, cluster, events, run_for, expect; "
        "did you mean name?"
    )
    assert found[2] == (
        "f.yml:4: events.power_cut: there is no host 'host11', expected host1, host2, host3; "
        "did you mean host1?"
    )
    assert found[3] == "f.yml:5: events.at: missing, expected in '{power_cut: host4}'"


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("", "f.yml:1: the file is empty, expected a scenario"),
        ("# nothing\n", "f.yml:1: the file is empty"),
        ("just words", "f.yml:1: 'just words' is not a mapping, expected one with name,"),
        ("- a\n- b", "f.yml:1: '- a - b' is not a mapping"),
        ("name: a\nevents: [\n", "f.yml:3: not YAML: while parsing a flow node"),
        ("name: a\n\tb: c\n", "f.yml:2: not YAML: while scanning for the next token"),
        ("name: a\n---\nname: b\n", "f.yml:2: not YAML: expected a single document"),
        ("name: a\nevents: *nothing\n", "f.yml:2: not YAML: found undefined alias"),
        ("name: a\nevents: \x00\n", "f.yml:2: not YAML: a character that YAML does not allow (0x0)"),
        ("[" * 5000, "f.yml:1: not YAML: nested too deeply"),
        ("name: a\nname: b\n", "f.yml:2: name: given twice, first in line 1; expected once"),
        ("? [a]\n: b\n", "f.yml:1: '[a]' is not a key"),
        ("name: [a]", "f.yml:1: name: '[a]', expected what the scenario is about"),
        ("name: ''", "f.yml:1: name: '' is no plain text"),
        ('name: "a\\ud800"', "f.yml:1: name: 'a\\ud800' is no plain text"),
        (f"name: {'x' * 300}", f"f.yml:1: name: '{'x' * 60}…' is too long"),
        # settings
        ("settings: [1]", "f.yml:1: settings: '[1]' is not a mapping"),
        (
            "settings: {name: x}",
            "f.yml:1: settings.name: there are several keys of that name, "
            "expected cluster.name or controller.name",
        ),
        (
            "settings: {cluster.nam: x}",
            "f.yml:1: settings.cluster.nam: no such key, expected one of [cluster]; did",
        ),
        (
            "settings: {safty.armed: x}",
            "f.yml:1: settings.safty.armed: no section is called that, expected SECTION",
        ),
        (
            "settings:\n  polling_interval: fast",
            "f.yml:2: settings.polling_interval: 'fast': not a number, expected number from 0.05 to 3600",
        ),
        ("settings: {polling_interval: }", "f.yml:1: settings.polling_interval: no value in one line"),
        ("settings: {tcp_ports: [[1]]}", "f.yml:1: settings.tcp_ports: no value in one line"),
        (
            "settings: {fence_reads: 1}",
            "f.yml:1: settings.fence_reads: '1': too small, expected whole number from 2",
        ),
        (
            "settings: {armed: true, safety.armed: true}",
            "f.yml:1: settings.safety.armed: safety.armed is given twice",
        ),
        (
            "settings: {cluster.hosts: a}",
            "f.yml:1: settings.cluster.hosts: follows from the scenario's cluster",
        ),
        ("settings: {zone.host1: a}", "f.yml:1: settings.zone.host1: follows from the scenario's cluster"),
        (
            "settings: {ipmi.host1: 192.0.2.1}",
            "f.yml:1: settings.ipmi.host1: follows from the scenario's cluster",
        ),
        # cluster
        ("cluster: {host: 3}", "f.yml:1: cluster.host: no such key, expected one of hosts,"),
        ("cluster: {hosts: 0}", "f.yml:1: cluster.hosts: '0' is too small, expected a number from 1 to 2000"),
        ("cluster: {hosts: 10000000}", "f.yml:1: cluster.hosts: '10000000' is too large"),
        ("cluster: {hosts: 2.5}", "f.yml:1: cluster.hosts: '2.5' is not a whole number"),
        ("cluster: {hosts: many}", "f.yml:1: cluster.hosts: 'many' is not a number"),
        (
            "cluster: {hosts: {a: b}}",
            "f.yml:1: cluster.hosts: '{a: b}', expected a number from 1 to 2000 or a list",
        ),
        ("cluster: {hosts: []}", "f.yml:1: cluster.hosts: '[]', expected a number from 1 to 2000 or a list"),
        (
            "cluster: {hosts: [a, a]}",
            "f.yml:1: cluster.hosts: there are two hosts a, expected each name once",
        ),
        ("cluster: {hosts: [others]}", "f.yml:1: cluster.hosts: 'others' stands for any other host"),
        ("cluster: {hosts: [a b]}", "f.yml:1: cluster.hosts: 'a b' is no name, expected the name of a host"),
        ("cluster:\n  hosts:\n    - ipmi: no", "f.yml:3: cluster.hosts.name: missing"),
        (
            "cluster: {hosts: [{name: a, ipmi: 5}]}",
            "f.yml:1: cluster.hosts.ipmi: '5' is neither true nor false",
        ),
        ("cluster: {hosts: [{name: a, room: -1}]}", "f.yml:1: cluster.hosts.room: '-1' is too small"),
        (
            "cluster: {hosts: [{name: a, zone: [b]}]}",
            "f.yml:1: cluster.hosts.zone: '[b]', expected the name of a fail",
        ),
        (
            "cluster: {hosts: [{name: a, cluster: }]}",
            "f.yml:1: cluster.hosts.cluster: '', expected the name of a",
        ),
        (
            "cluster: {hosts: [{name: a, impi: no}]}",
            "f.yml:1: cluster.hosts.impi: no such key, expected one of name,",
        ),
        (
            "cluster: {hosts: [{name: a, room: 1}]}",
            "f.yml:1: cluster: 2 instances on a, expected 1 at most: its room",
        ),
        ("cluster: {instances_per_host: -1}", "f.yml:1: cluster.instances_per_host: '-1' is too small"),
        (
            "cluster: {hosts: 2000, instances_per_host: 1000}",
            "f.yml:1: cluster.instances_per_host: 2000000 instances",
        ),
        (
            "cluster: {instances: 4}",
            "f.yml:1: cluster.instances: '4' is not a list, expected a list of instances",
        ),
        (
            "cluster:\n  instances_per_host: 1\n  instances: []",
            "f.yml:3: cluster.instances: instances_per_host is there too, expected one of them",
        ),
        (
            "cluster: {instances: [{name: a}]}",
            "f.yml:1: cluster.instances.host: missing, expected in '{name: a}'",
        ),
        (
            "cluster: {instances: [{name: a, host: host4}]}",
            "f.yml:1: cluster.instances.host: there is no host 'host4', expected host1, host2, host3",
        ),
        (
            "cluster: {instances: [{name: a, host: host1, state: paused}]}",
            "f.yml:1: cluster.instances.state: 'paused' is not a state, expected one of active, stopped",
        ),
        (
            "cluster: {instances: [{name: a, host: host1, priority: high}]}",
            "f.yml:1: cluster.instances.priority: 'high' is not a number, expected a whole number",
        ),
        (
            "cluster: {instances: [{name: a, host: host1}, {name: a, host: host2}]}",
            "f.yml:1: cluster.instances: there are two instances a, expected each name once",
        ),
        # the run
        ("run_for: 0", "f.yml:1: run_for: '0' is too small, expected seconds, a number above 0"),
        ("run_for: 10:00", "f.yml:1: run_for: '10:00' is not a number"),
        ("run_for: .inf", "f.yml:1: run_for: '.inf' is not a number"),
        ("run_for: 1e3", "f.yml:1: run_for: '1e3' is not a number"),
        (
            "run_for: 60\nevents:\n- {at: 61, power_cut: host1}",
            "f.yml:3: events.at: 61 is after the end, expected a time up to run_for, which is 60",
        ),
        (
            "run_for: 60\nexpect:\n- {by: 61, fenced: host1}",
            "f.yml:3: expect.by: 61 is after the end, expected a time up to run_for, which is 60",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line(text, start):
    assert problem(text).startswith(start), problem(text)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("{at: 1}", "events: no events in '{at: 1}', expected exactly one beside `at`"),
        ("{at: 1, power_cut: host1, os_hang: host1}", "events: 2 events in"),
        ("{at: soon, power_cut: host1}", "events.at: 'soon' is not a number, expected seconds"),
        ("{at: -1, power_cut: host1}", "events.at: '-1' is too small"),
        ("{at: 1, at: 2, power_cut: host1}", "events.at: given twice, first in line 2; expected once"),
        ("{at: 1, powr_cut: host1}", "events.powr_cut: no such event, expected one of power_cut,"),
        ("{at: 1, power_cut: }", "events.power_cut: '', expected the name of a host"),
        ("{at: 1, power_cut: []}", "events.power_cut: an empty list, expected names: host1, host2, host3"),
        ("{at: 1, power_cut: [host1, host1]}", "events.power_cut: host1 is listed twice"),
        ("{at: 1, power_cut: [[host1]]}", "events.power_cut: '[host1]', expected the name of a host"),
        ("{at: 1, power_cut: {for: 3}}", "events.power_cut.host: missing, expected the name of the host"),
        (
            "{at: 1, power_cut: {host: host1, for: 0}}",
            "events.power_cut.for: '0' is too small, expected for how many",
        ),
        ("{at: 1, power_cut: {host: host1, for: ever}}", "events.power_cut.for: 'ever' is not a number"),
        (
            "{at: 1, power_cut: {host: host1, fro: 1}}",
            "events.power_cut.fro: no such key, expected one of host, for; did",
        ),
        ("{at: 1, power_cut: vm1}", "events.power_cut: there is no host 'vm1'"),
        (
            "{at: 1, guest_crash: host1}",
            "events.guest_crash: there is no instance 'host1', expected vm1, vm2,",
        ),
        (
            "{at: 1, guest_crash: {instance: vm1, host: vm1}}",
            "events.guest_crash.instance: names are given twice",
        ),
        (
            "{at: 1, guest_restore: {instance: vm1, for: 1}}",
            "events.guest_restore.for: nothing undoes guest_restore",
        ),
        (
            "{at: 1, service_stop: {host: host1, service: nova}}",
            "events.service_stop.service: 'nova' is not a service",
        ),
        (
            "{at: 1, sensor: {host: host1, name: T}}",
            "events.sensor.value: missing, expected {host: NAME, name: SENSOR",
        ),
        ("{at: 1, sensor: {host: host1, value: 1}}", "events.sensor.name: missing"),
        ("{at: 1, sensor: {host: host1, name: T, value: 80C}}", "events.sensor.value: '80C' is not a number"),
        ("{at: 1, nova_api_cut: host1}", "events.nova_api_cut: 'host1': it happens to no single host"),
        ("{at: 1, nova_api_cut: false}", "events.nova_api_cut: 'false': it happens to no single host"),
        ("{at: 1, nova_api_cut: {host: host1}}", "events.nova_api_cut.host: no such key, expected for"),
        (
            "{at: 1, operator: stop}",
            "events.operator: 'stop' is not a mapping, expected one with do, subject",
        ),
        ("{at: 1, operator: {subject: vm1}}", "events.operator.do: missing"),
        (
            "{at: 1, operator: {do: stop_instanc, subject: vm1}}",
            "events.operator.do: 'stop_instanc' is not a verb",
        ),
        (
            "{at: 1, operator: {do: stop_instance}}",
            "events.operator.subject: missing, expected the instance that",
        ),
        (
            "{at: 1, operator: {do: stop_instance, subject: host1}}",
            "events.operator.subject: there is no instance",
        ),
        ("{at: 1, operator: {do: restore, subject: vm1}}", "events.operator.subject: there is no host 'vm1'"),
        (
            "{at: 1, operator: {do: arm, subject: defaut}}",
            "events.operator.subject: there is no host or cluster",
        ),
        ("{at: 1, operator: {do: arm, for: 4}}", "events.operator.for: nothing undoes arm"),
        ("{at: 1, operator: {do: disarm, drain: true}}", "events.operator.drain: disarm drains nothing"),
        (
            "{at: 1, operator: {do: disarm, reason: [a]}}",
            "events.operator.reason: '[a]', expected a reason in words",
        ),
        (
            "{at: 1, operator: {do: maintenance, subject: host1, drain: some}}",
            "events.operator.drain: 'some' is neither true nor false",
        ),
        ("{at: 1, playbook: {outcome: fail}}", "events.playbook.name: missing"),
        ("{at: 1, playbook: {name: host_failure}}", "events.playbook.outcome: missing"),
        (
            "{at: 1, playbook: {name: host_failur, outcome: fail}}",
            "events.playbook.name: 'host_failur' is not a playb",
        ),
        (
            "{at: 1, playbook: {name: host_failure, outcome: ok}}",
            "events.playbook.outcome: 'ok' is not an outcome",
        ),
        ("{at: 1, playbook: {name: host_failure, outcome: slow}}", "events.playbook.seconds: missing"),
        (
            "{at: 1, playbook: {name: host_failure, outcome: fail, seconds: 1}}",
            "events.playbook.seconds: without an effect here",
        ),
        (
            "{at: 1, playbook: {name: host_failure, outcome: fail, times: 0}}",
            "events.playbook.times: '0' is too small, expected how many runs",
        ),
        (
            "{at: 1, playbook: {name: host_failure, outcome: fail, host: h}}",
            "events.playbook.host: there is no host 'h'",
        ),
    ],
)
def test_a_mistake_in_an_event_is_named(text, start):
    assert problem(f"events:\n- {text}").startswith(f"f.yml:2: {start}"), problem(f"events:\n- {text}")


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("two_writers", "expect: 'two_writers' is no expectation, expected {by: 30,"),
        ("{fenced: host1}", "expect: neither by, at nor never in '{fenced: host1}', expected exactly one"),
        ("{by: 1, at: 1, fenced: host1}", "expect: by and at in"),
        ("{by: 1}", "expect: nothing to look at in '{by: 1}', expected one of fenced,"),
        ("{by: 1, fenced: host1, not_fenced: host2}", "expect: fenced and not_fenced to look at in"),
        ("{by: x, fenced: host1}", "expect.by: 'x' is not a number, expected seconds"),
        ("{by: -3, fenced: host1}", "expect.by: '-3' is too small"),
        ("{by: 1, fencd: host1}", "expect.fencd: no such expectation, expected one of fenced,"),
        ("{by: 1, fenced: host12}", "expect.fenced: there is no host 'host12'"),
        ("{by: 1, fenced: [host1]}", "expect.fenced: '[host1]', expected the name of a host"),
        ("{by: 1, fenced: host1, state: held}", "expect.state: does not go with fenced"),
        ("{by: 1, host: host1}", "expect.state: missing, expected with host"),
        (
            "{by: 1, host: host1, state: ill}",
            "expect.state: 'ill' is not a state of a host, expected one of healthy,",
        ),
        ("{by: 1, instances_of: host1}", "expect.running_on: missing, expected with instances_of"),
        ("{by: 1, instances_of: host1, running_on: other}", "expect.running_on: there is no host 'other'"),
        ("{by: 1, instance: vm1}", "expect.instance: neither state nor on, expected one of them or both"),
        ("{by: 1, instance: vm1, state: healthy}", "expect.state: 'healthy' is not a state of an instance"),
        ("{by: 1, instance: vm1, on: vm2}", "expect.on: there is no host 'vm2'"),
        ("{by: 1, instance: vm10, on: host1}", "expect.instance: there is no instance 'vm10'"),
        (
            "{by: 1, incident: host1}",
            "expect.incident: 'host1' is not a mapping, expected one with host, fault,",
        ),
        ("{by: 1, incident: {fault: any}}", "expect.incident.host: missing"),
        (
            "{by: 1, incident: {host: host1, outcome: good}}",
            "expect.incident.outcome: 'good' is not an outcome",
        ),
        ("{by: 1, held: {gate: storm}}", "expect.held.host: missing"),
        (
            "{by: 1, held: {host: host1, gate: strom}}",
            "expect.held.gate: 'strom' is not a gate, expected one of disarmed",
        ),
        ("{never: two_writer}", "expect.never: 'two_writer' is not a thing that may never be"),
        ("{never: fenced}", "expect.never: fenced of what? expected {fenced: …}"),
        ("{never: {two_writers: host1}}", "expect.never.two_writers: takes nothing"),
        ("{never: {fenced: host9}}", "expect.never.fenced: there is no host 'host9'"),
        ("{never: {evacuated: vm1}}", "expect.never.evacuated: there is no host 'vm1'"),
        ("{never: {restarted: host1}}", "expect.never.restarted: there is no instance 'host1'"),
        ("{never: {more_fenced_than: 1.5}}", "expect.never.more_fenced_than: '1.5' is not a whole number"),
        (
            "{never: {fenced: host1, evacuated: host1}}",
            "expect.never: '{fenced: host1, evacuated: host1}', expected ex",
        ),
        ("{never: {}}", "expect.never: '{}', expected exactly one of two_writers,"),
        ("{never: [two_writers]}", "expect.never: '[two_writers]' is not a mapping"),
        ("{never: two_writers, fenced: host1}", "expect.fenced: does not go with never"),
    ],
)
def test_a_mistake_in_an_expectation_is_named(text, start):
    assert problem(f"expect:\n- {text}").startswith(f"f.yml:2: {start}"), problem(f"expect:\n- {text}")


def test_a_message_suggests_the_word_that_was_meant():
    assert problem("events: [{at: 1, powr_cut: host1}]").endswith("; did you mean power_cut?")
    assert problem("settings: {poling_interval: 1}").endswith("; did you mean polling_interval?")
    assert problem("expect: [{by: 1, held: {host: host1, gate: strom}}]").endswith("; did you mean storm?")


def test_a_password_among_the_settings_is_not_shown():
    (found,) = problems('settings: {openstack_admin_password: "se\\ncret"}')
    assert "cret" not in found


def test_a_recursive_anchor_is_a_problem_like_any_other():
    assert problem("events: &all\n- *all").startswith("f.yml:1: events: ")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"\xff\xfe\x00", ":1: not UTF-8 text (byte 1), expected a scenario file"),
        (b"name: \x00\x01\x02", ":1: not YAML: a character that YAML does not allow (0x0)"),
        (b"x" * (1024 * 1024 + 1), ":1: larger than 1048576 bytes, expected a scenario file"),
        (b"", ":1: the file is empty, expected a scenario"),
    ],
)
def test_a_file_that_is_no_scenario_is_refused(tmp_path, raw, expected):
    path = tmp_path / "s.yml"
    path.write_bytes(raw)
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert caught.value.problems[0].startswith(f"{path}{expected}")


def test_what_cannot_be_read_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        ("missing.yml", "cannot be read: No such file or directory"),
        ("", "not a regular file"),
        ("pipe", "not a regular file"),
    ):
        with pytest.raises(ScenarioError) as caught:
            load(tmp_path / name)
        assert caught.value.problems == (f"{tmp_path / name}:1: {reason}, expected a scenario file",)


# --- any text ----------------------------------------------------------------------------------------------

WORDS = (
    *(
        "name",
        "settings",
        "cluster",
        "events",
        "run_for",
        "expect",
        "at",
        "by",
        "never",
        "for",
        "host",
        "hosts",
    ),
    *("instances", "instances_per_host", "instance", "do", "subject", "two_writers", "fenced", "state", "on"),
    *(
        "running_on",
        "incident",
        "held",
        "gate",
        "polling_interval",
        "safety.armed",
        "null",
        "~",
        "1",
        "2.5",
        "-",
    ),
    *(
        "host1",
        "vm1",
        "*a",
        "&a",
        "!!set",
        "<<",
        "'",
        '"',
        "|",
        ">",
        "%YAML 9.9",
        "\n",
        "\n  ",
        ": ",
        ", ",
        "#",
    ),
    *("{", "}", "[", "]", "- ", "\t", "? ", "\ufeff", "\u2028", *EVENTS, *VERBS),
)


def outcome(text):
    """Reads the text, and checks what is said about it."""
    found = problems(text)
    for each in found:
        assert each.startswith("f.yml:")
        assert int(each.split(":")[1]) >= 1
        assert each.encode().count(b"\n") == 0


@relaxed
@given(st.text() | st.lists(st.sampled_from(WORDS), max_size=30).map("".join))
def test_any_text_is_a_scenario_or_has_problems(text):
    outcome(text)


@relaxed
@given(st.binary(max_size=100))
def test_any_bytes_are_a_scenario_or_have_problems(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_bytes(raw)
    try:
        load(path)
        found = ()
    except ScenarioError as error:
        found = error.problems or ("no problem was named",)
    assert all(each.startswith(f"{path}:") for each in found)


scalars = st.sampled_from(WORDS).map(lambda word: repr(word) if not word.isalnum() else word)
trees = st.recursive(
    scalars | st.floats().map(repr) | st.integers().map(str) | st.text(max_size=5).map(repr),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(scalars, inner), max_size=4).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=12,
)


@relaxed
@given(st.lists(st.tuples(st.sampled_from(WORDS[:6]), trees), max_size=4))
def test_any_tree_under_the_known_keys_is_a_scenario_or_has_problems(parts):
    outcome("\n".join(f"{key}: {tree}" for key, tree in parts))


@relaxed
@given(st.sampled_from(sorted(EVENTS)), trees, st.sampled_from(("by", "at", "never")), trees)
def test_any_value_of_an_event_or_expectation_is_good_or_has_problems(name, value, kind, other):
    outcome(f"events:\n- {{at: 1, {name}: {value}}}\nexpect:\n- {{{kind}: {other}, held: {value}}}")
