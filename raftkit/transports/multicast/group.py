"""Which group, on which interface: what the settings mean on this machine, or one line that says why not.

Laws: an interface is known by its name and asked anew each time, for its number changes when it is made
again; the answers are those of the calling thread's network namespace (so no look into /sys, which may be
another's). Everything here is a question: no socket outlives its call.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from raftkit.errors import ConfigError
from raftkit.transports.tcp.sockets import Place, host_and_port, resolve

__all__ = ["IP_BYTES", "Interface", "find_interface", "nowhere", "parse_group", "place_of"]

IP_BYTES: Final[Mapping[int, int]] = {socket.AF_INET: 20 + 8, socket.AF_INET6: 40 + 8}
"Of the headers of IP and UDP, by family: what a datagram leaves of the MTU."

_GET_FLAGS: Final = 0x8913
_GET_ADDRESS: Final = 0x8915
_GET_MTU: Final = 0x8921
_UP: Final = 0x1
_LOOPBACK: Final = 0x8
_MULTICAST: Final = 0x1000
_NAME_BYTES_MAX: Final = 15
_IPV6_ADDRESSES: Final = Path("/proc/thread-self/net/if_inet6")

_LOCAL_CONTROL: Final = ipaddress.ip_network("224.0.0.0/24")
"Of routing protocols: no switch ever prunes it, and TTL is ignored."


@attrs.frozen(kw_only=True)
class Interface:
    """A network interface as it is now."""

    name: str
    "As `ip link` shows it."
    index: int
    "By which sockets know it. Another one when it was removed and made again."
    mtu: int
    "Bytes of the largest packet that is not fragmented, headers of IP included."
    loopback: bool
    "Whether nothing leaves this machine by it."


def parse_group(text: str) -> Place:
    """The group and port that "239.192.7.1:7400" or "[ff15::7:1]:7400" names.

    Raises ConfigError, in one line, if it is not a multicast address with a port.
    """
    host, port = host_and_port(text)
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise ConfigError(
            f"group {text}: {host} is not an IP address, and names are not looked up"
        ) from error
    if not address.is_multicast:
        raise ConfigError(
            f"group {text} is not a multicast address: choose one from 239.192.0.0/14, or ff15::/16 for IPv6"
        )
    if address in _LOCAL_CONTROL:
        raise ConfigError(
            f"group {text} belongs to routing protocols (224.0.0.0/24): choose one from 239.192.0.0/14"
        )
    if port == 0:
        raise ConfigError(f"group {text} needs a port, the same at every node")
    if address.version == 6:
        return Place(socket.AF_INET6, (str(address), port, 0, 0))
    return Place(socket.AF_INET, (str(address), port))


def nowhere(family: int) -> Place:
    """What a socket of that family is bound to which nobody is to reach: a free port at any address."""
    if family == socket.AF_INET6:
        return Place(family, ("::", 0, 0, 0))
    return Place(family, ("0.0.0.0", 0))  # noqa: S104 - it is only listened to on the group


async def place_of(address: str, family: int) -> Place:
    """Where datagrams for `address` go. Raises ConfigError, in one line, if that is nowhere."""
    # What protects datagrams is their seal, on loopback and elsewhere.
    places = await resolve(address, insecure=True)
    for place in places:
        if place.family == family:
            return place
    version = "IPv6" if family == socket.AF_INET6 else "IPv4"
    raise ConfigError(f"address {address} is not {version}, as the group is: {places[0]}")


def find_interface(name: str, family: int) -> Interface:
    """The interface of that name, if it can carry multicast of `family`.

    Raises ConfigError, in one line, if it is missing, down, without multicast, or without an address.
    """
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            index = socket.if_nametoindex(name)
            flags = _ask(sock, name, _GET_FLAGS, "H")
            mtu = _ask(sock, name, _GET_MTU, "i")
        except (OSError, ValueError) as error:
            there = ", ".join(it for _, it in socket.if_nameindex())
            raise ConfigError(f"interface {name!r} does not exist: there are {there}") from error
        if not flags & _UP:
            raise ConfigError(f"interface {name} is down: ip link set {name} up")
        loopback = bool(flags & _LOOPBACK)
        if loopback and family == socket.AF_INET6:
            raise ConfigError(
                f"interface {name} is loopback, and Linux routes no IPv6 multicast there: take an IPv4 group"
            )
        if not loopback and not flags & _MULTICAST:
            raise ConfigError(
                f"interface {name} does not do multicast: choose another, or ip link set {name} multicast on"
            )
        if not _has_address(sock, name, family):
            version = "IPv6" if family == socket.AF_INET6 else "IPv4"
            raise ConfigError(
                f"interface {name} has no {version} address: give it one, or take a group of the other family"
            )
    return Interface(name=name, index=index, mtu=mtu, loopback=loopback)


def _ask(sock: socket.socket, name: str, question: int, form: str) -> int:
    """One number out of the kernel's `struct ifreq`."""
    encoded = name.encode()
    if len(encoded) > _NAME_BYTES_MAX:
        raise OSError(errno.ENODEV, "the name is too long")
    answer = fcntl.ioctl(sock, question, struct.pack("16s24x", encoded))
    (number,) = struct.unpack_from(form, answer, 16)
    assert isinstance(number, int)
    return number


def _has_address(sock: socket.socket, name: str, family: int) -> bool:
    if family == socket.AF_INET6:
        lines = _IPV6_ADDRESSES.read_text().splitlines()
        return any(line.split()[-1] == name for line in lines)
    with suppress(OSError):
        _ask(sock, name, _GET_ADDRESS, "H")
        return True
    return False
