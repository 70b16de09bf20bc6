"""`raftkit discovered`: nodes on the network, members and others, seen and not admitted."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from raftkit.cli.child import free_addresses
from tests.cli.typed import MACHINE, poll, refused, terminal, typed

pytestmark = pytest.mark.slow


@pytest.fixture
def places() -> dict[str, str]:
    return dict(free_addresses(("a", "b", "d", "group"), socket.SOCK_DGRAM))


@pytest.fixture
def over(tmp_path: Path, places: dict[str, str]) -> list[object]:
    """Options of a network of this test's own."""
    key = tmp_path / "cluster.key"
    key.touch(mode=0o600)
    key.write_text("17" * 32)
    group = f"239.192.7.1:{places['group'].rpartition(':')[2]}"
    return ["--group", group, "--interface", "lo", "--cluster", "ours", "--key", key]


@pytest.fixture
def home(tmp_path: Path, places: dict[str, str], over: list[object]) -> Iterator[Path]:
    """The directory of a, which runs; so does d, which waits to be admitted."""
    a, b, d = (f"{it}={places[it]}" for it in "abd")
    made = [("a", f"{a},{b}", []), ("d", f"{a},{d}", ["--join"])]
    with ExitStack() as terminals:
        for name, members, more in made:
            given = ("--id", name, "--members", members, "--machine", MACHINE, *over, *more)
            assert typed("init", tmp_path / name, *given)[::2] == (0, "")
            screen = tmp_path / f"{name}.txt"
            terminals.enter_context(terminal(screen, "run", tmp_path / name))
            poll(lambda screen=screen: "unborn at" in screen.read_text())  # type: ignore[misc]
        yield tmp_path / "a"


@pytest.mark.accept("Q-20")
def test_a_node_that_waits_is_seen_and_stays_outside(home: Path, places: dict[str, str]) -> None:
    code, out, err = typed("discovered", home)
    said: dict[str, Any] = json.loads(typed("discovered", home, "--json")[1])

    assert (code, err) == (0, "")
    member, other = out.splitlines()
    assert member.startswith(f"a  {places['a']}, ")
    assert member.endswith(" s ago, member")
    assert other.endswith(f"no member: raftkit admit {home} d {places['d']}")
    assert [(it["id"], it["address"], it["source"], it["member"]) for it in said["nodes"]] == [
        ("a", places["a"], "127.0.0.1", True),
        ("d", places["d"], "127.0.0.1", False),
    ]
    assert said["refused"] == {}
    status = json.loads(typed("status", home, "--json")[1])
    assert [it["id"] for it in status["members"]] == ["a", "b"]


def test_a_node_with_other_settings_is_named(home: Path) -> None:
    said = json.loads(typed("discovered", home, "--json")[1])
    assert [it["settings_differ"] for it in said["nodes"]] == [False, False]

    file = home / "node.toml"
    file.write_text(file.read_text().replace("[multicast]", "[multicast]\nttl = 2", 1))
    code, out, _ = typed("discovered", home)
    said = json.loads(typed("discovered", home, "--json")[1])

    assert code == 0
    assert [it["settings_differ"] for it in said["nodes"]] == [True, True]
    assert out.count("; settings differ: ") == 2


def test_without_a_directory_the_options_say_all(home: Path, over: list[object]) -> None:
    assert home.is_dir()

    said = json.loads(typed("discovered", *over, "--json")[1])

    assert [(it["id"], it["member"]) for it in said["nodes"]] == [("a", None), ("d", None)]


def test_with_another_key_nobody_is_there_and_why_is_told(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.touch(mode=0o600)
    other.write_text("18" * 32)

    code, out, _ = typed("discovered", home, "--key", other)

    assert code == 1
    assert "datagrams were refused: sealed with a key that is not in use here" in out
    assert "nobody said hello to 239.192.7.1:" in out


def test_what_has_no_multicast_is_refused(tmp_path: Path, places: dict[str, str]) -> None:
    members = f"a={places['a']},b={places['b']}"
    typed("init", tmp_path / "a", "--id", "a", "--members", members)

    assert "talks over TCP" in refused("discovered", tmp_path / "a")
    assert "node.toml: No such file" in refused("discovered", tmp_path / "b")
    assert "multicast needs group and interface and cluster" in refused("discovered")
