"""The watchdog timer of a BMC: what its bytes say, the verdict, and whether somebody re-arms it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.bmc import BmcClient, BmcError
from hass_runtime.detect.os_watchdog import (
    OsWatchdogDetector,
    Timer,
    WatchdogError,
    judge,
    parse,
    rearmed_between,
    rearmed_since,
)
from hass_runtime.domain import Bmc, Host, Layer, Verdict

BMC = Bmc("192.0.2.1", "admin", "s3cret")
HOST = Host("compute1", "192.0.2.31", bmc=BMC)
RUNNING, OS = 0x40, 4


def answer(first: int, initial: float, present: float, flags: int = 0) -> bytes:
    tenths = [round(seconds * 10).to_bytes(2, "little") for seconds in (initial, present)]
    return bytes([first, 0x01, 0, flags]) + tenths[0] + tenths[1]


def verdict(data: bytes) -> tuple[Verdict, str]:
    return judge(parse(data), 10.0)


@pytest.mark.parametrize(
    ("data", "expected", "evidence"),
    [
        (answer(RUNNING | OS, 60, 58.8), Verdict.OK, "watchdog timer re-armed 1.2 s ago"),
        (answer(RUNNING | OS, 60, 50), Verdict.OK, "watchdog timer re-armed 10.0 s ago"),
        (
            answer(RUNNING | OS, 60, 45.7),
            Verdict.FAILED,
            "watchdog timer not re-armed for 14.3 s, 45.7 s left",
        ),
        (answer(0x80 | RUNNING | 5, 60, 60), Verdict.OK, "watchdog timer re-armed 0.0 s ago"),
        (answer(OS, 60, 0, 1 << OS), Verdict.FAILED, "watchdog timer of 60 s has run out"),
        (answer(3, 600, 0, 1 << 3), Verdict.FAILED, "watchdog timer of 600 s has run out"),
        (answer(OS, 60, 60), Verdict.UNKNOWN, "its watchdog timer does not run"),
        (answer(OS, 60, 0, 1 << 3), Verdict.UNKNOWN, "its watchdog timer does not run"),  # another use's
        (answer(1, 60, 0, 1 << 1), Verdict.UNKNOWN, "its watchdog timer does not run"),  # the BIOS's
        (answer(0, 0, 0), Verdict.UNKNOWN, "its watchdog timer does not run"),
        (
            answer(RUNNING | 2, 900, 100),
            Verdict.UNKNOWN,
            "its watchdog timer watches over its BIOS, not over a running system",
        ),
        (
            answer(RUNNING | 3, 900, 899),
            Verdict.UNKNOWN,
            "its watchdog timer watches over the start of its operating system, not over a running system",
        ),
    ],
)
def test_verdict(data: bytes, expected: Verdict, evidence: str) -> None:
    assert verdict(data) == (expected, evidence)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        answer(RUNNING | OS, 60, 58)[:6],  # ipmi_sim
        answer(RUNNING | OS, 60, 6000),
        answer(RUNNING | OS, 60, 60.1),
        answer(RUNNING | OS, 0, 0),
    ],
)
def test_garbage_is_one_line(data: bytes) -> None:
    with pytest.raises(WatchdogError, match=r"^garbage about its watchdog timer: .+$"):
        parse(data)


@given(st.binary(max_size=12), st.floats(0.1, 6000))
def test_any_bytes_make_a_reading(data: bytes, threshold: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BmcClient, "ask", lambda self, *args: data)
        reading = OsWatchdogDetector(2.0, threshold).read(HOST)
    assert reading.answered == (reading.verdict is Verdict.OK)
    assert reading.verdict is not Verdict.WARNING
    if len(data) < 8:
        assert reading.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "error", [BmcError("BMC 192.0.2.1:623: no answer in 2 s"), OSError("boom"), KeyError(1)]
)
def test_it_never_raises(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def ask(self: BmcClient, *args: object) -> bytes:
        raise error

    monkeypatch.setattr(BmcClient, "ask", ask)
    reading = OsWatchdogDetector(2.0, 10.0).read(HOST)
    assert (reading.subject, reading.layer, reading.verdict) == ("compute1", Layer.OS, Verdict.UNKNOWN)
    assert "192.0.2.1" in reading.evidence
    assert not reading.answered
    said = rearmed_since(BMC, 0.0, 2.0, sleep=lambda seconds: None)
    # A BMC that fell silent leaves it open whether somebody re-arms its timer.
    silent = isinstance(error, BmcError)
    assert said == ("cannot read its watchdog timer: BMC 192.0.2.1:623: no answer in 2 s" if silent else None)


def test_a_bmc_that_refuses_has_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(self: BmcClient, *args: object) -> bytes:
        raise BmcError("BMC 192.0.2.1:623: refused: invalid command", 0xC1)

    monkeypatch.setattr(BmcClient, "ask", ask)
    assert rearmed_since(BMC, 0.0, 2.0, sleep=lambda seconds: None) is None


def test_a_host_without_a_bmc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(BmcClient, "ask")
    reading = OsWatchdogDetector(2.0, 10.0).read(Host("compute1", "192.0.2.31"))
    assert (reading.verdict, reading.evidence, reading.answered) == (
        Verdict.UNKNOWN,
        "host has no BMC",
        False,
    )


def timer(present: float, initial: float = 60.0, running: bool = True) -> Timer:
    return Timer(running, OS, False, initial, present)


@pytest.mark.parametrize(
    ("first", "second", "passed", "alive"),
    [
        (timer(50), timer(48), 2.0, False),  # fell by what passed
        (timer(50), timer(47.5), 2.0, False),  # and by more: the question took its time
        (timer(50), timer(49), 2.0, False),  # counts in whole seconds
        (timer(50), timer(59), 2.0, True),
        (timer(59.5), timer(59.5), 2.0, True),
        (timer(59.9), timer(59.2), 2.0, True),
        (timer(50), timer(118, 120), 2.0, True),
        (timer(50), timer(28, 30), 2.0, True),  # set anew
        (timer(60, running=False), timer(59), 2.0, True),
        (timer(1), timer(0, running=False), 2.0, False),  # ran out, or was stopped
        (timer(60, running=False), timer(60, running=False), 2.0, False),
    ],
)
def test_rearmed_between(first: Timer, second: Timer, passed: float, alive: bool) -> None:
    said = rearmed_between(first, second, passed)
    assert (said is not None) == alive
    assert said is None or "2.0 s" in said


@given(
    st.floats(1.0, 10.0),
    st.floats(0, 5.0),
    st.floats(20.0, 6000.0),
    st.sampled_from([0.1, 1.0]),
)
def test_a_timer_that_nobody_rearms_is_never_taken_for_rearmed(
    gap: float, late: float, present: float, unit: float
) -> None:
    """Whatever the BMC's answers take, and though it counts in whole units."""
    gap += 0.9 if unit == 1.0 else 0.0
    first = timer(present // unit * unit, 7000.0)
    second = timer(max(0.0, present - gap - late) // unit * unit, 7000.0)
    assert rearmed_between(first, second, gap) is None


def test_rearmed_since_looks_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    def look(*answers: bytes) -> str | None:
        turn = iter(answers)
        monkeypatch.setattr(BmcClient, "ask", lambda self, *args: next(turn))
        return rearmed_since(BMC, 2.0, 1.0, sleep=sleep, clock=lambda: now[0])

    assert look(answer(RUNNING | OS, 60, 50), answer(RUNNING | OS, 60, 48)) is None
    assert look(answer(RUNNING | OS, 60, 50), answer(RUNNING | OS, 60, 59)) == (
        "its watchdog timer was re-armed within 2.0 s: 59.0 s left"
    )
    assert look(answer(RUNNING | OS, 60, 50), b"") is None
    assert look(b"") is None
    assert slept == [2.0, 2.0, 2.0]
