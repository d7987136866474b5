"""Small views for tests of the judgement: hosts as they look at `NOW`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from hass_runtime.decide import symptoms
from hass_runtime.decide.diagnosis import HostTrack, Thresholds, diagnose, observe
from hass_runtime.decide.view import FAILURE, HostView, Policy, View
from hass_runtime.domain import (
    Bmc,
    Host,
    HostState,
    Incident,
    Layer,
    Order,
    OrderKind,
    Outcome,
    Reading,
    Verdict,
)
from hass_runtime.remedy.playbooks import Shelf

NOW = 1000.0
LIMITS = Thresholds(misses=2, transient=30.0, stale_after=20.0, planned=100.0)
RUNGS = Shelf(Path(__file__).parents[2] / "playbooks" / "remediation").rungs()
TABLE = symptoms.parse(
    yaml.safe_load(resources.files("hass_runtime.decide").joinpath("symptoms.yml").read_text()),
    "symptoms.yml",
    RUNGS,
    {"wait_restart_threshold": 2},
)
POLICY = Policy(thresholds=LIMITS, table=TABLE)
Look = tuple[Verdict, bool]
WELL: Look = (Verdict.OK, True)
DEAD: Look = (Verdict.FAILED, False)
MUTE: Look = (Verdict.UNKNOWN, False)
SICK: Look = (Verdict.FAILED, True)
WARNS: Look = (Verdict.WARNING, True)

CUT = {Layer.POWER: DEAD, Layer.NETWORK: DEAD, Layer.SERVICE: DEAD}
NO_BMC = {**CUT, Layer.POWER: MUTE}
UNPLUGGED = {**CUT, Layer.POWER: WELL}
COMPLAINING = {Layer.SERVICE: SICK}
WARNING = {Layer.HARDWARE: WARNS}


def host(
    name: str,
    looks: Mapping[Layer, Look],
    *,
    times: int = 3,
    bmc: bool = True,
    cluster: str = "default",
    zone: str = "",
    state: HostState = HostState.HEALTHY,
    evidence: str = "evidence",
    **more: Any,
) -> HostView:
    """A host whose layers have read the same ``times`` times, lastly at `NOW`; ``more`` as in `HostView`."""
    track = HostTrack(name)
    for number in range(times):
        at = NOW - (times - 1 - number)
        for layer, (verdict, answered) in looks.items():
            track = observe(track, Reading(name, layer, verdict, evidence, at, answered))
    track, fault = diagnose(track, TABLE, NOW, LIMITS)
    credentials = Bmc("192.0.2.1", "admin", "secret") if bmc else None
    known = Host(name, "192.0.2.9", cluster, credentials, zone)
    return replace(HostView(known, state, track, fault), **more)


def answering(name: str, **more: Any) -> HostView:
    """A host with which all is well."""
    looks = {Layer.NETWORK: WELL, Layer.SERVICE: WELL}
    if more.get("bmc", True):
        looks[Layer.POWER] = WELL
    return host(name, looks, **more)


def silent(name: str, power: Look = DEAD, **more: Any) -> HostView:
    """A host that answers on no layer; its BMC, where it has one, says off."""
    looks = {Layer.NETWORK: DEAD, Layer.SERVICE: DEAD}
    if more.get("bmc", True):
        looks[Layer.POWER] = power
    return host(name, looks, **more)


def unread(name: str, **more: Any) -> HostView:
    """A host that was not read yet."""
    return host(name, {}, **more)


def complaining(name: str, **more: Any) -> HostView:
    """A host whose agent says that a service does not run."""
    return host(name, {Layer.POWER: WELL, Layer.NETWORK: WELL, Layer.SERVICE: SICK}, **more)


def view_of(*hosts: HostView, **more: Any) -> View:
    """``more`` as in `View`."""
    return replace(View(NOW, POLICY, {each.name: each for each in hosts}), **more)


def policy(**more: Any) -> Policy:
    return replace(POLICY, **more)


def order(name: str, kind: OrderKind, at: float = NOW, **more: Any) -> Order:
    """A person's order in force."""
    return replace(Order(7, name, kind, "cords pulled", "ann", at), **more)


def incident(name: str, fault: str = "power", layer: str = "power", **more: Any) -> Incident:
    """An open incident of a host, whose fence was launched once."""
    known = Incident(1, name, fault, layer, Outcome.OPEN, NOW - 5.0, phase=FAILURE, attempts=1, tries=1)
    return replace(known, **more)
