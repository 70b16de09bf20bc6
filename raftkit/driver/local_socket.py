"""A node's own socket, `raftkit.sock` in its data directory: it answers whoever may open that directory.

One line of JSON asks, one line answers, and the connection is closed:

    {"ask": "status"}     {"status": {"id": "a", …}}
    {"ask": "links"}      {"links": {"id": "a", "links": [{"id": "a", "missing": [], …}, …]}}
    {"ask": "upgrade"}    {"upgrade": 2}, when that is done; or {"error": "version 1 …"}
    {"ask": "transfer-leadership", "argument": "b"}   {"transfer-leadership": "b"}, likewise
    {"ask": "change-membership", "argument": "[…]"}   {"change-membership": 57}, likewise
    anything else         {"error": "unknown question …"}

Laws: nobody but the owner of the process can connect. The node never waits for a client: requests, clients
and their time are bounded, and one too many is dropped. A node that can't listen here warns once and goes
on. Whoever listens holds the directory's lock, so a socket that is found there is a dead one's.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import stat
import struct
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import cast

import attrs
import trio

from raftkit.driver.guarding import open_guarded
from raftkit.errors import RaftError, RemoteProtocolError

__all__ = [
    "ASK_SECONDS",
    "ORDER_SECONDS",
    "SOCKET_NAME",
    "Orders",
    "Questions",
    "ask_node",
    "open_local_socket",
]

SOCKET_NAME = "raftkit.sock"
"In the data directory."
REQUEST_BYTES_MAX = 4096
"A longer request is not read to its end."
ANSWER_BYTES_MAX = 1024 * 1024
"A longer answer is not read to its end: 64 members take a tenth of that."
CLIENTS_MAX = 8
"Who comes beyond these is dropped, and may come again."
CLIENT_SECONDS = 2.0
"Until a client that has not asked, or not read its answer, is dropped."
ASK_SECONDS = 3.0
"Until a node is said to give no answer."
ORDER_SECONDS = 35.0
"The same for an order, at both ends: longer than the calls of a node take by default."

Questions = Mapping[str, Callable[[], object]]
"What may be asked, and what makes the answer: anything that JSON can say. It must not block."
Orders = Mapping[str, Callable[[str | None], Awaitable[object]]]
"What may be asked for that takes time, perhaps with an argument. A RaftError is told in its words."

logger = logging.getLogger("raftkit")


# ── the node's side ──────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def open_local_socket(
    directory: str | os.PathLike[str], questions: Questions, orders: Orders = MappingProxyType({})
) -> AsyncGenerator[None]:
    """Answer `questions`, and do what `orders` say, at the socket in `directory` while the body runs.

    The caller holds its lock.
    """
    async with open_guarded(_Answering(Path(directory), questions, orders).run):
        yield


@attrs.define(eq=False)
class _Answering:
    """The socket, and the clients that are connected to it."""

    _directory: Path
    _questions: Questions
    _orders: Orders
    _clients: int = attrs.field(init=False, default=0)

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Listen, for ever, if that is possible. The socket is there when this has started."""
        with ExitStack() as held:
            try:
                folder, address = held.enter_context(_address_in(self._directory))
                listener = await trio.to_thread.run_sync(_listen, folder, address)
            except OSError as error:
                logger.warning(
                    "%s: no local socket, so this node can't be asked for its status: %s",
                    self._directory,
                    error.strerror or error,
                )
                task_status.started()
                return
            held.enter_context(listener)
            held.callback(_remove, folder)
            task_status.started()
            await trio.serve_listeners(self._serve, [trio.SocketListener(listener)])

    async def _serve(self, stream: trio.SocketStream) -> None:
        """Answer one client, if it is quick."""
        self._clients += 1
        try:
            async with stream:
                if self._clients > CLIENTS_MAX:
                    return
                with trio.move_on_after(CLIENT_SECONDS) as patience:
                    request = await _receive_line(stream, REQUEST_BYTES_MAX)
                    patience.deadline += ORDER_SECONDS
                    answer = await self._answer(request)
                    patience.deadline = trio.current_time() + CLIENT_SECONDS
                    await stream.send_all(json.dumps(answer).encode() + b"\n")
        except trio.BrokenResourceError:
            pass  # it went away
        finally:
            self._clients -= 1

    async def _answer(self, request: bytes | None) -> dict[str, object]:
        if request is None:
            return {"error": f"a request is one line of at most {REQUEST_BYTES_MAX} bytes"}
        try:
            asked: object = json.loads(request)
        except (ValueError, RecursionError):
            asked = None
        match asked:
            case {"ask": str(question)} if question in self._questions:
                return {question: self._questions[question]()}
            case {"ask": str(question), "argument": str(argument)} if question in self._orders:
                return await self._obey(question, argument)
            case {"ask": str(question), "argument": object()} if question in self._orders:
                return {"error": "an argument is a text"}
            case {"ask": str(question)} if question in self._orders:
                return await self._obey(question, None)
            case {"ask": str(question)}:
                known = ", ".join((*self._questions, *self._orders))
                return {"error": f"unknown question {question!r:.80}; there is {known}"}
            case _:
                return {"error": 'a request is one line of JSON, such as {"ask": "status"}'}

    async def _obey(self, order: str, argument: str | None) -> dict[str, object]:
        try:
            return {order: await self._orders[order](argument)}
        except RaftError as error:
            return {"error": str(error)}


