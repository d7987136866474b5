"""The wire to Nova: what is asked, what is made of the answers, and how each failure reads."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import ClassVar
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from keystoneauth1 import exceptions as ksa
from keystoneauth1 import session, token_endpoint
from openstack.connection import Connection

from hass_runtime.remedy.cloud import READ_MICROVERSION, Cloud, CloudError, connect, version_tuple
from hass_runtime.remedy.nova import MAX_PRIORITY, parse_priority, parse_time

NOVA = "http://nova.test/v2.1"


def versions(newest, url=NOVA):
    """Nova's answer at its root."""
    version = {"id": "v2.1", "status": "CURRENT", "min_version": "2.1", "version": newest}
    return {"version": {**version, "links": [{"rel": "self", "href": f"{url}/"}]}}


class Reply:
    def __init__(self, body=None, status=200, text="", kind="application/json"):
        self.status = status
        self.kind = kind
        self.data = (text if body is None else json.dumps(body)).encode()


class Wire(requests.adapters.BaseAdapter):
    """Below openstacksdk: answers requests from a list and remembers them; tells the versions by itself."""

    def __init__(self, *replies, newest="2.100"):
        super().__init__()
        self.replies = list(replies)
        self.seen = []
        self.newest = newest

    def close(self):
        pass

    def send(self, request, **kwargs):
        parts = urlsplit(request.url)
        path = parts.path.removeprefix("/v2.1").rstrip("/")
        if not path:
            reply = Reply({"down": 1}, 503) if self.newest is None else Reply(versions(self.newest))
        else:
            self.seen.append(
                SimpleNamespace(
                    method=request.method,
                    path=path,
                    params=dict(parse_qsl(parts.query)),
                    microversion=request.headers.get("OpenStack-API-Version"),
                    body=json.loads(request.body) if request.body else None,
                )
            )
            reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        response = requests.Response()
        response.request = request
        response.url = request.url
        response.status_code = reply.status
        response.reason = "Reason"
        response.headers["Content-Type"] = reply.kind
        response._content = reply.data
        return response


def cloud(wire, microversion="2.94"):
    http = requests.Session()
    http.mount("http://", wire)
    auth = token_endpoint.Token(NOVA, "token")
    return Cloud(Connection(session=session.Session(auth=auth, session=http)), microversion)


def service(host="compute1", **changes):
    return {
        "id": "s1", "binary": "nova-compute", "host": host, "state": "up", "status": "enabled",
        "forced_down": False, "disabled_reason": None, "updated_at": "2026-01-01T00:00:00.000000", **changes,
    }  # fmt: skip


def server(number=1, host="compute1", **changes):
    return {
        "id": f"u{number}", "name": f"vm{number}", "OS-EXT-SRV-ATTR:host": host,
        "OS-EXT-STS:vm_state": "active", "OS-EXT-STS:task_state": None, "metadata": {}, **changes,
    }  # fmt: skip


def migration(number, host="compute1", at="2026-01-01T00:00:00.000000"):
    return {
        "id": number, "uuid": f"m{number}", "instance_uuid": "u1", "status": "done", "source_compute": host,
        "dest_compute": "compute2", "created_at": at, "updated_at": None,
    }  # fmt: skip


def test_names_are_compared_whole():
    wire = Wire(Reply({"services": [service("compute10"), service("compute1")]}))
    assert cloud(wire).compute_service("compute1").host == "compute1"
    wire = Wire(Reply({"services": [service("compute10")]}))
    assert cloud(wire).compute_service("compute1") is None
    wire = Wire(Reply({"servers": [server(1, "compute10"), server(2)]}))
    assert [found.id for found in cloud(wire).servers_on("compute1")] == ["u2"]
    wire = Wire(Reply({"migrations": [migration(1, "compute10"), migration(2)]}))
    assert [found.id for found in cloud(wire).evacuations("compute1", 0.0)] == [2]


