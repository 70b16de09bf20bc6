"""What a sequence diagram shows of a run: who sent what, and what became of it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from raftkit.driver import open_recorder
from raftkit.driver.recording import read_recording
from raftkit.messages import (
    AppendEntries,
    Effects,
    Heartbeat,
    Message,
    Receive,
    RoleChanged,
    Send,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Identity, Index, Run, Term
from raftkit.testing.replay import Crashed, Happening, Heard, Played, Started, replay
from raftkit.testing.sequence import Sequence, Sketch
from raftkit.testing.sequence_svg import svg_of
from raftkit.testing.sequence_text import text_of
from raftkit.testing.world import World

A, B, C = (Identity(id=name, incarnation=1) for name in "abc")
VOTE = VoteRequest(term=Term(2), last_index=Index(1), last_term=Term(1))
GRANTED = VoteReply(term=Term(2), granted=True)
BEAT = Heartbeat(term=Term(2), round=1, commit_index=Index(1))
RUN = Run(first=Index(2), term=Term(2), time_ns=0, elapsed_ns=0, payloads=(b"\xff", b"y", b"z"))
APPEND = AppendEntries(
    term=Term(2), prev_index=Index(1), prev_term=Term(1), commit_index=Index(1), runs=(RUN,)
)


class Story:
    """Happenings, one after the other."""

    def __init__(self, *servers: Identity) -> None:
        self.step = 0
        self.roles: dict[Identity, str] = {}
        self.told: list[Happening] = [
            Started(step=1, server=it, time_ns=0, term=Term(1), last_index=Index(1))
            for it in servers
        ]

    def plays(
        self,
        server: Identity,
        *heard: tuple[Identity, Message],
        sends: tuple[Message, str] | None = None,
        becomes: str | None = None,
        commit: int | None = None,
    ) -> None:
        """A step of `server`."""
        self.step += 1
        self.roles[server] = becomes or self.roles.get(server, "follower")
        send = () if sends is None else (Send(targets=tuple(sends[1]), message=sends[0]),)
        role = (
            () if becomes is None else (RoleChanged(before="follower", role=becomes, term=Term(2)),)
        )
        self.told.append(
            Played(
                step=self.step,
                server=server,
                time_ns=self.step * 10_000_000,
                inputs=tuple(Receive(sender=sender, message=it) for sender, it in heard),
                effects=Effects(send_now=send, events=role),
                role=self.roles[server],
                term=Term(2),
                commit_index=Index(commit or 1),
                committed=commit is not None,
            )
        )

    def sequence(self) -> Sequence:
        """As it is drawn."""
        sketch = Sketch()
        for it in self.told:
            sketch.take(it)
        return sketch.sequence()


def fates(sequence: Sequence) -> list[tuple[str, str, str]]:
    return [(it.sender, it.target, it.fate) for it in sequence.arrows]


def test_what_arrives_is_joined_to_its_sending_and_the_rest_is_lost() -> None:
    story = Story(A, B, C)
    story.plays(A, sends=(VOTE, "bc"), becomes="candidate")
    story.plays(B, (A, VOTE), sends=(GRANTED, "a"))
    story.plays(C)
    story.plays(A, (B, GRANTED), becomes="leader")

    sequence = story.sequence()

    assert fates(sequence) == [("a", "b", "arrives"), ("a", "c", "lost"), ("b", "a", "arrives")]
    first = sequence.arrows[0]
    assert (first.departs, first.arrives) == (3, 4)


def test_one_more_arrival_of_the_same_is_a_repetition() -> None:
    story = Story(A, B)
    story.plays(A, sends=(BEAT, "b"))
    story.plays(B, (A, BEAT))
    story.plays(B, (A, BEAT))

    assert fates(story.sequence()) == [("a", "b", "arrives"), ("a", "b", "again")]


def test_equal_messages_arrive_in_the_order_in_which_they_were_sent() -> None:
    story = Story(A, B)
    for _ in range(2):
        story.plays(A, sends=(BEAT, "b"))
        story.plays(B, (A, BEAT))

    sequence = story.sequence()

    assert fates(sequence) == [("a", "b", "arrives")] * 2
    assert [(it.departs, it.arrives) for it in sequence.arrows] == [(2, 3), (4, 5)]


def test_what_the_receiver_could_not_have_received_yet_is_under_way() -> None:
    story = Story(A, B)
    story.plays(B)
    story.plays(A, sends=(BEAT, "b"))

    assert fates(story.sequence()) == [("a", "b", "under way")]


def test_what_goes_to_a_dead_server_is_lost() -> None:
    story = Story(A, B)
    story.told.append(Crashed(step=0, server=B, time_ns=0, why="crashes"))
    story.plays(A, sends=(BEAT, "b"))

    assert fates(story.sequence()) == [("a", "b", "lost")]


def test_of_servers_that_are_not_recorded_only_the_recorded_end_is_known() -> None:
    story = Story(A)
    story.plays(A, sends=(VOTE, "b"))
    story.plays(A, (B, GRANTED))

    sequence = story.sequence()

    assert sequence.lanes == ("a", "b")
    assert fates(sequence) == [("a", "b", "unseen"), ("b", "a", "arrives")]
    assert sequence.arrows[1].departs is None


def a_story() -> Story:
    """A bit of everything."""
    story = Story(A, B)
    story.plays(A, sends=(VOTE, "b"), becomes="candidate")
    story.plays(B, (A, VOTE), sends=(GRANTED, "a"))
    story.plays(A, (B, GRANTED), sends=(APPEND, "b"), becomes="leader")
    story.plays(A, sends=(BEAT, "b"))
    story.told.append(Heard(step=4, time_ns=45_000_000, words="nemesis: <crash>"))
    story.plays(B, (A, APPEND), (A, VOTE), commit=4)
    story.told.append(Crashed(step=5, server=B, time_ns=50_000_000, why="crashes"))
    return story


def test_text_shows_arrivals_losses_repetitions_and_what_happened() -> None:
    assert text_of(a_story().sequence()) == (
        "   step   seconds     a        b\n"
        "      1     0.000     ●               a starts in T1, last 1\n"
        "      1     0.000     │        ●      b starts in T1, last 1\n"
        "      1     0.010     ●        │      a becomes candidate, T2\n"
        "      2     0.020     ├───────▶│      vote T2, last 1/T1 (sent in 1)\n"
        "      3     0.030     ╎◀───────┤      vote-reply T2 granted (sent in 2)\n"
        "      3     0.030     ●        │      a leads T2\n"
        "      4     0.040     ├───✕    │      heartbeat T2 round 1 commit 1 LOST\n"
        "      4     0.045     ┃        │      nemesis: <crash>\n"
        "      5     0.050     ├───────▶│      append T2 after 1/T1: 2–4, commit 1 (sent in 3)\n"
        "      5     0.050     ├╌╌╌╌╌╌╌▶│      vote T2, last 1/T1 again (sent in 1)\n"
        "      5     0.050     ┃        ●      b commit 4\n"
        "      5     0.050     ┃        ●      b crashes\n"
    )


def test_a_part_keeps_the_messages_that_come_into_it() -> None:
    text = text_of(a_story().sequence().cut(first_step=5))

    assert "vote T2, last 1/T1 again (sent before)" in text
    assert "append T2 after 1/T1: 2–4, commit 1 (sent before)" in text
    assert "leads" not in text
    assert "┃        ●      b crashes" in text


def test_svg_is_whole_says_what_it_draws_and_serves_dark_pages() -> None:
    sequence = a_story().sequence()

    svg = svg_of(sequence)

    root = ET.fromstring(svg)
    names = {"svg": "http://www.w3.org/2000/svg"}
    titles = [it.text for it in root.findall("svg:g/svg:title", names)]
    assert titles == [
        f"{it.sender} → {it.target}: {it.words} ({it.fate})" for it in sequence.arrows
    ]
    assert len(root.findall("svg:g/svg:path[@class='cross']", names)) == 1
    assert len(root.findall("svg:g/svg:line[@class='arrow vote again']", names)) == 1
    assert "nemesis: <crash>" in [it.text for it in root.findall("svg:text", names)]
    assert "@media (prefers-color-scheme: dark)" in svg
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.slow
def test_a_whole_world_is_drawn_with_as_many_losses_as_it_had(tmp_path: Path) -> None:
    """Each message that the network dropped or cut is lost or under way, none else is."""
    with closing(open_recorder(tmp_path / "w.rec")) as recorder:
        world = World(6, deliveries=600, recorder=recorder)  # one in which nobody forges
        world.run()
    sketch = Sketch()
    for it in replay(read_recording(tmp_path / "w.rec")):
        sketch.take(it)

    sequence = sketch.sequence()

    arrived = sum(it.fate == "arrives" for it in sequence.arrows)
    again = sum(it.fate == "again" for it in sequence.arrows)
    assert arrived + again <= world.deliveries
    assert (
        arrived + again > 0.9 * world.deliveries
    )  # the rest waited in an inbox when its server died
    assert sum(it.fate != "again" for it in sequence.arrows) >= world.network.sent
    ET.fromstring(svg_of(sequence))
    assert text_of(sequence.cut(rows_max=10)).count("\n") >= 10
