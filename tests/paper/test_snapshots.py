"""§5.1 compaction, §5.3 snapshots sent and received in chunks."""

from __future__ import annotations

import zlib
from typing import Any

import attrs
import pytest

from raftkit.messages import (
    AppendAccepted,
    AppendEntries,
    AppendRejected,
    Applied,
    Barred,
    ConfigurationChanged,
    Effects,
    Fetch,
    Fetched,
    PeerMisbehaved,
    PreVoteReply,
    ReadSnapshot,
    Send,
    SnapshotChunk,
    SnapshotInstalled,
    SnapshotMeta,
    SnapshotRead,
    SnapshotReply,
    SnapshotTaken,
    SnapshotWrite,
    VoteReply,
    Write,
)
from raftkit.model import Identity, Index, Kind, Run, Term
from tests.paper.server import (
    ABC,
    RETRY,
    Server,
    append,
    beat,
    candidate,
    commands,
    entry,
    everyone_answers,
    follower,
    group,
    heartbeat,
    leader,
    messages_to,
    noop,
    server,
    snapshot_of,
    who,
)

DATA = b"0123456789"
SNAPSHOT = snapshot_of(DATA, index=5, term=2)


def chunk(
    offset: int, size: int = 4, *, of: SnapshotMeta = SNAPSHOT, term: int = 3
) -> SnapshotChunk:
    """Some bytes of a snapshot, as leader b sends them."""
    data = DATA[offset : offset + size]
    return SnapshotChunk(term=Term(term), snapshot=of, offset=offset, data=data)


def reply(offset: int, *, installed: bool = False, index: int = 5, term: int = 3) -> Send:
    """The answer to leader b."""
    message = SnapshotReply(term=Term(term), index=Index(index), offset=offset, installed=installed)
    return Send(targets=("b",), message=message)


def behind(terms: str = "1 1", **more: Any) -> Server:
    """A follower of b, of term 3, that needs the snapshot."""
    return follower(terms, term=3, of="b", **more)


# ── taking one ───────────────────────────────────────────────────────────────────────────────────────


def test_own_snapshot_compacts_the_log_but_for_a_tail() -> None:
    """§5.1: what the snapshot holds may go; some of it stays for followers slightly behind."""
    a = leader("1 1 1 1 1 1", compaction_tail_entries=2)
    taken = snapshot_of(b"x", index=5, term=1)

    effects = a.step(SnapshotTaken(snapshot=taken))

    assert effects == Effects(persist=Write(sequence=a.unwritten[-1].sequence, compact_to=Index(3)))
    log = a.raft.state.log
    assert (log.base_index, log.base_term, log.last_index) == (3, 1, 7)


@pytest.mark.parametrize("index", [2, 3, 4])
def test_snapshot_within_the_tail_compacts_nothing(index: int) -> None:
    """§5.1: there is nothing to gain yet."""
    a = leader("1 1 1 1 1 1", compaction_tail_entries=4)

    effects = a.step(SnapshotTaken(snapshot=snapshot_of(b"x", index=index, term=1)))

    assert effects == Effects()


def test_older_snapshot_than_the_newest_is_ignored() -> None:
    """§5.1, F3: one that a leader sent meanwhile reaches further."""
    a = leader("1 1 1 1 1 1", compaction_tail_entries=0)
    a.step(SnapshotTaken(snapshot=snapshot_of(b"x", index=5, term=1)))

    effects = a.step(SnapshotTaken(snapshot=snapshot_of(b"y", index=4, term=1)))

    assert effects == Effects()
    assert a.raft.state.log.base_index == 5


def test_server_restarts_from_snapshot_and_log() -> None:
    """§5.1: what the snapshot holds is committed and applied; the log goes on after it."""
    a = server("2 3", snapshot=SNAPSHOT)

    assert (a.raft.commit_index, a.raft.last_index, a.raft.durable_index) == (5, 7, 7)
    assert a.raft.state.applied_index == 5
    assert a.raft.configuration == ABC


def test_server_restarts_from_a_snapshot_inside_its_log() -> None:
    """§5.1: with a tail kept, the log begins before the snapshot's last entry."""
    a = server("2 2 3", snapshot=snapshot_of(DATA, index=5, term=2), base=(4, 1))

    assert (a.raft.state.log.base_index, a.raft.commit_index, a.raft.last_index) == (4, 5, 7)


