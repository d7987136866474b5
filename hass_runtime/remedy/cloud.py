"""Nova as the remedies see it: a few typed calls, each bounded in time, each failing in one clear line.

openstacksdk does the talking: discovery, tokens, paging, parsing. What is added here is what a remedy has to
know of a call: whether it may have been carried out, and that names are compared whole. Every request names
its microversion, so that a newer Nova does not change what a call means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests
from keystoneauth1 import exceptions as ksa
from keystoneauth1.session import TCPKeepAliveAdapter
from openstack import exceptions as sdk
from openstack.connection import Connection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import Retry

from hass_runtime.decide.protection import Aggregate, Image
from hass_runtime.remedy.nova import (
    CloudError,
    ComputeService,
    InstanceAction,
    Migration,
    Server,
    to_action,
    to_aggregate,
    to_migration,
    to_server,
    to_service,
)

if TYPE_CHECKING:
    from hass_runtime.settings import ControllerSettings

READ_MICROVERSION = "2.60"
"""Queens: the oldest Nova that HASS works with. os-services by UUID, migrations with paging, server tags."""

ARRIVES_STOPPED = (2, 95)
"""From this microversion on an evacuated instance arrives stopped, whatever it was."""

ABORTS_WAITING = (2, 65)
"""From this microversion on a live migration can be aborted before it has really begun."""

TELLS_WHY = (2, 84)
"""From this microversion on Nova tells why an action failed."""

LIVE_MIGRATION = "live-migration"
"""Nova's name for it, among its migration records as well as its instance actions."""

NOVA_COMPUTE = "nova-compute"

# openstacksdk's own retries (connect_retries, status_code_retries) do not tell a read from a change, so they
# stay at their default, none. These do: what was sent is sent again only when it was a GET; what found nobody
# to take the connection was never sent.
_RETRIES = Retry(
    total=2,
    redirect=0,
    status=0,
    other=0,
    allowed_methods={"GET"},
    backoff_factor=0.25,
    respect_retry_after_header=False,
)


def version_tuple(text: str) -> tuple[int, int]:
    """``"2.94"`` as ``(2, 94)``: microversions compare as pairs, never as text or as fractions."""
    major, minor = text.split(".")
    return int(major), int(minor)


def connect(settings: ControllerSettings, workers: int | None = None) -> Cloud:
    """A connection with the account of `[openstack]`. Nothing is sent before the first call.

    ``workers`` is how many threads will use it at once, by default the settings' evacuate_workers. Neither
    clouds.yaml nor OS_* variables are read: the configuration file alone says which cloud it is.
    """
    connection = connection_of(settings, workers)
    return Cloud(connection, settings.recovery.evacuate_microversion, settings.openstack.auth_url.rstrip("/"))


def connection_of(settings: ControllerSettings, workers: int | None = None) -> Connection:
    """What `connect` talks through: bounded in time, and it sends nothing before the first call."""
    os_ = settings.openstack
    url = os_.auth_url.rstrip("/")
    connection = Connection(
        auth_type="v3password" if url.endswith("/v3") else "password",
        auth={
            "auth_url": url,
            "username": os_.username,
            "password": os_.password,
            "user_domain_id": os_.user_domain_id,
            "project_domain_id": os_.project_domain_id,
            "project_name": os_.project_name,
        },
        region_name=os_.region_name,
        interface=os_.interface,
        cacert=str(os_.cacert) if os_.cacert else None,
        api_timeout=os_.request_timeout,
        app_name="hass",
    )
    pool = TCPKeepAliveAdapter(
        pool_maxsize=workers or settings.recovery.evacuate_workers, max_retries=_RETRIES
    )
    for scheme in ("http://", "https://"):
        connection.session.session.mount(scheme, pool)
    return connection


