"""Asking the agent of a host: one socket, authenticated datagrams, and why there was no answer.

Everything that talks to an agent does it here: the detectors, and the remedies that restart a service.
"""

from __future__ import annotations

import secrets
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from hass_runtime.agent import protocol
from hass_runtime.detect.knock import NOBODY_THERE
from hass_runtime.domain import Host, Verdict
from hass_runtime.resolver import ResolveError, resolve

TRIES = 3
"""So often an order is sent until it is answered: a datagram may get lost, and the order counts once."""

_Taken = TypeVar("_Taken")


@dataclass(frozen=True)
class Answer:
    """What came of a poll.

    ``checks`` None: there was no answer; ``why`` says why in one line, and ``verdict`` what that means:
    FAILED for silence, UNKNOWN when this machine could not put the question. ``answered``: the host lives,
    even if only its kernel spoke. ``leaving``: it is being shut down. ``boot``: see protocol.Response.
    """

    checks: Mapping[str, protocol.Check] | None
    leaving: bool = False
    verdict: Verdict = Verdict.OK
    why: str = ""
    answered: bool = True
    boot: str = ""


@dataclass(frozen=True)
class _Came(Generic[_Taken]):
    """What an exchange came to: what was ``taken``, or (None) why nothing was."""

    taken: _Taken | None = None
    verdict: Verdict = Verdict.OK
    why: str = ""
    answered: bool = False


@dataclass
class _Ignored:
    """Datagrams that were no answer, by why not."""

    counts: Counter[str] = field(default_factory=Counter)

    def words(self) -> str:
        if not self.counts:
            return ""
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(self.counts.items()))
        return f" ({told} ignored)"


def poll(host: Host, port: int, keys: Sequence[bytes], timeout: float, size: int) -> Answer:
    """Ask the agent how its checks are; takes at most ``timeout`` s.

    Raises ValueError when the host's name does not fit into ``size`` bytes.
    """
    if not keys or not all(keys):
        return Answer(None, verdict=Verdict.UNKNOWN, why="no polling key is configured", answered=False)
    nonce = secrets.token_hex(protocol.NONCE_BYTES)

    def datagram() -> bytes:
        return protocol.encode_request(protocol.Request(host.name, nonce, time.time()), keys, size)

    def take(answer: bytes) -> protocol.Response:
        return protocol.decode_response(answer, keys, size, host.name, nonce)

    came = _exchange(host, port, timeout, size, 1, datagram, take)
    if came.taken is None:
        return Answer(None, verdict=came.verdict, why=came.why, answered=came.answered)
    return Answer(came.taken.checks, came.taken.leaving, boot=came.taken.boot)


def restart(
    host: Host, port: int, keys: Sequence[bytes], timeout: float, size: int, check: str
) -> str | None:
    """Have the agent restart what is behind the check: None when it does, else why not, in one line.

    Takes at most ``timeout`` s. Raises ValueError when the names do not fit into ``size`` bytes.
    """
    if not keys or not all(keys):
        return "no polling key is configured"
    order = protocol.Order(check, secrets.token_hex(protocol.NONCE_BYTES))
    nonces: list[str] = []

    def datagram() -> bytes:
        nonces.append(secrets.token_hex(protocol.NONCE_BYTES))
        return protocol.encode_request(
            protocol.Request(host.name, nonces[-1], time.time(), order), keys, size
        )

    def take(answer: bytes) -> protocol.RestartResponse:
        return protocol.decode_restart_response(answer, keys, size, host.name, nonces)

    came = _exchange(host, port, timeout, size, TRIES, datagram, take)
    return came.why if came.taken is None else came.taken.refused


def _exchange(
    host: Host,
    port: int,
    timeout: float,
    size: int,
    tries: int,
    datagram: Callable[[], bytes],
    take: Callable[[bytes], _Taken],
) -> _Came[_Taken]:
    """Send what ``datagram`` makes, up to ``tries`` times, until ``take`` takes what came back.

    ``take`` raises ProtocolError for what is no answer: the real one may still come.
    """
    began = time.monotonic()
    deadline = began + timeout
    where = f"agent {host.address}:{port}"
    first = datagram()
    try:
        numeric = resolve(host.address, timeout)
    except ResolveError as error:
        return _Came(verdict=Verdict.UNKNOWN, why=str(error))
    family, kind, proto, _, address = socket.getaddrinfo(
        numeric, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )[0]
    ignored = _Ignored()
    with socket.socket(family, kind, proto) as sock:
        sock.setblocking(False)
        try:
            sock.connect(address)  # the kernel then drops datagrams of anybody else
            sock.send(first)
        except OSError as error:
            return _unreached(where, error)
        sent = 1
        while (left := deadline - time.monotonic()) > 0:
            again = began + sent * timeout / tries - time.monotonic()
            if sent < tries and again <= 0:
                sent += 1
                try:
                    sock.send(datagram())
                except OSError as error:
                    return _unreached(where, error)
                continue
            if not _readable(sock, min(left, again) if sent < tries else left):
                continue
            try:
                answer = sock.recv(size + 1)
            except ConnectionRefusedError:
                # "Port unreachable" comes from a kernel that lives; a dead host's router says "host".
                why = f"no {where}: the host says that the port is closed"
                return _Came(verdict=Verdict.FAILED, why=why, answered=True)
            except OSError as error:
                return _unreached(where, error)
            try:
                return _Came(take(answer), answered=True)
            except protocol.ProtocolError as error:
                ignored.counts[error.reason] += 1
    why = f"no answer from {where} in {timeout:g} s{ignored.words()}"
    return _Came(verdict=Verdict.FAILED, why=why)


def _unreached(where: str, error: OSError) -> _Came[_Taken]:
    words = error.strerror or str(error)
    if error.errno in NOBODY_THERE:
        return _Came(verdict=Verdict.FAILED, why=f"{where} cannot be reached: {words}")
    return _Came(verdict=Verdict.UNKNOWN, why=f"{where} cannot be asked from here: {words}")


def _readable(sock: socket.socket, timeout: float) -> bool:
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN)
    return bool(poller.poll(max(1, int(timeout * 1000))))
