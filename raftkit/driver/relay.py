"""Proposals of other nodes, made here because this node leads.

Laws: a request number is proposed at most once, however often it arrives: its answer is remembered, and
what is older than anything remembered is ignored. Nothing is forwarded on (J7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from raftkit.core import Raft
from raftkit.driver.origin import Origin
from raftkit.driver.sessions import HEADER_BYTES, VERSION_BYTES
from raftkit.driver_messages import DriverMessage, Forward, ForwardAccepted, ForwardRefused
from raftkit.messages import Propose, Proposed, Refusal, Refused
from raftkit.model import Identity, Kind, NodeId

__all__ = ["Relay"]

_ALLOWED = {Kind.COMMAND, Kind.SESSION, Kind.VOID, Kind.VERSION}


_Answer = ForwardAccepted | ForwardRefused


@attrs.define(eq=False)
class Relay:
    """Forwards of others, and what became of them."""

    id: NodeId
    new_ticket: Callable[[], int]
    send: Callable[[Sequence[NodeId], DriverMessage], None]
    _origins: dict[Identity, Origin[_Answer]] = attrs.field(
        init=False, factory=dict[Identity, Origin[_Answer]]
    )
    _tickets: dict[int, tuple[Identity, int]] = attrs.field(
        init=False, factory=dict[int, tuple[Identity, int]]
    )
    "Ticket of the proposal → who asked, and under which number."

    def on_forward(self, sender: Identity, message: Forward, raft: Raft) -> Propose | None:
        """What to propose for `sender`; None for a repetition, and for what is refused at once."""
        origin = self._origins.setdefault(sender, Origin[_Answer]())
        answer = origin.answer_to(message.request)
        if answer is not None:
            self.send((sender.id,), answer)
        if not _is_proper(message) or not origin.begin(message.request):
            return None
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

    def _answer(self, sender: Identity, answer: _Answer) -> None:
        self._origins[sender].end(answer.request, answer)
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
