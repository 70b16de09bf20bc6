"""Whom a receiver asks for its snapshot, in which order, and whom no more."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
import trio.testing

from raftkit.driver.digests import Digests
from raftkit.driver.parts import TRIES, Parts
from raftkit.driver.seeking import Seeking
from raftkit.driver_messages import SnapshotPart, SnapshotWanted, StateDigest
from raftkit.model import Identity, Index, NodeId
from raftkit.snapshot import SeekSnapshot, SnapshotFound
from tests.wire.examples import SNAPSHOT

SIZE = SNAPSHOT.size


@attrs.define(eq=False)
class Members:
    """Members a to e, of which c receives and a leads. All have told a digest; they answer what is set."""

    answers: dict[NodeId, bytes] = attrs.field(factory=dict)
    asked: list[tuple[NodeId, int]] = attrs.field(factory=list)
    digests: Digests = attrs.field(factory=Digests)
    parts: Parts = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        unused: Any = None
        self.parts = Parts(storing=unused, send=self.send, raft=unused, held=lambda index: SNAPSHOT)
        for name in "abcde":
            self.say(name)

    def say(self, name: NodeId, size: int = SIZE) -> None:
        told = StateDigest(index=SNAPSHOT.index, format=1, version=1, size=size, digest=bytes(32))
        self.digests.note(who(name), [told])

    def send(self, targets: Any, wanted: Any) -> None:
        (target,) = targets
        assert isinstance(wanted, SnapshotWanted)
        assert wanted.checksum == SNAPSHOT.checksum
        self.asked.append((target, wanted.offset))
        if target in self.answers:
            part = SnapshotPart(index=wanted.index, offset=wanted.offset, data=self.answers[target])
            self.parts.on_part(who(target), part)

    @property
    def seeking(self) -> Seeking:
        members: Any = self
        return Seeking("c", members)


def who(name: NodeId) -> Identity:
    return Identity(id=name, incarnation=1)


def seek(offset: int) -> SeekSnapshot:
    return SeekSnapshot(snapshot=SNAPSHOT, offset=offset, leader="a")


async def test_the_next_by_name_that_has_it_is_asked_first() -> None:
    """So that receivers spread over those who have it."""
    members = Members(answers=dict.fromkeys("abde", b"bytes"))

    found = await members.seeking.find(seek(7))

    assert found == SnapshotFound(request=seek(7), holder=who("d"), data=b"bytes")
    assert members.asked == [("d", 7)]


async def test_neither_the_leader_nor_oneself_is_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    members = Members()

    assert await members.seeking.find(seek(7)) == SnapshotFound(request=seek(7))
    assert [name for name, _ in members.asked] == TRIES * ["d"] + TRIES * ["e"] + TRIES * ["b"]


async def test_who_is_silent_or_has_nothing_is_asked_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    members = Members(answers={"e": b"", "b": b"bytes"})
    seeking = members.seeking

    await seeking.find(seek(7))
    first, members.asked = members.asked, []
    await seeking.find(seek(12))

    assert first == [*TRIES * [("d", 7)], ("e", 7), ("b", 7)]
    assert members.asked == [("b", 12)]


async def test_who_had_nothing_of_one_snapshot_is_asked_for_the_next() -> None:
    members = Members(answers={"d": b"", "e": b"", "b": b""})
    seeking = members.seeking
    await seeking.find(seek(7))
    members.answers["d"] = b"bytes"
    newer = attrs.evolve(SNAPSHOT, time_ns=SNAPSHOT.time_ns + 1)

    found = await seeking.find(SeekSnapshot(snapshot=newer, offset=7, leader="a"))

    assert found.holder == who("d")


async def test_a_snapshot_of_other_bytes_is_not_asked_for() -> None:
    """By its size, here; a holder judges by the checksum."""
    members = Members(answers=dict.fromkeys("abde", b"bytes"))
    members.say("d", size=SIZE + 1)

    assert (await members.seeking.find(seek(7))).holder == who("e")


async def test_a_part_that_reaches_beyond_the_end_is_no_part() -> None:
    members = Members(answers={"d": b"too long", "e": b"e", "b": b"b"})

    found = await members.seeking.find(seek(SIZE - 1))

    assert (found.holder, found.data) == (who("e"), b"e")


@pytest.mark.parametrize("index", [SNAPSHOT.index + 1, 1])
async def test_an_answer_to_another_question_is_no_answer(
    index: int, autojump_clock: trio.testing.MockClock
) -> None:
    members = Members()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(members.seeking.find, seek(7))
        await trio.sleep(0.1)
        members.parts.on_part(who("d"), SnapshotPart(index=Index(index), offset=7, data=b"other"))
        members.parts.on_part(who("b"), SnapshotPart(index=SNAPSHOT.index, offset=7, data=b"b"))
        await trio.sleep(1.5)

    assert members.asked[:2] == [("d", 7), ("d", 7)]
