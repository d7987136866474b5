"""Says of the instances of one host which of them are protected, reading no more of the cloud than needed.

Aggregates are read once, an image once each and only when nothing that counts more has decided. A Glance that
does not answer is not asked again: what it would have said is unknown, and unknown protects.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from hass_runtime.decide import protection
from hass_runtime.decide.protection import Aggregate, Image, Protection, Rules, Traits
from hass_runtime.domain import Choice
from hass_runtime.remedy.nova import CloudError, Server

Protects = Callable[[Server], Protection]
"""Asked of each instance before anything is done to it."""

BY_HAND = Protection(True, "cluster", "everything is protected")


class Cloud(Protocol):
    """What is read of the cloud."""

    def aggregates_of(self, host: str) -> tuple[Aggregate, ...]: ...
    def image(self, image_id: str) -> Image: ...


def everything(server: Server) -> Protection:
    """For whoever has no rules."""
    return BY_HAND


class Protector:
    """Answers for one host, by the rules of its cluster and people's choices by UUID. Thread-safe."""

    def __init__(self, cloud: Cloud, host: str, rules: Rules, choices: Mapping[str, Choice]) -> None:
        self._cloud = cloud
        self._host = host
        self._rules = rules
        self._choices = choices
        self._lock = threading.Lock()
        self._aggregates: tuple[Aggregate, ...] | None = None
        self._aggregates_unknown = ""
        self._images: dict[str, Image] = {}
        self._glance_trouble = ""

    def __call__(self, server: Server) -> Protection:
        choice = self._choices.get(server.id)
        found = protection.before_image(_traits(server), self._rules, choice)
        if found is not None:
            return found
        with self._lock:  # one reads, the others find it known
            image = self._image(server.image) if server.image and self._rules.heed_images else None
            self._read_aggregates()
        traits = _traits(server, image, self._aggregates, self._aggregates_unknown)
        return protection.protection(traits, self._rules, choice)

    def _image(self, image_id: str) -> Image:
        if image_id not in self._images:
            if self._glance_trouble:
                return Image(image_id, unknown=self._glance_trouble)
            try:
                self._images[image_id] = self._cloud.image(image_id)
            except CloudError as error:
                if not error.gone:
                    self._glance_trouble = str(error)
                self._images[image_id] = Image(image_id, unknown=str(error))
        return self._images[image_id]

    def _read_aggregates(self) -> None:
        if self._aggregates is not None or self._aggregates_unknown:
            return
        try:
            self._aggregates = self._cloud.aggregates_of(self._host)
        except CloudError as error:
            self._aggregates_unknown = str(error)


def _traits(
    server: Server,
    image: Image | None = None,
    aggregates: tuple[Aggregate, ...] | None = (),
    aggregates_unknown: str = "",
) -> Traits:
    return Traits(
        server.name,
        server.metadata,
        server.project,
        server.flavor,
        server.flavor_specs,
        image,
        aggregates,
        aggregates_unknown,
    )
