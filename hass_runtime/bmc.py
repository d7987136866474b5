"""A host's BMC, asked by IPMI 2.0 (lanplus): its power, read and set, and any other question."""

from __future__ import annotations

import time
from typing import Literal

from hass_runtime.domain import Bmc
from hass_runtime.ipmi import IpmiError, Target, shared_loop
from hass_runtime.resolver import ResolveError, resolve

_CHASSIS = 0x00  # netfn
_GET_STATUS, _CONTROL = 0x01, 0x02
_OFF, _ON = 0x00, 0x01
_NOT_IN_PRESENT_STATE = 0xD5


class BmcError(Exception):
    """A BMC that cannot be read or does not obey: one clear line, without the password.

    ``code`` is the IPMI completion code of a command that the BMC refused; None when there was no answer.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class BmcClient:
    """One BMC and the chassis power behind it. Thread-safe; sessions are shared by all of the process.

    Every call ends within ``timeout`` seconds (plus at most one on a machine under heavy load), however
    dead the BMC is, with a result or BmcError. Calls only ask: a BMC that accepted ``power_off`` may still
    read ``on`` for some seconds, or for ever.
    """

    def __init__(self, bmc: Bmc, timeout: float) -> None:
        self._bmc = bmc
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"BmcClient({self._bmc.address}:{self._bmc.port})"

    def power(self) -> Literal["on", "off"]:
        """What the BMC says about the chassis power now."""
        data = self.ask(_CHASSIS, _GET_STATUS)
        if not data:
            raise BmcError(f"{self.name}: empty chassis status")
        return "on" if data[0] & 1 else "off"

    def power_off(self) -> None:
        """Cut the power at once, without the operating system's consent. Fine if it is off already."""
        self._set(_OFF, "off")

    def power_on(self) -> None:
        """Switch the power on. Fine if it is on already."""
        self._set(_ON, "on")

    @property
    def name(self) -> str:
        """How to call it in a line for a person."""
        return f"BMC {self._bmc.address}:{self._bmc.port}"

    def ask(
        self,
        netfn: int,
        command: int,
        data: tuple[int, ...] = (),
        *,
        lun: int = 0,
        within: float | None = None,
    ) -> bytes:
        """The data of the answer to one command, which must be idempotent: it may be sent twice.

        ``within`` seconds, when that is less than the client's own timeout. Raises BmcError.
        """
        started = time.monotonic()
        timeout = self._timeout if within is None else min(within, self._timeout)
        try:
            address = resolve(self._bmc.address, timeout)
            target = Target(address, self._bmc.port, self._bmc.username, self._bmc.password)
            left = max(0.1, timeout - (time.monotonic() - started))
            return shared_loop().call(target, netfn, command, data, left, lun)
        except ResolveError as error:
            raise BmcError(f"{self.name}: {error}") from error
        except IpmiError as error:
            what = str(error)
            if what.startswith("no answer"):
                what = f"{what} in {round(timeout, 2):g} s"
            raise BmcError(f"{self.name}: {what}", error.code) from error

    def _set(self, value: int, state: str) -> None:
        try:
            self.ask(_CHASSIS, _CONTROL, (value,))
        except BmcError as error:
            # Some BMCs refuse to switch off what is off already.
            if error.code == _NOT_IN_PRESENT_STATE and self.power() == state:
                return
            raise
