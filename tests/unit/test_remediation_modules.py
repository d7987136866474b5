"""The Ansible modules: documented as they behave, and failing in one clear line."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from hass_runtime.remedy import ansible_support, restoration
from hass_runtime.remedy.drain import DrainError
from hass_runtime.remedy.nova import ComputeService, Migration
from hass_runtime.remedy.proof import FenceError

LIBRARY = Path(__file__).resolve().parents[2] / "playbooks" / "remediation" / "library"
MODULES = sorted(LIBRARY.glob("hass_*.py"))
CONFIG = """\
[openstack]
openstack_auth_url = http://127.0.0.1:1/v3
openstack_admin_password = s3cret-of-keystone
openstack_request_timeout = 2
[cluster]
hosts = compute1, compute10
[address]
compute1 = 127.0.0.21
compute10 = 127.0.0.22
"""
PROOF = {
    "host": "compute10",
    "sent_off_at": 1.0,
    "silent_at": 3.0,
    "reads": [{"at": 2.0, "value": "off"}] * 2,
}
NEEDS = {
    "hass_compute_service": {"forced_down": True},
    "hass_verify_instances": {"moves": []},
    "hass_evacuate": {"proof": PROOF},
    "hass_start_instances": {"failed_at": "2026-03-01T02:03:04Z"},
}


def documents(path):
    tree = ast.parse(path.read_text())
    return {
        node.targets[0].id: yaml.safe_load(node.value.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        and node.targets[0].id in ("DOCUMENTATION", "EXAMPLES", "RETURN")
    }  # fmt: skip


def run(path, check=False, **arguments):
    """Run a module as Ansible does: arguments as JSON on stdin, one JSON object as the answer."""
    code = (
        "import sys, json, runpy; from ansible.module_utils import basic;"
        "from ansible.module_utils.testing import patch_module_args;"
        f"args = json.loads(sys.stdin.read());"
        f"cm = patch_module_args(args); cm.__enter__(); runpy.run_path({str(path)!r}, run_name='__main__')"
    )
    values = {**arguments, "_ansible_check_mode": check}
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(values), capture_output=True, text=True,
        env={**os.environ, "HASS_TEST": "1"}, timeout=60,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "hass.conf"
    path.touch(mode=0o600)
    path.write_text(CONFIG)
    return str(path)


def test_all_modules_are_here():
    assert {path.stem for path in MODULES} == {
        "hass_compute_service", "hass_drain", "hass_evacuate", "hass_failback", "hass_fence",
        "hass_host_instances",
        "hass_power", "hass_restart_service", "hass_start_instances", "hass_verify_instances",
        "hass_wait_host", "hass_wait_moves",
    }  # fmt: skip


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_documented_as_it_is_called(path):
    found = documents(path)
    assert set(found) == {"DOCUMENTATION", "EXAMPLES", "RETURN"}
    assert found["DOCUMENTATION"]["module"] == path.stem
    assert any(path.stem in task for task in found["EXAMPLES"])
    options = found["DOCUMENTATION"]["options"]
    answer, _ = run(path, host="compute1", nonsense=1, **NEEDS.get(path.stem, {}))
    assert answer["failed"]
    assert "nonsense" in answer["msg"]
    supported = answer["msg"].split("Supported parameters include: ")[1].rstrip(".").split(" (")[0]
    assert set(supported.split(", ")) == set(options)
    assert not {"password", "username", "auth"} & set(options)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
@pytest.mark.parametrize("check", [False, True])
def test_an_unknown_host_is_said(path, check, config):
    answer, _ = run(path, check, host="compute2", config=config, **NEEDS.get(path.stem, {}))
    assert answer["failed"]
    assert "names no host compute2; its hosts are: compute1, compute10" in answer["msg"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_missing_configuration_is_said(path, tmp_path):
    answer, _ = run(path, host="compute1", config=str(tmp_path / "absent"), **NEEDS.get(path.stem, {}))
    assert answer["failed"]
    assert "absent" in answer["msg"]
    assert "Traceback" not in answer["msg"]


@pytest.mark.parametrize(
    "name", ["hass_host_instances", "hass_compute_service", "hass_drain", "hass_verify_instances"]
)
def test_no_openstack_is_said_without_the_password(name, config):
    answer, text = run(LIBRARY / f"{name}.py", host="compute1", config=config, **NEEDS.get(name, {}))
    assert answer["failed"]
    assert "127.0.0.1:1" in answer["msg"]
    assert "s3cret" not in text


@pytest.mark.parametrize("check", [False, True])
def test_no_bmc_means_no_fence(check, config):
    answer, _ = run(LIBRARY / "hass_fence.py", check, host="compute1", config=config)
    assert answer["failed"]
    assert "no proof possible" in answer["msg"]


@pytest.mark.parametrize(
    ("confirmed", "words"),
    [
        ({"reason": "x", "at": 1}, "confirmed: by is None, expected the name of the person"),
        ({"by": "anna"}, "confirmed: at is None, expected seconds since the epoch"),
        ({"by": "anna", "at": "now"}, "confirmed: at is 'now', expected seconds"),
        ({"by": "anna", "at": 1}, "compute1 has no BMC; what anna confirmed is"),
    ],
)
def test_a_confirmation_that_is_none_is_said(confirmed, words, config):
    answer, _ = run(LIBRARY / "hass_fence.py", host="compute1", config=config, confirmed=confirmed)
    assert answer["failed"]
    assert words in answer["msg"]


def test_a_persons_word_alone_evacuates_nothing(config):
    now = time.time()
    person = {"by": "anna", "reason": "", "at": now - 9}
    said = {"host": "compute10", "reads": [], "sent_off_at": None, "person": person, "silent_at": now}
    for heard in ([], [now - 1], [now - 20, now]):
        answer, _ = run(
            LIBRARY / "hass_evacuate.py", host="compute10", config=config, proof={**said, "heard": heard}
        )
        assert "compute10 is not proven off, nothing is evacuated" in answer["msg"]


def test_what_a_person_confirmed_is_foreseen(config):
    confirmed = {"by": "anna", "reason": "", "at": 1}
    answer, _ = run(LIBRARY / "hass_fence.py", True, host="compute1", config=config, confirmed=confirmed)
    assert answer["changed"] is False
    assert "would listen for silence of compute1, which anna confirmed as off" in answer["msg"]


@pytest.mark.parametrize("check", [False, True])
def test_a_host_without_a_bmc_is_on_when_a_person_has_powered_it_on(check, config):
    answer, _ = run(LIBRARY / "hass_power.py", check, host="compute1", config=config)
    assert (answer["changed"], "failed" in answer) == (False, False)
    assert "compute1 has no BMC" in answer["msg"]


@pytest.mark.parametrize("check", [False, True])
def test_no_agent_means_no_restart(check, config):
    answer, _ = run(LIBRARY / "hass_restart_service.py", check, host="compute1", config=config)
    assert answer["failed"]
    assert "no agent is configured" in answer["msg"]


@pytest.mark.parametrize("order", ["compute10, compute1", "compute1, compute10"])
def test_host_names_are_compared_whole(order, tmp_path):
    path = tmp_path / "hass.conf"
    path.touch(mode=0o600)
    path.write_text(CONFIG.replace("hosts = compute1, compute10", f"hosts = {order}"))
    for name in ("compute1", "compute10"):
        assert ansible_support.load(str(path), name)[1].name == name
    for name in ("compute", "compute100", "ompute1"):
        with pytest.raises(ansible_support.BadArgument, match=f"names no host {name};"):
            ansible_support.load(str(path), name)


def test_a_bad_time_is_said(config):
    answer, _ = run(LIBRARY / "hass_wait_moves.py", host="compute1", config=config, since="yesterday")
    assert "since: 'yesterday' is no ISO 8601 time" in answer["msg"]


def test_moves_that_are_none_are_said(config):
    answer, _ = run(LIBRARY / "hass_verify_instances.py", host="compute1", config=config, moves=[{"a": 1}])
    assert "moves: not what hass_evacuate returns" in answer["msg"]


@pytest.mark.parametrize(
    "proof", [None, {}, {**PROOF, "host": "compute1"}, {**PROOF, "reads": PROOF["reads"][:1]}, PROOF]
)
def test_nothing_is_evacuated_without_a_fresh_proof_of_this_very_host(proof, config):
    given = {"proof": proof} if proof is not None else {}
    answer, _ = run(LIBRARY / "hass_evacuate.py", host="compute10", config=config, **given)
    assert answer["failed"]
    assert "compute10 is not proven off, nothing is evacuated" in answer["msg"]


@pytest.mark.parametrize("name", ["hass_drain", "hass_evacuate", "hass_host_instances"])
def test_a_record_that_is_none_is_said(name, config):
    given = {"was": {"u1": "paused"}, "proof": fresh("compute10")}
    answer, _ = run(LIBRARY / f"{name}.py", name == "hass_evacuate", host="compute10", config=config, **(
        given if name == "hass_evacuate" else {"was": given["was"]}
    ))  # fmt: skip
    assert answer["failed"]
    assert "was: u1 is 'paused', expected active or stopped" in answer["msg"]


def test_instances_that_are_none_are_said(config):
    answer, _ = run(
        LIBRARY / "hass_evacuate.py", True, host="compute10", config=config, instances=[{"name": "vm1"}]
    )
    assert "instances: not what hass_host_instances returns" in answer["msg"]


# --- what a module itself insists on, whatever the order of tasks


class Cloud:
    """nova-compute of a host, and its evacuation records; whoever would change anything fails."""

    def __init__(self, forced_down, records=()):
        self.service = ComputeService("s1", "compute10", False, True, forced_down, "", "")
        self.records = list(records)
        self.lifted = False

    def compute_service(self, host):
        return self.service

    def aggregates_of(self, host):
        return ()

    def evacuate_microversion(self):
        return "2.94"

    def evacuations(self, source, since):
        return self.records

    def set_forced_down(self, service, forced_down):
        self.lifted = not forced_down

    def servers_on(self, host):
        raise AssertionError("it went on to evacuate")

    def set_enabled(self, service, enabled, reason=""):
        raise AssertionError("it went on to disable")


def fresh(host):
    now = time.time()
    reads = [{"at": now - 2, "value": "off"}] * 2
    return {"host": host, "sent_off_at": now - 3, "silent_at": now - 1, "reads": reads}


def module_with(name, cloud, monkeypatch, **params):
    """A module's own code, with another cloud, and what Ansible would hand to it."""
    spec = importlib.util.spec_from_file_location(name, LIBRARY / f"{name}.py")
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    monkeypatch.setattr(code.cloud, "connect", lambda settings: cloud)
    return code, SimpleNamespace(params=params, check_mode=False)


