"""§5.3 snapshots sent in chunks, and entries that are read back for those behind."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from raftkit.core.state import WAIT_TIMEOUTS
from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    AppendRejected,
    Effects,
    Fetch,
    Fetched,
    PeerMisbehaved,
    PeerUnreachable,
    ReadSnapshot,
    Send,
    SnapshotChunk,
    SnapshotMeta,
    SnapshotRead,
    SnapshotReply,
    SnapshotTaken,
)
from raftkit.model import Identity, Index, Run, Term
from tests.paper.server import (
    ELECTION_MAX,
    ELECTION_MIN,
    HEARTBEAT,
    RETRY,
    Server,
    append,
    beat,
    commands,
    everyone_answers,
    group,
    heartbeat,
    leader,
    messages_to,
    noop,
    snapshot_of,
    who,
)

DATA = b"0123456789"
SNAPSHOT = snapshot_of(DATA, index=5, term=2)


# ── sending one ──────────────────────────────────────────────────────────────────────────────────────


def compacted(**more: Any) -> Server:
    """A leader of term 3 whose log begins after SNAPSHOT, and whose follower c has nothing of it."""
    more = {"snapshot": SNAPSHOT, "snapshot_chunk_bytes": 4} | more
    a = leader("2", matched=False, **more)
    everyone_answers(a, "b")
    a.take_sent()
    return a


def rejects(a: Server, prev: int, hint: tuple[int, int]) -> Effects:
    """Follower c does not have the entry at `prev`; the logs may agree at `hint`."""
    return a.receive("c", rejected(a, prev, hint))


def rejected(a: Server, prev: int, hint: tuple[int, int]) -> AppendRejected:
    """What a follower says who does not have it."""
    return AppendRejected(
        term=a.raft.term,
        prev_index=Index(prev),
        hint_index=Index(hint[0]),
        hint_term=Term(hint[1]),
    )


def needs_snapshot(a: Server) -> Effects:
    """Follower c rejects what comes before the first entry that the leader has."""
    rejects(a, 6, (2, 1))
    return rejects(a, 5, (2, 1))


def read(offset: int) -> ReadSnapshot:
    """The question for the chunk at `offset`."""
    return ReadSnapshot(target="c", snapshot=SNAPSHOT, offset=offset, bytes_max=4)


def was_read(offset: int) -> SnapshotRead:
    """Its answer."""
    return SnapshotRead(request=read(offset), data=DATA[offset : offset + 4])


def has(a: Server, offset: int, *, installed: bool = False, peer: str = "c") -> Effects:
    """Follower c, or another, has that much of the snapshot."""
    message = SnapshotReply(term=a.raft.term, index=Index(5), offset=offset, installed=installed)
    return a.receive(peer, message)


def mode(a: Server, name: str = "c") -> str:
    """How a follower is fed."""
    return next(peer.mode for peer in a.raft.peers() if peer.id == name)


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


# ── while others are cut ─────────────────────────────────────────────────────────────────────────────


def cuts(a: Server, index: int) -> Effects:
    """The leader's machine has a newer snapshot, of everything up to `index`."""
    a.apply_all()
    return a.step(SnapshotTaken(snapshot=newer(a, index)))


def newer(a: Server, index: int) -> SnapshotMeta:
    """That one."""
    term = a.raft.state.log.term(Index(index))
    assert term is not None
    return snapshot_of(b"newer", index=index, term=term, configuration=a.raft.configuration)


def commits(a: Server, payload: bytes = b"x") -> int:
    """A command is committed without c; its index."""
    a.propose(payload)
    a.persist_all()
    a.receive("b", AppendAccepted(term=a.raft.term, index=a.raft.last_index))
    a.receive("b", beat(a))
    return a.raft.commit_index


