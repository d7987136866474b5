"""The decision step: how long the judgement of all hosts takes, for clouds of several sizes.

No I/O is in it: readings are made up, and decisions are carried out in memory only. Three moments of a cloud:
all is well; one host in a hundred has lost its power; six in ten have (a storm: nothing may be fenced). For
each, ``see`` is to take in one reading of every layer of every host, and ``decide`` is to judge all of them
until there is nothing more to decide. Seconds compare with seconds of the same machine only; the last column,
the cost of a host in a large cloud over that in a small one, compares everywhere: 1 is linear.

Usage: benchmarks/decisions.py [HOSTS ...]
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table

from hass_runtime.decide import decisions
from hass_runtime.decide.plan import decide
from hass_runtime.decide.view import Policy
from hass_runtime.domain import Bmc, Host, HostState, Incident, Layer, Outcome, Reading, Verdict
from hass_runtime.memory import Memory
from hass_runtime.settings import ControllerSettings
from hass_runtime.simulator.configuration import configured
from hass_runtime.simulator.scenario import parse

SIZES = (100, 1_000, 10_000)
CLUSTER = 100  # hosts in a cluster
SECONDS = 5.0  # from one reading to the next
REPEATS = 5
MOMENTS = {"all is well": 0.0, "1 % lost power": 0.01, "60 % lost power": 0.6}
_ANSWERS = (Layer.NETWORK, Layer.STORAGE, Layer.SERVICE)


@dataclass(frozen=True)
class Cost:
    """Medians, in seconds."""

    see: float
    decide: float
    made: int


class Cloud:
    """Hosts, what is read of them, and the memory of a controller that never forgets."""

    def __init__(self, size: int, policy: Policy) -> None:
        self.hosts = {
            f"host{n}": Host(
                f"host{n}",
                f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}",
                f"cluster{n // CLUSTER}",
                Bmc("192.0.2.1", "admin", "made-up"),
                zone=f"rack{n // 20}",
            )
            for n in range(size)
        }
        self.memory = Memory(self.hosts, policy)
        self.now = 1_000_000.0

    def readings(self, dead: float) -> list[Reading]:
        self.now += SECONDS
        every = []
        for number, name in enumerate(self.hosts):
            lost = number % 100 < dead * 100
            verdict = Verdict.FAILED if lost else Verdict.OK
            for layer in Layer:
                if layer in _ANSWERS:
                    unseen = lost and layer is Layer.STORAGE
                    seen = Verdict.UNKNOWN if unseen else verdict
                    every.append(Reading(name, layer, seen, "made up", self.now, not lost))
                else:
                    seen = verdict if layer is Layer.POWER else Verdict.UNKNOWN if lost else Verdict.OK
                    every.append(Reading(name, layer, seen, "made up", self.now))
        return every

    def see(self, readings: list[Reading]) -> None:
        for reading in readings:
            self.memory.observe(reading)

    def settle(self) -> int:
        """Decide until nothing is left; how many decisions were made."""
        made = 0
        while found := decide(self.memory.view(self.now)):
            made += len(found)
            for decision in found:
                self._carry_out(decision)
        return made

    def _carry_out(self, decision: decisions.Decision) -> None:
        memory, host = self.memory, decision.host
        match decision:
            case decisions.SetState():
                memory.states[host] = decision.to
            case decisions.OpenIncident():
                memory.incidents[host] = Incident(
                    len(memory.incidents) + 1,
                    host,
                    decision.fault.name,
                    decision.fault.layer.value,
                    Outcome.OPEN,
                    self.now,
                )
            case decisions.HoldIncident():
                changed = {"outcome": Outcome.HELD, "gate": decision.gate, "reason": decision.reason}
                memory.incidents[host] = replace(memory.incidents[host], **changed)  # type: ignore[arg-type]
            case decisions.Launch():
                memory.run_began(host, decision.playbook)
                memory.states[host] = decision.state
                memory.incidents[host] = replace(memory.incidents[host], phase=decision.playbook, tries=1)
            case _:
                raise SystemExit(f"this benchmark does not know {decision!r}")


def measured(size: int, dead: float, policy: Policy) -> Cost:
    """One more round of readings and its judgement, after the one that establishes what is wrong."""
    see, judge, made = [], [], 0
    for _ in range(REPEATS):
        cloud = Cloud(size, policy)
        cloud.see(cloud.readings(0.0))
        cloud.settle()
        cloud.see(cloud.readings(dead))
        cloud.settle()
        readings = cloud.readings(dead)
        gc.collect()
        began = time.perf_counter()
        cloud.see(readings)
        seen = time.perf_counter()
        made = cloud.settle()
        judge.append(time.perf_counter() - seen)
        see.append(seen - began)
    expected = sum(number % 100 < dead * 100 for number in range(size))
    down = sum(state is not HostState.HEALTHY for state in cloud.memory.states.values())
    if down != expected:
        raise SystemExit(f"{down} of {size} hosts are not healthy, expected {expected}: nothing was measured")
    return Cost(statistics.median(see), statistics.median(judge), made)


def policy() -> Policy:
    """The defaults, with the symptom table that comes with HASS."""
    settings: ControllerSettings
    settings, made = configured(parse("run_for: 1", "defaults"))
    return replace(made, max_remedies=settings.safety.max_remedies)


def main(sizes: tuple[int, ...]) -> Table:
    """Measure, and return the table."""
    table = Table(
        "moment", "hosts", "see", "decide", "decisions", "decide, each host", "each host, of the least"
    )
    defaults = policy()
    for moment, dead in MOMENTS.items():
        base = 0.0
        for size in sizes:
            cost = measured(size, dead, defaults)
            each = cost.decide / size
            base = base or each
            table.add_row(
                moment,
                f"{size:,}",
                f"{cost.see * 1000:.1f} ms",
                f"{cost.decide * 1000:.1f} ms",
                f"{cost.made:,}",
                f"{each * 1e6:.1f} µs",
                f"{each / base:.2f}",
            )
    return table


if __name__ == "__main__":
    Console(width=120).print(main(tuple(int(word) for word in sys.argv[1:]) or SIZES))
