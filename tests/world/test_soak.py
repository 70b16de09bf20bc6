"""What runs for hours: it stops when it should, and a failure says how to see it again."""

from __future__ import annotations

import json
import shlex
import signal
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from unittest.mock import patch

import pytest

from raftkit.driver.recording import read_recording
from raftkit.messages import Write
from raftkit.testing import soak
from raftkit.testing.replay import replay
from raftkit.testing.soak import Failure
from raftkit.testing.world import Report
from raftkit.testing.world.disk import WorldDisk


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_time_that_is_up_begins_no_more_worlds(jobs: int) -> None:
    begin = time.monotonic()
    outcomes = list(soak.soak(count(), nodes=3, deliveries=50, jobs=jobs, seconds=1.0))

    assert time.monotonic() - begin < 30
    assert [it.seed for it in outcomes] == list(range(len(outcomes)))
    assert all(isinstance(it, Report) for it in outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_it_and_what_was_run_is_told(
    jobs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # A shell's background job has no handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(
        1.5, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)
    ).start()
    try:
        status = soak.main(
            ["--worlds", "1000000", "--nodes", "3", "--deliveries", "50", "--jobs", jobs, "--json"]
        )
    finally:
        signal.signal(signal.SIGINT, before)

    told = json.loads(capsys.readouterr().out)
    assert status == 0
    assert 0 < told["worlds"] < 1000000
    assert told["last_seed"] == told["worlds"] - 1


@pytest.mark.slow
def test_result_says_what_was_run(capsys: pytest.CaptureFixture[str]) -> None:
    status = soak.main(
        ["--worlds", "5", "--first-seed", "7", "--deliveries", "50", "--jobs", "1", "--json"]
    )

    result = json.loads(capsys.readouterr().out)
    assert (status, result["failures"]) == (0, [])
    assert (result["first_seed"], result["last_seed"], result["worlds"]) == (7, 11, 5)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["memory", "multicast"])
def test_full_worlds_are_run_over_what_is_chosen(
    chosen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--full", "--nodes", "1", "--storm", "1", "--worlds", "1", "--jobs", "1", "--json"]
    assert soak.main([*words, "--transport", chosen]) == 0

    assert json.loads(capsys.readouterr().out)[f"worlds over {chosen}"] == 1


def test_no_time_is_no_world(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.main(["--seconds", "0", "--jobs", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["first_seed"] is None


def _forgetful(perform: Callable[[WorldDisk, Write], None]) -> Callable[[WorldDisk, Write], None]:
    """A disk that loses every write."""
    return lambda disk, write: perform(disk, Write(sequence=write.sequence))


@pytest.mark.slow
def test_a_failure_names_the_commands_that_show_and_draw_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with patch.object(WorldDisk, "_perform", _forgetful(WorldDisk._perform)):
        (failure,) = soak.soak([5], nodes=3, deliveries=300, jobs=1)
        assert isinstance(failure, Failure)
        record, draw = failure.draw.split("; ")
        words = shlex.split(record)
        assert words[:3] == ["python", "-m", "raftkit.testing.soak"]
        assert soak.main(words[3:]) == 1

    assert f"{failure.name}: {failure.detail.partition(' (step')[0]}" in capsys.readouterr().err
    assert draw == "raftkit replay world-5.rec --diagram world-5.svg"
    *_, last = replay(read_recording(tmp_path / "world-5.rec"))
    assert f"(step {last.step - 1})" in failure.detail or f"(step {last.step})" in failure.detail


@pytest.mark.parametrize("option", ["--trace", "--record=x.rec"])
def test_one_world_is_shown_by_its_seed(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        soak.main([option])

    assert "say which by --seed" in capsys.readouterr().err


def test_a_recording_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.rec").write_bytes(b"dear")

    with pytest.raises(SystemExit):
        soak.main(["--seed", "1", "--record", str(tmp_path / "w.rec")])

    assert "there is such a file already" in capsys.readouterr().err
    assert (tmp_path / "w.rec").read_bytes() == b"dear"
