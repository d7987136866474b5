"""The mildest remedy: the agent of a host that answers restarts what it says has failed.

Nothing is restarted from here: the agent knows which of its checks is a unit, and refuses what is none. Then
both the agent and, where it is asked at all, Nova have to say that the host is well again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hass_runtime.agent.protocol import Check
from hass_runtime.detect.services import judge
from hass_runtime.domain import Verdict
from hass_runtime.remedy.nova import CloudError, ComputeService
from hass_runtime.remedy.restoration import Patience, RestoreError

NOVA_CHECK = "nova-compute"
"""The agent's check behind Nova's view of the host."""

HEARINGS = 3
"""So often an agent that does not answer is asked anew: datagrams get lost."""


class RestartError(Exception):
    """The services of the host are not well, and restarting them did not, or cannot, help. One line."""


class AgentSilent(Exception):
    """The agent did not answer; why, in one line."""


class Agent(Protocol):
    """The agent of one host. Each call is bounded in time."""

    def checks(self) -> Mapping[str, Check]:
        """What it says of each of its checks. Raises AgentSilent."""

    def restart(self, check: str) -> str | None:
        """None when it restarts what is behind the check, else why not."""


class Nova(Protocol):
    """Nova's view of the host."""

    def compute_service(self, host: str) -> ComputeService | None: ...


@dataclass(frozen=True)
class Restarted:
    """What was asked for, and what came of it. ``refused`` is by check why."""

    asked: tuple[str, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    evidence: str = ""

    def words(self, host: str) -> str:
        """The outcome as a person reads it."""
        if not self.asked:
            return f"the services of {host} are fine: {self.evidence}"
        done = [name for name in self.asked if name not in self.refused]
        text = f"{', '.join(done)} of {host} restarted: {self.evidence}"
        return f"{text}; not restarted: {told(self.refused)}" if self.refused else text


def wanted(checks: Mapping[str, Check], nova_down: bool) -> tuple[str, ...]:
    """Which checks' services are to be restarted: those that failed, and nova-compute when Nova misses it.

    The agent sums up as "…" what did not fit into its answer: that is no check's name. A storage is no
    service.
    """
    failed = {
        name
        for name, check in checks.items()
        if check.state == "failed" and not check.storage and name != "…"
    }
    if nova_down and NOVA_CHECK in checks:
        failed.add(NOVA_CHECK)
    return tuple(sorted(failed))


def told(reasons: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({why})" for name, why in sorted(reasons.items()))


class Restarter:
    """Restarts the failed services of one host. ``nova`` None: Nova's view is not asked."""

    def __init__(self, host: str, agent: Agent, nova: Nova | None, patience: Patience) -> None:
        self._host = host
        self._agent = agent
        self._nova = nova
        self._patience = patience
        self._first: ComputeService | None = None

    def foresee(self) -> tuple[str, ...]:
        """The checks whose services `run` would ask to be restarted. Raises RestartError."""
        checks = self._checks()
        missing = self._missed()
        # A person's force-down says nothing of how nova-compute is; nor does a Nova that does not answer.
        first = self._first
        if first is not None and first.forced_down:
            missing = None
        names = wanted(checks, first is not None and not first.up and not first.forced_down)
        verdict, evidence = judge(checks)
        if not names and (missing or verdict is not Verdict.OK):
            raise RestartError(f"nothing on {self._host} can be restarted: {missing or evidence}")
        return names

    def run(self) -> Restarted:
        """Raises RestartError or RestoreError, both with what is still wrong."""
        names = self.foresee()
        if not names:
            return Restarted((), evidence=judge(self._checks())[1])
        answers = {name: self._agent.restart(name) for name in names}
        refused = {name: why for name, why in answers.items() if why is not None}
        if len(refused) == len(names):
            raise RestartError(f"the agent of {self._host} restarts nothing: {told(refused)}")
        evidence = ""

        def look() -> str | None:
            nonlocal evidence
            try:
                verdict, evidence = judge(self._agent.checks())
            except AgentSilent as silence:
                return str(silence)
            return self._missed() if verdict is Verdict.OK else evidence

        try:
            self._patience.until(look)
        except RestoreError as error:
            done = ", ".join(name for name in names if name not in refused)
            left = f"; not restarted: {told(refused)}" if refused else ""
            raise RestartError(
                f"{self._host} is not well after the restart of {done}: {error}{left}"
            ) from error
        return Restarted(names, refused, evidence)

    def _checks(self) -> Mapping[str, Check]:
        for _ in range(HEARINGS - 1):
            try:
                return self._agent.checks()
            except AgentSilent:
                self._patience.sleep(self._patience.interval)
        try:
            return self._agent.checks()
        except AgentSilent as silence:
            raise RestartError(f"nothing on {self._host} can be restarted: {silence}") from silence

    def _missed(self) -> str | None:
        """What Nova misses of the host's nova-compute, None when nothing: it is up, or beats since the first
        look, which was before the restart. A forced-down one is never up, however well it is.
        """
        if self._nova is None:
            return None
        try:
            service = self._nova.compute_service(self._host)
        except CloudError as error:
            return str(error)
        if service is None:
            return f"Nova knows no nova-compute on {self._host}"
        if self._first is None:
            self._first = service
        if service.up or service.updated_at != self._first.updated_at:
            return None
        return f"Nova sees no heartbeat of nova-compute on {self._host}"
