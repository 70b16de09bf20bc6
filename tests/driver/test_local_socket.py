"""The socket in the data directory: what it answers, whom it drops, and that the node never notices."""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from raftkit import MemoryNetwork, Node, NoQuorum, RemoteProtocolError, open_node
from raftkit.driver import ask_node, local_socket, open_local_socket
from raftkit.driver.local_socket import CLIENTS_MAX, REQUEST_BYTES_MAX, SOCKET_NAME
from tests.node.machines import Counter

QUESTIONS = {"status": lambda: {"id": "a"}, "load": lambda: 7}


@asynccontextmanager
async def connected(directory: Path) -> AsyncGenerator[trio.SocketStream]:
    async with await trio.open_unix_socket(directory / SOCKET_NAME) as stream:
        yield stream


async def said(stream: trio.abc.ReceiveStream) -> bytes:
    """Everything until the other end closes."""
    data = b""
    try:
        async for piece in stream:
            data += piece
    except trio.BrokenResourceError:
        pass  # it was closed while a part of the request was unread
    return data


async def answer_to(directory: Path, request: bytes) -> Any:
    with trio.fail_after(5):
        async with connected(directory) as stream:
            await stream.send_all(request)
            return json.loads(await said(stream))


# ── asking ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_question_gets_its_answer_on_one_line(tmp_path: Path) -> None:
    async with open_local_socket(tmp_path, QUESTIONS), connected(tmp_path) as stream:
        await stream.send_all(b'{"ask": "status"}\n')
        answer = await said(stream)

        assert answer == b'{"status": {"id": "a"}}\n'
        assert await ask_node(tmp_path, "load") == 7


async def test_a_question_may_come_in_pieces_and_end_with_the_stream(tmp_path: Path) -> None:
    async with open_local_socket(tmp_path, QUESTIONS), connected(tmp_path) as stream:
        for piece in (b'{"ask"', b": ", b'"load"}'):
            await stream.send_all(piece)
            await trio.sleep(0.01)
        await stream.send_eof()

        assert json.loads(await said(stream)) == {"load": 7}


@pytest.mark.parametrize(
    "request_, words",
    [
        (b'{"ask": "wibble"}\n', "unknown question 'wibble'; there is status, load"),
        (b'{"ask": 7}\n', "one line of JSON"),
        (b'["status"]\n', "one line of JSON"),
        (b"\n", "one line of JSON"),
        (b"status\n", "one line of JSON"),
        (b"\xff\xfe\x00\n", "one line of JSON"),
        (b"[" * 4000 + b"\n", "one line of JSON"),
        (b" " * (REQUEST_BYTES_MAX + 1), "at most 4096 bytes"),
        (b" " * (20 * REQUEST_BYTES_MAX), "at most 4096 bytes"),
    ],
)
async def test_what_is_no_question_is_told_so_and_the_next_is_answered(
    tmp_path: Path, request_: bytes, words: str
) -> None:
    async with open_local_socket(tmp_path, QUESTIONS):
        said = await answer_to(tmp_path, request_)

        assert list(said) == ["error"]
        assert words in said["error"]
        assert await ask_node(tmp_path, "load") == 7


async def test_a_request_of_the_longest_length_is_read(tmp_path: Path) -> None:
    async with open_local_socket(tmp_path, QUESTIONS), connected(tmp_path) as stream:
        await stream.send_all(b'{"ask": "load"}'.ljust(REQUEST_BYTES_MAX))
        await trio.sleep(0.02)
        await stream.send_all(b"\n")

        assert json.loads(await said(stream)) == {"load": 7}


async def test_a_refused_question_is_an_error_of_the_asking_side(tmp_path: Path) -> None:
    async with open_local_socket(tmp_path, QUESTIONS):
        with pytest.raises(RemoteProtocolError, match="unknown question 'wibble'"):
            await ask_node(tmp_path, "wibble")


# ── bad clients ──────────────────────────────────────────────────────────────────────────────────


async def test_a_silent_client_is_dropped_and_others_are_answered_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_socket, "CLIENT_SECONDS", 0.1)
    async with open_local_socket(tmp_path, QUESTIONS), connected(tmp_path) as silent:
        assert await ask_node(tmp_path, "load") == 7
        with trio.fail_after(5):
            assert await said(silent) == b""


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_socket, "CLIENT_SECONDS", 0.1)
    large = "x" * 1_000_000  # more than the kernel holds for who does not read
    async with open_local_socket(tmp_path, {"large": lambda: large}), connected(tmp_path) as slow:
        await slow.send_all(b'{"ask": "large"}\n')
        await trio.sleep(0.3)
        with trio.fail_after(5):
            assert len(await said(slow)) < len(large)


