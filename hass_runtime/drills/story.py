"""From what was written down during a drill to what there is to tell of it. Pure.

The raw record of a drill is a mapping:

    name, title, expected   texts
    victims                 host names
    cut_at, restored_at     seconds since the epoch: when it was broken, and when it was put right
    never                   {fenced: true or a list of hosts, restarted: true}: what must not happen
    seen                    the lines of hass_runtime.drills.observe
    guests                  host name -> list of [at, [UUID, ...]]: which guests ran there, asked of libvirt
    probes                  {before: {NAME: TEXT}, after: {NAME: TEXT}}: what guests told of themselves
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Raw = Mapping[str, Any]
SPARE = 1.5
"""Seconds by which two looks at two hosts may lie apart: an instance that moves is not on both for longer."""

_UP = re.compile(r"up (?P<up>[\d.]+) s, start (?P<start>\d+)")


@dataclass(frozen=True)
class Moment:
    """Something that happened ``at`` seconds after the cut. ``key`` is cut, detected, fenced, active, ..."""

    key: str
    label: str
    at: float


@dataclass(frozen=True)
class Outcome:
    """One drill. ``problems`` is empty when everything went as expected."""

    name: str
    title: str
    expected: str
    victims: tuple[str, ...]
    observed: str
    problems: tuple[str, ...]
    moments: tuple[Moment, ...] = ()
    incidents: tuple[Mapping[str, Any], ...] = ()
    moves: tuple[Mapping[str, Any], ...] = ()
    probes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.problems

    def after(self, key: str) -> float | None:
        """Seconds from the cut to a moment; None when there is no such moment."""
        return next((moment.at for moment in self.moments if moment.key == key), None)


def tell(raw: Raw) -> Outcome:
    """The outcome of a drill."""
    seen = [line for line in raw.get("seen", []) if isinstance(line, Mapping)]
    cut = float(raw["cut_at"])
    victims = tuple(raw.get("victims", ()))
    incidents = tuple(line["incident"] for line in seen if "incident" in line)
    problems = [
        *_unreached(seen),
        *_forbidden(raw.get("never", {}), seen, incidents, raw.get("probes", {})),
        *doubles(raw.get("guests", {})),
    ]
    moves = [move for incident in incidents for move in incident.get("moves", ())]
    return Outcome(
        name=str(raw["name"]),
        title=str(raw.get("title", raw["name"])),
        expected=str(raw.get("expected", "")),
        victims=victims,
        observed=_observed(incidents, moves),
        problems=tuple(problems),
        moments=tuple(_moments(raw, seen, incidents, moves, cut)),
        incidents=incidents,
        moves=tuple(moves),
        probes=raw.get("probes", {}),
    )


def _unreached(seen: Iterable[Raw]) -> list[str]:
    said: dict[str, list[str]] = {}
    for line in seen:
        for key in ("reached", "restored"):
            if key in line:
                said[key] = [] if line[key] else list(line.get("lacking", ()))
    found = []
    for key, words in (
        ("reached", "what was expected did not come"),
        ("restored", "it did not become well again"),
    ):
        if key not in said:
            found.append(f"{words}: the watch ended before")
        elif said[key]:
            found.append(f"{words}: {'; '.join(said[key])}")
    return found


def _forbidden(
    never: Raw, seen: Sequence[Raw], incidents: Iterable[Raw], probes: Mapping[str, Mapping[str, str]]
) -> list[str]:
    found = []
    if "fenced" in never:
        hosts = {str(incident.get("host")) for incident in incidents if incident.get("fenced_at")}
        hosts |= {
            str(row.get("host"))
            for line in seen
            for row in line.get("incidents", {}).values()
            if row.get("fenced_at")
        }
        if never["fenced"] is not True:
            hosts &= set(never["fenced"])
        found += [f"{host} was fenced" for host in sorted(hosts)]
    if never.get("restarted"):
        found += restarts(probes)
    return found


def restarts(probes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Guests that were started anew between the two times at which they told how long they had been up."""
    found = []
    after = probes.get("after", {})
    for name, text in probes.get("before", {}).items():
        old, new = _UP.search(text), _UP.search(after.get(name, ""))
        if old is None:
            continue
        if new is None:
            found.append(f"{name} does not answer any more")
        elif new["start"] != old["start"] or float(new["up"]) < float(old["up"]):
            found.append(f"{name} was restarted: {old[0]} before, {new[0]} after")
    return found


