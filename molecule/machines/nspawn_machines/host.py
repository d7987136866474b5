"""The host that the machines run on: its tools, its folders, its package mirrors."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

TOOLS = {  # program -> Debian package
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "umount": "mount",
    "chroot": "coreutils",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class MachinesError(Exception):
    """Something that a person has to know, in one line or a few."""


def environment() -> dict[str, str]:
    """Our environment with the sbin folders in PATH and untranslated messages."""
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return {**os.environ, "PATH": f"{path}:{SBIN}", "LC_ALL": "C.UTF-8"}


def run(*argv: str | Path, check: bool = True, stdin: str | None = None, timeout: float = 60) -> str:
    """Run a program to its end; its standard output, or a MachinesError with what it said."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MachinesError(f"{' '.join(words)}: not done after {timeout:.0f} s") from error
    except FileNotFoundError as error:
        raise MachinesError(f"{words[0]} is missing") from error
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
        raise MachinesError(f"{' '.join(words)}: {said}")
    return done.stdout


def demand(tools: Sequence[str] = tuple(TOOLS)) -> None:
    """Root and the tools, or one message that names all that is missing."""
    if os.geteuid() != 0:
        raise MachinesError("machines need root: network namespaces, mounts and systemd-nspawn")
    path = environment()["PATH"]
    packages = sorted({TOOLS[tool] for tool in tools if not shutil.which(tool, path=path)})
    if packages:
        raise MachinesError(f"programs are missing; on Debian: apt-get install {' '.join(packages)}")


def cache() -> Path:
    """Where layers, saved states and disks are kept; it may be deleted while no machine is up."""
    folder = os.environ.get("HASS_CACHE_DIR") or Path.home() / ".cache/hass"
    return Path(folder).absolute() / "machines"


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """One process at a time; given back by the kernel when the holder dies."""
    folder = cache() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def os_release() -> dict[str, str]:
    """The host's /etc/os-release."""
    text = Path("/etc/os-release").read_text() if Path("/etc/os-release").exists() else ""
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in text.splitlines())}


def mirrors() -> dict[str, str]:
    """Where the host's apt takes Debian from: suffix of the suite ("", "-updates", "-security") -> address.

    Empty on a host that has no Debian sources.
    """
    about = os_release()
    if about.get("ID") != "debian":
        return {}
    codename = about.get("VERSION_CODENAME", "stable")
    suites = re.compile(rf"({re.escape(codename)}|stable|oldstable|testing)(|-updates|-security)")
    found: dict[str, str] = {}
    targets = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Identifier: Packages")
    for line in targets.splitlines():
        address, _, suite = line.partition(" ")
        if match := suites.fullmatch(suite):
            found.setdefault(match.group(2), address.rstrip("/"))
    return found if "" in found else {}


def sources(release: str) -> str:
    """sources.list of a machine: the host's mirrors. Empty without any: what debootstrap writes stays."""
    return "".join(f"deb {address} {release}{suffix} main\n" for suffix, address in sorted(mirrors().items()))


def apt_settings() -> str:
    """How the host's apt fetches (proxies, languages, indexes), without the hooks of the host's packages."""
    if not shutil.which("apt-config"):
        return ""
    wanted = (line for line in run("apt-config", "dump").splitlines() if line.startswith("Acquire::"))
    return "".join(f"{line}\n" for line in wanted)


def proxies() -> dict[str, str]:
    """The proxies of the environment, and apt's for debootstrap when there are none."""
    found = {
        name: os.environ[name] for name in ("http_proxy", "https_proxy", "no_proxy") if os.environ.get(name)
    }
    match = re.search(r'^Acquire::http::Proxy "(\S+)";', apt_settings(), re.MULTILINE)
    if match and match.group(1) != "DIRECT":
        found.setdefault("http_proxy", match.group(1))
    return found


def resolvers() -> str:
    """resolv.conf for a network namespace: a stub on loopback cannot be reached from there."""
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        if path.exists():
            text = path.read_text()
            if re.search(r"^nameserver\s+(?!127\.|::1)", text, re.MULTILINE):
                return "".join(
                    f"{line}\n" for line in text.splitlines() if not re.search(r"\s(127\.|::1)", line)
                )
    raise MachinesError("no name server that a machine could reach in /etc/resolv.conf")


def copy_settings(tree: Path) -> None:
    """What lets apt and pip inside reach what they reach here: certificates, pip's files, proxies."""
    for name in (
        "usr/local/share/ca-certificates",
        "etc/apt/keyrings",
        "etc/apt/trusted.gpg.d",
        "etc/xdg/pip",
    ):
        if (Path("/") / name).is_dir():
            shutil.copytree(Path("/") / name, tree / name, dirs_exist_ok=True)
    for name in ("etc/pip.conf", "etc/apt/auth.conf"):
        if (Path("/") / name).exists():
            shutil.copy2(Path("/") / name, tree / name)
    if lines := [f"{name}={value}\n" for name, value in proxies().items()]:
        with (tree / "etc/environment").open("a") as file:
            file.writelines(lines)