async def test_one_client_too_many_is_dropped_and_may_come_again(tmp_path: Path) -> None:
    async with open_local_socket(tmp_path, QUESTIONS), trio.open_nursery() as nursery:

        async def hold(task_status: trio.TaskStatus[None]) -> None:
            async with connected(tmp_path) as stream:
                await stream.send_all(b"{")
                task_status.started()
                await trio.sleep_forever()

        for _ in range(CLIENTS_MAX):
            await nursery.start(hold)
        with pytest.raises(RemoteProtocolError, match="without an answer"):
            await ask_node(tmp_path, "load")
        nursery.cancel_scope.cancel()
    async with open_local_socket(tmp_path, QUESTIONS):
        assert await ask_node(tmp_path, "load") == 7


async def test_clients_that_vanish_leave_nothing_behind(tmp_path: Path) -> None:
    async with open_local_socket(tmp_path, QUESTIONS):
        for request in (b"", b"{", b'{"ask": "load"}\n'):
            for _ in range(3 * CLIENTS_MAX):
                async with connected(tmp_path) as stream:
                    await stream.send_all(request)
        with trio.fail_after(5):
            while True:  # those before are served one after the other
                try:
                    assert await ask_node(tmp_path, "load") == 7
                    break
                except RemoteProtocolError:
                    await trio.sleep(0.01)


# ── the file ─────────────────────────────────────────────────────────────────────────────────────


async def test_the_socket_is_its_owners_alone_and_goes_with_the_node(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with open_local_socket(tmp_path, QUESTIONS):
            there = (tmp_path / SOCKET_NAME).stat()

            assert stat.S_ISSOCK(there.st_mode)
            assert stat.S_IMODE(there.st_mode) == 0o600
    finally:
        os.umask(before)
    with pytest.raises(FileNotFoundError):
        await ask_node(tmp_path, "load")


async def test_the_socket_of_a_killed_process_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / SOCKET_NAME))
        left.listen()
    with pytest.raises(ConnectionRefusedError):
        await ask_node(tmp_path, "load")

    async with open_local_socket(tmp_path, QUESTIONS):
        assert await ask_node(tmp_path, "load") == 7


async def test_a_directory_with_a_long_path_has_a_socket_too(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as plain, pytest.raises(OSError, match="too long"):
        plain.bind(str(deep / SOCKET_NAME))

    async with open_local_socket(deep, QUESTIONS):
        assert (deep / SOCKET_NAME).exists()
        assert await ask_node(deep, "load") == 7
    assert not (deep / SOCKET_NAME).exists()


@pytest.mark.parametrize("obstacle", ["a file", "no directory"])
async def test_a_socket_that_cannot_be_is_one_warning_and_the_body_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, obstacle: str
) -> None:
    directory = tmp_path / "gone"
    if obstacle == "a file":
        directory = tmp_path
        (tmp_path / SOCKET_NAME).write_text("mine")
    with caplog.at_level(logging.WARNING, "raftkit"):
        async with open_local_socket(directory, QUESTIONS):
            await trio.sleep(0.01)

    (record,) = caplog.records
    assert record.message.startswith(f"{directory}: no local socket, so ")
    if obstacle == "a file":
        assert (tmp_path / SOCKET_NAME).read_text() == "mine"


# ── a node that gives no answer ──────────────────────────────────────────────────────────────────


