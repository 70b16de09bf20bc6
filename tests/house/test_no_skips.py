"""Where it counts, a skip is a failure (tests/conftest.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import ROOT

SKIPS = """
import pytest

def test_skips():
    pytest.skip("no such thing here")

@pytest.mark.xfail(reason="known")
def test_known_bug():
    assert False
"""
MODULE_SKIPS = "import pytest\npytest.importorskip('there_is_no_such_module')\n"


def _run(tmp_path: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "test_it.py").write_text(code, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    inherited = {k: v for k, v in os.environ.items() if k not in {"CI", "RAFTKIT_NO_SKIPS"}}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.conftest",
            "-p",
            "no:cacheprovider",
            str(tmp_path),
        ],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["CI", "RAFTKIT_NO_SKIPS"])
@pytest.mark.parametrize("code", [SKIPS, MODULE_SKIPS], ids=["test", "module"])
def test_skip_fails_where_it_counts(tmp_path: Path, code: str, variable: str) -> None:
    done = _run(tmp_path, code, **{variable: "1"})

    assert done.returncode != 0
    assert "a skip is a failure here" in done.stdout


@pytest.mark.slow
def test_skip_is_a_skip_elsewhere_and_an_expected_failure_stays_one(tmp_path: Path) -> None:
    relaxed = _run(tmp_path, SKIPS)
    strict = _run(tmp_path, SKIPS, CI="true")

    assert relaxed.returncode == 0
    assert "1 skipped, 1 xfailed" in relaxed.stdout
    assert "1 failed, 1 xfailed" in strict.stdout
