"""OpenStack's own environment and the databases that its runs start from: made once, cached, shared.

Both are keyed by a hash of what they are made of, so a change of pins or of our scripts makes new ones
beside the old.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
CONSTRAINTS = HERE / "constraints.txt"
SERVER = HERE / "server.py"
_TEMPLATE_SOURCES = ("keystone_main.py", "nova_config.py", "nova_template.py")
_MARKER = "complete"  # the last thing to be written; without it a directory is an interrupted build
OLDEST_PYTHON = (3, 11)  # Nova 34's own requirement

BUILD_SECONDS = 900.0
TEMPLATE_SECONDS = 180.0

Log = Callable[[str], None]


class BuildError(RuntimeError):
    """The environment or the template could not be made; the message ends with what the tool said."""


def ensure_venv(cache_dir: Path, log: Log) -> Path:
    """The python of OpenStack's environment under `cache_dir`, which is built if need be.

    Building takes a minute or two and 450 MB. Safe to call from several processes at once: one builds,
    the others wait. Raises BuildError.
    """
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        raise BuildError(f"the embedded OpenStack needs Python {wanted}, this is {sys.version.split()[0]}")
    key = _hash(REQUIREMENTS, CONSTRAINTS, extra=f"{sys.implementation.cache_tag} {os.uname().machine}")
    directory = cache_dir / f"openstack-{key}"
    python = directory / "bin" / "python"
    with _made_once(directory) as missing:
        if missing:
            log(f"building OpenStack's environment in {directory} (once; a minute or two)")
            _run([sys.executable, "-m", "venv", str(directory)], BUILD_SECONDS)
            # Compiled below instead, by all cores.
            pip = [str(python), "-m", "pip", "install", "--no-input", "--no-compile", "--quiet"]
            files = ["--requirement", str(REQUIREMENTS), "--constraint", str(CONSTRAINTS)]
            _run([*pip, "--disable-pip-version-check", *files], BUILD_SECONDS)
            log("compiling it")
            # A few files in it are templates for other Pythons and do not compile; that is no failure.
            compiling = [str(python), "-m", "compileall", "-q", "-j", "0", str(directory / "lib")]
            _run(compiling, BUILD_SECONDS, check=False)
    return python


def ensure_template(python: Path, cache_dir: Path, log: Log) -> Path:
    """The directory of bootstrapped databases and keys, which is made (some 4 s) if need be.

    It holds the passwords of the throw-away users, so only we may enter it. Raises BuildError.
    """
    sources = [HERE / name for name in _TEMPLATE_SOURCES]
    directory = cache_dir / f"template-{_hash(*sources, extra=str(python.parent))}"
    with _made_once(directory) as missing:
        if missing:
            log(f"making OpenStack's databases in {directory} (once; a few seconds)")
            directory.mkdir(mode=0o700)
            making = [str(python), "-I", "-W", "ignore", str(SERVER), "--template", str(directory)]
            _run(making, TEMPLATE_SECONDS)
    return directory


@contextlib.contextmanager
def _made_once(directory: Path) -> Iterator[bool]:
    """Whether the body has to make this directory; it is then empty, and locked until the body is done."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    marker = directory / _MARKER
    if marker.exists():
        yield False
        return
    with open(directory.with_name(directory.name + ".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if marker.exists():
            yield False
            return
        if directory.exists():
            shutil.rmtree(directory)
        yield True
        marker.touch()


def _hash(*files: Path, extra: str) -> str:
    found = hashlib.sha256(extra.encode())
    for file in files:
        found.update(file.read_bytes())
    return found.hexdigest()[:12]


def clean_environment() -> dict[str, str]:
    """Our environment without what would lead another environment's python, or its HTTP, astray."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "OS_", "VIRTUAL_ENV", "EVENTLET"))
    }
    local = "127.0.0.1,localhost"
    return {**kept, "NO_PROXY": local, "no_proxy": local}


def _run(command: list[str], deadline: float, check: bool = True) -> None:
    """Run to its end within `deadline` seconds. Raises BuildError with the tail of its output."""
    name = " ".join(command[:4])
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=deadline,
            # pip keeps its settings (index, certificates) in the environment.
            env=clean_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{name}: not done within {deadline:.0f} s") from error
    except OSError as error:
        raise BuildError(f"{name}: {error}") from error
    if check and done.returncode != 0:
        raise BuildError(f"{name}: status {done.returncode}: {done.stdout[-2000:].strip()}")
