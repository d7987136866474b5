"""The datagrams between controller and agent: a pure codec, no I/O and no clock.

A datagram is ``MAGIC | mac (32 bytes) | body``; the body is compact JSON in UTF-8 and the mac is HMAC-SHA256
over ``MAGIC | body`` with the shared key. A request names the host it asks and carries a random nonce and the
sender's time; it is padded to the full permitted size, so that an answer is never longer than the question
and the agent cannot be used to amplify traffic. A response repeats the request's nonce and names its host, so
an answer can neither be replayed nor taken for another host's. A datagram that cannot be authenticated is
never answered.

There are two questions: a poll (how are your checks?), and an order to restart what is behind one check. A
datagram that got lost is sent again as a new request, with a nonce of its own; the number of the order in it
stays the same, so that an order is carried out once however often it is heard.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

VERSION = 1
NONCE_BYTES = 16
MIN_MESSAGE_SIZE = 256
_MAGIC = b"HASS"
_MAC_SIZE = 32
_HEADER = len(_MAGIC) + _MAC_SIZE
_STATES = ("ok", "failed", "unknown")
_ELLIPSIS = "…"


class ProtocolError(Exception):
    """A datagram that is not taken. ``reason`` is one word for the counters."""

    reason = "garbage"


class GarbageError(ProtocolError):
    """Not one of our datagrams, or one of ours with a body that makes no sense."""

    reason = "garbage"


class TooLongError(ProtocolError):
    """Longer than the message size agreed on."""

    reason = "too_long"


class BadMacError(ProtocolError):
    """Not signed with a key that we have."""

    reason = "bad_mac"


class StaleError(ProtocolError):
    """Signed by us, but too old or from the future: a replay, or the clocks differ."""

    reason = "stale"


class ReplayedError(ProtocolError):
    """Signed by us and fresh, but seen before."""

    reason = "replayed"


class WrongHostError(ProtocolError):
    """Meant for, or coming from, another host."""

    reason = "wrong_host"


class FullError(ProtocolError):
    """More requests within the clock tolerance than the replay guard can remember."""

    reason = "full"


@dataclass(frozen=True)
class Check:
    """One check's answer: ``state`` is ok, failed or unknown. ``storage``: it is about the storage of the
    instances, not about a service.
    """

    state: str
    evidence: str = ""
    storage: bool = False


@dataclass(frozen=True)
class Order:
    """Restart what is behind ``check``. ``number``, hex like a nonce, stays the same however often it is
    sent.
    """

    check: str
    number: str


@dataclass(frozen=True)
class Request:
    """``host`` is the host asked, ``nonce`` hex, ``at`` the sender's time in seconds since the epoch.

    ``order`` None: a poll.
    """

    host: str
    nonce: str
    at: float
    order: Order | None = None


@dataclass(frozen=True)
class Response:
    """``nonce`` is the request's; ``host`` the answering host; ``at`` its time.

    ``leaving``: the host is being shut down, because somebody asked it to. ``boot`` names the boot that it
    lives in, "" when it does not tell.
    """

    host: str
    nonce: str
    at: float
    checks: Mapping[str, Check] = field(default_factory=dict)
    leaving: bool = False
    boot: str = ""


@dataclass(frozen=True)
class RestartResponse:
    """The answer to an order. ``refused`` says why it is not carried out, None: it is."""

    host: str
    nonce: str
    at: float
    refused: str | None = None


def encode_request(request: Request, keys: Sequence[bytes], size: int) -> bytes:
    """The datagram, padded to exactly ``size`` bytes; ValueError if the host's name does not fit."""
    fields = {"v": VERSION, "q": "poll", "host": request.host, "nonce": request.nonce, "at": request.at}
    if request.order is not None:
        fields.update(q="restart", check=request.order.check, order=request.order.number)
    body = _pack(fields)
    room = size - _HEADER - len(body)
    if room < 0:
        raise ValueError(f"a request for {request.host!r} does not fit into {size} bytes")
    return _sign(body + b" " * room, keys)


def decode_request(datagram: bytes, keys: Sequence[bytes], size: int, host: str) -> tuple[Request, bytes]:
    """The request to that host and the key it was signed with (to sign the answer), or a ProtocolError.

    Age and replay are for a ReplayGuard to check.
    """
    body, key = _open(datagram, keys, size)
    match body.get("q"):
        case "poll":
            order = None
        case "restart":
            order = Order(_text(body, "check"), _nonce(body, "order"))
        case _:
            raise GarbageError("neither a poll nor a restart")
    request = Request(_text(body, "host"), _nonce(body), _number(body, "at"), order)
    if request.host != host:
        raise WrongHostError(f"for {request.host!r}, this is {host!r}")
    return request, key


