"""Every incident of every golden scenario: it can be explained, judged again, and played again from its
record.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hass_runtime.api.render import moment
from hass_runtime.decide import chores
from hass_runtime.explain import replay, saving, story
from hass_runtime.explain.recorded import recorded
from hass_runtime.simulator.run import Simulation, simulate
from hass_runtime.simulator.scenario import dump, load, parse

SCENARIOS = sorted((Path(__file__).parents[1] / "scenarios").glob("*/scenario.yml"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.parent.name)
def test_every_incident_is_explained_judged_alike_and_saved(path: Path) -> None:
    played = Simulation(load(path))
    played.run()
    journal = played.journal
    journal.away = False  # a scenario may end while its database is away
    for incident in journal.incidents(1000):
        made, views = recorded(journal, incident.id)
        assert made[0].kind == "opened"
        assert {each.snapshot for each in made} == set(views)

        told = story.data(incident, made, views, moment)
        assert all(each["kept"] and each["alike"] for each in told["decisions"])
        held = [each for each in told["decisions"] if each["kind"] == "held" and each["gates"]]
        for each in held:
            closed = [gate["gate"] for gate in each["gates"] if not gate["open"]]
            assert not closed or closed[0] == each["what"] or each["words"].startswith("attempt")
        assert any(line.startswith(f"Incident {incident.id} ") for line in story.lines(told))

        again = replay.replay(incident, made, views, None)
        assert again.same
        assert not any(each.odd for each in again.moments)

        if made[0].what in chores.PLAYBOOK:  # it is people and settings that make these, no fault
            with pytest.raises(saving.SavingError, match="nothing that can happen in a scenario"):
                saving.scenario(incident, made, views, journal.moves(incident.id))
            continue
        text = dump(saving.scenario(incident, made, views, journal.moves(incident.id)))
        result = simulate(parse(text, "saved.yml"))
        assert result.ok, (text, [each.text() for each in result.judgements], result.violations)
