"""`raftkit upgrade`: what a node is told to do from outside, and what it says where it may not."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from raftkit import MemoryNetwork, Node, open_node
from tests.cli.typed import refused, typed
from tests.driver.test_versions import Middle, Old

MEMBERS = {name: f"memory:{name}" for name in "ab"}


@asynccontextmanager
async def two(directory: Path, a: Any, b: Any) -> AsyncGenerator[tuple[Node[Any], Node[Any]]]:
    """Two nodes of one group on directories, with this code."""
    opened = partial(open_node, members=MEMBERS, transport=MemoryNetwork(), upgrade_hold=math.inf)
    async with (
        opened(a, id="a", data_dir=directory / "a") as one,
        opened(b, id="b", data_dir=directory / "b") as other,
    ):
        await one.wait_leader()
        await other.wait_leader()
        yield one, other


async def said(*words: object) -> tuple[int, str, str]:
    """`typed`, while the nodes of this thread go on."""
    return await trio.to_thread.run_sync(typed, *words)


@pytest.mark.slow
async def test_a_version_comes_in_force_when_it_is_typed(tmp_path: Path) -> None:
    async with two(tmp_path, Old, Old) as (a, _):
        await a.execute(Old.set("tea", 1))
        assert await said("upgrade", tmp_path / "a") == (
            0,
            "version 1 of the machine is in force\n",
            "",
        )
    async with two(tmp_path, Middle, Old) as (a, _):
        code, out, err = await said("upgrade", tmp_path / "b")
        assert (code, out) == (1, "")
        assert err == (
            "raftkit: upgrade: the node refused: version 1 of the machine is in force, version 2 is there; "
            "it waits for b has version 1\n"
        )
    async with two(tmp_path, Middle, Middle) as (a, b):
        code, out, _ = await said("upgrade", tmp_path / "b", "--json")
        assert (code, out) == (0, f'{{"directory": "{tmp_path / "b"}", "version": 2}}\n')
        assert await a.upgrade() == 2
        await b.execute(Middle.set("tea", 2, note="typed"))


def test_there_must_be_a_node(tmp_path: Path) -> None:
    assert "no node runs there: give the data directory of one" in refused("upgrade", tmp_path)
    assert "no node runs there" in refused("upgrade", tmp_path / "nowhere")
