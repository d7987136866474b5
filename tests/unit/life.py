"""A host's life in fast motion: decisions are carried out at once on plain records, runs end as told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from views import POLICY, WELL, Look

from hass_runtime.decide import lifecycle, plan
from hass_runtime.decide.view import LastRun, Policy, View
from hass_runtime.domain import Bmc, Host, HostState, Incident, Layer, Outcome, Reading
from hass_runtime.memory import Memory

DARK: dict[Layer, Look] = {}


@dataclass
class Life:
    """Hosts, their incidents and what was decided; ``log`` has one line a decision."""

    names: tuple[str, ...] = ("host1", "host2", "host3")
    policy: Policy = POLICY
    now: float = 1000.0
    disarmed: str = ""
    log: list[str] = field(default_factory=list)
    launches: list[plan.Launch] = field(default_factory=list)
    closed: list[Incident] = field(default_factory=list)
    bmc: bool = True

    def __post_init__(self) -> None:
        credentials = Bmc("192.0.2.1", "admin", "secret") if self.bmc else None
        hosts = {name: Host(name, "192.0.2.9", "default", credentials) for name in self.names}
        self.memory = Memory(hosts, self.policy)

    def view(self) -> View:
        return self.memory.view(self.now, self.disarmed)

    def see(self, seconds: int = 1, **looks: dict[Layer, Look]) -> None:
        """Time passes, one reading of every layer a second; hosts not named are well."""
        for _ in range(seconds):
            self.now += 1.0
            for name in self.names:
                for layer in (Layer.POWER, Layer.NETWORK, Layer.SERVICE):
                    verdict, answered = looks.get(name, {}).get(layer, WELL)
                    self.memory.observe(Reading(name, layer, verdict, "evidence", self.now, answered))
            self.settle()

    def settle(self) -> None:
        for _ in range(20):
            decisions = plan.decide(self.view())
            if not decisions:
                return
            for decision in decisions:
                self._carry_out(decision)
        raise AssertionError(f"no end of decisions: {decisions}")

    def end(self, host: str, status: str = "successful", reason: str = "", fenced: bool = False) -> None:
        """The playbook at work on the host ends; with ``fenced`` it had proven the host off before."""
        if fenced:
            self.memory.proven_off.add(host)
        self.memory.run_ended(host, LastRun(self.memory.running[host], status, reason, self.now, 0))
        self.settle()

    def restart(self) -> None:
        """The controller dies and starts: runs are lost, readings are forgotten, the journal stays."""
        old = self.memory
        self.memory = Memory(old.hosts, old.policy, states=dict(old.states))
        self.memory.incidents = dict(old.incidents)
        self.memory.last_runs = dict(old.last_runs)
        self.memory.proven_off = set(old.proven_off)
        for host, playbook in old.running.items():
            self.memory.run_ended(host, LastRun(playbook, "lost", "its controller is gone", self.now, 0))

    def state(self, host: str) -> HostState:
        return self.memory.states[host]

    def incident(self, host: str) -> Incident:
        return self.memory.incidents[host]

    def _carry_out(self, decision: plan.Decision) -> None:
        memory = self.memory
        match decision:
            case plan.SetState(host, to, reason):
                self._enter(host, to, reason)
            case plan.OpenIncident(host, fault, why):
                assert host not in memory.incidents, "a second incident without an end"
                number = len(self.closed) + len(memory.incidents) + 1
                memory.forget_runs(host)
                memory.incidents[host] = Incident(
                    number, host, fault.name, fault.layer.value, Outcome.OPEN, self.now, decision=why
                )
                self.log.append(f"open {host} {fault.name}")
            case plan.Escalate(_, host, fault, _):
                memory.incidents[host] = replace(memory.incidents[host], fault=fault.name)
                self.log.append(f"escalate {host} {fault.name}")
            case plan.HoldIncident(_, host, gate, reason):
                memory.incidents[host] = replace(
                    memory.incidents[host], outcome=Outcome.HELD, gate=gate, reason=reason
                )
                self.log.append(f"hold {host} {gate}")
            case plan.Launch(_, host, playbook, _, state, _):
                assert not memory.running.get(host), "two playbooks at work on one host"
                known = memory.incidents[host]
                if playbook == plan.FAILURE:
                    known = replace(
                        known, attempts=known.attempts + 1, outcome=Outcome.OPEN, gate="", reason=""
                    )
                memory.incidents[host] = replace(known, phase=playbook)
                memory.running[host] = playbook
                self.launches.append(decision)
                self.log.append(f"launch {host} {playbook} {decision.attempt}")
                self._enter(host, state, "")
            case plan.Settle(_, host, outcome, reason):
                memory.incidents[host] = replace(memory.incidents[host], outcome=outcome, reason=reason)
                self.log.append(f"settle {host} {outcome.value}")
            case plan.CloseIncident(_, host, outcome, reason):
                ended = memory.incidents.pop(host)
                self.closed.append(replace(ended, outcome=outcome, reason=reason, closed_at=self.now))
                memory.forget_runs(host)
                self.log.append(f"close {host} {outcome.value}")

    def _enter(self, host: str, to: HostState, reason: str) -> None:
        before = self.memory.states[host]
        if before is to:
            return
        assert lifecycle.permitted(before, to), f"{host}: {before.value} -> {to.value} ({reason})"
        self.memory.states[host] = to
        self.log.append(f"{host} {before.value} -> {to.value}")
