"""What instances were when their host failed, though it came back before anybody looked (safety rule 12)."""

from __future__ import annotations

import pytest
from test_remedy_evacuation import SOURCE, Nova, vm

from hass_runtime.remedy.inventory import on_host
from hass_runtime.remedy.nova import InstanceAction

FAILED_AT = 100.0


def stopped(*stops: InstanceAction) -> Nova:
    nova = Nova(vm(1, vm_state="stopped"))
    nova.done["u1"] = [InstanceAction("create", 0.0, False), *stops]
    return nova


@pytest.mark.parametrize(
    ("stop", "was"),
    [
        (InstanceAction("stop", 130.0, False, internal=True), "active"),
        (InstanceAction("stop", 90.0, False, internal=True), "stopped"),  # the guest shut itself down
        (InstanceAction("stop", 130.0, False), "stopped"),  # a person
    ],
)
def test_a_stop_that_the_returning_host_noted_is_nobodys(stop: InstanceAction, was: str) -> None:
    assert [move.was for move in on_host(stopped(stop), SOURCE, 7, 0.0, failed_at=FAILED_AT)] == [was]


def test_without_knowing_when_it_failed_nova_is_believed() -> None:
    noted = InstanceAction("stop", 130.0, False, internal=True)
    assert [move.was for move in on_host(stopped(noted), SOURCE, 7, 0.0)] == ["stopped"]


def test_what_an_earlier_run_recorded_counts_more() -> None:
    noted = InstanceAction("stop", 130.0, False, internal=True)
    found = on_host(stopped(noted), SOURCE, 7, 0.0, {"u1": "stopped"}, failed_at=FAILED_AT)
    assert [move.was for move in found] == ["stopped"]
