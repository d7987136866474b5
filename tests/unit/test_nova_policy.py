"""Rules in Nova's policy file, JSON and YAML: set, put back, and never at the cost of anything else in it."""

import grp
import importlib.util
import json
import os
import pwd
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/nova_policy"
LIVE = "os_compute_api:os-migrate-server:migrate_live"
COLD = "os_compute_api:os-migrate-server:migrate"
SCOPED = "role:ha_operator or rule:context_is_admin"
GUIDE = {
    "os_compute_api:os-extended-server-attributes",
    COLD,
    LIVE,
    "os_compute_api:servers:create:forced_host",
}


def load_module(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"playbooks/library/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


merge = load_module("hass_policy_merge")

# Layouts that people have, each with other rules and (where the format has them) comments to keep.
LAYOUTS = {
    "empty.json": "",
    "braces.json": "{\n\n}\n",
    "short.json": '{"context_is_admin": "role:admin"}',
    "guide.json": '{\n    "context_is_admin": "role:admin",\n    "a:b": [["role:x"], ["rule:y"]]\n}\n',
    "tabs.json": '{\n\t"context_is_admin":\t"role:admin" ,\n\t"LIVE": "rule:admin_api"\n}\n',
    "first.json": '{\n  "LIVE": "",\n  "context_is_admin": "role:admin"\n}',
    "commented.json": '{\n  # ours\n  "context_is_admin": "role:admin",  # all\n  "LIVE": "!"\n}\n',
    "empty.yaml": "",
    "comments.yaml": '# Decides\n#"context_is_admin": "role:admin"\n',
    "plain.yaml": "---\n# ours\ncontext_is_admin: role:admin  # all\n\nLIVE: '!'\n# end\n",
    "no_break.yaml": 'context_is_admin: "role:admin"',
    "indented.yaml": '  "context_is_admin": "role:admin"\n  "LIVE": rule:x\n',
    "folded.yaml": '"LIVE": >-\n  role:x or\n  role:y\n# next\n"a:b": "@"\n',
    "list.yaml": '"LIVE":\n- - role:x\n- - role:y\n\n# next\n"a:b": "@"\n',
    "below.yaml": '"LIVE":\n  "role:x"\n"a:b": "@"\n',
    "nothing.yaml": '"LIVE":  # everybody\n"a:b": "@"\n',
    "flow.yaml": '{context_is_admin: "role:admin", "a:b": "@",}\n',
    "document.yaml": '---\n"a:b": "@"\n...\n',
    "windows.yaml": '"a:b": "@"\r\n"c:d": "!"\r\n',
}
LAYOUTS = {name: text.replace("LIVE", LIVE) for name, text in LAYOUTS.items()}


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run the module on a file of tmp_path; gives what it returned."""

    warnings = []
    monkeypatch.setattr(merge.AnsibleModule, "warn", lambda _module, text: warnings.append(text))

    def runner(name, check=False, **params):
        arguments = {"path": str(tmp_path / name), "memory": str(tmp_path / "memory.json"), **params}
        arguments.update(_ansible_check_mode=check, _ansible_remote_tmp=str(tmp_path))
        me = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}
        arguments = {**me, **arguments}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            merge.main()
        return dict(json.loads(capsys.readouterr().out), warnings=warnings.pop() if warnings else "")

    return runner


def parsed(text):
    return yaml.safe_load(text.replace("\t", " ")) or {}


def comments(text):
    return [line[line.index("#") :] for line in text.splitlines() if "#" in line and merge.MARK not in line]


@pytest.mark.parametrize("name", LAYOUTS)
def test_rules_are_set_all_else_stays_and_the_way_back_is_exact(name, tmp_path, run):
    file = tmp_path / name
    file.write_bytes(LAYOUTS[name].encode())
    rules = {LIVE: SCOPED, COLD: SCOPED}

    foreseen = run(name, check=True, rules=rules)
    assert foreseen["changed"]
    assert file.read_bytes() == LAYOUTS[name].encode()
    assert not (tmp_path / "memory.json").exists()

    done = run(name, rules=rules)
    text = file.read_bytes().decode()
    assert done["changed"]
    assert done["diff"]["after"] == foreseen["diff"]["after"] == text
    assert parsed(text) == {**parsed(LAYOUTS[name]), **rules}
    assert comments(text) == comments(LAYOUTS[name])

    assert not run(name, rules=rules)["changed"]
    assert file.read_bytes().decode() == text

    back = run(name, state="absent")
    assert back["changed"]
    assert set(back["restored"]) == set(rules)
    after = file.read_bytes().decode()
    assert parsed(after) == parsed(LAYOUTS[name])
    assert comments(after) == comments(LAYOUTS[name])
    if name not in ("empty.json", "braces.json", "no_break.yaml"):
        assert after == LAYOUTS[name]
    assert not (tmp_path / "memory.json").exists()
    assert not run(name, state="absent")["changed"]


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("policy.yaml", '"a": "b"\n"c": [\n', "line 3, column 1"),
        ("policy.yaml", '"a": "b"\n\t"c": "d"\n', "line 2, column 1"),
        ("policy.yaml", "- a\n- b\n", "no list of rules with a value"),
        ("policy.yaml", "a: b\n---\nc: d\n", "line 2, column 1"),
        ("policy.json", '{\n "a" "b"\n}', "line 2, column 6: : was expected"),
        ("policy.json", '{"a": "b\n}', "line 1, column 7: this is no JSON"),
        ("policy.json", '{"a": "b"} x', "something follows"),
        ("policy.json", '{"a": "b"', "not the end"),
        ("policy.yaml", f'"{LIVE}": "a"\n"{LIVE}": "b"\n', "is there 2 times"),
        ("policy.yaml", f'a: &x "role:x"\n"{LIVE}": *x\n', "do it by hand"),
    ],
)
def test_what_cannot_be_changed_safely_is_left_alone_with_one_line(name, text, where, tmp_path, run):
    file = tmp_path / name
    file.write_text(text)
    got = run(name, rules={LIVE: SCOPED})
    assert got["failed"]
    assert got["msg"].startswith(f"{file}, ")
    assert where in got["msg"]
    assert got["msg"].endswith("Nothing was changed.")
    assert "\n" not in got["msg"]
    assert file.read_text() == text
    assert not (tmp_path / "memory.json").exists()


def test_a_trailing_comma_is_no_json_but_yaml_which_nova_takes_as_well(tmp_path, run):
    (tmp_path / "policy.json").write_text('{"a": "b",}')
    run("policy.json", rules={LIVE: SCOPED})
    assert parsed((tmp_path / "policy.json").read_text()) == {"a": "b", LIVE: SCOPED}


def test_a_group_that_is_not_there_is_told_before_anything_is_written(tmp_path, run):
    got = run("policy.yaml", rules={LIVE: SCOPED}, group="nobody-has-this")
    assert got["msg"].endswith("there is no group nobody-has-this to give it to. Nothing was changed.")
    assert list(tmp_path.glob("*.yaml")) + list(tmp_path.glob("*.json")) == []
    assert run("policy.yaml", check=True, rules={LIVE: SCOPED}, group="nobody-has-this")["changed"]


def test_bytes_that_are_no_text(tmp_path, run):
    (tmp_path / "policy.yaml").write_bytes(b'"a": "\xff"\n')
    assert "no UTF-8" in run("policy.yaml", rules={LIVE: SCOPED})["msg"]


def test_a_rule_that_was_already_so_is_not_ours_to_take_away(tmp_path, run):
    file = tmp_path / "policy.yaml"
    file.write_text(f'"{LIVE}": "{SCOPED}"\n')
    assert not run("policy.yaml", rules={LIVE: SCOPED})["changed"]
    assert not run("policy.yaml", state="absent")["changed"]
    assert parsed(file.read_text()) == {LIVE: SCOPED}


def test_what_somebody_changed_since_stays_when_we_go(tmp_path, run):
    file = tmp_path / "policy.yaml"
    run("policy.yaml", rules={LIVE: SCOPED, COLD: SCOPED})
    file.write_text(file.read_text().replace(f'"{LIVE}": "{SCOPED}"', f'"{LIVE}": "!"'))
    back = run("policy.yaml", state="absent")
    assert (back["kept"], back["restored"]) == ([LIVE], [COLD])
    assert parsed(file.read_text()) == {LIVE: "!"}


def test_another_value_of_ours_keeps_the_first_memory(tmp_path, run):
    file = tmp_path / "policy.yaml"
    file.write_text(f"\"{LIVE}\": 'role:first'\n")
    run("policy.yaml", rules={LIVE: SCOPED})
    run("policy.yaml", rules={LIVE: ""})
    assert parsed(file.read_text()) == {LIVE: ""}
    run("policy.yaml", state="absent")
    assert file.read_text() == f"\"{LIVE}\": 'role:first'\n"


def test_a_rule_no_longer_wanted_is_put_back(tmp_path, run):
    file = tmp_path / "policy.yaml"
    file.write_text(f'"{COLD}": "!"\n')
    run("policy.yaml", rules={LIVE: SCOPED, COLD: SCOPED})
    again = run("policy.yaml", rules={LIVE: SCOPED})
    assert again["restored"] == [COLD]
    assert parsed(file.read_text()) == {LIVE: SCOPED, COLD: "!"}


def test_after_json_became_yaml_our_rules_are_still_known(tmp_path, run):
    old, new = tmp_path / "policy.json", tmp_path / "policy.yaml"
    run("policy.json", rules={LIVE: SCOPED})
    new.write_text(yaml.safe_dump(json.loads(old.read_text())))
    old.unlink()
    assert not run("policy.yaml", rules={LIVE: SCOPED})["changed"]
    run("policy.yaml", state="absent")
    assert parsed(new.read_text()) == {}


def test_the_file_that_nova_reads_is_the_one_that_is_edited(tmp_path, run):
    old, new = tmp_path / "policy.json", tmp_path / "policy.yaml"
    old.write_text('{"a": "b"}')
    got = run("policy.yaml", rules={LIVE: SCOPED}, fallback=str(old), ignored=str(old))
    assert got["path"] == str(old)
    assert "as there is no" in got["warnings"]
    assert not new.exists()
    assert json.loads(old.read_text()) == {"a": "b", LIVE: SCOPED}

    new.write_text("")
    got = run("policy.yaml", rules={LIVE: SCOPED}, fallback=str(old), ignored=str(old))
    assert got["path"] == str(new)
    assert "but the service reads" in got["warnings"]


def test_a_directory_whose_rules_win_must_not_say_otherwise(tmp_path, run):
    late = tmp_path / "policy.d"
    late.mkdir()
    (late / "00_default.yaml").write_text("# nothing\n")
    (late / "10.yaml").write_text(f'"{LIVE}": "{SCOPED}"\n')
    assert run("policy.yaml", rules={LIVE: SCOPED}, dirs=[str(late), "/nowhere"])["changed"]
    (late / "20.json").write_text(json.dumps({COLD: "!"}))
    got = run("policy.yaml", rules={LIVE: SCOPED, COLD: SCOPED}, dirs=[str(late)])
    assert got["failed"]
    assert f'20.json says "!" of the rule {COLD}, and wins' in got["msg"]
    assert parsed((tmp_path / "policy.yaml").read_text()) == {LIVE: SCOPED}


def validator(tmp_path, words):
    """A stand-in that complains of what is called strange in the file that its service is configured with."""
    program = tmp_path / "oslopolicy-validator"
    program.write_text(
        "#!/bin/sh\nf=$(sed -n 's/policy_file = //p' ~/.nova/nova.conf)\n"
        f"grep -o 'strange[0-9]*' \"$f\" | sed 's/^/{words}: /'\ngrep -q strange \"$f\" && exit 1 || exit 0\n"
    )
    program.chmod(0o755)
    return str(program)


def test_the_validator_refuses_what_we_bring_but_not_what_was_there(tmp_path, run):
    file = tmp_path / "policy.yaml"
    file.write_text('"strange1": "@"\n')
    program = validator(tmp_path, "Unknown rule found in policy file")
    got = run("policy.yaml", rules={"strange2": "@"}, validator=program)
    assert "oslopolicy-validator says: Unknown rule found in policy file: strange2. Nothing" in got["msg"]
    assert file.read_text() == '"strange1": "@"\n'
    assert run("policy.yaml", rules={LIVE: "@"}, validator=program)["changed"]


def test_a_validator_that_does_not_work_is_a_warning(tmp_path, run):
    (tmp_path / "policy.yaml").write_text("")
    got = run("policy.yaml", rules={"strange2": "@"}, validator=validator(tmp_path, "Traceback"))
    assert got["changed"]
    assert "could not judge" in got["warnings"]
    assert run("policy.yaml", rules={LIVE: "@"}, validator="/nowhere/oslopolicy-validator")["changed"]


def test_a_memory_that_is_not_ours(tmp_path, run):
    (tmp_path / "memory.json").write_text("[]")
    got = run("policy.yaml", rules={LIVE: SCOPED})
    assert got["msg"].startswith(f"{tmp_path / 'memory.json'}, ")
    assert not (tmp_path / "policy.yaml").exists()


# ------------------------------------------------------- the role's data, as Ansible would render it


def rendered(release, platform, conf=(None, None), **given):
    """A function that gives a variable of the role, for a release on a platform, as Ansible would.
    `conf` is what nova.conf says of policy_file and policy_dirs."""
    loader = DataLoader()
    variables = {}
    for path in ("defaults/main.yml", "vars/main.yml", f"vars/{platform}.yml"):
        variables.update(loader.load_from_file(str(ROLE / path), trusted_as_template=True))
    options = [{"current": value} for value in conf]
    variables.update(nova_policy_release=release, __nova_policy_conf={"options": options}, **given)
    templar = Templar(loader=loader, variables=variables)
    return lambda name: templar.template(trust_as_template("{{ " + name + " }}"))


@pytest.mark.parametrize(
    ("release", "platform", "file", "more"),
    [
        ("queens", "ubuntu-16.04", "policy.json", set()),
        ("zed", "debian-12", "policy.yaml", {"compute:servers:create:requested_destination"}),
        (
            "epoxy",
            "debian-13",
            "policy.yaml",
            {"compute:servers:create:requested_destination", "os_compute_api:os-migrate-server:migrate:host"},
        ),
    ],
)
def test_file_and_rules_by_release(release, platform, file, more):
    get = rendered(release, platform)
    assert get("__nova_policy_path") == f"/etc/nova/{file}"
    assert get("__nova_policy_rules") == dict.fromkeys(GUIDE | more, SCOPED)
    assert get("__nova_policy_dir") == "/etc/nova/policy.d"
    get = rendered(release, platform, nova_policy_open_to_everyone=True)
    assert get("__nova_policy_rules") == dict.fromkeys(GUIDE | more, "")
    get = rendered(release, platform, nova_policy_role="op")
    assert get("__nova_policy_rules")[LIVE] == "role:op or rule:context_is_admin"


def answer(*lines, **more):
    return {"stdout": "\n".join(lines), "stdout_lines": list(lines), **more}


def test_what_nova_says_is_judged_rule_by_rule():
    rules = sorted(rendered("zed", "debian-12")("__nova_policy_rules"))
    other = "os_compute_api:servers:index"
    get = rendered(
        "zed",
        "debian-12",
        __nova_policy_answer=answer(other, *rules[1:], rules[0] + ":x"),
        __nova_policy_others_answer=answer(other, LIVE),
    )
    assert get("__nova_policy_refused") == [rules[0]]
    assert get("__nova_policy_others_allowed") == [LIVE]
    assert get("__nova_policy_no_answer") == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (answer("No rules matched or allowed", stderr_lines=[]), "No rules matched or allowed"),
        (answer(stderr_lines=["Traceback", "ValueError: no YAML"]), "ValueError: no YAML"),
        ({"msg": "No such file or directory: timeout"}, "No such file or directory: timeout"),
        ({}, "nothing"),
    ],
)
def test_no_answer_of_nova_is_told_as_such(given, words):
    get = rendered("zed", "debian-12", __nova_policy_others_answer=given)
    assert get("__nova_policy_no_answer") == f"nova-policy says: {words}"


@pytest.mark.parametrize(
    ("conf", "given", "path", "directory"),
    [
        (("/srv/nova/rules.yaml", "/srv/d"), {}, "/srv/nova/rules.yaml", "/srv/d"),
        (("rules.yaml", "late"), {}, "/etc/nova/rules.yaml", "/etc/nova/late"),
        (("rules.yaml", None), {"nova_policy_file": "/x/y.yaml"}, "/x/y.yaml", "/etc/nova/policy.d"),
    ],
)
def test_nova_conf_has_its_say(conf, given, path, directory):
    get = rendered("zed", "debian-12", conf, **given)
    assert (get("__nova_policy_path"), get("__nova_policy_dir")) == (path, directory)
    assert (get("__nova_policy_fallback"), get("__nova_policy_ignored")) == ("", "")


def test_what_lies_beside_the_policy_file_counts_where_nova_was_not_told():
    get = rendered("zed", "debian-12")
    assert get("__nova_policy_fallback") == get("__nova_policy_ignored") == "/etc/nova/policy.json"
    get = rendered("queens", "ubuntu-16.04")
    assert (get("__nova_policy_fallback"), get("__nova_policy_ignored")) == ("", "/etc/nova/policy.yaml")


def test_the_guides_queens_on_ubuntu_from_its_data_to_its_file(tmp_path, run):
    """The policy.json of the guide, open to everybody as there, and scoped as it is without being asked."""
    get = rendered("queens", "ubuntu-16.04", nova_policy_open_to_everyone=True)
    file = tmp_path / Path(get("__nova_policy_path")).name
    file.write_text("{\n    \n}\n")
    run(file.name, rules=get("__nova_policy_rules"))
    assert json.loads(file.read_text()) == dict.fromkeys(GUIDE, "")
    assert file.read_text().splitlines()[1] == '    "os_compute_api:os-extended-server-attributes": "",'

    run(file.name, rules=rendered("queens", "ubuntu-16.04")("__nova_policy_rules"))
    assert json.loads(file.read_text()) == dict.fromkeys(GUIDE, SCOPED)


def test_a_new_file_is_not_for_everybody_to_read(tmp_path, run):
    run("policy.yaml", rules={LIVE: SCOPED})
    assert (tmp_path / "policy.yaml").stat().st_mode & 0o777 == 0o640
    (tmp_path / "policy.yaml").chmod(0o644)
    run("policy.yaml", rules={LIVE: ""})
    assert (tmp_path / "policy.yaml").stat().st_mode & 0o777 == 0o644
