"""Machines with one planted defect each, and two without: what the kit for machines must tell apart.

They are in a module of their own because the second process imports them.
"""

from __future__ import annotations

import datetime as dt
import logging
import operator
import os
import random
import secrets
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import partial
from time import time as now
from typing import Annotated, ClassVar, Literal, NewType

import attrs
from hypothesis import strategies as st

from raftkit import BytesStateMachine, Rejected, StateMachine, command, query, upgrade
from raftkit.statemachine import Batch, since

Sku = NewType("Sku", str)


class Size(Enum):
    SMALL = 1
    LARGE = 2


@attrs.frozen
class Item:
    sku: Sku
    count: int = 0
    tags: tuple[str, ...] = ()
    note: str = attrs.field(default="", metadata=since(2))


@attrs.frozen
class Price:
    cents: int = attrs.field(validator=attrs.validators.ge(0))
    currency: str = attrs.field(init=False, default="EUR")


@attrs.frozen
class SoldOut(Rejected):
    left: int


@attrs.define
class Shop(StateMachine):
    """A good one, with every kind of value that a command may take."""

    stock: dict[str, Item] = attrs.field(factory=dict)
    lines: list[tuple[str, float]] = attrs.field(factory=list)

    @command
    def deliver(self, sku: Sku, count: Literal[1, 2], tags: tuple[str, ...] = ()) -> int:
        before = self.stock.get(sku, Item(sku))
        self.stock[sku] = Item(sku, before.count + count, tags)
        return before.count + count

    @command(rejects=(SoldOut,))
    def sell(self, sku: Sku, price: Price | None, *, size: Size = Size.SMALL) -> Item:
        before = self.stock.get(sku, Item(sku))
        if before.count < size.value:
            raise SoldOut(before.count)
        self.stock[sku] = attrs.evolve(before, count=before.count - size.value)
        return self.stock[sku]

    @command
    def remark(
        self,
        values: list[dict[str | int, float | None]],
        data: bytes,
        pair: tuple[bool, int],
        item: Item | Price | None = None,
        *,
        later: Annotated[str, since(2)] = "",
    ) -> None:
        logging.getLogger("shop").info("remark %r %r %r", data, item, later)
        self.lines.append((f"{len(values)} {pair}", self.ctx.rng.random()))

    @command(since=2)
    def close(self) -> None:
        self.stock.clear()

    @query
    def count(self, sku: Sku) -> int:
        return self.stock[sku].count


@attrs.define
class Slots(BytesStateMachine):
    """A good one that speaks bytes: each command sets the slot that its first byte names to the rest."""

    slots: dict[bytes, bytes] = attrs.field(factory=dict)

    def apply(self, batch: Batch) -> Sequence[bytes]:
        return [self._set(it) for it in batch.commands]

    def _set(self, data: bytes) -> bytes:
        before = self.slots.get(data[:1], b"")
        self.slots[data[:1]] = data[1:]
        return before

    def snapshot(self) -> Iterable[bytes]:
        return [k + len(v).to_bytes(1, "big") + v for k, v in sorted(self.slots.items()) if k]

    def restore(self, chunks: Iterable[bytes]) -> None:
        for it in chunks:
            self.slots[it[:1]] = it[2:]


# ── planted: not the same in every process ───────────────────────────────────────────────────────────


@attrs.define
class Reader(StateMachine):
    """Reads what it must not, each in another way."""

    seen: list[float | str] = attrs.field(factory=list)

    @command
    def clock(self) -> None:
        self.seen.append(time.time())

    @command
    def clock_by_its_own_name(self) -> None:
        self.seen.append(now())

    @command
    def day(self) -> None:
        self.seen.append(str(dt.datetime.now(tz=dt.UTC)))

    @command
    def chance(self) -> None:
        self.seen.append(random.randrange(5))

    @command
    def chance_by_a_method(self) -> None:
        self.seen.append(random.random())

    @command
    def own_chance(self) -> None:
        self.seen.append(random.Random().random())

    @command
    def seeded_chance(self) -> None:
        self.seen.append(random.Random(len(self.seen)).random())

    @command
    def secret(self) -> None:
        self.seen.append(secrets.token_hex())

    @command
    def identity(self) -> None:
        self.seen.append(str(uuid.uuid4()))

    @command
    def environment(self) -> None:
        self.seen.append(os.environ.get("HOME", ""))

    @command
    def file(self) -> None:
        with open(__file__, encoding="utf-8") as it:  # noqa: PTH123 - the builtin itself
            self.seen.append(it.read(1))

    @command
    def logged(self) -> None:
        """A log record holds the time; it is nothing of the state."""
        logging.getLogger("shop").warning("seen %d", len(self.seen))

    @command
    def hidden_clock(self) -> None:
        self.seen.extend(map(_stamp, ["C calls Python, which calls C"]))

    @command
    def unseen_clock(self) -> None:
        """C calls C: no trap sees it."""
        self.seen.extend(map(operator.methodcaller("__call__"), [time.time]))


