"""`raftkit transfer-leadership` and `raftkit step-down`, as somebody types them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from raftkit import MemoryNetwork, Node, open_node
from tests.cli.typed import refused, typed
from tests.node.machines import Counter

MEMBERS = {name: f"memory:{name}" for name in "abc"}

pytestmark = pytest.mark.slow


@asynccontextmanager
async def three(directory: Path) -> AsyncGenerator[tuple[Node[Any], list[Node[Any]]]]:
    """Nodes of one group on directories: the one that leads, and the others."""
    network = MemoryNetwork()
    async with AsyncExitStack() as stack:
        nodes: list[Node[Any]] = []
        for name in MEMBERS:
            opened = open_node(
                Counter, id=name, members=MEMBERS, data_dir=directory / name, transport=network
            )
            nodes.append(await stack.enter_async_context(opened))
        found = {await node.wait_leader() for node in nodes}
        assert len(found) == 1
        yield (
            next(node for node in nodes if node.id in found),
            [node for node in nodes if node.id not in found],
        )


async def said(*words: object) -> tuple[int, str, str]:
    """`typed`, while the nodes of this thread go on."""
    return await trio.to_thread.run_sync(typed, *words)


@pytest.mark.accept("Q-70", "C-31")
async def test_leadership_is_handed_over_when_it_is_typed(tmp_path: Path) -> None:
    """At the node that leads, and at one that does not."""
    async with three(tmp_path) as (leader, (other, third)):
        named = await said("transfer-leadership", tmp_path / leader.id, "--to", other.id)
        elsewhere = await said("transfer-leadership", tmp_path / leader.id, "--to", third.id)
        anybody = await said("transfer-leadership", tmp_path / other.id, "--json")

        assert named == (0, f"{other.id} leads\n", "")
        assert elsewhere == (0, f"{third.id} leads\n", "")
        assert anybody[0] == 0
        assert json.loads(anybody[1])["leader"] in set(MEMBERS) - {third.id}


async def test_only_the_node_that_leads_steps_down(tmp_path: Path) -> None:
    async with three(tmp_path) as (leader, (other, _)):
        words = f"raftkit: step-down: the node refused: not the leader; leader is {leader.id}\n"

        assert await said("step-down", tmp_path / other.id) == (1, "", words)


async def test_target_that_can_not_lead_is_refused(tmp_path: Path) -> None:
    async with three(tmp_path) as (leader, _):
        code, out, err = await said("transfer-leadership", tmp_path / leader.id, "--to", "zed")

        assert (code, out) == (1, "")
        assert err == (
            "raftkit: transfer-leadership: the node refused: leadership was not handed over: "
            "the group has no member 'zed': there are a, b, c\n"
        )


@pytest.mark.accept("O-33", "O-36", "O-38", "O-86")
@pytest.mark.parametrize("how", [[], ["--no-transfer"]], ids=["hands over", "stops at once"])
async def test_leader_steps_down_when_it_is_typed(tmp_path: Path, how: list[str]) -> None:
    async with three(tmp_path) as (leader, others):
        code, out, err = await said("step-down", tmp_path / leader.id, *how)

        assert (code, err) == (0, "")
        assert out in {f"{it.id} leads\n" for it in others}
        assert leader.status == "follower"


@pytest.mark.parametrize("command", ["transfer-leadership", "step-down"])
def test_directory_without_a_node_is_refused(command: str, tmp_path: Path) -> None:
    assert "no node runs there" in refused(command, tmp_path)
    assert "no node runs there" in refused(command, tmp_path / "nowhere")
