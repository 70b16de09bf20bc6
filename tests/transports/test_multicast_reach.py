"""Who hears whose multicasts, and what happens to those who do not."""

from __future__ import annotations

import attrs
import pytest

from raftkit.testing.datagrams import EVERYBODY, DatagramFaults, Everybody, Place
from raftkit.transports.multicast.outlet import FellBack, Returned
from raftkit.transports.multicast.reach import Bits, Reach, Recent
from raftkit.wire import Datagram, DatagramKind, Opener, cluster_tag
from raftkit.wire.control import Ends, Positions, Status
from tests.transports.multicast_parts import KEYS, Post, Stage, all_linked

HERE = Positions(control=7, data=8)
HEARS = Status(
    ends=Ends(to=1, mine=3, yours=3),
    stamp=1,
    echo=0,
    held_us=0,
    silence_ms=10,
    overruns=0,
    invitation=0,
    bit=0,
    since=HERE,
    accepted=0,
    group=HERE,
    link=HERE,
)
"What a peer says that hears us."


def together(names: str = "abc") -> tuple[Stage, list[Post]]:
    stage = Stage()
    posts = stage.open_all(names)
    assert stage.until(lambda: all_by_multicast(posts))
    stage.run(0.5)
    return stage, posts


def all_by_multicast(posts: list[Post]) -> bool:
    return all(a.by_multicast(*(b for b in posts if b is not a)) for a in posts)


def deaf_to(stage: Stage, source: Post, *to: Post) -> None:
    """They hear no multicast of `source` any more."""
    stage.network.deaf |= {(source.place, it.place) for it in to}


def beats(stage: Stage, source: Post, *to: Post, seconds: float) -> list[bytes]:
    """What a leader says every 50 ms."""
    said = []
    for n in range(round(seconds / 0.05)):
        said.append(b"%d at %.3f" % (n, stage.now))
        source.say(said[-1], *to)
        stage.run(0.05)
    return said


def test_all_hear_multicasts_as_soon_as_they_are_linked() -> None:
    stage = Stage()
    posts = stage.open_all("abcde")

    assert stage.until(lambda: all_by_multicast(posts), within=0.05)


def test_peer_that_hears_no_multicast_gets_everything_by_unicast() -> None:
    """Soon after its switch forgets it, and nothing is lost meanwhile: the gaps are mended."""
    stage, (a, b, c) = together()
    deaf_to(stage, a, c)

    said = beats(stage, a, b, c, seconds=3.0)

    assert c.heard() == b.heard() == said
    assert FellBack("c") in a.events
    assert not a.by_multicast(c)
    assert a.by_multicast(b)
    assert a.engine.counts.fallbacks == 1
    record = stage.network.listen()
    a.say("now", b, c)
    assert {to for _, to, _ in record} == {b.place, c.place}


def test_peer_that_fell_back_does_not_ask_for_what_is_not_for_it() -> None:
    """Others go on being served by multicast, and their gaps are none of its own."""
    stage, (a, b, c, d) = together("abcd")
    deaf_to(stage, a, c)
    beats(stage, a, b, c, d, seconds=1.5)
    assert FellBack("c") in a.events
    before = c.engine.counts.nacks_out

    beats(stage, a, b, d, seconds=2.0)

    assert c.engine.counts.nacks_out == before


def test_fallback_takes_less_than_a_second_while_something_is_said() -> None:
    """And waits for no hello."""
    stage, (a, b, c) = together()
    deaf_to(stage, a, c)
    fell_at = stage.now

    while FellBack("c") not in a.events and stage.now < fell_at + 5:
        beats(stage, a, b, c, seconds=0.05)

    assert stage.now - fell_at < 1.0


def test_silent_group_falls_back_after_some_hellos() -> None:
    stage, (a, _, c) = together()
    deaf_to(stage, a, c)
    stage.run(8.0)

    assert FellBack("c") in a.events


