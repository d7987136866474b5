"""The life of a host: which states there are, what each means, and which may follow which."""

from __future__ import annotations

from hass_runtime.domain import HostState

MEANING: dict[HostState, str] = {
    HostState.HEALTHY: "every layer that can be seen is well",
    HostState.SUSPECT: "something looks wrong, not yet long or clear enough to be a fault",
    HostState.FAULTY: "a fault is established",
    HostState.HELD: "a gate, or a failed attempt, keeps back its remedy, or what a person ordered for it",
    HostState.FENCING: "it is being switched off and proven off",
    HostState.FENCED: "it is proven off and will be kept out by force-down",
    HostState.EVACUATING: "its instances are being moved",
    HostState.EVACUATED: "its instances run elsewhere; it is still kept out",
    HostState.RESTORING: "it is being brought back",
    HostState.QUARANTINED: "it could not be brought back; it stays out until it shows life",
    HostState.MAINTENANCE: "a person has taken it out of service",
}

_BEGIN = frozenset({HostState.FENCING, HostState.HELD, HostState.FAULTY})
_S = HostState
NEXT: dict[HostState, frozenset[HostState]] = {
    # Straight to evacuating or held: a person wants it emptied, and that begins or has to wait.
    _S.HEALTHY: frozenset({_S.SUSPECT, _S.FAULTY, _S.MAINTENANCE, _S.EVACUATING, _S.HELD}),
    _S.SUSPECT: frozenset({_S.HEALTHY, _S.FAULTY, _S.MAINTENANCE, _S.EVACUATING, _S.HELD}),
    _S.FAULTY: frozenset(
        {_S.HELD, _S.FENCING, _S.HEALTHY, _S.SUSPECT, _S.EVACUATING, _S.MAINTENANCE, _S.RESTORING}
    ),
    _S.HELD: frozenset(
        {
            *(_S.FENCING, _S.RESTORING, _S.HEALTHY, _S.SUSPECT, _S.FAULTY, _S.EVACUATED),
            *(_S.EVACUATING, _S.MAINTENANCE),
        }
    ),
    # To the last four: a fence that had proven nothing was lost or cancelled, and the host is back.
    _S.FENCING: frozenset(
        {_S.FENCED, _S.EVACUATED, _S.HELD, _S.HEALTHY, _S.FAULTY, _S.RESTORING, _S.MAINTENANCE}
    ),
    _S.FENCED: frozenset({_S.EVACUATING, _S.EVACUATED, _S.HELD, _S.FENCING}),
    # To faulty or restoring: a drain that was given up, for a milder fault or none.
    _S.EVACUATING: frozenset(
        {_S.EVACUATED, _S.HELD, _S.FENCING, _S.MAINTENANCE, _S.FAULTY, _S.RESTORING, _S.SUSPECT}
    ),
    # From these three also to all with which a remedy begins: it was drained, or only given back, and fails.
    _S.EVACUATED: frozenset({_S.RESTORING, _S.QUARANTINED, _S.MAINTENANCE, _S.EVACUATING, *_BEGIN}),
    _S.RESTORING: frozenset(
        {_S.HEALTHY, _S.EVACUATED, _S.QUARANTINED, _S.MAINTENANCE, _S.EVACUATING, *_BEGIN}
    ),
    _S.QUARANTINED: frozenset({_S.RESTORING, _S.MAINTENANCE, _S.EVACUATING, *_BEGIN}),
    _S.MAINTENANCE: frozenset({_S.SUSPECT, _S.HEALTHY, _S.RESTORING, _S.EVACUATING, _S.QUARANTINED, *_BEGIN}),
}

# A remedy has begun on a host in one of these: it counts as failed until it is back.
TAKEN_OUT: frozenset[HostState] = frozenset(
    {_S.FENCING, _S.FENCED, _S.EVACUATING, _S.EVACUATED, _S.RESTORING, _S.QUARANTINED}
)

# A host in one of these is no place to move instances to.
OUT: frozenset[HostState] = TAKEN_OUT | {_S.FAULTY, _S.HELD, _S.MAINTENANCE}


def permitted(current: HostState, to: HostState) -> bool:
    """True when ``to`` may follow ``current``; staying is not a change and needs no permission."""
    return to in NEXT[current]
