"""`raftkit log show` and `raftkit log verify` on directories that real storages wrote."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raftkit.__main__ import main
from raftkit.cli import log
from raftkit.driver.sessions import NONCE_BIT, pack_header
from raftkit.membership import Configuration, Member, Role
from raftkit.messages import Write
from raftkit.model import Index, Kind, Term
from raftkit.statemachine import schema_of
from raftkit.storage import FileStorage, open_storage
from raftkit.testing.storage_conformance import a_run, founding_record, own_snapshot
from tests.house.source import ROOT
from tests.node.machines import Counter

MACHINE = "tests.node.machines:Counter"
JOINT = "a=10.0.0.1:7001, b=10.0.0.2:7001 (learner), c=10.0.0.3:7001 (leaving), joint with the voters a, c"
FOREIGN = "0102030405060708090a0b0c0d0e0f10…"
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def raftkit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs the command line in this process: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["raftkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return call


def _add(session: int, number: int, amount: int) -> bytes:
    body = schema_of(Counter, 1).encode(Counter.add(amount=amount))
    return pack_header(session, number, 1) + body


@pytest.fixture
def storage(tmp_path: Path) -> FileStorage:
    """A directory with entries of each kind that there is today, two of them truncated."""
    storage = open_storage(tmp_path / "a", "a", segment_bytes=2048, preallocate_bytes=512)
    storage.found(founding_record(storage))
    header = pack_header(77, 0, 0)
    joint = Configuration(
        members=(
            Member(id="a", incarnation=1, address="10.0.0.1:7001"),
            Member(id="b", incarnation=2, address="10.0.0.2:7001", role=Role.LEARNER),
            Member(id="c", incarnation=3, address="10.0.0.3:7001", role=Role.LEAVING),
        ),
        outgoing=("a", "c"),
    )
    kinds = (Kind.NOOP, Kind.SESSION, Kind.COMMAND, Kind.COMMAND)
    payloads = (b"", header, _add(3, 1, 5), _add(NONCE_BIT + 9, 1, 6))
    others = (Kind.VOID, Kind.CONFIGURATION, Kind.CLOCK)
    more = (pack_header(3, 2, 1), joint.encode(), b"")
    foreign = pack_header(3, 3, 1) + bytes(range(1, 21))
    storage.perform(
        [
            Write(sequence=1, runs=(a_run(2, 1, *payloads, kinds=kinds),)),
            Write(sequence=2, runs=(a_run(6, 1, b"lost", b"lost"),)),
            Write(
                sequence=3,
                hard_state=(Term(2), None),
                truncate_from=Index(6),
                runs=(a_run(6, 2, *more, kinds=others), a_run(9, 2, foreign, b"short")),
            ),
        ]
    )
    return storage


@pytest.fixture
def directory(storage: FileStorage, tmp_path: Path) -> Path:
    """The same, of a node that has stopped."""
    storage.close()
    return tmp_path / "a"


def _rows(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


# ── show ─────────────────────────────────────────────────────────────────────────────────────────────


def test_every_entry_is_one_line_with_aligned_columns(raftkit: Cli, directory: Path) -> None:
    code, out, err = raftkit("log", "show", directory, "--machine", MACHINE)

    stamp = "1970-01-01T00:00:01.000000Z"
    assert (code, out.splitlines()) == (
        0,
        [
            f"         1      1 configuration {stamp}            -       71  a=127.0.0.1:1",
            f"         2      1 noop          {stamp}            -        0",
            f"         3      1 session       {stamp}            3       24",
            f"         4      1 command       {stamp}          3/1       30  add(amount=5)",
            f"         5      1 command       {stamp}            -       30  add(amount=6)",
            f"         6      2 void          {stamp}          3/2       24",
            f"         7      2 configuration {stamp}            -      107  {JOINT}",
            f"         8      2 clock         {stamp}            -        0",
            f"         9      2 command       {stamp}          3/3       44  {FOREIGN}",
            f"        10      2 command       {stamp}            -        5  73686f7274",
        ],
    )
    assert err == "not shown: 2 entries that a later leader replaced or removed\n"


def test_a_version_entry_says_which(raftkit: Cli, tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "a", "a")
    storage.found(founding_record(storage))
    payload = pack_header(NONCE_BIT, 1, 0) + (2).to_bytes(8, "big")
    storage.perform([Write(sequence=1, runs=(a_run(2, 1, payload, kinds=(Kind.VERSION,)),))])
    storage.close()

    _, out, _ = raftkit("log", "show", tmp_path / "a")

    assert out.splitlines()[-1].split()[2:] == [
        "version",
        "1970-01-01T00:00:01.000000Z",
        "-",
        "32",
        "version",
        "2",
    ]


def test_without_the_machine_commands_are_their_first_bytes(raftkit: Cli, directory: Path) -> None:
    _, out, _ = raftkit("log", "show", directory, "--first", 4, "--last", 4)

    assert out.endswith("  826361646405\n")


def test_json_is_one_object_an_entry(raftkit: Cli, directory: Path) -> None:
    code, out, _ = raftkit("log", "show", directory, "--json", "--machine", MACHINE)
    rows = _rows(out)

    assert code == 0
    assert [row["index"] for row in rows] == list(range(1, 11))
    assert rows[0]["members"] == [{"id": "a", "address": "127.0.0.1:1", "role": "voter"}]
    assert rows[6]["outgoing"] == ["a", "c"]
    fourth = rows[3]
    offset = fourth.pop("offset")
    assert fourth == {
        "index": 4,
        "term": 1,
        "kind": "command",
        "time": "1970-01-01T00:00:01.000000Z",
        "session": 3,
        "number": 1,
        "size": 30,
        "file": "log-0000000001",
        "command": "add(amount=5)",
    }
    assert (directory / "log-0000000001").read_bytes()[offset : offset + 4] == b"\xa7log"
    assert (rows[4]["session"], rows[4]["number"]) == (None, None)  # asked at most once
    assert rows[8]["hex"] == FOREIGN
    assert "unknown" in rows[8]


@pytest.mark.parametrize(
    "options, shown",
    [
        (("--first", 9), [9, 10]),
        (("--last", 2), [1, 2]),
        (("--first", 3, "--last", 4), [3, 4]),
        (("--first", 11), []),
        (("--last", 99), list(range(1, 11))),
    ],
)
def test_first_and_last_bound_what_is_shown(
    raftkit: Cli, directory: Path, options: tuple[object, ...], shown: list[int]
) -> None:
    code, out, err = raftkit("log", "show", directory, "--json", *options)

    assert (code, [row["index"] for row in _rows(out)]) == (0, shown)
    if not shown:
        assert "the log holds entries 1 to 10" in err


def test_entries_in_a_snapshot_are_said_to_be_there(
    raftkit: Cli, storage: FileStorage, tmp_path: Path
) -> None:
    own_snapshot(storage, 4, [b"state"])
    storage.perform([Write(sequence=4, compact_to=Index(4))])
    storage.close()

    code, out, err = raftkit("log", "show", tmp_path / "a", "--json")
    assert (code, [row["index"] for row in _rows(out)]) == (0, [5, 6, 7, 8, 9, 10])
    assert "entries up to 4 are in a snapshot" in err


def test_log_of_a_running_node_is_shown_and_its_lock_left_alone(
    raftkit: Cli, storage: FileStorage, tmp_path: Path
) -> None:
    before = raftkit("log", "show", tmp_path / "a", "--json")[1]
    storage.perform([Write(sequence=4, runs=(a_run(11, 2, b"while it runs"),))])
    after = raftkit("log", "show", tmp_path / "a", "--json")[1]

    assert len(_rows(before)) == 10
    assert len(_rows(after)) == 11
    storage.close()


def test_node_that_was_never_founded_has_nothing_to_show(raftkit: Cli, tmp_path: Path) -> None:
    open_storage(tmp_path / "new", "n").close()

    shown = raftkit("log", "show", tmp_path / "new")
    assert shown == (0, "", "node n was never founded: it has no log\n")
    code, out, _ = raftkit("log", "verify", tmp_path / "new")
    assert (code, out.splitlines()[1:]) == (0, ["never founded: it has no log", "fine"])


def test_on_a_terminal_lines_fit_and_stand_under_a_heading(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    for name, value in {"COLUMNS": "72", "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    log.show(directory)

    heading, *lines = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
    assert heading.split()[:3] == ["index", "term", "kind"]
    assert len(lines) == 10
    assert all(len(line) <= 72 for line in lines)
    assert lines[6].endswith("…")


@pytest.mark.slow
def test_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    """As `| head` does. A real process, since the pipe is the operating system's."""
    storage = open_storage(tmp_path / "a", "a")
    storage.found(founding_record(storage))
    runs = tuple(a_run(2 + 1000 * n, 1, *[b"x" * 40] * 1000) for n in range(4))
    storage.perform([Write(sequence=1, runs=runs)])
    storage.close()
    command = [sys.executable, "-W", "error", "-m", "raftkit", "log", "show", str(tmp_path / "a")]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(shown.stdout.splitlines()) == 4_001

    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"configuration" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


