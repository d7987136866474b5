"""The made-up clock: order, sleeping, pools as executors are, and an end to all of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from greenlet import greenlet

from hass_runtime.simulator.hub import AtOnce, Hub, Pool, kill


def nothing() -> None:
    pass


def run(hub: Hub, until: float = 100.0) -> None:
    hub.run(until, nothing)


def test_what_is_due_happens_in_order_of_time_and_of_asking() -> None:
    hub, seen = Hub(), []
    for name, moment in (("c", 3.0), ("a", 1.0), ("b", 1.0)):
        hub.at(moment, partial(seen.append, name))
    hub.at(2.0, lambda: hub.after(0.0, partial(seen.append, "at once")))
    hub.at(101.0, partial(seen.append, "too late"))
    run(hub)
    assert seen == ["a", "b", "at once", "c"]
    assert hub.now == 100.0
    assert hub.wall() - hub.monotonic() == Hub().wall() - Hub().monotonic()


def test_what_takes_a_number_keeps_its_place() -> None:
    hub, seen = Hub(), []
    place = (1.0, hub.number())
    hub.at(1.0, partial(seen.append, "asked later"))
    hub.at_number(place, partial(seen.append, "asked first"))
    hub.at(1.0, lambda: seen.append(hub.following()))
    hub.at(3.0, lambda: seen.append(hub.following()))
    run(hub, 50.0)
    assert seen[:2] == ["asked first", "asked later"]
    assert seen[2] == (3.0, 4)
    assert seen[3] > (50.0, 1000)  # nothing else: up to the end of the run, that moment included
    assert seen[3][0] == 50.0


def test_who_sleeps_goes_on_where_it_was() -> None:
    hub, seen = Hub(), []

    def work(name: str, seconds: float) -> None:
        for _ in range(3):
            hub.sleep(seconds)
            seen.append((name, hub.now))

    hub.at(1.0, lambda: [hub.spawn(partial(work, "slow", 2.0)), hub.spawn(partial(work, "quick", 1.5))])
    run(hub)
    assert seen == [
        ("quick", 2.5),
        ("slow", 3.0),
        ("quick", 4.0),
        ("slow", 5.0),
        ("quick", 5.5),
        ("slow", 7.0),
    ]


def in_a_run(work: Callable[[Callable[..., Pool]], Any]) -> tuple[Any, Hub, list[greenlet]]:
    """What ``work`` returns when it may use pools."""
    hub, begun, result = Hub(), [], []
    pool = partial(Pool, hub, begun.append)
    hub.at(0.0, lambda: begun.append(hub.spawn(lambda: result.append(work(pool)))))
    run(hub)
    return (result[0] if result else None), hub, begun


def test_a_pool_does_so_much_at_once_as_it_has_workers() -> None:
    moments = []

    def work(pool: Callable[..., Pool]) -> list[int]:
        def one(number: int) -> int:
            hub.sleep(10.0)
            moments.append((number, hub.now))
            return number * number

        hub = pool.args[0]  # type: ignore[attr-defined]
        with pool(max_workers=2) as workers:
            return list(workers.map(one, [1, 2, 3]))

    result, *_ = in_a_run(work)
    assert result == [1, 4, 9]
    assert moments == [(1, 10.0), (2, 10.0), (3, 20.0)]


def test_a_pool_raises_where_the_result_is_asked_for_and_waits_at_its_end() -> None:
    def work(pool: Callable[..., Pool]) -> tuple[str, float]:
        hub = pool.args[0]  # type: ignore[attr-defined]

        def broken() -> None:
            raise ValueError("no")

        with pool(max_workers=2) as workers:
            promise = workers.submit(broken)
            workers.submit(hub.sleep, 5.0)
            with pytest.raises(ValueError, match="no"):
                promise.result()
            assert hub.now == 0.0
        return "done", hub.now

    result, *_ = in_a_run(work)
    assert result == ("done", 5.0)


def test_what_is_killed_does_nothing_more() -> None:
    seen = []

    def work(pool: Callable[..., Pool]) -> None:
        hub = pool.args[0]  # type: ignore[attr-defined]

        def one(number: int) -> None:
            try:
                hub.sleep(10.0)
            except Exception:  # noqa: BLE001 - as the remedies catch what a single instance raises
                seen.append("caught")
            seen.append(number)

        with pool(max_workers=2) as workers:
            list(workers.map(one, [1, 2, 3]))
        seen.append("over")

    hub, begun = Hub(), []
    pool = partial(Pool, hub, begun.append)
    hub.at(0.0, lambda: begun.append(hub.spawn(lambda: work(pool))))
    hub.at(5.0, lambda: kill(begun))
    run(hub)
    assert seen == []
    assert all(each.dead for each in begun)


def test_at_once_lets_no_time_pass() -> None:
    with AtOnce(max_workers=3) as pool:
        assert list(pool.map(lambda number: number + 1, [1, 2])) == [2, 3]
