"""The agent of a host as a remedy talks to it: what it says of each check, and what it is to restart."""

from __future__ import annotations

from collections.abc import Mapping

from hass_runtime.agent.protocol import Check
from hass_runtime.detect import agent_poll
from hass_runtime.domain import Host
from hass_runtime.remedy.restart import AgentSilent


class UdpAgent:
    """One host's agent, asked with authenticated datagrams; a call takes at most ``timeout`` s."""

    def __init__(
        self, host: Host, port: int, keys: tuple[bytes, ...], timeout: float, max_message_size: int
    ) -> None:
        self._host = host
        self._port = port
        self._keys = keys
        self._timeout = timeout
        self._size = max_message_size

    def checks(self) -> Mapping[str, Check]:
        """By name what it says of each of its checks. Raises AgentSilent."""
        try:
            answer = agent_poll.poll(self._host, self._port, self._keys, self._timeout, self._size)
        except (OSError, ValueError) as error:
            raise AgentSilent(f"the agent of {self._host.name} cannot be asked: {error}") from error
        if answer.checks is None:
            raise AgentSilent(answer.why)
        return answer.checks

    def restart(self, check: str) -> str | None:
        """None when the agent restarts what is behind the check, else why not."""
        try:
            return agent_poll.restart(self._host, self._port, self._keys, self._timeout, self._size, check)
        except (OSError, ValueError) as error:
            return f"the agent of {self._host.name} cannot be asked: {error}"
