"""What a leader knows of one follower, and how it feeds it (§3.5, §10.2.1).

Laws: match_index is proven in this term and never decreases; match_index < next_index <= last + 1. One
probe is in flight at most; a stream has a bounded window; what is lost is found by time, never by count.
Time is only a suspicion, for a slow disk looks the same: so a follower is asked, not sent everything again,
and one that was asked in vain is given twice as long, up to a bound, until it gets further.
"""

from __future__ import annotations

from collections import deque
from typing import assert_never

import attrs

from raftkit.model import Identity, Index
from raftkit.snapshot import SnapshotMeta

__all__ = [
    "PAUSE_MAX",
    "CatchingUp",
    "Mode",
    "Probing",
    "Progress",
    "Rounds",
    "Snapshotting",
    "Streaming",
]


@attrs.define(kw_only=True)
class Probing:
    """Where the logs agree is not known: one message at a time."""

    sent: tuple[Index, int] | None = None
    "Last index and payload bytes of the message in flight."


@attrs.define(kw_only=True)
class Streaming:
    """Entries leave as they come, ahead of acknowledgements."""

    in_flight: deque[tuple[Index, int]] = attrs.field(factory=deque[tuple[Index, int]])
    "Last index and payload bytes of each unacknowledged AppendEntries, in order."
    bytes_in_flight: int = 0
    "Sum of those bytes."

    def sent(self, last: Index, size: int) -> None:
        """An AppendEntries up to `last` left."""
        self.in_flight.append((last, size))
        self.bytes_in_flight += size

    def acknowledged(self, index: Index) -> None:
        """Everything up to `index` arrived."""
        while self.in_flight and self.in_flight[0][0] <= index:
            self.bytes_in_flight -= self.in_flight.popleft()[1]


@attrs.define(kw_only=True)
class Snapshotting:
    """The follower's next entry is compacted: it gets a snapshot, a chunk at a time."""

    snapshot: SnapshotMeta
    "Which one."
    offset: int = 0
    "The follower has this many bytes of it."
    asked: bool = False
    "The chunk at `offset` is being read or is on its way, from here or elsewhere."
    elsewhere: int = 0
    "Ticks that it is given to come from another server, by the follower's words; 0: it is sent from here."

    moved_at: int
    "Tick at which it last got further, or at which this began."
    pause: int = 0
    "Twice the ticks that the chunk before took: until then this one is taken to be written."
    furthest: int = 0
    "The largest `offset` so far."
    falls: int = 0
    "How often the follower has fallen back since it had so much."
    failures: int = 0
    "Chunks in a row that came to nothing: the next one is given more time."

    def advance(self, offset: int, now: int, *, elsewhere: int = 0) -> None:
        """The follower has got as far as `offset`, so another chunk may go; later, if it fell back again.

        For so many ticks none goes that the follower is to get `elsewhere`.

        Once it does so when it has restarted. Again and again, when what it has got is wrong in the end.
        """
        fell_back = offset < self.offset
        if offset > self.furthest:
            self.furthest, self.falls, self.failures = offset, 0, 0
        elif fell_back:
            self.falls, self.failures = self.falls + 1, self.falls
        self.asked = elsewhere > 0 or (fell_back and self.falls > 1)
        self.elsewhere = elsewhere
        self.pause = 2 * (now - self.moved_at)
        self.offset, self.moved_at = offset, now

    def patience(self, retry_ticks: int) -> int:
        """Ticks until the chunk under way counts as lost: doubled with each that was."""
        first = max(min(max(self.pause, retry_ticks), PAUSE_MAX * retry_ticks), self.elsewhere)
        return min(first << min(self.failures, _DOUBLINGS_MAX), _PATIENCE_MAX * retry_ticks)


@attrs.frozen(kw_only=True)
class CatchingUp:
    """Why the log waits for a follower: it was sent a snapshot, and has not all that followed (§5.3)."""

    snapshot: SnapshotMeta
    "The last that it was sent."
    written_bytes: int
    "`Log.written_bytes` when somebody was first sent this one: the log waits for a bounded while."


Mode = Probing | Streaming | Snapshotting
_ASK_DOUBLINGS_MAX = 3
"So a follower is asked at last once in eight retry pauses: what is lost by then is found late, but found."
PAUSE_MAX = 5
"A chunk is first given at most so many retry pauses: what took longest may have been a broken link."
_PATIENCE_MAX = 100
"And at last so many, 10 s by default: a follower that takes nothing is asked ever less often."
_DOUBLINGS_MAX = 7
"By then it is as many."


@attrs.define(kw_only=True)
class Rounds:
    """Rounds in which a follower gets what the log held when they began (§4.2.1)."""

    target: Index
    "The log's end when this round began: it ends when the follower holds that."
    began_at: int
    "Tick at which it began."
    quick: bool = False
    "The round before took less than an election timeout."


