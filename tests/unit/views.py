"""Small views for tests of the judgement: hosts as they look at `NOW`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

import yaml

from hass_runtime.decide import symptoms
from hass_runtime.decide.diagnosis import HostTrack, Thresholds, diagnose, observe
from hass_runtime.decide.view import HostView, Policy, View
from hass_runtime.domain import Bmc, Host, HostState, Layer, Reading, Verdict

NOW = 1000.0
LIMITS = Thresholds(misses=2, complaints=2, transient=30.0, stale_after=20.0)
TABLE = symptoms.parse(
    yaml.safe_load(resources.files("hass_runtime.decide").joinpath("symptoms.yml").read_text()),
    "symptoms.yml",
    frozenset({"host_failure", "host_restore"}),
)
POLICY = Policy(thresholds=LIMITS, table=TABLE)
Look = tuple[Verdict, bool]
WELL: Look = (Verdict.OK, True)
DEAD: Look = (Verdict.FAILED, False)


def host(
    name: str,
    looks: Mapping[Layer, Look],
    *,
    times: int = 3,
    bmc: bool = True,
    cluster: str = "default",
    state: HostState = HostState.HEALTHY,
    evidence: str = "evidence",
) -> HostView:
    """A host whose layers have read the same ``times`` times, lastly at `NOW`."""
    track = HostTrack(name)
    for number in range(times):
        at = NOW - (times - 1 - number)
        for layer, (verdict, answered) in looks.items():
            track = observe(track, Reading(name, layer, verdict, evidence, at, answered))
    track, fault = diagnose(track, TABLE, NOW, LIMITS)
    credentials = Bmc("192.0.2.1", "admin", "secret") if bmc else None
    return HostView(Host(name, "192.0.2.9", cluster, credentials), state, track, fault)


def answering(name: str, **more: object) -> HostView:
    """A host with which all is well."""
    return host(name, {Layer.POWER: WELL, Layer.NETWORK: WELL, Layer.SERVICE: WELL}, **more)  # type: ignore[arg-type]


def silent(name: str, power: Look = DEAD, **more: object) -> HostView:
    """A host that answers on no layer; its BMC, where it has one, says off."""
    looks = {Layer.NETWORK: DEAD, Layer.SERVICE: DEAD}
    if more.get("bmc", True):
        looks[Layer.POWER] = power
    return host(name, looks, **more)  # type: ignore[arg-type]


def view_of(*hosts: HostView) -> View:
    return View(NOW, POLICY, {each.name: each for each in hosts})
