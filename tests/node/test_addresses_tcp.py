"""Where whole nodes listen and are found: ports in use, listening elsewhere, IPv6 and names."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from raftkit import open_node
from raftkit.errors import ConfigError
from raftkit.storage import open_storage
from tests.node.machines import Journal
from tests.node.tcp_group import Group, open_group
from tests.transports.parts import free_addresses

pytestmark = pytest.mark.slow


def occupied(address: str) -> socket.socket:
    host, port = address.rsplit(":", 1)
    return socket.create_server((host, int(port)))


async def refusal(group: Group, name: str) -> str:
    """What opening that node raises."""
    with pytest.raises(ConfigError) as caught:
        async with open_node(
            Journal, id=name, members=group.members, data_dir=group.root / name
        ) as node:
            await node.wait_leader()
    return str(caught.value)


async def test_a_port_in_use_is_named_and_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    async with open_group(tmp_path, start=False) as group:
        words = f"can't listen at {group.members['a']}: the port is in use"
        with occupied(group.members["a"]):
            for _ in range(3):  # as a supervisor does
                assert await refusal(group, "a") == words
        storage = open_storage(tmp_path / "a", "a")
        identity = storage.record.identity
        storage.close()
        await group.start_all()

        assert await group.write("a", "in time") == 1
        assert group.identity("a") == identity
        await group.kill("a")
        with occupied(group.members["a"]):
            assert await refusal(group, "a") == words
        await group.start("a")
        assert await group.lines("a") == ["in time"]
        assert group["a"].status in ("follower", "leader")


@pytest.mark.accept("C-13", "U-16")
async def test_a_node_may_listen_elsewhere_than_it_is_dialled(tmp_path: Path) -> None:
    async with open_group(tmp_path, start=False) as group:
        port = group.members["a"].rsplit(":", 1)[1]
        group.members["a"] = f"127.0.0.2:{port}"
        await group.start("a", transport=None, listen=f"0.0.0.0:{port}", insecure=True)
        await group.start_all()

        for count, name in enumerate("abc", 1):
            assert await group.write(name, name) == count
        assert group.endpoint("a").address == f"0.0.0.0:{port}"
        assert group["b"].members == group.members
        (taken,) = free_addresses(1)
        await group.kill("a")
        with occupied(taken), pytest.raises(ConfigError, match=f"can't listen at {taken}: "):
            await group.start("a", transport=None, listen=taken)


async def test_members_may_be_named_by_ipv6_addresses_and_by_names(tmp_path: Path) -> None:
    async with open_group(tmp_path, start=False) as group:
        ports = {name: address.rsplit(":", 1)[1] for name, address in group.members.items()}
        group.members.update(a=f"[::1]:{ports['a']}", b=f"localhost:{ports['b']}")
        await group.start_all()

        for count, name in enumerate("abc", 1):
            assert await group.write(name, name) == count
        assert group.endpoint("a").address == f"[::1]:{ports['a']}"
        await group.kill("a")
        await group.start("a")
        assert await group.lines("a") == ["a", "b", "c"]
