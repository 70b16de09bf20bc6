"""`raftkit status`: what runs says it itself, what does not is read, and nothing is touched."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from raftkit import MemoryNetwork, Node, OutcomeUnknown, open_node
from raftkit.cli.status_look import Down, Up, look
from raftkit.driver import local_socket
from raftkit.driver.local_socket import SOCKET_NAME
from raftkit.messages import Write
from raftkit.storage import FileStorage
from tests.cli.typed import end_politely, poll, refused, terminal, typed
from tests.node.machines import Counter

THREE = "a=127.0.0.1:7001,b=127.0.0.1:7002,c=127.0.0.1:7003"


@asynccontextmanager
async def node_on(directory: Path, **settings: Any) -> AsyncGenerator[Node[Counter]]:
    async with open_node(
        Counter,
        id="a",
        members={"a": "memory:a"},
        data_dir=directory,
        transport=MemoryNetwork(),
        **settings,
    ) as node:
        yield node


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The directory of a node that was founded by a program, and has ended."""

    async def live() -> None:
        async with node_on(tmp_path / "left", found=True) as node:
            await node.execute(Counter.add())

    trio.run(live)
    return tmp_path / "left"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The directory of a node that has never run."""
    assert typed("init", tmp_path / "made", "--id", "b", "--members", THREE)[0] == 0
    return tmp_path / "made"


def _held(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {it.name: (it.read_bytes(), it.stat().st_mtime_ns) for it in directory.iterdir()}


# ── a node that runs ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_a_node_that_runs_says_of_itself_what_its_program_knows(tmp_path: Path) -> None:
    async with node_on(tmp_path, found=True) as node:
        await node.execute(Counter.add())

        seen = await look(tmp_path)

        assert isinstance(seen, Up)
        assert seen.statistics.staleness is not None
        # It is of its moment.
        now = attrs.evolve(node.statistics(), staleness=seen.statistics.staleness)
        assert seen == Up(directory=str(tmp_path), statistics=now)


async def test_a_node_that_waits_to_be_founded_is_up(tmp_path: Path) -> None:
    async with node_on(tmp_path) as node:
        seen = await look(tmp_path)

        assert isinstance(seen, Up)
        assert seen.statistics == node.statistics()
        assert not seen.statistics.votes.quorate


@pytest.mark.slow
async def test_a_disk_that_stands_still_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, release = threading.Event(), threading.Event()
    perform = FileStorage.perform

    def hang(self: FileStorage, writes: Sequence[Write]) -> None:
        if hangs.is_set():
            assert release.wait(30)
        perform(self, writes)

    monkeypatch.setattr(FileStorage, "perform", hang)
    async with node_on(tmp_path, found=True, storage_stall_timeout=0.05) as node:
        await node.execute(Counter.add())
        hangs.set()
        with pytest.raises(OutcomeUnknown):
            await node.execute(Counter.add(), timeout=0.2)
        stalled = await trio.to_thread.run_sync(typed, "status", tmp_path)
        said = json.loads((await trio.to_thread.run_sync(typed, "status", tmp_path, "--json"))[1])
        release.set()
        await node.execute(Counter.add())
        mended = await trio.to_thread.run_sync(typed, "status", tmp_path)

    assert re.search(r"^Disk +stands still, at one write for 0\.\d s *$", stalled[1], re.MULTILINE)
    assert said["stalled_seconds"] > 0.05
    assert "look at the disk" in said["explanation"]
    assert re.search(r"^Disk +at work *$", mended[1], re.MULTILINE)


# ── a node that does not ─────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_what_does_not_run_says_what_its_directory_knows_and_is_not_touched(left: Path) -> None:
    before = _held(left)

    code, out, err = typed("status", left, "--json")

    assert (code, err) == (1, "")
    said = json.loads(out)
    assert (said["running"], said["why"], said["id"]) == (False, "not running", "a")
    assert said["members"] == {"a": "memory:a"}
    assert len(said["cluster"]) == 32
    assert said["incarnation"] > 0
    assert _held(left) == before


@pytest.mark.slow
def test_it_can_be_read_by_people(left: Path) -> None:
    code, out, _ = typed("status", left)

    assert code == 1
    words = [" ".join(line.split()) for line in out.splitlines()]
    assert words[0].startswith("Node a@")
    assert words[2:] == ["Status not running", "Founders a memory:a"]


def test_a_directory_that_was_only_made_knows_its_list(made: Path) -> None:
    code, out, _ = typed("status", made, "--json")

    assert code == 1
    assert json.loads(out) == {
        "running": False,
        "directory": str(made),
        "why": "not running",
        "id": "b",
        "incarnation": None,
        "cluster": None,
        "members": {"a": "127.0.0.1:7001", "b": "127.0.0.1:7002", "c": "127.0.0.1:7003"},
    }


def test_the_current_directory_is_asked_when_none_is_named(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)

    code, out, _ = typed("status", "--json")

    assert (code, json.loads(out)["id"]) == (1, "b")


@pytest.mark.slow
def test_one_copy_of_the_identity_is_enough_and_none_is_told(left: Path) -> None:
    (left / "identity-1").write_bytes(b"not what was there")

    assert json.loads(typed("status", left, "--json")[1])["id"] == "a"

    (left / "identity-2").write_bytes(b"not what was there")
    code, out, _ = typed("status", left, "--json")

    assert code == 1
    assert json.loads(out)["why"].startswith("not running; ")
    assert "identity-" in json.loads(out)["why"]


@pytest.mark.slow
def test_the_socket_of_a_killed_node_is_no_node(left: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(left / SOCKET_NAME))

    code, out, _ = typed("status", left, "--json")

    assert (code, json.loads(out)["why"]) == (1, "not running")


@asynccontextmanager
async def _stranger(directory: Path, answer: bytes) -> AsyncGenerator[None]:
    """Who listens in `directory` and answers that; nothing: never."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            if not answer:
                await trio.sleep_forever()
            await stream.send_all(answer)

    with trio.socket.socket(socket.AF_UNIX) as sock:
        await sock.bind(str(directory / SOCKET_NAME))
        sock.listen()
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, serve, [trio.SocketListener(sock)])
            yield
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "answer, words",
    [
        (b"", "does not answer: process {pid} gave no answer in 0.1 s"),
        (b"{\n", "does not answer: the node closed"),
        (b'{"error": "unknown question"}\n', "does not answer: the node refused"),
        (b'{"status": {"id": "a"}}\n', "another version of raftkit"),
        (b'{"status": []}\n', "another version of raftkit"),
        (b'{"status": 7}\n', "another version of raftkit"),
    ],
)
async def test_a_node_without_a_good_answer_is_told_from_one_that_does_not_run(
    made: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, words: str
) -> None:
    monkeypatch.setattr(local_socket, "ASK_SECONDS", 0.1)
    async with _stranger(made, answer):
        seen = await look(made)

    assert isinstance(seen, Down)
    assert words.replace("{pid}", str(os.getpid())) in seen.why
    assert seen.id == "b"


