"""How links of the multicast transport begin: engines on a simulated network, in virtual time."""

from __future__ import annotations

import pytest

from raftkit.testing.datagrams import DatagramFaults, Everybody, Place, Sent
from raftkit.transports.multicast.outlet import Ignored, Linked, Unreachable
from raftkit.wire import Datagram, Lane
from raftkit.wire.control import Accept, Card, Open, decode_control, encode_control
from tests.transports.multicast_parts import Stage, all_linked


def test_two_that_ask_at_once_have_one_link() -> None:
    """Both ends agree on it, and each is told once."""
    stage = Stage()
    a, b = stage.open_all("ab")

    stage.run(3.0)

    assert all_linked([a, b])
    assert (a.links(), b.links()) == (["b"], ["a"])


def test_one_that_asks_is_enough() -> None:
    """Who was asked can send as well."""
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")

    a.connect(b)
    assert stage.until(lambda: all_linked([a, b]), within=0.01)
    b.say("hello", a)
    stage.run(0.01)

    assert a.heard(b) == [b"hello"]


def test_links_need_no_multicast() -> None:
    """And messages none: a network without it costs only the saving."""
    stage = Stage()
    posts = stage.open_all("abc")
    stage.network.deaf = {(x.place, y.place) for x in posts for y in posts}
    a, b, c = posts

    assert stage.until(lambda: all_linked(posts), within=0.1)
    a.say("to both", b, c)
    stage.run(1.0)

    assert b.heard(a) == c.heard(a) == [b"to both"]
    assert not a.by_multicast(b)
    assert not a.by_multicast(c)


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_links_come_about_under_loss(loss: float, seed: int) -> None:
    """Also when what is lost is the last step, and one end believes in a link before the other."""
    stage = Stage(seed, DatagramFaults(loss=loss, duplication=0.1, delay=(0.0001, 0.01)))
    posts = stage.open_all("abcd")

    assert stage.until(lambda: all_linked(posts), within=10.0)


def test_lost_confirmation_is_made_up_for_by_the_first_status() -> None:
    """The one who asked has a link and uses it; the other answers that with its ACCEPT again."""
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")
    sent: list[bytes] = []

    def is_third(source: Place, to: Place | Everybody, data: bytes) -> bool:
        """HELLO, OPEN, CONFIRM."""
        if (source, to) == (a.place, b.place):
            sent.append(data)
        return len(sent) == 3 and sent[-1] is data

    stage.network.is_lost = is_third

    a.connect(b)
    stage.run(0.001)

    assert all_linked([a, b])


def test_what_is_sent_before_the_peer_knows_of_the_link_arrives() -> None:
    """It is asked for again as soon as the link stands there, too."""
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")
    a.connect(b)
    stage.until(lambda: a.is_linked(b))
    assert not b.is_linked(a)
    a.say("early", b)
    stage.network.is_lost = lambda source, *_: source == a.place and stage.now < 100.01
    stage.until(lambda: stage.now > 100.01, within=0.1)
    stage.network.is_lost = None

    assert stage.until(lambda: b.heard(a) == [b"early"], within=0.5)
    assert b.links() == ["a"]


def test_nobody_at_the_address_is_told_once() -> None:
    """At once where the network says so, and not again while that does not change."""
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")
    b.die()

    a.connect(b)
    stage.run(0.01)

    assert a.events == [Unreachable("b", "refused: nobody is at its address")]
    stage.run(10.0)
    assert len(a.events) == 1
    again = stage.open("b")
    assert stage.until(lambda: all_linked([a, again]), within=1.5)


def test_silent_address_is_told_too() -> None:
    """A black hole refuses nothing."""
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")
    stage.network.cut = {("at-a", "at-b"), ("at-b", "at-a")}

    a.connect(b)
    stage.run(1.5)

    assert a.events == [Unreachable("b", "does not answer")]


def test_peer_that_comes_back_is_linked_as_soon_as_it_says_hello() -> None:
    """However rarely it is asked by then."""
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")
    b.die()
    a.connect(b)
    stage.run(20.0)

    b = stage.open("b")

    assert stage.until(lambda: all_linked([a, b]), within=0.01)


def test_link_is_only_to_whom_it_should_be() -> None:
    """Somebody else at the address does not answer, and one who is not asked for is no substitute."""
    stage = Stage()
    a, x = stage.open("a"), stage.open("x")

    a.engine.connect({"b": x.place}, stage.now)
    a.pump()
    stage.run(2.0)

    assert a.links() == ["-b"]
    assert x.engine.counts.ignored[Ignored.NOT_OURS] > 0
    assert not x.links()


