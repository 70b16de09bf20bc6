"""Proposals of other nodes, made here because this node leads.

Laws: a request number is proposed at most once, however often it arrives: its answer is remembered, and
what is older than anything remembered is ignored. Nothing is forwarded on (J7).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import attrs

from raftkit.core import Raft
from raftkit.driver.sessions import HEADER_BYTES, VERSION_BYTES
from raftkit.driver_messages import DriverMessage, Forward, ForwardAccepted, ForwardRefused
from raftkit.messages import Propose, Proposed, Refusal, Refused
from raftkit.model import Identity, Kind, NodeId

__all__ = ["Relay"]

REQUESTS_MAX = 4096
"Requests remembered of one node."
_ALLOWED = {Kind.COMMAND, Kind.SESSION, Kind.VOID, Kind.VERSION}


@attrs.define(eq=False)
class _Origin:
    """What one node forwarded."""

    answers: dict[int, ForwardAccepted | ForwardRefused | None] = attrs.field(
        factory=dict[int, "ForwardAccepted | ForwardRefused | None"]
    )
    "By request number; None while not answered."
    order: deque[int] = attrs.field(factory=deque[int])
    "The keys of `answers`, the oldest first."
    forgotten: int = 0
    "The highest request number that was remembered and is not any more."


@attrs.define(eq=False)
class Relay:
    """Forwards of others, and what became of them."""

    id: NodeId
    new_ticket: Callable[[], int]
    send: Callable[[Sequence[NodeId], DriverMessage], None]
    _origins: dict[Identity, _Origin] = attrs.field(init=False, factory=dict[Identity, _Origin])
    _tickets: dict[int, tuple[Identity, int]] = attrs.field(
        init=False, factory=dict[int, tuple[Identity, int]]
    )
    "Ticket of the proposal → who asked, and under which number."

    def on_forward(self, sender: Identity, message: Forward, raft: Raft) -> Propose | None:
        """What to propose for `sender`; None for a repetition, and for what is refused at once."""
        origin = self._origins.setdefault(sender, _Origin())
        if message.request in origin.answers:
            answer = origin.answers[message.request]
            if answer is not None:
                self.send((sender.id,), answer)
            return None
        if message.request <= origin.forgotten or not _is_proper(message):
            return None
        _remember(origin, message.request)
        if raft.leader != self.id:
            refusal = Refusal.NOT_LEADER
            self._answer(
                sender,
                ForwardRefused(request=message.request, reason=refusal, leader=raft.leader),
            )
            return None
        ticket = self.new_ticket()
        self._tickets[ticket] = (sender, message.request)
        return Propose(
            ticket=ticket, payloads=message.payloads, kinds=message.kinds, origin=sender.id
        )

    def on_answer(self, answer: Proposed | Refused) -> bool:
        """The core answered a proposal: whether it was one that is relayed."""
        asked = self._tickets.pop(answer.ticket, None)
        if asked is None:
            return False
        sender, request = asked
        match answer:
            case Proposed():
                told = ForwardAccepted(request=request, first=answer.first, term=answer.term)
                self._answer(sender, told)
            case Refused():
                no = ForwardRefused(request=request, reason=answer.reason, leader=answer.leader)
                self._answer(sender, no)
        return True

    def _answer(self, sender: Identity, answer: ForwardAccepted | ForwardRefused) -> None:
        self._origins[sender].answers[answer.request] = answer
        self.send((sender.id,), answer)


def _is_proper(message: Forward) -> bool:
    """Whether a correct node can have sent this: commands with headers, nothing that only leaders make."""
    kinds = message.kinds or ()
    if not _ALLOWED.issuperset(kinds) or any(len(it) < HEADER_BYTES for it in message.payloads):
        return False
    # One that nobody can read would stop every node.
    sizes = {
        len(it) for kind, it in zip(kinds, message.payloads, strict=False) if kind is Kind.VERSION
    }
    return sizes <= {HEADER_BYTES + VERSION_BYTES}


def _remember(origin: _Origin, request: int) -> None:
    origin.answers[request] = None
    origin.order.append(request)
    if len(origin.order) > REQUESTS_MAX:
        oldest = origin.order.popleft()
        del origin.answers[oldest]
        origin.forgotten = max(origin.forgotten, oldest)
