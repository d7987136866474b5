"""The network layer: whether any address of a host answers ICMP echo requests (or the operator's own ping
command), or, when none does, whether anything accepts or refuses a TCP connection there.

Silence counts only when every address was asked. What this machine could not ask says nothing.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from hass_runtime.agent.process import last_line, run
from hass_runtime.detect.knock import NOBODY_THERE, Door, Knock, knock
from hass_runtime.domain import Host, Layer, Reading, Verdict
from hass_runtime.resolver import ResolveError, resolve

__all__ = ["NOBODY_THERE", "NetworkDetector"]

TRY_TIMEOUT = 0.2  # s; waiting time of one echo request
LEAST_PATIENCE = 0.5  # s; what knocking at TCP ports gets, however long the pings have taken

_NO_NETWORK = "Network is unreachable"  # ENETUNREACH in the words of programs, LC_ALL=C


@dataclass(frozen=True)
class _Echo:
    """What came of the pings of one address. ``words`` have the address in them."""

    address: str
    verdict: Verdict
    words: str


class NetworkDetector:
    """Pings all addresses of a host at once, then knocks at its TCP ports. Thread-safe.

    A read takes at most ``timeout`` s, or ``tries`` * 0.2 s and half a second when that is longer; a ping
    command, and a name that does not resolve, may take ``timeout`` and that half second.

    ``ping_command`` is an argument list without a shell, in which ``{address}`` and ``{host}`` stand for the
    host's. Exit status 0 is an answer; 1, or no end within ``timeout`` (124 of timeout(1) too), is none;
    with any other status the command itself could not do its work.

    ``tcp_ports`` are knocked at when no address answers. Not those of the hosts named in ``spared``: the
    controller's gateway is one. For a host, a sign of life that is none makes HASS wait; for the gateway it
    would make a controller that is cut off believe that it is not, and a firewall of its own can refuse a
    connection without any network.
    """

    layer = Layer.NETWORK

    def __init__(
        self,
        tries: int,
        ping_command: tuple[str, ...] | None,
        timeout: float,
        tcp_ports: Sequence[int] = (),
        spared: Collection[str] = (),
    ) -> None:
        self._tries = max(1, tries)
        self._command = ping_command
        self._timeout = timeout
        self._ports = tuple(tcp_ports)
        self._spared = frozenset(spared)

    def read(self, host: Host) -> Reading:
        """OK and answered: any address replied, in any way. FAILED: none did, though every one was asked.
        UNKNOWN: none did, and not every one could be asked.

        Silence is only what follows a question: when this machine could not send, nothing was silent. Never
        raises.
        """
        try:
            verdict, evidence = self._look(host)
        except Exception as error:  # noqa: BLE001 - a detector never raises
            verdict = Verdict.UNKNOWN
            evidence = f"cannot ping {host.address}: {type(error).__name__}: {error}"
        return Reading(host.name, self.layer, verdict, evidence, time.time(), verdict is Verdict.OK)

    def _look(self, host: Host) -> tuple[Verdict, str]:
        began = time.monotonic()
        echoes = self._echoes(host)
        told = "; ".join(each.words for each in sorted(echoes, key=lambda each: _ORDER[each.verdict]))
        verdicts = {each.verdict for each in echoes}
        if Verdict.OK in verdicts:
            return Verdict.OK, told
        knocks: list[Knock] = []
        unresolved: list[str] = []
        if self._ports and host.name not in self._spared:
            left = self._timeout - (time.monotonic() - began)
            doors, unresolved = self._doors(host, max(left, LEAST_PATIENCE))
            left = self._timeout - (time.monotonic() - began)
            knocks = knock(doors, max(left, LEAST_PATIENCE))
        for each in knocks:
            if each.verdict is Verdict.OK:
                no_echo = "no echo reply" if self._command is None else f"no answer to {self._command[0]}"
                return Verdict.OK, f"{no_echo}, but {each.words}: it lives"
        unasked = unresolved + [each.words for each in knocks if each.verdict is Verdict.UNKNOWN]
        could_not = unresolved or any(
            each.verdict is Verdict.UNKNOWN and not each.forbidden for each in knocks
        )
        if Verdict.UNKNOWN in verdicts or could_not:
            return Verdict.UNKNOWN, "; ".join([told, *(words for words in unasked if words not in told)])
        return Verdict.FAILED, "; ".join([told, *_silent(knocks), *unasked])

    def _echoes(self, host: Host) -> list[_Echo]:
        """One for each address, in their order, asked side by side."""
        addresses = list(dict.fromkeys(host.addresses))
        if self._command and not any("{address}" in word for word in self._command):
            addresses = addresses[:1]  # it goes by the host's name: the same question for each

        def ask(address: str) -> _Echo:
            return self._ask(host, address) if self._command else self._ping(address)

        if len(addresses) == 1:
            return [ask(addresses[0])]
        with ThreadPoolExecutor(len(addresses), thread_name_prefix="ping") as pool:
            return list(pool.map(ask, addresses))

    def _doors(self, host: Host, timeout: float) -> tuple[list[Door], list[str]]:
        """The ports of every address, and why an address has none."""
        doors, unresolved = [], []
        for address in dict.fromkeys(host.addresses):
            try:
                numeric = resolve(address, timeout)
            except ResolveError as error:
                unresolved.append(str(error))
            else:
                doors += [Door(address, numeric, port) for port in self._ports]
        return doors, unresolved

    def _ping(self, address: str) -> _Echo:
        import icmplib

        try:
            numeric = resolve(address, self._timeout)
        except ResolveError as error:
            return _Echo(address, Verdict.UNKNOWN, str(error))
        reason, unsent = "", ""
        for attempt in range(1, self._tries + 1):
            try:
                reply = _echo(numeric, TRY_TIMEOUT)
            except icmplib.SocketPermissionError:
                return _Echo(address, Verdict.UNKNOWN, _NO_PERMISSION)
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
                return _Echo(address, Verdict.OK, f"{address} answers in {reply * 1000:.1f} ms{tries}")
        if unsent:
            return _Echo(address, Verdict.UNKNOWN, f"cannot ping {address} from here: {unsent}")
        tries = f"{self._tries} ICMP echo request{'s' if self._tries > 1 else ''}"
        return _Echo(address, Verdict.FAILED, f"{address} answers none of {tries}{reason}")

    def _ask(self, host: Host, address: str) -> _Echo:
        assert self._command is not None
        argv = [_fill(word, host, address) for word in self._command]
        program = argv[0]

        def came(verdict: Verdict, words: str) -> _Echo:
            return _Echo(address, verdict, words)

        try:
            done = run(argv, self._timeout)
        except subprocess.TimeoutExpired:
            return came(Verdict.FAILED, f"{program} {address} got no answer in {self._timeout:g} s")
        except FileNotFoundError:
            return came(Verdict.UNKNOWN, f"{program} is not installed")
        except OSError as error:
            return came(Verdict.UNKNOWN, f"{program} cannot be run: {error.strerror}")
        if done.returncode == 0:
            return came(Verdict.OK, f"{program} {address} succeeds")
        said = last_line(done.stderr) or last_line(done.stdout)
        what = "timed out" if done.returncode == 124 else f"ends with status {done.returncode}"
        words = f"{program} {address} {what}{': ' if said else ''}{said}"
        asked = done.returncode in (1, 124) and _NO_NETWORK not in done.stderr
        return came(Verdict.FAILED if asked else Verdict.UNKNOWN, words)


_ORDER = {Verdict.OK: 0, Verdict.UNKNOWN: 1, Verdict.FAILED: 2}  # who answers is told first


def _silent(knocks: Sequence[Knock]) -> list[str]:
    """One clause for all ports that are silent: every address has the same ones."""
    ports = list(dict.fromkeys(each.door.port for each in knocks if each.verdict is Verdict.FAILED))
    if not ports:
        return []
    plural = "s" if len(ports) > 1 else ""
    return [f"no answer on TCP port{plural} {', '.join(map(str, ports))} either"]


_NO_PERMISSION = (
    "not permitted to ping: run as root, give CAP_NET_RAW, "
    "or put the group into sysctl net.ipv4.ping_group_range"
)


def _fill(word: str, host: Host, address: str) -> str:
    values = {"{address}": address, "{host}": host.name}
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
