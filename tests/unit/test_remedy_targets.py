"""Nothing is evacuated to a host that has just died, too: that Nova misses it is waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hass_runtime.remedy.nova import CloudError, ComputeService
from hass_runtime.remedy.restoration import Patience
from hass_runtime.remedy.targets import wait_until_missed

UP = ComputeService("s3", "compute3", True, True, False, "", "12:00:00")


class Nova:
    """Its answers about compute3, one a look; the last one stays."""

    def __init__(self, *says: ComputeService | CloudError | None) -> None:
        self.says = list(says)
        self.asked = 0

    def compute_service(self, host: str) -> ComputeService | None:
        self.asked += 1
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(said, CloudError):
            raise said
        return said


def wait(nova: Nova, *signs: str | None, deadline: float = 75.0) -> tuple[str, float]:
    """What is left, and how long it took."""
    now, heard = [0.0], list(signs) or [None]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def listen() -> str | None:
        return heard.pop(0) if len(heard) > 1 else heard[0]

    silent: dict[str, Callable[[], str | None]] = {"compute3": listen}
    return wait_until_missed(nova, silent, Patience(deadline, 1.0, lambda: now[0], sleep)), now[0]


def test_without_a_silent_host_nothing_is_waited_for() -> None:
    nova = Nova(UP)
    assert wait_until_missed(nova, {}, Patience(75.0)) == ""
    assert nova.asked == 0


def test_a_silent_host_is_waited_for_until_nova_misses_it() -> None:
    assert wait(Nova(UP, UP, UP, replace(UP, up=False))) == ("", 3.0)


def test_one_that_nova_would_not_choose_anyway_is_no_reason_to_wait() -> None:
    for service in (replace(UP, up=False, forced_down=True), replace(UP, enabled=False), None):
        assert wait(Nova(service)) == ("", 0.0)


def test_one_that_answers_after_all_is_a_target_like_any_other() -> None:
    assert wait(Nova(UP), None, None, "network: it answers") == ("", 2.0)


def test_who_cannot_listen_has_heard_no_answer() -> None:
    left, took = wait(Nova(UP), "cannot tell on layer network: no route", deadline=10.0)
    assert "compute3 is silent, and Nova may still send instances to it" in left
    assert took >= 9.0


def test_the_wait_ends_and_says_what_is_left() -> None:
    left, took = wait(Nova(UP))
    assert left.startswith("compute3 is silent")
    assert 70.0 < took <= 75.0


def test_a_nova_that_does_not_answer_is_asked_again() -> None:
    assert wait(Nova(CloudError("no answer"), replace(UP, up=False))) == ("", 1.0)
