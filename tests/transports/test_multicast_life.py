"""How the multicast transport learns that a peer is gone, and that it is not."""

from __future__ import annotations

import random

import pytest

from raftkit.testing.datagrams import EVERYBODY, DatagramFaults, Place
from raftkit.transports.multicast.outlet import Ignored
from tests.transports.multicast_parts import Post, Stage, all_linked


def linked(names: str = "ab", stage: Stage | None = None) -> tuple[Stage, list[Post]]:
    stage = stage or Stage()
    posts = stage.open_all(names)
    assert stage.until(lambda: all_linked(posts))
    stage.run(0.5)
    return stage, posts


def apart(*posts: Post) -> set[tuple[Place, Place]]:
    return {(a.place, b.place) for a in posts for b in posts if a is not b}


def test_closed_endpoint_says_goodbye() -> None:
    """Peers know within the time that a datagram takes."""
    stage, (a, b) = linked()

    b.close()

    assert stage.until(lambda: a.links() == ["b", "-b"], within=0.001)
    assert a.whys(b) == ["closed the endpoint"]


def test_goodbye_gets_through_though_most_is_lost() -> None:
    stage, (a, b) = linked()
    left = [2]

    def is_lost(source: object, *_: object) -> bool:
        left[0] -= source == b.place
        return left[0] >= 0 and source == b.place

    stage.network.is_lost = is_lost
    b.close()

    assert stage.until(lambda: a.whys(b) == ["closed the endpoint"], within=0.001)


def test_killed_peer_is_missed_at_once() -> None:
    """The first datagram to it comes back refused, and it answers no PING: 20 ms."""
    stage, (a, b) = linked()
    b.die()
    a.say("anything", b)

    assert stage.until(lambda: a.links() == ["b", "-b"], within=0.03)
    assert a.whys(b) == ["refused: nobody is at its address any more"]


def test_killed_leader_is_missed_soon_after_its_last_message() -> None:
    """A follower has nothing to say to it, but asks when the next heartbeat does not come."""
    stage, (a, b, c) = linked("abc")
    for n in range(20):
        a.say(f"beat {n}", b, c)
        stage.run(0.05)
    a.say("the last", b, c)
    a.die()
    died_at = stage.now

    assert stage.until(lambda: bool(b.whys(a)) and bool(c.whys(a)), within=0.1)
    assert stage.now - died_at > 0.075
    assert b.whys(a) == ["refused: nobody is at its address any more"]


def test_refusal_that_is_not_true_costs_nothing() -> None:
    """Anybody can forge one. The peer answers, and the link stands."""
    stage, (a, b) = linked()

    for _ in range(50):
        a.refused(b.place, stage.now)
        stage.run(0.01)
    stage.run(1.0)

    assert a.links() == ["b"]


def test_hello_of_another_life_casts_doubt_on_the_one_that_is_linked() -> None:
    """It may be a lie, so the linked one is asked; if it is silent, it is not waited for."""
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")
    a.connect(b)
    stage.run(0.5)
    stage.open("b", place="elsewhere", incarnation=2)
    stage.run(0.5)
    assert a.links() == ["b"]

    b.die()
    stage.network.cut = {("at-a", "at-b")}  # so that nothing is refused
    stage.open("b", place="elsewhere too", incarnation=3)

    assert stage.until(lambda: a.links() == ["b", "-b"], within=0.03)


def test_silent_peer_is_missed_after_a_second() -> None:
    stage, (a, b) = linked()
    stage.network.cut = apart(a, b)
    cut_at = stage.now

    assert stage.until(lambda: bool(a.whys(b)) and bool(b.whys(a)))
    assert 0.7 < stage.now - cut_at < 1.05
    assert a.whys(b) == ["silent for 1 s"]
    stage.network.cut = set()
    assert stage.until(lambda: all_linked([a, b]), within=1.5)