def doubles(guests: Mapping[str, Iterable[Sequence[Any]]], spare: float = SPARE) -> list[str]:
    """Guests that ran on two hosts at the same time, as libvirt of each host told.

    Looks at two hosts are not simultaneous: a guest is on two only when it is seen on one after it was seen
    on another, and then on that other one again, or on both for longer than ``spare`` seconds.
    """
    stays: dict[str, list[tuple[str, float, float]]] = {}
    for host, samples in guests.items():
        open_since: dict[str, float] = {}
        last: dict[str, float] = {}
        for at, running in samples:
            for guest in set(open_since) - set(running):
                stays.setdefault(guest, []).append((host, open_since.pop(guest), last.pop(guest)))
            for guest in running:
                open_since.setdefault(guest, at)
                last[guest] = at
        for guest, since in open_since.items():
            stays.setdefault(guest, []).append((host, since, last[guest]))
    found = []
    for guest, periods in sorted(stays.items()):
        for number, (host, begin, end) in enumerate(periods):
            for other, start, stop in periods[number + 1 :]:
                both = min(end, stop) - max(begin, start)
                if other != host and both > spare:
                    found.append(f"{guest} ran on {host} and {other} at the same time, for {both:.1f} s")
    return found


def _observed(incidents: Iterable[Raw], moves: Sequence[Raw]) -> str:
    told = []
    for incident in incidents:
        words = f"{incident.get('host')}: {incident.get('fault')}, {incident.get('outcome')}"
        if incident.get("gate") and incident.get("outcome") == "held":
            words += f" by gate {incident['gate']}"
        told.append(words)
    if moves:
        arrived = sum(move.get("state") == "succeeded" for move in moves)
        told.append(f"{arrived} of {len(moves)} instances moved or started again")
    return "; ".join(told) or "no incident"


def _moments(
    raw: Raw, seen: Sequence[Raw], incidents: Sequence[Raw], moves: Sequence[Raw], cut: float
) -> list[Moment]:
    found = [Moment("cut", "cut", 0.0)]
    victims = set(raw.get("victims", ()))
    for line in seen:
        if line.get("at", 0) >= cut and any(
            line.get("hosts", {}).get(host) not in (None, "healthy") for host in victims
        ):
            found.append(Moment("detected", "detected", line["at"] - cut))
            break
    decided = [at for incident in incidents if (at := _epoch(incident.get("opened_at"))) and at >= cut]
    if decided:
        found.append(Moment("decided", "decided", min(decided) - cut))
    fenced = [at for incident in incidents if (at := _epoch(incident.get("fenced_at"))) is not None]
    if fenced:
        found.append(Moment("fenced", "fenced", max(fenced) - cut))
    arrived = [
        at
        for move in moves
        if move.get("state") == "succeeded" and (at := _epoch(move.get("finished_at"))) is not None
    ]
    if arrived:
        found.append(Moment("active", "last instance ACTIVE", max(arrived) - cut))
    if raw.get("restored_at"):
        found.append(Moment("mended", "put right", float(raw["restored_at"]) - cut))
    well = [line["at"] for line in seen if line.get("restored")]
    if well:
        found.append(Moment("restored", "all hosts healthy", well[-1] - cut))
    return sorted((moment for moment in found if moment.at >= 0), key=lambda moment: moment.at)


def _epoch(text: object) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
