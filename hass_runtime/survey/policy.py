"""Whether what a survey has found is protected: the rules of `decide.protection`, for all hosts at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hass_runtime.decide.protection import Aggregate, Image, Rules, Traits, protection
from hass_runtime.domain import Choice

Policy = Callable[[str, str, Traits], str]
"""Of an instance (UUID, host, traits): why it is left alone, "" when it is protected."""

UNASKED = "a survey asks for no images"


def everything(instance: str, host: str, traits: Traits) -> str:
    """For whoever has no rules."""
    return ""


def policy_of(rules: Mapping[str, Rules], choices: Mapping[str, Choice]) -> Policy:
    """By the rules of each host's cluster and people's choices by UUID.

    What only an image could decide counts as protected, as when Glance does not answer.
    """

    def left_alone(instance: str, host: str, traits: Traits) -> str:
        if host not in rules:
            return ""  # not a host of ours
        told = protection(traits, rules[host], choices.get(instance))
        return "" if told.protected else told.reason

    return left_alone


def traits_of(row: Mapping[str, Any], aggregates: tuple[Aggregate, ...]) -> Traits:
    """From Nova's detail of a server, and the aggregates of its host."""
    flavor, image = row["flavor"], row.get("image") or {}
    traits = Traits(
        name=row["name"],
        metadata=row.get("metadata") or {},
        project=row.get("tenant_id") or "",
        flavor=flavor.get("original_name") or flavor.get("name") or "",
        flavor_specs=flavor.get("extra_specs") or {},
        aggregates=aggregates,
    )
    return replace(traits, image=Image(image["id"], unknown=UNASKED)) if image.get("id") else traits
