"""The agent's view of the storage: what an error means, and that nothing it does stays behind or hangs."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.agent import storage, storage_helper
from hass_runtime.agent.protocol import Check
from hass_runtime.agent.storage import Storage, file_name, parse
from hass_runtime.agent.storage_helper import Mount, answer, is_shared, judge_error, mount_of, mounts, probe

NAME = ".hass-test"
INFO = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 22 0:25 / /var/lib/nova/instances rw,relatime shared:9 - nfs4 store:/nova rw,vers=4.2,hard
31 22 0:26 / /srv/more\\040room rw - fuse.glusterfs store:/more rw
32 22 0:27 / /srv/disk rw - ext4 /dev/sdb1 rw
33 22 0:28 / /mnt/nfs rw - nfs store:/x rw
34 22 0:29 / /mnt/auto rw - autofs systemd-1 rw
35 34 0:30 / /mnt/auto ro - nfs store:/y ro
"""


def kind_of(path: str) -> str:
    mount = mount_of(path, INFO)
    return mount.kind if mount else ""


def test_which_mount_a_path_lies_on() -> None:
    assert kind_of("/var/lib/nova/instances") == "nfs4"
    assert kind_of("/var/lib/nova/instances2") == "ext4"
    assert kind_of("/srv/more room/x") == "fuse.glusterfs"
    assert kind_of("/mnt/auto") == "nfs", "the last one mounted there is the one that is seen"
    assert mount_of("/x", "") is None


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        ("/var/lib/nova/instances", True),
        ("/srv/disk", True),  # a mount of its own
        ("/srv/disk/instances", False),
        ("/mnt/nfs/instances", True),
        ("/srv/more room/instances", True),
        ("/var/lib/nova", False),
        ("/", True),
    ],
)
def test_what_is_taken_for_shared(path: str, shared: bool) -> None:
    assert is_shared(path, mount_of(path, INFO)) is shared


@given(st.text(), st.text())
def test_no_mountinfo_is_too_strange(path: str, text: str) -> None:
    assert isinstance(is_shared(path, mount_of(path, text)), bool)
    assert len(mounts(text)) <= len(text.splitlines())


RW = Mount("/x", "nfs4", frozenset({"rw"}), frozenset({"rw"}))
VIEW = Mount("/x", "nfs4", frozenset({"ro"}), frozenset({"rw"}))
BROKEN = Mount("/x", "ext4", frozenset({"rw"}), frozenset({"ro"}))
CUT_OFF = ["EIO", "EROFS", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "ESHUTDOWN", "EREMOTEIO", "ENODEV"]
NO_VERDICT = ["ENOSPC", "EDQUOT", "EACCES", "EPERM", "ENOENT", "EMFILE", "ENOMEM", "ELOOP", "EINVAL"]


@pytest.mark.parametrize("name", CUT_OFF)
def test_cut_off_is_failed(name: str) -> None:
    for mount in (RW, BROKEN, None):
        assert judge_error(getattr(errno, name), mount) == "failed"


@pytest.mark.parametrize("name", NO_VERDICT)
def test_full_or_forbidden_is_not_cut_off(name: str) -> None:
    assert judge_error(getattr(errno, name), RW) == "unknown"


