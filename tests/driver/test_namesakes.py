"""Which of two nodes of one name has its link, rule by rule. Whole nodes are in `tests/node`."""

from __future__ import annotations

import logging

import attrs
import pytest
import trio
import trio.testing

from raftkit.driver.events import NameTaken
from raftkit.driver.namesakes import ANSWER_SECONDS, LIVES_SECONDS, Namesakes
from raftkit.driver_messages import Frame
from raftkit.model import Index
from tests.driver.test_founding_rules import BORN, Bench, Meeting, identity

FIRST, SECOND = identity("b", 1), identity("b", 2)
WORDS = "another node named b is alive at memory:b: give this one another name"


@attrs.define
class Door(Bench):
    """Node a, to which b is linked; it has said hello and nothing else."""

    told: list[NameTaken] = attrs.field(factory=list[NameTaken])
    namesakes: Namesakes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.namesakes = Namesakes(id="a", greeting=self.greeting, publish=self.told.append)
        self.greeting.adopt(BORN)
        self.greeting.on_linked("b")
        self.greets()

    def greets(self) -> None:
        frame = Frame(scope=BORN, sender=FIRST, body=self.hello())
        self.greeting.on_hello(frame, self.hello())

    def asked(self) -> int:
        """How many hellos went to b since the last call."""
        count = sum(peer == "b" for peer, _ in self.sent)
        self.sent.clear()
        return count


@pytest.mark.accept("P-13")
async def test_name_of_a_node_that_spoke_of_late_is_taken(
    autojump_clock: trio.testing.MockClock,
) -> None:
    door = Door()
    await trio.sleep(LIVES_SECONDS - 0.1)
    door.asked()

    assert door.namesakes.objection(SECOND) == WORDS
    assert door.asked() == 0


async def test_the_very_one_may_come_back_at_any_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert Door().namesakes.objection(FIRST) == ""


async def test_name_of_nobody_is_free(autojump_clock: trio.testing.MockClock) -> None:
    assert Door().namesakes.objection(identity("c", 2)) == ""
    assert Door().namesakes.objection(identity("d", 2)) == ""


async def test_name_is_free_when_its_link_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    """Whose process ends is heard no more, and an empty directory may follow it at once."""
    door = Door()

    door.greeting.on_unreachable("b", "closed the connection")

    assert door.namesakes.objection(SECOND) == ""


async def test_who_was_silent_is_asked_first_and_keeps_its_name_if_it_answers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Followers have little to say to each other."""
    door = Door()
    await trio.sleep(LIVES_SECONDS)
    door.asked()

    assert door.namesakes.objection(SECOND) == WORDS
    assert door.asked() == 1
    await trio.sleep(ANSWER_SECONDS - 0.1)
    door.greets()
    await trio.sleep(0.1)
    assert door.namesakes.objection(SECOND) == WORDS
    await trio.sleep(LIVES_SECONDS)
    assert door.namesakes.objection(SECOND) == WORDS  # that is another question


async def test_who_does_not_answer_loses_its_name(autojump_clock: trio.testing.MockClock) -> None:
    """A machine that vanished closes no connection."""
    door = Door()
    await trio.sleep(LIVES_SECONDS)
    assert door.namesakes.objection(SECOND) == WORDS
    await trio.sleep(ANSWER_SECONDS - 0.1)
    assert door.namesakes.objection(SECOND) == WORDS
    await trio.sleep(0.1)

    assert door.namesakes.objection(SECOND) == ""


async def test_anything_that_it_says_is_a_sign_of_life(
    autojump_clock: trio.testing.MockClock,
) -> None:
    door = Door()
    await trio.sleep(10.0)

    assert door.greeting.hear(FIRST)
    door.asked()

    assert door.namesakes.objection(SECOND) == WORDS
    assert door.asked() == 0


async def test_refusals_are_told_once_a_minute(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door()
    for _ in range(61):
        door.namesakes.tell(SECOND)
        await trio.sleep(1)

    assert door.told == [NameTaken(newcomer=SECOND, address="memory:b")] * 2
    line = f"a: refused {SECOND}, for another node named b is alive at memory:b"
    assert [it.partition(": give")[0] for it in caplog.messages] == [line] * 2
    assert {it.levelno for it in caplog.records} == {logging.WARNING}


async def test_member_that_the_configuration_names_is_never_kept_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Who took its link while it was away has to give it back."""
    meeting = Meeting()
    meeting.meet("b")
    member = identity("b", ord("b"))

    assert meeting.links.objection(member) == ""
    assert meeting.links.objection(SECOND) == WORDS

    meeting.links.follow(Index(11), attrs.evolve(meeting.configuration, members=()))
    assert meeting.links.objection(member) == WORDS
