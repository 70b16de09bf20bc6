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


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    """A file that skips one of its tests, and one that is skipped itself."""
    (tmp_path / "test_it.py").write_text(SKIPS, encoding="utf-8")
    (tmp_path / "test_module.py").write_text(MODULE_SKIPS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return tmp_path


def _run(tests: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if k not in {"CI", "RAFTKIT_NO_SKIPS"}}
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "--continue-on-collection-errors"),
            *("-p", "tests.conftest", "-p", "no:cacheprovider", str(tests)),
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
def test_skip_fails_where_it_counts_and_an_expected_failure_does_not(
    tests: Path, variable: str
) -> None:
    done = _run(tests, **{variable: "true"})

    assert done.returncode != 0
    for skipped in ("no such thing here", "could not import"):
        assert (
            f"a skip is a failure here (CI or RAFTKIT_NO_SKIPS is set): Skipped: {skipped}"
            in done.stdout
        )
    assert "1 failed, 1 xfailed, 1 error" in done.stdout


@pytest.mark.slow
def test_skip_is_a_skip_elsewhere(tests: Path) -> None:
    done = _run(tests)

    assert done.returncode == 0
    assert "2 skipped, 1 xfailed" in done.stdout
