"""Saved states: what was prepared on a machine once, kept as one more layer."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from . import layers
from .host import MachinesError, cache
from .machine import Machine, known


def _folder(name: str, layer: str, release: str, key: str) -> Path:
    text = json.dumps([layers.key(layer, release), key])
    return cache() / "states" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def key_of(paths: Iterable[Path]) -> str:
    """A hash of files, and of all files in folders, by name and content."""
    digest = hashlib.sha256()
    for path in paths:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            digest.update(f"{file.relative_to(path)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def find(name: str, layer: str, release: str, key: str) -> Path | None:
    """The state of a machine that was saved under the key on the same layers."""
    place = _folder(name, layer, release, key)
    return place if place.is_dir() else None


def save(machine: Machine, key: str) -> None:
    """Shut the machine down and make its disk the state; it goes on from there at its next `up`."""
    if machine.state:
        raise MachinesError(f"{machine.name} stands on a saved state already")
    machine.power_off(orderly=True)
    place = _folder(machine.name, machine.layer, machine.release, key)
    place.parent.mkdir(parents=True, exist_ok=True)
    used = {lower for other in known() for lower in other.lower}
    for older in place.parent.glob(f"{machine.name}-*"):
        if older.name[: -len("-123456789abc")] == machine.name and str(older) not in used:
            shutil.rmtree(older)
    if place.exists():
        raise MachinesError(f"{place} is in use by another machine")
    machine.upper.rename(place)
    shutil.rmtree(machine.folder / "work", ignore_errors=True)
    machine.state = key
    machine.lower.insert(0, str(place))
    machine.save()
