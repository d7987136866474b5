"""Old runs are removed, the newest and those at work stay."""

from __future__ import annotations

import os

from hass_runtime.remedy.housekeeping import prune_runs


def runs_of(directory, count):
    for number in range(count):
        run = directory / f"run{number}"
        run.mkdir()
        (run / "spec.json").write_text("{}")
        os.utime(run, (number, number))


def left(directory):
    return sorted(entry.name for entry in directory.iterdir())


def test_the_newest_stay(tmp_path):
    runs_of(tmp_path, 5)
    assert prune_runs(tmp_path, (), keep=2) == 3
    assert left(tmp_path) == ["run3", "run4"]


def test_runs_at_work_stay_however_old(tmp_path):
    runs_of(tmp_path, 5)
    prune_runs(tmp_path, {"run0"}, keep=2)
    assert left(tmp_path) == ["run0", "run3", "run4"]


def test_nothing_there_is_nothing_to_do(tmp_path):
    assert prune_runs(tmp_path / "runs", ()) == 0


def test_what_cannot_be_removed_is_told(tmp_path, caplog, monkeypatch):
    runs_of(tmp_path, 2)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refuse)
    assert prune_runs(tmp_path, (), keep=0) == 0
    assert "Permission denied" in caplog.text
