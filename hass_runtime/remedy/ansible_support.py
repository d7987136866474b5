"""What the modules in playbooks/remediation/library share: settings, connections, and failing in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hass_runtime.domain import Choice, Host, Verdict
from hass_runtime.remedy import homecoming
from hass_runtime.remedy.drain import DrainError
from hass_runtime.remedy.nova import CloudError, parse_time
from hass_runtime.remedy.proof import FenceError
from hass_runtime.remedy.protecting import Cloud, Protector
from hass_runtime.remedy.restart import RestartError
from hass_runtime.remedy.restoration import RestoreError
from hass_runtime.settings import SettingsError, load_controller

if TYPE_CHECKING:
    from hass_runtime.bmc import BmcClient
    from hass_runtime.domain import Reading
    from hass_runtime.remedy.agent import UdpAgent
    from hass_runtime.settings import ControllerSettings


class BadArgument(Exception):
    """An argument of a module that cannot be used. One line."""


@contextmanager
def one_line_failures(fail: Callable[[str], Any]) -> Iterator[None]:
    """Turns the failures that a module expects into its failure message; anything else is a bug and shows."""
    try:
        yield
    except SettingsError as error:
        fail("; ".join(error.problems))
    except (CloudError, DrainError, FenceError, RestartError, RestoreError, BadArgument) as error:
        fail(str(error))


def load(config: str, name: str) -> tuple[ControllerSettings, Host]:
    """The settings and exactly this host of theirs."""
    settings = load_controller(config)
    for host in settings.hosts:
        if host.name == name:
            return settings, host
    known = ", ".join(host.name for host in settings.hosts) or "none"
    raise BadArgument(f"{config} names no host {name}; its hosts are: {known}")


def bmc_of(settings: ControllerSettings, host: Host) -> BmcClient | None:
    """A client for the host's BMC, None when it has none."""
    from hass_runtime.bmc import BmcClient

    return BmcClient(host.bmc, max(settings.detection.probe_timeout, 5.0)) if host.bmc is not None else None


def agent_of(settings: ControllerSettings, host: Host) -> Callable[[], Reading] | None:
    """Asks the host's agent for its services and their storage; None when agents are not configured."""
    from hass_runtime.detect.services import ServiceDetector
    from hass_runtime.detect.storage import StorageDetector

    detection = settings.detection
    if not detection.polling_key:
        return None
    agents = (
        detection.polling_port,
        detection.polling_key,
        detection.probe_timeout,
        settings.network.max_message_size,
    )
    services, storage = ServiceDetector(*agents), StorageDetector(*agents)
    return lambda: worst(services.read(host), lambda: storage.read(host))


def worst(services: Reading, storage: Callable[[], Reading]) -> Reading:
    """What stands in the way of a host's use: its services, else a storage that is cut off, else nothing."""
    if services.verdict is not Verdict.OK:
        return services
    cut_off = storage()
    return cut_off if cut_off.verdict is Verdict.FAILED else services


def asked_agent(settings: ControllerSettings, host: Host) -> UdpAgent:
    """The host's agent, to be asked for each of its checks and for a restart."""
    from hass_runtime.remedy.agent import UdpAgent

    detection = settings.detection
    if not detection.polling_key:
        raise RestartError(
            f"nothing on {host.name} can be restarted: no agent is configured "
            f"({settings.path}: [detection] polling_key)"
        )
    return UdpAgent(
        host,
        detection.polling_port,
        (detection.polling_key,),
        detection.probe_timeout,
        settings.network.max_message_size,
    )


def protector(
    settings: ControllerSettings, host: Host, cloud: Cloud, choices: Mapping[str, Any] | None
) -> Protector:
    """Which instances of the host are protected. ``choices`` None: people's are read from the database.

    A controller hands them over, so that its playbooks do not depend on the database while they run.
    """
    known = stored_choices(settings) if choices is None else {k: choice(k, raw) for k, raw in choices.items()}
    return Protector(cloud, host.name, settings.protection[host.cluster], known)


def stored_choices(settings: ControllerSettings) -> dict[str, Choice]:
    """What people chose for single instances, from the controller's database, if there is one yet."""
    from hass_runtime.store import Store, StoreError

    file = settings.database_url.removeprefix("sqlite:///")
    if file != settings.database_url and not Path(file).exists():
        return {}
    store = Store(settings.database_url)
    try:
        return {each.instance: each for each in store.choices()}
    except StoreError as error:
        raise BadArgument(
            f"what `hass protect` and `hass unprotect` chose cannot be read: {error}; to go on without it, "
            "give choices={}"
        ) from error
    finally:
        store.close()


def moved(
    settings: ControllerSettings, host: str, given: Mapping[str, Any] | None, of: int
) -> dict[str, str]:
    """By UUID what was moved away from a host, and where to. ``given`` None: of an incident in the database.

    ``of`` 0: of the newest incident that moved anything.
    """
    if given is not None:
        return {str(instance): str(target) for instance, target in given.items()}
    from hass_runtime.store import Store, StoreError

    store = Store(settings.database_url)
    try:
        number = of or homecoming.newest_that_moved(store, host)
        found = homecoming.moved_away(host, store.moves(number))
    except StoreError as error:
        raise BadArgument(f"what was moved away from {host} cannot be read: {error}") from error
    finally:
        store.close()
    if not found:
        raise BadArgument(
            f"incident {of} moved nothing away from {host}"
            if of
            else f"no incident moved anything away from {host}"
        )
    return found


def choice(instance: str, raw: Any) -> Choice:
    """One entry of the argument ``choices``."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("protected"), bool):
        raise BadArgument(f"choices: {instance} is {raw!r}, expected protected, reason and by")
    reason, by = str(raw.get("reason") or ""), str(raw.get("by") or "somebody")
    return Choice(instance, raw["protected"], reason, by, 0.0)


def recorded(raw: Mapping[str, Any] | None) -> dict[str, str]:
    """The argument ``was``: "active" or "stopped" by UUID, as an earlier run of the incident recorded it."""
    for instance, was in (raw or {}).items():
        if was not in ("active", "stopped"):
            raise BadArgument(f"was: {instance} is {was!r}, expected active or stopped")
    return dict(raw or {})


def moment(text: str | None, argument: str) -> float | None:
    """An ISO 8601 time as seconds since the epoch; None and "" are none."""
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError as error:
        raise BadArgument(
            f"{argument}: {text!r} is no ISO 8601 time, expected e.g. 2026-03-01T02:03:04Z"
        ) from error
