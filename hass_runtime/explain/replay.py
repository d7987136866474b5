"""An incident judged again by another policy: what would have been different. Pure.

The recorded readings are those of a world in which HASS did what it did. So moments are compared in their
order only as long as nothing was done, or the same: up to the first at which one policy acts and the other
does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hass_runtime.decide.view import Policy, View
from hass_runtime.domain import Incident
from hass_runtime.explain import again
from hass_runtime.explain.again import Verdict
from hass_runtime.report.words import clock, plain
from hass_runtime.store.records import Decided

_SAME_MOMENT = 1.0  # seconds: an incident is opened and its remedy launched in one breath
_JUDGED = ("opened", "escalated", "held", "launched", "cancelled", "settled", "closed")


@dataclass(frozen=True)
class Moment:
    """One decision, and what the two policies make of its readings. ``odd``: this HASS decides otherwise than
    the one that recorded it, by the same policy.
    """

    at: float
    kind: str
    was: Verdict
    would: Verdict
    odd: bool = False

    @property
    def same(self) -> bool:
        return self.was.same(self.would)


@dataclass(frozen=True)
class Replay:
    """What came of it. ``unread`` decisions could not be compared, for what they were made from is not kept;
    ``parted`` is True when the comparison ended where the two policies part.
    """

    incident: Incident
    moments: tuple[Moment, ...]
    unread: int = 0
    parted: bool = False

    @property
    def same(self) -> bool:
        return all(moment.same for moment in self.moments)


def replay(
    incident: Incident, made: Sequence[Decided], views: Mapping[int, View], policy: Policy | None
) -> Replay:
    """Compare decision by decision; ``policy`` None: the recorded one, which finds out whether this HASS
    still decides as it did.
    """
    moments: list[Moment] = []
    unread = 0
    opened = True  # whether the other policy has established the fault, too
    for each in made:
        if each.kind not in _JUDGED:
            continue
        view = views.get(each.snapshot)
        if view is None or incident.host not in view.hosts:
            unread += 1
            continue
        view = again.of(view, each)
        was = again.judge(view, incident.host)
        other = again.under(view, policy if policy is not None else view.policy)
        if not opened:
            other = again.without_incident(other, incident.host)
        would = again.judge(other, incident.host)
        odd = each.kind in ("launched", "held", "cancelled") and (was.kind, was.what) != (
            each.kind,
            each.what,
        )
        moment = Moment(each.at, each.kind, was, would, odd)
        opened = bool(would.fault) or would.kind != "nothing"
        before = moments[-1] if moments else None
        if before is None or not _again(before, moment):
            moments.append(moment)
        if not moment.same and (was.acts or would.acts):
            return Replay(incident, tuple(moments), unread, True)
    return Replay(incident, tuple(moments), unread)


def _again(before: Moment, now: Moment) -> bool:
    """Whether this says what the moment before it has just said."""
    return now.at - before.at <= _SAME_MOMENT and before.was.same(now.was) and before.would.same(now.would)


def lines(told: Replay, policy: str) -> list[str]:
    """What would have been different, in sentences; ``policy`` names the other one."""
    incident = told.incident
    found = [f"Incident {incident.id} of host {plain(incident.host)} ({plain(incident.fault)}), by {policy}:"]
    for moment in told.moments:
        at = clock(moment.at, "%H:%M:%S", local=True)
        if moment.same:
            found.append(f"  {at}  the same: {words(moment.was)}")
        else:
            found.append(f"  {at}  recorded:  {words(moment.was)}")
            found.append(f"  {' ' * len(at)}  would be:  {words(moment.would)}")
        if moment.odd:
            found.append(f"  {' ' * len(at)}  (This HASS judges it otherwise than the one that recorded it.)")
    if told.unread:
        found.append(
            f"  {told.unread} decisions could not be compared: what they were made from is not kept."
        )
    if told.parted:
        found.append(
            "  Here they part: what was read later was read in a world in which HASS did the former."
        )
    if not told.moments:
        found.append("  There is nothing to compare.")
    elif told.same:
        found.append("Nothing would have been different.")
    return found


def words(verdict: Verdict) -> str:
    """A verdict in a sentence."""
    fault = f"{verdict.fault}: " if verdict.fault else "no fault: "
    why = plain(verdict.why)
    match verdict.kind:
        case "launched":
            return f"{fault}launch {verdict.what} ({why})"
        case "held":
            return f"{fault}held by gate {verdict.what} ({why})" if verdict.what else f"{fault}held ({why})"
        case "cancelled":
            return f"{fault}cancel the remedy at work ({why})"
        case "settled":
            return f"{fault}its instances are settled, {verdict.what} ({why})"
        case "closed":
            return f"{fault}the incident is closed, {verdict.what} ({why})"
        case "reported":
            return f"{fault}reported only ({why})"
        case _:
            return f"{fault}wait ({why})"


def data(told: Replay, moment: Any) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "incident": told.incident.id,
        "host": told.incident.host,
        "same": told.same,
        "parted": told.parted,
        "unread": told.unread,
        "moments": [
            {
                "at": moment(each.at),
                "same": each.same,
                "recorded": _verdict(each.was),
                "would_be": _verdict(each.would),
                "odd": each.odd,
            }
            for each in told.moments
        ],
    }


def _verdict(verdict: Verdict) -> dict[str, str]:
    return {"kind": verdict.kind, "what": verdict.what, "why": verdict.why, "fault": verdict.fault}
