"""The REST interface over a real store: what it says, what it refuses, and that its document is true."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from seeded import NOW, seed

from hass_runtime.api import create_app, serve
from hass_runtime.api.render import moment
from hass_runtime.domain import OrderKind, Scope
from hass_runtime.store import Store, StoreError

HEALTH: dict[str, Any] = {
    "status": "ok",
    "role": "leader",
    "holder": "ctl1",
    "epoch": 3,
    "cycle_age": 0.4,
    "reason": "",
    "blind": {"power": "no BMC of 3 hosts can be read"},
}
LATER = 4_102_444_800.0  # the year 2100


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = seed(f"sqlite:///{tmp_path}/hass.db")
    yield store
    store.close()


@pytest.fixture
def app(store: Store) -> Flask:
    return create_app(store, lambda: HEALTH)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def test_hosts_with_their_layers(client: FlaskClient) -> None:
    hosts = client.get("/v1/hosts").get_json()["hosts"]
    assert [host["name"] for host in hosts] == ["compute1", "compute2", "compute3"]
    assert hosts[1] == {
        "name": "compute2",
        "cluster": "default",
        "address": "192.0.2.12",
        "bmc": True,
        "state": "evacuated",
        "since": moment(NOW + 28.0),
        "reason": "every instance is where it should be",
        "reserve": "",
        "layers": {
            "power": {
                "verdict": "failed",
                "evidence": "chassis power is off",
                "at": moment(NOW + 1.0),
                "since": moment(NOW),
                "answered": False,
            }
        },
    }
    assert hosts[2]["bmc"] is False
    assert "s3cret" not in client.get("/v1/hosts").text


def test_incidents_newest_first_and_filtered(client: FlaskClient) -> None:
    def ids(query: str) -> list[int]:
        return [item["id"] for item in client.get(f"/v1/incidents{query}").get_json()["incidents"]]

    assert ids("") == [2, 1]
    assert ids("?limit=1") == [2]
    assert ids("?host=compute2") == [1]
    assert ids("?host=compute") == []
    assert ids("?open=true") == [2]
    assert ids("?open=0&host=compute3") == [2]


def test_one_incident_with_everything_in_it(client: FlaskClient) -> None:
    found = client.get("/v1/incidents/1").get_json()
    assert (found["host"], found["outcome"], found["duration"]) == ("compute2", "recovered", 120.5)
    assert found["opened_at"] == "2026-03-01T03:12:41.250Z"
    assert found["seen"][0]["evidence"] == "chassis power is off"
    assert (found["rung"], found["tries"], found["fenced_at"]) == (0, 1, moment(NOW + 6.0))
    other = client.get("/v1/incidents/2").get_json()
    assert (other["rung"], other["tries"], other["fenced_at"]) == (0, 0, None)
    assert [step["name"] for step in found["steps"]] == [
        "Launch host_failure",
        "Power off compute2",
        "Evacuate compute2",
    ]
    assert found["steps"][1]["action"] == "hass_fence"
    assert [(move["name"], move["target"], move["duration"]) for move in found["moves"]] == [
        ("web", "compute1", 6.5)
    ]
    assert [(run["playbook"], run["status"], run["rc"]) for run in found["runs"]] == [
        ("host_failure", "successful", 0)
    ]


def test_the_switch(store: Store, client: FlaskClient) -> None:
    assert client.get("/v1/switch").get_json() == {"armed": True, "disarmed": None, "pauses": []}
    store.disarm("disk", "bob", until=LATER, at=NOW, scope=Scope.HOST, name="compute1")
    disk = {
        "scope": "host",
        "name": "compute1",
        "reason": "disk",
        "by": "bob",
        "since": moment(NOW),
        "until": moment(LATER),
    }
    assert client.get("/v1/switch").get_json() == {"armed": True, "disarmed": None, "pauses": [disk]}
    store.disarm("network works", "alice", at=NOW)
    why = {"reason": "network works", "by": "alice", "since": moment(NOW), "until": None}
    assert client.get("/v1/switch").get_json() == {
        "armed": False,
        "disarmed": why,
        "pauses": [{"scope": "all", "name": ""} | why, disk],
    }


def test_orders_in_force(store: Store, client: FlaskClient) -> None:
    assert client.get("/v1/orders").get_json() == {"orders": []}
    store.give_order("compute2", OrderKind.RESTORE, "", "bob", until=NOW + 1.0, at=NOW)
    given = store.give_order("compute1", OrderKind.MAINTENANCE, "memory", "alice", LATER, drain=True, at=NOW)
    assert client.get("/v1/orders").get_json() == {
        "orders": [
            {
                "id": given.id,
                "host": "compute1",
                "kind": "maintenance",
                "reason": "memory",
                "by": "alice",
                "at": moment(NOW),
                "until": moment(LATER),
                "drain": True,
                "incident": None,
            }
        ]
    }
    store.end_orders("compute1", OrderKind.MAINTENANCE)
    store.give_order("compute2", OrderKind.FAILBACK, "", "bob", at=NOW, incident=1)
    assert [each["incident"] for each in client.get("/v1/orders").get_json()["orders"]] == [1]
    refused = client.get("/v1/orders?host=compute1")
    assert refused.status_code == 400
    assert "'host' is not known" in refused.get_json()["error"]["message"]


def test_peoples_words_on_instances(store: Store, client: FlaskClient) -> None:
    assert client.get("/v1/choices").get_json() == {"choices": []}
    store.choose("u1", False, "rebuilt every night", "alice", "build-7", at=NOW)
    assert client.get("/v1/choices").get_json() == {
        "choices": [
            {
                "instance": "u1",
                "name": "build-7",
                "protected": False,
                "reason": "rebuilt every night",
                "by": "alice",
                "at": moment(NOW),
            }
        ]
    }


@pytest.mark.parametrize(("status", "code"), [("ok", 200), ("standby", 200), ("stale", 503), ("odd", 503)])
def test_health_is_what_the_controller_says(store: Store, status: str, code: int) -> None:
    reply = create_app(store, lambda: HEALTH | {"status": status}).test_client().get("/healthz")
    assert (reply.status_code, reply.get_json()["status"]) == (code, status)


def test_a_health_check_that_fails_is_not_healthy(store: Store) -> None:
    def health() -> Mapping[str, Any]:
        raise RuntimeError("secret insides")

    reply = create_app(store, health).test_client().get("/healthz")
    assert reply.status_code == 503
    assert "secret" not in reply.text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", "limit: '0'"),
        ("limit=1001", "limit: '1001'"),
        ("limit=ten", "limit: 'ten'"),
        ("limit=-1", "limit: '-1'"),
        ("limit=٣", "limit: '٣'"),
        ("limit=", "limit: ''"),
        ("limit=1&limit=2", "'limit' is given more than once"),
        ("open=maybe", "open: 'maybe'"),
        ("hots=compute1", "'hots' is not known; known here: limit, host, open"),
    ],
)
def test_a_bad_query_is_refused_by_name(client: FlaskClient, query: str, words: str) -> None:
    reply = client.get(f"/v1/incidents?{query}")
    assert reply.status_code == 400
    assert words in reply.get_json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "code", "words"),
    [
        ("GET", "/v1/incidents/77", 404, "there is no incident 77"),
        ("GET", f"/v1/incidents/{2**70}", 404, "there is no incident"),
        ("GET", "/v1/incidents/-1", 404, "there is nothing at"),
        ("GET", "/nowhere", 404, "there is nothing at /nowhere"),
        ("POST", "/v1/hosts", 405, "read-only"),
        ("DELETE", "/v1/incidents/1", 405, "read-only"),
    ],
)
def test_errors_are_json(client: FlaskClient, method: str, path: str, code: int, words: str) -> None:
    reply = client.open(path, method=method)
    assert reply.status_code == code
    error = reply.get_json()["error"]
    assert error["code"] == code
    assert words in error["message"]
    if code == 405:
        assert "GET" in reply.headers["Allow"]


def test_a_database_that_is_down_is_a_503_without_its_address(
    app: Flask, store: Store, monkeypatch: Any
) -> None:
    def down() -> None:
        raise StoreError("database hass at db.example.org:3306: connection refused")

    monkeypatch.setattr(store, "hosts", down)
    reply = app.test_client().get("/v1/hosts")
    assert reply.status_code == 503
    assert "example.org" not in reply.text
    assert reply.headers["Retry-After"] == "5"


def test_a_bug_is_a_500_without_its_traceback(
    app: Flask, store: Store, monkeypatch: Any, caplog: Any
) -> None:
    def bug() -> None:
        raise KeyError("s3cret")

    monkeypatch.setattr(store, "hosts", bug)
    reply = app.test_client().get("/v1/hosts")
    assert reply.status_code == 500
    assert "s3cret" not in reply.text
    assert "s3cret" in caplog.text


# The document


def test_every_route_is_documented_and_every_documented_route_exists(app: Flask, client: FlaskClient) -> None:
    document = client.get("/v1/openapi.json").get_json()
    documented = {
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    }
    routes = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS")
    }
    assert routes == documented


def test_the_replies_are_what_the_document_says(app: Flask, store: Store, client: FlaskClient) -> None:
    store.disarm("network works", "alice", at=NOW)
    store.disarm("disk", "alice", LATER, at=NOW, scope=Scope.CLUSTER, name="default")
    for kind in OrderKind:
        store.give_order("compute1", kind, "works", "alice", LATER, at=NOW)
    store.choose("u1", True, "", "alice", "web", at=NOW)
    document = client.get("/v1/openapi.json").get_json()
    asked = {
        ("/healthz", "200"): "/healthz",
        ("/v1/hosts", "200"): "/v1/hosts",
        ("/v1/switch", "200"): "/v1/switch",
        ("/v1/orders", "200"): "/v1/orders",
        ("/v1/choices", "200"): "/v1/choices",
        ("/v1/incidents", "200"): "/v1/incidents",
        ("/v1/incidents", "400"): "/v1/incidents?limit=x",
        ("/v1/incidents/{id}", "200"): "/v1/incidents/1",
        ("/v1/incidents/{id}", "404"): "/v1/incidents/99",
        ("/v1/openapi.json", "200"): "/v1/openapi.json",
    }
    registry: Registry[Any] = Registry().with_resource("urn:api", Resource.opaque(document))
    for (path, code), address in asked.items():
        reply = client.get(address)
        assert reply.status_code == int(code)
        response = document["paths"][path]["get"]["responses"][code]
        if "$ref" in response:
            response = document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        schema = _absolute(response["content"]["application/json"]["schema"])
        validator = Draft202012Validator(schema, registry=registry)
        assert [error.message for error in validator.iter_errors(reply.get_json())] == []


def test_the_document_checks_something() -> None:
    """The check above would notice: a host without a name does not fit."""
    from hass_runtime.api.views import load_openapi

    document = load_openapi()
    registry: Registry[Any] = Registry().with_resource("urn:api", Resource.opaque(document))
    validator = Draft202012Validator(_absolute({"$ref": "#/components/schemas/Host"}), registry=registry)
    assert not validator.is_valid({"state": "healthy"})


def _absolute(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            k: "urn:api" + v if k == "$ref" and v.startswith("#") else _absolute(v) for k, v in schema.items()
        }
    return [_absolute(item) for item in schema] if isinstance(schema, list) else schema


# The server


def test_it_is_served_on_loopback_and_closed_again(app: Flask) -> None:
    server = serve(app, "127.0.0.1", 0)
    assert requests.get(f"http://127.0.0.1:{server.port}/healthz", timeout=10).json() == HEALTH
    server.close()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{server.port}/healthz", timeout=10)
    again = serve(app, "127.0.0.1", server.port)
    assert again.port == server.port
    again.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "controller.example.org", ""])
def test_it_refuses_any_other_address(app: Flask, host: str) -> None:
    with pytest.raises(ValueError, match="no authentication yet"):
        serve(app, host, 0)


def test_a_taken_port_is_an_error(app: Flask) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            serve(app, "127.0.0.1", other.getsockname()[1])
