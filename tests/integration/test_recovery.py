"""The main path, with real parts: a host loses power and its instances come back."""

from __future__ import annotations

import re

import pytest
from watching import all_healthy, get, host_state, incident_of, incidents, once_elsewhere, places, until

from hass_runtime.sandbox.cluster import Sandbox

pytestmark = pytest.mark.integration

LOST = "compute2"


@pytest.fixture
def sandbox():
    with Sandbox(hosts=3, instances=6) as running:
        until("all hosts healthy", lambda: all_healthy(running))
        yield running


def evacuated(sandbox):
    return once_elsewhere(sandbox, LOST)


def recovered(sandbox):
    incident = incident_of(sandbox, LOST)
    return incident if incident.get("outcome") == "recovered" else None


def closed(sandbox):
    incident = incident_of(sandbox, LOST)
    return incident if incident.get("closed_at") else None


def test_power_cut_to_recovered_and_back(sandbox):
    sandbox.power_cut(LOST)
    incident = until("the incident is recovered", lambda: recovered(sandbox))
    assert evacuated(sandbox), places(sandbox)
    assert {move["state"] for move in incident["moves"]} == {"succeeded"}
    assert {move["source"] for move in incident["moves"]} == {LOST}
    assert len(incident["moves"]) == 2

    # Safety rule 1, in the incident: off was read twice after the command and before the first evacuation.
    fence = next(step for step in incident["steps"] if step["action"] == "hass_fence")
    assert len(re.findall(r"\boff at [0-9:.]+", fence["detail"])) >= 2, fence
    assert fence["finished_at"] <= min(move["started_at"] for move in incident["moves"])

    incident = until("the host is back and the incident closed", lambda: closed(sandbox))
    assert host_state(sandbox, LOST) == "healthy"
    assert incident["outcome"] == "recovered"
    assert len(incidents(sandbox)) == 1
    assert evacuated(sandbox), "the returned host must not start its old guests"


def test_unreachable_bmc_holds_and_its_return_goes_on(sandbox):
    sandbox.bmc_cut(LOST)
    until("the BMC is seen as unreachable", lambda: power_verdict(sandbox) == "unknown")
    sandbox.power_cut(LOST)
    held = until("the incident is held", lambda: held_by(sandbox, "unproven"))
    assert LOST in held["reason"]
    assert not held["moves"]
    assert not evacuated(sandbox)
    sandbox.bmc_restore(LOST)
    until("it went on by itself", lambda: recovered(sandbox))
    assert evacuated(sandbox), places(sandbox)
    assert len(incidents(sandbox)) == 1


def test_a_bmc_that_lies_about_a_running_host_is_not_believed(sandbox):
    sandbox.bmc_lies(LOST)
    incident = until("the contradiction is reported", lambda: incident_of(sandbox, LOST))
    assert incident["fault"] == "bmc_contradiction"
    assert not incident["moves"]
    assert all(len(hosts) == 1 for hosts in places(sandbox).values())
    assert LOST in {hosts[0] for hosts in places(sandbox).values()}, "nothing was moved"
    sandbox.bmc_honest(LOST)
    assert until("it is cleared", lambda: closed(sandbox))["outcome"] == "cleared"


def test_kill_9_of_the_controller_in_the_middle_of_an_evacuation(sandbox):
    sandbox.command("set", spawn_seconds=6)
    sandbox.power_cut(LOST)
    until("an evacuation is under way", lambda: host_state(sandbox, LOST) == "evacuating", pause=0.05)
    until("an instance is on its way", lambda: any_ongoing(sandbox), pause=0.05)
    sandbox.controller_kill()
    assert get(sandbox, "/v1/hosts") == {}
    sandbox.command("set", spawn_seconds=0.5)
    sandbox.controller_start()
    incident = until("the incident is recovered", lambda: recovered(sandbox))
    assert evacuated(sandbox), places(sandbox)
    assert len(incidents(sandbox)) == 1
    assert {run["status"] for run in incident["runs"]} >= {"lost", "successful"}
    assert {move["state"] for move in incident["moves"]} == {"succeeded"}


def test_an_operators_disarm_is_obeyed(sandbox):
    import subprocess
    import sys

    def hass(*words):
        argv = [sys.executable, "-m", "hass_runtime.cli.main", *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    hass("disarm", "--reason", "firmware of the switch", "--config", str(sandbox.layout.config))
    sandbox.power_cut(LOST)
    held = until("the incident is held", lambda: held_by(sandbox, "disarmed"))
    assert "firmware of the switch" in held["reason"]
    shown = hass("incident", "show", str(held["id"]), "--api", sandbox.layout.rest_url)
    assert "firmware of the switch" in " ".join(shown.split())
    hass("arm", "--config", str(sandbox.layout.config))
    until("it goes on", lambda: recovered(sandbox))
    assert evacuated(sandbox), places(sandbox)


def power_verdict(sandbox):
    hosts = {host["name"]: host for host in get(sandbox, "/v1/hosts").get("hosts", [])}
    return hosts[LOST]["layers"]["power"]["verdict"]


def held_by(sandbox, gate):
    incident = incident_of(sandbox, LOST)
    return incident if (incident.get("outcome"), incident.get("gate")) == ("held", gate) else None


def any_ongoing(sandbox):
    return any(move["state"] == "ongoing" for move in incident_of(sandbox, LOST).get("moves", []))