def test_configuration_that_both_snapshot_and_tail_hold_is_known_once() -> None:
    """§5.1: the tail before a snapshot is read again on opening; the snapshot speaks for it already."""
    a = follower("1", of="b")
    four = group("abcd")
    run = entry(2, 1, kind=Kind.CONFIGURATION, payload=four.encode())
    a.receive("b", attrs.evolve(append(1, (1, 1)), runs=(run, *commands("1 1", first=3))))
    a.persist_all()
    meta = snapshot_of(b"x", index=3, term=1, configuration=four)
    a.disk.snapshot = attrs.evolve(meta, configuration_index=Index(2))

    a.restart()

    assert a.raft.state.configurations == [(2, four)]


# ── sending one ──────────────────────────────────────────────────────────────────────────────────────


def compacted(**more: Any) -> Server:
    """A leader of term 3 whose log begins after SNAPSHOT, and whose follower c has nothing of it."""
    a = leader("2", snapshot=SNAPSHOT, matched=False, snapshot_chunk_bytes=4, **more)
    everyone_answers(a, "b")
    a.take_sent()
    return a


def rejects(a: Server, prev: int, hint: tuple[int, int]) -> Effects:
    """Follower c does not have the entry at `prev`; the logs may agree at `hint`."""
    message = AppendRejected(
        term=a.raft.term,
        prev_index=Index(prev),
        hint_index=Index(hint[0]),
        hint_term=Term(hint[1]),
    )
    return a.receive("c", message)


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


def has(a: Server, offset: int, *, installed: bool = False) -> Effects:
    """Follower c has that much of the snapshot."""
    message = SnapshotReply(term=a.raft.term, index=Index(5), offset=offset, installed=installed)
    return a.receive("c", message)


def mode(a: Server, name: str = "c") -> str:
    """How a follower is fed."""
    return next(peer.mode for peer in a.raft.peers() if peer.id == name)


def test_follower_whose_next_entry_is_compacted_is_sent_the_snapshot() -> None:
    """§5.3: chunk by chunk, each after the one before was acknowledged."""
    a = compacted()

    asked = needs_snapshot(a)
    sent = a.step(was_read(0))
    again = has(a, 4)

    assert asked == Effects(read_snapshot=(read(0),))
    assert sent == Effects(send_now=(Send(targets=("c",), message=chunk(0)),))
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


def test_snapshot_that_is_gone_is_replaced_by_the_newest() -> None:
    """§5.3, F8: the disk keeps the newest only; sending begins anew with that."""
    a = compacted(compaction_tail_entries=0)
    needs_snapshot(a)
    newer = snapshot_of(b"newer", index=7, term=3)
    a.apply_all()
    a.step(SnapshotTaken(snapshot=newer))

    effects = a.step(SnapshotRead(request=read(0), data=None))

    question = ReadSnapshot(target="c", snapshot=newer, offset=0, bytes_max=4)
    assert effects == Effects(read_snapshot=(question,))


def test_follower_that_has_an_older_snapshot_gets_the_newer_one() -> None:
    """§5.3, F8: while it received one, the log was compacted further."""
    a = compacted(compaction_tail_entries=0)
    needs_snapshot(a)
    newer = snapshot_of(b"newer", index=7, term=3)
    a.apply_all()
    a.step(SnapshotTaken(snapshot=newer))

    effects = has(a, 10, installed=True)

    question = ReadSnapshot(target="c", snapshot=newer, offset=0, bytes_max=4)
    assert effects == Effects(read_snapshot=(question,))


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
    """DESIGN §3: the core keeps a bounded tail; storage has the rest."""
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
    """DESIGN §3: while storage reads, nothing asks again."""
    a = evicted()
    rejects(a, 3, (1, 1))

    assert a.propose(b"x").fetch == ()


def test_entries_compacted_meanwhile_end_in_a_snapshot() -> None:
    """DESIGN §3: storage answers with nothing, and the log begins later now."""
    a = evicted()
    asked = rejects(a, 3, (1, 1))
    a.raft.state.config = attrs.evolve(a.config, compaction_tail_entries=0)
    a.step(SnapshotTaken(snapshot=snapshot_of(DATA, index=4, term=2)))

    effects = a.step(Fetched(fetch=asked.fetch[0], runs=()))

    assert mode(a) == "snapshotting"
    assert messages_to("c", effects) == []


def test_entries_read_back_for_a_former_leader_are_dropped() -> None:
    """DESIGN §3: only leaders send."""
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


# ── receiving one ────────────────────────────────────────────────────────────────────────────────────