def test_link_that_is_not_wanted_any_more_is_closed() -> None:
    """But not one that the peer began."""
    stage = Stage()
    a, b, c = stage.open("a"), stage.open("b"), stage.open("c")
    a.connect(b)
    c.connect(a)
    stage.run(0.1)
    assert a.is_linked(b, c)

    a.connect()
    stage.run(0.1)

    assert a.links() == ["b", "c", "-b"]
    assert b.whys(a) == ["not wanted any more"]
    assert c.is_linked(a)


def test_peer_at_another_address_is_linked_there() -> None:
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")
    a.connect(b)
    stage.run(0.1)
    elsewhere = stage.open("b", place="elsewhere", incarnation=2)

    a.connect(elsewhere)
    stage.run(0.5)

    assert a.engine.links["b"].proven.address == "elsewhere"
    assert a.engine.links["b"].proven.identity.incarnation == 2


def test_namesake_of_a_node_that_lives_is_refused_and_told_why() -> None:
    stage, taken = Stage(), "another node named b is alive"
    a = stage.open("a", objection=lambda it: taken if it.incarnation == 2 else "")
    b = stage.open("b")
    b.connect(a)
    stage.run(0.3)
    second = stage.open("b", place="elsewhere", incarnation=2)

    second.connect(a)
    stage.run(1.0)

    assert a.links() == ["b"]
    assert a.engine.links["b"].proven.identity.incarnation == 1
    assert set(second.whys(a)) == {taken}
    assert a.engine.counts.ignored[Ignored.NAMESAKE] > 1


def test_new_life_takes_the_place_of_the_old_one() -> None:
    """Before its silence was noticed: the sink hears of a new link, as of a reconnection."""
    stage = Stage()
    a, b = stage.open_all("ab")
    stage.run(0.5)
    sent = stage.network.listen()
    stage.network.is_lost = lambda source, *_: source == "at-b"
    b.say("of the old life", a)
    stage.network.is_lost = None
    b.die()
    b = stage.open("b")
    b.connect(a)

    assert stage.until(lambda: all_linked([a, b]), within=0.1)
    assert a.links() == ["b", "b"]
    a.receive(sent[0][2], b.place, stage.now)
    assert a.heard() == []


@pytest.mark.slow
def test_new_life_gets_nothing_that_was_meant_for_the_old() -> None:
    """Neither what was on its way, nor what would be repaired, by unicast or multicast."""
    stage = Stage(faults=DatagramFaults(delay=(0.001, 0.02), duplication=0.5))
    a, b, c = stage.open_all("abc")
    stage.until(lambda: a.by_multicast(b, c))
    for life in range(5):
        for n in range(50):
            a.say(f"{life}.{n}", b)
            a.say(f"{life}.{n}", b, c, lane=Lane.ENTRIES)
        b.die()
        for _ in range(50):
            a.say("never", b)
            a.say("for c", b, c)
        b = stage.open("b")
        b.connect(a, c)
        stage.run(1.0)

        assert all_linked([a, b, c])
        assert a.by_multicast(b, c)
        assert b.heard() == []

    a.say("at last", b, c)
    stage.run(0.1)
    assert b.heard() == [b"at last"]


def test_lost_link_to_the_same_life_begins_anew_and_empty() -> None:
    """An end that dropped the link hears nothing of before, and both agree on the new one."""
    stage = Stage(faults=DatagramFaults(delay=(0.001, 0.01)))
    a, b = stage.open_all("ab")
    stage.run(0.1)
    for n in range(20):
        a.say(f"old {n}", b)
    stage.now += 0.0001
    b.engine.drop("a", "malformed", stage.now)
    b.pump()
    before = len(b.heard())
    stage.run(0.5)

    assert all_linked([a, b])
    assert len(b.heard()) == before
    assert b.links() == ["a", "-a", "a"] == [it.replace("b", "a") for it in a.links()]
    assert a.whys(b) == ["malformed"]


