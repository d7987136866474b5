"""Every key of the controller's file, /etc/hass.conf: the guide's, then in each section our own."""

from __future__ import annotations

from hass_runtime.settings.keys import ANY, Key, Kind, Table

_NO_SENSORS = "no effect yet: no sensor detector in this version"
_SECONDS = "seconds"

# fmt: off
_OPENSTACK = (
    Key("openstack", "openstack_admin_account", Kind.TEXT, "The user HASS logs in to Keystone as.",
        default="admin", guide=True),
    Key("openstack", "openstack_admin_password", Kind.TEXT, "That user's password.", guide=True,
        required=True, secret=True, from_file="openstack_admin_password_file",
        from_environment="HASS_OPENSTACK_ADMIN_PASSWORD"),
    Key("openstack", "openstack_user_domain_id", Kind.TEXT, "The domain the user belongs to, by id.",
        default="default", guide=True),
    Key("openstack", "openstack_project_domain_id", Kind.TEXT, "The domain the project belongs to, by id.",
        default="default", guide=True),
    Key("openstack", "openstack_project_name", Kind.TEXT, "The project to log in to.", default="admin",
        guide=True),
    Key("openstack", "openstack_external_network_gateway_ip", Kind.ADDRESS,
        "The gateway of the provider network.", sample="192.0.2.1", guide=True),
    Key("openstack", "openstack_auth_url", Kind.URL,
        "Where Keystone answers. Without it, [keystone_auth] url and port make it up; without these, "
        "[RESTful] host and port 5000.", sample="http://controller:5000/v3"),
    Key("openstack", "openstack_region_name", Kind.TEXT, "The region to work in, when there are several.",
        sample="RegionOne"),
    Key("openstack", "openstack_interface", Kind.TEXT, "Which endpoints of the catalogue to use.",
        default="public", choices=("public", "internal", "admin")),
    Key("openstack", "openstack_cacert", Kind.PATH, "The CA certificates that sign OpenStack's endpoints.",
        sample="/etc/ssl/certs/ca-certificates.crt"),
    Key("openstack", "openstack_request_timeout", Kind.NUMBER, "The longest that one request may take.",
        default="20", unit=_SECONDS, above=0),
    Key("keystone_auth", "url", Kind.TEXT,
        "The host name, IP address or URL of Keystone, when openstack_auth_url is not set.",
        sample="controller", guide=True),
    Key("keystone_auth", "port", Kind.PORT, "The port of Keystone, for url.", default="5000", guide=True),
)

_HOSTS = (
    Key("cluster", "hosts", Kind.NAMES,
        "The compute hosts to watch, by the names that `openstack hypervisor list` shows, separated by "
        "commas or spaces. Without it: the names in [ipmi]. A host without IPMI must be listed here.",
        sample="compute1, compute2"),
    Key("cluster", "name", Kind.TEXT, "What to call the group of hosts that fail over to one another.",
        default="default"),
    Key("address", ANY, Kind.ADDRESS, "The address to probe a host at, when its name does not resolve.",
        each="HOST", sample="compute1 = 192.0.2.31"),
    Key("ipmi", "vendor", Kind.TEXT, "The vendor of the BMCs.", guide=True, sample="DELL",
        no_effect="no effect: power control is the same for every vendor that speaks IPMI 2.0"),
    Key("ipmi", ANY, Kind.ADDRESS,
        "The address of a host's BMC, with :PORT when that is not 623 ([ADDRESS]:PORT for IPv6).",
        guide=True, each="HOST", sample="compute1 = 192.0.2.131"),
    Key("ipmi_user", ANY, Kind.TEXT,
        "The user and password of a host's BMC: USER,PASSWORD. The password is everything after the first "
        "comma. USER alone when the password is in [ipmi_password_file] or in the environment variable "
        "HASS_IPMI_PASSWORD_HOST (the host's name in capitals, other characters than letters and digits "
        "as _).", guide=True, each="HOST", secret=True, sample="compute1 = USER,PASSWORD"),
    Key("ipmi_password_file", ANY, Kind.PATH, "A file with the password of a host's BMC and nothing else.",
        each="HOST", sample="compute1 = /etc/hass/bmc-compute1"),
)

