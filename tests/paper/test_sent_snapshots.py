"""§5.3 snapshots sent in chunks, at which rate, and answers that move nothing."""

from __future__ import annotations

import pytest

from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    Effects,
    PeerMisbehaved,
    PeerUnreachable,
    Send,
    SnapshotChunk,
    SnapshotRead,
    SnapshotReply,
)
from raftkit.model import Identity, Index, Term
from tests.paper.lagging import (
    DATA,
    SNAPSHOT,
    compacted,
    has,
    mode,
    needs_snapshot,
    read,
    rejected,
    rejects,
    was_read,
)
from tests.paper.server import (
    HEARTBEAT,
    RETRY,
    Server,
    beat,
    group,
    heartbeat,
    leader,
    messages_to,
    snapshot_of,
    who,
)

# ── sending one ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.accept("U-52")
def test_follower_whose_next_entry_is_compacted_is_sent_the_snapshot() -> None:
    """§5.3: chunk by chunk, each after the one before was acknowledged."""
    a = compacted()

    asked = needs_snapshot(a)
    sent = a.step(was_read(0))
    again = has(a, 4)

    assert asked == Effects(read_snapshot=(read(0),))
    first = SnapshotChunk(term=Term(3), snapshot=SNAPSHOT, offset=0, data=DATA[:4])
    assert sent == Effects(send_now=(Send(targets=("c",), message=first),))
    assert again == Effects(read_snapshot=(read(4),))
    assert mode(a) == "snapshotting"


def test_follower_that_has_the_snapshot_is_probed_after_it() -> None:
    """§5.3: then entries follow."""
    a = compacted()
    needs_snapshot(a)

    effects = has(a, 10, installed=True)

    (message,) = messages_to("c", effects)
    assert isinstance(message, AppendEntries)
    assert (message.prev_index, message.prev_term, message.last_index) == (5, 2, 7)
    assert mode(a) == "probing"


def test_repeated_answer_asks_for_no_second_chunk() -> None:
    """§5.3: duplicated datagrams must not multiply chunks (F10, B15)."""
    a = compacted()
    needs_snapshot(a)
    a.step(was_read(0))
    has(a, 4)

    assert has(a, 4) == Effects()


def test_chunk_that_is_not_waited_for_any_more_is_not_sent() -> None:
    """§5.3: the follower said meanwhile that it is elsewhere."""
    a = compacted()
    needs_snapshot(a)
    has(a, 4)

    assert a.step(was_read(0)) == Effects()


def test_chunk_for_a_follower_that_streams_is_not_sent() -> None:
    """§5.3: it got further by other means (F12)."""
    a = compacted()
    needs_snapshot(a)
    has(a, 10, installed=True)

    assert a.step(was_read(0)) == Effects()


def test_chunk_read_by_a_former_leader_is_not_sent() -> None:
    """§5.3: only leaders send."""
    a = compacted()
    needs_snapshot(a)
    a.receive("b", heartbeat(9))

    assert a.step(was_read(0)) == Effects()


def test_lost_chunk_is_read_and_sent_again() -> None:
    """§5.3: what was not answered for a while is tried again, when the follower is heard (F12)."""
    a = compacted()
    needs_snapshot(a)
    a.step(was_read(0))
    a.tick(RETRY - 1)
    early = a.receive("c", beat(a))
    a.tick()

    effects = a.receive("c", beat(a))

    assert early.read_snapshot == ()
    assert effects.read_snapshot == (read(0),)


def sent_again_after(a: Server) -> int:
    """Ticks until the chunk under way is read again, while the follower is heard in each."""
    for ticks in range(1, 200 * RETRY):
        a.tick()
        a.receive("b", beat(a))
        if a.receive("c", beat(a)).read_snapshot:
            return ticks
    raise AssertionError("never")


