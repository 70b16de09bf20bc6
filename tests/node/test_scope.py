"""The scope of `open_node`: who ends whom, and with which error (structured concurrency)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from raftkit import (
    LogCorrupt,
    MemoryNetwork,
    Node,
    NodeClosed,
    OutcomeUnknown,
    RaftInternalError,
    StateMachine,
    StateMachineFailed,
    StorageError,
    Token,
    command,
    open_node,
)
from raftkit.messages import Write
from raftkit.storage import MemoryStorage
from raftkit.testing import local_cluster
from tests.node.machines import Counter

MEMBERS = {"a": "memory:a"}


class BodyError(Exception):
    """What the program of a user raises."""


class SickStorage:
    """Memory that fails when told to."""

    def __init__(self) -> None:
        self.inner = MemoryStorage("a")
        self.error: Exception | None = None
        self.corrupt: LogCorrupt | None = None

    def open_snapshot(self) -> Any:
        if self.corrupt is not None:
            raise self.corrupt
        return self.inner.open_snapshot()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def perform(self, writes: Sequence[Write]) -> None:
        if self.error is not None:
            raise self.error
        self.inner.perform(writes)


@asynccontextmanager
async def opened(storage: Any = None, factory: Any = Counter) -> AsyncGenerator[Node[Any]]:
    async with open_node(
        factory,
        id="a",
        members=MEMBERS,
        transport=MemoryNetwork(),
        data_dir=storage or MemoryStorage("a"),
        found=True,
    ) as node:
        await node.wait_leader()
        yield node


async def make_sick(storage: SickStorage, node: Node[Any]) -> None:
    """Fail the next write, and bring it about."""
    await node.execute(Counter.add())
    storage.error = StorageError("the disk is on fire")
    with pytest.raises((OutcomeUnknown, trio.Cancelled)):
        await node.execute(Counter.add())


async def test_the_error_of_a_body_leaves_untouched(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mine = BodyError("mine")
    with pytest.raises(BodyError) as caught:
        async with opened():
            raise mine

    assert caught.value is mine
    assert mine.__cause__ is None
    assert mine.__context__ is None


async def test_a_group_that_a_body_raises_leaves_untouched(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mine = ExceptionGroup("mine", [BodyError(), ValueError()])
    with pytest.raises(ExceptionGroup) as caught:
        async with opened():
            raise mine

    assert caught.value is mine


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_of_the_body_leaves_untouched(error: type[BaseException]) -> None:
    async def main() -> None:
        async with opened():
            raise error

    with pytest.raises(error):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_an_interrupt_of_the_loop_is_not_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        async with opened():
            monkeypatch.setattr("raftkit.core.Raft.step", interrupted)
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_failing_node_cancels_the_body_and_says_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    storage = SickStorage()
    reached: list[str] = []

    async def program() -> None:
        async with opened(storage) as node:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(make_sick, storage, node)
                await trio.sleep_forever()
            reached.append("the end")  # type: ignore[unreachable]

    with pytest.raises(StorageError, match="on fire") as caught:
        await program()

    assert reached == []
    assert caught.value is storage.error
    assert caught.value.__cause__ is None


async def test_a_failure_of_both_is_the_nodes_from_the_bodys(
    autojump_clock: trio.testing.MockClock,
) -> None:
    storage, mine = SickStorage(), BodyError()

    async def program() -> None:
        async with opened(storage) as node, trio.open_nursery() as nursery:
            nursery.start_soon(make_sick, storage, node)
            try:
                await trio.sleep_forever()
            finally:
                raise mine

    with pytest.raises(StorageError) as caught:
        await program()

    assert caught.value is storage.error
    assert caught.value.__cause__ is mine


async def test_a_bug_of_ours_says_so(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    storage = SickStorage()

    async def program() -> None:
        async with opened(storage) as node:
            storage.error = AssertionError("impossible")
            await node.execute(Counter.add())

    with pytest.raises(RaftInternalError, match="AssertionError: impossible: please report"):
        await program()

    assert any("did not foresee" in it.message for it in caplog.records)


async def test_a_corrupt_log_is_refused_before_the_body(
    autojump_clock: trio.testing.MockClock,
) -> None:
    storage = SickStorage()
    async with opened(storage) as node:
        await node.execute(Counter.add())
        await node.snapshot()
    again = SickStorage()
    again.inner = storage.inner.reopen()
    bad = again.corrupt = LogCorrupt("snapshot", 7, None, "flipped")
    with pytest.raises(LogCorrupt) as caught:
        async with opened(again):
            pytest.fail("the body must not begin with a leader")

    assert caught.value is bad


async def test_a_cancelled_scope_ends_quietly(autojump_clock: trio.testing.MockClock) -> None:
    nodes: list[Node[Any]] = []
    with trio.move_on_after(1) as scope:
        async with opened() as node:
            nodes.append(node)
            await node.execute(Counter.add())
            await trio.sleep_forever()

    assert scope.cancelled_caught
    assert nodes[0].status == "closed"


async def test_the_machine_that_lacks_memory_ends_the_node(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with pytest.raises(StateMachineFailed):
        async with opened(factory=Greedy) as node:
            await node.execute(Greedy.eat())


@attrs.define
class Greedy(StateMachine):
    @command
    def eat(self) -> None:
        raise MemoryError


Caller = Callable[[Node[Any]], Any]
CALLERS: dict[str, Caller] = {
    "execute": lambda node: node.execute(Counter.add(), timeout=1000),
    "once": lambda node: node.execute(Counter.add(), session=None, timeout=1000),
    "read": lambda node: node.read(Counter.value(), timeout=1000),
    "session": lambda node: node.session(timeout=1000),
    "outcome": lambda node: node.outcome(Token(session=3, number=1), timeout=1000),
    "wait_applied": lambda node: node.wait_applied(10_000),
    "wait_leader": lambda node: node.wait_leader(),
}


async def _drain(node: Node[Any]) -> None:
    async for _ in node.events():
        pass
    raise NodeClosed


CALLERS["events"] = _drain


@pytest.mark.parametrize("cut", [True, False], ids=["cut off", "never sent"])
@pytest.mark.parametrize("call", CALLERS)
async def test_nobody_waits_for_a_node_that_has_closed(
    autojump_clock: trio.testing.MockClock, call: str, cut: bool
) -> None:
    async with local_cluster(Counter, 3, in_memory=True) as cluster:
        node = await cluster.wait_leader()
        await node.execute(Counter.add())
        cluster.isolate(node.id)
        if not cut:
            await trio.sleep(3)  # it leads no more, so nothing can be sent
        ended: list[BaseException] = []

        async def waiting() -> None:
            try:
                await CALLERS[call](node)
            except (NodeClosed, OutcomeUnknown) as error:
                ended.append(error)

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(waiting)
                await trio.sleep(0.02)
                await cluster.crash(node.id)

        if call == "wait_leader" and cut:
            assert ended == []  # it still believed in itself
        elif (call in ("execute", "once") and cut) or call == "outcome":
            assert isinstance(ended[0], OutcomeUnknown)
            assert isinstance(ended[0].token, Token)
        else:
            assert isinstance(ended[0], NodeClosed)
