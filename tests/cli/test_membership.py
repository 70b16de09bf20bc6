"""`raftkit members`, `admit`, `remove`, `promote`, `demote`: a group grows and shrinks from the shell."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from raftkit.cli.child import free_addresses
from tests.cli.test_run import Group
from tests.cli.typed import MACHINE, poll, refused, typed


def init(home: Path, name: str, members: dict[str, str], *options: object) -> str:
    listed = ",".join(f"{it}={address}" for it, address in members.items())
    code, out, err = typed(
        "init", home, "--id", name, "--members", listed, "--machine", MACHINE, *options
    )
    assert (code, err) == (0, "")
    return out


def roles(home: Path) -> dict[str, str]:
    code, out, _ = typed("members", home, "--json")
    return {it["id"]: it["role"] for it in json.loads(out)["members"]} if code == 0 else {}


def is_voter(home: Path, name: str) -> bool:
    return roles(home).get(name) == "voter"


def is_settled(leader: Path) -> bool:
    """Whether the latest change is committed: a node is told of it before."""
    status = json.loads(typed("status", leader, "--json")[1])
    return bool(status["commit_index"] >= status["configuration_index"])


def done(*words: object) -> str:
    code, out, err = typed(*words)
    assert (code, err) == (0, ""), err
    return out


@pytest.mark.slow
@pytest.mark.accept("Q-07", "U-68", "C-39")
def test_a_group_grows_from_one_to_three_and_shrinks_from_the_shell(tmp_path: Path) -> None:
    addresses = free_addresses(("a", "b", "c"))
    a, b = tmp_path / "a", tmp_path / "b"
    init(a, "a", {"a": addresses["a"]})
    with ExitStack() as terminals:
        group = Group(tmp_path, terminals)
        group.start("a")
        poll(lambda: "leads" in typed("members", a)[1])
        for name in "bc":
            home = tmp_path / name
            said = init(home, name, {"a": addresses["a"], name: addresses[name]}, "--join")
            assert f"raftkit admit DIRECTORY {name} {addresses[name]}\n" in said
            group.start(name)
            said = done("admit", a if name == "b" else b, name, addresses[name])
            assert said.startswith(f"{name} is a learner, and a voter as soon as it has caught up")
            poll(partial(is_voter, a, name))
        assert done("members", a) == (
            f"a  {addresses['a']}  voter, leads\nb  {addresses['b']}  voter\nc  {addresses['c']}  voter\n"
        )
        poll(lambda: roles(b) == dict.fromkeys("abc", "voter") and is_settled(a))

        assert done("demote", b, "c").startswith("c is a learner (index ")
        assert done("promote", b, "c").startswith("c is a voter (index ")
        assert json.loads(done("remove", b, "c", "--json"))["index"] > 0
        poll(
            lambda: json.loads(typed("status", tmp_path / "c", "--json")[1])["status"] == "removed"
        )
        assert roles(a) == {"a": "voter", "b": "voter"}
        for home in (a, b):
            code, _, err = typed("remove", home, "x")
            assert (code, err) == (
                1,
                "raftkit: remove: the node refused: 'x' is no member; there are: a, b\n",
            )


@pytest.mark.slow
@pytest.mark.accept("P-14", "P-15")
def test_a_node_moves_to_another_port_and_goes_on(tmp_path: Path) -> None:
    """Any member tells the group where it is; from there it decides with one other, and leads."""
    *given, elsewhere = free_addresses(("a", "b", "c", "elsewhere")).values()
    addresses = dict(zip("abc", given, strict=True))
    with ExitStack() as terminals:
        group = Group(tmp_path, terminals)
        for name in "abc":
            init(tmp_path / name, name, addresses)
        group.start(*"abc")
        leader = group.settle()
        moved, other = sorted(set("abc") - {leader})
        group.kill(moved)
        file = tmp_path / moved / "node.toml"
        file.write_text(file.read_text().replace(addresses[moved], elsewhere))
        group.start(moved)

        said = done("readdress", tmp_path / other, moved, elsewhere)

        assert said.startswith(f"{moved} is reached at {elsewhere} (index ")
        group.settle()
        for name in "abc":
            listed = json.loads(done("members", tmp_path / name, "--json"))["members"]
            found = {it["id"]: it["address"] for it in listed}
            assert found == {**addresses, moved: elsewhere}
        group.kill(other)  # so nothing is decided without the one that moved
        assert done("transfer-leadership", tmp_path / leader, "--to", moved) == f"{moved} leads\n"
        group.kill(moved)
        group.start(moved)
        poll(lambda: typed("status", tmp_path / moved)[0] == 0)
        poll(lambda: " leads" in typed("members", tmp_path / leader)[1])


def test_there_must_be_a_node(tmp_path: Path) -> None:
    for words in (["members"], ["remove"], ["promote"], ["demote"]):
        assert "no node runs there" in refused(
            *words, tmp_path, *(["b"] if words != ["members"] else [])
        )
    for word in ("admit", "readdress"):
        assert "no node runs there" in refused(word, tmp_path, "b", "127.0.0.1:7002")


@pytest.mark.parametrize("address", ["7002", "127.0.0.1", "127.0.0.1:70000", ""])
def test_an_address_that_nobody_can_dial_is_refused_at_once(tmp_path: Path, address: str) -> None:
    """The group would take it: other transports have other addresses."""
    assert 'is not "host:port"' in refused("readdress", tmp_path, "b", address)
