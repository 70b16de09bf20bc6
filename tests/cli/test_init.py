"""`raftkit init`: what is made, what is refused before anything is, and what is founded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from raftkit import open_node
from raftkit.cli import init
from raftkit.cli.node_file import NODE_FILE, NodeFile, read_node_file, write_node_file
from raftkit.storage import open_storage
from tests.cli.typed import MACHINE, refused, typed
from tests.house.source import ROOT
from tests.node.machines import Counter

THREE = "a=127.0.0.1:7001,b=127.0.0.1:7002,c=localhost:7003"
ONE = ("--id", "a", "--members", "a=127.0.0.1:7001", "--machine", MACHINE)


def test_a_member_of_three_gets_a_file_that_says_how_it_is_run(tmp_path: Path) -> None:
    home = tmp_path / "not there yet" / "b"

    code, out, err = typed("init", home, "--id", "b", "--members", THREE, "--machine", MACHINE)

    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{home}: node b is ready",
        "the group is founded when all of a, b, c run",
        f"next: raftkit run '{home}'",
    ]
    assert [it.name for it in home.iterdir()] == [NODE_FILE]
    assert home.stat().st_mode & 0o777 == 0o700
    file = read_node_file(home)
    assert (file.id, file.machine) == ("b", MACHINE)
    assert file.members == {"a": "127.0.0.1:7001", "b": "127.0.0.1:7002", "c": "localhost:7003"}


def test_every_setting_is_kept(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "listen": "127.0.0.1:8001",
        "insecure": True,
        "election_timeout": (0.5, 1.5),
        "heartbeat_interval": 0.125,
        "vote_timeout": (0.25, 0.75),
        "retry_interval": 0.25,
        "entry_bytes_max": 9_000,
        "sessions_max": 7,
        "session_idle": 60.5,
        "snapshot_entries": 0,
        "snapshot_bytes": 8_000_000,
        "snapshot_elapsed": 3600.0,
    }
    options: list[object] = []
    for name, value in settings.items():
        options += [
            f"--{name.replace('_', '-')}",
            *(value if isinstance(value, tuple) else [value]),
        ]
    options.remove(True)

    code, out, _ = typed(
        "init", tmp_path / "a", "--id", "a", "--members", THREE, "--json", *options
    )

    assert code == 0
    assert json.loads(out) == {
        "directory": str(tmp_path / "a"),
        "id": "a",
        "founded": False,
        "next": f"raftkit run {tmp_path / 'a'} --machine MODULE:NAME",
    }
    kept = read_node_file(tmp_path / "a").settings
    pairs = {"election_timeout": [0.5, 1.5], "vote_timeout": [0.25, 0.75]}
    assert {name: kept[name] for name in settings} == settings | pairs


def test_names_that_toml_must_escape_come_back(tmp_path: Path) -> None:
    members = {'a"\\ ü': "[::1]:7001", "b.c": "127.0.0.1:7002"}
    file = NodeFile(machine='x"y.py:Z', settings={"id": "b.c", "members": members})

    write_node_file(tmp_path, file)

    assert read_node_file(tmp_path) == file


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    file = NodeFile(machine=None, settings={"id": "a", "members": {"a": "127.0.0.1:7001"}})
    write_node_file(tmp_path, file)

    with pytest.raises(FileExistsError):
        write_node_file(tmp_path, file)


@pytest.mark.slow
@pytest.mark.accept("C-15")
def test_a_list_of_one_is_founded_before_it_is_said_and_never_again(tmp_path: Path) -> None:
    home = tmp_path / "a"

    code, out, err = typed("init", home, *ONE)

    assert (code, err) == (0, "")
    assert "its group is founded, with no other member\n" in out
    storage = open_storage(home, "a")
    founding = storage.record.founding
    storage.close()
    assert founding is not None
    held = {it.name: it.read_bytes() for it in home.iterdir()}
    assert f"{home} is made already" in refused("init", home, *ONE)
    assert {it.name: it.read_bytes() for it in home.iterdir()} == held

    async def count() -> int:
        settings = read_node_file(home).settings
        members = {"a": "127.0.0.1:0"}  # means nothing now; and that port is free
        async with open_node(Counter, **{**settings, "members": members}, data_dir=home) as node:
            return await node.execute(Counter.add())

    assert trio.run(count) == 1


@pytest.mark.slow
def test_founding_waits_for_an_election_however_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "FOUND_SECONDS", 1.0)

    code, _, err = typed("init", tmp_path / "a", *ONE, "--election-timeout", 2, 2.5)

    assert (code, err) == (0, "")


def test_a_directory_that_holds_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log-0000000001").write_text("of somebody else")

    words = refused("init", tmp_path, "--id", "a", "--members", THREE)

    assert "is not empty (log-0000000001 is there)" in words
    assert [it.name for it in tmp_path.iterdir()] == ["log-0000000001"]


@pytest.mark.parametrize(
    "options, words",
    [
        (("--id", "z", "--members", THREE), "id 'z' is not in members"),
        (("--id", "a", "--members", "a=127.0.0.1:1,a=127.0.0.1:2"), "a is listed twice"),
        (("--id", "a", "--members", "a=127.0.0.1:1,b=127.0.0.1:1"), "the same address"),
        (("--id", "a", "--members", "a=127.0.0.1:1,"), "'' is not NAME=HOST:PORT"),
        (("--id", "a", "--members", "a"), "'a' is not NAME=HOST:PORT"),
        (("--id", "a", "--members", "a=7001,b=127.0.0.1:1"), "'7001' is not \"host:port\""),
        (("--id", "a", "--members", "a=127.0.0.1:1,b=127.0.0.1:99999"), 'is not "host:port"'),
        (("--id", "a", "--members", "a=127.0.0.1:1,b=192.0.2.1:1"), "is not loopback"),
        (("--id", "a", "--members", "a=192.0.2.1:1,b=127.0.0.1:1"), "is not loopback"),
        (("--id", "a", "--members", "a=192.0.2.1:1,b=nowhere", "--insecure"), "'nowhere' is not"),
        (("--id", "a", "--members", THREE, "--listen", "0.0.0.0:1"), "is not loopback"),
        (("--id", "a", "--members", THREE, "--heartbeat-interval", "1"), "at most half"),
        (("--id", "a", "--members", THREE, "--election-timeout", "2", "1"), "low"),
        (("--id", "a", "--members", THREE, "--sessions-max", "0"), "at least 1"),
        (("--id", "a", "--members", THREE, "--machine", "Counter"), "names no machine"),
        (("--id", "a", "--members", THREE, "--machine", "no/such.py:Counter"), "no Python file"),
        (("--id", "a", "--members", "a=127.0.0.1:1"), "give --machine"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    assert words in refused("init", tmp_path / "home", *options)
    assert not (tmp_path / "home").exists()


def test_a_machine_in_a_file_is_found_from_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    options = ("--id", "b", "--members", THREE, "--machine", "tests/node/machines.py:Counter")

    assert typed("init", tmp_path / "b", *options)[0] == 0

    assert read_node_file(tmp_path / "b").machine == MACHINE


def test_names_of_others_need_not_be_known_yet_on_a_trusted_network(tmp_path: Path) -> None:
    members = "a=127.0.0.1:1,b=not-up-yet.invalid:1"

    code, _, _ = typed("init", tmp_path / "a", "--id", "a", "--members", members, "--insecure")

    assert code == 0


def test_a_place_where_no_directory_can_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    words = refused("init", tmp_path / "file" / "a", "--id", "a", "--members", THREE)

    assert words.endswith("Not a directory\n")


# ── what a person may have written there ─────────────────────────────────────────────────────────

GOOD = 'id = "a"\n[members]\na = "127.0.0.1:7001"\n'


@pytest.mark.parametrize(
    "content, words",
    [
        (f"election_timout = [1, 2]\n{GOOD}", "election_timout: did you mean election_timeout?"),
        (f"machin = 'x:Y'\n{GOOD}", "machin: did you mean machine?"),
        (f"data_dir = 'x'\n{GOOD}", "unknown setting data_dir"),
        (f"found = true\n{GOOD}", "unknown setting found"),
        (f"machine = 7\n{GOOD}", "machine must be MODULE:NAME"),
        (f"listen = 7001\n{GOOD}", "listen must be an address, got 7001"),
        (f"insecure = 'no'\n{GOOD}", "insecure must be true or false"),
        (f"heartbeat_interval = 'fast'\n{GOOD}", "number of seconds"),
        (GOOD.replace('id = "a"', ""), "id is missing"),
        ('id = "a"', "members is missing"),
        ('id = "a"\nmembers = ["a"]', "members must be"),
        ("id = ", "Invalid value"),
        ("\ud800".encode("utf-16-le", "surrogatepass"), "is not text"),
    ],
)
def test_a_file_that_cannot_work_is_refused_in_one_line(
    tmp_path: Path, content: str | bytes, words: str
) -> None:
    path = tmp_path / NODE_FILE
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    said = refused("run", tmp_path, "--machine", MACHINE)

    assert f"{path}: " in said
    assert words in said