def test_chunk_is_written_and_then_acknowledged() -> None:
    """§5.3: what is acknowledged is on disk."""
    a = behind()

    taken = a.receive("b", chunk(0))
    written = a.persist()

    part = SnapshotWrite(snapshot=SNAPSHOT, offset=0, data=b"0123")
    assert taken == Effects(persist=Write(sequence=1, chunk=part))
    assert written == Effects(send_now=(reply(4),))


def test_last_chunk_takes_the_place_of_the_log() -> None:
    """§5.3: a log that does not have the snapshot's last entry is worth nothing; whole files only."""
    a = behind("1 1 1 1 1 1 1")
    a.receive("b", chunk(0))
    a.persist()

    taken = a.receive("b", chunk(4, 6))
    written = a.persist()

    part = SnapshotWrite(snapshot=SNAPSHOT, offset=4, data=b"456789")
    assert taken == Effects(
        persist=Write(sequence=2, chunk=part),
        events=(ConfigurationChanged(index=Index(1), configuration=ABC),),
    )
    assert written == Effects(
        send_now=(reply(10, installed=True),),
        install=SNAPSHOT,
        events=(SnapshotInstalled(index=Index(5)),),
    )
    log = a.raft.state.log
    assert (log.base_index, log.base_term, log.last_index) == (5, 2, 5)
    assert (a.raft.commit_index, a.raft.durable_index) == (5, 5)


def test_snapshot_is_installed_only_when_durable() -> None:
    """§5.3: until its file has its name on disk, a crash would leave the old log (F6)."""
    a = behind()

    effects = a.receive("b", chunk(0, 10))

    assert effects.install is None
    assert a.raft.durable_index == 0
    assert messages_to("b", effects) == []


def test_repeated_last_chunk_is_answered_only_when_durable() -> None:
    """§5.3: however often it is repeated (F10)."""
    a = behind()
    a.receive("b", chunk(0, 10))

    before = a.receive("b", chunk(0, 10))
    a.persist()
    after = a.receive("b", chunk(0, 10))

    assert before == Effects()
    assert after == Effects(send_now=(reply(10, installed=True),))


def test_entries_behind_the_snapshot_go_on_from_it() -> None:
    """§5.3: they are written with or after it, applied after it, and acknowledged with it."""
    a = behind()
    a.receive("b", chunk(0, 10), append(3, (5, 2), "3", commit=6))

    effects = a.persist()

    assert effects.install == SNAPSHOT
    assert [run.first for run in effects.apply] == [6]
    assert AppendAccepted(term=Term(3), index=Index(6)) in messages_to("b", effects)


def test_empty_snapshot_is_one_empty_chunk() -> None:
    """§5.3: a machine without state has a snapshot too."""
    nothing = snapshot_of(b"", index=5, term=2)
    a = behind()

    a.receive("b", SnapshotChunk(term=Term(3), snapshot=nothing, offset=0, data=b""))

    assert a.persist().install == nothing


def test_repeated_chunk_is_not_written_again() -> None:
    """§5.3: it says what is wanted next instead (F10)."""
    a = behind()
    a.receive("b", chunk(0))
    a.persist()

    assert a.receive("b", chunk(0)) == Effects(send_now=(reply(4),))


def test_chunk_beyond_a_gap_is_not_written() -> None:
    """§5.3: chunks that overtake others are asked for again (F10)."""
    a = behind()
    first = a.receive("b", chunk(4))
    a.receive("b", chunk(0))
    a.persist()

    effects = a.receive("b", chunk(8))

    assert first == Effects(send_now=(reply(0),))
    assert effects == Effects(send_now=(reply(4),))


def test_chunk_while_the_one_before_is_written_waits() -> None:
    """§5.3: one is under way at a time; the write's end says what is next."""
    a = behind()
    a.receive("b", chunk(0))

    assert a.receive("b", chunk(4)) == Effects()


def test_one_chunk_a_step() -> None:
    """§5.3: of several that arrive together the first is taken."""
    a = behind()

    effects = a.receive("b", chunk(0), chunk(4))

    assert effects.persist == Write(
        sequence=1, chunk=SnapshotWrite(snapshot=SNAPSHOT, offset=0, data=b"0123")
    )


def test_second_snapshot_of_a_step_waits() -> None:
    """§5.3: also if it is another one; its leader asks again."""
    newer = snapshot_of(DATA, index=6, term=2)
    a = behind()

    effects = a.receive("b", chunk(0), chunk(0, of=newer))

    assert effects.persist is not None
    assert effects.persist.chunk == SnapshotWrite(snapshot=SNAPSHOT, offset=0, data=b"0123")


