"""The user of all services, and the catalogue. What is there already is left."""

import os

from keystoneauth1 import session
from keystoneauth1.identity import v3
from keystoneclient.v3 import client

PORTS = {
    "compute": ("nova", "8774/v2.1"),
    "placement": ("placement", "8778"),
    "image": ("glance", "9292"),
    "network": ("neutron", "9696"),
    "volumev3": ("cinderv3", "8776/v3/%(project_id)s"),
}
auth = v3.Password(
    auth_url=os.environ["OS_AUTH_URL"],
    username="admin",
    password=os.environ["OS_PASSWORD"],
    project_name="admin",
    user_domain_name="Default",
    project_domain_name="Default",
)
keystone = client.Client(session=session.Session(auth=auth), connect_retries=5)


def have(manager, make, **which):
    """The first of that kind, made when there is none."""
    return next(iter(manager.list(**which)), None) or make()


project = have(keystone.projects, lambda: keystone.projects.create("service", "default"), name="service")
user = have(
    keystone.users,
    lambda: keystone.users.create(
        "service", domain="default", password=os.environ["SERVICE_PASSWORD"], default_project=project
    ),
    name="service",
)
for name in ("admin", "service"):
    role = have(keystone.roles, lambda name=name: keystone.roles.create(name), name=name)
    keystone.roles.grant(role, user=user, project=project)
for kind, (name, place) in PORTS.items():
    service = have(
        keystone.services, lambda name=name, kind=kind: keystone.services.create(name, kind), type=kind
    )
    url = f"http://{os.environ['CONTROLLER']}:{place}"
    for interface in ("public", "internal", "admin"):
        have(
            keystone.endpoints,
            lambda service=service, url=url, interface=interface: keystone.endpoints.create(
                service, url, interface=interface, region="RegionOne"
            ),
            service=service,
            interface=interface,
        )
