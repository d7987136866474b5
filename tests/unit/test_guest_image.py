"""The guest image's parts that can be tried without building one."""

import email
import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml

ROLE = Path(__file__).parents[2] / "roles" / "guest_image"


def load(path: Path, name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def machine(monkeypatch):
    module = load(ROLE / "module_utils/guest_image_machine.py", "ansible.module_utils.guest_image_machine")
    monkeypatch.setitem(sys.modules, "ansible.module_utils.guest_image_machine", module)
    return module


def lift(root: Path) -> None:
    subprocess.run(
        ["sh", ROLE / "files/lift-blacklists", "6.1.0-1-amd64"],
        check=True,
        env={"ROOT": str(root), "PATH": "/usr/bin:/bin"},
    )


@pytest.fixture
def root(tmp_path):
    for folder in ("etc/modprobe.d", "lib/modprobe.d"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


class TestLiftBlacklists:
    def test_a_file_of_etc_is_changed_in_place(self, root):
        file = root / "etc/modprobe.d/blacklist-watchdog.conf"
        file.write_text("blacklist i6300esb\nblacklist iTCO_wdt\n  blacklist softdog\n")
        lift(root)
        assert file.read_text() == "# blacklist i6300esb\nblacklist iTCO_wdt\n#   blacklist softdog\n"

    def test_a_packages_file_is_left_and_masked(self, root):
        theirs = root / "lib/modprobe.d/blacklist_linux_4.4.0-1.conf"
        theirs.write_text("blacklist i6300esb\nblacklist alim7101_wdt\n")
        lift(root)
        assert theirs.read_text() == "blacklist i6300esb\nblacklist alim7101_wdt\n"
        ours = root / "etc/modprobe.d" / theirs.name
        assert ours.read_text() == "# blacklist i6300esb\nblacklist alim7101_wdt\n"

    def test_other_modules_stay_blacklisted(self, root):
        file = root / "lib/modprobe.d/other.conf"
        file.write_text("blacklist i6300esb_other\noptions i6300esb heartbeat=5\n# blacklist softdog\n")
        lift(root)
        assert list((root / "etc/modprobe.d").iterdir()) == []

    def test_an_operators_own_file_of_that_name_is_not_replaced(self, root):
        (root / "lib/modprobe.d/a.conf").write_text("blacklist softdog\n")
        ours = root / "etc/modprobe.d/a.conf"
        ours.write_text("# mine\n")
        lift(root)
        assert ours.read_text() == "# mine\n"

    def test_twice_is_once(self, root):
        file = root / "etc/modprobe.d/b.conf"
        file.write_text("blacklist softdog\n")
        lift(root)
        once = file.read_text()
        lift(root)
        assert file.read_text() == once


class TestChange:
    @pytest.fixture
    def change(self, machine):
        return load(ROLE / "library/guest_image_change.py", "guest_image_change")

    def test_no_user_is_made_and_the_script_is_told_where_its_files_are(self, change):
        message = email.message_from_bytes(change.user_data("sh {seed}/change {seed}", ""))
        config, script = message.get_payload()
        assert yaml.safe_load(config.get_payload()) == {"users": [], "disable_root": True}
        assert "( sh $seed/change $seed )" in script.get_payload()
        subprocess.run(["sh", "-n"], input=script.get_payload(), text=True, check=True)

    def test_a_proxy_does_not_stay(self, change):
        text = change.user_data("true", "http://192.0.2.9:3142").decode()
        assert text.index('Proxy "http://192.0.2.9:3142"') < text.index(
            "rm -f /etc/apt/apt.conf.d/99hass-build"
        )


class TestTrial:
    @pytest.fixture
    def trial(self, machine):
        return load(ROLE / "library/guest_image_trial.py", "guest_image_trial")

    def told(self, trial, monkeypatch, *, device, quiet=None, fired=30.0, status="running"):
        """What the trial says of a machine that is made up."""
        answers = iter([quiet, fired])

        class Made:
            accel = "tcg"
            place = Path(self.place)

            def __init__(self, *_, **__): ...
            def __enter__(self):
                return self

            def __exit__(self, *_): ...
            def watchdog_within(self, _):
                return next(answers)

            def serial(self):
                return "Kernel panic"

            def ask(self, _):
                return {"status": status}

        class Logged:
            make_key = staticmethod(lambda _: (b"private", b"ssh-ed25519 AAAA"))

            def __init__(self, machine, _):
                self.key = machine.place / "key"

            def wait(self, _):
                return 17.04

            def run(self, command, timeout=60):
                text = "".join(f"{name}={value}\n" for name, value in device.items())
                return subprocess.CompletedProcess([], 0, text, "")

        clock = iter(range(0, 100000, 100))
        monkeypatch.setattr(trial, "Machine", Made)
        monkeypatch.setattr(trial, "Shell", Logged)
        monkeypatch.setattr(trial.time, "monotonic", lambda: next(clock))
        told = {}
        try:
            trial.trial(
                {
                    "path": "x",
                    "format": "qcow2",
                    "accelerator": "tcg",
                    "memory": 1,
                    "timeout": 30,
                    "boot_timeout": 9,
                },
                told,
            )
        except trial.MachineError as error:
            told["problem"] = str(error)
        return told

    @pytest.fixture(autouse=True)
    def here(self, tmp_path):
        self.place = tmp_path

    WELL = {"identity": "i6300ESB timer", "timeout": "30", "state": "active", "daemon": "active"}  # noqa: RUF012

    def test_well(self, trial, monkeypatch):
        told = self.told(trial, monkeypatch, device=self.WELL)
        assert "problem" not in told
        assert told["boot_seconds"] == 17.0
        assert told["quiet_seconds"] == 60

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"daemon": "failed"}, "watchdog.service is failed"),
            ({"identity": "Software Watchdog"}, "its watchdog is Software Watchdog"),
            ({"state": "inactive"}, "nobody has opened its watchdog"),
            ({"timeout": "60"}, "its watchdog fires after 60 s, not 30 s"),
        ],
    )
    def test_not_as_it_has_to_be(self, trial, monkeypatch, change, problem):
        assert self.told(trial, monkeypatch, device=self.WELL | change)["problem"] == problem

    def test_fires_though_all_is_well(self, trial, monkeypatch):
        told = self.told(trial, monkeypatch, device=self.WELL, quiet=12.0)
        assert told["problem"] == "it fired after 12.0 s although the guest was well"

    def test_does_not_fire(self, trial, monkeypatch):
        told = self.told(trial, monkeypatch, device=self.WELL, fired=None)
        assert told["problem"] == "it did not fire within 50 s after the crash"

    def test_an_action_that_is_not_none(self, trial, monkeypatch):
        told = self.told(trial, monkeypatch, device=self.WELL, status="paused")
        assert told["problem"] == "QEMU acted on its own: the machine is paused"


