"""An incident as ``/v1/incidents/N`` tells it: a host without power, twelve instances, one stubborn."""

from __future__ import annotations

from typing import Any

from hass_runtime.api.render import moment

BEGAN = 1_772_334_761.25  # 2026-03-01 03:12:41.250 UTC
FAILURE = "7-host_failure-1f2e3d4c"
RESTORE = "7-host_restore-5a6b7c8d"


def example(instances: int = 12) -> dict[str, Any]:
    """Recovered and closed; every time is relative to BEGAN."""
    steps = [
        _step(1, "", "Fault established", 3.1, 3.1, "power: its BMC says off and nothing on it answers", ""),
        _step(
            2,
            "",
            "Launch host_failure",
            3.2,
            3.2,
            "its BMC says off and nothing on it answers; no gate is closed",
        ),
        _step(3, FAILURE, "Check that a host is named", 4.0, 4.1, "The host is compute2", "assert", "ok"),
        _step(
            4,
            FAILURE,
            "Read what runs on compute2",
            4.2,
            4.7,
            f"{instances} instances",
            "hass_host_instances",
        ),
        _step(
            5,
            FAILURE,
            "Power off compute2, read it back as off, and listen until it is silent",
            4.8,
            8.9,
            "off read 2 times in 1.2 s; silent on network and agent",
            "hass_fence",
            "changed",
        ),
        _step(
            6,
            FAILURE,
            "Tell Nova that compute2 is down",
            9.0,
            9.3,
            "forced down",
            "hass_compute_service",
            "changed",
        ),
        _step(
            7,
            FAILURE,
            "Evacuate compute2",
            9.4,
            27.8,
            f"{instances} instances moved",
            "hass_evacuate",
            "changed",
        ),
        _step(
            8,
            FAILURE,
            "Verify each instance of compute2",
            27.9,
            28.6,
            "all are as before",
            "hass_verify_instances",
        ),
        _step(9, "", "Instances recovered", 28.9, 28.9, "every instance is where it should be"),
        _step(10, "", "Launch host_restore", 29.0, 29.0, "its instances are safe elsewhere; bring it back"),
        _step(
            11, RESTORE, "Wait until the moves from compute2 are finished", 30.0, 30.4, "", "hass_wait_moves"
        ),
        _step(12, RESTORE, "Power on compute2", 30.5, 33.1, "on", "hass_power", "changed"),
        _step(
            13,
            RESTORE,
            "Wait until compute2 is fine",
            33.2,
            118.7,
            "agent and nova-compute are up",
            "hass_wait_host",
        ),
        _step(14, RESTORE, "Give compute2 back to Nova", 118.8, 120.9, "", "hass_compute_service", "changed"),
    ]
    return {
        "id": 7,
        "host": "compute2",
        "fault": "power",
        "layer": "power",
        "why": "its BMC says off and nothing on it answers",
        "outcome": "recovered",
        "opened_at": moment(BEGAN + 3.1),
        "closed_at": moment(BEGAN + 124.6),
        "duration": 121.5,
        "decision": "power: its BMC says off and nothing on it answers",
        "gate": "",
        "reason": "every instance is where it should be",
        "phase": "host_restore",
        "attempts": 1,
        "seen": [
            _seen("power", "failed", "chassis power is off", 0.0),
            _seen("network", "failed", "192.0.2.12: no answer to 3 echo requests", 0.9),
            _seen("service", "failed", "192.0.2.12 port 2468: no answer within 2 s", 2.2),
        ],
        "steps": steps,
        "moves": [_move(number) for number in range(instances)],
        "runs": [
            _run(FAILURE, "host_failure", 3.3, 28.7),
            _run(RESTORE, "host_restore", 29.1, 121.2),
        ],
    }


def _seen(layer: str, verdict: str, evidence: str, at: float) -> dict[str, Any]:
    return {
        "layer": layer,
        "verdict": verdict,
        "evidence": evidence,
        "at": moment(BEGAN + at),
        "answered": False,
    }


def _step(
    id: int, run: str, name: str, start: float, end: float, detail: str, action: str = "", status: str = "ok"
) -> dict[str, Any]:
    return {
        "id": id,
        "run": run,
        "name": name,
        "action": action,
        "status": status,
        "started_at": moment(BEGAN + start),
        "finished_at": moment(BEGAN + end),
        "duration": round(end - start, 3),
        "detail": detail,
    }


def _move(number: int) -> dict[str, Any]:
    start = 9.5 + number % 4 * 0.4 + number // 4 * 4.1
    end = start + 5.2 + number * 7 % 5 * 0.7
    names = ("web", "db", "cache", "worker", "mail", "git")
    return {
        "instance": f"7f0c2d3e-5b1a-4c8e-9d2f-{number:012x}",
        "name": f"{names[number % len(names)]}-{number // len(names) + 1}",
        "source": "compute2",
        "target": "compute3" if number % 2 else "compute4",
        "state": "succeeded",
        "was": "stopped" if number == 5 else "active",
        "attempts": 2 if number == 3 else 1,
        "priority": 0,
        "started_at": moment(BEGAN + start),
        "finished_at": moment(BEGAN + end),
        "duration": round(end - start, 3),
        "reason": "the first try found no room on compute5" if number == 3 else "",
    }


def _run(id: str, playbook: str, start: float, end: float) -> dict[str, Any]:
    return {
        "id": id,
        "playbook": playbook,
        "attempt": 1,
        "pid": 4711,
        "run_dir": f"/var/lib/hass/runs/{id}",
        "status": "successful",
        "rc": 0,
        "reason": "",
        "started_at": moment(BEGAN + start),
        "finished_at": moment(BEGAN + end),
        "duration": round(end - start, 3),
    }