# ── verify ───────────────────────────────────────────────────────────────────────────────────────────


def test_verify_says_what_it_has_read(raftkit: Cli, directory: Path) -> None:
    code, out, err = raftkit("log", "verify", directory)
    lines = out.splitlines()

    assert (code, err) == (0, "")
    assert lines[0].startswith(f"{directory}: node a@")
    assert lines[1].endswith("epoch 1, term 2")
    assert lines[2].startswith("log: segments 1, records 9, bytes 1,")
    assert lines[3:] == [
        "log: entries 1 to 10, terms 1 to 2",
        "torn tail: none",
        "fine: a node can start from it",
    ]


def test_verify_says_the_same_as_json(raftkit: Cli, storage: FileStorage, tmp_path: Path) -> None:
    own_snapshot(storage, 4, [b"state"])
    storage.close()
    code, out, _ = raftkit("log", "verify", tmp_path / "a", "--json")
    (said,) = _rows(out)

    assert code == 0
    assert said["ok"] is True
    assert said["cluster"] == b"0123456789abcdef".hex()
    assert (said["first"], said["last"], said["first_term"], said["last_term"]) == (1, 10, 1, 2)
    assert said["snapshots"] == [{"index": 4, "term": 1, "bytes": 5}]
    assert (said["id"], said["boot"], said["segments"], said["torn_bytes"]) == ("a", 1, 1, 0)
    assert said["remarks"] == []


