"""`raftkit run`: three processes that nobody wrote a program for, and what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from raftkit import Node, open_node
from raftkit.cli import lines as cli_lines
from raftkit.cli.child import free_addresses
from raftkit.cli.lines import LINES_MAX, Line, Lines, open_lines
from raftkit.cli.node_file import NodeFile
from raftkit.cli.run_node import _tell
from raftkit.messages import SnapshotTaken
from tests.cli.typed import MACHINE, end_politely, poll, refused, terminal, typed
from tests.node.machines import Counter

NAMES = ("a", "b", "c")


def _init(home: Path, name: str, members: str, *options: object) -> None:
    code, _, err = typed(
        "init", home, "--id", name, "--members", members, "--machine", MACHINE, *options
    )
    assert (code, err) == (0, "")


def _status(home: Path) -> tuple[int, dict[str, Any]]:
    code, out, _ = typed("status", home, "--json")
    return code, json.loads(out)


@attrs.define
class Group:
    """Three directories, and a terminal for each that runs."""

    directory: Path
    _terminals: ExitStack
    _processes: dict[str, subprocess.Popen[bytes]] = attrs.field(factory=dict)

    def home(self, name: str) -> Path:
        return self.directory / name

    def screen(self, name: str) -> str:
        return (self.directory / f"{name}.txt").read_text()

    def start(self, *names: str) -> None:
        for name in names:
            path = self.directory / f"{name}.txt"
            process = terminal(path, "run", self.home(name), *(["--json"] if name == "c" else []))
            self._processes[name] = self._terminals.enter_context(process)

    def kill(self, *names: str) -> None:
        for name in names:
            self._processes[name].kill()
            self._processes[name].wait(20)

    def end(self, name: str, number: int) -> int:
        return end_politely(self._processes[name], number)

    def settle(self) -> str:
        """Wait until all three follow one leader, and say who."""

        def leader() -> str | None:
            said = [_status(self.home(name))[1] for name in NAMES]
            leaders = {it.get("leader") for it in said}
            here = all(it["running"] and it["votes"]["here"] == 3 for it in said)
            return leaders.pop() if here and len(leaders) == 1 else None

        return poll(leader)


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """Made by `init`, run by `run`. Each test leaves all three running."""
    directory = tmp_path_factory.mktemp("group")
    members = ",".join(f"{it}={address}" for it, address in free_addresses(NAMES).items())
    with ExitStack() as terminals:
        group = Group(directory, terminals)
        for name in NAMES:
            _init(group.home(name), name, members)
        group.start(*NAMES)
        yield group


@pytest.mark.slow
@pytest.mark.accept("P-09", "P-41", "Q-31")
def test_status_shows_leader_votes_and_members_of_a_group_that_runs(group: Group) -> None:
    leader = group.settle()

    code, said = _status(group.home(leader))
    table = typed("status", group.home(leader))[1]

    assert (code, said["status"], said["leader"]) == (0, "leader", leader)
    assert said["votes"] == {"expected": 3, "here": 3, "needed": 2, "quorate": True}
    assert said["process"] == group._processes[leader].pid
    members = {it["id"]: it for it in said["members"]}
    assert all(it["votes"] == 1 and it["here"] and it["role"] == "voter" for it in members.values())
    assert {it: (members[it]["progress"] or {}).get("mode") for it in members} == {
        it: None if it == leader else "streaming" for it in NAMES
    }
    words = [" ".join(line.split()) for line in table.splitlines()]
    assert words[0].startswith(f"Node {leader}@{said['incarnation']:016x}, process ")
    assert words[1] == f"Cluster {said['cluster']}"
    assert words[3:7] == [
        f"Leader {leader}, term {said['term']}",
        "Quorate yes",
        "Votes 3 expected, 3 here, 2 needed",
        f"Configuration 3 members, index {said['configuration_index']}",
    ]
    assert sum(line.split()[2:4] == ["voter", "1"] for line in table.splitlines()) == 3


@pytest.mark.slow
@pytest.mark.accept("Q-64", "Q-65", "P-19")
def test_the_last_of_three_says_that_it_needs_two(group: Group) -> None:
    group.settle()
    group.kill("b", "c")

    def quorum_lost() -> tuple[int, dict[str, Any]] | None:
        code, said = _status(group.home("a"))
        return None if said["votes"]["quorate"] or said["leader"] else (code, said)

    code, said = poll(quorum_lost)
    assert code == 1
    assert said["votes"] == {"expected": 3, "here": 1, "needed": 2, "quorate": False}
    assert said["explanation"].startswith(
        "no leader: 1 of 3 voters reachable, need 2; b 127.0.0.1:"
    )
    assert [it["here"] for it in said["members"]] == [True, False, False]
    assert _status(group.home("b"))[1]["why"] == "not running"
    assert typed("status", *(group.home(it) for it in NAMES))[0] == 1
    poll(lambda: "a: no leader: 1 of 3 voters reachable, need 2" in group.screen("a"))

    group.start("b", "c")
    assert typed("status", group.home(group.settle()))[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_that_is_asked_for_is_a_clean_one(group: Group, number: int) -> None:
    group.settle()

    assert group.end("a", number) == 0

    assert group.screen("a").endswith("a: stopped\n")
    assert "Traceback" not in group.screen("a")
    assert not (group.home("a") / "raftkit.sock").exists()
    group.start("a")
    group.settle()


@pytest.mark.slow
def test_a_line_says_each_thing_that_matters(group: Group) -> None:
    leader = group.settle()
    term = _status(group.home(leader))[1]["term"]

    poll(lambda: f"a: {leader} leads in term {term}\n" in group.screen("a"))
    lines = [json.loads(it) for it in group.screen("c").splitlines()]
    assert (lines[0]["event"], lines[0]["node"]) == ("started", "c")
    elected = [it for it in lines if it["event"] == "leader_elected"]
    assert (elected[-1]["leader"], elected[-1]["term"]) == (leader, term)
    assert elected[-1]["words"] == f"c: {leader} leads in term {term}"
    assert all(it["time"].endswith("+00:00") for it in lines)


@pytest.mark.slow
def test_a_directory_that_runs_is_not_run_twice(group: Group) -> None:
    group.settle()

    code, _, err = typed("run", group.home("a"))

    assert (code, err.count("\n")) == (1, 1)
    assert f"is in use by process {group._processes['a'].pid}" in err
    assert _status(group.home("a"))[1]["running"]


@pytest.mark.slow
def test_a_port_in_use_is_refused_in_one_line(group: Group, tmp_path: Path) -> None:
    address = _status(group.home("a"))[1]["members"][0]["address"]
    _init(tmp_path / "x", "x", f"x={address},y=127.0.0.1:1")

    assert f"can't listen at {address}: the port is in use" in refused("run", tmp_path / "x")


@pytest.mark.slow
def test_a_wiped_node_that_was_alone_does_not_found_its_group_again(tmp_path: Path) -> None:
    home, screen = tmp_path / "a", tmp_path / "screen"
    address = free_addresses(("a",))["a"]
    _init(home, "a", f"a={address}")
    with terminal(screen, "run", home) as process:
        poll(lambda: screen.exists() and "a: a leads in term " in screen.read_text())
        assert _status(home)[0] == 0
        assert end_politely(process) == 0
    for path in home.iterdir():
        if path.name != "node.toml":
            path.unlink()
    screen.unlink()
    with terminal(screen, "run", home):
        poll(lambda: screen.exists() and "waiting to found" in screen.read_text())
        assert "founds only by `raftkit init`" in screen.read_text()
        assert _status(home)[0] == 1


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


def test_a_directory_without_its_file_is_told_how_to_make_it(tmp_path: Path) -> None:
    words = refused("run", tmp_path)

    assert f"{tmp_path}/node.toml is not there: make it with `raftkit init {tmp_path}`" in words


def test_a_node_needs_a_machine_that_can_be_loaded(tmp_path: Path) -> None:
    members = "a=127.0.0.1:7001,b=127.0.0.1:7002"
    typed("init", tmp_path / "a", "--id", "a", "--members", members)

    assert "no machine is set" in refused("run", tmp_path / "a")
    assert "no Python file" in refused("run", tmp_path / "a", "--machine", "gone.py:Counter")


# ── the lines ────────────────────────────────────────────────────────────────────────────────────


async def _count_to_five(node: Node[Counter]) -> None:
    for _ in range(5):
        await node.execute(Counter.add())


@pytest.mark.slow
async def test_snapshots_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings: dict[str, Any] = {"id": "a", "members": {"a": "127.0.0.1:0"}, "snapshot_entries": 5}
    file = NodeFile(machine=None, settings=settings)
    with open_lines(json=True) as lines:
        async with (
            open_node(Counter, **settings, data_dir=tmp_path, found=True) as node,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_tell, node, file, lines)
            nursery.start_soon(_count_to_five, node)
            with trio.fail_after(10):
                async for event in node.events():
                    if isinstance(event, SnapshotTaken):
                        break
            index = node.statistics().snapshot_index
            nursery.cancel_scope.cancel()

    said = [json.loads(it) for it in capfd.readouterr().out.splitlines()]
    (taken,) = [it for it in said if it["event"] == "snapshot_taken"]
    assert (taken["index"], taken["words"]) == (index, f"a: wrote a snapshot at index {index}")
    assert taken["bytes"] > 0


def test_who_does_not_read_holds_nobody_up_and_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(cli_lines, "_STDOUT", writer)
    words, count = "x" * 1000, 2 * LINES_MAX
    with os.fdopen(reader, "rb") as stream, open_lines(json=False) as lines:
        began = time.monotonic()
        for _ in range(count):
            lines.say(Line("test", words))
        assert time.monotonic() - began < 2
        shown = [stream.readline() for _ in range(LINES_MAX)]
        lines.say(Line("test", "the next"))
        while shown[-1] != b"the next\n":
            shown.append(stream.readline())
    os.close(writer)

    missing = [int(it.split()[0]) for it in shown if it.endswith(b" lines are missing\n")]
    assert LINES_MAX <= shown.count(words.encode() + b"\n") == count - sum(missing) < count
    assert len(shown) == count - sum(missing) + len(missing) + 1


def test_who_has_gone_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(cli_lines, "_STDOUT", writer)
    os.close(reader)
    with open_lines(json=False) as lines:
        for _ in range(2 * LINES_MAX):
            lines.say(Line("test", "words"))
    os.close(writer)

    assert isinstance(lines, Lines)
