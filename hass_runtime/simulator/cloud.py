"""The made-up Nova behind the calls of `remedy.cloud.Cloud`: what HASS does to it passes through here."""

from __future__ import annotations

from collections.abc import Callable

from hass_runtime.decide.protection import Aggregate, Image
from hass_runtime.remedy.cloud import ARRIVES_STOPPED, version_tuple
from hass_runtime.remedy.nova import CloudError, ComputeService, InstanceAction, Migration, Server
from hass_runtime.simulator.nova import Nova, Refused

NEWEST = (2, 96)
"""The newest microversion of the made-up Nova."""

Told = Callable[[str, str, str], None]
"""Hears of every call that changes something, before it is made: what, the subject, and words."""


class MadeUpCloud:
    """As `remedy.cloud.Cloud`. Calls take no time: who waits for what they begin looks again later."""

    def __init__(self, nova: Nova, evacuate_microversion: str, told: Told) -> None:
        self._nova = nova
        self._wanted = version_tuple(evacuate_microversion)
        self._told = told

    @property
    def arrives_stopped(self) -> bool:
        """Whether what was evacuated is stopped when it arrives."""
        return min(self._wanted, NEWEST) >= ARRIVES_STOPPED

    def compute_service(self, host: str) -> ComputeService | None:
        return self._ask(f"list nova-compute of {host}").service(host)

    def set_forced_down(self, service: ComputeService, forced_down: bool) -> None:
        name = service.host
        self._change(
            f"{'set' if forced_down else 'lift'} force-down of {name}",
            lambda nova: nova.set_forced_down(name, forced_down),
        )
        self._told("force_down" if forced_down else "unforce", name, "")

    def set_enabled(self, service: ComputeService, enabled: bool, reason: str = "") -> None:
        name = service.host
        self._change(
            f"{'enable' if enabled else 'disable'} nova-compute of {name}",
            lambda nova: nova.set_enabled(name, enabled, reason),
        )
        self._told("enable" if enabled else "disable", name, reason)

    def aggregates_of(self, host: str) -> tuple[Aggregate, ...]:
        spec = self._ask("list the host aggregates").world.hosts[host].spec
        joined = self._nova.joined.get(host, ())
        return tuple(Aggregate(name, id=name) for name in (*spec.aggregates, *joined))

    def add_to_aggregate(self, aggregate: Aggregate, host: str) -> None:
        self._change(
            f"add {host} to aggregate {aggregate.name}", lambda nova: nova.join(aggregate.name, host)
        )
        self._told("join", host, aggregate.name)

    def image(self, image_id: str) -> Image:
        self._ask(f"read image {image_id}")
        return Image(image_id, (image_id,))

    def servers_on(self, host: str) -> list[Server]:
        nova = self._ask(f"list the instances of {host}")
        return [each.server for each in nova.records.values() if each.server.host == host]

    def server(self, server_id: str) -> Server | None:
        record = self._ask(f"read instance {server_id}").records.get(server_id)
        return record.server if record is not None else None

    def evacuate(self, server_id: str, host: str = "") -> None:
        record = self._ask(f"evacuate instance {server_id}").records.get(server_id)
        if record is not None:
            self._told("evacuate", server_id, record.server.host)
        self._change(f"evacuate instance {server_id}", lambda nova: nova.evacuate(server_id, host))

    def start(self, server_id: str) -> None:
        self._change(f"start instance {server_id}", lambda nova: nova.start(server_id))
        self._told("start", server_id, self._nova.records[server_id].server.host)

    def stop(self, server_id: str) -> None:
        self._change(f"stop instance {server_id}", lambda nova: nova.stop(server_id))
        self._told("stop", server_id, self._nova.records[server_id].server.host)

    def live_migrate(self, server_id: str, host: str = "") -> None:
        self._change(f"live-migrate instance {server_id}", lambda nova: nova.live_migrate(server_id, host))
        self._told("live_migrate", server_id, self._nova.records[server_id].server.host)

    def abort_migration(self, server_id: str, migration_id: int) -> None:
        what = f"abort the live migration of instance {server_id}"
        self._change(what, lambda nova: nova.abort(server_id, migration_id))
        self._told("abort", server_id, str(migration_id))

    def evacuations(self, source: str, since: float) -> list[Migration]:
        return self._records(source, since, "evacuation")

    def live_migrations(self, source: str, since: float) -> list[Migration]:
        return self._records(source, since, "live-migration")

    def actions(self, server_id: str) -> list[InstanceAction]:
        record = self._ask(f"read the actions of {server_id}").records.get(server_id)
        return list(record.actions) if record is not None else []

    def why_not_migrated(self, server_id: str) -> str:
        self._ask(f"read why {server_id} was not migrated")
        return ""

    def evacuate_microversion(self) -> str:
        self._ask("read Nova's versions")
        chosen = min(self._wanted, NEWEST)
        return f"{chosen[0]}.{chosen[1]}"

    def _records(self, source: str, since: float, kind: str) -> list[Migration]:
        nova = self._ask(f"list the {kind}s of {source}")
        return [
            each
            for number, each in nova.migrations.items()
            if each.source == source and each.created_at >= since and nova.kinds[number] == kind
        ]

    def _ask(self, what: str) -> Nova:
        if not (self._nova.world.nova_api and self._nova.world.controller_network):
            raise CloudError(f"{what}: Nova does not answer")
        return self._nova

    def _change(self, what: str, change: Callable[[Nova], None]) -> None:
        try:
            change(self._ask(what))
        except Refused as error:
            raise CloudError(
                f"{what}: Nova says {error.status}: {error}", error.status, gone=error.status == 404
            ) from error
