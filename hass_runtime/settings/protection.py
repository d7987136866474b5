"""Reads which instances are protected, by cluster."""

from __future__ import annotations

from collections.abc import Iterable

from hass_runtime.decide.protection import Lists, Rules
from hass_runtime.domain import Host
from hass_runtime.settings.keys import did_you_mean
from hass_runtime.settings.protection_keys import POLICIES
from hass_runtime.settings.reader import Reader

_SECTION = "protection"
_BY_CLUSTER = "protection_policy"


def read_protection(reader: Reader, hosts: Iterable[Host]) -> dict[str, Rules]:
    """The rules of each cluster; problems go to the reader."""
    heed_images = reader.flag(_SECTION, "heed_images")
    usual = reader.text(_SECTION, "policy")
    lists = {key: _lists(reader, key) for key in ("names", "flavors", "image_tags", "projects", "aggregates")}
    if (lists["image_tags"].protect or lists["image_tags"].leave) and not heed_images:
        reader.note(f"[{_SECTION}] heed_images", "false: the rules by image tag have no effect")
    clusters = {host.cluster for host in hosts} | {reader.text("cluster", "name")}
    policies = dict.fromkeys(sorted(clusters), usual)
    for name, where, value in reader.each(_BY_CLUSTER):
        if name not in clusters:
            reader.problem(where, f"there is no cluster of that name{did_you_mean(name, clusters)}")
        elif value.strip() not in POLICIES:
            near = did_you_mean(value.strip(), POLICIES)
            reader.problem(where, f"{value[:60]!r} is no policy, expected {' or '.join(POLICIES)}{near}")
        else:
            policies[name] = value.strip()
    amphorae = reader.flag(_SECTION, "amphorae")
    return {
        cluster: Rules(cluster, policy != "opt-in", amphorae, heed_images, **lists)
        for cluster, policy in policies.items()
    }


def _lists(reader: Reader, what: str) -> Lists:
    protect = reader.words(_SECTION, f"protect_{what}") or ()
    leave = reader.words(_SECTION, f"leave_{what}") or ()
    for word in protect:
        if word in leave:
            reader.problem(
                f"[{_SECTION}] leave_{what}", f"{word[:60]!r} is in protect_{what} too, expected it in one"
            )
    return Lists(protect, leave)
