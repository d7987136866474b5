"""Which instances are protected, and why: every rule alone, and which of them counts more."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.decide.protection import (
    KEY,
    PRECEDENCE,
    Aggregate,
    Image,
    Lists,
    Rules,
    Traits,
    protection,
    wish,
)
from hass_runtime.domain import Choice

AMPHORA = "amphora-0d2f7c1e-53c4-4a0a-9f2f-1d6c1b6a7e55"
PLAIN = Traits("vm1", project="p1", flavor="small")
RULES = Rules()


def word(protected: bool, reason: str = "") -> Choice:
    return Choice("u1", protected, reason, "ann", 1.0)


def told(traits: Traits = PLAIN, rules: Rules = RULES, choice: Choice | None = None) -> tuple[bool, str, str]:
    found = protection(traits, rules, choice)
    return found.protected, found.by, found.reason


@pytest.mark.parametrize(
    ("traits", "rules", "protected", "by", "reason"),
    [
        (PLAIN, RULES, True, "cluster", "cluster default protects what no rule leaves alone"),
        (PLAIN, Rules("edge", False), False, "cluster", "cluster edge protects only what a rule names"),
        (
            replace(PLAIN, metadata={KEY: " False "}),
            RULES,
            False,
            "instance",
            f"its metadata says {KEY}=false",
        ),
        (replace(PLAIN, metadata={KEY: "maybe"}), RULES, True, "cluster", "cluster default protects"),
        (
            PLAIN,
            Rules(names=Lists(leave=("vm*",))),
            False,
            "name",
            "its name matches vm*, which is in leave_names",
        ),
        (PLAIN, Rules(names=Lists(leave=("m1", "v", "VM1"))), True, "cluster", "cluster default"),
        (replace(PLAIN, name=AMPHORA), RULES, False, "amphora", "it is an amphora of Octavia"),
        (replace(PLAIN, name=AMPHORA), Rules(amphorae=True), True, "cluster", "cluster default"),
        (replace(PLAIN, name="amphora-of-mine"), RULES, True, "cluster", "cluster default"),
        (replace(PLAIN, name=f"{AMPHORA}-2"), RULES, True, "cluster", "cluster default"),
        (
            PLAIN,
            Rules(flavors=Lists(leave=("small",))),
            False,
            "flavor",
            "its flavor is small, which is in leave_",
        ),
        (PLAIN, Rules(flavors=Lists(leave=("small1",))), True, "cluster", "cluster default"),
        (
            replace(PLAIN, flavor_specs={KEY: "no"}),
            RULES,
            False,
            "flavor",
            f"its flavor small says {KEY}=false",
        ),
        (
            replace(PLAIN, image=Image("i1", ("ci",))),
            Rules(heed_images=True, image_tags=Lists(leave=("ci",))),
            False,
            "image",
            "its image is ci, which is in leave_image_tags",
        ),
        (
            replace(PLAIN, image=Image("i1", properties={KEY: "0"})),
            Rules(heed_images=True),
            False,
            "image",
            f"its image says {KEY}=false",
        ),
        (
            replace(PLAIN, image=Image("i1", unknown="Glance is away")),
            Rules(by_default=False, heed_images=True),
            True,
            "image",
            "its image cannot be read (Glance is away): protected to be safe",
        ),
        (
            PLAIN,
            Rules(projects=Lists(leave=("p1",))),
            False,
            "project",
            "its project is p1, which is in leave_",
        ),
        (
            replace(PLAIN, aggregates=(Aggregate("ssd"), Aggregate("scratch"))),
            Rules(aggregates=Lists(leave=("scratch",))),
            False,
            "aggregate",
            "an aggregate of its host is scratch",
        ),
        (
            replace(PLAIN, aggregates=(Aggregate("a", {KEY: "off"}),)),
            RULES,
            False,
            "aggregate",
            f"an aggregate of its host says {KEY}=false",
        ),
        (
            replace(PLAIN, aggregates=None, aggregates_unknown="Nova is away"),
            Rules(by_default=False),
            True,
            "aggregate",
            "the aggregates of its host cannot be read (Nova is away): protected to be safe",
        ),
    ],
)
def test_each_rule_alone(traits, rules, protected, by, reason):
    found = told(traits, rules)
    assert found[:2] == (protected, by)
    assert found[2].startswith(reason)


def test_a_persons_word_says_whose_it_is():
    assert told(choice=word(False)) == (False, "one by one", "left alone one by one by ann")
    found = told(replace(PLAIN, metadata={KEY: "false"}), choice=word(True, "pays for it"))
    assert found == (True, "one by one", "protected one by one by ann: pays for it")


# By the kind of rule: what makes exactly that one say yes, or no.
def _amphora(traits, rules, yes):
    return replace(traits, name=AMPHORA), replace(rules, amphorae=yes)


LEVELS = {
    "instance": lambda t, r, yes: (replace(t, metadata={KEY: str(yes)}), r),
    "name": lambda t, r, yes: (t, replace(r, names=Lists(("*",), ()) if yes else Lists((), ("*",)))),
    "flavor": lambda t, r, yes: (replace(t, flavor_specs={KEY: str(yes)}), r),
    "image": lambda t, r, yes: (replace(t, image=Image("i", properties={KEY: str(yes)})), r),
    "project": lambda t, r, yes: (t, replace(r, projects=Lists(("p1",), ()) if yes else Lists((), ("p1",)))),
    "aggregate": lambda t, r, yes: (replace(t, aggregates=(Aggregate("a", {KEY: str(yes)}),)), r),
    "cluster": lambda t, r, yes: (t, replace(r, by_default=yes)),
}


@pytest.mark.parametrize(("higher", "lower"), list(pairwise(LEVELS)))
@pytest.mark.parametrize("yes", [True, False])
def test_what_counts_more_decides(higher, lower, yes):
    traits, rules = LEVELS[lower](PLAIN, Rules(heed_images=True), not yes)
    assert told(traits, rules)[:2] == (not yes, lower)
    traits, rules = LEVELS[higher](traits, rules, yes)
    assert told(traits, rules)[:2] == (yes, higher)


@given(st.sets(st.sampled_from(list(LEVELS)), min_size=1), st.data())
def test_the_first_that_says_something_decides(said, data):
    traits, rules = PLAIN, Rules(heed_images=True)
    wishes = {level: data.draw(st.booleans()) for level in LEVELS if level in said}
    for level, yes in wishes.items():
        traits, rules = LEVELS[level](traits, rules, yes)
    first = next(iter(wishes))
    assert told(traits, rules)[:2] == (wishes[first], first)


def test_between_name_and_flavor_stands_the_amphora():
    traits = replace(PLAIN, name=AMPHORA, flavor_specs={KEY: "true"})
    assert told(traits)[:2] == (False, "amphora")
    assert told(traits, Rules(names=Lists(("amphora-*",), ())))[:2] == (True, "name")


@pytest.mark.parametrize(
    ("traits", "rules"),
    [
        (PLAIN, Rules(names=Lists(("vm*",), ("*1",)))),
        (replace(PLAIN, flavor_specs={KEY: "true"}), Rules(flavors=Lists((), ("small",)))),
        (replace(PLAIN, flavor_specs={KEY: "false"}), Rules(flavors=Lists(("small",), ()))),
        (replace(PLAIN, aggregates=(Aggregate("a", {KEY: "no"}), Aggregate("b", {KEY: "yes"}))), RULES),
    ],
)
def test_of_two_of_a_kind_the_one_that_protects_decides(traits, rules):
    assert told(traits, rules)[0]


@given(st.text())
def test_any_text_is_a_wish_or_none(text):
    assert wish(text) in (True, False, None)


def test_the_page_has_the_precedence_in_its_order():
    page = (Path(__file__).parents[2] / "docs" / "protection.md").read_text(encoding="utf-8")
    places = [page.index(f"| {kind} | {where}") for kind, where in PRECEDENCE]
    assert places == sorted(places)
