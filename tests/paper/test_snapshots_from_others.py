"""§5.3 a snapshot names its bytes, so whoever holds it may give them; its leader sends what they do not."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from raftkit.messages import (
    Barred,
    Effects,
    PeerMisbehaved,
    SnapshotReply,
    SnapshotWrite,
    Write,
)
from raftkit.model import Index, Term
from raftkit.snapshot import SeekSnapshot, SnapshotFound, SnapshotMeta
from tests.paper.lagging import compacted, has, needs_snapshot, read, was_read
from tests.paper.server import (
    ELECTION_MAX,
    HEARTBEAT,
    RETRY,
    Server,
    append,
    beat,
    heartbeat,
    messages_to,
    snapshot_of,
    who,
)
from tests.paper.test_snapshots import DATA, SNAPSHOT, beginning, behind, chunk, reply


def elsewhere(offset: int, term: int = 3) -> SnapshotReply:
    """The answer to leader b of who needs nothing of it now."""
    return SnapshotReply(
        term=Term(term), index=Index(5), offset=offset, installed=False, elsewhere=True
    )


def seek(offset: int, of: SnapshotMeta = SNAPSHOT) -> SeekSnapshot:
    return SeekSnapshot(snapshot=of, offset=offset, leader="b")


def found(offset: int, size: int = 4, *, data: bytes = DATA, holder: str = "c") -> SnapshotFound:
    """What another holder gave."""
    return SnapshotFound(
        request=seek(offset), holder=who(holder), data=data[offset : offset + size]
    )


def nobody(offset: int) -> SnapshotFound:
    return SnapshotFound(request=seek(offset))


def begun(**more: Any) -> Server:
    """A follower that has four bytes of the leader's, and seeks the rest."""
    a = behind(**more)
    a.receive("b", chunk(0))
    a.persist()
    return a


def helped() -> Server:
    """One that has four more, of c's, and seeks the last two."""
    a = begun()
    a.step(found(4))
    a.persist()
    return a


# ── at the follower ──────────────────────────────────────────────────────────────────────────────────


def test_next_part_is_sought_elsewhere_beside_the_leader() -> None:
    """§5.3: which snapshot it is, only the leader can say: so the first part is the leader's."""
    a = behind()
    a.receive("b", chunk(0))

    effects = a.persist()

    assert effects == Effects(send_now=(reply(4),), seek_snapshot=seek(4))


def test_part_that_was_found_is_written_like_the_leaders() -> None:
    """§5.3: and the leader hears that what follows comes the same way."""
    a = begun()

    taken = a.step(found(4))
    written = a.persist()

    part = SnapshotWrite(snapshot=SNAPSHOT, offset=4, data=DATA[4:8])
    assert taken == Effects(persist=Write(sequence=a.disk.written, chunk=part))
    assert messages_to("b", written) == [elsewhere(8)]
    assert written.seek_snapshot == seek(8)


def test_last_part_that_was_found_takes_the_place_of_the_log() -> None:
    """§5.3: as the leader's would."""
    a = helped()

    a.step(found(8))
    last = a.persist()

    assert last.install == SNAPSHOT
    assert messages_to("b", last) == [reply(10, installed=True).message]


def test_leader_is_asked_again_when_nobody_else_has_it_any_more() -> None:
    """§5.3: it waits for nothing then."""
    a = helped()

    effects = a.step(nobody(8))

    assert effects == Effects(send_now=(reply(8),))


def test_that_nobody_else_has_it_is_no_news_to_a_leader_that_sends() -> None:
    """§5.3: it was never told to wait."""
    assert begun().step(nobody(4)) == Effects()


def test_every_part_is_sought_anew() -> None:
    """§5.3: others take their snapshot, or come into contact, a little later."""
    a = begun()
    a.step(nobody(4))
    a.receive("b", chunk(4))

    assert a.persist().seek_snapshot == seek(8)


def test_leaders_part_overtakes_a_slow_holder() -> None:
    """§5.3: what comes second is ignored, and the holder is relied upon from then on."""
    a = behind()
    of = snapshot_of(DATA * 2, index=5, term=2)
    a.receive("b", chunk(0, of=of))
    a.persist()

    a.receive("b", chunk(4, of=of))
    during = a.persist()
    late = a.step(SnapshotFound(request=seek(4, of), holder=who("c"), data=DATA[4:8]))
    a.receive("b", chunk(8, 2, of=of))
    after = a.persist()

    assert during == Effects(send_now=(reply(8),))
    assert late == Effects()
    assert messages_to("b", after) == [elsewhere(10)]
    assert after.seek_snapshot == seek(10, of)


@pytest.mark.parametrize(
    "answer",
    [
        found(4, holder="d"),
        found(9),
        nobody(4),
        attrs.evolve(found(8), request=seek(8, snapshot_of(DATA, index=6, term=2))),
    ],
    ids=["again", "beyond", "again nobody", "another snapshot"],
)
def test_answer_that_was_not_asked_for_is_ignored(answer: SnapshotFound) -> None:
    """§5.3: there is one question at a time."""
    assert helped().step(answer) == Effects()


