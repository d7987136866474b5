"""Options of OpenStack's INI files: read as its services do, compared, and the way back."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("hass_ini_info", ROOT / "playbooks/library/hass_ini_info.py")
info = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(info)

CINDER = """\
[DEFAULT]
# allowed_direct_url_schemes = https
allowed_direct_url_schemes = file, https
transport_url = rabbit://openstack:SECRET@controller
enabled_backends=lvm,
  nfs
debug : "true"
debug = no

[lvm]
image_upload_use_cinder_backend = False
"""


@pytest.fixture
def run(tmp_path, capsys):
    def runner(*options, **params):
        arguments = {"path": str(tmp_path / "a.conf"), "options": list(options), **params}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            info.main()
        return json.loads(capsys.readouterr().out)

    return runner


def option(name, section="DEFAULT", **more):
    return {"section": section, "option": name, **more}


def by_name(result):
    return {row["option"]: row for row in result["options"]}


def test_it_reads_as_oslo_config_does(tmp_path, run):
    (tmp_path / "a.conf").write_text(CINDER)
    rows = by_name(run(option("debug"), option("enabled_backends"), option("nothing"), option("x", "none")))
    assert rows["debug"]["current"] == "no"  # the last one counts
    assert rows["enabled_backends"]["current"] == "lvm,\nnfs"
    assert rows["nothing"]["current"] is rows["x"]["current"] is None
    assert not any(row["differs"] for row in rows.values())


def test_nothing_that_nobody_asked_for_is_told(tmp_path, run):
    (tmp_path / "a.conf").write_text(CINDER)
    assert "SECRET" not in json.dumps(run(option("debug", value="yes"))["options"])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (CINDER, "file,https,cinder"),
        ("[DEFAULT]\n", "cinder"),
        ("[DEFAULT]\nallowed_direct_url_schemes =\n", "cinder"),
        ("[DEFAULT]\nallowed_direct_url_schemes = cinder , file\n", None),
    ],
)
def test_a_word_is_added_to_a_list(text, wanted, tmp_path, run):
    (tmp_path / "a.conf").write_text(text)
    row = run(option("allowed_direct_url_schemes", add="cinder"))["options"][0]
    assert (row["differs"], row["value"] if row["differs"] else None) == (wanted is not None, wanted)


def test_a_file_that_is_not_there(run):
    got = run(option("debug", value="yes"))
    assert not got["exists"]
    assert got["options"][0]["differs"]


def test_files_that_are_read_later_win(tmp_path, run):
    (tmp_path / "a.conf").write_text("[libvirt]\ncpu_mode = none\n")
    (tmp_path / "late.conf").write_text("[libvirt]\ncpu_mode = host-model\nvirt_type = kvm\n")
    others = [str(tmp_path / "l*.conf"), str(tmp_path / "missing")]
    rows = by_name(
        run(
            option("cpu_mode", "libvirt", value="custom"),
            option("virt_type", "libvirt", value="kvm"),
            others=others,
        )
    )
    assert rows["cpu_mode"]["wins"] == f"{tmp_path}/late.conf says host-model"
    assert (
        rows["cpu_mode"]["problem"] == f"[libvirt] cpu_mode: {tmp_path}/late.conf says host-model, and wins"
    )
    assert rows["virt_type"]["wins"] == ""
    assert by_name(run(option("cpu_mode", "libvirt"), others=others))["cpu_mode"]["current"] == "host-model"


def test_what_is_not_as_wanted_in_words(tmp_path, run):
    (tmp_path / "a.conf").write_text(CINDER)
    rows = by_name(
        run(
            option("debug", value="yes"),
            option("new", value="1"),
            option("allowed_direct_url_schemes", add="cinder"),
            option("image_upload_use_cinder_backend", "lvm", value="False"),
        )
    )
    assert [row["problem"] for row in rows.values()] == [
        "[DEFAULT] debug is no, not yes",
        "[DEFAULT] new is not set",
        "[DEFAULT] allowed_direct_url_schemes lacks cinder",
        "",
    ]


def written(text, rows):
    """What the roles do with community.general.ini_file, in short."""
    sections = {name: dict(options) for name, options in info.parse(text).items()}
    for row in rows:
        sections.setdefault(row["section"], {})[row["option"]] = [row["value"]]
        if row.get("state") == "absent":
            del sections[row["section"]][row["option"]]
    lines = []
    for name, options in sections.items():
        lines += [f"[{name}]", *(f"{key} = {values[-1]}" for key, values in options.items())]
    return "\n".join(lines) + "\n"


def test_there_and_back(tmp_path, run):
    file, memory = tmp_path / "a.conf", tmp_path / "memory.json"
    file.write_text("[DEFAULT]\nallowed_direct_url_schemes = file\nold = 1\n")
    options = [
        option("allowed_direct_url_schemes", add="cinder"),
        option("old", value="2"),
        option("new", value="3"),
        option("made", "backend_defaults", value="True"),
    ]
    there = run(*options, memory=str(memory))
    memory.write_text(json.dumps(there["memory"]))
    file.write_text(written(file.read_text(), [row for row in there["options"] if row["differs"]]))
    again = run(*options, memory=str(memory))
    assert not any(row["differs"] for row in again["options"])
    assert again["memory"] == there["memory"]

    # Another value of ours does not make us forget the first one.
    other = run(option("old", value="4"), memory=str(memory))
    assert [item["before"] for item in other["memory"] if item["option"] == "old"] == ["1"]
    # Somebody else's does.
    file.write_text(file.read_text().replace("old = 2", "old = 9"))
    assert run(*options, memory=str(memory))["kept"] == ["[DEFAULT] old = 9"]
    other = run(option("old", value="4"), memory=str(memory))
    assert [item["before"] for item in other["memory"] if item["option"] == "old"] == ["9"]

    # A list to which somebody has added something keeps that.
    file.write_text(file.read_text().replace("file,cinder", "file,cinder,rbd"))
    back = run(*options, memory=str(memory))
    assert {row["option"]: (row["state"], row["value"]) for row in back["restore"]} == {
        "allowed_direct_url_schemes": ("present", "file,rbd"),
        "new": ("absent", ""),
        "made": ("absent", ""),
    }
    assert back["restore_sections"] == ["backend_defaults"]
    assert run(*options, memory=str(memory), path=str(tmp_path / "b.conf"))["restore"] == []


def test_a_memory_that_is_not_ours(tmp_path, run):
    (tmp_path / "memory.json").write_text("{}")
    assert run(memory=str(tmp_path / "memory.json"))["msg"].startswith(
        f"{tmp_path}/memory.json cannot be used"
    )


# --------------------------------------------------------- the roles' data, as Ansible would render it


def rendered(role, platform, **given):
    loader = DataLoader()
    variables = {}
    for path in ("defaults/main.yml", "vars/main.yml", f"vars/{platform}.yml"):
        variables.update(loader.load_from_file(f"{ROOT}/roles/{role}/{path}", trusted_as_template=True))
    templar = Templar(loader=loader, variables={**variables, **given})
    return lambda name: templar.template(trust_as_template("{{ " + name + " }}"))


def nova(release, platform, kinds, **given):
    get = rendered("nova_options", platform, nova_options_release=release, nova_options_kinds=kinds, **given)
    return {(row["section"], row["option"]): row["value"] for row in get("__nova_options_wanted")}


WAITING = {
    ("DEFAULT", "block_device_allocate_retries"): "180",
    ("DEFAULT", "block_device_allocate_retries_interval"): "3",
}
RESUMING = {("DEFAULT", "resume_guests_state_on_host_boot"): "false"}


@pytest.mark.parametrize(
    ("release", "platform", "name"),
    [
        ("queens", "ubuntu-16.04", "cpu_model"),
        ("zed", "debian-12", "cpu_models"),
        ("epoxy", "debian-13", "cpu_models"),
    ],
)
def test_options_of_nova_by_release_and_kind(release, platform, name):
    haswell = {"nova_options_cpu_mode": "custom", "nova_options_cpu_model": "Haswell"}
    assert nova(release, platform, ["controller"], **haswell) == WAITING
    assert nova(release, platform, ["compute"]) == {**WAITING, **RESUMING}
    assert nova(release, platform, ["controller", "compute"], **haswell) == {
        **WAITING,
        **RESUMING,
        ("libvirt", "cpu_mode"): "custom",
        ("libvirt", name): "Haswell",
    }


def test_all_models_have_to_be_known():
    get = rendered("nova_options", "debian-12", nova_options_cpu_model="Haswell,Broadwell-noTSX")
    models = get("__nova_options_models")
    assert re.search(models, "486\nBroadwell-noTSX\nHaswell\n")
    assert not re.search(models, "486\nBroadwell-noTSX\nHaswell-noTSX\n")


def test_options_of_nova_left_as_they_are_and_others():
    none = {
        "nova_options_block_device_allocate_retries": "",
        "nova_options_block_device_allocate_retries_interval": "",
    }
    more = [{"section": "DEFAULT", "option": "cpu_allocation_ratio", "value": "4"}]
    assert nova("queens", "ubuntu-16.04", ["controller"], **none) == {}
    assert nova("queens", "ubuntu-16.04", ["controller"], **none, nova_options_extra=more) == {
        ("DEFAULT", "cpu_allocation_ratio"): "4"
    }


@pytest.mark.parametrize(
    ("platform", "kinds", "units"),
    [
        ("ubuntu-16.04", ["controller"], ["nova-api", "cinder-scheduler", "apache2"]),
        ("debian-12", ["controller"], ["nova-api", "cinder-scheduler", "cinder-api"]),
        ("debian-13", ["controller"], ["nova-api", "cinder-scheduler", "cinder-api"]),
        ("ubuntu-16.04", ["blockstorage"], ["cinder-volume"]),
        (
            "ubuntu-16.04",
            ["controller", "blockstorage"],
            ["nova-api", "cinder-scheduler", "apache2", "cinder-volume"],
        ),
    ],
)
def test_units_of_cinder_by_platform_and_kind(platform, kinds, units):
    get = rendered("volume_backed_images", platform, volume_backed_images_kinds=kinds)
    assert get("__volume_backed_images_of_kinds") == units
    sections = [row["section"] for row in get("__volume_backed_images_cinder_options")]
    assert ("backend_defaults" in sections) == ("blockstorage" in kinds)
    assert get("__volume_backed_images_tgt_unit") == "tgt"


def test_cinder_to_the_letter_of_the_guide(tmp_path, run):
    get = rendered(
        "volume_backed_images",
        "ubuntu-16.04",
        volume_backed_images_kinds=["blockstorage"],
        volume_backed_images_backend_defaults=False,
    )
    (tmp_path / "a.conf").write_text("[DEFAULT]\n")
    rows = run(*get("__volume_backed_images_cinder_options"))["options"]
    assert {row["option"]: row["value"] for row in rows} == {
        "allowed_direct_url_schemes": "cinder",
        "image_upload_use_cinder_backend": "True",
    }
