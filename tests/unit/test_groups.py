"""In which order instances are dealt with: groups of one priority, and when the next one begins."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.domain import Move, MoveState
from hass_runtime.remedy.groups import Pace, Turns, by_priority, drive


def move(name, priority=0):
    return Move(1, name, name, "host1", MoveState.PENDING, priority=priority)


class Work:
    """Each instance takes so many sleeps of the clock, for ever when None; notes who had begun when."""

    def __init__(self, takes):
        self.takes = takes
        self.now = 0.0
        self.lock = threading.Condition()
        self.began: dict[str, float] = {}
        self.ended: set[str] = set()

    def __call__(self, move):
        with self.lock:
            self.began[move.name] = self.now
            takes = self.takes.get(move.name, 0)
            self.lock.wait_for(lambda: self.now >= self.began[move.name] + takes, 20)
            self.ended.add(move.name)
            return move.name

    def sleep(self, seconds):
        with self.lock:
            self.now += seconds
            self.lock.notify_all()
        threading.Event().wait(0.002)  # the others get their turn

    def run(self, moves, turns, workers=8):
        done = threading.Event()

        def tick():
            while not done.is_set():
                self.sleep(1.0)

        with ThreadPoolExecutor(workers) as pool:
            clock = threading.Thread(target=tick)
            clock.start()
            try:
                found = drive(pool, self, moves, turns, lambda: self.now, self.sleep)
            finally:
                done.set()
                clock.join()
        return found


MOVES = [move("low", -1), move("first", 9), move("usual"), move("second", 9)]


def test_in_turn_a_group_begins_when_the_one_before_is_done():
    work = Work({"first": 40, "second": 5, "usual": 7})
    assert set(work.run(MOVES, Turns(Pace.IN_TURN))) == {"first", "second", "usual", "low"}
    assert work.began["usual"] >= work.began["first"] + 40
    assert work.began["low"] >= work.began["usual"] + 7


def test_staggered_a_group_that_hangs_is_not_waited_for():
    work = Work({"first": 400})
    work.run(MOVES, Turns(Pace.STAGGERED, 20))
    assert work.began["first"] + 20 <= work.began["usual"] < work.began["first"] + 400
    assert work.began["low"] < work.began["first"] + 400


def test_together_all_begin_as_far_as_there_are_workers():
    work = Work({"first": 50})
    assert work.run(MOVES, Turns(Pace.TOGETHER)) == ["first", "second", "usual", "low"]
    assert work.began["low"] < work.began["first"] + 50


@given(st.lists(st.integers(-3, 3), max_size=20))
def test_groups_hold_each_instance_once_highest_first(priorities):
    moves = [move(f"vm{n}", priority) for n, priority in enumerate(priorities)]
    groups = list(by_priority(moves))
    assert [priority for priority, _ in groups] == sorted(set(priorities), reverse=True)
    assert sorted(each.name for _, group in groups for each in group) == sorted(m.name for m in moves)
    for priority, group in groups:
        assert group == [each for each in moves if each.priority == priority]


@pytest.mark.parametrize(
    ("pace", "says"),
    [
        (Pace.TOGETHER, "all at once"),
        (Pace.STAGGERED, "each when the one before is done, or 30 s after it began"),
        (Pace.IN_TURN, "each when the one before is done"),
    ],
)
def test_how_it_is_told(pace, says):
    words = Turns(pace).words(MOVES)
    assert words.startswith("2 of priority 9, 1 of priority 0, 1 of priority -1: ")
    assert says in words
    assert Turns(pace).words([move("a"), move("b")]) == ""
