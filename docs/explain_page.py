"""Makes docs/explain.md: an incident explained, judged again by stricter policies, and saved as a scenario.

The incident is that of tests/scenarios/power_cut, played by the simulator; what is printed is what the code
behind `hass explain` and `hass replay` says of it.

Usage: docs/explain_page.py [--check]
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from hass_runtime.api.render import moment
from hass_runtime.decide.view import Policy
from hass_runtime.explain import replay, saving, story
from hass_runtime.explain.recorded import recorded
from hass_runtime.simulator.run import Simulation, simulate
from hass_runtime.simulator.scenario import dump, load, parse

PAGE = Path(__file__).with_name("explain.md")
SCENARIO = Path(__file__).parents[1] / "tests" / "scenarios" / "power_cut" / "scenario.yml"
_HEAD = """# Explain and replay

<!-- made by `make docs`: change the code that it comes from, not this -->

Every decision of an incident is kept with what it was made from: the readings of its host, how the other
hosts looked, the policy and the symptom table. So it can be said afterwards why it was decided as it was,
and what another policy would have decided. What is kept is bounded: 60 decisions of an incident (the first
15 and the newest), and of the 200 newest incidents; hosts with which nothing was wrong by name only,
evidence to 300 characters; no password.

## `hass explain INCIDENT`

For each decision: what had been read, and how long before; which row of the symptom table matched, and why
those above it did not; each gate that was asked, and what it said. `-f json` and `GET
/v1/incidents/N/explanation` have the same as data. Incidents that were held, or cleared, are explained like
all others.

    $ hass explain 1
{explained}

(Of the simulator's power cut, its first two decisions.) A HASS that would now decide otherwise from the
same readings says so: it is another version than the one that decided.

## `hass replay INCIDENT`

    hass replay 1                          # by the recorded policy: does this HASS still decide the same?
    hass replay 1 --settings strict.conf   # another hass.conf: thresholds, gates, table
    hass replay 1 --policy table.yml       # another symptom table
    hass replay 1 --save incident.yml      # as a scenario, for `hass simulate`

It runs on a controller: it reads the database that `--config` names, and asks nobody else. Exit status: 0
the same would be done, 1 something else, 2 it cannot be told.

The same power cut, with `storm_threshold = 0.2`:

{strict}

And with `polling_threshold = 5`:

{slow}

The comparison ends at the first moment at which one policy acts and the other does not: what was read later
was read in a world in which HASS did what it did. To see what would have followed, save the incident and
play it.

## `hass replay INCIDENT --save FILE`

The cluster as it was, the recorded settings, and what must have happened for the hosts to be read as they
were, with the fault as an expectation. Hosts that were left out of the incident carry one instance each,
since nobody recorded theirs.

{saved}

    $ hass simulate -q incident.yml
    {count}
"""


def page() -> str:
    os.environ["TZ"] = "UTC"
    time.tzset()
    played = Simulation(load(SCENARIO))
    played.run()
    incident = played.journal.incident(1)
    assert incident is not None
    made, views = recorded(played.journal, 1)
    told = story.data(incident, made[:2], views, moment)

    def by(policy: Policy, name: str) -> str:
        return _block(replay.lines(replay.replay(incident, made, views, policy), name))

    policy = played.policy
    saved = dump(saving.scenario(incident, made, views, played.journal.moves(1)))
    result = simulate(parse(saved, "incident.yml"))
    assert result.ok
    held = sum(each.held for each in result.judgements)
    return _HEAD.format(
        explained=_block(list(story.lines(told))),
        strict=by(replace(policy, storm_threshold=0.2), "strict.conf"),
        slow=by(replace(policy, thresholds=replace(policy.thresholds, misses=5)), "slow.conf"),
        saved=_block(saved.rstrip().splitlines()),
        count=f"{held} of {len(result.judgements)} expectations held, no safety rule broken",
    )


def _block(lines: list[str]) -> str:
    return "\n".join(f"    {line}".rstrip() for line in lines)


if __name__ == "__main__":
    from page import keep  # beside this file

    sys.exit(keep(PAGE, page()))
