"""Any schedule of faults, then calm: what the multicast transport promises, searched by Hypothesis."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from raftkit.testing.datagrams import DatagramFaults, Sent
from raftkit.transports.multicast.outlet import Linked, Received, Unreachable
from raftkit.wire import Lane
from tests.transports.multicast_parts import Post, Stage, all_linked

NAMES = "abc"
PAIRS = [(x, y) for x in NAMES for y in NAMES if x != y]


@attrs.define(eq=False)
class Story:
    """Three nodes, what each life of them was sent, and what is done to them."""

    stage: Stage
    posts: dict[str, Post] = attrs.field(factory=dict[str, Post])
    said: int = 0
    sent: dict[bytes, tuple[str, tuple[int, ...]]] = attrs.field(
        factory=dict[bytes, tuple[str, tuple[int, ...]]]
    )
    "By frame: who said it, and the starts that it may reach."
    lives: list[Post] = attrs.field(factory=list[Post])

    def open(self, name: str) -> None:
        self.posts[name] = post = self.stage.open(name)
        self.lives.append(post)
        self.connect()

    def connect(self) -> None:
        for post in self.posts.values():
            others = {it: f"at-{it}" for it in NAMES if it != post.name}
            post.engine.connect(others, self.stage.now)
            post.pump()

    def say(self, name: str, targets: tuple[str, ...], lane: Lane, size: int) -> None:
        post = self.posts[name]
        self.said += 1
        frame = b"%d;" % self.said + bytes(size)
        links = [post.engine.links[it] for it in targets if it in post.engine.links]
        self.sent[frame] = name, tuple(it.proven.start for it in links)
        post.say(frame, *targets, lane=lane)

    def check(self) -> None:
        """The laws of a LossyEndpoint, over all that any life ever heard."""
        for post in self.lives:
            self._check(post)

    def _check(self, post: Post) -> None:
        linked: set[str] = set()
        heard: set[bytes] = set()
        for event in post.events:
            match event:
                case Linked(peer, _):
                    linked.add(peer)
                case Unreachable(peer, _):
                    linked.discard(peer)
                case Received(peer, frame):
                    sender, starts = self.sent[frame]
                    assert peer == sender
                    assert peer in linked, "after its link"
                    assert post.engine.start in starts, "meant for another life, or for nobody here"
                    assert frame not in heard, "twice"
                    heard.add(frame)
                case _:
                    pass


STEPS = st.one_of(
    st.tuples(
        st.just("say"),
        st.sampled_from(NAMES),
        st.sets(st.sampled_from(NAMES), min_size=1),
        st.sampled_from(Lane),
        st.sampled_from([0, 0, 0, 5_000, 70_000]),
    ),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 0.01, 0.1, 1.5])),
    st.tuples(st.just("cut"), st.sampled_from(PAIRS)),
    st.tuples(st.just("deafen"), st.sampled_from(PAIRS)),
    st.tuples(st.just("mend")),
    st.tuples(st.just("kill"), st.sampled_from(NAMES)),
    st.tuples(st.just("close"), st.sampled_from(NAMES)),
    st.tuples(st.just("drop"), st.sampled_from(PAIRS)),
    st.tuples(st.just("refuse"), st.sampled_from(PAIRS)),
    st.tuples(st.just("sleep"), st.sampled_from(NAMES), st.sampled_from([0.1, 2.0])),
)
FAULTS = st.builds(
    DatagramFaults,
    loss=st.sampled_from([0.0, 0.05, 0.3]),
    bursts=st.sampled_from([0.0, 0.01]),
    duplication=st.sampled_from([0.0, 0.2]),
    delay=st.sampled_from([(0.0001, 0.0001), (0.0001, 0.01), (0.0, 0.2)]),
    straggle=st.sampled_from([0.0, 0.02]),
)


def take(story: Story, step: tuple[object, ...]) -> None:
    stage, posts = story.stage, story.posts
    match step:
        case ("say", str(name), set() as targets, Lane() as lane, int(size)):
            story.say(name, tuple(sorted(targets - {name})), lane, size)
        case ("wait", float(seconds)):
            stage.run(seconds)
        case ("cut", (str(a), str(b))):
            stage.network.cut.add((f"at-{a}", f"at-{b}"))
        case ("deafen", (str(a), str(b))):
            stage.network.deaf.add((f"at-{a}", f"at-{b}"))
        case ("mend",):
            stage.network.cut.clear()
            stage.network.deaf.clear()
        case ("kill", str(name)):
            posts[name].die()
            story.open(name)
        case ("close", str(name)):
            posts[name].close()
            story.open(name)
        case ("drop", (str(a), str(b))):
            posts[a].engine.drop(b, "a test", stage.now)
            posts[a].pump()
        case ("refuse", (str(a), str(b))):
            posts[a].refused(f"at-{b}", stage.now)
        case ("sleep", str(name), float(seconds)):
            posts[name].sleep()
            stage.run(seconds)
            posts[name].awake()
        case _:
            raise AssertionError(step)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1000), FAULTS, st.lists(STEPS, max_size=25))
def test_after_any_faults_all_links_stand_and_messages_arrive(
    seed: int, faults: DatagramFaults, steps: list[tuple[object, ...]]
) -> None:
    """And throughout nothing is heard twice, by another life, outside of its link, or by others."""
    story = Story(Stage(seed, faults))
    for name in NAMES:
        story.open(name)
    for step in steps:
        take(story, step)

    calm(story)
    story.check()


def calm(story: Story) -> None:
    """Nothing is done to them any more: within seconds all is as it should be."""
    stage, posts = story.stage, list(story.posts.values())
    take(story, ("mend",))
    stage.network.faults = DatagramFaults()
    stage.run(10.0)  # stragglers, too, have arrived
    assert all_linked(posts)
    assert all(a.by_multicast(b) for a in posts for b in posts if a is not b)
    standing = [len(it.links()) for it in posts]

    for lane in Lane:
        for post in posts:
            others = [it for it in posts if it is not post]
            due = sum(len(it.heard()) + 1 for it in others)
            story.say(post.name, tuple(it.name for it in others), lane, 3_000)
            stage.run(0.1)
            assert sum(len(it.heard()) for it in others) == due
    assert [len(it.links()) for it in posts] == standing


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1000), FAULTS, st.lists(STEPS, max_size=10))
def test_the_same_faults_give_the_same_story(
    seed: int, faults: DatagramFaults, steps: list[tuple[object, ...]]
) -> None:
    """Datagram by datagram."""

    def record() -> list[Sent]:
        story = Story(Stage(seed, faults))
        sent = story.stage.network.listen()
        for name in NAMES:
            story.open(name)
        for step in steps:
            take(story, step)
        return sent

    assert record() == record()
