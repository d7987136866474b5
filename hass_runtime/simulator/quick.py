"""The real controller, with cycles that only follow runs.

Most of what a run reports changes nothing that decisions are made from: tasks that begin and end, instances
on their way. It is journalled at once, as in any cycle; only the decision, which would be the same, is left
out.
"""

from __future__ import annotations

from typing import Any

from hass_runtime.controller import Controller
from hass_runtime.decide.view import View
from hass_runtime.memory import Memory
from hass_runtime.store import Writer


class QuickController(Controller):
    """As `Controller`."""

    last_view: View
    """What the last cycle that decided left as it is."""
    _decides = True

    def cycle_undecided(self) -> bool:
        """A guarded cycle without a decision: for when it could not be another one than before.

        Returns:
            False when a bug ended it.
        """
        self._decides = False
        try:
            return self.guarded_cycle()
        finally:
            self._decides = True

    def _decide(self, writer: Writer) -> None:
        if self._decides:
            super()._decide(writer)

    def _tell_blind(self, view: View) -> None:
        super()._tell_blind(view)
        self.last_view = view


def memory_of_runs(memory: Memory) -> tuple[Any, ...]:
    """All that decisions depend on and that following a run may change: equal when it has not."""
    return (
        dict(memory.states),
        dict(memory.incidents),
        dict(memory.running),
        set(memory.cancelling),
        dict(memory.last_runs),
        dict(memory.begun),
        list(memory.fences),
        dict(memory.doubts),
        dict(memory.boots),
        dict(memory.reserves),
    )
