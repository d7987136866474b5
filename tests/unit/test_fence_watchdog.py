"""A BMC that was not seen to obey is asked for its watchdog timer, too: what is re-armed is not off."""

from __future__ import annotations

import pytest
from test_remedy_fencing import Bench

from hass_runtime.remedy.fencing import fence
from hass_runtime.remedy.proof import FenceError, Word

ALIVE = "re-armed 0.4 s ago"


class Timer:
    """The watchdog timer of a BMC, that counts who looks at it."""

    def __init__(self, *says: str | None) -> None:
        self.says = list(says)
        self.asked = 0

    def __call__(self) -> str | None:
        self.asked += 1
        return self.says.pop(0) if len(self.says) > 1 else self.says[0]


def test_a_bmc_that_said_off_all_along_is_not_believed_while_its_timer_is_re_armed() -> None:
    bench, timer = Bench(["off"]), Timer(ALIVE)
    with pytest.raises(FenceError, match=r"in doubt.*still answers: re-armed 0.4 s ago"):
        bench.fence(deadline=20.0, rearmed=timer)
    assert timer.asked > 1


def test_a_timer_that_nobody_re_arms_any_more_is_silence() -> None:
    bench, timer = Bench(["off"]), Timer(ALIVE, None)
    proof = bench.fence(rearmed=timer)
    assert timer.asked == 2
    assert len(proof.reads) == 2


def test_a_bmc_that_was_seen_to_obey_is_not_asked() -> None:
    bench, timer = Bench(["on", "off"]), Timer(ALIVE)
    assert bench.fence(rearmed=timer).was_on is True
    assert timer.asked == 0


def test_a_bmc_that_said_nothing_before_was_not_seen_to_obey() -> None:
    bench, timer = Bench(["no answer", "off"]), Timer(None)
    assert bench.fence(rearmed=timer).was_on is None
    assert timer.asked == 1


def test_who_cannot_look_at_the_timer_has_not_seen_it_stand_still() -> None:
    def broken() -> str | None:
        raise OSError("no route")

    bench = Bench(["off"])
    with pytest.raises(FenceError, match="cannot listen: no route"):
        bench.fence(deadline=10.0, rearmed=broken)


def test_a_timer_that_is_re_armed_outweighs_a_person_too() -> None:
    bench = Bench(["no answer"])
    word = Word("anna", "cords pulled", bench.now)
    with pytest.raises(FenceError, match="anna confirmed it as off, but it still answers: re-armed"):
        fence(
            "compute2",
            bench,
            bench.answers,
            word=word,
            deadline=5.0,
            rearmed=Timer(ALIVE),
            clock=lambda: bench.now,
            wall=lambda: bench.now,
            sleep=bench.sleep,
        )


def test_a_silent_bmc_is_what_a_persons_word_stands_in_for() -> None:
    bench = Bench(["no answer"])
    proof = fence(
        "compute2",
        bench,
        bench.answers,
        word=Word("anna", "cords pulled", bench.now),
        deadline=5.0,
        rearmed=Timer("cannot read its watchdog timer: no answer"),
        clock=lambda: bench.now,
        wall=lambda: bench.now,
        sleep=bench.sleep,
    )
    assert proof.person is not None
