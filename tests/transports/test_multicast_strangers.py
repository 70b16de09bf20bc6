"""What the multicast transport does not believe, and what it does not let others cost it."""

from __future__ import annotations

import random

import attrs
import pytest

from raftkit.model import Identity
from raftkit.testing.datagrams import Place
from raftkit.transports.multicast import engine
from raftkit.transports.multicast.discovery import KNOWN_MAX
from raftkit.transports.multicast.engine import EngineSettings
from raftkit.transports.multicast.handshake import OFFERS_MAX
from raftkit.transports.multicast.outlet import Ignored, Output, SettingsDiffer, Unreachable
from raftkit.wire import ClusterKeys, DatagramKind, Lane, Refused, Sealer, cluster_tag
from raftkit.wire.control import (
    Accept,
    Bye,
    Card,
    Confirm,
    Control,
    Ends,
    Gone,
    Head,
    Hello,
    Nack,
    Open,
    Taken,
    encode_control,
)
from tests.transports.multicast_parts import KEYS, Post, Stage, all_linked

OTHER_KEY = bytes(32)


@attrs.define(eq=False)
class Insider:
    """Somebody with the key, who says what it likes. It is at no place of its own."""

    start: int = 0x1234567890
    sealer: Sealer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.sealer = Sealer(cluster=cluster_tag("ours"), keys=KEYS, start=self.start)

    def says(self, body: Control) -> bytes:
        return self.sealer.control.seal(*encode_control(body))


def card(name: str, incarnation: int = 9) -> Card:
    return Card(identity=Identity(id=name, incarnation=incarnation), settings=bytes(8))


def linked(names: str = "ab") -> tuple[Stage, list[Post]]:
    stage = Stage()
    posts = stage.open_all(names)
    assert stage.until(lambda: all_linked(posts))
    stage.run(0.5)
    return stage, posts


def test_capture_of_an_earlier_run_links_nothing_and_delivers_nothing() -> None:
    """Every datagram of it, in order, from the right addresses, at the same times, again and again."""
    stage = Stage(1)
    record = stage.network.listen()
    a, b = stage.open_all("ab")
    stage.run(0.1)
    for n in range(20):
        a.say(f"{n}", b)
        b.say(f"{n}", a, lane=Lane.ENTRIES)
        stage.run(0.05)
    assert len(a.heard()) == 20

    stage = Stage(2)
    a = stage.open("a")
    a.engine.connect({"b": "at-b"}, stage.now)
    a.pump()
    for _ in range(3):
        for source, _, data in record:
            if source == "at-b":
                a.receive(data, source, stage.now)
                stage.run(0.001)

    assert a.heard() == []
    assert a.links() == ["-b"]
    assert a.engine.links == {}


def test_capture_of_an_earlier_run_does_not_disturb_a_later_one() -> None:
    """Nor does the capture of the same run."""
    stage = Stage(1)
    record = stage.network.listen()
    a, b = stage.open_all("ab")
    stage.run(2.0)
    b.close()
    b = stage.open("b")
    b.connect(a)
    stage.run(1.0)
    before = a.links()
    rng = random.Random(3)

    for _ in range(1000):
        source, _, data = rng.choice(record)
        for post in (a, b):
            post.receive(data, source, stage.now)
        stage.run(0.001)

    assert a.links() == before == ["b", "-b", "b"]
    assert all_linked([a, b])


def test_datagram_for_one_is_nothing_to_another() -> None:
    """Everything that a says to b, said to c: the same key sealed it, and it is of other links."""
    stage, (a, b, c) = linked("abc")
    record = stage.network.listen()
    a.say("for b", b)
    a.say("for b", b, lane=Lane.ENTRIES)
    a.engine.drop("b", "a test", stage.now)
    a.pump()
    copies = [data for source, to, data in record if (source, to) == (a.place, b.place)]

    for data in copies:
        c.receive(data, a.place, stage.now)
    stage.run(0.1)

    assert c.heard() == []
    assert c.links() == ["a", "b"]
    assert c.engine.counts.ignored[Ignored.OTHER_LINK] >= 2


