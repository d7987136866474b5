"""What one round of decisions has to say of itself, for the journal. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hass_runtime.decide import decisions
from hass_runtime.decide.view import View
from hass_runtime.domain import Incident
from hass_runtime.explain import snapshot
from hass_runtime.store.records import Decided


class Chronicle:
    """The decisions of one round that belong to an incident, each with what it was made from.

    ``known`` are those of incidents that were there before, to be kept before they are carried out. What
    opens an incident gets its number only then: see `opened`. ``snapshot`` is the number of the view once it
    is stored.
    """

    def __init__(self, view: View, made: Sequence[decisions.Decision]) -> None:
        self._view = view
        self.snapshot = 0
        self.known: list[Decided] = []
        self._opening: dict[str, Decided] = {}
        launched: tuple[tuple[str, str, str], ...] = ()
        for each in made:
            told = _told(each, view.now)
            if isinstance(each, decisions.OpenIncident):
                self._opening[each.host] = Decided(
                    0, view.now, "opened", each.fault.name, each.decision, launched
                )
            elif told is not None:
                self.known.append(replace(told, launched=launched))
            if isinstance(each, decisions.Launch):
                launched = (*launched, (each.host, each.state.value, each.playbook))

    def opened(self, incidents: Mapping[str, Incident]) -> list[Decided]:
        """What opened incidents, once they are there."""
        return [
            replace(each, incident=incidents[host].id)
            for host, each in self._opening.items()
            if host in incidents
        ]

    def body(self) -> bytes:
        """The view that all of them were made from."""
        return snapshot.pack(self._view)


def _told(decision: decisions.Decision, now: float) -> Decided | None:
    match decision:
        case decisions.Escalate(incident, _, fault, why):
            return Decided(incident, now, "escalated", fault.name, why)
        case decisions.HoldIncident(incident, _, gate, reason):
            return Decided(incident, now, "held", gate, reason)
        case decisions.Launch():
            return Decided(decision.incident, now, "launched", decision.playbook, decision.why)
        case decisions.Cancel(incident, _, reason):
            return Decided(incident, now, "cancelled", "", reason)
        case decisions.Settle(incident, _, outcome, reason):
            return Decided(incident, now, "settled", outcome.value, reason)
        case decisions.CloseIncident(incident, _, outcome, reason):
            return Decided(incident, now, "closed", outcome.value, reason)
        case _:
            return None
