"""The machine of these tests: each feature of a declaration once."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal, NewType

import attrs

from raftkit.errors import Rejected
from raftkit.statemachine import StateMachine, command, query, since

Owner = NewType("Owner", str)


class Colour(Enum):
    RED = 1
    GREEN = 2


@attrs.frozen
class Account:
    owner: Owner
    balance: int = 0
    note: str = attrs.field(default="", metadata=since(2))


@attrs.frozen
class Insufficient(Rejected):
    missing: int
    owner: str


@attrs.define
class Bank(StateMachine):
    accounts: dict[str, Account] = attrs.field(factory=dict)
    log: list[tuple[str, int]] = attrs.field(factory=list)
    colour: Colour = Colour.RED
    drawn: int = 0
    label: str = attrs.field(default="plain", metadata=since(2))

    @command
    def put(self, owner: str, amount: int = 1, *, note: Annotated[str, since(2)] = "") -> int:
        """Pay in; the balance."""
        before = self.accounts.get(owner, Account(Owner(owner)))
        self.accounts[owner] = attrs.evolve(before, balance=before.balance + amount)
        self.log.append((owner, amount))
        return before.balance + amount

    @command(rejects=(Insufficient,))
    def take(self, owner: str, amount: int) -> int:
        """Draw; the balance."""
        before = self.accounts.get(owner)
        if before is None:
            raise Rejected(f"no account of {owner}")
        if before.balance < amount:
            raise Insufficient(amount - before.balance, owner)
        return self.put(owner, -amount)

    @command
    def paint(self, colour: Colour, how: Literal["thin", "thick"] | None = None) -> list[Colour]:
        before, self.colour = self.colour, colour
        return [before, colour]

    @command
    def draw(self) -> tuple[int, int, int, int, int]:
        self.drawn = self.ctx.rng.randrange(1 << 40)
        it = self.ctx
        return it.index, it.term, it.time_ns, it.elapsed_ns, self.drawn

    @command
    def stumble(self, how: str) -> None:
        self.drawn += 1
        match how:
            case "memory":
                raise MemoryError
            case "stack":
                raise RecursionError
            case "exit":
                raise SystemExit(3)
            case "disk":
                raise OSError(28, "No space left on device")
            case "words":
                raise OSError("no number")
            case "result":
                return 5  # type: ignore[return-value]
            case "rejected":
                raise Rejected(5)
            case _:
                raise ZeroDivisionError(how)

    @command(since=2)
    def close(self, owner: str) -> None:
        del self.accounts[owner]

    @query
    def balance(self, owner: str) -> int:
        return self.accounts[owner].balance

    @query
    def history(self) -> list[tuple[str, int]]:
        return self.log