class TestLook:
    @pytest.fixture
    def look(self):
        return load(ROLE / "library/guest_image_look.py", "guest_image_look")

    @pytest.fixture
    def seen(self, look, monkeypatch, tmp_path):
        """What is seen of an image, debugfs and the others being made up."""
        files = {
            "/etc/watchdog.conf": "interval = 1\n",
            "/etc/modprobe.d/a.conf": "# lifted\n",
            "/lib/modprobe.d/a.conf": "blacklist softdog\n",
            "/lib/modprobe.d/b.conf": "blacklist floppy\n",
            "/usr/lib/modules/6.1/modules.dep": "kernel/drivers/watchdog/i6300esb.ko: kernel/watchdog.ko\n",
        }

        def run(*argv):
            if argv[:2] == ("qemu-img", "info"):
                return json.dumps({"format": "qcow2"})
            if argv[:2] == ("qemu-img", "check"):
                return json.dumps({"compressed-clusters": 99, "allocated-clusters": 100})
            if argv[0] == "qemu-img":
                return ""
            if argv[0] == "sfdisk":
                parts = [{"start": 34}, {"start": 2048}]
                return json.dumps({"partitiontable": {"partitions": parts, "sectorsize": 512}})
            assert argv[:2] == ("debugfs", "-R")
            if not argv[3].endswith("?offset=1048576"):
                raise look.Blind("debugfs: Bad magic number")
            verb, name = argv[2].rsplit(" ", 1)
            if verb == "cat":
                return files.get(name, "")
            if verb == "stat":
                return "Inode: 12   Type: regular    Mode:  0644\n" if name in files else ""
            inside = {
                f.removeprefix(name.rstrip("/") + "/").split("/")[0]
                for f in files
                if f.startswith(name.rstrip("/") + "/")
            }
            return "".join(f"/12/100644/0/0/{entry}/7/\n" for entry in [".", "..", *inside])

        monkeypatch.setattr(look, "run", run)
        image = tmp_path / "image.qcow2"
        image.write_bytes(b"x")
        wanted = {
            "path": str(image),
            "files": ["/etc/watchdog.conf", "/etc/none"],
            "folders": ["/etc/modprobe.d"],
            "configuration": ["/etc/modprobe.d", "/lib/modprobe.d"],
            "modules": ["i6300esb", "softdog"],
        }
        told = {}
        look.look(wanted, told)
        return told

    def test_the_partition_with_a_system_is_found_and_read(self, seen):
        assert seen["files"] == {"/etc/watchdog.conf": "interval = 1\n", "/etc/none": None}
        assert seen["folders"] == {"/etc/modprobe.d": ["a.conf"]}

    def test_the_first_folder_with_a_name_wins(self, seen):
        assert seen["configuration"] == {"a.conf": "# lifted\n", "b.conf": "blacklist floppy\n"}

    def test_modules_and_compression(self, seen):
        assert seen["modules"] == {"i6300esb": ["6.1"], "softdog": []}
        assert seen["compressed"] == 99.0

    def test_no_image_is_told(self, look, tmp_path):
        with pytest.raises(look.Blind, match="there is no image"):
            look.look({"path": str(tmp_path / "none")}, {})


def test_what_the_trial_looks_for_is_what_the_guide_asks():
    steps = {row["step"] for row in yaml.safe_load((ROLE / "meta/guide.yml").read_text())["steps"]}
    assert steps == {"6.1", "6.2", "6.3", "6.4", "6.5", "6.6", "6.7", "6.9"}
