"""The process: starts everything in the right order, says that it is ready, then obeys."""

from __future__ import annotations

import _thread
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
import urllib.request
from pathlib import Path
from typing import Any

from . import keystone_main, nova_spec

KEYSTONE_SECONDS = 30.0  # until Keystone must answer
_write = os.write  # eventlet puts a green one in its place, which cannot write to files or /dev/null
GRACE_SECONDS = 5.0  # from the end of stdin to the end of this process, whatever it is doing


class Channel:
    """Lines from the parent, read by a thread of the operating system.

    Only such a thread notices the parent's death even while a green thread keeps the process busy. It
    does what PR_SET_PDEATHSIG would do; that signal is no use here, because it comes already when the
    *thread* that started this process ends.
    """

    def __init__(self) -> None:
        self._inner, self._outer = os.pipe()
        os.set_blocking(self._inner, False)
        # Taken before eventlet replaces them by green ones.
        self._sleep, self._read = time.sleep, os.read
        _thread.start_new_thread(self._pump, ())

    def _pump(self) -> None:
        while data := self._read(0, 65536):
            _write(self._outer, data)
        os.close(self._outer)
        self._sleep(GRACE_SECONDS)
        os._exit(1)

    def lines(self):
        """Each line as it comes, until the parent closes its end. For green threads."""
        from eventlet import hubs

        rest = b""
        while True:
            hubs.trampoline(self._inner, read=True)
            data = self._read(self._inner, 65536)
            if not data:
                return
            *whole, rest = (rest + data).split(b"\n")
            yield from (line.decode() for line in whole if line.strip())


class Keystone:
    """The child process that serves Keystone."""

    def __init__(self, directory: Path, port: int) -> None:
        import socket

        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v3"
        self.directory = directory
        self._listener = listener
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the child; it answers some 3 s later."""
        server = Path(__file__).with_name("server.py")
        fd = self._listener.fileno()
        command = [sys.executable, "-I", "-W", "ignore", str(server), "--keystone", str(self.directory)]
        self._child = subprocess.Popen(
            [*command, str(fd), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            pass_fds=[fd],
        )
        # Or a dead child's port would go on accepting.
        self._listener.close()

    def wait(self) -> None:
        """Return when it answers. Raises RuntimeError when it does not within KEYSTONE_SECONDS."""
        end = time.monotonic() + KEYSTONE_SECONDS
        while time.monotonic() < end:
            self.check()
            try:
                with urllib.request.urlopen(self.url, timeout=KEYSTONE_SECONDS):
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"Keystone does not answer; see {self.directory / 'keystone.log'}")

    def check(self) -> None:
        """Raises RuntimeError when the child has died."""
        if self._child is not None and self._child.poll() is not None:
            raise RuntimeError(f"Keystone ended, status {self._child.returncode}")

    def freeze(self, going: bool) -> None:
        """Stop it in its tracks, or let it go on."""
        if self._child is not None:
            self._child.send_signal(signal.SIGCONT if going else signal.SIGSTOP)

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()


def run(path: Path) -> int:
    """Run a specification to its end and return the exit status."""
    os.umask(0o077)
    try:
        spec = nova_spec.read(path)
        spec.directory.mkdir(parents=True, exist_ok=True)
        log = os.open(spec.directory / "openstack.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except (nova_spec.SpecError, OSError, TypeError) as error:
        print(f"openstack: {error}", file=sys.stderr)
        return 1
    # Whatever the libraries print belongs into the log; stdout is the parent's protocol.
    out, err = os.dup(1), os.dup(2)
    for fd in (1, 2):
        os.dup2(log, fd)
    keystone: Keystone | None = None
    try:
        channel = Channel()
        directory = spec.directory / "keystone"
        shutil.copytree(spec.template / "keystone", directory, dirs_exist_ok=True)
        keystone_main.write_config(directory)
        keystone = Keystone(directory, spec.keystone_port)
        _run(spec, channel, keystone, out)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the last resort; Nova calls sys.exit as well
        traceback.print_exc()
        _write(err, f"openstack: {type(error).__name__}: {error} (see {spec.directory})\n".encode())
        return _leave(keystone, 1)
    return _leave(keystone, 0)


def _leave(keystone: Keystone | None, status: int) -> int:
    """End at once: nothing here is worth a tidy end, and Nova's services would take seconds over it."""
    if keystone is not None:
        keystone.kill()
    sys.stdout.flush()
    os._exit(status)


