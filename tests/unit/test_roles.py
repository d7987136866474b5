"""What every role keeps in step: defaults, options, README, guide, platforms, example inventory."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jinja2
import jinja2.meta
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())
role = pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
PLATFORM_FILE = re.compile(r"(debian|ubuntu)-[\d.]+\.yml\Z")


def load(path, missing=None):
    return yaml.safe_load(path.read_text()) if path.exists() else missing


def defaults_of(role):
    return load(role / "defaults" / "main.yml", {}) or {}


def specs_of(role):
    return load(role / "meta" / "argument_specs.yml")["argument_specs"]


def guide_of(role):
    return load(role / "meta" / "guide.yml")["steps"] or []


def platform_files(role):
    return sorted(path for path in (role / "vars").glob("*.yml") if PLATFORM_FILE.search(path.name))


def yaml_files(role, *folders):
    return [path for folder in folders for path in sorted((role / folder).rglob("*.yml"))]


def tasks_in(node):
    """Every task of a tasks file, those inside of blocks as well."""
    for task in node or []:
        yield task
        for inside in ("block", "rescue", "always"):
            yield from tasks_in(task.get(inside))


def tasks_of(role, *folders):
    for path in yaml_files(role, *(folders or ("tasks", "handlers"))):
        yield from tasks_in(load(path))


# ------------------------------------------------------------------------------------ what there is


@role
def test_a_role_is_complete(role):
    for path in (
        "defaults/main.yml",
        "meta/main.yml",
        "meta/argument_specs.yml",
        "meta/guide.yml",
        "tasks/main.yml",
        "tasks/verify.yml",
        "tasks/uninstall.yml",
        "handlers/main.yml",
        "README.md",
    ):
        assert (role / path).is_file(), path


# What builds is no host of the cloud, and Ubuntu 16.04 has none of the tools.
BUILD_HOSTS = {"guest_image"}


@role
def test_its_meta_says_what_it_is_and_where_it_runs(role):
    meta = load(role / "meta" / "main.yml")
    info = meta["galaxy_info"]
    assert meta["dependencies"] == []
    assert info["author"] == "HASS"
    assert info["license"] == "Apache-2.0"
    assert info["description"]
    assert info["min_ansible_version"] == "2.15"
    platforms = {(p["name"], v) for p in info["platforms"] for v in p["versions"]}
    assert platforms >= {("Debian", "bookworm"), ("Debian", "trixie")}
    assert (("Ubuntu", "xenial") in platforms) is (role.name not in BUILD_HOSTS)


@role
def test_its_options_are_its_defaults(role):
    specs = specs_of(role)
    assert {"main", "verify", "uninstall"} <= set(specs)
    options = specs["main"].get("options", {})
    required = {name for name, option in options.items() if option.get("required")}
    assert set(options) - required == set(defaults_of(role)) - required


@role
def test_the_defaults_in_its_options_are_its_defaults(role):
    """Where both say one; a template is said in the defaults only."""
    defaults = defaults_of(role)
    for name, option in specs_of(role)["main"].get("options", {}).items():
        if "default" in option and "{{" not in str(defaults[name]) and "{{" not in str(option["default"]):
            # A number may be a string, so that it can be a template, too.
            assert str(option["default"]) == str(defaults[name]), name


@role
def test_every_option_is_described_and_every_default_is_commented(role):
    for name, option in specs_of(role)["main"].get("options", {}).items():
        assert option.get("description"), name
        assert option.get("type"), name
    text = (role / "defaults" / "main.yml").read_text()
    if defaults_of(role):
        first = text.split("---", 1)[1].strip().splitlines()[0]
        assert first.startswith("#"), "the first variable has no comment"


@role
def test_its_variables_have_its_name(role):
    for name in defaults_of(role):
        assert name.startswith(role.name + "_"), name
    for path in yaml_files(role, "vars"):
        for name in load(path) or {}:
            assert name.startswith("__" + role.name + "_"), f"{path.name}: {name}"


def readme_rows(role):
    """variable -> the rest of its row, of all tables in the README. A row may name several variables."""
    rows = {}
    for line in (role / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for name in re.findall(r"`(\w+)`", cells[0]) if cells else []:
            rows[name] = cells[1:]
    return rows


def spelt(value):
    """A default as a README may spell it."""
    if isinstance(value, str):
        return {value, f'"{value}"', f"'{value}'"}
    if isinstance(value, bool):
        return {str(value).lower()}
    return {str(value), re.sub(r"['\"]", "", str(value))}


@role
def test_its_readme_has_every_variable_with_its_default(role):
    rows = readme_rows(role)
    for name, value in defaults_of(role).items():
        assert name in rows, f"{name} is not in a table of the README"
        assert rows[name], name
        if isinstance(value, (str, int, bool)) and "{{" not in str(value) and "\n" not in str(value):
            said = rows[name][0].replace("`", "")
            assert any(one in said or (said in ("", '""', "empty") and not value) for one in spelt(value)), (
                f"{name}: the README says {said!r}, the default is {value!r}"
            )


# ------------------------------------------------------------------------------------ the guide


def raw_names(role):
    """Names of tasks as they stand in the files."""
    return {task["name"] for task in tasks_of(role) if "name" in task}


@role
def test_the_tasks_of_its_guide_exist(role):
    names = raw_names(role)
    for entry in guide_of(role):
        assert set(entry) <= {"step", "tasks", "verified_by", "instead"}, entry
        assert isinstance(entry["step"], str), f"the step {entry['step']} has to be quoted"
        for task in entry.get("tasks") or []:
            assert task in names, f"step {entry['step']}: no task is called {task!r}"


@role
def test_the_checks_of_its_guide_exist(role):
    # Put together from data in some roles: to the letter, anywhere in what verify.yml includes or reads.
    text = "".join(path.read_text() for path in yaml_files(role, "tasks", "vars"))
    for entry in guide_of(role):
        for check in entry.get("verified_by") or []:
            assert check in text, f"step {entry['step']}: no check is called {check!r}"


@role
def test_what_replaces_a_step_says_by_which_variable_it_comes_back(role):
    for entry in guide_of(role):
        for name in re.findall(rf"\b{role.name}_\w+", entry.get("instead") or ""):
            assert name in defaults_of(role), f"step {entry['step']}: {name} is no variable of the role"


@role
def test_several_tasks_with_checks_do_not_overwrite_each_other(role):
    seen = set()
    for task in tasks_of(role):
        if "hass_check" not in task:
            continue
        arguments = task["hass_check"]
        assert arguments["report"] == role.name
        part = arguments.get("part")
        assert (arguments["report"], part) not in seen, f"{task['name']}: needs a part of its own"
        seen.add((arguments["report"], part))
        if "loop" in task:
            assert part, f"{task['name']}: {part!r} has to differ for each item of the loop"
            assert "{{" in part, f"{task['name']}: {part!r} has to differ for each item of the loop"


# ------------------------------------------------------------------------------------ parameters


@role
def test_it_takes_parameters_instead_of_groups_and_injected_facts(role):
    for path in yaml_files(role, "tasks", "handlers", "vars", "defaults") + sorted(role.glob("templates/*")):
        code = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
        assert not re.search(r"\bgroups\s*[\[.]", code), f"{path.name} reads groups"
        assert not re.search(r"\bgroup_names\b", code), f"{path.name} reads group_names"
        injected = re.findall(
            r"\bansible_(?:distribution|os_family|hostname|fqdn|nodename|default_ipv4|kernel|architecture|"
            r"service_mgr|python_version|all_ipv4_addresses|devices|mounts|user_id|env|interfaces|system|machine)\w*",
            code,
        )
        assert not injected, f"{path.name} uses {injected}: facts are ansible_facts.NAME"


# What Ansible and Jinja themselves know.
GLOBALS = {
    "ansible_facts",
    "ansible_check_mode",
    "ansible_diff_mode",
    "ansible_playbook_python",
    "ansible_version",
    "ansible_failed_result",
    "ansible_failed_task",
    "ansible_play_hosts",
    "ansible_play_hosts_all",
    "ansible_play_batch",
    "ansible_connection",
    "ansible_host",
    "ansible_port",
    "ansible_user",
    "ansible_password",
    "ansible_ssh_pass",
    "ansible_ssh_password",
    "ansible_become",
    "ansible_become_password",
    "ansible_python_interpreter",
    "ansible_loop",
    "ansible_search_path",
    "ansible_limit",
    "inventory_hostname",
    "inventory_hostname_short",
    "hostvars",
    "playbook_dir",
    "role_path",
    "role_name",
    "omit",
    "item",
    "lookup",
    "query",
    "q",
    "now",
    "undef",
    "range",
    "dict",
    "lipsum",
    "cycler",
    "joiner",
    "namespace",
    "loop",
    "environment",
    "ansible_managed",
    "template_path",
    "vars",
}
JINJA = jinja2.Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"], autoescape=True)


class Anything(dict):
    """A table of filters and tests in which every name is found: the real ones are Ansible's."""

    def __contains__(self, name):
        return True

    def __missing__(self, name):
        return lambda *_, **__: None

    def get(self, name, default=None):
        return self[name]