def test_streams_of_two_snapshots_do_not_mix() -> None:
    """§5.3: with another snapshot reception begins anew (F10)."""
    newer = snapshot_of(DATA, index=6, term=2)
    a = behind()
    a.receive("b", chunk(0))
    a.persist()

    early = a.receive("b", chunk(4, of=newer))
    taken = a.receive("b", chunk(0, of=newer))

    assert early == Effects(send_now=(reply(0, index=6),))
    assert taken.persist is not None
    assert taken.persist.chunk == SnapshotWrite(snapshot=newer, offset=0, data=b"0123")


def test_streams_of_two_leaders_do_not_mix() -> None:
    """§5.3: snapshots at one index need not be the same bytes, so a new leader begins anew (F10)."""
    a = behind()
    a.receive("b", chunk(0))
    a.persist()

    effects = a.receive("c", chunk(4, term=4))

    message = SnapshotReply(term=Term(4), index=Index(5), offset=0, installed=False)
    assert messages_to("c", effects) == [message]


def test_write_of_a_deposed_leaders_chunk_is_not_answered() -> None:
    """§5.3: its sender leads no more, and the next leader begins anew."""
    a = behind()
    a.receive("b", chunk(0))
    a.receive("c", heartbeat(4))

    a.persist_all()

    assert not [send for send in a.sent if isinstance(send.message, SnapshotReply)]


def test_chunk_written_after_its_leader_was_lost_is_answered_to_nobody() -> None:
    """§5.3: should the leader be heard again, it learns where to go on."""
    a = behind()
    a.receive("b", chunk(0))
    a.time_out()

    written = a.persist()
    again = a.receive("b", chunk(0))

    assert written == Effects()
    assert reply(4) in again.send_now


def test_candidate_does_not_answer_for_what_it_received_before() -> None:
    """§5.3: who campaigns has left the leader that sent the snapshot, and its term."""
    a = behind()
    a.receive("b", chunk(0))
    a.stand()

    assert not [send for send in a.sent if isinstance(send.message, SnapshotReply)]


def test_snapshot_with_another_checksum_is_not_taken_over() -> None:
    """§5.3: bytes that are not the snapshot's are thrown away, and people are told (F10)."""
    wrong = attrs.evolve(SNAPSHOT, checksum=zlib.crc32(b"other"))
    a = behind("1 1 1")

    effects = a.receive("b", chunk(0, 10, of=wrong))
    again = a.receive("b", chunk(4, of=wrong))

    assert effects == Effects(
        send_now=(reply(0),),
        events=(PeerMisbehaved(peer=who("b"), what="snapshot 5 has another checksum"),),
    )
    assert again == Effects(send_now=(reply(0),))
    assert a.terms == "1 1 1"


def test_snapshot_that_the_log_contains_changes_no_entry() -> None:
    """§5.3: a log that has the snapshot's last entry keeps what follows; all up to it is committed (F1)."""
    a = behind("1 1 2 2 2 2 2")

    effects = a.receive("b", chunk(0))

    assert effects.persist is None
    assert messages_to("b", effects) == [
        SnapshotReply(term=Term(3), index=Index(5), offset=10, installed=True)
    ]
    assert (a.terms, a.raft.commit_index) == ("1 1 2 2 2 2 2", 5)


def test_snapshot_with_another_last_entry_discards_the_whole_log() -> None:
    """§5.3: an entry of another term at its index shows that the log's end is worthless (F1)."""
    a = behind("1 1 1 1 1 1")

    a.receive("b", chunk(0, 10))
    a.persist()

    assert (a.raft.state.log.last_index, a.raft.state.log.last_term) == (5, 2)
    assert a.disk.runs == []


def test_stale_snapshot_is_answered_with_what_is_there() -> None:
    """§5.3: it brings nothing, but its leader must learn so (F3)."""
    a = behind("1 1 2 2 2 2 2")
    a.receive("b", append(3, (7, 2), commit=7))

    effects = a.receive("b", chunk(0))

    assert messages_to("b", effects) == [
        SnapshotReply(term=Term(3), index=Index(5), offset=10, installed=True)
    ]


def test_stale_snapshot_is_not_acknowledged_before_the_log_is_durable() -> None:
    """§3.8: what replaces it must be on disk itself."""
    a = behind("1 1")
    a.receive("b", append(3, (2, 1), "2 2 2", commit=5))

    effects = a.receive("b", chunk(0))

    assert messages_to("b", effects) == []


