"""`raftkit replay` on recordings that real cores wrote."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from raftkit.__main__ import main
from raftkit.driver.recording import Stepped, open_recorder, read_recording
from raftkit.encoding import array, loads
from raftkit.testing import soak
from tests.driver.test_recording import recording

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def raftkit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs the command line in this process: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["raftkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


def test_the_story_is_told_line_by_line(raftkit: Cli, tmp_path: Path) -> None:
    code, out, err = raftkit("replay", recording(tmp_path / "a.rec"))

    assert (code, err) == (0, "")
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "1 0.000 s a starts in T1, last 1",
        "1 0.000 s a becomes pre-candidate, T1",
        "1 0.000 s a becomes candidate, T2",
        "2 0.000 s a leads T2",
        "2 0.000 s a fault",
        "3 0.000 s a commit 2",
        "3 0.000 s a crashes",
        "3 steps of a played; leaders: a T2; committed up to 2; all effects as recorded",
    ]


def test_json_is_one_object_a_line_and_the_result_at_the_end(raftkit: Cli, tmp_path: Path) -> None:
    code, out, _ = raftkit("replay", recording(tmp_path / "a.rec"), "--json", "--until", 2)

    *story, result = map(json.loads, out.splitlines())
    assert code == 0
    assert story[0] == {"step": 1, "seconds": 0.0, "server": "a", "what": "starts in T1, last 1"}
    assert story[-1] == {"step": 2, "seconds": 0.0, "server": None, "what": "a fault"}
    assert result == {
        "ok": True,
        "steps": 2,
        "servers": ["a"],
        "leaders": {"2": "a"},
        "committed": 0,
        "failure": None,
    }


def test_a_divergence_is_told_drawn_and_an_exit_code(raftkit: Cli, tmp_path: Path) -> None:
    """What was played before it is in the picture: that is what the picture is for."""
    records = list(read_recording(recording(tmp_path / "a.rec")))
    path, picture = tmp_path / "b.rec", tmp_path / "b.txt"
    last = max(at for at, it in enumerate(records) if isinstance(it, Stepped))
    data = (tmp_path / "a.rec").read_bytes()
    step = records[last]
    assert isinstance(step, Stepped)
    assert step.digest
    # The same file but for the digest of the last step, in a record of the same length.
    with closing(open_recorder(path)) as recorder:
        at = 16
        while at < len(data):
            length = int.from_bytes(data[at : at + 4], "big")
            body = data[at + 8 : at + 8 + length]
            recorder.write(array(loads(body.replace(step.digest, b"another!"))))
            at += 8 + length

    code, out, err = raftkit("replay", path, "--diagram", picture)

    assert code == 1
    assert err.splitlines()[-1].startswith(
        f"raftkit: {path}: step 3, a@0000000000000001: the effects"
    )
    assert out.splitlines()[-1].endswith("FAILED in the last step")
    assert "a leads T2" in picture.read_text()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["nowhere.rec"], "raftkit: nowhere.rec: No such file or directory"),
        (["README.md"], "raftkit: README.md is no recording of raftkit"),
        (["a.rec", "--diagram", "a.png"], "--diagram a.png: the name must end in .svg or .txt"),
        (["a.rec", "--from", "5", "--until", "3"], "raftkit: --from 5 is after --until 3"),
        (["a.rec", "--until", "0"], "--until"),
    ],
)
def test_what_can_not_be_is_one_line_and_exit_code_2(
    raftkit: Cli, arguments: list[str], said: str
) -> None:
    code, out, err = raftkit("replay", *arguments)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


@pytest.mark.slow
def test_a_world_that_is_recorded_can_be_drawn(
    raftkit: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, picture = tmp_path / "w.rec", tmp_path / "w.svg"
    assert soak.main(["--seed", "16", "--deliveries", "300", "--record", str(path)]) == 0
    capsys.readouterr()

    code, out, err = raftkit("replay", path, "--diagram", picture, "--from", 100, "--until", 200)

    assert (code, err) == (0, f"raftkit: drawn: {picture}\n")
    assert "200 steps of a, b, c, d, e" in out  # and perhaps of who joined
    svg = picture.read_text()
    assert ">100 ·" in svg or ">101 ·" in svg
    assert ">99 ·" not in svg
