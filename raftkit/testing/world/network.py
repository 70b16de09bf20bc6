"""The network of a simulated world: loses, repeats, delays and reorders messages; never changes one.

Where servers multicast, a message to several is one datagram: what happens at its source happens to it as a
whole, and a receiver that no multicasts reach gets none of them, but all that is for it alone.

Law: whatever was sent once may arrive again at any later time, as from a datagram that wandered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raftkit.messages import Message
from raftkit.model import Identity, NodeId
from raftkit.testing.world.stage import Stage

__all__ = ["Link", "Network"]

Link = tuple[NodeId, NodeId]


class Network:
    """All links, each in one direction."""

    def __init__(self, stage: Stage, receive: Callable[[Identity, NodeId, Message], None]) -> None:
        self.stage = stage
        self.cut: frozenset[Link] = frozenset()
        "Links that deliver nothing."
        self.deaf: frozenset[Link] = frozenset()
        "Links that deliver no multicast."
        self.clogged: dict[Link, float] = {}
        "Links that hold what they carry, and until when."
        self.history: list[tuple[Identity, NodeId, Message]] = []
        "Everything ever sent."
        self.sent = 0
        "Messages that servers sent, each target counted."
        self._receive = receive
        self._era = 0

    def send(self, sender: Identity, targets: Sequence[NodeId], message: Message) -> None:
        """Carry a message that a server sends."""
        self.sent += len(targets)
        self.history.extend([(sender, target, message) for target in targets])
        swarm, rng = self.stage.swarm, self.stage.rng
        if swarm.multicast and len(targets) > 1:
            self._multicast(sender, targets, message)
            return
        for target in targets:
            if swarm.loss and rng.random() < swarm.loss:
                continue
            self.carry(sender, target, message)
            if swarm.duplication and rng.random() < swarm.duplication:
                self.carry(sender, target, message)

    def _multicast(self, sender: Identity, targets: Sequence[NodeId], message: Message) -> None:
        """Of all that is lost, half is lost at the source, for all, and half on the way to each."""
        swarm, rng, half = self.stage.swarm, self.stage.rng, self.stage.swarm.loss / 2
        if half and rng.random() < half:
            return
        for _ in range(1 + (rng.random() < swarm.duplication)):
            delay = self._delay()
            for target in targets:
                if (sender.id, target) not in self.deaf and rng.random() >= half:
                    self._carry(delay, sender, target, message)

    def carry(self, sender: Identity, target: NodeId, message: Message) -> None:
        """Let a message arrive after a while."""
        self._carry(self._delay(), sender, target, message)

    def _delay(self) -> float:
        stage = self.stage
        delay = stage.around(stage.swarm.delay)
        if stage.swarm.straggle and stage.rng.random() < stage.swarm.straggle:
            delay *= 30.0
        return delay

    def _carry(self, delay: float, sender: Identity, target: NodeId, message: Message) -> None:
        self.stage.agenda.after(delay, self._arrive, self._era, sender, target, message)

    def forget(self) -> None:
        """Lose everything that is under way."""
        self._era += 1

    def _arrive(self, era: int, sender: Identity, target: NodeId, message: Message) -> None:
        link = sender.id, target
        if link in self.cut or era != self._era:
            return
        until = self.clogged.get(link, 0.0)
        if until > self.stage.agenda.now:
            wait = until - self.stage.agenda.now + self.stage.around(1.0)
            self.stage.agenda.after(wait, self._arrive, era, sender, target, message)
            return
        self._receive(sender, target, message)
