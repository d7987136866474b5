"""Which instances HASS moves and starts, and why: pure, from what is known of an instance and the rules.

The first of these that says something decides: a person's word on this one instance, its own metadata,
its name, whether it is an amphora of Octavia, its flavor, its image, its project, an aggregate of its host,
and at last what the cluster does with everything else. Within one of them, what protects counts more than
what leaves alone: an instance that was not moved is missed more than one that was moved in vain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from hass_runtime.domain import Choice

KEY = "hass:protect"
"""Metadata of an instance or aggregate, extra spec of a flavor, property of an image: true or false."""

PRECEDENCE: tuple[tuple[str, str], ...] = (
    ("one by one", "`hass protect` and `hass unprotect`"),
    ("instance", f"its metadata `{KEY}`"),
    ("name", "`protect_names`, `leave_names`: patterns for the whole name"),
    ("amphora", "`amphorae`: what Octavia has booted, which it replaces by itself"),
    ("flavor", f"`protect_flavors`, `leave_flavors`, extra spec `{KEY}`"),
    ("image", f"`protect_image_tags`, `leave_image_tags`, property `{KEY}`; asked only with `heed_images`"),
    ("project", "`protect_projects`, `leave_projects`: their ids"),
    ("aggregate", f"`protect_aggregates`, `leave_aggregates`, metadata `{KEY}` of an aggregate of its host"),
    ("cluster", "`policy`: opt-out protects everything else, opt-in nothing else"),
)
"""What decides, first to last, and where it is said: docs/protection.md is held to it by a test."""

_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})
_HEX = "[0-9a-f]"
_AMPHORA = re.compile(rf"amphora-{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}}")


@dataclass(frozen=True)
class Lists:
    """What is protected, and what is left alone, by name or id; of instances by pattern for the name."""

    protect: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rules:
    """The operator's rules of one cluster. ``by_default`` is what becomes of what no rule names."""

    cluster: str = "default"
    by_default: bool = True
    amphorae: bool = False
    heed_images: bool = False
    names: Lists = field(default_factory=Lists)
    flavors: Lists = field(default_factory=Lists)
    image_tags: Lists = field(default_factory=Lists)
    projects: Lists = field(default_factory=Lists)
    aggregates: Lists = field(default_factory=Lists)


@dataclass(frozen=True)
class Image:
    """What Glance knows of an image. ``unknown`` says why it could not be read."""

    id: str
    tags: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    unknown: str = ""


@dataclass(frozen=True)
class Aggregate:
    """A host aggregate that an instance's host is in."""

    name: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True)
class Traits:
    """What rules go by. ``image`` None: it has none, or it was not asked for; ``aggregates`` None: they
    could not be read, because of ``aggregates_unknown``.
    """

    name: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    project: str = ""
    flavor: str = ""
    flavor_specs: Mapping[str, str] = field(default_factory=dict)
    image: Image | None = None
    aggregates: tuple[Aggregate, ...] | None = ()
    aggregates_unknown: str = ""


@dataclass(frozen=True)
class Protection:
    """Whether an instance is protected, which kind of rule said so (see `PRECEDENCE`), and why in words."""

    protected: bool
    by: str
    reason: str


def wish(value: object) -> bool | None:
    """What a value of `KEY` says; None for anything that is neither yes nor no."""
    word = str(value).strip().lower()
    return True if word in _YES else False if word in _NO else None


def protection(traits: Traits, rules: Rules, choice: Choice | None = None) -> Protection:
    """Whether the instance is protected, and why."""
    found = before_image(traits, rules, choice)
    return found if found is not None else _from_image_on(traits, rules)


def before_image(traits: Traits, rules: Rules, choice: Choice | None) -> Protection | None:
    """What is said by all that counts more than its image; None when nothing is."""
    if choice is not None:
        verb = "protected" if choice.protected else "left alone"
        told = f": {choice.reason}" if choice.reason else ""
        return Protection(choice.protected, "one by one", f"{verb} one by one by {choice.by}{told}")
    said = wish(traits.metadata.get(KEY))
    if said is not None:
        return Protection(said, "instance", f"its metadata says {KEY}={_word(said)}")
    named = _named("name", "its name", (traits.name,), "names", rules.names)
    if named is not None:
        return named
    if not rules.amphorae and _AMPHORA.fullmatch(traits.name):
        return Protection(False, "amphora", "it is an amphora of Octavia, which replaces it by itself")
    what = f"its flavor {traits.flavor}"
    return _tagged("flavor", what, (traits.flavor,), "flavors", rules.flavors, [traits.flavor_specs])


def _from_image_on(traits: Traits, rules: Rules) -> Protection:
    image = traits.image
    if rules.heed_images and image is not None:
        if image.unknown:
            why = f"its image cannot be read ({image.unknown}): protected to be safe"
            return Protection(True, "image", why)
        found = _tagged("image", "its image", image.tags, "image_tags", rules.image_tags, [image.properties])
        if found is not None:
            return found
    found = _named("project", "its project", (traits.project,), "projects", rules.projects)
    if found is not None:
        return found
    if traits.aggregates is None:
        why = f"the aggregates of its host cannot be read ({traits.aggregates_unknown}): protected to be safe"
        return Protection(True, "aggregate", why)
    names = [each.name for each in traits.aggregates]
    specs = [each.metadata for each in traits.aggregates]
    found = _tagged("aggregate", "an aggregate of its host", names, "aggregates", rules.aggregates, specs)
    return found if found is not None else _by_default(rules)


def _by_default(rules: Rules) -> Protection:
    if rules.by_default:
        return Protection(True, "cluster", f"cluster {rules.cluster} protects what no rule leaves alone")
    return Protection(False, "cluster", f"cluster {rules.cluster} protects only what a rule names")


def _named(by: str, what: str, words: Iterable[str], key: str, lists: Lists) -> Protection | None:
    known = [word for word in words if word]
    for protected, patterns in ((True, lists.protect), (False, lists.leave)):
        for word in known:
            hit = next((pattern for pattern in patterns if _matches(by, word, pattern)), None)
            if hit is not None:
                listed = f"protect_{key}" if protected else f"leave_{key}"
                shown = f"{what} matches {hit}" if by == "name" else f"{what} is {hit}"
                return Protection(protected, by, f"{shown}, which is in {listed}")
    return None


def _matches(by: str, word: str, pattern: str) -> bool:
    return fnmatchcase(word, pattern) if by == "name" else word == pattern


def _tagged(
    by: str,
    what: str,
    words: Iterable[str],
    key: str,
    lists: Lists,
    tags: Iterable[Mapping[str, str]],
) -> Protection | None:
    """By the operator's lists and by the thing's own word on it; either may protect."""
    listed = _named(by, what if by != "flavor" else "its flavor", words, key, lists)
    said = [wish(each.get(KEY)) for each in tags]
    if listed is not None and listed.protected:
        return listed
    if True in said:
        return Protection(True, by, f"{what} says {KEY}=true")
    if listed is not None:
        return listed
    return Protection(False, by, f"{what} says {KEY}=false") if False in said else None


def _word(said: bool) -> str:
    return "true" if said else "false"