def _stamp(_: str) -> float:
    return time.monotonic()


@attrs.define
class Unordered(StateMachine):
    """Keeps the order of a set of strings."""

    seen: list[str] = attrs.field(factory=list)

    @command
    def visit(self, names: list[str]) -> None:
        self.seen.extend(set(names))


@attrs.define
class Hashing(StateMachine):
    """Answers with a hash of a string."""

    @command
    def bucket(self, name: str) -> int:
        return hash(name)


# ── planted: answers and refusals ────────────────────────────────────────────────────────────────────


@attrs.define
class Hasty(StateMachine):
    """Takes first and refuses afterwards."""

    total: int = 3

    @command
    def take(self, amount: int) -> int:
        self.total -= amount
        if self.total < 0:
            raise Rejected("too much")
        return self.total


@attrs.define
class Careless(StateMachine):
    """Has no `raise Rejected` where one is due."""

    counts: dict[str, int] = attrs.field(factory=dict)

    @command
    def open(self, name: str) -> None:
        self.counts[name] = 0

    @command
    def add(self, name: str) -> int:
        self.counts[name] += 1
        return self.counts[name]


@attrs.define
class Sloppy(StateMachine):
    """Puts into a field what it is not annotated to."""

    total: int = 0

    @command
    def halve(self) -> None:
        self.total = self.total / 2  # type: ignore[assignment]


@attrs.define
class Alarm(StateMachine):
    """Breaks when time, not a caller, calls it."""

    due_ns: int = 0

    @command
    def set(self, delay_ns: Literal[1, 2]) -> None:
        self.due_ns = self.ctx.elapsed_ns + delay_ns

    def next_deadline(self) -> int | None:
        return self.due_ns or None

    def on_clock(self) -> None:
        self.due_ns //= 0


# ── planted: snapshots ───────────────────────────────────────────────────────────────────────────────


@attrs.define
class Lost(StateMachine):
    """A lost update: counts in the class, which no snapshot holds, and copies it now and then."""

    total: int = 0
    _pending: ClassVar[list[int]] = []

    @command
    def add(self) -> int:
        self._pending.append(1)
        return self.total + len(self._pending)


@attrs.define
class Forgetful(Slots):
    """Its snapshot leaves one slot out."""

    def snapshot(self) -> Iterable[bytes]:
        return [it for it in super().snapshot() if it[:1] != b"b"]


@attrs.define
class Aliased(Slots):
    """Its snapshot is written from the live state."""

    def snapshot(self) -> Iterator[bytes]:
        for key in sorted(self.slots):
            yield key + len(self.slots[key]).to_bytes(1, "big") + self.slots[key]


@attrs.define
class Fragile(Slots):
    """Can't read an empty slot, which it wrote."""

    def restore(self, chunks: Iterable[bytes]) -> None:
        for it in chunks:
            self.slots[it[:1]] = it[2 : 2 + it[1] * it[1] // it[1]]


nameless = lambda: Shop()  # noqa: E731, PLW0108 - a factory as people write them
stocked = partial(Shop, stock={})


# ── versions ─────────────────────────────────────────────────────────────────────────────────────────


@attrs.define
class Till(StateMachine):
    """A good one of three versions."""

    cents: dict[str, int] = attrs.field(factory=dict)
    sales: int = attrs.field(default=0, metadata=since(2))

    @command
    def sell(
        self,
        sku: str,
        cents: Annotated[int, st.integers(0, 9)],
        times: Annotated[int, since(2)] = 1,
    ) -> int:
        self.cents[sku] = self.cents.get(sku, 0) + cents * times
        return self.cents[sku]

    @command(since=2)
    def count(self) -> int:
        self.sales += 1
        return self.sales

    @upgrade(to=3)
    def close_the_book(self) -> None:
        self.cents = {"before": sum(self.cents.values())}


@attrs.define
class EarlyTill(Till):
    """One that changes a field before its version is in force."""

    @command
    def start(self) -> None:
        self.sales += 1


@attrs.define
class ZeroTill(Till):
    """One with an upgrade that not every state survives."""

    @upgrade(to=3)
    def close_the_book(self) -> None:
        for it in self.cents.values():
            1 // it


@attrs.define
class ClockTill(Till):
    """One whose upgrade looks at a clock."""

    @upgrade(to=3)
    def close_the_book(self) -> None:
        self.cents = {str(time.time()): 1}