def test_corruption_is_one_line_with_file_offset_index_and_what_to_do(
    raftkit: Cli, storage: FileStorage, tmp_path: Path
) -> None:
    storage.perform([Write(sequence=4, runs=(a_run(11, 2, bytes(range(200)) * 11, b"next"),))])
    storage.perform([Write(sequence=5, runs=(a_run(13, 2, b"another segment"),))])
    storage.close()
    file = tmp_path / "a" / "log-0000000001"
    content = file.read_bytes()
    at = content.rindex(bytes(range(100, 140)))
    file.write_bytes(content[:at] + b"?" + content[at + 1 :])

    code, out, err = raftkit("log", "verify", tmp_path / "a")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"raftkit: {file}: corrupt at byte ")
    assert "(index 11)" in err
    assert "restore the directory from a copy, or delete it and admit the node again" in err
    code, out, err_again = raftkit("log", "verify", tmp_path / "a", "--json")
    (said,) = _rows(out)
    assert (code, err_again) == (1, err)
    assert (said["ok"], said["file"], said["index"]) == (False, "log-0000000001", 11)
    assert at - 3000 < said["offset"] <= at
    code, out, err = raftkit("log", "show", tmp_path / "a", "--json")
    assert (code, len(_rows(out))) == (1, 10)  # what comes before it is shown
    assert "corrupt" in err


def test_torn_tail_and_other_remarks_are_told_and_fine(raftkit: Cli, directory: Path) -> None:
    (directory / "identity-2").write_bytes(b"rotten")
    file = directory / "log-0000000001"
    content = file.read_bytes()
    start = content.rindex(b"\xa7log")
    half = content[: start + 40].rstrip(b"\0")
    file.write_bytes(half.ljust(len(content), b"\0"))

    code, out, _ = raftkit("log", "verify", directory)
    assert code == 0
    assert f"torn tail: {len(half) - start} bytes\n" in out
    assert f"{directory}/identity-2: this copy is bad, the other will replace it\n" in out
    assert f"{file}: an interrupted write will be cut off at byte {start}\n" in out
    assert out.endswith("fine: a node can start from it\n")


def test_progress_is_shown_on_a_terminal_when_it_takes_long(
    raftkit: Cli, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_LONG_BYTES", 1)
    assert "reading" not in raftkit("log", "verify", directory)[2]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "reading" in raftkit("log", "verify", directory)[2]
    monkeypatch.setattr(log, "_LONG_BYTES", 1 << 40)
    assert "reading" not in raftkit("log", "verify", directory)[2]


# ── what can't be looked at ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("verb", ["show", "verify"])
def test_path_without_a_node_is_exit_code_2(raftkit: Cli, tmp_path: Path, verb: str) -> None:
    code, out, err = raftkit("log", verb, tmp_path)
    assert (code, out) == (2, "")
    assert err == f"raftkit: {tmp_path} is no data directory: it has no identity file\n"
    code, _, err = raftkit("log", verb, tmp_path / "none")
    assert (code, len(err.splitlines())) == (2, 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options, said",
    [
        (("--first", 0), "Must be >= 1"),
        (("--first", 5, "--last", 4), "--first 5 is after --last 4"),
        (("--machine", "tests.node.machines:Countr"), "did you mean Counter?"),
        (("--machine", "tests.node:nothing"), "--machine: tests.node has no 'nothing'"),
    ],
)
def test_option_that_can_not_be_is_one_line_and_exit_code_2(
    raftkit: Cli, directory: Path, options: tuple[object, ...], said: str
) -> None:
    code, out, err = raftkit("log", "show", directory, *options)

    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert said in err
