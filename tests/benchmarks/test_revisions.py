"""Another revision of this tree is looked at beside it, and leaves no trace."""

from __future__ import annotations

import subprocess

import pytest

from benchmarks import revisions
from benchmarks.revisions import worktree
from tests.house.source import ROOT


def _worktrees() -> str:
    arguments = ["git", "-C", str(ROOT), "worktree", "list"]
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_what_is_measured_is_that_revision_and_not_this_tree() -> None:
    """A tree that fails in its own way is heard to."""
    before = _worktrees()
    with worktree("HEAD") as base:
        assert (base / "raftkit" / "__main__.py").exists()
        (base / "raftkit" / "__main__.py").write_text("raise SystemExit('older than that')\n")
        with pytest.raises(OSError, match="older than that"):
            revisions._bench(base, (), 20.0)

    assert not base.exists()
    assert _worktrees() == before


@pytest.mark.slow
def test_a_revision_that_is_none_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert revisions.main(["no-such-revision"]) == 1
    assert "no-such-revision: fatal: invalid reference" in capsys.readouterr().err
