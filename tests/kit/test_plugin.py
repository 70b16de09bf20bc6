"""The pytest plugin, as a project sees it that asks for it in its conftest.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from tests.node.machines import Counter

TESTS = """
from pathlib import Path

from raftkit.testing.machine_conformance import check_wire_stability
from raftkit.cli.demo.machine import Transcript


def test_bytes(raft_rewrite):
    check_wire_stability(Transcript, Path("transcript.golden"), rewrite=raft_rewrite)


def test_good(raft_seed):
    print("nothing of it is shown")


async def test_group(raft_cluster, autojump_clock, raft_seed):
    async with raft_cluster(Transcript, 3) as cluster:
        assert cluster.network.seed == raft_seed
        await cluster["c"].execute(Transcript.write(5, b"five"))
        assert await cluster["a"].read(Transcript.count()) == 2
"""


def run(where: Path, *arguments: str) -> str:
    (where / "test_mine.py").write_text(TESTS, encoding="utf-8")
    (where / "conftest.py").write_text(
        'pytest_plugins = ["raftkit.testing.plugin"]\n', encoding="utf-8"
    )
    (where / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


@pytest.mark.slow
def test_a_failure_shows_the_seed_that_draws_the_same(tmp_path: Path) -> None:
    printed = run(tmp_path, "--raft-rewrite", "--raft-seed=17")

    assert "assert 1 == 2" in printed
    assert printed.count("--raft-seed=17 draws the same again") == 1, "of the test that failed"
    assert "1 failed, 2 passed" in printed
    assert (tmp_path / "transcript.golden").exists()


@pytest.mark.slow
def test_without_its_options_seeds_are_drawn_and_no_file_is_written(tmp_path: Path) -> None:
    printed = run(tmp_path)

    assert "draws the same again" in printed
    assert "transcript.golden lacks what is new in Transcript" in printed
    assert not (tmp_path / "transcript.golden").exists()


async def test_a_cluster_for_a_test(
    raft_cluster: Callable[..., Any], autojump_clock: MockClock
) -> None:
    async with raft_cluster(Counter, 3) as cluster:
        assert await cluster["b"].execute(Counter.add(amount=5)) == 5


@pytest.mark.slow
async def test_a_cluster_with_files(raft_cluster: Callable[..., Any], tmp_path: Path) -> None:
    async with raft_cluster(Counter, 1, data_dir=tmp_path) as cluster:
        await cluster["a"].execute(Counter.add(amount=5))

    assert (tmp_path / "a").is_dir()