def encode_response(response: Response, keys: Sequence[bytes], size: int) -> bytes:
    """The datagram, at most ``size`` bytes: evidence is cut, longest first, and at last checks are left out.

    Checks that are left out are always the least telling ones (ok before unknown before failed, those of the
    storage last), and a check named ``…`` then says how many are missing, with the gravest state among them.
    """
    order = {"failed": 0, "unknown": 1, "ok": 2}
    kept = sorted(
        response.checks.items(), key=lambda item: (not item[1].storage, order[item[1].state], item[0])
    )
    left_out: list[Check] = []
    while True:
        for limit in (size, 400, 200, 100, 50, 20, 0):
            told = {
                name: Check(check.state, cut(check.evidence, limit), check.storage) for name, check in kept
            }
            if left_out:
                # One of the storage is not mixed up with a service: it counts only when there is no other.
                counting = [check for check in left_out if not check.storage] or left_out
                gravest = min(counting, key=lambda check: order[check.state])
                evidence = f"{len(left_out)} more checks do not fit"
                told[_ELLIPSIS] = Check(gravest.state, evidence, gravest.storage)
            fields: dict[str, object] = {
                "v": VERSION,
                "r": "checks",
                "host": response.host,
                "nonce": response.nonce,
                "at": response.at,
                "checks": {name: [check.state, check.evidence] for name, check in told.items()},
            }
            # Apart from the checks, so that a controller that does not know these fields reads the rest.
            if storage := [name for name, check in told.items() if check.storage]:
                fields["storage"] = storage
            if response.leaving:
                fields["leaving"] = True
            if response.boot:
                fields["boot"] = response.boot
            body = _pack(fields)
            if len(body) + _HEADER <= size:
                return _sign(body, keys)
        if not kept:
            raise ValueError(f"an answer of {response.host!r} does not fit into {size} bytes")
        left_out.append(kept.pop()[1])


def decode_response(datagram: bytes, keys: Sequence[bytes], size: int, host: str, nonce: str) -> Response:
    """The response to the poll with that nonce by that host, or a ProtocolError."""
    body, _ = _open(datagram, keys, size)
    if body.get("r") != "checks":
        raise GarbageError("not a poll response")
    response = Response(
        _text(body, "host"),
        _nonce(body),
        _number(body, "at"),
        _checks(body),
        _flag(body, "leaving"),
        _text(body, "boot") if "boot" in body else "",
    )
    _suits(response, host, (nonce,))
    return response


def encode_restart_response(response: RestartResponse, keys: Sequence[bytes], size: int) -> bytes:
    """The datagram, at most ``size`` bytes: the reason of a refusal is cut."""
    for limit in (size, 200, 100, 50, 20, 0):
        fields = {
            "v": VERSION,
            "r": "restart",
            "host": response.host,
            "nonce": response.nonce,
            "at": response.at,
            "accepted": response.refused is None,
        }
        if response.refused is not None:
            fields["why"] = cut(response.refused, limit)
        body = _pack(fields)
        if len(body) + _HEADER <= size:
            return _sign(body, keys)
    raise ValueError(f"an answer of {response.host!r} does not fit into {size} bytes")


def decode_restart_response(
    datagram: bytes, keys: Sequence[bytes], size: int, host: str, nonces: Collection[str]
) -> RestartResponse:
    """The response by that host to the order, which was sent with each of the nonces; or a ProtocolError."""
    body, _ = _open(datagram, keys, size)
    if body.get("r") != "restart":
        raise GarbageError("not a response to an order")
    accepted, why = body.get("accepted"), body.get("why", "")
    if not isinstance(accepted, bool):
        raise GarbageError("accepted is neither true nor false")
    if not isinstance(why, str):
        raise GarbageError("why is not a text")
    refused = None if accepted else why or "no reason is given"
    response = RestartResponse(_text(body, "host"), _nonce(body), _number(body, "at"), refused)
    _suits(response, host, nonces)
    return response


def _suits(response: Response | RestartResponse, host: str, nonces: Collection[str]) -> None:
    mine = [hmac.compare_digest(response.nonce.encode(), nonce.encode()) for nonce in nonces]
    if not any(mine):
        raise ReplayedError("answers another request")
    if response.host != host:
        raise WrongHostError(f"answer of {response.host!r}, asked was {host!r}")