class Cloud:
    """The calls of the remedies. Threads may share one. Every call raises CloudError and nothing else."""

    def __init__(self, connection: Connection, evacuate_microversion: str, auth_url: str = "") -> None:
        self._connection = connection
        self._wanted = evacuate_microversion
        self._auth_url = auth_url

    # --- compute services

    def compute_service(self, host: str) -> ComputeService | None:
        """nova-compute of exactly this host, or None when Nova knows none."""
        with self._reading(f"list nova-compute of {host}") as compute:
            rows = [to_service(row) for row in compute.services(binary=NOVA_COMPUTE, host=host)]
        found = [service for service in rows if service.host == host]
        if len(found) > 1:
            raise CloudError(f"Nova knows {len(found)} nova-compute services of {host}, expected one")
        return found[0] if found else None

    def compute_services(self) -> list[ComputeService]:
        """nova-compute of every host."""
        with self._reading("list all nova-compute services") as compute:
            return [to_service(row) for row in compute.services(binary=NOVA_COMPUTE)]

    def set_forced_down(self, service: ComputeService, forced_down: bool) -> None:
        """Set or lift force-down. Nova refuses (400) to lift it until the source has cleaned up."""
        with self._changing(f"{'set' if forced_down else 'lift'} force-down of {service.host}") as compute:
            compute.update_service_forced_down(service.id, forced=forced_down)

    def set_enabled(self, service: ComputeService, enabled: bool, reason: str = "") -> None:
        """Enable the service, or disable it with a reason that a person will read."""
        with self._changing(
            f"{'enable' if enabled else 'disable'} nova-compute of {service.host}"
        ) as compute:
            if enabled:
                compute.enable_service(service.id)
            else:
                compute.disable_service(service.id, disabled_reason=reason or None)

    # --- aggregates and images: which instances are protected

    def aggregates_of(self, host: str) -> tuple[Aggregate, ...]:
        """The host aggregates that hold exactly this host, by name."""
        with self._reading("list the host aggregates") as compute:
            rows = [to_aggregate(row) for row in compute.aggregates() if host in (row.hosts or ())]
        return tuple(sorted(rows, key=lambda each: each.name))

    def add_to_aggregate(self, aggregate: Aggregate, host: str) -> None:
        """Nova refuses (409) a host that is in it already, or in another availability zone with instances."""
        with self._changing(f"add {host} to aggregate {aggregate.name}") as compute:
            compute.add_host_to_aggregate(aggregate.id, host)

    def image(self, image_id: str) -> Image:
        """What Glance knows of an image: its tags, and what it has besides Glance's own fields."""
        with self._told(f"read image {image_id}", changes=False):
            row = self._connection.image.get_image(image_id)
            properties = {str(key): str(value) for key, value in (row.properties or {}).items()}
            return Image(image_id, tuple(row.tags or ()), properties)

    # --- servers

    def servers_on(self, host: str) -> list[Server]:
        """All instances of all tenants whose host is exactly this one."""
        with self._reading(f"list the instances of {host}") as compute:
            rows = [to_server(row) for row in compute.servers(all_projects=True, compute_host=host)]
        return [server for server in rows if server.host == host]

    def servers_named(self, name: str) -> list[Server]:
        """All instances of all tenants that have exactly this name."""
        with self._reading(f"look for an instance named {name[:100]}") as compute:
            # Nova takes the name for a regular expression that has to match somewhere.
            rows = [to_server(row) for row in compute.servers(all_projects=True, name=re.escape(name))]
        return [server for server in rows if server.name == name]

    def server(self, server_id: str) -> Server | None:
        """The instance, or None when it does not exist any more."""
        try:
            with self._reading(f"read instance {server_id}") as compute:
                return to_server(compute.get_server(server_id))
        except CloudError as error:
            if error.gone:
                return None
            raise

    def evacuate(self, server_id: str, host: str = "") -> None:
        """Ask Nova to rebuild the instance elsewhere. Returns before it is done.

        On a host of the scheduler's choice; or on ``host``, if the scheduler finds that it fits there: it is
        never forced.
        """
        microversion = self.evacuate_microversion()
        body = {"evacuate": {"host": host} if host else {}}
        with self._changing(f"evacuate instance {server_id}") as compute:
            # Not compute.evacuate_server(): that takes no microversion, and the one of an evacuation decides
            # whether the instance arrives running or stopped.
            sdk.raise_from_response(
                compute.post(f"/servers/{server_id}/action", json=body, microversion=microversion)
            )

    def start(self, server_id: str) -> None:
        """Ask Nova to start a stopped instance. Returns before it runs."""
        with self._changing(f"start instance {server_id}") as compute:
            compute.start_server(server_id)

    def stop(self, server_id: str) -> None:
        """Ask Nova to stop a running instance. Returns before it is stopped."""
        with self._changing(f"stop instance {server_id}") as compute:
            compute.stop_server(server_id)

    def live_migrate(self, server_id: str, host: str = "") -> None:
        """Ask Nova to live-migrate: to a host of the scheduler's choice, or to ``host`` if it fits there.

        Returns before it is begun.
        """
        with self._changing(f"live-migrate instance {server_id}") as compute:
            # Not compute.live_migrate_server(): that takes no microversion and sends `force`, which newer
            # ones refuse.
            body = {"os-migrateLive": {"host": host or None, "block_migration": "auto"}}
            sdk.raise_from_response(
                compute.post(f"/servers/{server_id}/action", json=body, microversion=READ_MICROVERSION)
            )

    def abort_migration(self, server_id: str, migration_id: int) -> None:
        """Ask Nova to abort a live migration. Nova refuses (400, 404) what has ended or is about to."""
        with self._changing(f"abort the live migration of instance {server_id}") as compute:
            chosen = min(ABORTS_WAITING, _newest(compute))
            sdk.raise_from_response(
                compute.delete(
                    f"/servers/{server_id}/migrations/{migration_id}",
                    microversion=f"{chosen[0]}.{chosen[1]}",
                )
            )

    def evacuations(self, source: str, since: float) -> list[Migration]:
        """Nova's evacuation records of this source host that began at ``since`` or later, oldest first."""
        return self._records(source, since, "evacuation")

    def live_migrations(self, source: str, since: float) -> list[Migration]:
        """The same of live migrations, whoever asked for them."""
        return self._records(source, since, LIVE_MIGRATION)

    def _records(self, source: str, since: float, kind: str) -> list[Migration]:
        with self._reading(f"list the {kind}s of {source}") as compute:
            rows = compute.migrations(source_compute=source, migration_type=kind)
            found = [to_migration(row) for row in rows]
        return sorted((m for m in found if m.source == source and m.created_at >= since), key=lambda m: m.id)

    def actions(self, server_id: str) -> list[InstanceAction]:
        """What was done to the instance, oldest first; empty when it does not exist any more."""
        try:
            with self._reading(f"read the actions of {server_id}") as compute:
                found = [to_action(row) for row in compute.server_actions(server_id)]
        except CloudError as error:
            if error.gone:
                return []
            raise
        return sorted(found, key=lambda action: action.started_at)

    def why_not_migrated(self, server_id: str) -> str:
        """What Nova says of the instance's newest live migration, if that failed; "" when it says nothing.

        An instance that is still well shows no fault: only the events of its actions tell, from Ussuri on.
        """
        with self._reading(f"read why {server_id} was not migrated") as compute:
            if _newest(compute) < TELLS_WHY:
                return ""
            version = f"{TELLS_WHY[0]}.{TELLS_WHY[1]}"
            found = [row for row in compute.server_actions(server_id) if row.action == LIVE_MIGRATION]
            if not found:
                return ""
            newest = max(found, key=lambda row: str(row.start_time))
            path = f"/servers/{server_id}/os-instance-actions/{newest.request_id}"
            reply = compute.get(path, microversion=version)
            sdk.raise_from_response(reply)
            events = reply.json()["instanceAction"]["events"]
            said = [" ".join(str(each.get("details") or "").split()) for each in events]
        # The first event is the innermost: the one in which it went wrong.
        return next((words[:300] for words in said if words), "")

    def evacuate_microversion(self) -> str:
        """The one that evacuate will use: the configured one, or the cloud's newest when that is older."""
        with self._reading("read Nova's versions") as compute:
            chosen = min(version_tuple(self._wanted), _newest(compute))
        return f"{chosen[0]}.{chosen[1]}"

    # --- how a call fails

    @contextmanager
    def _reading(self, what: str) -> Iterator[Any]:
        with self._told(what, changes=False):
            compute = self._connection.compute
            compute.default_microversion = READ_MICROVERSION
            yield compute

    @contextmanager
    def _changing(self, what: str) -> Iterator[Any]:
        # openstacksdk looks at Nova's newest version before some changes, and takes a Nova whose version it
        # could not read for an old one, which it asks in another way. Read here, before anything is sent.
        with self._reading(what) as compute:
            _newest(compute)
        with self._told(what, changes=True):
            yield compute

    @contextmanager
    def _told(self, what: str, changes: bool) -> Iterator[None]:
        """Whatever a call raises, as CloudError."""
        try:
            yield
        except sdk.HttpException as error:
            status = error.status_code or 0
            raise CloudError(
                f"{what}: Nova says {status}: {str(error.details or '')[:300]}",
                status,
                uncertain=changes and status >= 500,
                gone=status == 404 and _fault(error.response) == "itemNotFound",
            ) from error
        except (sdk.SDKException, ksa.ClientException, requests.RequestException) as error:
            raise CloudError(
                f"{what}: {str(error).strip() or type(error).__name__} (auth_url {self._auth_url})",
                error.http_status if isinstance(error, (ksa.Unauthorized, ksa.Forbidden)) else None,
                uncertain=changes and not _never_sent(error),
            ) from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # What openstacksdk, and nova.py, trip over when Nova's answer has another shape than documented.
            raise CloudError(f"{what}: not what Nova answers: {error!r}", uncertain=changes) from error