def test_two_clusters_on_one_group_do_not_hear_each_other() -> None:
    """Even with the same names and keys. What is not ours is told by its tag, before the seal is tried."""
    stage = Stage()
    ours = stage.open_all("ab")
    theirs = [
        stage.open(name, place=f"their-{name}", cluster=cluster_tag("theirs")) for name in "ab"
    ]
    theirs[0].engine.connect({"b": theirs[1].place, "x": ours[0].place}, stage.now)
    theirs[0].pump()
    stage.run(3.0)

    assert all_linked(ours)
    assert all_linked(theirs)
    ours[0].say("ours", ours[1])
    stage.run(0.1)
    assert [it.heard() for it in theirs] == [[], []]
    assert ours[0].engine.counts.refused.keys() <= {Refused.CLUSTER, Refused.OWN}
    assert ours[0].engine.counts.refused[Refused.CLUSTER] > 3
    assert ours[0].engine.discovered(stage.now)[0].source == "at-b"


def test_wrong_key_is_not_heard() -> None:
    stage = Stage()
    a = stage.open("a")
    b = stage.open("b", keys=ClusterKeys(ring={1: OTHER_KEY}, sealing=1))
    a.connect(b)
    b.connect(a)
    stage.run(2.0)

    assert a.events == [Unreachable("b", "does not answer")]
    assert a.engine.discovered(stage.now) == ()
    assert a.engine.counts.refused[Refused.SEAL] > 3


def test_key_is_changed_node_by_node_without_a_pause() -> None:
    """First all believe both, then all seal with the new one, then the old one goes."""
    old, new = bytes(range(32)), bytes(range(1, 33))
    steps = [
        ClusterKeys(ring={1: old}, sealing=1),
        ClusterKeys(ring={1: old, 2: new}, sealing=1),
        ClusterKeys(ring={1: old, 2: new}, sealing=2),
        ClusterKeys(ring={2: new}, sealing=2),
    ]
    stage = Stage()
    posts = {name: stage.open(name, keys=steps[0]) for name in "abc"}

    def connect() -> None:
        for post in posts.values():
            post.connect(*(it for it in posts.values() if it is not post))

    connect()
    assert stage.until(lambda: all_linked(posts.values()))
    for keys in steps[1:]:
        for name in "abc":
            posts[name].close()
            posts[name] = stage.open(name, keys=keys)
            connect()
            assert stage.until(lambda: all_linked(posts.values()), within=0.5), (keys, name)

    late = stage.open("d", keys=steps[0])
    late.connect(posts["a"])
    stage.run(1.0)
    assert late.links() == ["-a"]
    assert posts["a"].engine.counts.refused[Refused.KEY] > 0


def test_who_says_that_it_is_us_is_not_heard() -> None:
    """Another node with our name and key: neither discovered nor linked."""
    stage = Stage()
    a = stage.open("a")
    impostor = stage.open("a", place="elsewhere", incarnation=2)
    impostor.engine.connect({"a": a.place}, stage.now)
    impostor.pump()
    stage.run(1.0)

    assert a.links() == []
    assert a.engine.discovered(stage.now) == ()
    assert a.engine.counts.ignored[Ignored.IMPOSTOR] > 0


def test_answer_of_another_than_who_was_asked_is_no_answer() -> None:
    """A member that answers in its own name what was meant for b, with the right nonce."""
    stage = Stage()
    a = stage.open("a")
    record = stage.network.listen()
    a.engine.connect({"b": "at-b"}, stage.now)
    a.pump()
    opened = [data for _, to, data in record if to == "at-b"][-1]
    asked = a.engine._opener  # what a sent is read as b would
    asked.own = 0
    datagram = asked.open(opened)
    assert not isinstance(datagram, Refused)
    assert datagram.kind is DatagramKind.OPEN
    from raftkit.wire.control import decode_control

    body = decode_control(datagram.kind, datagram.body)
    assert isinstance(body, Open)
    insider = Insider()
    ends = Ends(to=a.engine.start, mine=3, yours=body.link)
    answer = Accept(ends=ends, card=card("x"), echo=body.nonce, nonce=bytes(16))

    a.receive(insider.says(answer), "at-x", stage.now)

    assert a.engine.links == {}
    assert a.engine.counts.ignored[Ignored.IMPOSTOR] == 1
    a.receive(insider.says(attrs.evolve(answer, card=card("b"))), "at-b", stage.now)
    assert list(a.engine.links) == ["b"]


