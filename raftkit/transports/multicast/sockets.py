"""The two sockets of a multicast endpoint: one hears the group, the other has the node's own address.

Laws: everything is sent from the own address, so that a datagram's source is where its sender is answered.
Nothing here waits but `wait_arrivals`; what the kernel refuses to take is lost, and counted. Only datagrams
of this very group, joined on this very interface, arrive on the group's socket (one bound to the wildcard
hears other programs' groups as well). Linux only: what Python's socket module does not name stands below.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Final

import attrs
import trio

from raftkit.errors import ConfigError
from raftkit.transports.multicast.group import Interface, find_interface
from raftkit.transports.tcp.sockets import Place, reason_of

__all__ = ["DATAGRAM_BYTES_MAX", "Address", "MulticastSockets", "Traffic", "open_sockets"]

Address = tuple[object, ...]
"Of a socket, as the socket module has it: host and port, and for IPv6 two numbers more."

DATAGRAM_BYTES_MAX: Final[Mapping[int, int]] = {socket.AF_INET: 65_507, socket.AF_INET6: 65_527}
"What UDP can carry, in however many fragments, by family."
READS_MAX: Final = 64
"Datagrams taken from a socket in one turn: others want their turn too."

_SEGMENTS_MAX: Final = 64
_SEGMENTED_BYTES_MAX: Final = 65_000
"Datagrams, and their bytes, that the kernel takes in one call (UDP GSO)."
_ERRORS_MAX: Final = 16
"Refusals read at once."

_SO_RXQ_OVFL: Final = 40
_SO_MAX_PACING_RATE: Final = 47
_IP_MTU_DISCOVER: Final = 10
_IP_RECVERR: Final = 11
_IP_MULTICAST_ALL: Final = 49
_IPV6_RECVERR: Final = 25
_IPV6_MULTICAST_ALL: Final = 29
_PMTUDISC_DONT: Final = 0
_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103

_NO_ROOM: Final = {errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM}
_NO_SEGMENTS: Final = {errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP}
"How a system says that it can't cut this into segments: too old, the wrong device, a smaller MTU."

logger = logging.getLogger("raftkit")


def open_sockets(
    *,
    group: Place,
    interface: str,
    own: Place,
    ttl: int = 1,
    loopback: bool = True,
    send_buffer_size: int,
    recv_buffer_size: int,
    fragment: bool = False,
) -> MulticastSockets:
    """Join `group` on `interface`, and take the address `own`; its port 0 is a free one.

    `ttl` is how many networks a multicast may cross, 1 being this one; `loopback` has it heard by others on
    this host; `fragment` lets IP cut what is longer than the MTU. Buffers are in bytes, and the log has a
    warning if the system grants less.

    Raises ConfigError, in one line, for what can't be had.
    """
    if not 1 <= ttl <= 255:
        raise ConfigError(f"ttl must lie between 1 (this network only) and 255, got {ttl}")
    found = find_interface(interface, group.family)
    if own.family != group.family:
        raise ConfigError(f"address {own} and group {group} must both be IPv4, or both IPv6")
    if own.loopback and not found.loopback:
        raise ConfigError(
            f"address {own} is loopback, and interface {interface} is not: nobody there could answer"
        )
    unicast = _datagram_socket(group.family, send_buffer_size, recv_buffer_size)
    multicast = _datagram_socket(group.family, send_buffer_size, recv_buffer_size)
    sockets = MulticastSockets(group=group, interface=found, unicast=unicast, multicast=multicast)
    try:
        _bind(unicast, own)
        sockets.bind_group()
        sockets.set_sending(ttl=ttl, loopback=loopback, fragment=fragment)
        sockets.join()
    except BaseException:
        sockets.close()
        raise
    _warn_if_clamped("send", "wmem_max", send_buffer_size, sockets.send_buffer_size)
    _warn_if_clamped("receive", "rmem_max", recv_buffer_size, sockets.recv_buffer_size)
    return sockets


def _datagram_socket(family: int, send_bytes: int, recv_bytes: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, recv_bytes)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _bind(sock: socket.socket, place: Place) -> None:
    try:
        sock.bind(place.where)
    except OSError as error:
        raise ConfigError(f"can't take the address {place}: {reason_of(error)}") from error


def _warn_if_clamped(which: str, setting: str, wanted: int, granted: int) -> None:
    if granted < wanted:
        logger.warning(
            "the %s buffer has %d bytes instead of %d, so bursts may be lost: sysctl -w net.core.%s=%d",
            *(which, granted, wanted, setting, wanted),
        )


@attrs.define(eq=False)
class Traffic:
    """What went one way."""

    datagrams: int = 0
    bytes: int = 0
    "Of them, without headers."

    def count(self, datagrams: int, size: int) -> None:
        """So many more."""
        self.datagrams += datagrams
        self.bytes += size


@attrs.define(eq=False, kw_only=True)
class MulticastSockets:
    """Datagrams to a group, or to one address, and what arrives from both. Made by `open_sockets`."""

    group: Place
    "Whom all members hear."
    interface: Interface
    "On which the group is joined, as it was when it was."
    unicast: socket.socket
    "At the own address. Everything is sent from here."
    multicast: socket.socket
    "Hears the group."
    to_group: Traffic = attrs.field(init=False, factory=Traffic)
    "Taken by the kernel, once for all who hear it."
    to_one: Traffic = attrs.field(init=False, factory=Traffic)
    "Taken by the kernel for one address."
    from_group: Traffic = attrs.field(init=False, factory=Traffic)
    "Arrived by multicast, our own included."
    from_one: Traffic = attrs.field(init=False, factory=Traffic)
    "Arrived for this address alone."
    is_lost: Callable[[], bool] | None = attrs.field(init=False, default=None)
    "Asked about each datagram that arrives, for losses of one's own: of a benchmark."
    segmenting: bool = attrs.field(init=False, default=True)
    "Whether the kernel cuts a message into datagrams. False once it has refused."
    _unsent: Counter[str] = attrs.field(init=False, factory=Counter[str])
    _overruns: dict[socket.socket, int] = attrs.field(init=False, factory=dict[socket.socket, int])
    "Datagrams for which a receive buffer had no room, by socket, as the kernel counts them."
    _refused: dict[Address, None] = attrs.field(init=False, factory=dict[Address, None])
    "Where nobody listens, since `take_refused`, in order."
    _readiness: select.epoll = attrs.field(init=False, factory=select.epoll)

    def __attrs_post_init__(self) -> None:
        for sock in (self.unicast, self.multicast):
            self._readiness.register(sock, select.EPOLLIN)

    # ── what the system grants ───────────────────────────────────────────────────────────────────

    @property
    def own(self) -> Place:
        """Where peers reach this endpoint."""
        return Place(self.unicast.family, self.unicast.getsockname())

    @property
    def send_buffer_size(self) -> int:
        """Granted, in bytes. The kernel tells twice as many, for its own bookkeeping."""
        return self.unicast.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2

    @property
    def recv_buffer_size(self) -> int:
        """Granted to each of both sockets, in bytes."""
        return self.multicast.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2

    @property
    def overruns(self) -> int:
        """Datagrams that arrived and were lost because nobody fetched them in time."""
        return sum(self._overruns.values())

    @property
    def unsent(self) -> Mapping[str, int]:
        """Datagrams that the kernel did not take, by reason."""
        return MappingProxyType(self._unsent)

    # ── the group ────────────────────────────────────────────────────────────────────────────────

    def bind_group(self) -> None:
        """Hear this group's port. Others on this host may do so too, as long as they allow it."""
        self.multicast.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._ipv6:
            self.multicast.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
        else:
            self.multicast.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        _bind(self.multicast, Place(self.group.family, self._group_address))

    def set_sending(self, *, ttl: int, loopback: bool, fragment: bool) -> None:
        """How far multicasts go, who hears them, and whether IP may cut them."""
        level = socket.IPPROTO_IPV6 if self._ipv6 else socket.IPPROTO_IP
        if self._ipv6:
            options = {
                socket.IPV6_MULTICAST_HOPS: ttl,
                socket.IPV6_MULTICAST_LOOP: int(loopback),
                _IPV6_RECVERR: 1,
            }  # IPv6 is fragmented by senders alone, and they do it unasked
        else:
            options = {
                socket.IP_MULTICAST_TTL: ttl,
                socket.IP_MULTICAST_LOOP: int(loopback),
                _IP_RECVERR: 1,
            }
            if fragment:
                options[_IP_MTU_DISCOVER] = _PMTUDISC_DONT  # routers may cut, too
        for option, value in options.items():
            self.unicast.setsockopt(level, option, value)

    def pace(self, rate: int) -> None:
        """Have the kernel send at most `rate` bytes a second where its queue is `fq`; others ignore it."""
        number = struct.pack("@Q", rate)
        self.unicast.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, number)

    def join(self) -> None:
        """Send and hear multicasts on the interface. Again: leave the group first, and say so anew.

        Raises ConfigError if the interface or the memberships of this host do not allow it.
        """
        with suppress(OSError):  # not a member yet, or of an interface that is no more
            self._membership(socket.IPV6_LEAVE_GROUP, socket.IP_DROP_MEMBERSHIP)
        self.interface = find_interface(self.interface.name, self.group.family)
        try:
            self._membership(socket.IPV6_JOIN_GROUP, socket.IP_ADD_MEMBERSHIP)
            if self._ipv6:
                index = self.interface.index
                self.unicast.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            else:
                number = struct.pack("@4s4si", b"", b"", self.interface.index)
                self.unicast.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, number)
        except OSError as error:
            raise ConfigError(
                f"can't join {self.group} on {self.interface.name}: {reason_of(error)}"
            ) from error

    def interface_changed(self) -> bool:
        """Whether the interface of that name is another one now: then it is time to `join` anew.

        Raises ConfigError if it can't be joined now.
        """
        return find_interface(self.interface.name, self.group.family).index != self.interface.index

    def _membership(self, ipv6_option: int, ipv4_option: int) -> None:
        host = str(self.group.where[0])
        packed, index = socket.inet_pton(self.group.family, host), self.interface.index
        if self._ipv6:
            request = packed + struct.pack("@I", index)
            self.multicast.setsockopt(socket.IPPROTO_IPV6, ipv6_option, request)
        else:
            request = struct.pack("@4s4si", packed, b"", index)
            self.multicast.setsockopt(socket.IPPROTO_IP, ipv4_option, request)

    @property
    def _ipv6(self) -> bool:
        return self.group.family == socket.AF_INET6

    @property
    def _group_address(self) -> Address:
        host, port = self.group.where[:2]
        return (host, port, 0, self.interface.index) if self._ipv6 else (host, port)

    # ── out ──────────────────────────────────────────────────────────────────────────────────────

    def send(self, target: Address | None, datagrams: Sequence[bytes]) -> None:
        """Send datagrams, of one length but for the last, to `target`, or to the group if that is None.

        What the kernel does not take at once is lost.
        """
        to = self._group_address if target is None else target
        traffic = self.to_group if target is None else self.to_one
        for batch in _batches(datagrams) if self.segmenting else ([it] for it in datagrams):
            if len(batch) > 1 and self._write_segmented(to, batch, traffic):
                continue
            for datagram in batch:
                self._write(to, datagram, traffic)

    def _write_segmented(self, to: Address, batch: Sequence[bytes], traffic: Traffic) -> bool:
        """Hand all to the kernel in one call. False if they must be sent one by one."""
        size = struct.pack("@H", len(batch[0]))
        try:
            self.unicast.sendmsg(batch, [(_SOL_UDP, _UDP_SEGMENT, size)], 0, to)
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._unsent[reason_of(error)] += len(batch)
                return True
            self.segmenting = error.errno not in _NO_SEGMENTS
            return False
        traffic.count(len(batch), sum(map(len, batch)))
        return True

    def _write(self, to: Address, datagram: bytes, traffic: Traffic) -> None:
        for attempt in (1, 2):
            try:
                self.unicast.sendto(datagram, to)
            except OSError as error:
                # An earlier datagram's refusal is reported by whatever is called next.
                if attempt == 1 and self._read_errors(self.unicast):
                    continue
                self._unsent[reason_of(error)] += 1
            else:
                traffic.count(1, len(datagram))
            return

    # ── in ───────────────────────────────────────────────────────────────────────────────────────

    async def wait_arrivals(self) -> None:
        """Wait until `arrivals` or `take_refused` may have something."""
        await trio.lowlevel.wait_readable(self._readiness.fileno())

    def arrivals(self) -> Iterator[tuple[bytes, Address]]:
        """Datagrams and their sources, at most `READS_MAX` of each socket."""
        for sock, traffic in ((self.unicast, self.from_one), (self.multicast, self.from_group)):
            for _ in range(READS_MAX):
                try:
                    data, ancillary, _, source = sock.recvmsg(1 << 16, 64)
                except BlockingIOError:
                    break
                except OSError:  # a refusal, of which the error queue knows more
                    self._read_errors(sock)
                    continue
                for level, kind, value in ancillary:
                    if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL):
                        (self._overruns[sock],) = struct.unpack("@I", value[:4])
                if self.is_lost is not None and self.is_lost():
                    continue
                traffic.count(1, len(data))
                yield data, source
        self._read_errors(self.unicast)

    def take_refused(self) -> tuple[Address, ...]:
        """Addresses that answered, since the last call, that nobody listens there."""
        refused = tuple(self._refused)
        self._refused.clear()
        return refused

    def _read_errors(self, sock: socket.socket) -> bool:
        """Empty the error queue. Whether it had anything."""
        found = False
        for _ in range(_ERRORS_MAX):
            try:
                _, ancillary, _, target = sock.recvmsg(1, 512, socket.MSG_ERRQUEUE)
            except OSError:
                break
            found = True
            for _, _, value in ancillary:
                (code,) = struct.unpack_from("@I", value)
                if code == errno.ECONNREFUSED:
                    self._refused[target] = None
        return found

    def close(self) -> None:
        """Leave the group and give up both addresses. Nobody may be waiting."""
        self._readiness.close()
        self.unicast.close()
        self.multicast.close()


def _batches(datagrams: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """What one call of the kernel takes: one length, but the last may be shorter."""
    if not datagrams:
        return
    size = max(1, len(datagrams[0]))
    count = max(1, min(_SEGMENTS_MAX, _SEGMENTED_BYTES_MAX // size))
    for start in range(0, len(datagrams), count):
        yield datagrams[start : start + count]
