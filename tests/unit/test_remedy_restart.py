"""Restarting what has failed on a host: only that, once, and then the agent and Nova have to be content."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.agent.protocol import Check
from hass_runtime.remedy.nova import CloudError, ComputeService
from hass_runtime.remedy.restart import HEARINGS, AgentSilent, Restarter, RestartError, wanted
from hass_runtime.remedy.restoration import Patience

OK, DEAD = Check("ok"), Check("failed", "inactive (dead)")
FINE = {"libvirt": OK, "nova-compute": OK}
BROKEN = {"libvirt": OK, "nova-compute": DEAD}
SERVICE = ComputeService("s1", "compute1", True, True, False, "", "12:00:00")


class Agent:
    """What it says, answer by answer; the last one stays. A text is a silence."""

    def __init__(self, *says, refuses=None):
        self.says = list(says)
        self.refuses = refuses or {}
        self.asked = []

    def checks(self):
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(said, str):
            raise AgentSilent(said)
        return said

    def restart(self, check):
        self.asked.append(check)
        return self.refuses.get(check)


class Nova:
    def __init__(self, *looks):
        self.looks = list(looks)

    def compute_service(self, host):
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        return look


def restarter(agent, nova=None, deadline=10.0):
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    return Restarter("compute1", agent, nova, Patience(deadline, 1.0, lambda: now[0], sleep))


def test_what_failed_is_restarted_and_seen_well():
    agent = Agent(BROKEN, BROKEN, "no answer", FINE)
    done = restarter(agent).run()
    assert agent.asked == ["nova-compute"]
    assert done.asked == ("nova-compute",)
    assert done.words("compute1") == "nova-compute of compute1 restarted: libvirt, nova-compute ok"


def test_what_is_fine_is_left_alone():
    agent = Agent(FINE)
    done = restarter(agent, Nova(SERVICE)).run()
    assert (agent.asked, done.asked) == ([], ())
    assert done.words("compute1") == "the services of compute1 are fine: libvirt, nova-compute ok"


def test_what_does_not_get_well_is_named():
    with pytest.raises(
        RestartError, match=r"not well after the restart of nova-compute: nova-compute failed: in"
    ):
        restarter(Agent(BROKEN)).run()


def test_an_agent_that_restarts_nothing_is_no_reason_to_wait():
    agent = Agent({"driver": DEAD, "disk": DEAD}, refuses={"driver": "is no unit", "disk": "is no unit"})
    tried = restarter(agent)
    with pytest.raises(RestartError, match=r"restarts nothing: disk \(is no unit\), driver \(is no unit\)"):
        tried.run()
    assert len(agent.says) == 1, "it was not asked again"


def test_what_is_no_unit_may_get_well_with_what_is_one():
    broken = {"libvirt": DEAD, "driver": DEAD}
    done = restarter(Agent(broken, {"libvirt": OK, "driver": OK}, refuses={"driver": "is no unit"})).run()
    assert done.words("compute1") == (
        "libvirt of compute1 restarted: libvirt, driver ok; not restarted: driver (is no unit)"
    )
    with pytest.raises(RestartError, match=r"restart of libvirt: .*not restarted: driver \(is no unit\)"):
        restarter(Agent(broken, {"libvirt": OK, "driver": DEAD}, refuses={"driver": "is no unit"})).run()


def test_a_lost_datagram_is_no_silence_and_silence_restarts_nothing():
    agent = Agent(*["no answer"] * (HEARINGS - 1), BROKEN, FINE)
    assert restarter(agent).run().asked == ("nova-compute",)
    agent = Agent("no answer from agent 192.0.2.31:2468")
    with pytest.raises(RestartError, match=r"nothing on compute1 can be restarted: no answer from agent"):
        restarter(agent).run()
    assert agent.asked == []


def test_nova_has_to_see_it_too():
    down = replace(SERVICE, up=False)
    beats = replace(down, updated_at="12:00:30")
    for good in (SERVICE, beats):
        agent = Agent(BROKEN, FINE)
        restarter(agent, Nova(down, down, CloudError("away"), good)).run()
        assert agent.asked == ["nova-compute"]
    with pytest.raises(RestartError, match="Nova sees no heartbeat of nova-compute on compute1"):
        restarter(Agent(BROKEN, FINE), Nova(down)).run()
    with pytest.raises(RestartError, match="Nova knows no nova-compute on compute1"):
        restarter(Agent(BROKEN, FINE), Nova(None)).run()


def test_a_nova_compute_that_only_nova_misses_is_restarted():
    agent = Agent(FINE)
    restarter(agent, Nova(replace(SERVICE, up=False), SERVICE)).run()
    assert agent.asked == ["nova-compute"]


def test_a_nova_that_does_not_answer_and_a_force_down_are_no_reason_to_restart():
    agent = Agent({"libvirt": DEAD, "nova-compute": OK}, FINE)
    restarter(agent, Nova(CloudError("away"), CloudError("away"), SERVICE)).run()
    assert agent.asked == ["libvirt"]
    forced = replace(SERVICE, up=False, forced_down=True)
    agent = Agent(FINE)
    assert restarter(agent, Nova(forced)).run().asked == ()
    agent = Agent(BROKEN, FINE)
    restarter(agent, Nova(forced, forced, replace(forced, updated_at="12:00:30"))).run()
    assert agent.asked == ["nova-compute"]


@pytest.mark.parametrize("checks", [{}, {"libvirt": Check("unknown", "not installed")}])
def test_an_agent_that_knows_nothing_leaves_nothing_to_restart(checks):
    with pytest.raises(RestartError, match="nothing on compute1 can be restarted"):
        restarter(Agent(checks)).run()


def test_looking_restarts_nothing():
    agent = Agent(BROKEN)
    assert restarter(agent).foresee() == ("nova-compute",)
    assert agent.asked == []


NAMES = st.sampled_from(["libvirt", "nova-compute", "driver", "…"])
CHECKS = st.dictionaries(NAMES, st.builds(Check, st.sampled_from(["ok", "failed", "unknown"])))


def test_a_storage_is_no_service_to_restart():
    cut_off = Check("failed", "hangs for 12 s", storage=True)
    assert wanted({**BROKEN, "storage": cut_off}, nova_down=False) == ("nova-compute",)
    agent = Agent({**BROKEN, "storage": cut_off}, {**FINE, "storage": cut_off})
    assert restarter(agent).run().asked == ("nova-compute",)


@given(CHECKS, st.booleans())
def test_only_what_failed_is_ever_restarted(checks, nova_down):
    for name in wanted(checks, nova_down):
        assert name in checks
        assert name != "…"
        assert checks[name].state == "failed" or (nova_down and name == "nova-compute")
    for name, check in checks.items():
        assert check.state != "failed" or name == "…" or name in wanted(checks, nova_down)
