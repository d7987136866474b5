"""`hass config`: the example files are complete and good once filled in; check says all at once."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner
from settings_files import AGENT, CONTROLLER, GUIDE, KEY, changed, ini_text, write

from hass_runtime.cli.config import config
from hass_runtime.settings import SettingsError, ini, load_agent, load_controller
from hass_runtime.settings.check import recognise
from hass_runtime.settings.example import TABLES, describe, example
from hass_runtime.settings.keys import ANY, PLACEHOLDER, Kind

LOAD = {"controller": load_controller, "agent": load_agent}
FILLED = {
    "openstack_auth_url": "http://controller:5000/v3",
    "openstack_admin_password": "example",
    "hosts": "compute1, compute2",
    "polling_key": KEY,
    "mysql_password": "example",
}
KINDS = pytest.mark.parametrize("kind", ["controller", "agent"])


def filled(text):
    marked = re.compile(rf"^(#?)(\w+) = {PLACEHOLDER}$", flags=re.M)
    return marked.sub(lambda found: f"{found[1]}{found[2]} = {FILLED[found[2]]}", text)


def run(*arguments):
    return CliRunner().invoke(config, [str(argument) for argument in arguments])


@KINDS
def test_the_example_is_good_once_it_is_filled_in(kind, tmp_path):
    settings = LOAD[kind](write(tmp_path, filled(example(kind))), {})
    # Sections that have no effect as a whole are in the example too, so that nobody misses them.
    ignored = TABLES[kind].no_effect_sections.items()
    assert settings.notes == tuple(
        f"{tmp_path}/hass.conf: [{name}]: accepted, {why}" for name, why in ignored
    )


@KINDS
def test_the_example_as_it_is_names_every_placeholder(kind, tmp_path):
    with pytest.raises(SettingsError) as raised:
        LOAD[kind](write(tmp_path, example(kind)), {})
    marked = len(re.findall(rf"^\w+ = {PLACEHOLDER}$", example(kind), flags=re.M))
    still = [problem for problem in raised.value.problems if "still the placeholder" in problem]
    assert len(still) == marked


@KINDS
def test_every_commented_line_of_the_example_is_good_too(kind, tmp_path):
    text = filled(example(kind))
    # Each has the other way to give the same secret in force beside it.
    text = re.sub(r"^#(\w+_file) = .*\n", "", text, flags=re.M)
    text = re.sub(r"^\[ipmi_password_file\][^\[]*", "", text, flags=re.M)
    text = re.sub(r"^#(?=\[|\S+ = )", "", text, flags=re.M)
    if kind == "controller":
        text = text.replace("[ipmi]\n", "[ipmi]\ncompute2 = 192.0.2.132\n")
        text = text.replace("[ipmi_user]\n", "[ipmi_user]\ncompute2 = root,example\n")
    parsed = ini.parse(text)
    for key in TABLES[kind].keys:
        if key.name != ANY and key.kind is not Kind.PATH:
            assert parsed.get(key.section, key.name) is not None, key.where
    LOAD[kind](write(tmp_path, text), {})


@KINDS
def test_the_defaults_in_the_example_are_the_ones_in_force(kind, tmp_path):
    bare = filled(example(kind))
    spelled = bare
    for key in TABLES[kind].keys:
        if key.default is not None and key.section not in ("mysql", "keystone_auth"):
            line = f"{key.name} = {key.default}"
            assert f"\n#{line}\n" in bare
            spelled = spelled.replace(f"\n#{line}\n", f"\n{line}\n")
    path = write(tmp_path, bare)
    implicit = LOAD[kind](path, {})
    assert implicit == LOAD[kind](write(tmp_path, spelled), {})


@KINDS
def test_the_example_explains_every_key(kind):
    text = re.sub(r"\n# ", " ", example(kind))
    for key in TABLES[kind].keys:
        assert describe(key) in text
        assert f"unit: {key.unit}" in describe(key) or not key.unit
        assert key.sample if key.name == ANY else re.search(rf"^#?{key.name} = \S", text, flags=re.M)
        assert key.kind not in (Kind.NUMBER, Kind.INTEGER) or key.unit or key.no_effect, key.where


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        (ini_text(CONTROLLER), "x.conf", "controller"),
        (ini_text(CONTROLLER), "hass_compute.conf", "controller"),
        (ini_text(AGENT), "hass.conf", "agent"),
        (ini_text({"recovery": {"recovery_timeout": "1"}}), "x", "agent"),
        (ini_text({"recovery": {"run_timeout": "1"}}), "x", "controller"),
        ("", "hass.conf", "controller"),
        ("", "hass_compute.conf", "agent"),
        ("", "x.conf", None),
    ],
)
def test_the_kind_is_recognised(tmp_path, text, name, kind):
    assert recognise(write(tmp_path, text, name)) == kind


def test_check_of_the_guides_samples_prints_the_notes():
    for kind, path in GUIDE.items():
        result = run("check", path)
        assert result.exit_code == 0
        assert f"{path}: good ({kind})" in result.stdout
        assert "accepted, no effect" in result.stdout
        assert result.stderr == ""


def test_check_prints_all_problems_and_the_notes(tmp_path):
    changes = {"safety.fence_reads": "1", "log.level": "loud", "schedule.policy": "default"}
    result = run("check", write(tmp_path, ini_text(changed(CONTROLLER, changes))))
    assert result.exit_code == 1
    assert "[safety] fence_reads" in result.stderr
    assert "[log] level" in result.stderr
    assert "2 problems (controller)" in result.stderr
    assert "[schedule] policy: accepted, no effect" in result.stdout


def test_check_of_no_file(tmp_path):
    result = run("check", tmp_path / "hass.conf")
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr


@pytest.mark.parametrize(
    "arguments", [("check",), ("check", "x", "--kind", "y"), ("example",), ("example", "x"), ("nothing",)]
)
def test_wrong_usage(arguments):
    assert run(*arguments).exit_code == 2


def test_a_file_of_no_known_kind_is_wrong_usage(tmp_path):
    result = run("check", write(tmp_path, "", "x.conf"))
    assert result.exit_code == 2
    assert "--kind controller or --kind agent" in result.stderr


def test_kind_can_be_said(tmp_path):
    path = write(tmp_path, ini_text(AGENT), "hass.conf")
    assert run("check", path, "--kind", "controller").exit_code == 1
    assert run("check", path, "--kind", "agent").exit_code == 0


@KINDS
def test_example_prints_the_file(kind):
    result = run("example", kind)
    assert result.exit_code == 0
    assert result.stdout == example(kind)
