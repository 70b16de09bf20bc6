"""The text that the demo replicates, line by line.

Laws: lines are numbered from 1 and end at a newline byte, which is not part of them; what follows the last
newline is a line unless it is empty. A line need not be UTF-8 and may be empty; a carriage return
belongs to it. The text is read as often as it is needed and never held whole, so it must be a file that
gives the same bytes each time.
"""

from __future__ import annotations

import io
import stat
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import attrs

__all__ = ["KEPT_BYTES_MAX", "Line", "Survey", "Text", "default_text", "text_of"]

KEPT_BYTES_MAX = 4 * 1024 * 1024
"Of a longer line only so much is kept in memory: far more than an entry may hold, so it is refused whole."
_BLOCK_BYTES = 1024 * 1024


@attrs.frozen
class Line:
    """One line of the input."""

    number: int
    "Its place in the text, from 1."
    content: bytes
    "Without its newline; at most `KEPT_BYTES_MAX` bytes of it."
    size: int
    "Bytes of the whole line, without its newline."


@attrs.frozen(kw_only=True)
class Survey:
    """What is known of a text once it was read through. Equal surveys: equal texts."""

    lines: int
    "How many."
    digest: str
    "Hash of all its bytes."


@attrs.frozen
class Text:
    """An input, which can be read any number of times."""

    name: str
    "For people."
    open: Callable[[], BinaryIO]
    "A new stream from the beginning. May raise OSError."

    def lines(self) -> Iterator[Line]:
        """Every line, in order."""
        with self.open() as stream:
            number = 0
            while piece := stream.readline(KEPT_BYTES_MAX):
                number += 1
                content, size = piece.removesuffix(b"\n"), len(piece)
                while not piece.endswith(b"\n") and (piece := stream.readline(KEPT_BYTES_MAX)):
                    size += len(piece)
                yield Line(number, content, size - piece.endswith(b"\n"))

    def survey(self) -> Survey:
        """Read everything once. Blocks; run it in a thread."""
        newlines, last, digest = 0, b"\n", blake2b(digest_size=16)
        with self.open() as stream:
            while block := stream.read(_BLOCK_BYTES):
                newlines += block.count(b"\n")
                last = block[-1:]
                digest.update(block)
        return Survey(lines=newlines + (last != b"\n"), digest=digest.hexdigest())


def default_text() -> Text:
    """The help texts of Python's own language reference: real prose, on every machine."""
    from pydoc_data.topics import topics  # noqa: PLC0415 - half a megabyte, wanted only here

    content = "".join(topics.values()).encode()
    return Text("the text of pydoc_data.topics", lambda: io.BytesIO(content))


def text_of(path: Path) -> Text:
    """The text in a file. Raises OSError if it can't be read, or not twice."""
    # Looked at before it is opened: opening a pipe waits for somebody to write.
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError("no regular file, and it is read more than once: save it first")
    path.open("rb").close()
    return Text(str(path), lambda: path.open("rb"))
