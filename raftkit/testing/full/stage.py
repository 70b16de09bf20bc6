"""What makes a run of trio repeatable, and the story that is told of it.

Laws: within `repeatable` the scheduler draws from the seed alone, and nothing is collected but by counting
references, so that no finalizer runs at a moment that depends on what ran before. Every line of a story,
shown or not, goes into its hash.
"""

from __future__ import annotations

import gc
import hashlib
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import trio
import trio._core._run as _trio_run

from raftkit.model import NodeId

__all__ = ["Story", "repeatable"]

_SHOWN = 160
"Characters of a message that readers see."

# Its two names for this are private, and meant for Hypothesis, which needs the same.
_scheduler: dict[str, Any] = _trio_run.__dict__


@contextmanager
def repeatable(seed: int) -> Generator[None]:
    """Within, a `trio.run` under a `MockClock` that uses no threads does the same whenever it is done."""
    chance, before = _scheduler["_r"].getstate(), _scheduler["_ALLOW_DETERMINISTIC_SCHEDULING"]
    collects = gc.isenabled()
    gc.disable()
    _scheduler["_ALLOW_DETERMINISTIC_SCHEDULING"] = True
    _scheduler["_r"].seed(f"raftkit full world {seed}")
    try:
        yield
    finally:
        _scheduler["_ALLOW_DETERMINISTIC_SCHEDULING"] = before
        _scheduler["_r"].setstate(chance)
        if collects:
            gc.enable()


class Story:
    """What happens in a world, line by line."""

    def __init__(self, show: Callable[[str], None] | None) -> None:
        self.show = show
        "Is given every line, where somebody wants to read it."
        self.lines = 0
        "Told so far."
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        """Equal for equal stories."""
        return self._hash.hexdigest()

    def tell(self, what: str) -> None:
        """Add a line, with the time."""
        line = f"{trio.current_time():10.5f} {what}"
        self.note(line.encode())
        self.lines += 1
        if self.show is not None:
            self.show(line)

    def note(self, what: bytes) -> None:
        """Add what matters to the hash and not to readers."""
        self._hash.update(what)

    def overhear(self, sender: NodeId, receiver: NodeId, body: object) -> None:
        """Show to readers what one says to another. It is no line of the story."""
        if self.show is not None:
            said = f"{body!r:.{_SHOWN}}".replace("\n", " ")
            self.show(f"{trio.current_time():10.5f}   {sender} → {receiver} {said}")

    @contextmanager
    def hearing_logs(self) -> Generator[None]:
        """Within, what nodes log is told here and nowhere else."""
        logger, handler = logging.getLogger("raftkit"), _Ear(self)
        level, propagate = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


class _Ear(logging.Handler):
    """Tells a story what is logged."""

    def __init__(self, story: Story) -> None:
        super().__init__()
        self._story = story

    def emit(self, record: logging.LogRecord) -> None:
        self._story.tell(f"  log {record.levelname.lower()}: {record.getMessage()}")
