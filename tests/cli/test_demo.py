"""`raftkit demo --in-process` as people run it: a real process, real files, real logs.

The faults that `verified` must see are planted in the machines themselves.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from raftkit import command
from raftkit.__main__ import main
from raftkit.cli.demo import command as demo, member
from raftkit.cli.demo.machine import Transcript
from tests.house.source import ROOT

pytestmark = pytest.mark.slow

FIELDS = {
    *("nodes", "clients", "input", "lines", "applied", "lost", "altered", "duplicated", "refused"),
    *("digests_equal", "digest", "verified", "why", "kills", "failover_gap_ms", "sent_again"),
    *("writes_per_s", "p50_ms", "p99_ms", "leaders", "terms", "seconds"),
}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where child processes put temporary directories."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "raftkit", *map(str, arguments)]


def _raftkit(*arguments: object, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )


def _demo(*arguments: object, seconds: float = 60) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON and stderr of a demo that goes as fast as it can."""
    done = _raftkit("demo", "--in-process", "--json", "--seconds", 0, *arguments, seconds=seconds)
    assert "Traceback" not in done.stderr, done.stderr
    assert len(done.stdout.splitlines()) == 1, done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def _name(it: object) -> str:
    return " ".join(it) if isinstance(it, list) else ""


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# ── all is well ──────────────────────────────────────────────────────────────────────────────────


def test_every_line_survives_the_kill_of_the_leader_exactly_once(
    tmp_path: Path, temporary: Path
) -> None:
    content = b"".join(b"line %d\n" % number for number in range(500))

    code, said, stderr = _demo("--input", _file(tmp_path / "text", content))

    assert set(said) == FIELDS
    assert (code, said["verified"], said["why"]) == (0, True, "")
    assert (said["nodes"], said["clients"], said["lines"], said["applied"]) == (3, 16, 500, 500)
    assert said["lost"] == said["altered"] == said["duplicated"] == said["refused"] == 0
    assert (said["digests_equal"], len(said["digest"])) == (True, 32)
    assert said["kills"] == 1
    assert said["failover_gap_ms"] > 0
    assert 0 < said["p50_ms"] <= said["p99_ms"]
    assert said["writes_per_s"] > 0
    assert said["sent_again"] >= 0
    assert said["seconds"] > 0
    assert said["input"] == str(tmp_path / "text")
    assert len(said["leaders"]) == len(said["terms"]) >= 2
    assert said["terms"] == sorted(set(said["terms"]))
    assert set(said["leaders"]) <= {"a", "b", "c"}
    assert "is killed" in stderr
    assert "opens its directory again" in stderr
    assert stderr.splitlines()[-1] == "verified"


@pytest.mark.parametrize("content, lines", [(b"", 0), (b"\n", 1), (b"only", 1), (b"two\nlines", 2)])
def test_the_smallest_texts_are_verified(tmp_path: Path, content: bytes, lines: int) -> None:
    code, said, _ = _demo("--input", _file(tmp_path / "text", content))

    assert (code, said["verified"], said["lines"], said["applied"]) == (0, True, lines, lines)
    assert said["kills"] == (1 if lines else 0)
    assert (said["failover_gap_ms"] is None) == (lines == 0)


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_groups_of_other_sizes_are_verified(tmp_path: Path, nodes: int) -> None:
    content = b"\n".join(b"%d" % number for number in range(100))

    code, said, _ = _demo("--input", _file(tmp_path / "text", content), "--nodes", nodes)

    assert (code, said["verified"], said["nodes"], said["applied"]) == (0, True, nodes, 100)
    assert said["kills"] == 1
    assert said["failover_gap_ms"] > 0


@pytest.mark.parametrize("victim, kills", [("follower", 1), ("none", 0)])
def test_another_victim_or_none_is_verified(tmp_path: Path, victim: str, kills: int) -> None:
    content = b"\n".join(b"%d" % number for number in range(100))

    code, said, _ = _demo("--input", _file(tmp_path / "text", content), "--kill", victim)

    assert (code, said["verified"], said["applied"], said["kills"]) == (0, True, 100, kills)
    assert (said["failover_gap_ms"] is None) == (kills == 0)
    assert len(said["terms"]) == 1


