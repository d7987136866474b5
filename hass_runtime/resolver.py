"""Names to addresses in bounded time: a hung resolver must not hang a detector."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

KEEP = 60.0  # s; an address is used for so long before the name is looked up again


class ResolveError(Exception):
    """A name without an address: one clear line."""


_known: dict[str, tuple[float, str]] = {}


def resolve(address: str, timeout: float) -> str:
    """The numeric form of an address or name within ``timeout`` s; ResolveError if there is none.

    When the resolver fails, the last address it gave for the name is used: an outage of the name service is
    not an outage of the hosts.
    """
    if _is_numeric(address):
        return address
    known = _known.get(address)
    if known is not None and time.monotonic() - known[0] < KEEP:
        return known[1]
    future: Future[str] = Future()

    def look_up() -> None:
        try:
            future.set_result(str(socket.getaddrinfo(address, None, type=socket.SOCK_DGRAM)[0][4][0]))
        except OSError as error:
            future.set_exception(ResolveError(f"{address} does not resolve: {error.strerror or error}"))
        except UnicodeError:
            future.set_exception(ResolveError(f"{address} does not resolve: not a host name"))

    threading.Thread(target=look_up, name=f"resolve {address}", daemon=True).start()
    try:
        numeric = future.result(timeout)
    except FutureTimeoutError:
        error: ResolveError = ResolveError(f"{address} does not resolve in {timeout:g} s")
    except ResolveError as failure:
        error = failure
    else:
        _known[address] = (time.monotonic(), numeric)
        return numeric
    if known is not None:
        return known[1]
    raise error


def _is_numeric(address: str) -> bool:
    try:
        socket.getaddrinfo(address, None, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True
