"""Glance and Neutron: as much of them as instances without networks need, inside the process."""

from __future__ import annotations

import datetime
import sys
from typing import Any

DRIVER_MODULE = "hass_sandbox"  # Nova loads drivers only from below nova.virt: under this name, there
IMAGE = "11111111-2222-4333-8444-555555555555"


class ImageService:
    """One image, always active."""

    def show(self, context: Any, image_id: str, **_kwargs: Any) -> dict[str, Any]:
        from nova import exception

        if str(image_id) != IMAGE:
            raise exception.ImageNotFound(image_id=image_id)
        made = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
        return {
            "id": IMAGE,
            "name": "sandbox",
            "status": "active",
            "size": 1,
            "min_ram": 0,
            "min_disk": 0,
            "disk_format": "raw",
            "container_format": "bare",
            "visibility": "public",
            "protected": False,
            "checksum": None,
            "owner": None,
            "locations": None,
            "properties": {},
            "created_at": made,
            "updated_at": made,
            "deleted_at": None,
            "deleted": False,
        }

    def detail(self, context: Any, **_kwargs: Any) -> list[dict[str, Any]]:
        return [self.show(context, IMAGE)]


class NeutronClient:
    """A Neutron without extensions, networks or ports: every listing is empty."""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("list_"):
            raise AttributeError(f"the sandbox has no Neutron that could {name}")
        return lambda *_args, **_kwargs: {name.removeprefix("list_"): []}


def install() -> None:
    """Put both in place of Nova's clients, and our driver among Nova's: before any service is made."""
    from nova.image import glance
    from nova.network import neutron

    from . import nova_hypervisor

    sys.modules[f"nova.virt.{DRIVER_MODULE}"] = nova_hypervisor
    images, client = ImageService(), NeutronClient()
    glance.get_default_image_service = lambda: images
    glance.API.get_remote_image_service = staticmethod(lambda context, image_href: (images, image_href))
    neutron.get_client = lambda context, admin=False: client
