"""Breaks the safety rules on purpose, one after the other in a copy, and asks the simulator whether it sees.

    .venv/bin/python tests/simulation/mutate.py [--only NAME] [--jobs 2] [--write]

For each entry of mutations.yml: a copy of the tree with that one change; in it every scenario of
tests/scenarios, and when none notices, made-up schedules. A mutation is caught by a broken safety rule or a
failed expectation; that only the log of a scenario is another is the weakest way, and told as `log`.
``--write`` notes in mutations.yml and in docs/safety.md what caught each.

Exit status: 0 when each was caught, 1 when one survives, 2 when the list or the unbroken copy is no good.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutations.yml")
SAFETY = ROOT / "docs" / "safety.md"
TREE = ("hass_runtime", "playbooks/remediation", "tests/scenarios")
SCHEDULES = 400
SEED = 1
PATIENCE = 900.0  # seconds of real time for one mutation on a busy machine; then it does not come to an end
STRONG = ("rule", "expectation", "bug")
_BEGIN, _END = "<!-- mutations:begin -->", "<!-- mutations:end -->"
_KEYS = {"rule", "name", "file", "find", "replace", "caught_by"}


class ListError(Exception):
    """The list of mutations cannot be used. One line."""


@dataclass(frozen=True)
class Mutation:
    """One thing to break: in ``file`` (its path in the tree) ``find``, there once, becomes ``replace``."""

    rule: int
    name: str
    file: str
    find: str
    replace: str
    caught_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What noticed: a scenario or "random", how (see `STRONG`, or "log"), in what words; "" for nothing."""

    where: str = ""
    kind: str = ""
    words: str = ""


def load(path: Path = LIST) -> list[Mutation]:
    """The list. Raises ListError, naming the entry."""
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    found: list[Mutation] = []
    for number, entry in enumerate(raw, 1):
        if (
            not isinstance(entry, dict)
            or not entry.keys() <= _KEYS
            or not _KEYS - {"caught_by"} <= entry.keys()
        ):
            raise ListError(f"{path.name}: entry {number}: expected the keys {', '.join(sorted(_KEYS))}")
        made = Mutation(**{**entry, "caught_by": tuple(entry.get("caught_by") or ())})
        if made.name in {each.name for each in found}:
            raise ListError(
                f"{path.name}: entry {number}: {made.name!r} is there twice, expected other words"
            )
        found.append(made)
    return found


def applied(mutation: Mutation, root: Path) -> str:
    """The mutated text of the file. Raises ListError unless what it looks for is there exactly once."""
    text = (root / mutation.file).read_text(encoding="utf-8")
    count = text.count(mutation.find)
    if count != 1:
        raise ListError(f"{mutation.name}: `find` is {count} times in {mutation.file}, expected once")
    return text.replace(mutation.find, mutation.replace)


def copy_tree(source: Path, target: Path) -> None:
    """What a trial needs of the tree."""
    for part in TREE:
        shutil.copytree(source / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))


