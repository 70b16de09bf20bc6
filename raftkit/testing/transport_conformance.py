"""What every `LossyTransport` must do, as a class of tests that needs no test framework.

    class TestMine(TransportConformance):
        def fresh(self) -> LossyTransport: return MyTransport()
        def addresses(self, count: int) -> list[str]: return […]

Each method whose name starts with `test_` is run under trio, by its real clock or a `MockClock`, over a
transport that is not told to lose anything.

Law: nothing here looks behind the protocol. How soon a silent peer is missed, which frame overtakes which and
what garbage does is each transport's own affair, and tested there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import get_args

import attrs
import trio

from raftkit.changes import Promote, Remove
from raftkit.driver_messages import (
    UNBORN,
    ChangeMade,
    ChangeReferral,
    DriverMessage,
    Forward,
    ForwardAccepted,
    ForwardRefused,
    Frame,
    Goodbye,
    Hello,
    LeadershipMoved,
    Membership,
    Presence,
    ReferralFailed,
    ReferralOutcome,
    Scope,
    SnapshotPart,
    SnapshotWanted,
    StateDigest,
    StateDigests,
    TransferReferral,
)
from raftkit.errors import ConfigError
from raftkit.membership import Configuration, Epoch, Member
from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    AppendRejected,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVoteReply,
    PreVoteRequest,
    ReadReply,
    ReadRequest,
    Refusal,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftkit.model import Identity, Index, NodeId, Run, Term
from raftkit.snapshot import SnapshotMeta
from raftkit.transports import LossyEndpoint, LossyTransport

__all__ = ["SCOPE", "Station", "TransportConformance", "a_hello", "append", "beat", "every_message"]

SCOPE = Scope(cluster=b"0123456789abcdef", epoch=Epoch(nonce=7))
"That of the stations here."
WAIT_SECONDS = 5.0
"Until something that should happen counts as not happening."
FLOOD_BYTES = 128 * 1024 * 1024
"More than any link may keep, its ends' operating systems included."


@attrs.define(eq=False, kw_only=True)
class Station:
    """An endpoint and all that it was told. Says hello on each new link, as the driver does."""

    identity: Identity
    address: str
    scope: Scope = SCOPE
    endpoint: LossyEndpoint = attrs.field(init=False)
    "Set by `open`."
    news: list[tuple[str, NodeId]] = attrs.field(init=False, factory=list[tuple[str, NodeId]])
    '"linked", or why a peer is unreachable, or that it has other settings, and the peer; in order.'
    frames: list[Frame] = attrs.field(init=False, factory=list[Frame])
    "What arrived, hellos included, in order."
    keeps_out: dict[Identity, str] = attrs.field(init=False, factory=dict[Identity, str])
    "Who is to replace nobody, and why."
    links: set[NodeId] = attrs.field(init=False, factory=set[NodeId])
    "Peers that said hello on a link that stands."

    @asynccontextmanager
    async def open(self, transport: LossyTransport) -> AsyncGenerator[Station]:
        """Take part for as long as the context lasts."""
        async with transport.open_endpoint(self.identity, self.address, self) as self.endpoint:
            self.endpoint.adopt(self.scope)
            yield self

    def linked(self, peer: NodeId) -> None:
        """See `Sink`."""
        self.news.append(("linked", peer))
        self.links.discard(peer)
        self.endpoint.send((peer,), a_hello())

    def received(self, frame: Frame) -> None:
        """See `Sink`."""
        self.frames.append(frame)
        if isinstance(frame.body, Hello) and frame.sender.id not in self.links:
            # Whoever says hello first on a link may have missed ours.
            self.links.add(frame.sender.id)
            self.endpoint.send((frame.sender.id,), a_hello())

    def unreachable(self, peer: NodeId, why: str) -> None:
        """See `Sink`."""
        assert why
        self.news.append((why, peer))
        self.links.discard(peer)

    def objection(self, newcomer: Identity) -> str:
        """See `Sink`."""
        return self.keeps_out.get(newcomer, "")

    def settings_differ(self, peer: NodeId) -> None:
        """See `Sink`."""
        self.news.append(("has other settings", peer))

    def say(self, number: int, *targets: NodeId) -> None:
        """Send a heartbeat with that number."""
        self.endpoint.send(targets, beat(number))

    def heard(self, sender: NodeId) -> list[int]:
        """Numbers of the heartbeats that came from `sender`."""
        return [
            it.body.round
            for it in self.frames
            if it.sender.id == sender and isinstance(it.body, Heartbeat)
        ]

    async def wait_heard(self, sender: NodeId, *numbers: int) -> None:
        """Wait until exactly these heartbeats have come from `sender`, in this order."""
        await until(lambda: self.heard(sender) == list(numbers))

    async def wait_message(self, message: Message | DriverMessage) -> Frame:
        """Wait until `message` is the newest that arrived."""
        await until(lambda: bool(self.frames) and self.frames[-1].body == message)
        return self.frames[-1]

    async def wait(self, *, linked: str) -> None:
        """Wait until there are links with hellos to exactly these peers, of one letter each."""
        await until(lambda: self.links == set(linked))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds. Raises trio.TooSlowError after `WAIT_SECONDS`."""
    with trio.fail_after(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for is anything a test can see
            await trio.sleep(0.002)


class TransportConformance:
    """Subclass it, say how to make a transport, and run every method whose name starts with `test_`."""

    def fresh(self) -> LossyTransport:
        """A transport, or network, of its own for one test."""
        raise NotImplementedError

    def addresses(self, count: int) -> list[str]:
        """So many addresses at which nobody is, for one test."""
        raise NotImplementedError

    # ── links ────────────────────────────────────────────────────────────────────────────────────

    async def test_either_side_begins_a_link(self) -> None:
        """Both are told of it, and both can use it."""
        async with self._stations("ab") as (a, b):
            a.endpoint.connect({"b": b.address})
            await a.wait(linked="b")
            await b.wait(linked="a")
            a.say(1, "b")
            b.say(2, "a")

            await until(lambda: b.heard("a") == [1] and a.heard("b") == [2])

    async def test_both_sides_begin_at_once_and_have_one_link(self) -> None:
        """It stays as it is, and a frame arrives once."""
        async with self._stations("abc") as (a, b, c):
            _join(a, b, c)
            for station, others in ((a, "bc"), (b, "ac"), (c, "ab")):
                await station.wait(linked=others)
            await trio.sleep(0.3)
            before = [list(it.news) for it in (a, b, c)]
            a.say(1, "b", "c")
            c.say(2, "b", "a")
            await until(lambda: a.heard("c") == b.heard("c") == [2])
            await trio.sleep(0.3)

            assert b.heard("a") == c.heard("a") == [1]
            assert [it.news for it in (a, b, c)] == before

    async def test_a_peer_that_is_not_there_is_reported(self) -> None:
        """And linked when it comes."""
        transport = self.fresh()
        a, b = self._made("ab")
        async with a.open(transport):
            a.endpoint.connect({"b": b.address})
            await until(lambda: bool(a.news))
            assert a.news[0][0] != "linked"
            async with b.open(transport):
                await a.wait(linked="b")

    async def test_peers_are_told_at_once_that_an_endpoint_closed(self) -> None:
        """Within 0.1 s: followers of a leader that dies don't wait for a timeout."""
        async with self._stations("a") as (a,):
            (b,) = self._made("b")
            async with b.open(self.transport):
                _join(a, b)
                await a.wait(linked="b")
                await b.wait(linked="a")
                before, closing = len(a.news), trio.current_time()
            await until(lambda: len(a.news) > before)

            assert trio.current_time() - closing < 0.1
            assert a.news[before][0] != "linked"

    async def test_what_was_sent_to_one_life_does_not_reach_the_next(self) -> None:
        """Links come back by themselves; frames never outlive theirs."""
        async with self._stations("a") as (a,):
            for life in range(3):
                (b,) = self._made("b")
                async with b.open(self.transport):
                    _join(a, b)
                    await a.wait(linked="b")
                    await b.wait(linked="a")
                    a.say(life, "b")
                    await b.wait_heard("a", life)
                    for _ in range(100):
                        a.say(99, "b")
                for _ in range(100):
                    a.say(99, "b")
                await until(lambda: not a.links)

    async def test_an_address_is_one_endpoints(self) -> None:
        """Another is refused before anything is started, and may have it later."""
        async with self._stations("a") as (a,):
            b = Station(identity=Identity(id="b", incarnation=1), address=a.address)
            try:
                async with b.open(self.transport):
                    raise AssertionError("two endpoints at one address")
            except ConfigError:
                pass
        async with b.open(self.transport):
            pass

    async def test_another_node_of_a_linked_name_is_kept_out(self) -> None:
        """As long as the sink objects: the link stands, and nothing that the other says is heard."""
        async with self._stations("ab") as (a, b):
            _join(a, b)
            await a.wait(linked="b")
            await b.wait(linked="a")
            before = len(a.news)
            (place,) = self.addresses(1)
            namesake = Station(identity=Identity(id="b", incarnation=2), address=place)
            a.keeps_out[namesake.identity] = "b is alive"
            async with namesake.open(self.transport):
                namesake.endpoint.connect({"a": a.address})
                await trio.sleep(0.1)
                namesake.say(66, "a")
                b.say(1, "a")
                await a.wait_heard("b", 1)
            assert a.news[before:] == []
            assert all(it.sender == b.identity for it in a.frames)

    # ── frames ───────────────────────────────────────────────────────────────────────────────────

    async def test_every_message_arrives_as_it_was_sent(self) -> None:
        """With its sender and scope."""
        messages = every_message()
        kinds = {type(it) for it in messages}
        # A goodbye is the transport's own: where there are connections it ends one.
        assert kinds == {*get_args(Message), *get_args(DriverMessage)} - {Goodbye}
        async with self._stations("ab") as (a, b):
            _join(a, b)
            await a.wait(linked="b")
            await b.wait(linked="a")
            for message in messages:
                a.endpoint.send(("b",), message)
                frame = await b.wait_message(message)
                assert frame == Frame(scope=SCOPE, sender=a.identity, body=message)

    async def test_one_message_reaches_all_its_targets(self) -> None:
        """And nobody else; targets without a link are left out silently."""
        async with self._stations("abc") as (a, b, c):
            _join(a, b, c)
            await a.wait(linked="bc")
            a.say(1, "b", "c", "nobody")
            a.say(2, "c")
            a.say(3, "nobody")
            a.say(4)

            await until(lambda: b.heard("a") == [1] and sorted(c.heard("a")) == [1, 2])

    async def test_frames_of_another_scope_are_not_delivered(self) -> None:
        """But hellos are, since a node may be of no cluster yet."""
        async with self._stations("ab") as (a, b):
            a.endpoint.adopt(UNBORN)
            a.endpoint.connect({"b": b.address})
            await b.wait(linked="a")
            assert b.frames[0].scope == UNBORN
            a.say(1, "b")
            await until(lambda: a.news[-1][0] != "linked" or not a.links)
            a.endpoint.adopt(SCOPE)
            await until(lambda: "b" in a.links and b.frames[-1].scope == SCOPE)
            a.say(2, "b")
            await until(lambda: bool(b.heard("a")))

            assert b.heard("a") == [2]

    async def test_links_stand_when_a_scope_is_adopted(self) -> None:
        """A node is born on the links over which it was told so."""
        async with self._stations("ab") as (a, b):
            a.endpoint.adopt(UNBORN)
            a.endpoint.connect({"b": b.address})
            await a.wait(linked="b")
            await b.wait(linked="a")
            a.endpoint.adopt(SCOPE)
            b.say(1, "a")
            a.say(2, "b")
            await a.wait_heard("b", 1)
            await b.wait_heard("a", 2)

            assert a.news == [("linked", "b")]

    async def test_a_flood_is_dropped_not_kept(self) -> None:
        """What is sent later arrives again, and the sender never waits."""
        async with self._stations("ab") as (a, b):
            _join(a, b)
            await a.wait(linked="b")
            payload = bytes(512 * 1024)
            count = FLOOD_BYTES // len(payload)
            for number in range(count):
                a.endpoint.send(("b",), append(number + 1, payload))
            await until(lambda: any(isinstance(it.body, AppendEntries) for it in b.frames))
            a.say(1, "b")
            await until(lambda: b.heard("a") == [1])
            await trio.sleep(0.3)

            assert sum(isinstance(it.body, AppendEntries) for it in b.frames) < count
            a.endpoint.send(("b",), append(count + 1, b"x"))
            await until(lambda: b.frames[-1].body == append(count + 1, b"x"))

    # ── what the tests are made of ───────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _stations(self, names: str) -> AsyncGenerator[Sequence[Station]]:
        self.transport = self.fresh()
        async with AsyncExitStack() as stack:
            stations = self._made(names)
            for station in stations:
                await stack.enter_async_context(station.open(self.transport))
            yield stations

    def _made(self, names: str) -> list[Station]:
        """Stations at addresses of their own. The same names get the same addresses."""
        places: dict[str, str] = self.__dict__.setdefault("_places", {})
        missing = [it for it in names if it not in places]
        places.update(zip(missing, self.addresses(len(missing)), strict=True))
        return [
            Station(identity=Identity(id=name, incarnation=1), address=places[name])
            for name in names
        ]


def _join(*stations: Station) -> None:
    """Have each connect to all others."""
    for station in stations:
        others = [it for it in stations if it is not station]
        station.endpoint.connect({it.identity.id: it.address for it in others})


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────


def beat(number: int) -> Heartbeat:
    """A heartbeat that can be told from others."""
    return Heartbeat(term=Term(1), round=number, commit_index=Index(0))


def append(index: int, *payloads: bytes) -> AppendEntries:
    """Entries from `index` on."""
    run = Run(first=Index(index), term=Term(1), time_ns=1, elapsed_ns=1, payloads=payloads)
    return AppendEntries(
        term=Term(1),
        prev_index=Index(index - 1),
        prev_term=Term(min(index - 1, 1)),
        commit_index=Index(0),
        runs=(run,),
    )


def a_group() -> Configuration:
    """Of one."""
    return Configuration(members=(Member(id="a", incarnation=1, address="somewhere"),))


def chunk(offset: int, data: bytes) -> SnapshotChunk:
    """A part of a snapshot."""
    meta = SnapshotMeta(
        index=Index(9),
        term=Term(1),
        configuration=a_group(),
        configuration_index=Index(1),
        time_ns=1,
        elapsed_ns=1,
        size=1 << 30,
        checksum=0,
    )
    return SnapshotChunk(term=Term(1), snapshot=meta, offset=offset, data=data)


def a_hello(*, nonce: int = 1) -> Hello:
    """Of a node that has nothing to tell."""
    return Hello(
        wire_format=1,
        boot=1,
        nonce=nonce,
        address="somewhere",
        founders=(),
        settings_hash=bytes(32),
        founding=None,
        remembered=None,
        machine_version=1,
        fingerprint=bytes(32),
        python=(3, 11),
    )


def a_digest(index: int) -> StateDigest:
    """Of a state at `index`."""
    return StateDigest(index=Index(index), format=2, version=1, size=12, digest=bytes(32))


def every_message() -> list[Message | DriverMessage]:
    """One of each kind, all different."""
    term = Term(5)
    return [
        PreVoteRequest(term=term, last_index=Index(2), last_term=Term(1)),
        PreVoteReply(term=term, granted=True),
        VoteRequest(term=term, last_index=Index(2), last_term=Term(1)),
        VoteReply(term=term, granted=False),
        append(3, b"one", b"", b"three"),
        AppendAccepted(term=term, index=Index(3)),
        AppendRejected(term=term, prev_index=Index(9), hint_index=Index(3), hint_term=Term(1)),
        beat(77),
        HeartbeatReply(term=term, round=77, index=Index(3), wall_ns=1),
        ReadRequest(term=term, ticket=4),
        ReadReply(term=term, ticket=4, index=Index(3)),
        chunk(0, b"part of it"),
        SnapshotReply(term=term, index=Index(9), offset=10, installed=False),
        TimeoutNow(term=term),
        a_hello(nonce=2),
        Forward(request=6, payloads=(b"please",)),
        ForwardAccepted(request=6, first=Index(4), term=term),
        ForwardRefused(request=6, reason=Refusal.NOT_LEADER, leader="b"),
        StateDigests(digests=(a_digest(8), a_digest(9))),
        SnapshotWanted(index=Index(9), offset=4),
        SnapshotPart(index=Index(9), offset=4, data=b"the rest"),
        Membership(index=Index(9), configuration=a_group()),
        ChangeReferral(
            request=7, within_ms=8, changes=(Remove(id="b"), Promote(id="c")), based_on=Index(9)
        ),
        TransferReferral(request=8, within_ms=9, target="b"),
        ChangeMade(request=7, index=Index(10)),
        LeadershipMoved(request=8, leader="b"),
        ReferralFailed(request=8, outcome=ReferralOutcome.REFUSED, why="no", leader=None),
        Presence(
            term=term,
            leader="b",
            last_index=Index(9),
            last_term=Term(4),
            first_index=Index(2),
            commit_index=Index(8),
            applied_index=Index(7),
            configuration_index=Index(1),
            missing=("c",),
            priority=-1,
        ),
    ]
