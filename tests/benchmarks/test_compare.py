"""The comparison runs by turns, leaves out what can't be had, goes on after a failure, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from benchmarks import compare
from benchmarks.comparison import Comparison, Key
from benchmarks.peers.member import load_of
from benchmarks.peers.program import open_program
from benchmarks.peers.subject import Failed, Finding, Load, NotOffered, Open
from raftkit.cli.bench.environment import environment_of
from raftkit.cli.bench.gap import Fault
from tests.cli.running import node_processes
from tests.house.source import ROOT

CHILD = """
import json, sys, time
for words in ({"edge": True}, {"edge": True}, {"rate": 7.0, "p50_ms": 1.0, "p99_ms": 2.0, "failed": 3}):
    print(json.dumps(words), flush=True)
    time.sleep(0.05)
"""


class Written:
    """A subject whose group is a name."""

    def __init__(self, name: str, done: list[str]) -> None:
        self.name, self.done = name, done

    async def load(self, load: Load, seconds: float) -> Finding:
        self.done.append(f"{self.name} load")
        if self.name == "broken":
            raise Failed("it fell over")
        return Finding(figures={"rate": 10.0})

    async def idle(self, seconds: float) -> Finding:
        self.done.append(f"{self.name} idle")
        return Finding(figures={"cpu_percent": 1.0, "memory_mb": 10.0})

    async def restart(self) -> Finding:
        raise NotOffered("a restart")

    async def gap(self, fault: Fault, seconds: float) -> Finding:
        raise AssertionError(fault)


def _within(directory: Path) -> list[str]:
    return sorted(it.name for it in directory.iterdir())


def _systems(done: list[str], *names: str) -> dict[str, Open]:
    def opener(name: str) -> Open:
        @asynccontextmanager
        async def start(directory: Path) -> AsyncGenerator[Written]:
            assert _within(directory) == []
            done.append(f"{name} starts")
            yield Written(name, done)
            done.append(f"{name} ends")

        return start

    return {name: opener(name) for name in names}


async def _compare(tmp_path: Path, *names: str) -> tuple[Comparison, list[str]]:
    comparison = Comparison(environment_of(tmp_path), [*names], 0.1, tmp_path)
    done: list[str] = []
    await compare.compare(
        comparison,
        _systems(done, *names),
        workloads=["idle", "writes", "restart"],
        rounds=2,
        say=lambda _: None,
    )
    return comparison, done


async def test_every_other_round_goes_the_other_way_and_groups_never_overlap(
    tmp_path: Path,
) -> None:
    _, done = await _compare(tmp_path, "one", "two")

    def turn(name: str) -> list[str]:
        return [f"{name} {it}" for it in ("starts", "idle", "load", "ends")]

    assert done == turn("one") + turn("two") + turn("two") + turn("one")
    assert _within(tmp_path) == []


async def test_what_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    comparison, _ = await _compare(tmp_path, "one", "broken")

    assert comparison.faults == ["broken, round 1: it fell over", "broken, round 2: it fell over"]
    assert comparison.spread(Key("writes", "one"), "rate") is not None
    assert comparison.spread(Key("writes", "broken"), "rate") is None
    assert "| idle | CPU of a member, % | 1 | 1 | 1 |" in list(comparison.as_words())


@pytest.mark.slow
def test_without_its_package_a_peer_is_left_out_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And raftkit is measured all the same, by real processes: they write, and come back when killed.

    The typed machine has a group of its own.
    """
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "found.json"
    options = ["--peers", "etcd", "--workload", "typed,restart", "--rounds", "1"]
    status = compare.main(
        [*options, "--seconds", "0.3", "--json", str(path), "--data", str(tmp_path)]
    )

    stdout, stderr = capsys.readouterr()
    found = json.loads(path.read_text())
    figures = {(it["workload"], it["figure"]) for it in found["medians"]}
    assert "etcd is left out: there is no etcd here: apt-get install etcd-server\n" in stderr
    assert (found["systems"], found["faults"], status) == (["raftkit"], [], 0)
    assert figures == {
        *(("typed", it) for it in ("rate", "p50_ms", "p99_ms")),
        ("restart", "ready_s"),
    }
    assert "| restart | ready after, s |" in stdout
    assert _within(tmp_path) == [path.name]
    assert node_processes(tmp_path) == {}


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--seconds", "0"], "--seconds above 0"),
        (["--peers", "zookeeper"], "'zookeeper' is none of etcd, pysyncobj, pysyncobj-default"),
        (["--workload", "sleep"], "'sleep' is none of idle, writes"),
    ],
)
def test_what_can_not_be_is_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        compare.main(arguments)

    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_what_was_measured_until_an_interruption_is_told(tmp_path: Path) -> None:
    """And nothing is left behind."""
    options = ("--peers", "", "--workload", "idle,writes", "--seconds", "0.2", "--rounds", "100")
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.compare", *options, "--data", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("  idle: "):
                running.send_signal(signal.SIGTERM)
                break
        stdout, _ = running.communicate(timeout=20)

    assert running.returncode == 1
    assert "| idle | CPU of a member, % |" in stdout
    assert stdout.endswith("WRONG: interrupted\n")
    assert _within(tmp_path) == []
    assert node_processes(tmp_path) == {}


# ── processes of peers ───────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_a_load_is_what_its_process_says_and_what_processes_used(tmp_path: Path) -> None:
    async with open_program("load", (sys.executable, "-c", CHILD), tmp_path) as program:
        found = await load_of(program, {"client": program.pid}, 0.05)

    assert (found.figures, found.failed) == ({"rate": 7.0, "p50_ms": 1.0, "p99_ms": 2.0}, 3)
    assert set(found.cpu) == {"client", "others"}


@pytest.mark.slow
async def test_a_process_that_ends_is_a_failure_with_its_last_words(tmp_path: Path) -> None:
    dies = "raise SystemExit('no room')"
    async with open_program("member", (sys.executable, "-c", dies), tmp_path) as program:
        with pytest.raises(Failed, match="member has ended: no room"):
            await program.hear()


@pytest.mark.slow
def test_a_comparison_that_is_killed_takes_its_processes_along(tmp_path: Path) -> None:
    """Also those that never look at their stdin, as etcd."""
    runner = f"""
import pathlib, trio
from benchmarks.peers.program import open_program
async def main():
    child = ("{sys.executable}", "-c", "import time; time.sleep(60)")
    async with open_program("deaf", child, pathlib.Path("{tmp_path}")) as program:
        print(program.pid, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""
    with subprocess.Popen(
        [sys.executable, "-c", runner], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        running.kill()

    ends = time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.mark.slow
async def test_a_process_ends_with_its_context(tmp_path: Path) -> None:
    sleeps = (sys.executable, "-c", "import time; time.sleep(60)")
    async with open_program("deaf", sleeps, tmp_path) as program:
        program.process.send_signal(signal.SIGSTOP)
        await trio.lowlevel.checkpoint()

    assert not _runs(program.pid)


def _runs(pid: int) -> bool:
    """Whether there is such a process that has not ended; one that nobody reaps has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
    finally:
        assert pid != os.getpid()
