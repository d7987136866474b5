"""The storage layer: what the agent on the host says about the storage of its instances."""

from __future__ import annotations

import time
from collections.abc import Mapping

from hass_runtime.agent.protocol import Check
from hass_runtime.detect import agent_poll
from hass_runtime.detect.services import say
from hass_runtime.domain import Host, Layer, Reading, Verdict


class StorageDetector:
    """Polls the agent of a host with one datagram. Thread-safe; a read takes at most ``timeout`` s."""

    layer = Layer.STORAGE

    def __init__(
        self, port: int, key: bytes | tuple[bytes, ...], timeout: float, max_message_size: int
    ) -> None:
        self._port = port
        self._keys = (key,) if isinstance(key, bytes) else tuple(key)
        self._timeout = timeout
        self._size = max_message_size

    def read(self, host: Host) -> Reading:
        """FAILED and answered: the agent says that the storage is cut off. OK: it reads and writes it.

        UNKNOWN: the agent does not answer (which is the service layer's to judge), or cannot tell.
        """
        try:
            answer = agent_poll.poll(host, self._port, self._keys, self._timeout, self._size)
            answered = answer.answered
            if answer.checks is None:
                verdict, evidence = Verdict.UNKNOWN, answer.why
            else:
                verdict, evidence = judge_storage(answer.checks)
        except Exception as error:  # noqa: BLE001 - a detector never raises
            verdict, answered = Verdict.UNKNOWN, False
            evidence = f"cannot poll the agent: {type(error).__name__}: {error}"
        return Reading(host.name, self.layer, verdict, evidence, time.time(), answered)


def judge_storage(checks: Mapping[str, Check]) -> tuple[Verdict, str]:
    """One verdict for the storage checks of a host: failed before unknown before ok, the evidence in words.

    One that cannot be told hides behind no other: instances may be on any of them.
    """
    ours = {name: check for name, check in checks.items() if check.storage}
    for state, verdict in (("failed", Verdict.FAILED), ("unknown", Verdict.UNKNOWN), ("ok", Verdict.OK)):
        if said := [say(name, check) for name, check in ours.items() if check.state == state]:
            return verdict, "; ".join(said)
    return Verdict.UNKNOWN, "the agent has no check of the storage"