@pytest.mark.parametrize(
    "took, waits", [(0, RETRY), (RETRY, 2 * RETRY), (2 * RETRY, 4 * RETRY), (4 * RETRY, 5 * RETRY)]
)
def test_chunk_is_given_twice_the_time_of_the_one_before(took: int, waits: int) -> None:
    """§5.3: a chunk is acknowledged when it is written, which a disk may need long for, but not for ever."""
    a = compacted()
    needs_snapshot(a)
    a.step(was_read(0))
    a.tick(took)
    has(a, 4)
    a.step(was_read(4))

    assert sent_again_after(a) == waits


def test_chunk_that_was_lost_once_is_missed_as_early_as_any_after_the_next() -> None:
    """§5.3: what a lost one took says nothing of the disk, and is forgotten with the next answer."""
    a = compacted()
    needs_snapshot(a)
    a.step(was_read(0))
    sent_again_after(a)
    a.step(was_read(0))
    has(a, 4)
    a.step(was_read(4))
    has(a, 8)
    a.step(was_read(8))

    assert sent_again_after(a) == RETRY


def test_follower_that_takes_no_chunk_is_tried_ever_less_often() -> None:
    """Ours: bytes that nobody takes are kept from no others; progress, or a new link, forgets it all."""
    a = compacted()
    needs_snapshot(a)
    a.step(was_read(0))

    pauses = [sent_again_after(a) for _ in range(9)]
    has(a, 4)
    a.step(was_read(4))
    after_progress = sent_again_after(a), sent_again_after(a)
    a.step(PeerUnreachable(peer="c"))
    after_another_link = sent_again_after(a)

    assert pauses == [RETRY * it for it in (1, 2, 4, 8, 16, 32, 64, 100, 100)]
    assert after_progress == (5 * RETRY, 10 * RETRY)
    assert after_another_link == RETRY


def test_follower_that_throws_the_whole_away_is_tried_ever_less_often() -> None:
    """Ours: a file that turns out wrong each time is not sent as fast as the link allows, for ever."""
    a = compacted()
    needs_snapshot(a)

    pauses: list[int] = []
    for _ in range(4):
        for offset in (0, 4):
            a.step(was_read(offset))
            has(a, offset + 4)
        a.step(was_read(8))
        again = has(a, 0)
        pauses.append(0 if again.read_snapshot else sent_again_after(a))

    assert pauses == [0, 2 * RETRY, 4 * RETRY, 8 * RETRY]


def test_receiver_that_restarted_gets_the_snapshot_from_its_beginning() -> None:
    """§5.3: it says what it has, and the leader goes there (F12)."""
    a = compacted()
    needs_snapshot(a)
    a.step(was_read(0))
    has(a, 4)
    a.step(was_read(4))

    effects = has(a, 0)

    assert effects == Effects(read_snapshot=(read(0),))


def test_acknowledged_entries_end_the_snapshot() -> None:
    """§5.3: whatever shows that replication can go on is enough (F12)."""
    a = compacted()
    needs_snapshot(a)

    a.receive("c", AppendAccepted(term=a.raft.term, index=Index(6)))

    assert mode(a) == "probing"


def test_slow_receiver_does_not_hold_up_the_others() -> None:
    """§5.3: each follower is fed by itself (F13)."""
    a = compacted()
    needs_snapshot(a)

    effects = a.propose(b"x")

    assert [send.targets for send in effects.send_now] == [("b",)]


# ── what moves nothing ───────────────────────────────────────────────────────────────────────────────


def test_answer_about_another_snapshot_moves_nothing() -> None:
    """§5.3: an answer is about one snapshot (F10)."""
    a = compacted()
    needs_snapshot(a)
    a.step(was_read(0))
    about_another = SnapshotReply(term=a.raft.term, index=Index(4), offset=4, installed=False)

    assert a.receive("c", about_another) == Effects()


def test_offset_beyond_the_snapshot_moves_nothing() -> None:
    """§5.3: nobody has more of it than there is."""
    a = compacted()
    needs_snapshot(a)

    assert has(a, 11) == Effects()


def test_answer_of_a_follower_that_gets_entries_moves_nothing() -> None:
    """§5.3: a late answer, after the snapshot is over."""
    a = leader("1 1")

    message = SnapshotReply(term=Term(2), index=Index(2), offset=4, installed=False)

    assert a.receive("c", message) == Effects()


