"""§5.1 compaction, §5.3 snapshots received in chunks."""

from __future__ import annotations

import zlib
from typing import Any

import attrs
import pytest

from raftkit.messages import (
    AppendAccepted,
    Applied,
    Barred,
    ConfigurationChanged,
    Effects,
    PeerMisbehaved,
    PreVoteReply,
    Send,
    SnapshotChunk,
    SnapshotInstalled,
    SnapshotReply,
    SnapshotTaken,
    SnapshotWrite,
    VoteReply,
    Write,
)
from raftkit.model import Index, Kind, Term
from raftkit.snapshot import SnapshotBeginning, SnapshotMeta
from tests.paper.server import (
    ABC,
    Server,
    append,
    candidate,
    commands,
    entry,
    follower,
    group,
    heartbeat,
    leader,
    messages_to,
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


@pytest.mark.accept("U-52")
def test_own_snapshot_compacts_the_log_but_for_a_tail() -> None:
    """§5.1: what the snapshot holds may go; some of it stays for followers slightly behind."""
    a = leader("1 1 1 1 1 1", compaction_tail_entries=2)
    taken = snapshot_of(b"x", index=5, term=1)

    effects = a.step(SnapshotTaken(snapshot=taken))

    assert effects == Effects(persist=Write(sequence=a.unwritten[-1].sequence, compact_to=Index(3)))
    log = a.raft.state.log
    assert (log.base_index, log.base_term, log.last_index) == (3, 1, 7)
    assert a.raft.first_index == 4


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


def test_another_snapshot_at_the_same_index_is_the_one_sent_on() -> None:
    """§5.1, F17: it took the place of the first on disk, whose state was found to be wrong."""
    a = leader("1 1 1 1 1 1", compaction_tail_entries=0)
    a.step(SnapshotTaken(snapshot=snapshot_of(b"wrong", index=5, term=1)))
    mended = snapshot_of(b"right", index=5, term=1)

    a.step(SnapshotTaken(snapshot=mended))

    assert a.raft.state.snapshot == mended


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


# ── receiving one ────────────────────────────────────────────────────────────────────────────────────


def test_chunk_is_written_and_then_acknowledged() -> None:
    """§5.3: what is acknowledged is on disk."""
    a = behind()

    taken = a.receive("b", chunk(0))
    written = a.persist()

    part = SnapshotWrite(snapshot=SNAPSHOT, offset=0, data=b"0123")
    assert taken == Effects(persist=Write(sequence=1, chunk=part))
    assert written.send_now == (reply(4),)


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


@pytest.mark.accept("U-51")
def test_next_leader_goes_on_with_the_same_snapshot() -> None:
    """§5.3: servers cut snapshots at the same entries, so the same snapshot is the same bytes."""
    a = behind()
    a.receive("b", chunk(0))
    a.persist()

    first = a.receive("c", chunk(0, term=4))
    a.persist()
    a.receive("c", chunk(4, 6, term=4))
    last = a.persist()

    message = SnapshotReply(term=Term(4), index=Index(5), offset=4, installed=False)
    assert messages_to("c", first) == [message]
    assert last.install == SNAPSHOT


def beginning(size: int, data: bytes = DATA) -> SnapshotBeginning:
    """What storage found of a snapshot that was being received."""
    return SnapshotBeginning(snapshot=SNAPSHOT, size=size, checksum=zlib.crc32(data[:size]))


def test_receiver_that_restarts_goes_on_behind_what_it_had() -> None:
    """§5.3: received bytes are on disk, so an earlier life's are as good as this one's (F10)."""
    a = behind(received=beginning(4))

    told = a.receive("b", chunk(0))
    taken = a.receive("b", chunk(4, 6))
    last = a.persist()

    assert told.send_now == (reply(4),)
    assert taken.persist is not None
    assert taken.persist.chunk == SnapshotWrite(snapshot=SNAPSHOT, offset=4, data=DATA[4:])
    assert last.install == SNAPSHOT


def test_bytes_of_an_earlier_life_count_for_the_checksum() -> None:
    """§5.3: what was wrong before the restart is found when all is there, and received again."""
    a = behind(received=beginning(4, DATA[::-1]))

    effects = a.receive("b", chunk(4, 6))

    assert effects.persist is None
    assert messages_to("b", effects) == [reply(0).message]


@pytest.mark.parametrize("other", [DATA[::-1], DATA[:9]], ids=["checksum", "size"])
def test_streams_of_two_leaders_do_not_mix(other: bytes) -> None:
    """§5.3: snapshots at one index need not be the same bytes; with others a new leader begins anew (F10)."""
    a = behind()
    a.receive("b", chunk(0))
    a.persist()
    a.receive("c", heartbeat(4))
    a.persist()

    of_c = snapshot_of(other, index=5, term=2)
    effects = a.receive("c", chunk(4, of=of_c, term=4))

    message = SnapshotReply(term=Term(4), index=Index(5), offset=0, installed=False)
    assert messages_to("c", effects) == [message]


def test_chunk_of_a_deposed_leader_is_told_to_the_next() -> None:
    """§5.3: what is written when another leads is what that one may go on from."""
    a = behind()
    a.receive("b", chunk(0))
    a.receive("c", heartbeat(4))

    a.persist_all()

    told = [send for send in a.sent if isinstance(send.message, SnapshotReply)]
    message = SnapshotReply(term=Term(4), index=Index(5), offset=4, installed=False)
    assert told == [Send(targets=("c",), message=message)]


def test_mixture_of_two_snapshots_that_look_alike_is_not_taken_over() -> None:
    """§5.3: the whole has a checksum, whoever sent its parts; from a wrong one we begin anew (F10)."""
    a = behind()
    a.receive("b", attrs.evolve(chunk(0), data=b"wron"))
    a.persist()
    a.receive("c", heartbeat(4))
    a.persist()

    wrong = a.receive("c", chunk(4, 6, term=4))
    right = a.receive("c", chunk(0, 10, term=4))

    assert [type(it) for it in wrong.events] == [PeerMisbehaved]
    assert wrong.persist is None
    assert right.persist is not None
    assert a.persist().install == SNAPSHOT


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
    """§5.3: who campaigns has no leader to answer; the next one learns when it asks."""
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
    """Ours: nothing it says may be counted."""
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
