"""Which boot this host lives in: another than before tells the controllers that all that ran on it ended."""

from __future__ import annotations

import logging
import re
from pathlib import Path

log = logging.getLogger(__name__)

KERNELS = Path("/proc/sys/kernel/random/boot_id")
"""The kernel's own name of its boot; a container has one of its own there."""

_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


def boot_id(path: Path = KERNELS) -> str:
    """The name of the present boot, "" when there is none to be had; then a return is not noticed as one."""
    try:
        name = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        log.warning(
            "%s cannot be read, so nobody can tell one boot of this host from another: %s", path, error
        )
        return ""
    if not _NAME.fullmatch(name):
        log.warning("%s: %r: expected a name of 1 to 64 letters, digits, '-', '_' and '.'", path, name[:80])
        return ""
    return name
