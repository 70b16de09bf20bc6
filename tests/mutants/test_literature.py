"""docs/testing.md names only what exists and leaves no scenario out; `literature.py` proves the rest."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter

from tests.mutants.__main__ import ALL, ROOT
from tests.mutants.literature import PAGE, rows

SPANS = set(re.findall(r"`([^`\n]+)`", PAGE.read_text(encoding="utf-8")))


def test_every_scenario_stands_once_in_the_table() -> None:
    """A new scenario gets a row: which bug, and which of our mistakes it notices."""
    files = sorted(path.stem for path in (ROOT / "tests" / "scenarios").glob("*.txt"))

    assert sorted(row.scenario for row in rows()) == files


def test_every_mistake_in_the_table_is_one() -> None:
    named = {name for row in rows() for name in row.mistakes}

    assert named <= {mutant.name for mutant in ALL}


def test_every_mistake_that_scenarios_must_notice_is_in_the_table() -> None:
    named = {name for row in rows() for name in row.mistakes}

    assert {mutant.name for mutant in ALL if "scenarios" in mutant.killed_by} <= named


def test_the_page_counts_the_mistakes_as_they_are() -> None:
    page = PAGE.read_text(encoding="utf-8")
    count = Counter(mutant.package for mutant in ALL)
    by = Counter(layer for mutant in ALL for layer in mutant.killed_by)
    core = f"paper tests {by['paper']}, scenarios {by['scenarios']}, random worlds {by['worlds']}"

    assert f"| the core | {count['core']} | {core}," in page
    assert f"| the storage | {count['storage']} |" in page
    assert f"| the driver | {count['driver']} |" in page


def test_the_page_names_only_files_and_modules_that_exist() -> None:
    files = {span for span in SPANS if span.startswith("tests/")}
    modules = {span for span in SPANS if re.fullmatch(r"raftkit(\.\w+)+", span)}

    assert files
    assert modules
    assert [it for it in files if not (ROOT / it).exists()] == []
    assert [it for it in modules if importlib.util.find_spec(it) is None] == []


def test_the_page_names_only_targets_that_exist() -> None:
    named = set(re.findall(r"make ([a-z]+)", PAGE.read_text(encoding="utf-8")))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert "mutants" in named
    assert named <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
