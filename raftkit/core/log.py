"""The log in memory: terms of all entries, payloads of a bounded tail (§3.5, §5.1).

Laws: indexes are contiguous from `base_index` + 1; terms never decrease; stamps never decrease. Entries
are held as the runs in which they came, so an entry costs no object, and a run that is sent, written
and applied is one object throughout. Only applied entries are ever evicted from memory.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import attrs

from raftkit.errors import RaftInternalError
from raftkit.model import Index, Run, Term

__all__ = ["Log"]


@attrs.define(kw_only=True)
class Log:
    """All entries after `base_index`."""

    base_index: Index = Index(0)
    "The entry before the first; compacted, or 0."
    base_term: Term = Term(0)
    "Its term."
    base_time_ns: int = 0
    "No stamp is below this."
    base_elapsed_ns: int = 0
    "No stamp is below this."
    last_index: Index = Index(0)
    "The last entry, or `base_index` where there is none."
    _runs: list[Run] = attrs.field(factory=list[Run])
    "The tail in memory: contiguous and ending at `last_index`."
    _firsts: list[Index] = attrs.field(factory=list[Index])
    "`first` of each of `_runs`, for bisection."
    _term_firsts: list[Index] = attrs.field(factory=list[Index])
    "First index of each term in the log above the base, ascending."
    _term_values: list[Term] = attrs.field(factory=list[Term])
    "Those terms, ascending."
    tail_bytes: int = 0
    "Payload bytes of `_runs`."
    written_bytes: int = 0
    "Payload bytes of all that was ever appended, since the start; never decreases."

    @property
    def first_held(self) -> Index:
        """The first index whose payload is in memory; `last_index` + 1 where none is."""
        return self._firsts[0] if self._firsts else Index(self.last_index + 1)

    @property
    def last_term(self) -> Term:
        """Term of the last entry."""
        return self._term_values[-1] if self._term_values else self.base_term

    @property
    def last_stamps(self) -> tuple[int, int]:
        """(time_ns, elapsed_ns) below which no new entry may be stamped."""
        if self._runs:
            return self._runs[-1].time_ns, self._runs[-1].elapsed_ns
        return self.base_time_ns, self.base_elapsed_ns

    def term(self, index: Index) -> Term | None:
        """The term of the entry at `index`; None where the log has no such entry (any more)."""
        if index > self.last_index or index < self.base_index:
            return None
        place = bisect_right(self._term_firsts, index) - 1
        return self._term_values[place] if place >= 0 else self.base_term

    def last_index_of_term_up_to(self, index: Index, term: Term) -> Index:
        """The highest index at or below `index` whose term is at or below `term`, at least the base.

        Two logs can't agree above it if one has `term` at `index`: whole terms are skipped (§3.5).
        """
        index = min(index, self.last_index)
        place = bisect_right(self._term_values, term)
        if place < len(self._term_firsts):
            index = min(index, Index(self._term_firsts[place] - 1))
        return max(index, self.base_index)

    def first_conflict(self, run: Run) -> Index | None:
        """The first index of `run` where this log has another entry, or none. None: it has all of `run`.

        Entries of one index and term are the same entry (Log Matching, §3.5), and a term's entries are
        contiguous, so comparing terms is enough. `run` must begin at most one after the last entry.
        """
        assert self.base_index < run.first <= self.last_index + 1
        place = bisect_left(self._term_values, run.term)
        if place == len(self._term_values) or self._term_values[place] != run.term:
            return run.first
        end = (
            self._term_firsts[place + 1] - 1
            if place + 1 < len(self._term_firsts)
            else self.last_index
        )
        if run.first < self._term_firsts[place]:
            return run.first
        return None if run.last <= end else Index(max(end + 1, run.first))

    def append(self, run: Run) -> None:
        """Append `run`, which begins after the last entry."""
        assert run.first == self.last_index + 1
        assert run.term >= self.last_term
        assert len(run) > 0
        self._runs.append(run)
        self._firsts.append(run.first)
        if not self._term_values or run.term != self._term_values[-1]:
            self._term_firsts.append(run.first)
            self._term_values.append(run.term)
        size = run.size
        self.tail_bytes += size
        self.written_bytes += size
        self.last_index = run.last

    def truncate(self, first: Index) -> None:
        """Remove `first`, which must be in memory, and all after it."""
        assert self.first_held <= first <= self.last_index
        place = bisect_right(self._firsts, first) - 1
        cut = self._runs[place]
        self.tail_bytes -= sum(run.size for run in self._runs[place:])
        del self._runs[place:], self._firsts[place:]
        if cut.first < first:
            kept = cut.cut(cut.first, Index(first - 1))
            self._runs.append(kept)
            self._firsts.append(kept.first)
            self.tail_bytes += kept.size
        keep_terms = bisect_left(self._term_firsts, first)
        del self._term_firsts[keep_terms:], self._term_values[keep_terms:]
        self.last_index = Index(first - 1)

    def slice(self, first: Index, bytes_max: int, last: Index | None = None) -> tuple[Run, ...]:
        """Entries from `first`, which is in memory, to `last`: as many as fit, but at least one.

        Runs are given whole where they fit, so that who encodes one for the disk can send the same bytes.
        """
        last = self.last_index if last is None else last
        assert self.first_held <= first <= last <= self.last_index
        found: list[Run] = []
        for place in range(bisect_right(self._firsts, first) - 1, len(self._runs)):
            run = self._runs[place]
            if run.first > last:
                break
            run = run.cut(max(run.first, first), min(run.last, last))
            size = run.size
            if size > bytes_max:
                found.extend(_prefix(run, bytes_max, at_least_one=not found))
                break
            found.append(run)
            bytes_max -= size
        return tuple(found)

    def evict(self, bytes_max: int, applied: Index) -> None:
        """Forget the oldest payloads until at most `bytes_max` are held; never above `applied`."""
        gone = 0
        while (
            self.tail_bytes > bytes_max
            and gone < len(self._runs)
            and self._runs[gone].last <= applied
        ):
            self.tail_bytes -= self._runs[gone].size
            gone += 1
        if gone:
            # What is evicted leaves its stamp behind, or an emptied tail would forget time.
            self.base_time_ns = self._runs[gone - 1].time_ns
            self.base_elapsed_ns = self._runs[gone - 1].elapsed_ns
            del self._runs[:gone], self._firsts[:gone]

    def compact(self, index: Index) -> None:
        """Let the log begin after `index`, an entry of it (§5.1)."""
        term = self.term(index)
        if term is None:
            raise RaftInternalError(f"compaction to {index}, which the log does not have")
        place = bisect_right(self._firsts, index)
        if place:
            before = self._runs[place - 1]
            self.base_time_ns, self.base_elapsed_ns = before.time_ns, before.elapsed_ns
        if place and self._runs[place - 1].last > index:
            place -= 1
            left = self._runs[place].cut(Index(index + 1), self._runs[place].last)
            self.tail_bytes -= self._runs[place].size - left.size
            self._runs[place], self._firsts[place] = left, left.first
        self.tail_bytes -= sum(run.size for run in self._runs[:place])
        del self._runs[:place], self._firsts[:place]
        terms = bisect_right(self._term_firsts, index)
        if terms and (terms == len(self._term_firsts) or self._term_firsts[terms] > index + 1):
            # The term of `index` goes on after it.
            terms -= 1
            self._term_firsts[terms] = Index(index + 1)
        del self._term_firsts[:terms], self._term_values[:terms]
        if self.last_index == index:
            self._term_firsts.clear()
            self._term_values.clear()
        self.base_index, self.base_term = index, term

    def reset(self, index: Index, term: Term, time_ns: int, elapsed_ns: int) -> None:
        """Forget everything: a snapshot up to `index` has taken its place (§5.3)."""
        self._runs.clear()
        self._firsts.clear()
        self._term_firsts.clear()
        self._term_values.clear()
        self.tail_bytes = 0
        self.base_index, self.base_term = index, term
        self.base_time_ns, self.base_elapsed_ns = time_ns, elapsed_ns
        self.last_index = index

    def check(self) -> None:
        """Assert the laws of this log. Costs its whole length."""
        expected = self.first_held
        for run, first in zip(self._runs, self._firsts, strict=True):
            assert run.first == first == expected, "the log is contiguous"
            assert run.term == self.term(run.first) == self.term(run.last), "terms are as indexed"
            expected = Index(run.last + 1)
        assert expected == self.last_index + 1, "the log ends at its last entry"
        assert self._term_firsts == sorted(set(self._term_firsts)), "terms begin in order"
        assert self._term_values == sorted(set(self._term_values)), "terms never decrease"
        assert self.tail_bytes == sum(run.size for run in self._runs), "bytes are accounted"


def _prefix(run: Run, bytes_max: int, *, at_least_one: bool) -> tuple[Run, ...]:
    """The first entries that fit of a `run` that does not, as no run or one."""
    count = 0
    while (bytes_max := bytes_max - len(run.payloads[count])) >= 0:
        count += 1
    count = max(count, int(at_least_one))
    return (run.cut(run.first, Index(run.first + count - 1)),) if count else ()
