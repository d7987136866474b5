"""A private copy of pyghmi's session module, made safe for use by one thread."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
from types import ModuleType
from typing import Any

# RMCP+ Open Session Response (IPMI 2.0, 13.18): where the authentication algorithm is, and one value of it.
_AUTHENTICATION, _HMAC_SHA1 = 16, 0x01

_copies = itertools.count(1)


def load(wait: Any) -> ModuleType:
    """A new copy; ImportError when pyghmi is missing or not one that we know how to change.

    ``wait(timeout, address, events)`` waits for packets, and has to hand them over with ``_io_graball``.

    Replaced: ``_io_wait`` (no second thread is needed, so nothing is shared), ``Session._cmdwait`` (the loop
    sends one command at a time; waiting would stop all BMCs) and ``Session._req_priv_level`` (pyghmi sends
    this last command of a login synchronously: one sick BMC would stop all others for seconds). Added to
    ``Session._got_rmcp_response``: a BMC that answers the proposal of SHA-256 with SHA-1 (as VirtualBMC and
    pyghmi's own server do) is talked to in SHA-1; pyghmi takes that answer for a yes and chokes later.
    """
    spec = importlib.util.find_spec("pyghmi.ipmi.private.session")
    if spec is None or spec.origin is None:
        raise ImportError("pyghmi is not installed")
    own_spec = importlib.util.spec_from_file_location(
        f"hass_runtime._pyghmi_session_{next(_copies)}", spec.origin
    )
    assert own_spec is not None
    assert own_spec.loader is not None
    module = importlib.util.module_from_spec(own_spec)
    own_spec.loader.exec_module(module)
    base = module.Session
    missing = [
        name
        for owner, name in (
            (module, "_io_wait"),
            (module, "_io_graball"),
            (module, "iothread"),
            (module, "iothreadready"),
            (module, "iosockets"),
            (base, "_cmdwait"),
            (base, "_req_priv_level"),
            (base, "_got_rmcp_response"),
        )
        if not hasattr(owner, name)
    ]
    if missing:
        raise ImportError(f"this version of pyghmi is not supported: it has no {', '.join(missing)}")

    def request_privilege(session: Any) -> None:
        session.logged = 1
        session.logoutexpiry = None
        session.maxtimeout = 4
        session.logontries = 1
        session.onlogpayload = None

        def answered(response: dict[str, Any]) -> None:
            session.incommand = False
            if response.get("code") in (0x80, 0x81) and session.privlevel == 4 and session.autopriv:
                session.privlevel = 3  # operator is enough for the chassis commands
                request_privilege(session)
                return
            session.logging = False
            error = module.get_ipmi_error(response)
            if error:
                session.logged = 0
                session.onlogon({"error": f"{error} while asking for privilege level {session.privlevel}"})
            else:
                session.onlogon({"success": True})

        session.logging = False  # raw_command waits for a login under way
        session.raw_command(netfn=6, command=0x3B, data=[session.privlevel], callback=answered)
        session.logging = True

    got_rmcp_response = base._got_rmcp_response

    def take_offered_hash(session: Any, data: bytearray) -> Any:
        accepted = len(data) > _AUTHENTICATION and data[1] == 0
        if accepted and session.attemptedhash == 256 and data[_AUTHENTICATION] == _HMAC_SHA1:
            session.attemptedhash, session.currhashlib, session.currhashlen = 1, hashlib.sha1, 12
        return got_rmcp_response(session, data)

    base._got_rmcp_response = take_offered_hash
    base._cmdwait = lambda session: None
    base._req_priv_level = request_privilege
    module._io_wait = wait  # type: ignore[attr-defined]
    module.iothread = object()  # type: ignore[attr-defined]  # so that none is started
    module.iothreadready = True  # type: ignore[attr-defined]
    return module