def _run(spec: nova_spec.Spec, channel: Channel, keystone: Keystone, out: int) -> None:
    began = time.monotonic()
    took: dict[str, float] = {}

    def lap(name: str) -> None:
        took[name] = round(time.monotonic() - began - sum(took.values()), 2)

    gc.disable()  # two million objects are about to be made that all stay; looking through them costs 1 s
    from nova import monkey_patch

    monkey_patch.patch(backend="eventlet")
    from . import nova_web

    nova, placement = nova_web.Server(spec.nova_port), nova_web.Server(spec.placement_port)
    nova_url, placement_url = f"http://127.0.0.1:{nova.port}/v2.1", f"http://127.0.0.1:{placement.port}"
    urls = {"identity": keystone.url, "compute": nova_url, "placement": placement_url}
    keystone_main.set_endpoints(keystone.directory, urls)
    keystone.start()
    passwords = keystone_main.read_passwords(keystone.directory)
    lap("eventlet")

    from . import nova_bus, nova_config, nova_hypervisor, nova_services, nova_stubs
    from .nova_boot import Booter

    lap("imports")
    world = nova_hypervisor.WORLD
    world.vcpus, world.memory_mb, world.disk_gb = spec.vcpus, spec.memory_mb, spec.disk_gb
    world.shared_storage = spec.shared_storage
    nova_services.give_identity(spec.directory / "state")
    sections = nova_config.nova_sections(spec, keystone.url, passwords["nova"])
    nova_config.configure_nova(nova_config.write(spec.directory / "nova.conf", sections))
    nova_config.load_databases(spec.template)
    nova_stubs.install()
    nova_bus.install()
    sections = nova_config.placement_sections(spec, keystone.url, passwords["nova"])
    config = nova_config.write(spec.directory / "placement.conf", sections)
    placement.serve(nova_config.placement_application(config, spec.template))
    lap("configuration")

    from nova.api import wsgi

    application = wsgi.Loader().load_app("osapi_compute")
    lap("api")
    keystone.wait()
    lap("keystone")
    nova_services.start_controllers()
    computes = nova_services.Computes()
    for host in spec.hosts:
        computes.start(host)
    nova_services.map_hosts()
    nova.serve(application)
    lap("services")
    booter = Booter(keystone.url, nova_url, passwords["admin"])
    instances = booter.boot(spec.instances)
    computes.settle()
    lap("instances")
    world.spawn_seconds, world.migrate_seconds = spec.spawn_seconds, spec.migrate_seconds
    gc.enable()
    gc.freeze()
    ready = {
        "ready": True,
        "auth_url": keystone.url,
        "nova_url": nova_url,
        "placement_url": placement_url,
        "username": "admin",
        "password": passwords["admin"],
        "project": "admin",
        "user_domain": "Default",
        "project_domain": "Default",
        "region": keystone_main.REGION,
        "tenant_username": "demo",
        "tenant_password": passwords["demo"],
        "tenant_project": "demo",
        "instances": instances,
        "took": took,
    }
    from .nova_commands import Commands

    _obey(channel, Commands(spec.hosts, computes, nova, booter, keystone.freeze), keystone, out, ready)


def _obey(channel: Channel, commands: Any, keystone: Keystone, out: int, ready: dict[str, Any]) -> None:
    """Say ready, then answer orders until `stop` or the end of stdin.

    Raises RuntimeError when Keystone dies meanwhile.
    """
    import eventlet

    main = eventlet.getcurrent()

    def watch() -> None:
        while True:
            eventlet.sleep(0.5)
            try:
                keystone.check()
            except RuntimeError as error:
                eventlet.kill(main, error)
                return

    eventlet.spawn(watch)
    _write(out, json.dumps(ready).encode() + b"\n")
    for line in channel.lines():
        _write(out, commands.answer(line).encode() + b"\n")
        if commands.stopped:
            return
