"""The letters of a scenario: each stays where it is until a command says that it arrives or is lost.

Law: letters of one kind on one link arrive in the order in which they were sent, unless some were held.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from raftkit.messages import Message
from raftkit.model import Identity, NodeId
from raftkit.testing.scenario.words import message_words

__all__ = ["Letter", "Link", "Network", "Path"]

Link = tuple[NodeId, NodeId]
"From one, to the other."


@attrs.frozen(eq=False)
class Letter:
    """A message on its way."""

    sender: Identity
    "Who sent it."
    target: NodeId
    "To whom."
    message: Message
    "What."

    def __str__(self) -> str:
        return f"{self.sender.id}->{self.target} {message_words(self.message)}"


@attrs.frozen(kw_only=True)
class Path:
    """Which letters a command means."""

    senders: frozenset[NodeId]
    "From one of these."
    targets: frozenset[NodeId]
    "To one of these."
    kind: type[Message] | None = None
    "Of this kind; None: of any."

    def __le__(self, other: Path) -> bool:
        """Whether all its letters are also the other's."""
        return (
            self.senders <= other.senders
            and self.targets <= other.targets
            and other.kind in (None, self.kind)
        )

    def __contains__(self, letter: Letter) -> bool:
        return (
            letter.sender.id in self.senders
            and letter.target in self.targets
            and (self.kind is None or isinstance(letter.message, self.kind))
        )


@attrs.define
class Network:
    """All that was sent and has neither arrived nor been lost."""

    letters: list[Letter] = attrs.field(factory=list[Letter])
    "On their way, in the order in which they were sent."
    held: list[Letter] = attrs.field(factory=list[Letter])
    "Set aside: they arrive only when they are released."
    holds: list[Path] = attrs.field(factory=list[Path])
    "What is sent along these is set aside."
    cut: set[Link] = attrs.field(factory=set[Link])
    "Links that lose what would arrive."

    def send(self, letter: Letter) -> None:
        """A server sends it."""
        held = any(letter in path for path in self.holds)
        (self.held if held else self.letters).append(letter)

    def find(self, path: Path, count: int | None) -> list[Letter]:
        """The first `count`, or all, that are on their way along `path`."""
        return [letter for letter in self.letters if letter in path][:count]

    def take(self, letters: Iterable[Letter]) -> None:
        """These are on their way no more."""
        gone = set(letters)
        self.letters = [letter for letter in self.letters if letter not in gone]

    def hold(self, path: Path) -> list[Letter]:
        """Set aside what is on its way along `path`, now and from now on. Returns the former."""
        self.holds.append(path)
        found = self.find(path, None)
        self.take(found)
        self.held.extend(found)
        return found

    def let_pass(self, path: Path) -> None:
        """Carry again what is sent along `path`; what was set aside stays so."""
        self.holds = [it for it in self.holds if not it <= path]

    def release(self, path: Path, count: int | None) -> list[Letter]:
        """What was set aside along `path`, or the first `count` of it, is on its way again: it goes first."""
        self.let_pass(path)
        found = [letter for letter in self.held if letter in path][:count]
        self.held = [letter for letter in self.held if letter not in found]
        self.letters[:0] = found
        return found
