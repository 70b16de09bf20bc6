"""`Log` against a plain list of entries: whatever is done to both, they answer alike."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raftkit.core.log import Log
from raftkit.errors import RaftInternalError
from raftkit.model import Index, Run, Term


class Plain(NamedTuple):
    """One entry of the list."""

    term: int
    stamp: int
    payload: bytes


def run_of(first: int, term: int, payloads: list[bytes], *, stamp: int = 0) -> Run:
    """A run of commands."""
    return Run(
        first=Index(first),
        term=Term(term),
        time_ns=stamp,
        elapsed_ns=stamp,
        payloads=tuple(payloads),
    )


PAYLOADS = st.lists(st.binary(max_size=4), min_size=1, max_size=5)


class LogAgainstAList(RuleBasedStateMachine):
    """`base` entries are gone; `held` is the first index whose payload may be asked for."""

    @initialize(index=st.integers(0, 3), term=st.integers(0, 2))
    def begin(self, index: int, term: int) -> None:
        self.log = Log()
        self.entries: list[Plain] = []
        self.base = 0
        self.base_plain = Plain(0, 0, b"")
        self.held = 1
        self.stamp = 0
        if index:
            self._reset(index, term)

    # ── what is done to both ──

    @precondition(lambda self: len(self.entries) < 25)
    @rule(more=st.sampled_from([0, 0, 1, 2]), payloads=PAYLOADS, later=st.integers(0, 3))
    def append(self, more: int, payloads: list[bytes], later: int) -> None:
        self.stamp += later
        term = max(self.last_term + more, 1)
        self.log.append(run_of(self.last + 1, term, payloads, stamp=self.stamp))
        self.entries += [Plain(term, self.stamp, it) for it in payloads]

    @precondition(lambda self: self.held <= self.last)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        first = data.draw(st.integers(self.held, self.last))
        self.log.truncate(Index(first))
        del self.entries[first - self.base - 1 :]
        self.stamp = self._stamp_at(self.last)

    @rule(bytes_max=st.integers(0, 20), data=st.data())
    def evict(self, bytes_max: int, data: st.DataObject) -> None:
        applied = data.draw(st.integers(self.base, self.last))
        before = self.log.first_held
        self.log.evict(bytes_max, Index(applied))
        self.held = self.log.first_held
        assert before <= self.held <= max(applied + 1, before)
        if self.log.tail_bytes > bytes_max:
            oldest = self.log.slice(Index(self.held), 1 << 30)[0]
            assert oldest.last > applied

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(self.base, self.last))
        self.base_plain = self._at(index)
        del self.entries[: index - self.base]
        self.log.compact(Index(index))
        self.base = index
        self.held = max(self.held, index + 1)

    @precondition(lambda self: len(self.entries) > 8)
    @rule(index=st.integers(0, 5), term=st.integers(0, 2))
    def reset(self, index: int, term: int) -> None:
        self._reset(self.last + index, self.last_term + term)

    def _reset(self, index: int, term: int) -> None:
        self.log.reset(Index(index), Term(term), self.stamp, self.stamp)
        self.entries = []
        self.base, self.base_plain = index, Plain(term, self.stamp, b"")
        self.held = index + 1

    # ── what both answer ──

    @rule()
    def every_question_about_terms(self) -> None:
        terms = range(self.last_term + 2)
        for index in range(self.base + 1, self.last + 1):
            assert self.log.term(Index(index)) == self._at(index).term
        for index in (*range(self.base), self.last + 1, self.last + 9):
            assert self.log.term(Index(index)) is None
        for index, term in product(range(self.base, self.last + 3), terms):
            found = self.log.last_index_of_term_up_to(Index(index), Term(term))
            assert found == self._last_index_of_term_up_to(index, term)
        for first, term, size in product(range(self.base + 1, self.last + 2), terms, (1, 2, 5)):
            other = run_of(first, term, [b""] * size)
            assert self.log.first_conflict(other) == self._first_conflict(other)

    @precondition(lambda self: self.held <= self.last)
    @rule(data=st.data(), bytes_max=st.integers(0, 30))
    def slice(self, data: st.DataObject, bytes_max: int) -> None:
        first = data.draw(st.integers(self.held, self.last))
        last = data.draw(st.none() | st.integers(first, self.last))
        expected: list[tuple[int, Plain]] = []
        left = bytes_max
        for index in range(first, (self.last if last is None else last) + 1):
            left -= len(self._at(index).payload)
            if left < 0 and expected:
                break
            expected.append((index, self._at(index)))
            if left < 0:
                break

        found = self.log.slice(Index(first), bytes_max, None if last is None else Index(last))

        assert expected == [
            (entry.index, Plain(entry.term, entry.time_ns, entry.payload))
            for run in found
            for entry in run
        ]

    @invariant()
    def laws_hold(self) -> None:
        self.log.check()
        assert self.log.last_index == self.last
        assert self.log.last_term == self.last_term
        assert self.log.first_held == self.held
        assert self.log.last_stamps == (self._stamp_at(self.last),) * 2

    # ── the list ──

    @property
    def last(self) -> int:
        return self.base + len(self.entries)

    @property
    def last_term(self) -> int:
        return self._at(self.last).term

    def _at(self, index: int) -> Plain:
        return self.base_plain if index == self.base else self.entries[index - self.base - 1]

    def _last_index_of_term_up_to(self, index: int, term: int) -> int:
        places = range(self.base, min(index, self.last) + 1)
        return max((it for it in places if self._at(it).term <= term), default=self.base)

    def _first_conflict(self, run: Run) -> int | None:
        places = range(run.first, run.last + 1)
        return next((it for it in places if it > self.last or self._at(it).term != run.term), None)

    def _stamp_at(self, index: int) -> int:
        return self._at(index).stamp


TestLogAgainstAList = pytest.mark.slow(LogAgainstAList.TestCase)
TestLogAgainstAList.settings = settings(max_examples=80, stateful_step_count=40)


def test_stamps_never_fall_below_those_of_the_compacted_entries() -> None:
    """What was compacted leaves its stamp behind, even if all that followed is cut."""
    log = Log()
    log.append(run_of(1, 1, [b"a", b"b"], stamp=70))
    log.append(run_of(3, 1, [b"c"], stamp=80))
    log.compact(Index(2))

    log.truncate(Index(3))

    assert log.last_stamps == (70, 70)


def test_whole_runs_are_given_as_the_objects_that_came() -> None:
    """Who encodes a run for the disk can send the same bytes."""
    log = Log()
    runs = [run_of(1, 1, [b"a", b"b"]), run_of(3, 2, [b"c"])]
    for run in runs:
        log.append(run)

    given = log.slice(Index(1), 100)

    assert [one is other for one, other in zip(given, runs, strict=True)] == [True, True]


@pytest.mark.parametrize("index", [0, 1, 9])
def test_compaction_to_what_the_log_does_not_have_is_our_bug(index: int) -> None:
    """It would leave a gap."""
    log = Log()
    log.reset(Index(2), Term(1), 0, 0)
    log.append(run_of(3, 1, [b"a"]))

    with pytest.raises(RaftInternalError, match="which the log does not have"):
        log.compact(Index(index))


@pytest.mark.parametrize("run", [run_of(2, 1, [b"a"]), run_of(4, 1, [b"a"]), run_of(3, 0, [b"a"])])
def test_run_that_does_not_follow_is_not_appended(run: Run) -> None:
    """Indexes are contiguous, terms never decrease."""
    log = Log()
    log.reset(Index(2), Term(1), 0, 0)

    with pytest.raises(AssertionError):
        log.append(run)