_SENSORS = (
    Key("ipmi_sensor", "ipmi_watched_sensors", Kind.NAMES, "The sensors whose thresholds mean a fault.",
        guide=True, no_effect=_NO_SENSORS, sample='["Inlet Temp", "Temp"]'),
    Key("ipmi_sensor", "ipmi_node_sensors", Kind.NAMES, "The sensors to show for a host.", guide=True,
        no_effect=_NO_SENSORS, sample='["Temp", "Inlet Temp", "Fan1", "Fan2"]'),
    Key("ipmi_sensor", "upper_critical", Kind.NUMBER, "Above this a watched sensor is critical.",
        guide=True, unit="the sensor's own, degrees Celsius for temperatures", no_effect=_NO_SENSORS,
        sample="80"),
    Key("ipmi_sensor", "lower_critical", Kind.NUMBER, "Below this a watched sensor is critical.",
        guide=True, unit="the sensor's own, degrees Celsius for temperatures", no_effect=_NO_SENSORS,
        sample="10"),
)

_DATABASE = (
    Key("mysql", "mysql_ip", Kind.ADDRESS,
        "The host name or address of MySQL or MariaDB. Without a [mysql] section HASS keeps its state in "
        "an SQLite file, which suits a single controller.", default="controller", guide=True),
    Key("mysql", "mysql_port", Kind.PORT, "Its port.", default="3306"),
    Key("mysql", "mysql_username", Kind.TEXT, "The user to connect as.", default="hass", guide=True),
    Key("mysql", "mysql_password", Kind.TEXT, "That user's password; needed when there is a [mysql] section.",
        guide=True, secret=True, from_file="mysql_password_file", from_environment="HASS_MYSQL_PASSWORD"),
    Key("mysql", "mysql_db", Kind.TEXT, "The database's name.", default="hass", guide=True),
    Key("database", "path", Kind.PATH,
        "The SQLite file, when there is no [mysql] section. Without it: hass.db in state_dir.",
        sample="/var/lib/hass/hass.db"),
)

_DETECTION = (
    Key("log", "level", Kind.TEXT, "The least level of messages to log, in capitals.", default="INFO",
        guide=True, choices=("DEBUG", "INFO", "WARNING", "ERROR")),
    Key("log", "location", Kind.PATH, "The file to log to. Without it: standard error, which systemd keeps.",
        guide=True, sample="/var/log/hass/hass.log"),
    Key("detection", "polling_interval", Kind.NUMBER, "The time from one look at a host to the next.",
        default="5", unit=_SECONDS, guide=True, low=0.05, high=3600),
    Key("detection", "polling_threshold", Kind.INTEGER,
        "How many looks in a row must find a layer failed before that is a fault.", default="2",
        unit="looks", guide=True, low=1, high=1000),
    Key("detection", "polling_port", Kind.PORT, "The UDP port of the agents: listen_port in their files.",
        default="2468", guide=True),
    Key("detection", "wait_restart_threshold", Kind.INTEGER,
        "How many further looks a failed service gets to come back by itself.", default="2", unit="looks",
        guide=True, low=0, high=1000),
    Key("detection", "time_to_wait", Kind.INTEGER, "Time before the boot check after a power action.",
        guide=True, unit=_SECONDS, sample="30",
        no_effect="no effect: a returning host is watched until it is healthy, see restore_timeout"),
    Key("detection", "check_timeout", Kind.INTEGER, "Tries of the boot check after a power action.",
        guide=True, sample="300",
        no_effect="no effect: a returning host is watched until it is healthy, see restore_timeout"),
    Key("detection", "polling_key", Kind.TEXT,
        "The secret that agents sign their answers with, the same on every host: 16 characters or more.",
        secret=True, from_file="polling_key_file", from_environment="HASS_POLLING_KEY"),
    Key("detection", "probe_timeout", Kind.NUMBER, "The longest that one probe of one layer may take.",
        default="2", unit=_SECONDS, above=0, high=600),
    Key("default", "network_transient_time", Kind.NUMBER,
        "How long a host's network may be gone before that counts as a fault.", default="30",
        unit=_SECONDS, guide=True, low=0, high=86400),
    Key("default", "heartbeat_time", Kind.INTEGER, "ICMP tries in one check of a host's network.",
        default="3", unit="tries", guide=True, low=1, high=100),
    Key("default", "shared_storage", Kind.FLAG,
        "Whether the instances' disks are on storage that every compute host reaches.", default="true",
        guide=True),
    Key("default", "max_message_size", Kind.INTEGER, "The largest answer of an agent.", default="1024",
        unit="bytes", guide=True, low=256, high=65507),
    Key("detector", "ping_command", Kind.COMMAND,
        "An external command to ping a host with; without it HASS sends ICMP by itself. {address} and {host} "
        "stand for the host. The guide's form, a Python list with self.node in it, is understood too.",
        guide=True, sample="ping -c 1 -W 1 {address}"),
)

