from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hass_runtime.agent import protocol
from hass_runtime.agent.protocol import Check, Order, ReplayGuard, Request, Response, RestartResponse

KEY, OLD, FOREIGN = b"k" * 32, b"o" * 32, b"f" * 32
NONCE = "00112233445566778899aabbccddeeff"
SIZE = 1024
REQUEST = Request("compute1", NONCE, 1000.25)
RESPONSE = Response(
    "compute1",
    NONCE,
    1000.5,
    {"libvirtd": Check("ok", "3 guests"), "nova-compute": Check("failed", "inactive")},
)


def forge(body: object, key: bytes = KEY) -> bytes:
    """A correctly signed datagram with any body at all."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return protocol._sign(raw, (key,))


def test_request_and_response_come_back_as_they_were() -> None:
    datagram = protocol.encode_request(REQUEST, (KEY,), SIZE)
    assert protocol.decode_request(datagram, (KEY,), SIZE, "compute1") == (REQUEST, KEY)
    answer = protocol.encode_response(RESPONSE, (KEY,), SIZE)
    assert protocol.decode_response(answer, (KEY,), SIZE, "compute1", NONCE) == RESPONSE


def test_request_fills_the_permitted_size_so_that_no_answer_is_longer() -> None:
    datagram = protocol.encode_request(REQUEST, (KEY,), SIZE)
    assert len(datagram) == SIZE
    assert len(protocol.encode_response(RESPONSE, (KEY,), len(datagram))) <= len(datagram)


def test_key_is_not_in_the_datagram() -> None:
    assert KEY not in protocol.encode_request(REQUEST, (KEY,), SIZE)


def test_rotation_takes_any_key_and_signs_with_the_first() -> None:
    by_old = protocol.encode_request(REQUEST, (OLD,), SIZE)
    assert protocol.decode_request(by_old, (KEY, OLD), SIZE, "compute1") == (REQUEST, OLD)
    by_first = protocol.encode_request(REQUEST, (KEY, OLD), SIZE)
    assert protocol.decode_request(by_first, (KEY,), SIZE, "compute1")[1] == KEY
    with pytest.raises(protocol.BadMacError):
        protocol.decode_request(by_first, (OLD,), SIZE, "compute1")


@pytest.mark.parametrize("keys", [(), (b"",), (KEY, b"")])
def test_nothing_is_signed_without_a_key(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="no polling key"):
        protocol.encode_request(REQUEST, keys, SIZE)


def test_empty_key_verifies_nothing() -> None:
    body = b'{"v":1}'
    import hashlib
    import hmac

    datagram = b"HASS" + hmac.new(b"", b"HASS" + body, hashlib.sha256).digest() + body
    with pytest.raises(protocol.BadMacError):
        protocol.decode_request(datagram, (b"",), SIZE, "compute1")


def test_foreign_key_is_refused() -> None:
    datagram = protocol.encode_request(REQUEST, (FOREIGN,), SIZE)
    with pytest.raises(protocol.BadMacError):
        protocol.decode_request(datagram, (KEY,), SIZE, "compute1")


@pytest.mark.parametrize("asked", ["compute10", "compute", "Compute1", "compute1.example"])
def test_names_are_compared_whole(asked: str) -> None:
    datagram = protocol.encode_request(Request(asked, NONCE, 1.0), (KEY,), SIZE)
    with pytest.raises(protocol.WrongHostError):
        protocol.decode_request(datagram, (KEY,), SIZE, "compute1")
    answer = protocol.encode_response(RESPONSE, (KEY,), SIZE)
    with pytest.raises(protocol.WrongHostError):
        protocol.decode_response(answer, (KEY,), SIZE, asked, NONCE)


def test_answer_to_another_request_is_refused() -> None:
    answer = protocol.encode_response(RESPONSE, (KEY,), SIZE)
    with pytest.raises(protocol.ReplayedError):
        protocol.decode_response(answer, (KEY,), SIZE, "compute1", "ff" * 16)


def test_request_reflected_is_not_an_answer_and_an_answer_not_a_request() -> None:
    with pytest.raises(protocol.GarbageError):
        protocol.decode_response(
            protocol.encode_request(REQUEST, (KEY,), SIZE), (KEY,), SIZE, "compute1", NONCE
        )
    with pytest.raises(protocol.GarbageError):
        protocol.decode_request(protocol.encode_response(RESPONSE, (KEY,), SIZE), (KEY,), SIZE, "compute1")


def test_too_long_is_told_apart() -> None:
    with pytest.raises(protocol.TooLongError):
        protocol.decode_request(protocol.encode_request(REQUEST, (KEY,), SIZE + 1), (KEY,), SIZE, "compute1")


def test_request_that_does_not_fit_is_an_error_of_the_sender() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        protocol.encode_request(Request("c" * 300, NONCE, 1.0), (KEY,), 256)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 900,
        {},
        {"v": 2, "q": "poll", "host": "compute1", "nonce": NONCE, "at": 1},
        {"v": 1, "q": "undefine", "host": "compute1", "nonce": NONCE, "at": 1},
        {"v": 1, "q": "restart", "host": "compute1", "nonce": NONCE, "at": 1},
        {"v": 1, "q": "restart", "host": "compute1", "nonce": NONCE, "at": 1, "check": "x"},
        {"v": 1, "q": "restart", "host": "compute1", "nonce": NONCE, "at": 1, "check": "", "order": NONCE},
        {"v": 1, "q": "restart", "host": "compute1", "nonce": NONCE, "at": 1, "check": ["x"], "order": NONCE},
        {"v": 1, "q": "restart", "host": "compute1", "nonce": NONCE, "at": 1, "check": "x", "order": "1"},
        {"v": 1, "q": ["poll"], "host": "compute1", "nonce": NONCE, "at": 1},
        {"v": 1, "q": "poll", "host": "", "nonce": NONCE, "at": 1},
        {"v": 1, "q": "poll", "host": 1, "nonce": NONCE, "at": 1},
        {"v": 1, "q": "poll", "host": "compute1", "nonce": "xy", "at": 1},
        {"v": 1, "q": "poll", "host": "compute1", "nonce": NONCE.upper(), "at": 1},
        {"v": 1, "q": "poll", "host": "compute1", "nonce": NONCE + "00", "at": 1},
        {"v": 1, "q": "poll", "host": "compute1", "nonce": NONCE, "at": True},
        {"v": 1, "q": "poll", "host": "compute1", "nonce": NONCE, "at": "1"},
        b'{"v":1,"q":"poll","host":"compute1","nonce":"' + NONCE.encode() + b'","at":NaN}',
        b'{"v":1,"q":"poll","host":"compute1","nonce":"' + NONCE.encode() + b'","at":1e999}',
        b'{"v":1,"q":"poll","host":"compute1","nonce":"' + NONCE.encode() + b'","at":' + b"9" * 400 + b"}",
    ],
)
def test_signed_nonsense_is_garbage(body: object) -> None:
    with pytest.raises(protocol.GarbageError):
        protocol.decode_request(forge(body), (KEY,), SIZE, "compute1")


@pytest.mark.parametrize(
    "checks", [None, [], {"a": None}, {"a": ["fine", ""]}, {"a": ["ok"]}, {"a": ["ok", 1]}, {"a": "ok"}]
)
def test_signed_answer_with_malformed_checks_is_garbage(checks: object) -> None:
    body = {"v": 1, "r": "checks", "host": "compute1", "nonce": NONCE, "at": 1, "checks": checks}
    with pytest.raises(protocol.GarbageError):
        protocol.decode_response(forge(body), (KEY,), SIZE, "compute1", NONCE)


@pytest.mark.parametrize(
    "more",
    [
        {"leaving": "yes"},
        {"leaving": 1},
        {"leaving": None},
        {"storage": "a"},
        {"storage": [1]},
        {"storage": 0},
    ],
)
def test_signed_answer_with_malformed_additions_is_garbage(more: dict[str, object]) -> None:
    body = {"v": 1, "r": "checks", "host": "compute1", "nonce": NONCE, "at": 1, "checks": {}}
    with pytest.raises(protocol.GarbageError):
        protocol.decode_response(forge({**body, **more}), (KEY,), SIZE, "compute1", NONCE)


def test_an_answer_of_an_older_agent_stays_good() -> None:
    body = {"v": 1, "r": "checks", "host": "compute1", "nonce": NONCE, "at": 1, "checks": {"a": ["ok", "x"]}}
    response = protocol.decode_response(forge(body), (KEY,), SIZE, "compute1", NONCE)
    assert response == Response("compute1", NONCE, 1, {"a": Check("ok", "x")}, leaving=False)


def test_what_an_older_controller_reads_of_an_answer_is_as_it_was() -> None:
    """It knows v, r, host, nonce, at and checks, with two texts for each check."""
    checks = {"a": Check("ok", "x"), "storage": Check("failed", "y", storage=True)}
    datagram = protocol.encode_response(Response("compute1", NONCE, 1, checks, True), (KEY,), SIZE)
    body = json.loads(datagram[36:])
    assert body["checks"] == {"a": ["ok", "x"], "storage": ["failed", "y"]}
    assert body["storage"] == ["storage"]
    assert body["leaving"] is True


ORDER = Request("compute1", NONCE, 1000.25, Order("nova-compute", "ab" * 16))


def test_an_order_and_its_answer_come_back_as_they_were() -> None:
    datagram = protocol.encode_request(ORDER, (KEY,), SIZE)
    assert len(datagram) == SIZE
    assert protocol.decode_request(datagram, (KEY,), SIZE, "compute1") == (ORDER, KEY)
    for refused in (None, "is no unit"):
        response = RestartResponse("compute1", NONCE, 1.0, refused)
        answer = protocol.encode_restart_response(response, (KEY,), SIZE)
        nonces = ["cd" * 16, NONCE]
        assert protocol.decode_restart_response(answer, (KEY,), SIZE, "compute1", nonces) == response
        with pytest.raises(protocol.ReplayedError):
            protocol.decode_restart_response(answer, (KEY,), SIZE, "compute1", ["cd" * 16])
        with pytest.raises(protocol.WrongHostError):
            protocol.decode_restart_response(answer, (KEY,), SIZE, "compute10", nonces)
        with pytest.raises(protocol.BadMacError):
            protocol.decode_restart_response(answer, (FOREIGN,), SIZE, "compute1", nonces)


def test_no_kind_of_answer_is_taken_for_the_other() -> None:
    restarted = protocol.encode_restart_response(RestartResponse("compute1", NONCE, 1.0), (KEY,), SIZE)
    polled = protocol.encode_response(RESPONSE, (KEY,), SIZE)
    with pytest.raises(protocol.GarbageError):
        protocol.decode_response(restarted, (KEY,), SIZE, "compute1", NONCE)
    with pytest.raises(protocol.GarbageError):
        protocol.decode_restart_response(polled, (KEY,), SIZE, "compute1", [NONCE])


@pytest.mark.parametrize("more", [{}, {"accepted": 1}, {"accepted": "no"}, {"accepted": False, "why": 1}])
def test_signed_nonsense_about_an_order_is_garbage(more: dict[str, object]) -> None:
    body = {"v": 1, "r": "restart", "host": "compute1", "nonce": NONCE, "at": 1, **more}
    with pytest.raises(protocol.GarbageError):
        protocol.decode_restart_response(forge(body), (KEY,), SIZE, "compute1", [NONCE])


def test_a_refusal_without_a_reason_is_a_refusal() -> None:
    body = {"v": 1, "r": "restart", "host": "compute1", "nonce": NONCE, "at": 1, "accepted": False}
    response = protocol.decode_restart_response(forge(body), (KEY,), SIZE, "compute1", [NONCE])
    assert response.refused == "no reason is given"


hexes = st.binary(min_size=16, max_size=16).map(bytes.hex)
times = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(names, hexes, times, st.none() | st.builds(Order, names, hexes))
def test_every_request_comes_back_as_it_was(host: str, nonce: str, at: float, order: Order | None) -> None:
    request = Request(host, nonce, at, order)
    datagram = protocol.encode_request(request, (KEY,), SIZE)
    assert protocol.decode_request(datagram, (KEY, OLD), SIZE, host) == (request, KEY)


states = st.sampled_from(["ok", "failed", "unknown"])
lines = names.map(lambda text: protocol.cut(text, 40))


@given(hexes, times, st.dictionaries(lines, st.builds(Check, states, lines, st.booleans())), st.booleans())
def test_every_answer_comes_back_as_it_was(
    nonce: str, at: float, checks: dict[str, Check], leaving: bool
) -> None:
    response = Response("compute1", nonce, at, checks, leaving)
    datagram = protocol.encode_response(response, (KEY,), 65507)
    assert protocol.decode_response(datagram, (KEY,), 65507, "compute1", nonce) == response


@given(hexes, times, st.none() | st.text(max_size=3000), st.integers(256, 1024))
def test_every_answer_to_an_order_fits(nonce: str, at: float, refused: str | None, size: int) -> None:
    response = RestartResponse("compute1", nonce, at, refused)
    datagram = protocol.encode_restart_response(response, (KEY,), size)
    assert len(datagram) <= size
    told = protocol.decode_restart_response(datagram, (KEY,), size, "compute1", [nonce])
    assert (told.refused is None) == (refused is None)


@given(st.binary(max_size=1200))
def test_any_bytes_give_a_protocol_error(datagram: bytes) -> None:
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_request(datagram, (KEY,), SIZE, "compute1")
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_response(datagram, (KEY,), SIZE, "compute1", NONCE)
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_restart_response(datagram, (KEY,), SIZE, "compute1", [NONCE])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "v": st.just(1) | json_values,
            "q": st.sampled_from(["poll", "restart"]) | json_values,
            "r": st.sampled_from(["checks", "restart"]) | json_values,
            "host": st.just("compute1") | json_values,
            "nonce": st.just(NONCE) | json_values,
            "at": json_values,
            "checks": st.just({}) | json_values,
            "check": json_values,
            "order": st.just(NONCE) | json_values,
            "leaving": st.booleans() | json_values,
            "storage": json_values,
            "accepted": st.booleans() | json_values,
            "why": json_values,
        },
    )
)
def test_any_signed_json_is_decoded_or_refused(body: dict[str, object]) -> None:
    datagram = forge(body)
    for decode in (
        lambda: protocol.decode_request(datagram, (KEY,), 65536, "compute1")[0].host,
        lambda: protocol.decode_response(datagram, (KEY,), 65536, "compute1", NONCE).host,
        lambda: protocol.decode_restart_response(datagram, (KEY,), 65536, "compute1", [NONCE]).host,
    ):
        try:
            host = decode()
        except protocol.ProtocolError:
            continue
        assert host == "compute1"


@settings(max_examples=300)
@given(st.data())
def test_any_flipped_bit_is_refused(data: st.DataObject) -> None:
    for datagram in (
        protocol.encode_request(REQUEST, (KEY,), 256),
        protocol.encode_response(RESPONSE, (KEY,), 256),
    ):
        bit = data.draw(st.integers(0, len(datagram) * 8 - 1))
        flipped = bytearray(datagram)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((protocol.BadMacError, protocol.GarbageError)):
            protocol.decode_request(bytes(flipped), (KEY,), 256, "compute1")
        with pytest.raises((protocol.BadMacError, protocol.GarbageError)):
            protocol.decode_response(bytes(flipped), (KEY,), 256, "compute1", NONCE)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=40),
        st.builds(Check, st.sampled_from(["ok", "failed", "unknown"]), st.text(max_size=500)),
        max_size=40,
    ),
    st.integers(256, 2000),
)
def test_answer_always_fits_and_keeps_the_gravest_state(checks: dict[str, Check], size: int) -> None:
    response = Response("compute1", NONCE, 1000.0, checks)
    datagram = protocol.encode_response(response, (KEY,), size)
    assert len(datagram) <= size
    told = protocol.decode_response(datagram, (KEY,), size, "compute1", NONCE).checks
    assert not any(check.storage for check in told.values())
    for state in ("failed", "unknown"):
        if any(check.state == state for check in checks.values()) and not any(
            check.state == "failed" for check in checks.values() if state == "unknown"
        ):
            assert any(check.state == state for check in told.values())
    assert bool(told) == bool(checks)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=40), st.builds(Check, states, st.text(max_size=99)), max_size=40
    ),
    states,
    st.integers(512, 2000),
)
def test_no_crowd_of_services_drives_the_storage_out_of_an_answer(
    services: dict[str, Check], state: str, size: int
) -> None:
    checks = {**services, "storage": Check(state, "/var/lib/nova/instances", storage=True)}
    datagram = protocol.encode_response(Response("compute1", NONCE, 1.0, checks, True), (KEY,), size)
    told = protocol.decode_response(datagram, (KEY,), size, "compute1", NONCE)
    assert told.leaving
    assert {name: check.state for name, check in told.checks.items() if check.storage} == {"storage": state}


def test_long_evidence_is_cut_in_the_middle() -> None:
    checks = {"libvirtd": Check("failed", "start " + "x" * 3000 + " end")}
    datagram = protocol.encode_response(Response("compute1", NONCE, 1.0, checks), (KEY,), SIZE)
    evidence = protocol.decode_response(datagram, (KEY,), SIZE, "compute1", NONCE).checks["libvirtd"].evidence
    assert evidence.startswith("start ")
    assert evidence.endswith(" end")
    assert "…" in evidence


@given(st.text(max_size=300), st.integers(0, 300))
def test_cut_keeps_the_limit_and_one_line(text: str, limit: int) -> None:
    short = protocol.cut(text, limit)
    assert len(short) <= limit
    assert "\n" not in short


def test_guard_admits_once() -> None:
    guard = ReplayGuard(tolerance=30.0)
    guard.admit(REQUEST, 1001.0)
    with pytest.raises(protocol.ReplayedError):
        guard.admit(REQUEST, 1001.0)


@pytest.mark.parametrize("now", [969.0, 1031.0])
def test_guard_refuses_the_old_and_the_future(now: float) -> None:
    with pytest.raises(protocol.StaleError):
        ReplayGuard(tolerance=30.0).admit(REQUEST, now)


def test_guard_remembers_until_the_request_is_stale_and_no_longer() -> None:
    guard = ReplayGuard(tolerance=30.0, capacity=2)
    guard.admit(Request("compute1", "a", 1000.0), 1000.0)
    guard.admit(Request("compute1", "b", 1030.0), 1000.0)  # from the future: to be remembered until 1060
    with pytest.raises(protocol.FullError):
        guard.admit(Request("compute1", "c", 1030.0), 1030.0)
    guard.admit(Request("compute1", "c", 1031.0), 1031.0)
    with pytest.raises(protocol.ReplayedError):
        guard.admit(Request("compute1", "b", 1030.0), 1059.0)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 100), st.integers(0, 5)), max_size=60))
def test_guard_never_admits_the_same_request_twice(events: list[tuple[str, int, int]]) -> None:
    guard = ReplayGuard(tolerance=10.0, capacity=3)
    admitted: set[Request] = set()
    now = 50.0
    for nonce, at, passed in events:
        now += passed
        request = Request("compute1", nonce + str(at), float(at))
        try:
            guard.admit(request, now)
        except protocol.ProtocolError:
            continue
        assert request not in admitted
        admitted.add(request)
        assert len(guard) <= 3
