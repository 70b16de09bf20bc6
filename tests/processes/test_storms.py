"""Real processes under kill -9 and SIGSTOP: what clients were told is what is, whatever befalls them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes.group import ROOT
from tests.processes.report import Report
from tests.processes.storm import Storm
from tests.processes.strikes import (
    kill_all,
    kill_in_turn,
    kill_starts,
    stop_leaders,
)

pytestmark = pytest.mark.slow


def assert_weathered(report: Report) -> None:
    """Nothing was violated, and enough happened for that to mean something."""
    assert report.violations == []
    assert report.calls["appends acknowledged"] > 100
    assert report.calls["reads answered"] > 100
    assert report.applied >= report.calls["appends acknowledged"]


@pytest.mark.accept("Q-08", "Q-12", "Q-56")
async def test_any_node_may_be_killed_and_another_one_leads_soon(tmp_path: Path) -> None:
    storm = Storm(directory=tmp_path, seed=1, clients=8)

    report = await storm.run(lambda: kill_in_turn(storm))

    assert_weathered(report)
    assert report.starts == 6
    assert report.leaders >= 2
    assert [it.blow for it in report.gaps] == ["kill"]
    # Nobody has to do anything; seconds only where cores are busy.
    assert report.gaps[0].seconds < 10


async def test_a_leader_that_was_stopped_neither_serves_old_state_nor_acknowledges_when_it_wakes(
    tmp_path: Path,
) -> None:
    """Requests wait in its pipe meanwhile, and it reads them first thing. See `broken` for one that fails."""
    storm = Storm(directory=tmp_path, seed=3, clients=8)

    report = await storm.run(lambda: stop_leaders(storm, 3))

    assert_weathered(report)
    assert report.leaders >= 4
    assert report.starts == 3


async def test_a_group_that_is_killed_as_a_whole_comes_back_with_all_it_acknowledged(
    tmp_path: Path,
) -> None:
    storm = Storm(directory=tmp_path, seed=4, clients=8)

    report = await storm.run(lambda: kill_all(storm, 3))

    assert_weathered(report)
    assert report.starts == 12


async def test_a_node_that_is_killed_again_and_again_while_it_starts_recovers_in_the_end(
    tmp_path: Path,
) -> None:
    storm = Storm(directory=tmp_path, seed=5, clients=2)

    report = await storm.run(lambda: kill_starts(storm, 15))

    assert_weathered(report)
    assert report.blows["kill starting"] == 15


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def _start(data: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.processes.storm", "--data", str(data), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _nodes(data: Path) -> set[int]:
    """Pids of the node processes that run on a directory in `data`."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has gone meanwhile
        if "tests.processes.member" in words and any(it.startswith(str(data)) for it in words):
            found.add(int(path.parent.name))
    return found


def _wait(condition: Callable[[], bool]) -> None:
    """Wait until it holds, though not for long."""
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_storm_of_everything_is_weathered_and_reported(tmp_path: Path) -> None:
    with _start(tmp_path, "--seconds", "8", "--seed", "6", "--json") as running:
        stdout, stderr = running.communicate(timeout=110)

    said = json.loads(stdout.splitlines()[-1])
    assert running.returncode == 0, stdout + stderr
    assert (said["seed"], said["nodes"], said["violations"]) == (6, 3, [])
    assert said["calls"]["appends acknowledged"] > 100
    assert {"operations", "blows", "starts", "leaders", "term", "gaps_ms"} <= said.keys()


def test_a_storm_that_is_killed_leaves_no_node_behind(tmp_path: Path) -> None:
    with _start(tmp_path) as running:
        _wait(lambda: len(_nodes(tmp_path)) == 3)
        running.send_signal(signal.SIGKILL)
        running.wait()

        _wait(lambda: not _nodes(tmp_path))