JINJA.filters = Anything(JINJA.filters)
JINJA.tests = Anything(JINJA.tests)


def names_in(text):
    """The variables that a template needs from outside."""
    return jinja2.meta.find_undeclared_variables(JINJA.parse(text))


def strings(node):
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from strings(key)
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)


EXPRESSIONS = ("when", "changed_when", "failed_when", "until", "that", "var")


def expressions(node):
    """Values of keywords that are expressions without braces."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in EXPRESSIONS:
                found = value if isinstance(value, list) else [value]
                # {{ braces }} in them are strings() already.
                yield from (text for text in found if isinstance(text, str) and "{{" not in text)
            yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


def used_in(node):
    used = set()
    for text in strings(node):
        if "{{" in text or "{%" in text:
            used |= names_in(text)
    for text in expressions(node):
        used |= names_in("{{ " + text + " }}")
    return used


def made_by(task):
    """Variables that a task makes: by register, set_fact, vars, or as its loop's."""
    if "register" in task:
        yield task["register"]
    for key in ("ansible.builtin.set_fact", "vars"):
        yield from task.get(key) or {}
    control = task.get("loop_control") or {}
    yield from (control[key] for key in ("loop_var", "index_var") if key in control)


@role
def test_its_variables_come_from_somewhere(role):
    options = {name for spec in specs_of(role).values() for name in spec.get("options", {})}
    known = GLOBALS | set(defaults_of(role)) | options
    for path in yaml_files(role, "vars"):
        known |= set(load(path) or {})
    for task in tasks_of(role):
        known |= set(made_by(task))
    for path in yaml_files(role, "tasks", "handlers", "vars", "defaults"):
        missing = used_in(load(path)) - known
        assert not missing, f"{path.relative_to(role)}: {sorted(missing)}"
    for path in sorted(role.glob("templates/**/*")):
        if path.is_file():
            missing = names_in(path.read_text()) - known
            assert not missing, f"{path.relative_to(role)}: {sorted(missing)}"