def test_a_line_over_the_entry_limit_is_refused_and_the_rest_is_unharmed(tmp_path: Path) -> None:
    lines = [b"first", b"", b"\xff\xfe not text \x80", b"x" * 1_000_000, b"", b"last"]

    code, said, stderr = _demo("--input", _file(tmp_path / "text", b"\n".join(lines)))

    assert (code, said["verified"], said["refused"]) == (1, True, 1)
    assert (said["lines"], said["applied"], said["lost"], said["altered"]) == (6, 5, 0, 0)
    (refusal,) = [line for line in stderr.splitlines() if line.startswith("refused: ")]
    assert "line 4, 1,000,000 bytes" in refusal
    assert "entry_bytes_max" in refusal
    assert stderr.splitlines()[-1] == "verified"


def test_a_large_file_is_streamed(tmp_path: Path) -> None:
    rng = random.Random(2)
    content = b"".join(
        rng.randbytes(rng.randrange(200)).hex().encode() + b"\n" for _ in range(20_000)
    )
    assert len(content) > 4_000_000

    text = _file(tmp_path / "text", content)
    command = _command("demo", "--in-process", "--json", "--seconds", 0, "--clients", 256)
    # A child begins with what its parent has, which for a process of tests is more than the bound.
    measure = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", measure, *command, "--input", text],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr

    said = json.loads(done.stdout)
    assert (said["verified"], said["applied"]) == (True, 20_000)
    assert int(done.stderr.splitlines()[-1]) / 1024 < 250  # MiB


def test_people_read_words_that_end_in_the_verdict(tmp_path: Path) -> None:
    text = _file(tmp_path / "text", b"a\nb\nc\n")

    done = _raftkit("demo", "--in-process", "--input", text, "--seconds", 1.5)

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == "verified"
    assert any("replicating: " in line for line in lines)
    assert f"3 lines of {text}, 3 nodes, 16 clients" in done.stdout
    assert "3 applied exactly once at every node, 0 lost" in done.stdout


