"""Who is busy holds back who sends, and loses nothing; who stays away does so once, for a stated time."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import pytest

from raftkit.testing.datagrams import Place
from raftkit.transports.multicast.engine import EngineSettings
from raftkit.transports.multicast.outlet import Counts
from raftkit.transports.multicast.window import (
    PATIENCE_SECONDS,
    TOLD_PART,
    WINDOW_MIN,
    Window,
    window_of,
)
from raftkit.wire import HEAD_BYTES, DatagramKind, Lane
from tests.transports.multicast_parts import Post, Stage
from tests.transports.test_multicast_repair import together

SIZE = 80
"Of the window in all of these tests, in datagrams."
ROOM = 160
"Datagrams that wait for a process that is busy: what comes then is lost."
FRAME_BYTES, PAUSE_SECONDS = 10_000, 0.000_5
"9 datagrams, and how often: 20 MB in a second."


@attrs.define(eq=False, repr=False)
class Flood:
    """Somebody who sends as fast as it may, as an endpoint does, and whose receivers have bounded sockets."""

    stage: Stage
    sender: Post
    others: list[Post]
    overrun: int = 0
    "Datagrams for which a receiver had no room."
    sent_at: list[float] = attrs.field(factory=list[float])
    "When each frame went."

    def __attrs_post_init__(self) -> None:
        self.stage.network.is_lost = self._is_lost

    def _is_lost(self, _: Place, place: object, __: bytes) -> bool:
        post = next(it for it in self.stage.posts if it.place == place)
        full = post.inbox is not None and len(post.inbox) >= ROOM
        self.overrun += full
        return full

    def run(self, frames: int, asleep: dict[int, tuple[Post, float]] | None = None) -> list[bytes]:
        """Send so many frames. By number of a frame: who is busy from then on, and for how long."""
        stage, wakes = self.stage, list[tuple[float, Post]]()
        sent = [b"%08d" % number + bytes(FRAME_BYTES) for number in range(frames)]
        for number, frame in enumerate(sent):
            if asleep and number in asleep:
                post, seconds = asleep[number]
                post.sleep()
                wakes.append((stage.now + seconds, post))
            stage.run(PAUSE_SECONDS)
            while (until := self.sender.engine.held_until(stage.now)) > stage.now:
                stage.run(min(until - stage.now, PAUSE_SECONDS) + 1e-9)
                wakes = self._wake(wakes)
            wakes = self._wake(wakes)
            self.sent_at.append(stage.now)
            self.sender.say(frame, *self.others, lane=Lane.ENTRIES)
        for _, post in wakes:
            post.awake()
        stage.run(0.3)
        return sent

    def _wake(self, wakes: Iterable[tuple[float, Post]]) -> list[tuple[float, Post]]:
        later: list[tuple[float, Post]] = []
        for at, post in wakes:
            if at <= self.stage.now:
                post.awake()
            else:
                later.append((at, post))
        return later

    @property
    def longest(self) -> float:
        """The longest time for which no frame went."""
        return max(b - a for a, b in zip(self.sent_at, self.sent_at[1:], strict=False))


def a_flood(names: str = "abc", window: int = SIZE) -> tuple[Flood, Post, list[Post]]:
    stage, (a, *others) = together(names, Stage(settings=EngineSettings(window=window)))
    return Flood(stage, a, others), a, others


# ── who is busy ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize("names", ["abc", "ab"], ids=["multicast", "unicast"])
def test_a_receiver_that_is_busy_for_a_moment_loses_nothing(names: str) -> None:
    """30 ms, three times: without a window twice as much would come as its socket can hold."""
    flood, a, (b, *others) = a_flood(names)

    sent = flood.run(200, dict.fromkeys((30, 70, 110), (b, 0.03)))

    assert flood.overrun == 0
    assert [it.heard() for it in (b, *others)] == [sent] * (1 + len(others))
    assert a.engine.counts.nacked == a.engine.counts.repaired == 0
    assert a.engine.counts.holds == 3


@pytest.mark.slow
def test_without_a_window_it_would_lose_what_has_no_room() -> None:
    """So the test before can fail."""
    flood, a, (b, c) = a_flood(window=10**9)

    sent = flood.run(150, {50: (b, 0.03)})

    assert flood.overrun > 100
    assert a.engine.counts.repaired > 100
    assert c.heard() == sent


@pytest.mark.slow
def test_a_receiver_that_stays_away_holds_the_others_back_once() -> None:
    """For a fifth of a second. It is not waited for again before it has caught up."""
    flood, a, (b, c) = a_flood()

    sent = flood.run(400, {50: (b, 0.2)})

    assert c.heard() == sent
    assert a.engine.counts.holds == 1
    assert PATIENCE_SECONDS * 0.9 < flood.longest < PATIENCE_SECONDS + 0.002
    assert flood.overrun > 0  # it is mended, or not, as if nobody had waited


@pytest.mark.slow
def test_who_caught_up_is_waited_for_again() -> None:
    flood, a, (b, _) = a_flood()
    flood.run(200, {50: (b, 0.08)})
    flood.overrun, before = 0, a.engine.counts.holds

    flood.run(100, {20: (b, 0.03)})

    assert flood.overrun == 0
    assert a.engine.counts.holds == before + 1


@pytest.mark.slow
def test_who_never_tells_how_far_it_is_costs_one_wait() -> None:
    """As a node of an earlier version does, or one whose words don't get through."""
    flood, a, (b, c) = a_flood()
    network, is_lost = flood.stage.network, flood._is_lost
    network.is_lost = lambda source, place, data: (
        is_lost(source, place, data)
        or (source == b.place and data[HEAD_BYTES] == DatagramKind.TAKEN)
    )

    sent = flood.run(100)

    assert b.heard() == c.heard() == sent
    assert a.engine.counts.holds == 1
    assert flood.longest < PATIENCE_SECONDS + 0.002


