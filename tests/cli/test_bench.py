"""`raftkit bench` as people run it: node processes, TCP, real directories, and tiny measurements."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from raftkit.__main__ import main
from tests.cli.running import node_processes, wait_gone
from tests.house.source import ROOT

FIELDS = {
    *("machine", "workload", "at", "outstanding", "seconds", "writes", "writes_per_s"),
    *("p50_ms", "p99_ms", "p999_ms", "max_ms"),
    *("cpu", "others_cpu_percent", "saturated"),
    *("bytes_sent", "packets_sent", "asked", "repaired", "fallbacks", "overruns"),
    *("acknowledged", "applied", "elections", "errors", "faults"),
}


@contextmanager
def _start(temporary: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "raftkit", "bench", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        yield running


def _bench(temporary: Path, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one that ends by itself."""
    with _start(temporary, *arguments) as running:
        stdout, stderr = running.communicate(timeout=60)
    assert "Traceback" not in stderr, stderr
    return running.returncode, stdout, stderr


def _wait_for_load(data: Path) -> dict[str, int]:
    """Wait until three nodes write; their processes, by name."""
    ends = time.monotonic() + 20
    while len(found := node_processes(data)) < 3 or not _log_bytes(data, "a") > 2000:
        assert time.monotonic() < ends
        time.sleep(0.02)
    return found


def _log_bytes(data: Path, node: str) -> int:
    """What a node's logs hold, without the zeros that are prepared behind it."""
    logs = data.glob(f"**/{node}/log-*")
    return max((len(it.read_bytes().rstrip(b"\0")) for it in logs), default=0)


# ── what it says ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a whole run says on stdout, which is one line."""
    temporary = tmp_path_factory.mktemp("bench")
    found: dict[str, Any] = {}
    for _ in range(3):
        code, stdout, stderr = _bench(temporary, "--outstanding", "1,4", "--seconds", 0.3, "--json")
        assert len(stdout.splitlines()) == 1
        assert "writes/s" in stderr
        assert list(temporary.iterdir()) == []
        assert node_processes(temporary) == {}
        found = json.loads(stdout)
        assert code == bool(found["faults"])
        if not any(it["elections"] for it in found["measurements"]):
            break  # a machine that is busy with other things may elect, and is asked again
    return found


@pytest.mark.slow
def test_each_machine_is_measured_under_each_load(said: dict[str, Any]) -> None:
    measured = [(it["machine"], it["outstanding"]) for it in said["measurements"]]

    assert set(said) == {
        "environment",
        "nodes",
        "transport",
        "loss",
        "measurements",
        "gaps",
        "idle",
        "faults",
    }
    assert all(set(it) == FIELDS for it in said["measurements"])
    assert measured == [("bytes", 1), ("bytes", 4), ("typed", 1), ("typed", 4)]
    assert (said["nodes"], said["transport"], said["faults"]) == (3, "tcp", [])


@pytest.mark.slow
def test_over_multicast_the_leader_sends_once_what_all_get(tmp_path: Path) -> None:
    options = ("--transport", "multicast", "--outstanding", 64, "--machine", "bytes", "--nodes", 5)
    found: dict[str, Any] = {"faults": ["not run"]}
    stderr = ""
    for _ in range(3):
        if found["faults"]:  # elections, see `said`
            _, stdout, stderr = _bench(tmp_path, *options, "--seconds", 1, "--json")
            found = json.loads(stdout)

    (it,) = found["measurements"]
    assert (found["transport"], found["faults"]) == ("multicast", [])
    assert "5 processes on one machine, UDP multicast on loopback" in stderr
    assert it["applied"] == dict.fromkeys("abcde", it["acknowledged"])
    # Four followers get 32 bytes each of every write, and that alone would be more.
    assert 32 * it["writes"] < it["bytes_sent"] < 4 * 32 * it["writes"]


