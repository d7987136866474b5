"""`hass sandbox play` as a person uses it: real time, the real OpenStack, the real daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hass_runtime

pytestmark = pytest.mark.integration
# The first run builds OpenStack's environment.
LIMIT = 900.0

AMPHORA = "amphora-0d2f7c1e-53c4-4a0a-9f2f-1d6c1b6a7e55"
POWER_CUT = """\
name: a host loses power and a person stops something
settings: {polling_interval: 1, healthy_delay: 2}
cluster:
  hosts: [host1, host2, {name: bare, ipmi: false, zone: rack1}]
  instances:
    - {name: web, host: host2, priority: 5}
    - {name: batch, host: host2, state: stopped}
    - {name: near, host: host1}
    - {name: other, host: bare}
events:
  - {at: 1, operator: {do: stop_instance, subject: near}}
  - {at: 1, operator: {do: disarm, for: 6, reason: a look first}}
  - {at: 2, power_cut: {host: host2, for: 35}}
  - {at: 25, controller_kill: {for: 5}}
  - {at: 50, guest_crash: other}
run_for: 240
expect:
  - {by: 230, held: {host: host2, gate: disarmed}}
  - {by: 230, fenced: host2}
  - {by: 230, instances_of: host2, running_on: others}
  - {by: 230, instance: web, state: active, on: others}
  - {by: 230, instance: batch, state: stopped, on: others}
  - {at: 239, instance: near, state: stopped, on: host1}
  - {at: 239, instance: other, state: stopped, on: bare}
  - {by: 230, host: host2, state: healthy}
  - {by: 230, incident: {host: host2, fault: power, outcome: recovered}}
  - {never: two_writers}
  - {never: {evacuated: host1}}
  - {never: {restarted: near}}
  - {never: {more_fenced_than: 1}}
"""

PROTECTED = """\
name: protection, priority groups and a reserved host in the real Nova
settings: {polling_interval: 1, recovery_method: rh_priority, priority_groups: in_turn}
cluster:
  hosts: [host1, host2, {name: spare, reserved: true}]
  instances:
    - {name: last, host: host2, priority: -5}
    - {name: usual, host: host2}
    - {name: first, host: host2, priority: 10}
    - {name: alone, host: host2, protect: false}
    - {name: amphora-0d2f7c1e-53c4-4a0a-9f2f-1d6c1b6a7e55, host: host2}
    - {name: word, host: host2}
    - {name: near, host: host1}
events:
  - {at: 1, operator: {do: unprotect, subject: word, reason: rebuilt anyway}}
  - {at: 8, power_cut: {host: host2, for: 40}}
run_for: 110
expect:
  - {at: 7, incident: {host: spare, fault: reserve, outcome: recovered}}
  - {by: 90, instance: first, state: active, on: spare}
  - {by: 90, instance: last, state: active, on: spare}
  - {at: 109, instance: alone, state: stopped, on: host2}
  - {at: 109, instance: word, state: stopped, on: host2}
  - {at: 109, instance: amphora-0d2f7c1e-53c4-4a0a-9f2f-1d6c1b6a7e55, state: stopped, on: host2}
  - {by: 109, incident: {host: host2, fault: power, outcome: recovered}}
"""

FAILING = """\
name: what is expected does not come
settings: {polling_interval: 1}
cluster: {hosts: 2, instances_per_host: 1}
events: [{at: 1, bmc_cut: host1}]
run_for: 5
expect:
  - {by: 4, fenced: host1}
  - {never: {evacuated: host2}}
"""

REFUSED = """\
events:
  - {at: 1, power_cut: host1}
  - {at: 2, guest_hang: vm1}
  - {at: 3, playbook: {name: host_failure, outcome: crash}}
"""


def play(tmp_path: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "scenario.yml"
    path.write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "hass_runtime.cli.main", "sandbox", "play", str(path), *options],
        env={
            **os.environ,
            "XDG_RUNTIME_DIR": str(tmp_path),
            "TMPDIR": str(tmp_path),
            "PYTHONPATH": str(Path(hass_runtime.__file__).parent.parent),
        },
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def test_a_power_cut_is_played_and_every_expectation_held(tmp_path: Path) -> None:
    done = play(tmp_path, POWER_CUT, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [line for line in lines if line["event"] in ("expectation.failed", "safety.violated")]
    assert failed == [], done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"t", "event", "subject"} <= set.intersection(*(set(line) for line in lines))
    names = [line["event"] for line in lines]
    assert names[-1] == "play.ended"
    assert names.count("expectation.held") == 13
    assert names.index("world.power_cut") < names.index("incident.opened") < names.index("host.fenced")
    assert next(line["t"] for line in lines if line["event"] == "world.controller_kill") >= 25
    assert list(tmp_path.glob("hass-sandbox-*")) == []


def test_an_expectation_that_fails_is_exit_status_one(tmp_path: Path) -> None:
    done = play(tmp_path, FAILING)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED  {by: 4, fenced: host1}" in done.stdout
    assert "ok      {never: {evacuated: host2}}" in done.stdout
    assert done.stdout.endswith("1 of 2 expectations held, no safety rule broken\n")


def test_what_only_the_simulator_can_play_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = play(tmp_path, REFUSED)
    assert done.returncode == 2
    assert done.stdout == ""
    path = tmp_path / "scenario.yml"
    first, second = done.stderr.splitlines()
    assert first.startswith(
        f"{path}:3: events.guest_hang: guest_hang is only for hass simulate: sandbox guests"
    )
    assert second.startswith(f"{path}:4: events.playbook: playbook is only for hass simulate: the playbooks")


def test_protection_priority_and_the_reserve_on_the_real_nova(tmp_path: Path) -> None:
    """One group after the other to the reserved host; what is not protected stays, and the log says why."""
    done = play(tmp_path, PROTECTED, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout + done.stderr
    moves = [(line["subject"], line["state"]) for line in lines if line["event"] == "move"]
    ordered = [(name, state) for name in ("first", "usual", "last") for state in ("ongoing", "succeeded")]
    assert [each for each in moves if each[1] in ("ongoing", "succeeded")] == ordered
    left = {line["subject"]: line["words"] for line in lines if line.get("state") == "left"}
    assert set(left) == {"alone", "word", AMPHORA}
    assert "its metadata says hass:protect=false" in left["alone"]
    assert "left alone one by one by operator: rebuilt anyway" in left["word"]
    assert "it is an amphora of Octavia" in left[AMPHORA]
