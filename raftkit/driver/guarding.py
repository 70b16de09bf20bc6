"""Something that runs while a body runs, each guarded separately, and never more than one error.

Laws: the nursery sees nothing but Cancelled. What runs and fails cancels the body, and its error is
raised `from` the body's; otherwise what the body raised leaves untouched.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar, cast

import trio

from raftkit.errors import NodeFailed, RaftError, RaftInternalError

__all__ = ["meaningful", "open_guarded"]

T = TypeVar("T")

logger = logging.getLogger("raftkit")


@asynccontextmanager
async def open_guarded(run: Callable[[trio.TaskStatus[T]], Awaitable[None]]) -> AsyncGenerator[T]:
    """Yield what `run` starts with; cancel it when the body ends, and the body when it fails."""
    failure: BaseException | None = None
    raised: BaseException | None = None
    around: BaseException | None = None

    async def guarded(task_status: trio.TaskStatus[T]) -> None:
        nonlocal failure
        try:
            await run(task_status)
        except BaseException as error:
            failure = meaningful(error)
            if failure is None:
                raise  # Cancelled, and nothing else
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            value: T = await nursery.start(guarded)
            try:
                yield value
            except BaseException as error:  # noqa: BLE001 - raised again below
                raised = error
            nursery.cancel_scope.cancel()
    except BaseException as error:  # noqa: BLE001 - Cancelled, or `run` failed before it started
        around = error
    if failure is not None:
        cause = meaningful(raised) if raised is not None else None
        raise _foreseen(failure) from cause or failure.__cause__
    if raised is not None:
        raise raised
    if around is not None:
        raise around


def meaningful(error: BaseException) -> BaseException | None:
    """The one error that counts of all that happened at once; None if that is only Cancelled."""
    found = [it for it in _leaves(error) if not isinstance(it, trio.Cancelled)]
    # What ends a node by its own words comes first, then what anybody raised on purpose.
    for kind in (NodeFailed, RaftError, KeyboardInterrupt, SystemExit):
        for it in found:
            if isinstance(it, kind):
                return it
    return found[0] if found else None


def _foreseen(failure: BaseException) -> BaseException:
    """`failure`, or what to raise for one that nobody raised on purpose."""
    if isinstance(failure, RaftError | KeyboardInterrupt | SystemExit):
        return failure
    logger.error("an error that raftkit did not foresee", exc_info=failure)
    return RaftInternalError(
        f"{type(failure).__name__}: {failure}: please report it, with what was logged before"
    )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for it in group.exceptions:
            yield from _leaves(it)
    else:
        yield error
