"""What an endpoint asks of its sockets: real ones are `MulticastSockets`; worlds in virtual time have others.

Law: nothing here waits but `wait_arrivals`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from raftkit.transports.multicast.sockets import Address, Traffic
from raftkit.transports.tcp.sockets import Place

__all__ = ["Datagrams"]


class Datagrams(Protocol):
    """Datagrams to a group, or to one address, and what arrives from both."""

    @property
    def own(self) -> Place:
        """Where peers reach this endpoint."""
        ...

    @property
    def group(self) -> Place:
        """Whom all members hear."""
        ...

    @property
    def send_buffer_size(self) -> int:
        """In bytes."""
        ...

    @property
    def recv_buffer_size(self) -> int:
        """Bytes that are held until they are fetched."""
        ...

    @property
    def overruns(self) -> int:
        """Datagrams that arrived and were lost because nobody fetched them in time."""
        ...

    @property
    def unsent(self) -> Mapping[str, int]:
        """Datagrams that were not taken, by reason."""
        ...

    @property
    def to_group(self) -> Traffic:
        """Sent once for all who hear it."""
        ...

    @property
    def to_one(self) -> Traffic:
        """Sent to one address."""
        ...

    @property
    def from_group(self) -> Traffic:
        """Arrived by multicast."""
        ...

    @property
    def from_one(self) -> Traffic:
        """Arrived for this address alone."""
        ...

    def pace(self, rate: int) -> None:
        """Have the network send at most `rate` bytes a second, where it can."""
        ...

    def send(self, target: Address | None, datagrams: Sequence[bytes]) -> None:
        """Send them to `target`, or to the group if that is None; or lose them."""
        ...

    async def wait_arrivals(self) -> None:
        """Wait until `arrivals` or `take_refused` may have something."""
        ...

    def arrivals(self) -> Iterator[tuple[bytes, Address]]:
        """Some of the datagrams that have come, and their sources."""
        ...

    def take_refused(self) -> tuple[Address, ...]:
        """Addresses that answered, since the last call, that nobody listens there."""
        ...

    def interface_changed(self) -> bool:
        """Whether it is time to `join` anew. Raises ConfigError if that can't be done."""
        ...

    def join(self) -> None:
        """Hear the group, also if it was heard before. Raises ConfigError if that can't be done."""
        ...
