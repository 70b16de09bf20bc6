"""The one suite that every transport passes, over all of ours."""

from __future__ import annotations

import itertools

import pytest

from raftkit.testing.transport_conformance import TransportConformance
from raftkit.transports import LossyTransport, MemoryNetwork, MulticastTransport, TcpTransport
from tests.transports.multicast_places import a_group, free_datagram_addresses
from tests.transports.parts import free_addresses


class TestMemoryNetwork(TransportConformance):
    @pytest.fixture(autouse=True)
    def _numbers(self) -> None:
        self.numbers = itertools.count()

    def fresh(self) -> LossyTransport:
        return MemoryNetwork()

    def addresses(self, count: int) -> list[str]:
        return [f"memory:{next(self.numbers)}" for _ in range(count)]


class TestTcp(TransportConformance):
    def fresh(self) -> LossyTransport:
        return TcpTransport()

    def addresses(self, count: int) -> list[str]:
        return free_addresses(count)


class TestMulticast(TransportConformance):
    def fresh(self) -> LossyTransport:
        return MulticastTransport(
            group=a_group(), interface="lo", cluster="conformance", insecure=True
        )

    def addresses(self, count: int) -> list[str]:
        return free_datagram_addresses(count)
