"""What the layers are made of: packages of the distribution that an operator has before HASS comes."""

from __future__ import annotations

from dataclasses import dataclass

RELEASES = ("bookworm", "trixie")
DEFAULT_RELEASE = "bookworm"

# Changed whenever the way in which a layer is made changes.
EDITION = 3


@dataclass(frozen=True)
class Recipe:
    """A layer: what lies below it and which packages it adds."""

    below: str | None
    packages: tuple[str, ...]


RECIPES = {
    "base": Recipe(
        None,
        (
            "ca-certificates",
            "dbus",
            "iproute2",
            "iputils-ping",
            "kmod",
            "less",
            "logrotate",
            "netbase",
            "openssh-server",
            "procps",
            "python3",
            "python3-apt",
            "sudo",
            "systemd",
            "systemd-sysv",
        ),
    ),
    "controller": Recipe(
        "base",
        (
            "apache2",
            "chrony",
            "cinder-api",
            "cinder-scheduler",
            "etcd-server",
            "glance",
            "keystone",
            "mariadb-server",
            "memcached",
            "neutron-server",
            "nova-api",
            "nova-conductor",
            "nova-scheduler",
            "placement-api",
            "rabbitmq-server",
        ),
    ),
    "compute": Recipe(
        "base",
        (
            "chrony",
            "libvirt-clients",
            "libvirt-daemon-system",
            "neutron-linuxbridge-agent",
            "nova-compute",
            "nova-compute-qemu",
            "qemu-system-x86",
            "qemu-utils",
        ),
    ),
    "blockstorage": Recipe("base", ("chrony", "cinder-volume", "lvm2", "qemu-utils", "tgt")),
    # A controller that is the whole of a small cloud, but for its compute hosts.
    "lab": Recipe(
        "controller",
        (
            "cinder-volume",
            "lvm2",
            "neutron-dhcp-agent",
            "neutron-linuxbridge-agent",
            "openstack-dashboard-apache",
            "qemu-utils",
            "tgt",
        ),
    ),
}

# Trixie names some packages otherwise: release -> layer -> old name -> new name ("" leaves it out).
RENAMED: dict[str, dict[str, str]] = {
    "trixie": {"neutron-server": "neutron-api", "neutron-linuxbridge-agent": "neutron-openvswitch-agent"},
}

# They would work on the host's devices, or only cost time.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-sysctl.service",
    "systemd-udev-settle.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
)

# Services that are of no use before they are configured: not started at boot until somebody enables them.
QUIET = ("cinder-*", "glance-*", "keystone*", "neutron-*", "nova-*", "placement-*")


def packages(layer: str, release: str) -> list[str]:
    """The packages of a layer by the names of that release."""
    names = RENAMED.get(release, {})
    return sorted(filter(None, (names.get(package, package) for package in RECIPES[layer].packages)))
