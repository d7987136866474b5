"""Nova as the remedies see it: a few typed calls, each bounded in time, each failing in one clear line.

The connection is keystoneauth1's, the transport underneath openstacksdk, because a remediation playbook
starts several short-lived processes and each would pay for importing the whole SDK. Every request names its
microversion, so that a newer Nova does not change what a call means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import requests
from keystoneauth1 import exceptions as ksa
from keystoneauth1 import session as ksa_session
from keystoneauth1.adapter import Adapter
from keystoneauth1.identity import generic, v3
from urllib3.exceptions import NewConnectionError

from hass_runtime.remedy.nova import (
    CloudError,
    ComputeService,
    InstanceAction,
    Migration,
    Server,
    parse_time,
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

PAGE = 500
_READ_RETRIES = 2


def version_tuple(text: str) -> tuple[int, int]:
    """``"2.94"`` as ``(2, 94)``: microversions compare as pairs, never as text or as fractions."""
    major, minor = text.split(".")
    return int(major), int(minor)


def connect(settings: ControllerSettings, workers: int | None = None) -> Cloud:
    """A connection with the account of `[openstack]`. Nothing is sent before the first call.

    ``workers`` is how many threads will use it at once, by default the settings' evacuate_workers.
    """
    os_ = settings.openstack
    url = os_.auth_url.rstrip("/")
    plugin = v3.Password if url.endswith("/v3") else generic.Password
    auth = plugin(
        auth_url=url,
        username=os_.username,
        password=os_.password,
        user_domain_id=os_.user_domain_id,
        project_domain_id=os_.project_domain_id,
        project_name=os_.project_name,
    )
    http = requests.Session()
    pool = requests.adapters.HTTPAdapter(pool_maxsize=workers or settings.recovery.evacuate_workers)
    http.mount("http://", pool)
    http.mount("https://", pool)
    session = ksa_session.Session(
        auth=auth,
        session=http,
        timeout=os_.request_timeout,
        verify=str(os_.cacert) if os_.cacert else True,
        user_agent="hass",
    )
    adapter = Adapter(
        session,
        service_type="compute",
        interface=os_.interface,
        region_name=os_.region_name,
        user_agent="hass",
    )
    return Cloud(adapter, settings.recovery.evacuate_microversion, url)


class Cloud:
    """The calls of the remedies. Threads may share one. Every call raises CloudError and nothing else."""

    def __init__(self, adapter: Any, evacuate_microversion: str, auth_url: str = "") -> None:
        self._adapter = adapter
        self._wanted = evacuate_microversion
        self._auth_url = auth_url
        self._evacuate_microversion: str | None = None

    # --- compute services

    def compute_service(self, host: str) -> ComputeService | None:
        """nova-compute of exactly this host, or None when Nova knows none."""
        body = self._get("/os-services", f"list nova-compute of {host}", binary="nova-compute", host=host)
        found = [to_service(raw) for raw in self._list(body, "services") if raw.get("host") == host]
        if len(found) > 1:
            raise CloudError(f"Nova knows {len(found)} nova-compute services of {host}, expected one")
        return found[0] if found else None

    def set_forced_down(self, service: ComputeService, forced_down: bool) -> None:
        """Set or lift force-down. Nova refuses (400) to lift it until the source has cleaned up."""
        what = f"{'set' if forced_down else 'lift'} force-down of {service.host}"
        self._change("PUT", f"/os-services/{service.id}", what, {"forced_down": forced_down})

    def set_enabled(self, service: ComputeService, enabled: bool, reason: str = "") -> None:
        """Enable the service, or disable it with a reason that a person will read."""
        body: dict[str, str] = {"status": "enabled" if enabled else "disabled"}
        if not enabled and reason:
            body["disabled_reason"] = reason
        what = f"{'enable' if enabled else 'disable'} nova-compute of {service.host}"
        self._change("PUT", f"/os-services/{service.id}", what, body)

    # --- servers

    def servers_on(self, host: str) -> list[Server]:
        """All instances of all tenants whose host is exactly this one."""
        raws = self._pages(
            "/servers/detail", "servers", f"list the instances of {host}", all_tenants="1", host=host
        )
        return [server for server in map(to_server, raws) if server.host == host]

    def server(self, server_id: str) -> Server | None:
        """The instance, or None when it does not exist any more."""
        try:
            body = self._get(f"/servers/{server_id}", f"read instance {server_id}")
        except CloudError as error:
            if error.gone:
                return None
            raise
        if not isinstance(body.get("server"), Mapping):
            raise CloudError(f"read instance {server_id}: Nova's answer holds no server")
        return to_server(body["server"])

    def evacuate(self, server_id: str) -> None:
        """Ask Nova to rebuild the instance on a host of the scheduler's choice. Returns before it is done."""
        self._change(
            "POST",
            f"/servers/{server_id}/action",
            f"evacuate instance {server_id}",
            {"evacuate": {}},
            self.evacuate_microversion(),
        )

    def start(self, server_id: str) -> None:
        """Ask Nova to start a stopped instance. Returns before it runs."""
        self._change(
            "POST", f"/servers/{server_id}/action", f"start instance {server_id}", {"os-start": None}
        )

    def stop(self, server_id: str) -> None:
        """Ask Nova to stop a running instance. Returns before it is stopped."""
        self._change("POST", f"/servers/{server_id}/action", f"stop instance {server_id}", {"os-stop": None})

    def evacuations(self, source: str, since: float) -> list[Migration]:
        """Nova's evacuation records of this source host that began at ``since`` or later, oldest first."""
        raws = self._pages(
            "/os-migrations",
            "migrations",
            f"list the evacuations of {source}",
            source_compute=source,
            migration_type="evacuation",
        )
        found = [to_migration(raw) for raw in raws if raw.get("source_compute") == source]
        return sorted((m for m in found if m.created_at >= since), key=lambda m: m.id)

    def actions(self, server_id: str) -> list[InstanceAction]:
        """What was done to the instance, oldest first; empty when it does not exist any more."""
        try:
            body = self._get(f"/servers/{server_id}/os-instance-actions", f"read the actions of {server_id}")
        except CloudError as error:
            if error.gone:
                return []
            raise
        found = [
            InstanceAction(raw["action"], parse_time(raw["start_time"]), raw.get("message") == "Error")
            for raw in self._list(body, "instanceActions")
        ]
        return sorted(found, key=lambda action: action.started_at)

    def evacuate_microversion(self) -> str:
        """The one that evacuate will use: the configured one, or the cloud's newest when that is older."""
        if self._evacuate_microversion is None:
            newest = self._newest()
            wanted = version_tuple(self._wanted)
            if newest < version_tuple(READ_MICROVERSION):
                raise CloudError(
                    f"Nova's newest microversion is {newest[0]}.{newest[1]}, "
                    f"HASS needs {READ_MICROVERSION} (Queens)"
                )
            chosen = min(wanted, newest)
            self._evacuate_microversion = f"{chosen[0]}.{chosen[1]}"
        return self._evacuate_microversion

    # --- the wire

    def _newest(self) -> tuple[int, int]:
        try:
            data = self._adapter.get_endpoint_data()
        except (ksa.ClientException, requests.RequestException) as error:
            raise CloudError(self._unanswered("read Nova's versions", error)) from error
        newest = data.max_microversion if data is not None else None
        if not newest:
            raise CloudError("Nova did not say which microversions it knows: is the compute endpoint right?")
        return int(newest[0]), int(newest[1])

    def _get(self, path: str, what: str, **params: str) -> Mapping[str, Any]:
        response = self._request(
            "GET", path, what, READ_MICROVERSION, params=params, connect_retries=_READ_RETRIES
        )
        try:
            body = response.json()
        except ValueError as error:
            raise CloudError(f"{what}: Nova's answer is not JSON", response.status_code) from error
        if not isinstance(body, Mapping):
            raise CloudError(f"{what}: Nova's answer is not a JSON object", response.status_code)
        return body

    def _pages(self, path: str, key: str, what: str, **params: str) -> Iterator[Mapping[str, Any]]:
        marker: dict[str, str] = {}
        while True:
            body = self._get(path, what, limit=str(PAGE), **params, **marker)
            rows = list(self._list(body, key))
            yield from rows
            if not rows or not body.get(f"{key}_links"):
                return
            last = rows[-1]
            marker = {"marker": str(last["uuid"] if "uuid" in last else last["id"])}

    @staticmethod
    def _list(body: Mapping[str, Any], key: str) -> Iterable[Mapping[str, Any]]:
        rows = body.get(key)
        if not isinstance(rows, list):
            raise CloudError(f"Nova's answer holds no list of {key}")
        return rows

    def _change(
        self,
        method: str,
        path: str,
        what: str,
        body: Mapping[str, Any],
        microversion: str = READ_MICROVERSION,
    ) -> None:
        # Never repeated here: whoever calls reads the real state before asking a second time.
        self._request(method, path, what, microversion, json=body, connect_retries=0)

    def _request(self, method: str, path: str, what: str, microversion: str, **kwargs: Any) -> Any:
        try:
            response = self._adapter.request(
                path, method, microversion=microversion, raise_exc=False, **kwargs
            )
        except (ksa.ClientException, requests.RequestException) as error:
            raise CloudError(
                self._unanswered(what, error),
                error.http_status if isinstance(error, (ksa.Unauthorized, ksa.Forbidden)) else None,
                uncertain=method != "GET" and not _never_sent(error),
            ) from error
        if response.status_code >= 400:
            kind, message = _fault(response)
            raise CloudError(
                f"{what}: Nova says {response.status_code}: {message}",
                response.status_code,
                uncertain=method != "GET" and response.status_code >= 500,
                gone=response.status_code == 404 and kind == "itemNotFound",
            )
        return response

    def _unanswered(self, what: str, error: Exception) -> str:
        words = str(error).strip() or type(error).__name__
        return f"{what}: {words} (auth_url {self._auth_url})"


def _fault(response: Any) -> tuple[str, str]:
    """Nova's name for what went wrong ("" when it was not Nova that answered), and its words."""
    try:
        kind, fault = next(iter(response.json().items()))
        return str(kind), str(fault["message"])
    except (ValueError, AttributeError, KeyError, TypeError, StopIteration):
        return "", str(response.text or response.reason)[:300]


def _never_sent(error: BaseException) -> bool:
    """Whether a failed call certainly did not reach Nova: Keystone refused, or nobody took the connection."""
    if isinstance(error, (ksa.HttpError, ksa.CatalogException)):
        return True
    seen: BaseException | None = error
    while seen is not None:
        for inner in (seen, *seen.args):
            if isinstance(getattr(inner, "reason", inner), NewConnectionError):
                return True
        seen = seen.__cause__ or seen.__context__
    return False
