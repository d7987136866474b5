"""What the store keeps of an incident's decisions, with the views that can be read."""

from __future__ import annotations

import logging
from typing import Protocol

from hass_runtime.decide.view import View
from hass_runtime.explain import snapshot
from hass_runtime.store.records import Decided

log = logging.getLogger(__name__)


class Keeps(Protocol):
    """The store, as far as it is read here."""

    def decided(self, id: int) -> list[Decided]: ...
    def snapshot(self, id: int) -> bytes | None: ...


def recorded(store: Keeps, incident: int) -> tuple[list[Decided], dict[int, View]]:
    """The decisions, the oldest first, and by the number of its snapshot each view. One that another version
    has written in a way that this one cannot read is left out, and told in the log. Raises StoreError.
    """
    made = store.decided(incident)
    views = {}
    for number in sorted({each.snapshot for each in made}):
        body = store.snapshot(number)
        if body is None:
            continue
        try:
            views[number] = snapshot.unpack(body)
        except snapshot.SnapshotError as error:
            log.warning("snapshot %d of incident %d: %s", number, incident, error)
    return made, views
