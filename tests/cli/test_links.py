"""`raftkit links`: the matrix of who hears whom, asked at one node."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from raftkit import MemoryNetwork, open_node
from raftkit.driver import local_socket, presence
from tests.cli.typed import refused, typed
from tests.node.machines import Counter

PATIENCE = 20.0
"Seconds for anything to show."
MEMBERS = {name: f"memory:{name}" for name in "abc"}


async def said(*words: object) -> tuple[int, str, str]:
    """`typed`, while the nodes of this thread go on."""
    return await trio.to_thread.run_sync(typed, *words)


async def shown_with(code: int, directory: Path, applied: int) -> list[list[str]]:
    """The table's cells, two spaces apart, once the command exits so and all have said to be so far."""
    with trio.fail_after(PATIENCE):
        while True:
            found, out, err = await said("links", directory)
            assert err == ""
            rows = [[it.strip() for it in line.split("  ") if it] for line in out.splitlines()]
            if (found, {it[-1] for it in rows[1:]}) == (code, {f"{applied:,}"}):
                return rows
            await trio.sleep(0.1)


async def rows_with(missing: list[list[str] | None], directory: Path) -> dict[str, Any]:
    """The rows of `--json`, by member, once they say so of a, b and c, and not all hear all."""
    with trio.fail_after(PATIENCE):
        while True:
            code, out, _ = await said("links", directory, "--json")
            answer = json.loads(out)
            assert (answer["id"], answer["directory"]) == (directory.name, str(directory))
            rows = {it["id"]: it for it in answer["links"]}
            if (code, [rows[it]["missing"] for it in "abc"]) == (1, missing):
                return rows
            await trio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.accept("U-62")
async def test_who_hears_whom_is_a_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(presence, "REPEAT_SECONDS", 0.1)
    monkeypatch.setattr(presence, "SILENT_SECONDS", 2.0)  # and more than it may be held up
    network = MemoryNetwork()
    opened = partial(open_node, Counter, members=MEMBERS, transport=network)
    async with AsyncExitStack() as scopes:
        nodes = [
            await scopes.enter_async_context(opened(id=name, data_dir=tmp_path / name))
            for name in MEMBERS
        ]
        leader = await nodes[0].wait_leader()
        await nodes[0].execute(Counter.add())
        table = await shown_with(0, tmp_path / "b", nodes[0].applied_index)
        assert table[0] == ["hears", *"abc", "said so", "leader", "term", "last index", "applied"]
        index = f"{nodes[0].applied_index}"
        term = f"{nodes[0].statistics().term}"
        assert [it[0] for it in table[1:]] == ["a", "b", "c"]
        assert (table[1][1:4], table[3][1:4]) == (["·", "yes", "yes"], ["yes", "yes", "·"])
        assert [it[5:] for it in table[1:]] == [[leader, term, index, index]] * 3
        assert table[2][2] == "·"
        assert table[2][4] == "now"
        assert all(float(table[2][it].removesuffix(" s")) < PATIENCE for it in (1, 3))

        network.cut("b", "c")
        rows = await rows_with([[], None, ["b"]], tmp_path / "c")
        table = await shown_with(1, tmp_path / "c", nodes[0].applied_index)
        assert table[1][1:4] == ["·", "yes", "yes"]
        assert table[2][1:4] == ["?", "·", "?"]
        no, age = table[3][2].split(", ")
        assert (no, 2.0 <= float(age.removesuffix(" s")) < PATIENCE) == ("no", True)
        assert rows["b"]["heard_age"] > 2.0
        assert rows["a"]["said"]["applied_index"] == nodes[0].applied_index


@pytest.mark.slow
async def test_a_node_without_a_group_says_so(tmp_path: Path) -> None:
    opened = partial(open_node, Counter, members=MEMBERS, transport=MemoryNetwork())
    async with opened(id="a", data_dir=tmp_path / "a"):
        assert await said("links", tmp_path / "a") == (1, "a belongs to no group yet\n", "")


async def test_an_answer_of_another_version_is_refused_in_one_line(tmp_path: Path) -> None:
    answers: list[Any] = [[], {"id": "a", "links": [{"id": "a"}]}]
    for answer in answers:
        questions = {"links": lambda answer=answer: answer}
        async with local_socket.open_local_socket(tmp_path, questions):
            code, out, err = await said("links", tmp_path)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert "another version of raftkit" in err


def test_there_must_be_a_node(tmp_path: Path) -> None:
    assert "no node runs there" in refused("links", tmp_path)
