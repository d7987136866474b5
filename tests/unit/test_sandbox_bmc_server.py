"""The watchdog timer of the sandbox's BMC, as HASS's detector reads it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.detect.os_watchdog import judge, parse
from hass_runtime.domain import Verdict
from hass_runtime.sandbox.bmc_server import WATCHDOG_SECONDS, watchdog_timer

THRESHOLD = 10.0


@given(st.floats(0, 1e6), st.floats(0, 1000))
def test_the_detector_reads_how_long_ago_it_was_armed(armed: float, since: float) -> None:
    timer = parse(watchdog_timer(armed, armed + since))
    assert timer.initial == WATCHDOG_SECONDS
    assert abs(min(since, WATCHDOG_SECONDS) - timer.age) < 0.1
    if since < THRESHOLD - 0.1:
        assert judge(timer, THRESHOLD)[0] is Verdict.OK
    elif since > THRESHOLD + 0.1:
        assert judge(timer, THRESHOLD)[0] is Verdict.FAILED


def test_one_that_was_never_armed_says_nothing() -> None:
    assert judge(parse(watchdog_timer(None, 5.0)), THRESHOLD)[0] is Verdict.UNKNOWN
