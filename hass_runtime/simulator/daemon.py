"""What `hass_runtime.loop` does, on the made-up clock: looks at the hosts, and lets the controller cycle.

A cycle that can change nothing is left out, which most of them are: nothing was seen that was not seen
before, and no moment has come from which on time alone would change a decision. The result is the same as
with all of them, only sooner; a test compares.

Looks and turns are the most of what happens in a run. They are kept in a queue of the daemon's own, and done
one after the other for as long as nothing else is due; with the hub they share the numbers by which it tells
what comes first.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from hass_runtime.decide import gates
from hass_runtime.decide.view import Policy
from hass_runtime.domain import Reading
from hass_runtime.leader import Leadership
from hass_runtime.loop import SETTLE
from hass_runtime.memory import GATEWAY
from hass_runtime.remedy.resume import end_runs
from hass_runtime.settings import ControllerSettings
from hass_runtime.simulator.eyes import Eyes
from hass_runtime.simulator.hub import EPOCH, Due, Hub
from hass_runtime.simulator.journal import Journal
from hass_runtime.simulator.quick import QuickController, memory_of_runs
from hass_runtime.simulator.quiet import Quiet, changed, is_left_alone, is_told, is_well, seen_more
from hass_runtime.simulator.runs import MadeUpLauncher


@dataclass
class _Seen:
    """What was last seen of a host, what the controller was told, and how often it was the same since.

    ``version`` is that of the world in which it was seen. ``well``: nothing is wrong in what was told;
    ``steady``: one more look that shows the same changes no sign, None: to be found out. ``hurried``: it
    is looked at more often.
    """

    name: str
    readings: tuple[Reading, ...] = ()
    version: int = -1
    fresh: bool = False
    told: tuple[Reading, ...] = ()
    told_at: float = 0.0
    owed: int = 0
    owed_at: float = 0.0
    well: bool = False
    steady: bool | None = False
    hurried: bool = False


_Look = tuple[float, int, tuple[_Seen, ...]]
"""When it is due, its number, and at which hosts."""


class Daemon:
    """One life of the controller's process, from its start to its death.

    Args:
        number: tells this process from others that came before.
        skips: whether cycles that change nothing are left out.
    """

    def __init__(
        self,
        hub: Hub,
        settings: ControllerSettings,
        policy: Policy,
        journal: Journal,
        launcher: MadeUpLauncher,
        eyes: Eyes,
        number: int,
        skips: bool,
    ) -> None:
        self._hub = hub
        self._settings = settings
        self._journal = journal
        self._launcher = launcher
        self._eyes = eyes
        self._skips = skips
        self._leadership = Leadership(
            journal,  # type: ignore[arg-type]
            f"{settings.controller.name} made-up 0 {number}",
            settings.controller.lease_ttl,
            clock=hub.monotonic,
            bury=lambda: end_runs(journal.unfinished_runs(), launcher.end_leftovers),
        )
        self.controller = QuickController(
            settings,
            journal,  # type: ignore[arg-type]
            policy,
            leadership=self._leadership,
            launcher=launcher,
            clock=hub.wall,
            wall=hub.wall,
            monotonic=hub.monotonic,
        )
        self._quiet = Quiet(self.controller.memory)
        launcher.heard = self.heard
        self.bugs = 0
        self.cycles = 0
        self._alive = True
        self._looks: list[_Look] = []
        self._wake: Due | None = None
        self._called: Due | None = None
        self._asked: set[Due] = set()
        self._news = True
        self._heard = False
        self._happened = False
        self._idle_until = 0.0
        self._troubled: frozenset[str] = frozenset()
        self._dated_anew: list[str] = []
        self._left_out_at = 0.0
        self._valid_until = 0.0
        interval, ttl = settings.detection.polling_interval, settings.controller.lease_ttl
        self._interval = interval
        self._fresh_for = policy.thresholds.stale_after - interval
        self._pause = min(interval / 2, ttl / 6, 1.0)
        names = [*(host.name for host in settings.hosts)]
        if settings.openstack.gateway_ip:
            names.append(GATEWAY)
        self._seen = {name: _Seen(name) for name in names}

    def start(self) -> None:
        self._hurry()
        self._look_after(0.0, tuple(self._seen.values()))
        self._look(self._looks[0][:2])
        self._wake_at(self._hub.now)
        self._call()

    def die(self) -> None:
        self._alive = False

    def news(self) -> None:
        """Something has happened that the controller may read for itself: a person's order, its database."""
        self._happened = True

    def heard(self) -> None:
        """A run has said something."""
        if self._alive:
            self._heard = True
            self._wake_at(self._hub.now + SETTLE)
            self._call()

    # -- time ------------------------------------------------------------------------------------------

    def _wake_at(self, moment: float) -> None:
        if self._wake is None or moment < self._wake[0]:
            self._wake = (moment, self._hub.number())

    def _call(self) -> None:
        """Have the hub give the turn when the next look or turn is due."""
        due = self._looks[0][:2]
        if self._wake is not None and self._wake < due:
            due = self._wake
        self._called = due
        if due not in self._asked:
            self._asked.add(due)
            self._hub.at_number(due, lambda: self._go_on(due))

    def _go_on(self, called: Due) -> None:
        """All looks and turns that come before anything else, up to a turn that did something."""
        self._asked.discard(called)
        if not self._alive or called != self._called:
            return
        self._called = None
        hub, looks, left_out = self._hub, self._looks, False
        following = hub.following()
        while True:
            wake = self._wake
            if wake is None or looks[0][:2] < wake:
                if looks[0][:2] > following:
                    break
                self._look(following)
                continue
            if wake > following:
                break
            hub.now = wake[0]
            self._wake = None
            cycles = self.cycles
            if self._skips and self._nothing_new():
                left_out = True
            else:
                self._cycle()
            self._wake_at(hub.now + self._pause)
            if self.cycles > cycles:  # others may have something to say about what it did
                break
            self._doze(following)
        if left_out:
            for run in self._launcher.living():
                run.beat(valid_until=self._valid_until)
        self._call()

    def _doze(self, following: Due) -> None:
        """What `_look` and `_nothing_new` do for as long as all is known and steady, added up."""
        hub, looks, wake, version = self._hub, self._looks, self._wake, self._eyes.version
        if wake is None or following[0] - hub.now < self._interval:
            return
        paces: dict[int, float] = {}
        for _, _, several in looks:
            hurried = several[0].hurried
            for seen in several:
                if not seen.steady or seen.fresh or seen.version != version or seen.hurried is not hurried:
                    return
            paces[id(several)] = self._interval / 2 if hurried else self._interval
        # The lease is renewed, and the next cycle made, by who looks at each turn.
        ttl, pause = self._leadership.ttl, self._pause
        renewal = self._leadership.valid_until - ttl * 2 / 3 - hub.monotonic()
        end = min(following, (hub.now + min(renewal, self._idle_until - hub.wall()) - 0.001, 0))
        fresh: dict[int, tuple[_Seen, ...]] = {}
        owed: dict[int, list[float]] = {}
        turned = 0.0
        while True:
            moment, number, several = looks[0]
            if moment < wake[0] or (moment == wake[0] and number < wake[1]):
                if (moment, number) > end:
                    break
                key = id(several)
                heapq.heapreplace(looks, (moment + paces[key], hub.number(), several))
                fresh[key] = several
                if moment + SETTLE < wake[0]:
                    wake = (moment + SETTLE, hub.number())
                hub.now = moment
            else:
                if wake > end:
                    break
                turned = wake[0]
                for key in fresh:
                    owed.setdefault(key, []).append(turned)
                fresh.clear()
                wake = (turned + pause, hub.number())
                hub.now = turned
        self._wake = wake
        for _, _, several in looks:
            put_off = owed.get(id(several))
            for seen in several:
                seen.fresh = id(several) in fresh
                if put_off:
                    seen.owed, seen.owed_at = seen.owed + len(put_off), EPOCH + put_off[-1]
        if turned:
            self._left_out(EPOCH + turned)

    # -- seeing ----------------------------------------------------------------------------------------

    def _look(self, following: Due) -> None:
        """Look at the hosts that are due first, and at all that are due at that moment with them."""
        looks = self._looks
        now, _, several = heapq.heappop(looks)
        first = following if self._wake is None else min(following, self._wake)
        while looks and looks[0][0] == now and looks[0][:2] < first:
            several += heapq.heappop(looks)[2]
        self._hub.now = now
        version, hurried = self._eyes.version, False
        for seen in several:
            if seen.version != version:
                readings, seen.version = self._eyes.look(seen.name), version
                if readings is not seen.readings:
                    seen.readings = readings
                    self._news = True
            if not seen.steady:
                self._news = True
            seen.fresh = True
            hurried = hurried or seen.hurried
        if hurried:
            slowly = tuple(seen for seen in several if not seen.hurried)
            self._look_after(self._interval / 2, tuple(seen for seen in several if seen.hurried))
            several = slowly
        if several:
            self._look_after(self._interval, several)
        self._wake_at(now + SETTLE)

    def _look_after(self, seconds: float, several: tuple[_Seen, ...]) -> None:
        heapq.heappush(self._looks, (self._hub.now + seconds, self._hub.number(), several))

    # -- a turn of the loop ----------------------------------------------------------------------------

    def _nothing_new(self) -> bool:
        """Keep the lease, follow runs, and put off what was seen; False when a cycle is needed."""
        now, memory = self._hub.wall(), self.controller.memory
        if self._happened:
            self._happened = False
            self._news = self._news or not is_told(memory, self._journal, now)
        if self._news or now >= self._idle_until or self._leadership.tick() is None:
            return False
        if self._heard:
            self._heard = False
            before = memory_of_runs(memory)
            self._count(self.controller.cycle_undecided())
            if not self._news and memory_of_runs(memory) != before:
                return False
        for seen in self._seen.values():
            if seen.fresh:
                seen.fresh, seen.owed, seen.owed_at = False, seen.owed + 1, now
        self._left_out(now)
        return True

    def _left_out(self, now: float) -> None:
        """A cycle was left out."""
        self._left_out_at, self._valid_until = now, self._leadership.valid_until
        for where in self._troubled:  # it goes on, and its end counts from the last cycle that saw it
            self.controller.memory.troubled_at[where] = now

    def _cycle(self) -> None:
        now, controller = self._hub.wall(), self.controller
        tracks = controller.memory.tracks
        for name in self._dated_anew:
            since = max(tracks[name].matched_since, self._left_out_at)
            tracks[name] = changed(tracks[name], matched_since=since)
        self._dated_anew = []
        away = self._journal.away  # then nothing is decided
        for name, seen in self._seen.items():
            the_same = self._skips and seen.steady and seen.readings is seen.told
            if seen.fresh and the_same:
                seen.fresh, seen.owed, seen.owed_at = False, seen.owed + 1, now
            if the_same and (away or self._matters_little(name, seen, now)):
                continue
            self._catch_up(name, seen)
            if seen.fresh:
                seen.fresh, seen.told, seen.told_at = False, seen.readings, now
                seen.well, seen.steady = is_well(seen.told), None
                for reading in seen.readings:
                    controller.inbox.put(reading)
        self._heard = self._happened = False
        self._count(controller.guarded_cycle())
        self._hurry()
        self._idle_until = now
        self._troubled = frozenset()
        if self._skips and not self._news:
            memory = controller.memory
            # It may have begun the cycle in trouble and ended it without.
            lately = {where for where, at in memory.troubled_at.items() if at == now}
            self._troubled = gates.troubled(controller.last_view) & lately if lately else frozenset()
            self._idle_until = self._quiet.next_moment(now)
            self._dated_anew = self._quiet.dated_anew()
            for name, seen in self._seen.items():
                if seen.steady is None:
                    seen.steady = self._quiet.is_steady(name)

    def _count(self, well: bool) -> None:
        self.cycles += 1
        if not well:
            self.bugs += 1
        # What could not be written, or was not decided for want of a lease, is tried again in every cycle.
        self._news = self._journal.away or self._leadership.lease is None or bool(self.bugs)

    def _hurry(self) -> None:
        hurried = self.controller.hurried
        for name, seen in self._seen.items():
            seen.hurried = name in hurried

    def _matters_little(self, name: str, seen: _Seen, now: float) -> bool:
        """Whether a cycle is the same without what was last seen of a host: that it is well, as ever."""
        return (
            seen.well and now - seen.told_at < self._fresh_for and is_left_alone(name, self.controller.memory)
        )

    def _catch_up(self, name: str, seen: _Seen) -> None:
        """Let the memory be as if it had been told of every look that was put off."""
        if not seen.owed:
            return
        tracks = self.controller.memory.tracks
        tracks[name] = seen_more(tracks[name], seen.told, seen.owed, seen.owed_at)
        seen.owed, seen.told_at = 0, seen.owed_at