def test_all_compute_services_are_one_question():
    wire = Wire(Reply({"services": [service("compute10"), service("compute1")]}))
    assert [found.host for found in cloud(wire).compute_services()] == ["compute10", "compute1"]
    (asked,) = wire.seen
    assert (asked.path, asked.params) == ("/os-services", {"binary": "nova-compute"})
    assert asked.microversion == f"compute {READ_MICROVERSION}"
    with pytest.raises(CloudError, match="list all nova-compute services: Nova says 503"):
        cloud(Wire(Reply({}, 503))).compute_services()


@pytest.mark.parametrize(
    ("key", "path", "rows", "read"),
    [
        ("servers", "/servers/detail", server, lambda nova: nova.servers_on("compute1")),
        ("migrations", "/os-migrations", migration, lambda nova: nova.evacuations("compute1", 0.0)),
    ],
)
def test_all_pages_are_read(key, path, rows, read):
    more = {f"{key}_links": [{"rel": "next", "href": f"{NOVA}{path}?host=compute1&marker=u2"}]}
    wire = Wire(Reply({key: [rows(1), rows(2)], **more}), Reply({key: [rows(3)]}))
    assert len(read(cloud(wire))) == 3
    assert [request.path for request in wire.seen] == [path, path]
    assert [request.params.get("marker") for request in wire.seen] == [None, "u2"]


def test_what_is_asked():
    wire = Wire(
        Reply({"services": [service()]}), Reply({"servers": []}), Reply({"server": server()}),
        Reply({"migrations": []}), Reply({"instanceActions": []}),
        *(Reply({"service": service()}) for _ in range(4)), Reply(status=202), Reply(status=202),
    )  # fmt: skip
    nova = cloud(wire)
    found = nova.compute_service("compute1")
    nova.servers_on("compute1")
    nova.server("u1")
    nova.evacuations("compute1", 0.0)
    nova.actions("u1")
    nova.set_forced_down(found, True)
    nova.set_forced_down(found, False)
    nova.set_enabled(found, False, "hass: incident 4")
    nova.set_enabled(found, True)
    nova.start("u1")
    nova.stop("u1")
    assert {request.microversion for request in wire.seen} == {f"compute {READ_MICROVERSION}"}
    assert [(request.method, request.path, request.params or request.body) for request in wire.seen] == [
        ("GET", "/os-services", {"binary": "nova-compute", "host": "compute1"}),
        ("GET", "/servers/detail", {"all_tenants": "True", "host": "compute1"}),
        ("GET", "/servers/u1", None),
        ("GET", "/os-migrations", {"source_compute": "compute1", "migration_type": "evacuation"}),
        ("GET", "/servers/u1/os-instance-actions", None),
        ("PUT", "/os-services/s1", {"forced_down": True}),
        ("PUT", "/os-services/s1", {"forced_down": False}),
        ("PUT", "/os-services/s1", {"status": "disabled", "disabled_reason": "hass: incident 4"}),
        ("PUT", "/os-services/s1", {"status": "enabled"}),
        ("POST", "/servers/u1/action", {"os-start": None}),
        ("POST", "/servers/u1/action", {"os-stop": None}),
    ]


def test_evacuations_before_the_failure_are_left_out():
    wire = Wire(Reply({"migrations": [migration(2, at="2026-01-02T00:00:00Z"), migration(1)]}))
    since = parse_time("2026-01-01T12:00:00+00:00")
    assert [found.id for found in cloud(wire).evacuations("compute1", since)] == [2]


@pytest.mark.parametrize(
    ("value", "priority"),
    [
        ("5", 5), ("-1", -1), ("+3", 3), (" 7 ", 7), ("007", 7), ("-0", 0), (7, 7),
        ("high", 0), ("", 0), ("1.5", 0), ("1_000", 0), ("0x10", 0), ("--1", 0), (None, 0), ("5\n", 0),
        ("\u0665", 0), ("\uff15", 0), ("\u00b2", 0),  # digits, but not ASCII ones
        ("1000000", 1_000_000), ("1000001", 1_000_000), ("-9999999", -1_000_000),
        ("9" * 5000, 1_000_000), ("-" + "9" * 5000, -1_000_000), ("0" * 5000 + "5", 5),
    ],
)  # fmt: skip
def test_priority_is_an_integer_or_nothing(value, priority):
    wire = Wire(Reply({"server": server(metadata={"hass:priority": value})}))
    assert cloud(wire).server("u1").priority == priority


