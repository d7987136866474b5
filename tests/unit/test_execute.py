"""Journal first: at whichever write a controller dies, the next one ends in the same state."""

from __future__ import annotations

import logging

import pytest
from mortal import HOSTS, Daemon, Slate, ending, ladder_story, maintenance_story, whole_story
from views import policy

from hass_runtime.decide.view import DRAIN, FAILURE, RESTORE
from hass_runtime.domain import HostState, MoveState, Outcome

EXPECTED = {
    "incidents": [("host1", "power", Outcome.RECOVERED, True)],
    "states": dict.fromkeys(HOSTS, HostState.HEALTHY),
    "moves": [("vm1", "host2", MoveState.SUCCEEDED)],
    "unfinished": [],
    "attempts": {FAILURE, RESTORE},
}
STORIES = {
    "power cut": (whole_story, EXPECTED),
    "ladder": (
        ladder_story,
        {
            **EXPECTED,
            "incidents": [("host1", "service", Outcome.RECOVERED, True)],
            "attempts": {DRAIN, RESTORE},
        },
    ),
    "maintenance": (
        maintenance_story,
        {
            **EXPECTED,
            "incidents": [("host1", "maintenance", Outcome.RECOVERED, True)],
            "attempts": {DRAIN, RESTORE},
        },
    ),
}
QUICK = policy(healthy_delay=2.0)


@pytest.mark.parametrize("name", STORIES)
def test_a_story_without_a_death_ends_as_it_should(tmp_path, name):
    story, expected = STORIES[name]
    daemon = Daemon(tmp_path / "hass.db", policy=QUICK)
    story(daemon)
    assert ending(daemon) == expected


def test_the_steps_of_a_story_begin_with_what_was_decided(tmp_path):
    daemon = Daemon(tmp_path / "hass.db")
    whole_story(daemon)
    names = [step.name for step in daemon.store.steps(1)]
    assert names[:2] == ["Fault established", "Launch host_failure"]
    assert len(daemon.store.runs(1)) == 2


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("power cut", "dies_before"),
        ("power cut", "dies_after"),
        ("ladder", "dies_after"),
        ("maintenance", "dies_after"),
    ],
)
def test_killed_at_every_write_it_ends_the_same(tmp_path, name, side, caplog):
    caplog.set_level(logging.CRITICAL)
    story, expected = STORIES[name]
    slate = Slate(tmp_path)
    probe = Daemon(slate.path, policy=QUICK, store=slate.wiped())
    story(probe)
    assert probe.writes > 20
    for number in range(1, probe.writes + 1):
        daemon = Daemon(slate.path, policy=QUICK, store=slate.wiped(), **{side: number})
        story(daemon)
        assert len(daemon.deaths) == 1, f"write {number} was not reached"
        assert ending(daemon) == expected, f"killed at write {number}"
