"""The made-up hypervisors: the world's own truth about which guest runs where.

A Hypervisor outlives the nova-compute above it, as libvirt and the disks of a host do: the driver of each
new nova-compute finds what its predecessor left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import eventlet
from greenlet import GreenletExit
from nova import exception
from nova.compute import power_state
from nova.virt import event, fake

# How long a guest's start may go on after its nova-compute was killed, in seconds.
TICK = 0.05


@dataclass
class Hypervisor:
    """One host: the guests defined on it, by uuid, and what may go wrong there next."""

    host: str
    powered: bool = True
    guests: dict[str, Any] = field(default_factory=dict)
    fail_spawns: int = 0
    fail_migrations: int = 0
    # Every killed nova-compute raises it; a driver of an older life must not touch the guests any more.
    life: int = 0

    def hand_over(self, uuid: str, target: Hypervisor) -> bool:
        """The last moment of a live migration: the guest is there, and no longer here, in one step.

        False when it stays: it was stopped meanwhile, one of the two has no power, or it was to fail.
        """
        guest = self.guests.get(uuid)
        if self.fail_migrations > 0:
            self.fail_migrations -= 1
            return False
        moving = guest is not None and guest.state in (power_state.RUNNING, power_state.PAUSED)
        if not (moving and self.powered and target.powered):
            return False
        target.guests[uuid] = self.guests.pop(uuid)
        return True

    def power_cut(self) -> None:
        """No guest runs any more; their definitions and disks stay."""
        self.powered = False
        for guest in self.guests.values():
            guest.state = power_state.SHUTDOWN

    def listing(self) -> list[dict[str, str]]:
        """Uuid, name and power state (`running`, `shutdown`, …) of each guest."""
        return [
            {"uuid": guest.uuid, "name": guest.name, "power_state": power_state.STATE_MAP[guest.state]}
            for guest in self.guests.values()
        ]


@dataclass
class World:
    """All hypervisors, and how fast (seconds) and how large they are."""

    hypervisors: dict[str, Hypervisor] = field(default_factory=dict)
    spawn_seconds: float = 0.0
    migrate_seconds: float = 0.0
    vcpus: int = 10
    memory_mb: int = 8192
    disk_gb: int = 1000
    shared_storage: bool = True
    # Uuid -> the hosts on which a guest once ran at the same time. It stays, however short that was.
    doubled: dict[str, list[str]] = field(default_factory=dict)

    def notice(self, uuid: str) -> None:
        """A guest has begun to run somewhere: does it run anywhere else as well?"""
        hosts = self.running().get(uuid, [])
        if len(hosts) > 1:
            self.doubled[uuid] = sorted({*self.doubled.get(uuid, []), *hosts})

    def hypervisor(self, host: str) -> Hypervisor:
        return self.hypervisors.setdefault(host, Hypervisor(host))

    def running(self) -> dict[str, list[str]]:
        """Uuid -> every host on which this guest runs; more than one host is the disaster itself."""
        found: dict[str, list[str]] = {}
        for hypervisor in self.hypervisors.values():
            for guest in hypervisor.guests.values():
                if guest.state == power_state.RUNNING:
                    found.setdefault(guest.uuid, []).append(hypervisor.host)
        return found


WORLD = World()


class SandboxDriver(fake.FakeDriver):
    """Nova's fake driver on a Hypervisor that is not lost with nova-compute."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        self.vcpus, self.memory_mb, self.local_gb = WORLD.vcpus, WORLD.memory_mb, WORLD.disk_gb
        self._to_abort: set[str] = set()  # live migrations, by the uuid of their guests
        super().__init__(virtapi, read_only)

    def init_host(self, host: str) -> None:
        super().init_host(host)
        self._set_nodes([host])
        self.hypervisor = WORLD.hypervisor(host)
        self.life = self.hypervisor.life
        self.instances = self.hypervisor.guests

    def check_alive(self) -> None:
        """End the calling green thread, quietly, if the nova-compute that it belongs to was killed."""
        if self.life != self.hypervisor.life:
            raise GreenletExit

    def pause_for(self, seconds: float) -> None:
        """Take that long, unless killed meanwhile."""
        left = seconds
        while left > 0:
            eventlet.sleep(min(TICK, left))
            left -= TICK
            self.check_alive()

    def spawn(self, context, instance, *args, **kwargs):
        self.check_alive()
        self.pause_for(WORLD.spawn_seconds)
        if self.hypervisor.fail_spawns > 0:
            self.hypervisor.fail_spawns -= 1
            raise exception.InstanceDeployFailure(reason="the sandbox was told to fail this one")
        super().spawn(context, instance, *args, **kwargs)
        WORLD.notice(instance.uuid)

    def destroy(self, *args, **kwargs):
        self.check_alive()
        super().destroy(*args, **kwargs)

    def power_off(self, *args, **kwargs):
        self.check_alive()
        super().power_off(*args, **kwargs)

    def power_on(self, context, instance, *args, **kwargs):
        self.check_alive()
        if instance.uuid not in self.instances:
            # As libvirt's driver does: the definition is made anew from what Nova knows.
            self._define(instance)
        super().power_on(context, instance, *args, **kwargs)
        WORLD.notice(instance.uuid)

    def resume_state_on_host_boot(self, context, instance, *args, **kwargs):
        self.power_on(context, instance, None)

    def pause(self, instance):
        self._set_state(instance.uuid, power_state.PAUSED)

    def unpause(self, instance):
        self._set_state(instance.uuid, power_state.RUNNING)

    def suspend(self, context, instance):
        self._set_state(instance.uuid, power_state.SUSPENDED)

    def resume(self, context, instance, *args, **kwargs):
        self._set_state(instance.uuid, power_state.RUNNING)

    def instance_on_disk(self, instance):
        return WORLD.shared_storage

    def live_migration(
        self,
        context,
        instance,
        dest,
        post_method,
        recover_method,
        block_migration=False,
        migrate_data=None,
    ):
        """As libvirt's driver: the guest changes its host first, then Nova is told, one way or the other."""
        self._to_abort.discard(instance.uuid)
        left = WORLD.migrate_seconds
        while left > 0 and instance.uuid not in self._to_abort:
            self.pause_for(min(TICK, left))
            left -= TICK
        self.check_alive()
        if instance.uuid in self._to_abort:
            recover_method(context, instance, dest, migrate_data, migration_status="cancelled")
        elif self.hypervisor.hand_over(instance.uuid, WORLD.hypervisor(dest)):
            post_method(context, instance, dest, block_migration, migrate_data)
        else:
            recover_method(context, instance, dest, migrate_data)

    def live_migration_abort(self, instance):
        self._to_abort.add(instance.uuid)

    def post_live_migration(self, context, instance, *args, **kwargs):
        """On the source, which the guest has left already."""

    def post_live_migration_at_destination(self, context, instance, *args, **kwargs):
        """On the destination, where the guest is already."""
        self.check_alive()

    def _define(self, instance) -> None:
        guest = fake.FakeInstance(instance.name, power_state.RUNNING, instance.uuid)
        self.instances[instance.uuid] = guest

    def _set_state(self, uuid: str, state: int) -> None:
        self.check_alive()
        if uuid not in self.instances:
            raise exception.InstanceNotFound(instance_id=uuid)
        self.instances[uuid].state = state
        WORLD.notice(uuid)

    def guest_event(self, uuid: str, started: bool) -> None:
        """Tell nova-compute that a guest went on or off by itself, as libvirt's events do."""
        kind = event.EVENT_LIFECYCLE_STARTED if started else event.EVENT_LIFECYCLE_STOPPED
        self.emit_event(event.LifecycleEvent(uuid, kind))