@attrs.define(kw_only=True)
class Progress:
    """One follower, as its leader sees it."""

    identity: Identity
    "Whom it is about: words of other incarnations don't count."
    match_index: Index = Index(0)
    "The follower's log is proven equal and durable up to here."
    next_index: Index
    "The next entry to send."
    mode: Mode = attrs.field(factory=Probing)
    "How it is fed."
    catching_up: CatchingUp | None = None
    "Set from when it is sent a snapshot until it has all that is committed."
    window: int
    "Messages that may be in flight, if fewer than configured: what comes out of order is sent in vain."
    heard_at: int
    "Tick at which it last answered in this term; of election at first."
    moved_at: int
    "Tick at which it last got further, or was last sent something anew, or asked."
    doubted: bool = False
    "Nothing moved for long: ask it, with a message without entries, whether it has what it was sent."
    asked: int = 0
    "How often it was asked, since it last got further or was sent something anew."
    round: int = 0
    "The highest round of heartbeats that it answered."
    awaits: Index = Index(0)
    "It waits for the commit of entries up to here, and is told at once."
    told_commit: Index = Index(0)
    "The commit index it was last sent."
    rounds: Rounds
    "How fast it follows; measured while it learns."

    @classmethod
    def begin(cls, identity: Identity, last_index: Index, window: int, now: int) -> Progress:
        """Of a follower of which nothing is known, when the leader's log ends at `last_index`."""
        return cls(
            identity=identity,
            next_index=Index(last_index + 1),
            window=window,
            heard_at=now,
            moved_at=now,
            rounds=Rounds(target=last_index, began_at=now),
        )

    def moves(self, now: int) -> None:
        """It got further, or is sent something anew: time enough until it is asked."""
        self.moved_at, self.asked = now, 0

    def acknowledge(self, index: Index, now: int) -> None:
        """The follower holds the leader's log durably up to `index`."""
        if index > self.match_index:
            self.match_index = index
            self.moves(now)
            self.next_index = max(self.next_index, Index(index + 1))
            self.window += 1
        if isinstance(self.mode, Streaming):
            self.mode.acknowledged(index)

    def stream(self) -> None:
        """A probe was accepted, so the logs agree as far as it went: send ahead from there.

        If less than that is acknowledged, the follower's disk is at work on the rest. Should it be an older
        answer, and the probe be lost, what comes behind it shows the gap, or time does.
        """
        if isinstance(self.mode, Probing):
            probe, self.mode = self.mode.sent, Streaming()
            self.asked = 0
            self.next_index = Index(self.match_index + 1)
            if probe is not None and probe[0] > self.match_index:
                self.mode.sent(*probe)
                self.next_index = Index(probe[0] + 1)

    def narrow(self) -> None:
        """A stream arrived with a gap, so all behind it was in vain: send less ahead, and grow again."""
        if isinstance(self.mode, Streaming):
            self.window = max(1, min(self.window, len(self.mode.in_flight)) // 2)

    def probe(self, next_index: Index, now: int) -> None:
        """Go back to one message at a time, from `next_index`."""
        assert next_index > self.match_index
        self.next_index = next_index
        self.mode = Probing()
        self.moves(now)

    def send_snapshot(self, it: CatchingUp, now: int) -> None:
        """Its next entry is compacted: begin to send it a snapshot."""
        self.mode = Snapshotting(snapshot=it.snapshot, moved_at=now)
        self.moved_at = now
        self.catching_up = it

    def was_heard(self, since: int) -> bool:
        """Whether it answered at that tick or later; if it gets a snapshot, also since that last moved on."""
        match self.mode:
            case Snapshotting(moved_at=moved_at):
                return self.heard_at >= max(since, moved_at)
            case _:
                return self.heard_at >= since

    @property
    def needs_after(self) -> Index:
        """What it will be sent next comes after this index."""
        match self.mode:
            case Snapshotting(snapshot=snapshot):
                return snapshot.index
            case _:
                return self.match_index

    def question_due(self, retry_ticks: int) -> int | None:
        """The tick at which what is on its way is doubtful; None: nothing is, or it gets a snapshot."""
        match self.mode:
            case Probing(sent=tuple()):
                owes = True
            case Streaming(in_flight=in_flight):
                owes = bool(in_flight)
            case _:
                owes = False
        return self.moved_at + self._pause(retry_ticks) if owes else None

    def doubt(self, now: int) -> None:
        """Nothing moved for long: it is asked."""
        self.doubted, self.moved_at = True, now
        self.asked += 1

    def _pause(self, retry_ticks: int) -> int:
        return retry_ticks << min(self.asked, _ASK_DOUBLINGS_MAX)

    def revive(self, index: Index, now: int, retry_ticks: int) -> None:
        """The follower answers, so what stood still for `retry_ticks` was lost, or is not durable there yet.

        Where it was asked in vain before, twice as long each time, up to a bound.

        `index` is what it can prove equal now. Below `match_index` it has restarted, and forgotten what was
        proven: it commits nothing before it hears of it again.
        """
        still = now - self.moved_at
        match self.mode:
            case Streaming(in_flight=in_flight) if not in_flight and index >= self.match_index:
                pass  # it has everything
            case Probing() | Streaming():
                if still >= self._pause(retry_ticks):
                    self.doubt(now)
            case Snapshotting() as mode:
                if mode.asked and still >= mode.patience(retry_ticks):
                    mode.asked, self.moved_at = False, now
                    mode.failures += 1
            case _:
                assert_never(self.mode)
