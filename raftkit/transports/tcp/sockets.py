"""Addresses and sockets: where a node listens, how it dials, and whom it talks to in the clear.

Laws: text becomes a place in `resolve` only, which refuses what is not loopback unless it is told that
the network may be trusted. A connection becomes a stream in `as_stream` only: mutual TLS will stand
there. Sockets are plain and never block; nothing here knows of peers or frames.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from contextlib import suppress
from typing import Final

import attrs
import trio

from raftkit.errors import ConfigError

__all__ = [
    "Place",
    "as_stream",
    "dial",
    "host_and_port",
    "listen",
    "name_of_peer",
    "name_of_self",
    "reason_of",
    "resolve",
]

DIAL_SECONDS = 3.0
"Until an attempt to connect is given up."
_BACKLOG = 128
"Connections that the kernel holds until they are accepted."

_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<name>[^:\[\]\s]+)):(?P<port>[0-9]{1,5})")
_NOT_HERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}

_OPTIONS: Final = (
    # A heartbeat is not to wait for company.
    ("IPPROTO_TCP", "TCP_NODELAY", 1),
    # A peer that vanished without a word is noticed: idle after 5 s + 3 × 2 s, otherwise when what
    # was sent has not been acknowledged, or not been read, for 10 s.
    ("SOL_SOCKET", "SO_KEEPALIVE", 1),
    ("IPPROTO_TCP", "TCP_KEEPIDLE", 5),
    ("IPPROTO_TCP", "TCP_KEEPINTVL", 2),
    ("IPPROTO_TCP", "TCP_KEEPCNT", 3),
    ("IPPROTO_TCP", "TCP_USER_TIMEOUT", 10_000),
    # The kernel takes no more than it can soon send, so that what is urgent overtakes in our queue.
    ("IPPROTO_TCP", "TCP_NOTSENT_LOWAT", 256 * 1024),
)
"Level, name and value; a system that lacks one goes without."


@attrs.frozen
class Place:
    """Where one socket listens: what an address means."""

    family: int
    where: tuple[object, ...]
    "As the socket module has it: host, port, and more for IPv6."

    def __str__(self) -> str:
        host, port = self.where[:2]
        return f"[{host}]:{port}" if self.family == socket.AF_INET6 else f"{host}:{port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can be meant."""
        return ipaddress.ip_address(str(self.where[0])).is_loopback


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of "host:port" or "[IPv6 host]:port". Raises ConfigError, in one line."""
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found["port"]) > 65535:
        raise ConfigError(f'address {address!r} is not "host:port" or "[IPv6 host]:port"')
    return found["v6"] or found["name"], int(found["port"])


async def resolve(address: str, *, insecure: bool) -> list[Place]:
    """The places that "host:port" or "[host]:port" names, at least one.

    Raises ConfigError, in one line, if it names none, or one that is not loopback and not `insecure`.
    """
    host, port = host_and_port(address)
    try:
        answers = await trio.socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"address {address}: {host} is not known: {reason_of(error)}") from error
    places = [Place(family, where) for family, _, _, _, where in answers]
    if not insecure and not all(place.loopback for place in places):
        raise ConfigError(
            f"address {address} is not loopback, and nothing is encrypted: "
            "insecure=True allows it, on a network where everyone is trusted"
        )
    return places


async def listen(address: str, *, insecure: bool) -> socket.socket:
    """A listening socket at `address`; port 0 takes a free one. Raises ConfigError, in one line."""
    why = ""
    for place in await resolve(address, insecure=insecure):
        try:
            return _bind(place)
        except OSError as error:
            why = f"can't listen at {address}: {reason_of(error)}"
            if error.errno not in _NOT_HERE:  # a name may also mean places that this machine lacks
                raise ConfigError(why) from error
    raise ConfigError(why)


def _bind(place: Place) -> socket.socket:
    sock = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # A restarted node gets its port back at once; one that is listened to is refused all the same.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(place.where)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


async def dial(address: str, *, insecure: bool) -> socket.socket:
    """A connection to `address`, whoever is there.

    Raises ConnectionError or ConfigError with the reason, for people.
    """
    why = f"no answer in {DIAL_SECONDS:g} s"
    with trio.move_on_after(DIAL_SECONDS):
        for place in await resolve(address, insecure=insecure):
            try:
                return await _connect(place)
            except OSError as error:
                why = reason_of(error)
    raise ConnectionError(why)


async def _connect(place: Place) -> socket.socket:
    sock = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        with suppress(BlockingIOError):
            sock.connect(place.where)
        await trio.lowlevel.wait_writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        # Dialling a free port of this machine may meet itself: then nobody is there.
        if code or sock.getsockname() == sock.getpeername():
            code = code or errno.ECONNREFUSED
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def as_stream(sock: socket.socket) -> socket.socket:
    """Make a new connection, dialled or accepted, ready for frames."""
    sock.setblocking(False)
    for level, name, value in _OPTIONS:
        option: int | None = getattr(socket, name, None)
        if option is not None:
            with suppress(
                OSError
            ):  # a connection that is closed already may refuse; it is read next
                sock.setsockopt(getattr(socket, level), option, value)
    return sock


def name_of_self(sock: socket.socket) -> str:
    """The address at which `sock` is found, as `resolve` reads it."""
    return str(Place(sock.family, sock.getsockname()))


def name_of_peer(sock: socket.socket) -> str:
    """The address of the other end, for people."""
    try:
        return str(Place(sock.family, sock.getpeername()))
    except OSError:  # it has gone already
        return "an unknown address"


def reason_of(error: OSError | UnicodeError) -> str:
    """What went wrong, in a few words for people."""
    if isinstance(error, UnicodeError):
        return "not a name"
    return _WORDS.get(error.errno or 0) or str(error.strerror or error).lower()


_WORDS: Final = {
    errno.EADDRINUSE: "the port is in use",
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "closed the connection",
    errno.ETIMEDOUT: "acknowledged nothing for too long",
}
