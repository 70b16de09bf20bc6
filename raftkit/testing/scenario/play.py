"""The words of a scenario's lines: whom they name, which letters, which links, and what all of it is about.

Law: nothing is guessed. A word that names nobody or nothing raises LocalProtocolError, which lists what there
is; a line that is not written as it should be raises NotUnderstoodError, and its command says how it is.
"""

from __future__ import annotations

import attrs

from raftkit.errors import LocalProtocolError
from raftkit.model import NodeId
from raftkit.testing.scenario.group import Group
from raftkit.testing.scenario.network import Link, Path
from raftkit.testing.scenario.server import Batching, Server
from raftkit.testing.scenario.words import KINDS

__all__ = ["NotUnderstoodError", "Play", "number", "take"]


class NotUnderstoodError(Exception):
    """A command is not written as it should be."""


def number(word: str) -> int:
    """The number that is written."""
    if not word.isdecimal():
        raise NotUnderstoodError(f"{word!r} is no number")
    return int(word)


def take(arguments: list[str], least: int, most: int | None = None) -> list[str]:
    """The words behind a command, of which there are `least` to `most`, or just as many."""
    if not least <= len(arguments) <= (least if most is None else most):
        excess = "few" if len(arguments) < least else "many"
        raise NotUnderstoodError(f"{len(arguments)} words are too {excess}")
    return arguments


@attrs.define
class Play:
    """What the commands of one scenario share."""

    batching: Batching = Batching.AS_WRITTEN
    "What servers take in one step."
    founded: Group | None = None
    "The group, once there is one."
    tickets: int = 0
    "Calls made so far: tickets count them."
    proposed: set[str] = attrs.field(factory=set[str])
    "Names of commands; each is proposed once."
    claims: list[str] = attrs.field(factory=list[str])
    "What was shown of servers, which no batching may change."

    @property
    def group(self) -> Group:
        """The group, which must be there."""
        if self.founded is None:
            raise LocalProtocolError("there is no group yet: begin with nodes")
        return self.founded

    def take_lines(self) -> list[str]:
        """What happened since this was asked last."""
        if self.founded is None:
            return []
        lines, self.founded.lines = self.founded.lines, []
        return lines

    # ── servers ──

    def server(self, name: str) -> Server:
        """The one of that name."""
        servers = self.group.servers
        if name not in servers:
            raise LocalProtocolError(f"there is no node {name!r}; there are: {', '.join(servers)}")
        return servers[name]

    def servers(self, names: str) -> list[Server]:
        """`a`, `a,b` or `*` for all."""
        chosen = list(self.group.servers) if names == "*" else names.split(",")
        return [self.server(name) for name in chosen]

    def alive(self, names: str) -> list[Server]:
        """Those of them that run; whoever is named must."""
        servers = self.servers(names)
        if names == "*":
            return [server for server in servers if server.raft is not None]
        for server in servers:
            _ = server.running  # which says so if it is down
        return servers

    def one(self, name: str) -> Server:
        """A single one, which must run."""
        servers = self.alive(name)
        if len(servers) != 1:
            raise NotUnderstoodError(f"{name!r} is not one node")
        return servers[0]

    def names(self, word: str) -> frozenset[NodeId]:
        """Names of `a`, `a,b` or `*`."""
        return frozenset(server.id for server in self.servers(word))

    # ── letters and links ──

    def path(self, word: str, kind: str | None = None) -> Path:
        """`a->b`, `a,b->*` or `*`, and what kind of message."""
        senders, arrow, targets = ("*", "->", "*") if word == "*" else word.partition("->")
        if not arrow:
            raise NotUnderstoodError(f"{word!r} is no path: a->b, a,b->c, a->* or *")
        if kind is not None and kind not in KINDS:
            raise LocalProtocolError(
                f"there are no messages {kind!r}; there are: {', '.join(KINDS)}"
            )
        return Path(
            senders=self.names(senders),
            targets=self.names(targets),
            kind=None if kind is None else KINDS[kind],
        )

    def letters(self, arguments: list[str]) -> tuple[Path, int | None]:
        """PATH [KIND] [COUNT]."""
        path, *more = take(arguments, 1, 3)
        if len(more) == 2:
            number(more[1])
        count = number(more.pop()) if more and more[-1].isdecimal() else None
        return self.path(path, *more[:1]), count

    def links(self, word: str) -> set[Link]:
        """`a|b,c` both ways, `a->b` one way."""
        both = "|" in word
        one, sign, other = word.partition("|" if both else "->")
        if not sign:
            raise NotUnderstoodError(f"{word!r} is no link: a|b, a|b,c or a->b")
        links = {(a, b) for a in self.names(one) for b in self.names(other) if a != b}
        return links | {(b, a) for a, b in links} if both else links