@asynccontextmanager
async def strange_node(directory: Path, answer: bytes | None) -> AsyncGenerator[None]:
    """Something that listens where a node would, and says `answer`; None: nothing, for ever."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            if answer is None:
                await trio.sleep_forever()
            else:
                await stream.send_all(answer)

    with trio.socket.socket(socket.AF_UNIX) as sock:
        await sock.bind(str(directory / SOCKET_NAME))
        sock.listen()
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, serve, [trio.SocketListener(sock)])
            yield
            nursery.cancel_scope.cancel()


async def test_a_node_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_socket, "ASK_SECONDS", 0.1)
    async with strange_node(tmp_path, None):
        with pytest.raises(TimeoutError, match=f"process {os.getpid()} gave no answer in 0.1 s"):
            await ask_node(tmp_path, "status")


@pytest.mark.parametrize("answer", [b"", b"{", b'{"status": {\n', b"[]\n", b'{"other": 1}\n'])
async def test_an_answer_that_is_none_is_an_error(tmp_path: Path, answer: bytes) -> None:
    async with strange_node(tmp_path, answer):
        with pytest.raises(RemoteProtocolError, match="the node "):
            await ask_node(tmp_path, "status")


# ── a real node ──────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def node_of(directory: Path, **settings: Any) -> AsyncGenerator[Node[Counter]]:
    members = settings.pop("members", {"a": "memory:a"})
    async with open_node(
        Counter,
        id="a",
        members=members,
        data_dir=directory,
        transport=MemoryNetwork(),
        **settings,
    ) as node:
        yield node


async def test_an_unborn_node_says_whom_it_waits_for(tmp_path: Path) -> None:
    members = {name: f"memory:{name}" for name in "abc"}
    async with node_of(tmp_path, members=members) as node:
        answer: Any = await ask_node(tmp_path, "status")

        assert answer == json.loads(json.dumps(attrs.asdict(node.statistics())))
        assert (answer["id"], answer["status"], answer["cluster"]) == ("a", "unborn", None)
        assert answer["process"] == os.getpid()
        assert answer["votes"] == {"expected": 3, "here": 1, "needed": 3, "quorate": False}
        assert [(it["id"], it["here"]) for it in answer["members"]] == [
            ("a", True),
            ("b", False),
            ("c", False),
        ]
        assert answer["explanation"].startswith("waiting to found: 1 of 3 here; b memory:b ")
        assert answer["members"][1]["why"] in answer["explanation"]


@pytest.mark.slow
async def test_a_node_says_of_itself_what_its_program_knows(tmp_path: Path) -> None:
    async with node_of(tmp_path, found=True) as node:
        await node.execute(Counter.add())
        answer: Any = await ask_node(tmp_path, "status")

        now: Any = json.loads(json.dumps(attrs.asdict(node.statistics())))
        assert 0 <= answer.pop("staleness") <= now.pop("staleness") + 60  # each of its moment
        assert answer == now
        assert (answer["status"], answer["leader"]) == ("leader", "a")
        assert answer["votes"] == {"expected": 1, "here": 1, "needed": 1, "quorate": True}
        assert len(answer["cluster"]) == 32
        assert answer["configuration_index"] == 1
        assert answer["commit_index"] == answer["applied_index"] == answer["last_index"] > 1
    assert not (tmp_path / SOCKET_NAME).exists()


async def test_the_error_of_the_body_leaves_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with node_of(tmp_path):
            _ = 1 // 0
    assert not (tmp_path / SOCKET_NAME).exists()


@pytest.mark.slow
async def test_a_node_without_a_socket_does_its_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / SOCKET_NAME).mkdir()
    async with node_of(tmp_path, found=True) as node:
        assert await node.execute(Counter.add()) == 1

    assert [it.message for it in caplog.records if "no local socket" in it.message] != []


# ── orders ───────────────────────────────────────────────────────────────────────────────────────


async def test_an_order_may_take_longer_than_a_question_and_is_refused_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait(_: str | None) -> int:
        await trio.sleep(0.2)
        return 7

    async def refuse(_: str | None) -> int:
        await trio.lowlevel.checkpoint()
        raise NoQuorum("nobody is here")

    monkeypatch.setattr(local_socket, "CLIENT_SECONDS", 0.1)
    async with open_local_socket(tmp_path, QUESTIONS, {"wait": wait, "refuse": refuse}):
        assert await ask_node(tmp_path, "wait") == 7
        with pytest.raises(RemoteProtocolError, match="the node refused: nobody is here"):
            await ask_node(tmp_path, "refuse")
        with pytest.raises(RemoteProtocolError, match="there is status, load, wait, refuse"):
            await ask_node(tmp_path, "wibble")


async def test_an_order_may_have_an_argument_which_is_a_text(tmp_path: Path) -> None:
    async def say(words: str | None) -> str:
        await trio.lowlevel.checkpoint()
        return f"{words}!"

    async with open_local_socket(tmp_path, QUESTIONS, {"say": say}):
        assert await ask_node(tmp_path, "say", "hello") == "hello!"
        assert await ask_node(tmp_path, "say") == "None!"
        async with connected(tmp_path) as stream:
            await stream.send_all(b'{"ask": "say", "argument": 7}\n')
            assert await stream.receive_some(1000) == b'{"error": "an argument is a text"}\n'


async def test_an_order_has_its_time_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the client is dropped, and the node goes on."""
    ended = trio.Event()

    async def hang(_: str | None) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    monkeypatch.setattr(local_socket, "CLIENT_SECONDS", 0.05)
    monkeypatch.setattr(local_socket, "ORDER_SECONDS", 0.1)
    async with open_local_socket(tmp_path, QUESTIONS, {"hang": hang}):
        with pytest.raises(RemoteProtocolError, match="without an answer"):
            await ask_node(tmp_path, "hang")
        await ended.wait()
        assert await ask_node(tmp_path, "load") == 7
