"""Lines on stdout that never hold up whoever says them: a node must not wait for a terminal.

Laws: saying a line takes no time and may be done in any thread. A thread of its own writes them, in order.
Lines for which there is no room are dropped, and how many is said later. When nobody reads stdout any more
the rest is dropped in silence.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import attrs

__all__ = ["Line", "Lines", "open_lines"]

LINES_MAX = 1024
"That wait to be written."
LAST_SECONDS = 2.0
"At the end, until what is still waiting is given up."
_STDOUT = 1


@attrs.frozen
class Line:
    """One thing that happened."""

    event: str
    "What kind of thing, in snake case."
    words: str
    "For people."
    facts: Mapping[str, object] = attrs.field(factory=dict[str, object])
    "For programs: what JSON can say."


@attrs.define(eq=False)
class Lines:
    """What is to be written."""

    _json: bool
    "Whether each line is a JSON object."
    _queue: queue.Queue[str | None] = attrs.field(
        init=False, factory=lambda: queue.Queue[str | None](LINES_MAX)
    )
    _dropped: int = attrs.field(init=False, default=0)
    "Since the last line for which there was room."
    _turn: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def say(self, line: Line) -> None:
        """Have `line` written, if there is room."""
        with self._turn:
            if self._dropped:
                facts = {"count": self._dropped}
                if self._put(Line("dropped", f"{self._dropped} lines are missing", facts)):
                    self._dropped = 0
            if self._dropped or not self._put(line):
                self._dropped += 1

    def _put(self, line: Line) -> bool:
        words = line.words
        if self._json:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            words = json.dumps({"time": now, "event": line.event, "words": words, **line.facts})
        with suppress(queue.Full):
            self._queue.put_nowait(words)
            return True
        return False

    def write(self) -> None:
        """Write, until told to end."""
        heard = True
        while (words := self._queue.get()) is not None:
            data = memoryview(f"{words}\n".encode("utf-8", "backslashreplace"))
            try:
                while data and heard:
                    # Not by sys.stdout: its lock, held by a write that hangs, would hang the process's end.
                    data = data[os.write(_STDOUT, data) :]
            except OSError:
                heard = False

    def end(self) -> None:
        """Nothing follows."""
        with suppress(queue.Full):
            self._queue.put(None, timeout=LAST_SECONDS)


@attrs.define(eq=False)
class _Handler(logging.Handler):
    """Turns what raftkit logs into lines."""

    _lines: Lines

    def __attrs_pre_init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self._lines.say(Line(record.levelname.lower(), self.format(record)))


@contextmanager
def open_lines(*, json: bool) -> Generator[Lines]:
    """Write lines, and what raftkit logs among them, while the body runs."""
    lines = Lines(json)
    writer = threading.Thread(target=lines.write, name="raftkit-lines", daemon=True)
    handler = _Handler(lines)
    logger = logging.getLogger("raftkit")
    writer.start()
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        lines.end()
        writer.join(LAST_SECONDS)