def silence(a: Server, ticks: int) -> None:
    """Time passes in which c is not heard, and b is."""
    for _ in range(ticks // ELECTION_MIN):
        a.tick(ELECTION_MIN)
        a.receive("b", beat(a))


def asked(effects: Effects) -> SnapshotMeta:
    """The snapshot of which a part is to be read."""
    (question,) = effects.read_snapshot
    return question.snapshot


def test_log_waits_for_a_follower_that_is_sent_a_snapshot() -> None:
    """§5.3, F8: else it would need the next snapshot when it has this one, and so for ever."""
    a = compacted(compaction_tail_entries=0)
    needs_snapshot(a)

    cut = cuts(a, commits(a))
    after = has(a, 10, installed=True)

    assert cut.persist is None
    assert (mode(a), after.read_snapshot) == ("probing", ())
    assert [run.first for run in entries_of(after)] == [6, 7, 8]


def test_log_waits_until_the_follower_has_what_is_committed() -> None:
    """§5.3, F8: with the snapshot installed, it still needs all that was written meanwhile."""
    a = compacted(compaction_tail_entries=0)
    needs_snapshot(a)
    last = commits(a)
    has(a, 10, installed=True)
    a.receive("c", AppendAccepted(term=a.raft.term, index=Index(7)))

    behind = cuts(a, last)
    a.receive("c", beat(a, index=last))
    caught_up = cuts(a, commits(a))

    assert behind.persist is not None
    assert behind.persist.compact_to == 7
    assert caught_up.persist is not None
    assert caught_up.persist.compact_to == last + 1


def test_log_waits_for_no_silent_follower() -> None:
    """§5.3, F8: the disk is not filled for one that may never come back, which then gets the newest."""
    a = compacted(compaction_tail_entries=0)
    needs_snapshot(a)
    silence(a, WAIT_TIMEOUTS * ELECTION_MAX + ELECTION_MIN)

    last = commits(a)
    effects = cuts(a, last)

    assert effects.persist is not None
    assert effects.persist.compact_to == last
    assert asked(has(a, 10, installed=True)) == newer(a, last)


def test_log_waits_for_nobody_who_was_away_when_its_snapshot_was_chosen() -> None:
    """§5.3, F8: one that is down has begun nothing; when it is back it gets what is the newest then."""
    a = leader("1 1", matched=False, compaction_tail_entries=0)
    everyone_answers(a, "b")
    a.tick()
    cuts(a, commits(a))  # so that c, which was not heard since, needs a snapshot
    a.propose(b"x")
    assert mode(a) == "snapshotting"

    last = commits(a)
    effects = cuts(a, last)

    assert effects.persist is not None
    assert effects.persist.compact_to == last


@pytest.mark.accept("U-52")
@pytest.mark.parametrize("least, waits", [(0, 10), (15, 15)])
def test_log_grows_by_no_more_than_the_snapshot_has_bytes(least: int, waits: int) -> None:
    """§5.3, F8: a link that is slower than the writers would not carry the log either."""
    a = compacted(compaction_tail_entries=0, compaction_wait_bytes=least)
    needs_snapshot(a)

    within = cuts(a, commits(a, bytes(waits)))
    last = commits(a, bytes(1))
    beyond = cuts(a, last)

    assert within.persist is None
    assert beyond.persist is not None
    assert beyond.persist.compact_to == last


def test_receivers_share_one_snapshot() -> None:
    """§5.3: so that one old file is kept, however many followers get one, and for one length of time."""
    snapshot = snapshot_of(DATA, index=5, term=2, configuration=group("abc", learners="d"))
    a = compacted(compaction_tail_entries=0, compaction_wait_bytes=0, snapshot=snapshot)
    needs_snapshot(a)
    cuts(a, commits(a, bytes(6)))
    a.receive("d", rejected(a, 6, (2, 1)))

    effects = a.receive("d", rejected(a, 5, (2, 1)))
    last = commits(a, bytes(5))

    assert asked(effects) == snapshot
    assert cuts(a, last).persist is not None  # by d the log would have waited for longer


def test_snapshot_that_is_gone_is_replaced_by_the_newest() -> None:
    """§5.3, F8: disks keep what is read while the log reaches back to it; if not, sending begins anew."""
    a = compacted(compaction_tail_entries=0)
    needs_snapshot(a)
    last = commits(a)
    cuts(a, last)

    effects = a.step(SnapshotRead(request=read(0), data=None))

    question = ReadSnapshot(target="c", snapshot=newer(a, last), offset=0, bytes_max=4)
    assert effects == Effects(read_snapshot=(question,))


def test_snapshot_that_is_gone_for_one_is_not_taken_from_another() -> None:
    """§5.3: that one has only not heard of it."""
    snapshot = snapshot_of(DATA, index=5, term=2, configuration=group("abc", learners="d"))
    a = compacted(compaction_tail_entries=0, snapshot=snapshot)
    needs_snapshot(a)
    a.receive("d", rejected(a, 6, (2, 1)))
    a.receive("d", rejected(a, 5, (2, 1)))
    last = commits(a)
    cuts(a, last)

    request = ReadSnapshot(target="c", snapshot=snapshot, offset=0, bytes_max=4)
    effects = a.step(SnapshotRead(request=request, data=None))

    assert asked(effects) == newer(a, last)


def test_fast_writers_and_a_slow_link_end_in_one_snapshot() -> None:
    """§5.3, F8: though a newer one is cut with each chunk, the one under way is sent to its end."""
    a = compacted(compaction_tail_entries=0)
    effects = needs_snapshot(a)
    asked_for: list[tuple[Index, int]] = []
    for _ in range(20):
        if not effects.read_snapshot:
            break
        (question,) = effects.read_snapshot
        asked_for.append((question.snapshot.index, question.offset))
        a.step(SnapshotRead(request=question, data=DATA[question.offset :][:4]))
        cuts(a, commits(a))
        end = question.offset + 4 >= len(DATA)
        effects = has(a, min(question.offset + 4, len(DATA)), installed=end)

    assert asked_for == [(5, 0), (5, 4), (5, 8)]
    assert mode(a) == "probing"


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


def test_slow_receiver_does_not_hold_up_the_others() -> None:
    """§5.3: each follower is fed by itself (F13)."""
    a = compacted()
    needs_snapshot(a)

    effects = a.propose(b"x")

    assert [send.targets for send in effects.send_now] == [("b",)]


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


# ── entries read back ────────────────────────────────────────────────────────────────────────────────


def evicted() -> Server:
    """A leader that keeps no applied payload in memory; its log is 1 1 1 2."""
    a = leader("1 1 1", matched=False, tail_bytes_max=0)
    everyone_answers(a, "b")
    a.apply_all()
    a.take_sent()
    return a


def entries_of(effects: Effects) -> tuple[Run, ...]:
    """The runs that a step sends to c."""
    return tuple(
        run for it in messages_to("c", effects) if isinstance(it, AppendEntries) for run in it.runs
    )


def test_evicted_entries_are_read_back() -> None:
    """Ours: the core keeps a bounded tail; storage has the rest."""
    a = evicted()

    asked = rejects(a, 3, (1, 1))
    sent = a.step(Fetched(fetch=asked.fetch[0], runs=commands("1 1", first=2)))

    fetch = Fetch(first=Index(2), last=Index(3), bytes_max=a.config.append_bytes_max)
    message = append(2, (1, 1), "1 1", commit=4)
    assert asked == Effects(fetch=(fetch,))
    assert sent == Effects(send_now=(Send(targets=("c",), message=message),))


def test_only_committed_entries_are_read_back() -> None:
    """§3.5: an answer may come late, so it is used only as far as no other leader can have replaced it."""
    a = evicted()
    asked = rejects(a, 3, (1, 1))
    more = commands("1 1 2 2", first=2)

    effects = a.step(Fetched(fetch=asked.fetch[0], runs=more))

    assert asked.fetch[0].last <= a.raft.commit_index
    assert entries_of(effects) == more[:1]


def test_entries_are_asked_for_once() -> None:
    """Ours: while storage reads, nothing asks again."""
    a = evicted()
    rejects(a, 3, (1, 1))

    assert a.propose(b"x").fetch == ()


def test_question_does_not_stand_for_entries_that_are_still_read_back() -> None:
    """§10.2.2: no probe has left, so whatever the question finds, it must."""
    a = evicted()
    asked = rejects(a, 3, (1, 1))
    a.tick(RETRY)
    a.receive("c", beat(a))

    effects = a.step(Fetched(fetch=asked.fetch[0], runs=commands("1 1", first=2)))

    assert entries_of(effects) == commands("1 1", first=2)


def test_entries_compacted_meanwhile_end_in_a_snapshot() -> None:
    """Ours: storage answers with nothing, and the log begins later now."""
    a = evicted()
    asked = rejects(a, 3, (1, 1))
    a.raft.state.config = attrs.evolve(a.config, compaction_tail_entries=0)
    a.step(SnapshotTaken(snapshot=snapshot_of(DATA, index=4, term=2)))

    effects = a.step(Fetched(fetch=asked.fetch[0], runs=()))

    assert mode(a) == "snapshotting"
    assert messages_to("c", effects) == []


def test_entries_read_back_for_a_former_leader_are_dropped() -> None:
    """Ours: only leaders send."""
    a = evicted()
    asked = rejects(a, 3, (1, 1))
    a.receive("b", heartbeat(9))

    assert a.step(Fetched(fetch=asked.fetch[0], runs=commands("1 1", first=2))) == Effects()


def test_entries_read_back_in_an_earlier_leadership_are_not_sent() -> None:
    """§3.5: what storage read then may have been overwritten since; a leader sends its own log only."""
    a = evicted()
    asked = rejects(a, 3, (1, 1))
    a.propose(b"lost")
    read_then = (*commands("1 1", first=2), noop(4, 2), *commands("2", first=5))
    a.receive("b", append(3, (4, 2), "3"))  # the entry at 5 is replaced
    a.persist_all()
    a.win()
    rejects(a, 5, (1, 1))
    a.take_sent()

    effects = a.step(Fetched(fetch=asked.fetch[0], runs=read_then))

    assert a.terms == "1 1 1 2 3 4"
    assert entries_of(effects) == read_then[:1]
