"""A lanplus BMC in pure Python, a process of its own, for machines without ipmi_sim: power only."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pyghmi.ipmi.bmc import Bmc

LISTEN_SECONDS = 30
# RMCP+ Open Session (IPMI v2.0, 13.17 and 13.18): where things are in the datagram, and what they mean.
PAYLOAD_TYPE, PAYLOAD, AUTHENTICATION = 5, 16, 28
OPEN_REQUEST, OPEN_RESPONSE = 0x10, 0x11
HMAC_SHA1 = 0x01
NO_MATCHING_CIPHER_SUITE = 0x11


class SandboxBmc(Bmc):  # type: ignore[misc]  # pyghmi carries no types
    """Power state from the host's power file; chassis commands go to the sandbox, unwaited for."""

    def __init__(
        self, power: Path, pipe: Path, lies: Path, user: str, password: str, **where: object
    ) -> None:
        super().__init__({user: password}, **where)
        self._power = power
        self._pipe = pipe
        self._lies = lies

    def sessionless_data(self, data: bytes, sockaddr: tuple[object, ...]) -> None:
        """Refuse what pyghmi's server cannot do: it answers every proposal with SHA-1, and a client that had
        proposed SHA-256 (pyghmi's own does, first) takes that for a yes."""
        packet = bytes(data)
        if (
            len(packet) > AUTHENTICATION
            and packet[4] == 6
            and packet[PAYLOAD_TYPE] == OPEN_REQUEST
            and packet[AUTHENTICATION] != HMAC_SHA1
        ):
            request = packet[PAYLOAD:]
            body = bytes([request[0], NO_MATCHING_CIPHER_SUITE, 0, 0]) + request[4:8]
            header = packet[:5] + bytes([OPEN_RESPONSE]) + bytes(8) + len(body).to_bytes(2, "little")
            self.serversocket.sendto(header + body, sockaddr)
            return
        super().sessionless_data(data, sockaddr)

    def get_power_state(self) -> int:
        return 1 if self._power.read_text(encoding="ascii").strip() == "1" else 0

    def power_off(self) -> None:
        self._command("power", "0")

    def power_on(self) -> None:
        self._command("power", "1")

    def power_cycle(self) -> None:
        self._command("reset", "1")

    def power_reset(self) -> None:
        self._command("reset", "1")

    def power_shutdown(self) -> None:
        self._command("shutdown", "1")

    def is_active(self) -> bool:
        return self.get_power_state() == 1

    def _command(self, key: str, value: str) -> None:
        if self._lies.exists():
            return
        # Opened for reading too, which never blocks.
        with open(os.open(self._pipe, os.O_RDWR), "wb", buffering=0) as pipe:
            pipe.write(f"{key} {value}\n".encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("power-file", "pipe", "lies-file", "password-file"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    for option in ("address", "user"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    password = args.password_file.read_text(encoding="utf-8").strip()
    files = (args.power_file, args.pipe, args.lies_file)
    bmc = SandboxBmc(*files, args.user, password, address=args.address, port=args.port)
    bmc.listen(LISTEN_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
