"""The Ansible modules: documented as they behave, and failing in one clear line."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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
        "hass_compute_service", "hass_evacuate", "hass_fence", "hass_host_instances", "hass_power",
        "hass_verify_instances", "hass_wait_host", "hass_wait_moves",
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


@pytest.mark.parametrize("name", ["hass_host_instances", "hass_compute_service", "hass_verify_instances"])
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