def test_a_view_that_is_read_only_says_nothing_about_the_storage() -> None:
    assert judge_error(errno.EROFS, VIEW) == "unknown"
    assert judge_error(errno.EIO, VIEW) == "failed"
    assert judge_error(None, RW) == "unknown"


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is taken for a mount of NFS."""
    info = tmp_path / "mountinfo"
    place = tmp_path / "instances"
    place.mkdir()
    info.write_text(f"1 1 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:1 / {place.resolve()} rw - nfs4 s:/n rw\n")
    monkeypatch.setattr(storage_helper, "MOUNTS", str(info))
    return place.resolve()


def test_it_writes_reads_and_leaves_nothing(shared: Path) -> None:
    assert probe(str(shared), NAME, shared=False) == ("ok", f"{shared} (nfs4)")
    assert probe(str(shared), NAME, shared=True)[0] == "ok"
    assert list(shared.iterdir()) == []
    link = shared.with_name("link")
    link.symlink_to(shared)
    assert probe(str(link), NAME, shared=True) == ("ok", f"{link} (nfs4)")


def test_what_was_left_behind_is_removed_and_what_is_others_stays(shared: Path) -> None:
    (shared / NAME).write_text("left by one that was killed")
    (shared / ".hass-another").write_text("of another host")
    assert probe(str(shared), NAME, shared=False)[0] == "ok"
    assert [path.name for path in shared.iterdir()] == [".hass-another"]


def test_nothing_is_written_through_a_link(shared: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    (shared / NAME).symlink_to(target)
    assert probe(str(shared), NAME, shared=False)[0] == "ok"
    assert target.read_text() == "precious"


@pytest.mark.parametrize("call", ["open", "write", "fsync", "read", "unlink"])
@pytest.mark.parametrize(("name", "state"), [("EIO", "failed"), ("ESTALE", "failed"), ("ENOSPC", "unknown")])
def test_an_error_at_any_step_counts(
    shared: Path, monkeypatch: pytest.MonkeyPatch, call: str, name: str, state: str
) -> None:
    number = getattr(errno, name)
    real = getattr(os, call)

    def fail(*arguments: object, **more: object) -> object:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(storage_helper.os, call, fail)
    assert probe(str(shared), NAME, shared=False) == (state, f"{shared} (nfs4): {os.strerror(number)}")
    monkeypatch.setattr(storage_helper.os, call, real)
    if call != "unlink":
        assert list(shared.iterdir()) == [], "what was written is removed all the same"


def test_what_reads_back_as_something_else_is_failed(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_helper.os, "read", lambda fd, size: b"\0" * 64)
    state, evidence = probe(str(shared), NAME, shared=False)
    assert state == "failed"
    assert evidence.endswith("what was written reads back as something else")


def test_a_stale_mount_is_failed(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(path: str, **_: object) -> str:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(storage_helper.os.path, "realpath", stale)
    assert probe(str(shared), NAME, shared=False) == ("failed", f"{shared} (nfs4): Stale file handle")


def test_what_is_not_shared_is_left_alone_and_never_failed(tmp_path: Path) -> None:
    text = f"{tmp_path} is no mount of its own, so it is not shared"
    assert probe(str(tmp_path), NAME, shared=False) == ("ok", text)
    assert probe(str(tmp_path / "x"), NAME, shared=False) == ("unknown", f"{tmp_path / 'x'} is not there")
    # Unless the operator says that it has to be.
    assert probe(str(tmp_path), NAME, shared=True) == ("failed", f"nothing is mounted at {tmp_path}")
    assert probe(str(tmp_path / "x"), NAME, shared=True)[0] == "failed"


def test_one_answer_for_all_paths(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*paths: object) -> tuple[str, str]:
        return answer(json.dumps({"paths": [str(path) for path in paths], "name": NAME, "shared": False}))

    assert ask(shared, shared) == ("ok", f"{shared} (nfs4); {shared} (nfs4)")
    assert ask(shared, "/no/such") == ("unknown", "/no/such is not there")
    monkeypatch.setattr(storage_helper.os, "fsync", lambda fd: os.close(-1))  # EBADF: no verdict
    assert ask(shared)[0] == "unknown"


def test_a_directory_nobody_may_write_is_unknown(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(storage_helper, "_write_once", refuse)
    assert probe(str(shared), NAME, shared=False) == ("unknown", f"{shared} (nfs4): Permission denied")


def test_the_file_has_the_same_name_each_time_and_another_on_each_host(tmp_path: Path) -> None:
    machine = tmp_path / "machine-id"
    machine.write_text("0123\n")
    name = file_name("compute1", "storage", machine)
    assert name == file_name("compute1", "storage", machine)
    assert name.startswith(".hass-")
    uuid.UUID(name.removeprefix(".hass-"))
    others = {file_name("compute10", "storage", machine), file_name("compute1", "more", machine)}
    machine.write_text("4567\n")
    others.add(file_name("compute1", "storage", machine))
    machine.unlink()
    others.add(file_name("compute1", "storage", machine))
    assert len({name, *others}) == 5


@pytest.mark.parametrize("words", [[], ["shared"], ["a"], ["/a", "b"], ["shared", "a"], ["/a", "shared"]])
def test_a_spec_that_makes_no_sense(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"needs something after it|is no absolute path"):
        parse(words)


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 30
    while not ended(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def helper_of(asked: Storage) -> subprocess.Popen[str]:
    assert asked._helper is not None
    return asked._helper


def test_the_helper_answers_again_and_again_and_ends_with_the_agent(tmp_path: Path) -> None:
    asked = Storage([str(tmp_path)], False, NAME)
    assert asked.ask() == Check("ok", f"{tmp_path} is no mount of its own, so it is not shared")
    first = helper_of(asked).pid
    assert asked.ask().state == "ok"
    assert helper_of(asked).pid == first
    asked.close()
    wait_for_end(first)
    assert asked.ask() == Check("unknown", "the agent ends")


def test_a_helper_that_dies_is_replaced(tmp_path: Path) -> None:
    asked = Storage([str(tmp_path)], False, NAME)
    asked.ask()
    helper_of(asked).kill()
    assert asked.ask() == Check("unknown", "the helper process ended with status -9")
    assert asked.ask().state == "ok"
    asked.close()


def test_a_helper_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "hangs.py"
    script.write_text("import sys, time\nsys.stdin.readline()\nwhile True: time.sleep(600)\n")
    monkeypatch.setattr(storage, "HELPER", script)
    monkeypatch.setattr(storage, "GRACE", -1.0)
    asked = Storage([str(tmp_path)], False, NAME)
    answers: list[Check] = []
    thread = threading.Thread(target=lambda: answers.append(asked.ask()), daemon=True)
    thread.start()
    while asked._busy_since is None:
        time.sleep(0.005)
    pid = helper_of(asked).pid
    asked.close()
    thread.join(30)
    wait_for_end(pid)
    assert [check.state for check in answers] == ["unknown"]


def test_a_question_that_breaks_the_helper_is_unknown() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(storage.HELPER)],
        input="nonsense\n{}\n", capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert [state for state, _ in replies] == ["unknown", "unknown"]
    assert replies[1][1] == "KeyError: 'paths'"
