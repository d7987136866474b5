"""How Nova sees the nova-compute of each host: asked for all hosts at once, in the background.

A nova-compute may run well, and yet be out of Nova's reach: its message queue is gone, or it hangs. Its own
host cannot tell; Nova can, because it hears no heartbeat.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hass_runtime.domain import Verdict
from hass_runtime.remedy.nova import ComputeService

if TYPE_CHECKING:
    from hass_runtime.settings import ControllerSettings


class Nova(Protocol):
    """What is asked of Nova; a call is bounded in time, and raises when there is no answer."""

    def compute_services(self) -> Sequence[ComputeService]: ...


@dataclass(frozen=True)
class _Seen:
    """Nova's newest answer by host, and when it was asked for it (monotonic)."""

    services: Mapping[str, ComputeService]
    asked_at: float


class NovaView:
    """Keeps the newest answer of Nova. Never raises, never blocks; thread-safe.

    Nova is asked by a thread of its own, at most once an ``interval`` (seconds), and only while somebody
    asks here: so there is nothing to start or to stop. ``fresh``: an answer older than that is none.
    """

    def __init__(
        self,
        connect: Callable[[], Nova],
        interval: float,
        fresh: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._interval = interval
        self._fresh = fresh
        self._clock = clock
        self._lock = threading.Lock()
        self._nova: Nova | None = None
        self._asked_at: float | None = None
        self._asking = False
        self._seen: _Seen | None = None
        self._trouble = ""

    def service(self, host: str) -> tuple[ComputeService | None, str]:
        """nova-compute of exactly this host by Nova's newest answer; None when there is no fresh one, or it
        knows no such host. And what is odd about that, "" for nothing: before Nova was first heard there is
        nothing odd yet.
        """
        with self._lock:
            now = self._clock()
            self._ask_when_due(now)
            seen, trouble = self._seen, self._trouble
        if seen is None or now - seen.asked_at > self._fresh:
            return None, f"how Nova sees it is not known: {trouble}" if trouble else ""
        service = seen.services.get(host)
        return service, "" if service is not None else "Nova knows no nova-compute on it"

    def _ask_when_due(self, now: float) -> None:
        due = self._asked_at is None or now - self._asked_at >= self._interval
        if self._asking or not due:
            return
        self._asking = True
        self._asked_at = now
        threading.Thread(target=self._ask, args=(now,), name="nova-view", daemon=True).start()

    def _ask(self, now: float) -> None:
        try:
            if self._nova is None:
                self._nova = self._connect()
            services = {service.host: service for service in self._nova.compute_services()}
        except Exception as error:  # noqa: BLE001 - a detector never raises
            with self._lock:
                self._trouble = " ".join(str(error).split())[:300] or type(error).__name__
                self._asking = False
            return
        with self._lock:
            self._seen, self._trouble = _Seen(services, now), ""
            self._asking = False


def nova_view_of(settings: ControllerSettings) -> NovaView | None:
    """As configured; None when Nova is not to be asked. Nothing is sent before somebody asks it."""
    if not settings.detection.nova_view:
        return None

    def connect() -> Nova:
        from hass_runtime.remedy import cloud

        return cloud.connect(settings, workers=1)

    interval = settings.detection.polling_interval
    return NovaView(connect, interval, 3 * interval + 10.0)


def judge_with_nova(verdict: Verdict, evidence: str, service: ComputeService | None) -> tuple[Verdict, str]:
    """Pure: the agent's verdict and evidence, unless Nova knows better.

    All is well on the host, and Nova hears nothing of it: that is a failure that only Nova sees. Whoever is
    held down by force (by HASS) or disabled (by HASS or a person) is meant to be down. None: Nova says
    nothing, and the agent's word stands.
    """
    if verdict is not Verdict.OK or service is None:
        return verdict, evidence
    if service.up or service.forced_down or not service.enabled:
        return verdict, evidence
    since = f"since {service.updated_at}" if service.updated_at else "ever"
    return Verdict.FAILED, f"nova-compute ok on the host, yet Nova has not heard of it {since}"
