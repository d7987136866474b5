"""What decisions were made from, in memory: a view is frozen, so it is packed only when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from hass_runtime.store import words
from hass_runtime.store.decided import LAUNCHED, MOST
from hass_runtime.store.records import Decided


@dataclass
class Decisions:
    """As `store.decided`. ``bodies`` are by the number of the snapshot."""

    made: dict[int, list[Decided]] = field(default_factory=dict)
    bodies: dict[int, Callable[[], bytes]] = field(default_factory=dict)
    count: int = 0

    def put(self, made: Sequence[Decided], body: Callable[[], bytes], snapshot: int) -> int:
        if not snapshot:
            self.count += 1
            snapshot = self.count
            self.bodies[snapshot] = body
        for each in made:
            kept = self.made.setdefault(each.incident, [])
            what, told = words.short(each.what), words.long(each.words)
            launched = each.launched[:LAUNCHED]
            kept.append(replace(each, snapshot=snapshot, launched=launched, what=what, words=told))
            first = MOST // 4
            if len(kept) > MOST:
                del kept[first : len(kept) - (MOST - first)]
                self._drop_unused()
        return snapshot

    def forget(self, incidents: Iterable[int]) -> None:
        gone = [self.made.pop(id, None) for id in incidents]
        if any(gone):
            self._drop_unused()

    def _drop_unused(self) -> None:
        used = {each.snapshot for kept in self.made.values() for each in kept}
        self.bodies = {id: body for id, body in self.bodies.items() if id in used}
