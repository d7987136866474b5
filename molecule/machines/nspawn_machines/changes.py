"""What differs on a machine's disk since a snapshot: the proof that --check changed nothing."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .host import MachinesError
from .machine import Machine

# What a running server writes by itself. `*` matches slashes, too.
IGNORED = (
    "*/__pycache__",
    "*/__pycache__/*",
    "etc/machine-id",
    "etc/mtab",
    "root/.ansible",
    "root/.ansible/*",
    "root/.ansible_async",
    "root/.ansible_async/*",
    "root/.cache",
    "root/.cache/*",
    "run",
    "run/*",
    "tmp",
    "tmp/*",
    "var/cache/*",
    "var/lib/apt/lists",
    "var/lib/apt/lists/*",
    "var/lib/apt/periodic/*",
    "var/lib/chrony/*",
    "var/lib/dhcp/*",
    "var/lib/etcd/*",
    "var/lib/logrotate/*",
    "var/lib/private/systemd/*",
    "var/lib/rabbitmq/*",
    "var/lib/systemd/*",
    "var/lib/*/tmp",
    "var/lib/*/tmp/*",
    "var/log/*",
    "var/spool/*",
    "var/tmp",
    "var/tmp/*",
)
# Data of a database server: that a database is there counts, what is in it does not.
DIRECTORIES_ONLY = ("var/lib/mysql",)


def ignored(path: str, more: tuple[str, ...] = ()) -> bool:
    """Whether a path below the root is one that a server writes by itself."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in (*IGNORED, *more))


def _digest(place: Path) -> str:
    digest = hashlib.sha256()
    with place.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(place: Path, known: list | None = None) -> list | None:
    """Kind, mode, owner, content, and what tells an untouched file; None when there is no file."""
    try:
        about = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    kind = stat.S_IFMT(about.st_mode)
    if stat.S_ISCHR(about.st_mode) and about.st_rdev == 0:
        return None  # overlayfs's sign for "removed"
    untouched = [about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]
    if stat.S_ISLNK(about.st_mode):
        content = os.readlink(place)
    elif stat.S_ISREG(about.st_mode):
        content = known[4] if known and known[-1] == untouched else _digest(place)
    else:
        content = ""
    mode = 0 if stat.S_ISLNK(about.st_mode) else stat.S_IMODE(about.st_mode)
    return [kind, mode, about.st_uid, about.st_gid, content, untouched]


def _walk(tree: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(tree):
        inside = os.path.relpath(parent, tree)
        prefix = "" if inside == "." else f"{inside}/"
        only = any(f"{prefix}".startswith(f"{place}/") for place in DIRECTORIES_ONLY)
        for name in folders if only else (*folders, *files):
            yield f"{prefix}{name}"
        if only:
            folders.clear()


def _record(machine: Machine, before: dict[str, list]) -> dict[str, list | None]:
    return {
        path: fingerprint(machine.upper / path, before.get(path))
        for path in _walk(machine.upper)
        if not ignored(path)
    }


def snapshot(machine: Machine) -> None:
    """Remember the disk as it is."""
    (machine.folder / "snapshot.json").write_text(json.dumps(_record(machine, {})))


def _below(machine: Machine, path: str) -> list | None:
    for lower in machine.lower:
        place = Path(lower) / path
        if place.is_symlink() or place.exists() or _whiteout(place):
            return fingerprint(place)
    return None


def _whiteout(place: Path) -> bool:
    try:
        about = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISCHR(about.st_mode) and about.st_rdev == 0


def since_snapshot(machine: Machine, more: list[str]) -> list[str]:
    """`added`, `removed` or `changed` with a path, sorted by path."""
    file = machine.folder / "snapshot.json"
    if not file.exists():
        raise MachinesError(f"{machine.name} has no snapshot: machines snapshot {machine.name}")
    before: dict[str, list | None] = json.loads(file.read_text())
    now = _record(machine, {path: mark for path, mark in before.items() if mark})
    lines = []
    for path in sorted({*before, *now}):
        if ignored(path, tuple(more)):
            continue
        old = before[path] if path in before else _below(machine, path)
        new = now[path] if path in now else _below(machine, path)
        if (old and old[:5]) == (new and new[:5]):
            continue  # also a file that overlayfs copied up and nobody changed
        word = "added" if old is None else "removed" if new is None else "changed"
        lines.append(f"{word} /{path}")
    return lines