def test_what_was_held_up_on_the_last_link_is_not_heard_on_the_next() -> None:
    """Between the same lives: each link has streams of its own."""
    stage = Stage()
    a, b = stage.open_all("ab")
    stage.run(0.1)
    sent = stage.network.listen()
    stage.network.is_lost = lambda source, to, data: source == a.place
    for n in range(5):
        a.say(f"{n}", b)
    stage.network.is_lost = None
    held = [data for source, to, data in sent if (source, to) == (a.place, b.place)]
    a.engine.drop("b", "a test", stage.now)
    a.pump()
    assert stage.until(lambda: all_linked([a, b]) and b.links() == ["a", "-a", "a"])

    for data in held:
        b.receive(data, a.place, stage.now)
    a.say("new", b)
    stage.run(0.5)

    assert b.heard() == [b"new"]


def test_link_that_stands_at_one_end_only_begins_anew_at_once() -> None:
    """Who uses it is told that there is no such link: nobody waits for a second of silence."""
    stage = Stage()
    a, b = stage.open_all("ab")
    stage.run(0.5)
    b.engine.drop("a", "a test", stage.now)
    b.engine.take_outputs()  # the goodbye is lost
    b.engine.connect({}, stage.now)

    assert stage.until(lambda: a.links() == ["b", "-b", "b"], within=0.35)
    assert a.whys(b) == ["no such link"]
    stage.run(0.01)
    assert all_linked([a, b])


def test_only_the_last_questions_may_be_answered() -> None:
    """An answer to the OPEN before those was held up for as long as an attacker liked."""
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")
    held: list[bytes] = []

    def hold(source: Place, to: Place | Everybody, data: bytes) -> bool:
        if (source, to) == (b.place, a.place):
            held.append(data)
        return source == b.place

    stage.network.is_lost = hold
    a.connect(b)
    stage.until(lambda: len(held) == 5)
    del held[0]  # a hello
    assert a.links() == []

    for data in held[:2]:
        a.receive(data, b.place, stage.now)
    assert not a.is_linked(b)
    assert a.engine.counts.ignored[Ignored.UNPROVEN] == 2
    a.receive(held[2], b.place, stage.now)
    assert a.is_linked(b)


def test_open_that_arrives_late_is_answered_by_the_link_that_stands() -> None:
    """Whoever did not get the first answer learns the same numbers from the next."""
    stage = Stage()
    a, b = stage.open_all("ab")
    stage.run(0.1)
    link = b.engine.links["a"]
    again = Open(
        card=Card(identity=b.engine.identity, settings=bytes(8)),
        wanted="a",
        link=link.way.number,
        nonce=bytes(16),
    )
    sent = stage.network.listen()

    a.receive(b.engine._outlet.sealer.control.seal(*encode_control(again)), b.place, stage.now)

    answer = b.engine._opener.open(sent[0][2])
    assert isinstance(answer, Datagram)
    body = decode_control(answer.kind, answer.body)
    assert isinstance(body, Accept)
    assert (body.ends.mine, body.ends.yours) == (link.proven.theirs, link.way.number)
    stage.run(0.5)
    assert (a.links(), b.links()) == (["b"], ["a"])


def test_link_that_the_peer_began_stays_when_it_is_not_wanted_here() -> None:
    """It is the peer's, who wants it."""
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")
    b.connect(a)
    stage.run(0.1)
    a.connect(b)

    a.connect()
    stage.run(0.5)

    assert a.links() == ["b"]


def test_dropped_again_and_again_is_tried_ever_less_often() -> None:
    """A peer that says what can't be understood costs little."""
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")
    a.connect(b)
    dropped = 0
    end = stage.now + 10
    while stage.until(lambda: a.is_linked(b), within=end - stage.now):
        a.engine.drop("b", "malformed", stage.now)
        a.pump()
        dropped += 1

    assert 10 < dropped < 30


def test_linked_tells_who_it_is() -> None:
    stage = Stage()
    a, b = stage.open("a"), stage.open("b", incarnation=77)

    a.connect(b)
    stage.run(0.01)

    assert a.events == [Linked("b", b.engine.identity)]
    assert b.engine.identity.incarnation == 77


@pytest.mark.slow
def test_same_seed_gives_the_same_run() -> None:
    """Byte for byte."""

    def story() -> list[Sent]:
        stage = Stage(7, DatagramFaults(loss=0.2, duplication=0.1, delay=(0.0001, 0.01)))
        record = stage.network.listen()
        a, b, c = stage.open_all("abc")
        for n in range(50):
            a.say(f"{n}", b, c)
            stage.run(0.01)
        return record

    assert story() == story()