def test_nothing_is_evacuated_while_nova_takes_the_host_for_alive(config, monkeypatch):
    params = {
        "host": "compute10", "config": config, "proof": fresh("compute10"), "since": None, "incident": 0,
        "progress_file": None, "instances": [], "read_at": None, "was": {}, "beware": [], "method": "auto",
        "reserved": [], "choices": {},
    }  # fmt: skip
    code, module = module_with("hass_evacuate", Cloud(False), monkeypatch, **params)
    with pytest.raises(
        FenceError, match="nova-compute of compute10 is not forced down, nothing is evacuated"
    ):
        code.run(module)
    code, module = module_with("hass_evacuate", Cloud(True), monkeypatch, **params)
    with pytest.raises(AssertionError, match="went on to evacuate"):
        code.run(module)


@pytest.mark.parametrize("forced_down", [True, False])
def test_a_host_whose_nova_compute_is_down_is_not_drained(forced_down, config, monkeypatch):
    params = {
        "host": "compute10", "config": config, "reason": "a fan", "was": {}, "since": None, "incident": 0,
        "progress_file": None, "choices": {},
    }  # fmt: skip
    for check in (False, True):
        code, module = module_with("hass_drain", Cloud(forced_down), monkeypatch, **params)
        module.check_mode = check
        with pytest.raises(DrainError, match="compute10 cannot be drained, nothing was changed"):
            code.run(module)
    alive = Cloud(False)
    alive.service = replace(alive.service, up=True)
    code, module = module_with("hass_drain", alive, monkeypatch, **params)
    with pytest.raises(AssertionError, match="went on to disable"):
        code.run(module)