@pytest.mark.slow
def test_what_is_lost_on_purpose_is_asked_for_again_and_nothing_is_missing(tmp_path: Path) -> None:
    options = ("--transport", "multicast", "--loss", 0.2, "--outstanding", 16, "--machine", "bytes")
    _, stdout, stderr = _bench(tmp_path, *options, "--seconds", 1, "--json")
    found = json.loads(stdout)

    (it,) = found["measurements"]
    assert found["loss"] == 0.2
    assert "each loses 20 % of the datagrams that reach it, on purpose" in stderr
    assert it["asked"] > 0.02 * it["packets_sent"]
    assert it["repaired"] > 0
    unknown = it["errors"].get("OutcomeUnknown", 0)
    assert all(0 <= n - it["acknowledged"] <= unknown for n in it["applied"].values())


@pytest.mark.slow
def test_a_load_at_a_follower_reads_more_than_it_writes(tmp_path: Path) -> None:
    options = ("--workload", "mixed", "--at", "follower", "--machine", "typed", "--outstanding", 8)
    _, stdout, stderr = _bench(tmp_path, *options, "--seconds", 0.5, "--json")
    (it,) = json.loads(stdout)["measurements"]

    assert "typed, mixed, at a follower, 8 outstanding: " in stderr
    assert (it["workload"], it["at"]) == ("mixed", "follower")
    # Writes of the warm-up are counted here, too; it is as long as the measured time.
    assert 0 < it["acknowledged"] < it["writes"]
    assert it["applied"] == dict.fromkeys("abc", it["acknowledged"])


@pytest.mark.slow
def test_three_faults_of_a_leader_are_three_gaps(tmp_path: Path) -> None:
    """Who is dead at the end was killed on purpose."""
    options = ("--workload", "failover", "--machine", "bytes", "--seconds", 1.5)
    code, stdout, stderr = _bench(tmp_path, *options, "--json")
    found = json.loads(stdout)
    gaps = {it["fault"]: it for it in found["gaps"]}

    assert (code, found["faults"], found["measurements"]) == (0, [], [])
    assert list(gaps) == ["transfer", "silence", "kill"]
    assert all(0 < it["gap_ms"] <= 1500 and it["acknowledged"] > 0 for it in gaps.values())
    # A silent leader is missed only after the shortest election timeout: a write waits in vain meanwhile.
    assert gaps["silence"]["gap_ms"] > 190
    assert gaps["silence"]["failed"] > 0
    assert "bytes, leader killed: no write for" in stderr
    assert node_processes(tmp_path) == {}


@pytest.mark.slow
def test_a_group_at_rest_is_weighed(tmp_path: Path) -> None:
    options = ("--workload", "idle", "--machine", "typed", "--seconds", 0.5, "--nodes", 1)
    code, stdout, _ = _bench(tmp_path, *options, "--json")
    (idle,) = json.loads(stdout)["idle"]

    assert code == 0
    assert idle["seconds"] >= 0.5
    assert 10 < idle["memory_mb"]["a"] < 500
    assert 0 <= idle["cpu_percent"]["a"] < 100


@pytest.mark.slow
def test_figures_are_consistent(said: dict[str, Any]) -> None:
    for it in said["measurements"]:
        assert 0.3 <= it["seconds"] < 3
        assert it["writes"] == pytest.approx(it["writes_per_s"] * it["seconds"])
        assert 0 < it["p50_ms"] <= it["p99_ms"] <= it["p999_ms"] <= it["max_ms"]
        # Half of the writes took p50 or longer, and each task had one under way at a time.
        available = it["outstanding"] * (it["seconds"] + it["max_ms"] / 1000)
        assert it["writes"] / 2 * it["p50_ms"] / 1000 <= available
        assert it["bytes_sent"] > 2 * 32 * it["writes"]
        assert it["packets_sent"] > 0
        assert (it["asked"], it["repaired"]) == (0, 0)
        assert (it["elections"], it["errors"]) == (0, {})


@pytest.mark.slow
def test_every_acknowledged_write_was_applied_once_by_every_node(said: dict[str, Any]) -> None:
    for it in said["measurements"]:
        assert it["acknowledged"] > it["writes"] > 0
        assert it["applied"] == dict.fromkeys("abc", it["acknowledged"])


@pytest.mark.slow
def test_every_node_worked_and_one_led(said: dict[str, Any]) -> None:
    for it in said["measurements"]:
        assert sorted(cpu["role"] for cpu in it["cpu"].values()) == ["follower"] * 2 + ["leader"]
        assert all(0 < cpu["percent"] <= 400 for cpu in it["cpu"].values())