def _listen(folder: int, address: str) -> trio.socket.SocketType:
    """The listening socket at `address`, which is in `folder`. Raises OSError."""
    with suppress(FileNotFoundError):
        there = os.stat(SOCKET_NAME, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISSOCK(there.st_mode):
            raise OSError(errno.EEXIST, f"{SOCKET_NAME} is there, and no socket")
        os.unlink(SOCKET_NAME, dir_fd=folder)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address)
        # Nobody can connect before `listen`, so nobody could while others had the right to.
        os.chmod(SOCKET_NAME, 0o600, dir_fd=folder)
        listener.listen(CLIENTS_MAX)
    except BaseException:
        listener.close()
        raise
    return trio.socket.from_stdlib_socket(listener)


def _remove(folder: int) -> None:
    with suppress(OSError):  # it may have gone with the directory
        os.unlink(SOCKET_NAME, dir_fd=folder)


# ── the asking side ──────────────────────────────────────────────────────────────────────────────


async def ask_node(
    directory: str | os.PathLike[str],
    question: str,
    argument: str | None = None,
    *,
    within: float | None = None,
) -> object:
    """What the node on `directory` answers to `question`, which may be an order, with its argument.

    Raises FileNotFoundError or ConnectionRefusedError if none runs there, another OSError if it can't be
    reached, TimeoutError after `within` seconds, by default `ASK_SECONDS`, RemoteProtocolError if it has no
    answer to that, or refuses.
    """
    within = ASK_SECONDS if within is None else within
    with _address_in(Path(directory)) as (_, address):
        sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with sock:
            await sock.connect(address)
            answer: bytes | None = None
            with trio.move_on_after(within) as patience, _as_protocol_error():
                stream = trio.SocketStream(sock)
                asked = {"ask": question} | ({"argument": argument} if argument else {})
                await stream.send_all(json.dumps(asked).encode() + b"\n")
                answer = await _receive_line(stream, ANSWER_BYTES_MAX)
            if patience.cancelled_caught:
                raise TimeoutError(f"process {_process_of(sock)} gave no answer in {within:g} s")
    try:
        found: object = json.loads(answer or b"")
    except ValueError as error:
        raise RemoteProtocolError("the node closed the connection without an answer") from error
    match found:
        case {"error": str(words)}:
            raise RemoteProtocolError(f"the node refused: {words}")
        case dict() if question in found:
            return cast("dict[str, object]", found)[question]
        case _:
            raise RemoteProtocolError(f"the node answered something else: {found!r:.80}")


@contextmanager
def _as_protocol_error() -> Generator[None]:
    try:
        yield
    except trio.BrokenResourceError as error:
        raise RemoteProtocolError("the node closed the connection without an answer") from error


def _process_of(sock: trio.socket.SocketType) -> int | str:
    """The process that listens at the other end, where the system tells."""
    if sys.platform != "linux":
        return "?"
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", found)[0])


# ── both ─────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _address_in(directory: Path) -> Generator[tuple[int, str]]:
    """A descriptor of `directory`, and the address of the socket in it while that is open. Raises OSError.

    An address has 107 bytes at most, and a directory may be anywhere: so it goes by the descriptor.
    """
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if sys.platform == "linux":
            yield folder, f"/proc/self/fd/{folder}/{SOCKET_NAME}"
        else:
            yield folder, str(directory / SOCKET_NAME)
    finally:
        os.close(folder)


async def _receive_line(stream: trio.abc.ReceiveStream, bytes_max: int) -> bytes | None:
    """What comes before the first line end, or the end of the stream. None if that is too much."""
    received = bytearray()
    while b"\n" not in received:
        if len(received) > bytes_max:
            return None
        piece = await stream.receive_some(bytes_max + 1 - len(received))
        if not piece:
            break
        received += piece
    return bytes(received.partition(b"\n")[0])
