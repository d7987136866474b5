"""Makes docs/plan.md: for every fault of the symptom table the plan, and beside it what then happened.

Each row is a run of the simulator. The plan is made a moment before the fault begins, from what the
controller sees and what Nova says then, by the code behind `hass plan`.

Usage: docs/plan_page.py [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hass_runtime.decide.foresight import Plan, plan
from hass_runtime.domain import Incident, MoveState
from hass_runtime.explain.recorded import recorded
from hass_runtime.simulator.outlook import facts_of
from hass_runtime.simulator.run import Simulation
from hass_runtime.simulator.scenario import parse

PAGE = Path(__file__).with_name("plan.md")
HOST = "host2"
AT = 20.0
# The fault, what brings it about, and what is special about the host.
STORIES = {
    "power": ("{at: 20, power_cut: host2}", ""),
    "hardware": ("{at: 20, sensor: {host: host2, name: Inlet Temp, value: critical}}", ""),
    "os": ("{at: 20, os_hang: host2}", ""),
    "network": ("{at: 20, network_cut: host2}", ""),
    "unreachable": ("{at: 20, os_hang: host2}", ", ipmi: false"),
    "storage": ("{at: 20, storage_cut: host2}", ""),
    "rebooted": ("{at: 20, power_cut: {host: host2, for: 0.5}}", ""),
    "service": ("{at: 20, service_stop: {host: host2, service: nova-compute}}", ""),
    "hardware_warning": ("{at: 20, sensor: {host: host2, name: Inlet Temp, value: warning}}", ""),
    "bmc_contradiction": ("{at: 20, bmc_lies: host2}", ""),
}
NOT_PLAYED = {
    "agent": "its agent is silent while its network answers",
    "watchdog": "its watchdog timer is not re-armed while it answers",
    "network_only": "its agent answers while echo requests do not",
}
_SCENARIO = """
name: {fault}
settings: {{polling_interval: 1, polling_threshold: 2}}
cluster:
  hosts: [host1, {{name: host2{special}}}, host3, host4]
  instances:
    - {{name: web, host: host2, priority: 10}}
    - {{name: db, host: host2}}
    - {{name: batch, host: host2, state: stopped}}
    - {{name: other, host: host1}}
events:
  - {event}
run_for: 200
"""
_HEAD = """# Plans and what then happened

<!-- made by `make docs`: change the code that it comes from, not this -->

`hass plan HOST --fault FAULT` says what would be done now, and what would hold it back. Here it is held
against the simulator, fault by fault: four hosts, and on `host2` the instances `web` (priority 10), `db` and
the stopped `batch`. The plan is made before the fault begins; what happened is read from the journal
afterwards. A test makes this page again and fails when a plan and its story differ.

Targets are those that Nova's scheduler would choose with nothing else going on; a real one weighs in more.

| fault | planned first | held by | planned moves | what happened first | held by | moves | agree |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
_FOOT = """
Not in the table, for no event of the simulator brings them about: {}. They are reported only, which
`hass plan` says of them.

The ladder of a fault may have more rungs than the first; `hass plan` lists all of them, with their steps.
"""


@dataclass(frozen=True)
class Told:
    """One side of a row: the playbook that is launched first ("" for none), the gate that holds it, and the
    moves.
    """

    first: str
    held: str
    moves: tuple[tuple[str, str], ...]

    def cells(self) -> str:
        moves = ", ".join(f"{name} → {target}" for name, target in self.moves)
        return f"{f'`{self.first}`' if self.first else 'reported only'} | {self.held or '–'} | {moves or '–'}"


@dataclass(frozen=True)
class Row:
    fault: str
    planned: Told
    happened: Told
    found: Plan

    @property
    def agree(self) -> bool:
        return self.planned == self.happened


def play(fault: str) -> Row:
    """The plan, and what happened."""
    event, special = STORIES[fault]
    text = _SCENARIO.format(fault=fault, event=event, special=special)
    played = Simulation(parse(text, f"{fault}.yml"))
    plans: list[Plan] = []

    def look() -> None:
        daemon = played._daemon
        assert daemon is not None
        plans.append(plan(daemon.controller.last_view, facts_of(played.nova), HOST, fault))

    played.hub.at(AT - 0.1, look)
    played.run()
    found = plans[0]
    incident = next(each for each in played.journal.all_incidents.values() if each.host == HOST)
    return Row(fault, _planned(found), _happened(played, incident), found)


def _planned(found: Plan) -> Told:
    first = found.ladder[0].playbook if found.ladder else ""
    moves = () if found.ready is None or found.held else found.ready.instances
    there = tuple(sorted((each.instance.name, each.target) for each in moves if each.target))
    return Told(first, found.held[0] if found.held else "", there)


def _happened(played: Simulation, incident: Incident) -> Told:
    made, _ = recorded(played.journal, incident.id)
    first = next((each for each in made if each.kind in ("launched", "held")), None)
    held = first.what if first is not None and first.kind == "held" else ""
    launched = first.what if first is not None and first.kind == "launched" else ""
    if held:  # what it is that is held back, the ladder says
        launched = next(
            (rung.playbook for rung in played.policy.ladder(incident.fault, incident.layer, "default")), ""
        )
    moves = () if held else played.journal.moves(incident.id)
    there = tuple(
        sorted(
            (each.name, each.target) for each in moves if each.state is MoveState.SUCCEEDED and each.target
        )
    )
    return Told(launched, held, there)


def rows() -> Iterator[Row]:
    for fault in STORIES:
        yield play(fault)


def page() -> str:
    lines = [
        f"| {row.fault} | {row.planned.cells()} | {row.happened.cells()} | {'yes' if row.agree else 'NO'} |\n"
        for row in rows()
    ]
    missing = "; ".join(f"`{fault}` ({why})" for fault, why in NOT_PLAYED.items())
    return _HEAD + "".join(lines) + _FOOT.format(missing)


if __name__ == "__main__":
    from page import keep  # beside this file

    sys.exit(keep(PAGE, page()))
