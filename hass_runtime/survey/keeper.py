"""Keeps the newest survey of the cloud, by a thread of its own: never in the way of the decisions."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from hass_runtime.decide.cloud_facts import CloudFacts
from hass_runtime.decide.foresight import Plan, plan
from hass_runtime.decide.readiness import Back, HostReady, Readiness, assess
from hass_runtime.decide.view import View
from hass_runtime.domain import Choice

if TYPE_CHECKING:
    from hass_runtime.settings import ControllerSettings
    from hass_runtime.settings.model import PathSettings

log = logging.getLogger(__name__)

INTERVAL = 60.0  # seconds from the end of one survey to the next, at the least
SHARE = 10.0  # and so many times as long as the last one took: a large cloud is asked less often
STALE = 5.0  # intervals after which nothing is told from a survey any more

FRESH = 5.0  # seconds for which an assessment serves whoever asks: it is dear in a large cloud


class NotKnown(Exception):
    """There is no fresh survey to tell from. One line."""


class Surveyor:
    """Surveys the cloud while this controller acts.

    Args:
        survey: takes seconds since the epoch and asks for the facts; may raise anything, in words.
        seen: the controller's newest view, None while it stands by.
        paths: where the remediation playbooks are.
    """

    def __init__(
        self,
        survey: Callable[[float], CloudFacts],
        seen: Callable[[], View | None],
        paths: PathSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._survey = survey
        self._seen = seen
        self._paths = paths
        self._clock = clock
        self._lock = threading.Lock()
        self._facts: CloudFacts | None = None
        self._trouble = "the cloud was not surveyed yet"
        self._ready: dict[str, bool] = {}
        self._told: tuple[CloudFacts, float, Readiness] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="survey", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No more surveys; one that is under way is not waited for."""
        self._stopping.set()

    def _work(self) -> None:
        pause = 1.0  # until the hosts were seen for the first time
        while not self._stopping.wait(pause):
            if self._seen() is None:
                continue
            began = time.monotonic()
            self.look()
            pause = max(INTERVAL, SHARE * (time.monotonic() - began))

    def look(self) -> None:
        """One survey, now; what goes wrong is said once, and told to whoever asks."""
        try:
            facts = self._survey(self._clock())
        except Exception as error:  # noqa: BLE001 - Nova being away is no reason to end
            trouble = " ".join(str(error).split())[:300] or type(error).__name__
            with self._lock:
                known, self._trouble = self._trouble, trouble
            if trouble != known:
                log.warning("survey of the cloud: failed (%s)", trouble)
            return
        with self._lock:
            self._facts, self._trouble = facts, ""
        view = self._seen()
        if view is not None:
            self._tell(assess(view, facts))

    def _tell(self, found: Readiness) -> None:
        """One log line a host whose readiness has changed."""
        for host in found.hosts:
            if self._ready.get(host.host, True) != host.ready:
                words = "ready" if host.ready else f"not ready ({_why(host)})"
                log.warning("host %s: if it died now: %s", host.host, words)
        self._ready = {host.host: host.ready for host in found.hosts}

    def _known(self) -> tuple[View, CloudFacts]:
        with self._lock:
            facts, trouble = self._facts, self._trouble
        view = self._seen()
        if view is None:
            raise NotKnown("this controller stands by, or has seen nothing yet; ask the one that acts")
        if facts is None:
            raise NotKnown(trouble)
        age = self._clock() - facts.at
        if age > STALE * INTERVAL:
            raise NotKnown(f"the newest survey of the cloud is {age:.0f} s old: {trouble or 'it takes long'}")
        return view, facts

    def readiness(self) -> Readiness:
        """By the newest survey and what is seen of the hosts now. Raises NotKnown."""
        view, facts = self._known()
        known = self._told
        if known is not None and known[0] is facts and view.now - known[1] < FRESH:
            return known[2]
        found = assess(view, facts)
        self._told = (facts, view.now, found)
        return found

    def plan(self, host: str, fault: str) -> Plan:
        """What would be done about this fault of the host now. Raises NotKnown, or LookupError for a host or
        fault that is not known.
        """
        view, facts = self._known()
        return plan(view, facts, host, fault)

    @property
    def paths(self) -> PathSettings:
        return self._paths


def _why(host: HostReady) -> str:
    words = [problem.words for problem in host.problems[:1]]
    lost = [each for each in host.instances if each.problem is not None and each.back is not Back.LEFT]
    if lost and lost[0].problem is not None:
        such = f"{lost[0].instance.name}: {lost[0].problem.words}"
        words.append(f"{len(lost)} of {len(host.instances)} instances, such as {such}")
    return "; ".join(words)


def survey_of(
    settings: ControllerSettings, choices: Callable[[], Iterable[Choice]]
) -> Callable[[float], CloudFacts]:
    """Surveys the cloud of the configuration. Nothing is sent before the first one.

    Args:
        choices: what people chose for single instances; asked at every survey.
    """
    rules = {host.name: settings.protection[host.cluster] for host in settings.hosts}

    def survey(at: float) -> CloudFacts:
        from hass_runtime.remedy.cloud import connection_of
        from hass_runtime.survey.collect import collect
        from hass_runtime.survey.policy import policy_of

        policy = policy_of(rules, {each.instance: each for each in choices()})
        with connection_of(settings, workers=1) as connection:
            return collect(connection, at, settings.network.shared_storage, policy)

    return survey
