"""Engines of multicast endpoints on a simulated network, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from raftkit.model import Identity
from raftkit.testing.datagrams import EVERYBODY, DatagramFaults, DatagramNetwork, Place
from raftkit.transports.multicast.engine import Engine, EngineSettings
from raftkit.transports.multicast.outlet import (
    GROUP,
    Event,
    Linked,
    Received,
    Unreachable,
)
from raftkit.wire import ClusterKeys, Lane, cluster_tag

KEYS = ClusterKeys(ring={1: bytes(range(32))}, sealing=1)


@attrs.define(eq=False)
class Post:
    """An engine, and all that it told."""

    stage: Stage
    place: Place
    engine: Engine
    events: list[Event] = attrs.field(factory=list[Event])
    inbox: list[tuple[bytes, Place]] | None = None
    "What has arrived while it sleeps; None while it is awake."

    @property
    def name(self) -> str:
        return self.engine.identity.id

    def receive(self, data: bytes, source: Place, now: float) -> None:
        """See `Joined`."""
        if self.inbox is not None:
            self.inbox.append((data, source))
            return
        self.engine.receive(data, source, now)
        self.pump()

    def refused(self, place: Place, now: float) -> None:
        """See `Joined`."""
        if self.inbox is None:
            self.engine.refused(place, now)
            self.pump()

    def sleep(self) -> None:
        """As a process that is stopped: its socket goes on to fill."""
        self.inbox = []

    def awake(self) -> None:
        """Read all that has waited."""
        inbox, self.inbox = self.inbox or [], None
        for data, source in inbox:
            self.receive(data, source, self.stage.now)

    def pump(self) -> None:
        """Write and note what the engine put out."""
        for output in self.engine.take_outputs():
            to = EVERYBODY if output.to is GROUP else output.to
            for datagram in output.datagrams:
                self.stage.network.send(self.place, to, datagram, self.stage.now)
            if output.stream:
                self.engine.sent(output, self.stage.now)
        self.events += self.engine.take_events()

    def connect(self, *others: Post) -> None:
        self.engine.connect({it.name: it.place for it in others}, self.stage.now)
        self.pump()

    def say(self, what: str | bytes, *others: Post | str, lane: Lane = Lane.CONTROL) -> None:
        names = [it if isinstance(it, str) else it.name for it in others]
        frame = what.encode() if isinstance(what, str) else what
        self.engine.send(names, lane, frame, self.stage.now)
        self.pump()

    def heard(self, sender: Post | None = None) -> list[bytes]:
        """Frames received, from `sender` only if given."""
        return [
            it.frame
            for it in self.events
            if isinstance(it, Received) and (sender is None or it.peer == sender.name)
        ]

    def links(self) -> list[str]:
        """In the order of time: a peer's name when it was linked, "-name" when it was lost."""
        return [
            it.peer if isinstance(it, Linked) else f"-{it.peer}"
            for it in self.events
            if isinstance(it, Linked | Unreachable)
        ]

    def whys(self, peer: Post) -> list[str]:
        return [
            it.why for it in self.events if isinstance(it, Unreachable) and it.peer == peer.name
        ]

    def is_linked(self, *others: Post) -> bool:
        return all(it.name in self.engine.links for it in others)

    def by_multicast(self, *others: Post) -> bool:
        links = self.engine.links
        return all(it.name in links and links[it.name].reach.by_multicast for it in others)

    def die(self) -> None:
        """As a process that is killed."""
        self.stage.network.leave(self.place)
        self.stage.posts.remove(self)

    def close(self) -> None:
        """As a process that ends."""
        self.engine.close(self.stage.now)
        self.pump()
        self.die()


@attrs.define(eq=False)
class Stage:
    """Posts and their network."""

    seed: int = 1
    faults: DatagramFaults = attrs.field(factory=DatagramFaults)
    settings: EngineSettings = attrs.field(factory=EngineSettings)
    now: float = 100.0
    posts: list[Post] = attrs.field(init=False, factory=list[Post])
    network: DatagramNetwork = attrs.field(init=False)
    rng: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.network = DatagramNetwork(random.Random(self.rng.random()), self.faults)

    def open(
        self, name: str, *, place: Place | None = None, incarnation: int = 1, **choices: Any
    ) -> Post:
        """Another life of `name`, at its place if no other is given."""
        place = place or f"at-{name}"
        choices = {
            "cluster": cluster_tag("ours"),
            "keys": KEYS,
            "settings": self.settings,
            "address": f"{name}.example:7400",
            **choices,
        }
        engine = Engine(
            identity=Identity(id=name, incarnation=incarnation),
            start=self.rng.getrandbits(64),
            rng=random.Random(self.rng.random()),
            **choices,
        )
        post = Post(self, place, engine)
        self.network.join(place, post)
        self.posts.append(post)
        return post

    def open_all(self, names: Iterable[str]) -> list[Post]:
        """All connected to each other."""
        posts = [self.open(name) for name in names]
        for post in posts:
            post.connect(*(it for it in posts if it is not post))
        return posts

    def run(self, seconds: float) -> None:
        """Let so much time go by."""
        self.until(lambda: False, within=seconds)

    def until(self, happened: Callable[[], bool], *, within: float = 5.0) -> bool:
        """Let time go by until something has happened, or for so long. Whether it has."""
        end = self.now + within
        steps = 0
        while not happened():
            awake = [it for it in self.posts if it.inbox is None]
            due = min([self.network.next_at, *(it.engine.deadline for it in awake)])
            if due > end:
                self.now = end
                return happened()
            steps += 1
            assert steps < 2_000_000
            self.now = max(self.now, due)
            self.network.deliver(self.now)
            for post in awake:
                if post in self.posts and post.engine.deadline <= self.now:
                    post.engine.wake(self.now)
                    post.pump()
        return True


def all_linked(posts: Iterable[Post]) -> bool:
    """Whether each has a link to all others, with the right ends."""
    posts = list(posts)
    return all(
        a.is_linked(b)
        and a.engine.links[b.name].proven.start == b.engine.start
        and b.is_linked(a)
        and a.engine.links[b.name].ends.mine == b.engine.links[a.name].ends.yours
        for a in posts
        for b in posts
        if a is not b
    )
