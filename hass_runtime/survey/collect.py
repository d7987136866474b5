"""Asks Nova and Placement for the facts that readiness is made from: listings, never one call a host.

A survey takes one call for the compute services, one for the aggregates, one for the names of the providers
and one for what all of them have left, one a page of instances and server groups, and one for each shape of
instance (`MOST_SHAPES` at most): Placement itself says which hosts could take one of that shape.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from openstack import exceptions as sdk
from openstack.connection import Connection

from hass_runtime.decide.cloud_facts import CloudFacts, Compute, Group, Instance, Need, Shape
from hass_runtime.decide.protection import Aggregate
from hass_runtime.remedy.cloud import NOVA_COMPUTE, READ_MICROVERSION, version_tuple
from hass_runtime.remedy.nova import PRIORITY_KEY, CloudError, parse_priority
from hass_runtime.survey.policy import Policy, everything, traits_of

NEWEST = (2, 98)
"""The microversion that tells the zone that was asked for (2.96) and an image's properties (2.98)."""

PLACEMENT_VERSION = "1.29"  # Rocky: summaries with all resource classes, traits and nested providers
PAGE = 1000  # Nova's own limit by default
MOST_PAGES = 1000
MOST_SHAPES = 32
_DEVICES = ("pci_passthrough:alias", "resources:VGPU", "resources:PGPU")


def collect(
    connection: Connection, at: float, shared_storage: bool, policy: Policy = everything
) -> CloudFacts:
    """One survey. Raises CloudError, in a line, when Nova or Placement does not answer as it should."""
    return _Survey(connection, policy).facts(at, shared_storage)


