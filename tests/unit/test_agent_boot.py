"""The name of a host's boot, from its kernel to the controller's reading."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.agent import protocol
from hass_runtime.agent.boot import boot_id

KEYS = (b"0123456789abcdef",)
NONCE = "00" * protocol.NONCE_BYTES


def there_and_back(response: protocol.Response) -> protocol.Response:
    datagram = protocol.encode_response(response, KEYS, 1024)
    return protocol.decode_response(datagram, KEYS, 1024, response.host, response.nonce)


def test_this_machine_has_one() -> None:
    assert len(boot_id()) == 36
    assert boot_id() == boot_id()


@pytest.mark.parametrize("text", ["", "\n", "two words", "x" * 65, "päth"])
def test_what_is_no_name_is_none(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "boot_id"
    file.write_bytes(text.encode())
    assert boot_id(file) == ""
    assert str(file) in caplog.text


def test_a_file_that_is_missing_is_told_once_and_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert boot_id(tmp_path / "missing") == ""
    assert "nobody can tell one boot of this host from another" in caplog.text


@given(st.from_regex(r"[\w.-]{0,64}", fullmatch=True).filter(str.isascii))
def test_it_arrives_as_it_was_sent(name: str) -> None:
    response = protocol.Response("compute2", NONCE, 1.0, {"nova": protocol.Check("ok")}, boot=name)
    assert there_and_back(response).boot == name


def test_an_agent_that_does_not_tell_is_understood() -> None:
    assert there_and_back(protocol.Response("compute2", NONCE, 1.0)).boot == ""


@pytest.mark.parametrize("boot", [7, "", None, ["a"]])
def test_a_name_that_is_no_text_is_garbage(boot: object) -> None:
    body = {"v": 1, "r": "checks", "host": "compute2", "nonce": NONCE, "at": 1.0, "checks": {}, "boot": boot}
    datagram = protocol._sign(protocol._pack(body), KEYS)
    with pytest.raises(protocol.GarbageError, match="boot is not a text"):
        protocol.decode_response(datagram, KEYS, 1024, "compute2", NONCE)
