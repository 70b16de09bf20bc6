from __future__ import annotations

import attrs
import pytest
from hypothesis import given, strategies as st

from raftkit.driver.replies import EXPIRED, FORGOTTEN, VOID
from raftkit.driver.sessions import (
    OUTSTANDING_MAX,
    PENDING,
    Sessions,
    pack_header,
    unpack_header,
)
from raftkit.encoding import MalformedError
from raftkit.membership import Settings

SETTINGS = Settings()
BYTES_MAX = SETTINGS.session_reply_bytes_max
MS = 1_000_000


def _table(*ids: int) -> Sessions:
    table = Sessions()
    for it in ids or (1,):
        table.register(it, 0, SETTINGS)
    return table


def _apply(
    table: Sessions, session: int, seq: int, ack_below: int = 0, reply: bytes = b"ok"
) -> bytes | None:
    """None where the command was applied; else what it was answered."""
    admitted = table.admit(session, seq, ack_below, 0)
    if isinstance(admitted, bytes):
        return admitted
    table.record(session, seq, admitted, reply, BYTES_MAX)
    return None


def test_the_header_is_golden() -> None:
    header = pack_header(1, 2, 2**64 - 1)

    assert header.hex() == "00000000000000010000000000000002ffffffffffffffff"
    assert unpack_header(header + b"body") == (1, 2, 2**64 - 1)
    with pytest.raises(MalformedError, match="23 bytes are no session header"):
        unpack_header(header[:-1])


def test_a_number_is_applied_once_and_answered_alike_for_ever() -> None:
    table = _table()

    assert _apply(table, 1, 7, reply=b"first") is None
    assert _apply(table, 1, 7, reply=b"second") == b"first"
    assert table.reply(1, 7) == b"first"


def test_numbers_come_in_any_order() -> None:
    table = _table()

    assert [_apply(table, 1, seq) for seq in (5, 3, 4095, 0)] == [None] * 4


def test_a_number_below_the_floor_is_never_applied_again() -> None:
    table = _table()
    _apply(table, 1, 1)

    assert _apply(table, 1, 2, ack_below=2) is None
    assert _apply(table, 1, 1) == EXPIRED
    assert _apply(table, 1, 1, ack_below=0) == EXPIRED  # an old copy lowers nothing
    assert table.reply(1, 1) == EXPIRED
    assert _apply(table, 1, 2) == b"ok"


def test_a_number_below_its_own_floor_is_refused() -> None:
    assert _apply(_table(), 1, 3, ack_below=4) == EXPIRED


def test_a_number_beyond_the_window_is_refused_and_leaves_no_trace() -> None:
    table = _table()

    assert _apply(table, 1, OUTSTANDING_MAX) == EXPIRED
    assert _apply(table, 1, OUTSTANDING_MAX - 1) is None
    assert _apply(table, 1, OUTSTANDING_MAX, ack_below=1) is None


def test_an_unknown_session_is_expired() -> None:
    table = _table()

    assert _apply(table, 2, 1) == EXPIRED
    assert table.void(2, 1, 0, 0) == EXPIRED
    assert table.reply(2, 1) == EXPIRED
    assert len(table) == 1


def test_nothing_is_kept_of_a_nonce() -> None:
    assert _table().reply(1 << 63, 1) is None


def test_a_number_being_applied_is_pending() -> None:
    table = _table()
    floor = table.admit(1, 1, 0, 0)

    assert floor == 0
    assert table.admit(1, 1, 0, 0) == PENDING


# ── void ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_voided_number_is_never_applied() -> None:
    table = _table()

    assert table.void(1, 3, 0, 0) == VOID
    assert _apply(table, 1, 3) == VOID
    assert table.void(1, 3, 0, 0) == VOID


def test_a_void_after_the_command_gives_its_reply() -> None:
    table = _table()
    _apply(table, 1, 3, reply=b"done")

    assert table.void(1, 3, 0, 0) == b"done"
    assert table.void(1, 3, 4, 0) == EXPIRED


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────────


def test_replies_that_exceed_their_bound_are_forgotten_but_their_numbers_stay_used() -> None:
    table = _table()
    for seq, reply in enumerate((b"x" * 6, b"y" * 4, b"z")):
        floor = table.admit(1, seq, 0, 0)
        assert isinstance(floor, int)
        table.record(1, seq, floor, reply, 10)

    assert [table.reply(1, seq) for seq in range(3)] == [b"x" * 6, b"y" * 4, FORGOTTEN]
    assert _apply(table, 1, 2) == FORGOTTEN


def test_what_is_acknowledged_makes_room() -> None:
    table = _table()
    for seq in range(100):
        floor = table.admit(1, seq, seq, 0)
        assert isinstance(floor, int)
        table.record(1, seq, floor, b"x" * 10, 10)
        assert table.reply(1, seq) == b"x" * 10


