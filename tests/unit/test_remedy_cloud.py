"""The wire to Nova: what is asked, what is made of the answers, and how each failure reads."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from keystoneauth1 import exceptions as ksa

from hass_runtime.remedy.cloud import Cloud, CloudError, connect, version_tuple
from hass_runtime.remedy.nova import parse_time


class Reply:
    def __init__(self, body=None, status=200, text=""):
        self.status_code = status
        self.text = text
        self.reason = "Reason"
        self._body = body

    def json(self):
        if self._body is None:
            raise ValueError("no JSON")
        return self._body


class Wire:
    """Answers requests from a list and remembers them."""

    def __init__(self, *replies, newest=(2, 100)):
        self.replies = list(replies)
        self.seen = []
        self.newest = newest

    def request(self, path, method, **kwargs):
        self.seen.append((method, path, kwargs))
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def get_endpoint_data(self):
        return SimpleNamespace(max_microversion=self.newest)


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
    assert Cloud(wire, "2.94").compute_service("compute1").host == "compute1"
    wire = Wire(Reply({"services": [service("compute10")]}))
    assert Cloud(wire, "2.94").compute_service("compute1") is None
    wire = Wire(Reply({"servers": [server(1, "compute10"), server(2)]}))
    assert [found.id for found in Cloud(wire, "2.94").servers_on("compute1")] == ["u2"]
    wire = Wire(Reply({"migrations": [migration(1, "compute10"), migration(2)]}))
    assert [found.id for found in Cloud(wire, "2.94").evacuations("compute1", 0.0)] == [2]


def test_all_pages_of_all_tenants_are_read():
    first = {"servers": [server(1), server(2)], "servers_links": [{"rel": "next", "href": "x"}]}
    wire = Wire(Reply(first), Reply({"servers": [server(3)]}))
    assert [found.id for found in Cloud(wire, "2.94").servers_on("compute1")] == ["u1", "u2", "u3"]
    assert wire.seen[0][2]["params"]["all_tenants"] == "1"
    assert "marker" not in wire.seen[0][2]["params"]
    assert wire.seen[1][2]["params"]["marker"] == "u2"


def test_evacuations_before_the_failure_are_left_out():
    wire = Wire(Reply({"migrations": [migration(2, at="2026-01-02T00:00:00Z"), migration(1)]}))
    since = parse_time("2026-01-01T12:00:00+00:00")
    assert [found.id for found in Cloud(wire, "2.94").evacuations("compute1", since)] == [2]


@pytest.mark.parametrize(
    ("value", "priority"), [("5", 5), ("-1", -1), ("high", 0), ("", 0), ("1.5", 0)]
)  # fmt: skip
def test_priority_is_an_integer_or_nothing(value, priority):
    wire = Wire(Reply({"server": server(metadata={"hass:priority": value})}))
    assert Cloud(wire, "2.94").server("u1").priority == priority


def test_a_server_that_does_not_exist_is_none():
    gone = {"itemNotFound": {"code": 404, "message": "Instance u1 could not be found."}}
    assert Cloud(Wire(Reply(gone, 404)), "2.94").server("u1") is None
    assert Cloud(Wire(Reply(gone, 404)), "2.94").actions("u1") == []


@pytest.mark.parametrize(
    "answer", [Reply(None, 404, "<html>no such backend</html>"), Reply({}, 404), ksa.NotFound("Keystone's")]
)
def test_a_404_of_anybody_else_is_no_deletion(answer):
    with pytest.raises(CloudError):
        Cloud(Wire(answer), "2.94").server("u1")


@pytest.mark.parametrize(
    ("wanted", "newest", "used"),
    [
        ("2.94", (2, 100), "2.94"),
        ("2.95", (2, 90), "2.90"),
        ("2.100", (2, 96), "2.96"),
        ("2.94", (2, 60), "2.60"),
    ],
)
def test_the_microversion_of_an_evacuation_is_named(wanted, newest, used):
    wire = Wire(Reply(), newest=newest)
    Cloud(wire, wanted).evacuate("u1")
    (method, path, kwargs), = wire.seen  # fmt: skip
    assert (method, path, kwargs["microversion"]) == ("POST", "/servers/u1/action", used)
    assert kwargs["json"] == {"evacuate": {}}, "no host, no force"
    assert kwargs["connect_retries"] == 0


@pytest.mark.parametrize("newest", [(2, 53), None])
def test_a_nova_that_is_too_old_or_none_is_said(newest):
    with pytest.raises(CloudError, match="microversion"):
        Cloud(Wire(newest=newest), "2.94").evacuate("u1")


def test_versions_compare_as_pairs():
    assert version_tuple("2.100") > version_tuple("2.94") > version_tuple("2.9")


@pytest.mark.parametrize(
    ("reply", "status", "uncertain", "words"),
    [
        (Reply({"conflictingRequest": {"message": "it is\nbusy"}}, 409), 409, False, "409: it is busy"),
        (Reply({"badRequest": {"message": "in use", "code": 400}}, 400), 400, False, "in use"),
        (Reply(None, 503, "<html>down</html>"), 503, True, "503"),
        (Reply([], 500), 500, True, "Reason"),
        (ksa.ConnectTimeout("slow"), None, True, "slow"),
        (ksa.ConnectFailure("reset"), None, True, "reset"),
        (ksa.Unauthorized("wrong password"), 401, False, "wrong password"),
        (ksa.NotFound("no such path in Keystone"), None, False, "no such path"),
        (ksa.EndpointNotFound("no compute endpoint"), None, False, "no compute endpoint"),
    ],
)
def test_every_failure_is_one_line_and_says_whether_it_may_have_happened(reply, status, uncertain, words):
    with pytest.raises(CloudError) as caught:
        Cloud(Wire(reply), "2.94").start("u1")
    assert (caught.value.status, caught.value.uncertain) == (status, uncertain)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "start instance u1" in str(caught.value)


@pytest.mark.parametrize("body", [None, [], {}, {"services": None}, {"services": {}}])
def test_garbage_is_a_failure(body):
    with pytest.raises(CloudError):
        Cloud(Wire(Reply(body)), "2.94").compute_service("compute1")


def test_actions_are_oldest_first():
    rows = [
        {"action": "stop", "start_time": "2026-01-02T00:00:00.000000", "message": "Error"},
        {"action": "create", "start_time": "2026-01-01T00:00:00.000000", "message": None},
    ]
    found = Cloud(Wire(Reply({"instanceActions": rows})), "2.94").actions("u1")
    assert [(action.name, action.failed) for action in found] == [("create", False), ("stop", True)]


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
    """Keystone's token and Nova's services, and a path that never answers."""

    hang = threading.Event()

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
        if asked["auth"]["identity"]["password"]["user"]["password"] != "s3cret":
            self._say(401, {"error": {"message": "wrong", "code": 401}})
            return
        url = f"http://127.0.0.1:{self.server.server_port}/v2.1"
        endpoint = {"interface": "public", "region_id": "R", "region": "R", "url": url, "id": "e"}
        catalog = [{"type": "compute", "name": "nova", "id": "c", "endpoints": [endpoint]}]
        token = {
            "methods": ["password"], "expires_at": "2100-01-01T00:00:00.000000Z", "catalog": catalog,
            "issued_at": "2026-01-01T00:00:00.000000Z", "user": {"id": "u", "name": "admin"},
        }  # fmt: skip
        self._say(201, {"token": token}, X_Subject_Token="t")

    def do_GET(self):
        parts = urlsplit(self.path)
        if parts.path.rstrip("/") == "/v2.1":
            links = [{"rel": "self", "href": f"http://127.0.0.1:{self.server.server_port}/v2.1/"}]
            version = {"id": "v2.1", "status": "CURRENT", "version": "2.96", "min_version": "2.1"}
            self._say(200, {"version": {**version, "links": links}})
        elif parse_qs(parts.query).get("host") == ["slow"]:
            self.hang.wait(20)
        else:
            self._say(200, {"services": [service()]})


@pytest.fixture
def small():
    server_ = ThreadingHTTPServer(("127.0.0.1", 0), Small)
    server_.daemon_threads = True
    Small.hang.clear()
    threading.Thread(target=server_.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server_.server_port}/v3"
    Small.hang.set()
    server_.shutdown()
    server_.server_close()


def test_a_connection_by_password(small):
    nova = connect(options(small))
    assert nova.compute_service("compute1").up
    assert nova.evacuate_microversion() == "2.94"


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
