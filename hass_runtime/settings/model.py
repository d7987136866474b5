"""The settings as frozen data: what the rest of HASS reads, and never changes.

Durations are seconds as float unless said otherwise. Passwords and keys never show in a repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hass_runtime.decide.protection import Rules
from hass_runtime.domain import Host, Layer, Method


class SettingsError(Exception):
    """A configuration file cannot be used.

    ``problems`` holds every one found, each a line "FILE: [section] key: what was wrong, what was
    expected"; ``notes`` holds what :attr:`ControllerSettings.notes` would have held.
    """

    def __init__(self, problems: tuple[str, ...], notes: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.notes = notes


@dataclass(frozen=True)
class OpenstackSettings:
    """How to log in to Keystone and find Nova. ``request_timeout`` bounds each HTTP request."""

    auth_url: str
    username: str
    password: str = field(repr=False)
    user_domain_id: str
    project_domain_id: str
    project_name: str
    region_name: str | None
    interface: str
    cacert: str | None
    gateway_ip: str | None
    request_timeout: float


@dataclass(frozen=True)
class DetectionSettings:
    """How often the hosts are read and how many failed rounds make a fault.

    ``polling_key`` is the secret shared with the agents; empty when none is configured.
    ``watchdog_threshold`` is how long (seconds) the BMC's watchdog timer may go without being re-armed.
    ``nova_view`` says whether Nova is asked how it sees the host's nova-compute.
    """

    polling_interval: float
    polling_threshold: int
    polling_port: int
    wait_restart_threshold: int
    polling_key: bytes = field(repr=False)
    probe_timeout: float
    watchdog_threshold: float
    nova_view: bool


@dataclass(frozen=True)
class NetworkSettings:
    """How the network layer of a host is read.

    ``heartbeat_time`` is the number of ICMP tries in one check. ``ping_command`` is the argv of an
    external ping, in which ``{address}`` and ``{host}`` stand for the host, or None for the built-in one.
    ``tcp_ports`` are tried too: who accepts or refuses a connection there lives.
    """

    network_transient_time: float
    heartbeat_time: int
    max_message_size: int
    shared_storage: bool
    ping_command: tuple[str, ...] | None
    tcp_ports: tuple[int, ...]


@dataclass(frozen=True)
class SensorSettings:
    """The guide's sensor thresholds, in the sensors' own units (degrees Celsius for temperatures).

    ``horizon``: a watched sensor that will cross a threshold within so many seconds, if it goes on as it
    did, counts as a warning; 0 looks at no trend.
    """

    watched: tuple[str, ...]
    node_sensors: tuple[str, ...]
    upper_critical: float | None
    lower_critical: float | None
    horizon: float


@dataclass(frozen=True)
class LogSettings:
    """``level`` is a name of the logging module; ``location`` a file, or "" for standard error."""

    level: str
    location: str


@dataclass(frozen=True)
class RestSettings:
    """Where the REST API listens."""

    host: str
    port: int


@dataclass(frozen=True)
class SafetySettings:
    """The limits within which HASS may act on its own.

    ``storm_threshold`` is a share of a cluster (0..1): when more than that fails at once, HASS holds.
    ``domain_threshold`` is the same for one failure domain. ``fence_reads`` is how often in a row the power
    must read as off before a host counts as off. At most ``max_fences`` hosts are fenced in ``fence_window``
    seconds. ``cooldown`` is how long (seconds) after a storm, or after being cut off itself, HASS looks again
    before it acts. A host that was fenced ``flap_limit`` times in ``flap_window`` seconds is quarantined. A
    host that said it was shutting down may be away for ``planned_shutdown_time`` seconds.
    """

    armed: bool
    storm_threshold: float
    fence_reads: int
    fence_timeout: float
    max_remedies: int
    retry_interval: float
    max_attempts: int
    domain_threshold: float
    max_fences: int
    fence_window: float
    cooldown: float
    flap_limit: int
    flap_window: float
    planned_shutdown_time: float


@dataclass(frozen=True)
class RecoverySettings:
    """How a failed host is emptied and taken back. ``evacuate_timeout`` is for each instance.

    ``priority_groups`` says when the next priority begins, see `remedy.groups.Pace`, ``priority_stagger``
    (seconds) how long it waits at most. ``methods`` is by cluster where instances go; ``refill_reserve``
    keeps a returning host in place of a reserved one that was used, and ``reserved_to_aggregates`` adds a
    reserved host to the aggregates of the failed one. ``healthy_delay`` is how long (seconds) a drained host
    has to look well before it is taken back, ``return_delay`` the same for one that was switched on again.
    ``by_hand``: a host comes back only when a person wants it. ``failback``: its instances then come home.
    """

    auto_restore: bool
    evacuate_timeout: float
    evacuate_retries: int
    evacuate_workers: int
    priority_groups: str
    priority_stagger: float
    evacuate_microversion: str
    run_timeout: float
    restore_timeout: float
    poll_interval: float
    restart_timeout: float
    drain_timeout: float
    healthy_delay: float
    methods: Mapping[str, Method]
    by_hand: bool
    return_delay: float
    failback: bool
    refill_reserve: bool
    reserved_to_aggregates: bool


@dataclass(frozen=True)
class PathSettings:
    """Directories, and the operator's own symptom table (None: the one that comes with HASS).

    ``own_playbooks`` has the operator's own rungs beside those in ``playbooks``; it need not exist.
    """

    state_dir: Path
    playbooks: Path
    own_playbooks: Path
    symptoms: Path | None


@dataclass(frozen=True)
class ControllerIdentity:
    """Who this controller is among several, and how long (seconds) its lease on acting lasts."""

    name: str
    lease_ttl: float


@dataclass(frozen=True)
class ControllerSettings:
    """Everything of the controller's file, /etc/hass.conf.

    ``protected_layers`` says by cluster which layers' faults HASS remedies; others are only reported.
    ``protection`` are each cluster's rules for which instances are moved and started.
    ``notes`` are lines for the operator: keys that have no effect, and advice that is no error.
    ``database_url`` holds the password; ``database_url_safe`` is the one to print.
    """

    path: Path
    notes: tuple[str, ...]
    openstack: OpenstackSettings
    hosts: tuple[Host, ...]
    protected_layers: Mapping[str, frozenset[Layer]]
    protection: Mapping[str, Rules]
    detection: DetectionSettings
    network: NetworkSettings
    sensors: SensorSettings
    database_url: str = field(repr=False)
    database_url_safe: str
    log: LogSettings
    rest: RestSettings
    safety: SafetySettings
    recovery: RecoverySettings
    paths: PathSettings
    controller: ControllerIdentity


@dataclass(frozen=True)
class AgentSettings:
    """Everything of a compute host's file, /etc/hass_compute.conf.

    ``key`` is the secret shared with the controllers; empty when none is configured. ``checks`` maps the
    name of a check to its spec (``unit NAME…``, ``process NAME``, ``libvirt [UNIT…]``, ``driver``,
    ``storage [shared] PATH…``, ``command ARGV…``, ``off``). ``clock_tolerance`` is how far (seconds) the
    controller's clock may be from this host's. ``boot_id_file`` holds the name of the host's present boot.
    """

    path: Path
    notes: tuple[str, ...]
    host: str
    listen_address: str
    listen_port: int
    key: bytes = field(repr=False)
    max_message_size: int
    libvirt_uri: str
    log: LogSettings
    checks: Mapping[str, str]
    check_timeout: float
    clock_tolerance: float
    boot_id_file: Path = Path("/proc/sys/kernel/random/boot_id")
