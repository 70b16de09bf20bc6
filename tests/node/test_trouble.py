"""A node in trouble, row by row: who still votes, acknowledges, leads and answers, and what becomes of it.

Here are the rows in which one of three fails alone and the others go on at once. A node without code for
what is committed is in `test_old_code.py`; one that may not vote in `test_founding.py` and
`tests/paper/test_barred.py`; how a failing node ends its scope in `test_scope.py`.
"""

from __future__ import annotations

import errno

import attrs
import pytest
import trio

from raftkit import (
    NodeClosed,
    OutcomeUnknown,
    StateMachine,
    StateMachineFailed,
    StorageError,
    command,
    query,
)
from tests.node.mixed_group import led_by_a
from tests.node.test_scope import SickStorage

AT_ONCE = 0.2
"Seconds: less than the shortest election timeout, so nobody has waited for one."


@attrs.define
class Shelf(StateMachine):
    total: int = 0

    @command
    def put(self) -> int:
        self.total += 1
        return self.total

    @query
    def count(self) -> int:
        return self.total


@attrs.define
class Cramped(Shelf):
    """The same, on a machine that lacks something after two."""

    @command
    def put(self) -> int:
        if self.total == 2:
            raise OSError(errno.ENOMEM, "no room at this node")
        self.total += 1
        return self.total


async def test_a_leader_whose_disk_fails_is_replaced_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Storage failed: its scope raises, nothing that was acknowledged is lost, the others go on."""
    sick = SickStorage()

    def storages() -> dict[str, SickStorage]:
        nonlocal sick
        sick = SickStorage()
        return {"a": sick}

    async with led_by_a(dict.fromkeys("abc", Shelf), storages) as group:
        assert await group["b"].execute(Shelf.put()) == 1
        sick.error = StorageError("the disk is on fire")
        with pytest.raises((OutcomeUnknown, NodeClosed)):
            await group["a"].execute(Shelf.put(), session=None)
        with trio.fail_after(AT_ONCE):
            leader = await group.wait_leader("b", "c")

        assert await leader.execute(Shelf.put()) >= 2
        assert group.errors == {"a": sick.error}
        assert group["a"].status == "closed"
        with pytest.raises(NodeClosed, match="on fire"):
            await group["a"].read(Shelf.count())


async def test_a_leader_whose_machine_met_its_own_trouble_is_replaced_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What one node lacks is no answer to a command: the others have applied it, and answer."""
    async with led_by_a({"a": Cramped, "b": Shelf, "c": Shelf}) as group:
        for number in (1, 2, 3):
            assert await group["b"].execute(Shelf.put()) == number
        with trio.fail_after(AT_ONCE):
            leader = await group.wait_leader("b", "c")

        assert await leader.execute(Shelf.put()) == 4
        assert list(group.errors) == ["a"]
        assert isinstance(group.errors["a"], StateMachineFailed)
        assert "no room at this node" in str(group.errors["a"])
        with pytest.raises(NodeClosed, match="own trouble"):
            await group["a"].read(Shelf.count())
