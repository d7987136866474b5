"""What the sandbox needs of its OpenStack process, and how the real one is made."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hass_runtime.sandbox.openstack import venv
from hass_runtime.sandbox.openstack.process import OpenStackError, OpenStackProcess

# What the real one raises: each a clear line.
ERRORS = (OpenStackError, venv.BuildError)


class OpenStack(Protocol):
    """The OpenStack process (hass_runtime.sandbox.openstack.process), or a stand-in for it.

    ``instances``: name -> uuid of what was booted at the start.
    """

    instances: dict[str, str]

    def start(self) -> Any: ...

    def command(self, do: str, **arguments: Any) -> dict[str, Any]: ...

    def stop(self) -> None: ...


def cache_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where the environment with Nova and Keystone is kept between sandboxes."""
    value = (environ if environ is not None else os.environ).get("HASS_CACHE_DIR")
    return Path(value).expanduser() if value else Path("~/.cache/hass").expanduser()


def make(
    directory: Path,
    hosts: Sequence[str],
    instances: int | Sequence[Mapping[str, Any]],
    spawn_seconds: float | None,
    log: Callable[[str], None],
) -> OpenStack:
    """The real one, not yet started; builds its environment the first time. Raises venv.BuildError."""
    cache = cache_dir()
    # Here and not in its `start`, which runs in a thread: Ctrl-C has to end a build of a minute or two.
    python = venv.ensure_venv(cache, log)
    venv.ensure_template(python, cache, log)
    options = {} if spawn_seconds is None else {"spawn_seconds": spawn_seconds}
    return OpenStackProcess(directory, cache, hosts, instances, log, **options)


_environment = threading.Lock()


@contextlib.contextmanager
def marked_environment(marker: Mapping[str, str]) -> Iterator[None]:
    """Our own environment carries the marker for a moment, for a process that copies it when it starts."""
    with _environment:
        os.environ.update(marker)
        try:
            yield
        finally:
            for name in marker:
                del os.environ[name]