@pytest.mark.slow
def test_the_machine_under_it_is_described(said: dict[str, Any]) -> None:
    here = said["environment"]

    assert here["python"].endswith(sys.version.split()[0])
    assert here["cpus"] == len(os.sched_getaffinity(0))
    assert here["kernel"].startswith("Linux ")
    assert here["file_system"]
    assert here["fsync_ms"] > 0


@pytest.mark.slow
def test_people_get_a_table_and_the_directories_they_asked_for(tmp_path: Path) -> None:
    data = tmp_path / "data"
    code, stdout, stderr = _bench(
        tmp_path,
        *("--outstanding", 4, "--seconds", 0.3, "--machine", "typed", "--nodes", 1, "--data", data),
    )

    assert code == 0
    assert "typed, 4 outstanding: " in stdout
    assert "p99.9" in stdout
    assert "bytes, " not in stdout
    assert stderr == f"the nodes' directories are in {data}\n"
    assert (data / "typed" / "a" / "identity-1").exists()


# ── how it ends otherwise ────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_ctrl_c_ends_it_quickly_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with _start(tmp_path, "--seconds", 50, "--json") as running:
        _wait_for_load(tmp_path)
        running.send_signal(signal.SIGINT)
        began = time.monotonic()
        stdout, stderr = running.communicate(timeout=20)

    assert time.monotonic() - began < 5
    assert (running.returncode, stdout) == (130, "")
    assert stderr.splitlines()[-1] == "interrupted"
    assert list(tmp_path.iterdir()) == []
    assert node_processes(tmp_path) == {}


@pytest.mark.slow
def test_a_bench_that_is_killed_takes_its_nodes_along(tmp_path: Path) -> None:
    with _start(tmp_path, "--seconds", 50) as running:
        _wait_for_load(tmp_path)
        running.kill()

    wait_gone(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("node", ["a", "b", "c"])  # one of them leads
def test_a_node_that_ends_is_the_end_of_the_measurement(tmp_path: Path, node: str) -> None:
    with _start(tmp_path, "--seconds", 50, "--json") as running:
        pid = _wait_for_load(tmp_path)[node]
        os.kill(pid, signal.SIGKILL)
        stdout, stderr = running.communicate(timeout=20)

    assert running.returncode == 1
    assert json.loads(stdout)["faults"] == [f"node {node}: process {pid} got SIGKILL"]
    assert json.loads(stdout)["measurements"] == []
    assert stderr.splitlines()[-1] == f"WRONG: node {node}: process {pid} got SIGKILL"
    assert node_processes(tmp_path) == {}


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--outstanding", "1,x"], "bench: --outstanding 1,x: give numbers from 1 to 4096"),
        (["--outstanding", ""], "bench: --outstanding : give numbers"),
        (["--outstanding", "0"], "bench: --outstanding 0: give numbers"),
        (["--outstanding", "4097"], "bench: --outstanding 4097: give numbers"),
        (["--seconds", "0"], 'Invalid value "0.0" for --seconds'),
        (["--seconds", "inf"], 'Invalid value "inf" for --seconds'),
        (["--nodes", "0"], 'Invalid value "0" for --nodes'),
        (["--nodes", "1", "--at", "follower"], "bench: --nodes 1: a group of one has no follower"),
        (["--nodes", "1", "--workload", "failover"], "bench: --nodes 1: a group of one has no"),
        (["--workload", "sleep"], 'Invalid value "sleep" for --workload'),
        (["--machine", "neither"], 'Invalid value "neither" for --machine'),
        (["--data", str(ROOT)], f"bench: --data {ROOT} is not empty"),
        (["--loss", "0.1"], "bench: --loss 0.1: TCP mends losses before raftkit sees them; add"),
        (["--loss", "1"], 'Invalid value "1.0" for --loss. Must be a part from 0 to below 1'),
        (["--loss", "-0.1"], 'Invalid value "-0.1" for --loss'),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["raftkit", "bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()

    stdout, stderr = capsys.readouterr()
    assert (ended.value.code, stdout) == (2, "")
    assert stderr.startswith(f"raftkit: {words}")
    assert len(stderr.splitlines()) == 1
