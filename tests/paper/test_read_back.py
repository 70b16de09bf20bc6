"""Entries that the core no longer has in memory, read back from storage for those behind."""

from __future__ import annotations

import attrs

from raftkit.messages import Effects, Fetch, Fetched, Send, SnapshotTaken
from raftkit.model import Index
from tests.paper.lagging import DATA, entries_of, mode, rejects
from tests.paper.server import (
    RETRY,
    Server,
    append,
    beat,
    commands,
    everyone_answers,
    heartbeat,
    leader,
    messages_to,
    noop,
    snapshot_of,
)


def evicted() -> Server:
    """A leader that keeps no applied payload in memory; its log is 1 1 1 2."""
    a = leader("1 1 1", matched=False, tail_bytes_max=0)
    everyone_answers(a, "b")
    a.apply_all()
    a.take_sent()
    return a


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