def test_answers_to_nothing_link_nothing() -> None:
    """ACCEPT and CONFIRM with nonces that we never drew."""
    stage = Stage()
    a = stage.open("a")
    a.engine.connect({"b": "at-b"}, stage.now)
    insider = Insider()
    ends = Ends(to=a.engine.start, mine=3, yours=3)
    a.receive(insider.says(Open(card=card("b"), wanted="a", link=3, nonce=bytes(16))), "?", 100.0)
    a.receive(
        insider.says(Accept(ends=ends, card=card("b"), echo=bytes(16), nonce=bytes(16))), "?", 100.0
    )
    a.receive(insider.says(Confirm(ends=ends, echo=bytes(16))), "?", 100.0)

    assert a.engine.links == {}
    assert a.engine.counts.ignored[Ignored.UNPROVEN] == 2


def test_offer_that_is_old_can_not_be_confirmed() -> None:
    """An attacker held the CONFIRM back for more than a second."""
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")
    held: list[tuple[Place, bytes]] = []

    def hold(source: Place, to: object, data: bytes) -> bool:
        if (
            source == a.place
            and to == b.place
            and len(held) < 1
            and b.engine.counts.control_out > 1
        ):
            held.append((source, data))
            return True
        return bool(held)

    stage.network.is_lost = hold
    a.connect(b)
    stage.run(3.0)
    assert held
    assert not b.is_linked(a)

    b.receive(held[0][1], a.place, stage.now)

    assert not b.is_linked(a)
    assert b.engine.counts.ignored[Ignored.UNPROVEN] == 1


@pytest.mark.slow
def test_words_about_nothing_change_nothing() -> None:
    """Of a peer that is linked: for others, of streams and links that are none."""
    stage, (a, b) = linked()
    link = b.engine.links["a"]
    theirs = b.engine._outlet.sealer
    own, other = a.engine.start, a.engine.start ^ 1
    ends = link.ends
    for body in (
        Nack(to=own, stream=99, ranges=((0, 5),)),
        Nack(to=other, stream=ends.yours, ranges=((0, 5),)),
        Nack(to=own, stream=ends.yours, ranges=((7_000, 7_005),)),
        Gone(to=own, stream=99, ranges=((0, 5),)),
        Taken(to=own, stream=99, head=5),
        Taken(to=other, stream=ends.yours + 1, head=5),
        Head(stream=99, head=5),
        Bye(ends=attrs.evolve(ends, to=other), why=""),
        Bye(ends=attrs.evolve(ends, mine=99), why=""),
        Bye(ends=attrs.evolve(ends, yours=99), why=""),
        Open(card=card("a"), wanted="a", link=3, nonce=bytes(16)),
        Accept(ends=attrs.evolve(ends, to=other), card=card("b"), echo=bytes(16), nonce=bytes(16)),
        Accept(ends=ends, card=card("a"), echo=bytes(16), nonce=bytes(16)),
        Confirm(ends=attrs.evolve(ends, to=other), echo=bytes(16)),
    ):
        a.receive(theirs.control.seal(*encode_control(body)), b.place, stage.now)
    a.engine.sent(Output(to="x", lane=Lane.BULK, datagrams=(), stream=99, head=1), stage.now)
    a.engine.drop("nobody", "a test", stage.now)
    stage.run(0.5)

    assert a.links() == ["b"]
    assert a.engine.counts.nacked == 0
    assert a.engine.counts.ignored[Ignored.NOT_OURS] == 4
    assert a.engine.counts.ignored[Ignored.IMPOSTOR] == 2


def test_thousands_of_strangers_leave_nothing_behind() -> None:
    """With the key even: hellos, OPENs and what needs a link, each of a start and a name of its own."""
    stage, (a, b) = linked()
    for n in range(5000):
        insider = Insider(start=1_000_000 + n)
        ends = Ends(to=a.engine.start, mine=3, yours=3)
        for body in (
            Hello(card=card(f"s{n}"), address="nowhere"),
            Open(card=card(f"s{n}"), wanted="a", link=3, nonce=bytes(16)),
            Bye(ends=ends, why=""),
            Nack(to=a.engine.start, stream=3, ranges=((0, 1),)),
            Gone(to=a.engine.start, stream=3, ranges=((0, 1),)),
            Taken(to=a.engine.start, stream=3, head=9),
            Head(stream=3, head=9),
        ):
            a.receive(insider.says(body), f"at-s{n}", stage.now)
    stage.run(0.5)

    engine = a.engine
    assert len(engine._discovery._heard) == KNOWN_MAX
    assert len(engine._handshakes._offers) == OFFERS_MAX
    assert len(engine._opener._seals) <= engine._opener.starts_max
    assert len(engine.discovered(stage.now)) == KNOWN_MAX
    assert a.links() == ["b"]
    assert a.is_linked(b)