def test_configuration_of_the_snapshot_is_in_force() -> None:
    """§5.1: whatever uncommitted configuration the discarded log had (F2)."""
    four = group("abcd")
    snapshot = snapshot_of(DATA, index=5, term=2, configuration=four)
    a = behind("1 1")

    a.receive("b", chunk(0, 10, of=snapshot))

    assert a.raft.configuration == four


def test_restart_before_the_snapshot_is_durable_finds_the_old_log() -> None:
    """§5.3: old or new, never a gap (F6)."""
    a = behind("1 1 1")
    a.receive("b", chunk(0, 10))
    a.restart()
    old = (a.raft.state.log.base_index, a.raft.last_index)
    a.receive("b", heartbeat(3), chunk(0, 10))
    a.persist_all()

    a.restart()

    assert old == (0, 3)
    assert (a.raft.state.log.base_index, a.raft.last_index, a.raft.commit_index) == (5, 5, 5)


def test_candidate_that_gets_a_chunk_follows_its_sender() -> None:
    """§5.3, §3.4: a leader of its own term has spoken (F14)."""
    a = candidate("1 1", term=2)

    a.receive("b", chunk(0, term=3))

    assert (a.raft.role, a.raft.leader) == ("follower", "b")


def test_chunk_of_a_second_leader_is_dropped() -> None:
    """§3.4: one leader a term."""
    a = behind()

    effects = a.receive("c", chunk(0))

    assert [type(it) for it in effects.events] == [PeerMisbehaved]
    assert effects.persist is None


def test_application_in_flight_is_overtaken_by_a_snapshot() -> None:
    """§5.3: the machine's late report of older entries moves nothing back (C6, F4)."""
    a = behind("1 1")
    a.receive("b", append(3, (2, 1), commit=2))
    a.receive("b", chunk(0, 10))
    a.persist()

    a.step(Applied(index=Index(2)))
    a.step(Applied(index=Index(5)))

    assert a.raft.state.applied_index == 5


def test_snapshot_that_overtakes_another_is_the_one_installed() -> None:
    """§5.3: a newer one that arrives while the first is written takes its place (F4)."""
    newer = snapshot_of(DATA, index=6, term=2)
    a = behind()
    a.receive("b", chunk(0, 10))
    a.receive("b", chunk(0, 10, of=newer))

    first, second = a.persist(1), a.persist(1)

    assert (first.install, second.install) == (None, newer)
    assert a.raft.commit_index == 6


def test_barred_server_does_not_acknowledge_a_snapshot() -> None:
    """DESIGN §4: nothing it says may be counted."""
    a = behind()
    a.step(Barred(reason="rolled back"))
    a.receive("b", chunk(0))

    assert a.persist().send_now == ()


def test_snapshot_durable_after_its_leader_was_lost_is_installed_all_the_same() -> None:
    """§5.3: it is committed state, whoever sent it; only the answer has no address."""
    a = behind()
    a.receive("b", chunk(0, 10))
    a.time_out()

    effects = a.persist()

    assert effects.install == SNAPSHOT
    assert effects.send_now == ()


def test_nobody_leads_before_its_snapshot_is_known_durable() -> None:
    """§3.8: the own vote was written after the snapshot, so a leader's machine has the snapshot."""
    five = group("abcde")
    snapshot = attrs.evolve(SNAPSHOT, configuration=five)
    a = behind("1 1", configuration=five)
    a.receive("b", chunk(0, 10, of=snapshot))
    a.time_out()
    for voter in "cd":
        a.receive(voter, PreVoteReply(term=Term(4), granted=True))
    a.perform()  # all is on disk and the vote requests leave, but the core has not heard of it
    for voter in "cde":
        a.receive(voter, VoteReply(term=Term(4), granted=True))
    early = a.raft.role

    effects = a.persist()

    assert (early, a.raft.role) == ("candidate", "leader")
    assert effects.install == snapshot


def test_heartbeats_tell_of_the_snapshots_index() -> None:
    """§5.3: a heartbeat's answer claims what is durable, the snapshot included."""
    a = behind()
    a.receive("b", chunk(0, 10))
    before = a.receive("b", heartbeat(3, round=5))
    a.persist()

    after = a.receive("b", heartbeat(3, round=6))

    claims = [getattr(it, "index", None) for it in messages_to("b", before)]
    assert claims == [0]
    assert [getattr(it, "index", None) for it in messages_to("b", after)] == [5]
