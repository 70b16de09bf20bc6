"""Every node's state against the input, line for line.

Law: a line is *applied* only if every node holds it with the input's bytes and applied it once. Nothing is
taken from what the demo believes it did; only which lines were refused, and those must be nowhere.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

import attrs

from raftkit.cli.demo.text import Line

__all__ = ["Audit", "Findings", "pages"]

PAGE_LINES_MAX = 4096
PAGE_BYTES_MAX = 1024 * 1024
"A page ends after the line that reaches this, so that a comparison never holds a loop up for long."
_EXAMPLES = 5


@attrs.frozen(kw_only=True)
class Findings:
    """What the comparison found."""

    applied: int
    "Lines that every node holds as the input has them, applied once."
    lost: int
    "Lines that some node lacks, though they were not refused."
    altered: int
    "Lines that some node holds with other bytes, or holds though refused or not in the input."
    duplicated: int
    "Lines that some node applied more than once."
    digests: Mapping[str, str]
    "Node → hash of everything it holds: numbers, bytes, applications."
    examples: tuple[str, ...]
    "The first few things that are wrong, in words."


@attrs.define(eq=False, kw_only=True)
class Audit:
    """A comparison on its way through the pages of the input."""

    refused: Container[int]
    "Numbers of lines that no node may hold."
    repeats: Mapping[str, Mapping[int, int]]
    "Node → line → how often it was applied too often."
    counts: Mapping[str, int]
    "Node → how many lines it holds."
    _applied: int = attrs.field(init=False, default=0)
    _wrong: dict[str, int] = attrs.field(
        init=False, factory=lambda: dict.fromkeys(("lost", "altered", "duplicated"), 0)
    )
    _seen: dict[str, int] = attrs.field(init=False)
    "Node → how many lines it was seen to hold."
    _hashes: dict[str, blake2b] = attrs.field(init=False)
    _examples: list[str] = attrs.field(init=False, factory=list[str])

    def __attrs_post_init__(self) -> None:
        self._seen = dict.fromkeys(self.counts, 0)
        self._hashes = {node: blake2b(digest_size=16) for node in self.counts}

    def take(self, page: Sequence[Line], held: Mapping[str, Sequence[bytes | None]]) -> None:
        """Compare one page with what each node holds of it, as `Transcript.page` answered."""
        for node, contents in held.items():
            self._seen[node] += sum(content is not None for content in contents)
            self._absorb(node, page[0].number, contents)
        for place, line in enumerate(page):
            wrong: dict[str, list[str]] = {}
            for node, contents in held.items():
                for what in self._faults(node, line, contents[place]):
                    wrong.setdefault(what, []).append(node)
            for what, nodes in wrong.items():
                self._note(what, f"line {line.number} is {what} at {', '.join(nodes)}")
            self._applied += not wrong and line.number not in self.refused

    def conclude(self) -> Findings:
        """All pages were compared: what was found."""
        for node, count in self.counts.items():
            if count > self._seen[node]:
                surplus = count - self._seen[node]
                self._note(
                    "altered", f"{node} holds {surplus} lines that are not in the input", surplus
                )
        return Findings(
            applied=self._applied,
            **self._wrong,
            digests={node: it.hexdigest() for node, it in self._hashes.items()},
            examples=tuple(self._examples),
        )

    def _faults(self, node: str, line: Line, content: bytes | None) -> Iterator[str]:
        """What is wrong with one line at one node."""
        if line.number in self.refused:
            if content is not None:
                yield "altered"
        elif content is None:
            yield "lost"
        elif content != line.content:
            yield "altered"
        if line.number in self.repeats[node]:
            yield "duplicated"

    def _note(self, what: str, words: str, count: int = 1) -> None:
        self._wrong[what] += count
        if len(self._examples) < _EXAMPLES:
            self._examples.append(words)

    def _absorb(self, node: str, first: int, contents: Iterable[bytes | None]) -> None:
        """Add a page to the node's hash; lengths keep what is different apart."""
        into, repeats = self._hashes[node], self.repeats[node]
        for number, content in enumerate(contents, first):
            if content is not None:
                into.update(b"%d %d %d\n" % (number, 1 + repeats.get(number, 0), len(content)))
                into.update(content)


def pages(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """`lines`, in pages that are compared at once."""
    page: list[Line] = []
    size = 0
    for line in lines:
        page.append(line)
        size += line.size
        if size >= PAGE_BYTES_MAX or len(page) == PAGE_LINES_MAX:
            yield page
            page, size = [], 0
    if page:
        yield page
