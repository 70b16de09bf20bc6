"""What must hold in every state of an exploration, and what of the past is needed to judge it.

Laws here are of the whole group; what one server must not do its core asserts itself (`core/invariants.py`),
and `explore_server` asserts that nothing is acknowledged before it is durable.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import attrs

from raftkit.messages import VoteReply, VoteRequest
from raftkit.model import Identity, NodeId, Term
from raftkit.testing.explore.server import Entry, Kept, ServerStates

__all__ = ["Broken", "Laws", "Past"]


@attrs.frozen(kw_only=True)
class Past:
    """What must be remembered of the past to judge what comes, and to stop."""

    leaders: tuple[tuple[Term, NodeId], ...] = ()
    "Who led each term."
    committed: tuple[Entry, ...] = ()
    "The longest sequence that anybody committed."
    committed_in: tuple[Term, ...] = ()
    "The term in which each of these was committed."
    proposals: int = 0
    "Entries proposed so far."
    crashes: int = 0
    "So far."
    lapses: int = 0
    "The same."


class Broken(Exception):
    """A law was violated; the way there is not known yet."""

    def __init__(self, law: str, detail: str) -> None:
        super().__init__(law, detail)
        self.law, self.detail = law, detail


@attrs.define(eq=False)
class Laws:
    """The judge of one exploration."""

    states: ServerStates
    "Of its servers."
    _agreeing: set[tuple[int, int]] = attrs.field(init=False, factory=set[tuple[int, int]])
    "Numbers of servers whose logs were compared."
    _votes: dict[tuple[Identity, Term], dict[NodeId, int]] = attrs.field(
        init=False, factory=dict[tuple[Identity, Term], dict[NodeId, int]]
    )
    "By voter and term, for each candidate the messages, a bit for each, that say it got the vote."

    def judge(self, servers: Sequence[int], place: int, past: Past) -> Past:
        """What is to be remembered once the server at `place` is as it is now. Raises Broken."""
        for other in servers:
            self._judge_logs(servers[place], other)
        kept = self.states.kept[servers[place]]
        if kept.leads and (kept.term, kept.name) not in past.leaders:
            past = self._judge_leader(kept, past)
        return self._judge_commits(servers, kept, past)

    def _judge_logs(self, one: int, other: int) -> None:
        """Log Matching (§3.5): what has the same index and term has the same past."""
        if one == other or (one, other) in self._agreeing:
            return
        first, second = self.states.kept[one].log, self.states.kept[other].log
        for index in range(min(len(first), len(second)), 0, -1):
            if first[index - 1][0] == second[index - 1][0]:
                if first[:index] != second[:index]:
                    raise Broken("Log Matching", f"{words(first)} and {words(second)}")
                break
        self._agreeing |= {(one, other), (other, one)}

    def _judge_leader(self, kept: Kept, past: Past) -> Past:
        """One leader a term (§3.4), which has all that was committed before (§3.6.3)."""
        if kept.term in dict(past.leaders):
            raise Broken(
                "Election Safety", f"{kept.name} leads term {kept.term}, which had a leader"
            )
        _judge_completeness(kept, past)
        return attrs.evolve(past, leaders=tuple(sorted((*past.leaders, (kept.term, kept.name)))))

    def _judge_commits(self, servers: Sequence[int], kept: Kept, past: Past) -> Past:
        """What is committed once stays, at every server (§3.6.3), and is on a majority's disks (§10.2.1)."""
        committed = kept.committed
        shorter = min(len(committed), len(past.committed))
        if committed[:shorter] != past.committed[:shorter]:
            raise Broken(
                "State Machine Safety",
                f"{kept.name} commits {words(committed)} where {words(past.committed)} was",
            )
        if len(committed) == shorter:
            return past
        group = [self.states.kept[it] for it in servers]
        holders = [it.name for it in group if it.durable[: len(committed)] == committed]
        if len(holders) <= len(group) // 2:
            raise Broken(
                "Committed Is Durable",
                f"{kept.name} commits {words(committed)}, on disk at {', '.join(holders) or 'nobody'}",
            )
        terms = past.committed_in + (kept.term,) * (len(committed) - shorter)
        past = attrs.evolve(past, committed=committed, committed_in=terms)
        for other in group:
            if other.leads:
                # Who leads a later term already must have what is committed only now.
                _judge_completeness(other, past)
        return past

    def read_letter(self, number: int) -> None:
        """Remember the vote that the message of that number tells of, if any."""
        vote = self._vote(number)
        if vote is not None:
            voter, term, candidate = vote
            messages = self._votes.setdefault((voter, term), {})
            messages[candidate] = messages.get(candidate, 0) | 1 << number

    def judge_letter(self, mail: int, number: int) -> None:
        """One vote a term (§3.4), whatever crashed in between; `mail` was sent before. Raises Broken."""
        vote = self._vote(number)
        if vote is None:
            return
        voter, term, candidate = vote
        for other, messages in self._votes[voter, term].items():
            if other != candidate and mail & messages:
                raise Broken(
                    "One Vote", f"{voter.id} votes for {candidate} in term {term}, after {other}"
                )

    def _vote(self, number: int) -> tuple[Identity, Term, NodeId] | None:
        letter = self.states.letters[number]
        match letter.message:
            case VoteReply(granted=True, term=term):
                return letter.sender, term, letter.target
            case VoteRequest(term=term):
                return letter.sender, term, letter.sender.id  # a candidate votes for itself
            case _:
                return None


def _judge_completeness(kept: Kept, past: Past) -> None:
    """Leader Completeness (§3.6.3)."""
    # A candidate of long ago may win late: it needs what was committed before its own term.
    needed = past.committed[: bisect_left(past.committed_in, kept.term)]
    if kept.log[: len(needed)] != needed:
        raise Broken(
            "Leader Completeness",
            f"{kept.name} leads term {kept.term} with {words(kept.log)}, without {words(needed)}",
        )


def words(log: Sequence[Entry]) -> str:
    """A log in short: the term of each entry, with what a client wanted in it."""
    entries = (
        f"{term}{':' + payload.decode() if kind.value == 0 else ''}" for term, kind, payload in log
    )
    return f"[{' '.join(entries)}]"
