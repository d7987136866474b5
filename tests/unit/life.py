"""A host's life in fast motion: decisions are carried out at once on plain records, runs end as told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from views import MUTE, POLICY, WELL, Look

from hass_runtime.decide import decisions, lifecycle, plan
from hass_runtime.decide.chores import BY_SETTING
from hass_runtime.decide.view import FAILURE, RESTORE, LastRun, Policy, View
from hass_runtime.domain import (
    Bmc,
    Host,
    HostState,
    Incident,
    Layer,
    Order,
    OrderKind,
    Outcome,
    Pause,
    Reading,
    Scope,
    Verdict,
)
from hass_runtime.memory import GATEWAY, Memory

BASIC = (Layer.POWER, Layer.NETWORK, Layer.SERVICE)
TOLD_BY_BMC = (Layer.POWER, Layer.HARDWARE, Layer.OS)


@dataclass
class Life:
    """Hosts, their incidents and what was decided; ``log`` has one line a decision.

    ``layers`` are read of every host, those that its BMC tells only where it has one. ``clusters`` and
    ``zones`` are by host. ``gateway`` is what the controller's own gateway does; None: it has none.
    ``steps`` are the changes of state that were made.
    """

    names: tuple[str, ...] = ("host1", "host2", "host3")
    policy: Policy = POLICY
    now: float = 1000.0
    layers: tuple[Layer, ...] = BASIC
    without_bmc: tuple[str, ...] = ()
    clusters: Mapping[str, str] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    gateway: bool | None = None
    pauses: list[Pause] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    launches: list[decisions.Launch] = field(default_factory=list)
    cancels: list[decisions.Cancel] = field(default_factory=list)
    closed: list[Incident] = field(default_factory=list)
    steps: set[tuple[HostState, HostState]] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)
    given: int = 0

    def __post_init__(self) -> None:
        hosts = {}
        for name in self.names:
            bmc = None if name in self.without_bmc else Bmc("192.0.2.1", "admin", "secret")
            cluster, zone = self.clusters.get(name, "default"), self.zones.get(name, "")
            hosts[name] = Host(name, "192.0.2.9", cluster, bmc, zone)
        self.memory = Memory(hosts, self.policy, has_gateway=self.gateway is not None)

    # -- what is seen ----------------------------------------------------------------------------------

    def view(self) -> View:
        self.memory.told(self.pauses, self.orders)
        return self.memory.view(self.now)

    def see(self, seconds: int = 1, **looks: Mapping[Layer, Look]) -> None:
        """Time passes, one reading of every layer a second; hosts not named are well."""
        for _ in range(seconds):
            self.now += 1.0
            self.look(**looks)
            self.settle()

    def look(self, **looks: Mapping[Layer, Look]) -> None:
        """One reading of every layer at this moment; nothing is decided yet."""
        for name in self.names:
            for layer in self.layers:
                if layer in TOLD_BY_BMC and name in self.without_bmc:
                    continue
                verdict, answered = looks.get(name, {}).get(layer, self._unsaid(layer, looks.get(name, {})))
                answered = answered and layer not in TOLD_BY_BMC
                leaves = answered and layer is Layer.SERVICE and name in self.leaving
                self.memory.observe(Reading(name, layer, verdict, "evidence", self.now, answered, leaves))
        if self.gateway is not None:
            verdict = Verdict.OK if self.gateway else Verdict.FAILED
            self.memory.observe(Reading(GATEWAY, Layer.NETWORK, verdict, "", self.now, self.gateway))

    def _unsaid(self, layer: Layer, looks: Mapping[Layer, Look]) -> Look:
        """What is read of a layer of which nothing is said: its agent tells of the storage, if it answers."""
        told_by_agent = layer is Layer.STORAGE and not looks.get(Layer.SERVICE, WELL)[1]
        return MUTE if told_by_agent else WELL

    def settle(self) -> None:
        """Decide, until there is nothing more to decide."""
        for _ in range(20):
            view = self.view()
            found = plan.decide(view)
            assert found == plan.decide(view), "the same view gives other decisions"
            if not found:
                return
            for decision in found:
                self._carry_out(decision)
        raise AssertionError(f"no end of decisions: {found}")

    # -- what runs and people do -----------------------------------------------------------------------

    def fence(self, host: str) -> None:
        """The playbook at work has proven the host off."""
        known = self.memory.incidents[host]
        if known.fenced_at is None:
            self.memory.incidents[host] = replace(known, fenced_at=self.now)
            self.memory.fences.append((host, self.now))
        self._enter(host, HostState.FENCED, "off")

    def end(
        self, host: str, status: str = "successful", reason: str = "", fenced: bool | None = None
    ) -> None:
        """The playbook at work on the host ends. One that fences has proven the host off before, when it is
        successful or ``fenced``.
        """
        playbook = self.memory.running[host]
        proven = status == "successful" if fenced is None else fenced
        if playbook == FAILURE and proven and self.state(host) is HostState.FENCING:
            self.fence(host)
        self.memory.run_ended(host, LastRun(playbook, status, reason, self.now, 0))
        self.settle()

    def restart(self) -> None:
        """The controller dies and starts: runs are lost, readings are forgotten, the journal stays."""
        old = self.memory
        self.memory = Memory(old.hosts, old.policy, old.has_gateway, states=dict(old.states))
        self.memory.incidents = dict(old.incidents)
        self.memory.last_runs = dict(old.last_runs)
        self.memory.begun = dict(old.begun)
        self.memory.fences = list(old.fences)
        self.memory.reserves = dict(old.reserves)
        for host in old.hosts:
            self.memory.recall_doubt(host, old.doubts.get(host, ""))
            self.memory.know_boot(host, old.boots.get(host, ""))
        for host, playbook in old.running.items():
            self.memory.run_ended(host, LastRun(playbook, "lost", "its controller is gone", self.now, 0))

    def pause(self, scope: Scope = Scope.ALL, name: str = "") -> None:
        self.pauses.append(Pause("firmware", "ann", self.now, None, scope, name))

    def order(self, host: str, kind: OrderKind, **more: Any) -> Order:
        """A person orders something; an earlier order of the same kind ends."""
        self.take_back(host, kind)
        self.given += 1
        given = replace(Order(self.given, host, kind, "new disks", "ann", self.now), **more)
        self.orders.append(given)
        return given

    def take_back(self, host: str, kind: OrderKind) -> None:
        self.orders = [order for order in self.orders if (order.host, order.kind) != (host, kind)]

    # -- what came of it -------------------------------------------------------------------------------

    def state(self, host: str) -> HostState:
        return self.memory.states[host]

    def incident(self, host: str) -> Incident:
        return self.memory.incidents[host]

    def running(self, host: str) -> str:
        return self.memory.running.get(host, "")

    def launched(self, host: str) -> list[str]:
        """The playbooks launched on a host, in order."""
        return [launch.playbook for launch in self.launches if launch.host == host]

    def ends(self, host: str) -> list[tuple[str, str]]:
        """(fault, outcome) of the ended incidents of a host, in order."""
        return [(each.fault, each.outcome.value) for each in self.closed if each.host == host]

    def _carry_out(self, decision: decisions.Decision) -> None:
        memory = self.memory
        match decision:
            case decisions.SetState(host, to, reason):
                self._enter(host, to, reason)
            case decisions.SetDoubt(host, doubt):
                memory.doubts[host] = doubt
                self.log.append(f"doubt {host} {doubt}")
            case decisions.SetBoot(host, boot):
                memory.know_boot(host, boot)
            case decisions.SetReserve(host, kept, _):
                memory.reserves[host] = kept
                self.log.append(f"reserve {host} {kept.value}")
            case decisions.WantHome(number, host, _):
                made = self.order(host, OrderKind.FAILBACK, by=BY_SETTING, incident=number)
                memory.orders[host, made.kind] = made
            case decisions.OpenIncident(host, fault, why):
                assert host not in memory.incidents, "a second incident without an end"
                number = len(self.closed) + len(memory.incidents) + 1
                memory.forget_runs(host)
                memory.incidents[host] = Incident(
                    number, host, fault.name, fault.layer.value, Outcome.OPEN, self.now, decision=why
                )
                self.log.append(f"open {host} {fault.name}")
            case decisions.Escalate(_, host, fault, _):
                memory.incidents[host] = replace(
                    memory.incidents[host], fault=fault.name, layer=fault.layer.value, rung=0, tries=0
                )
                self.log.append(f"escalate {host} {fault.name}")
            case decisions.HoldIncident(_, host, gate, reason):
                assert reason, "held without a reason"
                memory.incidents[host] = replace(
                    memory.incidents[host], outcome=Outcome.HELD, gate=gate, reason=reason
                )
                self.log.append(f"hold {host} {gate}")
            case decisions.Launch():
                self._launch(decision)
            case decisions.Cancel(_, host, _):
                memory.cancelling.add(host)
                self.cancels.append(decision)
                self.log.append(f"cancel {host} {memory.running[host]}")
            case decisions.Settle(_, host, outcome, reason):
                memory.incidents[host] = replace(
                    memory.incidents[host], outcome=outcome, gate="", reason=reason
                )
                self.log.append(f"settle {host} {outcome.value}")
            case decisions.CloseIncident(_, host, outcome, reason):
                assert outcome not in (Outcome.OPEN, Outcome.HELD), f"{outcome.value} is not an end"
                ended = memory.incidents.pop(host)
                self.closed.append(replace(ended, outcome=outcome, reason=reason, closed_at=self.now))
                memory.forget_runs(host)
                self.log.append(f"close {host} {outcome.value}")
            case decisions.EndOrder(number, host, _):
                ended_orders = [each for each in self.orders if each.id == number]
                assert [each.host for each in ended_orders] == [host], "no such order"
                self.orders = [each for each in self.orders if each.id != number]
                self.log.append(f"end order {host} {ended_orders[0].kind.value}")

    def _launch(self, launch: decisions.Launch) -> None:
        host, memory = launch.host, self.memory
        assert not memory.running.get(host), "two playbooks at work on one host"
        known = replace(memory.incidents[host], phase=launch.playbook)
        if launch.playbook != RESTORE:
            known = replace(
                known, outcome=Outcome.OPEN, gate="", reason="", rung=launch.rung, tries=launch.tries
            )
        if launch.playbook == FAILURE:
            known = replace(known, attempts=known.attempts + 1)
        memory.incidents[host] = known
        memory.run_began(host, launch.playbook)
        self.launches.append(launch)
        self.log.append(f"launch {host} {launch.playbook} {launch.attempt}")
        self._enter(host, launch.state, launch.why)

    def _enter(self, host: str, to: HostState, reason: str) -> None:
        before = self.memory.states[host]
        if before is to:
            return
        assert lifecycle.permitted(before, to), f"{host}: {before.value} -> {to.value} ({reason})"
        self.memory.states[host] = to
        self.steps.add((before, to))
        self.log.append(f"{host} {before.value} -> {to.value}")