@pytest.mark.slow
def test_peer_that_hears_again_is_served_by_multicast_again() -> None:
    """Without a word lost, and not at the first hello that gets through."""
    stage, (a, b, c) = together()
    deaf_to(stage, a, c)
    said = beats(stage, a, b, c, seconds=1.5)
    stage.network.deaf = set()

    said += beats(stage, a, b, c, seconds=1.0)
    assert not a.by_multicast(c)
    said += beats(stage, a, b, c, seconds=5.0)

    assert a.by_multicast(b, c)
    assert [it for it in a.events if isinstance(it, FellBack | Returned)] == [
        FellBack("c"),
        Returned("c"),
    ]
    assert c.heard() == b.heard() == said


def test_status_that_was_overtaken_changes_nothing() -> None:
    """It tells of a time before the invitation; to follow it would be to hear everything twice."""
    stage = Stage()
    held: list[bytes] = []

    def hold(source: Place, to: Place | Everybody, data: bytes) -> bool:
        if (source, to) != ("at-b", "at-a") or not is_status(data) or held:
            return False
        held.append(data)
        return True

    def is_status(data: bytes) -> bool:
        opened = Opener(cluster=cluster_tag("ours"), keys=KEYS, own=0).open(data)
        return isinstance(opened, Datagram) and opened.kind is DatagramKind.STATUS

    stage.network.is_lost = hold
    posts = stage.open_all("abc")
    assert stage.until(lambda: all_by_multicast(posts))
    a, b, c = posts
    said = beats(stage, b, a, c, seconds=0.3)

    a.receive(held[0], b.place, stage.now)
    said += beats(stage, b, a, c, seconds=0.5)

    assert a.heard() == said


def test_each_direction_is_judged_by_itself() -> None:
    stage, (a, b, c) = together()
    deaf_to(stage, a, b, c)
    stage.run(8.0)

    assert not a.by_multicast(b)
    assert not a.by_multicast(c)
    assert b.by_multicast(a, c)
    assert c.by_multicast(a, b)
    a.say("one by one", b, c)
    b.say("at once", a, c)
    stage.run(0.1)
    assert c.heard() == [b"one by one", b"at once"]


@pytest.mark.slow
def test_link_without_any_multicast_stands_and_serves() -> None:
    """As in most clouds, from the first moment on."""
    stage = Stage()
    stage.network.is_lost = lambda *_: False
    posts = [stage.open(name) for name in "abc"]
    stage.network.deaf = {(x.place, y.place) for x in posts for y in posts}
    for post in posts:
        post.connect(*(it for it in posts if it is not post))
    stage.until(lambda: all_linked(posts), within=1.0)
    a, b, c = posts

    said = beats(stage, a, b, c, seconds=5.0)

    assert b.heard() == c.heard() == said
    assert a.engine.counts.fallbacks == 0


@pytest.mark.slow
def test_loss_alone_is_no_reason_to_fall_back() -> None:
    """A fifth of all datagrams: what is missed is mended."""
    stage, (a, b, c) = together()
    stage.network.faults = DatagramFaults(loss=0.2)

    beats(stage, a, b, c, seconds=30.0)

    assert a.engine.counts.fallbacks == 0
    assert a.by_multicast(b, c)


@pytest.mark.slow
def test_a_burst_of_multicasts_on_its_way_is_no_silence() -> None:
    """A STATUS that was sent before it arrived says nothing about it."""
    stage, (a, b, c) = together()
    stage.network.faults = DatagramFaults(delay=(0.05, 0.05))
    for _ in range(200):
        for _ in range(10):
            a.say("quick", b, c)
        stage.run(0.005)

    assert a.engine.counts.fallbacks == 0


def test_bit_means_nobody_else_until_its_last_peer_has_surely_gone() -> None:
    bits = Bits(rest_seconds=5.0)
    taken = [bits.take(0.0) for _ in range(64)]
    assert set(taken) == set(range(64))
    assert bits.take(0.0) is None

    bits.give_back(7, now=1.0)

    assert bits.take(5.9) is None
    assert bits.take(6.0) == 7


