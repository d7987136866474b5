"""What is made once for the embedded OpenStack is made once, and an interrupted making does not count."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from hass_runtime.sandbox.openstack import venv


def test_an_interrupted_build_is_redone_from_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "thing"

    def interrupted() -> None:
        with venv._made_once(directory) as missing:
            assert missing
            directory.mkdir()
            (directory / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with venv._made_once(directory) as missing:
        assert missing
        assert not directory.exists()
        directory.mkdir()
    with venv._made_once(directory) as missing:
        assert not missing


def test_of_several_builders_one_builds_and_the_others_wait(tmp_path: Path) -> None:
    directory, built, seen = tmp_path / "thing", [], []

    def build() -> None:
        with venv._made_once(directory) as missing:
            if missing:
                built.append(1)
                directory.mkdir()
                time.sleep(0.1)
                (directory / "file").touch()
            seen.append((directory / "file").exists())

    threads = [threading.Thread(target=build) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == [1]
    assert seen == [True] * 5


def test_other_pins_make_another_environment(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("nova==1\n")
    two.write_text("nova==2\n")
    assert venv._hash(one, extra="a") != venv._hash(two, extra="a")
    assert venv._hash(one, extra="a") != venv._hash(one, extra="b")


def test_a_tool_that_fails_or_hangs_is_one_clear_error() -> None:
    with pytest.raises(venv.BuildError, match="status 3: boom"):
        venv._run(["sh", "-c", "echo boom; exit 3"], deadline=5)
    with pytest.raises(venv.BuildError, match="not done within"):
        venv._run(["sleep", "5"], deadline=0.1)
