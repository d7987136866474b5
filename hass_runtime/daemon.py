"""Puts the controller daemon together from its configuration, and runs it until it is told to stop."""

from __future__ import annotations

import logging
import signal
import threading

from hass_runtime import logs
from hass_runtime.api.app import create_app
from hass_runtime.api.server import serve
from hass_runtime.decide.diagnosis import Thresholds
from hass_runtime.decide.symptoms import Symptom, SymptomError
from hass_runtime.decide.view import Policy
from hass_runtime.detect.network import NetworkDetector
from hass_runtime.detect.nova_view import nova_view_of
from hass_runtime.detect.os_watchdog import OsWatchdogDetector
from hass_runtime.detect.power import PowerDetector
from hass_runtime.detect.sensors import SensorDetector
from hass_runtime.detect.services import ServiceDetector
from hass_runtime.detect.storage import StorageDetector
from hass_runtime.detect.watch import Detector
from hass_runtime.loop import Loop
from hass_runtime.memory import GATEWAY
from hass_runtime.remedy.playbooks import Shelf
from hass_runtime.settings import ControllerSettings
from hass_runtime.store import Store, StoreError
from hass_runtime.survey.keeper import Surveyor, survey_of
from hass_runtime.table import read_table

log = logging.getLogger(__name__)

RETRY = 5.0  # seconds between attempts to reach a database that is not there yet


def load_table(settings: ControllerSettings) -> tuple[Symptom, ...]:
    """The operator's symptom table, or the one that comes with HASS; what is odd about it goes to the log.

    Raises:
        SymptomError: with every problem of the file, one line each.
    """
    paths = settings.paths
    numbers = {"wait_restart_threshold": settings.detection.wait_restart_threshold}
    table = read_table(paths.symptoms, Shelf(paths.playbooks, paths.own_playbooks), numbers)
    for line in table.oddities:
        log.warning("%s", line)
    return table.rows


def policy_of(settings: ControllerSettings, table: tuple[Symptom, ...]) -> Policy:
    """The operator's choices in the terms of the decision."""
    detection, safety = settings.detection, settings.safety
    limits = Thresholds(
        misses=detection.polling_threshold,
        transient=settings.network.network_transient_time,
        stale_after=3 * detection.polling_interval + 10.0,
        planned=safety.planned_shutdown_time,
    )
    return Policy(
        thresholds=limits,
        table=table,
        protected=settings.protected_layers,
        armed=safety.armed,
        storm_threshold=safety.storm_threshold,
        domain_threshold=safety.domain_threshold,
        max_remedies=safety.max_remedies,
        max_fences=safety.max_fences,
        fence_window=safety.fence_window,
        cooldown=safety.cooldown,
        flap_limit=safety.flap_limit,
        flap_window=safety.flap_window,
        retry_interval=safety.retry_interval,
        max_attempts=safety.max_attempts,
        auto_restore=settings.recovery.auto_restore,
        healthy_delay=settings.recovery.healthy_delay,
        methods=settings.recovery.methods,
        refill_reserve=settings.recovery.refill_reserve,
        reserved_to_aggregates=settings.recovery.reserved_to_aggregates,
        by_hand=settings.recovery.by_hand,
        failback=settings.recovery.failback,
        settle=(detection.polling_threshold + 1) * detection.polling_interval + detection.probe_timeout,
    )


def detectors_of(settings: ControllerSettings) -> list[Detector]:
    """One detector a layer, as configured."""
    detection, network = settings.detection, settings.network
    timeout = detection.probe_timeout
    agents = (detection.polling_port, detection.polling_key, timeout, network.max_message_size)
    return [
        PowerDetector(timeout),
        SensorDetector(settings.sensors, timeout),
        OsWatchdogDetector(timeout, detection.watchdog_threshold),
        NetworkDetector(
            network.heartbeat_time, network.ping_command, timeout, network.tcp_ports, spared={GATEWAY}
        ),
        StorageDetector(*agents),
        ServiceDetector(*agents, nova_view=nova_view_of(settings)),
    ]


def run(settings: ControllerSettings) -> int:
    """Run the daemon.

    Returns:
        The exit status: 0 after SIGTERM or SIGINT, 1 when it could not start.
    """
    logs.configure(settings.log.level, settings.log.location)
    for note in settings.notes:
        log.warning("%s", note)
    if settings.safety.armed and not settings.detection.polling_key:
        log.error(
            "%s: [detection] polling_key: missing, expected the key that the agents have too; without it no "
            "agent can be heard, and nothing may be evacuated ([safety] armed = false only watches)",
            settings.path,
        )
        return 1
    try:
        policy = policy_of(settings, load_table(settings))
    except SymptomError as error:
        for problem in error.problems:
            log.error("%s", problem)
        return 1
    told_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_stop.set())
    store = Store(settings.database_url)
    if not _migrate(store, told_to_stop):
        return 0
    work = Loop(settings, store, detectors_of(settings), policy)
    surveyor = Surveyor(survey_of(settings, store.choices), lambda: work.controller.seen, settings.paths)
    try:
        app = create_app(store, work.controller.health, surveyor)
        api = serve(app, settings.rest.host, settings.rest.port)
    except OSError as error:
        log.error(
            "the REST interface cannot listen on %s:%d: %s", settings.rest.host, settings.rest.port, error
        )
        return 1
    loop = threading.Thread(target=work.run, name="loop")
    loop.start()
    surveyor.start()
    log.info("controller %s watches %d hosts", settings.controller.name, len(settings.hosts))
    while loop.is_alive() and not told_to_stop.wait(1.0):
        pass
    work.stop()
    surveyor.stop()
    loop.join()
    api.close()
    store.close()
    return 0 if told_to_stop.is_set() else 1


def _migrate(store: Store, told_to_stop: threading.Event) -> bool:
    """Waits for the database: a controller that starts before it is not a reason to page anybody."""
    said = ""
    while not told_to_stop.is_set():
        try:
            store.migrate()
        except StoreError as error:
            if str(error) != said:
                log.error("waiting for the database: %s", error)
            said = str(error)
            told_to_stop.wait(RETRY)
        else:
            return True
    return False
