"""Traps for what a command must not read: clocks, chance, the environment, files, names of the process.

Laws: a trap sees the call where it is made, by the function that is called, so `from time import time` hides
nothing. It changes no answer. What C code calls by itself (`map(time, …)`) it can't see: for that there is
the second process. Logging may look at the clock: it changes no state.
"""

from __future__ import annotations

import datetime as dt
import gc
import io
import logging
import os
import random
import socket
import sys
import sysconfig
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from traceback import walk_tb
from types import CodeType, FrameType, TracebackType
from typing import Any, Self

import attrs

from raftkit.driver import bytes_host, typed_host

__all__ = ["Traps", "place_of", "raised_at"]

_CLOCK = "use self.ctx.time_ns, or self.ctx.elapsed_ns for what expires"
_CHANCE = "use self.ctx.rng"
_OUTSIDE = "give it to the command as an argument"

_C_CALLS: dict[Any, tuple[str, str]] = {
    **{
        getattr(time, name): (f"time.{name}", _CLOCK)
        for name in (
            *("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"),
            *("process_time", "process_time_ns", "thread_time", "thread_time_ns"),
            *("localtime", "ctime", "mktime"),
        )
    },
    dt.datetime.now: ("datetime.now", _CLOCK),
    dt.datetime.utcnow: ("datetime.utcnow", _CLOCK),  # pyright: ignore[reportDeprecated]
    dt.datetime.today: ("datetime.today", _CLOCK),
    dt.date.today: ("date.today", _CLOCK),
    os.urandom: ("os.urandom", _CHANCE),
    os.getrandom: ("os.getrandom", _CHANCE),
    os.getpid: ("os.getpid", _OUTSIDE),
    os.uname: ("os.uname", _OUTSIDE),
    os.open: ("os.open", _OUTSIDE),
    io.open: ("open", _OUTSIDE),
    socket.gethostname: ("socket.gethostname", _OUTSIDE),
}
"Functions written in C: their names, and what to do instead. (`time.gmtime` reads a clock only sometimes.)"

_PYTHON_CALLS: dict[CodeType, tuple[str, str]] = {
    uuid.uuid1.__code__: ("uuid.uuid1", _CHANCE),
    uuid.getnode.__code__: ("uuid.getnode", _OUTSIDE),
    type(os.environ).__getitem__.__code__: ("os.environ", _OUTSIDE),
    type(os.environ).__iter__.__code__: ("os.environ", _OUTSIDE),
}
"Functions written in Python, by their code."

_SEED = random.Random.seed.__code__
_GLOBAL: object = vars(random)["_inst"]
_HOSTS = {typed_host.__name__, bytes_host.__name__}
"Where our code ends and the machine's begins."
_LIBRARIES = tuple(
    {sysconfig.get_path(it) for it in ("stdlib", "platstdlib", "purelib", "platlib")}
)


@attrs.define(eq=False)
class Traps:
    """Within a `with` block: the first thing that a command read and should not have."""

    sprung: str | None = None
    "Such as `read time.time (shop.py:31): use self.ctx.time_ns, …`; None if nothing was read."
    _before: Callable[..., Any] | None = None
    _collecting: bool = False

    def __enter__(self) -> Self:
        self._before, self._collecting = sys.getprofile(), gc.isenabled()
        gc.disable()  # finalizers and callbacks of others would run amid the command
        sys.setprofile(self._look)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.setprofile(self._before)
        if self._collecting:
            gc.enable()

    def _look(self, frame: FrameType, event: str, argument: Any) -> None:
        if self.sprung is not None:
            return
        if event == "c_call" and (found := _c_call(argument)) is not None:
            self.sprung = _report(*found, frame)
        elif event == "call" and (found := _python_call(frame)) is not None:
            self.sprung = _report(*found, frame.f_back)


def _c_call(function: Any) -> tuple[str, str] | None:
    if getattr(function, "__self__", None) is _GLOBAL:
        return f"random.{function.__name__}", _CHANCE
    return _C_CALLS.get(function)


def _python_call(frame: FrameType) -> tuple[str, str] | None:
    if frame.f_code is _SEED and frame.f_locals.get("a") is None:
        return "random.Random()", _CHANCE
    return _PYTHON_CALLS.get(frame.f_code)


def _report(name: str, instead: str, at: FrameType | None) -> str | None:
    """What was read and where; None if it was not the machine's code that did."""
    frames: list[FrameType] = []
    while at is not None and at.f_globals.get("__name__") not in _HOSTS:
        frames.append(at)
        at = at.f_back
    if at is None or not frames or any(_is_logging(it) for it in frames):
        return None
    # The line of the machine's own: libraries between it and the trap are named, not shown.
    own = next((it for it in frames if not _is_library(it.f_code)), frames[-1])
    between = frames[: frames.index(own)]
    through = f" through {_name_of(between[-1])}" if between else ""
    return f"read {name}{through} ({place_of(own.f_code.co_filename, own.f_lineno)}): {instead}"


def _is_logging(frame: FrameType) -> bool:
    return frame.f_code.co_filename == logging.__file__


def _is_library(code: CodeType) -> bool:
    # "<frozen …>" and what attrs generates are nobody's file.
    return code.co_filename.startswith(("<", *_LIBRARIES))


def _name_of(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_qualname}"


def place_of(file: str, line: int) -> str:
    """`shop.py:31`, relative to the working directory where it lies below."""
    path = Path(file)
    here = Path.cwd()
    return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{line}"


def raised_at(error: BaseException) -> str:
    """The innermost line of no library that `error` came through."""
    found = "?"
    for frame, line in walk_tb(error.__traceback__):
        if not _is_library(frame.f_code) or found == "?":
            found = place_of(frame.f_code.co_filename, line)
    return found
