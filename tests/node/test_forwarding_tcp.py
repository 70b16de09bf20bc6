"""Commands given at any node over TCP while leaders die and are replaced: once, in order, and no false no."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from raftkit import DidNotHappen, NodeClosed, OutcomeUnknown, Session, Token
from tests.node.machines import Journal
from tests.node.tcp_group import Group, open_group, until

pytestmark = pytest.mark.slow


@attrs.define(eq=False)
class Writers:
    """Clients at every node of a group, and what they were told."""

    group: Group
    done: list[str] = attrs.field(factory=list)
    "Lines whose place in the journal was told, in the order of telling."
    denied: dict[str, Token] = attrs.field(factory=dict)
    "Lines that were said not to have happened, for good."
    unknown: dict[str, Token] = attrs.field(factory=dict)
    "Lines of which nothing is known."
    over: bool = False

    async def patient(self, node: str) -> None:
        """One line after the other in the node's own session, each until it is decided."""
        number = 0
        while not self.over:
            number += 1
            line = f"{node} {number}"
            await self.group.write(node, line)
            self.done.append(line)

    async def hasty(self, name: str, session: Session, rng: random.Random) -> None:
        """Lines at whichever node runs, each for a few milliseconds, by tokens; an answer is an answer."""
        number = 0
        while not self.over:
            number += 1
            line, token = f"{name} {number}", session.token()
            node: Any = rng.choice(list(self.group))
            try:
                await node.execute(
                    Journal.write(line=line), token=token, timeout=rng.uniform(0.001, 0.05)
                )
                self.done.append(line)
            except (OutcomeUnknown, NodeClosed):
                self.unknown[line] = token
            except DidNotHappen:
                self.denied[line] = token
            await trio.sleep(0.002)

    async def compare(self) -> None:
        """What was told with what is. First all is settled: what is unknown may still be on its way."""
        happened = {line: await self._happened(token) for line, token in self.unknown.items()}
        lines = await self.group.lines("a")
        assert len(set(lines)) == len(lines), "something was applied twice"
        assert set(self.done) <= set(lines), "something acknowledged was lost"
        assert not set(self.denied) & set(lines), "a refusal was false"
        for name in {line.rsplit(" ", 1)[0] for line in lines}:
            numbers = [int(it.rsplit(" ", 1)[1]) for it in lines if it.startswith(f"{name} ")]
            if len(name) == 1:  # each line was decided before the next was given
                assert numbers == list(range(1, len(numbers) + 1))
        assert {line: line in lines for line in happened} == happened

    async def _happened(self, token: Token) -> bool:
        try:
            await self.group["b"].outcome(token)
        except DidNotHappen:
            return False
        return True


async def write_while(group: Group, disturb: Callable[[], Awaitable[None]]) -> Writers:
    """Write at followers and by tokens everywhere while `disturb` goes on; then compare."""
    writers = Writers(group)
    rng = random.Random(7)
    leader = await group.wait_leader()
    async with trio.open_nursery() as nursery:
        for node in group:
            if node is not leader:
                nursery.start_soon(writers.patient, node.id)
        for number in range(3):
            session = await leader.session()
            nursery.start_soon(writers.hasty, f"hasty{number}", session, rng)
        await disturb()
        writers.over = True
    await writers.compare()
    return writers


async def test_commands_at_followers_outlive_the_leader(tmp_path: Path) -> None:
    async with open_group(tmp_path) as group:
        dead = (await group.wait_leader()).id

        async def kill_the_leader() -> None:
            await trio.sleep(0.3)
            await group.kill(dead)
            new = await group.wait_leader()
            await new.wait_applied(new.statistics().applied_index + 30)
            await group.start(dead)
            await until(lambda: group[dead].leader is not None)

        writers = await write_while(group, kill_the_leader)

        assert len([it for it in writers.done if not it.startswith("hasty")]) > 10


async def test_commands_at_followers_outlive_leaders_that_are_replaced_and_live_on(
    tmp_path: Path,
) -> None:
    async with open_group(tmp_path) as group:
        terms: list[int] = []

        async def replace_leaders() -> None:
            for _ in range(4):
                leader = await group.wait_leader()
                terms.append(leader.statistics().term)
                await leader.wait_applied(leader.statistics().applied_index + 20)
                with trio.fail_after(20):
                    # A closed connection to the leader is news, but it may be back before anybody has won.
                    while max(node.statistics().term for node in group) == terms[-1]:
                        for link in list(group.endpoint(leader.id).links.values()):
                            link.close("the test closed it")
                        await trio.sleep(0.1)
            await group.wait_leader()

        writers = await write_while(group, replace_leaders)

        assert len(set(terms)) == 4
        assert len(writers.done) > 20


async def test_a_node_without_a_leader_says_no_only_of_what_it_never_sent(tmp_path: Path) -> None:
    """The same line is tried at the two that are left, and the truth is asked for when there is a leader."""
    async with open_group(tmp_path) as group:
        leader = await group.wait_leader()
        follower = next(node for node in group if node is not leader)
        (third,) = set("abc") - {leader.id, follower.id}
        session = await follower.session()
        await group.kill(third)
        writers = Writers(group)

        async def ask(number: int) -> None:
            line, token = f"line {number}", session.token()
            try:
                await follower.execute(Journal.write(line=line), token=token, timeout=0.6)
                writers.done.append(line)
            except OutcomeUnknown:
                writers.unknown[line] = token
            except DidNotHappen:
                writers.denied[line] = token

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(ask, number)
                await trio.sleep(0.002)
                if number == 30:
                    await group.kill(leader.id)
        assert writers.done
        assert writers.denied, "lines given after the leader was gone were never sent"
        await group.start_all()
        await writers.compare()
