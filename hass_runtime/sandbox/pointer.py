"""The per-user file by which `hass sandbox …` finds the sandbox that runs."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from hass_runtime.sandbox import control
from hass_runtime.sandbox.layout import write_private


class SandboxError(Exception):
    """The sandbox cannot do that; one clear line."""


def pointer_file(environ: Mapping[str, str] | None = None) -> Path:
    """The per-user file that names the running sandbox's directory."""
    runtime = (environ if environ is not None else os.environ).get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        return Path(runtime) / "hass-sandbox.json"
    return Path(f"/tmp/hass-sandbox-{os.getuid()}.json")


def find_running(environ: Mapping[str, str] | None = None) -> Path:
    """Directory of the running sandbox: $HASS_SANDBOX, else what the pointer file says."""
    env = environ if environ is not None else os.environ
    if named := env.get("HASS_SANDBOX"):
        return Path(named).expanduser().resolve()
    path = pointer_file(env)
    try:
        # In a directory where everybody may write, only our own file counts.
        if path.lstat().st_uid != os.getuid():
            raise SandboxError(f"{path}: belongs to another user, not used")
        return Path(json.loads(path.read_text(encoding="utf-8"))["dir"])
    except FileNotFoundError as error:
        raise SandboxError("no sandbox is running; start one with: hass sandbox up") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SandboxError(f"{path}: unreadable, expected the running sandbox's directory") from error


def write(root: Path, log: Callable[[str], None]) -> None:
    """Make `hass sandbox …` find this one, unless it finds another that runs."""
    with contextlib.suppress(SandboxError, control.ControlError):
        control.call(find_running({**os.environ, "HASS_SANDBOX": ""}), "status", timeout=2.0)
        log(f"another sandbox runs already; for commands to this one: export HASS_SANDBOX={root}")
        return
    try:
        write_private(pointer_file(), json.dumps({"dir": str(root), "pid": os.getpid()}) + "\n")
    except OSError as error:
        log(f"{pointer_file()}: {error.strerror}; for commands: export HASS_SANDBOX={root}")


def remove(root: Path) -> None:
    """Forget the sandbox in that directory; another one's pointer stays."""
    path = pointer_file()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads(path.read_text(encoding="utf-8"))["dir"] == str(root):
            path.unlink()
