"""The agent's daemon: one UDP socket, one loop.

A datagram that cannot be authenticated is counted and dropped, never answered. An authenticated poll starts
the checks that are due and is answered as soon as they have finished, or with what is known after
`ANSWER_WITHIN`, so that a hanging check shows as such instead of as a silent agent. An order to restart
something is answered when its outcome is known.

When it is told to end because its host is being shut down, it goes on answering for a moment, so that the
controllers hear of it.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hass_runtime.agent import protocol
from hass_runtime.agent.boot import boot_id
from hass_runtime.agent.checks import CheckRunner
from hass_runtime.agent.leaving import Lookout
from hass_runtime.agent.restarting import Restarts
from hass_runtime.systemd import notify, watchdog_interval

if TYPE_CHECKING:
    from hass_runtime.settings import AgentSettings

log = logging.getLogger(__name__)

ANSWER_WITHIN = 1.0  # s; controllers wait 2 s by default
COUNTERS_EVERY = 60.0  # s
ORDER_WITHIN = 30.0  # s; nobody waits longer for the outcome of an order
GOODBYE = 2.0  # s; so long an agent whose host is being shut down goes on answering, once told to end
DOUBT = 1.2  # s; so long it may take to find out whether the host is
_BATCH = 64  # datagrams taken before the loop looks at anything else
_TURN = 5.0  # s; longest sleep of the loop
_IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)


@dataclass(frozen=True)
class _Pending:
    """A request to be answered: to whom, from which of our addresses, with which key, by when."""

    request: protocol.Request
    key: bytes
    room: int
    peer: Any
    source: list[tuple[int, int, bytes]]
    due: float


class Agent:
    """Serves polls on one socket until `stop`. Raises OSError when the address cannot be bound."""

    def __init__(self, settings: AgentSettings) -> None:
        self._host = settings.host
        self._keys = (settings.key,) if isinstance(settings.key, bytes) else tuple(settings.key)
        self._size = settings.max_message_size
        self._guard = protocol.ReplayGuard(settings.clock_tolerance)
        self._answer_within = min(ANSWER_WITHIN, settings.check_timeout)
        self._wake_reader, self._wake_writer = os.pipe()
        for end in (self._wake_reader, self._wake_writer):
            os.set_blocking(end, False)
        timeout = settings.check_timeout
        self._checks = CheckRunner(settings.checks, settings.libvirt_uri, timeout, self._wake, settings.host)
        self._restarts = Restarts(settings.checks, timeout, self._wake)
        self._lookout = Lookout(self._wake)
        self._boot = boot_id(settings.boot_id_file)
        self._started = time.time()
        self._ending_since: float | None = None
        self._stopping = False
        self._pending: list[_Pending] = []
        self.answered = 0
        self.dropped: Counter[str] = Counter()
        self._dropped_told: Counter[str] = Counter()
        self._worst_skew = 0.0
        self._sock = _bind(settings.listen_address, settings.listen_port)

    @property
    def checks(self) -> tuple[str, ...]:
        """The names of what is checked."""
        return self._checks.names

    @property
    def address(self) -> tuple[str, int]:
        """Where the agent listens."""
        host, port = self._sock.getsockname()[:2]
        return host, port

    def stop(self) -> None:
        """End `serve` soon: at once, or after `GOODBYE` when the host is being shut down.

        Safe in a signal handler and from any thread.
        """
        self._stopping = True
        self._wake()

    def status(self) -> str:
        """The counters in one line."""
        return f"answered {self.answered}, dropped {_in_words(self.dropped) or 'none'}"

    def serve(self) -> None:
        """Run until `stop`."""
        interval = watchdog_interval()
        period = interval if interval is not None else _TURN
        poller = select.poll()
        poller.register(self._sock.fileno(), select.POLLIN)
        poller.register(self._wake_reader, select.POLLIN)
        next_notice = next_counters = time.monotonic()
        said = ""
        while not self._stopping or self._lingers(time.monotonic()):
            now = time.monotonic()
            if now >= next_notice:
                status = self.status()
                fields: dict[str, str | int] = {"WATCHDOG": 1} if interval is not None else {}
                if status != said:
                    fields["STATUS"] = status
                if notify(**fields):  # else once more: a systemd that is busy takes nothing
                    said = status
                next_notice = now + period
            if now >= next_counters and self._log_dropped():
                next_counters = now + COUNTERS_EVERY
            due = min([next_notice, *self._farewells(), *(pending.due for pending in self._pending)])
            events = dict(poller.poll(max(0, int((due - now) * 1000 + 0.999))))
            if self._wake_reader in events:
                _drain(self._wake_reader)
            if self._sock.fileno() in events:
                self._receive()
            self._answer_due(time.monotonic())
        self._checks.close()
        self._sock.close()

    def _lingers(self, now: float) -> bool:
        """Whether an agent that is to end goes on for now; that depends on whether its host is leaving."""
        if self._ending_since is None:
            self._ending_since = now
            self._lookout.start(now, anew=True)
        if self._lookout.looking:
            return now < self._ending_since + DOUBT
        return self._lookout.leaving and now < self._ending_since + GOODBYE

    def _farewells(self) -> list[float]:
        """When to look again whether it is time to end."""
        if self._ending_since is None:
            return []
        return [self._ending_since + (DOUBT if self._lookout.looking else GOODBYE)]

    def _receive(self) -> None:
        for _ in range(_BATCH):
            try:
                # One byte more than permitted shows that a datagram was longer.
                datagram, ancillary, _flags, peer = self._sock.recvmsg(self._size + 1, 256)
            except BlockingIOError:
                return
            except OSError as error:
                log.debug("receive: %s", error)  # an ICMP error to one of our answers
                continue
            try:
                request, key = protocol.decode_request(datagram, self._keys, self._size, self._host)
                now = time.time()
                if abs(now - request.at) > abs(self._worst_skew):
                    self._worst_skew = now - request.at
                self._guard.admit(request, now)
                if request.order is not None and request.at < self._started:
                    # An earlier agent may have carried it out; which nonces that one saw, nobody knows.
                    raise protocol.StaleError("ordered before this agent was started")
            except protocol.ProtocolError as error:
                self.dropped[error.reason] += 1
                continue
            now = time.monotonic()
            due = now + self._answer_within
            if request.order is None:
                self._checks.start(now)
                self._lookout.start(now)
            else:
                self._restarts.submit(request.order, now)
                due = now + ORDER_WITHIN
            source = _source_of(ancillary)
            self._pending.append(_Pending(request, key, len(datagram), peer, source, due))

    def _answer_due(self, now: float) -> None:
        if not self._pending:
            return
        settled = self._checks.settled(now) and not self._lookout.looking
        results: dict[str, protocol.Check] | None = None
        left: list[_Pending] = []
        for pending in self._pending:
            if pending.request.order is not None:
                if not self._answer_order(pending, pending.request.order) and now < pending.due:
                    left.append(pending)
            elif not settled and now < pending.due:
                left.append(pending)
            else:
                if results is None:
                    results = self._checks.results(now)
                self._answer_poll(pending, results)
        self._pending = left

    def _answer_poll(self, pending: _Pending, results: dict[str, protocol.Check]) -> None:
        nonce, leaving = pending.request.nonce, self._lookout.leaving
        response = protocol.Response(self._host, nonce, time.time(), results, leaving, self._boot)
        self._send(pending, lambda: protocol.encode_response(response, (pending.key,), pending.room))

    def _answer_order(self, pending: _Pending, order: protocol.Order) -> bool:
        """False while its outcome is not known."""
        outcome = self._restarts.outcome(order)
        if outcome is None:
            return False
        nonce = pending.request.nonce
        response = protocol.RestartResponse(self._host, nonce, time.time(), outcome.refused)
        self._send(pending, lambda: protocol.encode_restart_response(response, (pending.key,), pending.room))
        return True

    def _send(self, pending: _Pending, encode: Callable[[], bytes]) -> None:
        try:
            # Never longer than the question: nothing is amplified.
            self._sock.sendmsg([encode()], pending.source, 0, pending.peer)
        except (OSError, ValueError) as error:
            self.dropped["unanswerable"] += 1
            log.debug("cannot answer %s: %s", pending.peer, error)
        else:
            self.answered += 1

    def _log_dropped(self) -> bool:
        """Log what was dropped since the last time; True if anything was."""
        fresh = self.dropped - self._dropped_told
        self._dropped_told = self.dropped.copy()
        if not fresh:
            return False
        hint = ""
        if fresh["stale"]:
            hint = f"; requests are up to {self._worst_skew:+.1f} s old: do the clocks agree?"
        self._worst_skew = 0.0
        log.warning("dropped datagrams: %s%s", _in_words(fresh), hint)
        return True

    def _wake(self) -> None:
        try:
            os.write(self._wake_writer, b"\0")
        except BlockingIOError:
            return  # full of wake-ups already


def _bind(address: str, port: int) -> socket.socket:
    family, kind, proto, _, where = socket.getaddrinfo(
        address, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, proto)
    try:
        # On a host with several addresses the answer has to leave from the one that was asked.
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.bind(where)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _source_of(ancillary: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """The control message that makes an answer leave from the address the request was sent to."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and len(data) >= 12:
            _interface, local, _destination = struct.unpack_from("=i4s4s", data)
            return [(level, kind, struct.pack("=i4s4s", 0, local, b"\0\0\0\0"))]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            return [(level, kind, data)]
    return []


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            continue
    except BlockingIOError:
        return


def _in_words(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()) if count)


def run_agent(settings: AgentSettings, on_ready: Callable[[Agent], None] | None = None) -> int:
    """Serve polls until SIGTERM or SIGINT; 0 then, 1 when the agent cannot start (the log says why).

    ``on_ready`` is given the agent once its socket is bound.
    """
    for note in settings.notes:
        log.info("%s", note)
    if not settings.key:
        log.warning("%s: [polling] polling_key: missing, so no poll can be answered", settings.path)
    try:
        agent = Agent(settings)
    except OSError as error:
        where = f"{settings.listen_address}:{settings.listen_port}"
        log.error("%s: cannot listen on %s: %s", settings.path, where, error.strerror)
        return 1
    except ValueError as error:
        log.error("%s: [checks] %s", settings.path, error)
        return 1
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: agent.stop())
    checks = ", ".join(agent.checks) or "nothing"
    log.info("agent of host %s listens on %s:%d, checks %s", settings.host, *agent.address, checks)
    notify(READY=1, STATUS=agent.status())
    if on_ready is not None:
        on_ready(agent)
    agent.serve()
    notify(STOPPING=1)
    log.info("agent ends: %s", agent.status())
    return 0
