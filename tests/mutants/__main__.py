"""Break the core in each of the ways of `mutants.py` and see who notices.

`python -m tests.mutants [--only NAME] [--worlds N] [--jobs N]`; exit status 1 if a mistake was noticed by
nobody, or not by those who should. The tree is never touched: each mistake is made in a copy.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from tests.mutants.mutants import MUTANTS, Mutant

NONE = Mutant("none", "", "raft.py", "", "", frozenset())
"No mistake: whatever notices it notices nothing."
ROOT = Path(__file__).parents[2]
PAPER = ("tests/paper", "tests/core")
SCENARIOS = ("tests/scenarios/test_scenarios.py",)
SECONDS_MAX = 900
"Tests or worlds that take longer have noticed nothing: each world and each test has bounds of its own."

_WORLDS = """
import sys
from raftkit.testing.soak import Failure, soak
for seed in range(int(sys.argv[1])):
    # Mostly five servers; in groups of one, two and four other mistakes show.
    nodes = (5, 5, 3, 1, 5, 4, 5, 2)[seed % 8]
    for outcome in soak([seed], nodes=nodes, deliveries=2000, jobs=1):
        if isinstance(outcome, Failure):
            sys.exit(f"{seed} of {nodes}: {outcome.name}: {outcome.detail[:150]}")
"""


@attrs.frozen
class Verdict:
    """Who noticed a mistake, and how."""

    mutant: Mutant
    "Which."
    paper: str | None
    "The first test that failed."
    scenarios: str | None
    "The first scenario that failed."
    worlds: str | None
    "The first world that failed, and what it said."

    @property
    def killers(self) -> frozenset[str]:
        """Of paper, scenarios and worlds."""
        found = {"paper": self.paper, "scenarios": self.scenarios, "worlds": self.worlds}
        return frozenset(name for name, what in found.items() if what is not None)

    @property
    def expected(self) -> bool:
        """Whether those who should notice did."""
        return self.mutant.killed_by <= self.killers


def judge(mutant: Mutant, worlds: int) -> Verdict:
    """Make the mistake in a copy of the package; let tests, scenarios and worlds look at it."""
    with tempfile.TemporaryDirectory(prefix="raftkit-mutant-") as name:
        copy = Path(name)
        for part in ("raftkit", "tests"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, copy / part, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", copy)
        file = copy / "raftkit" / "core" / mutant.file
        file.write_text(mistaken(mutant, file.read_text(encoding="utf-8")), encoding="utf-8")
        return Verdict(
            mutant,
            paper=_tests(copy, PAPER),
            scenarios=_tests(copy, SCENARIOS),
            worlds=_worlds(copy, worlds),
        )


def mistaken(mutant: Mutant, text: str) -> str:
    """`text` with the wrong part in the place of the right one."""
    if mutant is NONE:
        return text
    if text.count(mutant.old) != 1:
        sys.exit(f"{mutant.name}: {text.count(mutant.old)} times in {mutant.file}: {mutant.old!r}")
    return text.replace(mutant.old, mutant.new)


def _tests(copy: Path, paths: Sequence[str]) -> str | None:
    output = _run(copy, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *paths)
    if output is None:
        return None
    found = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", output, re.MULTILINE)
    return found.group(1) if found else output[-200:].strip()


def _worlds(copy: Path, worlds: int) -> str | None:
    output = _run(copy, "-c", _WORLDS, str(worlds))
    return None if output is None else output.strip().splitlines()[-1]


def _run(copy: Path, *arguments: str) -> str | None:
    """What a failing run says; None if it succeeds."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return None if done.returncode == 0 else done.stdout + done.stderr


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", help="only the mistake of this name")
    parser.add_argument("--worlds", type=int, default=300, help="seeds of worlds to try (300)")
    parser.add_argument("--jobs", type=int, default=2, help="mistakes at a time (2)")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if options.only in (None, m.name)]
    if not chosen:
        parser.error(f"no mistake is named {options.only}")
    for mutant in chosen:
        mistaken(mutant, (ROOT / "raftkit" / "core" / mutant.file).read_text(encoding="utf-8"))
    sound = judge(NONE, min(options.worlds, 20))
    if sound.killers:
        found = (sound.paper, sound.scenarios, sound.worlds)
        sys.exit(f"without any mistake: {'; '.join(it or '-' for it in found)}")
    unexpected = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for verdict in pool.map(lambda mutant: judge(mutant, options.worlds), chosen):
            _print(verdict)
            unexpected += not verdict.expected
    print(f"{len(chosen)} mistakes, {unexpected} not noticed by those who should")
    return 1 if unexpected else 0


def _print(verdict: Verdict) -> None:
    mark = "killed  " if verdict.expected else "SURVIVED"
    print(f"{mark} {verdict.mutant.name:30} {verdict.mutant.rule}")
    print(f"         paper:     {verdict.paper or '-'}")
    print(f"         scenarios: {verdict.scenarios or '-'}")
    print(f"         worlds:    {verdict.worlds or '-'}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
