"""The service layer: what the agent on the host says about libvirt, nova-compute and the hypervisor, and
what Nova says of its nova-compute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from hass_runtime.agent import protocol
from hass_runtime.detect import agent_poll
from hass_runtime.detect.nova_view import NovaView, judge_with_nova
from hass_runtime.domain import Host, Layer, Reading, Verdict

HEARD_WITHIN = 30.0
"""Seconds in which Nova hears of a nova-compute that works: three of its heartbeats (`report_interval`)."""


class ServiceDetector:
    """Polls the agent of a host with one datagram. Thread-safe; a read takes at most ``timeout`` s.

    ``keys`` is one shared key, or several while they are being rotated: the first one signs. ``nova_view``
    None: Nova is not asked; whoever listens whether a host lives has no use for it.
    """

    layer = Layer.SERVICE

    def __init__(
        self,
        port: int,
        key: bytes | tuple[bytes, ...],
        timeout: float,
        max_message_size: int,
        nova_view: NovaView | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._port = port
        self._keys = (key,) if isinstance(key, bytes) else tuple(key)
        self._timeout = timeout
        self._size = max_message_size
        self._nova_view = nova_view
        self._clock = clock
        self._fine_since: dict[str, float] = {}

    def read(self, host: Host) -> Reading:
        """OK: all services are. FAILED and answered: the agent complains, or Nova misses nova-compute though
        the agent does not. FAILED and not answered: silence.

        UNKNOWN and answered: the agent cannot tell. UNKNOWN and not answered: the question could not be put,
        because this machine has no way to send it: nobody can be silent then.

        An agent does not answer a request older than its clock tolerance, nor one signed with another key:
        both look like silence from here, and are counted in the agent's own log and status line.
        """
        leaving, boot = False, ""
        try:
            answer = agent_poll.poll(host, self._port, self._keys, self._timeout, self._size)
            verdict, evidence, answered = answer.verdict, answer.why, answer.answered
            if answer.checks is None:
                self._fine_since.pop(host.name, None)
            else:
                verdict, evidence = self._judge(host, answer.checks)
                leaving, boot = answer.leaving, answer.boot
        except Exception as error:  # noqa: BLE001 - a detector never raises
            verdict, answered = Verdict.UNKNOWN, False
            evidence = f"cannot poll the agent: {type(error).__name__}: {error}"
        return Reading(host.name, self.layer, verdict, evidence, time.time(), answered, leaving, boot)

    def _judge(self, host: Host, checks: Mapping[str, protocol.Check]) -> tuple[Verdict, str]:
        verdict, evidence = judge(checks)
        if self._nova_view is None:
            return verdict, evidence
        if verdict is not Verdict.OK:
            self._fine_since.pop(host.name, None)
            return verdict, evidence
        # A nova-compute that has just started, or is in reach again, is heard by Nova a little later.
        fine_for = self._clock() - self._fine_since.setdefault(host.name, self._clock())
        if fine_for < HEARD_WITHIN:
            return verdict, evidence
        service, odd = self._nova_view.service(host.name)
        verdict, evidence = judge_with_nova(verdict, evidence, service)
        return verdict, f"{evidence}; {odd}" if odd else evidence


def judge(checks: Mapping[str, protocol.Check]) -> tuple[Verdict, str]:
    """One verdict for all checks of a host but those of its storage, which are a layer of their own: failed
    before ok before unknown, with the evidence in words.
    """
    checks = {name: check for name, check in checks.items() if not check.storage}
    failed = [say(name, check) for name, check in checks.items() if check.state == "failed"]
    unknown = [say(name, check) for name, check in checks.items() if check.state == "unknown"]
    good = [name for name, check in checks.items() if check.state == "ok"]
    if failed:
        return Verdict.FAILED, "; ".join(failed)
    if good:
        return Verdict.OK, "; ".join([f"{', '.join(good)} ok", *unknown])
    return Verdict.UNKNOWN, "; ".join(unknown) if unknown else "the agent checks nothing"


def say(name: str, check: protocol.Check) -> str:
    return f"{name} {check.state}: {check.evidence}" if check.evidence else f"{name} {check.state}"
