"""Groups that no other test has, and addresses for datagrams at which nobody is."""

from __future__ import annotations

import os
import socket
from itertools import count

__all__ = ["a_group", "free_datagram_addresses"]

_NUMBERS = count(1)


def a_group() -> str:
    """One that no other test has, of this process or of another that runs now."""
    process, number = os.getpid() % 30_000, next(_NUMBERS)
    return f"239.{192 + number // 250 % 4}.{number % 250}.{process // 250}:{20_000 + process % 250}"


def free_datagram_addresses(number: int) -> list[str]:
    """Loopback addresses that nobody has now."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(number)]
    for it in sockets:
        it.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{it.getsockname()[1]}" for it in sockets]
    for it in sockets:
        it.close()
    return addresses