@given(st.text() | st.from_regex(r"[+-]?\d{0,30}", fullmatch=True))
def test_no_tenant_gets_beyond_the_bounds_of_priority(text):
    assert -MAX_PRIORITY <= parse_priority(text) <= MAX_PRIORITY


@given(st.integers())
def test_priorities_keep_their_order_within_the_bounds(number):
    assert parse_priority(str(number)) == max(-MAX_PRIORITY, min(MAX_PRIORITY, number))


def test_a_server_that_does_not_exist_is_none():
    gone = {"itemNotFound": {"code": 404, "message": "Instance u1 could not be found."}}
    assert cloud(Wire(Reply(gone, 404))).server("u1") is None
    assert cloud(Wire(Reply(gone, 404))).actions("u1") == []


@pytest.mark.parametrize(
    "answer",
    [
        Reply(None, 404, "<html>no such backend</html>", "text/html"),
        Reply({}, 404),
        ksa.NotFound("Keystone's"),
    ],
)
def test_a_404_of_anybody_else_is_no_deletion(answer):
    with pytest.raises(CloudError):
        cloud(Wire(answer)).server("u1")


@pytest.mark.parametrize(
    ("wanted", "newest", "used"),
    [
        ("2.94", "2.100", "2.94"),
        ("2.95", "2.90", "2.90"),
        ("2.100", "2.96", "2.96"),
        ("2.94", "2.60", "2.60"),
    ],
)
def test_the_microversion_of_an_evacuation_is_named(wanted, newest, used):
    wire = Wire(Reply(), newest=newest)
    cloud(wire, wanted).evacuate("u1")
    (request,) = wire.seen
    assert (request.method, request.path) == ("POST", "/servers/u1/action")
    assert request.microversion == f"compute {used}"
    assert request.body == {"evacuate": {}}, "no host, no force, no onSharedStorage"


@pytest.mark.parametrize(
    "change",
    [
        lambda nova: nova.evacuate("u1"),
        lambda nova: nova.start("u1"),
        lambda nova: nova.set_forced_down(SimpleNamespace(id="s1", host="compute1"), True),
        lambda nova: nova.set_enabled(SimpleNamespace(id="s1", host="compute1"), True),
    ],
)
@pytest.mark.parametrize(
    ("newest", "words"),
    [
        ("2.53", "microversion is 2.53, HASS needs 2.60"),
        ("", "which microversions"),
        (None, "version discovery"),
    ],
)
def test_a_nova_that_is_too_old_or_none_is_said_and_changed_nothing(newest, words, change):
    wire = Wire(newest=newest)
    with pytest.raises(CloudError, match=words) as caught:
        change(cloud(wire))
    assert not caught.value.uncertain
    assert wire.seen == []


def test_reading_goes_on_when_the_versions_cannot_be_read():
    assert cloud(Wire(Reply({"services": [service()]}), newest=None)).compute_service("compute1").up


def test_versions_compare_as_pairs():
    assert version_tuple("2.100") > version_tuple("2.94") > version_tuple("2.9")


