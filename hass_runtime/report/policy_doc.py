"""The symptom table, the gates and the life of a host as Markdown. Pure: the pages are made from the code, so
that they cannot say anything else than it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hass_runtime.decide.diagnosis import DOUBT_AFTER
from hass_runtime.decide.gates import GATES, Gatekeeper, asked_of
from hass_runtime.decide.lifecycle import MEANING, NEXT
from hass_runtime.decide.symptoms import Rung, Symptom
from hass_runtime.decide.view import DRAIN, FAILURE
from hass_runtime.domain import HostState
from hass_runtime.report.policy import deadline_of, words_of

MADE = "<!-- made by `make docs`: change the code that it comes from, not this -->"
NOTHING_YET = "nothing yet"
_MOST = 3  # links in a cell: enough to look at


@dataclass(frozen=True)
class Sources:
    """What the pages are made from.

    Attributes:
        rows: the symptom table.
        does: by playbook, what it does, in its own words.
        shows_fault: by fault, the scenarios that expect an incident of it.
        shows_gate: by gate, the scenarios that expect it to hold a host.
        fault_tests: by fault, a file under tests/unit that expects it: for what no scenario can make happen.
        tests: by gate, the unit tests that name it, as (file under tests/unit, function).
    """

    rows: tuple[Symptom, ...]
    does: Mapping[str, str]
    shows_fault: Mapping[str, Sequence[str]] = field(default_factory=dict)
    shows_gate: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tests: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    fault_tests: Mapping[str, str] = field(default_factory=dict)


def faults_page(sources: Sources) -> str:
    """docs/faults.md."""
    rows = [_row(sources, number, row) for number, row in enumerate(sources.rows, start=1)]
    playbooks = dict.fromkeys(rung.playbook for row in sources.rows for rung in row.ladder)
    return "\n".join(
        [
            "# Faults",
            "",
            MADE,
            "",
            "What HASS knows to be wrong with a host, and what it does about it: the symptom table that",
            "comes with it (`hass_runtime/decide/symptoms.yml`), row by row. It is read from top to bottom,",
            "and the first row that matches is the fault. [policy.md](policy.md) says how to read it and how",
            "to write your own; `hass policy explain` says which row matches, and why the others do not.",
            "",
            "Every sign is one of several looks: `failed` (which is `silent` or `complaining`) and `warning`",
            "take `polling_threshold` looks in a row, and what is below that is `missing`. The power is",
            f"`doubted` once its BMC has said off {DOUBT_AFTER} times in a row and the host answered after",
            "that. What a row waits for besides is in a column of its own.",
            "",
            *_table(
                ("row", "fault", "layer", "signs", "waits", "ladder", "gates asked", "shown by"),
                rows,
            ),
            "",
            "## Remedies",
            "",
            "Each is a playbook in `playbooks/remediation/`, tried as often as the ladder says. A try that",
            "takes longer than its deadline is ended for real, and counts as failed. So does one that ended",
            "well when the fault is still there after it. When all tries of a rung are used up, the next",
            "rung follows; the last one is tried for as long as it takes.",
            "",
            *_table(
                ("playbook", "what it does", "deadline of a try", "gates asked"),
                [
                    (f"`{name}`", sources.does.get(name, ""), f"`{deadline_of(Rung(name))}`", _asked(name))
                    for name in playbooks
                ],
            ),
            "",
            "The gates are in [safety.md](safety.md).",
            "",
        ]
    )


def _row(sources: Sources, number: int, row: Symptom) -> tuple[str, ...]:
    signs = "<br>".join(f"{layer.value}: {' or '.join(words_of(w))}" for layer, w in row.when.items())
    ladder = "<br>".join(
        f"`{rung.playbook}`"
        + (f" × {rung.tries}" if rung.tries > 1 else "")
        + (f", {rung.deadline:g} s" if rung.deadline is not None else "")
        for rung in row.ladder
    )
    asked = "<br>".join(f"{_asked(rung.playbook)}" for rung in row.ladder)
    shown = sources.shows_fault.get(row.fault, ())
    return (
        str(number),
        f"**{row.fault}**<br>{row.why}",
        row.layer.value,
        signs,
        "`network_transient_time`" if row.patient else "–",
        ladder or "reported only",
        asked or "–",
        _scenarios(shown) or _test(sources.fault_tests.get(row.fault)),
    )


def _test(file: str | None) -> str:
    return f"[{file}](../tests/unit/{file})" if file else f"**{NOTHING_YET}**"


def _asked(playbook: str) -> str:
    asked = {keeper.gate for keeper in asked_of(playbook)}
    spared = [f"`{keeper.gate.value}`" for keeper in GATES if keeper.gate not in asked]
    return "all" + (f" but {', '.join(spared)}" if spared else "")


def gates_table(sources: Sources) -> str:
    """The gates in their order."""
    rows = [
        (
            str(number),
            f"`{keeper.gate.value}`",
            keeper.closes,
            keeper.unknown,
            _asked_for(keeper),
            _shows_gate(sources, keeper),
        )
        for number, keeper in enumerate(GATES, start=1)
    ]
    heads = ("#", "gate", "closes when", "when it cannot know", "asked before", "shown by")
    return "\n".join([MADE, "", *_table(heads, rows)])


def _asked_for(keeper: Gatekeeper) -> str:
    kinds = {f"`{FAILURE}`": FAILURE, f"`{DRAIN}`": DRAIN, "every other remedy": "anything_else"}
    asked = [name for name, playbook in kinds.items() if keeper in asked_of(playbook)]
    return "every remedy" if len(asked) == len(kinds) else ", ".join(asked)


def _shows_gate(sources: Sources, keeper: Gatekeeper) -> str:
    gate = keeper.gate.value
    tests = [f"[`{name}`](../tests/unit/{file})" for file, name in sources.tests.get(gate, ())[:1]]
    scenarios = _scenarios(sources.shows_gate.get(gate, ()))
    return ", ".join([*tests, *([scenarios] if scenarios else [])]) or f"**{NOTHING_YET}**"


def lifecycle_table() -> str:
    """The states of a host."""
    order = {state: place for place, state in enumerate(HostState)}
    rows = [
        (
            f"`{state.value}`",
            MEANING[state],
            ", ".join(f"`{after.value}`" for after in sorted(NEXT[state] - {state}, key=order.__getitem__)),
        )
        for state in HostState
    ]
    return "\n".join([MADE, "", *_table(("state", "meaning", "may be followed by"), rows)])


def _scenarios(names: Sequence[str]) -> str:
    return ", ".join(f"[{name}](../tests/scenarios/{name}/scenario.yml)" for name in names[:_MOST])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(' '.join(cell.replace('|', chr(92) + '|').split()) for cell in cells)} |"

    return [line(heads), line(["---"] * len(heads)), *map(line, rows)]


def between(text: str, name: str, new: str) -> str:
    """The text with what is between its two markers of that name replaced.

    Raises:
        ValueError: when the markers are not there, or not in their order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = text.partition(begin)
    _, also_found, after = rest.partition(end)
    if not found or not also_found:
        raise ValueError(f"expected the lines {begin} and {end}, in this order")
    return f"{before}{begin}\n{new}\n{end}{after}"
