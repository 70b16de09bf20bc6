"""Nodes over multicast as `raftkit init` and `raftkit run` know them, and what is refused."""

from __future__ import annotations

import json
import re
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from raftkit import ConfigError, MulticastTransport, TcpTransport
from raftkit.cli.child import free_addresses
from raftkit.cli.network import multicast_transport, network_on_loopback, transport_in
from raftkit.cli.node_file import NodeFile, read_node_file, write_node_file
from tests.cli.typed import MACHINE, end_politely, poll, refused, terminal, typed

LEAST = {"group": "239.192.7.1:7400", "interface": "lo", "cluster": "c"}
MEMBERS = "a=192.0.2.1:7401,b=192.0.2.2:7401"


@pytest.mark.slow
def test_three_nodes_are_made_and_run_over_multicast(tmp_path: Path) -> None:
    key = tmp_path / "cluster.key"
    key.touch(mode=0o600)
    key.write_text("17" * 32)
    *places, (_, group) = free_addresses(("a", "b", "c", "group"), socket.SOCK_DGRAM).items()
    members = ",".join(f"{name}={address}" for name, address in places)
    over = ("--group", f"239.192.7.1:{group.rpartition(':')[2]}", "--interface", "lo")
    shared = ("--members", members, "--machine", MACHINE, *over, "--cluster", "c", "--key", key)
    with ExitStack() as terminals:
        processes = []
        for name, _ in places:
            home = tmp_path / name
            assert typed("init", home, "--id", name, *shared)[::2] == (0, "")
            process = terminal(tmp_path / f"{name}.txt", "run", home)
            processes.append(terminals.enter_context(process))

        def settled() -> bool:
            said = json.loads(typed("status", tmp_path / "a", "--json")[1])
            assert isinstance(said, dict)
            return "votes" in said and said["votes"]["here"] == 3 and said["leader"] is not None

        poll(lambda: settled() or None)
        assert [end_politely(it) for it in processes] == [0, 0, 0]


def test_what_init_is_told_is_in_the_file(tmp_path: Path) -> None:
    """A key's place is kept as it is understood in any working directory."""
    home = tmp_path / "a"
    over = ("--group", "[ff15::7:1]:7400", "--interface", "eth7", "--cluster", "ours", "--key", "k")

    code, _, _ = typed("init", home, "--id", "a", "--members", MEMBERS, *over)

    assert code == 0
    assert read_node_file(home).multicast == {
        "group": "[ff15::7:1]:7400",
        "interface": "eth7",
        "cluster": "ours",
        "key": str(Path("k").absolute()),
    }


def test_insecure_means_without_a_key_over_multicast(tmp_path: Path) -> None:
    over = ("--group", "239.192.7.1:7400", "--interface", "eth7", "--cluster", "c", "--insecure")
    typed("init", tmp_path / "a", "--id", "a", "--members", MEMBERS, *over)

    file = read_node_file(tmp_path / "a")
    assert "insecure" not in file.settings
    assert file.multicast is not None
    assert file.multicast["insecure"] is True


@pytest.mark.parametrize(
    "options, words",
    [
        (("--group", "239.192.7.1:7400"), "multicast: multicast needs interface and cluster"),
        (("--key", "k"), "multicast needs group and interface and cluster"),
        (("--group", "10.0.0.1:7400", "--interface", "lo"), "needs cluster"),
    ],
)
def test_init_makes_nothing_of_half_a_multicast(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    said = refused("init", tmp_path / "a", "--id", "a", "--members", MEMBERS, *options)

    assert words in said
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"group": "10.0.0.1:7400"}, "group 10.0.0.1:7400 is not a multicast address"),
        ({"group": 7400}, "group must be text, got 7400"),
        ({"loopback": 1}, "loopback must be true or false, got 1"),
        ({"pacing_rate": True}, "pacing_rate must be a whole number, got True"),
        ({"pacing_rate": 1}, "pacing_rate must be at least 4096"),
        ({"datagram_size": 1.5}, "datagram_size must be a whole number, got 1.5"),
        ({"hello_retry_interval": "1s"}, "hello_retry_interval must be a number, got '1s'"),
        ({"fragmentation": "none"}, 'fragmentation must be "app" or "ip"'),
        ({"fragmentation": 5}, "fragmentation must be text"),
        ({"packing_rate": 9}, "did you mean pacing_rate?"),
        ({"cluster": ""}, "cluster needs a name"),
    ],
)
def test_settings_that_cannot_work_are_one_line(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        multicast_transport(LEAST | changes, Path())


def test_whole_seconds_are_seconds(tmp_path: Path) -> None:
    found = multicast_transport(LEAST | {"hello_retry_interval": 2, "key": "k"}, tmp_path)

    assert (found.hello_retry_interval, found.key) == (2, str(tmp_path / "k"))


@pytest.mark.parametrize(
    "text, words",
    [
        ("multicast = 5", "multicast must be a table of settings, got 5"),
        ("[multicast]\nttl = 'x'", "multicast: ttl must be a whole number"),
        ("insecure = true\n[multicast]\nttl = 1", "insecure is a setting of TCP"),
        ("mulitcast = 5", "did you mean multicast?"),
    ],
)
def test_a_file_that_cannot_work_is_named(tmp_path: Path, text: str, words: str) -> None:
    members = '[members]\na = "127.0.0.1:1"\nb = "127.0.0.1:2"\n'
    (tmp_path / "node.toml").write_text(f'id = "a"\n{text}\n{members}')

    with pytest.raises(ConfigError, match=re.escape(words)) as refusal:
        read_node_file(tmp_path)

    assert str(tmp_path / "node.toml") in str(refusal.value)


def test_a_table_that_is_written_comes_back(tmp_path: Path) -> None:
    members = {"a": "127.0.0.1:1", "b": "127.0.0.1:2"}
    over = {**LEAST, "ttl": 3, "loopback": False, "hello_retry_interval": 0.5}
    file = NodeFile(machine=None, settings={"id": "a", "members": members}, multicast=over)

    write_node_file(tmp_path, file)

    assert read_node_file(tmp_path) == file


def test_networks_of_two_commands_share_nothing(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(network_on_loopback("multicast", ("a", "b"), tmp_path / name))

    one, two = (transport_in(it.arguments()[0]) for it in made)
    assert isinstance(one, MulticastTransport)
    assert isinstance(two, MulticastTransport)
    assert one.cluster != two.cluster
    keys = [Path(str(it.key)) for it in (one, two)]
    assert keys[0].read_text() != keys[1].read_text()
    assert [it.stat().st_mode & 0o777 for it in keys] == [0o600, 0o600]


def test_over_tcp_a_network_is_its_addresses(tmp_path: Path) -> None:
    network = network_on_loopback("tcp", ("a", "b"), tmp_path)

    assert sorted(network.addresses) == ["a", "b"]
    assert isinstance(transport_in(network.arguments()[0]), TcpTransport)
    assert list(tmp_path.iterdir()) == []
