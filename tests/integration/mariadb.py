"""A real MariaDB server on loopback for the tests: its own directory, socket and port; gone afterwards."""

from __future__ import annotations

import getpass
import itertools
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import pymysql

USER = "hass"
PASSWORD = "p@ss:w/ord%,1"


class MariaDb:
    """One server, which can be stopped, started again on the same port, and frozen."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="hass-mariadb-"))
        self.port = _free_port()
        self._count = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.directory / "server.log"
        install = [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--user={getpass.getuser()}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]
        subprocess.run(install, check=True, capture_output=True, timeout=120)
        self.start()
        self.sql(f"CREATE USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")

    @staticmethod
    def available() -> bool:
        return shutil.which("mariadbd") is not None and shutil.which("mariadb-install-db") is not None

    def start(self) -> None:
        """Start and wait until it answers."""
        command = [
            shutil.which("mariadbd") or "mariadbd",
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--socket={self.directory / 'socket'}",
            f"--pid-file={self.directory / 'pid'}",
            f"--user={getpass.getuser()}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=8M",
            "--innodb-flush-log-at-trx-commit=2",
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.sql("SELECT 1")
                return
            except pymysql.MySQLError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"MariaDB did not start: {self._log.read_text()[-2000:]}") from None
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill it, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def freeze(self) -> None:
        """Let it hang: it takes connections (the kernel does) and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def sql(self, statement: str) -> tuple[tuple[object, ...], ...]:
        """Run one statement as the server's administrator."""
        connection = pymysql.connect(
            unix_socket=str(self.directory / "socket"), user="root", read_timeout=30, autocommit=True
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return tuple(cursor.fetchall())

    def fresh_database(self) -> str:
        """The URL of a new, empty database of a user who may do anything in it and nothing else."""
        name = f"hass_{next(self._count)}"
        self.sql(f"CREATE DATABASE {name} CHARACTER SET latin1 COLLATE latin1_swedish_ci")
        self.sql(f"GRANT ALL ON {name}.* TO '{USER}'@'127.0.0.1'")
        return f"mysql+pymysql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{name}"

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
