"""Who only listens to a group: whom it hears, and that nobody hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from raftkit.errors import ConfigError
from raftkit.transports.multicast.datagrams import Datagrams
from raftkit.transports.multicast.listening import overhear
from raftkit.wire import Refused
from tests.transports.multicast_places import a_group
from tests.transports.test_multicast_endpoint import (
    KEYS,
    a_transport,
    endpoint_of,
    key_file,
    station,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def group() -> str:
    return a_group()


async def test_who_says_hello_is_heard_and_hears_nobody(group: str) -> None:
    transport = a_transport(group, hello_retry_interval=0.05)
    async with station("a", transport) as a, station("b", transport) as b:
        heard = await overhear(transport, 0.5)

        assert [it.identity for it in heard.nodes] == [a.identity, b.identity]
        assert [it.address for it in heard.nodes] == [a.address, b.address]
        assert all(it.seconds_ago < 0.5 and not it.is_linked for it in heard.nodes)
        assert heard.refused == {}
        assert [it.identity for it in endpoint_of(a).discovered()] == [b.identity]


async def test_an_empty_network_has_nobody(group: str) -> None:
    heard = await overhear(a_transport(group), 0.1)

    assert (heard.nodes, heard.refused) == ((), {})


async def test_another_cluster_and_another_key_are_told_apart(group: str, tmp_path: Path) -> None:
    one, other = (key_file(tmp_path / str(n), KEYS[n]) for n in range(2))
    fast = {"hello_retry_interval": 0.05}
    async with (
        station("a", a_transport(group, key=one, cluster="theirs", **fast)),
        station("b", a_transport(group, key=other, **fast)),
    ):
        heard = await overhear(a_transport(group, key=one), 0.5)

    assert heard.nodes == ()
    assert set(heard.refused) == {Refused.CLUSTER, Refused.KEY}


async def test_noise_on_the_group_is_counted(group: str) -> None:
    transport = a_transport(group, hello_retry_interval=0.05)

    async def make_noise(sockets: Datagrams) -> None:
        while True:
            sockets.send(None, (b"x" * 100,))
            await trio.sleep(0.02)

    async with station("a", transport) as a, trio.open_nursery() as nursery:
        nursery.start_soon(make_noise, endpoint_of(a).sockets)
        heard = await overhear(transport, 0.5)
        nursery.cancel_scope.cancel()

    assert [it.identity for it in heard.nodes] == [a.identity]
    assert set(heard.refused) == {Refused.MAGIC}


async def test_what_cannot_be_listened_to_is_one_line(group: str) -> None:
    with pytest.raises(ConfigError, match="interface 'eth77' does not exist"):
        await overhear(a_transport(group, interface="eth77"), 1)
