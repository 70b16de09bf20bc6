"""Where entries are applied, and what the apply task does when a snapshot comes in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import pytest
import trio
import trio.testing

from raftkit.driver.applying import SLICE_ENTRIES_MAX, Applying
from raftkit.driver.replica import Replica
from raftkit.driver.sessions import NONCE_BIT
from raftkit.driver.storing import InLoop
from raftkit.driver.waiters import Call, Waiters
from raftkit.driver.watchdog import Watchdog
from raftkit.errors import OutcomeUnknown
from raftkit.membership import Configuration
from raftkit.messages import Applied, Unfit
from raftkit.model import Index, Kind, Run, Term
from raftkit.snapshot import SnapshotMeta
from tests.driver.replicas import configuration, full_replica
from tests.statemachine.bank import Bank


@attrs.define(eq=False)
class Life:
    """An apply task whose storage has one snapshot."""

    stored: Replica[Bank]
    waiters: Waiters = attrs.field(factory=Waiters)
    reported: list[Applied | Unfit] = attrs.field(factory=list)
    applying: Applying = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        replica = Replica(Bank)

        async def newest() -> Iterable[bytes]:
            return list(self.stored.snapshot())

        self.applying = Applying(
            replica=replica,
            id="a",
            waiters=self.waiters,
            report=self.reported.append,
            read_snapshot=newest,
            beside=InLoop().run,
            watchdog=Watchdog(
                id="a",
                limit_seconds=9.0,
                name=replica.name_of,
                publish=lambda _: None,
                clock=trio.current_time,
            ),
            cut=lambda: None,
            read_log=_nothing,
            put_in_place=_nowhere,
            restored=lambda _snapshot, _digest: None,
            replaced=lambda _index, _diverged: None,
        )


async def _nothing(_first: Index, _bytes_max: int) -> tuple[Run, ...]:
    return ()


async def _nowhere(_index: Index, _restore: Callable[[], object]) -> bool:
    return False


def meta(index: int, of: Configuration) -> SnapshotMeta:
    return SnapshotMeta(
        index=Index(index),
        term=Term(1),
        configuration=of,
        configuration_index=Index(1),
        time_ns=0,
        elapsed_ns=0,
        size=0,
        checksum=0,
    )


async def test_entries_that_a_newer_snapshot_overtook_are_passed_over() -> None:
    """Storage knows its newest snapshot only: told of one, the task may find the next already there."""
    life = Life(full_replica())
    newest = life.stored.applied
    entries = _noops(newest - 1, newest)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.applying.run)
        life.applying.put(meta(newest - 2, configuration()), entries)
        life.applying.put(meta(newest, configuration()))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert life.applying.applied == newest
    assert life.applying.replica.digest() == life.stored.digest()


def _noops(first: int, last: int) -> Run:
    return Run(
        first=Index(first),
        term=Term(1),
        time_ns=0,
        elapsed_ns=0,
        payloads=(b"",) * (last - first + 1),
    )


def _empty(first: int, last: int) -> Run:
    """Entries of new leaders, which change nothing."""
    return attrs.evolve(_noops(first, last), kinds=(Kind.NOOP,) * (last - first + 1))


async def test_a_slice_is_applied_where_it_is_given() -> None:
    life = Life(full_replica())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.applying.run)
        await trio.testing.wait_all_tasks_blocked()
        life.applying.put(_empty(1, SLICE_ENTRIES_MAX))
        at_once = life.applying.applied
        last = 2 * SLICE_ENTRIES_MAX + 1
        life.applying.put(_empty(SLICE_ENTRIES_MAX + 1, last))
        more = life.applying.applied
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert (at_once, more, life.applying.applied) == (SLICE_ENTRIES_MAX, SLICE_ENTRIES_MAX, last)
    assert life.reported[-1] == Applied(index=Index(last))


async def test_what_comes_after_something_else_waits_for_it() -> None:
    """Here the task is still at a larger piece, and would meet entries twice or not in their order."""
    life = Life(full_replica())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.applying.run)
        await trio.testing.wait_all_tasks_blocked()
        life.applying.put(_empty(1, 3 * SLICE_ENTRIES_MAX))
        while life.applying.applied == 0:
            await trio.lowlevel.checkpoint()
        between = life.applying.applied
        life.applying.put(_empty(3 * SLICE_ENTRIES_MAX + 1, 3 * SLICE_ENTRIES_MAX + 1))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert 0 < between < 3 * SLICE_ENTRIES_MAX
    assert life.applying.applied == 3 * SLICE_ENTRIES_MAX + 1


async def test_what_is_given_together_is_applied_in_its_order() -> None:
    """Two slices, of which none is lost."""
    life = Life(full_replica())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.applying.run)
        await trio.testing.wait_all_tasks_blocked()
        life.applying.put(_empty(1, 2), _empty(3, 4))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert life.reported == [Applied(index=Index(2)), Applied(index=Index(4))]
    assert life.applying.applied == 4


@pytest.mark.parametrize("end", [Applying.close, Applying.diverge])
async def test_nothing_is_applied_to_a_state_that_is_closed_or_wrong(
    end: Callable[[Applying, str], None],
) -> None:
    life = Life(full_replica())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.applying.run)
        await trio.testing.wait_all_tasks_blocked()
        end(life.applying, "why not")
        life.applying.put(_empty(1, 2))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert life.applying.applied == 0


async def test_a_snapshot_does_not_say_whether_a_command_without_session_happened() -> None:
    """Nobody remembers it, so nothing may be concluded from its not being there."""
    life = Life(full_replica())
    once = Call(session=NONCE_BIT | 1, number=1, payload=b"", once=True)
    once.count_sending(1)
    once.index, once.term = Index(life.stored.applied - 1), Term(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.applying.run)
        life.waiters.add(once, 9.0)
        nursery.start_soon(_install, life)
        with pytest.raises(OutcomeUnknown):
            await life.waiters.wait(once)
        nursery.cancel_scope.cancel()

    assert len(life.waiters) == 0


async def _install(life: Life) -> None:
    life.applying.put(meta(life.stored.applied, configuration()))