class _Survey:
    def __init__(self, connection: Connection, policy: Policy) -> None:
        self._policy = policy
        self._nova = connection.compute
        self._placement = connection.placement
        self.calls: Counter[str] = Counter()

    def facts(self, at: float, shared_storage: bool) -> CloudFacts:
        try:
            instances = tuple(self._instances(self._aggregates()))
            free = self._free()
            groups = dict(self._groups())
            shapes = Counter(each.shape for each in instances)
            fits = {shape: self._fitting(shape) for shape, _ in shapes.most_common(MOST_SHAPES)}
            group_of = {member: id for id, group in groups.items() for member in group.members}
            return CloudFacts(
                at,
                {each.host: each for each in self._computes(free)},
                tuple(_in_group(each, group_of) for each in instances),
                groups,
                fits,
                shared_storage,
                dict(self.calls),
            )
        except CloudError:
            raise
        # The SDK, keystoneauth and requests raise what they like, and answers may be odd.
        except Exception as error:
            words = str(error).strip() or type(error).__name__
            raise CloudError(f"survey of the cloud: {type(error).__name__}: {words[:300]}") from error

    def _get(self, service: str, path: str) -> dict[str, Any]:
        self.calls[service] += 1
        if service == "nova":
            reply = self._nova.get(path, microversion=self._version)
        else:
            reply = self._placement.get(path, microversion=PLACEMENT_VERSION)
        sdk.raise_from_response(reply)
        found: dict[str, Any] = reply.json()
        return found

    @property
    def _version(self) -> str:
        data = self._nova.get_endpoint_data()
        newest = data.max_microversion if data is not None else None
        chosen = min(NEWEST, newest or version_tuple(READ_MICROVERSION))
        return f"{chosen[0]}.{chosen[1]}"

    # -- Nova

    def _computes(self, free: Mapping[str, Mapping[str, int]]) -> Iterator[Compute]:
        for row in self._get("nova", f"/os-services?binary={NOVA_COMPUTE}")["services"]:
            up = row["state"] == "up" and not row.get("forced_down")
            host = row["host"]
            yield Compute(host, row.get("zone") or "", row["status"] == "enabled", up, free.get(host))

    def _aggregates(self) -> dict[str, tuple[Aggregate, ...]]:
        """By host."""
        found: dict[str, tuple[Aggregate, ...]] = {}
        for row in self._get("nova", "/os-aggregates")["aggregates"]:
            aggregate = Aggregate(row["name"], row.get("metadata") or {}, str(row["id"]))
            for host in row.get("hosts") or ():
                found[host] = (*found.get(host, ()), aggregate)
        return found

    def _instances(self, aggregates: Mapping[str, tuple[Aggregate, ...]]) -> Iterator[Instance]:
        marker = ""
        for _ in range(MOST_PAGES):
            query = urlencode({"all_tenants": "1", "limit": PAGE, **({"marker": marker} if marker else {})})
            page = self._get("nova", f"/servers/detail?{query}")
            for row in page["servers"]:
                host = row.get("OS-EXT-SRV-ATTR:host")
                if host:
                    why = self._policy(row["id"], host, traits_of(row, aggregates.get(host, ())))
                    yield replace(to_instance(row), left_alone=why)
            # Who has a smaller limit than ours says that there is more by a link.
            if not page["servers"] or not page.get("servers_links"):
                return
            marker = page["servers"][-1]["id"]
        raise CloudError(f"survey of the cloud: more than {MOST_PAGES} pages of instances")

    def _groups(self) -> Iterator[tuple[str, Group]]:
        for offset in range(0, PAGE * MOST_PAGES, PAGE):
            page = self._get("nova", f"/os-server-groups?all_projects=True&limit={PAGE}&offset={offset}")[
                "server_groups"
            ]
            for row in page:
                policy = row.get("policy") or next(iter(row.get("policies") or ()), "")
                most = (row.get("rules") or {}).get("max_server_per_host", 1)
                yield row["id"], Group(policy, frozenset(row["members"]), int(most))
            if len(page) < PAGE:
                return

    # -- Placement

    def _free(self) -> dict[str, dict[str, int]]:
        """What every host has left, by the name of its root provider; those with no memory left are
        missing.
        """
        names = {
            row["uuid"]: row["name"]
            for row in self._get("placement", "/resource_providers")["resource_providers"]
        }
        self._names = names
        found: dict[str, dict[str, int]] = {}
        for uuid, row in self._candidates({"MEMORY_MB": 1}).items():
            root = names.get(row.get("root_provider_uuid") or uuid)
            if root is not None:
                left = found.setdefault(root, {})
                for resource, amounts in row["resources"].items():
                    spare = int(amounts["capacity"]) - int(amounts["used"])
                    left[resource] = max(left.get(resource, 0), spare)
        return found

    def _fitting(self, shape: Shape) -> frozenset[str]:
        rows = self._candidates(dict(shape.resources), shape.required, shape.forbidden)
        roots = {row.get("root_provider_uuid") or uuid for uuid, row in rows.items()}
        return frozenset(self._names[uuid] for uuid in roots if uuid in self._names)

    def _candidates(
        self, resources: Mapping[str, int], required: tuple[str, ...] = (), forbidden: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """The summaries of the providers that could take these."""
        query = {"resources": ",".join(f"{name}:{amount}" for name, amount in resources.items())}
        traits = [*required, *(f"!{name}" for name in forbidden)]
        if traits:
            query["required"] = ",".join(traits)
        found: dict[str, Any] = self._get("placement", f"/allocation_candidates?{urlencode(query)}")[
            "provider_summaries"
        ]
        return found


def to_instance(row: Mapping[str, Any]) -> Instance:
    """An instance from Nova's detail of a server. Raises KeyError and the like when it is none."""
    flavor, image = row["flavor"], row.get("image") or {}
    specs: Mapping[str, str] = flavor.get("extra_specs") or {}
    properties: Mapping[str, Any] = image.get("properties") or {}
    needs = set()
    if specs.get("hw:tpm_version") or properties.get("hw_tpm_version"):
        needs.add(Need.VTPM)
    if any(specs.get(key) for key in _DEVICES):
        needs.add(Need.DEVICE)
    return Instance(
        id=row["id"],
        name=row["name"],
        host=row["OS-EXT-SRV-ATTR:host"],
        vm_state=row["OS-EXT-STS:vm_state"],
        shape=to_shape(flavor, specs, bool(image)),
        priority=parse_priority((row.get("metadata") or {}).get(PRIORITY_KEY, 0)),
        zone=row.get("pinned_availability_zone") or "",
        local_disk=bool(image),
        needs=frozenset(needs),
    )


def to_shape(flavor: Mapping[str, Any], specs: Mapping[str, str], local_disk: bool) -> Shape:
    """What Nova asks Placement for, for a flavor: as its scheduler does it, of the unnumbered group."""
    disk = (int(flavor["disk"]) if local_disk else 0) + int(flavor.get("ephemeral") or 0)
    disk += math.ceil(int(flavor.get("swap") or 0) / 1024)
    cpus = "PCPU" if specs.get("hw:cpu_policy") == "dedicated" else "VCPU"
    amounts = {cpus: int(flavor["vcpus"]), "MEMORY_MB": int(flavor["ram"]), "DISK_GB": disk}
    required: set[str] = set()
    forbidden: set[str] = set()
    for key, value in specs.items():
        scope, _, name = key.partition(":")
        if scope == "resources" and str(value).isdigit():
            amounts[name] = int(value)
        elif scope == "trait":
            {"required": required, "forbidden": forbidden}.get(str(value), set()).add(name)
    asked = tuple(sorted((name, amount) for name, amount in amounts.items() if amount > 0))
    return Shape(asked, tuple(sorted(required)), tuple(sorted(forbidden)))


def _in_group(instance: Instance, groups: Mapping[str, str]) -> Instance:
    return replace(instance, group=groups[instance.id]) if instance.id in groups else instance