def test_what_is_forgotten_does_not_depend_on_how_many_were_admitted_ahead() -> None:
    entries = [(0, 0), (1, 0), (2, 1), (3, 2)]
    one_by_one, ahead = _table(), _table()
    for seq, ack_below in entries:
        floor = one_by_one.admit(1, seq, ack_below, 0)
        assert isinstance(floor, int)
        one_by_one.record(1, seq, floor, b"x" * 6, 10)

    floors = [ahead.admit(1, seq, ack_below, 0) for seq, ack_below in entries]
    for (seq, _), floor in zip(entries, floors, strict=True):
        assert isinstance(floor, int)
        ahead.record(1, seq, floor, b"x" * 6, 10)

    assert one_by_one.capture() == ahead.capture()
    assert one_by_one.capture() == [[1, 2, 0, [2, b"x" * 6, 3, FORGOTTEN]]]


def test_an_idle_session_is_evicted_when_another_begins() -> None:
    settings = attrs.evolve(SETTINGS, session_idle_ms=10)
    table = Sessions()
    table.register(1, 0, settings)
    table.register(2, 0, settings)
    table.admit(1, 1, 0, 5 * MS)

    table.register(3, 10 * MS, settings)
    assert [it in table for it in (1, 2, 3)] == [True, True, True]
    table.register(4, 10 * MS + 1, settings)
    assert [it in table for it in (1, 2, 3, 4)] == [True, False, True, True]


def test_beyond_the_limit_the_longest_idle_is_evicted_and_of_equals_the_oldest() -> None:
    settings = attrs.evolve(SETTINGS, sessions_max=3)
    table = Sessions()
    for it in (1, 2, 3):
        table.register(it, 0, settings)
    table.admit(1, 1, 0, 7)

    table.register(4, 8, settings)
    assert [it in table for it in (1, 2, 3, 4)] == [True, False, True, True]
    table.register(5, 8, attrs.evolve(settings, sessions_max=1))
    assert [it in table for it in (1, 3, 4, 5)] == [False, False, False, True]


def test_a_void_or_a_copy_keeps_a_session_alive() -> None:
    settings = attrs.evolve(SETTINGS, session_idle_ms=10)
    table = Sessions()
    for it in (1, 2, 3):
        table.register(it, 0, settings)
    _apply(table, 1, 1)
    table.admit(1, 1, 0, 5 * MS)
    table.void(2, 1, 0, 5 * MS)

    table.register(4, 11 * MS, settings)

    assert [it in table for it in (1, 2, 3, 4)] == [True, True, False, True]


# ── snapshots ────────────────────────────────────────────────────────────────────────────────────────

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["apply", "void", "register"]),
        st.integers(1, 3),
        st.integers(0, 12),
        st.integers(0, 12),
        st.integers(0, 12),
    )
)
SMALL = attrs.evolve(SETTINGS, sessions_max=2, session_idle_ms=3)


def _run(
    table: Sessions, steps: list[tuple[str, int, int, int, int]], now: int = 0
) -> list[object]:
    seen: list[object] = []
    for place, (what, session, seq, ack_below, size) in enumerate(steps, now):
        elapsed_ns = place * MS
        if what == "register":
            table.register(session, elapsed_ns, SMALL)
        elif what == "void":
            seen.append(table.void(session, seq, ack_below, elapsed_ns))
        else:
            admitted = table.admit(session, seq, ack_below, elapsed_ns)
            seen.append(admitted)
            if isinstance(admitted, int):
                table.record(session, seq, admitted, b"r" * (size + 1), 30)
    return seen


@given(STEPS, STEPS)
def test_a_restored_table_goes_on_like_the_one_it_was_taken_from(before: list, after: list) -> None:  # type: ignore[type-arg]
    table = Sessions()
    table.register(1, 0, SMALL)
    _run(table, before)
    restored = Sessions.restored(iter(table.capture()))

    assert restored.capture() == table.capture()
    assert _run(restored, after, len(before)) == _run(table, after, len(before))
    assert restored.capture() == table.capture()


def test_a_capture_does_not_change_with_the_table() -> None:
    table = _table()
    _apply(table, 1, 1)
    captured = table.capture()

    _apply(table, 1, 2, ack_below=2)

    assert captured == [[1, 0, 0, [1, b"ok"]]]


@pytest.mark.parametrize(
    "plain",
    [5, [], [1, 2, 3], [1, 2, 3, [4]], ["1", 2, 3, []], [1, 2, 3, [4, 5]], [1, 2, 3, [b"", b""]]],
)
def test_what_is_no_session_is_refused(plain: object) -> None:
    with pytest.raises(MalformedError):
        Sessions.restored(iter([plain]))
