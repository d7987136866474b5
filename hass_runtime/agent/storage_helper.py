"""The process that touches the storage of the instances, so that only it hangs when the storage does.

Started by `hass_runtime.agent.storage`, on its own and with nothing but the standard library. A line of JSON
comes in, ``{"paths": [...], "name": ".hass-UUID", "shared": false}``; one goes out, ``[state, evidence]``
with the state ok, failed or unknown. It ends with its input, not by SIGTERM: what it wrote is to be removed.

The file it writes has the same name every time, different on each host: what an earlier one left behind when
it was killed is removed first.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

MOUNTS = "/proc/self/mountinfo"

# fmt: off
SHARED_KINDS = frozenset((
    "nfs", "nfs4", "cifs", "smb3", "ceph", "gfs2", "ocfs2", "lustre", "beegfs", "gpfs", "glusterfs",
    "orangefs", "afs", "9p", "virtiofs",
))
"""Filesystems that come over a network, or are made for several hosts; so are all of FUSE's (``fuse.…``)."""

_CUT_OFF = frozenset((
    errno.EIO, errno.EROFS, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.ENOLINK,
    errno.EREMOTEIO, errno.ESHUTDOWN, errno.EUCLEAN, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTDOWN,
    errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ECONNREFUSED, errno.ECONNRESET,
    errno.ECONNABORTED,
))
# fmt: on
"""The storage is broken or out of reach. Anything else (full, not permitted, ...) is no verdict on it."""

_RANK = ("failed", "unknown", "ok")


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo. ``options`` are the mount's own, ``super_options`` those of its filesystem."""

    point: str
    kind: str
    options: frozenset[str]
    super_options: frozenset[str]


def mounts(text: str) -> list[Mount]:
    """Pure: the lines of mountinfo, in their order; those that make no sense are left out."""
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        first, last = left.split(" "), right.split(" ")
        if len(first) >= 6 and len(last) >= 3:
            found.append(
                Mount(
                    _plain(first[4]), last[0], frozenset(first[5].split(",")), frozenset(last[2].split(","))
                )
            )
    return found


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def mount_of(path: str, text: str) -> Mount | None:
    """Pure: the mount that an absolute path without links lies on: the deepest, and of these the last one."""
    best = None
    for mount in mounts(text):
        inside = path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def is_shared(path: str, mount: Mount | None) -> bool:
    """Pure: whether what lies there is taken for shared: a mount of its own, or on a network's filesystem."""
    if mount is None:
        return False
    return mount.point == path or mount.kind in SHARED_KINDS or mount.kind.startswith("fuse.")


def judge_error(number: int | None, mount: Mount | None) -> str:
    """Pure: failed when the error says that the storage is cut off, else unknown."""
    if number == errno.EROFS and mount and "ro" in mount.options and "ro" not in mount.super_options:
        return "unknown"  # the filesystem can be written, only not through this mount: no fault of it
    return "failed" if number in _CUT_OFF else "unknown"


def probe(path: str, name: str, shared: bool) -> tuple[str, str]:
    """State and evidence of one path. ``shared``: it has to be a shared one."""
    trouble: OSError | None = None
    real = os.path.abspath(path)
    try:
        real = os.path.realpath(path, strict=True)
        os.stat(real + "/.")  # mounts it, when that is automatic
    except PermissionError:
        pass  # its owner may: see _write
    except OSError as error:
        trouble = error
    with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
        mount = mount_of(real, file.read())
    if trouble is not None and trouble.errno in (errno.ENOENT, errno.ENOTDIR):
        return ("failed" if shared else "unknown"), f"{path} is not there"
    if not is_shared(real, mount):
        if shared:
            return "failed", f"nothing is mounted at {path}"
        return "ok", f"{path} is no mount of its own, so it is not shared"
    kind = mount.kind if mount else ""
    try:
        if trouble is not None:
            raise trouble
        same = _write(real, name)
    except OSError as error:
        state = judge_error(error.errno, mount)
        only = " for this process" if state == "unknown" and error.errno == errno.EROFS else ""
        return state, f"{path} ({kind}): {error.strerror or error}{only}"
    if not same:
        return "failed", f"{path} ({kind}): what was written reads back as something else"
    return "ok", f"{path} ({kind})"


def _write(directory: str, name: str) -> bool:
    """Write, read back, remove; whether it came back as it was. OSError when anything of this fails."""
    try:
        return _write_once(directory, name)
    except PermissionError as error:
        # An NFS server may take root for nobody. The owner of the directory is whom Nova runs as.
        with _as_owner(directory) as changed:
            if not changed:
                raise error
            return _write_once(directory, name)


def _write_once(directory: str, name: str) -> bool:
    path = os.path.join(directory, name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    data = os.urandom(64)
    # Never through a link that somebody put there.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.write(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # not from this host's memory
            return os.read(fd, len(data) + 1) == data
        finally:
            os.close(fd)
    finally:
        os.unlink(path)


@contextlib.contextmanager
def _as_owner(directory: str) -> Iterator[bool]:
    """Be the owner of the directory for a while; False when that is not permitted, or nobody else."""
    status = os.stat(directory)
    uid, gid = os.geteuid(), os.getegid()
    if status.st_uid == uid:
        yield False
        return
    try:
        os.setegid(status.st_gid)
        os.seteuid(status.st_uid)
    except PermissionError:
        os.setegid(gid)
        yield False
        return
    try:
        yield True
    finally:
        os.seteuid(uid)
        os.setegid(gid)


def answer(line: str) -> tuple[str, str]:
    """State and evidence of all paths: the gravest state, and what is said of the paths in it."""
    question = json.loads(line)
    found = [probe(path, question["name"], question["shared"]) for path in question["paths"]]
    state = min((state for state, _ in found), key=_RANK.index)
    return state, "; ".join(evidence for each, evidence in found if each == state)


def main() -> None:
    """Answer questions until there are no more."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        try:
            reply = answer(line)
        except Exception as error:  # noqa: BLE001 - an answer is owed for each question
            reply = ("unknown", f"{type(error).__name__}: {error}")
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
