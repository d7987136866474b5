"""A real libvirtd of our own for the tests: own sockets, state and pid file, without privileges."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path


class PrivateLibvirtd:
    """libvirtd in session mode with the QEMU driver. ``uri`` is how a client reaches it."""

    def __init__(self) -> None:
        # Not below pytest's own directory: that one is closed to the user that libvirtd runs as.
        self.dir = Path(tempfile.mkdtemp(prefix="hass-libvirtd-"))
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            # As root it would use the system's directories.
            os.chown(self.dir, 65534, 65534)
            self._as_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        self._socket = self.dir / "libvirt-sock"
        self.uri = f"qemu+unix:///session?socket={self._socket}"
        (self.dir / "libvirtd.conf").write_text(
            f'unix_sock_dir = "{self.dir}"\nauth_unix_ro = "none"\nauth_unix_rw = "none"\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
            "HOME": str(self.dir),
            **{
                f"XDG_{kind}": str(self.dir / kind.lower())
                for kind in ("RUNTIME_DIR", "CONFIG_HOME", "CACHE_HOME")
            },
        }
        conf, pid = self.dir / "libvirtd.conf", self.dir / "libvirtd.pid"
        with (self.dir / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, "libvirtd", "-f", str(conf), "-p", str(pid)],
                env=environment,
                cwd=self.dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while not self._socket.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"libvirtd did not start: {(self.dir / 'log').read_text()[-800:]}")
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None
            self._socket.unlink(missing_ok=True)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)
