"""The list of mutations is true of the code as it is, and a sample is really caught. All: make mutations."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import mutate
import pytest

MUTATIONS = mutate.load()
SAMPLE = (
    "one reading of off is enough",
    "the doubted BMC is asked all the same",
    "force-down is never lifted",
    "the gate domain says nothing",
    "hosts that are taken out do not count",
    "maintenance swallows a death",
    "a run has no deadline",
    "runs of the incident are not recalled",
    "a person's stop after arrival is undone",
    "what arrived on compute10 is still on compute1",
    "fences of before are not recalled",
    "the password of Nova is an argument of the run",
    "what ran is not started when it arrives stopped",
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_is_broken_is_there(mutation: mutate.Mutation) -> None:
    """Should this fail, the code has moved on: put what the line is now into `find` and `replace`."""
    assert mutate.applied(mutation, mutate.ROOT) != (mutate.ROOT / mutation.file).read_text(encoding="utf-8")


def test_every_rule_is_broken_in_several_ways() -> None:
    count = Counter(mutation.rule for mutation in MUTATIONS)
    assert set(count) == set(range(1, 13))
    assert min(count.values()) >= 2


@pytest.mark.parametrize("name", SAMPLE)
def test_it_is_caught(name: str) -> None:
    """By what caught it when the list was made, and not only by another log."""
    mutation = next(each for each in MUTATIONS if each.name == name)
    verdict = mutate.trial(mutation, mutate.ROOT, schedules=0, only=mutation.caught_by)
    assert verdict.where in mutation.caught_by
    assert verdict.kind in mutate.STRONG, verdict.words


def test_an_unbroken_copy_is_not_caught() -> None:
    assert mutate.trial(None, mutate.ROOT, schedules=0, only=("killed", "storm")) == mutate.Verdict()


def test_what_is_not_there_once_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gate.py").write_text("a = 1\na = 1\n", encoding="utf-8")
    twice = mutate.Mutation(4, "a gate", "gate.py", "a = 1", "a = 2")
    with pytest.raises(mutate.ListError, match=r"a gate: `find` is 2 times in gate\.py, expected once"):
        mutate.applied(twice, tmp_path)


def test_an_entry_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mutations.yml"
    path.write_text("- {rule: 1, name: x}\n", encoding="utf-8")
    with pytest.raises(mutate.ListError, match=r"mutations\.yml: entry 1: expected the keys"):
        mutate.load(path)
