"""The keys of the controller's file that say which instances are protected: docs/protection.md."""

from __future__ import annotations

from hass_runtime.settings.keys import ANY, Key, Kind

POLICIES = ("opt-out", "opt-in")

# fmt: off
PROTECTION = (
    Key("protection", "policy", Kind.TEXT,
        "What becomes of an instance that no rule names: opt-out protects it, opt-in leaves it alone.",
        default="opt-out", choices=POLICIES),
    Key("protection_policy", ANY, Kind.TEXT, "The policy of one cluster, when it is another one.",
        each="CLUSTER", sample="edge = opt-in", choices=POLICIES),
    Key("protection", "amphorae", Kind.FLAG,
        "Whether Octavia's amphorae are protected; Octavia replaces them by itself.", default="false"),
    Key("protection", "protect_names", Kind.NAMES,
        "Instances to protect: patterns for the whole name, in which * and ? stand for anything.",
        sample="db-*, mail"),
    Key("protection", "leave_names", Kind.NAMES, "Instances to leave alone: patterns for the whole name.",
        sample="test-*"),
    Key("protection", "protect_flavors", Kind.NAMES, "Flavors whose instances are protected.",
        sample="m1.ha"),
    Key("protection", "leave_flavors", Kind.NAMES, "Flavors whose instances are left alone.",
        sample="m1.spot"),
    Key("protection", "heed_images", Kind.FLAG,
        "Whether to ask Glance for the tags and the property hass:protect of an instance's image; an image "
        "that cannot be read protects.", default="false"),
    Key("protection", "protect_image_tags", Kind.NAMES, "Tags of images whose instances are protected.",
        sample="ha"),
    Key("protection", "leave_image_tags", Kind.NAMES, "Tags of images whose instances are left alone.",
        sample="ci"),
    Key("protection", "protect_projects", Kind.NAMES, "Ids of projects whose instances are protected.",
        sample="8c2f5e0b7d8e4a0f9d3c1b2a49586776"),
    Key("protection", "leave_projects", Kind.NAMES, "Ids of projects whose instances are left alone.",
        sample="0b1c2d3e4f5061728394a5b6c7d8e9f0"),
    Key("protection", "protect_aggregates", Kind.NAMES,
        "Host aggregates: the instances on their hosts are protected.", sample="production"),
    Key("protection", "leave_aggregates", Kind.NAMES,
        "Host aggregates: the instances on their hosts are left alone.", sample="scratch"),
)
# fmt: on
