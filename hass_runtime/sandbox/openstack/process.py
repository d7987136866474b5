"""The embedded OpenStack as its parent sees it: start it, command it, stop it."""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from . import venv

START_SECONDS, START_SECONDS_EACH = 60.0, 2.0  # for the whole, and for every instance
COMMAND_SECONDS = 60.0
STOP_SECONDS = 5.0


class OpenStackError(RuntimeError):
    """It did not start, it died, or it did not answer in time."""


class CommandError(OpenStackError):
    """It answered that the command failed."""


@dataclass(frozen=True)
class Endpoints:
    """Where it is and how to log in: as admin, or as a tenant who has no instances and no rights."""

    auth_url: str
    nova_url: str
    placement_url: str
    username: str
    password: str = field(repr=False)
    project_name: str
    user_domain: str
    project_domain: str
    region: str
    tenant_username: str
    tenant_password: str = field(repr=False)
    tenant_project: str

    def connect_args(self, tenant: bool = False) -> dict[str, Any]:
        """Keyword arguments for `openstack.connect()`."""
        return {
            "load_yaml_config": False,
            "load_envvars": False,
            "region_name": self.region,
            "auth": {
                "auth_url": self.auth_url,
                "username": self.tenant_username if tenant else self.username,
                "password": self.tenant_password if tenant else self.password,
                "project_name": self.tenant_project if tenant else self.project_name,
                "user_domain_name": self.user_domain,
                "project_domain_name": self.project_domain,
            },
        }


class OpenStackProcess:
    """One run of server.py. Every method may be called from any thread.

    `hosts` are the compute hosts; `instances` is a number to spread over them or a list of mappings with
    name, host, state (`active`, `stopped`) and metadata. `options` are further keys of the specification
    (nova_spec.Spec): ports, capacity, spawn_seconds and so on.
    """

    def __init__(
        self,
        directory: Path,
        cache_dir: Path,
        hosts: Sequence[str],
        instances: int | Sequence[Mapping[str, Any]] = 0,
        log: Callable[[str], None] = lambda line: None,
        **options: Any,
    ) -> None:
        self.directory = directory.absolute()
        self.instances: dict[str, str] = {}  # name -> uuid of what was booted at the start
        self.took: dict[str, float] = {}  # seconds of each part of the start
        self._cache_dir = cache_dir.absolute()
        self._log = log
        self._number_of_instances = instances if isinstance(instances, int) else len(instances)
        self._spec = {
            "directory": str(self.directory),
            "hosts": list(hosts),
            "instances": instances if isinstance(instances, int) else [dict(row) for row in instances],
            **options,
        }
        self._child: subprocess.Popen[bytes] | None = None
        self._ready: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards the writing end and the table of waiting callers
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {}
        self._dead = False

    def start(self, deadline: float | None = None) -> Endpoints:
        """Start it and return when it is ready, at most `deadline` seconds after its environment is built.

        Without a deadline it is one that suits the number of instances. Raises OpenStackError, or
        venv.BuildError.
        """
        if self._child is not None:
            raise OpenStackError("it was started before")
        if deadline is None:
            deadline = START_SECONDS + START_SECONDS_EACH * self._number_of_instances
        python = venv.ensure_venv(self._cache_dir, self._log)
        self._spec["template"] = str(venv.ensure_template(python, self._cache_dir, self._log))
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        spec = self.directory / "spec.json"
        spec.write_text(json.dumps(self._spec, indent=1), encoding="utf-8")
        with open(self.directory / "stderr", "wb") as errors:
            self._child = subprocess.Popen(
                [str(python), "-I", "-W", "ignore", str(venv.SERVER), str(spec)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self.directory,
                env=venv.clean_environment(),
                # A Ctrl-C at the terminal is for the parent, which then stops this in its own order.
                start_new_session=True,
            )
        threading.Thread(target=self._read, name="openstack-replies", daemon=True).start()
        try:
            ready = self._ready.get(timeout=deadline)
        except queue.Empty:
            self.stop()
            raise OpenStackError(f"not ready within {deadline:.0f} s; see {self.directory}") from None
        except BaseException:
            self.stop()
            raise
        if ready is None:
            reason = self._last_words()
            self.stop()
            raise OpenStackError(reason)
        self.instances, self.took = ready["instances"], ready["took"]
        return Endpoints(
            auth_url=ready["auth_url"],
            nova_url=ready["nova_url"],
            placement_url=ready["placement_url"],
            username=ready["username"],
            password=ready["password"],
            project_name=ready["project"],
            user_domain=ready["user_domain"],
            project_domain=ready["project_domain"],
            region=ready["region"],
            tenant_username=ready["tenant_username"],
            tenant_password=ready["tenant_password"],
            tenant_project=ready["tenant_project"],
        )

    def command(self, do: str, *, deadline: float = COMMAND_SECONDS, **arguments: Any) -> dict[str, Any]:
        """Send a command (nova_commands.Commands) and return its reply.

        Raises CommandError when it failed, OpenStackError when no reply came within `deadline` seconds.
        """
        box: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        number = next(self._numbers)
        line = json.dumps({"do": do, "id": number, **arguments}).encode() + b"\n"
        with self._lock:
            if self._child is None or self._child.stdin is None or self._dead:
                raise OpenStackError(self._last_words())
            self._waiting[number] = box
            try:
                self._child.stdin.write(line)
                self._child.stdin.flush()
            except (OSError, ValueError) as error:
                del self._waiting[number]
                raise OpenStackError(self._last_words()) from error
        try:
            reply = box.get(timeout=deadline)
        except queue.Empty:
            raise OpenStackError(f"{do}: no reply within {deadline:.0f} s") from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if reply is None:
            raise OpenStackError(self._last_words())
        if not reply.pop("ok"):
            raise CommandError(f"{do}: {reply['error']}")
        reply.pop("id", None)
        return reply

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def stop(self) -> None:
        """End it and what it started; at most a few seconds, and harmless when it is gone already."""
        child = self._child
        if child is None:
            return
        with contextlib.suppress(OpenStackError):
            self.command("stop", deadline=STOP_SECONDS)
        # The end of its stdin ends it too, should it not have understood.
        if child.stdin is not None:
            with self._lock, contextlib.suppress(OSError):
                child.stdin.close()
        try:
            child.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def __enter__(self) -> OpenStackProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _read(self) -> None:
        """Hand every line of the child to whoever waits for it; at its end, tell all of them."""
        child = self._child
        assert child is not None
        assert child.stdout is not None
        for line in child.stdout:
            try:
                reply = json.loads(line)
            except ValueError:
                self._log(f"openstack: not a reply: {line[:200]!r}")
                continue
            if reply.get("ready"):
                self._ready.put(reply)
                continue
            with self._lock:
                box = self._waiting.get(reply.get("id"))
            if box is not None:
                box.put(reply)
        child.stdout.close()
        child.wait()
        with self._lock:
            self._dead = True
            waiting = list(self._waiting.values())
        for box in waiting:
            box.put(None)
        self._ready.put(None)

    def _last_words(self) -> str:
        """Why it is not there: the last line of its stderr."""
        if self._child is None:
            return "openstack: not started"
        end = time.monotonic() + 1.0
        while self._child.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        try:
            lines = (self.directory / "stderr").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else f"openstack: ended, status {self._child.poll()}; see {self.directory}"
