"""What the README shows, works: each of its programs runs as a newcomer would run it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_counter_counts(tmp_path: Path) -> None:
    (program,) = PROGRAMS
    (tmp_path / "counter.py").write_text(program, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-W", "error", "counter.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n5\n", "")


def test_the_readme_names_only_targets_that_exist() -> None:
    named = set(re.findall(r"(?:`|\$ )make ([a-z]+)", README))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert named <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
