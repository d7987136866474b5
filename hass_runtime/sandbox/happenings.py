"""Makes the events of a scenario happen in the embedded cluster: for real, by the means that people have."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hass_runtime.domain import OrderKind, Scope
from hass_runtime.remedy.homecoming import newest_that_moved
from hass_runtime.sandbox.cluster import Sandbox
from hass_runtime.sandbox.layout import write_private
from hass_runtime.sandbox.machine import Machine
from hass_runtime.sandbox.nova_user import NovaRefused, NovaUser
from hass_runtime.sandbox.pointer import SandboxError
from hass_runtime.sandbox.real_facts import RealFacts
from hass_runtime.simulator.scenario_model import Event
from hass_runtime.simulator.scenario_words import NORMAL
from hass_runtime.store import Store, StoreError

PERSON = "operator"
NORMAL_INLET = 24  # degrees Celsius
_TO_MACHINES: dict[str, Callable[[Machine], None]] = {
    "power_cut": lambda machine: machine.mains(False),
    "power_restore": lambda machine: machine.mains(True),
}
_ACTIONS: dict[str, dict[str, Any]] = {
    "stop_instance": {"os-stop": None},
    "start_instance": {"os-start": None},
    "migrate_instance": {"os-migrateLive": {"host": None, "block_migration": "auto"}},
}


class Happenings:
    """Applies one event after the other; each returns when it has happened.

    Raises what the sandbox raises when its parts fail; what HASS or Nova refuse a person is only told.
    """

    def __init__(
        self,
        box: Sandbox,
        nova: NovaUser,
        store: Store,
        facts: RealFacts,
        say: Callable[[str, str, str], None],
    ) -> None:
        self._box = box
        self._nova = nova
        self._store = store
        self._facts = facts
        self._say = say
        self.controller_lives = True
        """Whether the controller is meant to run."""

    def happen(self, event: Event) -> None:
        if event.name == "operator":
            self._operator(event)
            return
        words = ", ".join(str(value) for value in event.arguments.values())
        for subject in event.subjects or ("",):
            self._say(f"world.{event.name}", subject, words)
            if event.name.startswith("guest_"):
                self._to_guest(event.name, subject)
            elif subject:
                self._to_host(event, subject)
            else:
                self._to_all(event.name)

    def _to_host(self, event: Event, host: str) -> None:
        name, arguments = event.name, event.arguments
        if name in _TO_MACHINES:
            _TO_MACHINES[name](self._box.machine(host))
        elif name == "sensor":
            value = NORMAL_INLET if arguments["value"] == NORMAL else int(arguments["value"])
            write_private(self._box.layout.host(host).inlet_file, f"{value}\n")
        elif name in ("service_stop", "service_start"):
            self._box.event(name, host, arguments["service"])
        else:
            self._box.event(name, host)

    def _to_guest(self, name: str, instance: str) -> None:
        runs = bool(self._box.guests()["running"].get(self._facts.uuid(instance)))
        on = name == "guest_restore"
        # A guest that does not run cannot crash, and one that runs need not be brought back.
        if runs != on and instance in self._facts.wishes:
            self._box.command("guest_power", uuid=self._facts.uuid(instance), on=on)

    def _to_all(self, name: str) -> None:
        if name == "controller_kill":
            self.controller_lives = False
            if self._box.controller_runs:
                self._box.controller_kill()
        elif name == "controller_start":
            if not self._box.controller_runs:
                self._box.controller_start()
            self.controller_lives = True
        else:
            self._box.event(name)

    # -- a person --------------------------------------------------------------------------------------

    def _operator(self, event: Event) -> None:
        verb = event.arguments["do"]
        subject = event.subjects[0] if event.subjects else ""
        self._say(f"operator.{verb}", subject, event.arguments["reason"])
        try:
            if verb in ("protect", "unprotect"):
                reason = event.arguments["reason"] or f"{verb} of the scenario"
                self._store.choose(self._facts.uuid(subject), verb == "protect", reason, PERSON, subject)
            elif verb in _ACTIONS or verb == "delete_instance":
                self._to_instance(verb, subject)
            else:
                self._order(verb, subject, event)
        except (StoreError, NovaRefused, OSError) as error:
            self._say("operator.refused", subject, str(error))

    def _to_instance(self, verb: str, instance: str) -> None:
        uuid = self._facts.uuid(instance)
        if verb == "delete_instance":
            self._nova.delete(f"/servers/{uuid}")
            self._facts.wishes.pop(instance, None)
            return
        self._nova.act(uuid, _ACTIONS[verb])
        if verb != "migrate_instance":
            self._facts.wishes[instance] = verb == "start_instance"

    def _order(self, verb: str, subject: str, event: Event) -> None:
        reason = event.arguments["reason"] or f"{verb} of the scenario"
        now = time.time()
        until = now + event.duration if event.duration else None
        if verb in ("disarm", "arm"):
            scope = Scope(event.arguments["scope"])
            if verb == "disarm":
                self._store.disarm(reason, PERSON, until, now, scope, subject)
            else:
                self._store.arm(now, scope, subject)
        elif verb == "end_maintenance":
            self._store.end_orders(subject, OrderKind.MAINTENANCE, now)
        elif verb == "failback":
            number = newest_that_moved(self._store, subject)
            self._store.give_order(subject, OrderKind.FAILBACK, reason, PERSON, at=now, incident=number)
        elif verb in {kind.value for kind in OrderKind}:
            drain = event.arguments.get("drain", False)
            self._store.give_order(subject, OrderKind(verb), reason, PERSON, until, drain, now)
        else:
            raise SandboxError(f"operator: {verb}: the sandbox does not know how to do that")
