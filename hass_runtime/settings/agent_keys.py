"""Every key of a compute host's file, /etc/hass_compute.conf: the guide's, and our own."""

from __future__ import annotations

from hass_runtime.settings.keys import ANY, Key, Kind, Table

_NO_CLOUD = "no effect: the agent does not log in to OpenStack"
_NO_PASSWORD = "no effect: the agent does not log in to OpenStack; take the password off this host"
_NO_GUESTS = "no effect yet: watching guests is not part of this version"
_NO_REST = "no effect: the controller asks the agent, the agent calls nobody"
_SECONDS = "seconds"

DEFAULT_CHECKS = {
    "libvirtd": "libvirt libvirtd.service virtqemud.service",
    "nova-compute": "unit nova-compute.service openstack-nova-compute.service",
    "qemu": "driver",
    "storage": "storage /var/lib/nova/instances",
}

# fmt: off
_USED = (
    Key("agent", "host", Kind.TEXT,
        "The name of this host in the controller's file. Without it: the name of the machine.",
        sample="compute1"),
    Key("agent", "check_timeout", Kind.NUMBER, "The longest that one check of a service may take.",
        default="2", unit=_SECONDS, above=0, high=600),
    Key("agent", "boot_id_file", Kind.PATH,
        "The file that names the present boot of this host: a host whose name of it has changed went down "
        "meanwhile, and what ran on it is started again.", default="/proc/sys/kernel/random/boot_id"),
    Key("polling", "listen_port", Kind.PORT,
        "The UDP port to answer on: polling_port in the controller's file.", default="2468", guide=True),
    Key("polling", "listen_address", Kind.ADDRESS, "The address to answer on.", default="0.0.0.0"),
    Key("polling", "polling_key", Kind.TEXT,
        "The secret that answers are signed with, the same as in the controller's file: 16 characters or "
        "more.",
        secret=True, from_file="polling_key_file", from_environment="HASS_POLLING_KEY"),
    Key("polling", "max_message_size", Kind.INTEGER, "The largest message to take or send.", default="1024",
        unit="bytes", low=256, high=65507),
    Key("polling", "clock_tolerance", Kind.NUMBER,
        "How far the controller's clock may be from this host's.", default="30", unit=_SECONDS, above=0,
        high=86400),
    Key("libvirt", "libvirt_uri", Kind.TEXT, "The libvirt daemon of this host.", default="qemu:///system",
        guide=True),
    Key("log", "level", Kind.TEXT, "The least level of messages to log, in capitals.", default="INFO",
        guide=True, choices=("DEBUG", "INFO", "WARNING", "ERROR")),
    Key("log", "location", Kind.PATH, "The file to log to. Without it: standard error, which systemd keeps.",
        guide=True, sample="/var/log/hass/hass_compute.log"),
    Key("checks", ANY, Kind.TEXT,
        "What this host needs to be healthy: `unit NAME…` (one of these systemd units is active), "
        "`process NAME` (runs), `libvirt [UNIT…]` (libvirt_uri answers), `driver` (libvirt can run qemu or "
        "kvm guests), `command ARGV…` (exit status 0: ok, 1: failed, else unknown), `storage [shared] PATH…` "
        "(a file can be written, read and removed in each of these directories), or `off`. What controllers "
        "may have restarted is the first unit there that a `unit` or `libvirt` check names, nothing else. "
        "A directory of `storage` that is no mount of its own, nor on a network's filesystem, is not shared, "
        "and never failed; with the word `shared` it has to be: a mount that is missing is a failure then. "
        "A full directory, or one that may not be written, is no failure. The checks below are there unless "
        "they are given otherwise.", each="NAME",
        sample="ovs = unit openvswitch-switch.service"),
)

_NOT_USED = (
    Key("openstack", "openstack_admin_account", Kind.TEXT, "The user to log in as.", guide=True,
        no_effect=_NO_CLOUD, sample="admin"),
    Key("openstack", "openstack_admin_password", Kind.TEXT, "That user's password.", guide=True, secret=True,
        no_effect=_NO_PASSWORD),
    Key("openstack", "openstack_user_domain_id", Kind.TEXT, "The domain of the user.", guide=True,
        no_effect=_NO_CLOUD, sample="default"),
    Key("openstack", "openstack_project_domain_id", Kind.TEXT, "The domain of the project.", guide=True,
        no_effect=_NO_CLOUD, sample="default"),
    Key("openstack", "openstack_project_name", Kind.TEXT, "The project.", guide=True, no_effect=_NO_CLOUD,
        sample="admin"),
    Key("openstack", "openstack_external_network_gateway_ip", Kind.TEXT,
        "The gateway of the provider network.", guide=True, no_effect=_NO_GUESTS, sample="192.0.2.1"),
    Key("detection", "detection_delay", Kind.TEXT, "Time between two looks at the guests.", guide=True,
        unit=_SECONDS, no_effect=_NO_GUESTS, sample="2"),
    Key("detection", "network_ping_timeout", Kind.TEXT, "The longest that a ping of a guest may take.",
        guide=True, unit=_SECONDS, no_effect=_NO_GUESTS, sample="1"),
    Key("detection", "network_validation_timeout", Kind.TEXT,
        "How long a guest may be out of reach before that is a fault.", guide=True, unit=_SECONDS,
        no_effect=_NO_GUESTS, sample="30"),
    Key("keystone_auth", "url", Kind.TEXT, "The address of Keystone.", guide=True, no_effect=_NO_CLOUD,
        sample="controller"),
    Key("keystone_auth", "port", Kind.TEXT, "The port of Keystone.", guide=True, no_effect=_NO_CLOUD,
        sample="5000"),
    Key("nova_api", "nova_api_version", Kind.TEXT, "The version of the Nova API.", guide=True,
        no_effect=_NO_CLOUD, sample="2.29"),
    Key("recovery", "recovery_timeout", Kind.TEXT, "The longest that the recovery of a guest may take.",
        guide=True, unit=_SECONDS, no_effect=_NO_GUESTS, sample="30"),
    Key("RESTful", "host", Kind.TEXT, "The controller's REST API.", guide=True, no_effect=_NO_REST,
        sample="192.0.2.11"),
    Key("RESTful", "port", Kind.TEXT, "Its port.", guide=True, no_effect=_NO_REST, sample="9999"),
    Key("ubuntu_os_version", "version", Kind.TEXT, "The Ubuntu release of this host.", guide=True,
        no_effect="no effect: [checks] names the services of this host", sample="16"),
    Key("watchdog", "watchdog_timeout", Kind.TEXT, "How long a guest's watchdog may go unfed.", guide=True,
        unit=_SECONDS, no_effect=_NO_GUESTS, sample="6"),
)

# fmt: on
AGENT = Table("agent", "/etc/hass_compute.conf", (*_USED, *_NOT_USED))
