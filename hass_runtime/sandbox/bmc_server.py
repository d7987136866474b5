"""A lanplus BMC in pure Python, a process of its own: power, and a watchdog timer that its host may arm.

For machines without ipmi_sim; and ipmi_sim does not tell how much is left of its watchdog timer.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from pyghmi.ipmi.bmc import Bmc

LISTEN_SECONDS = 30
# RMCP+ Open Session (IPMI v2.0, 13.17 and 13.18): where things are in the datagram, and what they mean.
PAYLOAD_TYPE, PAYLOAD, AUTHENTICATION = 5, 16, 28
OPEN_REQUEST, OPEN_RESPONSE = 0x10, 0x11
HMAC_SHA1 = 0x01
NO_MATCHING_CIPHER_SUITE = 0x11
APP, GET_WATCHDOG_TIMER = 0x06, 0x25  # netfn, command
WATCHDOG_SECONDS = 60.0  # what the host's operating system has its timer count down from
RUNNING_SYSTEM, TIMER_RUNS = 0x04, 0x40


def watchdog_timer(armed: float | None, now: float) -> bytes:
    """The answer to Get Watchdog Timer (IPMI v2.0, 27.7): the running system's timer, without an action.

    ``armed`` is when it was last re-armed, by the same clock as ``now`` (seconds); None: it is off.
    """
    left = 0.0 if armed is None else max(0.0, WATCHDOG_SECONDS - (now - armed))
    first = RUNNING_SYSTEM | (TIMER_RUNS if left > 0 else 0)
    expired = 1 << RUNNING_SYSTEM if armed is not None and left <= 0 else 0
    tenths = (round(seconds * 10).to_bytes(2, "little") for seconds in (WATCHDOG_SECONDS, left))
    return bytes([first, 0, 0, expired]) + b"".join(tenths)


class SandboxBmc(Bmc):  # type: ignore[misc]  # pyghmi carries no types
    """Power state from the host's power file; chassis commands go to the sandbox, unwaited for."""

    def __init__(
        self, power: Path, pipe: Path, lies: Path, watchdog: Path, user: str, password: str, **where: object
    ) -> None:
        super().__init__({user: password}, **where)
        self._power = power
        self._watchdog = watchdog
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

    def handle_raw_request(self, request: dict[str, Any], session: Any) -> None:
        if (request["netfn"], request["command"]) != (APP, GET_WATCHDOG_TIMER):
            super().handle_raw_request(request, session)
            return
        try:
            armed = float(self._watchdog.read_text(encoding="ascii"))
        except FileNotFoundError:
            armed = None
        session.send_ipmi_response(data=list(watchdog_timer(armed, time.monotonic())))

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
    for option in ("power-file", "pipe", "lies-file", "watchdog-file", "password-file"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    for option in ("address", "user"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    password = args.password_file.read_text(encoding="utf-8").strip()
    files = (args.power_file, args.pipe, args.lies_file, args.watchdog_file)
    bmc = SandboxBmc(*files, args.user, password, address=args.address, port=args.port)
    bmc.listen(LISTEN_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