# ── options that can't work: one line, exit 2, nothing made ──────────────────────────────────────


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["demo", "--kill", "everyone"], "everyone"),
        (["demo", "--kill", "follower", "--nodes", "1"], "--kill follower: a single node has none"),
        (["demo", "--in-process", "--input", "no such file"], "no such file: No such file"),
        (["demo", "--in-process", "--input", "."], "directory"),
        (["demo", "--in-process", "--data", "README.md/x"], "README.md/x: Not a directory"),
        (["demo", "--in-process", "--data", "/proc/x"], "/proc/x: "),
        (["demo", "--in-process", "--data", "tests"], "tests is not empty"),
        (["demo", "--in-process", "--nodes", "0"], "--nodes"),
        (["demo", "--in-process", "--nodes", "three"], "three"),
        (["demo", "--in-process", "--clients", "0"], "--clients"),
        (["demo", "--in-process", "--seconds", "nan"], "--seconds"),
        (["demo", "--in-process", "--seconds", "-1"], "--seconds"),
        (["demo", "--in-process", "--second", "1"], "Did you mean --seconds?"),
        (["dmeo"], "dmeo"),
    ],
    ids=_name,
)
def test_what_cannot_work_is_said_in_one_line(
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    code, stdout, stderr = _typed(arguments, monkeypatch, capfd)

    assert (code, stdout) == (2, "")
    (line,) = stderr.splitlines()
    assert line.startswith("raftkit: ")
    assert words in line


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--version"], "raftkit 0"),
        (["--help"], "demo"),
        (["demo", "--help"], "--in-process"),
        ([], "demo"),
    ],
    ids=_name,
)
def test_what_is_asked_is_answered(
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    code, stdout, stderr = _typed(arguments, monkeypatch, capfd)

    assert (code, stderr) == (0, "")
    assert words in stdout


def _typed(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of the console script, in this process."""
    monkeypatch.setattr(sys, "argv", ["raftkit", *arguments])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as exit_:
        main()
    captured = capfd.readouterr()
    code = exit_.value.code
    assert not isinstance(code, str)
    return code or 0, captured.out, captured.err


# ── what goes wrong on the way ───────────────────────────────────────────────────────────────────


def test_a_directory_in_use_is_refused_and_ctrl_c_ends_its_user_cleanly(tmp_path: Path) -> None:
    data = tmp_path / "data"
    text = _file(tmp_path / "text", b"\n" * 1000)
    arguments = ("demo", "--in-process", "--json", "--data", data, "--input", text)
    with subprocess.Popen(
        _command(*arguments, "--seconds", 50),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as user:
        assert user.stderr is not None
        assert user.stdout is not None
        while "leads" not in user.stderr.readline():
            pass

        second = _raftkit(*arguments)
        user.send_signal(signal.SIGINT)
        code = user.wait(20)
        last = user.stderr.read().splitlines()[-1]
        output = user.stdout.read()

    assert (second.returncode, second.stdout) == (2, "")
    assert f"{data} is not empty" in second.stderr
    assert (code, output, last) == (130, "", "interrupted: nothing was verified")
    assert sorted(path.name for path in data.iterdir()) == ["a", "b", "c"]


def test_a_text_that_changes_on_the_way_is_not_verified(tmp_path: Path, temporary: Path) -> None:
    text = _file(tmp_path / "text", b"a\nb\n")
    with subprocess.Popen(
        _command("demo", "--in-process", "--json", "--input", text, "--seconds", 2),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        while "leads" not in running.stderr.readline():
            pass
        _file(text, b"a\nc\n")
        stdout, stderr = running.communicate(timeout=30)

    said = json.loads(stdout)
    assert (running.returncode, said["verified"], said["applied"]) == (1, False, None)
    assert said["why"] == f"{text} was changed while it was replicated"
    assert stderr.splitlines()[-2] == f"NOT VERIFIED: {said['why']}"
    (kept,) = temporary.iterdir()
    assert stderr.splitlines()[-1] == f"the nodes' directories are in {kept}"


def test_a_node_that_must_not_go_on_ends_the_demo_with_its_words(tmp_path: Path) -> None:
    command = _command("demo", "--in-process", "--json", "--data", tmp_path / "data")
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 100; exec "$@"', "_", *command],  # no file above 100 KiB
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    said = json.loads(done.stdout)
    assert (done.returncode, said["verified"]) == (1, False)
    assert said["why"].startswith("node ")
    assert "File too large" in said["why"]
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_ends_the_demo_without_a_traceback(tmp_path: Path) -> None:
    text = _file(tmp_path / "text", b"\n" * 1000)
    with subprocess.Popen(
        _command("demo", "--in-process", "--input", text, "--seconds", 50),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        code = running.wait(20)
        stderr = running.stderr.read()

    assert code != 0
    assert stderr == ""


# ── faults in the machines, planted ──────────────────────────────────────────────────────────────


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Twenty empty lines."""
    return _file(tmp_path / "text", b"\n" * 20)


@attrs.define
class Forgetful(Transcript):
    """Loses a line."""

    @command
    def write(self, number: int, content: bytes) -> None:
        if number != 7:
            super().write(number, content)


@attrs.define
class Zealous(Transcript):
    """Applies a line twice."""

    @command
    def write(self, number: int, content: bytes) -> None:
        super().write(number, content)
        if number == 7:
            super().write(number, content)


@attrs.define
class Moody(Transcript):
    """Is not deterministic: what it keeps differs each time a replica applies the line."""

    times: ClassVar[Iterator[int]] = count()

    @command
    def write(self, number: int, content: bytes) -> None:
        super().write(number, content if number != 7 else b"%d" % next(Moody.times))


@pytest.mark.parametrize(
    "machine, fault, words",
    [
        (Forgetful, "lost", "line 7 is lost at a, b, c"),
        (Zealous, "duplicated", "line 7 is duplicated at a, b, c"),
        (Moody, "altered", "line 7 is altered at a, b, c"),
    ],
)
def test_a_fault_of_the_machine_is_seen_at_the_end(
    text: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    machine: type[Transcript],
    fault: str,
    words: str,
) -> None:
    monkeypatch.setattr(member, "Transcript", machine)
    options = demo.Options(
        in_process=True,
        transport="tcp",
        input=text,
        nodes=3,
        clients=4,
        seconds=0,
        kill="leader",
        data=text.parent / "data",
        json=True,
    )

    code = demo.run(options)

    captured = capsys.readouterr()
    said = json.loads(captured.out.splitlines()[-1])
    found = {what: said[what] for what in ("lost", "altered", "duplicated")}
    assert (code, said["verified"], said["applied"]) == (1, False, 19)
    assert found == dict.fromkeys(found, 0) | {fault: 1}
    assert said["digests_equal"] == (machine is not Moody)
    assert words in said["why"]
    assert f"NOT VERIFIED: {said['why']}" in captured.err.splitlines()
