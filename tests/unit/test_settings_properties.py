"""Whatever is in a file: settings or SettingsError, and never a password in a message."""

from __future__ import annotations

import random
import string
import tempfile
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from settings_files import AGENT, CONTROLLER, DATA, GUIDE, changed, controller, ini_text, write

from hass_runtime.settings import SettingsError, convert, ini, load_agent, load_controller
from hass_runtime.settings.example import TABLES
from hass_runtime.settings.keys import ANY, PLACEHOLDERS

# The machine may be busy: how long an example takes says nothing.
relaxed = hypothesis_settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
LOADERS = (load_controller, load_agent)
SECRET = "S3cr3t-"

# What a line of a file can hold: no control characters, nothing that strip() takes off either end.
one_line = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]) | st.sampled_from(",%=#;\"' []{}()$\\"),
    min_size=1,
    max_size=40,
).filter(lambda text: text == text.strip() and text not in PLACEHOLDERS)
host_names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,20}[A-Za-z0-9])?", fullmatch=True).filter(
    lambda name: name not in PLACEHOLDERS and name != "vendor"
)


def known_names():
    sections, names = set(), set()
    for table in TABLES.values():
        for key in table.keys:
            sections.add(key.section)
            names.add("compute1" if key.name == ANY else key.name)
    return [*sorted(sections), "iii", "nonsense"], [*sorted(names), "nonsense"]


SECTIONS, NAMES = known_names()
AWKWARD = ["1", "-1", "0", "2.5", "1e999", "nan", "true", "[", "['a", "('a',)", "a:b:c", "[::1]:x", "/x"]
texts = st.text(max_size=60) | st.sampled_from([*AWKWARD, "http://[", "http://a:x", "CHANGE_ME"])
near_files = st.dictionaries(
    st.sampled_from(SECTIONS), st.dictionaries(st.sampled_from(NAMES), texts, max_size=6), max_size=8
)


def found_in(load, path):
    """The problems, () for none; anything but SettingsError that is raised fails the test."""
    try:
        load(path, {})
    except SettingsError as error:
        return error.problems
    return ()


def outcome(load, text):
    """ "good" or "problems"."""
    with tempfile.TemporaryDirectory() as directory:
        found = found_in(load, write(directory, text))
    assert all(problem and "\n" not in problem for problem in found)
    return "problems" if found else "good"


@relaxed
@given(st.text())
@example("[ipmi_user]\ncompute1 =\n")
@example("[polling]\npolling_key_file = /dev/null\n")
def test_any_text_loads_or_has_problems(text):
    for load in LOADERS:
        outcome(load, text)


@relaxed
@given(near_files)
def test_any_values_load_or_have_problems(sections):
    for load in LOADERS:
        outcome(load, ini_text(sections))


@relaxed
@given(st.binary(max_size=200))
def test_any_bytes_load_or_have_problems(raw):
    with tempfile.TemporaryDirectory() as directory:
        path = write(directory, "")
        path.write_bytes(raw)
        for load in LOADERS:
            assert all(str(path) in problem for problem in found_in(load, path))


@relaxed
@given(st.dictionaries(host_names, one_line, min_size=1, max_size=6))
def test_names_and_values_of_a_section_come_back_as_they_were(values):
    parsed = ini.parse(ini_text({"ipmi_user": values}))
    assert parsed.problems == ()
    assert {name: entry.value for name, entry in parsed.sections["ipmi_user"].items()} == values


@relaxed
@given(one_line, one_line, one_line)
@example("a,b%c=d#e\"f' g", "%(x)s", "p@ss/w:rd?#[]")
def test_passwords_come_back_as_they_were(admin, bmc, mysql):
    with tempfile.TemporaryDirectory() as directory:
        settings = controller(
            directory,
            {
                "openstack.openstack_admin_password": admin,
                "ipmi_user.compute1": f"root,{bmc}",
                "mysql.mysql_password": mysql,
            },
        )
    assert settings.openstack.password == admin
    assert settings.hosts[0].bmc.password == bmc
    assert unquote(urlsplit(settings.database_url).password or "") == mysql


@relaxed
@given(one_line)
def test_sqlalchemy_finds_the_same_password_in_the_url(password):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    with tempfile.TemporaryDirectory() as directory:
        settings = controller(directory, {"mysql.mysql_password": password})
    url = sqlalchemy.make_url(settings.database_url)
    assert (url.password, url.host, url.port, url.database) == (password, "controller", 3306, "hass")


@relaxed
@given(st.lists(host_names, min_size=1, max_size=6, unique=True))
def test_host_names_come_back_as_they_were(names):
    with tempfile.TemporaryDirectory() as directory:
        settings = controller(directory, {"cluster.hosts": ", ".join(names), **without_ipmi()})
    assert [host.name for host in settings.hosts] == names


def without_ipmi():
    return {f"{section}.{name}": None for section in ("ipmi", "ipmi_user") for name in CONTROLLER[section]}


SECRET_KEYS = {
    "openstack.openstack_admin_password": SECRET + "admin",
    "ipmi_user.compute1": f"root,{SECRET}bmc",
    "ipmi_user.compute2": f"root,{SECRET}bmc2",
    "mysql.mysql_password": SECRET + "mysql",
    "detection.polling_key": SECRET + "key",
}


@relaxed
@given(st.randoms(use_true_random=False))
def test_a_damaged_file_never_shows_a_password(rng: random.Random):
    lines = ini_text(changed(CONTROLLER, SECRET_KEYS)).splitlines()
    for _ in range(rng.randint(0, 4)):
        place = rng.randrange(len(lines))
        damage = rng.randrange(5)
        if damage == 0:
            lines[place] = " " + lines[place]
        elif damage == 1:
            lines.insert(place, lines[rng.randrange(len(lines))])
        elif damage == 2:
            lines[place] = lines[place].replace(" = ", " ", 1)
        elif damage == 3:
            del lines[place]
        else:
            lines[place] = lines[place].replace(" = ", " = \x07", 1)
        lines = lines or ["#"]
    with tempfile.TemporaryDirectory() as directory:
        path = write(directory, "\n".join(lines))
        try:
            settings = load_controller(path, {})
        except SettingsError as error:
            said = repr(error) + "".join(error.problems + error.notes)
        else:
            said = repr(settings) + str(settings)
    assert SECRET not in said


CONVERTERS = (
    *(convert.integer, convert.number, convert.flag, convert.address, convert.port, convert.url),
    *(convert.names, convert.microversion, convert.ping_command, convert.host_name, convert.absolute_path),
    lambda text: convert.address_and_port(text, 623),
)


@relaxed
@given(st.text(string.printable, max_size=40) | texts)
def test_converters_return_or_raise_value_error(text):
    for converter in CONVERTERS:
        try:
            reason = "returned" if converter(text) is not None else ""
        except ValueError as error:
            reason = str(error)
        assert reason


@pytest.mark.parametrize("path", [*GUIDE.values()])
def test_the_guides_samples_survive_the_loss_of_any_line(path):
    load = load_agent if "compute" in path.name else load_controller
    lines = path.read_text(encoding="utf-8").splitlines()
    outcomes = {outcome(load, "\n".join(lines[:i] + lines[i + 1 :])) for i in range(len(lines))}
    assert "good" in outcomes


def test_the_base_files_of_these_tests_are_good():
    assert DATA.is_dir()
    assert outcome(load_controller, ini_text(CONTROLLER)) == "good"
    assert outcome(load_agent, ini_text(AGENT)) == "good"
