"""TCP with each peer: whether it connects, how long that takes, and who says hello there.

Law: the hello that we say is that of a node that waits to be admitted, under the doctor's own name: a node
answers it, forgets it when the connection is closed, and no link of its own is touched.
"""

from __future__ import annotations

import secrets
import socket
import sys

import attrs
import trio

from raftkit import ConfigError, RemoteProtocolError
from raftkit.cli.doctor.datagrams import PROBER
from raftkit.driver_messages import UNBORN, Frame, Hello
from raftkit.model import Identity
from raftkit.transports.tcp.sockets import as_stream, dial, name_of_peer, name_of_self, reason_of
from raftkit.wire import FORMAT, NEED_DATA, FrameDecoder, encode_frame

__all__ = ["Connection", "a_hello", "connect", "greet"]

CONNECTS = 5
"That are measured: each is one round trip between the kernels."
HELLO_SECONDS = 1.5
"For the peer's hello: a node answers at once."
READ_BYTES = 64 * 1024


@attrs.frozen(kw_only=True)
class Connection:
    """What came of connecting to one peer."""

    failure: str = ""
    "Why nothing can be connected to. Empty: it can."
    forbidden: str = ""
    "Why nothing was tried, as no node would: by its address. Empty: it was."
    connects: tuple[float, ...] = ()
    "Seconds each took, names not looked up."
    who: Identity | None = None
    "Who said hello."
    cluster: str | None = None
    "Of which cluster it said to be, 32 hexadecimal digits. None: of none yet."
    silence: str = ""
    "Why no hello came. Empty: it came."


async def connect(address: str, *, insecure: bool) -> Connection:
    """Connect to `address` some times, and say hello once."""
    connects: list[float] = []
    try:
        sock = await dial(address, insecure=insecure)
        place = name_of_peer(sock)
        for _ in range(CONNECTS):
            sock.close()
            began = trio.current_time()
            sock = await dial(place, insecure=insecure)
            connects.append(trio.current_time() - began)
    except ConfigError as error:
        return Connection(forbidden=str(error))
    except OSError as error:
        return Connection(failure=str(error), connects=tuple(connects))
    with sock:
        met = await _meet(as_stream(sock))
    return attrs.evolve(met, connects=tuple(connects))


async def _meet(sock: socket.socket) -> Connection:
    """Who is at the other end."""
    with trio.move_on_after(HELLO_SECONDS):
        try:
            frame = await greet(sock)
        except OSError as error:
            return Connection(silence=reason_of(error))
        except RemoteProtocolError as error:
            return Connection(silence=f"does not speak raftkit: {error}")
        if frame is None:
            return Connection(silence="closed the connection without a hello")
        if not isinstance(frame.body, Hello):
            return Connection(silence=f"says {type(frame.body).__name__} instead of hello")
        cluster = None if frame.scope == UNBORN else frame.scope.cluster.hex()
        return Connection(who=frame.sender, cluster=cluster)
    return Connection(silence=f"says no hello within {HELLO_SECONDS:g} s")


async def greet(sock: socket.socket) -> Frame | None:
    """Say hello; the first frame that comes back, or None. Raises OSError, RemoteProtocolError."""
    # A node refuses who has the name of somebody alive, and other doctors may be at work.
    name = f"{PROBER} {secrets.token_hex(4)}"
    sender = Identity(id=name, incarnation=secrets.randbits(64))
    sock.send(encode_frame(Frame(scope=UNBORN, sender=sender, body=a_hello(name_of_self(sock)))))
    decoder = FrameDecoder(scope=UNBORN)
    while True:
        await trio.lowlevel.wait_readable(sock)
        data = sock.recv(READ_BYTES)
        if not data:
            return None
        decoder.receive_data(data)
        frame = decoder.next_frame()
        if frame is not NEED_DATA:
            return frame


def a_hello(address: str) -> Hello:
    """Of a node at `address` that belongs to no group."""
    return Hello(
        wire_format=FORMAT,
        boot=1,
        nonce=secrets.randbits(64),
        address=address,
        founders=(),
        settings_hash=bytes(32),
        founding=None,
        remembered=None,
        machine_version=1,
        fingerprint=bytes(32),
        python=sys.version_info[:2],
    )