class ReplayGuard:
    """Remembers the nonces seen within the clock tolerance; a fixed number at most.

    When it is full of nonces that are all still within the tolerance it refuses new ones: forgetting one
    would let it be replayed. That many requests can only come from somebody who has the key.
    """

    def __init__(self, tolerance: float, capacity: int = 65536) -> None:
        self._tolerance = tolerance
        self._capacity = capacity
        self._seen: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def admit(self, request: Request, now: float) -> None:
        """Take the request once; StaleError, ReplayedError or FullError otherwise."""
        if abs(now - request.at) > self._tolerance:
            raise StaleError(f"{now - request.at:+.1f} s old, at most {self._tolerance:g} s are tolerated")
        if request.nonce in self._seen:
            raise ReplayedError("nonce seen before")
        if len(self._seen) >= self._capacity:
            self._forget(now)
            if len(self._seen) >= self._capacity:
                raise FullError(f"{self._capacity} requests within the clock tolerance")
        # A request is acceptable until at + tolerance: remember it exactly as long.
        self._seen[request.nonce] = request.at + self._tolerance

    def _forget(self, now: float) -> None:
        self._seen = {nonce: until for nonce, until in self._seen.items() if until >= now}


def cut(text: str, limit: int) -> str:
    """The text in one line, shortened in the middle to ``limit`` characters: start and end both tell."""
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    if limit < 3:
        return ""
    head = limit // 2
    tail = limit - 1 - head
    return text[:head] + _ELLIPSIS + (text[-tail:] if tail else "")


def _pack(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.new(key, _MAGIC + body, hashlib.sha256).digest()


def _sign(body: bytes, keys: Sequence[bytes]) -> bytes:
    if not keys or not all(keys):
        raise ValueError("no polling key")
    return _MAGIC + _mac(keys[0], body) + body


def _open(datagram: bytes, keys: Sequence[bytes], size: int) -> tuple[dict[str, object], bytes]:
    if len(datagram) > size:
        raise TooLongError(f"more than {size} bytes")
    if len(datagram) < _HEADER or not datagram.startswith(_MAGIC):
        raise GarbageError("not a HASS datagram")
    mac, body = datagram[len(_MAGIC) : _HEADER], datagram[_HEADER:]
    # All keys are tried always, so that the time taken does not tell which one fits.
    fitting = [key for key in keys if key and hmac.compare_digest(mac, _mac(key, body))]
    if not fitting:
        raise BadMacError("not signed with our key")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise GarbageError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise GarbageError("not a JSON object")
    if value.get("v") != VERSION:
        raise GarbageError(f"protocol version {value.get('v')!r}, expected {VERSION}")
    return value, fitting[0]


def _text(body: Mapping[str, object], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise GarbageError(f"{key} is not a text")
    return value


def _nonce(body: Mapping[str, object], key: str = "nonce") -> str:
    value = _text(body, key)
    try:
        raw = bytes.fromhex(value)
    except ValueError:
        raw = b""
    if len(raw) != NONCE_BYTES or raw.hex() != value:
        raise GarbageError(f"{key} is malformed")
    return value


def _number(body: Mapping[str, object], key: str) -> float:
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise GarbageError(f"{key} is not a number")
    try:
        number = float(value)
    except OverflowError:
        raise GarbageError(f"{key} is out of range") from None
    if not math.isfinite(number):
        raise GarbageError(f"{key} is out of range")
    return number


def _flag(body: Mapping[str, object], key: str) -> bool:
    value = body.get(key, False)
    if not isinstance(value, bool):
        raise GarbageError(f"{key} is neither true nor false")
    return value


def _checks(body: Mapping[str, object]) -> dict[str, Check]:
    value, storage = body.get("checks"), body.get("storage", [])
    if not isinstance(value, dict):
        raise GarbageError("checks is not a JSON object")
    if not isinstance(storage, list) or not all(isinstance(name, str) for name in storage):
        raise GarbageError("storage is not a list of names")
    checks: dict[str, Check] = {}
    for name, entry in value.items():
        match entry:
            case [str(state), str(evidence)] if state in _STATES:
                checks[name] = Check(state, evidence, name in storage)
            case _:
                raise GarbageError(f"check {name!r} is malformed")
    return checks