def test_link_that_works_one_way_only_ends_at_both_ends() -> None:
    """Who hears nothing says so, and who is not heard believes it."""
    stage, (a, b) = linked()
    stage.network.cut = {(b.place, a.place)}

    assert stage.until(lambda: not a.is_linked(b) and not b.is_linked(a), within=1.1)
    assert b.whys(a) == ["silent for 1 s"]
    stage.run(5.0)
    assert not a.is_linked(b)
    assert not b.is_linked(a)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_links_stand_under_heavy_loss(seed: int) -> None:
    """A fifth of everything, both ways, for a minute."""
    stage = Stage(seed)
    stage, posts = linked("abc", stage)
    stage.network.faults = DatagramFaults(loss=0.2, duplication=0.1, delay=(0.0001, 0.02))
    stage.run(60.0)

    assert [len(it.links()) for it in posts] == [2, 2, 2]


def test_words_that_come_ever_later_prove_nothing() -> None:
    """Who delays everything a little more each time can't keep a dead peer alive for long."""
    stage, (a, b) = linked()
    began_at = stage.now
    late: list[tuple[float, bytes]] = []

    def stretch(source: object, to: object, data: bytes) -> bool:
        if source != b.place or to != a.place:
            return False
        late.append((began_at + 2 * (stage.now - began_at), data))
        return True

    stage.network.is_lost = stretch
    while a.is_linked(b) and stage.now < began_at + 20:
        stage.run(0.01)
        while late and late[0][0] <= stage.now:
            a.receive(late.pop(0)[1], b.place, stage.now)

    assert stage.now - began_at == pytest.approx(6, abs=0.5)
    assert a.whys(b) == ["answered nothing for 3 s"]


def test_recorded_words_of_the_same_link_are_heard_once() -> None:
    """Everything that b ever said, said again at random: it does not keep b alive."""
    stage, (a, b) = linked()
    record = stage.network.listen()
    b.say("once", a)
    stage.run(3.0)
    b.die()
    stage.network.cut = {(a.place, b.place)}  # nothing refuses either
    died_at = stage.now
    words = [
        data for source, to, data in record if source == b.place and to in (a.place, EVERYBODY)
    ]
    rng = random.Random(1)
    while a.is_linked(b) and stage.now < died_at + 5:
        a.receive(rng.choice(words), b.place, stage.now)
        stage.run(0.001)

    assert stage.now - died_at < 1.05
    assert a.heard() == [b"once"]


def test_words_from_before_the_link_are_not_heard_on_it() -> None:
    """Hellos of the same life, each said once more: they do not keep b alive."""
    stage = Stage()
    a, b = stage.open("a"), stage.open("b")
    sent = stage.network.listen()
    stage.run(50.0)
    hellos = [data for source, _, data in sent if source == b.place]
    assert len(hellos) >= 50
    a.connect(b)
    stage.run(0.5)
    b.die()
    stage.network.cut = {(a.place, b.place)}
    died_at = stage.now
    while a.is_linked(b) and stage.now < died_at + 5:
        a.receive(hellos.pop(), b.place, stage.now)
        stage.run(0.1)

    assert stage.now - died_at < 1.15
    assert a.engine.counts.ignored[Ignored.REPLAYED] >= 7


def test_sleeper_has_no_links_when_it_wakes() -> None:
    """What has waited for it in its socket was of links that its peers have closed."""
    stage, (a, b, c) = linked("abc")
    stage.until(lambda: b.by_multicast(a, c))
    a.sleep()
    for n in range(30):
        b.say(f"{n}", a, c)
        stage.run(0.1)
    assert a.inbox
    a.awake()
    stage.run(0.5)

    assert a.heard() == []
    assert all_linked([a, b, c])


@pytest.mark.slow
def test_idle_links_cost_little() -> None:
    """A few datagrams a second and link."""
    stage, _ = linked("abcde")
    before = stage.network.sent
    stage.run(10.0)

    links = 5 * 4
    assert (stage.network.sent - before) / 10 < 5 * links + 10


def test_rtt_is_known() -> None:
    stage = Stage(faults=DatagramFaults(delay=(0.002, 0.002)))
    stage, (a, _) = linked(stage=stage)
    stage.run(1.0)

    assert a.engine.links["b"].pulse.rtt == pytest.approx(0.004, abs=0.0015)