def _newest(compute: Any) -> tuple[int, int]:
    """The newest microversion of the cloud; asked once, then openstacksdk remembers it."""
    data = compute.get_endpoint_data()
    newest = data.max_microversion if data is not None else None
    if not newest:
        url = f" at {data.url}" if data is not None else ""
        raise CloudError(f"Nova{url} did not say which microversions it knows: is it up, and is it Nova?")
    if newest < version_tuple(READ_MICROVERSION):
        raise CloudError(
            f"Nova's newest microversion is {newest[0]}.{newest[1]}, HASS needs {READ_MICROVERSION} (Queens)"
        )
    return int(newest[0]), int(newest[1])


def _fault(response: Any) -> str:
    """Nova's name for what went wrong; "" when it was not Nova that answered."""
    try:
        return str(next(iter(response.json())))
    except (ValueError, TypeError, StopIteration):
        return ""


def _never_sent(error: BaseException) -> bool:
    """Whether a failed call certainly did not reach Nova: Keystone refused, or nobody took the connection."""
    if isinstance(error, (ksa.HttpError, ksa.CatalogException)):
        return True
    seen: BaseException | None = error
    while seen is not None:
        for inner in (seen, *seen.args):
            if isinstance(getattr(inner, "reason", inner), (ConnectTimeoutError, NewConnectionError)):
                return True
        seen = seen.__cause__ or seen.__context__
    return False
