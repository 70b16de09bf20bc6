"""The rules by which a node is born, one by one. Whole groups are founded in `tests/node`."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest
import trio

from raftkit.driver.founding import Founding, rolled_back
from raftkit.driver.greeting import GUESTS_MAX, Greeting
from raftkit.driver.links import Links
from raftkit.driver.replica import Replica
from raftkit.driver_messages import (
    UNBORN,
    FoundingRecord,
    Frame,
    Hello,
    Membership,
    Remembered,
    Scope,
)
from raftkit.membership import Configuration, Member, Settings
from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVoteReply,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Identity, Index, NodeId, Term
from raftkit.storage import MemoryStorage
from tests.driver.plans import plan_of_a
from tests.node.machines import Counter

MEMBERS = {name: f"memory:{name}" for name in "abc"}
BORN = Scope(cluster=b"x" * 16)


def identity(name: str, incarnation: int = 1) -> Identity:
    return Identity(id=name, incarnation=incarnation)


@attrs.define
class Bench:
    """Node a, and what its peers say to it."""

    sent: list[tuple[NodeId, Hello]] = attrs.field(factory=list)
    founding: Founding = attrs.field(init=False)
    greeting: Greeting = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.founding = Founding(
            identity=identity("a"),
            members=MEMBERS,
            settings=Settings(),
            machine_digest=bytes(32),
            fingerprint=bytes(32),
            alone=False,
        )
        self.greeting = Greeting(
            identity=identity("a"),
            send=lambda peer, hello: self.sent.append((peer, hello)),
            hello=lambda _: self.hello(),
            on_change=lambda: None,
        )
        self.greeting.expect(MEMBERS)

    def hello(self, **facts: Any) -> Hello:
        given: dict[str, Any] = {
            "wire_format": 1,
            "boot": 1,
            "nonce": 1,
            "address": "",
            "founders": ("a", "b", "c"),
            "settings_hash": self.founding.settings_hash(),
            "founding": None,
            "remembered": None,
            "machine_version": 1,
            "fingerprint": bytes(32),
            "python": (3, 11),
        }
        return Hello(**(given | facts))

    def hear(self, name: str, scope: Scope = UNBORN, incarnation: int = 1, **facts: Any) -> None:
        hello = self.hello(**facts)
        frame = Frame(scope=scope, sender=identity(name, incarnation), body=hello)
        self.greeting.on_hello(frame, hello)

    def found(self) -> FoundingRecord | None:
        return self.founding.found(self.greeting, random.Random(1), 5)

    def everyone(self) -> None:
        for name in "bc":
            self.greeting.on_linked(name)
            self.hear(name, incarnation=ord(name))

    def record(self, **incarnations: int) -> FoundingRecord:
        """What c founded, with these incarnations."""
        other = Bench()
        other.everyone()
        record = other.found()
        assert record is not None
        configuration = Configuration.decode(record.entry.payloads[0])
        changed = Configuration(
            members=tuple(
                attrs.evolve(it, incarnation=incarnations.get(it.id, it.incarnation))
                for it in configuration.members
            )
        )
        return attrs.evolve(record, entry=attrs.evolve(record.entry, payloads=(changed.encode(),)))


async def test_the_smallest_founds_when_all_are_here() -> None:
    bench = Bench()
    assert bench.found() is None
    bench.everyone()
    record = bench.found()

    assert record is not None
    configuration = Configuration.decode(record.entry.payloads[0])
    assert [(it.id, it.incarnation, it.address) for it in configuration.members] == [
        ("a", 1, "memory:a"),
        ("b", ord("b"), "memory:b"),
        ("c", ord("c"), "memory:c"),
    ]
    assert configuration.settings.epoch == record.scope.epoch
    assert record.entry.time_ns == 5
    assert any(record.scope.cluster)


async def test_a_hello_counts_only_while_its_link_stands() -> None:
    bench = Bench()
    bench.everyone()
    bench.greeting.on_unreachable("c", "refused")
    assert bench.found() is None
    assert bench.founding.missing(bench.greeting) == ["c memory:c refused"]
    bench.greeting.on_linked("c")
    assert bench.found() is None
    bench.hear("c", incarnation=7)
    assert bench.found() is not None


async def test_a_hello_without_a_link_is_not_heard() -> None:
    bench = Bench()
    bench.hear("b")
    bench.hear("stranger")

    assert all(peer.hello is None for peer in bench.greeting.peers.values())


async def test_a_second_node_of_one_name_is_not_heard() -> None:
    bench = Bench()
    bench.everyone()
    bench.hear("c", incarnation=1234)

    assert bench.greeting.peers["c"].identity == identity("c", ord("c"))


async def test_a_founded_group_that_names_us_is_adopted() -> None:
    bench = Bench()
    bench.everyone()
    record = bench.record()
    bench.hear("b", BORN, ord("b"), founding=record)

    assert bench.founding.adopt(bench.greeting) == record
    assert bench.found() is None


async def test_a_founded_group_that_offers_nothing_is_not_adopted() -> None:
    bench = Bench()
    bench.everyone()
    bench.hear("b", BORN, ord("b"))

    assert bench.founding.adopt(bench.greeting) is None
    assert bench.found() is None
    assert bench.founding.is_refused(bench.greeting)
    assert "does not name a@" in bench.founding.missing(bench.greeting)[0]


@pytest.mark.parametrize("incarnation", [2, 0])
async def test_who_was_admitted_later_adopts_the_record_that_does_not_name_it(
    incarnation: int,
) -> None:
    """It is offered only to whom the newest configuration names."""
    bench = Bench()
    bench.everyone()
    record = bench.record(a=incarnation)
    bench.hear("b", BORN, ord("b"), founding=record)

    assert bench.founding.adopt(bench.greeting) == record
    assert not bench.founding.is_refused(bench.greeting)


async def test_who_is_to_join_founds_nothing() -> None:
    bench = Bench()
    bench.founding = attrs.evolve(bench.founding, joins=True)
    bench.everyone()

    assert bench.founding.founders == ()
    assert bench.found() is None


async def test_nothing_is_adopted_while_anybody_remembers_a_promise_of_ours() -> None:
    bench = Bench()
    bench.everyone()
    bench.hear("b", BORN, ord("b"), founding=bench.record())
    told = Remembered(boot=1, nonce=1, term=Term(2), index=Index(0))
    bench.hear("c", BORN, ord("c"), remembered=told)

    assert bench.founding.adopt(bench.greeting) is None
    assert "emptied or rolled back" in bench.founding.missing(bench.greeting)[1]


@pytest.mark.parametrize(
    "message, told",
    [
        (AppendAccepted(term=Term(3), index=Index(9)), (3, 9)),
        (HeartbeatReply(term=Term(3), round=1, index=Index(9), wall_ns=0), (3, 9)),
        (VoteReply(term=Term(3), granted=True), (3, 0)),
        (VoteRequest(term=Term(3), last_index=Index(9), last_term=Term(2)), (3, 0)),
        (Heartbeat(term=Term(3), round=1, commit_index=Index(9)), (3, 0)),
        (VoteReply(term=Term(3), granted=False), None),
        (PreVoteReply(term=Term(3), granted=True), None),
        (
            AppendEntries(
                term=Term(3),
                prev_index=Index(0),
                prev_term=Term(0),
                commit_index=Index(0),
                runs=(),
            ),
            (3, 0),
        ),
    ],
)
async def test_promises_are_remembered_and_told_to_who_made_them(
    message: Message, told: tuple[int, int] | None
) -> None:
    bench = Bench()
    bench.greeting.adopt(BORN)
    bench.greeting.on_linked("c")
    bench.hear("c", BORN, incarnation=ord("c"))
    c = identity("c", ord("c"))
    bench.greeting.note_message(c, message)
    bench.greeting.note_message(c, HeartbeatReply(term=Term(1), round=1, index=Index(1), wall_ns=0))
    assert bench.greeting.has_acknowledged(c)
    if told is None:
        told = (1, 1)
    bench.greeting.on_unreachable("c", "closed")
    bench.greeting.on_linked("c")
    assert not bench.sent[-1][1].remembered  # who is it?
    bench.hear("c", BORN, incarnation=ord("c"))
    answer = bench.sent[-1][1].remembered

    assert answer is not None
    assert (answer.term, answer.index) == told
    bench.greeting.on_unreachable("c", "closed")
    before = len(bench.sent)
    bench.greeting.on_linked("c")
    bench.hear(
        "c", BORN, incarnation=1234
    )  # wiped: another identity, of which nothing is remembered
    assert [it.remembered for _, it in bench.sent[before:]] == [None]


@pytest.mark.parametrize(
    "facts, told", [({"boot": 4}, True), ({"nonce": 8}, True), ({"boot": 6}, False), ({}, False)]
)
async def test_who_has_promised_nothing_is_still_told_of_a_later_boot(
    facts: dict[str, Any], told: bool
) -> None:
    bench = Bench()
    bench.greeting.adopt(BORN)
    c = identity("c")
    known = Remembered(boot=5, nonce=7, term=Term(0), index=Index(0))
    bench.greeting.recall({c: known})
    bench.greeting.on_linked("c")
    bench.hear("c", BORN, **({"boot": 5, "nonce": 7} | facts))

    assert [hello.remembered for _, hello in bench.sent[1:]] == ([known] if told else [])


async def test_nothing_is_remembered_of_who_was_never_heard() -> None:
    bench = Bench()
    bench.greeting.adopt(BORN)
    for number, scope in enumerate((UNBORN, Scope(cluster=b"another cluster!"), BORN)):
        bench.greeting.on_linked("c")
        bench.hear("c", scope, incarnation=number)

    assert list(bench.greeting.remembered()) == [identity("c", 2)]


async def test_what_a_peer_knew_of_this_node_is_remembered_of_itself() -> None:
    bench = Bench()
    told = Remembered(boot=5, nonce=7, term=Term(3), index=Index(9))
    bench.greeting.note_rolled_back(told)

    assert not Bench().greeting.is_rolled_back
    assert bench.greeting.is_rolled_back
    assert bench.greeting.remembered() == {identity("a"): told}
    again = Bench()
    again.greeting.recall(bench.greeting.remembered())
    assert again.greeting.is_rolled_back


async def test_a_peer_that_is_refused_again_and_again_is_a_line_a_minute(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    bench.greeting.adopt(BORN)
    other = Scope(cluster=b"another cluster!")
    for _ in range(600):
        bench.greeting.on_linked("c")
        bench.hear("c", other)
        bench.greeting.on_unreachable("c", "closed the connection")
        await trio.sleep(0.2)

    assert [it.message for it in caplog.records] == [
        f"a: c at memory:c is refused: of another cluster, {other.cluster.hex()[:8]}…"
    ] * 2


@pytest.mark.parametrize(
    "facts, guilty",
    [
        ({}, False),
        ({"boot": 4}, False),
        ({"boot": 6}, True),
        ({"nonce": 8}, True),
        ({"boot": 4, "nonce": 8}, False),
        ({"term": Term(4)}, True),
        ({"index": Index(10)}, True),
        ({"term": Term(2), "index": Index(10)}, False),
    ],
)
async def test_a_rolled_back_directory_is_recognised(facts: dict[str, Any], guilty: bool) -> None:
    true: dict[str, Any] = {"boot": 5, "nonce": 7, "term": Term(3), "index": Index(9)}
    hello = Bench().hello(remembered=Remembered(**(true | facts)))
    why = rolled_back(hello, boot=5, nonce=7, term=Term(3), last_index=Index(9))

    assert (why is not None) == guilty


async def test_hellos_are_repeated_until_the_peer_is_heard(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench()
    bench.greeting.on_linked("b")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.greeting.repeat)
        await trio.sleep(3.5)
        assert len(bench.sent) == 4
        bench.greeting.adopt(BORN)
        bench.hear("b", BORN)
        before = len(bench.sent)
        await trio.sleep(10)
        assert len(bench.sent) == before
        nursery.cancel_scope.cancel()


async def test_two_nodes_that_greet_each_other_come_to_rest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench()
    bench.greeting.adopt(BORN)
    bench.greeting.on_linked("b")
    for _ in range(100):  # each answer of ours is answered by one of theirs
        bench.hear("b", BORN)

    assert len(bench.sent) <= 2


def links_of(bench: Bench) -> Links:
    """Those of node a, unborn, before they have an endpoint."""
    return Links(
        plan=plan_of_a(MEMBERS, found=False),
        record=attrs.evolve(MemoryStorage("a").record, identity=identity("a")),
        replica=Replica(Counter),
        founding=bench.founding,
        on_message=lambda *_: None,
        on_hello=lambda _: None,
        on_change=lambda: None,
        publish=lambda _: None,
        on_lost=lambda *_: None,
    )


async def test_the_founding_record_is_offered_to_whom_it_names_and_who_promised_nothing() -> None:
    bench = Bench()
    bench.everyone()
    record = bench.found()
    assert record is not None
    links = links_of(bench)
    b, c = identity("b", ord("b")), identity("c", ord("c"))
    assert links._hello(b).founding is None  # unborn itself
    links.endpoint = Deaf()
    links.adopt(record, Index(1), Configuration.decode(record.entry.payloads[0]))

    assert links._hello(b).founding == record
    assert links._hello(None).founding is None
    assert links._hello(identity("b", 5)).founding is None
    links.greeting.note_message(c, VoteReply(term=Term(2), granted=True))
    assert links._hello(c).founding is None


class Deaf:
    """An endpoint without a network."""

    def adopt(self, scope: Scope) -> None:
        pass

    def connect(self, peers: Any) -> None:
        pass

    def send(self, targets: Any, body: Any) -> None:
        pass


# ── guests ───────────────────────────────────────────────────────────────────────────────────────────


@attrs.define
class Meeting:
    """Node a, born into a group of a, b and c, whose configuration stands at index 10; and who comes."""

    links: Links = attrs.field(init=False)
    configuration: Configuration = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        bench = Bench()
        bench.everyone()
        record = bench.found()
        assert record is not None
        self.links = links_of(bench)
        self.links.endpoint = Deaf()
        self.configuration = Configuration.decode(record.entry.payloads[0])
        self.links.adopt(record, Index(10), self.configuration)
        self.scope = record.scope
        self.hello = bench.hello()

    scope: Scope = attrs.field(init=False)
    hello: Hello = attrs.field(init=False)

    def meet(self, name: str, scope: Scope | None = None) -> None:
        self.links.linked(name)
        self.say(name, self.hello, scope)

    def say(self, name: str, body: Hello | Membership, scope: Scope | None = None) -> None:
        frame = Frame(scope=scope or self.scope, sender=identity(name, 7), body=body)
        self.links.received(frame)

    def with_member(self, name: str) -> Configuration:
        member = Member(id=name, incarnation=7, address=f"memory:{name}")
        return attrs.evolve(self.configuration, members=(*self.configuration.members, member))


async def test_a_guest_is_heard_once_it_shows_a_newer_configuration_that_names_it() -> None:
    meeting = Meeting()
    meeting.meet("d")
    greeting = meeting.links.greeting
    assert not greeting.is_heard("d")

    meeting.say("d", Membership(index=Index(10), configuration=meeting.with_member("d")))
    assert not greeting.is_heard("d")  # ours is as new
    meeting.say("d", Membership(index=Index(11), configuration=meeting.with_member("e")))
    assert not greeting.is_heard("d")  # it names another
    meeting.say("d", Membership(index=Index(11), configuration=meeting.with_member("d")))
    assert greeting.hear(identity("d", 7))
    assert not greeting.hear(identity("d", 8))

    meeting.links.follow(Index(11), meeting.configuration)  # it was removed by that very entry
    assert not greeting.is_heard("d")


async def test_what_a_guest_showed_holds_for_its_link_only() -> None:
    meeting = Meeting()
    meeting.meet("d")
    meeting.say("d", Membership(index=Index(11), configuration=meeting.with_member("d")))
    assert meeting.links.greeting.is_heard("d")
    meeting.meet("d")  # over another link

    assert not meeting.links.greeting.is_heard("d")


async def test_guests_are_forgotten_when_they_go_and_are_few() -> None:
    meeting = Meeting()
    names = [f"x{number:02}" for number in range(GUESTS_MAX + 4)]
    for name in names:
        meeting.meet(name, UNBORN)
    greeting = meeting.links.greeting
    assert list(greeting.guests) == names[:GUESTS_MAX]

    for name in names:
        meeting.links.unreachable(name, "gone")
    assert greeting.guests == {}


async def test_who_became_a_member_was_met_already() -> None:
    """Its hello is not asked for again: it is offered the founding record at the next greeting."""
    meeting = Meeting()
    meeting.meet("d", UNBORN)
    meeting.links.follow(Index(11), meeting.with_member("d"))

    assert meeting.links.greeting.peers["d"].identity == identity("d", 7)
    assert meeting.links._hello(identity("d", 7)).founding is not None
    assert "d" not in meeting.links.greeting.guests


async def test_a_node_learns_from_a_newer_configuration_that_it_is_a_member_no_more() -> None:
    meeting = Meeting()
    meeting.meet("d")
    without = attrs.evolve(meeting.configuration, members=meeting.with_member("d").members[1:])
    said = [(9, without), (11, without), (13, meeting.with_member("d")), (12, without)]
    found: list[bool] = []
    for index, configuration in said:
        meeting.say("d", Membership(index=Index(index), configuration=configuration))
        found.append(meeting.links.names_no_more)

    # Ours is newer than the first; of the others, the newest counts.
    assert found == [False, True, False, False]


async def test_who_leaves_stays_linked_until_it_is_let_go() -> None:
    meeting = Meeting()
    fewer = attrs.evolve(meeting.configuration, members=meeting.configuration.members[:2])
    meeting.links.follow(Index(11), fewer)
    assert meeting.links.leaving == {"c"}
    assert "c" in meeting.links.greeting.peers

    meeting.links.let_go({"a", "b", "c"})
    assert "c" in meeting.links.greeting.peers
    meeting.links.let_go({"a", "b"})
    assert (meeting.links.leaving, "c" in meeting.links.greeting.peers) == (frozenset(), False)
