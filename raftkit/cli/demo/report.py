"""What the demo measured, and what follows from it: words, JSON, exit code.

Law: every number was measured; what was not is None. `verified` is computed from the findings and from
nothing else, so that no path through the demo can claim it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import attrs

from raftkit.cli.demo.audit import Findings

__all__ = ["DemoFailed", "Report"]


class DemoFailed(Exception):
    """The demo can't go on; says why."""


@attrs.frozen(kw_only=True)
class Report:
    """The end of a demo."""

    input: str
    "What was replicated."
    nodes: int
    "How many nodes."
    clients: int
    "How many clients."
    lines: int
    "Of the input."
    seconds: float
    "From the first node being opened to the end of the comparison."
    refused: tuple[str, ...] = ()
    "For each line that was refused: number, size, reason."
    findings: Findings | None = None
    "None if the states were never compared."
    failure: str = ""
    "Why the demo could not go on; empty if it went to its end."
    kills: int = 0
    "Nodes killed on purpose."
    victim: str = "leader"
    "What the killed node was: leader or follower."
    failover_gap_ms: float | None = None
    """After a leader was killed: from then to the first write acknowledged under the next one.
    After a follower was killed: the longest time without an acknowledgement since then."""
    sent_again: int = 0
    "Lines that were given to a node more than once, under one token."
    writes_per_s: float | None = None
    "Acknowledged lines a second, from the first sending to the last answer."
    p50_ms: float | None = None
    "Half of the acknowledged lines were answered within this, from their first sending."
    p99_ms: float | None = None
    "99 of 100 were."
    leaders: tuple[str, ...] = ()
    "Who led, in order."
    terms: tuple[int, ...] = ()
    "The terms they led, in the same order."

    @property
    def digests_equal(self) -> bool:
        """Whether all nodes hold the same."""
        return self.findings is not None and len(set(self.findings.digests.values())) == 1

    @property
    def why_not(self) -> str:
        """Why this is not verified; empty if it is."""
        found = self.findings
        if self.failure or found is None:
            return self.failure or "the states were not compared"
        if found.lost or found.altered or found.duplicated:
            counts = f"{found.lost} lost, {found.altered} altered, {found.duplicated} duplicated"
            return f"{counts}: {'; '.join(found.examples)}"
        if not self.digests_equal:
            return f"the digests differ: {dict(found.digests)}"
        if found.applied + len(self.refused) != self.lines:
            return (
                f"{self.lines} lines, but {found.applied} applied and {len(self.refused)} refused"
            )
        return ""

    @property
    def verified(self) -> bool:
        """Whether every line that was not refused is in every node's state exactly once."""
        return not self.why_not

    @property
    def exit_code(self) -> int:
        """0 only if everything is verified and nothing was refused."""
        return 0 if self.verified and not self.refused else 1

    def as_json(self) -> str:
        """One object in one line; None for what was not measured."""
        found = self.findings
        return json.dumps(
            {
                "nodes": self.nodes,
                "clients": self.clients,
                "input": self.input,
                "lines": self.lines,
                "applied": found and found.applied,
                "lost": found and found.lost,
                "altered": found and found.altered,
                "duplicated": found and found.duplicated,
                "refused": len(self.refused),
                "digests_equal": self.digests_equal,
                "digest": _common(found),
                "verified": self.verified,
                "why": self.why_not,
                "kills": self.kills,
                "failover_gap_ms": _rounded(self.failover_gap_ms),
                "sent_again": self.sent_again,
                "writes_per_s": _rounded(self.writes_per_s),
                "p50_ms": _rounded(self.p50_ms),
                "p99_ms": _rounded(self.p99_ms),
                "leaders": self.leaders,
                "terms": self.terms,
                "seconds": _rounded(self.seconds),
            }
        )

    def as_words(self) -> Iterator[str]:
        """The closing lines for people; the last one is the verdict."""
        yield (
            f"{_count(self.lines, 'line')} of {self.input}, {_count(self.nodes, 'node')}, "
            f"{_count(self.clients, 'client')}, {self.seconds:.1f} s"
        )
        if self.writes_per_s is not None and self.p50_ms is not None and self.p99_ms is not None:
            yield (
                f"{self.writes_per_s:,.0f} writes/s; half of the answers within {self.p50_ms:.1f} ms, "
                f"99 % within {self.p99_ms:.1f} ms"
            )
        if self.kills:
            yield self._kill_in_words()
        for words in self.refused:
            yield f"refused: {words}"
        if self.findings is not None:
            yield from _findings_in_words(self.findings, len(self.refused))
        yield "verified" if self.verified else f"NOT VERIFIED: {self.why_not}"

    def _kill_in_words(self) -> str:
        gap = "nothing was left to be written after that"
        if self.failover_gap_ms is not None:
            ms = f"{self.failover_gap_ms:,.0f} ms"
            gap = f"{ms} later a write was acknowledged under the next one"
            if self.victim == "follower":
                gap = f"writes were acknowledged with no gap above {ms} after that"
        reigns = zip(self.leaders, self.terms, strict=True)
        led = ", ".join(f"{leader} (term {term})" for leader, term in reigns)
        again = f"{_count(self.sent_again, 'open line')} sent again by token"
        return f"the {self.victim} was killed half-way, and {gap}; {again}; leaders: {led}"


def _findings_in_words(found: Findings, refused: int) -> Iterator[str]:
    yield (
        f"compared line for line: {found.applied:,} applied exactly once at every node, {found.lost} lost, "
        f"{found.altered} altered, {found.duplicated} duplicated, {refused} refused"
    )
    digest = _common(found)
    if digest is not None:
        yield f"the digests of {', '.join(found.digests)} are equal: {digest}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _common(found: Findings | None) -> str | None:
    """The digest that all nodes share, if they do."""
    if found is None or len(set(found.digests.values())) != 1:
        return None
    return next(iter(found.digests.values()))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
