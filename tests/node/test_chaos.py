"""Clients, crashes, partitions and a bad network, at random from a seed; then the laws of outcomes.

To try more: `PYTHONPATH=. python -m tests.node.test_chaos FIRST_SEED SECONDS`.
"""

from __future__ import annotations

import random
import sys
import time
from contextlib import suppress

import attrs
import pytest
import trio
import trio.testing

from raftkit import DidNotHappen, MemoryNetwork, NoQuorum, OutcomeUnknown, Session, Token
from raftkit.testing import Cluster, local_cluster
from raftkit.transports import Faults
from tests.node.machines import Journal


@attrs.define
class History:
    """What clients were told."""

    rng: random.Random
    cluster: Cluster[Journal]
    done: list[str] = attrs.field(factory=list)
    denied: dict[str, Token] = attrs.field(factory=dict)
    "Told that it did not happen, at the last attempt of all."
    unknown: dict[str, Token] = attrs.field(factory=dict)
    over: bool = False

    async def write_lines(self, name: str) -> None:
        """Write one line after the other, each at whatever node, until it is decided or hopeless."""
        session = await self.cluster["a"].session()
        number = 0
        while not self.over:
            number += 1
            await self.write(f"{name} {number}", session)
            await trio.sleep(self.rng.random() * 0.05)

    async def write(self, line: str, session: Session) -> None:
        token = session.token()
        self.unknown[line] = token
        for _ in range(50):
            try:
                with trio.move_on_after(self.rng.choice([0.01, 0.1, 1, 100])):
                    node = self.cluster[self.rng.choice("abc")]
                    timeout = self.rng.choice([0.05, 0.5, 5])
                    await node.execute(Journal.write(line=line), token=token, timeout=timeout)
                    self.done.append(line)
                    del self.unknown[line]
                    return
            except (KeyError, OutcomeUnknown):
                pass
            except DidNotHappen:
                if self.rng.random() < 0.5:
                    self.denied[line] = self.unknown.pop(line)
                    return
            await trio.sleep(0.01)


async def disturb(rng: random.Random, cluster: Cluster[Journal]) -> None:
    """One thing that may happen on a bad day."""
    running = [node.id for node in cluster]
    stopped = [name for name in "abc" if name not in running]
    match rng.randrange(9):
        case 0 | 1 | 2 if len(running) > 1:
            await cluster.crash(rng.choice(running))
        case 3 | 4 | 5 if stopped:
            await cluster.restart(rng.choice(stopped))
        case 6:
            cluster.isolate(rng.choice("abc"))
        case 7:
            cluster.heal()
        case 8:
            low = Faults()
            bad = Faults(loss=rng.random() * 0.3, duplication=0.2, delay=(0.0, rng.random() * 0.1))
            cluster.network.faults = rng.choice([low, bad])
        case _:
            for name in running:
                with suppress(NoQuorum):  # nothing is applied yet after a restart
                    await cluster[name].snapshot()


async def a_bad_day(seed: int) -> None:
    """Disturb a group under load, put everything right, and compare what was told with what is."""
    rng = random.Random(seed)
    network = MemoryNetwork(seed=seed)
    async with local_cluster(Journal, 3, in_memory=True, network=network) as cluster:
        history = History(rng, cluster)
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(history.write_lines, f"client {number}")
            await trio.sleep(0.5)
            for _ in range(15):
                await disturb(rng, cluster)
                await trio.sleep(rng.random())
            history.over = True
            cluster.heal()
            network.faults = Faults()
            for name in "abc":
                if name not in [node.id for node in cluster]:
                    await cluster.restart(name)
        with trio.fail_after(300):
            await _compare(history)


async def _compare(history: History) -> None:
    cluster = history.cluster
    states = [await node.read(Journal.read()) for node in cluster]
    lines = set(states[0])
    assert all(it == states[0] for it in states)
    assert len(lines) == len(states[0]), "something was applied twice"
    assert lines >= set(history.done), "something acknowledged was lost"
    assert not lines & set(history.denied), "something happened that was said not to have"
    for line, token in history.unknown.items():
        try:
            await cluster["a"].outcome(token)
            assert line in lines
        except DidNotHappen:
            assert line not in lines
    await trio.sleep(2)
    assert [node.statistics().open_calls for node in cluster] == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_what_was_told_is_what_is(autojump_clock: trio.testing.MockClock, seed: int) -> None:
    await a_bad_day(seed)


if __name__ == "__main__":
    seed, until = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
    while time.monotonic() < until:
        trio.run(a_bad_day, seed, clock=trio.testing.MockClock(autojump_threshold=0))
        print(f"seed {seed}: as told")
        seed += 1
