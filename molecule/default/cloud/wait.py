"""Wait until every API answers, and the services named (host names; host@backend for Cinder) are up."""

import configparser
import json
import sys
import time
import urllib.error
import urllib.request

DEADLINE = time.monotonic() + 300


def fetch(url, token=None, body=None):
    """JSON from a service, and the headers."""
    request = urllib.request.Request(url, data=json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("X-Auth-Token", token)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer), answer.headers


nova = configparser.ConfigParser(interpolation=None, strict=False)
nova.read("/etc/nova/nova.conf")
login = nova["placement"]
WHO = {
    "auth": {
        "identity": {
            "methods": ["password"],
            "password": {
                "user": {
                    "name": login["username"],
                    "password": login["password"],
                    "domain": {"name": "Default"},
                }
            },
        },
        "scope": {"project": {"name": "service", "domain": {"name": "Default"}}},
    }
}


def missing():
    """What is not up yet, in words; nothing when all is."""
    catalogue, headers = fetch(f"{login['auth_url']}/v3/auth/tokens", body=WHO)
    token = headers["X-Subject-Token"]
    urls = {entry["type"]: entry["endpoints"][0]["url"] for entry in catalogue["token"]["catalog"]}
    up = set()
    for url in (f"{urls['compute']}/os-services", f"{urls['volumev3']}/os-services"):
        for service in fetch(url, token)[0]["services"]:
            if service["state"] == "up":
                up.add(service["host"])
    fetch(f"{urls['network']}/v2.0/networks", token)
    fetch(f"{urls['network']}/v2.0/ports", token)
    fetch(f"{urls['image']}/v2/images", token)
    fetch(f"{urls['placement']}/resource_providers", token)
    hypervisors = fetch(f"{urls['compute']}/os-hypervisors", token)[0]["hypervisors"]
    known = up | {entry["hypervisor_hostname"] for entry in hypervisors}
    return [name for name in sys.argv[1:] if name not in known]


while True:
    try:
        problem = ", ".join(missing())
    except (OSError, urllib.error.URLError, KeyError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"
    if not problem:
        break
    if time.monotonic() > DEADLINE:
        sys.exit(f"the cloud is not up: {problem}")
    time.sleep(1)