def trial(
    mutation: Mutation | None, source: Path, schedules: int = SCHEDULES, only: Sequence[str] = ()
) -> Verdict:
    """Break it in a copy of ``source`` and look who notices. ``only``: of all scenarios, these.

    Raises ListError.
    """
    with tempfile.TemporaryDirectory(prefix="hass-mutation-") as directory:
        copy = Path(directory)
        copy_tree(source, copy)
        if mutation is not None:
            (copy / mutation.file).write_text(applied(mutation, source), encoding="utf-8")
        first = list(mutation.caught_by) if mutation is not None else []
        asked = json.dumps({"root": directory, "first": first, "only": list(only), "schedules": schedules})
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import mutate; mutate.inside()"
        )
        try:
            done = subprocess.run(
                [sys.executable, "-c", code],
                input=asked,
                env={**os.environ, "PYTHONPATH": directory, "PYTHONDONTWRITEBYTECODE": "1"},
                cwd=directory,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Verdict("-", "endless", f"nothing came of it in {PATIENCE:g} s")
    if done.returncode:
        return Verdict("-", "crash", (done.stderr.strip().splitlines() or ["no word"])[-1])
    return Verdict(**json.loads(done.stdout.splitlines()[-1]))


# -- inside the copy ---------------------------------------------------------------------------------------


def inside() -> None:
    """Run in the copy: who notices first, as JSON on standard output."""
    asked = json.loads(sys.stdin.read())
    root = Path(asked["root"])
    import hass_runtime

    if Path(hass_runtime.__file__).resolve().parent.parent != root.resolve():
        raise SystemExit(f"{hass_runtime.__file__} was imported, expected the copy in {root}")
    verdict = _noticed(root, asked)
    print(json.dumps(verdict.__dict__))


def _noticed(root: Path, asked: dict[str, Any]) -> Verdict:
    weakest = Verdict()
    names = sorted(path.parent.name for path in root.glob("tests/scenarios/*/log.expect"))
    names = [name for name in names if not asked["only"] or name in asked["only"]]
    for name in sorted(names, key=lambda name: name not in asked["first"]):
        verdict = _scenario(root / "tests" / "scenarios" / name)
        if verdict.kind in STRONG:
            return verdict
        weakest = weakest if weakest.kind else verdict
    return next(_schedules(asked["schedules"]), weakest)


def _scenario(directory: Path) -> Verdict:
    from hass_runtime.simulator.record import text_of
    from hass_runtime.simulator.run import simulate
    from hass_runtime.simulator.scenario import load as load_scenario

    name = directory.name
    try:
        result = simulate(load_scenario(directory / "scenario.yml"))
    except Exception as error:  # noqa: BLE001 - a simulation that breaks down has noticed something, too
        return Verdict(name, "bug", repr(error))
    for violation in result.violations:
        return Verdict(name, "bug" if violation.rule == "no bugs" else "rule", violation.text())
    for judgement in result.judgements:
        if not judgement.held:
            return Verdict(name, "expectation", judgement.expectation.text or judgement.expectation.what)
    wanted = (directory / "log.expect").read_text(encoding="utf-8")
    return Verdict(name, "log", "the log is another") if text_of(result.entries) != wanted else Verdict()


def _schedules(count: int) -> Iterator[Verdict]:
    """What the first schedule that breaks a rule says, if one does."""
    from hass_runtime.simulator.dice import roll
    from hass_runtime.simulator.explore import broken_rules

    for index in range(count):
        for violation in broken_rules(roll(SEED, index))[1]:
            kind = "bug" if violation.rule == "no bugs" else "rule"
            yield Verdict("random", kind, f"schedule {index} of seed {SEED}: {violation.text()}")


# -- the table ---------------------------------------------------------------------------------------------


def short(verdict: Verdict) -> str:
    """What broke, without names and times."""
    where = re.match(r"schedule \d+", verdict.words)
    words = verdict.words.partition(f"of seed {SEED}: ")[2] or verdict.words
    if verdict.kind in ("rule", "bug"):
        rule, _, rest = words.partition(": ")
        after = rest if rule == "no bugs" else re.sub(r" at [\d.]+: .*", "", rest).rpartition(": ")[0]
        words = f"{rule}: {after[:60].rstrip()}" if after else rule
    return f"{where[0]}, {words}" if where else words


def table(rows: Sequence[tuple[Mutation, Verdict]]) -> str:
    """The table as docs/safety.md has it."""
    lines = ["| rule | broken on purpose | where | caught by | how |", "| --- | --- | --- | --- | --- |"]
    for mutation, verdict in rows:
        said = short(verdict).replace("|", "/")
        where = verdict.where if verdict.kind else "**survives**"
        lines.append(
            f"| {mutation.rule} | {mutation.name} | `{Path(mutation.file).name}` | {where} | {said} |"
        )
    return "\n".join(lines)


def write(rows: Sequence[tuple[Mutation, Verdict]]) -> None:
    """Note what caught each: in the list, whose other lines stay as they are, and in docs/safety.md."""
    text = LIST.read_text(encoding="utf-8")
    for mutation, verdict in rows:
        name = re.escape(yaml.safe_dump(mutation.name, width=1000).splitlines()[0])
        entry = re.compile(rf"(  name: {name}\n(?:(?!- rule).*\n)*?  caught_by: ).*\n")
        text, count = entry.subn(lambda found, where=verdict.where: f"{found[1]}[{where}]\n", text)
        if count != 1:
            raise ListError(
                f"{mutation.name}: no place for what caught it, expected `caught_by: []` as its last line"
            )
    LIST.write_text(text, encoding="utf-8")
    page = SAFETY.read_text(encoding="utf-8")
    body = (
        f"{_BEGIN}\n## Mutations tried\n\n"
        f"{len(rows)} ways to break a rule in the code that the simulator drives, each in a copy;\n"
        "`make mutations` tries them again. Each is caught by a scenario of `tests/scenarios`, or by the\n"
        f"made-up schedules of `hass simulate --random {SCHEDULES} --seed {SEED}`.\n\n"
        f"{table(rows)}\n{_END}\n"
    )
    if _BEGIN in page:
        page = re.sub(f"{_BEGIN}.*{_END}\n?", lambda _: body, page, flags=re.DOTALL)
    else:
        page = f"{page.rstrip()}\n\n{body}"
    SAFETY.write_text(page, encoding="utf-8")


def main() -> int:
    """Try them all, or those named."""
    parser = argparse.ArgumentParser(
        description="Break the safety rules on purpose; the simulator has to see it."
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="only names with this in them"
    )
    parser.add_argument(
        "--without", action="append", default=[], metavar="SCENARIO", help="a scenario to leave out"
    )
    parser.add_argument("--jobs", type=int, default=1, help="mutations tried at a time")
    parser.add_argument(
        "--write", action="store_true", help="note what caught each in the list and docs/safety.md"
    )
    chosen = parser.parse_args()
    try:
        mutations = [
            each for each in load() if not chosen.only or any(part in each.name for part in chosen.only)
        ]
        if not mutations:
            raise ListError(f"--only {' '.join(chosen.only)}: no mutation has that in its name")
        if chosen.write and chosen.only:
            raise ListError("--write notes all of them, expected no --only with it")
        with tempfile.TemporaryDirectory(prefix="hass-unbroken-") as directory:
            return _tried(mutations, Path(directory), chosen)
    except ListError as error:
        print(error, file=sys.stderr)
        return 2


def _tried(mutations: list[Mutation], unbroken: Path, chosen: argparse.Namespace) -> int:
    copy_tree(ROOT, unbroken)  # one state of the tree for all, though somebody works on it meanwhile
    for name in chosen.without:
        shutil.rmtree(unbroken / "tests" / "scenarios" / name)
    for mutation in mutations:
        applied(mutation, unbroken)
    sound = trial(None, unbroken)
    if sound.kind:
        raise ListError(f"the unbroken copy does not pass: {sound.where}: {sound.words}")
    with ThreadPoolExecutor(max_workers=chosen.jobs) as pool:
        verdicts = []
        for mutation, verdict in zip(
            mutations, pool.map(lambda each: trial(each, unbroken), mutations), strict=True
        ):
            # An import that fails, or a run without an end, is no mutation that a test was needed for.
            caught = replace(verdict, kind="") if verdict.kind in ("crash", "endless") else verdict
            how = (
                f"{caught.where}: {short(caught)}"
                if caught.kind
                else f"SURVIVES {verdict.kind} {verdict.words}"
            )
            print(f"{mutation.rule:>2}  {mutation.name:<66} {caught.kind:<11} {how}", flush=True)
            verdicts.append(caught)
    rows = list(zip(mutations, verdicts, strict=True))
    survivors = sum(not verdict.kind for verdict in verdicts)
    logs = sum(verdict.kind == "log" for verdict in verdicts)
    print(
        f"{len(rows) - survivors} of {len(rows)} mutations caught, {logs} of them only by a log, "
        f"{survivors} survive"
    )
    if chosen.write and not survivors:
        write(rows)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