# ------------------------------------------------------------------------------------ platforms


@role
def test_its_platforms_have_the_same_names(role):
    files = platform_files(role)
    if not files:
        platform = role / "tasks" / "platform.yml"
        assert not platform.exists() or "first_found" not in platform.read_text(), (
            "platform.yml reads vars that are not there"
        )
        return
    names = {path.name for path in files}
    assert names >= {"debian-12.yml", "debian-13.yml"}
    assert ("ubuntu-16.04.yml" in names) is (role.name not in BUILD_HOSTS)
    keys = {path.name: set(load(path) or {}) for path in files}
    every = set().union(*keys.values())
    for name, found in keys.items():
        assert found == every, f"{name} lacks {sorted(every - found)}"


@role
def test_everything_it_knows_of_a_platform_is_used(role):
    text = "".join(
        path.read_text(errors="replace")
        for folder in ("tasks", "handlers", "templates", "defaults", "vars")
        for path in sorted((role / folder).rglob("*"))
        if path.is_file() and not PLATFORM_FILE.search(path.name)
    )
    own = "".join(path.read_text() for path in platform_files(role))
    for path in platform_files(role):
        for name in load(path) or {}:
            # In another variable of the same platform is a use, too: then it stands there once more.
            uses = len(re.findall(rf"\b{name}\b", text)) + len(re.findall(rf"\b{name}\b(?!\s*:)", own))
            assert uses, f"{path.name}: {name} is used nowhere"


# ------------------------------------------------------------------------------------ the example inventory

spec = importlib.util.spec_from_file_location("inventory_example", ROOT / "docs" / "inventory_example.py")
inventory_example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(inventory_example)


@pytest.mark.parametrize("group", sorted(inventory_example.FILES))
def test_the_example_inventory_is_up_to_date(group):
    text = inventory_example.path_of(group).read_text()
    assert text == inventory_example.example(group, text), "run: make docs"


def test_the_example_inventory_has_every_variable_of_every_role():
    listed = [name for roles in inventory_example.FILES.values() for name in roles]
    assert sorted(listed) == [path.name for path in ROLES]
    text = "\n".join(inventory_example.path_of(group).read_text() for group in inventory_example.FILES)
    for path in ROLES:
        for name in defaults_of(path):
            assert re.search(rf"\b{name}\b", text), name


def test_what_is_uncommented_in_the_example_is_the_default():
    """Uncommenting everything changes nothing."""
    for roles in inventory_example.FILES.values():
        given = inventory_example.given_by_playbooks()
        for name in roles:
            lines = "\n".join(inventory_example.knobs(name, given))
            for variable, value in defaults_of(ROOT / "roles" / name).items():
                if variable in given or not isinstance(value, (str, int, bool)):
                    continue
                if "\n" in str(value):
                    continue
                line = next(ln for ln in lines.splitlines() if ln.startswith(f"#{variable}:"))
                if not line.rstrip().endswith((">-", "|", ">")):
                    assert yaml.safe_load(line[1:])[variable] == value


def check_inventory(folder):
    """What inventory_check says of it; nothing when it is right."""
    play = folder.parent / "play.yml"
    task = {"ansible.builtin.import_role": {"name": "inventory_check"}, "run_once": True}
    play.write_text(yaml.safe_dump([{"hosts": "localhost:all", "gather_facts": False, "tasks": [task]}]))
    run = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", folder, play],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = run.stdout + run.stderr
    return [] if run.returncode == 0 else re.findall(r"^  - (.*)$", said, re.M) or [said]


def test_the_example_inventory_is_refused_until_it_is_filled_in(tmp_path):
    mine = tmp_path / "mycloud"
    shutil.copytree(ROOT / "inventory" / "example", mine)
    assert any("hass_polling_key is missing" in line for line in check_inventory(mine))
    for example in mine.rglob("vault.yml.example"):
        example.rename(example.with_suffix(""))
    refused = check_inventory(mine)
    assert refused
    assert all("placeholder CHANGE_ME" in line for line in refused), refused
    for path in mine.rglob("*.yml"):
        path.write_text(path.read_text().replace(": CHANGE_ME", ": 0a1b2c3d4e5f6g7h"))
    assert check_inventory(mine) == []
