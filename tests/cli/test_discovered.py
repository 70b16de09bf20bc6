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


SOON = ("--seconds", 2)
"Less than by default, and time for two hellos of each node."


@pytest.fixture(scope="module")
def places() -> dict[str, str]:
    return dict(free_addresses(("a", "b", "d", "group"), socket.SOCK_DGRAM))


@pytest.fixture(scope="module")
def over(tmp_path_factory: pytest.TempPathFactory, places: dict[str, str]) -> list[object]:
    """Options of a network of these tests' own."""
    key = tmp_path_factory.mktemp("over") / "cluster.key"
    key.touch(mode=0o600)
    key.write_text("17" * 32)
    group = f"239.192.7.1:{places['group'].rpartition(':')[2]}"
    return ["--group", group, "--interface", "lo", "--cluster", "ours", "--key", key]


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory, places: dict[str, str], over: list[object]
) -> Iterator[Path]:
    """The directory of a, which runs; so does d, which waits to be admitted. Nothing changes them."""
    root = tmp_path_factory.mktemp("home")
    a, b, d = (f"{it}={places[it]}" for it in "abd")
    made = [("a", f"{a},{b}", []), ("d", f"{a},{d}", ["--join"])]
    screens = [root / f"{name}.txt" for name, _, _ in made]
    with ExitStack() as terminals:
        for screen, (name, members, more) in zip(screens, made, strict=True):
            given = ("--id", name, "--members", members, "--machine", MACHINE, *over, *more)
            assert typed("init", root / name, *given)[::2] == (0, "")
            terminals.enter_context(terminal(screen, "run", root / name))
        poll(lambda: all("unborn at" in screen.read_text() for screen in screens))
        yield root / "a"


@pytest.mark.accept("Q-20")
def test_a_node_that_waits_is_seen_and_stays_outside(home: Path, places: dict[str, str]) -> None:
    code, out, err = typed("discovered", home)
    said: dict[str, Any] = json.loads(typed("discovered", home, *SOON, "--json")[1])

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
    said = json.loads(typed("discovered", home, *SOON, "--json")[1])
    assert [it["settings_differ"] for it in said["nodes"]] == [False, False]

    file = home / "node.toml"
    as_it_runs = file.read_text()
    file.write_text(as_it_runs.replace("[multicast]", "[multicast]\nttl = 2", 1))
    try:
        code, out, _ = typed("discovered", home, *SOON)
        said = json.loads(typed("discovered", home, *SOON, "--json")[1])
    finally:
        file.write_text(as_it_runs)

    assert code == 0
    assert [it["settings_differ"] for it in said["nodes"]] == [True, True]
    assert out.count("; settings differ: ") == 2


def test_without_a_directory_the_options_say_all(home: Path, over: list[object]) -> None:
    assert home.is_dir()

    said = json.loads(typed("discovered", *over, *SOON, "--json")[1])

    assert [(it["id"], it["member"]) for it in said["nodes"]] == [("a", None), ("d", None)]


def test_with_another_key_nobody_is_there_and_why_is_told(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.touch(mode=0o600)
    other.write_text("18" * 32)

    code, out, _ = typed("discovered", home, *SOON, "--key", other)

    assert code == 1
    assert "datagrams were refused: sealed with a key that is not in use here" in out
    assert "nobody said hello to 239.192.7.1:" in out


def test_what_has_no_multicast_is_refused(tmp_path: Path, places: dict[str, str]) -> None:
    members = f"a={places['a']},b={places['b']}"
    typed("init", tmp_path / "a", "--id", "a", "--members", members)

    assert "talks over TCP" in refused("discovered", tmp_path / "a")
    assert "node.toml: No such file" in refused("discovered", tmp_path / "b")
    assert "multicast needs group and interface and cluster" in refused("discovered")