@pytest.mark.parametrize(
    ("reply", "status", "uncertain", "words"),
    [
        (Reply({"conflictingRequest": {"message": "it is\nbusy"}}, 409), 409, False, "409: it is busy"),
        (Reply({"badRequest": {"message": "in use", "code": 400}}, 400), 400, False, "in use"),
        (Reply(None, 503, "<html>down</html>", "text/html"), 503, True, "503: down"),
        (Reply(None, 500), 500, True, "Reason"),
        (Reply([], 500), 500, True, "500"),
        (requests.exceptions.ReadTimeout("slow"), None, True, "timed out"),
        (requests.exceptions.ConnectionError("reset"), None, True, "reset"),
        (ksa.Unauthorized("wrong password"), 401, False, "wrong password"),
        (ksa.NotFound("no such path in Keystone"), None, False, "no such path"),
        (ksa.EndpointNotFound("no compute endpoint"), None, False, "no compute endpoint"),
    ],
)
def test_every_failure_is_one_line_and_says_whether_it_may_have_happened(reply, status, uncertain, words):
    wire = Wire(reply)
    with pytest.raises(CloudError) as caught:
        cloud(wire).start("u1")
    assert len(wire.seen) == 1, "a call that changes something is sent once"
    assert (caught.value.status, caught.value.uncertain) == (status, uncertain)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "start instance u1" in str(caught.value)


@pytest.mark.parametrize("body", [None, [], {}, {"services": None}, {"services": {}}, {"services": [None]}])
def test_garbage_is_a_failure(body):
    with pytest.raises(CloudError):
        cloud(Wire(Reply(body))).compute_service("compute1")


@pytest.mark.parametrize("body", [None, [], {}, {"server": None}, {"server": {}}, {"server": []}])
def test_garbage_is_no_server(body):
    with pytest.raises(CloudError):
        cloud(Wire(Reply(body))).server("u1")


@pytest.mark.parametrize("body", [{"migrations": [{}]}, {"migrations": {}}, {"actions": []}])
def test_garbage_is_no_evacuation(body):
    with pytest.raises(CloudError):
        cloud(Wire(Reply(body))).evacuations("compute1", 0.0)
    with pytest.raises(CloudError):
        cloud(Wire(Reply(body))).actions("u1")


def test_actions_are_oldest_first():
    rows = [
        {"action": "stop", "start_time": "2026-01-02T00:00:00.000000", "message": "Error"},
        {"action": "create", "start_time": "2026-01-01T00:00:00.000000", "message": None},
    ]
    found = cloud(Wire(Reply({"instanceActions": rows}))).actions("u1")
    assert [(action.name, action.failed) for action in found] == [("create", False), ("stop", True)]


@pytest.mark.parametrize(
    ("who", "internal"),
    [
        ({"user_id": "alice", "project_id": "p"}, False),
        ({"user_id": None, "project_id": "p"}, False),
        ({"user_id": None, "project_id": None}, True),
        ({}, True),
    ],
)
def test_what_nova_did_by_itself_is_told_from_what_a_person_did(who, internal):
    row = {"action": "stop", "start_time": "2026-01-02T00:00:00.000000", "message": None, **who}
    (found,) = cloud(Wire(Reply({"instanceActions": [row]}))).actions("u1")
    assert found.internal is internal


@pytest.mark.parametrize(
    "text", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000", "2026-01-01T01:00:00.000+01:00"]
)
def test_times_are_utc(text):
    assert parse_time(text) == 1767225600.0


# --- over a real socket


def options(url, **changes):
    values = {
        "auth_url": url, "username": "admin", "password": "s3cret", "user_domain_id": "default",
        "project_domain_id": "default", "project_name": "admin", "region_name": None, "interface": "public",
        "cacert": None, "request_timeout": 0.5, **changes,
    }  # fmt: skip
    recovery = SimpleNamespace(evacuate_microversion="2.94", evacuate_workers=4)
    return SimpleNamespace(openstack=SimpleNamespace(**values), recovery=recovery)