# ── several, and what is none ────────────────────────────────────────────────────────────────────


def test_several_make_a_list(made: Path) -> None:
    code, out, _ = typed("status", made, made, "--json")

    assert code == 1
    assert [it["id"] for it in json.loads(out)] == ["b", "b"]


@pytest.mark.parametrize("kind", ["nothing", "a file", "another directory"])
def test_what_is_no_data_directory_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    if kind == "a file":
        path.write_text("")
    elif kind == "another directory":
        path.mkdir()
        (path / "stray").write_text("")
    words = {
        "nothing": "No such file or directory",
        "a file": "Not a directory",
        "another directory": "is no data directory",
    }

    assert words[kind] in refused("status", path)
    assert f"{path}" in refused("status", path, "--json", "--watch")


def test_what_is_none_does_not_hide_the_others(tmp_path: Path, made: Path) -> None:
    code, out, err = typed("status", tmp_path, made, "--json")

    assert (code, json.loads(out)["id"]) == (2, "b")
    assert err.startswith(f"raftkit: status: {tmp_path} is no data directory")


@pytest.mark.slow
def test_watching_asks_again_until_interrupted(made: Path, tmp_path: Path) -> None:
    screen = tmp_path / "screen"
    with terminal(screen, "status", made, "--watch", "--json") as process:
        poll(lambda: screen.exists() and screen.read_text().count("\n") >= 2)
        code = end_politely(process)

    assert code == 1
    assert {json.loads(line)["id"] for line in screen.read_text().splitlines()} == {"b"}