def test_bits_of_lost_links_are_used_again() -> None:
    """After they have rested: a peer that comes and goes does not use them up."""
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")
    b.connect(a)
    for _ in range(70):
        stage.run(1.1)
        a.engine.drop("b", "a test", stage.now)
        a.pump()
    stage.run(1.1)

    assert a.engine.links["b"].reach.bit is not None


def test_peer_is_served_by_multicast_only_once_it_has_answered() -> None:
    """Before, it does not know from where on it is meant."""
    reach, recent = Reach(bits=Bits(rest_seconds=5.0), hello_seconds=1.0), Recent()

    reach.on_status(HEARS, 1.0, HERE, recent, 1.0)
    assert (reach.invitation, reach.since, reach.by_multicast) == (1, HERE, False)
    reach.on_status(HEARS, 1.1, HERE, recent, 1.1)
    assert not reach.by_multicast
    reach.on_status(attrs.evolve(HEARS, accepted=1), 1.2, HERE, recent, 1.2)

    assert reach.by_multicast


def test_peer_is_invited_as_soon_as_there_is_a_bit_for_it() -> None:
    """Another has gone, and its bit has rested."""
    bits = Bits(rest_seconds=5.0)
    reach, recent = Reach(bits=bits, hello_seconds=1.0), Recent()
    taken = [bits.take(0.0) for _ in range(64)]
    reach.on_status(HEARS, 1.0, HERE, recent, 1.0)
    assert (reach.invitation, reach.bit) == (0, None)

    bits.give_back(taken[9] or 0, 2.0)
    reach.on_status(HEARS, 6.9, HERE, recent, 6.9)
    assert reach.invitation == 0
    reach.on_status(HEARS, 7.0, HERE, recent, 7.0)

    assert (reach.invitation, reach.bit) == (1, taken[9])


@pytest.mark.slow
def test_peers_beyond_the_bits_are_served_by_unicast() -> None:
    """The 65th peer and those after it."""
    stage = Stage()
    hub = stage.open("hub")
    spokes = [stage.open(f"s{n:02}") for n in range(66)]
    for spoke in spokes:
        spoke.connect(hub)
    stage.run(0.2)
    assert hub.is_linked(*spokes)
    assert sum(hub.by_multicast(it) for it in spokes) == 64

    record = stage.network.listen()
    hub.say("all", *spokes)
    assert len(record) == 3
    assert sum(to is EVERYBODY for _, to, _ in record) == 1
    stage.run(0.1)
    assert all(it.heard() == [b"all"] for it in spokes)


def test_peer_whose_bit_is_forgotten_hears_nothing_of_the_next() -> None:
    """It has not noticed yet that the link is closed, and the bit rests as long as that may take."""
    stage, (a, b, c) = together()
    a.engine.drop("c", "a test", stage.now)
    a.engine.take_outputs()  # the goodbye is lost
    bit = a.engine.links["b"].reach.bit
    assert bit is not None

    a.say("for b", b, "c")
    stage.network.cut = {(c.place, a.place)}
    stage.run(0.3)

    assert c.heard() == []


@pytest.mark.parametrize("count", [8, 9])
def test_hellos_reach_everybody(count: int) -> None:
    """Whoever has a key of the cluster is discovered, linked or not, with where it says that it is."""
    stage = Stage()
    a, *others = [stage.open(f"n{it}") for it in range(count)]
    a.connect(others[0])
    stage.run(3.0)

    found = a.engine.discovered(stage.now)
    assert [it.identity.id for it in found] == [it.name for it in others]
    assert [it.is_linked for it in found] == [True] + [False] * (count - 2)
    assert found[0].address == "n1.example:7400"
    assert found[0].source == "at-n1"
    assert all(0 <= it.seconds_ago <= 1.0 for it in found)
    assert a.links() == ["n1"]


def test_who_left_is_forgotten_after_a_minute() -> None:
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")
    stage.run(3.0)
    b.close()
    stage.run(30.0)
    assert [it.identity.id for it in a.engine.discovered(stage.now)] == ["b"]

    stage.run(31.0)

    assert a.engine.discovered(stage.now) == ()
