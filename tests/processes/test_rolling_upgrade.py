"""Processes are replaced by ones of newer code, one by one, under load: no write fails, nothing differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from tests.processes.group import Refused, Unanswered
from tests.processes.storm import Storm
from tests.processes.strikes import wait_whole

pytestmark = pytest.mark.slow


@attrs.define(eq=False)
class Writer:
    """Appends one value after the other to a list of its own; each is asked for until it is decided."""

    storm: Storm
    session: int = 0
    written: int = 0
    found: list[int] | None = None
    "What the list held in the end."
    over: bool = False

    async def run(self) -> None:
        """Until `over`."""
        (self.session,) = await self._ask("session")
        while not self.over:
            await self._decide(["append", "mine", self.written])
            self.written += 1
        self.found = await self._decide(["retire", "mine"])

    async def _decide(self, command: list[object]) -> Any:
        (result,) = await self._ask("again", command, self.session, self.written + 1)
        return result

    async def _ask(self, verb: str, *arguments: object) -> list[Any]:
        while True:
            member = await self.storm.group.any_member(self.storm.nemesis.rng)
            try:
                return await member.ask(verb, *arguments, 5.0, patience=10)
            except (Refused, Unanswered):
                await trio.sleep(0.02)


async def replace_in_turn(storm: Storm) -> None:
    """Replace every process, the leader last; until then the new version is refused by all."""
    leader, _ = await wait_whole(storm)
    names = [*(it for it in storm.group.names if it != leader), leader]
    storm.group.program = ("tests.processes.upgraded",)
    for name in names:
        await wait_whole(storm)
        assert storm.group.kill(name, down=0.0)
        member = await storm.group.open_member(name)
        if name != leader:
            with pytest.raises(Refused, match="needs version 2"):
                await member.ask("tag", "early", 1, 5.0, patience=10)


async def tag_everywhere(storm: Storm) -> None:
    """Wait until version 2 is in force at each node, and use it there, under load."""
    with trio.fail_after(60):
        for place, name in enumerate(storm.group.names):
            member = await storm.group.open_member(name)
            while await member.ask("version", patience=10) != [2]:  # noqa: ASYNC110 - it is a process
                await trio.sleep(0.05)
            assert await member.ask("tag", name, place, 5.0, patience=10) == [place + 1]


@pytest.mark.accept("Q-15")
async def test_a_group_of_processes_is_upgraded_node_by_node_under_load(tmp_path: Path) -> None:
    """Old and new code share logs and snapshots; the upgrade runs at one entry on all; old commands go on."""
    storm = Storm(directory=tmp_path, seed=7, clients=8)
    writer = Writer(storm)

    async def upgrade() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            await replace_in_turn(storm)
            await tag_everywhere(storm)
            await wait_whole(storm)
            writer.over = True

    report = await storm.run(upgrade)

    assert report.violations == []
    assert report.starts == 6
    assert report.calls["appends acknowledged"] > 100
    assert writer.written > 20
    assert writer.found == list(range(writer.written))
