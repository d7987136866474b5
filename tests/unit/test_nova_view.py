"""How Nova sees nova-compute: when it overrules the agent, and that asking it holds up nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from settings_files import controller

from hass_runtime.daemon import detectors_of
from hass_runtime.detect.nova_view import NovaView, judge_with_nova, nova_view_of
from hass_runtime.domain import Layer, Verdict
from hass_runtime.remedy.nova import CloudError, ComputeService

UP = ComputeService("s1", "compute1", True, True, False, "", "2026-03-01T02:03:04.000000")
DOWN = replace(UP, up=False)
OK = (Verdict.OK, "nova-compute ok")


def test_nova_that_misses_a_well_nova_compute_overrules_the_agent() -> None:
    assert judge_with_nova(*OK, DOWN) == (
        Verdict.FAILED,
        "nova-compute ok on the host, yet Nova has not heard of it since 2026-03-01T02:03:04.000000",
    )
    assert judge_with_nova(*OK, replace(DOWN, updated_at=""))[1].endswith("has not heard of it ever")


@pytest.mark.parametrize(
    "service",
    [
        None,
        UP,
        replace(DOWN, forced_down=True),
        replace(DOWN, enabled=False, disabled_reason="HASS: compute1 is fenced"),
        replace(DOWN, enabled=False, disabled_reason="Bob changes a fan"),
        replace(UP, enabled=False),
    ],
)
def test_who_is_up_or_meant_to_be_down_is_left_to_the_agent(
    service: ComputeService | None,
) -> None:
    assert judge_with_nova(*OK, service) == OK


services = st.none() | st.builds(replace, st.just(UP), up=st.booleans(), enabled=st.booleans(),
                                 forced_down=st.booleans(), updated_at=st.text())  # fmt: skip


@given(st.sampled_from(list(Verdict)), st.text(), services)
def test_nova_only_ever_turns_ok_into_failed(
    verdict: Verdict, evidence: str, service: ComputeService | None
) -> None:
    judged = judge_with_nova(verdict, evidence, service)
    if judged != (verdict, evidence):
        assert verdict is Verdict.OK
        assert judged[0] is Verdict.FAILED
        assert service is not None
        assert service.enabled
        assert not service.up
        assert not service.forced_down


class Nova:
    """Answers what it is told to; ``gate`` holds it up."""

    def __init__(self) -> None:
        self.now = 100.0
        self.says: list[ComputeService] | Exception = [UP]
        self.asked = 0
        self.connected = 0
        self.gate = threading.Event()
        self.gate.set()
        self.view = NovaView(self.connect, 5.0, 25.0, lambda: self.now)

    def connect(self) -> Nova:
        self.connected += 1
        return self

    def compute_services(self) -> list[ComputeService]:
        self.asked += 1
        assert self.gate.wait(30)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def look(self, host: str = "compute1") -> tuple[ComputeService | None, str]:
        """What the view says once nobody is being asked any more."""
        self.view.service(host)
        deadline = time.monotonic() + 30
        while self.view._asking:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        return self.view.service(host)


def test_nova_is_asked_once_an_interval_for_all_hosts_and_only_when_somebody_asks() -> None:
    nova = Nova()
    nova.says = [UP, replace(UP, host="compute10", up=False)]
    assert nova.asked == nova.connected == 0
    assert nova.look() == (UP, "")
    assert nova.look("compute10")[0] == replace(UP, host="compute10", up=False)
    assert nova.look("compute100") == (None, "Nova knows no nova-compute on it")
    nova.now += 4.9
    nova.look()
    assert nova.asked == 1
    nova.now += 0.2
    nova.says = [DOWN]
    assert nova.look() == (DOWN, "")
    assert (nova.asked, nova.connected) == (2, 1)


def test_a_nova_that_takes_long_holds_up_nobody_and_is_not_asked_twice() -> None:
    nova = Nova()
    nova.gate.clear()
    for _ in range(5):
        assert nova.view.service("compute1") == (None, ""), "nothing odd about a start"
        nova.now += 6.0
    nova.gate.set()
    assert nova.look()[0] is None, "it was asked 30 s ago: what it says is that old"
    assert nova.look()[0] == UP
    assert nova.asked == 2


@pytest.mark.parametrize("error", [CloudError("list: Nova says 503"), OSError("boom"), KeyError("x")])
def test_a_nova_that_fails_leaves_its_last_word_until_that_is_old(error: Exception) -> None:
    nova = Nova()
    assert nova.look() == (UP, "")
    nova.says = error
    nova.now += 20.0
    assert nova.look() == (UP, "")
    nova.now += 6.0
    service, odd = nova.look()
    assert service is None
    assert odd.startswith("how Nova sees it is not known: ")
    nova.says = [DOWN]
    nova.now += 6.0
    assert nova.look() == (DOWN, "")


def test_a_cloud_that_cannot_be_reached_at_all_is_tried_again() -> None:
    def refuse() -> Nova:
        raise CloudError("no such host")

    now = [0.0]
    view = NovaView(refuse, 5.0, 25.0, lambda: now[0])
    assert view.service("compute1") == (None, "")
    wait_until(lambda: not view._asking)
    assert view.service("compute1") == (None, "how Nova sees it is not known: no such host")


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_it_is_asked_as_configured(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    settings = controller(tmp_path)
    before = threading.active_count()
    view = nova_view_of(settings)
    assert view is not None
    interval = settings.detection.polling_interval
    assert (view._interval, view._fresh) == (interval, 3 * interval + 10)
    layers = [detector.layer for detector in detectors_of(settings)]
    assert Layer.STORAGE in layers
    assert len(layers) == len(set(layers))
    assert threading.active_count() == before, "nothing is started before somebody looks"
    nova = Nova()
    monkeypatch.setattr("hass_runtime.remedy.cloud.connect", lambda settings, workers: nova)
    view.service("compute1")
    wait_until(lambda: not view._asking)
    assert view.service("compute1") == (UP, "")
    assert nova_view_of(controller(tmp_path, {"detection.nova_view": "false"})) is None