def test_force_down_stays_while_something_is_on_its_way(config, monkeypatch):
    text = Path(config).read_text() + "[recovery]\nrestore_timeout = 1\npoll_interval = 0.1\n"
    Path(config).write_text(text)
    cloud = Cloud(True, [Migration(1, "u1", "pre-migrating", "compute10", "compute1", time.time())])
    params = {
        "host": "compute10", "config": config, "forced_down": False, "enabled": None, "since": None,
        "incident": 0,
    }  # fmt: skip
    code, module = module_with("hass_compute_service", cloud, monkeypatch, **params)
    with pytest.raises(restoration.RestoreError, match="1 evacuations from compute10 are unfinished: u1"):
        code.run(module)
    assert not cloud.lifted


# --- the order of the playbooks


def steps(playbook):
    """The modules of a playbook that act on the cloud or the host, in order, each with its arguments."""
    (play,) = yaml.safe_load((LIBRARY.parent / f"{playbook}.yml").read_text())
    found = []

    def walk(tasks):
        for task in tasks:
            walk(task.get("block", []))
            for name in (key for key in task if key.startswith("hass_")):
                # A task that may be skipped, may fail or runs after a failure is no safeguard.
                assert not {"when", "ignore_errors", "failed_when", "check_mode", "rescue"} & set(task), task
                found.append((name, task[name]))
            assert not any(key.startswith("hass_") for late in task.get("always", []) for key in late)
            assert "rescue" not in task

    walk(play["tasks"])
    return found


