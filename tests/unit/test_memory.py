"""What is known between two cycles."""

from __future__ import annotations

import pytest
from views import LIMITS, POLICY

from hass_runtime.decide.view import LastRun
from hass_runtime.domain import Host, Layer, Reading, Verdict
from hass_runtime.memory import GATEWAY, Memory


def memory(**more):
    return Memory({"host1": Host("host1", "192.0.2.1")}, POLICY, **more)


@pytest.mark.parametrize(
    ("verdict", "times", "age", "answers"),
    [
        (Verdict.OK, 1, 0, True),
        (Verdict.FAILED, 1, 0, True),
        (Verdict.FAILED, LIMITS.misses, 0, False),
        (Verdict.UNKNOWN, 5, 0, None),
        (Verdict.OK, 1, LIMITS.stale_after + 1, None),
        (Verdict.FAILED, 5, LIMITS.stale_after + 1, None),
    ],
)
def test_the_gateway_answers_is_silent_or_nobody_knows(verdict, times, age, answers):
    known = memory(has_gateway=True)
    for _ in range(times):
        known.observe(Reading(GATEWAY, Layer.NETWORK, verdict, "", 100.0))
    assert known.view(100.0 + age, "").gateway_answers is answers


def test_without_a_gateway_nobody_knows():
    assert memory().view(100.0, "").gateway_answers is None


def test_only_what_changes_is_worth_recording_at_once():
    known = memory()
    read = [
        known.observe(Reading("host1", Layer.POWER, verdict, str(at), float(at)))
        for at, verdict in enumerate([Verdict.OK, Verdict.OK, Verdict.FAILED, Verdict.FAILED, Verdict.OK])
    ]
    assert read == [True, False, True, False, True]


def test_failures_are_counted_by_playbook_and_in_a_row():
    known = memory()

    def ended(playbook, status):
        known.run_ended("host1", LastRun(playbook, status, "", 1.0, 0))
        return known.last_runs["host1"].failures

    assert [ended("a", "failed"), ended("a", "timeout"), ended("a", "lost"), ended("a", "failed")] == [
        1,
        2,
        2,
        3,
    ]
    assert [ended("a", "successful"), ended("a", "failed"), ended("b", "failed")] == [0, 1, 1]
