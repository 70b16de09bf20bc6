"""What commands have in common: why they can't. And those that run nodes: names, a directory, Ctrl-C.

Law: what can't be is refused before anything is started.
"""

from __future__ import annotations

import signal
import string
import tempfile
from pathlib import Path

import trio

__all__ = [
    "INTERRUPTED",
    "CannotLook",
    "CannotStart",
    "cancel_on_signal",
    "data_directory",
    "first_of",
    "names_of",
]

INTERRUPTED = 130
"Exit code after Ctrl-C, as a shell gives it."


class CannotStart(Exception):
    """An option asks for what can't be. Says what, and what to do."""


class CannotLook(Exception):
    """What was asked for can't be looked at. Says why, in one line."""


def names_of(size: int) -> tuple[str, ...]:
    """What the nodes of a group of that size are called: a, b, c and so on."""
    return tuple(string.ascii_lowercase[:size])


def data_directory(path: Path | None, *, prefix: str) -> Path:
    """Where the nodes live: empty, and there. `path` None: a temporary one, called `prefix`….

    Raises CannotStart if it can't be.
    """
    if path is None:
        return Path(tempfile.mkdtemp(prefix=prefix))
    try:
        path.mkdir(parents=True, exist_ok=True)
        found = next(path.iterdir(), None)
        if found is None:
            # Only the attempt tells whether it can be written to.
            tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise CannotStart(f"--data {path}: {error.strerror or error}") from error
    if found is not None:
        raise CannotStart(
            f"--data {path} is not empty ({found.name} is there, of an earlier run or of one that uses it "
            "now): give a new directory, or delete this one"
        )
    return path


async def cancel_on_signal(scope: trio.CancelScope) -> None:
    """End `scope` at the first Ctrl-C, as a shell expects: everything is closed, nothing is claimed."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return


def first_of(failed: ExceptionGroup[Exception]) -> BaseException:
    """What failed first: the rest are its consequences."""
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
