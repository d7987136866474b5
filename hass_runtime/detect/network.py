"""The network layer: whether the host answers ICMP echo requests, or the operator's own ping command."""

from __future__ import annotations

import contextlib
import errno
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from hass_runtime.agent.checks import last_line, run
from hass_runtime.domain import Host, Layer, Reading, Verdict
from hass_runtime.resolver import ResolveError, resolve

TRY_TIMEOUT = 0.2  # s; waiting time of one echo request

# What a question to a dead host may end with: nobody on its segment answers for its address (ARP), or a
# router says so. With any other error it is this machine that could not put the question: that says nothing
# about the host.
NOBODY_THERE = frozenset({errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT})
_NO_NETWORK = "Network is unreachable"  # ENETUNREACH in the words of programs, LC_ALL=C

_Answer = tuple[Verdict, str, bool]


class NetworkDetector:
    """Pings a host. Thread-safe; a read takes at most ``tries`` * 0.2 s, or ``timeout`` for a ping command.

    ``ping_command`` is an argument list without a shell, in which ``{address}`` and ``{host}`` stand for the
    host's. Exit status 0 is an answer; 1, or no end within ``timeout`` (124 of timeout(1) too), is none;
    with any other status the command itself could not do its work.
    """

    layer = Layer.NETWORK

    def __init__(self, tries: int, ping_command: tuple[str, ...] | None, timeout: float) -> None:
        self._tries = max(1, tries)
        self._command = ping_command
        self._timeout = timeout

    def read(self, host: Host) -> Reading:
        """OK and answered: it replied. FAILED: it did not, though it was asked. UNKNOWN: we cannot ping.

        Silence is only what follows a question: when this machine could not send, nothing was silent. Never
        raises.
        """
        try:
            verdict, evidence, answered = self._ask(host) if self._command else self._ping(host)
        except Exception as error:  # noqa: BLE001 - a detector never raises
            verdict, answered = Verdict.UNKNOWN, False
            evidence = f"cannot ping {host.address}: {type(error).__name__}: {error}"
        return Reading(host.name, self.layer, verdict, evidence, time.time(), answered)

    def _ping(self, host: Host) -> _Answer:
        import icmplib

        try:
            address = resolve(host.address, self._timeout)
        except ResolveError as error:
            return Verdict.UNKNOWN, str(error), False
        reason, unsent = "", ""
        for attempt in range(1, self._tries + 1):
            try:
                reply = _echo(address, TRY_TIMEOUT)
            except icmplib.SocketPermissionError:
                return Verdict.UNKNOWN, _NO_PERMISSION, False
            except icmplib.ICMPError as error:
                reason = f": {error}"
                continue
            except icmplib.ICMPLibError as error:
                number, words = _cause(error)
                if number in NOBODY_THERE:
                    reason = f": {words}"
                else:
                    unsent = words
                continue
            if reply is not None:
                tries = "" if attempt == 1 else f" at try {attempt}"
                return Verdict.OK, f"{host.address} answers in {reply * 1000:.1f} ms{tries}", True
        if unsent:
            return Verdict.UNKNOWN, f"cannot ping {host.address} from here: {unsent}", False
        tries = f"{self._tries} ICMP echo request{'s' if self._tries > 1 else ''}"
        return Verdict.FAILED, f"{host.address} answers none of {tries}{reason}", False

    def _ask(self, host: Host) -> _Answer:
        assert self._command is not None
        argv = [_fill(word, host) for word in self._command]
        program = argv[0]
        try:
            done = run(argv, self._timeout)
        except subprocess.TimeoutExpired:
            return Verdict.FAILED, f"{program} {host.address} got no answer in {self._timeout:g} s", False
        except FileNotFoundError:
            return Verdict.UNKNOWN, f"{program} is not installed", False
        except OSError as error:
            return Verdict.UNKNOWN, f"{program} cannot be run: {error.strerror}", False
        if done.returncode == 0:
            return Verdict.OK, f"{program} {host.address} succeeds", True
        said = last_line(done.stderr) or last_line(done.stdout)
        what = "timed out" if done.returncode == 124 else f"ends with status {done.returncode}"
        evidence = f"{program} {host.address} {what}{': ' if said else ''}{said}"
        asked = done.returncode in (1, 124) and _NO_NETWORK not in done.stderr
        return (Verdict.FAILED if asked else Verdict.UNKNOWN), evidence, False


_NO_PERMISSION = (
    "not permitted to ping: run as root, give CAP_NET_RAW, "
    "or put the group into sysctl net.ipv4.ping_group_range"
)


def _fill(word: str, host: Host) -> str:
    values = {"{address}": host.address, "{host}": host.name}
    return re.sub(r"\{(?:address|host)\}", lambda match: values[match.group()], word)


def _cause(error: BaseException) -> tuple[int | None, str]:
    """The errno behind one of icmplib's errors (it passes on no more than the words), and words for it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.errno, cause.strerror or str(cause)
        cause = cause.__cause__ or cause.__context__
    return None, str(error)


def _echo(address: str, timeout: float) -> float | None:
    """One echo request: seconds until the reply, None without one; icmplib's errors otherwise."""
    import icmplib
    from icmplib.utils import unique_identifier

    with _open(address) as (sock, privileged):
        # A datagram socket gets its identifier from the kernel.
        request = icmplib.ICMPRequest(address, unique_identifier() if privileged else 0, 1)
        sock.send(request)
        started = time.monotonic()
        while (left := started + timeout - time.monotonic()) > 0:
            try:
                reply = sock.receive(request, left)
            except icmplib.TimeoutExceeded:
                return None
            # A raw socket sees the replies to everybody; two pings may share an identifier.
            if reply.source.partition("%")[0] != address.partition("%")[0]:
                continue
            reply.raise_for_status()
            return time.monotonic() - started
    return None


@contextlib.contextmanager
def _open(address: str) -> Iterator[tuple[Any, bool]]:
    """An ICMP socket: a datagram one where the sysctl permits it (the kernel sorts the replies), or raw."""
    import icmplib

    kind = icmplib.ICMPv6Socket if ":" in address else icmplib.ICMPv4Socket
    try:
        sock, privileged = kind(privileged=False), False
    except icmplib.SocketPermissionError:
        sock, privileged = kind(privileged=True), True
    try:
        yield sock, privileged
    finally:
        sock.close()