class Small(BaseHTTPRequestHandler):
    """Keystone's token and Nova's services, a host whose answer never comes, and one whose line is cut."""

    hang = threading.Event()
    catalog: ClassVar = None  # None: Nova is at this server
    cut: ClassVar = []  # the methods of requests that were read and got no answer

    def log_message(self, *words):
        pass

    def _say(self, status, body, **headers):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        asked = json.loads(self.rfile.read(length))
        if "auth" not in asked:
            self.cut.append("POST")
            self.close_connection = True
            return
        if asked["auth"]["identity"]["password"]["user"]["password"] != "s3cret":
            self._say(401, {"error": {"message": "wrong", "code": 401}})
            return
        url = f"http://127.0.0.1:{self.server.server_port}/v2.1"
        endpoint = {"interface": "public", "region_id": "R", "region": "R", "url": url, "id": "e"}
        catalog = self.catalog
        if catalog is None:
            catalog = [{"type": "compute", "name": "nova", "id": "c", "endpoints": [endpoint]}]
        token = {
            "methods": ["password"], "expires_at": "2100-01-01T00:00:00.000000Z", "catalog": catalog,
            "issued_at": "2026-01-01T00:00:00.000000Z", "user": {"id": "u", "name": "admin"},
        }  # fmt: skip
        self._say(201, {"token": token}, X_Subject_Token="t")

    def do_GET(self):
        parts = urlsplit(self.path)
        if parts.path.rstrip("/") == "/v2.1":
            self._say(200, versions("2.96", f"http://127.0.0.1:{self.server.server_port}/v2.1"))
        elif parse_qs(parts.query).get("host") == ["cut"]:
            self.cut.append("GET")
            self.close_connection = True
        elif parse_qs(parts.query).get("host") == ["slow"]:
            self.hang.wait(20)
        else:
            self._say(200, {"services": [service()]})


@pytest.fixture
def small():
    server_ = ThreadingHTTPServer(("127.0.0.1", 0), Small)
    server_.daemon_threads = True
    Small.hang.clear()
    Small.cut.clear()
    threading.Thread(target=server_.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server_.server_port}/v3"
    Small.hang.set()
    server_.shutdown()
    server_.server_close()


def test_a_connection_by_password(small):
    nova = connect(options(small))
    assert nova.compute_service("compute1").up
    assert nova.evacuate_microversion() == "2.94"


def test_a_cut_line_repeats_a_reading_and_never_a_change(small):
    nova = connect(options(small))
    with pytest.raises(CloudError):
        nova.compute_service("cut")
    assert Small.cut == ["GET"] * 3
    Small.cut.clear()
    with pytest.raises(CloudError) as caught:
        nova.evacuate("u1")
    assert caught.value.uncertain
    with pytest.raises(CloudError):
        nova.stop("u1")
    assert Small.cut == ["POST"] * 2


def test_neither_the_environment_nor_clouds_yaml_says_which_cloud(small, monkeypatch, tmp_path):
    (tmp_path / "clouds.yaml").write_text("clouds: [broken")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    monkeypatch.setenv("OS_CLOUD", "elsewhere")
    monkeypatch.setenv("OS_AUTH_URL", "http://127.0.0.1:1/v3")
    monkeypatch.setenv("OS_PASSWORD", "wr0ng")
    assert connect(options(small)).compute_service("compute1").up


def test_as_many_connections_as_threads(small):
    http = connect(options(small), workers=23)._connection.session.session
    assert {http.get_adapter(url)._pool_maxsize for url in ("http://a", "https://a")} == {23}


def test_a_request_without_an_answer_is_bounded(small):
    nova = connect(options(small))
    with pytest.raises(CloudError) as caught:
        nova.compute_service("slow")
    assert caught.value.status is None


def test_a_wrong_password_is_said_without_it(small):
    with pytest.raises(CloudError) as caught:
        connect(options(small, password="wr0ng")).compute_service("compute1")
    assert caught.value.status == 401
    assert "wr0ng" not in str(caught.value)


def test_nobody_there_is_said(small):
    with pytest.raises(CloudError, match=r"127\.0\.0\.1:1") as caught:
        connect(options("http://127.0.0.1:1/v3")).start("u1")
    assert not caught.value.uncertain, "a refused connection carried nothing"


DOWN = {
    "interface": "public", "region_id": "R", "region": "R", "url": "http://127.0.0.1:1/v2.1", "id": "e",
}  # fmt: skip


