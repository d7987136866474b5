"""One thread that talks IPMI to all BMCs at once, built on pyghmi's session protocol.

pyghmi's sessions share dictionaries, a packet queue and an I/O thread without locks: used from several
threads it loses packets, and a call to a dead BMC takes 5 to 30 s whatever was asked for. So pyghmi runs
here in a single thread, with callbacks and deadlines of our own, on a private copy of its session module
(other users of pyghmi in the process keep theirs). A few things of that copy are replaced, see `pyghmi_copy`.

One session a BMC is kept and reused; a command that a reused session does not answer is repeated on a new
one, so a BMC that was restarted is read again at once. Only idempotent commands may therefore be sent.
"""

from __future__ import annotations

import atexit
import collections
import logging
import os
import select
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from hass_runtime import pyghmi_copy

log = logging.getLogger(__name__)

IDLE_LOGOUT = 20.0  # s; BMCs have few sessions, and most forget an idle one after 60 s
PATIENCE = 2.0  # s; an established session that is silent for so long is given up
LOGIN_PATIENCE = 10.0  # s; a slow login goes on after its first caller has given up
_TURN = 1.0  # s; longest wait of the loop while sessions are open


class IpmiError(Exception):
    """A BMC gave no answer in time, refused the login, or refused the command. One line, no password."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Target:
    """Whom to talk to: a numeric address, a UDP port and credentials."""

    address: str
    port: int
    username: str
    password: str = field(repr=False)


@dataclass
class _Request:
    target: Target
    netfn: int
    command: int
    data: tuple[int, ...]
    deadline: float
    lun: int = 0
    future: Future[bytes] = field(default_factory=Future)

    def succeed(self, data: bytes) -> None:
        if not self.future.done():
            self.future.set_result(data)

    def fail(self, message: str, code: int | None = None) -> None:
        if not self.future.done():
            self.future.set_exception(IpmiError(message, code))


class _Link:
    """One BMC's session and the requests that wait for it. Used by the loop's thread only."""

    def __init__(self, target: Target, pyghmi: ModuleType) -> None:
        self.target = target
        self.pyghmi = pyghmi
        self.queue: collections.deque[_Request] = collections.deque()
        self.session: Any = None
        self.ready = False
        self.reused = False
        self.sent_at: float | None = None
        self.since = 0.0
        self.used_at = time.monotonic()

    def step(self, now: float) -> None:
        """Do what is due: expire requests, give up a silent session, log in, send the next command."""
        expired = [request for request in self.queue if request.deadline <= now]
        if expired:
            head_in_flight = self.sent_at is not None and self.queue[0].deadline <= now
            self.queue = collections.deque(request for request in self.queue if request.deadline > now)
            for request in expired:
                request.fail("no answer" if self.ready else "no answer to the login")
            if head_in_flight:
                self.drop()
        if self.session is not None and getattr(self.session, "broken", False):
            self.drop()
        if self.sent_at is not None and now - self.sent_at >= self._patience(now):
            self.drop()
        if self.session is not None and not self.ready and now - self.since > LOGIN_PATIENCE:
            self.drop()
        if self.session is not None and self.ready and not self.queue and now - self.used_at > IDLE_LOGOUT:
            self.close()
        if not self.queue:
            return
        if self.session is None:
            self._login(now)
        elif self.ready and self.sent_at is None:
            self._send(now)

    def _patience(self, now: float) -> float:
        if not self.queue or not self.reused or self.sent_at is None:
            return PATIENCE
        # Half of what was left when the command was sent: the rest is for a new login.
        return min(PATIENCE, (self.queue[0].deadline - self.sent_at) / 2)

    def next_due(self, now: float) -> float:
        """Seconds until `step` has something to do again, packets apart."""
        due = [request.deadline for request in self.queue]
        if self.sent_at is not None:
            due.append(self.sent_at + self._patience(now))
        if self.session is not None and self.ready:
            due.append(self.used_at + IDLE_LOGOUT)
        return min(due, default=now + _TURN) - now

    def _login(self, now: float) -> None:
        target = self.target
        self.ready, self.reused, self.since = False, False, now
        started: list[Any] = []

        def logged_on(response: dict[str, Any]) -> None:
            if started and self.session is not started[0]:
                return  # a session given up earlier
            if "error" in response:
                self.fail_all(f"login refused: {response['error']}" if response["error"] else "no answer")
                self.drop()
            else:
                self.ready = True

        try:
            # As bytes: given strings, pyghmi cannot find its note of a login under way again, and hands out
            # the dead session for ever.
            self.session = self.pyghmi.Session(
                bmc=target.address,
                userid=target.username.encode(),
                password=target.password.encode(),
                port=target.port,
                onlogon=logged_on,
                keepalive=False,
            )
        except Exception as error:  # noqa: BLE001 - whatever pyghmi raises is this BMC's trouble only
            self.fail_all(f"login failed: {type(error).__name__}: {error}")
            self.drop()
            return
        started.append(self.session)

    def _send(self, now: float) -> None:
        session, request = self.session, self.queue[0]

        def answered(response: dict[str, Any]) -> None:
            session.incommand = False
            if session is not self.session or self.sent_at is None or self.queue[0] is not request:
                return
            if response.get("code") == 0xFFFF:  # pyghmi's own time-out: no answer, not a refusal
                self.drop()
                return
            self.queue.popleft()
            self.sent_at, self.reused, self.used_at = None, True, time.monotonic()
            error = self.pyghmi.get_ipmi_error(response)
            if error:
                request.fail(f"refused: {error}", response.get("code"))
            else:
                request.succeed(bytes(response["data"]))

        self.sent_at = now
        try:
            session.raw_command(
                netfn=request.netfn,
                command=request.command,
                data=request.data,
                callback=answered,
                rslun=request.lun,
            )
        except Exception as error:  # noqa: BLE001 - a session that cannot send is replaced by the next step
            log.debug("BMC %s:%d: cannot send: %s", self.target.address, self.target.port, error)
            self.drop()

    def fail_all(self, message: str) -> None:
        """The same bad news for everybody who waits for this BMC."""
        while self.queue:
            self.queue.popleft().fail(message)

    def drop(self) -> None:
        """Forget the session without a word to the BMC."""
        session, self.session = self.session, None
        self.ready, self.reused, self.sent_at = False, False, None
        if session is not None:
            session.logged = 0  # else logout sends a command and waits for the one under way
            _logout(session)

    def close(self) -> None:
        """Log out in one datagram and forget the session."""
        if self.session is not None and self.ready and self.sent_at is None:
            _logout(self.session)
        self.drop()


def _logout(session: Any) -> None:
    if getattr(session, "broken", False):
        return
    session.logonwaiters = []
    try:
        session.logout(False)
    except Exception as error:  # noqa: BLE001 - the session is thrown away either way
        log.debug("logout: %s: %s", type(error).__name__, error)


class IpmiLoop:
    """The thread. `call` may be used from any number of threads."""

    def __init__(self) -> None:
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        try:
            self._pyghmi = pyghmi_copy.load(self._wait)
        except ImportError as error:
            raise IpmiError(str(error)) from error
        self._inbox: collections.deque[_Request] = collections.deque()
        self._links: dict[Target, _Link] = {}
        self._quiet_until = 0.0
        self._closing = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ipmi", daemon=True)
        self._thread.start()

    def call(
        self, target: Target, netfn: int, command: int, data: tuple[int, ...], timeout: float, lun: int = 0
    ) -> bytes:
        """Send one command and return the data of the answer; IpmiError after at most ``timeout`` s."""
        request = _Request(target, netfn, command, data, time.monotonic() + timeout, lun)
        self._inbox.append(request)
        self._wake()
        try:
            # The loop itself keeps the deadline; the second is for a machine under heavy load.
            return request.future.result(timeout + 1.0)
        except FutureTimeoutError:
            raise IpmiError("no answer, and the IPMI thread is stuck") from None

    def forget(self, target: Target) -> None:
        """Log out of a BMC soon (by its session's idle time at the latest)."""
        link = self._links.get(target)
        if link is not None:
            link.used_at = 0.0
            self._wake()

    def close(self, timeout: float = 1.0) -> None:
        """Log out everywhere and end the thread."""
        self._closing.set()
        self._wake()
        self._closed.wait(timeout)

    def sessions(self) -> int:
        """How many BMCs a session is kept with."""
        return sum(link.session is not None for link in list(self._links.values()))

    def _wake(self) -> None:
        try:
            os.write(self._wake_writer, b"\0")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._turn()
            except Exception:
                # A packet that pyghmi chokes on. The sessions concerned run into their deadlines. Anybody can
                # send such packets: one line a minute is enough.
                if time.monotonic() >= self._quiet_until:
                    self._quiet_until = time.monotonic() + 60.0
                    log.exception("IPMI thread: pyghmi failed")
        for link in self._links.values():
            link.fail_all("the IPMI thread was closed")
            link.close()
        self._closed.set()

    def _turn(self) -> None:
        while self._inbox:
            request = self._inbox.popleft()
            link = self._links.get(request.target)
            if link is None:
                link = self._links[request.target] = _Link(request.target, self._pyghmi)
            link.queue.append(request)
        now = time.monotonic()
        for link in list(self._links.values()):
            link.step(now)
            if link.session is None and not link.queue and now - link.used_at > 10 * IDLE_LOGOUT:
                del self._links[link.target]
        delay = min((link.next_due(now) for link in self._links.values()), default=_TURN)
        if self._inbox:
            delay = 0.0
        # pyghmi shortens the wait to its own next retransmission.
        self._pyghmi.Session.wait_for_rsp(max(0.0, min(delay, _TURN)))

    def _wait(self, timeout: float, _address: object = None, _events: object = None) -> None:
        """In place of pyghmi's hand-over to its I/O thread: wait for packets, or for `_wake`, right here."""
        poller = select.poll()  # not select(): a controller with many hosts has descriptors beyond 1023
        poller.register(self._wake_reader, select.POLLIN)
        for sock in self._pyghmi.iosockets:
            poller.register(sock.fileno(), select.POLLIN)
        # Round up: with 0 ms for the last fraction the loop would spin.
        ready = poller.poll(max(0, int(timeout * 1000 + 0.999)))
        if any(fd == self._wake_reader for fd, _ in ready):
            try:
                while os.read(self._wake_reader, 4096):
                    pass
            except BlockingIOError:
                pass  # drained
        self._pyghmi._io_graball(self._pyghmi.iosockets, {})


_shared: IpmiLoop | None = None
_shared_lock = threading.Lock()


def shared_loop() -> IpmiLoop:
    """The process's one loop, started on first use."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = IpmiLoop()
            atexit.register(_shared.close)
        return _shared


def _after_fork() -> None:
    global _shared, _shared_lock
    _shared, _shared_lock = None, threading.Lock()  # the child has no such thread


os.register_at_fork(after_in_child=_after_fork)