def test_snapshot_beyond_the_leaders_log_is_dropped() -> None:
    """A follower can't have what its leader never had."""
    a = leader("1 1")
    message = SnapshotReply(term=Term(2), index=Index(9), offset=0, installed=True)

    effects = a.receive("c", message)

    assert effects == Effects(
        events=(PeerMisbehaved(peer=who("c"), what="has a snapshot at 9 of 3"),)
    )


@pytest.mark.parametrize("sender", [who("z"), who("c", 2)])
def test_answers_of_strangers_move_nothing(sender: Identity) -> None:
    """S29."""
    a = compacted()
    needs_snapshot(a)
    message = SnapshotReply(term=Term(3), index=Index(5), offset=4, installed=False)

    assert a.receive(sender, message) == Effects()


def test_refusal_in_the_midst_of_a_snapshot_is_ignored() -> None:
    """§5.3: a late answer to an earlier probe."""
    a = compacted()
    needs_snapshot(a)

    assert rejects(a, 5, (2, 1)) == rejects(a, 4, (2, 1)) == Effects()
    assert mode(a) == "snapshotting"


# ── at what rate ─────────────────────────────────────────────────────────────────────────────────────


def test_chunks_are_paced() -> None:
    """Ours: 40 bytes a second are a chunk of 4 each 10 ticks, however soon it is answered."""
    a = compacted(snapshot_bytes_per_second=40)
    first = needs_snapshot(a)
    a.step(was_read(0))
    soon = has(a, 4)
    a.step(was_read(4))
    left = a.raft.ticks_until_next_deadline
    early = a.tick(9)

    due = a.tick()

    assert first.read_snapshot == (read(0),)
    assert (soon.read_snapshot, early.read_snapshot) == ((), ())
    assert due.read_snapshot == (read(4),)
    assert left == HEARTBEAT  # which comes first


def test_leader_wakes_when_the_next_chunk_is_due() -> None:
    """Ours: at 200 bytes a second a chunk of 4 is due each 2 ticks, before the next heartbeat."""
    a = compacted(snapshot_bytes_per_second=200)
    needs_snapshot(a)
    under_way = a.raft.ticks_until_next_deadline
    a.step(was_read(0))
    has(a, 4)

    assert (under_way, a.raft.ticks_until_next_deadline) == (HEARTBEAT, 2)


def test_rate_of_more_than_a_chunk_a_tick_is_kept_on_average() -> None:
    """Ours: 1000 bytes a second are 5 chunks of 4 in 2 ticks."""
    a = compacted(snapshot_bytes_per_second=1000, snapshot=snapshot_of(bytes(99), index=5, term=2))
    effects = needs_snapshot(a)
    counts: list[int] = []
    for _ in range(8):
        counts.append(0)
        while effects.read_snapshot:
            counts[-1] += 1
            (question,) = effects.read_snapshot
            a.step(SnapshotRead(request=question, data=bytes(4)))
            effects = has(a, question.offset + 4)
        effects = a.tick()

    assert counts == [3, 2, 3, 2, 3, 2, 3, 2]


def test_followers_share_the_rate() -> None:
    """Ours: who has waited longest is next, so nobody starves behind a quick one."""
    snapshot = snapshot_of(bytes(99), index=5, term=2, configuration=group("abc", learners="d"))
    a = compacted(snapshot_bytes_per_second=400, snapshot=snapshot)
    (question,) = needs_snapshot(a).read_snapshot
    a.step(SnapshotRead(request=question, data=bytes(4)))
    has(a, 4)
    a.receive("d", rejected(a, 6, (2, 1)))
    effects = a.receive("d", rejected(a, 5, (2, 1)))
    order: list[str] = []
    for _ in range(6):
        for question in a.tick().read_snapshot:
            order.append(question.target)
            a.step(SnapshotRead(request=question, data=bytes(4)))
            has(a, question.offset + 4, peer=question.target)

    assert effects.read_snapshot == ()
    assert order == ["c", "d", "c", "d", "c", "d"]