@pytest.mark.parametrize(
    ("catalog", "words"),
    [
        ([], "not present in the service catalog"),
        ([{"type": "compute", "name": "nova", "id": "c", "endpoints": [DOWN]}], r"127\.0\.0\.1:1/v2\.1"),
    ],
)
def test_a_nova_that_is_nowhere_or_down_is_said(small, monkeypatch, catalog, words):
    monkeypatch.setattr(Small, "catalog", catalog)
    nova = connect(options(small))
    for call in (nova.servers_on, nova.start, nova.evacuate):
        with pytest.raises(CloudError, match=words) as caught:
            call("u1")
        assert (caught.value.status, caught.value.uncertain) == (None, False)


# --- live migration


@pytest.mark.parametrize("newest", ["2.60", "2.100"])
def test_a_live_migration_leaves_the_rest_to_nova(newest):
    wire = Wire(Reply(status=202), newest=newest)
    cloud(wire).live_migrate("u1")
    (request,) = wire.seen
    assert (request.method, request.path) == ("POST", "/servers/u1/action")
    assert request.microversion == f"compute {READ_MICROVERSION}"
    assert request.body == {"os-migrateLive": {"host": None, "block_migration": "auto"}}, "no force"


@pytest.mark.parametrize(("newest", "used"), [("2.60", "2.60"), ("2.65", "2.65"), ("2.100", "2.65")])
def test_one_that_waits_is_aborted_where_nova_can(newest, used):
    wire = Wire(Reply(status=202), newest=newest)
    cloud(wire).abort_migration("u1", 7)
    (request,) = wire.seen
    assert (request.method, request.path) == ("DELETE", "/servers/u1/migrations/7")
    assert request.microversion == f"compute {used}"


@pytest.mark.parametrize("call", [lambda n: n.live_migrate("u1"), lambda n: n.abort_migration("u1", 7)])
def test_a_live_migration_that_got_no_answer_may_have_happened(call):
    with pytest.raises(CloudError) as caught:
        call(cloud(Wire(Reply(None, 503))))
    assert caught.value.uncertain
    with pytest.raises(CloudError, match="400: is not running") as caught:
        call(cloud(Wire(Reply({"badRequest": {"message": "is not running"}}, 400))))
    assert (caught.value.uncertain, caught.value.status) == (False, 400)


def test_live_migrations_are_asked_for_by_their_name():
    wire = Wire(Reply({"migrations": [migration(1, "compute10"), migration(3), migration(2)]}))
    assert [found.id for found in cloud(wire).live_migrations("compute1", 0.0)] == [2, 3]
    assert wire.seen[0].params == {"source_compute": "compute1", "migration_type": "live-migration"}


def action(number, name="live-migration"):
    return {
        "action": name, "request_id": f"r{number}", "start_time": f"2026-01-0{number}T00:00:00.000000",
        "message": "Error",
    }  # fmt: skip


def events(*details):
    return {"instanceAction": {**action(2), "events": [{"event": "e", "details": text} for text in details]}}


def test_nova_says_why_an_instance_was_not_migrated():
    rows = {"instanceActions": [action(2), action(1), action(3, "stop")]}
    wire = Wire(Reply(rows), Reply(events(None, "No valid\nhost was found.", "outer")))
    assert cloud(wire).why_not_migrated("u1") == "No valid host was found."
    assert wire.seen[1].path == "/servers/u1/os-instance-actions/r2"
    assert wire.seen[1].microversion == "compute 2.84"


@pytest.mark.parametrize(
    "wire",
    [
        Wire(newest="2.83"),
        Wire(Reply({"instanceActions": [action(3, "stop")]})),
        Wire(Reply({"instanceActions": [action(2)]}), Reply(events(None))),
        Wire(Reply({"instanceActions": [action(2)]}), Reply(events())),
    ],
)
def test_a_nova_that_says_nothing_says_nothing(wire):
    assert cloud(wire).why_not_migrated("u1") == ""


@pytest.mark.parametrize("body", [None, [], {}, {"instanceAction": {}}, {"instanceAction": {"events": [1]}}])
def test_garbage_is_no_reason(body):
    with pytest.raises(CloudError):
        cloud(Wire(Reply({"instanceActions": [action(2)]}), Reply(body))).why_not_migrated("u1")