def test_the_order_of_a_failure():
    found = steps("host_failure")
    assert [name for name, _ in found] == [
        "hass_host_instances", "hass_fence", "hass_compute_service", "hass_evacuate", "hass_verify_instances",
    ]  # fmt: skip
    arguments = dict(found)
    assert arguments["hass_fence"]["confirmed"] == "{{ confirmed }}"
    assert arguments["hass_compute_service"]["forced_down"] is True
    assert arguments["hass_evacuate"]["proof"] == "{{ fence.proof | default(omit) }}"
    assert arguments["hass_evacuate"]["instances"] == "{{ found.instances }}"
    assert arguments["hass_evacuate"]["read_at"] == "{{ found.read_at }}"
    assert {arguments[name]["was"] for name in ("hass_host_instances", "hass_evacuate")} == {"{{ was }}"}


def test_the_order_of_a_restoration():
    found = steps("host_restore")
    assert [name for name, _ in found] == [
        "hass_wait_moves", "hass_power", "hass_wait_host", "hass_compute_service",
    ]  # fmt: skip
    assert dict(found)["hass_power"]["state"] == "on"
    assert dict(found)["hass_compute_service"]["forced_down"] is False


def test_the_milder_remedies_are_one_step_each():
    assert [name for name, _ in steps("service_restart")] == ["hass_restart_service"]
    ((name, arguments),) = steps("host_drain")
    assert (name, arguments["reason"], arguments["was"]) == ("hass_drain", "{{ reason }}", "{{ was }}")


@pytest.mark.parametrize("playbook", ["host_failure", "host_drain"])
def test_what_moves_instances_wants_the_hosts_name_twice(playbook):
    (play,) = yaml.safe_load((LIBRARY.parent / f"{playbook}.yml").read_text())
    asserts = [task["ansible.builtin.assert"]["that"] for task in play["tasks"][:2]]
    assert asserts == ["host | length > 0", "confirm == host or ansible_check_mode"]


@pytest.mark.parametrize("playbook", ["host_failure", "host_restore", "host_drain", "service_restart"])
def test_every_step_is_about_the_one_host_of_the_one_configuration(playbook):
    assert {(args["host"], args["config"]) for _, args in steps(playbook)} == {("{{ host }}", "{{ config }}")}
