"""The service layer: what the agent on the host says about libvirt, nova-compute and the hypervisor."""

from __future__ import annotations

import secrets
import select
import socket
import time
from collections import Counter
from collections.abc import Mapping

from hass_runtime.agent import protocol
from hass_runtime.detect.network import NOBODY_THERE
from hass_runtime.domain import Host, Layer, Reading, Verdict
from hass_runtime.resolver import ResolveError, resolve


class ServiceDetector:
    """Polls the agent of a host with one datagram. Thread-safe; a read takes at most ``timeout`` s.

    ``keys`` is one shared key, or several while they are being rotated: the first one signs.
    """

    layer = Layer.SERVICE

    def __init__(
        self, port: int, key: bytes | tuple[bytes, ...], timeout: float, max_message_size: int
    ) -> None:
        self._port = port
        self._keys = (key,) if isinstance(key, bytes) else tuple(key)
        self._timeout = timeout
        self._size = max_message_size

    def read(self, host: Host) -> Reading:
        """OK: all services are. FAILED and answered: the agent complains. FAILED and not answered: silence.

        UNKNOWN and answered: the agent cannot tell. UNKNOWN and not answered: the question could not be put,
        because this machine has no way to send it: nobody can be silent then.

        An agent does not answer a request older than its clock tolerance, nor one signed with another key:
        both look like silence from here, and are counted in the agent's own log and status line.
        """
        try:
            verdict, evidence, answered = self._poll(host)
        except Exception as error:  # noqa: BLE001 - a detector never raises
            verdict, answered = Verdict.UNKNOWN, False
            evidence = f"cannot poll the agent: {type(error).__name__}: {error}"
        return Reading(host.name, self.layer, verdict, evidence, time.time(), answered)

    def _poll(self, host: Host) -> tuple[Verdict, str, bool]:
        if not self._keys or not all(self._keys):
            return Verdict.UNKNOWN, "no polling key is configured", False
        deadline = time.monotonic() + self._timeout
        nonce = secrets.token_hex(protocol.NONCE_BYTES)
        request = protocol.Request(host.name, nonce, time.time())
        datagram = protocol.encode_request(request, self._keys, self._size)
        where = f"agent {host.address}:{self._port}"
        try:
            numeric = resolve(host.address, self._timeout)
        except ResolveError as error:
            return Verdict.UNKNOWN, str(error), False
        family, kind, proto, _, address = socket.getaddrinfo(
            numeric, self._port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )[0]
        ignored: Counter[str] = Counter()
        with socket.socket(family, kind, proto) as sock:
            sock.setblocking(False)
            try:
                sock.connect(address)  # the kernel then drops datagrams of anybody else
                sock.send(datagram)
            except OSError as error:
                return _unreached(where, error)
            while (left := deadline - time.monotonic()) > 0:
                if not _readable(sock, left):
                    continue
                try:
                    answer = sock.recv(self._size + 1)
                except ConnectionRefusedError:
                    # "Port unreachable" comes from a kernel that lives; a dead host's router says "host".
                    return Verdict.FAILED, f"no {where}: the host says that the port is closed", True
                except OSError as error:
                    return _unreached(where, error)
                try:
                    response = protocol.decode_response(answer, self._keys, self._size, host.name, nonce)
                except protocol.ProtocolError as error:
                    ignored[error.reason] += 1
                    continue
                return (*judge(response.checks), True)
        evidence = f"no answer from {where} in {self._timeout:g} s"
        if ignored:
            evidence += f" ({_count(ignored)} ignored)"
        return Verdict.FAILED, evidence, False


def _unreached(where: str, error: OSError) -> tuple[Verdict, str, bool]:
    words = error.strerror or str(error)
    if error.errno in NOBODY_THERE:
        return Verdict.FAILED, f"{where} cannot be reached: {words}", False
    return Verdict.UNKNOWN, f"{where} cannot be asked from here: {words}", False


def judge(checks: Mapping[str, protocol.Check]) -> tuple[Verdict, str]:
    """One verdict for all checks of a host: failed before ok before unknown, with the evidence in words."""
    failed = [_say(name, check) for name, check in checks.items() if check.state == "failed"]
    unknown = [_say(name, check) for name, check in checks.items() if check.state == "unknown"]
    good = [name for name, check in checks.items() if check.state == "ok"]
    if failed:
        return Verdict.FAILED, "; ".join(failed)
    if good:
        return Verdict.OK, "; ".join([f"{', '.join(good)} ok", *unknown])
    return Verdict.UNKNOWN, "; ".join(unknown) if unknown else "the agent checks nothing"


def _say(name: str, check: protocol.Check) -> str:
    return f"{name} {check.state}: {check.evidence}" if check.evidence else f"{name} {check.state}"


def _count(ignored: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(ignored.items()))


def _readable(sock: socket.socket, timeout: float) -> bool:
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN)
    return bool(poller.poll(max(1, int(timeout * 1000))))
