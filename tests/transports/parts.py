"""Stations over TCP, free ports, and peers by hand: plain sockets that say what a test wants."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from raftkit.driver_messages import DriverMessage, Frame, Scope
from raftkit.messages import Message
from raftkit.model import Identity
from raftkit.testing.transport_conformance import SCOPE, Station, a_hello
from raftkit.transports import TcpEndpoint, TcpTransport
from raftkit.wire import NEED_DATA, FrameDecoder, encode_frame

OPENED: list[socket.socket] = []
"Of strangers, closed by `conftest.py` when their test is over."


def free_addresses(count: int) -> list[str]:
    """Loopback addresses at which nobody listens now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{it.getsockname()[1]}" for it in sockets]
    for it in sockets:
        it.close()
    return addresses


@asynccontextmanager
async def station(
    name: str, transport: TcpTransport | None = None
) -> AsyncGenerator[tuple[Station, TcpEndpoint]]:
    """A station at a free port, and its endpoint as what it is."""
    made = Station(identity=Identity(id=name, incarnation=1), address="127.0.0.1:0")
    async with made.open(transport or TcpTransport()):
        assert isinstance(made.endpoint, TcpEndpoint)
        made.address = made.endpoint.address
        yield made, made.endpoint


@attrs.define(eq=False)
class Stranger:
    """One end of a connection with an endpoint, in the name of `name`."""

    sock: socket.socket
    name: str = "x"
    stream: trio.SocketStream = attrs.field(init=False)
    "The same connection, for trio."
    decoder: FrameDecoder = attrs.field(factory=lambda: FrameDecoder(scope=SCOPE))

    def __attrs_post_init__(self) -> None:
        OPENED.append(self.sock)
        self.stream = trio.SocketStream(trio.socket.from_stdlib_socket(self.sock))

    @classmethod
    async def dial(cls, address: str, name: str = "x") -> Stranger:
        """Connect to an endpoint. The kernel answers, so this never waits for it."""
        await trio.lowlevel.checkpoint()
        host, port = address.rsplit(":", 1)
        return cls(socket.create_connection((host, int(port))), name)

    @classmethod
    async def dialled(cls, endpoint: TcpEndpoint, name: str) -> Stranger:
        """Be what `endpoint` dials as `name`, once."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            endpoint.connect({name: f"127.0.0.1:{listener.getsockname()[1]}"})
            with trio.fail_after(5):
                await trio.lowlevel.wait_readable(listener)
            return cls(listener.accept()[0], name)

    @staticmethod
    def framed(
        name: str, body: Message | DriverMessage, scope: Scope = SCOPE, *, incarnation: int = 1
    ) -> bytes:
        """What a node of that name puts on the wire."""
        sender = Identity(id=name, incarnation=incarnation)
        return encode_frame(Frame(scope=scope, sender=sender, body=body))

    @classmethod
    def hello(cls, name: str) -> bytes:
        return cls.framed(name, a_hello())

    def frame(self, body: Message | DriverMessage, scope: Scope = SCOPE) -> bytes:
        return self.framed(self.name, body, scope)

    async def say(self, *bodies: Message | DriverMessage, scope: Scope = SCOPE) -> None:
        await self.stream.send_all(b"".join(self.frame(it, scope) for it in bodies))

    async def greet(self) -> None:
        await self.say(a_hello())

    async def hear(self) -> Message | DriverMessage:
        """The next message."""
        with trio.fail_after(5):
            while (frame := self.decoder.next_frame()) is NEED_DATA:
                data = await self.stream.receive_some(1 << 20)
                assert data, "closed"
                self.decoder.receive_data(data)
        return frame.body

    async def wait_closed(self, within: float = 2.0) -> None:
        """Read until the other end has closed. Raises trio.TooSlowError if it does not."""
        with trio.fail_after(within):
            try:
                while await self.stream.receive_some(65536):
                    pass
            except trio.BrokenResourceError:
                pass

    def is_open(self) -> bool:
        """Whether the other end has not closed, as far as is known here."""
        try:
            data = self.sock.recv(65536, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(data)


def open_files() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))