def test_answer_to_who_receives_nothing_is_ignored() -> None:
    """§5.3: the snapshot is whole, or was never begun."""
    assert behind().step(found(4)) == Effects()


def test_wrong_bytes_cost_no_more_than_time() -> None:
    """§5.3: the whole has another checksum, so all of it is received again, of the leader alone."""
    a = begun()
    a.step(found(4, data=DATA[::-1]))
    a.persist()

    refused = a.step(found(8))
    again = a.receive("b", chunk(0))
    alone = a.persist()
    a.receive("b", chunk(4, 6))

    what = "snapshot 5 has another checksum"
    assert refused == Effects(
        send_now=(reply(0),), events=(PeerMisbehaved(peer=who("c"), what=what),)
    )
    assert again.persist is not None
    assert alone == Effects(send_now=(reply(4),))
    assert a.persist().install == SNAPSHOT


def test_wrong_bytes_of_the_leader_leave_others_in_question() -> None:
    """§5.3: nobody else gave any."""
    a = begun()
    a.step(nobody(4))

    wrong = attrs.evolve(chunk(4, 6), data=b"wrong!")
    (event,) = a.receive("b", wrong).events
    a.receive("b", chunk(0))

    assert isinstance(event, PeerMisbehaved)
    assert event.peer == who("b")
    assert a.persist().seek_snapshot == seek(4)


@pytest.mark.parametrize("committed", [0, 5])
def test_part_is_not_taken_once_the_log_has_the_entry(committed: int) -> None:
    """§5.3: what was acknowledged meanwhile is never given up for a snapshot."""
    a = begun()
    a.receive("b", append(3, (2, 1), "2 2 2 2 2 2"))
    a.receive("b", heartbeat(3, commit=committed))
    a.persist_all()

    effects = a.step(found(4, 6))

    assert effects == Effects()
    assert a.raft.last_index == 8


def test_candidate_takes_no_part() -> None:
    """§5.3: whoever leads next says what it is to have."""
    a = helped()
    a.tick(ELECTION_MAX)

    effects = a.step(found(8))

    assert a.raft.role == "pre-candidate"
    assert effects == Effects()


def test_next_leader_hears_that_others_give_it() -> None:
    """§5.3: what is sought is the same snapshot."""
    a = helped()

    effects = a.receive("c", chunk(0, term=4))
    a.persist_all()

    told = [send.message for send in (*effects.send_now, *a.sent) if send.targets == ("c",)]
    assert elsewhere(8, term=4) in told


def test_who_restarts_seeks_behind_what_it_had() -> None:
    """§5.3: as soon as a leader says which snapshot it is."""
    a = behind(received=beginning(4))

    assert a.receive("b", chunk(0)).seek_snapshot == seek(4)


def test_who_may_not_acknowledge_seeks_nothing() -> None:
    """§5.3: its leader could not be told."""
    a = behind()
    a.step(Barred(reason="rolled back"))
    a.receive("b", chunk(0))

    assert a.persist() == Effects()


# ── at the leader ────────────────────────────────────────────────────────────────────────────────────


def served(a: Server, offset: int, *, elsewhere: bool = True) -> Effects:
    """Follower c has that much, and says where the rest comes from."""
    message = SnapshotReply(
        term=a.raft.term, index=Index(5), offset=offset, installed=False, elsewhere=elsewhere
    )
    return a.receive("c", message)


def sending() -> Server:
    """A leader whose first chunk is on its way to c."""
    a = compacted()
    needs_snapshot(a)
    a.step(was_read(0))
    return a


def test_follower_that_is_served_elsewhere_is_sent_nothing() -> None:
    """§5.3: each part that comes has it wait again."""
    a = sending()

    assert served(a, 4) == Effects()
    a.tick(HEARTBEAT)
    assert served(a, 8) == Effects()


def after_a_tick(a: Server) -> Effects:
    """What a leader does that hears of both its followers."""
    a.tick()
    a.receive("b", beat(a))
    return a.receive("c", beat(a))


@pytest.mark.parametrize("rate, waits", [(0, 5 * RETRY), (40, 7 * RETRY)])
def test_leader_sends_what_does_not_come_from_elsewhere(rate: int, waits: int) -> None:
    """§5.3: a holder may die without a word. It is given time for two chunks at the rate."""
    a = compacted(snapshot_bytes_per_second=rate)
    needs_snapshot(a)
    a.step(was_read(0))
    served(a, 4)

    asked = [now for now in range(1, waits + 1) if after_a_tick(a).read_snapshot == (read(4),)]

    assert asked == [waits]


def test_leader_sends_on_at_once_when_it_is_told() -> None:
    """§5.3: the follower has found out before."""
    a = sending()
    served(a, 4)

    effects = served(a, 4, elsewhere=False)
    again = served(a, 4, elsewhere=False)

    assert effects == Effects(read_snapshot=(read(4),))
    assert again == Effects()


def test_late_word_that_others_serve_stops_nothing() -> None:
    """§5.3: of two answers of one offset the first counts, in whatever order they come."""
    a = sending()
    has(a, 4)

    late = served(a, 4)
    sent = a.step(was_read(4))

    assert late == Effects()
    assert len(messages_to("c", sent)) == 1
