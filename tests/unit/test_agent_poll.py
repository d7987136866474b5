"""Asking an agent: what is taken for its answer, what is said when there is none, and the layers it feeds."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.agent import protocol
from hass_runtime.agent.protocol import Check
from hass_runtime.detect import agent_poll
from hass_runtime.detect.agent_poll import Answer
from hass_runtime.detect.nova_view import NovaView
from hass_runtime.detect.services import HEARD_WITHIN, ServiceDetector
from hass_runtime.detect.storage import StorageDetector, judge_storage
from hass_runtime.domain import Host, Layer, Verdict
from hass_runtime.remedy.nova import ComputeService

KEY, SIZE = b"k" * 32, 1024
HOST = Host("compute1", "127.0.0.1")
CUT_OFF = Check("failed", "hangs for 12 s", storage=True)
Serve = Callable[[protocol.Request], list[bytes]]


@contextmanager
def an_agent(serve: Serve) -> Iterator[SimpleNamespace]:
    """Answers each request on loopback with what ``serve`` makes of it; keeps the requests."""
    seen: list[protocol.Request] = []
    stop = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.05)

        def run() -> None:
            while not stop.is_set():
                try:
                    datagram, peer = sock.recvfrom(4096)
                except TimeoutError:
                    continue
                request, _ = protocol.decode_request(datagram, (KEY,), SIZE, "compute1")
                seen.append(request)
                for answer in serve(request):
                    sock.sendto(answer, peer)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield SimpleNamespace(port=sock.getsockname()[1], seen=seen)
        finally:
            stop.set()
            thread.join()


def says(checks: dict[str, Check], leaving: bool = False) -> Serve:
    return lambda request: [
        protocol.encode_response(
            protocol.Response("compute1", request.nonce, time.time(), checks, leaving), (KEY,), SIZE
        )
    ]


def restarts(refused: str | None, host: str = "compute1") -> Serve:
    return lambda request: [
        protocol.encode_restart_response(
            protocol.RestartResponse(host, request.nonce, time.time(), refused), (KEY,), SIZE
        )
    ]


def order(port: int, timeout: float = 10.0) -> str | None:
    return agent_poll.restart(HOST, port, (KEY,), timeout, SIZE, "nova-compute")


def test_an_answer() -> None:
    checks = {"nova-compute": Check("ok"), "storage": CUT_OFF}
    with an_agent(says(checks, leaving=True)) as agent:
        assert agent_poll.poll(HOST, agent.port, (KEY,), 10.0, SIZE) == Answer(checks, leaving=True)
        (request,) = agent.seen
    assert request.order is None


@pytest.mark.parametrize("refused", [None, "is no unit", "was restarted 3 s ago"])
def test_an_order(refused: str | None) -> None:
    with an_agent(restarts(refused)) as agent:
        assert order(agent.port) == refused
        (request,) = agent.seen
    assert request.order.check == "nova-compute"


def test_an_order_that_gets_lost_is_sent_again_and_is_the_same_order() -> None:
    nonces: list[str] = []

    def late(request: protocol.Request) -> list[bytes]:
        nonces.append(request.nonce)
        # The third time it answers the first one: an answer may be late, too.
        return restarts(None)(protocol.Request("compute1", nonces[0], 0.0)) if len(nonces) == 3 else []

    with an_agent(late) as agent:
        assert order(agent.port, 1.5) is None
        orders = {request.order for request in agent.seen}
    assert len(set(nonces)) == 3
    assert len(orders) == 1


def test_an_order_that_is_not_answered_says_so_and_what_it_ignored() -> None:
    def wrong(request: protocol.Request) -> list[bytes]:
        return [*restarts(None, "compute10")(request), *says({})(request)]

    with an_agent(wrong) as agent:
        why = order(agent.port, 0.3)
    assert why is not None
    assert why.startswith(f"no answer from agent 127.0.0.1:{agent.port} in 0.3 s (3 garbage, 3 wrong_host")


def test_an_order_without_a_key_is_not_sent() -> None:
    assert agent_poll.restart(HOST, 2468, (), 1.0, SIZE, "x") == "no polling key is configured"


def detectors(port: int, view: NovaView | None = None) -> tuple[ServiceDetector, StorageDetector]:
    return ServiceDetector(port, KEY, 10.0, SIZE, view), StorageDetector(port, KEY, 10.0, SIZE)


def test_services_and_storage_are_two_layers_of_one_answer() -> None:
    with an_agent(says({"nova-compute": Check("ok"), "storage": CUT_OFF}, leaving=True)) as agent:
        service, storage = (detector.read(HOST) for detector in detectors(agent.port))
    assert (service.layer, service.verdict, service.evidence) == (
        Layer.SERVICE,
        Verdict.OK,
        "nova-compute ok",
    )
    assert (service.answered, service.leaving) == (True, True)
    assert (storage.layer, storage.verdict) == (Layer.STORAGE, Verdict.FAILED)
    assert (storage.evidence, storage.answered) == ("storage failed: hangs for 12 s", True)


def test_a_silent_agent_says_nothing_about_the_storage() -> None:
    with an_agent(lambda request: []) as agent:
        reading = StorageDetector(agent.port, KEY, 0.2, SIZE).read(HOST)
    assert (reading.verdict, reading.answered) == (Verdict.UNKNOWN, False)
    assert reading.evidence == f"no answer from agent 127.0.0.1:{agent.port} in 0.2 s"


@pytest.mark.parametrize("host", [Host("c" * 2000, "127.0.0.1"), Host("compute1", "compute1.invalid")])
def test_the_storage_layer_never_raises(host: Host) -> None:
    reading = StorageDetector(2468, KEY, 1.0, SIZE).read(host)
    assert (reading.verdict, reading.answered) == (Verdict.UNKNOWN, False)
    assert reading.evidence


@pytest.mark.parametrize(
    ("checks", "verdict", "evidence"),
    [
        ({}, Verdict.UNKNOWN, "the agent has no check of the storage"),
        ({"a": Check("failed", "x")}, Verdict.UNKNOWN, "the agent has no check of the storage"),
        ({"a": Check("ok", "/i (nfs4)", True)}, Verdict.OK, "a ok: /i (nfs4)"),
        (
            {"a": Check("ok", "", True), "b": Check("unknown", "full", True)},
            Verdict.UNKNOWN,
            "b unknown: full",
        ),
        ({"a": Check("unknown", "", True), "b": CUT_OFF}, Verdict.FAILED, "b failed: hangs for 12 s"),
    ],
)
def test_storage_verdict(checks: dict[str, Check], verdict: Verdict, evidence: str) -> None:
    assert judge_storage(checks) == (verdict, evidence)


@given(
    st.dictionaries(
        st.text(max_size=9),
        st.builds(Check, st.sampled_from(["ok", "failed", "unknown"]), st.text(max_size=9), st.booleans()),
    )
)
def test_storage_is_failed_exactly_when_a_storage_check_is(checks: dict[str, Check]) -> None:
    failed = any(check.state == "failed" and check.storage for check in checks.values())
    assert (judge_storage(checks)[0] is Verdict.FAILED) == failed


class View(NovaView):
    """One whose answer is given."""

    def __init__(self, service: ComputeService | None, odd: str = "") -> None:
        self._given = service, odd

    def service(self, host: str) -> tuple[ComputeService | None, str]:
        assert host == "compute1"
        return self._given


DOWN = ComputeService("s1", "compute1", False, True, False, "", "2026-03-01T02:03:04.000000")


@pytest.mark.parametrize(
    ("view", "verdict", "evidence"),
    [
        (
            View(DOWN),
            Verdict.FAILED,
            "nova-compute ok on the host, yet Nova has not heard of it since 2026-03-01T02:03:04.000000",
        ),
        (View(None, "Nova is away"), Verdict.OK, "nova-compute ok; Nova is away"),
        (View(None), Verdict.OK, "nova-compute ok"),
        (None, Verdict.OK, "nova-compute ok"),
    ],
)
def test_what_nova_sees_is_part_of_the_service_layer(view: Any, verdict: Verdict, evidence: str) -> None:
    with an_agent(says({"nova-compute": Check("ok")})) as agent:
        now = [0.0]
        detector = ServiceDetector(agent.port, KEY, 10.0, SIZE, view, lambda: now[0])
        first = detector.read(HOST)
        now[0] = HEARD_WITHIN
        reading = detector.read(HOST)
    # Nova hears of a nova-compute that has just started a little later.
    assert (first.verdict, first.evidence) == (Verdict.OK, "nova-compute ok")
    assert (reading.verdict, reading.evidence, reading.answered) == (verdict, evidence, True)
