"""The agent of a host as a remedy talks to it: what it says of each check, and what it is to restart."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Mapping

from hass_runtime.agent import protocol
from hass_runtime.domain import Host
from hass_runtime.remedy.restart import AgentSilent
from hass_runtime.resolver import ResolveError, resolve


class UdpAgent:
    """One host's agent, asked with one authenticated datagram a call; a call takes at most ``timeout`` s."""

    def __init__(
        self, host: Host, port: int, keys: tuple[bytes, ...], timeout: float, max_message_size: int
    ) -> None:
        self._host = host
        self._port = port
        self._keys = keys
        self._timeout = timeout
        self._size = max_message_size

    def checks(self) -> Mapping[str, protocol.Check]:
        """By name what it says of each of its checks. Raises AgentSilent."""
        where = f"agent {self._host.address}:{self._port}"
        deadline = time.monotonic() + self._timeout
        nonce = secrets.token_hex(protocol.NONCE_BYTES)
        request = protocol.Request(self._host.name, nonce, time.time())
        try:
            address = resolve(self._host.address, self._timeout)
            family, kind, proto, _, target = socket.getaddrinfo(
                address, self._port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
            )[0]
            with socket.socket(family, kind, proto) as sock:
                sock.connect(target)  # the kernel then drops datagrams of anybody else
                sock.send(protocol.encode_request(request, self._keys, self._size))
                while (left := deadline - time.monotonic()) > 0:
                    sock.settimeout(left)
                    answer = sock.recv(self._size + 1)
                    try:
                        return protocol.decode_response(
                            answer, self._keys, self._size, self._host.name, nonce
                        ).checks
                    except protocol.ProtocolError:
                        continue  # not the answer; the real one may still come
        except TimeoutError:
            pass
        except ResolveError as error:
            raise AgentSilent(str(error)) from error
        except OSError as error:
            raise AgentSilent(f"{where} cannot be asked: {error.strerror or error}") from error
        raise AgentSilent(f"no answer from {where} in {self._timeout:g} s")

    def restart(self, check: str) -> str | None:
        """None when the agent restarts what is behind the check, else why not."""
        from hass_runtime.detect import agent_poll

        return agent_poll.restart(self._host, self._port, self._keys, self._timeout, self._size, check)
