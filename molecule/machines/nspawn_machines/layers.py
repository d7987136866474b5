"""Layers: folders of packages, stacked by overlayfs, made once and kept in the cache."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from .host import (
    MachinesError,
    apt_settings,
    cache,
    copy_settings,
    environment,
    lock,
    mirrors,
    proxies,
    sources,
)
from .recipes import EDITION, MASKED, QUIET, RECIPES, RELEASES, packages

INSTALL = """
set -e
mount -t overlay layer -o lowerdir="$LOWER",upperdir="$UPPER",workdir="$WORK" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
cp /etc/resolv.conf "$ROOT/etc/resolv.conf"
printf '#!/bin/sh\\nexit 101\\n' >"$ROOT/usr/sbin/policy-rc.d"
chmod 755 "$ROOT/usr/sbin/policy-rc.d"
chroot "$ROOT" apt-get -qq update
chroot "$ROOT" apt-get install -y --no-install-recommends -o DPkg::Use-Pty=0 $PACKAGES
chroot "$ROOT" apt-get clean
rm -f "$ROOT/usr/sbin/policy-rc.d"
"""
BASE = """
set -e
debootstrap --variant=minbase --include="$INCLUDE" "$RELEASE" "$ROOT" $MIRROR
"""
BASE_AFTER = """
set -e
mount -t proc proc "$ROOT/proc"
cp /etc/resolv.conf "$ROOT/etc/resolv.conf"
chroot "$ROOT" update-ca-certificates
chroot "$ROOT" apt-get -qq update
chroot "$ROOT" apt-get clean
"""
DPKG = """force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/info/*
"""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def check_names(layer: str, release: str) -> None:
    """Refuse a layer or a release that there is not."""
    if layer not in RECIPES:
        raise MachinesError(f"there is no layer {layer}: choose from {', '.join(RECIPES)}")
    if release not in RELEASES:
        raise MachinesError(f"there is no release {release}: choose from {', '.join(RELEASES)}")


def chain(layer: str) -> list[str]:
    """The layer and all below it, top first."""
    below = RECIPES[layer].below
    return [layer, *(chain(below) if below else [])]


def key(layer: str, release: str) -> str:
    """A hash of everything that the layer is made from, the layers below included."""
    made_from = [
        (name, release, packages(name, release), EDITION, MASKED if name == "base" else ())
        for name in chain(layer)
    ]
    text = json.dumps(made_from)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def folder(layer: str, release: str) -> Path:
    """Where the layer is, or will be."""
    return cache() / "layers" / f"{release}-{layer}-{key(layer, release)}"


def stack(layer: str, release: str) -> list[Path]:
    """overlayfs's lower directories for a machine of this layer, top first; made when they are not there."""
    check_names(layer, release)
    made: list[Path] = []
    for name in reversed(chain(layer)):
        made.insert(0, _make(name, release, made))
    return made


def make_all(layers: Iterable[str], release: str) -> None:
    """Several layers side by side, what they stand on first."""
    names = list(dict.fromkeys(layers))
    for name in names:
        check_names(name, release)
    stack("base", release)
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
        for future in [pool.submit(stack, name, release) for name in names]:
            future.result()


def _make(layer: str, release: str, below: list[Path]) -> Path:
    target = folder(layer, release)
    if target.is_dir():
        return target
    with lock(target.name):
        if target.is_dir():
            return target
        started = time.monotonic()
        _say(f"making layer {layer} of {release} (once; {target})")
        draft = target.parent / f".{target.name}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        log = cache() / "logs" / f"{target.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            if below:
                tree = _install(draft, layer, release, below, log)
            else:
                tree = _bootstrap(draft, layer, release, log)
            _tidy(tree)
            tree.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        _forget_older(target, f"{release}-{layer}-")
        _say(f"layer {layer} of {release} made in {time.monotonic() - started:.0f} s")
    return target


def _shell(script: str, log: Path, variables: dict[str, str], what: str) -> None:
    """A script in a mount namespace of its own: whatever it mounts is gone when it ends, however it ends."""
    settings = {**environment(), **proxies(), **variables, "DEBIAN_FRONTEND": "noninteractive"}
    with log.open("a") as file:
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            timeout=1800,
            check=False,
        )
    if done.returncode:
        end = "\n  ".join(log.read_text(errors="replace").splitlines()[-5:])
        raise MachinesError(f"{what} failed; the end of {log}:\n  {end}")


def _bootstrap(draft: Path, layer: str, release: str, log: Path) -> Path:
    tree = draft / "tree"
    mirror = mirrors().get("", "")
    variables = {"ROOT": str(tree), "RELEASE": release, "INCLUDE": ",".join(packages(layer, release))}
    _shell(BASE, log, {**variables, "MIRROR": mirror}, f"debootstrap of {release}")
    if text := sources(release):
        (tree / "etc/apt/sources.list").write_text(text)
    (tree / "etc/apt/apt.conf.d/90host").write_text(apt_settings())
    (tree / "etc/dpkg/dpkg.cfg.d/machines").write_text(DPKG)
    copy_settings(tree)
    for unit in MASKED:
        link = tree / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    _shell(BASE_AFTER, log, variables, f"the first apt-get update of {release}")
    return tree


def _install(draft: Path, layer: str, release: str, below: list[Path], log: Path) -> Path:
    for name in ("tree", "work", "root"):
        (draft / name).mkdir()
    variables = {
        "LOWER": ":".join(map(str, below)),
        "UPPER": str(draft / "tree"),
        "WORK": str(draft / "work"),
        "ROOT": str(draft / "root"),
        "PACKAGES": " ".join(packages(layer, release)),
    }
    _shell(INSTALL, log, variables, f"installing the packages of layer {layer}")
    return draft / "tree"


def _tidy(tree: Path) -> None:
    """No identity that machines would share (names, ids, host keys), no service that fails for ever."""
    for pattern in QUIET:
        for link in tree.glob(f"etc/systemd/system/*.wants/{pattern}"):
            link.unlink()
    for name in ("etc/hostname", "etc/resolv.conf", "var/lib/dbus/machine-id", "etc/machine-id"):
        path = tree / name
        if path.is_symlink() or path.exists():
            path.unlink()
    if (tree / "etc/ssh").is_dir():
        for file in (tree / "etc/ssh").glob("ssh_host_*"):
            file.unlink()
    for parent, folders, _files in os.walk(tree / "var/log"):
        folders.sort()
        for file in Path(parent).glob("*.log"):
            if file.is_file() and not file.is_symlink():
                os.truncate(file, 0)


def _forget_older(kept: Path, prefix: str) -> None:
    """Layers of the same name that were made from something else, unless a machine stands on them."""
    used = {
        place
        for description in (cache() / "running").glob("*/machine.json")
        for place in json.loads(description.read_text()).get("lower", [])
    }
    for other in kept.parent.glob(f"{prefix}*"):
        if other != kept and str(other) not in used:
            shutil.rmtree(other, ignore_errors=True)