def test_no_more_guests_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """But who is wanted always has a place."""
    monkeypatch.setattr(engine, "LINKS_MAX", 6)
    stage = Stage()
    a = stage.open("a")
    for n in range(10):
        stage.open(f"g{n}").connect(a)
    stage.run(0.3)
    assert len(a.engine.links) == 6

    b = stage.open("b")
    a.connect(b)
    b.connect(a)
    stage.run(0.3)

    assert a.is_linked(b)
    assert a.engine.counts.ignored[Ignored.CROWDED] > 0


def test_no_answer_is_longer_than_what_it_answers() -> None:
    """To anybody without a proof: a recorded OPEN must not flood another's address at our expense."""
    stage = Stage()
    record = stage.network.listen()
    a = stage.open("a" * 64, place="at-a")
    a.engine.connect({"b": "at-b"}, stage.now)
    a.pump()
    for name in ("é" * 64, "b"):
        wanted = a.name
        opening = Insider().says(Open(card=card(name), wanted=wanted, link=3, nonce=bytes(16)))
        del record[:]
        a.receive(opening, "victim", stage.now)
        answers = [data for _, to, data in record if to == "victim"]

        assert len(answers) == 1
        assert len(answers[0]) <= len(opening)


def test_garbage_is_counted_and_forgotten() -> None:
    stage, (a, b) = linked()
    rng = random.Random(1)
    record = stage.network.listen()
    stage.run(1.0)
    real = [data for _, _, data in record]
    for _ in range(500):
        data = bytearray(rng.choice(real))
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        a.receive(bytes(data), "?", stage.now)
        a.receive(rng.randbytes(rng.randrange(200)), "?", stage.now)
        a.receive(bytes(data[: rng.randrange(len(data))]), "?", stage.now)

    assert a.links() == ["b"]
    assert all_linked([a, b])
    assert a.engine.counts.refused.total() >= 1500


def test_malformed_words_of_a_member_are_counted_too() -> None:
    stage, (a, b) = linked()
    stranger = Sealer(cluster=cluster_tag("ours"), keys=KEYS, start=5)
    for kind in DatagramKind:
        stream = stranger.control if kind is not DatagramKind.CHUNK else stranger.open_stream()
        a.receive(stream.seal(kind, b"\xff" * 7), "?", stage.now)

    malformed = a.engine.counts.refused[Refused.MALFORMED]
    assert malformed == len(DatagramKind) - 1  # a chunk of a stranger is not looked at
    chunk = b.engine.links["a"].way.control.numbered.seal(DatagramKind.CHUNK, b"\xff" * 7)
    a.receive(chunk, b.place, stage.now)
    assert a.engine.counts.refused[Refused.MALFORMED] == malformed + 1
    assert all_linked([a, b])


@pytest.mark.slow
def test_settings_that_differ_are_told_once_a_minute() -> None:
    """The link stands all the same: whoever runs the cluster decides."""
    stage = Stage()
    a = stage.open("a")
    b = stage.open("b", settings=EngineSettings(settings_hash=b"8 others"))
    a.connect(b)
    stage.run(50.0)

    assert [it for it in a.events if isinstance(it, SettingsDiffer)] == [
        SettingsDiffer("b", b.place)
    ]
    assert a.engine.counts.mismatches > 40
    stage.run(20.0)
    assert len([it for it in a.events if isinstance(it, SettingsDiffer)]) == 2
    assert all_linked([a, b])


def test_own_multicasts_that_come_back_are_left_aside() -> None:
    stage, (a, b, c) = linked("abc")
    stage.until(lambda: a.by_multicast(b, c))

    a.say("echo", b, c)
    stage.run(0.1)

    assert a.heard() == []
    assert a.engine.counts.refused[Refused.OWN] > 0
    assert list(a.engine.links) == ["b", "c"]
