"""A node under test, and what is done to its machine: the public API, as any program uses it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs

from raftkit import Node, open_node
from raftkit.cli.bench.machine import KEYS, Register, Table

__all__ = ["Subject", "open_subject"]


@attrs.frozen(kw_only=True)
class Subject:
    """A node under test, with what is done to its machine."""

    node: Node[Any]
    write: Callable[[int, int], Awaitable[object]]
    "Writes a value made of the first number, of so many bytes as the second says."
    read: Callable[[int], Awaitable[object]]
    "Reads a value, linearizably, that the number chooses."
    written: Callable[[], Awaitable[int]]
    "How many the machine has applied."


@asynccontextmanager
async def open_subject(machine: str, settings: dict[str, Any]) -> AsyncGenerator[Subject]:
    """A node of that machine, bytes or typed, opened with `settings`. Raises as `open_node`."""
    match machine:
        case "bytes":
            async with open_node(Register, **settings) as register:
                yield Subject(
                    node=register,
                    write=lambda number, size: register.execute(_value(number, size), session=None),
                    read=lambda _: register.read(lambda it: it.last),
                    written=lambda: register.read(lambda it: it.count),
                )
        case "typed":
            async with open_node(Table, **settings) as table:
                yield Subject(
                    node=table,
                    write=lambda number, size: table.execute(
                        Table.put(key=number % KEYS, value=_value(number, size))
                    ),
                    read=lambda number: table.read(Table.get(key=number % KEYS)),
                    written=lambda: table.read(Table.written()),
                )
        case _:
            raise AssertionError(machine)


def _value(number: int, size: int) -> bytes:
    return number.to_bytes(size, "big")
