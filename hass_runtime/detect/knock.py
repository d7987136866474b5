"""Knocking at TCP ports, many at once: who accepts or refuses a connection lives."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from hass_runtime.domain import Verdict

# What a question to a dead host may end with: nobody on its segment answers for its address (ARP), or a
# router says so. With any other error it is this machine that could not put the question: that says nothing
# about the host.
NOBODY_THERE = frozenset({errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT})

# Only a kernel that lives sends a reset.
_RESET = frozenset({errno.ECONNREFUSED, errno.ECONNRESET})
_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK})
# A rule of this machine's own firewall: the port cannot be asked, and it never could.
_FORBIDDEN = frozenset({errno.EPERM, errno.EACCES})


@dataclass(frozen=True)
class Door:
    """A port to knock at. ``address`` is what people call it, ``numeric`` where it is."""

    address: str
    numeric: str
    port: int


@dataclass(frozen=True)
class Knock:
    """What came of it. OK: somebody lives there. FAILED: silence. UNKNOWN: this machine could not ask, or may
    not when ``forbidden``. ``words`` have the door in them.
    """

    door: Door
    verdict: Verdict
    words: str
    forbidden: bool = False


def knock(doors: Sequence[Door], timeout: float) -> list[Knock]:
    """Knock at all doors at once; ends with the first that answers, at the latest after ``timeout`` s.

    Returns:
        What came of each door in the order given; when one has answered, of those that were clear by then.
    """
    found: dict[int, Knock] = {}
    waiting: dict[int, tuple[int, socket.socket]] = {}  # by file descriptor
    deadline = time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        poller = select.poll()
        for number, door in enumerate(doors):
            try:
                sock = stack.enter_context(_socket(door))
                code = sock.connect_ex(_place(door))
            except (OSError, UnicodeError) as error:
                code = (error.errno if isinstance(error, OSError) else None) or errno.EINVAL
            if code in _UNDER_WAY:
                waiting[sock.fileno()] = (number, sock)
                poller.register(sock.fileno(), select.POLLOUT)
            else:
                found[number] = _came(door, code)
        while waiting and not _answered(found) and (left := deadline - time.monotonic()) > 0:
            for fd, _ in poller.poll(max(1, int(left * 1000))):
                number, sock = waiting.pop(fd)
                poller.unregister(fd)
                found[number] = _came(doors[number], sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    if not _answered(found):
        for number, _ in waiting.values():
            found[number] = _came(doors[number], errno.ETIMEDOUT)
    return [found[number] for number in sorted(found)]


def _answered(found: dict[int, Knock]) -> bool:
    return any(each.verdict is Verdict.OK for each in found.values())


def _socket(door: Door) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in door.numeric else socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def _place(door: Door) -> tuple[object, ...]:
    """The address as the socket wants it; a zone (fe80::1%eth0) becomes its number here."""
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return socket.getaddrinfo(door.numeric, door.port, type=socket.SOCK_STREAM, flags=flags)[0][4]


def _came(door: Door, code: int) -> Knock:
    """What the end of a connect means."""
    where = f"{door.address} port {door.port}"
    if code == 0:
        return Knock(door, Verdict.OK, f"{door.address} accepts a connection to port {door.port}")
    if code in _RESET:
        return Knock(door, Verdict.OK, f"{door.address} refuses port {door.port}")
    if code in NOBODY_THERE:
        return Knock(door, Verdict.FAILED, f"{where} is silent")
    words = f"cannot knock at {where} from here: {os.strerror(code)}"
    return Knock(door, Verdict.UNKNOWN, words, code in _FORBIDDEN)
