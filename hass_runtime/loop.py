"""The daemon's thread: real clocks, real detectors and a pulse for `Controller`."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence

from hass_runtime import systemd
from hass_runtime.controller import Controller
from hass_runtime.decide.view import Policy
from hass_runtime.detect.watch import Detector, Watch
from hass_runtime.domain import Host, Layer
from hass_runtime.leader import Leadership, holder_name
from hass_runtime.memory import GATEWAY
from hass_runtime.remedy.resume import end_runs
from hass_runtime.remedy.runs import Launcher
from hass_runtime.settings import ControllerSettings
from hass_runtime.store import Store

SETTLE = 0.05  # seconds: readings that come in together are decided upon together
STOP_SECONDS = 30.0  # how long a controller that is stopped waits for its runs to be gone


class SteadyClock:
    """Seconds since the epoch, UTC, as it was at the start plus what has passed since: it never jumps."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._offset + time.monotonic()


class Loop:
    """Feeds a controller with readings and calls its cycle, until it is told to stop.

    Args:
        detectors: one a layer; the one of the network layer also looks at the controller's own gateway.
    """

    def __init__(
        self, settings: ControllerSettings, store: Store, detectors: Sequence[Detector], policy: Policy
    ) -> None:
        self._settings = settings
        launcher = Launcher(settings.paths.playbooks, own=settings.paths.own_playbooks)
        self.controller = Controller(
            settings,
            store,
            policy,
            leadership=Leadership(
                store,
                holder_name(settings.controller.name),
                settings.controller.lease_ttl,
                bury=lambda: end_runs(store.unfinished_runs(), launcher.end_leftovers),
            ),
            launcher=launcher,
            clock=SteadyClock(),
        )
        gateway = settings.openstack.gateway_ip
        pairs = [(detector, host) for host in settings.hosts for detector in detectors]
        if gateway:
            pairs += [(d, Host(GATEWAY, gateway)) for d in detectors if d.layer is Layer.NETWORK]
        self._watch = Watch(pairs, settings.detection.polling_interval, self.controller.inbox.put)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Work until `stop` is called; then end all runs and give the lease back."""
        controller = self.controller
        self._watch.start()
        systemd.notify(READY="1")
        pet_every = systemd.watchdog_interval()
        petted_at = 0.0
        while not self._stopping.is_set():
            if not controller.guarded_cycle():
                self._stopping.wait(1.0)
            elif pet_every and time.monotonic() - petted_at >= pet_every:
                petted_at = time.monotonic()
                systemd.notify(WATCHDOG="1", STATUS=controller.status())
            self._watch.hurry(controller.hurried)
            self._wait()
        systemd.notify(STOPPING="1")
        self._watch.stop()
        controller.stop_all("the controller is stopped", STOP_SECONDS)

    def stop(self) -> None:
        self._stopping.set()

    def _wait(self) -> None:
        """Until something was seen or reported, or it is time for the next look at the clock."""
        ttl = self._settings.controller.lease_ttl
        pause = min(self._settings.detection.polling_interval / 2, ttl / 6, 1.0)
        try:
            self.controller.notice(self.controller.inbox.get(timeout=pause))
        except queue.Empty:
            return
        self._stopping.wait(SETTLE)
