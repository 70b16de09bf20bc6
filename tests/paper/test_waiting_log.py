"""§5.3 how long the log waits for who is sent a snapshot, while newer ones are cut."""

from __future__ import annotations

import pytest

from raftkit.core.state import WAIT_TIMEOUTS
from raftkit.messages import (
    AppendAccepted,
    Effects,
    ReadSnapshot,
    SnapshotRead,
    SnapshotTaken,
)
from raftkit.model import Index
from raftkit.snapshot import SnapshotMeta
from tests.paper.lagging import (
    DATA,
    compacted,
    entries_of,
    has,
    mode,
    needs_snapshot,
    read,
    rejected,
)
from tests.paper.server import (
    ELECTION_MAX,
    ELECTION_MIN,
    Server,
    beat,
    everyone_answers,
    group,
    leader,
    snapshot_of,
)


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


@pytest.mark.parametrize("sent", [0, 4])
def test_snapshot_that_is_gone_is_replaced_by_the_newest(sent: int) -> None:
    """§5.3, F8: disks keep what is read while the log reaches back to it; if not, sending begins anew.

    From the beginning, however much of the old one was sent: parts of two are no snapshot.
    """
    a = compacted(compaction_tail_entries=0)
    needs_snapshot(a)
    if sent:
        a.step(SnapshotRead(request=read(0), data=DATA[:sent]))
        has(a, sent)
    last = commits(a)
    cuts(a, last)

    effects = a.step(SnapshotRead(request=read(sent), data=None))

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