@pytest.mark.slow
def test_nobody_waits_for_who_left_or_does_not_hear_us() -> None:
    flood, a, (b, c, d, e) = a_flood("abcde")
    flood.run(50)
    stage, before = flood.stage, a.engine.counts.holds
    b.close()
    stage.network.deaf.add((a.place, c.place))
    assert stage.until(lambda: not a.is_linked(b) and not a.by_multicast(c))
    flood.others = [c, d, e]

    flood.run(60)

    assert a.engine.counts.holds == before


@pytest.mark.slow
def test_who_hears_us_again_is_waited_for_from_there_on() -> None:
    """What it did not hear meanwhile doesn't count as not read."""
    flood, a, (b, c, d) = a_flood("abcd")
    stage = flood.stage
    stage.network.deaf.add((a.place, b.place))
    assert stage.until(lambda: not a.by_multicast(b))
    flood.others = [c, d]
    flood.run(50)
    stage.network.deaf.clear()
    assert stage.until(lambda: a.by_multicast(b), within=30)
    flood.others, before = [b, c, d], a.engine.counts.holds
    b.events.clear()

    sent = flood.run(100)

    assert b.heard() == sent
    assert a.engine.counts.holds == before


@pytest.mark.slow
def test_who_reads_without_a_pause_is_told_of_rarely() -> None:
    """Once for an eighth of a window: words of many receivers are not to drown the sender."""
    flood, a, (b, _) = a_flood()
    record = flood.stage.network.listen()

    flood.run(100)

    told = [it for it in record if it[0] == b.place and it[2][HEAD_BYTES] == DatagramKind.TAKEN]
    assert len(told) <= 100 * 9 / (SIZE / TOLD_PART)
    assert a.engine.counts.holds == 0


# ── the window by itself ─────────────────────────────────────────────────────────────────────────


def a_window() -> Window:
    window = Window(datagrams=10, counts=Counts())
    window.take("b", 0)
    window.take("c", 0)
    return window


def test_a_window_is_open_while_all_are_less_than_it_behind() -> None:
    window = a_window()

    assert window.held_until(9, 5.0) < 5.0
    assert window.held_until(10, 5.0) == 5.0 + PATIENCE_SECONDS
    window.take("b", 4)
    assert window.held_until(10, 5.01) == 5.0 + PATIENCE_SECONDS  # c is as far behind as it was
    window.take("c", 1)
    assert window.held_until(10, 5.02) < 5.02


def test_patience_begins_with_the_wait_and_not_anew_with_each_look() -> None:
    window = a_window()
    until = window.held_until(10, 5.0)

    assert window.held_until(12, 5.03) == until
    assert window.held_until(50, until) == until
    assert window.counts.holds == 2


def test_what_was_told_late_takes_nothing_back() -> None:
    window = a_window()
    for told in (8, 3):
        window.take("b", told)
        window.take("c", told)

    assert window.held_until(17, 5.0) < 5.0


def test_who_is_forgotten_holds_nobody_back() -> None:
    window = a_window()
    window.held_until(10, 5.0)
    for receiver in ("b", "c", "x"):
        window.forget(receiver)

    assert window.held_until(1000, 5.01) < 5.01


@pytest.mark.parametrize(
    "buffer, size, window",
    [(1024 * 1024, 1200, 645), (100_000, 1200, 25), (1024 * 1024, 65_507, 11), (4096, 1200, 8)],
)
def test_a_window_and_one_output_fit_the_buffer(buffer: int, size: int, window: int) -> None:
    assert window_of(buffer, size) == window
    assert window == WINDOW_MIN or window * size + min(64_000, buffer // 2) <= 0.8 * buffer
