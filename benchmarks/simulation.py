"""The simulator: simulated hours a second, and random schedules a second, by one process and by one a core.

A schedule is what `hass simulate --random` makes up: 2 to 6 hosts, up to 8 things that go wrong, five and a
half minutes of simulated time. The ratio says what a second process brings.

Usage: benchmarks/simulation.py [SCHEDULES]
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time

from rich.console import Console
from rich.table import Table

from hass_runtime.simulator.dice import RUN_FOR, roll
from hass_runtime.simulator.explore import collect_rarely
from hass_runtime.simulator.run import simulate

SCHEDULES = 200
SEED = 1


def one(index: int) -> int:
    """Run a schedule; how many safety rules it breaks."""
    return len(simulate(roll(SEED, index)).violations)


def measured(count: int, processes: int) -> tuple[float, int]:
    """Seconds for so many schedules, and how many rules they broke."""
    with multiprocessing.get_context("fork").Pool(processes, initializer=collect_rarely) as pool:
        pool.map(one, range(processes))  # so that every process has loaded what it needs
        began = time.perf_counter()
        broken = sum(pool.imap_unordered(one, range(count), chunksize=4))
        return time.perf_counter() - began, broken


def main(count: int) -> Table:
    """Measure, and return the table."""
    table = Table(
        "processes", "schedules", "schedules a second", "simulated hours a second", "of one process"
    )
    base = 0.0
    for processes in sorted({1, os.cpu_count() or 1}):
        seconds, broken = measured(count, processes)
        if broken:
            raise SystemExit(
                f"{broken} safety rules are broken: see hass simulate --random {count} --seed {SEED}"
            )
        rate = count / seconds
        base = base or rate
        hours = rate * RUN_FOR / 3600
        table.add_row(str(processes), str(count), f"{rate:.1f}", f"{hours:.2f}", f"{rate / base:.2f}")
    return table


if __name__ == "__main__":
    Console(width=110).print(main(int(sys.argv[1]) if len(sys.argv) > 1 else SCHEDULES))
