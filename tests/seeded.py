"""A store with a little history, by the real writer: one incident that ended well and one that is held."""

from __future__ import annotations

from hass_runtime.domain import (
    Bmc,
    Fault,
    Gate,
    Host,
    HostState,
    Layer,
    Move,
    MoveState,
    Outcome,
    Reading,
    StepStatus,
    Verdict,
)
from hass_runtime.store import Store

NOW = 1_772_334_761.25  # 2026-03-01 03:12:41.250 UTC


def seed(url: str) -> Store:
    store = Store(url)
    store.migrate()
    lease = store.lease_acquire("ctl1", 600)
    assert lease is not None
    writer = store.writer(lease)
    bmc = Bmc("192.0.2.112", "admin", "s3cret")
    writer.put_hosts(
        [
            Host("compute1", "192.0.2.11", bmc=bmc),
            Host("compute2", "192.0.2.12", bmc=bmc),
            Host("compute3", "192.0.2.13"),
        ]
    )
    off = Reading("compute2", Layer.POWER, Verdict.FAILED, "chassis power is off", NOW)
    writer.put_readings(
        [off, Reading("compute2", Layer.POWER, Verdict.FAILED, "chassis power is off", NOW + 1.0)]
    )
    fault = Fault("compute2", "power", Layer.POWER, "its BMC says off", (off,))
    first = writer.open_incident("compute2", fault, "power: its BMC says off", NOW)
    writer.note(first.id, "Launch host_failure", StepStatus.OK, NOW + 1.0, "no gate is closed")
    writer.start_run("run-1", first.id, "host_failure", 1, 4711, "/var/lib/hass/runs/run-1", NOW + 1.1)
    for key, name, start, end, action in (
        ("t1", "Power off compute2", 1.5, 6.0, "hass_fence"),
        ("t2", "Evacuate compute2", 6.1, 27.0, "hass_evacuate"),
    ):
        writer.put_step(
            first.id,
            "run-1",
            key,
            name,
            StepStatus.CHANGED,
            NOW + start,
            NOW + end,
            "done [as asked]",
            action,
        )
    writer.put_move(
        Move(
            first.id,
            "7f0c2d3e-5b1a-4c8e-9d2f-000000000001",
            "web",
            "compute2",
            MoveState.SUCCEEDED,
            target="compute1",
            was="active",
            attempts=1,
            started_at=NOW + 6.5,
            finished_at=NOW + 13.0,
        )
    )
    writer.update_incident(first.id, phase="host_failure", attempts=1, tries=1, fenced_at=NOW + 6.0)
    writer.finish_run("run-1", "successful", 0, "", NOW + 27.5)
    writer.set_host_state("compute2", HostState.EVACUATED, "every instance is where it should be", NOW + 28.0)
    writer.close_incident(first.id, Outcome.RECOVERED, "every instance is where it should be", NOW + 120.5)
    silent = Fault("compute3", "unreachable", Layer.NETWORK, "nothing on it answers")
    second = writer.open_incident("compute3", silent, "unreachable: nothing on it answers", NOW + 200.0)
    reason = "compute3 has no BMC: only a person can prove that it is off"
    writer.note(second.id, "Held by gate unproven", StepStatus.OK, NOW + 201.0, reason)
    writer.update_incident(second.id, outcome=Outcome.HELD, gate=Gate.UNPROVEN, reason=reason)
    writer.set_host_state("compute3", HostState.HELD, f"unproven: {reason}", NOW + 201.0)
    return store