_NOT_USED = (
    Key("schedule", "policy", Kind.TEXT, "How to choose the hosts that instances move to.", guide=True,
        sample="default", no_effect="no effect: Nova's scheduler chooses where instances go"),
    Key("path", "agent_path", Kind.TEXT, "The agent's directory on compute hosts.", guide=True,
        sample="/home/localadmin/HASS-4.1/compute_node/HASS/",
        no_effect="no effect: the agent is a systemd service; nothing is started over SSH"),
    Key("version", "openstack_version", Kind.TEXT, "The OpenStack release.", guide=True, sample="queens",
        no_effect="no effect: the Nova API version is chosen by evacuate_microversion"),
    Key("version", "os_version", Kind.TEXT, "The Ubuntu release of the compute hosts.", guide=True,
        sample="16", no_effect="no effect: [checks] in an agent's file names the services of its host"),
)

_OPERATION = (
    Key("RESTful", "host", Kind.ADDRESS,
        "The address of this controller. The API listens on 127.0.0.1 only, whatever is given here, because "
        "it has no authentication yet; but Keystone is looked for here when nothing else says where it is.",
        guide=True, sample="192.0.2.11"),
    Key("RESTful", "port", Kind.PORT, "The TCP port of the REST API.", default="9999", guide=True),
    Key("safety", "armed", Kind.FLAG, "false: HASS only watches and records, and touches nothing.",
        default="true"),
    Key("safety", "storm_threshold", Kind.NUMBER,
        "HASS holds when more than this share of a cluster fails at once.", default="0.5",
        unit="share of the hosts", low=0, high=1),
    Key("safety", "fence_reads", Kind.INTEGER,
        "How often in a row the power must read as off before a host counts as off.", default="2",
        unit="reads", low=2, high=100),
    Key("safety", "fence_timeout", Kind.NUMBER, "The longest that switching a host off may take.",
        default="60", unit=_SECONDS, above=0, high=86400),
    Key("safety", "max_remedies", Kind.INTEGER, "How many hosts may be under remedy at once.", default="2",
        unit="hosts", low=1, high=1000),
    Key("safety", "retry_interval", Kind.NUMBER, "The time until a held or failed remedy is tried again.",
        default="10", unit=_SECONDS, low=0, high=86400),
    Key("safety", "max_attempts", Kind.INTEGER, "Failed restorations after which a host is quarantined.",
        default="3", unit="tries", low=1, high=1000),
    Key("recovery", "auto_restore", Kind.FLAG,
        "Whether to switch a host on again and take it back once its instances run elsewhere.",
        default="true"),
    Key("recovery", "evacuate_timeout", Kind.NUMBER, "The longest that the move of one instance may take.",
        default="300", unit=_SECONDS, above=0, high=86400),
    Key("recovery", "evacuate_retries", Kind.INTEGER, "How often the move of an instance is tried again.",
        default="3", unit="tries", low=0, high=100),
    Key("recovery", "evacuate_workers", Kind.INTEGER, "How many instances move at once.", default="16",
        unit="instances", low=1, high=256),
    Key("recovery", "evacuate_microversion", Kind.MICROVERSION,
        "The version of the Nova API to evacuate with: 2.53 or later.", default="2.94"),
    Key("recovery", "run_timeout", Kind.NUMBER, "The longest that one run of a playbook may take.",
        default="1800", unit=_SECONDS, above=0, high=604800),
    Key("recovery", "restore_timeout", Kind.NUMBER, "The longest that a host may take to come back.",
        default="300", unit=_SECONDS, above=0, high=86400),
    Key("recovery", "poll_interval", Kind.NUMBER, "The time between two looks at Nova during a remedy.",
        default="0.5", unit=_SECONDS, low=0.01, high=3600),
    Key("paths", "state_dir", Kind.PATH, "Where HASS keeps runs of playbooks, and SQLite if it uses that.",
        default="/var/lib/hass"),
    Key("paths", "playbooks", Kind.PATH,
        "The directory of the remediation playbooks. Without it: the one that comes with HASS.",
        sample="/etc/hass/playbooks/remediation"),
    Key("paths", "symptoms", Kind.PATH,
        "A symptom table of your own. Without it: the one that comes with HASS.",
        sample="/etc/hass/symptoms.yml"),
    Key("controller", "name", Kind.TEXT,
        "The name of this controller, different on each. Without it: the name of the machine.",
        sample="controller1"),
    Key("controller", "lease_ttl", Kind.NUMBER,
        "How long the acting controller may be silent before another one takes over.", default="15",
        unit=_SECONDS, low=0.5, high=3600),
)

# fmt: on
CONTROLLER = Table(
    "controller",
    "/etc/hass.conf",
    (*_OPENSTACK, *_HOSTS, *_SENSORS, *_DATABASE, *_DETECTION, *_OPERATION, *_NOT_USED),
    {"iii": "no effect: the guide itself says that this portal is no longer used"},
)
