"""[protection], reserved hosts and recovery methods: what is read, and what is wrong in one clear line."""

from __future__ import annotations

import pytest
from settings_files import controller, problems

from hass_runtime.decide.protection import Lists, Rules
from hass_runtime.domain import Method


def test_without_any_of_it_everything_but_amphorae_is_protected_and_nova_chooses(tmp_path):
    settings = controller(tmp_path, {})
    assert settings.protection == {"default": Rules("default")}
    assert settings.recovery.methods == {"default": Method.AUTO}
    assert not any(host.reserved for host in settings.hosts)
    assert (settings.recovery.priority_groups, settings.recovery.priority_stagger) == ("staggered", 30.0)
    recovery = settings.recovery
    assert (recovery.by_hand, recovery.failback, recovery.return_delay) == (False, False, 0.0)
    assert recovery.refill_reserve
    assert recovery.reserved_to_aggregates


def test_rules_are_read_by_cluster(tmp_path):
    settings = controller(
        tmp_path,
        {
            "host_cluster.compute2": "edge",
            "protection_policy.edge": "opt-in",
            "protection.amphorae": "true",
            "protection.leave_names": "test-*, ci-?",
            "protection.protect_flavors": "m1.ha",
        },
    )
    rules = settings.protection
    assert (rules["default"].by_default, rules["edge"].by_default) == (True, False)
    for each in rules.values():
        assert each.names == Lists((), ("test-*", "ci-?"))
        assert each.flavors == Lists(("m1.ha",), ())
        assert each.amphorae


def test_a_reserve_and_methods_are_read(tmp_path):
    settings = controller(
        tmp_path,
        {
            "host_cluster.compute2": "edge",
            "cluster.reserved_hosts": "compute2",
            "recovery_method.edge": "rh_priority",
            "recovery.take_back": "by_hand",
        },
    )
    assert {host.name: host.reserved for host in settings.hosts} == {"compute1": False, "compute2": True}
    assert settings.recovery.methods == {"default": Method.AUTO, "edge": Method.RH_PRIORITY}
    assert settings.recovery.by_hand
    assert not [note for note in settings.notes if "reserved" in note]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cluster.reserved_hosts": "compute2"}, "compute2: kept free and never used"),
        ({"protection.leave_image_tags": "ci"}, "heed_images: false: the rules by image tag have no effect"),
        (
            {"recovery.recovery_method": "reserved_host"},
            "reserved_host: cluster default has no reserved host",
        ),
    ],
)
def test_what_is_hardly_meant_is_noted(tmp_path, changes, says):
    assert [note for note in controller(tmp_path, changes).notes if says in note]


@pytest.mark.parametrize(
    ("changes", "where", "says"),
    [
        ({"protection.policy": "optin"}, "[protection] policy", "expected one of opt-out, opt-in"),
        ({"protection_policy.default": "all"}, "[protection_policy] default", "'all' is no policy, expected"),
        ({"protection_policy.edg": "opt-in"}, "[protection_policy] edg", "there is no cluster of"),
        ({"protection.protect_projects": "a", "protection.leave_projects": "b, a"},
         "[protection] leave_projects",
         "'a' is in protect_projects too"),
        ({"cluster.reserved_hosts": "compute20"}, "[cluster] reserved_hosts",
         "no host of [cluster] hosts is called 'compute20'; did you mean compute2?"),
        ({"recovery.recovery_method": "reserve"}, "[recovery] recovery_method", "expected one of auto, "),
        ({"recovery_method.default": "autopriority"}, "[recovery_method] default", "did you mean auto_pri"),
        ({"recovery_method.nowhere": "auto"}, "[recovery_method] nowhere", "there is no cluster of"),
        ({"recovery.priority_groups": "one"}, "[recovery] priority_groups", "expected one of together"),
        ({"recovery.take_back": "never"}, "[recovery] take_back", "expected one of automatic, by_hand"),
        ({"protected_layers.default": "powr"}, "[protected_layers] default", "did you mean power?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_clear_line(tmp_path, changes, where, says):
    (problem,) = problems(controller, tmp_path, changes)
    assert problem.startswith(f"{where}: ")
    assert says in problem
